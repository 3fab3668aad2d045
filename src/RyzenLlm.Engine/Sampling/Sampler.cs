using System.Numerics;
using RyzenLlm.Kernels;

namespace RyzenLlm.Engine.Sampling;

/// <summary>
/// Chooses the next token: a pure function of (logits, history, seed, position) under fixed options. The draw is Gumbel-max with noise keyed by
/// (seed, position, token), so the choice does not depend on batch, thread or earlier draws, and a drafting model that shares the
/// noise tends to draw what the drafted-for model draws.
/// </summary>
/// <remarks>Holds scratch memory, sized at construction, and allocates nothing per token: use one instance per thread.</remarks>
public sealed class Sampler
{
    // Candidates looked at first when a nucleus is sought in the whole vocabulary; almost always enough.
    private const int FirstSelection = 256;

    // A token this many nats below the best noisy score so far wins only if 1 - u < exp(-RejectMargin).
    private const double RejectMargin = 8;

    private static readonly double RejectBound = Math.Exp(-RejectMargin);

    private readonly SamplingOptions _options;
    private readonly bool _penalizes;
    private readonly bool _raises;
    private float[] _adjusted;
    private readonly int[] _occurrences;
    private readonly float[] _keys;
    private readonly Candidate[] _candidates;
    private int _kept;
    private bool _all;

    /// <summary>A sampler for logits of the given length.</summary>
    /// <exception cref="ArgumentException">An option is out of range, or a biased token is outside the vocabulary.</exception>
    public Sampler(SamplingOptions options, int vocabularySize)
    {
        options.Validate();
        foreach (var token in options.LogitBias.Keys)
        {
            if ((uint)token >= (uint)vocabularySize)
            {
                throw new ArgumentException($"logit_bias names token {token}, outside the vocabulary of {vocabularySize} tokens.");
            }
        }

        _options = options;
        VocabularySize = vocabularySize;
        _penalizes = options.RepetitionPenalty != 1 || options.FrequencyPenalty != 0 || options.PresencePenalty != 0;
        _adjusted = _penalizes || options.LogitBias.Count > 0 ? new float[vocabularySize] : [];
        _raises = options.LogitBias.Values.Any(bias => bias > 0);
        _occurrences = _penalizes ? new int[vocabularySize] : [];
        _candidates = options.Temperature > 0 ? new Candidate[vocabularySize] : [];
        _keys = options.Temperature > 0 && options.TypicalP < 1 ? new float[vocabularySize] : [];
    }

    /// <summary>Length of every logits row.</summary>
    public int VocabularySize { get; }

    /// <summary>
    /// Which logits the choice depends on, no token being forbidden by a mask: others may be replaced by negative infinity. All of them
    /// (<see cref="TopRows.Count"/> 0) where probabilities of the whole vocabulary matter, or where some token's logit is raised.
    /// </summary>
    /// <param name="historyLength">Tokens before the one to choose, at most.</param>
    /// <param name="least">Largest logits that are wanted for other reasons, as by <see cref="Rank"/>.</param>
    /// <remarks>
    /// Lowering w logits moves at most w of the k + w largest out of the first k places, and nothing from below into them: of the tokens that
    /// stay as they are, k are among those k + w. The same w are added for a margin below the largest, which only falls by lowering.
    /// </remarks>
    public TopRows Top(int historyLength, int least = 1)
    {
        var raises = _options.RepetitionPenalty < 1 || _options.FrequencyPenalty < 0 || _options.PresencePenalty < 0 || _raises;
        var noisy = _options.Temperature > 0;
        var narrowed = !noisy || (_options.TopK > 0 && _options.TopK < VocabularySize);
        var floored = _options.MinP > 0 && _options is { TypicalP: 1, TopP: 1 };
        if (raises || (!narrowed && !floored))
        {
            return default;
        }

        var window = !_penalizes ? 0 : _options.PenaltyWindow > 0 ? Math.Min(_options.PenaltyWindow, historyLength) : historyLength;
        var count = Math.Max((long)(noisy && narrowed ? _options.TopK : 1), least) + window + _options.LogitBias.Count;
        return count > TwoStageHead.MaxTop ? default : new((int)count, VocabularySize, narrowed ? 0 : -MathF.Log(_options.MinP));
    }

