using System.CommandLine;
using RyzenLlm.Mcp.Hosting;
using Spectre.Console;

namespace RyzenLlm.Mcp.Cli;

/// <summary><c>models</c>: the models that can be chosen by name.</summary>
internal static class ModelsVerb
{
    /// <summary>With <c>--json</c>; facts are absent where the file cannot be read, and <see cref="Problem"/> says why.</summary>
    internal sealed record ModelReport(
        string Name, string Path, bool Default, long Bytes, string? Architecture, long? Parameters, int? ContextLength, string? Problem, ProfileFacts? Measured);

    public static Command Create()
    {
        var verb = new Command("models", "Models that can be chosen by name.");
        verb.Add(CreateList());
        verb.Add(ModelsPullVerb.Create());
        verb.Add(ModelsProfileVerb.Create());
        verb.Add(ModelsChooseVerb.Create());
        verb.Add(ModelsSimulateVerb.Create());
        return verb;
    }

    private static Command CreateList()
    {
        var verb = new Command("list", "Lists the models found, with what was measured of them on this machine (see: models profile).");
        var common = new CommonOptions(verb).WithJson("Print a JSON array.");
        verb.SetAction(parsed =>
        {
            var settings = common.Settings(parsed);
            var library = new ModelLibrary(settings.Models);
            var models = List(library, new ProfileStore(settings));
            if (parsed.GetValue(common.Json!))
            {
                CliJson.Print(models);
            }
            else
            {
                Show(models, library);
            }
        });
        return verb;
    }

    internal static ModelReport[] List(ModelLibrary library, ProfileStore profiles)
    {
        var entries = library.List();
        var byDefault = library.TryDefault();
        return [.. entries.Select(entry =>
        {
            var (info, problem) = ModelFacts.TryRead(entry);
            return new ModelReport(entry.Name, entry.Path, entry == byDefault, entry.Bytes, info?.Architecture, info?.ParameterCount, info?.ContextLength, problem, problem is null ? ProfileFacts.Of(profiles.Find(entry)) : null);
        })];
    }

    private static void Show(ModelReport[] models, ModelLibrary library)
    {
        if (models.Length == 0)
        {
            Console.Error.WriteLine($"ryzenllm: no models found. Folders searched: {string.Join(", ", library.Folders)}");
            return;
        }

        var table = new Table().Border(TableBorder.Simple).AddColumns("", "name", "architecture", "parameters", "context", "size", "reads/s", "writes/s", "bits/byte", "path");
        foreach (var model in models)
        {
            table.AddRow(
                model.Default ? "*" : "",
                Markup.Escape(model.Name),
                Markup.Escape(model.Problem ?? model.Architecture ?? ""),
                model.Parameters is { } count ? Tables.Count(count) : "",
                model.ContextLength?.ToString(System.Globalization.CultureInfo.InvariantCulture) ?? "",
                Tables.Size(model.Bytes),
                Number(model.Measured?.PromptTokensPerSecond, "N0"),
                Number(model.Measured?.DecodeTokensPerSecond, "N0"),
                Number(model.Measured?.BitsPerByte, "0.00"),
                Markup.Escape(model.Path));
        }

        Tables.Console.Write(table);
    }

    private static string Number(double? value, string format) => value?.ToString(format, System.Globalization.CultureInfo.InvariantCulture) ?? "";
}
