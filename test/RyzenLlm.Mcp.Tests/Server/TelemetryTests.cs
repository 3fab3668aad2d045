using System.Diagnostics.Metrics;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.RegularExpressions;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Hosting;
using RyzenLlm.Engine.Telemetry;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Tests.Server;

/// <summary>What operators see of the server.</summary>
public sealed class TelemetryTests
{
    private const string Trace = "0af7651916cd43dd8448eb211c80319c";

    private static readonly string[] Conversation =
    [
        """{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}""",
        """{"jsonrpc":"2.0","method":"notifications/initialized"}""",
        """{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"_meta":{"traceparent":"00-""" + Trace
            + """-b7ad6b7169203331-01"},"name":"generate","arguments":{"prompt":"The wheel","max_tokens":8,"memory":"true"}}}""",
    ];

    [TestCase("Telemetry:Otlp:Endpoint", "")]
    [TestCase("", "OTEL_EXPORTER_OTLP_ENDPOINT")]
    public async Task TheProcessSendsOneTraceThatContinuesTheCallersAndItsMetrics(string setting, string variable)
    {
        using var collector = new Collector();
        var environment = BuiltProgram.Environment();
        string[] arguments = ["serve"];
        if (variable.Length > 0)
        {
            environment[variable] = collector.Address;
            environment["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf";
        }
        else
        {
            arguments = ["serve", "--set", $"{setting}={collector.Address}"];
        }

        using var process = BuiltProgram.Start(arguments, environment);
        _ = process.StandardError.ReadToEndAsync();
        foreach (var message in Conversation)
        {
            await process.StandardInput.WriteLineAsync(message);
            await process.StandardInput.FlushAsync();
        }

        string? line;
        while ((line = await BuiltProgram.ReadLineAsync(process)) is not null && !line.Contains("\"id\":2", StringComparison.Ordinal))
        {
        }

        Assert.That(line, Does.Contain("completion_tokens"));
        process.StandardInput.Close();
        await BuiltProgram.WaitAsync(process); // what was measured is sent before it ends

        var traces = collector.Received("/v1/traces");
        var id = Encoding.Latin1.GetString(Convert.FromHexString(Trace));
        Assert.That(traces.Split(id), Has.Length.GreaterThanOrEqualTo(8), "tool, load, recall, request, its three phases, store");
        foreach (var name in new[] { "tools/call generate", "load model", "text_completion ", "queue", "prompt", "decode", "search_memory", "upsert_memory", "gen_ai.usage.output_tokens" })
        {
            Assert.That(traces, Does.Contain(name));
        }

        var metrics = collector.Received("/v1/metrics");
        foreach (var name in new[] { "gen_ai.client.token.usage", "gen_ai.server.time_to_first_token", "ryzenllm.memory.units", "mcp.server.operation.duration", "service.name" })
        {
            Assert.That(metrics, Does.Contain(name));
        }
    }

    [Test]
    public async Task PrometheusReadsTheMetricsOverHttp()
    {
        var settings = new AppSettings();
        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.AddRyzenLlmTelemetry(settings, http: true);
        await using var app = builder.Build();
        Assert.That(app.MapRyzenLlmMetrics(settings), Is.Not.Null);
        await app.StartAsync();
        await using (var server = await InProcessServer.StartAsync("2025-11-25"))
        {
            await server.Client.CallToolAsync("generate", new Dictionary<string, object?> { ["prompt"] = "The wheel", ["max_tokens"] = 8 });
        }

        using var http = new HttpClient();
        var text = await http.GetStringAsync(new Uri(app.Urls.Single() + Telemetry.PrometheusPath));
        Assert.That(text, Does.Match("gen_ai_client_token_usage_sum\\{[^}]*gen_ai_token_type=\"output\"[^}]*\\} [1-9]"));
        Assert.That(text, Does.Contain("ryzenllm_requests_pending").And.Contain("gen_ai_server_time_to_first_token_seconds_bucket"));
    }

    [Test]
    public void NothingListensUnlessAskedFor()
    {
        var builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings());
        var before = builder.Services.Count;
        builder.AddRyzenLlmTelemetry(new AppSettings());
        Assert.That(builder.Services, Has.Count.EqualTo(before));
        Assert.That(new RouteCount().MapRyzenLlmMetrics(new() { Telemetry = new() { Prometheus = false } }), Is.Null);
    }

