using RyzenLlm.Engine.Decoding.Constraints;

namespace RyzenLlm.Engine.Decoding.Speculation;

/// <summary>
/// Guesses ahead for one sequence: lets drafts build a tree before a step, picks what is worth verifying, and learns from the outcome.
/// The <see cref="Decoder"/> walks the tree with the target's own sampler, so what is drafted decides only how far a step gets.
/// </summary>
/// <remarks>
/// Three brakes bound what a request can lose. Guesses are verified only while their measured hit rates and costs promise a gain. What they
/// did lose, if the promise failed, may not exceed a small share of the time used so far. And where a step is so short that asking the
/// drafts is felt, those that found nothing of use are asked less and less often.
/// </remarks>
public sealed class Speculator : IDisposable
{
    /// <summary>Depth of the deepest guess.</summary>
    public const int MaxDepth = 24;

    /// <summary>Share of a request's time that may be lost to wrong guesses, beside <see cref="Credit"/>.</summary>
    public const double Risk = 0.015;

    /// <summary>Part of a plain step that may be lost before any time was used: enough for a first look at a few guesses.</summary>
    public const double Credit = 0.5;

    // Steps after which a plain one is measured anew: load and clock rates change.
    private const int PlainInterval = 64;

    // Steps without verification after which a few guesses are verified to learn what rows cost; doubles up to the last.
    private const int FirstTrial = 32;
    private const int LastTrial = 512;
    private const int TrialGuesses = 2;

    // Share of a step that asking the drafts may take before they are asked less often, and the longest pause between two times.
    private const double Overhead = 0.01;
    private const int LongestPause = 64;

    private readonly Draft[] _drafts; // an array: enumerating it allocates nothing
    private readonly StepCosts _costs;
    private readonly TimeProvider _clock;
    private readonly int? _guesses;
    private readonly long _begun;
    private double _draftSeconds;
    private double _decodeSeconds; // spent on steps
    private double _plainSeconds;  // what their tokens would have taken without guesses
    private double _spent;         // on the present step
    private double _balance;       // seconds won so far
    private double _overhead; // running average of what drafting takes
    private int _sincePlain;
    private int _sinceVerify;
    private int _trial = FirstTrial;
    private int _pause;
    private int _resting;     // steps until the drafts are asked again
    private PassShare _share = PassShare.Alone;
    private int _rows;       // own rows in the present pass
    private int _guessed;    // those of them that are guesses
    private int _tokens;     // tokens of the present step
    private bool _asked;      // whether the drafts were asked before the present step
    private bool _open;

    /// <summary>Speculation for a sequence.</summary>
    /// <param name="drafts">What guesses, each seeing the guesses of those before it; disposed of with this.</param>
    /// <param name="costs">What is known of the target's passes.</param>
    /// <param name="clock">Time for measuring them.</param>
    /// <param name="guesses">Verify always this many guesses, as far as there are; null lets hit rates and costs decide.</param>
    public Speculator(IReadOnlyList<Draft> drafts, StepCosts costs, TimeProvider clock, int? guesses = null)
    {
        (_drafts, _costs, _clock, _guesses) = ([.. drafts], costs, clock, guesses);
        _begun = clock.GetTimestamp();
        ObservedLogits = drafts.Select(d => d.ObservedLogits).DefaultIfEmpty().Max();
    }

    /// <summary>Guesses that were verified.</summary>
    public int Drafted { get; private set; }

    /// <summary>Guesses that the model confirmed.</summary>
    public int Accepted { get; private set; }

    /// <summary>Steps that verified guesses.</summary>
    public int VerifySteps { get; private set; }

    /// <summary>Steps that generated tokens.</summary>
    public int Steps { get; private set; }

