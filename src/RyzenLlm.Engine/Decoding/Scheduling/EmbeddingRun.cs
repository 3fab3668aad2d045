using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;

namespace RyzenLlm.Engine.Decoding.Scheduling;

/// <summary>
/// An embedding request at work: adds rows of its texts to steps, as many as there is room for, and sums up their hidden states. Sums are taken in
/// double precision in the order of the tokens, so a vector depends neither on the cuts nor on what else was computed.
/// </summary>
/// <remarks>
/// A text beyond the context of a transformer is read in windows of its length, each from position 0. Its vector is the mean over all tokens or, with
/// <see cref="Pooling.Last"/>, over the normalised last states of the windows, weighted by their tokens.
/// </remarks>
internal sealed class EmbeddingRun
{
    /// <summary>Texts that are read at once; each holds a session.</summary>
    public const int MostTexts = 16;

    private readonly TaskCompletionSource<EmbeddingResult> _answer = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly LanguageModel _model;
    private readonly Pooling _pooling;
    private readonly int[][] _texts;
    private readonly int? _bos;
    private readonly int? _closing;
    private readonly bool _countsFirst; // whether the first token is part of a mean
    private readonly int _window;
    private readonly int _mostTexts;
    private readonly float[][] _vectors;
    private readonly List<Reading> _reading = [];
    private readonly IDisposable _memory;
    private int _next;
    private int _done;
    private int _tokens;

    /// <summary>Tokenizes the texts and reserves memory. For any thread.</summary>
    /// <exception cref="ArgumentException">The model cannot read text.</exception>
    /// <exception cref="MemoryLimitException">There is no memory for the longest text.</exception>
    public EmbeddingRun(LanguageModel model, EmbeddingRequest request, MemoryBudget memory, CancellationToken cancel)
    {
        var tokenizer = model.Tokenizer ?? throw new ArgumentException($"{model.Info.Name} has no vocabulary, so it cannot read text: choose another model.");
        (_model, Cancel) = (model, cancel);
        _pooling = request.Pooling ?? model.Info.Pooling ?? Pooling.Mean;
        _bos = tokenizer.AddBos ? tokenizer.BosId : null;
        _closing = model.Info.ClosingToken;
        var framing = (_bos is null ? 0 : 1) + (_closing is null ? 0 : 1);
        _countsFirst = _bos is null || model.Info.Pooling == Pooling.Mean;
        _window = model.Info.IsRecurrent ? int.MaxValue : Math.Max(1, model.Info.ContextLength - framing);
        _texts = new int[request.Texts.Count][];
        for (var i = 0; i < _texts.Length; i++)
        {
            cancel.ThrowIfCancellationRequested();
            _texts[i] = tokenizer.Encode(request.Texts[i], addBos: false, parseSpecial: false);
        }

        _vectors = new float[_texts.Length][];
        _mostTexts = Math.Clamp(_texts.Length, 1, MostTexts);
        var longest = _texts.Select(text => text.Length).DefaultIfEmpty().Max();
        var bytes = model.SessionBytes(Math.Min(longest, _window) + framing);
        if (memory.TryReserve(_mostTexts * bytes))
        {
            _memory = new Reserved(memory, _mostTexts * bytes);
        }
        else
        {
            _mostTexts = 1;
            _memory = memory.Reserve($"embedding a text of {longest} tokens", bytes, "Cut the text");
        }
    }

    /// <summary>The caller's.</summary>
    public CancellationToken Cancel { get; }

    /// <summary>The answer.</summary>
    public Task<EmbeddingResult> Result => _answer.Task;

    /// <summary>Rows in the present step.</summary>
    public int Rows { get; private set; }

    /// <summary>Why it cannot go on, or null.</summary>
    public Exception? Failure { get; set; }

    /// <summary>Whether every text has its vector.</summary>
    public bool IsDone => _done == _texts.Length;

    /// <summary>Adds the next rows, at most so many, and returns their number.</summary>
    public int AddRows(Batch batch, int room)
    {
        Rows = 0;
        for (var i = 0; Rows < room; i++)
        {
            if (i == _reading.Count)
            {
                if (_next == _texts.Length || _reading.Count == _mostTexts)
                {
                    break;
                }

                _reading.Add(new(this, _next++));
            }

            Rows += _reading[i].AddRows(batch, room - Rows);
        }

        return Rows;
    }

