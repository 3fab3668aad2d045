using System.CommandLine;
using RyzenLlm.Engine.Files;
using RyzenLlm.Mcp.Downloads;
using RyzenLlm.Mcp.Hosting;
using Spectre.Console;

namespace RyzenLlm.Mcp.Cli;

/// <summary><c>models pull</c>: fetches a published model into the user's cache folder, or lists those known.</summary>
internal static class ModelsPullVerb
{
    /// <summary>With <c>--json</c>, of a model fetched.</summary>
    internal sealed record PullReport(string Name, string Path, long Bytes, string? Licence);

    public static Command Create()
    {
        var verb = new Command("pull", "Fetches a published model; an interrupted download goes on where it stopped. Without a name: lists the known models.");
        var name = new Argument<string?>("model")
        {
            Description = "A name from the list, hf:owner/repository/file.gguf, or a URL.",
            Arity = ArgumentArity.ZeroOrOne,
            DefaultValueFactory = _ => null,
        };
        var folder = new Option<string?>("--folder") { Description = "Where to put it; the user's cache folder if absent.", HelpName = "PATH" };
        var json = new Option<bool>("--json") { Description = "Print one JSON object (or the list as an array)." };
        verb.Add(name);
        verb.Add(folder);
        verb.Add(json);
        verb.SetAction(async (parsed, cancel) =>
        {
            if (parsed.GetValue(name) is not { Length: > 0 } reference)
            {
                List(parsed.GetValue(json));
                return;
            }

            var report = await PullAsync(reference, parsed.GetValue(folder) ?? ModelLibrary.CacheFolder, parsed.GetValue(json), cancel).ConfigureAwait(false);
            if (parsed.GetValue(json))
            {
                CliJson.Print(report);
            }
            else
            {
                Console.Out.WriteLine($"{report.Name}: {Tables.Size(report.Bytes)} in {report.Path}{(report.Licence is null ? "" : $", licence {report.Licence}")}");
            }
        });
        return verb;
    }

    private static async Task<PullReport> PullAsync(string reference, string folder, bool quiet, CancellationToken cancel)
    {
        using var http = new HttpClient { Timeout = Timeout.InfiniteTimeSpan };
        http.DefaultRequestHeaders.UserAgent.ParseAdd($"ryzenllm/{ProductInfo.Version}");
        var (name, file) = await new ModelHub(http, ModelHub.DefaultEndpoint).ResolveAsync(reference, cancel).ConfigureAwait(false);
        var download = new ModelDownload(http, path => GgufFile.Open(path).Dispose());
        var path = quiet || Console.IsErrorRedirected
            ? await download.FetchAsync(file, Path.Combine(folder, name), null, cancel).ConfigureAwait(false)
            : await WithBarAsync(progress => download.FetchAsync(file, Path.Combine(folder, name), progress, cancel), file).ConfigureAwait(false);
        return new(name, path, new FileInfo(path).Length, file.Licence);
    }

    // The bar goes to standard error: standard output holds the result.
    private static async Task<string> WithBarAsync(Func<IProgress<DownloadProgress>, Task<string>> fetch, RemoteFile file)
    {
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
        return await console.Progress()
            .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new DownloadedColumn(), new TransferSpeedColumn(), new RemainingTimeColumn())
            .StartAsync(async context =>
            {
                var task = context.AddTask(Markup.Escape(file.FileName), maxValue: Math.Max(1, file.Bytes ?? 1));
                return await fetch(new Meter(task)).ConfigureAwait(false);
            }).ConfigureAwait(false);
    }

    private static void List(bool json)
    {
        if (json)
        {
            CliJson.Print(KnownModels.All.ToArray());
            return;
        }

        var table = new Table().Border(TableBorder.Simple).AddColumns("name", "about", "licence", "what it is");
        foreach (var model in KnownModels.All)
        {
            table.AddRow(Markup.Escape(model.Name), Tables.Size(model.ApproximateBytes), Markup.Escape(model.Licence), Markup.Escape(model.Summary));
        }

        Tables.Console.Write(table);
    }

    /// <summary>Passes progress on at once; <see cref="Progress{T}"/> would post it to the thread pool, out of order.</summary>
    private sealed class Meter(ProgressTask task) : IProgress<DownloadProgress>
    {
        public void Report(DownloadProgress value)
        {
            task.MaxValue = Math.Max(1, value.Total ?? value.Bytes);
            task.Value = value.Bytes;
        }
    }
}
