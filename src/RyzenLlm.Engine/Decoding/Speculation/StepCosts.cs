namespace RyzenLlm.Engine.Decoding.Speculation;

/// <summary>
/// What a forward pass of the target takes, by its rows: a curve through a few sizes, with straight lines in between, that measured passes pull
/// towards themselves. Weights are read once for all rows, so the first few are cheap, and how cheap is different for every model and machine.
/// </summary>
/// <remarks>Whoever runs the passes records them; passes that also read a prompt tell nothing about decoding.</remarks>
public sealed class StepCosts
{
    // Part of the estimate that a new measurement replaces.
    private const double Learning = 0.1;

    private const int ColdPasses = 3;

    // Cost of a further row relative to a plain step until one was measured.
    private const double FirstSlope = 0.15;

    // Rows over which the cost of a further one is averaged.
    private const int RowSpan = 4;

    private static readonly int[] Sizes = [1, 2, 4, 8, 16, 32, 64, 128];

    private readonly double[] _seconds = new double[Sizes.Length];
    private readonly int[] _measured = new int[Sizes.Length]; // passes that had a say in each value

    /// <summary>Seconds of a pass with a single row; 0 before any was measured.</summary>
    public double Plain => _seconds[0];

    /// <summary>Seconds of a pass with so many rows.</summary>
    public double Pass(int rows)
    {
        var i = Segment(rows);
        return _seconds[i] + ((_seconds[i + 1] - _seconds[i]) * (rows - Sizes[i]) / (Sizes[i + 1] - Sizes[i]));
    }

    /// <summary>Seconds that a further row adds to a pass with so many, on average over the next few.</summary>
    public double Row(int rows) => Math.Max(0, (Pass(rows + RowSpan) - Pass(rows)) / RowSpan);

    /// <summary>Takes in a measured pass.</summary>
    /// <param name="rows">Its rows, at least 1.</param>
    /// <param name="seconds">What it took.</param>
    public void Record(int rows, double seconds)
    {
        if (!(seconds > 0))
        {
            return; // a clock too coarse to tell
        }

        if (Plain == 0)
        {
            _seconds[0] = seconds / (1 + (FirstSlope * (rows - 1)));
            Extend();
        }

        // A pass that was interrupted says little about the next: it counts as twice the usual at most.
        var expected = Pass(rows);
        var error = Math.Min(seconds, 2 * expected) - expected;
        if (rows == 1)
        {
            Pull(0, error);
        }
        else
        {
            // Both ends of the segment, as if the cost of a row were wrong: together they move the curve by the error at this place.
            var i = Segment(rows);
            if (rows < Sizes[i + 1])
            {
                Pull(i, error * (Sizes[i] - 1) / (rows - 1));
            }

            if (rows > Sizes[i])
            {
                Pull(i + 1, error * (Sizes[i + 1] - 1) / (rows - 1));
            }
        }

        Extend();
    }

    private static int Segment(int rows)
    {
        var i = 0;
        while (i < Sizes.Length - 2 && rows >= Sizes[i + 1])
        {
            i++;
        }

        return i;
    }

    // The first few measurements are averaged, but the very first ones may have waited for the disk: of these the smallest counts.
    private void Pull(int i, double error) =>
        _seconds[i] += (++_measured[i] <= ColdPasses && error < 0 ? 1 : Math.Max(Learning, 1.0 / _measured[i])) * error;

    // Sizes not measured lie on the line through their measured neighbours, and beyond these go on as before.
    private void Extend()
    {
        var before = -1;
        for (var i = 0; i < Sizes.Length; i++)
        {
            if (_measured[i] == 0)
            {
                continue;
            }

            for (var k = before + 1; k < i; k++)
            {
                _seconds[k] = before < 0
                    ? _seconds[i] * Guess(k) / Guess(i)
                    : _seconds[before] + ((_seconds[i] - _seconds[before]) * (Sizes[k] - Sizes[before]) / (Sizes[i] - Sizes[before]));
            }

            before = i;
        }

        for (var k = Math.Max(1, before + 1); k < Sizes.Length; k++)
        {
            _seconds[k] = before < 1
                ? _seconds[0] * Guess(k)
                : _seconds[before] + (Math.Max(0, _seconds[before] - _seconds[before - 1]) * (Sizes[k] - Sizes[before]) / (Sizes[before] - Sizes[before - 1]));
        }
    }

    // Relative to a plain pass.
    private static double Guess(int size) => 1 + (FirstSlope * (Sizes[size] - 1));
}
