using System.Text;
using System.Text.Json;
using ModelContextProtocol.Protocol;
using RyzenLlm.Mcp.Resources;
using RyzenLlm.Mcp.Tests.Server;

namespace RyzenLlm.Mcp.Tests.Docs;

/// <summary>Holds the reference in docs/tools.md to what the server lists. With RYZENLLM_WRITE_DOCS=1 it is written instead.</summary>
public sealed class ToolReferenceTests
{
    private const string Begin = "<!-- reference -->\n";
    private const string End = "<!-- end of reference -->";

    [Test]
    public async Task TheReferenceSaysWhatTheServerLists()
    {
        var file = Path.Combine(Repository.Root, "docs", "tools.md");
        var page = (await File.ReadAllTextAsync(file)).ReplaceLineEndings("\n");
        var (from, to) = (page.IndexOf(Begin, StringComparison.Ordinal) + Begin.Length, page.IndexOf(End, StringComparison.Ordinal));
        var reference = await ReferenceAsync();
        if (Environment.GetEnvironmentVariable("RYZENLLM_WRITE_DOCS") == "1")
        {
            await File.WriteAllTextAsync(file, page[..from] + reference + page[to..]);
        }
        else
        {
            Assert.That(page[from..to], Is.EqualTo(reference), "run this test with RYZENLLM_WRITE_DOCS=1");
        }
    }

    private static async Task<string> ReferenceAsync()
    {
        await using var server = await InProcessServer.StartAsync("2026-07-28");
        var text = new StringBuilder("\n");
        foreach (var tool in (await server.Client.ListToolsAsync()).Select(t => t.ProtocolTool))
        {
            text.Append($"## {tool.Name}\n\n{tool.Description}\n\n{Hints(tool.Annotations!)}\n\n| argument | type | default | |\n|---|---|---|---|\n");
            foreach (var argument in tool.InputSchema.GetProperty("properties").EnumerateObject())
            {
                text.Append($"| `{argument.Name}` | {Type(argument.Value)} | {Default(argument.Value)} | {Cell(argument.Value)} |\n");
            }

            text.Append("\n| result | type | |\n|---|---|---|\n");
            foreach (var member in tool.OutputSchema!.Value.GetProperty("properties").EnumerateObject())
            {
                text.Append($"| `{member.Name}` | {Type(member.Value)} | {Cell(member.Value)} |\n");
            }

            text.Append('\n');
        }

        text.Append("## Resources\n\n| address | type | |\n|---|---|---|\n");
        foreach (var template in await server.Client.ListResourceTemplatesAsync())
        {
            text.Append($"| `{template.UriTemplate}` | {template.MimeType} | {template.Description} |\n");
        }

        foreach (var resource in (await server.Client.ListResourcesAsync()).Where(r => !r.Uri.StartsWith(ServerResources.ModelScheme, StringComparison.Ordinal)))
        {
            text.Append($"| `{resource.Uri}` | {resource.MimeType} | {resource.Description} |\n");
        }

        text.Append("\n## Prompts\n\n| prompt | arguments | |\n|---|---|---|\n");
        foreach (var prompt in (await server.Client.ListPromptsAsync()).Select(p => p.ProtocolPrompt))
        {
            var arguments = prompt.Arguments!.Select(a => $"`{a.Name}`{(a.Required is true ? "" : " (optional)")}: {a.Description}");
            text.Append($"| `{prompt.Name}` | {string.Join("<br>", arguments)} | {prompt.Description} |\n");
        }

        return text.Append('\n').ToString();
    }

    private static string Hints(ToolAnnotations hints) =>
        $"{(hints.ReadOnlyHint is true ? "Reads only" : hints.DestructiveHint is true ? "Deletes" : "Writes, deletes nothing")}{(hints.IdempotentHint is true ? "; twice is as once" : "")}.";

    private static string Type(JsonElement schema) => schema.GetProperty("type").GetString() is "array"
        ? $"list of {schema.GetProperty("items").GetProperty("type").GetString()}"
        : schema.GetProperty("type").GetString()!;

    private static string Default(JsonElement schema) => schema.TryGetProperty("default", out var value) && value.GetRawText() is not ("\"\"" or "[]") ? $"`{value.GetRawText().Trim('"')}`" : "";

    private static string Cell(JsonElement schema)
    {
        var parts = new List<string>();
        if (schema.TryGetProperty("description", out var description))
        {
            parts.Add(description.GetString()!);
        }

        if (schema.TryGetProperty("enum", out var choices))
        {
            parts.Add($"One of {string.Join(", ", choices.EnumerateArray().Select(c => $"`{c.GetString()}`"))}.");
        }

        if (schema.TryGetProperty("minimum", out var low) && schema.TryGetProperty("maximum", out var high))
        {
            parts.Add($"{low.GetRawText()} to {high.GetRawText()}.");
        }

        return string.Join(' ', parts).Replace("|", "\\|").ReplaceLineEndings(" ");
    }
}
