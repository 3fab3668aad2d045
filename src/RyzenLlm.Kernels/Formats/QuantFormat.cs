using System.Diagnostics.CodeAnalysis;

namespace RyzenLlm.Kernels.Formats;

/// <summary>
/// A named weight layout with its exact scalar codec. A row of K values is a run of K / <see cref="BlockLength"/> blocks of
/// <see cref="BlockBytes"/> bytes; blocks never cross a row and rows follow one another without padding. Decoding performs
/// the float32 operations in the order of ggml's decoders, so the values are bit-identical to theirs.
/// </summary>
/// <remarks>
/// One scale for the whole tensor exists only in <see cref="QuantType.I2_S"/>, where it is stored behind the packed rows.
/// It therefore travels beside the row bytes (<see cref="WeightMatrix.Scale"/>); all other formats have the scale 1 and
/// ignore that argument.
/// </remarks>
public abstract class QuantFormat
{
    private static readonly QuantFormat[] Formats =
    [
        new F32Format(), new F16Format(), new BF16Format(),
        new Q4_0Format(), new Q8_0Format(),
        new Q4_KFormat(), new Q5_KFormat(), new Q6_KFormat(),
        new TQ1_0Format(), new TQ2_0Format(), new I2_SFormat(),
    ];

    /// <summary>Describes a layout.</summary>
    private protected QuantFormat(QuantType type, int blockLength, int blockBytes)
    {
        Type = type;
        Name = type.ToString();
        BlockLength = blockLength;
        BlockBytes = blockBytes;
    }

    /// <summary>Every format this engine reads.</summary>
    public static IReadOnlyList<QuantFormat> All => Formats;

    /// <summary>Number of the type in GGUF files.</summary>
    public QuantType Type { get; }

    /// <summary>Name as in ggml, for example <c>Q8_0</c>.</summary>
    public string Name { get; }

    /// <summary>Values in one block.</summary>
    public int BlockLength { get; }

    /// <summary>Bytes of one block.</summary>
    public int BlockBytes { get; }

    /// <summary>The format of a type.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The type is not one of <see cref="All"/>.</exception>
    public static QuantFormat Of(QuantType type) =>
        TryOf(type, out var format)
            ? format
            : throw new ArgumentOutOfRangeException(nameof(type), type, "There is no weight format with this number.");

    /// <summary>The format of a type, or false if this engine does not know it.</summary>
    public static bool TryOf(QuantType type, [NotNullWhen(true)] out QuantFormat? format)
    {
        format = Array.Find(Formats, f => f.Type == type);
        return format is not null;
    }

    /// <summary>Bytes of one row.</summary>
    /// <exception cref="ArgumentException"><paramref name="columns"/> is not a positive multiple of <see cref="BlockLength"/>.</exception>
    /// <exception cref="OverflowException">The size does not fit 63 bits.</exception>
    public long RowBytes(long columns)
    {
        if (columns <= 0 || columns % BlockLength != 0)
        {
            throw new ArgumentException($"{Name} rows hold a positive multiple of {BlockLength} values, not {columns}.", nameof(columns));
        }

        return checked(columns / BlockLength * BlockBytes);
    }

    /// <summary>Bytes of a tensor of <paramref name="rows"/> rows, including what follows the last row.</summary>
    /// <exception cref="ArgumentException">A row cannot have this length, or <paramref name="rows"/> is not positive.</exception>
    /// <exception cref="OverflowException">The size does not fit 63 bits.</exception>
    public virtual long TensorBytes(long rows, long columns)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(rows);
        return checked(rows * RowBytes(columns));
    }

    /// <summary>Scale to hand to <see cref="Encode"/> for a tensor with these values; 1 where the format has none.</summary>
    public virtual float TensorScale(ReadOnlySpan<float> values) => 1f;

    /// <summary>Decodes whole blocks: a row, or any part of it that starts and ends between blocks.</summary>
    /// <param name="blocks">Encoded bytes, a multiple of <see cref="BlockBytes"/>.</param>
    /// <param name="values">Receives one float per value.</param>
    /// <param name="scale">Scale of the tensor (<see cref="WeightMatrix.Scale"/>).</param>
    /// <exception cref="ArgumentException">The lengths do not belong together.</exception>
    public void Decode(ReadOnlySpan<byte> blocks, Span<float> values, float scale = 1f)
    {
        CheckLengths(values.Length, blocks.Length);
        DecodeBlocks(blocks, values, scale);
    }

    /// <summary>Encodes whole blocks, each one on its own: the bytes depend on nothing outside the block but the scale.</summary>
    /// <param name="values">Finite values, a multiple of <see cref="BlockLength"/>.</param>
    /// <param name="blocks">Receives the bytes.</param>
    /// <param name="scale">Scale of the tensor, from <see cref="TensorScale"/>.</param>
    /// <exception cref="ArgumentException">The lengths do not belong together.</exception>
    public void Encode(ReadOnlySpan<float> values, Span<byte> blocks, float scale = 1f)
    {
        CheckLengths(values.Length, blocks.Length);
        EncodeBlocks(values, blocks, scale);
    }

    /// <inheritdoc/>
    public override string ToString() => Name;

    private protected abstract void DecodeBlocks(ReadOnlySpan<byte> blocks, Span<float> values, float scale);

    private protected abstract void EncodeBlocks(ReadOnlySpan<float> values, Span<byte> blocks, float scale);

    private void CheckLengths(int values, int bytes)
    {
        if (values % BlockLength != 0 || (long)values / BlockLength * BlockBytes != bytes)
        {
            throw new ArgumentException($"{values} values do not take {bytes} bytes in {Name}: {BlockLength} values take {BlockBytes}.");
        }
    }
}
