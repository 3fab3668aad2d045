using System.Collections.Concurrent;
using System.Diagnostics;
using System.Text;
using System.Text.Json;

namespace RyzenLlm.Endurance;

/// <summary>The built program as a server over standard input and output, spoken to line by line.</summary>
internal sealed class ServerProcess : IDisposable
{
    private const string Initialize =
        """{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"endurance","version":"1"}}}""";

    private readonly Process _process;
    private readonly ConcurrentDictionary<int, TaskCompletionSource<JsonElement>> _open = new();
    private readonly SemaphoreSlim _writing = new(1, 1);
    private readonly StringBuilder _errors = new();
    private int _lastId;
    private volatile bool _ended;

    private ServerProcess(Process process)
    {
        _process = process;
        _ = ReadAsync();
        _ = ReadErrorsAsync();
    }

    /// <summary>Folder of the solution.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>The system's view of the process.</summary>
    public Process Process => _process;

    /// <summary>What it wrote to standard error.</summary>
    public string Errors
    {
        get
        {
            lock (_errors)
            {
                return _errors.ToString();
            }
        }
    }

    /// <summary>Starts it on small models, with a memory in a folder.</summary>
    public static async Task<ServerProcess> StartAsync(string folder, params string[] settings)
    {
        var process = Start(["serve", .. settings.SelectMany(s => new[] { "--set", s })], folder, input: true);
        var server = new ServerProcess(process);
        var greeting = new TaskCompletionSource<JsonElement>(TaskCreationOptions.RunContinuationsAsynchronously);
        server._open[0] = greeting;
        await server.WriteAsync(Initialize);
        await greeting.Task.WaitAsync(TimeSpan.FromMinutes(2));
        await server.WriteAsync("""{"jsonrpc":"2.0","method":"notifications/initialized"}""");
        return server;
    }

    /// <summary>Starts a verb of the program.</summary>
    public static Process Start(IEnumerable<string> arguments, string folder, bool input = false)
    {
        var start = new ProcessStartInfo(Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? "ryzenllm.exe" : "ryzenllm"), arguments)
        {
            RedirectStandardInput = input,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["RYZENLLM__MODELS__FOLDERS__0"] = Path.Combine(Root, "test", "Fixtures", "golden", "models");
        start.Environment["RYZENLLM__MODELS__DEFAULT"] = "mamba-f32";
        start.Environment["RYZENLLM__ENGINE__THREADS"] = "1";
        start.Environment["RYZENLLM__MEMORY__STORE"] = $"sqlite:{Path.Combine(folder, "memory.db")}";
        start.Environment["RYZENLLM__STATES__FOLDER"] = Path.Combine(folder, "states");
        start.Environment["XDG_CACHE_HOME"] = Path.Combine(folder, "cache");
        return Process.Start(start) ?? throw new InvalidOperationException("The program did not start.");
    }

    /// <summary>Calls a tool; the token sends a cancellation. Null if the server died or the call was cancelled.</summary>
    public Task<JsonElement?> CallAsync(string tool, object arguments, CancellationToken cancel = default) => AskAsync("tools/call", new { name = tool, arguments }, cancel);

    /// <summary>What the server says of itself; null if it died.</summary>
    public async Task<JsonElement?> MetricsAsync() => await AskAsync("resources/read", new { uri = "metrics://now" }) is { } answer
        ? JsonDocument.Parse(answer.GetProperty("result").GetProperty("contents")[0].GetProperty("text").GetString()!).RootElement
        : null;

    private async Task<JsonElement?> AskAsync(string method, object parameters, CancellationToken cancel = default)
    {
        var id = Interlocked.Increment(ref _lastId);
        var answer = new TaskCompletionSource<JsonElement>(TaskCreationOptions.RunContinuationsAsynchronously);
        _open[id] = answer;
        try
        {
            await WriteAsync(JsonSerializer.Serialize(new { jsonrpc = "2.0", id, method, @params = parameters }));
            if (_ended)
            {
                return null; // it ended before this call could be among those that were told
            }

            return await answer.Task.WaitAsync(cancel);
        }
        catch (OperationCanceledException) when (cancel.IsCancellationRequested)
        {
            await WriteAsync(JsonSerializer.Serialize(new { jsonrpc = "2.0", method = "notifications/cancelled", @params = new { requestId = id } }));
            return null;
        }
        catch (Exception e) when (e is IOException or OperationCanceledException or ObjectDisposedException)
        {
            return null;
        }
        finally
        {
            _open.TryRemove(id, out _);
        }
    }

    /// <summary>The result of a call that succeeded, else null.</summary>
    public static JsonElement? Structured(JsonElement? answer) =>
        answer is { } message && message.TryGetProperty("result", out var result) && !(result.TryGetProperty("isError", out var failed) && failed.GetBoolean())
            && result.TryGetProperty("structuredContent", out var content) ? content : null;

    /// <summary>Ends it without warning (SIGKILL).</summary>
    public void Kill() => _process.Kill();

    /// <summary>Hangs up and waits for its end.</summary>
    public async Task CloseAsync()
    {
        _process.StandardInput.Close();
        await _process.WaitForExitAsync();
    }

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
        }

        _process.WaitForExit();
        _process.Dispose();
        _writing.Dispose();
    }

    private async Task WriteAsync(string line)
    {
        await _writing.WaitAsync();
        try
        {
            await _process.StandardInput.WriteLineAsync(line);
            await _process.StandardInput.FlushAsync();
        }
        finally
        {
            _writing.Release();
        }
    }

    private async Task ReadAsync()
    {
        while (await _process.StandardOutput.ReadLineAsync() is { } line)
        {
            JsonElement message;
            try
            {
                message = JsonDocument.Parse(line).RootElement;
            }
            catch (JsonException)
            {
                lock (_errors)
                {
                    _errors.AppendLine($"Not JSON, cut off by a kill or a defect: {line}");
                }

                continue;
            }

            if (message.ValueKind == JsonValueKind.Object && message.TryGetProperty("id", out var id) && id.ValueKind == JsonValueKind.Number
                && _open.TryGetValue(id.GetInt32(), out var answer))
            {
                answer.TrySetResult(message);
            }
        }

        _ended = true;
        foreach (var open in _open.Values)
        {
            open.TrySetCanceled();
        }
    }

    private async Task ReadErrorsAsync()
    {
        while (await _process.StandardError.ReadLineAsync() is { } line)
        {
            lock (_errors)
            {
                _errors.AppendLine(line);
            }
        }
    }

    private static string FindRoot()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder.FullName, "RyzenLlm.Mcp.sln")))
        {
            folder = folder.Parent ?? throw new DirectoryNotFoundException("RyzenLlm.Mcp.sln is in no parent folder of this program.");
        }

        return folder.FullName;
    }
}
