using System.Text;
using RyzenLlm.Engine.Files;

namespace RyzenLlm.Fuzz.Targets;

/// <summary>A safetensors file: length, JSON header, placement of the tensors.</summary>
internal sealed class SafetensorsTarget : FuzzTarget
{
    private readonly InputFile _file = new();

    public override string Name => "safetensors";

    public override IReadOnlyList<string> Words =>
        ["\"dtype\"", "\"shape\"", "\"data_offsets\"", "\"__metadata__\"", "F32", "BF16", "[0,24]", "{}", "[]", "\\u0000", "\\ud800", "null", "1e9", "-1", "\"a.weight\":"];

    public override IEnumerable<byte[]> Seeds() =>
    [
        Bytes("""{"__metadata__":{"format":"pt"},"a.weight":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]},"b.bias":{"dtype":"F16","shape":[1,1,4],"data_offsets":[24,32]}}""", 32),
        Bytes("""{"c":{"shape":[],"data_offsets":[0,2],"dtype":"BF16"}}  """, 2),
        Bytes("{}", 0),
    ];

    public override void Run(byte[] input)
    {
        // The header alone first: a file is made of those few that get through.
        if (input.Length >= sizeof(ulong) && (input[0] & 15) != 15)
        {
            new SafetensorsHeader("input", input.Length).Read(input.AsSpan(sizeof(ulong), HeaderLength(input)));
        }

        using var file = SafetensorsFile.Open(_file.Write("input.safetensors", input));
        foreach (var tensor in file.Tensors.Values)
        {
            _ = tensor.Shape;
        }
    }

    public override bool IsDocumented(Exception e) => e is ModelFormatException;

    public override void Repair(byte[] input)
    {
        if (input.Length >= sizeof(ulong))
        {
            var end = Array.LastIndexOf(input, (byte)'}') + 1;
            BitConverter.TryWriteBytes(input, (ulong)Math.Max(0, end - sizeof(ulong)));
        }
    }

    public override void Dispose() => _file.Dispose();

    private static int HeaderLength(byte[] input) => (int)Math.Min(BitConverter.ToUInt64(input), (ulong)(input.Length - sizeof(ulong)));

    private static byte[] Bytes(string header, int data)
    {
        var json = Encoding.UTF8.GetBytes(header);
        return [.. BitConverter.GetBytes((ulong)json.Length), .. json, .. new byte[data]];
    }
}
