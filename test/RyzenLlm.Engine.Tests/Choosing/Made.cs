using RyzenLlm.Engine.Profiles;

namespace RyzenLlm.Engine.Tests.Choosing;

/// <summary>Profiles made up for a test.</summary>
internal static class Made
{
    /// <summary>A model with these speeds and this quality.</summary>
    public static ModelProfile Profile(
        string name, double bits, double promptRate, double decodeRate, bool recurrent = true, int context = 4096, double quadratic = 0, double load = 0, long memory = 1_000_000) => new()
        {
            Model = name,
            Architecture = recurrent ? "mamba" : "bitnet",
            IsRecurrent = recurrent,
            ContextLength = context,
            Vocabulary = "v",
            BytesPerToken = 4,
            BitsPerByte = bits,
            LoadSeconds = load,
            Prompt = [.. new[] { 64, 256, 1024 }.Select(n => new ProfilePoint(n, (n / promptRate) + (quadratic * n * n)))],
            Decode = [new(64, 1 / decodeRate), new(1024, (1 / decodeRate) + (quadratic * 960))],
            MemoryBytes = memory,
            StateBytesPerToken = recurrent ? 0 : 1000,
        };
}
