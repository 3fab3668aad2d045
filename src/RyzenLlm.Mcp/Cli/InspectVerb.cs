using System.CommandLine;
using System.Globalization;
using RyzenLlm.Engine.Files;
using RyzenLlm.Mcp.Hosting;
using Spectre.Console;

namespace RyzenLlm.Mcp.Cli;

/// <summary><c>inspect</c>: what a model file holds.</summary>
internal static class InspectVerb
{
    // Longer texts (chat templates, vocabularies) are cut for display.
    private const int ShownCharacters = 120;

    /// <summary>A tensor of the file.</summary>
    internal sealed record Tensor(string Name, string Type, long[] Dimensions, long Offset, long Bytes);

    /// <summary>With <c>--json</c>.</summary>
    internal sealed record FileReport(
        string Path, string Architecture, long Bytes, long Parameters, IReadOnlyDictionary<string, long> BytesByType,
        IReadOnlyDictionary<string, string> Metadata, Tensor[] Tensors);

    public static Command Create()
    {
        var verb = new Command("inspect", "Shows what a model file holds: architecture, sizes, metadata, tensors.");
        var path = new Argument<string>("MODEL") { Description = "Path of a model file, or name of a model." };
        verb.Add(path);
        var common = new CommonOptions(verb).WithJson("Print one JSON object.");
        verb.SetAction(parsed =>
        {
            var entry = new ModelLibrary(common.Settings(parsed).Models).Resolve(parsed.GetRequiredValue(path));
            var output = Read(entry);
            if (parsed.GetValue(common.Json!))
            {
                CliJson.Print(output);
            }
            else
            {
                Show(output);
            }
        });
        return verb;
    }

    internal static FileReport Read(ModelEntry entry)
    {
        if (Directory.Exists(entry.Path))
        {
            throw new ArgumentException($"{entry.Path} is a folder: inspect shows GGUF files.");
        }

        using var file = GgufFile.Open(entry.Path);
        var tensors = file.Tensors.Values.OrderBy(t => t.Offset).ToArray();
        return new(
            file.Path,
            file.Architecture,
            file.Length,
            tensors.Sum(t => t.Elements),
            tensors.GroupBy(t => t.Type.ToString()).ToDictionary(g => g.Key, g => g.Sum(t => t.Bytes)),
            file.Metadata.ToDictionary(m => m.Key, m => m.Value.ToString()),
            [.. tensors.Select(t => new Tensor(t.Name, t.Type.ToString(), [.. t.Dimensions], t.Offset, t.Bytes))]);
    }

    private static void Show(FileReport output)
    {
        var console = Tables.Console;
        console.Write(Tables.Plain(
            ["file", output.Path],
            ["architecture", output.Architecture],
            ["size", Tables.Size(output.Bytes)],
            ["parameters", Tables.Count(output.Parameters)],
            ["weights", string.Join(", ", output.BytesByType.OrderByDescending(t => t.Value).Select(t => $"{t.Key} {Tables.Size(t.Value)}"))]));
        var metadata = new Table().Border(TableBorder.Simple).AddColumns("metadata", "value");
        foreach (var (key, value) in output.Metadata)
        {
            metadata.AddRow(Markup.Escape(key), Markup.Escape(Cut(value)));
        }

        console.Write(metadata);
        var tensors = new Table().Border(TableBorder.Simple).AddColumns("tensor", "type", "dimensions", "bytes");
        foreach (var tensor in output.Tensors)
        {
            tensors.AddRow(
                Markup.Escape(tensor.Name), tensor.Type, string.Join(" x ", tensor.Dimensions), tensor.Bytes.ToString("N0", CultureInfo.InvariantCulture));
        }

        console.Write(tensors);
    }

    private static string Cut(string value)
    {
        var line = value.ReplaceLineEndings("\\n");
        return line.Length <= ShownCharacters ? line : string.Concat(line.AsSpan(0, ShownCharacters), "...");
    }
}
