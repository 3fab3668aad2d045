#pragma warning disable MCP9004, MCP9005 // deprecated features, here to prove that the protocol layer still has them

using System.ComponentModel;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using ModelContextProtocol;
using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Tools;

namespace RyzenLlm.Mcp.Conformance;

/// <summary>
/// What the protocol's conformance suite expects to find on a server, by the names and texts that it expects: it proves the transport and the
/// protocol layer, in the set-up of the real server. Only there with the hidden option <c>serve --conformance</c>.
/// </summary>
internal static class Fixtures
{
    private static readonly byte[] Pixel = Convert.FromBase64String(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==");

    // A WAV file without samples.
    private static readonly byte[] Silence = Convert.FromBase64String("UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=");

    /// <summary>Adds them to a server.</summary>
    public static void Add(IMcpServerBuilder server) => server
        .WithTools([.. ContentTools(), .. InteractiveTools(), .. ElicitationFixtures.Tools(), .. InputFixtures.Tools(), .. TaskFixtures.Tools()])
        .WithPrompts([.. Prompts(), InputFixtures.Prompt()])
        .WithResources(Resources())
        .WithSubscribeToResourcesHandler((_, _) => ValueTask.FromResult(new EmptyResult()))
        .WithUnsubscribeFromResourcesHandler((_, _) => ValueTask.FromResult(new EmptyResult()))
        .Services.AddOptions<McpServerOptions>().Configure<CallTasks>((_, tasks) => TaskFixtures.Allow(tasks));

    /// <summary>A tool.</summary>
    public static McpServerTool Tool(string name, string description, Delegate call) =>
        McpServerTool.Create(call, new McpServerToolCreateOptions { Name = name, Description = description });

    private static IEnumerable<McpServerTool> ContentTools()
    {
        var image = ImageContentBlock.FromBytes(Pixel, "image/png");
        yield return Tool("test_simple_text", "Returns text.", () => "This is a simple text response for testing.");
        yield return Tool("test_image_content", "Returns an image.", () => image);
        yield return Tool("test_audio_content", "Returns audio.", () => AudioContentBlock.FromBytes(Silence, "audio/wav"));
        yield return Tool("test_embedded_resource", "Returns a resource.", () => Embedded("test://embedded-resource", "This is an embedded resource content."));
        yield return Tool("test_multiple_content_types", "Returns several kinds of content.", () => new ContentBlock[]
        {
            new TextContentBlock { Text = "Multiple content types test:" },
            image,
            Embedded("test://mixed-content-resource", """{"test":"data","value":123}""", "application/json"),
        });
        yield return Tool("test_error_handling", "Fails.", string () => throw new ArgumentException("This tool intentionally returns an error for testing"));
        yield return Tool("test_streaming_elicitation", "Answers at once.", () => "Only a result comes on this stream.");
        yield return Tool("test_headers", "Takes an argument that clients repeat in a header.", ([McpHeader("Region")] string region) => $"Region: {region}");
        var schema = Tool("json_schema_2020_12_tool", "Has an input schema with definitions.", () => "ok");
        schema.ProtocolTool.InputSchema = ToolArguments.Element(JsonNode.Parse(
            """
            {
              "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
              "$defs": { "address": { "$anchor": "addressDef", "type": "object", "properties": { "street": { "type": "string" }, "city": { "type": "string" } } } },
              "properties": {
                "name": { "type": "string" }, "address": { "$ref": "#/$defs/address" },
                "contactMethod": { "type": "string", "enum": ["phone", "email"] }, "phone": { "type": "string" }, "email": { "type": "string" }
              },
              "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
              "if": { "properties": { "contactMethod": { "const": "phone" } }, "required": ["contactMethod"] },
              "then": { "required": ["phone"] }, "else": { "required": ["email"] },
              "additionalProperties": false
            }
            """)!);
        yield return schema;
    }

    private static IEnumerable<McpServerTool> InteractiveTools()
    {
        yield return Tool("test_tool_with_progress", "Reports progress.", async (RequestContext<CallToolRequestParams> request, CancellationToken cancel) =>
        {
            foreach (var done in request.Params?.ProgressToken is null ? [] : new[] { 0f, 50f, 100f })
            {
                await request.Server.NotifyProgressAsync(request.Params!.ProgressToken!.Value, new() { Progress = done, Total = 100 }, cancellationToken: cancel).ConfigureAwait(false);
                await Task.Delay(20, cancel).ConfigureAwait(false); // the suite wants them apart
            }

            return "done";
        });
        yield return Tool("test_tool_with_logging", "Writes log messages.", async (RequestContext<CallToolRequestParams> request, CancellationToken cancel) =>
        {
            foreach (var text in new[] { "Tool execution started", "Tool processing data", "Tool execution completed" })
            {
                Log(request, text);
                await Task.Delay(20, cancel).ConfigureAwait(false);
            }

            return "logged";
        });
        yield return Tool("test_logging_tool", "Writes a log message, which clients get that asked for it.", (RequestContext<CallToolRequestParams> request) =>
        {
            Log(request, "called");
            return "logged";
        });
        yield return Tool("test_sampling", "Asks the client's model.", async (RequestContext<CallToolRequestParams> request, string prompt, CancellationToken cancel) =>
        {
            var said = await request.Server.SampleAsync(InputFixtures.Sampling(prompt, 100), cancel).ConfigureAwait(false);
            return $"LLM response: {said.Content.OfType<TextContentBlock>().FirstOrDefault()?.Text}";
        });
        yield return Tool("test_missing_capability", "Needs a client with sampling.", (RequestContext<CallToolRequestParams> request) =>
            request.Server.ClientCapabilities?.Sampling is not null
                ? "The client has it."
                : throw new MissingRequiredClientCapabilityException(new() { Sampling = new() }, "This tool needs a client with sampling."));
    }

    private static IEnumerable<McpServerPrompt> Prompts()
    {
        yield return Prompt("test_simple_prompt", () => "This is a simple prompt for testing.");
        yield return Prompt("test_prompt_with_arguments", ([Description("First.")] string arg1, [Description("Second.")] string arg2) =>
            $"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'");
        yield return Prompt("test_prompt_with_embedded_resource", ([Description("Address of the resource.")] string resourceUri) => new[]
        {
            Message(Embedded(resourceUri, "Embedded resource content for testing.")),
            Message(new TextContentBlock { Text = "Please process the embedded resource above." }),
        });
        yield return Prompt("test_prompt_with_image", () => new[]
        {
            Message(ImageContentBlock.FromBytes(Pixel, "image/png")),
            Message(new TextContentBlock { Text = "Please analyze the image above." }),
        });
    }

    private static IEnumerable<McpServerResource> Resources()
    {
        yield return Resource("test://static-text", "text/plain", () => "This is the content of the static text resource.");
        yield return Resource("test://static-binary", "image/png", () => BlobResourceContents.FromBytes(Pixel, "test://static-binary", "image/png"));
        yield return Resource("test://watched-resource", "text/plain", () => "Watched resource content");
        yield return Resource("test://template/{id}/data", "application/json", (string id) => new TextResourceContents
        {
            Uri = $"test://template/{id}/data",
            MimeType = "application/json",
            Text = new JsonObject { ["id"] = id, ["templateTest"] = true, ["data"] = $"Data for ID: {id}" }.ToJsonString(),
        });
    }

    private static McpServerPrompt Prompt(string name, Delegate get) => McpServerPrompt.Create(get, new McpServerPromptCreateOptions { Name = name, Description = name });

    private static McpServerResource Resource(string uri, string type, Delegate read) =>
        McpServerResource.Create(read, new McpServerResourceCreateOptions { UriTemplate = uri, Name = uri, MimeType = type });

    private static PromptMessage Message(ContentBlock content) => new() { Role = Role.User, Content = content };

    private static EmbeddedResourceBlock Embedded(string uri, string text, string type = "text/plain") =>
        new() { Resource = new TextResourceContents { Uri = uri, MimeType = type, Text = text } };

    private static void Log(RequestContext<CallToolRequestParams> request, string text) =>
        request.Server.AsClientLoggerProvider().CreateLogger("conformance").LogInformation(text);
}
