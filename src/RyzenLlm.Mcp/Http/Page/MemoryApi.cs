using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Memory;

namespace RyzenLlm.Mcp.Http.Page;

/// <summary><c>/api/memory</c>: the caller's own memory, to search, look at and delete from.</summary>
internal static class MemoryApi
{
    private const int PageSize = 12;
    private const int MostPoints = 2_000;
    private const int LongestQuery = 20_000;
    private const int Beginning = 90;

    /// <summary>A unit.</summary>
    internal sealed record Unit(
        string Id, string Text, string Speaker, string Session, string Scope, string Source, DateTimeOffset CreatedAt, DateTimeOffset? ValidFrom,
        DateTimeOffset? ValidTo, DateTimeOffset? ExpiresAt, string? SupersededBy, string Tier, bool Secret, int Seen, double Density, double? Score);

    /// <summary>Some units: best first for a search, newest first without one.</summary>
    internal sealed record UnitPage(Unit[] Units, bool More);

    /// <summary>A unit in the chart.</summary>
    internal sealed record Point(string Id, double Density, int Seen, string Tier, string Text);

    /// <summary>A deletion.</summary>
    internal sealed record Forgotten(long Deleted, long Remaining);

    public static async Task FindAsync(HttpContext context)
    {
        var (memory, caller) = await OpenAsync(context, Scopes.Recall).ConfigureAwait(false);
        var (session, scope) = (Optional(context, "session"), Optional(context, "scope"));
        var skip = PageApi.Number(context, "skip", 0, 1_000_000, 0);
        var query = Optional(context, "query");
        if (query is null)
        {
            var units = await memory.ListAsync(caller.Tenant, session, scope, PageSize + 1, skip, context.RequestAborted).ToListAsync(context.RequestAborted).ConfigureAwait(false);
            await PageJson.WriteAsync(context, new UnitPage([.. units.Take(PageSize).Select(u => Of(u))], units.Count > PageSize)).ConfigureAwait(false);
            return;
        }

        if (query.Length > LongestQuery)
        {
            throw new ArgumentException($"query must be a text of at most {LongestQuery} characters.");
        }

        var asked = new RecallRequest { Query = query, Session = session, Scope = scope, Top = PageSize, IncludePast = true };
        var hits = await memory.SearchAsync(caller.Tenant, asked, context.RequestAborted).ConfigureAwait(false);
        await PageJson.WriteAsync(context, new UnitPage([.. hits.Select(h => Of(h.Record, h.Score))], More: false)).ConfigureAwait(false);
    }

    public static async Task MapAsync(HttpContext context)
    {
        var (memory, caller) = await OpenAsync(context, Scopes.Recall).ConfigureAwait(false);
        var points = new List<Point>();
        await foreach (var unit in memory.ListAsync(caller.Tenant, top: MostPoints, cancellationToken: context.RequestAborted).ConfigureAwait(false))
        {
            points.Add(new(
                $"{unit.Id}", Math.Round(unit.Density, 3), unit.Seen, Tier(unit), unit.Text.Length <= Beginning ? unit.Text : string.Concat(unit.Text.AsSpan(0, Beginning), "...")));
        }

        await PageJson.WriteAsync<Point[]>(context, [.. points]).ConfigureAwait(false);
    }

    public static async Task ShowAsync(HttpContext context)
    {
        var (memory, caller) = await OpenAsync(context, Scopes.Recall).ConfigureAwait(false);
        if (await memory.ShowAsync(caller.Tenant, Id(context), context.RequestAborted).ConfigureAwait(false) is { } unit)
        {
            await PageJson.WriteAsync(context, Of(unit)).ConfigureAwait(false);
        }
        else
        {
            context.Response.StatusCode = StatusCodes.Status404NotFound;
            await PageJson.WriteAsync(context, new PageApi.Problem("There is no such unit in this memory.")).ConfigureAwait(false);
        }
    }

    public static async Task ForgetAsync(HttpContext context)
    {
        var (memory, caller) = await OpenAsync(context, Scopes.Forget).ConfigureAwait(false);
        var found = await memory.ForgetAsync(caller.Tenant, new() { Ids = [Id(context)], DryRun = false }, context.RequestAborted).ConfigureAwait(false);
        await PageJson.WriteAsync(context, new Forgotten(found.Deleted, found.Remaining)).ConfigureAwait(false);
    }

    private static async Task<(RsuMemory Memory, Caller Caller)> OpenAsync(HttpContext context, string scope)
    {
        var caller = PageApi.CallerOf(context);
        caller.Require(scope);
        return (await context.RequestServices.GetRequiredService<ContextMemory>().OpenAsync(context.RequestAborted).ConfigureAwait(false), caller);
    }

    private static Unit Of(Rsu unit, double? score = null) => new(
        $"{unit.Id}", unit.Text, unit.Speaker, unit.Session, unit.Scope, unit.Source, unit.CreatedAt, unit.ValidFrom, unit.ValidTo, unit.ExpiresAt,
        unit.SupersededBy is { } by ? $"{by}" : null, Tier(unit), unit.Kinds.HasFlag(RsuKinds.Secret), unit.Seen, Math.Round(unit.Density, 3),
        score is { } known ? Math.Round(known, 3) : null);

    private static string Tier(Rsu unit) => unit.Tier.ToString().ToLowerInvariant();

    private static string? Optional(HttpContext context, string name) => context.Request.Query[name].ToString() is { Length: > 0 } text ? text : null;

    private static Guid Id(HttpContext context) =>
        Guid.TryParse(context.Request.RouteValues["id"] as string, out var id) ? id : throw new ArgumentException("The address must end in the whole id of a unit.");
}
