using RyzenLlm.Engine.Files;

namespace RyzenLlm.Engine.Tests.Models;

/// <summary>
/// The decoders of Llama, Qwen3, Gemma 3 and BitNet without rounded activations, in float64, token by token. What a token attends to is a cache that holds the first tokens
/// and the latest ones; keys are kept as they are and rotated, with the query, by their place in that cache (Xiao et al. 2023, section 3.2).
/// </summary>
internal static class TransformerReference
{
    private const int GlobalEvery = 6; // of Gemma 3

    /// <summary>Logits after every token, [token][vocabulary].</summary>
    public static double[] Logits(string path, int[] tokens, int window, int sinks)
    {
        using var file = GgufFile.Open(path);
        var a = file.Architecture;
        var gemma = a == "gemma3";
        var (n, blocks, ff) = (file.GetInt32($"{a}.embedding_length"), file.GetInt32($"{a}.block_count"), file.GetInt32($"{a}.feed_forward_length"));
        var (heads, kvHeads) = (file.GetInt32($"{a}.attention.head_count"), file.GetInt32($"{a}.attention.head_count_kv"));
        var hd = file.TryGetInt32($"{a}.attention.key_length", out var size) ? size : n / heads;
        var eps = file.GetFloat32($"{a}.attention.layer_norm_rms_epsilon");
        var local = gemma ? Math.Min(file.GetInt32($"{a}.attention.sliding_window"), window) : int.MaxValue;
        var v = (int)file.Tensors["token_embd.weight"].Dimensions[1];
        var embedding = file.Values("token_embd.weight", v, n);
        var output = file.Tensors.ContainsKey("output.weight") ? "output.weight" : "token_embd.weight";
        var keys = Enumerable.Range(0, blocks).Select(_ => new List<double[]>()).ToArray();
        var values = Enumerable.Range(0, blocks).Select(_ => new List<double[]>()).ToArray();
        var logits = new List<double>();
        foreach (var token in tokens)
        {
            double[] x = [.. embedding.AsSpan(token * n, n).ToArray().Select(e => e * (gemma ? Math.Sqrt(n) : 1))];
            for (var i = 0; i < blocks; i++)
            {
                var p = $"blk.{i}.";
                var isLocal = gemma && (i + 1) % GlobalEvery != 0;
                var h = Norm(p + "attn_norm", x);
                var q = Heads(p + "attn_q_norm", Product(p + "attn_q.weight", heads * hd, h));
                keys[i].Add(Heads(p + "attn_k_norm", Product(p + "attn_k.weight", kvHeads * hd, h)));
                values[i].Add(Product(p + "attn_v.weight", kvHeads * hd, h));
                var o = Attention(q, keys[i], values[i], isLocal);
                x = Sum(x, Norm(p + "post_attention_norm", Product(p + "attn_output.weight", n, Norm(p + "attn_sub_norm", o))));
                h = Norm(p + "ffn_norm", x);
                double[] gated = [.. Product(p + "ffn_gate.weight", ff, h).Select(Activation).Zip(Product(p + "ffn_up.weight", ff, h), (one, two) => one * two)];
                x = Sum(x, Norm(p + "post_ffw_norm", Product(p + "ffn_down.weight", n, Norm(p + "ffn_sub_norm", gated))));
            }

            logits.AddRange(Product(output, v, Norm("output_norm", x)));
        }

        return [.. logits];

        double[] Attention(double[] q, List<double[]> k, List<double[]> vs, bool isLocal)
        {
            var all = Enumerable.Range(0, k.Count);
            int[] cache =
                isLocal ? [.. all.TakeLast(local)]
                : k.Count <= sinks + window ? [.. all]
                : [.. all.Take(sinks), .. all.TakeLast(window)];
            var o = new double[heads * hd];
            for (var j = 0; j < heads; j++)
            {
                var g = j / (heads / kvHeads) * hd;
                var query = Rotated(q.AsSpan(j * hd, hd), cache.Length - 1, isLocal);
                double[] scores = [.. cache.Select((p, place) => Dot(query, Rotated(k[p].AsSpan(g, hd), place, isLocal)) / Math.Sqrt(hd))];
                double[] weights = [.. scores.Select(s => Math.Exp(s - scores.Max()))];
                for (var d = 0; d < hd; d++)
                {
                    o[(j * hd) + d] = cache.Select((p, place) => weights[place] * vs[p][g + d]).Sum() / weights.Sum();
                }
            }

            return o;
        }

        double[] Rotated(ReadOnlySpan<double> head, int place, bool isLocal)
        {
            double freqBase = !isLocal && file.TryGetFloat32($"{a}.rope.freq_base", out var given) ? given : 10000;
            var result = new double[hd];
            for (var d = 0; d < hd / 2; d++)
            {
                var (one, two) = a == "llama" ? (2 * d, (2 * d) + 1) : (d, d + (hd / 2));
                var (sin, cos) = Math.SinCos(place * Math.Pow(freqBase, -2.0 * d / hd));
                result[one] = (head[one] * cos) - (head[two] * sin);
                result[two] = (head[one] * sin) + (head[two] * cos);
            }

            return result;
        }

        double[] Heads(string name, double[] input) => [.. input.Chunk(hd).SelectMany(head => Norm(name, head))];

        double[] Norm(string name, double[] input)
        {
            if (!file.Tensors.ContainsKey(name + ".weight"))
            {
                return input;
            }

            var scale = 1 / Math.Sqrt((input.Sum(e => e * e) / input.Length) + eps);
            return [.. input.Zip(file.Vector(name + ".weight", input.Length), (e, w) => e * scale * w)];
        }

        double[] Product(string name, int rows, double[] input)
        {
            var w = file.Values(name, rows, input.Length);
            return [.. Enumerable.Range(0, rows).Select(m => Enumerable.Range(0, input.Length).Sum(k => w[(m * input.Length) + k] * input[k]))];
        }

        double Activation(double e) =>
            gemma ? 0.5 * e * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (e + (0.044715 * e * e * e))))
            : a == "bitnet-b1.58" ? Math.Max(0, e) * Math.Max(0, e)
            : e / (1 + Math.Exp(-e));
    }

    private static double Dot(double[] a, double[] b) => a.Zip(b, (one, two) => one * two).Sum();

    private static double[] Sum(double[] a, double[] b) => [.. a.Zip(b, (one, two) => one + two)];
}