    /// <summary>The token that follows.</summary>
    /// <param name="logits">One row of logits; not changed.</param>
    /// <param name="history">All tokens before it, prompt included, oldest first.</param>
    /// <param name="position">0-based position in its sequence of the token to choose.</param>
    /// <param name="allowed">Bit t % 64 of word t / 64 says whether token t may be chosen; empty allows all. Applied before everything else.</param>
    /// <exception cref="InvalidOperationException">No token can be chosen: every logit is NaN or negative infinity.</exception>
    public int Sample(ReadOnlySpan<float> logits, ReadOnlySpan<int> history, long position, ReadOnlySpan<ulong> allowed = default)
    {
        var scores = Scores(logits, history, allowed);
        var best = Largest.IndexIn(scores);
        if (_options.Temperature == 0)
        {
            return best;
        }

        Filter(scores, scores[best]);
        return Draw(scores, best, position);
    }

    /// <summary>
    /// The tokens that win the draw, its runner-up and so on: the first is what <see cref="Sample"/> returns, the others are what it would
    /// return were those before them forbidden after the filters.
    /// </summary>
    /// <param name="logits">One row of logits; not changed.</param>
    /// <param name="history">All tokens before it, prompt included, oldest first.</param>
    /// <param name="position">0-based position in its sequence of the token to choose.</param>
    /// <param name="allowed">As for <see cref="Sample"/>.</param>
    /// <param name="ids">Receives the tokens.</param>
    /// <param name="keys">Receives what they were ranked by: log-probability ratios plus noise, or logits without noise at temperature 0.</param>
    /// <returns>How many there are, at most the length of <paramref name="ids"/>; 0 if no token can be chosen: every logit is NaN or negative infinity.</returns>
    public int Rank(ReadOnlySpan<float> logits, ReadOnlySpan<int> history, long position, ReadOnlySpan<ulong> allowed, Span<int> ids, Span<double> keys)
    {
        var scores = Scores(logits, history, allowed);
        if (_options.Temperature > 0)
        {
            if (!Largest.TryIndexIn(scores, out var best))
            {
                return 0;
            }

            Filter(scores, scores[best]);
            return RankNoisy(scores, best, position, ids, keys);
        }

        Span<Candidate> likeliest = stackalloc Candidate[ids.Length];
        var count = Candidate.Select(scores, likeliest);
        for (var i = 0; i < count; i++)
        {
            (ids[i], keys[i]) = (likeliest[i].Id, likeliest[i].Key);
        }

        return count;
    }

    /// <summary>Index of the largest value, the first of equals.</summary>
    /// <exception cref="InvalidOperationException">All values are NaN or negative infinity.</exception>
    public static int ArgMax(ReadOnlySpan<float> scores) => Largest.IndexIn(scores);

    private ReadOnlySpan<float> Scores(ReadOnlySpan<float> logits, ReadOnlySpan<int> history, ReadOnlySpan<ulong> allowed)
    {
        if (logits.Length != VocabularySize)
        {
            throw new ArgumentException($"Expected {VocabularySize} logits, found {logits.Length}.", nameof(logits));
        }

        if (!allowed.IsEmpty && _adjusted.Length == 0)
        {
            _adjusted = new float[VocabularySize];
        }

        return _adjusted.Length > 0 ? Adjust(logits, history, allowed) : logits;
    }

