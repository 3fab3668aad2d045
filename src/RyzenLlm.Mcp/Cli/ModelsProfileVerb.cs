using System.CommandLine;
using System.Globalization;
using RyzenLlm.Engine.Profiles;
using RyzenLlm.Mcp.Hosting;
using Spectre.Console;

namespace RyzenLlm.Mcp.Cli;

/// <summary><c>models profile</c>: measures models for automatic choice, once per machine and file.</summary>
internal static class ModelsProfileVerb
{
    public static Command Create()
    {
        var verb = new Command("profile", "Measures speed, memory and quality of models on this machine; what is measured already is only shown.");
        var names = new Argument<string[]>("name") { Description = "Models to measure; all that can be run if absent.", Arity = ArgumentArity.ZeroOrMore };
        var force = new Option<bool>("--force") { Description = "Measure again." };
        verb.Add(names);
        verb.Add(force);
        var common = new CommonOptions(verb).WithJson("Print a JSON array of whole profiles.").WithThreads().WithKernels();
        verb.SetAction((parsed, cancel) =>
        {
            var settings = common.Settings(parsed);
            var library = new ModelLibrary(settings.Models);
            var store = new ProfileStore(settings);
            var options = LoadedModels.OptionsFor(settings.Engine);
            var given = parsed.GetValue(names) ?? [];
            List<ModelProfile> profiles = [];
            foreach (var entry in given.Length > 0 ? given.Select(library.Resolve) : library.List().Where(e => ModelFacts.TryRead(e).Problem is null))
            {
                var profile = parsed.GetValue(force) ? null : store.Find(entry);
                if (profile is null)
                {
                    Console.Error.WriteLine($"ryzenllm: measuring {entry.Name}");
                    profile = ProfileRun.Measure(entry.Name, entry.Path, options, cancel);
                    store.Save(entry, profile);
                }

                profiles.Add(profile);
            }

            if (parsed.GetValue(common.Json!))
            {
                CliJson.Print(profiles.ToArray());
            }
            else
            {
                Show(profiles);
            }

            return Task.FromResult(0);
        });
        return verb;
    }

    private static void Show(List<ModelProfile> profiles)
    {
        var table = new Table().Border(TableBorder.Simple)
            .AddColumns("name", "load", "reads/s (256)", "reads/s (4096)", "writes/s (256)", "JSON token", "bits/byte", "memory", "state per token", "measured");
        foreach (var profile in profiles)
        {
            var facts = ProfileFacts.Of(profile)!;
            table.AddRow(
                Markup.Escape(profile.Model),
                Text($"{facts.LoadSeconds:0.000} s"),
                Text($"{facts.PromptTokensPerSecond:N0}"),
                Text($"{facts.LongPromptTokensPerSecond:N0}"),
                Text($"{facts.DecodeTokensPerSecond:N1}"),
                Text($"+{profile.JsonTokenSeconds * 1000:0.00} ms"),
                Text($"{facts.BitsPerByte:0.000}"),
                Tables.Size(facts.MemoryBytes),
                Tables.Size((long)facts.StateBytesPerToken),
                facts.Measured);
        }

        Tables.Console.Write(table);
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
