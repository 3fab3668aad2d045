using System.CommandLine;
using System.Globalization;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;
using RyzenLlm.Memory;
using Spectre.Console;

namespace RyzenLlm.Mcp.Cli;

/// <summary><c>memory</c>: what was stored and is found again. The verbs that only read are here.</summary>
internal static class MemoryVerb
{
    /// <summary>With <c>--json</c>: a unit.</summary>
    internal sealed record UnitReport(
        Guid Id, string Tenant, string Scope, string Session, string Speaker, string Source, DateTimeOffset At, string Text, int Tokens, float Density, string Tier,
        int Seen, string[] Sources, DateTimeOffset? ValidTo, Guid? SupersededBy, Guid? VariantOf, DateTimeOffset? ExpiresAt);

    /// <summary>With <c>--json</c>: a tenant's memory. Bytes are those of the whole file with its log; absent for a server.</summary>
    internal sealed record StatsReport(string Tenant, string Store, long Units, long Live, string Embedder, long? Bytes, string[] Tenants, EmbedderChange? Change);

    public static Command Create()
    {
        var verb = new Command("memory", "What was stored and is found again.");
        verb.Add(MemoryIngestVerb.Create());
        verb.Add(MemoryRecallVerb.Create());
        verb.Add(CreateList());
        verb.Add(CreateShow());
        verb.Add(MemoryForgetVerb.Create());
        verb.Add(CreateStats());
        verb.Add(MemoryEvalVerb.Create());
        verb.Add(MemoryMigrateVerb.Create());
        verb.Add(MemoryReembedVerb.Create());
        return verb;
    }

    /// <summary>The memory that the settings name, open.</summary>
    public static Task<RsuMemory> OpenAsync(AppSettings settings, CancellationToken cancel) => ContextMemory.OpenAsync(settings.Memory, Embedders(settings), cancel);

    /// <summary>What makes the vectors by the settings. Models are loaded for this process and go with it.</summary>
    public static MemoryModels Embedders(AppSettings settings) => ModelEmbedder.ModelsFor(settings.Memory, new ModelLibrary(settings.Models), new LoadedModels(settings));

    /// <summary>Tenant of a dialogue: each is a collection of its own below that of the settings.</summary>
    public static string TenantOf(AppSettings settings, string? conversation) =>
        conversation is null ? settings.Memory.Tenant : $"{settings.Memory.Tenant}/{conversation}";

    /// <summary>A unit as one line.</summary>
    public static string Line(Rsu unit) => string.Create(CultureInfo.InvariantCulture,
        $"[{unit.Id.ToString()[..8]}] {unit.CreatedAt.UtcDateTime:yyyy-MM-dd HH:mm}{(unit.Speaker.Length > 0 ? " " + unit.Speaker : "")}: {unit.Text.ReplaceLineEndings(" ")}");

    private static Command CreateList()
    {
        var verb = new Command("list", "Lists units, newest first, or a session in order.");
        var session = new Option<string>("--session") { Description = "Only this conversation or document, in order.", HelpName = "NAME" };
        var scope = new Option<string>("--scope") { Description = "Only this shelf.", HelpName = "NAME" };
        var top = new Option<int>("--top") { Description = "Units at most.", HelpName = "N", DefaultValueFactory = _ => 100 };
        var skip = new Option<int>("--skip") { Description = "Units to pass over first.", HelpName = "N" };
        var common = new CommonOptions(verb).WithMemory().WithJson("Print a JSON array.");
        verb.Add(session);
        verb.Add(scope);
        verb.Add(CommonOptions.InRange(top, 1, int.MaxValue));
        verb.Add(CommonOptions.InRange(skip, 0, int.MaxValue));
        verb.SetAction(async (parsed, cancel) =>
        {
            var settings = common.Settings(parsed);
            using var memory = await OpenAsync(settings, cancel).ConfigureAwait(false);
            var units = await memory.ListAsync(
                settings.Memory.Tenant, parsed.GetValue(session), parsed.GetValue(scope), parsed.GetValue(top), parsed.GetValue(skip), cancel)
                .ToArrayAsync(cancel).ConfigureAwait(false);
            if (parsed.GetValue(common.Json!))
            {
                CliJson.Print(Array.ConvertAll(units, Report));
                return;
            }

            foreach (var unit in units)
            {
                Console.Out.WriteLine(Line(unit));
            }
        });
        return verb;
    }