    /// <summary>What it did so far.</summary>
    public SpeculationReport Report() => new()
    {
        Drafts = [.. _drafts.Select(d => d.Name)],
        Drafted = Drafted,
        Accepted = Accepted,
        VerifySteps = VerifySteps,
        Steps = Steps,
        TokensPerStep = Steps > 0 ? (double)(Steps + Accepted) / Steps : 0,
        SpeedUp = _plainSeconds + Gain() is var plain and > 0 && _decodeSeconds > 0 ? plain / _decodeSeconds : null,
    };

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var draft in _drafts)
        {
            draft.Dispose();
        }
    }

    /// <summary>How many of the largest logits the drafts look at.</summary>
    internal int ObservedLogits { get; }

    /// <summary>What it knows of the target's passes; recorded by whoever runs them.</summary>
    internal StepCosts Costs => _costs;

    /// <summary>The guesses of the present step.</summary>
    internal DraftTree Tree { get; private set; } = null!;

    /// <summary>Learns which tokens can follow; called once, by the decoder.</summary>
    internal void Begin(int vocabularySize, IReadOnlySet<int> endTokens, Constraint? constraint) => Tree = new(vocabularySize, endTokens, constraint);

    /// <summary>Before a step: guesses, and adds the rows of those worth verifying behind the row of the latest token.</summary>
    /// <param name="tokens">The sequence so far.</param>
    /// <param name="rows">Rows that the sequence has in the pass already, at least 1.</param>
    /// <param name="depth">Tokens that may follow beyond the next one.</param>
    /// <param name="state">State of the constraint.</param>
    /// <param name="remaining">Tokens that may be generated.</param>
    /// <param name="share">Who else is served by the pass.</param>
    /// <param name="chosen">Receives the nodes to verify, most probable first and parents before children; <see cref="DraftTree.Capacity"/> long.</param>
    /// <returns>How many nodes were chosen.</returns>
    internal int Guess(ReadOnlySpan<int> tokens, int rows, int depth, int state, int remaining, in PassShare share, Span<int> chosen)
    {
        CloseStep();
        (_share, _rows, _guessed) = (share, rows, 0);
        Tree.Clear(Math.Min(depth, MaxDepth), state, remaining);
        _asked = _resting == 0;
        (_resting, _draftSeconds) = (Math.Max(0, _resting - 1), 0);
        var count = _asked ? Math.Min(Ask(tokens, chosen), share.Room - rows) : 0;
        _sincePlain = count == 0 ? 0 : _sincePlain;
        _sinceVerify = count > 0 ? 0 : _sinceVerify;
        _guessed = count;
        _rows = rows + count;
        return count;
    }

    /// <summary>The forward pass is done; a step's tokens follow.</summary>
    /// <param name="rows">Rows of the pass, those of other sequences included.</param>
    /// <param name="seconds">What it took.</param>
    internal void OpenStep(int rows, double seconds)
    {
        // Of a pass that others had rows in too, the costs tell better than the clock what part of it was caused here.
        _spent = _draftSeconds + (rows == _rows ? seconds : _costs.Pass(_rows + _share.OtherRows));
        _decodeSeconds += _spent;
        _open = true;
        _tokens = 0;
        Steps++;
        Drafted += _guessed;
        VerifySteps += _guessed > 0 ? 1 : 0;
    }

    /// <summary>The target's choice after a token of the tree.</summary>
    internal void Observe(int node, int parentToken, ReadOnlySpan<float> logits, int token)
    {
        _tokens++;
        if (!_asked)
        {
            return;
        }

        Tree.Record(node, token);
        foreach (var draft in _drafts)
        {
            draft.Observe(parentToken, logits);
        }
    }

    /// <summary>A guess was right, and its row goes on.</summary>
    internal void Accept() => Accepted++;

    private int Ask(ReadOnlySpan<int> tokens, Span<int> chosen)
    {
        var started = _clock.GetTimestamp();
        var pass = PlainPass();
        var lost = _guesses is null && (pass == 0 || _balance < -((Credit * pass) + (Risk * _clock.GetElapsedTime(_begun).TotalSeconds)));
        var budget = new DraftBudget(TokenSeconds(pass), _costs.Row(_rows + _share.OtherRows), Unlimited: _guesses is not null, Suspended: lost);
        foreach (var draft in _drafts)
        {
            draft.Propose(tokens, Tree, budget);
        }

        Tree.Order(chosen);
        _draftSeconds = _clock.GetElapsedTime(started).TotalSeconds;
        if (_guesses is { } wanted)
        {
            return Math.Min(wanted, Tree.Count);
        }

        var count = lost || ++_sincePlain > PlainInterval ? 0 : Worth(chosen[..Tree.Count]);
        Rest(count, pass);
        return count > 0 || lost ? count : Try();
    }

    // Long steps do not notice the drafts; in short ones, drafts of no use are paused.
    private void Rest(int count, double pass)
    {
        _overhead += (_draftSeconds - _overhead) / 8;
        _pause = count > 0 || _overhead * _share.Sequences <= Overhead * pass ? 0 : Math.Clamp(2 * _pause, 1, LongestPause);
        _resting = _pause;
    }

    // What rows cost is known from verifying only: where it seems not to pay, a few are verified now and then all the same.
    private int Try()
    {
        if (Tree.Count == 0 || ++_sinceVerify < _trial)
        {
            return 0;
        }

        _trial = Math.Min(2 * _trial, LastTrial);
        return Math.Min(TrialGuesses, Tree.Count);
    }

    private void CloseStep()
    {
        if (_open)
        {
            var gain = Gain();
            _plainSeconds += gain;
            _balance += gain - _spent;
            _open = false;
        }
    }

    // What the tokens of the open step would have taken without guesses. A further token is worth its part of a pass.
    private double Gain() => _open ? PlainPass() * (1 + ((_tokens - 1.0) / _share.Sequences)) : 0;

    // The pass without the guesses of this sequence.
    private double PlainPass() => _costs.Pass(Math.Max(1, _rows - _guessed) + _share.OtherRows);

    // What a token takes at the better of the plain and the present pace.
    private double TokenSeconds(double pass)
    {
        var tokens = Steps + Accepted;
        return _share.Sequences > 1 || tokens == 0 || _decodeSeconds == 0 ? pass / _share.Sequences : Math.Min(pass, _decodeSeconds / tokens);
    }

    private int Worth(ReadOnlySpan<int> order)
    {
        Span<double> chances = stackalloc double[DraftTree.Capacity];
        Span<double> passes = stackalloc double[DraftTree.Capacity + 1];
        passes[0] = PlainPass();
        for (var i = 0; i < order.Length; i++)
        {
            chances[i] = Tree[order[i]].Probability;
            passes[i + 1] = _costs.Pass(_rows + _share.OtherRows + i + 1);
        }

        return Pace.Guesses(chances[..order.Length], passes[..(order.Length + 1)], _draftSeconds, _share.Sequences);
    }
}
