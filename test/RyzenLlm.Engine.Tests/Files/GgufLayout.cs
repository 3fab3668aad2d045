using System.Buffers.Binary;
using System.Text;
using RyzenLlm.Engine.Files;

namespace RyzenLlm.Engine.Tests.Files;

/// <summary>What a field of a GGUF header is for.</summary>
internal enum GgufFieldRole
{
    Magic, Version, TensorCount, PairCount, Length, Text, Kind, ElementKind, ElementCount, Number, DimensionCount, Dimension, TensorType, Offset,
}

/// <summary>A field of a GGUF header: what mutations of a valid file are aimed at.</summary>
/// <param name="Role">What it is for.</param>
/// <param name="Owner">Key or tensor it belongs to.</param>
/// <param name="Start">Its first byte.</param>
/// <param name="Size">Its bytes.</param>
internal sealed record GgufField(GgufFieldRole Role, string Owner, int Start, int Size)
{
    public override string ToString() => $"{Role} of '{Owner}' at {Start}";
}

/// <summary>Walks a valid file independently of the reader under test and lists its fields.</summary>
internal sealed class GgufLayout
{
    private readonly byte[] _bytes;
    private readonly List<GgufField> _fields = [];
    private int _position;

    private GgufLayout(byte[] bytes) => _bytes = bytes;

    public static IReadOnlyList<GgufField> Fields(byte[] bytes)
    {
        var layout = new GgufLayout(bytes);
        layout.Walk();
        return layout._fields;
    }

    private void Walk()
    {
        Take(GgufFieldRole.Magic, "header", 4);
        Take(GgufFieldRole.Version, "header", 4);
        var tensors = Take(GgufFieldRole.TensorCount, "header", 8);
        var pairs = Take(GgufFieldRole.PairCount, "header", 8);
        for (var i = 0; i < pairs; i++)
        {
            var key = Name();
            Value((GgufKind)Take(GgufFieldRole.Kind, key, 4), key);
        }

        for (var i = 0; i < tensors; i++)
        {
            var name = Name();
            var dimensions = Take(GgufFieldRole.DimensionCount, name, 4);
            for (var d = 0; d < dimensions; d++)
            {
                Take(GgufFieldRole.Dimension, name, 8);
            }

            Take(GgufFieldRole.TensorType, name, 4);
            Take(GgufFieldRole.Offset, name, 8);
        }
    }

    private string Name()
    {
        var length = (int)BinaryPrimitives.ReadInt64LittleEndian(_bytes.AsSpan(_position));
        var name = Encoding.UTF8.GetString(_bytes, _position + 8, length);
        Text(name);
        return name;
    }

    private void Text(string owner)
    {
        var length = (int)Take(GgufFieldRole.Length, owner, 8);
        if (length > 0)
        {
            Take(GgufFieldRole.Text, owner, length);
        }
    }

    private void Value(GgufKind kind, string owner)
    {
        switch (kind)
        {
            case GgufKind.String:
                Text(owner);
                break;
            case GgufKind.Array:
                var element = (GgufKind)Take(GgufFieldRole.ElementKind, owner, 4);
                var count = Take(GgufFieldRole.ElementCount, owner, 8);
                for (var i = 0; i < count; i++)
                {
                    Value(element, owner);
                }

                break;
            default:
                int[] sizes = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
                Take(GgufFieldRole.Number, owner, sizes[(int)kind]);
                break;
        }
    }

    private long Take(GgufFieldRole role, string owner, int size)
    {
        _fields.Add(new GgufField(role, owner, _position, size));
        var value = size switch
        {
            4 => BinaryPrimitives.ReadUInt32LittleEndian(_bytes.AsSpan(_position)),
            8 => BinaryPrimitives.ReadInt64LittleEndian(_bytes.AsSpan(_position)),
            _ => 0,
        };
        _position += size;
        return value;
    }
}
