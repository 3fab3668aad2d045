using System.Diagnostics;
using System.Net;
using RyzenLlm.Memory;

namespace RyzenLlm.Endurance;

/// <summary>
/// Rounds in which the program is killed at a random moment of its work and started again. What it had acknowledged must be there (or, if
/// forgotten, gone), everything else whole or absent, and no file trusted half-written.
/// </summary>
internal static class KillRounds
{
    private const int TurnsPerStore = 3;

    private static int s_acknowledged;
    private static int s_inWork;

    private static readonly (string Name, Func<string, Random, int, Task<string?>> Run)[] Kinds =
        [("store", StoreAsync), ("forget", ForgetAsync), ("state", StateAsync), ("download", DownloadAsync)];

    /// <summary>Runs them; 1 if any left something wrong.</summary>
    public static async Task<int> RunAsync(int rounds, int seed)
    {
        var wrong = 0;
        var clean = new Dictionary<string, int>();
        var folder = Directory.CreateTempSubdirectory("ryzenllm-kill-").FullName;
        try
        {
            for (var round = 0; round < rounds; round++)
            {
                var (name, run) = Kinds[round % Kinds.Length];
                var problem = await run(folder, new Random(HashCode(seed, round)), round);
                if (problem is null)
                {
                    clean[name] = clean.GetValueOrDefault(name) + 1;
                }
                else
                {
                    wrong++;
                    Console.WriteLine($"round {round} ({name}): {problem}");
                }

                if (round % 20 == 19)
                {
                    Console.WriteLine($"{round + 1} rounds, {wrong} wrong");
                }
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }

        Console.WriteLine($"{s_acknowledged} stores and deletions were acknowledged before the kills, {s_inWork} were in work at that moment.");
        Console.WriteLine($"{rounds - wrong} of {rounds} rounds clean ({string.Join(", ", clean.Select(k => $"{k.Key} {k.Value}"))})");
        return wrong == 0 ? 0 : 1;
    }

    private static int HashCode(int seed, int round) => unchecked((seed * 1_000_003) + round);

    // Every request is three turns in one transaction: all of them are there, or none.
    private static async Task<string?> StoreAsync(string folder, Random random, int round)
    {
        var sent = 0;
        var acknowledged = 0;
        using (var server = await ServerProcess.StartAsync(folder))
        {
            // The clock runs from the first answer on: before it, nothing is in work.
            Task? kill = null;
            while (kill is not { IsCompleted: true } && sent < 500)
            {
                var request = sent++;
                var turns = Enumerable.Range(0, TurnsPerStore).Select(t => new { role = "Ann", text = Text(round, request, t) });
                if (ServerProcess.Structured(await server.CallAsync("store-context", new { turns, session = $"s{round}-{request}", first_turn = 1 })) is null)
                {
                    break;
                }

                acknowledged++;
                kill ??= KillLater(server.Process, random, 300);
            }

            await (kill ?? KillLater(server.Process, random, 1));
        }

        (s_acknowledged, s_inWork) = (s_acknowledged + acknowledged, s_inWork + sent - acknowledged);
        return await WithMemoryAsync(folder, async memory =>
        {
            for (var s = 0; s < sent; s++)
            {
                var units = await memory.ListAsync("default", session: $"s{round}-{s}").Select(u => u.Text).ToListAsync();
                var whole = Enumerable.Range(0, TurnsPerStore).All(t => units.Contains(Text(round, s, t)));
                if (s < acknowledged ? !whole : !whole && units.Count > 0)
                {
                    return $"request {s} of {sent} ({acknowledged} acknowledged) has {units.Count} of {TurnsPerStore} units: {string.Join(" | ", units)}";
                }
            }

            return null;
        });
    }

    // Sessions are forgotten one after another: those acknowledged are gone, each other is whole or gone.
    private static async Task<string?> ForgetAsync(string folder, Random random, int round)
    {
        const int sessions = 30;
        var forgotten = 0;
        await WithMemoryAsync(folder, async memory =>
        {
            for (var s = 0; s < sessions; s++)
            {
                await memory.StoreAsync("default", new StoreRequest
                {
                    Session = $"f{round}-{s}",
                    Items = [.. Enumerable.Range(0, TurnsPerStore).Select(t => new Utterance { Speaker = "Ann", Text = Text(round, s, t), Ordinal = 1000 * (t + 1) })],
                });
            }

            return null;
        });
        using (var server = await ServerProcess.StartAsync(folder))
        {
            Task? kill = null;
            while (kill is not { IsCompleted: true } && forgotten < sessions)
            {
                if (ServerProcess.Structured(await server.CallAsync("forget-context", new { session = $"f{round}-{forgotten}", dry_run = false, confirm = TurnsPerStore })) is null)
                {
                    break;
                }

                forgotten++;
                kill ??= KillLater(server.Process, random, 150);
            }

            await (kill ?? KillLater(server.Process, random, 1));
        }

        (s_acknowledged, s_inWork) = (s_acknowledged + forgotten, s_inWork + (forgotten < sessions ? 1 : 0));
        return await WithMemoryAsync(folder, async memory =>
        {
            for (var s = 0; s < sessions; s++)
            {
                var left = await memory.ListAsync("default", session: $"f{round}-{s}").CountAsync();
                if (s < forgotten ? left != 0 : left is not (0 or TurnsPerStore) || (s > forgotten && left == 0))
                {
                    return $"session {s} ({forgotten} acknowledged as forgotten) has {left} of {TurnsPerStore} units";
                }
            }

            return null;
        });
    }

    // A conversation whose states are saved: after the kill it is answered as if there had been none.
    private static async Task<string?> StateAsync(string folder, Random random, int round)
    {
        var prompt = $"Round {round}: " + string.Join(' ', Enumerable.Range(0, 60).Select(i => $"word{i * round % 97}"));
        object Question(string about) => new { prompt = prompt + about, max_tokens = 6, seed = 7, temperature = 1, session = $"c{round}", memory = "true" };
        using (var server = await ServerProcess.StartAsync(folder))
        {
            Task? kill = null;
            for (var i = 0; kill is not { IsCompleted: true } && i < 100; i++)
            {
                if (await server.CallAsync("generate", Question($" {i}")) is null)
                {
                    break;
                }

                kill ??= KillLater(server.Process, random, 400);
            }

            await (kill ?? KillLater(server.Process, random, 1));
        }

        var plain = new { prompt, max_tokens = 12, seed = 7, temperature = 1 };
        string? resumed;
        using (var server = await ServerProcess.StartAsync(folder))
        {
            resumed = ServerProcess.Structured(await server.CallAsync("generate", plain))?.GetProperty("text").GetString();
            await server.CloseAsync();
        }

        var fresh = Directory.CreateTempSubdirectory("ryzenllm-fresh-").FullName;
        try
        {
            using var server = await ServerProcess.StartAsync(fresh);
            var expected = ServerProcess.Structured(await server.CallAsync("generate", plain))?.GetProperty("text").GetString();
            await server.CloseAsync();
            return resumed is not null && resumed == expected ? null : $"after the kill the answer is '{resumed}', not '{expected}'";
        }
        finally
        {
            Directory.Delete(fresh, recursive: true);
        }
    }

    // Killed in mid-download: no model is there, or all of it; the same command then completes it.
    private static async Task<string?> DownloadAsync(string folder, Random random, int round)
    {
        var content = await File.ReadAllBytesAsync(Path.Combine(ServerProcess.Root, "test", "Fixtures", "golden", "models", "mamba-f32.gguf"));
        using var files = new SlowFiles(content, chunk: 1 << 15);
        var target = Path.Combine(folder, $"models{round}");
        string[] pull = ["models", "pull", $"{files.Address}toy{round}.gguf", "--folder", target, "--json"];
        using (var process = ServerProcess.Start(pull, folder))
        {
            await KillLater(process, random, 900);
            await process.WaitForExitAsync();
        }

        var file = Path.Combine(target, $"toy{round}", $"toy{round}.gguf");
        if (File.Exists(file) && !(await File.ReadAllBytesAsync(file)).AsSpan().SequenceEqual(content))
        {
            return "a half-written file has the name of a model";
        }

        files.Pause = TimeSpan.Zero;
        using (var process = ServerProcess.Start(pull, folder))
        {
            var errors = process.StandardError.ReadToEndAsync();
            await process.StandardOutput.ReadToEndAsync();
            await process.WaitForExitAsync();
            if (process.ExitCode != 0 || !(await File.ReadAllBytesAsync(file)).AsSpan().SequenceEqual(content))
            {
                return $"the download does not complete: {await errors}";
            }
        }

        Directory.Delete(target, recursive: true);
        return null;
    }

    private static Task KillLater(Process process, Random random, int milliseconds) => Task.Run(async () =>
    {
        await Task.Delay(random.Next(milliseconds));
        process.Kill();
        await process.WaitForExitAsync();
    });

    private static string Text(int round, int request, int turn) =>
        $"In round {round} Ann put note {request}-{turn} with number {(round * 7919) + (request * 31) + turn} into drawer {(request * 13) + turn} of the tall cupboard.";

    private static async Task<string?> WithMemoryAsync(string folder, Func<RsuMemory, Task<string?>> check)
    {
        using var memory = RsuMemory.Create(new MemoryOptions { Store = $"sqlite:{Path.Combine(folder, "memory.db")}" }, new MemoryModels());
        await memory.OpenAsync();
        return await check(memory);
    }

    /// <summary>Serves one file, slowly, from any byte on.</summary>
    private sealed class SlowFiles : IDisposable
    {
        private readonly HttpListener _listener = new();
        private readonly byte[] _content;
        private readonly int _chunk;

        public SlowFiles(byte[] content, int chunk)
        {
            (_content, _chunk) = (content, chunk);
            for (var attempt = 0; ; attempt++)
            {
                Address = $"http://127.0.0.1:{Random.Shared.Next(20_000, 60_000)}/";
                _listener.Prefixes.Clear();
                _listener.Prefixes.Add(Address);
                try
                {
                    _listener.Start();
                    break;
                }
                catch (HttpListenerException) when (attempt < 50)
                {
                    // Taken; another one.
                }
            }

            _ = ServeAsync();
        }

        public string Address { get; }

        public TimeSpan Pause { get; set; } = TimeSpan.FromMilliseconds(20);

        public void Dispose() => _listener.Close();

        private async Task ServeAsync()
        {
            while (_listener.IsListening)
            {
                try
                {
                    _ = AnswerAsync(await _listener.GetContextAsync());
                }
                catch (Exception e) when (e is HttpListenerException or ObjectDisposedException)
                {
                    return;
                }
            }
        }

        private async Task AnswerAsync(HttpListenerContext context)
        {
            try
            {
                var range = context.Request.Headers["Range"];
                var start = range is null ? 0 : int.Parse(range.AsSpan(6, range.IndexOf('-') - 6), System.Globalization.CultureInfo.InvariantCulture);
                context.Response.Headers["ETag"] = "\"v1\"";
                context.Response.ContentLength64 = _content.Length - start;
                if (start > 0)
                {
                    context.Response.StatusCode = 206;
                    context.Response.Headers["Content-Range"] = $"bytes {start}-{_content.Length - 1}/{_content.Length}";
                }

                for (var at = start; at < _content.Length; at += _chunk)
                {
                    await context.Response.OutputStream.WriteAsync(_content.AsMemory(at, Math.Min(_chunk, _content.Length - at)));
                    await Task.Delay(Pause);
                }

                context.Response.Close();
            }
            catch (Exception e) when (e is HttpListenerException or IOException or ObjectDisposedException or InvalidOperationException)
            {
                // The process at the other end was killed.
            }
        }
    }
}
