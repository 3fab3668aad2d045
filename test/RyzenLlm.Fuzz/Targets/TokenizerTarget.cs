using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Fuzz.Targets;

/// <summary>A vocabulary in GGUF metadata, and texts cut by those that are accepted.</summary>
internal sealed class TokenizerTarget : FuzzTarget
{
    private readonly InputFile _file = new();

    public override string Name => "tokenizer";

    public override int LongestInput => 12 * 1024;

    public override IReadOnlyList<string> Words =>
    [
        "gpt2", "llama", "rwkv", "llama-bpe", "falcon3", "falcon", "<s>", "</s>", "<0x41>", "▁", "Ġ", "<|eot_id|>", "tokenizer.ggml.pre", "tokenizer.ggml.merges",
        "tokenizer.ggml.scores", "tokenizer.ggml.token_type", "\\xff", "b'a'", "'a'", "a b",
    ];

    public override IEnumerable<byte[]> Seeds()
    {
        yield return Vocabulary("gpt2", writer =>
        {
            string[] bytes = [.. Enumerable.Range(33, 94).Concat(Enumerable.Range(161, 12)).Concat(Enumerable.Range(174, 82)).Concat(Enumerable.Range(256, 68)).Select(c => ((char)c).ToString())];
            writer.Set("tokenizer.ggml.tokens", GgufValue.FromStrings([.. bytes, "th", "Ġt", "he", "<|eot_id|>"]));
            writer.Set("tokenizer.ggml.merges", GgufValue.FromStrings("t h", "Ġ t", "h e"));
            writer.Set("tokenizer.ggml.token_type", GgufValue.FromNumbers([.. Enumerable.Repeat(1, bytes.Length + 3), 3]));
            writer.Set("tokenizer.ggml.pre", "llama-bpe");
            writer.Set("tokenizer.ggml.eot_token_id", bytes.Length + 3);
        });
        yield return Vocabulary("llama", writer =>
        {
            string[] bytes = [.. Enumerable.Range(0, 256).Select(b => $"<0x{b:X2}>")];
            writer.Set("tokenizer.ggml.tokens", GgufValue.FromStrings(["<unk>", "<s>", "</s>", .. bytes, "▁", "t", "h", "e", "th", "▁th", "▁the"]));
            writer.Set("tokenizer.ggml.token_type", GgufValue.FromNumbers([2, 3, 3, .. Enumerable.Repeat(6, 256), .. Enumerable.Repeat(1, 7)]));
            writer.Set("tokenizer.ggml.scores", GgufValue.FromNumbers([.. Enumerable.Range(0, 266).Select(i => -(float)i)]));
            writer.Set("tokenizer.ggml.bos_token_id", 1);
            writer.Set("tokenizer.ggml.eos_token_id", 2);
        });
        yield return Vocabulary("rwkv", writer =>
            writer.Set("tokenizer.ggml.tokens", GgufValue.FromStrings(["<s>", .. Enumerable.Range(0, 256).Select(b => $"\\x{b:x2}"), "th", "the", " the", "\\n\\n", "ü"])));
    }

    public override void Run(byte[] input)
    {
        GgufHeader.Read("input", input, input.Length);
        using var file = GgufFile.Open(_file.Write("input.gguf", input));
        var tokenizer = TokenizerLoader.From(file);
        foreach (var text in (string[])["the thé\n\n the <|eot_id|> </s>", "\0\uD800 ▁▁ 世界 🌍 12345 ''s", new string('t', 300)])
        {
            foreach (var id in tokenizer.Encode(text, addBos: true, parseSpecial: true))
            {
                _ = tokenizer.TokenBytes(id).Length;
                _ = tokenizer.IsSpecial(id);
            }
        }

        _ = tokenizer.Fingerprint;
    }

    public override bool IsDocumented(Exception e) => e is ModelFormatException;

    // The tables over bytes that every tokenizer makes, whatever the size of its vocabulary.
    public override long AllocationLimit(int length) => base.AllocationLimit(length) + (128 * 1024);

    public override void Dispose() => _file.Dispose();

    private byte[] Vocabulary(string model, Action<GgufWriter> fill)
    {
        var writer = new GgufWriter("mamba");
        writer.Set("tokenizer.ggml.model", model);
        fill(writer);
        return _file.BytesOf(writer.Write);
    }
}
