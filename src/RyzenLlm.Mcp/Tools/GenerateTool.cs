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
    private const double LongestDeadline = 3600;

    private readonly AppSettings _settings;
    private readonly ModelLibrary _library;
    private readonly LoadedModels _models;
    private readonly ContextMemory _memory;
    private readonly AutoModel _auto;
    private readonly TimeProvider _clock;
    private readonly LongTexts _texts;
    private readonly ServerActivity _activity;
    private readonly TenantLimits _limits;
    private readonly Conversations _conversations;
    private readonly Handles<Generation> _unfinished;

    private readonly TextParameter _prompt = new("prompt", "Text to continue, or the question to answer. Always needed, except with continue.", "");
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
    private readonly TextParameter _schema = new("json_schema", "JSON schema, as a JSON text, that the answer will satisfy.", "", maxLength: 100_000);
    private readonly TextParameter _regex = new("regex", "Regular expression that the answer will match as a whole.", "", maxLength: 4096);
    private readonly TextListParameter _choices = new("choices", "The answer will be one of these texts.", 1000);
    private readonly TextParameter _draft = new("draft", "Model of the same vocabulary that guesses ahead; empty takes the one that the model's card names.", "", maxLength: 4096);
    private readonly TextParameter _speculate = new("speculate", "What guesses ahead to answer sooner; the text is the same.", Guidance.Modes[0], Guidance.Modes);
    private readonly NumberParameter<double> _deadline;
    private readonly RememberParameter _remember = new(
        "memory", "true recalls what was stored on the prompt, puts it before the prompt and stores prompt and answer; the name of a scope does so on that shelf only.");
    private readonly NumberParameter<long> _memoryBudget;
    private readonly TextParameter _session = new(
        "session",
        "Name of a conversation, new or old: its earlier turns come before the prompt and cost nothing again. With memory, the turns are stored under it too.",
        "",
        maxLength: 1000);
    private readonly TextParameter _continue = new(
        "continue", "What continue_from of an answer said: goes on exactly where that one stopped. Beside it only deadline_seconds may be given.", "", maxLength: 100);
    private readonly ToolParameter[] _parameters;

    /// <summary>A result.</summary>
    internal sealed record GeneratedText(
        [property: Description("The generated text, without the prompt; its beginning only where text_uri is given.")] string Text,
        [property: Description("Model that wrote it.")] string Model,
        [property: Description("stop: a stop text appeared; eos: the model ended; length: max_tokens or the context was reached; deadline: time was up.")]
        string StopReason,
        [property: Description("With stop_reason deadline: pass it as continue, and the next call goes on exactly there.")] string? ContinueFrom,
        [property: Description("Resource with the whole text, where that is too long for an answer.")] string? TextUri,
        [property: Description("Tokens of the prompt, chat form and earlier turns of the session included.")] int PromptTokens,
        [property: Description("How many of them were known from earlier calls and cost nothing.")] int ReusedTokens,
        [property: Description("Tokens generated.")] int CompletionTokens,
        double PromptTokensPerSecond,
        double DecodeTokensPerSecond,
        [property: Description("From the request to the first token; absent if there was none.")] double? TimeToFirstTokenSeconds,
        [property: Description("What guessing ahead did; absent where it was off.")] SpeculationFacts? Speculation,
        [property: Description("With memory: ids of the units put before the prompt.")] string[]? Recalled,
        [property: Description("With model auto: why this one, with the numbers.")] string? ModelReason,
        [property: Description("Why the memory was not read or not written; absent if all went well.")] string? MemoryProblem);

    public GenerateTool(
        AppSettings settings, ModelLibrary library, LoadedModels models, ContextMemory memory, Conversations conversations, AutoModel auto, TimeProvider clock, LongTexts texts,
        ServerActivity activity, TenantLimits limits)
    {
        (_settings, _library, _models, _memory, _conversations) = (settings, library, models, memory, conversations);
        (_auto, _clock, _texts, _activity, _limits) = (auto, clock, texts, activity, limits);
        _unfinished = new(clock, TimeSpan.FromMinutes(30), perTenant: 64);
        var defaults = settings.Generation;
        _maxTokens = new("max_tokens", "Tokens to generate at most.", 1, 1_000_000, defaults.MaxTokens);
        _temperature = new("temperature", "0 always takes the most probable token; higher is more varied.", 0, 10, Exact(defaults.Temperature));
        _topK = new("top_k", "Choose among the k most probable tokens; 0 is off.", 0, int.MaxValue, defaults.TopK);
        _topP = new("top_p", "Choose among the most probable tokens of this mass; 1 is off.", 0.001, 1, Exact(defaults.TopP));
        _minP = new("min_p", "Drop tokens below this share of the most probable one; 0 is off.", 0, 0.999, Exact(defaults.MinP));
        _repetitionPenalty = new("repetition_penalty", "Above 1 weakens tokens already seen.", 0.01, 10, Exact(defaults.RepetitionPenalty));
        _seed = new("seed", "The same seed and arguments give the same text.", 0, 9007199254740991, defaults.Seed);
        _deadline = new("deadline_seconds", "Answer after this time with what there is.", 0.05, LongestDeadline, settings.Server.DeadlineSeconds);
        _memoryBudget = new("memory_budget", "With memory: tokens of recalled text at most.", 64, 1_000_000, Math.Max(64, settings.Memory.Budget));
        _parameters =
        [
            _prompt, _model, _system, _template, _maxTokens, _temperature, _topK, _topP, _minP, _repetitionPenalty, _seed, _stop, _schema, _regex, _choices,
            _draft, _speculate, _deadline, _remember, _memoryBudget, _session,
            _continue, .. AutoModel.Parameters,
        ];
        ProtocolTool = new Tool
        {
            Name = "generate",
            Title = "Generate text",
            Description =
                "Generates text with a small language model on this computer, offline. Returns the text, why it stopped "
                + "(stop, eos, length, deadline) and the speed. Answers within deadline_seconds with what there is; then continue goes on from there. "
                + "Same arguments and seed, same text. With session it goes on with that conversation: give only the new prompt. "
                + "With memory it recalls earlier context on the prompt and stores the new turns.",
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
        var caller = _memory.CallerOf(request);
        _limits.CheckTokens(caller.Tenant);
        var isTask = CallTasks.Of(request) is not null;
        var generation = arguments.GetOptional(_continue) is { } handle ? Unfinished(caller, handle, arguments, isTask) : Begin(arguments, caller, isTask);
        using var conversation = await EnterAsync(caller, generation, cancellationToken).ConfigureAwait(false);
        generation = conversation is null || generation.Asked.From is not null ? generation : generation with { Asked = conversation.Ask(generation.Asked) };
        using var stopping = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var progress = new GenerationProgress(generation.Asked.MaxTokens, generation.Tokens);
        var reporting = ReportAsync(request, progress, stopping.Token);
        GenerationResult result;
        try
        {
            (generation, result) = await RunAsync(generation, conversation, progress, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            // No progress may follow the result: the client has forgotten the token by then.
            await stopping.CancelAsync().ConfigureAwait(false);
            await reporting.ConfigureAwait(false);
            _limits.Charge(caller.Tenant, progress.Tokens); // also where the answer is not wanted any more
        }

        _activity.Answered(result);
        cancellationToken.ThrowIfCancellationRequested();
        if (generation.Memory is { } memory)
        {
            await memory.StoreAsync(generation.Prompt, generation.Model.Name, result.Text, cancellationToken).ConfigureAwait(false);
        }

        _auto.Used(generation.Model);
        return Answer(caller, generation, result);
    }

    private async Task<Conversations.Conversation?> EnterAsync(Caller caller, Generation generation, CancellationToken cancel)
    {
        if (generation.Session is not { } session)
        {
            return null;
        }

        using var deadline = new CancellationTokenSource(generation.Asked.Deadline, _clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancel, deadline.Token);
        try
        {
            return await _conversations.EnterAsync(caller, session, either.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            throw new ArgumentException($"Another call of session {session} is not answered yet: wait for its answer, or use another session.");
        }
    }

    private Generation Begin(ToolArguments arguments, Caller caller, bool isTask)
    {
        if (arguments.Get(_prompt) is not { Length: > 0 } prompt)
        {
            throw new ArgumentException("prompt is missing: it must be a text of at least 1 character.");
        }

        var asked = Request(arguments, isTask) with { Tenant = caller.Tenant };
        var memory = Memory(arguments, caller);
        var session = arguments.GetOptional(_session);
        var (entry, reason) = _auto.Resolve(
            arguments.Get(_model), arguments, caller, () => session is null ? asked : asked with { Turns = [.. _conversations.Glance(caller, session), .. asked.Turns] },
            memory?.Budget ?? 0, arguments.GetOptional(_draft));
        var drafting = Guidance.Draft(_library, entry, arguments.Get(_draft), asked.Speculation, caller);
        return new(entry, drafting, asked, prompt, memory, session, reason);
    }

    private Generation Unfinished(Caller caller, string handle, ToolArguments arguments, bool isTask)
    {
        if (arguments.Others(_continue, _deadline) is [_, ..] others)
        {
            throw new ArgumentException($"continue goes on with the arguments of the first call: leave out {string.Join(", ", others)}.");
        }

        var generation = _unfinished.Find(caller, handle)
            ?? throw new ArgumentException("There is nothing to continue under this name: it is wrong or older than 30 minutes. Call generate with the prompt again.");
        if (generation.Memory is not null)
        {
            RequireMemory(caller);
        }

        if (!generation.IsCurrent)
        {
            throw new ArgumentException($"The file of {generation.Model.Name} has changed since, so its text cannot be continued: call generate with the prompt again.");
        }

        return generation with { Asked = generation.Asked with { Deadline = Deadline(arguments, isTask) } };
    }

    private GenerationMemory? Memory(ToolArguments arguments, Caller caller)
    {
        var scope = arguments.Get(_remember);
        if (scope == RememberParameter.Off)
        {
            return null;
        }

        RequireMemory(caller);
        return new(
            _memory,
            caller,
            scope == RememberParameter.All ? null : scope,
            arguments.GetOptional(_session),
            (int)Math.Min(arguments.Get(_memoryBudget), _settings.Memory.MaximumBudget));
    }

    private static void RequireMemory(Caller caller)
    {
        caller.Require(Scopes.Recall);
        caller.Require(Scopes.Store);
    }

    // Nobody waits for the answer of a task, so only a deadline that was asked for ends it early.
    private TimeSpan Deadline(ToolArguments arguments, bool isTask) =>
        TimeSpan.FromSeconds(isTask && !arguments.Has(_deadline) ? LongestDeadline : arguments.Get(_deadline));

    private GenerationRequest Request(ToolArguments arguments, bool isTask)
    {
        var request = Prompts.Request(_settings.Generation, arguments.Get(_prompt), arguments.Get(_system));
        return request with
        {
            Template = Prompts.Template(arguments.Get(_template)),
            MaxTokens = (int)arguments.Get(_maxTokens),
            Stop = arguments.Get(_stop),
            Constraint = Guidance.Constraint(arguments.Get(_schema), arguments.Get(_regex), arguments.Get(_choices)),
            Speculation = Guidance.Mode(arguments.Get(_speculate)),
            Deadline = Deadline(arguments, isTask),
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
    private async Task<(Generation Generation, GenerationResult Result)> RunAsync(
        Generation generation, Conversations.Conversation? conversation, GenerationProgress progress, CancellationToken cancel)
    {
        var began = _clock.GetTimestamp();
        var asked = generation.Asked;
        using var loadDeadline = new CancellationTokenSource(asked.Deadline, _clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancel, loadDeadline.Token);
        LoadedModels.Lease lease;
        try
        {
            lease = await _models.AcquireAsync(generation.Model, either.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            return (generation, new() { Text = "", FinishReason = FinishReason.Deadline, Stop = asked.From });
        }

        using (lease)
        {
            progress.Loaded(lease.Scheduler);
            if (generation.Memory is { } memory && asked.From is null)
            {
                asked = await memory.AddPackAsync(asked, lease.Scheduler.Model, cancel).ConfigureAwait(false);
                generation = generation with { Asked = generation.Asked with { Turns = asked.Turns } };
            }

            if (conversation is not null)
            {
                asked = asked with { Reuse = StateReuse.Disk, Said = conversation.SaidIn(lease.Scheduler.Model.Tokenizer) };
            }

            if (generation.Draft is { } draft)
            {
                asked = asked with { DraftModel = await _models.DraftAsync(lease, draft, cancel).ConfigureAwait(false) };
            }

            var left = asked.Deadline - _clock.GetElapsedTime(began);
            asked = asked with { Deadline = left > TimeSpan.Zero ? left : TimeSpan.Zero };
            var result = await lease.Scheduler.GenerateAsync(asked, progress.Take, cancel).ConfigureAwait(false);
            conversation?.Keep(asked.Turns, generation.Written, result, lease.Scheduler.Model.Tokenizer!);
            return (generation, result.FinishReason == FinishReason.Deadline ? result with { Stop = result.Stop ?? asked.From } : result);
        }
    }

    private async Task ReportAsync(RequestContext<CallToolRequestParams> request, GenerationProgress progress, CancellationToken stop)
    {
        var task = CallTasks.Of(request);
        if (request.Params?.ProgressToken is null && task is null)
        {
            return;
        }

        try
        {
            using var timer = new PeriodicTimer(TimeSpan.FromSeconds(_settings.Server.ProgressSeconds), _clock);
            while (await timer.WaitForNextTickAsync(stop).ConfigureAwait(false))
            {
                var next = progress.Next();
                task?.Report(next.Message!, _clock.GetUtcNow());
                if (request.Params?.ProgressToken is { } token)
                {
                    await request.Server.NotifyProgressAsync(token, next, cancellationToken: stop).ConfigureAwait(false);
                }
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

    private CallToolResult Answer(Caller caller, Generation generation, GenerationResult result)
    {
        var handle = result.FinishReason == FinishReason.Deadline
            ? _unfinished.Add(caller, generation with { Asked = generation.Asked with { From = result.Stop }, Written = generation.Written + result.Text })
            : null;
        var link = _texts.LinkTo(caller, result.Text, $"Text of {generation.Model.Name}");
        var text = link is null ? result.Text : LongTexts.Beginning(result.Text);
        var output = new GeneratedText(
            text,
            generation.Model.Name,
            result.FinishReason.ToString().ToLowerInvariant(),
            handle,
            link?.Uri,
            result.PromptTokens,
            result.ReusedTokens,
            result.GeneratedTokens,
            Math.Round(result.PromptTokensPerSecond, 2),
            Math.Round(result.DecodeTokensPerSecond, 2),
            result.TimeToFirstToken is { } first ? Math.Round(first.TotalSeconds, 4) : null,
            SpeculationFacts.Of(result.Speculation),
            generation.Memory?.Recalled,
            generation.Reason,
            generation.Memory?.Problem);
        List<ContentBlock> content = [new TextContentBlock { Text = text }];
        if (link is not null)
        {
            content.Add(new TextContentBlock { Text = $"[The text has {result.Text.Length} characters; this was its beginning. The whole of it: {link.Uri}]" });
            content.Add(link);
        }

        if (handle is not null)
        {
            content.Add(new TextContentBlock
            {
                Text = $"[Time was up after {generation.Tokens + result.GeneratedTokens} tokens. To go on from here, call generate with continue \"{handle}\".]",
            });
        }

        return new() { Content = content, StructuredContent = ToolJson.Element(output) };
    }

    // 0.95f is 0.949999988 as a double; its shortest decimal text is what was meant.
    private static double Exact(float value) => double.Parse(value.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
}
