using System.Diagnostics;
using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using ModelContextProtocol.Client;

namespace RyzenLlm.Mcp.Tests.Http;

/// <summary>The built program as an HTTP server on a free port, with a token file of its own.</summary>
internal sealed class HttpProgram : IAsyncDisposable
{
    /// <summary>Every scope.</summary>
    public const string Owner = "0123456789abcdef0123456789abcdef";

    /// <summary>Another tenant, every scope.</summary>
    public const string Guest = "guest-0123456789abcdef0123456789";

    /// <summary>The owner's tenant, but only the scopes recall and models.</summary>
    public const string Reader = "reader-0123456789abcdef012345678";

    /// <summary>The owner's tenant, but only the scope generate.</summary>
    public const string Writer = "writer-0123456789abcdef012345678";

    private static readonly TimeSpan Hang = TimeSpan.FromMinutes(2);
    private readonly Process _process;
    private readonly List<string> _errors;

    private HttpProgram(Process process, Uri address, List<string> errors, string folder)
    {
        (_process, Address, _errors, AuditLog) = (process, address, errors, Path.Combine(folder, "memory.db.audit.jsonl"));
        Http = new HttpClient { BaseAddress = address, Timeout = Hang };
    }

    /// <summary>Where it serves.</summary>
    public Uri Address { get; }

    /// <summary>Its audit log.</summary>
    public string AuditLog { get; }

    /// <summary>Id of its process.</summary>
    public int ProcessId => _process.Id;

    /// <summary>A client without credentials.</summary>
    public HttpClient Http { get; }

    /// <summary>Lines on standard error.</summary>
    public IReadOnlyList<string> Errors
    {
        get
        {
            lock (_errors)
            {
                return [.. _errors];
            }
        }
    }

    /// <summary>Starts it.</summary>
    /// <param name="settings">Settings as KEY=VALUE.</param>
    public static async Task<HttpProgram> StartAsync(params string[] settings)
    {
        var folder = Directory.CreateTempSubdirectory("ryzenllm-http-").FullName;
        var tokens = Path.Combine(folder, "tokens.json");
        WriteTokens(tokens);
        var environment = BuiltProgram.Environment();
        environment["RYZENLLM__MEMORY__STORE"] = $"sqlite:{Path.Combine(folder, "memory.db")}";
        environment["RYZENLLM__SERVER__TOKENFILE"] = tokens;
        var address = settings.Any(s => s.StartsWith("Server:Urls=", StringComparison.Ordinal)) ? [] : new[] { "--urls", "http://127.0.0.1:0" };
        var process = BuiltProgram.Start(["serve", "--http", .. address, .. settings.SelectMany(s => new[] { "--set", s })], environment);
        process.StandardInput.Close();
        List<string> errors = [];
        var found = new TaskCompletionSource<Uri>(TaskCreationOptions.RunContinuationsAsynchronously);
        _ = ReadAsync();
        return new(process, await found.Task.WaitAsync(Hang), errors, folder);

        async Task ReadAsync()
        {
            while (await process.StandardError.ReadLineAsync() is { } line)
            {
                lock (errors)
                {
                    errors.Add(line);
                }

                const string before = "serving MCP at ";
                if (line.Contains(before))
                {
                    found.TrySetResult(new Uri(line[(line.IndexOf(before) + before.Length)..].Split("/mcp")[0]));
                }
            }

            found.TrySetException(new EndOfStreamException(string.Join('\n', errors)));
        }
    }

    /// <summary>Writes the tokens of the tests.</summary>
    public static void WriteTokens(string path)
    {
        File.WriteAllText(path, JsonSerializer.Serialize(new
        {
            tokens = new object[]
            {
                new { name = "owner", token = Owner, tenant = "home", scopes = (string[])["generate", "recall", "store", "forget", "share", "models"] },
                new { name = "guest", token = Guest, tenant = "guests", scopes = (string[])["generate", "recall", "store", "forget", "share", "models"] },
                new { name = "reader", token = Reader, tenant = "home", scopes = (string[])["recall", "models"] },
                new { name = "writer", token = Writer, tenant = "home", scopes = (string[])["generate"] },
            },
        }));
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        }
    }

    /// <summary>An MCP client.</summary>
    /// <param name="era">Protocol version.</param>
    /// <param name="token">Its token.</param>
    /// <param name="sse">Whether it speaks the older transport.</param>
    /// <param name="options">What it can do.</param>
    /// <param name="connections">Its connections; its own if null.</param>
    public Task<McpClient> ConnectAsync(
        string era, string token = Owner, bool sse = false, McpClientOptions? options = null, HttpClient? connections = null) => McpClient.CreateAsync(
        new HttpClientTransport(new HttpClientTransportOptions
        {
            Endpoint = new Uri(Address, sse ? "/mcp/sse" : "/mcp"),
            TransportMode = sse ? HttpTransportMode.Sse : HttpTransportMode.StreamableHttp,
            AdditionalHeaders = new Dictionary<string, string> { ["Authorization"] = $"Bearer {token}" },
        }, connections ?? new HttpClient(), ownsHttpClient: true),
        WithVersion(options ?? new(), era));

    private static McpClientOptions WithVersion(McpClientOptions options, string era)
    {
        options.ProtocolVersion = era;
        return options;
    }

    /// <summary>What the status page would be told.</summary>
    public async Task<JsonElement> StatusAsync(string token = Owner)
    {
        var request = new HttpRequestMessage(HttpMethod.Get, "/api/status");
        request.Headers.Authorization = new("Bearer", token);
        using var answer = await Http.SendAsync(request);
        return JsonDocument.Parse(await answer.EnsureSuccessStatusCode().Content.ReadAsStringAsync()).RootElement;
    }

    /// <summary>Waits until this many requests wait for models or are in work.</summary>
    public async Task WaitForPendingAsync(int requests)
    {
        using var hang = new CancellationTokenSource(Hang);
        while ((await StatusAsync()).GetProperty("models").EnumerateArray().Sum(m => m.GetProperty("pending").GetInt32()) != requests)
        {
            hang.Token.ThrowIfCancellationRequested();
        }
    }

    /// <summary>A message to the protocol's endpoint.</summary>
    public static HttpRequestMessage Post(HttpContent content, string? token = Owner, string path = "/mcp")
    {
        var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = content, Version = HttpVersion.Version11 };
        request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue("application/json"));
        request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue("text/event-stream"));
        request.Headers.Authorization = token is null ? null : new("Bearer", token);
        return request;
    }

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
        }

        await BuiltProgram.WaitAsync(_process);
        _process.Dispose();
    }
}
