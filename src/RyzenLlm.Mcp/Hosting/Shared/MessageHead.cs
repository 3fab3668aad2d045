using System.Text.Json;

namespace RyzenLlm.Mcp.Hosting.Shared;

/// <summary>What a bridge must know of a JSON-RPC message that it passes on.</summary>
/// <param name="Id">Its id as JSON, the same text for the same id; null for none.</param>
/// <param name="Method">Its method; null for an answer.</param>
/// <param name="Cancels">Id of the request that it cancels, or null.</param>
internal readonly record struct MessageHead(string? Id, string? Method, string? Cancels)
{
    private const string Cancelled = "notifications/cancelled";
    private const int Depth = 1024;

    /// <summary>Whether an answer must follow.</summary>
    public bool IsRequest => Id is not null && Method is not null;

    /// <summary>Whether it is one.</summary>
    public bool IsAnswer => Id is not null && Method is null;

    /// <summary>Reads a line. What is no such message has no head; the receiver will say what is wrong with it.</summary>
    public static MessageHead Read(ReadOnlySpan<byte> line)
    {
        try
        {
            var reader = new Utf8JsonReader(line, new JsonReaderOptions { MaxDepth = Depth });
            return reader.Read() && reader.TokenType == JsonTokenType.StartObject ? ReadObject(ref reader) : default;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return default; // no JSON, or a text that is no Unicode
        }
    }

    private static MessageHead ReadObject(ref Utf8JsonReader reader)
    {
        string? id = null, method = null, named = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            if (reader.ValueTextEquals("id"u8))
            {
                reader.Read();
                id = IdOf(ref reader);
            }
            else if (reader.ValueTextEquals("method"u8))
            {
                reader.Read();
                method = reader.TokenType == JsonTokenType.String ? reader.GetString() : null;
                reader.Skip();
            }
            else if (reader.ValueTextEquals("params"u8))
            {
                reader.Read();
                named = RequestId(ref reader);
            }
            else
            {
                reader.Skip();
            }
        }

        return new(id, method, method == Cancelled ? named : null);
    }

    private static string? RequestId(ref Utf8JsonReader reader)
    {
        string? id = null;
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            reader.Skip();
            return null;
        }

        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            if (reader.ValueTextEquals("requestId"u8))
            {
                reader.Read();
                id = IdOf(ref reader);
            }
            else
            {
                reader.Skip();
            }
        }

        return id;
    }

    private static string? IdOf(ref Utf8JsonReader reader)
    {
        switch (reader.TokenType)
        {
            case JsonTokenType.String:
                return $"\"{JsonEncodedText.Encode(reader.GetString()!)}\"";
            case JsonTokenType.Number:
                return System.Text.Encoding.ASCII.GetString(reader.ValueSpan);
            default:
                reader.Skip();
                return null;
        }
    }
}
