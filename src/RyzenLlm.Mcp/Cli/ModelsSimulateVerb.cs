using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using RyzenLlm.Engine.Choosing;
using RyzenLlm.Engine.Profiles;
using RyzenLlm.Mcp.Hosting;
using Spectre.Console;

namespace RyzenLlm.Mcp.Cli;

/// <summary><c>models simulate</c>: automatic choice against each fixed one over a mix of requests.</summary>
internal static class ModelsSimulateVerb
{
    public static Command Create()
    {
        var verb = new Command("simulate", "Compares automatic choice with always taking the same model, over a simulated mix of requests.");
        var file = new Option<string>("--profiles") { Description = "JSON array of profiles, as models profile --json prints it; those of this machine if absent.", HelpName = "FILE" };
        var requests = new Option<int>("--requests") { Description = "Number of requests.", HelpName = "N", DefaultValueFactory = _ => 5000 };
        var seed = new Option<int>("--seed") { Description = "Names the randomness.", HelpName = "N", DefaultValueFactory = _ => 1 };
        var chart = new Option<string>("--chart") { Description = "Also draw the regrets as SVG.", HelpName = "FILE" };
        verb.Add(file);
        verb.Add(CommonOptions.InRange(requests, 1, 1_000_000));
        verb.Add(CommonOptions.InRange(seed, 0, int.MaxValue));
        verb.Add(chart);
        var common = new CommonOptions(verb).WithJson("Print one JSON object.");
        verb.SetAction(parsed =>
        {
            var settings = common.Settings(parsed);
            var profiles = parsed.GetValue(file) is { } path ? Read(path) : Measured(settings);
            var report = ChoiceSimulation.Run(profiles, parsed.GetValue(requests), parsed.GetValue(seed));
            if (parsed.GetValue(chart) is { } svg)
            {
                File.WriteAllText(svg, RegretChart.Draw(report));
            }

            if (parsed.GetValue(common.Json!))
            {
                CliJson.Print(report);
            }
            else
            {
                Show(report);
            }
        });
        return verb;
    }

    /// <summary>Profiles of a file.</summary>
    internal static ModelProfile[] Read(string path)
    {
        try
        {
            return JsonSerializer.Deserialize(File.ReadAllText(path), ProfileJson.Default.ModelProfileArray) ?? [];
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"{path} is no JSON array of profiles: {e.Message}");
        }
    }

    private static ModelProfile[] Measured(Settings.AppSettings settings)
    {
        var store = new ProfileStore(settings);
        return [.. new ModelLibrary(settings.Models).List().Select(store.Find).OfType<ModelProfile>().Where(p => p.BitsPerByte is not null)];
    }

    private static void Show(SimulationReport report)
    {
        var table = new Table().Border(TableBorder.Simple).AddColumns("policy", "worth", "regret", "worst task", "its regret", "refused", "late");
        foreach (var p in report.Policies)
        {
            table.AddRow(
                Markup.Escape(p.Policy), Text($"{p.Worth:0.0000}"), Text($"{p.Regret:0.0000}"), p.WorstTask, Text($"{p.WorstRegret:0.0000}"), Text($"{100 * p.Refused:0.0} %"), Text($"{100 * p.Late:0.0} %"));
        }

        Tables.Console.Write(table);
        foreach (var task in report.Shares.GroupBy(s => s.Task))
        {
            Console.Out.WriteLine($"{task.Key}: {string.Join(", ", task.Select(s => Text($"{s.Model} {100 * s.Share:0} %")))}");
        }
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}

/// <summary>Regrets as bars, stand-alone SVG, readable on light and dark pages.</summary>
internal static class RegretChart
{
    private const int Width = 640, Bar = 22, Gap = 10, Left = 190, Top = 48, Right = 70;

    /// <summary>The chart.</summary>
    public static string Draw(SimulationReport report)
    {
        var most = report.Policies.Max(p => p.Regret);
        var height = Top + (report.Policies.Count * (Bar + Gap)) + 12;
        var svg = new System.Text.StringBuilder();
        svg.Append(CultureInfo.InvariantCulture, $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {Width} {height}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#777\">\n");
        svg.Append(CultureInfo.InvariantCulture, $"<text x=\"8\" y=\"20\" font-size=\"14\">Mean regret per request (0: the best model every time), {report.Requests:N0} requests</text>\n");
        var y = Top;
        foreach (var policy in report.Policies)
        {
            var length = most > 0 ? policy.Regret / most * (Width - Left - Right) : 0;
            var colour = policy.Policy.StartsWith(ChoiceSimulation.Auto, StringComparison.Ordinal) ? "#3c8d5a" : "#2f6fb4";
            svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{Left - 8}\" y=\"{y + 15}\" text-anchor=\"end\">{System.Security.SecurityElement.Escape(policy.Policy)}</text>");
            svg.Append(CultureInfo.InvariantCulture, $"<rect x=\"{Left}\" y=\"{y}\" width=\"{Math.Max(1, length):F1}\" height=\"{Bar}\" fill=\"{colour}\"/>");
            svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{Left + length + 6:F1}\" y=\"{y + 15}\">{policy.Regret:0.000}</text>\n");
            y += Bar + Gap;
        }

        return svg.Append("</svg>\n").ToString();
    }
}