    private static Command CreateShow()
    {
        var verb = new Command("show", "Shows everything about a unit.");
        var id = new Argument<string>("id") { Description = "Its id, or the first characters of it that lists show." };
        var common = new CommonOptions(verb).WithMemory().WithJson("Print one JSON object.");
        verb.Add(id);
        verb.SetAction(async (parsed, cancel) =>
        {
            var settings = common.Settings(parsed);
            using var memory = await OpenAsync(settings, cancel).ConfigureAwait(false);
            var key = await memory.FindIdAsync(settings.Memory.Tenant, parsed.GetRequiredValue(id), cancel).ConfigureAwait(false);
            var unit = await memory.ShowAsync(settings.Memory.Tenant, key, cancel).ConfigureAwait(false) ?? throw new ArgumentException($"There is no unit {key}.");
            if (parsed.GetValue(common.Json!))
            {
                CliJson.Print(Report(unit));
                return;
            }

            Tables.Console.Write(Tables.Plain([.. Facts(unit).Where(fact => fact[1].Length > 0)]));
        });
        return verb;
    }

    private static Command CreateStats()
    {
        var verb = new Command("stats", "Counts the units of a tenant and names all tenants of the store.");
        var common = new CommonOptions(verb).WithMemory().WithJson("Print one JSON object.");
        verb.SetAction(async (parsed, cancel) =>
        {
            var settings = common.Settings(parsed);
            using var memory = await OpenAsync(settings, cancel).ConfigureAwait(false);
            var stats = await memory.StatsAsync(settings.Memory.Tenant, cancel).ConfigureAwait(false);
            var tenants = await memory.Store.TenantsAsync(cancel).ConfigureAwait(false);
            var file = (memory.Store as RyzenLlm.Memory.Stores.Sqlite.SqliteRsuStore)?.Path;
            long? bytes = file is null ? null : new[] { file, file + "-wal" }.Where(File.Exists).Sum(path => new FileInfo(path).Length);
            var report = new StatsReport(settings.Memory.Tenant, file is null ? settings.Memory.Store : $"sqlite:{file}", stats.Units, stats.Live, stats.Embedder, bytes, [.. tenants], stats.Change);
            if (parsed.GetValue(common.Json!))
            {
                CliJson.Print(report);
                return;
            }

            Tables.Console.Write(Tables.Plain(
                ["tenant", report.Tenant],
                ["store", report.Store],
                ["units", $"{report.Units}, {report.Live} of them current"],
                ["embedder", report.Change is { } change ? $"{report.Embedder}, changing to {change.Embedder}: {change.Done} of {change.Units} units" : report.Embedder],
                ["size", report.Bytes is { } size ? $"{Tables.Size(size)} for all tenants" : "on the server"],
                ["all tenants", string.Join(", ", report.Tenants)]));
        });
        return verb;
    }

    private static UnitReport Report(Rsu unit) => new(
        unit.Id, unit.Tenant, unit.Scope, unit.Session, unit.Speaker, unit.Source, unit.CreatedAt, unit.Text, unit.Tokens, unit.Density,
        unit.Tier.ToString().ToLowerInvariant(), unit.Seen, unit.Sources, unit.ValidTo, unit.SupersededBy, unit.VariantOf, unit.ExpiresAt);

    private static IEnumerable<string[]> Facts(Rsu unit) =>
    [
        ["id", $"{unit.Id}"],
        ["text", unit.Text],
        ["speaker", unit.Speaker],
        ["at", $"{unit.CreatedAt:u}"],
        ["scope", unit.Scope],
        ["session", unit.Session],
        ["source", unit.Source],
        ["also in", string.Join(", ", unit.Sources)],
        ["seen", $"{unit.Seen}"],
        ["density", string.Create(CultureInfo.InvariantCulture, $"{unit.Density:0.00} ({unit.Tier.ToString().ToLowerInvariant()})")],
        ["tokens", $"{unit.Tokens}"],
        ["held until", unit.ValidTo is { } end ? $"{end:u}, superseded by {unit.SupersededBy}" : ""],
        ["variant of", $"{unit.VariantOf}"],
        ["expires", unit.ExpiresAt is { } expiry ? $"{expiry:u}" : ""],
    ];
}
