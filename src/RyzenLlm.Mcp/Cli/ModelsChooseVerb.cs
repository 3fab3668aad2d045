using System.CommandLine;
using System.Globalization;
using RyzenLlm.Engine.Choosing;
using RyzenLlm.Mcp.Hosting;
using Spectre.Console;

namespace RyzenLlm.Mcp.Cli;

/// <summary><c>models choose</c>: which measured model suits a request, and why.</summary>
internal static class ModelsChooseVerb
{
    // What a user means by a token where no vocabulary is named.
    private const int BytesPerToken = 4;

    public static Command Create()
    {
        var verb = new Command("choose", "Says which measured model suits a request, and why (see: models profile). generate --model auto does the same.");
        var prompt = new Option<int>("--prompt-tokens", "-p") { Description = "Length of the prompt, at four characters a token.", HelpName = "N", DefaultValueFactory = _ => 200 };
        var answer = new Option<int>("--answer-tokens", "-n") { Description = "Length of the answer.", HelpName = "N", DefaultValueFactory = _ => 256 };
        var context = new Option<int>("--context-tokens") { Description = "Context needed at least.", HelpName = "N" };
        var latency = AutoOptions.Latency();
        var task = AutoOptions.Task();
        var quality = new Option<double>("--most-bits-per-byte") { Description = "Quality floor: bits per byte at most.", HelpName = "X" };
        var memory = new Option<double>("--memory-megabytes") { Description = "Memory that may be taken; what the computer has left if absent.", HelpName = "N" };
        var json = new Option<bool>("--answer-json") { Description = "The answer must be JSON." };
        var draft = new Option<string>("--draft-for") { Description = "Model whose vocabulary it must share, to guess ahead for it.", HelpName = "NAME|PATH" };
        var common = new CommonOptions(verb).WithJson("Print one JSON object.").WithThreads().WithKernels();
        verb.Add(CommonOptions.InRange(prompt, 0, 100_000_000));
        verb.Add(CommonOptions.InRange(answer, 1, 1_000_000));
        verb.Add(CommonOptions.InRange(context, 0, 100_000_000));
        verb.Add(CommonOptions.InRange(quality, 0.0, 100));
        verb.Add(CommonOptions.InRange(memory, 0.0, 1e9));
        foreach (var option in new Option[] { latency, task, json, draft })
        {
            verb.Add(option);
        }

        verb.SetAction(parsed =>
        {
            var settings = common.Settings(parsed);
            var selection = new ModelSelection(new ModelLibrary(settings.Models), new ProfileStore(settings), new FeedbackStore(settings));
            var (choice, unmeasured) = selection.Weigh(new Caller(settings.Memory.Tenant), FeedbackStore.Task(parsed.GetValue(task) ?? ""), new ChoiceRequest
            {
                PromptBytes = (long)parsed.GetValue(prompt) * BytesPerToken,
                AnswerTokens = parsed.GetValue(answer),
                ContextTokens = parsed.GetValue(context),
                LatencySeconds = parsed.GetValue(latency),
                MostBitsPerByte = parsed.GetResult(quality) is null ? null : parsed.GetValue(quality),
                MemoryBytes = parsed.GetResult(memory) is null ? ModelSelection.MemoryLeft() : (long)(parsed.GetValue(memory) * 1e6),
                Json = parsed.GetValue(json),
                Vocabulary = selection.VocabularyOf(parsed.GetValue(draft)),
            });
            if (parsed.GetValue(common.Json!))
            {
                CliJson.Print(choice);
            }
            else
            {
                Show(choice, unmeasured);
            }

            return choice.Chosen is null ? 1 : 0;
        });
        return verb;
    }

    private static void Show(ModelChoice choice, IReadOnlyList<ModelEntry> unmeasured)
    {
        Console.Out.WriteLine(choice.Reason);
        if (choice.Front.Count > 0)
        {
            var table = new Table().Border(TableBorder.Simple).AddColumns("name", "seconds", "bits/byte", "quality", "memory", "worth");
            foreach (var e in choice.Front)
            {
                table.AddRow(Markup.Escape(e.Model), Text($"{e.Seconds:0.000}"), Text($"{e.BitsPerByte:0.000}"), Text($"{e.Quality:0.000}"), Tables.Size(e.MemoryBytes), Text($"{e.Worth:0.000}"));
            }

            Tables.Console.Write(table);
        }

        if (unmeasured.Count > 0)
        {
            Console.Error.WriteLine($"ryzenllm: not measured yet: {string.Join(", ", unmeasured.Select(e => e.Name))} (ryzenllm models profile)");
        }
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}

/// <summary>Options of verbs that let a model be chosen.</summary>
internal static class AutoOptions
{
    /// <summary>Time after which an answer is worth half.</summary>
    public static Option<double> Latency() => CommonOptions.InRange(
        new Option<double>("--latency-target") { Description = "Seconds after which the answer is worth half.", HelpName = "S", DefaultValueFactory = _ => ModelSelection.UsualLatencySeconds }, 0.001, 86_400);

    /// <summary>Kind of task.</summary>
    public static Option<string> Task() => new("--task") { Description = "Kind of task, in a word such as summarise: feedback counts for it.", HelpName = "NAME" };
}
