using System.Diagnostics;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Models;

namespace RyzenLlm.Engine.Eval;

/// <summary>A <see cref="Crowd"/> for minutes: memory, sessions and wrong texts, line by line.</summary>
internal static class Users
{
    public static async Task<int> Run(string path, Arguments arguments)
    {
        var (clients, seconds) = (arguments["clients", 200], arguments["seconds", 600]);
        var options = new SchedulerOptions { MaxSequences = arguments["sequences", 16], QueueLimit = arguments["queue", 64] };
        var model = ModelLoader.Load(path, new() { Threads = arguments["threads", 2], Kernels = arguments["kernels", "auto"] });
        using var scheduler = new Scheduler(model, options);
        var crowd = await Crowd.Gather(scheduler, 60);
        Console.WriteLine($"{model.Info.Name}: {clients} clients for {seconds} s; {options.MaxSequences} sequences, {options.QueueLimit} may wait");
        Console.WriteLine("| second | memory MB | managed MB | sessions | pending | answered | wrong |");
        Console.WriteLine("|---|---|---|---|---|---|---|");
        using var stop = new CancellationTokenSource(TimeSpan.FromSeconds(seconds));
        var began = Stopwatch.GetTimestamp();
        var running = crowd.Run(clients, int.MaxValue, 2000, stop.Token);
        var mostSessions = 0;
        for (var next = 0; !running.IsCompleted;)
        {
            mostSessions = Math.Max(mostSessions, model.OpenSessions);
            if (Stopwatch.GetElapsedTime(began).TotalSeconds >= next)
            {
                Line(next, scheduler, crowd);
                next += Math.Max(1, seconds / 10);
            }

            await Task.WhenAny(running, Task.Delay(20));
        }

        await running;
        GC.Collect();
        Line(seconds, scheduler, crowd);
        Console.WriteLine();
        Console.WriteLine($"ends: {string.Join(", ", crowd.Ends.OrderBy(e => e.Key).Select(e => $"{e.Value} {e.Key}"))}");
        Console.WriteLine($"at most {mostSessions} sessions and {crowd.MostPending} requests at once; {model.OpenSessions} sessions left; {crowd.Wrong} wrong {crowd.FirstWrong}");
        return crowd.Wrong == 0 && model.OpenSessions == 0 && mostSessions <= options.MaxSequences && crowd.MostPending <= options.MaxSequences + options.QueueLimit ? 0 : 1;
    }

    private static void Line(int second, Scheduler scheduler, Crowd crowd) => Console.WriteLine(
        $"| {second} | {Environment.WorkingSet / 1e6:0} | {GC.GetTotalMemory(false) / 1e6:0} | {scheduler.Model.OpenSessions} | {scheduler.Pending} | {crowd.Ends.Values.Sum()} | {crowd.Wrong} |");
}
