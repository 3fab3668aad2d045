using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace RyzenLlm.Memory.Text;

/// <summary>Names that follow from content.</summary>
public static class Fingerprint
{
    private static readonly Guid Namespace = new("5f0c1c7e-1a5c-5d0e-9b1b-7c1d6a3f2e10");

    /// <summary>The first 16 bytes of SHA-256 over the lower-case text with single spaces, in hexadecimal.</summary>
    public static string Hash(string text)
    {
        string normal = string.Join(' ', text.ToLowerInvariant().Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(normal)).AsSpan(0, 16));
    }

    /// <summary>UUID version 5 (RFC 9562) of some parts.</summary>
    public static Guid Id(params ReadOnlySpan<string> parts)
    {
        byte[] name = Encoding.UTF8.GetBytes(string.Join('\u001f', parts.ToArray()));
        byte[] input = [.. Namespace.ToByteArray(bigEndian: true), .. name];
#pragma warning disable CA5350 // RFC 9562 defines version 5 by SHA-1; nothing here relies on it being hard to collide.
        Span<byte> digest = SHA1.HashData(input).AsSpan(0, 16);
#pragma warning restore CA5350
        digest[6] = (byte)((digest[6] & 0x0f) | 0x50);
        digest[8] = (byte)((digest[8] & 0x3f) | 0x80);
        return new Guid(digest, bigEndian: true);
    }

    /// <summary>
    /// Two keys, each of three min-hashes of the stems (Broder 1997). Texts whose stems overlap by J share at least one
    /// with probability 1 - (1 - J^3)^2: 0.93 at J = 0.9. One min-hash for a key would be that of some frequent stem, which
    /// a good part of all texts share. Empty for a text without stems.
    /// </summary>
    public static string[] Sketch(TermBag bag) => bag.Terms.Length == 0 ? [] : [$"a{Band(bag, 1):x8}", $"b{Band(bag, 2):x8}"];

    private static uint Band(TermBag bag, uint band)
    {
        Span<byte> bytes = stackalloc byte[8];
        Span<byte> minima = stackalloc byte[3 * sizeof(uint)];
        for (uint row = 0; row < 3; row++)
        {
            uint least = uint.MaxValue;
            BinaryPrimitives.WriteUInt32LittleEndian(bytes[4..], 3 * band + row);
            foreach (uint term in bag.Terms)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(bytes, term);
                least = Math.Min(least, TermBag.Murmur3(bytes));
            }

            BinaryPrimitives.WriteUInt32LittleEndian(minima[(int)(4 * row)..], least);
        }

        return TermBag.Murmur3(minima);
    }
}
