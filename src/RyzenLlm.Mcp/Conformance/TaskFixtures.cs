using ModelContextProtocol;
using ModelContextProtocol.Server;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Conformance;

/// <summary>Tools that run as tasks, and one that never does.</summary>
internal static class TaskFixtures
{
    private static readonly string[] AsTasks = ["slow_compute", "failing_job", "protocol_error_job"];

    /// <summary>Lets them be tasks at once.</summary>
    public static void Allow(CallTasks tasks)
    {
        foreach (var name in AsTasks)
        {
            tasks.Tools[name] = TimeSpan.Zero;
        }
    }

    /// <summary>The tools.</summary>
    public static IEnumerable<McpServerTool> Tools()
    {
        yield return Fixtures.Tool("greet", "Answers at once.", (string name) => $"Hello, {name}!");
        yield return Fixtures.Tool("slow_compute", "Takes its time.", async (double seconds, CancellationToken cancel) =>
        {
            await Task.Delay(TimeSpan.FromSeconds(Math.Clamp(seconds, 0, 60)), cancel).ConfigureAwait(false);
            return $"Computed for {seconds} s.";
        });
        yield return Fixtures.Tool("failing_job", "Fails as a tool does.", async Task<string> (CancellationToken cancel) =>
        {
            await Task.Delay(100, cancel).ConfigureAwait(false);
            throw new ArgumentException("This job fails.");
        });
        yield return Fixtures.Tool("protocol_error_job", "Fails as a request does.", async Task<string> (CancellationToken cancel) =>
        {
            await Task.Delay(100, cancel).ConfigureAwait(false);
            throw new McpProtocolException("This job is no request.", McpErrorCode.InvalidParams);
        });
    }
}
