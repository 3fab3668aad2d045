namespace RyzenLlm.Fuzz;

/// <summary>
/// A part of the product that reads what strangers wrote. An input is any bytes; a target says what may come of them.
/// </summary>
internal abstract class FuzzTarget : IDisposable
{
    /// <summary>Bytes that a refusal may allocate whatever the size of the input: the exception, its message and its trace.</summary>
    public const int RefusalBytes = 96 * 1024;

    /// <summary>Name on the command line and of the folder with its inputs.</summary>
    public abstract string Name { get; }

    /// <summary>Longest input that is tried, in bytes.</summary>
    public virtual int LongestInput => 8 * 1024;

    /// <summary>Small valid inputs to begin with.</summary>
    public abstract IEnumerable<byte[]> Seeds();

    /// <summary>Words of the format, put into inputs whole.</summary>
    public virtual IReadOnlyList<string> Words => [];

    /// <summary>Reads the input as the product does. Throws only what <see cref="IsDocumented"/> admits, whatever the input.</summary>
    public abstract void Run(byte[] input);

    /// <summary>Whether an exception is one that the product's documentation promises for bad input.</summary>
    public abstract bool IsDocumented(Exception e);

    /// <summary>Bytes that may be allocated before an input of this length is refused.</summary>
    public virtual long AllocationLimit(int length) => RefusalBytes + (16L * length);

    /// <summary>Puts right what random changes always break, such as a checksum; half of the inputs go through it.</summary>
    public virtual void Repair(byte[] input)
    {
    }

    /// <inheritdoc/>
    public virtual void Dispose()
    {
    }

    /// <summary>The target of a name.</summary>
    /// <exception cref="ArgumentException">There is none.</exception>
    public static FuzzTarget Named(string name)
    {
        foreach (var make in All)
        {
            var target = make();
            if (target.Name == name)
            {
                return target;
            }

            target.Dispose();
        }

        throw new ArgumentException($"There is no target {name}.");
    }

    /// <summary>All targets.</summary>
    public static IReadOnlyList<Func<FuzzTarget>> All { get; } =
    [
        () => new Targets.GgufTarget(), () => new Targets.SafetensorsTarget(), () => new Targets.TokenizerTarget(), () => new Targets.ModelTarget(),
        () => new Targets.TemplateTarget(), () => new Targets.SessionTarget(), () => new Targets.SchemaTarget(), () => new Targets.RegexTarget(),
        () => new Targets.ArgumentsTarget(), () => new Targets.FramesTarget(), () => new Targets.TranscriptTarget(),
        () => new Targets.StateTarget(), () => new Targets.ProfileTarget(),
    ];
}
