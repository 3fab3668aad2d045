using System.Collections.Concurrent;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using RyzenLlm.Engine.Models;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Http.Page;

/// <summary><c>GET /api/status</c>: the server at this moment, as far as the caller may know.</summary>
internal static class StatusApi
{
    private static readonly ConcurrentDictionary<string, (DateTime Written, ModelInfo? Info, string? Problem)> Known = new();

    /// <summary>A model.</summary>
    /// <param name="Name">Name to pass to generate.</param>
    /// <param name="Default">Whether it is used where none is named.</param>
    /// <param name="Bytes">Size on disk.</param>
    /// <param name="Architecture">Architecture named in the file.</param>
    /// <param name="Parameters">Number of weights.</param>
    /// <param name="ContextLength">Tokens it was trained on at once.</param>
    /// <param name="VocabularySize">Tokens in the vocabulary.</param>
    /// <param name="State">idle, loading or loaded.</param>
    /// <param name="Pending">Requests waiting for it or in work.</param>
    /// <param name="TokensPerSecond">Measured on its last answers; absent before the first.</param>
    /// <param name="Problem">Why it cannot be used; absent if it can.</param>
    internal sealed record Model(
        string Name, bool Default, long Bytes, string? Architecture, long? Parameters, int? ContextLength, int? VocabularySize, string State, int Pending,
        double? TokensPerSecond, string? Problem);

    /// <summary>The caller's memory.</summary>
    internal sealed record Memory(long Units, long Live);

    /// <summary>The server.</summary>
    /// <param name="Version">Version of the program.</param>
    /// <param name="UptimeSeconds">Since it started.</param>
    /// <param name="Tenant">Whose memory the caller uses.</param>
    /// <param name="Scopes">What the caller may do.</param>
    /// <param name="Processors">Logical processors.</param>
    /// <param name="MemoryBytes">Resident memory of the process, mapped models included.</param>
    /// <param name="TokensToday">Tokens generated for the tenant today.</param>
    /// <param name="TokensPerDay">How many it may; 0 is without limit.</param>
    /// <param name="Live">Figures that change.</param>
    /// <param name="Models">The models; absent where the caller may not see them.</param>
    /// <param name="Memory">Its memory; absent where the caller may not read it.</param>
    internal sealed record Status(
        string Version, double UptimeSeconds, string Tenant, IReadOnlyCollection<string> Scopes, int Processors, long MemoryBytes,
        long TokensToday, long TokensPerDay, LiveMetrics.Figures Live, Model[]? Models, Memory? Memory);

    public static async Task ReadAsync(HttpContext context)
    {
        var services = context.RequestServices;
        var caller = PageApi.CallerOf(context);
        var settings = services.GetRequiredService<AppSettings>();
        var live = services.GetRequiredService<LiveMetrics>();
        Memory? memory = null;
        if (caller.Allows(Scopes.Recall))
        {
            var open = await services.GetRequiredService<ContextMemory>().OpenAsync(context.RequestAborted).ConfigureAwait(false);
            var stats = await open.StatsAsync(caller.Tenant, context.RequestAborted).ConfigureAwait(false);
            memory = new(stats.Units, stats.Live);
        }

        await PageJson.WriteAsync(context, new Status(
            ProductInfo.Version,
            Math.Round(live.Uptime.TotalSeconds, 1),
            caller.Tenant,
            caller.Scopes ?? Scopes.All,
            Environment.ProcessorCount,
            Environment.WorkingSet,
            services.GetRequiredService<TenantLimits>().Used(caller.Tenant),
            settings.Server.Limits.TokensPerDay,
            live.Read(),
            caller.Allows(Scopes.Models) ? Models(services, live, caller) : null,
            memory)).ConfigureAwait(false);
    }

    private static Model[] Models(IServiceProvider services, LiveMetrics live, Caller caller)
    {
        var library = services.GetRequiredService<ModelLibrary>();
        var loaded = services.GetRequiredService<LoadedModels>().Snapshot();
        var byDefault = library.TryDefault(caller.Tenant);
        return [.. library.List().Select(entry =>
        {
            var (info, problem) = Facts(entry);
            var inMemory = loaded.FirstOrDefault(m => m.Name == entry.Name);
            return new Model(
                entry.Name, entry == byDefault, entry.Bytes, info?.Architecture, info?.ParameterCount, info?.ContextLength, info?.VocabularySize,
                inMemory is null ? "idle" : inMemory.Ready ? "loaded" : "loading", inMemory?.Pending ?? 0, info is null ? null : live.Speed(info.Name), problem);
        })];
    }

    // The page asks every few seconds, and a large vocabulary takes a while to read.
    private static (ModelInfo? Info, string? Problem) Facts(ModelEntry entry)
    {
        var written = File.GetLastWriteTimeUtc(entry.Path);
        if (!Known.TryGetValue(entry.Path, out var known) || known.Written != written)
        {
            var (info, problem) = ModelFacts.TryRead(entry);
            Known[entry.Path] = known = (written, info, problem);
        }

        return (known.Info, known.Problem);
    }
}
