using RyzenLlm.Engine.Decoding.Constraints;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Engine.Decoding.Scheduling;

/// <summary>A request, read: all that can be done before a model is needed, so that a long prompt is not tokenized on the thread that serves others.</summary>
/// <param name="Request">The request.</param>
/// <param name="Tokens">Prompt, template included, and what an earlier call generated.</param>
/// <param name="PromptTokens">How many of them are the prompt.</param>
/// <param name="Instruction">Tokens at its beginning that the next request with the same instruction has too; 0 without one.</param>
/// <param name="Sampler">Chooses its tokens.</param>
/// <param name="EndTokens">Tokens that end its text.</param>
/// <param name="Stops">Finds its stop texts.</param>
/// <param name="Constraint">What its text must match, or null.</param>
internal sealed record PreparedRequest(
    GenerationRequest Request,
    int[] Tokens,
    int PromptTokens,
    int Instruction,
    Sampler Sampler,
    IReadOnlySet<int> EndTokens,
    StopMatcher Stops,
    Constraint? Constraint)
{
    /// <summary>Reads a request. For any thread.</summary>
    /// <exception cref="ArgumentException">The request cannot be served; the message says what to change.</exception>
    public static PreparedRequest Of(LanguageModel model, ConstraintCache constraints, GenerationRequest request)
    {
        var tokenizer = model.Tokenizer
            ?? throw new ArgumentException($"{model.Info.Name} has no vocabulary, so it cannot read or write text: choose another model.");
        if (request.Constraint is not null && request.Stop.Count > 0)
        {
            throw new ArgumentException($"Stop texts could cut off what {request.Constraint.Description} asks for: leave one of the two out.");
        }

        var template = request.Template ?? ChatTemplate.For(model.Info.Architecture, model.Info.ChatTemplate, tokenizer);
        var tokens = request.From?.Tokens ?? tokenizer.Continue(template.Render(request.Turns), request.Said);
        Decoder.CheckPrompt(model.Info, tokens.Length);
        return new(
            request,
            tokens,
            request.From?.PromptTokens ?? tokens.Length,
            model.Info.IsRecurrent && request.Reuse != StateReuse.Off ? InstructionOf(tokenizer, template, request.Turns, tokens) : 0,
            new(request.Sampling, tokenizer.VocabularySize),
            template.EndTokens(tokenizer),
            request.Constraint is null ? new([.. request.Stop, .. template.StopStrings]) : new([]),
            request.Constraint is { } wanted ? constraints[wanted] : null);
    }

    // A transformer's state is cut back wherever prompts part; a recurrent one must be kept at the place.
    private static int InstructionOf(ITokenizer tokenizer, ChatTemplate template, IReadOnlyList<ChatTurn> turns, int[] prompt) =>
        turns is [{ Role: "system" } instruction, _, ..] ? tokenizer.Encode(template.Render([instruction, new("user", "")])).AsSpan().CommonPrefixLength(prompt) : 0;
}
