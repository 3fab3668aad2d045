using System.CommandLine;
using System.Runtime.InteropServices;
using System.Text.Json;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Kernels;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Cli;

/// <summary><c>eval</c>: logits after every position, in full precision.</summary>
internal static class EvalVerb
{
    /// <summary>With <c>--json</c>.</summary>
    internal sealed record EvalReport(int Tokens, int Vocabulary, string Kernels, string File);

    public static Command Create()
    {
        var verb = new Command("eval", "Writes the logits after every token as raw little-endian float32, [tokens][vocabulary]. Caches are kept in full precision.");
        var tokens = new Option<string>("--tokens") { Description = "File with a JSON array of token ids.", HelpName = "FILE", Required = true };
        var output = new Option<string>("--out") { Description = "File to write.", HelpName = "FILE", Required = true };
        var chunk = new Option<int>("--chunk") { Description = "Tokens per forward pass; 256 if absent.", HelpName = "N", DefaultValueFactory = _ => 256 };
        var common = new CommonOptions(verb).WithModel(required: true).WithJson("Print what was written as JSON.").WithThreads().WithKernels();
        verb.Add(tokens);
        verb.Add(output);
        verb.Add(CommonOptions.InRange(chunk, 1, 65_536));
        verb.SetAction((parsed, cancel) =>
        {
            var settings = common.Settings(parsed);
            var ids = ReadIds(parsed.GetRequiredValue(tokens));
            using var model = ModelLoader.Load(common.Entry(parsed, settings).Path, LoadedModels.OptionsFor(settings.Engine) with { KvType = KvType.F32, Precision = Precision.Exact });
            var file = parsed.GetRequiredValue(output);
            Evaluate(model, ids, parsed.GetValue(chunk), file, cancel);
            var summary = new EvalReport(ids.Length, model.Info.VocabularySize, model.Ops.Kernels.Name, file);
            if (parsed.GetValue(common.Json!))
            {
                CliJson.Print(summary);
            }
            else
            {
                Console.Out.WriteLine($"{summary.Tokens} rows of {summary.Vocabulary} logits ({summary.Kernels} kernels) in {file}");
            }

            return Task.FromResult(0);
        });
        return verb;
    }

    private static int[] ReadIds(string path)
    {
        try
        {
            return JsonSerializer.Deserialize(File.ReadAllText(path), CliJson.Default.Int32Array) is { Length: > 0 } ids
                ? ids
                : throw new ArgumentException($"{path} holds no token ids: expected a JSON array such as [1, 2, 3].");
        }
        catch (JsonException e)
        {
            throw new ArgumentException($"{path} is no JSON array of token ids (line {e.LineNumber + 1}): expected [1, 2, 3].");
        }
    }

    // Written beside the target and renamed, so a failure leaves no half file that looks whole.
    private static void Evaluate(LanguageModel model, int[] ids, int chunk, string file, CancellationToken cancel)
    {
        var part = file + ".part";
        try
        {
            using (var target = File.Create(part))
            {
                using var session = model.CreateSession();
                using var batch = new Batch();
                for (var begin = 0; begin < ids.Length; begin += chunk)
                {
                    cancel.ThrowIfCancellationRequested();
                    batch.Clear();
                    var count = Math.Min(chunk, ids.Length - begin);
                    for (var i = 0; i < count; i++)
                    {
                        batch.Add(session, ids[begin + i], logits: true);
                    }

                    model.Forward(batch);
                    for (var row = 0; row < count; row++)
                    {
                        target.Write(MemoryMarshal.AsBytes(batch.Logits(row)));
                    }
                }
            }

            File.Move(part, file, overwrite: true);
        }
        catch
        {
            File.Delete(part);
            throw;
        }
    }
}
