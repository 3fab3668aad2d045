using System.CommandLine;
using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Tokenizers;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Cli;

/// <summary><c>tokenize</c>: the ids of a text.</summary>
internal static class TokenizeVerb
{
    /// <summary>With <c>--json</c>.</summary>
    internal sealed record TokenReport(int[] Ids);

    public static Command Create()
    {
        var verb = new Command("tokenize", "Prints the token ids of a text. A file with only a vocabulary is enough.");
        var text = TextInput.Argument("The text.");
        var noBos = new Option<bool>("--no-bos") { Description = "Leave out the token that begins a sequence." };
        var special = new Option<bool>("--special") { Description = "Read the names of control tokens in the text as those tokens." };
        verb.Add(text);
        var common = new CommonOptions(verb).WithModel().WithJson("Print {\"ids\":[...]}.");
        verb.Add(noBos);
        verb.Add(special);
        verb.SetAction(async (parsed, cancel) =>
        {
            var tokenizer = Load(common.Entry(parsed, common.Settings(parsed)));
            var input = await TextInput.ReadAsync(parsed.GetValue(text), cancel).ConfigureAwait(false);
            var ids = tokenizer.Encode(input, addBos: tokenizer.AddBos && !parsed.GetValue(noBos), parsed.GetValue(special));
            if (parsed.GetValue(common.Json!))
            {
                CliJson.Print(new TokenReport(ids));
                return;
            }

            foreach (var id in ids)
            {
                Console.Out.WriteLine($"{id}\t{tokenizer.TokenText(id).ReplaceLineEndings("\\n")}");
            }
        });
        return verb;
    }

    /// <summary>The vocabulary of a model, without its weights.</summary>
    public static ITokenizer Load(ModelEntry entry)
    {
        if (Directory.Exists(entry.Path))
        {
            throw new ArgumentException($"{entry.Path} has no vocabulary that can be read: choose a GGUF file.");
        }

        using var file = GgufFile.Open(entry.Path);
        return TokenizerLoader.From(file);
    }
}
