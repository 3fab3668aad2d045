using System.Text;
using System.Text.RegularExpressions;

namespace RyzenLlm.Engine.Tokenizers;

/// <summary>One message of a conversation.</summary>
/// <param name="Role"><c>system</c>, <c>user</c> or <c>assistant</c>.</param>
/// <param name="Content">Any text; never read as control tokens.</param>
public readonly record struct ChatTurn(string Role, string Content);

/// <summary>A part of a prompt.</summary>
/// <param name="Text">At least one character.</param>
/// <param name="ParseSpecial">Whether it is the name of a control token, written by the template. All other text is plain.</param>
public readonly record struct PromptSegment(string Text, bool ParseSpecial);

/// <summary>
/// How a family of models was trained to see a conversation. The forms are those published with the models; a file's own Jinja text
/// only tells which one it is, and no code from a file is run.
/// </summary>
public sealed partial class ChatTemplate
{
    /// <summary>No form at all: the contents as they are, for models that only continue text.</summary>
    public static readonly ChatTemplate Plain = new("plain", [], static (prompt, turns) =>
    {
        for (var i = 0; i < turns.Count; i++)
        {
            prompt.Text(i > 0 ? "\n\n" : "").Text(turns[i].Content);
        }
    });

    /// <summary>BitNet b1.58 2B4T: <c>User: ...&lt;|eot_id|&gt;Assistant: </c>, contents trimmed.</summary>
    public static readonly ChatTemplate BitNet = new("bitnet", ["<|eot_id|>"], static (prompt, turns) =>
    {
        foreach (var (role, content) in turns)
        {
            prompt.Text(Capitalize(role)).Text(": ").Text(content.Trim()).Token("<|eot_id|>");
        }

        prompt.Text("Assistant: ");
    });

    /// <summary>RWKV World: <c>User: ...\n\nAssistant:</c>. An empty line ends a turn, so contents have none.</summary>
    public static readonly ChatTemplate Rwkv = new("rwkv", ["\n\nUser:", "\n\nSystem:"], static (prompt, turns) =>
    {
        foreach (var (role, content) in turns)
        {
            prompt.Text(Capitalize(role)).Text(": ").Text(LineBreaks().Replace(content.Trim(), "\n")).Text("\n\n");
        }

        prompt.Text("Assistant:");
    });

    /// <summary>Llama-3: a header of control tokens around the role, contents trimmed.</summary>
    public static readonly ChatTemplate Llama3 = new("llama-3", ["<|eot_id|>"], static (prompt, turns) =>
    {
        foreach (var (role, content) in turns)
        {
            Header(prompt, role).Text(content.Trim()).Token("<|eot_id|>");
        }

        Header(prompt, "assistant");

        static Prompt Header(Prompt prompt, string role) =>
            prompt.Token("<|start_header_id|>").Text(role).Token("<|end_header_id|>").Text("\n\n");
    });

    /// <summary>Falcon3: a control token for the role on a line of its own; end of text after an answer.</summary>
    public static readonly ChatTemplate Falcon3 = new("falcon3", ["<|endoftext|>", "<|user|>"], static (prompt, turns) =>
    {
        foreach (var (role, content) in turns)
        {
            prompt.Token($"<|{role}|>").Text("\n").Text(content);
            (role == "assistant" ? prompt.Token("<|endoftext|>") : prompt).Text("\n");
        }

        prompt.Token("<|assistant|>").Text("\n");
    });

    /// <summary>ChatML: role and content between <c>&lt;|im_start|&gt;</c> and <c>&lt;|im_end|&gt;</c>.</summary>
    public static readonly ChatTemplate ChatMl = new("chatml", ["<|im_end|>"], static (prompt, turns) =>
    {
        foreach (var (role, content) in turns)
        {
            prompt.Token("<|im_start|>").Text(role).Text("\n").Text(content).Token("<|im_end|>").Text("\n");
        }

        prompt.Token("<|im_start|>").Text("assistant\n");
    });

    private readonly Action<Prompt, IReadOnlyList<ChatTurn>> _write;

    private ChatTemplate(string name, string[] stopStrings, Action<Prompt, IReadOnlyList<ChatTurn>> write)
    {
        (Name, StopStrings, _write) = (name, stopStrings, write);
    }

    /// <summary>All templates.</summary>
    public static IReadOnlyList<ChatTemplate> All { get; } = [Plain, BitNet, Rwkv, Llama3, Falcon3, ChatMl];

    /// <summary>Name to choose it by.</summary>
    public string Name { get; }

    /// <summary>Texts that end an answer, beside the end tokens of the tokenizer.</summary>
    public IReadOnlyList<string> StopStrings { get; }

