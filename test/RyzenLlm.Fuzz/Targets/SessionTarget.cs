using System.Security.Cryptography;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;

namespace RyzenLlm.Fuzz.Targets;

/// <summary>A saved session; the first byte chooses a transformer or a recurrent model. What is accepted goes on by a token.</summary>
internal sealed class SessionTarget : FuzzTarget
{
    private static readonly string[] Files = ["bitnet-b158-tq2_0", "rwkv7-q8_0"];

    private readonly Lazy<LanguageModel[]> _models = new(() =>
    [
        .. Files.Select(f => ModelLoader.Load(
            Path.Combine(Repository.Root, "test", "Fixtures", "golden", "models", $"{f}.gguf"), new LoadOptions { Threads = 1, Kernels = "portable" })),
    ]);

    private int _executions;

    public override string Name => "session";

    public override int LongestInput => 256 * 1024;

    public override IReadOnlyList<string> Words => ["RLMS"];

    public override IEnumerable<byte[]> Seeds()
    {
        for (var m = 0; m < Files.Length; m++)
        {
            var model = _models.Value[m];
            foreach (var length in (int[])[0, 3])
            {
                using var session = model.CreateSession();
                using var batch = new Batch();
                for (var i = 0; i < length; i++)
                {
                    batch.Add(session, i + 1);
                }

                model.Forward(batch);
                using var saved = new MemoryStream();
                session.Save(saved);
                yield return [(byte)m, .. saved.ToArray()];
            }
        }
    }

    public override void Run(byte[] input)
    {
        if (input.Length == 0)
        {
            return;
        }

        var model = _models.Value[input[0] % Files.Length];
        using var session = model.LoadSession(new MemoryStream(input, 1, input.Length - 1, writable: false));
        if (_executions++ % 8 == 0)
        {
            using var batch = new Batch();
            batch.Add(session, 1, logits: true);
            model.Forward(batch);
        }
    }

    public override bool IsDocumented(Exception e) =>
        e is InvalidDataException || (e is ArgumentException && e.Message.Contains("is full", StringComparison.Ordinal));

    // The sum at the end is no obstacle to someone who means harm.
    public override void Repair(byte[] input)
    {
        if (input.Length > SHA256.HashSizeInBytes + 1)
        {
            SHA256.HashData(input.AsSpan(1, input.Length - 1 - SHA256.HashSizeInBytes), input.AsSpan(input.Length - SHA256.HashSizeInBytes));
        }
    }

    public override void Dispose()
    {
        if (_models.IsValueCreated)
        {
            foreach (var model in _models.Value)
            {
                model.Dispose();
            }
        }
    }
}
