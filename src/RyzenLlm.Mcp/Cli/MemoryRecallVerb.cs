using System.CommandLine;
using RyzenLlm.Mcp.Settings;
using RyzenLlm.Memory;
using RyzenLlm.Memory.Evaluation;

namespace RyzenLlm.Mcp.Cli;

/// <summary><c>memory recall</c>: what is known about a question, or a ranking for each question of a file.</summary>
internal static class MemoryRecallVerb
{
    /// <summary>With <c>--json</c>.</summary>
    internal sealed record RecallReport(string Text, int Tokens, int LeftOut, RecallHitReport[] Units);

    /// <summary>A unit found.</summary>
    internal sealed record RecallHitReport(Guid Id, double Score, bool Packed, string Session, string Source, string Speaker, DateTimeOffset At, string Text, string? SharedBy);

    public static Command Create()
    {
        var verb = new Command("recall", "Prints what is known about a question, or ranks units for every question of files.");
        var query = new Argument<string?>("query") { Description = "The question or topic.", Arity = ArgumentArity.ZeroOrOne };
        var budget = new Option<int>("--budget") { Description = "Tokens of the text; Memory:Budget if absent.", HelpName = "N" };
        var top = new Option<int>("--top") { Description = "Units to look at.", HelpName = "N", DefaultValueFactory = _ => 50 };
        var scope = new Option<string>("--scope") { Description = "Only this shelf.", HelpName = "NAME" };
        var session = new Option<string>("--session") { Description = "Only this conversation or document.", HelpName = "NAME" };
        var since = new Option<DateTimeOffset?>("--since") { Description = "Not older than this.", HelpName = "TIME" };
        var until = new Option<DateTimeOffset?>("--until") { Description = "Not newer than this.", HelpName = "TIME" };
        var full = new Option<bool>("--full") { Description = "Also print score, session, source and validity of each unit." };
        var queries = new Option<string[]>("--queries")
        {
            Description = "Files of questions, one JSON object with qid, conv and question in a line, each asked of the tenant of its conversation.",
            HelpName = "FILE",
            AllowMultipleArgumentsPerToken = true,
        };
        var output = new Option<string>("--out") { Description = "With --queries: file to write, {\"qid\":..,\"retrieved\":[source,..]} in a line.", HelpName = "FILE" };
        verb.Add(query);
        var common = new CommonOptions(verb).WithMemory().WithJson("Print one JSON object.");
        verb.Add(CommonOptions.InRange(budget, 16, 1_000_000));
        verb.Add(CommonOptions.InRange(top, 1, 200));
        verb.Add(scope);
        verb.Add(session);
        verb.Add(since);
        verb.Add(until);
        verb.Add(full);
        verb.Add(queries);
        verb.Add(output);
        verb.Validators.Add(result =>
        {
            var (asked, many) = (result.GetResult(query) is { Tokens.Count: > 0 }, result.GetResult(queries) is { Tokens.Count: > 0 });
            if (asked == many)
            {
                result.AddError(asked ? "Give a question or --queries, not both." : "Give a question, or --queries FILE --out FILE.");
            }
            else if (many != result.GetResult(output) is { Tokens.Count: > 0 })
            {
                result.AddError("--queries and --out go together.");
            }
        });
        verb.SetAction(async (parsed, cancel) =>
        {
            var settings = common.Settings(parsed);
            if (parsed.GetValue(queries) is { Length: > 0 } files)
            {
                await RankAsync(settings, files, parsed.GetValue(top), parsed.GetValue(output)!, cancel).ConfigureAwait(false);
                return;
            }

            using var memory = await MemoryVerb.OpenAsync(settings, cancel).ConfigureAwait(false);
            var found = await memory.RecallAsync(settings.Memory.Tenant, new RecallRequest
            {
                Query = parsed.GetValue(query)!,
                Budget = parsed.GetResult(budget) is null ? null : parsed.GetValue(budget),
                Top = parsed.GetValue(top),
                Scope = parsed.GetValue(scope),
                Session = parsed.GetValue(session),
                From = parsed.GetValue(since),
                To = parsed.GetValue(until),
                Shared = true,
                Format = parsed.GetValue(full) ? RecallFormat.Full : RecallFormat.Compact,
            }, cancel).ConfigureAwait(false);
            if (found.AuditProblem is { } problem)
            {
                Console.Error.WriteLine($"ryzenllm: {problem}");
            }

            if (parsed.GetValue(common.Json!))
            {
                CliJson.Print(new RecallReport(found.Text, found.Tokens, found.LeftOut, [.. found.Hits.Select(Report)]));
            }
            else if (found.Hits.Count == 0)
            {
                Console.Error.WriteLine($"ryzenllm: nothing in the memory of {settings.Memory.Tenant} bears on this.");
            }
            else
            {
                Console.Out.Write(found.Text);
            }
        });
        return verb;
    }

    private static RecallHitReport Report(RecallHit hit) => new(
        hit.Unit.Id, Math.Round(hit.Score, 4), hit.Packed, hit.Unit.Session, hit.Unit.Source, hit.Unit.Speaker, hit.Unit.CreatedAt, hit.Unit.Text, hit.Unit.SharedBy);

    private static async Task RankAsync(AppSettings settings, string[] files, int top, string output, CancellationToken cancel)
    {
        var questions = files.SelectMany(Question.Read).ToList();
        using var memory = await MemoryVerb.OpenAsync(settings, cancel).ConfigureAwait(false);
        var run = await DialogueRun.RankAsync(memory, questions, conversation => MemoryVerb.TenantOf(settings, conversation), top, cancel).ConfigureAwait(false);
        JsonLines.Write(output, run);
        Console.Out.WriteLine($"{run.Count} questions, {run.Count(line => line.Retrieved.Count > 0)} with answers, in {output}");
    }
}
