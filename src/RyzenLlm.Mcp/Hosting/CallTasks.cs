#pragma warning disable MCPEXP002 // the seam for protocol extensions; the extension itself is published as 2026-07-28

using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Microsoft.Extensions.DependencyInjection;
using ModelContextProtocol;
using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>
/// Tool calls as tasks (extension io.modelcontextprotocol/tasks, protocol 2026-07-28): a call that takes long is answered with the name of a task,
/// which the client asks for until the result is there. Only clients that declare the extension get tasks. A task belongs to the tenant of its
/// call, ends with its own deadline, and is forgotten, running or not, some time after it was last asked for.
/// </summary>
internal sealed class CallTasks(AppSettings settings, TimeProvider clock, IServiceScopeFactory scopes)
{
    /// <summary>Name of the extension.</summary>
    public const string Extension = "io.modelcontextprotocol/tasks";

    /// <summary>First protocol version that has it.</summary>
    private const string FirstVersion = "2026-07-28";

    private const string StatusItem = "ryzenllm.task";

    private readonly Handles<CallTask> _tasks = new(clock, TimeSpan.FromMinutes(30), perTenant: 16, task => task.Cancel());

    /// <summary>Tools that may become tasks, with the time that a call of theirs has to be answered at once.</summary>
    public Dictionary<string, TimeSpan> Tools { get; } = new() { ["generate"] = TimeSpan.FromSeconds(2) };

    /// <summary>The task that a call runs as, or null.</summary>
    public static CallTask? Of(RequestContext<CallToolRequestParams> request) =>
        request.Items.TryGetValue(StatusItem, out var task) ? (CallTask?)task : null;

    /// <summary>Tells the protocol layer.</summary>
    public void Configure(McpServerOptions options)
    {
        options.Capabilities ??= new();
        options.Capabilities.Extensions ??= new Dictionary<string, object>();
        options.Capabilities.Extensions[Extension] = new JsonObject();
        options.RequestHandlers ??= [];
        Handle("tasks/get", task => JsonSerializer.SerializeToNode(task.State("complete", clock, _tasks.Lifetime), TaskJson.Default.TaskState));
        Handle("tasks/update", _ => Acknowledged()); // no tool asks anything while it runs
        Handle("tasks/cancel", task =>
        {
            task.Cancel();
            return Acknowledged();
        });
        options.Filters.Request.CallToolWithAlternateFilters.Add(RunAsync);

        void Handle(string method, Func<CallTask, JsonNode?> answer) => options.RequestHandlers.Add(new()
        {
            Method = method,
            RoutingNameParameter = "taskId",
            Handler = (request, _) => ValueTask.FromResult(answer(Find(request, method))),
        });
    }

    private static JsonObject Acknowledged() => new() { ["resultType"] = "complete" };

    private CallTask Find(JsonRpcRequest request, string method)
    {
        if (!IsModern(request))
        {
            throw new McpProtocolException($"{method} needs protocol version {FirstVersion}.", McpErrorCode.MethodNotFound);
        }

        if (!IsWanted(request))
        {
            throw new MissingRequiredClientCapabilityException(
                new() { Extensions = new Dictionary<string, object> { [Extension] = new JsonObject() } }, $"{method} needs the client capability {Extension}.");
        }

        return request.Params?["taskId"] is JsonValue value && value.TryGetValue(out string? id)
            ? _tasks.Find(Caller.Of(request.Context?.User, settings), id)
              ?? throw new McpProtocolException("There is no such task, any more or ever.", McpErrorCode.InvalidParams)
            : throw new McpProtocolException("taskId is missing.", McpErrorCode.InvalidParams);
    }

    private async ValueTask<ResultOrAlternate<CallToolResult>> RunAsync(
        RequestContext<CallToolRequestParams> request,
        McpRequestHandler<CallToolRequestParams, ResultOrAlternate<CallToolResult>> next,
        CancellationToken cancel)
    {
        var tool = (request.MatchedPrimitive as McpServerTool)?.ProtocolTool.Name ?? request.Params?.Name ?? "";
        if (!Tools.TryGetValue(tool, out var patience) || !IsModern(request.JsonRpcRequest) || !IsWanted(request.JsonRpcRequest))
        {
            return await next(request, cancel).ConfigureAwait(false);
        }

        var task = new CallTask(clock.GetUtcNow());
        var running = task.RunAsync(token => InScopeAsync(request, task, next, token));
        using (cancel.UnsafeRegister(static state => ((CallTask)state!).Cancel(), task))
        {
            await Task.WhenAny(running, Task.Delay(patience, clock, cancel)).ConfigureAwait(false);
            if (running.IsCompleted || cancel.IsCancellationRequested)
            {
                cancel.ThrowIfCancellationRequested();
                return await running.ConfigureAwait(false);
            }
        }

        task.Id = _tasks.Add(Caller.Of(request, settings), task);
        return ResultOrAlternate<CallToolResult>.FromAlternate(task.State("task", clock, _tasks.Lifetime), TaskJson.Default.TaskState);
    }

