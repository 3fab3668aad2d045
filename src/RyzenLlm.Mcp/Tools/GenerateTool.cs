using System.ComponentModel;
using System.Globalization;
using ModelContextProtocol;
using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Tokenizers;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Tools;

/// <summary><c>generate</c>: text from a local model.</summary>
internal sealed class GenerateTool : McpServerTool
{
    private readonly AppSettings _settings;
    private readonly ModelLibrary _library;
    private readonly LoadedModels _models;
    private readonly ContextMemory _memory;
    private readonly AutoModel _auto;
    private readonly TimeProvider _clock;

    private readonly TextParameter _prompt = new("prompt", "Text to continue, or the question to answer.");
    private readonly TextParameter _model = new("model", "Name of a model (see model-select); the default model if empty; auto weighs measured speed and quality for this request.", "", maxLength: 4096);
    private readonly TextParameter _system = new("system", "Instruction put before the prompt.", "");
    private readonly TextParameter _template = new(
        "template", "Chat form: auto is the model's own, plain just continues the text.", "auto", ["auto", .. ChatTemplate.All.Select(t => t.Name)]);
    private readonly NumberParameter<long> _maxTokens;
    private readonly NumberParameter<double> _temperature;
    private readonly NumberParameter<long> _topK;
    private readonly NumberParameter<double> _topP;
    private readonly NumberParameter<double> _minP;
    private readonly NumberParameter<double> _repetitionPenalty;
    private readonly NumberParameter<long> _seed;
    private readonly TextListParameter _stop = new("stop", "Texts that end the generation; they are left out.", 16);
    private readonly TextParameter _schema = new("json_schema", "JSON schema, as a JSON text, that the answer will satisfy.", "");
    private readonly TextParameter _regex = new("regex", "Regular expression that the answer will match as a whole.", "", maxLength: 4096);
    private readonly TextListParameter _choices = new("choices", "The answer will be one of these texts.", 1000);
    private readonly TextParameter _draft = new("draft", "Model of the same vocabulary that guesses ahead; empty takes the one that the model's card names.", "", maxLength: 4096);
    private readonly TextParameter _speculate = new("speculate", "What guesses ahead to answer sooner; the text is the same.", Guidance.Modes[0], Guidance.Modes);
    private readonly NumberParameter<double> _deadline;
    private readonly RememberParameter _remember = new(
        "memory", "true recalls what was stored on the prompt, puts it before the prompt and stores prompt and answer; the name of a scope does so on that shelf only.");
    private readonly NumberParameter<long> _memoryBudget;
    private readonly TextParameter _session = new("session", "With memory: the conversation that the new turns belong to; one per server run if empty.", "", maxLength: 1000);
    private readonly ToolParameter[] _parameters;

    /// <summary>A result.</summary>
    internal sealed record GeneratedText(
        [property: Description("The generated text, without the prompt.")] string Text,
        [property: Description("Model that wrote it.")] string Model,
        [property: Description("stop: a stop text appeared; eos: the model ended; length: max_tokens or the context was reached; deadline: time was up.")]
        string StopReason,
        [property: Description("Tokens of the prompt, chat form included.")] int PromptTokens,
        [property: Description("Tokens generated.")] int CompletionTokens,
        double PromptTokensPerSecond,
        double DecodeTokensPerSecond,
        [property: Description("From the request to the first token; absent if there was none.")] double? TimeToFirstTokenSeconds,
        [property: Description("What guessing ahead did; absent where it was off.")] SpeculationFacts? Speculation,
        [property: Description("With memory: ids of the units put before the prompt.")] string[]? Recalled,
        [property: Description("With model auto: why this one, with the numbers.")] string? ModelReason,
        [property: Description("Why the memory was not read or not written; absent if all went well.")] string? MemoryProblem);

