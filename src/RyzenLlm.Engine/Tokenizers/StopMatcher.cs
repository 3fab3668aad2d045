namespace RyzenLlm.Engine.Tokenizers;

/// <summary>
/// Finds stop strings in a text that comes in parts. Text that may be the beginning of a stop string is held back until that is
/// decided, so nothing is emitted that belongs to one. The stop string that is complete first ends the text (the longest one, if
/// several are complete at the same character); so the result does not depend on how the text is cut. Does not allocate once its
/// buffer has grown.
/// </summary>
public sealed class StopMatcher
{
    private readonly string[] _stops;

    /// <summary>Knuth-Morris-Pratt tables: how long a prefix of the stop string is still matched when the next character differs.</summary>
    private readonly int[][] _fallbacks;

    /// <summary>How many characters of each stop string the end of the text matches.</summary>
    private readonly int[] _matched;

    private char[] _buffer = new char[64];

    // Characters of _buffer: those already handed out by the last call, then those held back.
    private int _emitted;
    private int _end;

    /// <summary>A matcher for one text.</summary>
    /// <param name="stops">Stop strings; may be none.</param>
    /// <exception cref="ArgumentException">One of them is empty.</exception>
    public StopMatcher(IEnumerable<string> stops)
    {
        _stops = [.. stops.Distinct(StringComparer.Ordinal)];
        if (_stops.Any(string.IsNullOrEmpty))
        {
            throw new ArgumentException("A stop string must have at least one character.", nameof(stops));
        }

        _fallbacks = [.. _stops.Select(Fallbacks)];
        _matched = new int[_stops.Length];
    }

    /// <summary>The stop string that ended the text, or null so far.</summary>
    public string? Stop { get; private set; }

    /// <summary>Whether a stop string ended the text. Further pushes give nothing.</summary>
    public bool Stopped => Stop is not null;

    /// <summary>Takes the next part and returns the text that is safe to emit, possibly none; valid until the next call.</summary>
    public ReadOnlySpan<char> Push(ReadOnlySpan<char> text)
    {
        if (Stopped)
        {
            return [];
        }

        MakeRoom(text.Length);
        foreach (var c in text)
        {
            _buffer[_end++] = c;
            var complete = Advance(c);
            if (complete >= 0)
            {
                Stop = _stops[complete];
                _emitted = _end - Stop.Length;
                return _buffer.AsSpan(0, _emitted);
            }
        }

        _emitted = _end;
        foreach (var length in _matched)
        {
            _emitted = Math.Min(_emitted, _end - length);
        }

        return _buffer.AsSpan(0, _emitted);
    }

    /// <summary>Ends the text: what was held back, or nothing after a stop string; valid until the next call.</summary>
    public ReadOnlySpan<char> Flush()
    {
        if (Stopped)
        {
            return [];
        }

        MakeRoom(0);
        Array.Clear(_matched);
        _emitted = _end;
        return _buffer.AsSpan(0, _end);
    }

    /// <summary>Matches one more character; the longest stop string that it completes, or -1.</summary>
    private int Advance(char c)
    {
        var complete = -1;
        for (var i = 0; i < _stops.Length; i++)
        {
            var stop = _stops[i];
            var matched = _matched[i];
            while (matched > 0 && stop[matched] != c)
            {
                matched = _fallbacks[i][matched - 1];
            }

            matched += stop[matched] == c ? 1 : 0;
            _matched[i] = matched;
            if (matched == stop.Length && (complete < 0 || stop.Length > _stops[complete].Length))
            {
                complete = i;
            }
        }

        return complete;
    }

    private void MakeRoom(int length)
    {
        var held = _buffer.AsSpan(_emitted, _end - _emitted);
        var buffer = held.Length + length <= _buffer.Length ? _buffer : new char[(held.Length + length) * 2];
        held.CopyTo(buffer);
        (_buffer, _emitted, _end) = (buffer, 0, held.Length);
    }

    private static int[] Fallbacks(string stop)
    {
        var table = new int[stop.Length];
        for (int i = 1, matched = 0; i < stop.Length; i++)
        {
            while (matched > 0 && stop[matched] != stop[i])
            {
                matched = table[matched - 1];
            }

            matched += stop[matched] == stop[i] ? 1 : 0;
            table[i] = matched;
        }

        return table;
    }
}
