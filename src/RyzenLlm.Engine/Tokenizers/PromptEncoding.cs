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
        var plain = new StringBuilder();
        if (tokenizer.AddBos && tokenizer.BosId is { } bos)
        {
            ids.Add(bos);
        }

        foreach (var (text, parseSpecial) in prompt)
        {
            if (parseSpecial && tokenizer.FindSpecial(text) is { } id)
            {
                EndPlain();
                ids.Add(id);
            }
            else
            {
                plain.Append(text);
            }
        }

        EndPlain();
        return [.. ids];

        void EndPlain()
        {
            ids.AddRange(tokenizer.Encode(plain.ToString(), addBos: false, parseSpecial: false));
            plain.Clear();
        }
    }
}