    private ReadOnlySpan<float> Adjust(ReadOnlySpan<float> logits, ReadOnlySpan<int> history, ReadOnlySpan<ulong> allowed)
    {
        logits.CopyTo(_adjusted);
        if (!allowed.IsEmpty)
        {
            Forbid(_adjusted, allowed);
        }

        foreach (var (token, bias) in _options.LogitBias)
        {
            _adjusted[token] += bias;
        }

        if (!_penalizes)
        {
            return _adjusted;
        }

        var window = _options.PenaltyWindow > 0 && _options.PenaltyWindow < history.Length ? history[^_options.PenaltyWindow..] : history;
        foreach (var token in window)
        {
            _occurrences[token]++;
        }

        foreach (var token in window)
        {
            var count = _occurrences[token];
            if (count > 0)
            {
                ref var score = ref _adjusted[token];
                score = score > 0 ? score / _options.RepetitionPenalty : score * _options.RepetitionPenalty;
                score -= (count * _options.FrequencyPenalty) + _options.PresencePenalty;
                _occurrences[token] = 0; // once per token, and clean for the next call
            }
        }

        return _adjusted;
    }

    private static void Forbid(Span<float> scores, ReadOnlySpan<ulong> allowed)
    {
        scores[Math.Min(scores.Length, allowed.Length * 64)..].Fill(float.NegativeInfinity);
        for (var word = 0; word < allowed.Length; word++)
        {
            var block = scores[(word * 64)..Math.Min(scores.Length, (word * 64) + 64)];
            if (allowed[word] == 0)
            {
                block.Fill(float.NegativeInfinity);
                continue;
            }

            for (var forbidden = ~allowed[word]; forbidden != 0; forbidden &= forbidden - 1)
            {
                var bit = BitOperations.TrailingZeroCount(forbidden);
                if (bit < block.Length)
                {
                    block[bit] = float.NegativeInfinity;
                }
            }
        }
    }

    // Leaves the surviving tokens in _candidates[.._kept], best first, or sets _all where nothing narrowed the vocabulary.
    private void Filter(ReadOnlySpan<float> scores, float highest)
    {
        _all = true;
        _kept = 0;
        if (_options.TopK > 0 && _options.TopK < scores.Length)
        {
            _kept = Candidate.Select(scores, _candidates.AsSpan(0, _options.TopK));
            _all = false;
        }

        if (_options.TypicalP < 1)
        {
            KeepTypical(scores, highest);
        }

        if (_options.TopP < 1)
        {
            var total = Mass(scores, highest);
            KeepMass(scores, scores, highest, _options.TopP * total);
        }

        if (_options.MinP > 0)
        {
            KeepAbove(scores, highest + MathF.Log(_options.MinP));
        }
    }

    // Sum of exp(score - highest) over the candidates.
    private double Mass(ReadOnlySpan<float> scores, float highest)
    {
        double sum = 0;
        if (_all)
        {
            foreach (var score in scores)
            {
                sum += Weight(score, highest);
            }
        }
        else
        {
            foreach (var candidate in _candidates.AsSpan(0, _kept))
            {
                sum += Weight(scores[candidate.Id], highest);
            }
        }

        return sum;
    }

    private static double Weight(float score, float highest) => float.IsNaN(score) ? 0 : Math.Exp((double)score - highest);

    private void KeepTypical(ReadOnlySpan<float> scores, float highest)
    {
        // With Z = sum e^(s-h): surprise of a token is ln Z - (s-h), entropy is ln Z - sum (s-h) e^(s-h) / Z; ln Z cancels in the difference.
        var total = Mass(scores, highest);
        double mean = 0;
        var count = _all ? scores.Length : _kept;
        for (var i = 0; i < count; i++)
        {
            var score = scores[_all ? i : _candidates[i].Id];
            if (score > float.NegativeInfinity)
            {
                mean += Weight(score, highest) / total * ((double)score - highest);
            }
        }

        for (var i = 0; i < count; i++)
        {
            var id = _all ? i : _candidates[i].Id;
            var key = scores[id] > float.NegativeInfinity ? (float)-Math.Abs((double)scores[id] - highest - mean) : float.NegativeInfinity;
            if (_all)
            {
                _keys[id] = key;
            }
            else
            {
                _candidates[i] = new(id, key);
            }
        }

        _candidates.AsSpan(0, _kept).Sort();
        KeepMass(_keys, scores, highest, _options.TypicalP * total);
        foreach (ref var candidate in _candidates.AsSpan(0, _kept))
        {
            candidate = candidate with { Key = scores[candidate.Id] };
        }

        _candidates.AsSpan(0, _kept).Sort();
    }

