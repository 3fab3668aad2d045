using System.Buffers;
using System.Text;

namespace RyzenLlm.Engine.Tokenizers;

/// <summary>From the parts of a prompt to ids.</summary>
public static class PromptEncoding
{
    /// <summary>
    /// Ids of a rendered prompt, BOS first where the model expects it. The name of a control token that the vocabulary lacks is plain
    /// text, cut into tokens together with its neighbours.
    /// </summary>
    public static int[] Encode(this ITokenizer tokenizer, IReadOnlyList<PromptSegment> prompt)
    {
        var ids = new List<int>();
        if (tokenizer.AddBos && tokenizer.BosId is { } bos)
        {
            ids.Add(bos);
        }

        foreach (var (text, special) in Parts(tokenizer, prompt))
        {
            Add(ids, tokenizer, text, special);
        }

        return [.. ids];
    }

    /// <summary>
    /// As <see cref="Encode"/>, but keeps of a sequence that was computed before, such as a conversation so far, all tokens that spell the beginning of this prompt,
    /// however a tokenizer would cut it: a model may have written a text in other tokens than reading it would give. Only the rest is encoded.
    /// </summary>
    /// <param name="tokenizer">The vocabulary of both.</param>
    /// <param name="prompt">The rendered prompt.</param>
    /// <param name="said">The sequence before, BOS included where there is one.</param>
    /// <returns>Ids that spell the prompt, neither more nor less.</returns>
    public static int[] Continue(this ITokenizer tokenizer, IReadOnlyList<PromptSegment> prompt, ReadOnlySpan<int> said)
    {
        var parts = Parts(tokenizer, prompt);
        var begin = tokenizer.AddBos && tokenizer.BosId is not null ? 1 : 0;
        if (said.Length < begin || (begin == 1 && said[0] != tokenizer.BosId))
        {
            return tokenizer.Encode(prompt);
        }

        foreach (var whole in (bool[])[false, true]) // where the rest of a part is not encoded as it is inside it, whole parts are
        {
            List<int> found = [.. said[..begin]];
            var kept = Keep(tokenizer, parts, said, begin, whole, found, out var part, out var offset);
            for (; part < parts.Count; part++, offset = 0)
            {
                var (text, special) = parts[part];
                if (offset == 0)
                {
                    Add(found, tokenizer, text, special);
                }
                else
                {
                    found.AddRange(tokenizer.Encode(Encoding.UTF8.GetBytes(text).AsSpan(offset), addBos: false, parseSpecial: false));
                }
            }

            if (kept > begin && Spells(tokenizer, found, begin, parts))
            {
                return [.. found];
            }
        }

        return tokenizer.Encode(prompt);
    }

    // How many tokens of what was said spell the beginning of the parts, and where in the parts they end.
    private static int Keep(
        ITokenizer tokenizer, List<(string Text, int Special)> parts, ReadOnlySpan<int> said, int begin, bool whole, List<int> found, out int part, out int offset)
    {
        var at = begin;
        for (part = 0; part < parts.Count; part++)
        {
            var (text, special) = parts[part];
            var first = at;
            if (special >= 0)
            {
                if (at == said.Length || said[at] != special)
                {
                    break;
                }

                at++;
            }
            else
            {
                offset = Spell(tokenizer, Encoding.UTF8.GetBytes(text), said, ref at, out var ended);
                if (!ended)
                {
                    at = whole ? first : at;
                    offset = whole ? 0 : offset;
                    found.AddRange(said[first..at]);
                    return at;
                }
            }

            found.AddRange(said[first..at]);
        }

        offset = 0;
        return at;
    }

    // Moves over the tokens that spell the beginning of a text, back to the end of a character; tells how many bytes they spell.
    private static int Spell(ITokenizer tokenizer, ReadOnlySpan<byte> text, ReadOnlySpan<int> said, ref int at, out bool ended)
    {
        var offset = 0;
        var (settled, settledOffset) = (at, 0);
        while (offset < text.Length && at < said.Length && (uint)said[at] < (uint)tokenizer.VocabularySize && !tokenizer.IsSpecial(said[at]))
        {
            var token = tokenizer.TokenBytes(said[at]);
            if (offset == 0 && !text.StartsWith(token) && token.StartsWith(" "u8))
            {
                token = token[1..]; // some vocabularies put a space before a text
            }

            if (!text[offset..].StartsWith(token))
            {
                break;
            }

            (at, offset) = (at + 1, offset + token.Length);
            if (offset == text.Length || (text[offset] & 0xC0) != 0x80)
            {
                (settled, settledOffset) = (at, offset);
            }
        }

        (at, ended) = (settled, settledOffset == text.Length);
        return settledOffset;
    }

    private static bool Spells(ITokenizer tokenizer, List<int> ids, int begin, List<(string Text, int Special)> parts)
    {
        var wanted = new ArrayBufferWriter<byte>();
        foreach (var (text, special) in parts)
        {
            wanted.Write(special >= 0 ? tokenizer.TokenBytes(special) : Encoding.UTF8.GetBytes(text));
        }

        return tokenizer.Decode([.. ids[begin..]]).AsSpan().SequenceEqual(wanted.WrittenSpan);
    }

    private static void Add(List<int> ids, ITokenizer tokenizer, string text, int special)
    {
        if (special >= 0)
        {
            ids.Add(special);
        }
        else
        {
            ids.AddRange(tokenizer.Encode(text, addBos: false, parseSpecial: false));
        }
    }

    // Control tokens by id, -1 for plain text; plain neighbours are one.
    private static List<(string Text, int Special)> Parts(ITokenizer tokenizer, IReadOnlyList<PromptSegment> prompt)
    {
        var parts = new List<(string, int)>();
        var plain = new StringBuilder();
        foreach (var (text, parseSpecial) in prompt)
        {
            if (parseSpecial && tokenizer.FindSpecial(text) is { } id)
            {
                EndPlain();
                parts.Add((text, id));
            }
            else
            {
                plain.Append(text);
            }
        }

        EndPlain();
        return parts;

        void EndPlain()
        {
            if (plain.Length > 0)
            {
                parts.Add((plain.ToString(), -1));
                plain.Clear();
            }
        }
    }
}
