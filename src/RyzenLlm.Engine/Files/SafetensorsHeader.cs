using System.Text.Json;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Engine.Files;

/// <summary>Reads the JSON header of a safetensors file, every field checked.</summary>
internal sealed class SafetensorsHeader(string path, long dataStart)
{
    private const string MetadataKey = "__metadata__";

    public OrderedDictionary<string, TensorInfo> Tensors { get; } = [];

    public OrderedDictionary<string, string> Metadata { get; } = [];

    /// <summary>Reads the whole header.</summary>
    /// <exception cref="ModelFormatException">It is no JSON, or no header.</exception>
    public void Read(ReadOnlySpan<byte> json)
    {
        var reader = new Utf8JsonReader(json);
        try
        {
            Expect(ref reader, JsonTokenType.StartObject, "a JSON object");
            while (NextProperty(ref reader, out var name))
            {
                if (name == MetadataKey)
                {
                    ReadMetadata(ref reader);
                }
                else if (!Tensors.TryAdd(name, ReadTensor(ref reader, name)))
                {
                    throw Error(ref reader, name, "every tensor name once", "a second one");
                }
            }

            // Only white space may follow; anything else throws.
            reader.Read();
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // The reader reports text that is not valid UTF-8 or UTF-16 as an InvalidOperationException.
            throw new ModelFormatException(path, null, sizeof(ulong) + reader.BytesConsumed, "a JSON header", e.Message, e);
        }
    }

    private void ReadMetadata(ref Utf8JsonReader reader)
    {
        Expect(ref reader, JsonTokenType.StartObject, $"an object of texts under {MetadataKey}");
        while (NextProperty(ref reader, out var key))
        {
            Expect(ref reader, JsonTokenType.String, $"a text under {MetadataKey}");
            Metadata[key] = reader.GetString()!;
        }
    }

    private TensorInfo ReadTensor(ref Utf8JsonReader reader, string name)
    {
        string? type = null;
        long[]? shape = null;
        long[]? range = null;
        var position = sizeof(ulong) + reader.TokenStartIndex;
        Expect(ref reader, JsonTokenType.StartObject, "an object with dtype, shape and data_offsets", name);
        while (NextProperty(ref reader, out var field))
        {
            switch (field)
            {
                case "dtype":
                    Expect(ref reader, JsonTokenType.String, "a text under dtype", name);
                    type = reader.GetString();
                    break;
                case "shape":
                    shape = Integers(ref reader, name, field);
                    break;
                case "data_offsets":
                    range = Integers(ref reader, name, field);
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        if (type is null || shape is null || range is null)
        {
            throw Error(ref reader, name, "dtype, shape and data_offsets", "not all of them");
        }

        return Check(name, position, type, shape, range);
    }

    private TensorInfo Check(string name, long position, string type, long[] shape, long[] range)
    {
        var format = type switch
        {
            "F32" => QuantFormat.Of(QuantType.F32),
            "F16" => QuantFormat.Of(QuantType.F16),
            "BF16" => QuantFormat.Of(QuantType.BF16),
            _ => throw new ModelFormatException(path, name, position, "dtype F32, F16 or BF16", ModelFormatException.Quote(type)),
        };

        // A shape of no dimensions is a single value.
        long[] dimensions = shape.Length == 0 ? [1] : [.. shape.Reverse()];
        var bytes = TensorFile.TensorBytes(path, name, position, format, dimensions);
        if (range.Length != 2 || range[0] < 0 || range[1] < range[0] || range[1] - range[0] != bytes || range[1] > long.MaxValue - dataStart)
        {
            throw new ModelFormatException(
                path, name, position, $"data_offsets of {bytes} bytes for {format.Name} [{string.Join(", ", shape)}]", $"[{string.Join(", ", range)}]");
        }

        return new TensorInfo(name, format.Type, dimensions, dataStart + range[0], bytes);
    }

    private long[] Integers(ref Utf8JsonReader reader, string name, string field)
    {
        var values = new List<long>();
        Expect(ref reader, JsonTokenType.StartArray, $"an array under {field}", name);
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            // At most as many as GGUF allows, so that messages and shapes stay short.
            if (values.Count == GgufHeader.MostDimensions || reader.TokenType != JsonTokenType.Number || !reader.TryGetInt64(out var value))
            {
                throw Error(ref reader, name, $"at most {GgufHeader.MostDimensions} integers under {field}", "something else");
            }

            values.Add(value);
        }

        return [.. values];
    }

    private static bool NextProperty(ref Utf8JsonReader reader, out string name)
    {
        reader.Read();
        var isProperty = reader.TokenType == JsonTokenType.PropertyName;
        name = isProperty ? reader.GetString()! : "";
        return isProperty;
    }

    private void Expect(ref Utf8JsonReader reader, JsonTokenType type, string expected, string? tensor = null)
    {
        if (!reader.Read() || reader.TokenType != type)
        {
            throw Error(ref reader, tensor, expected, $"JSON {reader.TokenType}");
        }
    }

    private ModelFormatException Error(ref Utf8JsonReader reader, string? tensor, string expected, string found) =>
        new(path, tensor, sizeof(ulong) + reader.TokenStartIndex, expected, found);
}