    public GenerateTool(AppSettings settings, ModelLibrary library, LoadedModels models, ContextMemory memory, AutoModel auto, TimeProvider clock)
    {
        (_settings, _library, _models, _memory, _auto, _clock) = (settings, library, models, memory, auto, clock);
        var defaults = settings.Generation;
        _maxTokens = new("max_tokens", "Tokens to generate at most.", 1, 1_000_000, defaults.MaxTokens);
        _temperature = new("temperature", "0 always takes the most probable token; higher is more varied.", 0, 10, Exact(defaults.Temperature));
        _topK = new("top_k", "Choose among the k most probable tokens; 0 is off.", 0, int.MaxValue, defaults.TopK);
        _topP = new("top_p", "Choose among the most probable tokens of this mass; 1 is off.", 0.001, 1, Exact(defaults.TopP));
        _minP = new("min_p", "Drop tokens below this share of the most probable one; 0 is off.", 0, 0.999, Exact(defaults.MinP));
        _repetitionPenalty = new("repetition_penalty", "Above 1 weakens tokens already seen.", 0.01, 10, Exact(defaults.RepetitionPenalty));
        _seed = new("seed", "The same seed and arguments give the same text.", 0, 9007199254740991, defaults.Seed);
        _deadline = new("deadline_seconds", "Answer after this time with what there is.", 0.05, 3600, settings.Server.DeadlineSeconds);
        _memoryBudget = new("memory_budget", "With memory: tokens of recalled text at most.", 64, 1_000_000, Math.Max(64, settings.Memory.Budget));
        _parameters =
        [
            _prompt, _model, _system, _template, _maxTokens, _temperature, _topK, _topP, _minP, _repetitionPenalty, _seed, _stop, _schema, _regex, _choices,
            _draft, _speculate, _deadline, _remember, _memoryBudget, _session, .. AutoModel.Parameters,
        ];
        ProtocolTool = new Tool
        {
            Name = "generate",
            Title = "Generate text",
            Description =
                "Generates text with a small language model on this computer, offline. Returns the text, why it stopped "
                + "(stop, eos, length, deadline) and the speed. Answers within deadline_seconds with what there is. "
                + "Same arguments and seed, same text. With memory it recalls earlier context on the prompt and stores the new turns.",
            InputSchema = ToolArguments.Schema(_parameters),
            OutputSchema = ToolJson.Schema<GeneratedText>(),
            Annotations = new ToolAnnotations { ReadOnlyHint = false, DestructiveHint = false, IdempotentHint = false, OpenWorldHint = false },
        };
    }

    /// <inheritdoc/>
    public override Tool ProtocolTool { get; }

    /// <inheritdoc/>
    public override IReadOnlyList<object> Metadata { get; } = [];

