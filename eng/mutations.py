#!/usr/bin/env python3
"""Takes each protection against a fault away in turn and shows which test fails without it. Usage: eng/mutations.py [PART OF A FAULT'S NAME]

Files are changed in this tree and put back; it should be a clean one. Prints rows of the table in docs/reliability.md; ends with 1 if a protection had no test.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MEMORY, STORES = "src/RyzenLlm.Memory", "src/RyzenLlm.Memory/Stores"
SCHEDULER = "src/RyzenLlm.Engine/Decoding/Scheduler.cs"

# fault, file, what stands there, what is put there instead, test project, tests
MUTATIONS = [
    ("full disk: told in a line", f"{STORES}/Sqlite/SqliteRsuStore.cs", "e.SqliteErrorCode is 10 or 13 or 8", "e.SqliteErrorCode is -1", "Mcp", "FullDiskTests"),
    ("read-only disk: told in a line", f"{STORES}/Sqlite/SqliteRsuStore.cs", "catch (Exception e) when (e is IOException or UnauthorizedAccessException)\n        {\n            throw new VectorStoreException($\"The folder", "catch (InvalidCastException e)\n        {\n            throw new VectorStoreException($\"The folder", "Mcp", "FullDiskTests"),
    ("clock jumps: a correction is judged by a mark, not by time", f"{STORES}/RsuFilter.cs", 'new Condition("valid_to", Comparison.Absent, null)', 'new Condition("valid_to", Comparison.AbsentOrAfter, LiveAt)', "Memory", "ClockTests"),
    ("outage: delivered before it is removed", f"{STORES}/Outbox.cs", "await write(batch).ConfigureAwait(false);\n                await waiting.DeleteAsync(batch.Select(u => u.Id), CancellationToken.None).ConfigureAwait(false);", "await waiting.DeleteAsync(batch.Select(u => u.Id), CancellationToken.None).ConfigureAwait(false);\n                await write(batch).ConfigureAwait(false);", "Memory", "OutageTests"),
    ("outage: delivered once in effect", f"{MEMORY}/UnitWriter.cs", "Seen = known.Seen + (retold ? 1 : 0),", "Seen = known.Seen + 1,", "Memory", "OutageTests"),
    ("outage: the outbox is bounded", f"{STORES}/Outbox.cs", "if (waiting + units > _limit)", "if (waiting + units > int.MaxValue)", "Memory", "OutageTests"),
    ("outage: recall goes on, degraded", f"{MEMORY}/RsuMemory.Outages.cs", "return (local, true);", "throw;", "Memory", "OutageTests"),
    ("outage: the circuit breaker", f"{STORES}/Qdrant/QdrantHttp.cs", "MinimumThroughput = 6", "MinimumThroughput = 100_000", "Memory", "OutageTests"),
    ("unmapped memory behind an operand", "src/RyzenLlm.Kernels/Portable/Elementwise.cs", "for (var i = 0; i < n; i++)", "for (var i = 0; i <= n; i++)", "Kernels", "GuardPageTests"),
    ("an exception in a pass ends those in it", SCHEDULER, "sequence.Failure ??= sequence.Rows > 0 ? new StepFailedException(Model.Info.Name, e) : null;", "_ = e;", "Engine", "FaultTests"),
    ("an exception in one request stays in it", SCHEDULER, "                catch (Exception e)\n                {\n                    sequence.Failure = e;\n                }\n            }\n        }\n    }", "                catch (Exception e) when (e is InvalidCastException)\n                {\n                    sequence.Failure = e;\n                }\n            }\n        }\n    }", "Engine", "FaultTests"),
    ("a poisoned state is disposed of", SCHEDULER, "    private void Fail(Sequence sequence, Exception e)\n    {\n        sequence.Generator.Dispose();\n        sequence.State.Dispose();", "    private void Fail(Sequence sequence, Exception e)\n    {\n        sequence.Generator.Dispose();", "Engine", "FaultTests"),
    ("torn frames", "src/RyzenLlm.Mcp/Hosting/WholeMessages.cs", "inner.WriteAsync(buffer, CancellationToken.None);", "inner.WriteAsync(buffer, cancellationToken);", "Mcp", "WholeMessagesTests"),
    ("states: checksum", "src/RyzenLlm.Engine/Sessions/SessionFile.cs", "if (!saved.SequenceEqual(sum))", "if (saved.Length == 0)", "Engine", "Reuse|FullyQualifiedName~Sessions"),
    ("states: a file is what its name says", "src/RyzenLlm.Engine/Sessions/SessionFile.cs", "if (!header.AsSpan(8, SHA256.HashSizeInBytes).SequenceEqual(identity))", "if (identity.IsEmpty)", "Engine", "Reuse|FullyQualifiedName~Sessions"),
    ("profiles: numbers and lists are checked", "src/RyzenLlm.Mcp/Hosting/ProfileStore.cs", "&& IsSound(stored.Profile)", "", "Mcp", "CorpusTests"),
    ("sharing: the owner's unit is looked up", f"{MEMORY}/RsuMemory.Sharing.cs", "return stale.Count == 0 ?", "return stale.Count >= 0 ?", "Memory", "SharingTests"),
    ("sharing: no reading without its line", f"{MEMORY}/RsuMemory.Sharing.cs", "return ownAlone() with { AuditProblem = e.Message };", "return result with { AuditProblem = e.Message };", "Memory", "SharingTests"),
    ("sharing: no neighbours of another owner", "src/RyzenLlm.Memory/Ranking/TenantIndex.cs", "(unit.SharedBy, unit.Scope, unit.Session), out", "(null, unit.Scope, unit.Session), out", "Memory", "SqliteRsuStoreTests"),
]


def run(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def failing(project, tests):
    """Names of the tests that fail, with the first line of the message; a run that ends early counts as one."""
    folder = f"test/RyzenLlm.{project}.Tests"
    built = run("dotnet", "build", "-c", "Release", folder, "--nologo", "-v", "q")
    if built.returncode != 0:
        sys.exit("it does not build:\n" + "\n".join(sorted({line for line in built.stdout.splitlines() if " error " in line})))
    tested = run("dotnet", "test", "-c", "Release", "--no-build", folder, "--filter", f"FullyQualifiedName~{tests}")
    output = tested.stdout
    found = [(m[1], " ".join(m[2].split())) for m in re.finditer(r"^  Failed (.*?) \[[^\]]*\]\n  Error Message:\n((?:.*\n){1,20}?)(?=  Stack Trace|\n)", output, re.M)]
    return found or ([("the run itself", "the test process ended")] if tested.returncode != 0 else [])


def main():
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    missing = 0
    for fault, name, old, new, project, tests in MUTATIONS:
        if wanted not in fault:
            continue
        path = ROOT / name
        source = path.read_text()
        if old not in source:
            sys.exit(f"{name} has changed: '{old}' is not in it")
        path.write_text(source.replace(old, new, 1))
        try:
            found = failing(project, tests)
        finally:
            path.write_text(source)
        missing += not found
        test, message = found[0] if found else ("none", "")
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        print(f"| {fault} | `{pathlib.Path(name).name}` | `{test}`{more} | {'yes: ' + message[:160].replace('|', '/') if found else 'NO'} |", flush=True)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
