using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Tokenizers;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>From what a user gives to what the engine takes.</summary>
internal static class Prompts
{
    /// <summary>A request under the settings: one turn of the user, with the instruction, if any, before it.</summary>
    public static GenerationRequest Request(GenerationSettings settings, string prompt, string? system) => new()
    {
        Turns = string.IsNullOrEmpty(system) ? [new("user", prompt)] : [new("system", system), new("user", prompt)],
        MaxTokens = settings.MaxTokens,
        Sampling = new SamplingOptions
        {
            Temperature = settings.Temperature,
            TopK = settings.TopK,
            TopP = settings.TopP,
            MinP = settings.MinP,
            TypicalP = settings.TypicalP,
            RepetitionPenalty = settings.RepetitionPenalty,
            FrequencyPenalty = settings.FrequencyPenalty,
            PresencePenalty = settings.PresencePenalty,
            PenaltyWindow = settings.PenaltyWindow,
            Seed = (ulong)settings.Seed,
        },
    };

    /// <summary>The chat form of that name; null, the model's own, for none or auto.</summary>
    /// <exception cref="ArgumentException">There is none; the message names those there are.</exception>
    public static ChatTemplate? Template(string? name) =>
        string.IsNullOrEmpty(name) || name.Equals("auto", StringComparison.OrdinalIgnoreCase) ? null : ChatTemplate.ByName(name);
}
