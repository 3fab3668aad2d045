using System.IO.Pipelines;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using ModelContextProtocol.Client;
using ModelContextProtocol.Protocol;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Tests.Server;

/// <summary>The server and a client, joined by pipes.</summary>
internal sealed class InProcessServer : IAsyncDisposable
{
    private readonly IHost _host;

    private InProcessServer(IHost host, McpClient client) => (_host, Client) = (host, client);

    public McpClient Client { get; }

    /// <summary>Starts both.</summary>
    /// <param name="era">Protocol version that the client asks for.</param>
    /// <param name="change">Changes the settings of the tests.</param>
    /// <param name="client">What the client can do.</param>
    /// <param name="tasks">Changes which calls become tasks.</param>
    public static async Task<InProcessServer> StartAsync(string era, Func<AppSettings, AppSettings>? change = null, McpClientOptions? client = null, Action<CallTasks>? tasks = null)
    {
        var settings = new AppSettings
        {
            Models = new()
            {
                Default = "mamba-f32",
                MeasureInBackground = false,
                ProfileFolder = Repository.Scratch("profiles"),
                FeedbackFolder = Repository.Scratch("feedback"),
            },
            Engine = new() { Threads = 1 },
            States = new() { Folder = Path.Combine(Path.GetDirectoryName(Repository.ScratchMemory)!, "states") },
            Memory = new() { Store = $"sqlite:{Repository.ScratchMemory}" },
            Server = new() { ProgressSeconds = 0.001 },
        };
        settings = change?.Invoke(settings) ?? settings;
        Pipe toServer = new(), toClient = new();
        var builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings());
        builder.Services
            .AddRyzenLlm(settings, new ModelLibrary(settings.Models, [Repository.Models]))
            .WithStreamServerTransport(toServer.Reader.AsStream(), toClient.Writer.AsStream());
        var host = builder.Build();
        tasks?.Invoke(host.Services.GetRequiredService<CallTasks>());
        await host.StartAsync();
        var transport = new StreamClientTransport(toServer.Writer.AsStream(), toClient.Reader.AsStream());
        client ??= new();
        client.ProtocolVersion = era;
        return new(host, await McpClient.CreateAsync(transport, client));
    }

    public async ValueTask DisposeAsync()
    {
        await Client.DisposeAsync();
        await _host.StopAsync();
        _host.Dispose();
    }
}
