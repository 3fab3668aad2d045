using System.Diagnostics;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Decoding.Constraints;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Sessions;

namespace RyzenLlm.Engine.Profiles;

/// <summary>Measures a <see cref="ModelProfile"/>: some seconds of work, ended between two forward passes when it must make way.</summary>
public sealed class ProfileRun
{
    // Prompt lengths; each is read as generation would, in chunks. Of the last, the time at the end of each chunk counts too.
    private static readonly int[] PromptLengths = [64, 256, 2048];

    // Tokens decoded per position: at least so many, and on for a moment where they are short. Their lower quartile counts, because other programs
    // that run meanwhile only ever lengthen a step. Of JSON tokens the mean counts: masks are computed now and then.
    private const int DecodeTokens = 16;
    private const int MostDecodeTokens = 64;
    private const double DecodeSeconds = 0.2;
    private const int JsonTokens = 24;

    // A long prompt of a slow model is broken off after this time; its curve is known by then.
    private const double LongestSeconds = 5;
    private const double WarmUpSeconds = 0.5;

    private readonly LanguageModel _model;
    private readonly Batch _batch = new();
    private readonly CancellationToken _cancel;
    private readonly List<ProfilePoint> _prompt = [];
    private readonly List<ProfilePoint> _decode = [];
    private long _memory;

    private ProfileRun(LanguageModel model, CancellationToken cancel) => (_model, _cancel) = (model, cancel);

    /// <summary>Loads the model, measures it and unloads it.</summary>
    /// <param name="name">Name to choose it by.</param>
    /// <param name="path">File or folder.</param>
    /// <param name="options">How it will be run.</param>
    /// <param name="cancel">Ends before the next forward pass.</param>
    /// <exception cref="OperationCanceledException">It was told to end.</exception>
    /// <remarks>Other errors are those of <see cref="ModelLoader.Load"/>.</remarks>
    public static ModelProfile Measure(string name, string path, LoadOptions options, CancellationToken cancel = default)
    {
        var before = Environment.WorkingSet;
        var started = Stopwatch.GetTimestamp();
        using var model = ModelLoader.Load(path, options);
        var load = Stopwatch.GetElapsedTime(started).TotalSeconds;
        var run = new ProfileRun(model, cancel);
        using (run._batch)
        {
            return run.Measure(name, load, before);
        }
    }

    private ModelProfile Measure(string name, double load, long memoryBefore)
    {
        var info = _model.Info;
        var cold = Read(16, record: false);
        var warm = Math.Min(Read(16, record: false), Read(16, record: false));
        var room = info.IsRecurrent ? int.MaxValue : info.ContextLength - DecodeTokens - 1;
        WarmUp(Math.Min(PromptLengths[0], room));
        var lengths = PromptLengths.Select(n => Math.Min(n, room)).Where(n => n > 0).Distinct().ToArray();
        foreach (var length in lengths)
        {
            var seconds = Read(length, record: length == lengths[^1]);
            if (length != lengths[^1])
            {
                _prompt.Add(new(length, Math.Min(seconds, Read(length, record: false))));
            }
        }

        var (state, perToken) = StateSize(Math.Min(64, room));
        var text = _model.Tokenizer is null ? null : Perplexity.Measure(_model, name, SampleText.Text, window: Math.Min(info.ContextLength, 1024), cancel: _cancel);
        var json = _model.Tokenizer is null ? 0 : Math.Max(0, JsonSeconds() - _decode[0].Seconds);
        Watch();
        return new()
        {
            Model = name,
            Architecture = info.Architecture,
            IsRecurrent = info.IsRecurrent,
            ContextLength = info.ContextLength,
            Vocabulary = _model.Tokenizer?.Fingerprint,
            BytesPerToken = text is null ? 0 : (double)text.Bytes / text.Tokens,
            BitsPerByte = text?.BitsPerByte,
            LoadSeconds = load + Math.Max(0, cold - warm),
            Prompt = [.. _prompt.GroupBy(p => p.Tokens).Select(g => g.MinBy(p => p.Seconds)!).OrderBy(p => p.Tokens)],
            Decode = [.. _decode.GroupBy(p => p.Tokens).Select(g => g.MinBy(p => p.Seconds)!).OrderBy(p => p.Tokens)],
            JsonTokenSeconds = json,
            MemoryBytes = Math.Max(_memory - memoryBefore, _model.FileBytes),
            StateBytes = state,
            StateBytesPerToken = perToken,
            Measured = DateTimeOffset.UtcNow,
        };
    }

