using System.CommandLine;
using RyzenLlm.Mcp.Conformance;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Hosting.Shared;
using RyzenLlm.Mcp.Http;

namespace RyzenLlm.Mcp.Cli;

/// <summary><c>serve</c>, also without a verb: the MCP server over standard input and output, or over HTTP.</summary>
internal static class ServeVerb
{
    public static Command Create()
    {
        var verb = new Command("serve", "Serves MCP over standard input and output, or over HTTP. The first is also what happens without a verb.");
        Configure(verb);
        return verb;
    }

    /// <summary>Gives a command the options and the action of this verb.</summary>
    public static void Configure(Command command)
    {
        var http = new Option<bool>("--http") { Description = "Serve over HTTP, with a status page, instead of standard input and output." };
        var urls = new Option<string>("--urls") { Description = "Addresses to serve HTTP on, separated by semicolons; Server:Urls if absent. Implies --http.", HelpName = "URLS" };
        var shared = new Option<bool>("--shared")
        {
            Description = "Over standard input and output: leave the work to one server that all clients of this user share, started on demand.",
        };
        var daemon = new Option<bool>("--daemon") { Hidden = true }; // the shared server itself
        var conformance = new Option<bool>("--conformance") { Hidden = true };
        var common = new CommonOptions(command).WithThreads().WithKernels();
        command.Add(http);
        command.Add(shared);
        command.Add(daemon);
        command.Add(conformance);
        common.AddSetting(urls, "Server:Urls");
        command.Validators.Add(result =>
        {
            if (result.GetValue(shared) && (result.GetValue(http) || result.GetResult(urls) is not null))
            {
                result.AddError("--shared serves standard input and output, --http and --urls do not: choose one. (An HTTP server is shared anyway.)");
            }
        });
        command.SetAction((parsed, cancel) =>
            parsed.GetValue(http) || parsed.GetResult(urls) is not null ? HttpServer.RunAsync(common.Settings(parsed), cancel, parsed.GetValue(conformance) ? Fixtures.Add : null)
            : parsed.GetValue(daemon) ? SharedServer.RunAsync(common.Settings(parsed), cancel)
            : parsed.GetValue(shared) ? Bridge.RunAsync(common.Settings(parsed), [.. parsed.Tokens.Select(t => t.Value == shared.Name ? daemon.Name : t.Value)], cancel)
            : OverStandardStreams(common, parsed, cancel));
    }

    private static Task<int> OverStandardStreams(CommonOptions common, ParseResult parsed, CancellationToken cancel)
    {
        _ = Task.Run(Rehearsal.PlayAsync, cancel);
        return StdioServer.RunAsync(common.Settings(parsed), cancel);
    }
}
