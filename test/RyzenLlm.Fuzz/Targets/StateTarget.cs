using System.Security.Cryptography;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Sessions.Reuse;

namespace RyzenLlm.Fuzz.Targets;

/// <summary>
/// A file of the disk tier of kept states, as a conversation that is taken up again reads it: bit 0 of the first byte chooses a transformer or a
/// recurrent model, bit 1 a session that has gone some tokens already. What is no good is removed and leaves the session where it was; both go on by a token.
/// </summary>
internal sealed class StateTarget : FuzzTarget
{
    /// <summary>Tokens that a session has gone already.</summary>
    private const int Begun = 2;

    private const string FileName = "1-00000000000000000000000000000000.state";

    private static readonly string[] Files = ["bitnet-b158-tq2_0", "rwkv7-q8_0"];
    private static readonly byte[] Identity = SHA256.HashData("a folder's key, a tenant, a model and tokens"u8);

    private readonly InputFile _file = new();
    private readonly StateFolder _folder = new(Path.Combine(Path.GetTempPath(), "ryzenllm-fuzz-states"), 1 << 30); // only its reader is used: nothing is made there
    private readonly Lazy<LanguageModel[]> _models = new(() =>
    [
        .. Files.Select(f => ModelLoader.Load(
            Path.Combine(Repository.Root, "test", "Fixtures", "golden", "models", $"{f}.gguf"), new LoadOptions { Threads = 1, Kernels = "portable" })),
    ]);

    private readonly Lazy<Session[]> _begun;
    private int _executions;

    public StateTarget() => _begun = new(() => [.. _models.Value.SelectMany(model => (Session[])[model.CreateSession(), After(model, Begun)])]);

    public override string Name => "state";

    public override int LongestInput => 256 * 1024;

    public override IReadOnlyList<string> Words => ["RLMS"];

    public override IEnumerable<byte[]> Seeds()
    {
        for (var m = 0; m < Files.Length; m++)
        {
            foreach (var length in (int[])[1, 5])
            {
                using var session = After(_models.Value[m], length);
                using var saved = new MemoryStream();
                session.SavePart(saved, Identity, 0, length);
                yield return [(byte)m, .. saved.ToArray()];
                yield return [(byte)(m | 2), .. saved.ToArray()];
            }
        }
    }

    public override void Run(byte[] input)
    {
        if (input.Length == 0)
        {
            return;
        }

        var path = _file.Write(FileName, input[1..]);
        using var session = _begun.Value[(2 * (input[0] & 1)) + ((input[0] & 2) >> 1)].Fork();
        var start = session.Position;
        var read = _folder.Read(path, stream => session.LoadPart(stream, Identity));
        if (!read && (session.Position != start || File.Exists(path)))
        {
            throw new InvalidOperationException($"A file that was refused left the session at {session.Position}, not {start}, or stayed.");
        }

        if (_executions++ % 8 == 0)
        {
            Step(session, 1);
        }

        if (!read)
        {
            throw new InvalidDataException("refused");
        }
    }

    public override bool IsDocumented(Exception e) =>
        e is InvalidDataException || (e is ArgumentException && e.Message.Contains("is full", StringComparison.Ordinal));

    // The buffer of the file beside what a refusal may take.
    public override long AllocationLimit(int length) => base.AllocationLimit(length) + (160 * 1024);

    public override void Repair(byte[] input)
    {
        if (input.Length > SHA256.HashSizeInBytes + 1)
        {
            SHA256.HashData(input.AsSpan(1, input.Length - 1 - SHA256.HashSizeInBytes), input.AsSpan(input.Length - SHA256.HashSizeInBytes));
        }
    }

    public override void Dispose()
    {
        _folder.Dispose();
        _file.Dispose();
        if (_models.IsValueCreated)
        {
            foreach (var session in _begun.IsValueCreated ? _begun.Value : [])
            {
                session.Dispose();
            }

            foreach (var model in _models.Value)
            {
                model.Dispose();
            }
        }
    }

    private static Session After(LanguageModel model, int tokens)
    {
        var session = model.CreateSession();
        for (var i = 0; i < tokens; i++)
        {
            Step(session, i + 1);
        }

        return session;
    }

    private static void Step(Session session, int token)
    {
        using var batch = new Batch();
        batch.Add(session, token, logits: true);
        session.Model.Forward(batch);
    }
}