    /// <summary>The template of a name, case ignored.</summary>
    /// <exception cref="ArgumentException">There is none; the message names those there are.</exception>
    public static ChatTemplate ByName(string name) => Find(name)
        ?? throw new ArgumentException($"There is no chat template '{name}'. Choose one of: {Names}.", nameof(name));

    /// <summary>Tokens after which generation ends under this template. A plain text may hold what ends a turn of a conversation, such as an empty line.</summary>
    public IReadOnlySet<int> EndTokens(ITokenizer tokenizer) =>
        this == Plain ? tokenizer.EosIds.Where(tokenizer.IsSpecial).ToHashSet() : tokenizer.EosIds;

    /// <summary>The template of a model: what its file says, or what is usual for its architecture if its vocabulary has the tokens for it.</summary>
    /// <param name="architecture"><c>general.architecture</c> of the file.</param>
    /// <param name="metadata"><c>tokenizer.chat_template</c>: Jinja text or the name of a template; null if the file has none.</param>
    /// <param name="tokenizer">The model's vocabulary.</param>
    /// <param name="name">Name of a template to use whatever the file says, or null.</param>
    /// <exception cref="ArgumentException">No template has that name, or the file's own is of no known form and the architecture has no usual one.</exception>
    public static ChatTemplate For(string architecture, string? metadata, ITokenizer tokenizer, string? name = null)
    {
        if (name is not null)
        {
            return ByName(name);
        }

        return (metadata is null ? null : Recognize(metadata)) ?? architecture switch
        {
            // Early conversions of 2B4T carry a template of another model, so the architecture decides where the text is unknown.
            "bitnet-b1.58" or "bitnet-25" when tokenizer.FindSpecial("<|eot_id|>") is not null => BitNet,
            _ when tokenizer is RwkvTokenizer => Rwkv,
            _ when metadata is null => Plain,
            _ => throw new ArgumentException(
                $"The chat template in the model file is of no form that is known here. Name the one to use: {Names}.", nameof(metadata)),
        };
    }

    /// <summary>The prompt for the next answer of the assistant.</summary>
    /// <param name="turns">At least one message, oldest first.</param>
    /// <returns>Parts to encode with <see cref="PromptEncoding.Encode"/>: template and contents are joined where no control token lies between, so that they are cut into tokens as in training.</returns>
    /// <exception cref="ArgumentException">No message, an unknown role, or a missing content.</exception>
    public IReadOnlyList<PromptSegment> Render(IReadOnlyList<ChatTurn> turns)
    {
        if (turns.Count == 0)
        {
            throw new ArgumentException("A conversation needs at least one message.", nameof(turns));
        }

        for (var i = 0; i < turns.Count; i++)
        {
            if (turns[i].Role is not ("system" or "user" or "assistant"))
            {
                throw new ArgumentException($"Message {i} has the role '{turns[i].Role}'. Roles are: system, user, assistant.", nameof(turns));
            }

            if (turns[i].Content is null)
            {
                throw new ArgumentException($"Message {i} has no content.", nameof(turns));
            }
        }

        var prompt = new Prompt();
        _write(prompt, turns);
        return prompt.Segments();
    }

    private static string Names => string.Join(", ", All.Select(template => template.Name));

    private static ChatTemplate? Find(string name) =>
        All.FirstOrDefault(template => template.Name.Equals(name, StringComparison.OrdinalIgnoreCase));

    private static ChatTemplate? Recognize(string text)
    {
        bool Has(string part) => text.Contains(part, StringComparison.Ordinal);
        return Find(text.Trim()) ?? (
            Has("<|start_header_id|>") ? Llama3
            : Has("<|im_start|>") ? ChatMl
            : Has("<|eot_id|>") && (Has("capitalize") || Has("User: ")) && Has("Assistant: ") ? BitNet
            : Has("<|user|>") && Has("<|assistant|>") ? Falcon3
            : Has("rwkv-world") || (Has("User: ") && Has("Assistant:") && Has("\\n\\n")) ? Rwkv
            : null);
    }

    private static string Capitalize(string role) => char.ToUpperInvariant(role[0]) + role[1..];

    [GeneratedRegex(@"[\r\n]+")]
    private static partial Regex LineBreaks();

    /// <summary>Collects segments; neighbouring plain texts become one.</summary>
    private sealed class Prompt
    {
        private readonly List<PromptSegment> _segments = [];
        private readonly StringBuilder _text = new();

        public Prompt Text(string text)
        {
            _text.Append(text);
            return this;
        }

        public Prompt Token(string name)
        {
            EndText();
            _segments.Add(new PromptSegment(name, ParseSpecial: true));
            return this;
        }

        public IReadOnlyList<PromptSegment> Segments()
        {
            EndText();
            return _segments;
        }

        private void EndText()
        {
            if (_text.Length > 0)
            {
                _segments.Add(new PromptSegment(_text.ToString(), ParseSpecial: false));
                _text.Clear();
            }
        }
    }
}
