// Runs the protocol's conformance suites against the built server, with their fixtures and with the real tools.
// Usage: node conformance.mjs [RESULTS_FOLDER]
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { folder, run, serve } from './program.mjs';
import { Report } from './report.mjs';

const modules = new URL('node_modules/', import.meta.url).pathname;
const suites = {
  2025: [join(modules, '@modelcontextprotocol/conformance/dist/index.js'), '--suite', 'all'],
  2026: [join(modules, 'conformance-2026/dist/index.js'), '--requirements', '2026-07-28'],
};

// What any server must do, whatever its tools are.
const anyServer = [
  'server-initialize', 'ping', 'logging-set-level', 'completion-complete', 'tools-list', 'resources-list', 'resources-subscribe', 'resources-unsubscribe',
  'prompts-list', 'server-sse-multiple-streams', 'dns-rebinding-protection', 'server-stateless', 'caching', 'sep-2164-resource-not-found',
  'http-header-validation', 'input-required-result-unsupported-methods', 'input-required-result-validate-input',
];

// Checks that are known to fail, and why that is right. One that no longer fails is an error as well.
const expected = {
  fixtures: {
    // One address serves both eras here, and the error says so; the check wants the newer one alone.
    'server-stateless': ['sep-2575-server-unsupported-version-error'],
    // No tool of this server asks its user while it runs as a task, nor insists on being one; there are no fixtures that do.
    'tasks-mrtr-input': ['sep-2663-tasks-get-status-input-required', 'tasks-mrtr-tasks-update-resumes', 'tasks-mrtr-partial-fulfillment'],
    'tasks-mrtr-composition': ['sep-2663-mrtr-synchronous-before-task-creation'],
    'tasks-dispatch-and-envelope': ['tasks-result-type-complete-on-non-task-responses'],
    'tasks-required-task-error': ['sep-2663-server-returns-missing-capability-when-required'],
  },
  real: {
    // The first as above; the others need tools that exist among the fixtures only.
    'server-stateless': [
      'sep-2575-server-unsupported-version-error', 'sep-2575-server-rejects-undeclared-capability', 'sep-2575-missing-capability-http-400',
      'sep-2575-http-server-no-independent-requests-on-stream', 'sep-2575-server-no-log-without-loglevel',
    ],
  },
};

// The suite skips these by itself: one needs a tool that breaks its own connection, the other has no check yet.
const empty = ['server-sse-polling', 'tasks-status-notifications'];

const report = new Report('conformance');
for (const [kind, options] of [['fixtures', ['--conformance']], ['real', []]]) {
  const server = await serve('--set', 'Server:Auth=none', ...options);
  for (const [year, [program, ...suite]] of Object.entries(suites)) {
    const output = join(folder, `${kind}-${year}`);
    const { output: said } = await run(process.execPath, [program, 'server', '--url', server.url, ...suite, '-o', output]);
    const seen = new Set();
    for (const result of readdirSync(output)) {
      const scenario = result.replace(/^server-/, '').replace(/-\d{4}-\d\d-\d\dT.*$/, '');
      if (kind === 'real' && !anyServer.includes(scenario)) continue;
      seen.add(scenario);
      const checks = JSON.parse(readFileSync(join(output, result, 'checks.json'), 'utf8'));
      const failed = checks.filter(c => c.status === 'FAILURE').map(c => c.id);
      const known = (year === '2026' && expected[kind][scenario]) || [];
      const problems = [
        ...checks.filter(c => c.status === 'FAILURE' && !known.includes(c.id)).map(c => `${c.id}: ${c.errorMessage}`),
        ...known.filter(id => !failed.includes(id)).map(id => `${id} is expected to fail but does not`),
        ...(checks.some(c => c.status === 'SUCCESS') || empty.includes(scenario) ? [] : ['no check succeeded']),
      ];
      report.check(`${kind} ${year} ${scenario}`, problems.join('; '));
    }

    const least = { fixtures: { 2025: 32, 2026: 45 }, real: { 2025: 11, 2026: 12 } }[kind][year];
    report.check(`${kind} ${year} ran as a whole`, seen.size < least && `only ${seen.size} of ${least} scenarios ran: ${said.slice(-2000)}`);
  }

  server.stop();
}

report.end(process.argv[2]);
