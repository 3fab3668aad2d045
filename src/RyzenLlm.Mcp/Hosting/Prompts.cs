using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Models;
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

    /// <summary>The chat form of a model, or the one named.</summary>
    public static ChatTemplate Template(ModelEntry entry, string? name)
    {
        if (!string.IsNullOrEmpty(name) && !name.Equals("auto", StringComparison.OrdinalIgnoreCase))
        {
            return ChatTemplate.ByName(name);
        }

        var metadata = ModelMetadata.Read(entry.Path);
        var own = metadata.Values.FirstOrDefault(pair => pair.Key == "tokenizer.chat_template").Value;

        // A file that names no form was not trained on one, whatever its architecture is usually used for; World vocabularies are the exception.
        return own is null && metadata.TokenizerKind != "rwkv" ? ChatTemplate.Plain : ChatTemplate.For(metadata.Info.Architecture, own);
    }
}
