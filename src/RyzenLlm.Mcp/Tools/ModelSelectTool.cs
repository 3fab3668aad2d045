using System.ComponentModel;
using System.Globalization;
using System.Text;
using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Tools;

/// <summary><c>model-select</c>: which models there are, what one is, and which is the default.</summary>
internal sealed class ModelSelectTool : McpServerTool
{
    private readonly AppSettings _settings;
    private readonly ModelLibrary _library;

    private readonly TextParameter _action = new(
        "action", "list: all models. inspect: facts about one. choose: make one the default of this server.", "list", ["list", "inspect", "choose"]);
    private readonly TextParameter _model = new("model", "Name of the model to inspect or choose.", "", maxLength: 4096);
    private readonly ToolParameter[] _parameters;

    /// <summary>A model.</summary>
    internal sealed record Model(
        [property: Description("Name to pass as model.")] string Name,
        [property: Description("Whether it is used where no model is named.")] bool Default,
        [property: Description("Size on disk.")] long Bytes,
        [property: Description("Architecture named in the file.")] string? Architecture,
        [property: Description("Number of weights.")] long? Parameters,
        [property: Description("Tokens it was trained on at once; recurrent models go on beyond it.")] int? ContextLength,
        [property: Description("Width.")] int? EmbeddingLength,
        [property: Description("Blocks.")] int? BlockCount,
        [property: Description("Tokens in the vocabulary.")] int? VocabularySize,
        [property: Description("Why it cannot be used; absent if it can.")] string? Problem);

    /// <summary>A result.</summary>
    internal sealed record ModelSelection(
        [property: Description("Name of the default model; absent if there is none.")] string? Default,
        [property: Description("The models asked for.")] Model[] Models);

    public ModelSelectTool(AppSettings settings, ModelLibrary library)
    {
        (_settings, _library) = (settings, library);
        _parameters = [_action, _model];
        ProtocolTool = new Tool
        {
            Name = "model-select",
            Title = "Select model",
            Description =
                "Lists the local models (action list), shows one (inspect), or makes one the default for calls that name no model (choose). "
                + "The choice holds for this server until it ends; generate can also name a model per call.",
            InputSchema = ToolArguments.Schema(_parameters),
            OutputSchema = ToolJson.Schema<ModelSelection>(),
            Annotations = new ToolAnnotations { ReadOnlyHint = false, DestructiveHint = false, IdempotentHint = true, OpenWorldHint = false },
        };
    }

    /// <inheritdoc/>
    public override Tool ProtocolTool { get; }

    /// <inheritdoc/>
    public override IReadOnlyList<object> Metadata { get; } = [];

    /// <inheritdoc/>
    public override ValueTask<CallToolResult> InvokeAsync(RequestContext<CallToolRequestParams> request, CancellationToken cancellationToken = default)
    {
        var arguments = ToolArguments.Read(_parameters, request.Params?.Arguments);
        var caller = Caller.Of(request, _settings);
        var action = arguments.Get(_action);
        var name = arguments.Get(_model);
        if (action == "choose" && name.Length == 0)
        {
            throw new ArgumentException("model is missing: name the model to choose, as action list shows it.");
        }

        IReadOnlyList<ModelEntry> entries = action switch
        {
            "list" => _library.List(),
            "choose" => [Choose(name, caller)],
            _ => [_library.Resolve(name, caller)],
        };
        var byDefault = _library.TryDefault(caller.Tenant);
        var output = new ModelSelection(byDefault?.Name, [.. entries.Select(entry => Describe(entry, byDefault))]);
        return ValueTask.FromResult(new CallToolResult
        {
            Content = [new TextContentBlock { Text = Text(action, output) }],
            StructuredContent = ToolJson.Element(output),
        });
    }

    // A file that cannot be read must not become the default: every later call would fail.
    private ModelEntry Choose(string name, Caller caller)
    {
        if (ModelFacts.TryRead(_library.Resolve(name, caller)).Problem is { } problem)
        {
            throw new ArgumentException($"{name} cannot be chosen: {problem}");
        }

        return _library.Choose(name, caller.Tenant);
    }

    /// <summary>What a model is.</summary>
    public static Model Describe(ModelEntry entry, ModelEntry? byDefault)
    {
        var (info, problem) = ModelFacts.TryRead(entry);
        return new(
            entry.Name, entry == byDefault, entry.Bytes, info?.Architecture, info?.ParameterCount, info?.ContextLength, info?.EmbeddingLength,
            info?.BlockCount, info?.VocabularySize, problem);
    }

    private string Text(string action, ModelSelection output)
    {
        var text = new StringBuilder();
        if (action == "choose")
        {
            text.Append(CultureInfo.InvariantCulture, $"Default model is now {output.Default}.\n");
        }

        foreach (var model in output.Models)
        {
            text.Append(CultureInfo.InvariantCulture, $"{model.Name}{(model.Default ? " (default)" : "")}: ");
            text.Append(model.Problem ?? string.Create(CultureInfo.InvariantCulture,
                $"{model.Architecture}, {model.Parameters:N0} parameters, {model.Bytes:N0} bytes, context {model.ContextLength}, {model.VocabularySize} tokens"));
            text.Append('\n');
        }

        if (output.Models.Length == 0)
        {
            text.Append(CultureInfo.InvariantCulture, $"No models found. Put GGUF files into one of: {string.Join(", ", _library.Folders)}");
        }

        return text.ToString().TrimEnd();
    }
}
