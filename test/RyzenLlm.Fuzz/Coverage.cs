using System.Runtime.InteropServices;
using SharpFuzz.Common;

namespace RyzenLlm.Fuzz;

/// <summary>
/// Edges of the instrumented assemblies that inputs went through, counted in classes of 1, 2, 3, 4-7, 8-15, 16-31, 32-127 and more, as
/// AFL does. Without instrumentation nothing is ever new.
/// </summary>
internal sealed unsafe class Coverage
{
    private const int Size = 1 << 16;

    private readonly byte* _counts = (byte*)NativeMemory.AlignedAlloc(Size, 64);
    private readonly byte[] _seen = new byte[Size];

    public Coverage()
    {
        NativeMemory.Clear(_counts, Size);
        Trace.SharedMem = _counts;
    }

    /// <summary>Edges seen so far.</summary>
    public int Edges { get; private set; }

    /// <summary>Forgets everything, for another target.</summary>
    public void Forget()
    {
        Edges = 0;
        _seen.AsSpan().Clear();
    }

    /// <summary>Forgets the counts of the last input.</summary>
    public void Begin()
    {
        NativeMemory.Clear(_counts, Size);
        Trace.PrevLocation = 0;
    }

    /// <summary>Whether the last input went where none before did, or more often.</summary>
    public bool TakeNew()
    {
        var found = false;
        var words = (ulong*)_counts;
        for (var w = 0; w < Size / 8; w++)
        {
            if (words[w] == 0)
            {
                continue;
            }

            for (var i = w * 8; i < (w * 8) + 8; i++)
            {
                var bit = Class(_counts[i]);
                if ((_seen[i] & bit) != bit)
                {
                    Edges += _seen[i] == 0 ? 1 : 0;
                    _seen[i] |= bit;
                    found = true;
                }
            }
        }

        return found;
    }

    /// <summary>The edges of the last input.</summary>
    public HashSet<int> EdgesOfLast()
    {
        var edges = new HashSet<int>();
        for (var i = 0; i < Size; i++)
        {
            if (_counts[i] != 0)
            {
                edges.Add(i);
            }
        }

        return edges;
    }

    private static byte Class(byte count) => count switch
    {
        0 => 0,
        1 => 1,
        2 => 2,
        3 => 4,
        < 8 => 8,
        < 16 => 16,
        < 32 => 32,
        < 128 => 64,
        _ => 128,
    };
}