    /// <summary>Takes the hidden states of the rows added last.</summary>
    public void Advance(Batch batch)
    {
        Rows = 0;
        foreach (var reading in _reading)
        {
            reading.Take(batch);
        }

        for (var i = _reading.Count - 1; i >= 0; i--)
        {
            if (_reading[i].IsDone)
            {
                _vectors[_reading[i].Text] = _reading[i].Vector();
                _reading[i].Dispose();
                _reading.RemoveAt(i);
                _done++;
            }
        }
    }

    /// <summary>Gives sessions and memory back and answers: with the vectors, or with what went wrong. By the thread of the model, if it has begun.</summary>
    public void End(Exception? failure)
    {
        _reading.ForEach(reading => reading.Dispose());
        _reading.Clear();
        _memory.Dispose();
        switch (failure)
        {
            case null:
                _answer.TrySetResult(new(_vectors, _tokens));
                break;
            case OperationCanceledException:
                _answer.TrySetCanceled(Cancel);
                break;
            default:
                _answer.TrySetException(failure);
                break;
        }
    }

    private static void Normalise(double[] vector, double length, Span<double> target)
    {
        double squares = 0;
        foreach (var value in vector)
        {
            squares += value * value;
        }

        var scale = squares > 0 ? length / Math.Sqrt(squares) : 0;
        for (var i = 0; i < vector.Length; i++)
        {
            target[i] += vector[i] * scale;
        }
    }

    /// <summary>One text: the window that is read, and the sum so far.</summary>
    private sealed class Reading(EmbeddingRun run, int text) : IDisposable
    {
        private readonly int[] _ids = run._texts[text];
        private readonly double[] _sum = new double[run._model.Info.EmbeddingLength];
        private readonly double[] _last = run._pooling == Pooling.Last ? new double[run._model.Info.EmbeddingLength] : [];
        private int[] _window = [];
        private Session? _session;
        private int _begin;     // of the window, in the text
        private int _taken;     // rows of the window that are computed
        private int _firstRow;
        private int _rows;

        public int Text { get; } = text;

        public bool IsDone => _begin >= _ids.Length;

        public int AddRows(Batch batch, int room)
        {
            _rows = 0;
            if (IsDone)
            {
                return 0;
            }

            if (_session is null)
            {
                _session = run._model.CreateSession();
                _window =
                [
                    .. run._bos is { } bos ? [bos] : Array.Empty<int>(),
                    .. _ids.AsSpan(_begin, Math.Min(run._window, _ids.Length - _begin)),
                    .. run._closing is { } closing ? [closing] : Array.Empty<int>(),
                ];
                run._tokens += _window.Length;
            }

            _firstRow = batch.Count;
            _rows = Math.Min(room, _window.Length - _taken);
            for (var i = _taken; i < _taken + _rows; i++)
            {
                batch.Add(_session, _window[i], hidden: IsWanted(i));
            }

            return _rows;
        }

        public void Take(Batch batch)
        {
            if (_rows == 0)
            {
                return;
            }

            var target = run._pooling == Pooling.Last ? _last : _sum;
            for (var i = 0; i < _rows; i++)
            {
                if (IsWanted(_taken + i))
                {
                    var hidden = batch.Hidden(_firstRow + i);
                    for (var d = 0; d < hidden.Length; d++)
                    {
                        target[d] += hidden[d];
                    }
                }
            }

            (_taken, _rows) = (_taken + _rows, 0);
            if (_taken == _window.Length)
            {
                EndWindow();
            }
        }

        public float[] Vector()
        {
            var normal = new double[_sum.Length];
            Normalise(_sum, 1, normal);
            return Array.ConvertAll(normal, value => (float)value);
        }

        public void Dispose() => _session?.Dispose();

        private bool IsWanted(int i) => run._pooling == Pooling.Last ? i == _window.Length - 1 : i > 0 || run._countsFirst;

        private void EndWindow()
        {
            if (run._pooling == Pooling.Last)
            {
                Normalise(_last, _window.Length, _sum);
                Array.Clear(_last);
            }

            _session!.Dispose();
            (_session, _taken) = (null, 0);
            _begin += Math.Min(run._window, _ids.Length - _begin);
        }
    }

    private sealed class Reserved(MemoryBudget memory, long bytes) : IDisposable
    {
        private long _bytes = bytes;

        public void Dispose() => memory.Return(Interlocked.Exchange(ref _bytes, 0));
    }
}
