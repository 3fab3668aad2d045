using System.Runtime.InteropServices;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Kernels;

namespace RyzenLlm.Engine.Decoding.Speculation;

/// <summary>
/// Guesses what a smaller model of the same vocabulary says (Leviathan et al. 2023). Its sampler has the target's options and noise, so it
/// draws what the target draws as often as their distributions allow.
/// </summary>
/// <remarks>The draft model is used on the target's thread and by no other; its own session follows the target's text and goes back where they part.</remarks>
public sealed class ModelDraft : Draft
{
    /// <summary>Logits looked at, whatever the sampling asks for: what is not among them is hardly ever drawn.</summary>
    internal const int Candidates = 512;

    // Tokens drawn per place, best first; only the best is drafted on from.
    private const int Ranks = 3;

    // Text before this many tokens is not read when the draft joins a longer one.
    private const int Window = 1024;

    // Steps between two looks at whether a draft that did not pay pays now; doubles up to the last.
    private const int FirstPause = 16;
    private const int LongestPause = 256;

    // Upper ends of the lead, in nats, by which a draw was won: one grade each and one above. Runners-up have grades of their own.
    private static readonly double[] Leads = [0.1, 0.25, 0.5, 1, 2, 4, 8];

    private readonly LanguageModel _model;
    private readonly Session _session;
    private readonly Sampler _sampler;
    private readonly TopRows _top;
    private readonly HitRates _rates;
    private readonly StepCosts _costs;
    private readonly TimeProvider _clock;
    private readonly Batch _batch = new();
    private readonly List<int> _tokens = []; // the target's text as of the last call, then what was drafted on
    private readonly int[] _ids = new int[Ranks];
    private readonly double[] _keys = new double[Ranks];
    private int _begin;  // position of the first token that the session knows
    private int _fed;    // positions before this one are in the session
    private int _common; // tokens of the text at the last call
    private int _pause = FirstPause;
    private int _skipped;

    /// <summary>A draft for one sequence.</summary>
    /// <param name="model">The draft model.</param>
    /// <param name="target">The model drafted for.</param>
    /// <param name="options">The target's sampling.</param>
    /// <param name="rates">What is known of its guesses; see <see cref="NewRates"/>.</param>
    /// <param name="costs">What is known of its forward passes.</param>
    /// <param name="clock">Time for measuring them.</param>
    /// <exception cref="ArgumentException">The vocabularies differ; the message names both models.</exception>
    public ModelDraft(LanguageModel model, LanguageModel target, SamplingOptions options, HitRates rates, StepCosts costs, TimeProvider clock)
    {
        CheckVocabulary(model, target);
        (_model, _rates, _costs, _clock) = (model, rates, costs, clock);
        var vocabulary = model.Tokenizer?.VocabularySize ?? model.Info.VocabularySize;
        _top = new(Math.Min(Candidates, vocabulary), vocabulary);
        _sampler = new(options.TopK is > 0 and < Candidates ? options : options with { TopK = Candidates }, vocabulary);
        _session = model.CreateSession();
    }

    /// <inheritdoc/>
    public override string Name => "draft";

    // Rate of a guess whose lead is not known yet.
    private double AverageRate => _rates.Average(Leads.Length + 1);

    // A recurrent session goes back to its marks only; a transformer's context has an end.
    private int DepthLimit => _model.Info.IsRecurrent ? RecurrentSession.MarkLimit - 2 : Math.Max(1, _model.Info.ContextLength / 4);

    /// <summary>Rates that grow with the lead of a draw, low ones for runners-up, and last that of tokens which a constraint forces.</summary>
    public static HitRates NewRates() => new(0.3, 0.35, 0.45, 0.55, 0.65, 0.8, 0.9, 0.95, 0.15, 0.06, 0.99);

    /// <summary>Throws unless a token means the same to both models.</summary>
    /// <exception cref="ArgumentException">The vocabularies differ; the message names both models.</exception>
    public static void CheckVocabulary(LanguageModel model, LanguageModel target)
    {
        var same = model.Tokenizer is null && target.Tokenizer is null
            ? model.Info.VocabularySize == target.Info.VocabularySize
            : model.Tokenizer is not null && model.Tokenizer.Fingerprint == target.Tokenizer?.Fingerprint;
        if (!same)
        {
            throw new ArgumentException(
                $"{model.Info.Name} cannot draft for {target.Info.Name}: their vocabularies differ ({Describe(model)} and {Describe(target)}). "
                + "Choose a draft model trained with the same tokenizer.");
        }
    }

