using System.Text;
using RyzenLlm.Engine.Decoding.Constraints;
using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Engine.Decoding;

/// <summary>
/// One request in progress, from text to text: template and tokenizer in front of a <see cref="Decoder"/>, whole characters and stop
/// strings behind it. Driven by the <see cref="Scheduler"/> from the model's thread.
/// </summary>
internal sealed class TextGenerator : IDisposable
{
    private readonly ITokenizer _tokenizer;
    private readonly Decoder _decoder;
    private readonly Speculator? _speculator;
    private readonly IReadOnlySet<int> _endTokens;
    private readonly Utf8Stream _characters = new();
    private readonly StopMatcher _stops;
    private readonly StringBuilder _text = new();
    private readonly GenerationSink? _sink;
    private readonly TimeProvider _clock;
    private readonly long _submitted;
    private readonly long _started;
    private readonly int _earlierTokens;
    private long? _firstToken;
    private long _lastToken;

    /// <summary>Reads the request and opens a session; nothing is computed yet.</summary>
    /// <param name="model">A model with a vocabulary.</param>
    /// <param name="experience">What speculation has learned with it.</param>
    /// <param name="constraints">Constraints for its vocabulary.</param>
    /// <param name="request">The request.</param>
    /// <param name="sink">Receives every step, or null.</param>
    /// <param name="clock">Time for the measurements.</param>
    /// <param name="submitted">Timestamp of the request.</param>
    /// <exception cref="ArgumentException">The request cannot be served; the message says what to change.</exception>
    public TextGenerator(
        LanguageModel model,
        Experience experience,
        ConstraintCache constraints,
        GenerationRequest request,
        GenerationSink? sink,
        TimeProvider clock,
        long submitted)
    {
        _tokenizer = model.Tokenizer
            ?? throw new ArgumentException($"{model.Info.Name} has no vocabulary, so it cannot read or write text: choose another model.");
        var template = request.Template ?? ChatTemplate.For(model.Info.Architecture, model.Info.ChatTemplate, _tokenizer);
        var tokens = request.From?.Tokens ?? _tokenizer.Encode(template.Render(request.Turns));
        var promptTokens = request.From?.PromptTokens ?? tokens.Length;
        var sampler = new Sampler(request.Sampling, _tokenizer.VocabularySize);
        var constraint = request.Constraint is { } wanted ? constraints[wanted] : null;
        if (constraint is not null && request.Stop.Count > 0)
        {
            throw new ArgumentException($"Stop texts could cut off what {request.Constraint!.Description} asks for: leave one of the two out.");
        }

        _endTokens = template.EndTokens(_tokenizer);
        _stops = constraint is not null ? new([]) : new([.. request.Stop, .. template.StopStrings]);
        _sink = sink;
        _clock = clock;
        _submitted = submitted;
        _started = clock.GetTimestamp();
        var session = model.CreateSession();
        try
        {
            if (request.Speculation != SpeculationMode.Off)
            {
                _speculator = new(experience.Drafts(request.Speculation, request.DraftModel, request.Sampling, clock), experience.Costs, clock);
            }

            _decoder = new(session, tokens, sampler, _endTokens, request.MaxTokens, _speculator, constraint, promptTokens);
            _earlierTokens = _decoder.GeneratedTokens;
            foreach (var token in tokens.AsSpan(promptTokens))
            {
                _stops.Push(Characters(token)); // emitted by the earlier call, as far as it was certain
            }
        }
        catch
        {
            _speculator?.Dispose();
            session.Dispose();
            throw;
        }
    }

    /// <summary>Whether the generation has ended.</summary>
    public bool Finished => _decoder.Finish is not null;

    /// <summary>Adds the rows of the next step.</summary>
    public void AddRows(Batch batch) => _decoder.AddRows(batch);

    /// <summary>After the forward pass: takes the new tokens, if there are any, and passes on the text that they complete.</summary>
    public void Advance(Batch batch)
    {
        while (_decoder.TakeLogits(batch, out var token))
        {
            _lastToken = _clock.GetTimestamp();
            _firstToken ??= _lastToken;
            if (_endTokens.Contains(token))
            {
                return;
            }

            Emit(_stops.Push(Characters(token)), token);
            if (_stops.Stopped)
            {
                _decoder.End(FinishReason.Stop); // also where the last token allowed completed it
                return;
            }
        }
    }

    /// <summary>Ends the generation from outside.</summary>
    public void End(FinishReason reason) => _decoder.End(reason);

    /// <summary>The result, after the end.</summary>
    public GenerationResult Complete()
    {
        var reason = _decoder.Finish ?? throw new InvalidOperationException("The generation has not ended.");
        if (reason != FinishReason.Deadline)
        {
            // Held back as the possible beginning of a stop string or of a character: certain now.
            Emit(_stops.Push(_characters.Flush()), -1);
            Emit(_stops.Flush(), -1);
        }

        return new()
        {
            Text = _text.ToString(),
            FinishReason = reason,
            PromptTokens = _decoder.PromptTokens,
            GeneratedTokens = _decoder.GeneratedTokens - _earlierTokens,
            Stop = reason == FinishReason.Deadline ? new([.. _decoder.Tokens], _decoder.PromptTokens) : null,
            TimeToFirstToken = _firstToken is { } first ? _clock.GetElapsedTime(_submitted, first) : null,
            QueueTime = _clock.GetElapsedTime(_submitted, _started),
            PromptTime = _firstToken is { } read ? _clock.GetElapsedTime(_started, read) : TimeSpan.Zero,
            DecodeTime = _firstToken is { } begun ? _clock.GetElapsedTime(begun, _lastToken) : TimeSpan.Zero,
            Speculation = _speculator?.Report(),
        };
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _speculator?.Dispose();
        _decoder.Session.Dispose();
    }

    private ReadOnlySpan<char> Characters(int token) => _tokenizer.IsSpecial(token) ? [] : _characters.Push(_tokenizer.TokenBytes(token));

    private void Emit(ReadOnlySpan<char> text, int token)
    {
        _text.Append(text);
        if (!text.IsEmpty || token >= 0)
        {
            _sink?.Invoke(new(text, token));
        }
    }
}
