using System.Text.Json;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Tests.Server;

/// <summary><c>generate</c> with <c>session</c>: a conversation under a name, that costs its new tokens, survives a restart and can be forgotten.</summary>
public sealed class SessionTests
{
    private const string System = "You are a machine that answers every question about its state with care and in a few words only.";
    private string _folder = null!;

    [SetUp]
    public void Create() => _folder = Directory.CreateTempSubdirectory("ryzenllm-session-").FullName;

    [TearDown]
    public void Delete() => Directory.Delete(_folder, recursive: true);

    [TestCase("rwkv7-f32")]
    [TestCase("bitnet-b158-tq2_0")]
    [TestCase("mamba-f32")]
    public async Task EachTurnSeesThoseBeforeAndCostsItsNewTokensAlsoAfterARestart(string model)
    {
        var server = await StartAsync();
        var known = 0;
        for (var turn = 0; turn < 4; turn++)
        {
            var answer = await Say(server, model, turn == 0 ? System : "", $"And what is the state of part {turn}?");
            Assert.That(answer.GetProperty("prompt_tokens").GetInt32(), Is.GreaterThan(known), "the turns before are in the prompt");
            Assert.That(answer.GetProperty("reused_tokens").GetInt32(), turn == 0 ? Is.Zero : Is.GreaterThanOrEqualTo(known - 1), $"turn {turn}");
            known = answer.GetProperty("prompt_tokens").GetInt32();
            if (turn == 1)
            {
                await server.DisposeAsync();
                server = await StartAsync();
            }
        }

        await using (server)
        {
            var other = await Say(server, model, System, "And what is the state of part 0?", session: "other");
            Assert.That(other.GetProperty("prompt_tokens").GetInt32(), Is.LessThan(known), "another conversation begins anew");
            var third = await Say(server, model, System, "And what is the state of part 1?", session: "third");
            Assert.That(third.GetProperty("reused_tokens").GetInt32(), Is.GreaterThan(20), "but shares the instruction");
        }
    }

    [Test]
    public async Task WithoutDiskItLastsAsLongAsTheServer()
    {
        await using (var server = await StartAsync(disk: "0"))
        {
            await Say(server, "rwkv7-f32", System, "First?");
            Assert.That((await Say(server, "rwkv7-f32", "", "Second?")).GetProperty("reused_tokens").GetInt32(), Is.GreaterThan(0));
        }

        await using var again = await StartAsync(disk: "0");
        Assert.That((await Say(again, "rwkv7-f32", "", "Third?")).GetProperty("reused_tokens").GetInt32(), Is.Zero);
        Assert.That(Directory.EnumerateFileSystemEntries(_folder), Has.None.Contains("states"));
    }

    [Test]
    public async Task WhatATenantForgetsIsGoneFromConversationsAndStatesToo()
    {
        await using var server = await StartAsync();
        var first = await Say(server, "rwkv7-f32", System, "First?");
        await Say(server, "rwkv7-f32", System, "First?", session: "other");
        await using (var stranger = await StartAsync(tenant: "bob"))
        {
            await Say(stranger, "rwkv7-f32", System, "First?");
        }

        var one = await Forget(server, ("session", "talk"));
        Assert.That(one.GetProperty("states").GetInt32(), Is.GreaterThanOrEqualTo(2), "the conversation and states of the model");
        var anew = await Say(server, "rwkv7-f32", System, "First?");
        Assert.That(anew.GetProperty("reused_tokens").GetInt32(), Is.Zero);
        Assert.That(anew.GetProperty("prompt_tokens").GetInt32(), Is.EqualTo(first.GetProperty("prompt_tokens").GetInt32()), "a new conversation");
        Assert.That((await Forget(server, ("everything", true))).GetProperty("states").GetInt32(), Is.GreaterThanOrEqualTo(3));
        Assert.That((await Forget(server, ("everything", true))).GetProperty("states").GetInt32(), Is.Zero, "counted again");
        Assert.That(Directory.EnumerateFiles(_folder, "*.state", SearchOption.AllDirectories), Is.Not.Empty, "bob's");
    }

    [Test]
    public async Task UnitsThatNameAConversationTakeItAlong()
    {
        await using var server = await StartAsync();
        await Say(server, "rwkv7-f32", System, "Where is the boat?", memory: true);
        var dry = await Call(server, "forget-context", ("source", "model:rwkv7-f32"));
        var done = await Call(server, "forget-context", ("source", "model:rwkv7-f32"), ("dry_run", false), ("confirm", dry.GetProperty("matched").GetInt32()));
        Assert.That(done.GetProperty("states").GetInt32(), Is.GreaterThanOrEqualTo(2));
        Assert.That((await Say(server, "rwkv7-f32", "", "And now?")).GetProperty("reused_tokens").GetInt32(), Is.Zero);
    }

    [Test]
    public async Task WhatCannotFitIsRefusedWithTheNumbers()
    {
        await using var server = await StartAsync(limit: "1MB");
        var result = await server.Client.CallToolAsync("generate", new Dictionary<string, object?> { ["prompt"] = "x", ["model"] = "rwkv7-f32" });
        Assert.That(result.IsError, Is.True);
        Assert.That(((ModelContextProtocol.Protocol.TextContentBlock)result.Content[0]).Text, Does.Contain("the model rwkv7-f32").And.Contain("of the limit of 1 MB").And.Contain("Engine:MemoryLimit"));
    }

    private Task<InProcessServer> StartAsync(string tenant = "ann", string disk = "1GB", string limit = "80%") => InProcessServer.StartAsync("2025-11-25", s => s with
    {
        Engine = s.Engine with { MemoryLimit = limit },
        States = new StateSettings { Folder = Path.Combine(_folder, "states"), Disk = disk },
        Memory = s.Memory with { Store = $"sqlite:{Path.Combine(_folder, tenant + ".db")}", Tenant = tenant },
    });

    private static Task<JsonElement> Say(InProcessServer server, string model, string system, string prompt, string session = "talk", bool memory = false) => Call(
        server, "generate", ("prompt", prompt), ("system", system), ("model", model), ("session", session), ("memory", memory), ("max_tokens", 6), ("seed", 3), ("temperature", 1));

    private static async Task<JsonElement> Forget(InProcessServer server, (string, object?) condition)
    {
        var dry = await Call(server, "forget-context", condition);
        return await Call(server, "forget-context", condition, ("dry_run", false), ("confirm", dry.GetProperty("matched").GetInt32()));
    }

    private static async Task<JsonElement> Call(InProcessServer server, string tool, params (string Name, object? Value)[] arguments)
    {
        var result = await server.Client.CallToolAsync(tool, arguments.ToDictionary(a => a.Name, a => a.Value));
        Assert.That(result.IsError, Is.Not.True, () => ((ModelContextProtocol.Protocol.TextContentBlock)result.Content[0]).Text);
        return result.StructuredContent!.Value;
    }
}
