using System.CommandLine;
using System.Globalization;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Tokenizers;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Cli;

/// <summary><c>generate</c>: text from a prompt, streamed as it comes.</summary>
internal static class GenerateVerb
{
    /// <summary>With <c>--json</c>.</summary>
    internal sealed record GenerateReport(
        string Text,
        string Model,
        string? ModelReason,
        int PromptTokens,
        int ReusedTokens,
        int CompletionTokens,
        string FinishReason,
        double PromptTokensPerSecond,
        double DecodeTokensPerSecond,
        double? TimeToFirstTokenSeconds,
        SpeculationFacts? Speculation);

    public static Command Create()
    {
        var verb = new Command("generate", "Continues a text, or answers it where the model knows a chat form. Prints the text as it comes.");
        var text = TextInput.Argument("The prompt.");
        var system = new Option<string>("--system") { Description = "Instruction put before the prompt.", HelpName = "TEXT" };
        var template = new Option<string>("--template")
        {
            Description = $"Chat form: auto (the model's own) or one of {string.Join(", ", ChatTemplate.All.Select(t => t.Name))}.",
            HelpName = "NAME",
        };
        var stop = new Option<string[]>("--stop") { Description = "Text that ends the generation; may be given several times.", HelpName = "TEXT" };
        var deadline = new Option<double>("--deadline") { Description = "Seconds after which to end with what there is.", HelpName = "S" };
        verb.Add(text);
        var common = new CommonOptions(verb).WithModel().WithJson("Print one JSON object at the end instead of the text.").WithThreads().WithKernels();
        AddSamplingOptions(common);
        var draft = new Option<string>("--draft") { Description = "Model of the same vocabulary that guesses ahead; the one that the model's card names if absent.", HelpName = "NAME|PATH" };
        var speculate = new Option<string>("--speculate")
        {
            Description = "What guesses ahead; the text is the same. auto: all that pays, off: nothing, lookup: repetitions, recycle: earlier candidates, draft: the draft model.",
            HelpName = string.Join('|', Guidance.Modes),
            DefaultValueFactory = _ => Guidance.Modes[0],
        };
        speculate.AcceptOnlyFromAmong(Guidance.Modes);
        var schema = new Option<string>("--json-schema") { Description = "The text will be JSON that satisfies this schema: JSON, or @FILE.", HelpName = "JSON|@FILE" };
        var regex = new Option<string>("--regex") { Description = "The text will match this expression as a whole.", HelpName = "REGEX" };
        var choice = new Option<string[]>("--choice") { Description = "The text will be one of these; give it several times.", HelpName = "TEXT" };
        var session = new Option<string>("--session") { Description = "Goes on with the conversation of this name, new or old: give only the new prompt.", HelpName = "NAME" };
        foreach (var option in new Option[] { session, draft, speculate, schema, regex, choice })
        {
            verb.Add(option);
        }

        var (task, latency) = (AutoOptions.Task(), AutoOptions.Latency());
        verb.Add(task);
        verb.Add(latency);
        verb.Add(system);
        verb.Add(template);
        verb.Add(stop);
        verb.Add(CommonOptions.InRange(deadline, 0.001, 86_400));
        verb.SetAction(async (parsed, cancel) =>
        {
            var settings = common.Settings(parsed);
            var library = new ModelLibrary(settings.Models);
            var name = parsed.GetValue(common.Model!);
            var named = ModelSelection.IsAuto(name) ? null : library.Resolve(name); // a wrong name is told before anything is read
            var mode = Guidance.Mode(parsed.GetValue(speculate)!);
            var constraint = Guidance.Constraint(await ReadSchemaAsync(parsed.GetValue(schema), cancel).ConfigureAwait(false), parsed.GetValue(regex), parsed.GetValue(choice) ?? []);
            var prompt = await TextInput.ReadAsync(parsed.GetValue(text), cancel).ConfigureAwait(false);
            var request = Prompts.Request(settings.Generation, prompt, parsed.GetValue(system)) with
            {
                Template = Prompts.Template(parsed.GetValue(template)),
                Stop = parsed.GetValue(stop) ?? [],
                Constraint = constraint,
                Speculation = mode,
                Deadline = parsed.GetResult(deadline) is null ? Timeout.InfiniteTimeSpan : TimeSpan.FromSeconds(parsed.GetValue(deadline)),
            };
            var (entry, reason) = named is not null ? (named, null) : Choose(settings, library, request, parsed.GetValue(task), parsed.GetValue(latency), parsed.GetValue(draft));
            var drafting = Guidance.Draft(library, entry, parsed.GetValue(draft), mode);
            using var models = new LoadedModels(settings);
            using var conversations = new Conversations(settings, TimeProvider.System);
            using var conversation = parsed.GetValue(session) is { Length: > 0 } title
                ? await conversations.EnterAsync(new(settings.Memory.Tenant), title, cancel).ConfigureAwait(false)
                : null;
            using var lease = await models.AcquireAsync(entry, cancel).ConfigureAwait(false);
            request = request with { DraftModel = drafting is null ? null : await models.DraftAsync(lease, drafting, cancel).ConfigureAwait(false) };
            if (conversation is not null)
            {
                request = conversation.Ask(request) with { Tenant = settings.Memory.Tenant, Reuse = StateReuse.Disk, Said = conversation.SaidIn(lease.Scheduler.Model.Tokenizer) };
            }

            var result = await RunAsync(lease.Scheduler, entry, reason, request, parsed.GetValue(common.Json!), cancel).ConfigureAwait(false);
            conversation?.Keep(request.Turns, "", result, lease.Scheduler.Model.Tokenizer!);
            return cancel.IsCancellationRequested ? CommandLine.Interrupted : 0;
        });
        return verb;
    }