    [TestCase("localhost:4318")]
    [TestCase("ftp://collector")]
    public void AnAddressThatIsNoneIsNamedAtStart(string address) =>
        Assert.That(
            () => Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings()).AddRyzenLlmTelemetry(new AppSettings { Telemetry = new() { Otlp = new() { Endpoint = address } } }),
            Throws.InstanceOf<SettingsException>().With.Message.Contains("Telemetry:Otlp:Endpoint"));

    [Test]
    public void TheDocumentNamesEveryMetricWithItsKindAndUnitAndNoOther()
    {
        ServerInstruments.ModelEvictions.Add(0); // creates those of the server
        List<string> known = [];
        using (var listener = new MeterListener())
        {
            listener.InstrumentPublished = (instrument, _) =>
            {
                if (instrument.Meter.Name == Instruments.Name)
                {
                    var kind = instrument.GetType().Name.Split('`')[0] switch { "UpDownCounter" => "up-down counter", var other => other.ToLowerInvariant() };
                    known.Add($"{instrument.Name}: {kind}, {instrument.Unit}");
                }
            };
            _ = Instruments.Meter;
            listener.Start();
        }

        var rows = File.ReadLines(Path.Combine(Repository.Root, "docs", "operations.md"))
            .Select(line => Regex.Match(line, @"^\| `((?:gen_ai|ryzenllm)\.[a-z_.]+)` \| ([^|]+) \|"))
            .Where(m => m.Success)
            .Select(m => $"{m.Groups[1].Value}: {m.Groups[2].Value}");
        Assert.That(rows, Is.EquivalentTo(known));
    }

    /// <summary>An endpoint builder that must not be asked for anything.</summary>
    private sealed class RouteCount : Microsoft.AspNetCore.Routing.IEndpointRouteBuilder
    {
        public IServiceProvider ServiceProvider => throw new InvalidOperationException();

        public ICollection<Microsoft.AspNetCore.Routing.EndpointDataSource> DataSources => throw new InvalidOperationException();

        public IApplicationBuilder CreateApplicationBuilder() => throw new InvalidOperationException();
    }

    /// <summary>Keeps what is posted to it, by path.</summary>
    private sealed class Collector : IDisposable
    {
        private readonly HttpListener _listener = new();
        private readonly Dictionary<string, StringBuilder> _bodies = [];

        public Collector()
        {
            using (var probe = new TcpListener(IPAddress.Loopback, 0))
            {
                probe.Start();
                Address = $"http://127.0.0.1:{((IPEndPoint)probe.LocalEndpoint).Port}";
            }

            _listener.Prefixes.Add(Address + "/");
            _listener.Start();
            _ = ServeAsync();
        }

        public string Address { get; }

        /// <summary>All bytes of all messages to a path, one character each.</summary>
        public string Received(string path)
        {
            lock (_bodies)
            {
                return _bodies.TryGetValue(path, out var body) ? body.ToString() : "";
            }
        }

        public void Dispose() => _listener.Close();

        private async Task ServeAsync()
        {
            while (_listener.IsListening)
            {
                try
                {
                    var context = await _listener.GetContextAsync();
                    using var body = new MemoryStream();
                    await context.Request.InputStream.CopyToAsync(body);
                    lock (_bodies)
                    {
                        var path = context.Request.Url!.AbsolutePath;
                        _bodies.TryAdd(path, new());
                        _bodies[path].Append(Encoding.Latin1.GetString(body.ToArray()));
                    }

                    context.Response.Close();
                }
                catch (Exception e) when (e is HttpListenerException or ObjectDisposedException)
                {
                    return;
                }
            }
        }
    }
}
