using System.CommandLine;
using System.Globalization;
using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Mcp.Cli;

/// <summary><c>detokenize</c>: the text of ids.</summary>
internal static class DetokenizeVerb
{
    /// <summary>With <c>--json</c>.</summary>
    internal sealed record TextReport(string Text);

    public static Command Create()
    {
        var verb = new Command("detokenize", "Prints the text of token ids, exactly the bytes that they stand for.");
        var ids = new Argument<string[]>("IDS")
        {
            Description = "Token ids, or a JSON array of them. Read from standard input if absent.",
            Arity = ArgumentArity.ZeroOrMore,
        };
        verb.Add(ids);
        var common = new CommonOptions(verb).WithModel().WithJson("Print {\"text\":\"...\"}, with U+FFFD for bytes that are not UTF-8.");
        verb.SetAction(async (parsed, cancel) =>
        {
            var tokenizer = TokenizeVerb.Load(common.Entry(parsed, common.Settings(parsed)));
            var given = parsed.GetValue(ids) is { Length: > 0 } words ? string.Join(' ', words) : await TextInput.ReadAsync(null, cancel).ConfigureAwait(false);
            var tokens = Parse(given, tokenizer.VocabularySize);
            if (parsed.GetValue(common.Json!))
            {
                CliJson.Print(new TextReport(tokenizer.DecodeText(tokens)));
                return;
            }

            await using var output = Console.OpenStandardOutput();
            await output.WriteAsync(tokenizer.Decode(tokens), cancel).ConfigureAwait(false);
        });
        return verb;
    }

    /// <summary>Ids separated by spaces, commas or line ends, with or without the brackets of an array.</summary>
    /// <exception cref="ArgumentException">Something is no id of the vocabulary.</exception>
    internal static int[] Parse(string text, int vocabularySize)
    {
        var words = text.Split([' ', ',', '\t', '\r', '\n', '[', ']'], StringSplitOptions.RemoveEmptyEntries);
        return Array.ConvertAll(words, word =>
            int.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out var id) && id < vocabularySize
                ? id
                : throw new ArgumentException($"'{word}' is no token id: this vocabulary has ids from 0 to {vocabularySize - 1}."));
    }
}
