using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Resources;

/// <summary>What a user may mean who has typed the beginning: names of models, scopes, ids of units of the caller's own memory.</summary>
internal sealed class Completions(ModelLibrary library, ContextMemory memory)
{
    /// <summary>Most values of an answer, by the protocol.</summary>
    private const int Most = 100;

    /// <summary>Units looked at, newest first.</summary>
    private const int Units = 2000;

    /// <summary>Answers completion/complete.</summary>
    public async ValueTask<CompleteResult> CompleteAsync(RequestContext<CompleteRequestParams> request, CancellationToken cancel)
    {
        var (argument, typed) = (request.Params?.Argument.Name ?? "", request.Params?.Argument.Value ?? "");
        var values = (argument, request.Params?.Ref) switch
        {
            ("id", ResourceTemplateReference) => await UnitsAsync(request, u => $"{u.Id}", cancel).ConfigureAwait(false),
            ("scope", _) => await UnitsAsync(request, u => u.Scope, cancel).ConfigureAwait(false),
            ("name", ResourceTemplateReference { Uri: { } uri }) when uri.StartsWith(ServerResources.ModelScheme, StringComparison.Ordinal) => Models(request),
            ("models", _) => Models(request),
            _ => [],
        };

        // Of a list, the last name is being typed.
        var done = argument == "models" ? typed[..(typed.LastIndexOf(',') + 1)] : "";
        var begun = typed[done.Length..].TrimStart();
        done = typed[..^begun.Length];
        string[] matching = [.. values.Where(v => v.StartsWith(begun, StringComparison.OrdinalIgnoreCase)).Distinct().Select(v => done + v)];
        return new()
        {
            Completion = new() { Values = [.. matching.Take(Most)], Total = matching.Length, HasMore = matching.Length > Most },
        };
    }

    private string[] Models(RequestContext<CompleteRequestParams> request) => !memory.CallerOf(request).Allows(Scopes.Models) ? []
        : [.. library.List().Select(m => m.Name).Order(StringComparer.OrdinalIgnoreCase)];

    private async Task<string[]> UnitsAsync(RequestContext<CompleteRequestParams> request, Func<Memory.Rsu, string> value, CancellationToken cancel)
    {
        var caller = memory.CallerOf(request);
        if (!caller.Allows(Scopes.Recall))
        {
            return [];
        }

        var open = await memory.OpenAsync(cancel).ConfigureAwait(false);
        return await open.ListAsync(caller.Tenant, top: Units, cancellationToken: cancel).Select(value).Distinct().ToArrayAsync(cancel).ConfigureAwait(false);
    }
}
