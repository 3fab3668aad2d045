using System.Globalization;
using Spectre.Console;

namespace RyzenLlm.Mcp.Cli;

/// <summary>Output for people.</summary>
internal static class Tables
{
    /// <summary>Standard output; wide enough not to cut names where it is no terminal.</summary>
    public static IAnsiConsole Console
    {
        get
        {
            var console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(System.Console.Out) });
            if (System.Console.IsOutputRedirected)
            {
                console.Profile.Width = 200;
            }

            return console;
        }
    }

    /// <summary>Names and values, without lines.</summary>
    public static Table Plain(params string[][] rows)
    {
        var table = new Table().Border(TableBorder.None).HideHeaders().AddColumns("", "");
        foreach (var row in rows)
        {
            table.AddRow(Markup.Escape(row[0]), Markup.Escape(row[1]));
        }

        return table;
    }

    /// <summary>Bytes in binary units.</summary>
    public static string Size(long bytes)
    {
        string[] units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
        var unit = 0;
        double value = bytes;
        while (value >= 1024 && unit < units.Length - 1)
        {
            value /= 1024;
            unit++;
        }

        return string.Create(CultureInfo.InvariantCulture, $"{value:0.#} {units[unit]}");
    }

    /// <summary>A number of parameters.</summary>
    public static string Count(long number) => number switch
    {
        >= 1_000_000_000 => string.Create(CultureInfo.InvariantCulture, $"{number / 1e9:0.##} billion"),
        >= 1_000_000 => string.Create(CultureInfo.InvariantCulture, $"{number / 1e6:0.##} million"),
        _ => number.ToString("N0", CultureInfo.InvariantCulture),
    };
}
