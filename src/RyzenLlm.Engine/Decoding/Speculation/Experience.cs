using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sampling;

namespace RyzenLlm.Engine.Decoding.Speculation;

/// <summary>
/// What speculation has learned with one model and keeps from request to request: what passes cost, how often guesses were right, and the
/// successors of tokens. Affects how fast a text comes, never the text.
/// </summary>
/// <remarks>For the model's thread.</remarks>
public sealed class Experience
{
    private readonly LanguageModel _target;
    private readonly Dictionary<LanguageModel, (HitRates Rates, StepCosts Costs)> _models = [];
    private readonly HitRates _lookup = LookupDraft.NewRates();
    private readonly HitRates _recycle = RecycleDraft.NewRates();
    private readonly Lazy<SuccessorTable> _successors;

    /// <summary>Nothing learned yet.</summary>
    /// <param name="target">The model that is sped up.</param>
    public Experience(LanguageModel target)
    {
        _target = target;
        _successors = new(() => new(target.Tokenizer?.VocabularySize ?? target.Info.VocabularySize));
    }

    /// <summary>What passes of the model take.</summary>
    public StepCosts Costs { get; } = new();

    /// <summary>The drafts of a mode for one sequence.</summary>
    /// <param name="mode">Which.</param>
    /// <param name="model">The draft model, or null. It is used on the target's thread and must be used on no other.</param>
    /// <param name="sampling">The sequence's sampling.</param>
    /// <param name="clock">Time for measuring the draft model.</param>
    /// <exception cref="ArgumentException">The mode needs a draft model and there is none, or it has another vocabulary.</exception>
    public IReadOnlyList<Draft> Drafts(SpeculationMode mode, LanguageModel? model, SamplingOptions sampling, TimeProvider clock)
    {
        if (mode == SpeculationMode.Draft && model is null)
        {
            throw new ArgumentException($"Speculation draft needs a draft model for {_target.Info.Name}: name one, or choose auto, lookup or recycle.");
        }

        var drafts = new List<Draft>();
        if (mode is SpeculationMode.Auto or SpeculationMode.Lookup)
        {
            drafts.Add(new LookupDraft(_lookup));
        }

        if (mode is SpeculationMode.Auto or SpeculationMode.Draft && model is not null)
        {
            if (!_models.TryGetValue(model, out var known))
            {
                _models.Add(model, known = (ModelDraft.NewRates(), new()));
            }

            drafts.Add(new ModelDraft(model, _target, sampling, known.Rates, known.Costs, clock));
        }

        if (mode is SpeculationMode.Auto or SpeculationMode.Recycle)
        {
            drafts.Add(new RecycleDraft(_successors.Value, _recycle));
        }

        return drafts;
    }
}
