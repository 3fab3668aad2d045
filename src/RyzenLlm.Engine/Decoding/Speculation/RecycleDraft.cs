using RyzenLlm.Engine.Sampling;

namespace RyzenLlm.Engine.Decoding.Speculation;

/// <summary>
/// The likeliest successors that the target named when it last saw each token (token recycling, Luo et al. 2024, "Turning trash into
/// treasure"): what a step discards is kept as a guess for later ones. One table per target model.
/// </summary>
/// <param name="vocabularySize">Tokens of the target.</param>
public sealed class SuccessorTable(int vocabularySize)
{
    /// <summary>Successors kept per token: 4 MB for 128k tokens.</summary>
    public const int Successors = 8;

    private readonly int[] _successors = NewTable(vocabularySize);

    /// <summary>Successors of a token, likeliest first; -1 where none are known.</summary>
    public ReadOnlySpan<int> this[int token] => _successors.AsSpan(token * Successors, Successors);

    /// <summary>Replaces a token's successors by the tokens with the highest logits.</summary>
    public void Learn(int token, ReadOnlySpan<float> logits)
    {
        Span<Candidate> best = stackalloc Candidate[Successors];
        var count = Candidate.Select(logits, best);
        var row = _successors.AsSpan(token * Successors, Successors);
        for (var i = 0; i < row.Length; i++)
        {
            row[i] = i < count ? best[i].Id : -1;
        }
    }

    private static int[] NewTable(int vocabularySize)
    {
        var table = new int[checked(vocabularySize * Successors)];
        table.AsSpan().Fill(-1);
        return table;
    }
}

/// <summary>Guesses from a <see cref="SuccessorTable"/>: a tree that grows where it is most probable, beyond what other drafts put there too.</summary>
public sealed class RecycleDraft(SuccessorTable table, HitRates rates) : Draft
{
    // Nodes beyond the tree of other drafts; those that are not worth verifying cost nothing but the search.
    private const int MostNodes = 32;

    private readonly bool[] _expanded = new bool[DraftTree.Capacity + 1]; // of the root and every node

    /// <summary>Rates that fall with the rank of the successor.</summary>
    public static HitRates NewRates() => new(0.35, 0.12, 0.07, 0.05, 0.03, 0.03, 0.02, 0.02);

    /// <inheritdoc/>
    public override string Name => "recycle";

    /// <inheritdoc/>
    public override void Propose(ReadOnlySpan<int> tokens, DraftTree tree, in DraftBudget budget)
    {
        _expanded.AsSpan().Clear();
        var limit = Math.Min(tree.Count + MostNodes, DraftTree.Capacity);
        while (tree.Count < limit && MostProbable(tree) is var node and >= DraftTree.Root)
        {
            _expanded[node + 1] = true;
            var successors = table[node < 0 ? tokens[^1] : tree[node].Token];
            for (var rank = 0; rank < successors.Length && successors[rank] >= 0 && tree.Count < limit; rank++)
            {
                tree.Add(node, successors[rank], rates, rank);
            }
        }
    }

    /// <inheritdoc/>
    public override int ObservedLogits => SuccessorTable.Successors;

    /// <inheritdoc/>
    public override void Observe(int token, ReadOnlySpan<float> logits) => table.Learn(token, logits);

    private int MostProbable(DraftTree tree)
    {
        var best = DraftTree.Refused;
        for (var node = DraftTree.Root; node < tree.Count; node++)
        {
            if (!_expanded[node + 1] && tree.Depth(node) < tree.MaxDepth && (best < DraftTree.Root || tree.Probability(node) > tree.Probability(best)))
            {
                best = node;
            }
        }

        return best;
    }
}
