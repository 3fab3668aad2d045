using RyzenLlm.Engine.Files;

namespace RyzenLlm.Engine.Tests.Models;

/// <summary>Mamba in float64, token by token, straight from the equations of the paper.</summary>
internal static class MambaReference
{
    public static double[] Logits(string path, int[] tokens)
    {
        using var file = GgufFile.Open(path);
        var (n, blocks) = (file.GetInt32("mamba.embedding_length"), file.GetInt32("mamba.block_count"));
        var (di, ds) = (file.GetInt32("mamba.ssm.inner_size"), file.GetInt32("mamba.ssm.state_size"));
        var (dc, dr) = (file.GetInt32("mamba.ssm.conv_kernel"), file.GetInt32("mamba.ssm.time_step_rank"));
        var eps = file.GetFloat32("mamba.attention.layer_norm_rms_epsilon");
        var norms = file.GetBool("mamba.ssm.dt_b_c_rms");
        var v = (int)file.Tensors["token_embd.weight"].Dimensions[1];
        var embedding = file.Values("token_embd.weight", v, n);
        var inputs = new List<double[]>[blocks];
        var states = new double[blocks][];
        for (var i = 0; i < blocks; i++)
        {
            inputs[i] = [.. Enumerable.Range(0, dc - 1).Select(_ => new double[di])];
            states[i] = new double[di * ds];
        }

        var logits = new List<double>();
        foreach (var token in tokens)
        {
            double[] x = [.. embedding.AsSpan(token * n, n).ToArray().Select(e => (double)e)];
            for (var i = 0; i < blocks; i++)
            {
                var p = $"blk.{i}.";
                var uz = Product(p + "ssm_in.weight", 2 * di, Rms(x, file.Vector(p + "attn_norm.weight", n)));
                inputs[i].Add(uz[..di]);
                var taps = file.Values(p + "ssm_conv1d.weight", di, dc);
                var bias = file.Vector(p + "ssm_conv1d.bias", di);
                double[] c = [.. Enumerable.Range(0, di).Select(e => Silu(bias[e] + Enumerable.Range(0, dc).Sum(j => taps[(e * dc) + j] * inputs[i][j][e])))];
                inputs[i].RemoveAt(0);
                var dbc = Product(p + "ssm_x.weight", dr + (2 * ds), c);
                var (d, b, cc) = (Norm(dbc[..dr]), Norm(dbc[dr..(dr + ds)]), Norm(dbc[(dr + ds)..]));
                var step = Product(p + "ssm_dt.weight", di, d);
                var (stepBias, a, skip) = (file.Vector(p + "ssm_dt.bias", di), file.Values(p + "ssm_a", di, ds), file.Vector(p + "ssm_d", di));
                var y = new double[di];
                for (var e = 0; e < di; e++)
                {
                    var dt = Math.Log(1 + Math.Exp(step[e] + stepBias[e]));
                    y[e] = skip[e] * c[e];
                    for (var k = 0; k < ds; k++)
                    {
                        ref var s = ref states[i][(e * ds) + k];
                        s = (Math.Exp(dt * a[(e * ds) + k]) * s) + (dt * c[e] * b[k]);
                        y[e] += s * cc[k];
                    }

                    y[e] *= Silu(uz[di + e]);
                }

                x = [.. x.Zip(Product(p + "ssm_out.weight", n, y), (one, two) => one + two)];
            }

            logits.AddRange(Product("token_embd.weight", v, Rms(x, file.Vector("output_norm.weight", n))));
        }

        return [.. logits];

        double[] Product(string name, int rows, double[] input)
        {
            var w = file.Values(name, rows, input.Length);
            return [.. Enumerable.Range(0, rows).Select(m => Enumerable.Range(0, input.Length).Sum(k => w[(m * input.Length) + k] * input[k]))];
        }

        double[] Rms(double[] input, float[] weight) => [.. Unit(input).Zip(weight, (one, w) => one * w)];

        double[] Unit(double[] input)
        {
            var scale = 1 / Math.Sqrt((input.Sum(e => e * e) / input.Length) + eps);
            return [.. input.Select(e => e * scale)];
        }

        double[] Norm(double[] input) => norms ? Unit(input) : input;
    }

    private static double Silu(double x) => x / (1 + Math.Exp(-x));
}
