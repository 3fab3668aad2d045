namespace RyzenLlm.Engine.Decoding.Speculation;

/// <summary>
/// How often the guesses of one kind of draft are right, by grade: running averages in which older guesses fade, starting from a prior.
/// </summary>
/// <remarks>
/// What counts as a trial is a guess whose predecessors all were right, so the rate of a grade is the chance of one more accepted token.
/// </remarks>
public sealed class HitRates
{
    // Weight of the prior in trials, and what a trial is still worth after the next one.
    private const double PriorTrials = 4;
    private const double Fading = 0.98;

    private readonly double[] _priors;
    private readonly double[] _hits;
    private readonly double[] _trials;

    /// <summary>Rates that begin as given, one per grade, each between 0 and 1.</summary>
    public HitRates(params ReadOnlySpan<double> priors)
    {
        _priors = priors.ToArray();
        _hits = new double[priors.Length];
        _trials = new double[priors.Length];
    }

    /// <summary>Number of grades.</summary>
    public int Grades => _priors.Length;

    /// <summary>Chance that a guess of this grade is right, above 0 and below 1 for priors that are.</summary>
    public double Rate(int grade) => (_hits[grade] + (PriorTrials * _priors[grade])) / (_trials[grade] + PriorTrials);

    /// <summary>Chance that a guess of any of the first grades is right, each as frequent as it was lately.</summary>
    public double Average(int grades)
    {
        var (hits, trials) = (0.0, 0.0);
        for (var grade = 0; grade < grades; grade++)
        {
            hits += _hits[grade] + (PriorTrials * _priors[grade]);
            trials += _trials[grade] + PriorTrials;
        }

        return hits / trials;
    }

    /// <summary>A guess of this grade was right, or not.</summary>
    public void Record(int grade, bool hit)
    {
        _hits[grade] = (_hits[grade] * Fading) + (hit ? 1 : 0);
        _trials[grade] = (_trials[grade] * Fading) + 1;
    }
}
