using System.Runtime.CompilerServices;

namespace RyzenLlm.Engine.Sampling;

/// <summary>
/// The randomness of sampling as a pure function: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) with the
/// seed as key and (token, position) as counter. No stream is consumed, so a draw does not depend on which other draws were made.
/// </summary>
public static class Noise
{
    /// <summary>A standard Gumbel variate, -ln(-ln u). Adding one to each logit and taking the largest draws from their softmax.</summary>
    public static double Gumbel(ulong seed, long position, int token) => ToGumbel(Uniform(seed, position, token));

    /// <summary>A uniform variate strictly between 0 and 1, with 52 random bits.</summary>
    public static double Uniform(ulong seed, long position, int token)
    {
        var (x0, x1, _, _) = Philox((uint)token, (uint)position, (uint)(position >> 32), 0, (uint)seed, (uint)(seed >> 32));
        var bits = (((ulong)x1 << 32) | x0) >> 12;
        return (bits + 0.5) * (1.0 / (1ul << 52));
    }

    internal static double ToGumbel(double uniform) => -Math.Log(-Math.Log(uniform));

    /// <summary>One Philox4x32-10 block: counter words c0..c3, key words k0 and k1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static (uint X0, uint X1, uint X2, uint X3) Philox(uint c0, uint c1, uint c2, uint c3, uint k0, uint k1)
    {
        for (var round = 0; round < 10; round++)
        {
            var low = (ulong)c0 * 0xD2511F53;
            var high = (ulong)c2 * 0xCD9E8D57;
            (c0, c1, c2, c3) = ((uint)(high >> 32) ^ c1 ^ k0, (uint)high, (uint)(low >> 32) ^ c3 ^ k1, (uint)low);
            k0 += 0x9E3779B9;
            k1 += 0xBB67AE85;
        }

        return (c0, c1, c2, c3);
    }
}
