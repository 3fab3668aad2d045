using System.Globalization;
using System.Text;

namespace RyzenLlm.Engine.Files;

/// <summary>A model file does not hold what its format or the architecture requires. The message is one line that says where.</summary>
public sealed class ModelFormatException : Exception
{
    /// <summary>Describes one violation.</summary>
    /// <param name="file">Path of the file.</param>
    /// <param name="tensor">Tensor concerned, or null where none is.</param>
    /// <param name="offset">Byte position in the file, or null where none is meaningful.</param>
    /// <param name="expected">What the format or the architecture asks for.</param>
    /// <param name="found">What the file holds.</param>
    /// <param name="inner">Cause, if another error revealed the violation.</param>
    public ModelFormatException(string file, string? tensor, long? offset, string expected, string found, Exception? inner = null)
        : base(Describe(file, tensor, offset, expected, found), inner)
    {
        File = file;
        Tensor = tensor;
        Offset = offset;
        Expected = expected;
        Found = found;
    }

    /// <summary>Path of the file.</summary>
    public string File { get; }

    /// <summary>Tensor concerned, or null.</summary>
    public string? Tensor { get; }

    /// <summary>Byte position in the file, or null.</summary>
    public long? Offset { get; }

    /// <summary>What was asked for.</summary>
    public string Expected { get; }

    /// <summary>What was there.</summary>
    public string Found { get; }

    /// <summary>
    /// Text from a file for use in a message: control characters escaped and the middle of long texts left out, so that a message
    /// stays one readable line whatever a damaged file holds.
    /// </summary>
    internal static string Quote(string text)
    {
        const int Longest = 96;
        if (text.Length > Longest)
        {
            text = $"{text.AsSpan(0, Longest / 2)}...{text.AsSpan(text.Length - Longest / 2)}";
        }

        return $"'{OneLine(text)}'";
    }

    private static string Describe(string file, string? tensor, long? offset, string expected, string found)
    {
        var where = new StringBuilder(file);
        if (tensor is not null)
        {
            where.Append(": tensor ").Append(Quote(tensor));
        }

        if (offset is { } position)
        {
            where.Append(CultureInfo.InvariantCulture, $"{(tensor is null ? ": at" : " at")} byte {position}");
        }

        return OneLine($"{where}: expected {expected}, found {found}");
    }

    private static string OneLine(string text)
    {
        if (!text.AsSpan().ContainsAnyInRange('\0', '\x1F') && !text.AsSpan().ContainsAny('\x7F', '\u2028', '\u2029'))
        {
            return text;
        }

        var line = new StringBuilder();
        foreach (var c in text)
        {
            if (char.IsControl(c) || c is '\u2028' or '\u2029')
            {
                line.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:X4}");
            }
            else
            {
                line.Append(c);
            }
        }

        return line.ToString();
    }
}
