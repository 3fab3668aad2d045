using ModelContextProtocol;
using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;

namespace RyzenLlm.Mcp.Resources;

/// <summary>The text of a resource, or null if there is none.</summary>
/// <param name="request">The request.</param>
/// <param name="name">What stands in the address for the {name} of the template; empty without one.</param>
/// <param name="cancel">Gives up.</param>
internal delegate ValueTask<string?> ReadText(RequestContext<ReadResourceRequestParams> request, string name, CancellationToken cancel);

/// <summary>A resource, or all resources of a template that ends in its one {name}, whose content is a text made when it is read.</summary>
internal sealed class TextResource : McpServerResource
{
    private readonly ReadText _read;
    private readonly string _prefix;
    private readonly string _name;

    /// <summary>A resource.</summary>
    /// <param name="address">What clients see.</param>
    /// <param name="read">Makes the text.</param>
    /// <param name="name">Passed to <paramref name="read"/> where the address is no template.</param>
    public TextResource(ResourceTemplate address, ReadText read, string name = "")
    {
        (ProtocolResourceTemplate, _read, _name) = (address, read, name);
        var brace = address.UriTemplate.IndexOf('{', StringComparison.Ordinal);
        _prefix = brace < 0 ? "" : address.UriTemplate[..brace];
    }

    /// <inheritdoc/>
    public override ResourceTemplate ProtocolResourceTemplate { get; }

    /// <inheritdoc/>
    public override IReadOnlyList<object> Metadata { get; } = [];

    /// <inheritdoc/>
    public override bool IsMatch(string uri) => IsTemplated
        ? uri.Length > _prefix.Length && uri.StartsWith(_prefix, StringComparison.OrdinalIgnoreCase)
        : uri.TrimEnd('/').Equals(ProtocolResourceTemplate.UriTemplate, StringComparison.OrdinalIgnoreCase);

    /// <inheritdoc/>
    public override async ValueTask<ReadResourceResult> ReadAsync(RequestContext<ReadResourceRequestParams> request, CancellationToken cancellationToken = default)
    {
        var uri = request.Params?.Uri ?? throw new McpProtocolException("uri is missing.", McpErrorCode.InvalidParams);

        // URI libraries put a slash after what they take for a host.
        var name = IsTemplated ? Uri.UnescapeDataString(uri[_prefix.Length..].TrimEnd('/')) : _name;
        var text = await _read(request, name, cancellationToken).ConfigureAwait(false)
            ?? throw new McpProtocolException($"There is no resource {uri}.", McpErrorCode.ResourceNotFound);
        return new() { Contents = [new TextResourceContents { Uri = uri, MimeType = ProtocolResourceTemplate.MimeType, Text = text }] };
    }
}
