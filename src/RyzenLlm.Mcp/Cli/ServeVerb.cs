using System.CommandLine;
using RyzenLlm.Mcp.Conformance;
using RyzenLlm.Mcp.Hosting;
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
        var conformance = new Option<bool>("--conformance") { Hidden = true };
        var common = new CommonOptions(command).WithThreads().WithKernels();
        command.Add(http);
        command.Add(conformance);
        common.AddSetting(urls, "Server:Urls");
        command.SetAction((parsed, cancel) => parsed.GetValue(http) || parsed.GetResult(urls) is not null
            ? HttpServer.RunAsync(common.Settings(parsed), cancel, parsed.GetValue(conformance) ? Fixtures.Add : null)
            : StdioServer.RunAsync(common.Settings(parsed), cancel));
    }
}
