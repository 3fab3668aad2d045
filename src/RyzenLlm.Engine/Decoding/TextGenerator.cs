using RyzenLlm.Engine.Decoding.Scheduling;
using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Sessions.Reuse;
using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Engine.Decoding;

/// <summary>
/// One request in progress, from tokens to text: a <see cref="Decoder"/>, whole characters and stop strings behind it. Driven by the
/// <see cref="Scheduler"/> from the model's thread.
/// </summary>
internal sealed class TextGenerator : IDisposable
{
    private readonly PreparedRequest _request;
    private readonly ITokenizer _tokenizer;
    private readonly Decoder _decoder;
    private readonly Speculator? _speculator;
    private readonly Utf8Stream _characters = new();
    private readonly TextRelay _relay;
    private readonly TimeProvider _clock;
    private readonly long _submitted;
    private readonly long _started;
    private readonly int _reusedTokens;
    private readonly int _earlierTokens;
    private long? _firstToken;
    private long _lastToken;

    /// <summary>A generation of which nothing is computed yet.</summary>
    /// <param name="request">The request, read.</param>
    /// <param name="state">
    /// Its session, in which the first tokens of the prompt are computed already; not the last one. It stays the caller's: this neither opens nor
    /// disposes of it, and <see cref="Tokens"/> tells what is in it at the end.
    /// </param>
    /// <param name="experience">What speculation has learned with the model.</param>
    /// <param name="relay">Receives every step.</param>
    /// <param name="clock">Time for the measurements.</param>
    /// <param name="submitted">Timestamp of the request.</param>
    /// <exception cref="ArgumentException">The request cannot be served; the message says what to change.</exception>
    public TextGenerator(PreparedRequest request, PrefixReuse state, Experience experience, TextRelay relay, TimeProvider clock, long submitted)
    {
        _request = request;
        _reusedTokens = state.ReusedTokens;
        _tokenizer = state.Session.Model.Tokenizer!;
        _relay = relay;
        _clock = clock;
        _submitted = submitted;
        _started = clock.GetTimestamp();
        var asked = request.Request;
        if (asked.Speculation != SpeculationMode.Off)
        {
            _speculator = new(experience.Drafts(asked.Speculation, asked.DraftModel, asked.Sampling, clock), experience.Costs, clock);
        }

        try
        {
            _decoder = new(state.Session, request.Prompt, request.Sampler, request.EndTokens, asked.MaxTokens, _speculator, request.Constraint, request.PromptTokens)
            {
                Marks = state.Marks,
            };
            _earlierTokens = _decoder.GeneratedTokens;
            foreach (var token in request.Prompt.AsSpan(request.PromptTokens))
            {
                request.Stops.Push(Characters(token)); // emitted by the earlier call, as far as it was certain
            }
        }
        catch
        {
            _speculator?.Dispose();
            throw;
        }
    }

    /// <summary>Whether the generation has ended.</summary>
    public bool Finished => _decoder.Finish is not null;

    /// <summary>Its state: at the end, that after all <see cref="Tokens"/> up to <see cref="Session.Position"/>.</summary>
    public Session Session => _decoder.Session;

    /// <summary>Prompt and generated tokens.</summary>
    public ReadOnlySpan<int> Tokens => _decoder.Tokens;

    /// <summary>Tokens generated so far.</summary>
    public int GeneratedTokens => _decoder.GeneratedTokens;

    /// <summary>Tokens not computed yet: many while the prompt is read, then one, or a few that a constraint forced.</summary>
    public int PendingTokens => _decoder.PendingTokens;

    /// <summary>Adds the rows of the next step.</summary>
    public void AddRows(Batch batch, in PassShare share) => _decoder.AddRows(batch, share);

    /// <summary>After the forward pass: takes the new tokens, if there are any, and passes on the text that they complete.</summary>
    public void Advance(Batch batch)
    {
        while (_decoder.TakeLogits(batch, out var token))
        {
            _lastToken = _clock.GetTimestamp();
            _firstToken ??= _lastToken;
            if (_request.EndTokens.Contains(token))
            {
                return;
            }

            _relay.Append(_request.Stops.Push(Characters(token)), token);
            if (_request.Stops.Stopped)
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
            _relay.Append(_request.Stops.Push(_characters.Flush()), -1);
            _relay.Append(_request.Stops.Flush(), -1);
        }

        return new()
        {
            Text = _relay.Text.ToString(),
            FinishReason = reason,
            PromptTokens = _decoder.PromptTokens,
            ReusedTokens = Math.Min(_reusedTokens, _decoder.PromptTokens),
            Tokens = [.. _decoder.Tokens],
            GeneratedTokens = _decoder.GeneratedTokens - _earlierTokens,
            Stop = reason == FinishReason.Deadline ? new([.. _decoder.Tokens], _decoder.PromptTokens) : null,
            TimeToFirstToken = _firstToken is { } first ? _clock.GetElapsedTime(_submitted, first) : null,
            QueueTime = _clock.GetElapsedTime(_submitted, _started),
            PromptTime = _firstToken is { } read ? _clock.GetElapsedTime(_started, read) : TimeSpan.Zero,
            DecodeTime = _firstToken is { } begun ? _clock.GetElapsedTime(begun, _lastToken) : TimeSpan.Zero,
            Speculation = _speculator?.Report(),
        };
    }

    /// <summary>Lets go of what guessed ahead; not of the session.</summary>
    public void Dispose() => _speculator?.Dispose();

    private ReadOnlySpan<char> Characters(int token) => _tokenizer.IsSpecial(token) ? [] : _characters.Push(_tokenizer.TokenBytes(token));
}
