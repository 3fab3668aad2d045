using ModelContextProtocol.Client;
using ModelContextProtocol.Protocol;

namespace RyzenLlm.Mcp.Tests.Server;

/// <summary>Where the client can ask its user, that one decides what is destroyed.</summary>
[TestFixture("2025-11-25")]
[TestFixture("2026-07-28")]
public sealed class ElicitationTests(string era)
{
    private readonly Queue<ElicitResult> _answers = [];
    private readonly List<string> _questions = [];
    private string _folder = null!;
    private InProcessServer _server = null!;

    [SetUp]
    public async Task Start()
    {
        _folder = Directory.CreateTempSubdirectory("ryzenllm-elicitation-").FullName;
        _answers.Clear();
        _questions.Clear();
        var client = new McpClientOptions
        {
            Handlers = new()
            {
                ElicitationHandler = (question, _) =>
                {
                    _questions.Add(question!.Message);
                    return ValueTask.FromResult(_answers.Dequeue());
                },
            },
        };
        _server = await InProcessServer.StartAsync(era, s => s with { Memory = s.Memory with { Store = $"sqlite:{Path.Combine(_folder, "memory.db")}" } }, client);
        await _server.Client.CallToolAsync("store-context", Arguments(("text", "The ferry leaves at nine on weekdays."), ("session", "ferry")));
    }

    [TearDown]
    public async Task Stop()
    {
        await _server.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    [Test]
    public async Task TheUserIsAskedAndDecides()
    {
        foreach (var refused in new ElicitResult[] { new() { Action = "decline" }, new() { Action = "cancel" }, Accepted("false") })
        {
            _answers.Enqueue(refused);
            var kept = await ForgetAsync();
            Assert.That((kept.Deleted, kept.Remaining), Is.EqualTo((0, 1)), refused.Action);
            Assert.That(kept.Text, Does.Contain("declined"));
        }

        _answers.Enqueue(Accepted("true"));
        var forgotten = await ForgetAsync();
        Assert.That((forgotten.Deleted, forgotten.Remaining), Is.EqualTo((1, 0)));
        Assert.That(_questions, Has.Count.EqualTo(4).And.All.Contains("Forget 1 units").And.All.Contains("The ferry leaves"));
    }

    [Test]
    public async Task ACallerThatConfirmsByItselfDoesNotGetAroundTheUser()
    {
        _answers.Enqueue(new() { Action = "decline" });
        Assert.That((await ForgetAsync(("confirm", 1))).Deleted, Is.Zero);
        Assert.That(_questions, Has.Count.EqualTo(1));
        var wrong = await _server.Client.CallToolAsync("forget-context", Arguments(("session", "ferry"), ("dry_run", false), ("confirm", 2)));
        Assert.That(wrong.IsError, Is.True);
        Assert.That(_questions, Has.Count.EqualTo(1), "not asked about a wrong number");
    }

    [Test]
    public async Task NobodyIsAskedAboutADryRunOrNothing()
    {
        await _server.Client.CallToolAsync("forget-context", Arguments(("session", "ferry")));
        var nothing = await _server.Client.CallToolAsync("forget-context", Arguments(("session", "other"), ("dry_run", false)));
        Assert.That(nothing.IsError, Is.Not.True);
        Assert.That(_questions, Is.Empty);
    }

    private async Task<(int Deleted, int Remaining, string Text)> ForgetAsync(params (string, object?)[] more)
    {
        var result = await _server.Client.CallToolAsync("forget-context", Arguments([("session", "ferry"), ("dry_run", false), .. more]));
        Assert.That(result.IsError, Is.Not.True, ((TextContentBlock)result.Content[0]).Text);
        var content = result.StructuredContent!.Value;
        return (content.GetProperty("deleted").GetInt32(), content.GetProperty("remaining").GetInt32(), ((TextContentBlock)result.Content[0]).Text);
    }

    private static ElicitResult Accepted(string confirm) => new()
    {
        Action = "accept",
        Content = new Dictionary<string, System.Text.Json.JsonElement> { ["confirm"] = System.Text.Json.JsonDocument.Parse(confirm).RootElement },
    };

    private static Dictionary<string, object?> Arguments(params (string Name, object? Value)[] arguments) => arguments.ToDictionary(a => a.Name, a => a.Value);
}
