using System.Text.Json.Nodes;
using System.Threading.Channels;
using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;

namespace RyzenLlm.Mcp.Resources;

/// <summary>
/// Answers subscriptions/listen (protocol 2026-07-28) on every transport: tells the listener when models come or go, until it stops listening.
/// The SDK's own answer does so over standard input and output only, since over HTTP no session remembers who listens.
/// </summary>
internal sealed class ListChanges(ServerResources resources)
{
    /// <summary>Listens until the client ends it.</summary>
    public async ValueTask<EmptyResult> ListenAsync(RequestContext<SubscriptionsListenRequestParams> request, CancellationToken cancel)
    {
        var wanted = request.Params?.Notifications;

        // Tools and prompts never change, so what is promised of them is kept.
        var granted = new JsonObject();
        Grant("toolsListChanged", wanted?.ToolsListChanged);
        Grant("promptsListChanged", wanted?.PromptsListChanged);
        Grant("resourcesListChanged", wanted?.ResourcesListChanged);

        // One change waiting stands for any number of them.
        var changes = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
        void Changed(object? sender, EventArgs change) => changes.Writer.TryWrite(true);

        if (wanted?.ResourcesListChanged is true)
        {
            resources.All.Changed += Changed;
        }

        try
        {
            await SendAsync(request, NotificationMethods.SubscriptionsAcknowledgedNotification, new() { ["notifications"] = granted }, cancel).ConfigureAwait(false);
            await foreach (var _ in changes.Reader.ReadAllAsync(cancel).ConfigureAwait(false))
            {
                await SendAsync(request, NotificationMethods.ResourceListChangedNotification, [], cancel).ConfigureAwait(false);
            }

            return new();
        }
        finally
        {
            resources.All.Changed -= Changed;
        }

        void Grant(string name, bool? asked)
        {
            if (asked is true)
            {
                granted[name] = true;
            }
        }
    }

    // A client may listen more than once on one connection: each message names the request that it belongs to.
    private static Task SendAsync(RequestContext<SubscriptionsListenRequestParams> request, string method, JsonObject parameters, CancellationToken cancel)
    {
        parameters["_meta"] = new JsonObject { [MetaKeys.SubscriptionId] = request.JsonRpcRequest.Id.Id is long number ? number : request.JsonRpcRequest.Id.ToString() };
        return request.Server.SendMessageAsync(new JsonRpcNotification { Method = method, Params = parameters }, cancel);
    }
}
