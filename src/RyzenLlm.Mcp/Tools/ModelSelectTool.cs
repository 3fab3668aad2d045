using System.ComponentModel;
using System.Globalization;
using System.Text;
using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;
using RyzenLlm.Engine.Choosing;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Tools;

/// <summary><c>model-select</c>: which models there are, what one is, which is the default, which suits a request, and how the answers were.</summary>
internal sealed class ModelSelectTool : McpServerTool
{
    private const string Feedback = "feedback", ResetFeedback = "reset_feedback", Recommend = "recommend";

    // What a caller means by a token where no vocabulary is named.
    private const int BytesPerToken = 4;

    private readonly AppSettings _settings;
    private readonly ModelLibrary _library;
    private readonly ModelSelection _selection;
    private readonly ProfileStore _profiles;
    private readonly FeedbackStore _feedback;

    private readonly TextParameter _action = new(
        "action",
        "list: all models with their measured speed and quality. inspect: one of them. choose: make one the default of this server. recommend: the best for a request. "
        + "feedback: how an answer was. reset_feedback: forget that.",
        "list", ["list", "inspect", "choose", Recommend, Feedback, ResetFeedback]);
    private readonly TextParameter _model = new("model", "Name of the model to inspect, to choose, or that gave the answer.", "", maxLength: 4096);
    private readonly TextParameter _task = new("task", "Kind of task, in a word of your own, such as summarise: feedback counts for it.", "", maxLength: 64);
    private readonly TextParameter _outcome = new("outcome", "With feedback: whether the answer served its purpose.", "", ["", "good", "bad"]);
    private readonly NumberParameter<long> _promptTokens = new("prompt_tokens", "With recommend: length of the prompt, at four characters a token.", 0, 100_000_000, 200);
    private readonly NumberParameter<long> _answerTokens = new("answer_tokens", "With recommend: length of the answer.", 1, 1_000_000, 256);
    private readonly NumberParameter<long> _contextTokens = new("context_tokens", "With recommend: context needed at least.", 0, 100_000_000, 0);
    private readonly NumberParameter<double> _latency = new(
        "latency_target_seconds", "With recommend: time after which the answer is worth half.", 0.001, 86_400, ModelSelection.UsualLatencySeconds);
    private readonly NumberParameter<double> _quality = new("most_bits_per_byte", "With recommend: quality floor, as bits per byte at most; 0 is none.", 0, 100, 0);
    private readonly NumberParameter<double> _memory = new("memory_megabytes", "With recommend: memory that may be taken; 0 is what the computer has left.", 0, 1e9, 0);
    private readonly FlagParameter _json = new("json", "With recommend: whether the answer must be JSON.");
    private readonly TextParameter _draftFor = new("draft_for", "With recommend: model whose vocabulary it must share, to guess ahead for it.", "", maxLength: 4096);
    private readonly ToolParameter[] _parameters;

    /// <summary>A model.</summary>
    internal sealed record Model(
        [property: Description("Name to pass as model.")] string Name,
        [property: Description("Whether it is used where no model is named.")] bool Default,
        [property: Description("Size on disk.")] long Bytes,
        [property: Description("Architecture named in the file.")] string? Architecture,
        [property: Description("Number of weights.")] long? Parameters,
        [property: Description("Tokens it was trained on at once; recurrent models go on beyond it.")] int? ContextLength,
        [property: Description("Width.")] int? EmbeddingLength,
        [property: Description("Blocks.")] int? BlockCount,
        [property: Description("Tokens in the vocabulary.")] int? VocabularySize,
        [property: Description("Measured on this computer; absent if it was not yet.")] ProfileFacts? Measured,
        [property: Description("Why it cannot be used; absent if it can.")] string? Problem);

