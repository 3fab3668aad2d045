using System.Text.Json;
using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Tools;

/// <summary>
/// Asks the user, through the client, before something is destroyed. The question goes out as the answer to the call; the client calls again with
/// the same arguments and what the user said. What was asked is kept here under a name that only the client of that call got, so an answer counts
/// for its own question alone.
/// </summary>
internal sealed class Confirmation(TimeProvider clock)
{
    private const string Key = "confirm";

    private readonly Handles<string> _asked = new(clock, TimeSpan.FromMinutes(10), perTenant: 32);

    /// <summary>Whether the client of this request can ask its user.</summary>
    public static bool CanAsk(RequestContext<CallToolRequestParams> request) =>
        request.Server.IsMrtrSupported && request.Server.ClientCapabilities?.Elicitation is not null;

    /// <summary>Whether the user agreed to exactly this.</summary>
    /// <param name="request">The call.</param>
    /// <param name="caller">Who makes it.</param>
    /// <param name="question">What the user is asked; it must say what will be lost.</param>
    /// <exception cref="InputRequiredException">The user has not been asked yet; the protocol layer makes a question of it.</exception>
    public bool IsAgreed(RequestContext<CallToolRequestParams> request, Caller caller, string question)
    {
        if (request.Params is { RequestState: { } state, InputResponses: { } responses }
            && responses.TryGetValue(Key, out var response)
            && _asked.Find(caller, state) == Subject(request, question))
        {
            return IsYes(response);
        }

        throw new InputRequiredException(
            new Dictionary<string, InputRequest>
            {
                [Key] = InputRequest.ForElicitation(new ElicitRequestParams
                {
                    Message = question,
                    RequestedSchema = new()
                    {
                        Properties = { [Key] = new ElicitRequestParams.BooleanSchema { Title = "Forget it for good", Default = true } },
                    },
                }),
            },
            _asked.Add(caller, Subject(request, question)));
    }

    // Only a well-formed agreement counts; some clients agree without filling in the form.
    private static bool IsYes(InputResponse response)
    {
        try
        {
            var said = response.Deserialize(InputResponse.ElicitResultJsonTypeInfo);
            return said is { IsAccepted: true } && (said.Content?.TryGetValue(Key, out var yes) is not true || yes.ValueKind == JsonValueKind.True);
        }
        catch (JsonException)
        {
            return false;
        }
    }

    // The question names the number and the arguments name the things.
    private static string Subject(RequestContext<CallToolRequestParams> request, string question) =>
        $"{question}\n{string.Join('\n', (request.Params?.Arguments ?? new Dictionary<string, JsonElement>()).OrderBy(a => a.Key, StringComparer.Ordinal).Select(a => $"{a.Key} {a.Value.GetRawText()}"))}";
}