    /// <inheritdoc/>
    public override void Propose(ReadOnlySpan<int> tokens, DraftTree tree, in DraftBudget budget)
    {
        if (tree.MaxDepth == 0 || !Wanted(budget))
        {
            return;
        }

        Follow(tokens);
        var depth = Math.Min(tree.MaxDepth, DepthLimit);
        for (var node = DraftTree.Root; tree.Depth(node) < depth;)
        {
            node = Guess(tree, node);
            if (node < 0 || !budget.Pays(tree.Probability(node) * AverageRate, _costs.Plain))
            {
                break;
            }

            _tokens.Add(tree[node].Token);
        }
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        _batch.Dispose();
        _session.Dispose();
        base.Dispose();
    }

    private static string Describe(LanguageModel model) =>
        model.Tokenizer is { } tokenizer ? $"{tokenizer.VocabularySize} tokens, fingerprint {tokenizer.Fingerprint[..12]}" : $"{model.Info.VocabularySize} ids without text";

    // Whether to draft at all: if a guess is expected to pay, or to see now and then whether it would.
    private bool Wanted(in DraftBudget budget)
    {
        if (budget.Pays(AverageRate, _costs.Plain))
        {
            _pause = FirstPause;
            _skipped = 0;
            return true;
        }

        if (budget.Suspended || ++_skipped < _pause)
        {
            return false;
        }

        _pause = Math.Min(2 * _pause, LongestPause);
        _skipped = 0;
        return true;
    }

    // Brings the session to the last but one token of the text: back to where text and guesses part, then on.
    private void Follow(ReadOnlySpan<int> tokens)
    {
        var shared = Math.Min(_common, tokens.Length - 1);
        var guesses = CollectionsMarshal.AsSpan(_tokens);
        shared += guesses[shared..Math.Min(guesses.Length, tokens.Length - 1)].CommonPrefixLength(tokens[shared..]);
        var keep = Math.Min(shared, _fed);
        if (_fed > keep)
        {
            GoBack(keep);
        }

        _tokens.RemoveRange(shared, _tokens.Count - shared);
        _tokens.AddRange(tokens[shared..]);
        _common = tokens.Length;
        if (_fed == _begin)
        {
            Restart(Math.Max(0, tokens.Length - Window));
        }

        var room = _model.Info.ContextLength;
        if (!_model.Info.IsRecurrent && tokens.Length - _begin + DepthLimit > room)
        {
            Restart(Math.Max(0, tokens.Length - (room / 2)));
        }
    }

    private void GoBack(int position)
    {
        if (position >= _begin && _session.CanRewind(position - _begin))
        {
            _session.Rewind(position - _begin);
            _fed = position;
        }
        else
        {
            Restart(_begin);
        }
    }

    private void Restart(int begin)
    {
        _session.Rewind(0);
        (_begin, _fed) = (begin, begin);
    }

    // Computes what is not computed and adds what the draft model draws next; the best of it is returned.
    private int Guess(DraftTree tree, int node)
    {
        var forced = tree.Forced(node);
        if (forced >= 0)
        {
            return tree.Add(node, forced, _rates, Leads.Length + Ranks);
        }

        var allowed = tree.Allowed(node);
        Feed();
        var logits = _batch.Logits(_batch.Count - 1)[.._sampler.VocabularySize];
        var count = _sampler.Rank(logits, CollectionsMarshal.AsSpan(_tokens), _tokens.Count, allowed, _ids, _keys);
        if (count == 0)
        {
            return DraftTree.Refused; // the constraint forbids all that the draft model thinks likely
        }

        var lead = count > 1 ? _keys[0] - _keys[1] : double.PositiveInfinity;
        var grade = 0;
        while (grade < Leads.Length && lead >= Leads[grade])
        {
            grade++;
        }

        var best = tree.Add(node, _ids[0], _rates, grade);
        for (var rank = 1; rank < count; rank++)
        {
            tree.Add(node, _ids[rank], _rates, Leads.Length + rank);
        }

        return best;
    }

    private void Feed()
    {
        var started = _clock.GetTimestamp();
        var rows = 0;
        while (_fed < _tokens.Count)
        {
            _batch.Clear();
            var end = Math.Min(_tokens.Count, _fed + Decoder.ChunkRows);
            for (rows = 0; _fed < end; _fed++, rows++)
            {
                var last = _fed == _tokens.Count - 1;
                _batch.Add(_session, _tokens[_fed], logits: last, mark: _fed >= _common - 1, top: last ? _top : default);
            }

            _model.Forward(_batch);
        }

        if (rows <= 8)
        {
            _costs.Record(rows, _clock.GetElapsedTime(started).TotalSeconds);
        }
    }
}
