namespace RyzenLlm.Engine.Decoding.Scheduling;

/// <summary>
/// The text of one generation on its way to the caller: the model's thread appends, the thread pool calls the sink. A sink that is slow, or
/// waits, keeps nobody but its own request waiting.
/// </summary>
/// <remarks>
/// Without locks: everything appended stays where it is, and the reader looks at what was published only. Appending allocates nothing but
/// to grow.
/// </remarks>
internal sealed class TextRelay(GenerationSink? sink) : IThreadPoolWorkItem
{
    private char[] _text = new char[1024];
    private (int Token, int End)[] _pieces = sink is null ? [] : new (int, int)[256];
    private Action? _delivered;
    private int _length;
    private int _count;     // pieces published
    private int _passed;    // pieces that the sink has had; the reader's own
    private int _scheduled; // 1 while the thread pool has, or will have, this in hand
    private Exception? _failure;

    /// <summary>All text so far; for the model's thread.</summary>
    public ReadOnlySpan<char> Text => _text.AsSpan(0, _length);

    /// <summary>What the sink threw, or null. It is not called again.</summary>
    public Exception? Failure => Volatile.Read(ref _failure);

    /// <summary>Adds a step of the generation.</summary>
    public void Append(ReadOnlySpan<char> text, int token)
    {
        if (text.Length > _text.Length - _length)
        {
            Array.Resize(ref _text, Math.Max(2 * _text.Length, _length + text.Length));
        }

        text.CopyTo(_text.AsSpan(_length));
        _length += text.Length;
        if (sink is null || (text.IsEmpty && token < 0))
        {
            return;
        }

        if (_count == _pieces.Length)
        {
            Array.Resize(ref _pieces, 2 * _pieces.Length);
        }

        _pieces[_count] = (token, _length);
        Volatile.Write(ref _count, _count + 1); // arrays first: whoever sees the count sees what it counts
        Schedule();
    }

    /// <summary>Nothing more is appended: calls back once the sink has had everything, at once without a sink.</summary>
    public void Close(Action delivered)
    {
        if (sink is null)
        {
            delivered();
            return;
        }

        Volatile.Write(ref _delivered, delivered);
        Schedule();
    }

    /// <summary>Calls the sink, on the thread pool.</summary>
    public void Execute()
    {
        do
        {
            var delivered = Volatile.Read(ref _delivered); // before the count, which is final once this is set
            Deliver(Volatile.Read(ref _count));
            if (delivered is not null)
            {
                delivered(); // and stays scheduled, so that it happens once
                return;
            }

            Interlocked.Exchange(ref _scheduled, 0);
        }
        while ((Volatile.Read(ref _count) > _passed || Volatile.Read(ref _delivered) is not null) && Interlocked.Exchange(ref _scheduled, 1) == 0);
    }

    private void Schedule()
    {
        if (Interlocked.Exchange(ref _scheduled, 1) == 0)
        {
            ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
        }
    }

    private void Deliver(int count)
    {
        var (text, pieces) = (_text, _pieces);
        for (; _passed < count; _passed++)
        {
            if (_failure is not null)
            {
                continue;
            }

            var begin = _passed == 0 ? 0 : pieces[_passed - 1].End;
            var (token, end) = pieces[_passed];
            try
            {
                sink!(new(text.AsSpan(begin, end - begin), token));
            }
            catch (Exception e)
            {
                Volatile.Write(ref _failure, e);
            }
        }
    }
}
