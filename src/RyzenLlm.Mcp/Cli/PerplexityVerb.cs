using System.CommandLine;
using System.Globalization;
using System.Text;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Tokenizers;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Cli;

/// <summary>
/// <c>perplexity</c>: how well a model predicts a text. Every token of the text is judged exactly once. A recurrent model reads the whole text
/// with one state. A transformer reads windows as long as its context; each overlaps the one before, so that every token but the
/// first ones is judged with at least (window - stride) tokens before it. The first token of all, where no BOS precedes it, is charged as one of
/// equally likely tokens. So bits per byte covers all bytes and compares models with different vocabularies.
/// </summary>
internal static class PerplexityVerb
{
    /// <summary>With <c>--json</c>.</summary>
    internal sealed record PerplexityReport(
        string Model, int Tokens, long Bytes, double NatsPerToken, double Perplexity, double BitsPerByte, int Window, int Stride, double Seconds);

    public static Command Create()
    {
        var verb = new Command("perplexity", "Measures how well a model predicts a text: nats per token and bits per byte.");
        var text = new Option<string>("--text") { Description = "UTF-8 text file.", HelpName = "FILE", Required = true };
        var window = new Option<int>("--window") { Description = "Tokens that a transformer sees at once; its context if absent.", HelpName = "N" };
        var stride = new Option<int>("--stride") { Description = "Tokens by which the window of a transformer moves; half of it if absent.", HelpName = "N" };
        var limit = new Option<int>("--limit") { Description = "Judge only the first N tokens.", HelpName = "N" };
        var common = new CommonOptions(verb).WithModel().WithJson("Print one JSON object.").WithThreads().WithKernels();
        verb.Add(text);
        verb.Add(CommonOptions.InRange(window, 2, int.MaxValue));
        verb.Add(CommonOptions.InRange(stride, 1, int.MaxValue));
        verb.Add(CommonOptions.InRange(limit, 1, int.MaxValue));
        verb.SetAction((parsed, cancel) =>
        {
            var settings = common.Settings(parsed);
            var entry = common.Entry(parsed, settings);
            var content = TextInput.ReadFile(parsed.GetRequiredValue(text));
            using var model = ModelLoader.Load(entry.Path, LoadedModels.OptionsFor(settings.Engine));
            var most = parsed.GetResult(limit) is null ? int.MaxValue : parsed.GetValue(limit);
            var output = Measure(model, entry.Name, content, most, parsed.GetValue(window), parsed.GetValue(stride), cancel);
            if (parsed.GetValue(common.Json!))
            {
                CliJson.Print(output);
            }
            else
            {
                Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture,
                    $"{output.Model}: {output.NatsPerToken:0.0000} nats per token (perplexity {output.Perplexity:0.00}), {output.BitsPerByte:0.0000} bits per byte over {output.Tokens} tokens, {output.Bytes} bytes"));
            }

            return Task.FromResult(0);
        });
        return verb;
    }

    internal static PerplexityReport Measure(LanguageModel model, string name, string text, int limit, int window, int stride, CancellationToken cancel)
    {
        var started = TimeProvider.System.GetTimestamp();
        var tokenizer = model.Tokenizer ?? throw new ArgumentException($"{name} has no vocabulary, so it cannot read text: choose another model.");
        var ids = tokenizer.Encode(text, addBos: false, parseSpecial: false);
        var bytes = ids.Length <= limit ? Encoding.UTF8.GetByteCount(text) : tokenizer.Decode(ids.AsSpan(0, limit)).LongLength;
        ids = ids.Length <= limit ? ids : ids[..limit];
        if (ids.Length == 0)
        {
            throw new ArgumentException("The text is empty: there is nothing to measure.");
        }

        int[] prefix = tokenizer.AddBos && tokenizer.BosId is { } bos ? [bos] : [];
        if (!model.Info.IsRecurrent && window > model.Info.ContextLength)
        {
            throw new ArgumentException($"--window is {window} but the context of {name} is {model.Info.ContextLength} tokens.");
        }

        window = model.Info.IsRecurrent ? ids.Length : Math.Min(ids.Length, (window == 0 ? model.Info.ContextLength : window) - prefix.Length);
        stride = stride == 0 ? Math.Max(1, window / 2) : stride;
        if (!model.Info.IsRecurrent && stride > window)
        {
            throw new ArgumentException($"--stride is {stride} but the window of {name} is {window} tokens.");
        }

        var nats = Total(model, ids, prefix, window, stride, cancel);
        var perToken = nats / ids.Length;
        return new(
            name, ids.Length, bytes, perToken, Math.Exp(perToken), nats / Math.Log(2) / bytes, window, stride,
            TimeProvider.System.GetElapsedTime(started).TotalSeconds);
    }

    private static double Total(LanguageModel model, int[] ids, int[] prefix, int window, int stride, CancellationToken cancel)
    {
        double total = 0;
        var judged = 0;
        if (prefix.Length == 0)
        {
            total = Math.Log(model.Info.VocabularySize);
            judged = 1;
        }

        for (var begin = 0; judged < ids.Length; begin += stride)
        {
            var end = Math.Min(begin + window, ids.Length);
            int[] sequence = [.. prefix, .. ids.AsSpan(begin, end - begin)];
            var nats = new double[end - judged];
            Surprisal.Score(model, sequence, prefix.Length + judged - begin, nats, cancel);
            total += nats.Sum();
            judged = end;
        }

        return total;
    }
}
