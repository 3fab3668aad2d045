namespace RyzenLlm.Engine.Decoding.Scheduling;

/// <summary>
/// How many prompt tokens a step reads: as many as keep it within a few times the duration of a step without them, by measured times. Where
/// nobody waits for a next token, as many as keep it short enough for others to join.
/// </summary>
/// <remarks>
/// What a row takes grows with its position where it attends to all before: a line through a few positions, which measured steps pull towards themselves.
/// A prompt that begins in the middle, on a state that was kept, is so not taken for one at its beginning.
/// </remarks>
/// <param name="stepTokens">Rows of a step at most.</param>
internal sealed class StepBudget(int stepTokens)
{
    /// <summary>Duration of a step that also reads prompts, relative to one that does not; below the 4 that is promised, for steps that last longer than expected.</summary>
    public const double Stretch = 2.8;

    /// <summary>Seconds of a step that reads prompts only.</summary>
    public const double LongestSeconds = 0.3;

    // Prompt rows of a step before a row was measured.
    private const int FirstRows = 8;

    // Fewer rows tell little of what one takes: too little to begin with, and later in proportion.
    private const int LeastMeasured = 4;

    // Part of the estimate that a new measurement replaces.
    private const double Learning = 0.3;

    // What a row takes there, relative to the first, until it is measured: as with attention that takes two thirds of the time at the third of them.
    private static readonly int[] Positions = [0, 1024, 4096, 16384, 65536];
    private static readonly double[] Expected = [1, 1.5, 3, 9, 33];

    private readonly double[] _seconds = new double[Positions.Length];
    private int _known; // the last of the positions that measured steps came near
    private int _room;
    private double _left; // seconds
    private int _rows;
    private double _places; // sum of the positions of the rows

    /// <summary>Seconds of a prompt row; 0 before the first was measured.</summary>
    public double Row(int position)
    {
        var i = Segment(position);
        return _seconds[i] + ((_seconds[i + 1] - _seconds[i]) * Part(position, i));
    }

    /// <summary>Begins a step.</summary>
    /// <param name="decodeRows">Rows of sequences that wait for their next tokens.</param>
    /// <param name="usual">Seconds of the step without prompts.</param>
    public void Begin(int decodeRows, double usual)
    {
        _room = Math.Max(1, stepTokens - decodeRows);
        _left = decodeRows > 0 ? (Stretch - 1) * usual : LongestSeconds;
        (_rows, _places) = (0, 0);
    }

    /// <summary>Rows that the step has room for from that position on; at least 1 if it has none yet.</summary>
    public int Rows(int position)
    {
        var row = Row(position);
        var rows = row == 0 ? FirstRows - _rows : _left / row;
        return (int)Math.Clamp(rows, _rows == 0 ? 1 : 0, _room);
    }

    /// <summary>The step has these rows too.</summary>
    public void Add(int rows, int position)
    {
        _room -= rows;
        _left -= rows * Row(position);
        _rows += rows;
        _places += rows * (position + (0.5 * rows));
    }

    /// <summary>Takes in what the step took.</summary>
    /// <param name="seconds">The whole step.</param>
    /// <param name="usual">What it would have taken without prompts.</param>
    public void Record(double seconds, double usual)
    {
        if (_rows == 0 || (_rows < LeastMeasured && _seconds[0] == 0) || !(seconds > 0))
        {
            return;
        }

        var row = Math.Max((seconds - usual) / _rows, 0.01 * seconds / _rows);
        var position = (int)Math.Min(int.MaxValue, _places / _rows);
        var i = Segment(position);
        var part = Part(position, i);
        if (_seconds[0] == 0)
        {
            _seconds[0] = row; // more than it is, where these rows were far from the beginning
        }
        else
        {
            // A step that was interrupted counts as twice the usual at most.
            var expected = Row(position);
            var learning = Learning * Math.Min(1, _rows / (double)LeastMeasured);
            var error = learning * (Math.Min(row, 2 * expected) - expected) / (((1 - part) * (1 - part)) + (part * part));
            _seconds[i] += (1 - part) * error;
            _seconds[i + 1] += part * error;
        }

        // Beyond what was measured the line goes on as expected, and it never falls.
        _known = Math.Max(_known, part > 0.5 ? i + 1 : i);
        for (var k = i + 1; k < _seconds.Length; k++)
        {
            _seconds[k] = k > _known ? _seconds[_known] / Expected[_known] * Expected[k] : Math.Max(_seconds[k], _seconds[k - 1]);
        }
    }

    private static int Segment(int position)
    {
        var i = 0;
        while (i < Positions.Length - 2 && position >= Positions[i + 1])
        {
            i++;
        }

        return i;
    }

    private static double Part(int position, int i) => Math.Min(1, (position - Positions[i]) / (double)(Positions[i + 1] - Positions[i]));
}
