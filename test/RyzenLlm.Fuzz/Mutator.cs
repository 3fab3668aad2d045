using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace RyzenLlm.Fuzz;

/// <summary>Random changes of inputs: bits, numbers, blocks, words of the format, and parts of other inputs. The same seed makes the same changes.</summary>
internal sealed class Mutator(int seed, IReadOnlyList<string> words, int longest)
{
    private static readonly long[] Numbers =
    [
        0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 100, 127, 128, 255, 256, 1000, 1024, 4096, 32767, 32768, 65535, 65536, 1 << 20, 1 << 24, 100_000_000,
        int.MaxValue, 1L << 31, uint.MaxValue, 1L << 32, 1L << 40, long.MaxValue, long.MinValue, -1, -2, -128, -32768, int.MinValue,
    ];

    private readonly Random _random = new(seed);
    private readonly byte[][] _words = [.. words.Select(Encoding.UTF8.GetBytes)];

    /// <summary>Number below a limit.</summary>
    public int Below(int limit) => _random.Next(limit);

    /// <summary>A changed copy; <paramref name="other"/> lends parts.</summary>
    public byte[] Change(byte[] input, byte[] other)
    {
        var bytes = new List<byte>(input);
        for (var changes = 1 << _random.Next(5); changes > 0; changes--)
        {
            Once(bytes, other);
        }

        if (bytes.Count > longest)
        {
            bytes.RemoveRange(longest, bytes.Count - longest);
        }

        return [.. bytes];
    }

    private void Once(List<byte> bytes, byte[] other)
    {
        var at = bytes.Count == 0 ? 0 : _random.Next(bytes.Count);
        var length = Math.Min(1 << _random.Next(8), bytes.Count - at);
        switch (_random.Next(12))
        {
            case 0 when bytes.Count > 0:
                bytes[at] ^= (byte)(1 << _random.Next(8));
                break;
            case 1 when bytes.Count > 0:
                bytes[at] = (byte)_random.Next(256);
                break;
            case 2 when bytes.Count > 0:
                bytes[at] += (byte)_random.Next(-16, 17);
                break;
            case 3 or 4:
                WriteNumber(bytes, at);
                break;
            case 5 when length > 0:
                bytes.RemoveRange(at, length);
                break;
            case 6 when length > 0:
                bytes.InsertRange(_random.Next(bytes.Count + 1), bytes.GetRange(at, length));
                break;
            case 7 when length > 0:
                bytes.RemoveRange(at, length);
                bytes.InsertRange(at, Enumerable.Repeat((byte)_random.Next(256), length));
                break;
            case 8 when other.Length > 0:
                var from = _random.Next(other.Length);
                bytes.InsertRange(at, other.AsSpan(from, Math.Min(1 << _random.Next(10), other.Length - from)).ToArray());
                break;
            case 9 or 10 when _words.Length > 0:
                Put(bytes, at, _words[_random.Next(_words.Length)]);
                break;
            default:
                Put(bytes, at, Encoding.ASCII.GetBytes(Number().ToString(CultureInfo.InvariantCulture)));
                break;
        }
    }

    private long Number() => Numbers[_random.Next(Numbers.Length)] + (_random.Next(3) == 0 ? _random.Next(-3, 4) : 0);

    private void WriteNumber(List<byte> bytes, int at)
    {
        Span<byte> number = stackalloc byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(number, Number());
        var size = 1 << _random.Next(4);
        for (var i = 0; i < size && at + i < bytes.Count; i++)
        {
            bytes[at + i] = number[i];
        }
    }

    // Over what is there, or between.
    private void Put(List<byte> bytes, int at, byte[] word)
    {
        if (_random.Next(2) == 0)
        {
            bytes.RemoveRange(at, Math.Min(word.Length, bytes.Count - at));
        }

        bytes.InsertRange(at, word);
    }
}
