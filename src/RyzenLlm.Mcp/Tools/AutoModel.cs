using RyzenLlm.Engine.Decoding;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Tools;

/// <summary>The model of a generation: the one named, or the one that measured profiles and feedback speak for.</summary>
internal sealed class AutoModel(ModelLibrary library, ModelSelection selection, BackgroundProfiling profiling)
{
    private static readonly TextParameter Task = new("task", "With model auto: kind of task, in a word, such as summarise; feedback counts for it.", "", maxLength: 64);
    private static readonly NumberParameter<double> Latency = new(
        "latency_target_seconds", "With model auto: time after which the answer is worth half.", 0.001, 86_400, ModelSelection.UsualLatencySeconds);

    /// <summary>Arguments of a tool that takes its model from here.</summary>
    public static IReadOnlyList<ToolParameter> Parameters { get; } = [Task, Latency];

    /// <summary>The model, and why where it was chosen.</summary>
    /// <param name="name">A name, auto, or nothing for the default.</param>
    /// <param name="arguments">Arguments, with those of <see cref="Parameters"/>.</param>
    /// <param name="caller">Whose feedback counts.</param>
    /// <param name="asked">Gives the generation, earlier turns included; not called where a model is named.</param>
    /// <param name="moreTokens">Tokens that will be put before the prompt.</param>
    /// <param name="draft">Model that shall draft for it, or null.</param>
    /// <exception cref="ArgumentException">No measured model can serve it.</exception>
    /// <exception cref="ModelNotFoundException">There is no such model.</exception>
    public (ModelEntry Entry, string? Reason) Resolve(string name, ToolArguments arguments, Caller caller, Func<GenerationRequest> asked, int moreTokens, string? draft)
    {
        if (!ModelSelection.IsAuto(name))
        {
            return (library.Resolve(name, caller), null);
        }

        var request = selection.RequestFor(asked(), moreTokens, draft) with { LatencySeconds = arguments.Get(Latency) };
        return selection.Choose(caller, FeedbackStore.Task(arguments.Get(Task)), request);
    }

    /// <summary>A model has served: it may be measured when there is nothing else to do.</summary>
    public void Used(ModelEntry entry) => profiling.Ask(entry);
}
