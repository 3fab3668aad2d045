// Counts what passed and failed, says so, and writes the counters in the form in which the other suites write theirs.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export class Report {
  constructor(name) {
    this.name = name;
    this.passed = 0;
    this.failures = [];
  }

  check(what, problem) {
    if (problem) {
      this.failures.push(`${what}: ${problem}`);
    } else {
      this.passed++;
    }
  }

  async attempt(what, work) {
    try {
      await work();
      this.check(what);
    } catch (e) {
      this.check(what, e?.stack ?? e);
    }
  }

  end(folder) {
    this.failures.forEach(failure => console.error(`${this.name} FAILED ${failure}`));
    console.log(`${this.name}: ${this.passed} passed, ${this.failures.length} failed`);
    if (folder) {
      mkdirSync(folder, { recursive: true });
      const total = this.passed + this.failures.length;
      writeFileSync(
        join(folder, `${this.name}.trx`),
        `<TestRun><ResultSummary><Counters total="${total}" passed="${this.passed}" failed="${this.failures.length}" /></ResultSummary></TestRun>\n`);
    }

    process.exit(this.failures.length || !this.passed ? 1 : 0);
  }
}
