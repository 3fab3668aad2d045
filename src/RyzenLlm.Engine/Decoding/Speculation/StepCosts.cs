namespace RyzenLlm.Engine.Decoding.Speculation;

/// <summary>
/// What a forward pass of the target takes, as a line over its rows: measured plain steps give the value at one row, larger ones the slope.
/// </summary>
public sealed class StepCosts
{
    // Part of the estimate that a new measurement replaces.
    private const double Learning = 0.1;

    // Cost of a further row relative to a plain step until one was measured: weights are read once for all rows.
    private const double FirstSlope = 0.15;

    private double _slope = FirstSlope;
    private int _slopes;

    /// <summary>Seconds of a pass with a single row; 0 before the first was measured.</summary>
    public double Plain { get; private set; }

    /// <summary>Seconds that one more row adds.</summary>
    public double Row => Plain * _slope;

    /// <summary>Seconds of a pass with so many rows.</summary>
    public double Pass(int rows) => Plain + (Row * (rows - 1));

    /// <summary>Takes in a measured pass.</summary>
    /// <param name="rows">Its rows, at least 1.</param>
    /// <param name="seconds">What it took.</param>
    public void Record(int rows, double seconds)
    {
        if (!(seconds > 0))
        {
            return; // a clock too coarse to tell
        }

        if (rows == 1)
        {
            // A pass that was interrupted says little about the next: it counts as twice the usual at most.
            Plain = Plain == 0 ? seconds : Plain + (Learning * (Math.Min(seconds, 2 * Plain) - Plain));
        }
        else if (Plain > 0)
        {
            // The first few measurements weigh more, yet none so much that an interruption could pass for the cost of rows.
            var slope = Math.Clamp(((seconds / Plain) - 1) / (rows - 1), 0, 2);
            var learning = Math.Max(Learning, 1.0 / (2 + _slopes++));
            _slope += learning * (Math.Min(slope, (2 * _slope) + 0.1) - _slope);
        }
    }
}
