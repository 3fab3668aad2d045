using RyzenLlm.Engine.Models;

namespace RyzenLlm.Engine.Decoding.Constraints;

/// <summary>Constraints as one model's vocabulary sees them; the latest few are kept with the masks computed for them.</summary>
/// <remarks>For all threads; what it gives belongs to the model's thread.</remarks>
public sealed class ConstraintCache
{
    private const int Kept = 8;

    private readonly Lock _lock = new();
    private readonly Lazy<TokenTrie> _trie;
    private readonly LinkedList<(string Key, Constraint Constraint)> _latest = new();

    /// <summary>Constraints for a model.</summary>
    /// <exception cref="ArgumentException">On first use, if the model has no vocabulary.</exception>
    public ConstraintCache(LanguageModel model) => _trie = new(() => new(
        model.Tokenizer ?? throw new ArgumentException($"{model.Info.Name} has no vocabulary, so its output cannot be constrained.")));

    /// <summary>A constraint for this vocabulary.</summary>
    /// <exception cref="ArgumentException">It is too large, describes no text, or one that the vocabulary cannot spell.</exception>
    public Constraint this[OutputConstraint constraint]
    {
        get
        {
            lock (_lock)
            {
                return Find(constraint);
            }
        }
    }

    private Constraint Find(OutputConstraint constraint)
    {
        var node = _latest.First;
        while (node is not null && node.Value.Key != constraint.Key)
        {
            node = node.Next;
        }

        if (node is not null && !node.Value.Constraint.IsWorn)
        {
            _latest.Remove(node);
            _latest.AddFirst(node);
            return node.Value.Constraint;
        }

        if (node is not null)
        {
            _latest.Remove(node);
        }

        var trie = _trie.Value;
        var built = new Constraint(new Automaton(constraint.Pattern, ByteSet.Of(trie.Spellable)), trie, constraint.Description);
        _latest.AddFirst((constraint.Key, built));
        if (_latest.Count > Kept)
        {
            _latest.RemoveLast();
        }

        return built;
    }
}
