using System.Diagnostics;
using System.Text.Json;

namespace RyzenLlm.Mcp.Tests.Server;

/// <summary>The protocol over standard input and output, line by line.</summary>
internal static class StdioSession
{
    public const string Initialize =
        """{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}""";

    public const string Initialized = """{"jsonrpc":"2.0","method":"notifications/initialized"}""";

    public static readonly string Endless =
        """{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"generate","_meta":{"progressToken":"p"},"arguments":{"prompt":"The wheel","max_tokens":1000000,"deadline_seconds":3600,"model":"""
        + JsonSerializer.Serialize(Repository.EndlessModel) + "}}}";

    /// <summary>Opens a session of the older protocol.</summary>
    public static async Task OpenAsync(Process process)
    {
        await SendAsync(process, Initialize);
        await ReadAnswerAsync(process, 1);
        await SendAsync(process, Initialized);
    }

    public static async Task SendAsync(Process process, string message)
    {
        await process.StandardInput.WriteLineAsync(message);
        await process.StandardInput.FlushAsync();
    }

    // Every line on the way must be a JSON-RPC message.
    public static async Task<JsonElement> ReadAnswerAsync(Process process, int id, int unexpected = -1)
    {
        while (true)
        {
            var line = await BuiltProgram.ReadLineAsync(process) ?? throw new EndOfStreamException($"No answer to request {id}.");
            JsonElement message = default;
            Assert.That(() => message = JsonDocument.Parse(line).RootElement, Throws.Nothing, line);
            Assert.That(message.GetProperty("jsonrpc").GetString(), Is.EqualTo("2.0"));
            if (message.TryGetProperty("id", out var answered) && answered.ValueKind == JsonValueKind.Number)
            {
                Assert.That(answered.GetInt32(), Is.Not.EqualTo(unexpected));
                if (answered.GetInt32() == id)
                {
                    return message;
                }
            }
        }
    }
}
