using System.Globalization;
using System.Text;

namespace RyzenLlm.Memory.Evaluation;

/// <summary>One line of a chart.</summary>
/// <param name="Name">Shown at its end.</param>
/// <param name="Points">From left to right.</param>
public sealed record ChartLine(string Name, IReadOnlyList<(double X, double Y)> Points);

/// <summary>Draws line charts as stand-alone SVG, readable on light and dark pages.</summary>
public static class SvgChart
{
    private const int Width = 640, Height = 360, Left = 56, Right = 130, Top = 36, Bottom = 48, Steps = 5;
    private static readonly string[] Colours = ["#2f6fb4", "#c8553d", "#3c8d5a", "#8a5aa8"];

    /// <summary>The chart as SVG text.</summary>
    /// <param name="title">Above the chart.</param>
    /// <param name="xLabel">Below the x axis.</param>
    /// <param name="yLabel">Above the y axis, which begins at 0.</param>
    /// <param name="lines">What is drawn.</param>
    /// <param name="logarithmic">Whether x is drawn by its logarithm.</param>
    /// <exception cref="ArgumentException">No points, one that is not finite, or an x that has no logarithm.</exception>
    public static string Draw(string title, string xLabel, string yLabel, IReadOnlyList<ChartLine> lines, bool logarithmic = true)
    {
        (double X, double Y)[] all = [.. lines.SelectMany(l => l.Points)];
        if (all.Length == 0 || all.Any(p => !double.IsFinite(Scale(p.X)) || !double.IsFinite(p.Y)))
        {
            throw new ArgumentException(logarithmic ? "A chart needs points with x above 0 and finite y." : "A chart needs finite points.", nameof(lines));
        }

        double low = all.Min(p => Scale(p.X)), high = Math.Max(low + 1e-9, all.Max(p => Scale(p.X))), top = NiceTop(all.Max(p => p.Y));
        double Scale(double x) => logarithmic ? Math.Log(x) : x;
        double X(double x) => Left + (Scale(x) - low) / (high - low) * (Width - Left - Right);
        double Y(double y) => Height - Bottom - y / top * (Height - Top - Bottom);
        var svg = new StringBuilder();
        svg.Append(CultureInfo.InvariantCulture, $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {Width} {Height}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#777\">\n");
        Text(svg, Left, Top - 22, "start", title);
        Text(svg, (Left + Width - Right) / 2.0, Height - 10, "middle", xLabel);
        Text(svg, 6, Top - 8, "start", yLabel);
        for (int i = 0; i <= Steps; i++)
        {
            double y = Y(top * i / Steps);
            svg.Append(CultureInfo.InvariantCulture, $"<line x1=\"{Left}\" x2=\"{Width - Right}\" y1=\"{y:F1}\" y2=\"{y:F1}\" stroke=\"#8884\"/>\n");
            Text(svg, Left - 6, y + 4, "end", (top * i / Steps).ToString("G4", CultureInfo.InvariantCulture));
        }

        foreach (double x in all.Select(p => p.X).Distinct())
        {
            Text(svg, X(x), Height - Bottom + 18, "middle", x.ToString(logarithmic ? "N0" : "G4", CultureInfo.InvariantCulture));
        }

        for (int i = 0; i < lines.Count; i++)
        {
            string colour = Colours[i % Colours.Length];
            var points = lines[i].Points.Select(p => string.Create(CultureInfo.InvariantCulture, $"{X(p.X):F1},{Y(p.Y):F1}"));
            svg.Append(CultureInfo.InvariantCulture, $"<polyline points=\"{string.Join(' ', points)}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n");
            var (endX, endY) = lines[i].Points[^1];
            svg.Append(CultureInfo.InvariantCulture, $"<g fill=\"{colour}\">");
            Text(svg, X(endX) + 8, Y(endY) + 4, "start", lines[i].Name);
            svg.Append("</g>\n");
        }

        return svg.Append("</svg>\n").ToString();
    }

    /// <summary>The next 1, 2 or 5 times a power of ten.</summary>
    private static double NiceTop(double value)
    {
        double power = Math.Pow(10, Math.Floor(Math.Log10(Math.Max(value, 1e-9))));
        return new[] { 1, 2, 5, 10 }.Select(f => f * power).First(t => t >= value);
    }

    private static void Text(StringBuilder svg, double x, double y, string anchor, string text) => svg.Append(
        CultureInfo.InvariantCulture, $"<text x=\"{x:F1}\" y=\"{y:F1}\" text-anchor=\"{anchor}\">{System.Security.SecurityElement.Escape(text)}</text>\n");
}
