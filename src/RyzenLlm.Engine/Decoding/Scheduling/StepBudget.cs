namespace RyzenLlm.Engine.Decoding.Scheduling;

/// <summary>
/// How many prompt tokens a step reads: as many as keep it within a few times the duration of a step without them, by measured times. Where
/// nobody waits for a next token, as many as keep it short enough for others to join.
/// </summary>
/// <param name="stepTokens">Rows of a step at most.</param>
internal sealed class StepBudget(int stepTokens)
{
    /// <summary>Duration of a step that also reads prompts, relative to one that does not; below the 4 that is promised, for steps that last longer than expected.</summary>
    public const double Stretch = 3;

    /// <summary>Seconds of a step that reads prompts only.</summary>
    public const double LongestSeconds = 0.3;

    // Prompt rows of a step before a row was measured.
    private const int FirstRows = 8;

    // Fewer rows are too few to tell what one takes.
    private const int LeastMeasured = 4;

    private double _row; // seconds

    /// <summary>Seconds of a prompt row; 0 before the first was measured.</summary>
    public double Row => _row;

    /// <summary>Prompt rows for the next step, at least 1.</summary>
    /// <param name="decodeRows">Rows of sequences that wait for their next tokens.</param>
    /// <param name="usual">Seconds of the step without prompts.</param>
    public int Rows(int decodeRows, double usual)
    {
        var room = Math.Max(1, stepTokens - decodeRows);
        if (_row == 0)
        {
            return Math.Min(room, FirstRows);
        }

        var seconds = decodeRows > 0 ? (Stretch - 1) * usual : LongestSeconds;
        return (int)Math.Clamp(seconds / _row, 1, room);
    }

    /// <summary>Takes in a measured step with prompts.</summary>
    /// <param name="promptRows">Its prompt rows.</param>
    /// <param name="seconds">What it took.</param>
    /// <param name="usual">What it would have taken without prompts.</param>
    public void Record(int promptRows, double seconds, double usual)
    {
        if (promptRows < LeastMeasured || !(seconds > 0))
        {
            return;
        }

        // Rows become dearer as prompts grow, so the latest counts much; a step that was interrupted counts as twice the usual at most.
        var row = Math.Max((seconds - usual) / promptRows, 0.01 * seconds / promptRows);
        _row = _row == 0 ? row : _row + (0.3 * (Math.Min(row, 2 * _row) - _row));
    }
}