    // Until the code is compiled for good.
    private void WarmUp(int length)
    {
        var started = Stopwatch.GetTimestamp();
        do
        {
            Read(length, record: false);
        }
        while (Stopwatch.GetElapsedTime(started).TotalSeconds < WarmUpSeconds);
        _decode.Clear();
    }

    // Reads a prompt and decodes behind it; the time of the prompt. What was read after each chunk is a prompt too.
    private double Read(int length, bool record)
    {
        using var session = _model.CreateSession();
        var started = Stopwatch.GetTimestamp();
        var seconds = 0.0;
        for (var begin = 0; begin < length && (seconds < LongestSeconds || begin == 0); begin += Decoder.ChunkRows)
        {
            var end = Math.Min(begin + Decoder.ChunkRows, length);
            Step(session, begin, end);
            seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
            if (record)
            {
                _prompt.Add(new(end, seconds));
            }
        }

        Watch();
        if (length >= 32)
        {
            _decode.Add(new(session.Position, Decode(session)));
        }

        return seconds;
    }

    private double Decode(Session session)
    {
        var begin = session.Position;
        var room = _model.Info.IsRecurrent ? MostDecodeTokens : Math.Min(MostDecodeTokens, _model.Info.ContextLength - begin);
        List<double> times = [];
        for (var total = 0.0; times.Count < room && (times.Count < DecodeTokens || total < DecodeSeconds); total += times[^1])
        {
            var started = Stopwatch.GetTimestamp();
            Step(session, begin + times.Count, begin + times.Count + 1);
            times.Add(Stopwatch.GetElapsedTime(started).TotalSeconds);
        }

        times.Sort();
        return times[times.Count / 4];
    }

    // Tokens spread over the vocabulary, so that embedding rows come from memory as in real text.
    private void Step(Session session, int begin, int end)
    {
        _cancel.ThrowIfCancellationRequested();
        _batch.Clear();
        for (var i = begin; i < end; i++)
        {
            _batch.Add(session, (int)((i + 1) * 2_654_435_761L % _model.Info.VocabularySize), logits: i == end - 1);
        }

        _model.Forward(_batch);
        _batch.Clear();
    }

    // Saved states tell exactly what a sequence keeps.
    private (double AtStart, double PerToken) StateSize(int tokens)
    {
        using var session = _model.CreateSession();
        Step(session, 0, 1);
        var first = Saved(session);
        Step(session, 1, tokens);
        var perToken = tokens > 1 ? Math.Max(0, (Saved(session) - first) / (double)(tokens - 1)) : 0;
        return (first - perToken, perToken);

        static long Saved(Session session)
        {
            using var file = new MemoryStream();
            session.Save(file);
            return file.Length;
        }
    }

    // Time of a token where the text must be JSON of a schema not seen before; another schema in front gets the code compiled and the vocabulary sorted.
    private double JsonSeconds()
    {
        var constraints = new ConstraintCache(_model);
        JsonSeconds(constraints[OutputConstraint.JsonSchema("""{"type":"array","items":{"type":"integer"},"maxItems":9}""")]);
        return JsonSeconds(constraints[OutputConstraint.JsonSchema(
            """{"type":"object","properties":{"note":{"type":"string"},"count":{"type":"integer"}},"required":["note","count"]}""")]);
    }

    private double JsonSeconds(Constraint constraint)
    {
        var tokenizer = _model.Tokenizer!;
        using var session = _model.CreateSession();
        var sampler = new Sampler(new SamplingOptions { Temperature = 0 }, tokenizer.VocabularySize);
        var decoder = new Decoder(session, tokenizer.Encode("A note as JSON:", tokenizer.AddBos, parseSpecial: false), sampler, new HashSet<int>(), JsonTokens + 40, null, constraint);
        long started = 0;
        var tokens = 0;
        while (decoder.Finish is null && tokens < JsonTokens)
        {
            _cancel.ThrowIfCancellationRequested();
            _batch.Clear();
            decoder.AddRows(_batch);
            _model.Forward(_batch);
            while (decoder.TakeLogits(_batch, out _))
            {
                tokens += started == 0 ? 0 : 1;
            }

            started = started == 0 ? Stopwatch.GetTimestamp() : started; // the prompt is not part of it
        }

        _batch.Clear();
        return tokens > 0 ? Stopwatch.GetElapsedTime(started).TotalSeconds / tokens : 0;
    }

    private void Watch() => _memory = Math.Max(_memory, Environment.WorkingSet);
}