    // The scope of the request ends with its answer, and so does the use of its progress token.
    private async Task<ResultOrAlternate<CallToolResult>> InScopeAsync(
        RequestContext<CallToolRequestParams> request,
        CallTask task,
        McpRequestHandler<CallToolRequestParams, ResultOrAlternate<CallToolResult>> next,
        CancellationToken cancel)
    {
        await using var scope = scopes.CreateAsyncScope();
        var given = request.Params!;
        var meta = (JsonObject?)given.Meta?.DeepClone();
        meta?.Remove("progressToken");
        var own = new RequestContext<CallToolRequestParams>(request.Server, request.JsonRpcRequest, new() { Name = given.Name, Arguments = given.Arguments, Meta = meta })
        {
            MatchedPrimitive = request.MatchedPrimitive,
            Services = scope.ServiceProvider,
            User = request.User,
        };
        own.Items[StatusItem] = task;
        return await next(own, cancel).ConfigureAwait(false);
    }

    private static bool IsModern(JsonRpcRequest request) => string.CompareOrdinal(request.Context?.ProtocolVersion, FirstVersion) >= 0;

    private static bool IsWanted(JsonRpcRequest request) =>
        request.Context?.ClientCapabilities?.Extensions?.ContainsKey(Extension) is true;
}

/// <summary>A call that runs on after it was answered.</summary>
internal sealed class CallTask(DateTimeOffset created)
{
    private const int PollMilliseconds = 1000;

    private readonly CancellationTokenSource _cancel = new();
    private volatile string? _message;
    private volatile bool _cancelled;
    private Task<ResultOrAlternate<CallToolResult>> _running = null!;
    private long _updated = created.UtcTicks;

    /// <summary>Name of the task.</summary>
    public string Id { get; set; } = "";

    /// <summary>Starts the call.</summary>
    public Task<ResultOrAlternate<CallToolResult>> RunAsync(Func<CancellationToken, Task<ResultOrAlternate<CallToolResult>>> call) =>
        _running = Task.Run(() => call(_cancel.Token), CancellationToken.None);

    /// <summary>Says how far it is.</summary>
    public void Report(string message, DateTimeOffset now)
    {
        _message = message;
        Interlocked.Exchange(ref _updated, now.UtcTicks);
    }

    /// <summary>Ends the call, unless it has ended.</summary>
    public void Cancel()
    {
        if (!_running.IsCompleted)
        {
            _cancelled = true;
            _ = _cancel.CancelAsync();
        }
    }

    /// <summary>What clients are told.</summary>
    public TaskState State(string resultType, TimeProvider clock, TimeSpan lifetime)
    {
        var state = new TaskState
        {
            ResultType = resultType,
            TaskId = Id,
            Status = "working",
            StatusMessage = _message,
            CreatedAt = created,
            LastUpdatedAt = new(Interlocked.Read(ref _updated), TimeSpan.Zero),
            TtlMs = (long)(clock.GetUtcNow() - created + lifetime).TotalMilliseconds,
            PollIntervalMs = PollMilliseconds,
        };
        if (_cancelled)
        {
            state.Status = "cancelled";
        }
        else if (_running.IsCompletedSuccessfully)
        {
            state.Status = "completed";
            state.Result = JsonSerializer.SerializeToElement(_running.Result.Result, McpJsonUtilities.DefaultOptions.GetTypeInfo(typeof(CallToolResult)));
        }
        else if (_running.IsCompleted)
        {
            var (code, message) = _running.Exception?.InnerException is McpProtocolException e ? (e.ErrorCode, e.Message) : (McpErrorCode.InternalError, "The call failed.");
            state.Status = "failed";
            state.Error = JsonSerializer.SerializeToElement(new JsonObject { ["code"] = (int)code, ["message"] = message }, TaskJson.Default.JsonObject);
        }

        return state;
    }
}

/// <summary>A task as the protocol shows it.</summary>
internal sealed class TaskState : Result
{
    public string TaskId { get; set; } = "";

    public string Status { get; set; } = "";

    public string? StatusMessage { get; set; }

    public DateTimeOffset CreatedAt { get; set; }

    public DateTimeOffset LastUpdatedAt { get; set; }

    public long TtlMs { get; set; }

    public int PollIntervalMs { get; set; }

    public JsonElement? Result { get; set; }

    public JsonElement? Error { get; set; }
}

/// <summary>How tasks are written.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(TaskState))]
[JsonSerializable(typeof(JsonObject))]
internal sealed partial class TaskJson : JsonSerializerContext;