    /// <summary>A result.</summary>
    internal sealed record ModelSelectionResult(
        [property: Description("Name of the default model; absent if there is none.")] string? Default,
        [property: Description("The models asked for.")] Model[] Models,
        [property: Description("With recommend: the model to name; absent if none can serve the request.")] string? Recommended,
        [property: Description("With recommend: why, with the numbers.")] string? Reason,
        [property: Description("With recommend: models that none beats in time, quality and memory at once, the best first.")] Expectation[]? Front,
        [property: Description("With recommend: models that cannot serve the request.")] RuledOut[]? RuledOut,
        [property: Description("With recommend: models not measured yet, which cannot be weighed.")] string[]? Unmeasured,
        [property: Description("With feedback: praise for the model in this task.")] long? Good,
        [property: Description("With feedback: blame.")] long? Bad,
        [property: Description("With reset_feedback: kinds of tasks forgotten.")] int? Forgotten);

    public ModelSelectTool(AppSettings settings, ModelLibrary library, ModelSelection selection, ProfileStore profiles, FeedbackStore feedback)
    {
        (_settings, _library, _selection, _profiles, _feedback) = (settings, library, selection, profiles, feedback);
        _parameters = [_action, _model, _task, _outcome, _promptTokens, _answerTokens, _contextTokens, _latency, _quality, _memory, _json, _draftFor];
        ProtocolTool = new Tool
        {
            Name = "model-select",
            Title = "Select model",
            Description =
                "Lists the local models with speed and quality measured on this computer (action list), shows one (inspect), or makes one the default for calls that "
                + "name no model (choose). recommend weighs them for a request and says why; generate does the same with model 'auto'. After an answer, "
                + "feedback with model, task and outcome shifts that choice for the same kind of task; reset_feedback forgets it.",
            InputSchema = ToolArguments.Schema(_parameters),
            OutputSchema = ToolJson.Schema<ModelSelectionResult>(),
            Annotations = new ToolAnnotations { ReadOnlyHint = false, DestructiveHint = false, IdempotentHint = false, OpenWorldHint = false },
        };
    }

    /// <inheritdoc/>
    public override Tool ProtocolTool { get; }

    /// <inheritdoc/>
    public override IReadOnlyList<object> Metadata { get; } = [];

    /// <inheritdoc/>
    public override ValueTask<CallToolResult> InvokeAsync(RequestContext<CallToolRequestParams> request, CancellationToken cancellationToken = default)
    {
        var arguments = ToolArguments.Read(_parameters, request.Params?.Arguments);
        var caller = Caller.Of(request, _settings);
        var (text, output) = arguments.Get(_action) switch
        {
            Recommend => Weigh(arguments, caller),
            Feedback => Praise(arguments, caller),
            ResetFeedback => Reset(arguments, caller),
            var action => Show(action, arguments.Get(_model), caller),
        };
        return ValueTask.FromResult(new CallToolResult
        {
            Content = [new TextContentBlock { Text = text }],
            StructuredContent = ToolJson.Element(output),
        });
    }

    private (string Text, ModelSelectionResult Output) Show(string action, string name, Caller caller)
    {
        IReadOnlyList<ModelEntry> entries = action switch
        {
            "list" => _library.List(),
            "choose" => [Choose(Named(name, "to choose"), caller)],
            _ => [_library.Resolve(name, caller)],
        };
        var byDefault = _library.TryDefault(caller.Tenant);
        var output = Result(caller) with { Models = [.. entries.Select(entry => Describe(entry, byDefault, _profiles))] };
        return (Text(action, output), output);
    }

    private (string Text, ModelSelectionResult Output) Weigh(ToolArguments arguments, Caller caller)
    {
        var (choice, unmeasured) = _selection.Weigh(caller, FeedbackStore.Task(arguments.Get(_task)), new ChoiceRequest
        {
            PromptBytes = arguments.Get(_promptTokens) * BytesPerToken,
            AnswerTokens = (int)arguments.Get(_answerTokens),
            ContextTokens = (int)arguments.Get(_contextTokens),
            LatencySeconds = arguments.Get(_latency),
            MostBitsPerByte = arguments.Get(_quality) is > 0 and var most ? most : null,
            MemoryBytes = arguments.Get(_memory) is > 0 and var megabytes ? (long)(megabytes * 1e6) : ModelSelection.MemoryLeft(),
            Json = arguments.Get(_json),
            Vocabulary = _selection.VocabularyOf(arguments.GetOptional(_draftFor)),
        });
        string[] names = [.. unmeasured.Select(e => e.Name)];
        var text = names.Length == 0 ? choice.Reason : $"{choice.Reason} Not measured yet: {string.Join(", ", names)} (ryzenllm models profile).";
        return (text, Result(caller) with
        {
            Recommended = choice.Chosen?.Model,
            Reason = choice.Reason,
            Front = [.. choice.Front],
            RuledOut = [.. choice.RuledOut],
            Unmeasured = names,
        });
    }