    // Keeps the shortest prefix, in the order of the keys, whose mass reaches the wanted one; at least one token.
    private void KeepMass(ReadOnlySpan<float> keys, ReadOnlySpan<float> scores, float highest, double wanted)
    {
        for (var selection = FirstSelection; ; selection = Math.Min(4 * selection, scores.Length))
        {
            if (_all)
            {
                selection = Math.Min(selection, scores.Length);
                _kept = Candidate.Select(keys, _candidates.AsSpan(0, selection));
            }

            double mass = 0;
            for (var i = 0; i < _kept; i++)
            {
                mass += Weight(scores[_candidates[i].Id], highest);
                if (mass >= wanted)
                {
                    _kept = i + 1;
                    _all = false;
                    return;
                }
            }

            if (!_all || selection == scores.Length)
            {
                _all = false;
                return;
            }
        }
    }

    private void KeepAbove(ReadOnlySpan<float> scores, float threshold)
    {
        if (!_all)
        {
            while (scores[_candidates[_kept - 1].Id] < threshold)
            {
                _kept--; // best first: the tail goes; the best itself is always above
            }

            return;
        }

        for (var id = 0; id < scores.Length; id++)
        {
            if (scores[id] >= threshold)
            {
                _candidates[_kept++] = new(id, scores[id]);
            }
        }

        _all = false;
    }

    private int Draw(ReadOnlySpan<float> scores, int likeliest, long position)
    {
        var scale = 1 / (double)_options.Temperature;
        double highest = scores[likeliest];
        var count = _all ? scores.Length : _kept;
        var best = -1;
        var bestScore = double.NegativeInfinity;
        for (var i = 0; i < count; i++)
        {
            var id = _all ? i : _candidates[i].Id;
            var score = (scores[id] - highest) * scale;
            var uniform = Noise.Uniform(_options.Seed, position, id);

            // The variate -ln(-ln u) is below -ln(1 - u): almost all tokens of a large vocabulary are spared the two logarithms.
            if (!(score > double.NegativeInfinity) || (bestScore - score >= RejectMargin && 1 - uniform >= RejectBound))
            {
                continue;
            }

            score += Noise.ToGumbel(uniform);
            if (score > bestScore || (score == bestScore && id < best))
            {
                best = id;
                bestScore = score;
            }
        }

        return best;
    }

    // As Draw, keeping the best few in order by insertion.
    private int RankNoisy(ReadOnlySpan<float> scores, int likeliest, long position, Span<int> ids, Span<double> keys)
    {
        var scale = 1 / (double)_options.Temperature;
        double highest = scores[likeliest];
        var count = _all ? scores.Length : _kept;
        var ranked = 0;
        for (var i = 0; i < count; i++)
        {
            var id = _all ? i : _candidates[i].Id;
            var score = (scores[id] - highest) * scale;
            var uniform = Noise.Uniform(_options.Seed, position, id);
            if (!(score > double.NegativeInfinity) || (ranked == ids.Length && keys[ranked - 1] - score >= RejectMargin && 1 - uniform >= RejectBound))
            {
                continue;
            }

            score += Noise.ToGumbel(uniform);
            var at = ranked;
            while (at > 0 && (score > keys[at - 1] || (score == keys[at - 1] && id < ids[at - 1])))
            {
                at--;
            }

            if (at == ids.Length)
            {
                continue;
            }

            ranked = Math.Min(ranked + 1, ids.Length);
            ids[at..(ranked - 1)].CopyTo(ids[(at + 1)..]);
            keys[at..(ranked - 1)].CopyTo(keys[(at + 1)..]);
            (ids[at], keys[at]) = (id, score);
        }

        return ranked;
    }
}
