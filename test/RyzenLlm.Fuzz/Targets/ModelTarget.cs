using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;

namespace RyzenLlm.Fuzz.Targets;

/// <summary>
/// A whole model: the input is the header, the data behind it is that of a small model, chosen by the first byte. What is accepted
/// computes two tokens.
/// </summary>
internal sealed class ModelTarget : FuzzTarget
{
    private static readonly string[] Models = ["bitnet-b158-tq2_0", "mamba-q8_0", "rwkv6-q8_0", "rwkv7-q8_0"];

    private readonly InputFile _file = new();
    private readonly Lazy<byte[][]> _data;
    private readonly Lazy<byte[][]> _headers;

    public ModelTarget()
    {
        var files = new Lazy<byte[][]>(() => [.. Models.Select(m => File.ReadAllBytes(Path.Combine(Repository.Root, "test", "Fixtures", "golden", "models", $"{m}.gguf")))]);
        _data = new(() => [.. files.Value.Select(f => f[Start(f)..])]);
        _headers = new(() => [.. files.Value.Select(f => f[..Start(f)])]);
    }

    public override string Name => "model";

    public override int LongestInput => 64 * 1024;

    public override IReadOnlyList<string> Words =>
        ["bitnet-b1.58", "mamba", "rwkv6", "rwkv7", "context_length", "embedding_length", "block_count", "head_count", "head_count_kv", "ssm.state_size", "blk.0.", ".weight", "token_embd", "output"];

    public override IEnumerable<byte[]> Seeds() => _headers.Value.Select((header, i) => (byte[])[(byte)i, .. header]);

    public override void Run(byte[] input)
    {
        if (input.Length == 0)
        {
            return;
        }

        var data = _data.Value[input[0] % Models.Length];
        byte[] header = input[1..];
        var read = GgufHeader.Read("input", header, header.Length + data.Length);
        if (read.DataStart < header.Length)
        {
            return;
        }

        using var model = ModelLoader.Load(
            _file.Write("input.gguf", header, new byte[Math.Min(read.DataStart - header.Length, 1 << 16)], data), new LoadOptions { Threads = 1, Kernels = "portable" });
        using var session = model.CreateSession();
        using var batch = new Batch();
        batch.Add(session, 0);
        batch.Add(session, model.Info.VocabularySize - 1, logits: true);
        model.Forward(batch);
    }

    public override bool IsDocumented(Exception e) => e is ModelFormatException;

    // The data behind the header is part of the file.
    public override long AllocationLimit(int length) => base.AllocationLimit(length + 500_000);

    public override void Dispose() => _file.Dispose();

    private static int Start(byte[] file) => (int)GgufHeader.Read("model", file, file.Length).DataStart;
}
