using System.CommandLine;
using System.Text;

namespace RyzenLlm.Mcp.Cli;

/// <summary>Text given as an argument, or else from standard input.</summary>
internal static class TextInput
{
    private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    public static Argument<string?> Argument(string description) => new("TEXT")
    {
        Description = description + " Read from standard input if absent.",
        Arity = ArgumentArity.ZeroOrOne,
    };

    /// <exception cref="ArgumentException">There is neither an argument nor redirected input, or the input is not UTF-8.</exception>
    public static async Task<string> ReadAsync(string? argument, CancellationToken cancel)
    {
        if (argument is not null)
        {
            return argument;
        }

        if (!Console.IsInputRedirected)
        {
            throw new ArgumentException("No text: give it as an argument, or pipe it in.");
        }

        using var bytes = new MemoryStream();
        await using (var input = Console.OpenStandardInput())
        {
            await input.CopyToAsync(bytes, cancel).ConfigureAwait(false);
        }

        return Decode(bytes.GetBuffer().AsSpan(0, (int)bytes.Length), "Standard input");
    }

    /// <summary>UTF-8 text of a file.</summary>
    /// <exception cref="ArgumentException">The file is not UTF-8.</exception>
    public static string ReadFile(string path) => Decode(File.ReadAllBytes(path), path);

    private static string Decode(ReadOnlySpan<byte> bytes, string source)
    {
        try
        {
            return Strict.GetString(bytes.StartsWith(Encoding.UTF8.Preamble) ? bytes[3..] : bytes);
        }
        catch (DecoderFallbackException e)
        {
            throw new ArgumentException($"{source} is not UTF-8 text (byte {e.Index}): convert it first, for example with iconv.");
        }
    }
}