    /// <inheritdoc/>
    public override async ValueTask<CallToolResult> InvokeAsync(RequestContext<CallToolRequestParams> request, CancellationToken cancellationToken = default)
    {
        var arguments = ToolArguments.Read(_parameters, request.Params?.Arguments);
        var asked = Request(arguments);
        var caller = _memory.CallerOf(request);
        var memory = Memory(arguments, caller);
        var (entry, reason) = _auto.Resolve(arguments.Get(_model), arguments, caller, asked, memory?.Budget ?? 0, arguments.GetOptional(_draft));
        var drafting = Guidance.Draft(_library, entry, arguments.Get(_draft), asked.Speculation);
        using var stopping = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var progress = new GenerationProgress(asked.MaxTokens);
        var reporting = ReportAsync(request, progress, stopping.Token);
        GenerationResult result;
        try
        {
            result = await RunAsync(entry, drafting, asked, memory, progress, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            // No progress may follow the result: the client has forgotten the token by then.
            await stopping.CancelAsync().ConfigureAwait(false);
            await reporting.ConfigureAwait(false);
        }

        cancellationToken.ThrowIfCancellationRequested();
        if (memory is not null)
        {
            await memory.StoreAsync(arguments.Get(_prompt), entry.Name, result.Text, cancellationToken).ConfigureAwait(false);
        }

        _auto.Used(entry);
        return Answer(entry, result, memory, reason);
    }

    private GenerationMemory? Memory(ToolArguments arguments, Caller caller) => arguments.Get(_remember) switch
    {
        RememberParameter.Off => null,
        var scope => new(
            _memory,
            caller,
            scope == RememberParameter.All ? null : scope,
            arguments.GetOptional(_session) ?? _memory.Session,
            (int)Math.Min(arguments.Get(_memoryBudget), _settings.Memory.MaximumBudget)),
    };

    private GenerationRequest Request(ToolArguments arguments)
    {
        var request = Prompts.Request(_settings.Generation, arguments.Get(_prompt), arguments.Get(_system));
        return request with
        {
            Template = Prompts.Template(arguments.Get(_template)),
            MaxTokens = (int)arguments.Get(_maxTokens),
            Stop = arguments.Get(_stop),
            Constraint = Guidance.Constraint(arguments.Get(_schema), arguments.Get(_regex), arguments.Get(_choices)),
            Speculation = Guidance.Mode(arguments.Get(_speculate)),
            Deadline = TimeSpan.FromSeconds(arguments.Get(_deadline)),
            Sampling = request.Sampling with
            {
                Temperature = (float)arguments.Get(_temperature),
                TopK = (int)arguments.Get(_topK),
                TopP = (float)arguments.Get(_topP),
                MinP = (float)arguments.Get(_minP),
                RepetitionPenalty = (float)arguments.Get(_repetitionPenalty),
                Seed = (ulong)arguments.Get(_seed),
            },
        };
    }

    // The deadline covers loading the model too: a first call of a large one answers in time, and the loading goes on for the next call.
    private async Task<GenerationResult> RunAsync(
        ModelEntry entry, ModelEntry? drafting, GenerationRequest asked, GenerationMemory? memory, GenerationProgress progress, CancellationToken cancel)
    {
        var began = _clock.GetTimestamp();
        using var loadDeadline = new CancellationTokenSource(asked.Deadline, _clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancel, loadDeadline.Token);
        LoadedModels.Lease lease;
        try
        {
            lease = await _models.AcquireAsync(entry, either.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            return new() { Text = "", FinishReason = FinishReason.Deadline };
        }

        using (lease)
        {
            progress.Loaded(lease.Scheduler);
            asked = memory is null ? asked : await memory.AddPackAsync(asked, lease.Scheduler.Model, cancel).ConfigureAwait(false);
            if (drafting is not null)
            {
                asked = asked with { DraftModel = await _models.DraftAsync(lease, drafting, cancel).ConfigureAwait(false) };
            }

            var left = asked.Deadline - _clock.GetElapsedTime(began);
            asked = asked with { Deadline = left > TimeSpan.Zero ? left : TimeSpan.Zero };
            return await lease.Scheduler.GenerateAsync(asked, progress.Take, cancel).ConfigureAwait(false);
        }
    }

    private async Task ReportAsync(RequestContext<CallToolRequestParams> request, GenerationProgress progress, CancellationToken stop)
    {
        if (request.Params?.ProgressToken is not { } token)
        {
            return;
        }

        try
        {
            using var timer = new PeriodicTimer(TimeSpan.FromSeconds(_settings.Server.ProgressSeconds), _clock);
            while (await timer.WaitForNextTickAsync(stop).ConfigureAwait(false))
            {
                await request.Server.NotifyProgressAsync(token, progress.Next(), cancellationToken: stop).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
            // The result is next.
        }
        catch (IOException)
        {
            // The client is gone; the generation is cancelled by other means.
        }
    }

    private static CallToolResult Answer(ModelEntry entry, GenerationResult result, GenerationMemory? memory, string? reason)
    {
        var output = new GeneratedText(
            result.Text,
            entry.Name,
            result.FinishReason.ToString().ToLowerInvariant(),
            result.PromptTokens,
            result.GeneratedTokens,
            Math.Round(result.PromptTokensPerSecond, 2),
            Math.Round(result.DecodeTokensPerSecond, 2),
            result.TimeToFirstToken is { } first ? Math.Round(first.TotalSeconds, 4) : null,
            SpeculationFacts.Of(result.Speculation),
            memory?.Recalled,
            reason,
            memory?.Problem);
        return new()
        {
            Content = [new TextContentBlock { Text = result.Text }],
            StructuredContent = ToolJson.Element(output),
        };
    }

    // 0.95f is 0.949999988 as a double; its shortest decimal text is what was meant.
    private static double Exact(float value) => double.Parse(value.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
}
