using System.CommandLine;
using System.Globalization;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Models;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Cli;

/// <summary><c>perplexity</c>: how well a model predicts a text.</summary>
internal static class PerplexityVerb
{
    public static Command Create()
    {
        var verb = new Command("perplexity", "Measures how well a model predicts a text: nats per token and bits per byte.");
        var text = new Option<string>("--text") { Description = "UTF-8 text file.", HelpName = "FILE", Required = true };
        var window = new Option<int>("--window") { Description = "Tokens that a transformer sees at once; its context if absent. With Engine:Window it reads on instead.", HelpName = "N" };
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
            var output = Perplexity.Measure(model, entry.Name, content, most, parsed.GetValue(window), parsed.GetValue(stride), cancel);
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
}
