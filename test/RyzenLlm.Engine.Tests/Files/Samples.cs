using System.Text;
using RyzenLlm.Engine.Files;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Engine.Tests.Files;

/// <summary>Small valid files with everything the formats have.</summary>
internal static class Samples
{
    public static float[] Weights(int count) => [.. Enumerable.Range(0, count).Select(i => MathF.Sin(i * 0.7f) * 0.1f)];

    /// <summary>A writer with every kind of metadata and a tensor of every type.</summary>
    public static GgufWriter Gguf()
    {
        var writer = new GgufWriter("bitnet-b1.58");
        writer.Set("k.u8", (byte)200);
        writer.Set("k.i8", (sbyte)-100);
        writer.Set("k.u16", (ushort)60000);
        writer.Set("k.i16", (short)-30000);
        writer.Set("k.u32", 4_000_000_000u);
        writer.Set("k.i32", -2_000_000_000);
        writer.Set("k.u64", ulong.MaxValue);
        writer.Set("k.i64", long.MinValue);
        writer.Set("k.f32", 0.1f);
        writer.Set("k.f64", Math.PI);
        writer.Set("k.bool", true);
        writer.Set("k.text", "Grüße, 世界 🌍");
        writer.Set("k.bytes", GgufValue.FromBytes([0x80, 0, 0xFF]));
        writer.Set("k.strings", GgufValue.FromStrings("", "a", "世界"));
        writer.Set("k.bytestrings", GgufValue.FromByteStrings([0xC3], [], [0x28, 0]));
        writer.Set("k.integers", GgufValue.FromNumbers<short>(1, -2, 3));
        writer.Set("k.numbers", GgufValue.FromNumbers(1.5f, -2.5f));
        writer.Set("k.bools", GgufValue.FromNumbers(true, false));
        writer.Set("k.arrays", GgufValue.FromArrays(GgufValue.FromNumbers(7ul), GgufValue.FromStrings("x", "y"), GgufValue.FromNumbers<int>()));
        foreach (var format in QuantFormat.All)
        {
            writer.Add(WeightMatrix.Encode($"w.{format.Name}", format.Type, 3, 256, Weights(768)));
        }

        writer.Add("v.norm", WeightMatrix.Encode("v", QuantType.F32, 1, 5, Weights(5)), 5, 1, 1);
        writer.Add("v.lerp", WeightMatrix.Encode("v", QuantType.F16, 6, 4, Weights(24)), 4, 1, 1, 6);
        return writer;
    }

    public static byte[] GgufBytes()
    {
        using var folder = new TemporaryFolder();
        Gguf().Write(folder.Path("sample.gguf"));
        return File.ReadAllBytes(folder.Path("sample.gguf"));
    }

    /// <summary>A safetensors file with a matrix, two vectors and a text of metadata.</summary>
    public static byte[] SafetensorsBytes() => Safetensors(
        """
        {"__metadata__":{"format":"pt"},
         "a.weight":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]},
         "b.bias":{"dtype":"F16","shape":[1,1,4],"data_offsets":[24,32]},
         "c.bias":{"shape":[2],"data_offsets":[32,36],"dtype":"BF16"}}
        """,
        [.. Enumerable.Range(0, 6).SelectMany(i => BitConverter.GetBytes((float)i)),
         .. Enumerable.Range(0, 4).SelectMany(i => BitConverter.GetBytes((Half)(-i))),
         0x80, 0x3F, 0x00, 0x40]);

    /// <summary>A safetensors file of any header and data.</summary>
    public static byte[] Safetensors(string header, byte[] data)
    {
        var json = Encoding.UTF8.GetBytes(header);
        return [.. BitConverter.GetBytes((ulong)json.Length), .. json, .. data];
    }
}
