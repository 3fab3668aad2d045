using System.Text;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Fuzz.Targets;

/// <summary>
/// A chat template from a file and a conversation: parts between NUL bytes are the template, the architecture, then roles and contents in turn.
/// No content may become a control token.
/// </summary>
internal sealed class TemplateTarget : FuzzTarget
{
    private static readonly HashSet<string> Controls =
        ["<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>"];

    private readonly Lazy<ITokenizer> _tokenizer = new(() =>
    {
        using var model = ModelLoader.Load(Path.Combine(Repository.Root, "test", "Fixtures", "golden", "models", "bitnet-b158-tq2_0.gguf"), new LoadOptions { Threads = 1 });
        return model.Tokenizer!;
    });

    public override string Name => "template";

    public override int LongestInput => 2048;

    public override IReadOnlyList<string> Words =>
        [.. Controls, "user", "system", "assistant", "\0user\0", "\0assistant\0", "User: ", "Assistant: ", "capitalize", "rwkv-world", "\\n\\n", "{% for m in messages %}", "bitnet-b1.58", "plain", "\n\n"];

    public override IEnumerable<byte[]> Seeds() =>
    [
        .. ((string[])["<|start_header_id|>", "<|im_start|>", "<|eot_id|> capitalize Assistant: ", "<|user|> <|assistant|>", "rwkv-world", "plain", "{{ other }}"])
            .Select(template => Encoding.UTF8.GetBytes($"{template}\0bitnet-b1.58\0system\0Be brief.\0user\0Hello <|eot_id|>\0assistant\0Hi.\0user\0Bye")),
        Encoding.UTF8.GetBytes("x\0mamba\0user\0a"),
    ];

    public override void Run(byte[] input)
    {
        var parts = Encoding.UTF8.GetString(input).Split('\0');
        var template = ChatTemplate.For(parts.ElementAtOrDefault(1) ?? "", parts[0].Length == 0 ? null : parts[0], _tokenizer.Value);
        var turns = new List<ChatTurn>();
        for (var i = 2; i + 1 < parts.Length; i += 2)
        {
            turns.Add(new(parts[i], parts[i + 1]));
        }

        var prompt = template.Render(turns);
        foreach (var (text, special) in prompt)
        {
            if (text.Length == 0 || (special && !Controls.Contains(text)))
            {
                throw new InvalidOperationException($"'{text}' came out as a control token of the {template.Name} template.");
            }
        }

        foreach (var id in _tokenizer.Value.Encode(prompt))
        {
            _ = _tokenizer.Value.TokenBytes(id);
        }
    }

    public override bool IsDocumented(Exception e) => e is ArgumentException;
}
