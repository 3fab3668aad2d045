using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>The MCP server over standard input and output.</summary>
internal static class StdioServer
{
    /// <summary>Calls in work when the client hangs up may finish in this time, if it still reads: answers to requests piped in are not lost.</summary>
    public static readonly TimeSpan Grace = TimeSpan.FromSeconds(0.8);

    /// <summary>Then calls are cancelled; whatever still runs after this (one long step of a large model) ends with the process.</summary>
    public static readonly TimeSpan LastMoment = TimeSpan.FromSeconds(0.7);

    /// <summary>Serves until the client hangs up or the process is told to stop. Loads no model before a call needs one.</summary>
    public static async Task<int> RunAsync(AppSettings settings, CancellationToken cancel)
    {
        if (!Console.IsInputRedirected)
        {
            await Console.Error.WriteLineAsync("ryzenllm: waiting for an MCP client on standard input (for a person: ryzenllm --help).").ConfigureAwait(false);
        }

        var (standardInput, output) = StandardStreams.Claim();
        var input = new WatchedInput(standardInput, () => StandardStreams.UnreadAsync(Grace));
        using var host = Build(settings, server => server
            .WithStreamServerTransport(input, new WholeMessages(output))
            .WithMessageFilters(filters => filters.AddIncomingFilter(next => async (context, token) =>
            {
                input.MessageTaken();
                try
                {
                    await next(context, token).ConfigureAwait(false);
                }
                finally
                {
                    input.MessageDone();
                }
            })));
        var lifetime = host.Services.GetRequiredService<IHostApplicationLifetime>(); // the host takes its services along when it ends
        var running = host.RunAsync(cancel);
        var orphaned = settings.Server.ExitWithParent ? ParentWatch.EndedAsync(CancellationToken.None) : input.Ended;
        if (await Task.WhenAny(running, input.Ended, orphaned).ConfigureAwait(false) != running)
        {
            // The SDK waits for calls in work without cancelling them; stopping the host does cancel them.
            lifetime.StopApplication();
        }

        // Not every step of a model can be interrupted, and nobody is there to wait for its result.
        var ended = await Task.WhenAny(running, Task.Delay(LastMoment, CancellationToken.None)).ConfigureAwait(false) == running;
        Environment.Exit(ended && running.IsFaulted ? 1 : 0);
        return 0;
    }

    /// <summary>The server without a web server: its log is standard error.</summary>
    /// <param name="settings">How.</param>
    /// <param name="add">Adds the transport.</param>
    public static IHost Build(AppSettings settings, Action<IMcpServerBuilder> add)
    {
        var builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings { ContentRootPath = AppContext.BaseDirectory });
        builder.Logging.AddConsole(console => console.LogToStandardErrorThreshold = LogLevel.Trace);
        builder.Logging.SetMinimumLevel(Enum.Parse<LogLevel>(settings.Log.Level, ignoreCase: true));
        builder.Logging.AddFilter("ModelContextProtocol.Server", LogLevel.Critical); // it logs every cancelled call as an error
        builder.Services.Configure<ConsoleLoggerOptions>(options => options.FormatterName = ConsoleFormatterNames.Simple);
        builder.Services.Configure<HostOptions>(options => options.ShutdownTimeout = LastMoment);
        builder.AddRyzenLlmTelemetry(settings);
        add(builder.Services.AddRyzenLlm(settings));
        return builder.Build();
    }
}
