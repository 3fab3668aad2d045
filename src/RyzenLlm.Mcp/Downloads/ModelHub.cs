using System.IO.Enumeration;
using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Serialization;

namespace RyzenLlm.Mcp.Downloads;

/// <summary>A file to fetch, with what is known of it beforehand.</summary>
/// <param name="Url">Where it is.</param>
/// <param name="FileName">Its name, without folders.</param>
/// <param name="Bytes">Exact size, if known.</param>
/// <param name="Sha256">Lower-case hex digest, if known.</param>
/// <param name="Licence">Licence, if known.</param>
public sealed record RemoteFile(Uri Url, string FileName, long? Bytes = null, string? Sha256 = null, string? Licence = null);

/// <summary>Turns what a user names (a list entry, hf:owner/repo/file.gguf, a URL) into a file to fetch.</summary>
/// <param name="http">Client for the hub's listing.</param>
/// <param name="endpoint">Base address of the hub; HF_ENDPOINT, as its own tools use it, or the public one.</param>
public sealed class ModelHub(HttpClient http, Uri endpoint)
{
    /// <summary>The hub's address from the environment, or the public one.</summary>
    public static Uri DefaultEndpoint =>
        Uri.TryCreate(Environment.GetEnvironmentVariable("HF_ENDPOINT"), UriKind.Absolute, out var given) ? given : new("https://huggingface.co");

    /// <summary>Resolves a reference.</summary>
    /// <returns>The folder name to keep it under, and the file.</returns>
    /// <exception cref="DownloadException">The reference has no known form, or the hub has no such file.</exception>
    public async Task<(string Name, RemoteFile File)> ResolveAsync(string reference, CancellationToken cancellation = default)
    {
        if (KnownModels.Find(reference) is { } known)
        {
            var file = await FindAsync(known.Repository, known.FilePattern, cancellation);
            return (known.Name, file with { Licence = known.Licence });
        }

        if (reference.StartsWith("hf:", StringComparison.OrdinalIgnoreCase))
        {
            var parts = reference[3..].Split('/', 3);
            if (parts.Length < 3 || parts.Any(string.IsNullOrWhiteSpace) || !IsGguf(parts[2]))
            {
                throw new DownloadException($"'{reference}' is not of the form hf:owner/repository/file.gguf.");
            }

            return (FolderName(parts[2]), await FindAsync($"{parts[0]}/{parts[1]}", parts[2], cancellation));
        }

        if (Uri.TryCreate(reference, UriKind.Absolute, out var url) && url.Scheme is "http" or "https")
        {
            var name = Uri.UnescapeDataString(url.Segments[^1]);
            if (!IsGguf(name))
            {
                throw new DownloadException($"'{reference}' does not name a .gguf file.");
            }

            return (FolderName(name), new(url, name));
        }

        throw new DownloadException(
            $"'{reference}' is no known model. Use hf:owner/repository/file.gguf, a URL, or one of: {string.Join(", ", KnownModels.All.Select(m => m.Name))}.");
    }

    private static bool IsGguf(string name) =>
        name.EndsWith(".gguf", StringComparison.OrdinalIgnoreCase) && name.AsSpan(name.LastIndexOf('/') + 1).IndexOfAny(Path.GetInvalidFileNameChars()) < 0;

    private static string FolderName(string file) => Path.GetFileNameWithoutExtension(file).ToLowerInvariant();

    private async Task<RemoteFile> FindAsync(string repository, string pattern, CancellationToken cancellation)
    {
        var listing = new Uri(endpoint, $"/api/models/{repository}/tree/main?recursive=true");
        List<HubEntry> entries;
        try
        {
            entries = await http.GetFromJsonAsync<List<HubEntry>>(listing, cancellation) ?? [];
        }
        catch (HttpRequestException e) when (e.StatusCode is HttpStatusCode.NotFound or HttpStatusCode.Unauthorized)
        {
            throw new DownloadException($"{endpoint.Host} has no public repository {repository}.", e);
        }
        catch (Exception e) when (e is HttpRequestException or System.Text.Json.JsonException)
        {
            throw new DownloadException($"{endpoint.Host} did not list {repository}: {e.Message} Check the connection and try again.", e);
        }

        var files = entries.Where(e => e.Type == "file" && IsGguf(e.Path)).ToList();
        var matches = files.Where(e => FileSystemName.MatchesSimpleExpression(pattern, e.Path)).ToList();
        if (matches.Count != 1)
        {
            var choice = files.Count == 0 ? "It holds no .gguf file." : $"Name one with hf:{repository}/FILE: {string.Join(", ", files.Take(12).Select(f => f.Path))}.";
            throw new DownloadException($"{matches.Count} files of {repository} match {pattern}. {choice}");
        }

        var found = matches[0];
        var path = string.Join('/', found.Path.Split('/').Select(Uri.EscapeDataString));
        return new(
            new(endpoint, $"/{repository}/resolve/main/{path}"),
            found.Path[(found.Path.LastIndexOf('/') + 1)..],
            found.Lfs?.Size ?? found.Size,
            found.Lfs?.Oid);
    }

    // One entry of the hub's tree listing; for large files lfs.oid is the SHA-256 of the content.
    private sealed record HubEntry(
        [property: JsonPropertyName("type")] string Type,
        [property: JsonPropertyName("path")] string Path,
        [property: JsonPropertyName("size")] long? Size,
        [property: JsonPropertyName("lfs")] HubLargeFile? Lfs);

    private sealed record HubLargeFile(
        [property: JsonPropertyName("oid")] string? Oid,
        [property: JsonPropertyName("size")] long? Size);
}
