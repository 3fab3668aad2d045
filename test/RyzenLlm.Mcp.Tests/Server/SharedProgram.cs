using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using ModelContextProtocol.Client;
using ModelContextProtocol.Protocol;

namespace RyzenLlm.Mcp.Tests.Server;

/// <summary>The built program as <c>serve --shared</c>, with a meeting place of its own.</summary>
internal sealed class SharedProgram : IAsyncDisposable
{
    public static readonly TimeSpan Hang = TimeSpan.FromMinutes(2);

    /// <summary>Where bridges and servers meet.</summary>
    public string Folder { get; } = Repository.Scratch("shared");

    /// <summary>Minutes that a server outlives its last client.</summary>
    public double IdleMinutes { get; set; } = 10;

    public Dictionary<string, string?> Environment()
    {
        var environment = BuiltProgram.Environment();
        environment["RYZENLLM__SERVER__SHARED__FOLDER"] = Folder;
        environment["RYZENLLM__SERVER__SHARED__IDLEMINUTES"] = IdleMinutes.ToString(CultureInfo.InvariantCulture);
        environment["RYZENLLM__SERVER__PROGRESSSECONDS"] = "0.05";
        environment["RYZENLLM__MEMORY__STORE"] = $"sqlite:{Path.Combine(Folder, "memory.db")}";
        return environment;
    }

    /// <summary>A bridge.</summary>
    public Process Start()
    {
        var process = BuiltProgram.Start(["serve", "--shared"], Environment());
        _ = process.StandardError.ReadToEndAsync();
        return process;
    }

    /// <summary>A client with a bridge.</summary>
    public Task<McpClient> ConnectAsync(string era, McpClientOptions? options = null, string[]? arguments = null)
    {
        options ??= new();
        options.ProtocolVersion = era;
        return McpClient.CreateAsync(
            new StdioClientTransport(new StdioClientTransportOptions
            {
                Command = BuiltProgram.Path,
                Arguments = ["serve", "--shared", .. arguments ?? []],
                EnvironmentVariables = Environment(),
            }),
            options);
    }

    /// <summary>Process of the only server.</summary>
    public int ServerId() => Held(Directory.GetFiles(Folder, "*.pid").Single());

    /// <summary>What the server behind a client has done.</summary>
    public static async Task<JsonElement> MetricsAsync(McpClient client)
    {
        var read = await client.ReadResourceAsync("metrics://now");
        return JsonDocument.Parse(((TextResourceContents)read.Contents[0]).Text).RootElement;
    }

    /// <summary>Waits until this many requests wait for models or are in work.</summary>
    public static async Task WaitForPendingAsync(McpClient client, int requests)
    {
        using var hang = new CancellationTokenSource(Hang);
        while ((await MetricsAsync(client)).GetProperty("models").EnumerateArray().Sum(m => m.GetProperty("pending").GetInt32()) != requests)
        {
            hang.Token.ThrowIfCancellationRequested();
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var file in Directory.GetFiles(Folder, "*.pid"))
        {
            try
            {
                using var server = Process.GetProcessById(Held(file));
                server.Kill();
                await BuiltProgram.WaitAsync(server);
            }
            catch (ArgumentException)
            {
                // It has ended by itself.
            }
        }

        Directory.Delete(Folder, recursive: true);
    }

    private static int Held(string file) => int.Parse(File.ReadAllText(file), CultureInfo.InvariantCulture);
}
