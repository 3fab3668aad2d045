using System.CommandLine;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Cli;

/// <summary><c>serve</c>, also without a verb: the MCP server over standard input and output.</summary>
internal static class ServeVerb
{
    public static Command Create()
    {
        var verb = new Command("serve", "Serves MCP over standard input and output. This is also what happens without a verb.");
        Configure(verb);
        return verb;
    }

    /// <summary>Gives a command the options and the action of this verb.</summary>
    public static void Configure(Command command)
    {
        var common = new CommonOptions(command).WithThreads().WithKernels();
        command.SetAction((parsed, cancel) => StdioServer.RunAsync(common.Settings(parsed), cancel));
    }
}
