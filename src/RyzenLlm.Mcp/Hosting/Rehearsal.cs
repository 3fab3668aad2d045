using System.Text.Json;
using ModelContextProtocol;
using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;
using RyzenLlm.Mcp.Tools;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>
/// The protocol played through once for nobody. What a start mostly waits for is types and code that are used for the first time; those of the protocol
/// need no settings, so another thread can make them ready while the settings are read. Nothing depends on it, and nothing is sent or counted.
/// </summary>
internal static class Rehearsal
{
    /// <summary>Plays: a server that gets no message, the first message and its answer, the schema of a result.</summary>
    public static async Task PlayAsync()
    {
        var json = McpJsonUtilities.DefaultOptions;
        var about = new Implementation { Name = ProductInfo.Name, Version = ProductInfo.Version };
        await using var transport = new StreamServerTransport(Stream.Null, Stream.Null);
        _ = McpServer.Create(transport, new() { ServerInfo = about }); // its end would be counted as that of a session
        var request = (JsonRpcRequest)JsonSerializer.Deserialize<JsonRpcMessage>("""{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"""u8, json)!;
        var result = JsonSerializer.SerializeToNode(new InitializeResult { ServerInfo = about, Capabilities = new(), ProtocolVersion = "" }, json);
        _ = JsonSerializer.SerializeToUtf8Bytes<JsonRpcMessage>(new JsonRpcResponse { Id = request.Id, Result = result }, json);
        _ = ToolJson.Schema<GenerateTool.GeneratedText>();
    }
}
