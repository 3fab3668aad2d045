using System.CommandLine;
using System.Globalization;
using RyzenLlm.Engine.Models;
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
        string Path, string Architecture, bool Supported, long Bytes, long Parameters, int ContextLength, int EmbeddingLength, int BlockCount,
        int VocabularySize, string? Tokenizer, Dictionary<string, long> ValuesByType, Dictionary<string, string> Metadata, Tensor[] Tensors);

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
        var metadata = ModelMetadata.Read(entry.Path);
        return new(
            metadata.Info.Path,
            metadata.Info.Architecture,
            metadata.IsSupported,
            metadata.FileBytes,
            metadata.Info.ParameterCount,
            metadata.Info.ContextLength,
            metadata.Info.EmbeddingLength,
            metadata.Info.BlockCount,
            metadata.Info.VocabularySize,
            metadata.TokenizerKind,
            metadata.ValuesByType.ToDictionary(t => t.Key.ToString(), t => t.Value),
            metadata.Values.ToDictionary(),
            [.. metadata.Tensors.Select(t => new Tensor(t.Name, t.Type.ToString(), [.. t.Dimensions], t.Offset, t.Bytes))]);
    }

    private static void Show(FileReport output)
    {
        var console = Tables.Console;
        console.Write(Tables.Plain(
            ["file", output.Path],
            ["architecture", output.Supported ? output.Architecture : $"{output.Architecture} (cannot be run)"],
            ["size", Tables.Size(output.Bytes)],
            ["parameters", Tables.Count(output.Parameters)],
            ["shape", $"{output.BlockCount} blocks, width {output.EmbeddingLength}, context {output.ContextLength}"],
            ["vocabulary", $"{output.VocabularySize} tokens ({output.Tokenizer ?? "none in the file"})"],
            ["weights", string.Join(", ", output.ValuesByType.Select(t => $"{t.Key} {Tables.Count(t.Value)}"))]));
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
