using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Models;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Fuzz.Targets;

/// <summary>The header of a GGUF file, and everything that may be asked of one that is accepted.</summary>
internal sealed class GgufTarget : FuzzTarget
{
    private readonly InputFile _file = new();

    public override string Name => "gguf";

    public override IReadOnlyList<string> Words => ["GGUF", "general.architecture", "general.alignment", "bitnet-b1.58", "mamba", "w.0", "tokenizer.ggml.tokens"];

    public override IEnumerable<byte[]> Seeds()
    {
        yield return _file.BytesOf(path => Sample(QuantFormat.All).Write(path));
        yield return _file.BytesOf(path => Sample([QuantFormat.Of(QuantType.F32)]).Write(path));
        yield return _file.BytesOf(path => new GgufWriter("mamba").Write(path));
    }

    public override void Run(byte[] input)
    {
        // Most inputs end here, without a file.
        GgufHeader.Read("input", input, input.Length);
        using var file = GgufFile.Open(_file.Write("input.gguf", input));
        foreach (var value in file.Metadata.Values)
        {
            Touch(value);
        }

        foreach (var tensor in file.Tensors.Values)
        {
            var rows = tensor.Elements / tensor.Dimensions[0];
            if (tensor.Dimensions[0] <= int.MaxValue && rows <= int.MaxValue)
            {
                file.Matrix(tensor.Name, (int)rows, (int)tensor.Dimensions[0]).DecodeRow(0, new float[tensor.Dimensions[0]]);
            }
        }

        _ = ModelMetadata.Of(file).ValuesByType.Count;
    }

    public override bool IsDocumented(Exception e) => e is ModelFormatException;

    public override void Dispose() => _file.Dispose();

    private static void Touch(GgufValue value)
    {
        _ = value.ToString();
        if (value.TryGetStrings(out var strings))
        {
            foreach (var text in strings)
            {
                _ = text.Length;
            }
        }

        _ = value.TryGetIntegers(out _);
        _ = value.TryGetNumbers(out _);
        if (value.TryGetArrays(out var arrays))
        {
            foreach (var inner in arrays)
            {
                Touch(inner);
            }
        }
    }

    private static GgufWriter Sample(IEnumerable<QuantFormat> formats)
    {
        var writer = new GgufWriter("bitnet-b1.58");
        writer.Set("k.u8", (byte)200);
        writer.Set("k.i64", long.MinValue);
        writer.Set("k.f32", 0.1f);
        writer.Set("k.f64", Math.PI);
        writer.Set("k.bool", true);
        writer.Set("k.text", "Grüße");
        writer.Set("k.strings", GgufValue.FromStrings("", "a", "bc"));
        writer.Set("k.integers", GgufValue.FromNumbers<short>(1, -2, 3));
        writer.Set("k.bools", GgufValue.FromNumbers(true, false));
        writer.Set("k.arrays", GgufValue.FromArrays(GgufValue.FromNumbers(7ul), GgufValue.FromStrings("x", "y"), GgufValue.FromNumbers<int>()));
        foreach (var format in formats)
        {
            writer.Add(WeightMatrix.Encode($"w.{(int)format.Type}", format.Type, 1, 256, new float[256]));
        }

        return writer;
    }
}