    private (string Text, ModelSelectionResult Output) Praise(ToolArguments arguments, Caller caller)
    {
        var outcome = arguments.Get(_outcome);
        if (outcome.Length == 0)
        {
            throw new ArgumentException("outcome is missing: say whether the answer was good or bad.");
        }

        var entry = _library.Resolve(Named(arguments.Get(_model), "that gave the answer"), caller);
        var task = FeedbackStore.Task(arguments.Get(_task));
        var (good, bad) = _feedback.Add(caller, task, entry.Name, outcome == "good");
        var shift = ModelChooser.Preference(good, bad);
        return (
            string.Create(CultureInfo.InvariantCulture, $"Noted: {entry.Name} has {good} good and {bad} bad for {(task.Length > 0 ? task : "tasks without a name")}, which shifts its log odds by {shift:+0.00;-0.00;0.00}."),
            Result(caller) with { Good = good, Bad = bad });
    }

    private (string Text, ModelSelectionResult Output) Reset(ToolArguments arguments, Caller caller)
    {
        var forgotten = _feedback.Reset(caller, arguments.GetOptional(_task) is { } task ? FeedbackStore.Task(task) : null);
        return ($"Feedback for {forgotten} kinds of tasks is forgotten.", Result(caller) with { Forgotten = forgotten });
    }

    private static string Named(string model, string purpose) =>
        model.Length > 0 ? model : throw new ArgumentException($"model is missing: name the model {purpose}, as action list shows it.");

    private ModelSelectionResult Result(Caller caller) => new(_library.TryDefault(caller.Tenant)?.Name, [], null, null, null, null, null, null, null, null);

    // A file that cannot be read must not become the default: every later call would fail.
    private ModelEntry Choose(string name, Caller caller)
    {
        if (ModelFacts.TryRead(_library.Resolve(name, caller)).Problem is { } problem)
        {
            throw new ArgumentException($"{name} cannot be chosen: {problem}");
        }

        return _library.Choose(name, caller.Tenant);
    }

    /// <summary>What a model is.</summary>
    public static Model Describe(ModelEntry entry, ModelEntry? byDefault, ProfileStore profiles)
    {
        var (info, problem) = ModelFacts.TryRead(entry);
        return new(
            entry.Name, entry == byDefault, entry.Bytes, info?.Architecture, info?.ParameterCount, info?.ContextLength, info?.EmbeddingLength,
            info?.BlockCount, info?.VocabularySize, problem is null ? ProfileFacts.Of(profiles.Find(entry)) : null, problem);
    }

    private string Text(string action, ModelSelectionResult output)
    {
        var text = new StringBuilder();
        if (action == "choose")
        {
            text.Append(CultureInfo.InvariantCulture, $"Default model is now {output.Default}.\n");
        }

        foreach (var model in output.Models)
        {
            text.Append(CultureInfo.InvariantCulture, $"{model.Name}{(model.Default ? " (default)" : "")}: ");
            text.Append(model.Problem ?? string.Create(CultureInfo.InvariantCulture,
                $"{model.Architecture}, {model.Parameters:N0} parameters, {model.Bytes:N0} bytes, context {model.ContextLength}, {model.VocabularySize} tokens"));
            if (model.Measured is { } measured)
            {
                text.Append(CultureInfo.InvariantCulture,
                    $"; reads {measured.PromptTokensPerSecond:N0} and writes {measured.DecodeTokensPerSecond:N0} tokens per second, {measured.BitsPerByte:0.00} bits per byte");
            }

            text.Append('\n');
        }

        if (output.Models.Length == 0)
        {
            text.Append(CultureInfo.InvariantCulture, $"No models found. Put GGUF files into one of: {string.Join(", ", _library.Folders)}");
        }

        return text.ToString().TrimEnd();
    }
}
