using System.Globalization;

namespace RyzenLlm.Engine.Eval;

/// <summary>Arguments of the form name=value.</summary>
internal sealed class Arguments(string[] arguments)
{
    /// <summary>A number, or what it is by default.</summary>
    public int this[string name, int otherwise] => Find(name) is { } value ? int.Parse(value, CultureInfo.InvariantCulture) : otherwise;

    /// <summary>A text, or what it is by default.</summary>
    public string this[string name, string otherwise] => Find(name) ?? otherwise;

    private string? Find(string name) => arguments.Select(a => a.Split('=', 2)).FirstOrDefault(a => a.Length == 2 && a[0] == name)?[1];
}
