using System.Globalization;
using System.Text;

namespace RyzenLlm.Memory.Evaluation;

/// <summary>One line of a chart.</summary>
/// <param name="Name">Shown at its end.</param>
/// <param name="Points">From left to right.</param>
public sealed record ChartLine(string Name, IReadOnlyList<(double X, double Y)> Points);

/// <summary>Draws line charts with a logarithmic x axis as stand-alone SVG, readable on light and dark pages.</summary>
public static class SvgChart
{
    private const int Width = 640, Height = 360, Left = 56, Right = 130, Top = 36, Bottom = 48, Steps = 5;
    private static readonly string[] Colours = ["#2f6fb4", "#c8553d", "#3c8d5a", "#8a5aa8"];

    /// <summary>The chart as SVG text.</summary>
    /// <exception cref="ArgumentException">No points, or an x that is not above 0.</exception>
    public static string Draw(string title, string xLabel, string yLabel, IReadOnlyList<ChartLine> lines)
    {
        (double X, double Y)[] all = [.. lines.SelectMany(l => l.Points)];
        if (all.Length == 0 || all.Any(p => !(p.X > 0) || !double.IsFinite(p.Y)))
        {
            throw new ArgumentException("A chart needs points with x above 0 and finite y.", nameof(lines));
        }

        double low = Math.Log(all.Min(p => p.X)), high = Math.Max(low + 1e-9, Math.Log(all.Max(p => p.X))), top = NiceTop(all.Max(p => p.Y));
        double X(double x) => Left + (Math.Log(x) - low) / (high - low) * (Width - Left - Right);
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
            Text(svg, X(x), Height - Bottom + 18, "middle", x.ToString("N0", CultureInfo.InvariantCulture));
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
