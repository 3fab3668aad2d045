using System.IO.Pipelines;
using System.Text;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Fuzz.Targets;

/// <summary>Lines on the input of a running server: whatever comes, the next proper request is answered.</summary>
internal sealed class FramesTarget : FuzzTarget
{
    private readonly Lazy<Server> _server = new(() => new Server());

    public override string Name => "frames";

    public override int LongestInput => 2048;

    public override IReadOnlyList<string> Words =>
    [
        "\"jsonrpc\":\"2.0\"", "\"id\":", "\"method\":", "\"tools/call\"", "\"tools/list\"", "\"initialize\"", "\"ping\"", "\"notifications/cancelled\"", "\"params\":", "\"name\":",
        "\"model-select\"", "\"recall-context\"", "\"forget-context\"", "\"arguments\":", "\"_meta\":", "\"progressToken\":", "null", "{}", "[]", "\"result\":{}", "\"error\":{\"code\":-1,\"message\":\"\"}", "1e999",
    ];

    public override IEnumerable<byte[]> Seeds() => ((string[])
    [
        """{"jsonrpc":"2.0","id":7,"method":"tools/list"}""",
        """{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"model-select","arguments":{"model":"none"}}}""",
        """{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"forget-context","arguments":{"session":"x"}}}""",
        """{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"recall-context","arguments":{"query":"x","budget":100},"_meta":{"progressToken":1}}}""",
        """{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}""",
        """{"jsonrpc":"2.0","id":7,"result":{}}""",
        """[{"jsonrpc":"2.0","id":7,"method":"ping"}]""",
    ]).Select(Encoding.UTF8.GetBytes);

    public override void Run(byte[] input) => _server.Value.Exchange(input);

    public override bool IsDocumented(Exception e) => false;

    public override void Dispose()
    {
        if (_server.IsValueCreated)
        {
            _server.Value.Dispose();
        }
    }

    /// <summary>A server that has been greeted.</summary>
    private sealed class Server : IDisposable
    {
        private const string Greeting =
            """{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"fuzz","version":"1"}}}""" + "\n"
            + """{"jsonrpc":"2.0","method":"notifications/initialized"}""" + "\n";

        private readonly InputFile _folder = new();
        private readonly Pipe _toServer = new();
        private readonly Pipe _toClient = new();
        private readonly StreamReader _answers;
        private readonly IHost _host;
        private long _pings;

        public Server()
        {
            var models = new ModelSettings();
            var settings = new AppSettings { Models = models, Memory = new() { Store = $"sqlite:{_folder.Write("memory.db")}" } };
            var builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings());
            builder.Services
                .AddRyzenLlm(settings, new ModelLibrary(models, []))
                .WithStreamServerTransport(_toServer.Reader.AsStream(), _toClient.Writer.AsStream());
            _host = builder.Build();
            _host.Start();
            _answers = new(_toClient.Reader.AsStream());
            Send(Encoding.UTF8.GetBytes(Greeting));
            Await("\"id\":1,");
        }

        public void Exchange(byte[] input)
        {
            var ping = $"ping-{++_pings}";
            Send([.. input, .. Encoding.UTF8.GetBytes($"\n{{\"jsonrpc\":\"2.0\",\"id\":\"{ping}\",\"method\":\"ping\"}}\n")]);
            Await($"\"{ping}\"");
        }

        public void Dispose()
        {
            _toServer.Writer.Complete();
            _host.StopAsync().Wait(TimeSpan.FromSeconds(10));
            _host.Dispose();
            _folder.Dispose();
        }

        private void Send(byte[] lines) => _toServer.Writer.WriteAsync(lines).AsTask().GetAwaiter().GetResult();

        private void Await(string part)
        {
            using var hang = new CancellationTokenSource(TimeSpan.FromSeconds(30));
            while (true)
            {
                var line = _answers.ReadLineAsync(hang.Token).AsTask().GetAwaiter().GetResult() ?? throw new EndOfStreamException("The server ended.");
                if (line.Contains(part, StringComparison.Ordinal))
                {
                    return;
                }

                if (line.Contains("standard error says why", StringComparison.Ordinal))
                {
                    throw new InvalidOperationException($"A tool failed by a defect: {line}");
                }
            }
        }
    }
}