    private static (ModelEntry Entry, string Reason) Choose(
        AppSettings settings, ModelLibrary library, GenerationRequest request, string? task, double latency, string? draft)
    {
        var selection = new ModelSelection(library, new ProfileStore(settings), new FeedbackStore(settings));
        var wanted = selection.RequestFor(request, 0, draft) with { LatencySeconds = latency };
        var chosen = selection.Choose(new Caller(settings.Memory.Tenant), FeedbackStore.Task(task ?? ""), wanted);
        Console.Error.WriteLine($"ryzenllm: {chosen.Reason}");
        return chosen;
    }

    private static async Task<string?> ReadSchemaAsync(string? schema, CancellationToken cancel) =>
        schema?.StartsWith('@') == true ? await File.ReadAllTextAsync(schema[1..], cancel).ConfigureAwait(false) : schema;

    private static void AddSamplingOptions(CommonOptions common)
    {
        Add<int>("--max-tokens", "MaxTokens", "Tokens to generate at most.", "-n");
        Add<float>("--temperature", "Temperature", "0 always takes the most probable token; higher is more varied.");
        Add<int>("--top-k", "TopK", "Choose among the k most probable tokens; 0 is off.");
        Add<float>("--top-p", "TopP", "Choose among the most probable tokens of this mass; 1 is off.");
        Add<float>("--min-p", "MinP", "Drop tokens below this share of the most probable one; 0 is off.");
        Add<float>("--typical-p", "TypicalP", "Choose among the mass of tokens nearest to the expected surprise; 1 is off.");
        Add<float>("--repetition-penalty", "RepetitionPenalty", "Weaken tokens already seen; 1 is off.");
        Add<float>("--frequency-penalty", "FrequencyPenalty", "Subtract this per occurrence; 0 is off.");
        Add<float>("--presence-penalty", "PresencePenalty", "Subtract this once for tokens already seen; 0 is off.");
        Add<int>("--penalty-window", "PenaltyWindow", "Tokens that the penalties look back on; 0 is all.");
        Add<long>("--seed", "Seed", "Names the randomness: the same seed and request give the same text.");

        void Add<T>(string name, string key, string description, params string[] aliases) =>
            common.AddSetting(new Option<T>(name, aliases) { Description = description, HelpName = "N" }, "Generation:" + key);
    }

    private static async Task<GenerationResult> RunAsync(Scheduler scheduler, ModelEntry entry, string? reason, GenerationRequest request, bool json, CancellationToken cancel)
    {
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var result = await scheduler.GenerateAsync(request, json ? null : Print, ended.Token).ConfigureAwait(false);
        if (json)
        {
            CliJson.Print(new GenerateReport(
                result.Text,
                entry.Name,
                reason,
                result.PromptTokens,
                result.ReusedTokens,
                result.GeneratedTokens,
                result.FinishReason.ToString().ToLowerInvariant(),
                Math.Round(result.PromptTokensPerSecond, 2),
                Math.Round(result.DecodeTokensPerSecond, 2),
                result.TimeToFirstToken is { } first ? Math.Round(first.TotalSeconds, 4) : null,
                SpeculationFacts.Of(result.Speculation)));
        }
        else
        {
            Console.Out.WriteLine();
            if (!Console.IsErrorRedirected)
            {
                Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture,
                    $"[{entry.Name}: {result.GeneratedTokens} tokens, {result.DecodeTokensPerSecond:0.0} per second, ended by {result.FinishReason.ToString().ToLowerInvariant()}]"));
            }
        }

        return result;

        void Print(GeneratedPiece piece)
        {
            try
            {
                Console.Out.Write(piece.Text);
                Console.Out.Flush();
            }
            catch (IOException)
            {
                ended.Cancel(); // nobody reads any more
            }
        }
    }
}
