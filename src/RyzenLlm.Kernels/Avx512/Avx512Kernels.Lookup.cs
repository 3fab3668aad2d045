using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using RyzenLlm.Kernels.Formats;
using B = System.Runtime.Intrinsics.Vector512<byte>;
using S = System.Runtime.Intrinsics.Vector512<short>;

namespace RyzenLlm.Kernels;

// Lookup with vpermi2b: 128 bytes in two registers, indexed by the low seven bits of a code. Low and high bytes of the sums are two tables; the sign
// bit, spread over its byte by a Galois field matrix, is xored in; interleaving both gives 16-bit values in row order by lanes.
internal sealed unsafe partial class Avx512Kernels
{
    // A value is at most 5 * 128 = 640 in magnitude, its complement 641: 51 * 641 = 32691 fits 16 bits.
    private const int GroupsPerLane = 51;

    public override bool HasLookup => Avx512Vbmi.IsSupported && Gfni.V512.IsSupported;

    internal override void ReadDigits(WeightMatrix w, int m, sbyte* digits)
    {
        if (w.Format.Type is not (QuantType.I2_S or QuantType.TQ2_0))
        {
            ReadOtherDigits(w, m, digits);
            return;
        }

        var p = w.Data + (m * w.RowBytes);
        var stride = w.Format.Type == QuantType.I2_S ? 64 : 66;
        for (var k = 0; k < w.Columns; k += 256, p += stride, digits += 256)
        {
            // The last 32 bytes of a row of an odd number of halves stand for the lower lanes only.
            var v = w.Columns - k >= 256 ? Vector512.Load(p) : Vector512.Create(Vector256.Load(p), Vector256.Create((byte)0x55));
            for (var f = 0; f < 4; f++)
            {
                var field = Digits(v, w.Format.Type == QuantType.I2_S ? 6 - (2 * f) : 2 * f);
                (field - B.One).AsSByte().Store(digits + (64 * f));
            }
        }

        GC.KeepAlive(w);
    }

    internal override void BuildTables(sbyte* q, int columns, int begin, int end, byte* tables)
    {
        if (!HasLookup)
        {
            base.BuildTables(q, columns, begin, end, tables);
            return;
        }

        var groups = LookupGroups(columns);
        var stored = (columns + TernaryPadding - 1) & -TernaryPadding;
        fixed (short* digits = BalancedDigits)
        {
            Build(q, groups, stored, begin, end, tables, digits);
        }
    }

    internal override void Lookup(byte* codes, int blocks, byte* tables, int groups, int* sums)
    {
        if (!HasLookup)
        {
            base.Lookup(codes, blocks, tables, groups, sums);
            return;
        }

        new Span<int>(sums, blocks * LookupRows).Clear();
        for (var g = 0; g < groups; g += GroupsPerLane)
        {
            var from = codes + ((long)g * LookupRows);
            var table = tables + ((long)g * TableBytes);
            var count = Math.Min(GroupsPerLane, groups - g);
            if (blocks == 2)
            {
                LookupPair(from, from + ((long)groups * LookupRows), table, count, sums);
            }
            else
            {
                LookupRun(from, table, count, sums);
            }
        }
    }

    // Other types as the base class reads them, put into the order of fields.
    private void ReadOtherDigits(WeightMatrix w, int m, sbyte* digits)
    {
        var natural = stackalloc sbyte[256];
        for (var block = 0; block < w.Columns / 256; block++)
        {
            _ = DecodeTernary(w, m, block, natural);
            for (var k = 0; k < 256; k++)
            {
                digits[(256 * block) + ((k & 96) * 2) + ((k & 128) / 4) + (k & 31)] = natural[k];
            }
        }
    }

    [MethodImpl(Hot)]
    private static void Build(sbyte* q, int groups, int stored, int begin, int end, byte* tables, short* digits)
    {
        for (var g = begin; g < end; g++)
        {
            // Only the fifth column of the last groups may lie behind the row.
            var x0 = Vector512.Create((short)q[g]);
            var x1 = Vector512.Create((short)q[g + groups]);
            var x2 = Vector512.Create((short)q[g + (2 * groups)]);
            var x3 = Vector512.Create((short)q[g + (3 * groups)]);
            var x4 = Vector512.Create((short)(g + (4 * groups) < stored ? q[g + (4 * groups)] : 0));
            var table = tables + ((long)g * TableBytes);
            for (var u = 0; u < 128; u += 32)
            {
                var sum = (Vector512.Load(digits + u) * x0) + (Vector512.Load(digits + 128 + u) * x1)
                    + (Vector512.Load(digits + 256 + u) * x2) + (Vector512.Load(digits + 384 + u) * x3) + (Vector512.Load(digits + 512 + u) * x4);
                Avx512BW.ConvertToVector256Byte(sum.AsUInt16()).Store(table + u);
                Avx512BW.ConvertToVector256Byte((sum >>> 8).AsUInt16()).Store(table + 128 + u);
            }
        }
    }

    /// <summary>At most <see cref="GroupsPerLane"/> groups of 256 rows: eight accumulators, four loads of tables for four of codes.</summary>
    [MethodImpl(Hot)]
    private static void LookupRun(byte* codes, byte* tables, int groups, int* sums)
    {
        // Every bit of a byte is its bit 7.
        var spread = Vector512.Create(0x8080808080808080ul).AsByte();
        S a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default, b2 = default, b3 = default;
        for (var g = 0; g < groups; g++, codes += LookupRows, tables += TableBytes)
        {
            Sse.PrefetchNonTemporal(codes + 4096);
            Sse.PrefetchNonTemporal(codes + 4160);
            Sse.PrefetchNonTemporal(codes + 4224);
            Sse.PrefetchNonTemporal(codes + 4288);
            var l0 = Vector512.Load(tables);
            var l1 = Vector512.Load(tables + 64);
            var h0 = Vector512.Load(tables + 128);
            var h1 = Vector512.Load(tables + 192);
            LookupAdd(codes, l0, l1, h0, h1, spread, ref a0, ref b0);
            LookupAdd(codes + 64, l0, l1, h0, h1, spread, ref a1, ref b1);
            LookupAdd(codes + 128, l0, l1, h0, h1, spread, ref a2, ref b2);
            LookupAdd(codes + 192, l0, l1, h0, h1, spread, ref a3, ref b3);
        }

        AddRows(a0, b0, sums);
        AddRows(a1, b1, sums + 64);
        AddRows(a2, b2, sums + 128);
        AddRows(a3, b3, sums + 192);
    }

    /// <summary>The same for two blocks, which share the loads of tables: these come from the second-level cache.</summary>
    [MethodImpl(Hot)]
    private static void LookupPair(byte* codes, byte* others, byte* tables, int groups, int* sums)
    {
        var spread = Vector512.Create(0x8080808080808080ul).AsByte();
        S a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default, b2 = default, b3 = default;
        S c0 = default, c1 = default, c2 = default, c3 = default, d0 = default, d1 = default, d2 = default, d3 = default;
        for (var g = 0; g < groups; g++, codes += LookupRows, others += LookupRows, tables += TableBytes)
        {
            Sse.PrefetchNonTemporal(codes + 4096);
            Sse.PrefetchNonTemporal(codes + 4160);
            Sse.PrefetchNonTemporal(codes + 4224);
            Sse.PrefetchNonTemporal(codes + 4288);
            Sse.PrefetchNonTemporal(others + 4096);
            Sse.PrefetchNonTemporal(others + 4160);
            Sse.PrefetchNonTemporal(others + 4224);
            Sse.PrefetchNonTemporal(others + 4288);
            var l0 = Vector512.Load(tables);
            var l1 = Vector512.Load(tables + 64);
            var h0 = Vector512.Load(tables + 128);
            var h1 = Vector512.Load(tables + 192);
            LookupAdd(codes, l0, l1, h0, h1, spread, ref a0, ref b0);
            LookupAdd(codes + 64, l0, l1, h0, h1, spread, ref a1, ref b1);
            LookupAdd(codes + 128, l0, l1, h0, h1, spread, ref a2, ref b2);
            LookupAdd(codes + 192, l0, l1, h0, h1, spread, ref a3, ref b3);
            LookupAdd(others, l0, l1, h0, h1, spread, ref c0, ref d0);
            LookupAdd(others + 64, l0, l1, h0, h1, spread, ref c1, ref d1);
            LookupAdd(others + 128, l0, l1, h0, h1, spread, ref c2, ref d2);
            LookupAdd(others + 192, l0, l1, h0, h1, spread, ref c3, ref d3);
        }

        AddRows(a0, b0, sums);
        AddRows(a1, b1, sums + 64);
        AddRows(a2, b2, sums + 128);
        AddRows(a3, b3, sums + 192);
        sums += LookupRows;
        AddRows(c0, d0, sums);
        AddRows(c1, d1, sums + 64);
        AddRows(c2, d2, sums + 128);
        AddRows(c3, d3, sums + 192);
    }

    [MethodImpl(Inline)]
    private static void LookupAdd(byte* codes, B l0, B l1, B h0, B h1, B spread, ref S a, ref S b)
    {
        var code = Vector512.Load(codes);
        var sign = Gfni.V512.GaloisFieldAffineTransform(code, spread, 0);
        var low = Avx512Vbmi.PermuteVar64x8x2(l0, code, l1) ^ sign;
        var high = Avx512Vbmi.PermuteVar64x8x2(h0, code, h1) ^ sign;
        a += Avx512BW.UnpackLow(low, high).AsInt16();
        b += Avx512BW.UnpackHigh(low, high).AsInt16();
    }

    /// <summary>64 rows: the quarters of a hold rows 0-7, 16-23, 32-39 and 48-55, those of b the eight behind each.</summary>
    [MethodImpl(Inline)]
    private static void AddRows(S a, S b, int* sums)
    {
        var low = Avx512BW.ConvertToVector512Int32(a.GetLower());
        var high = Avx512BW.ConvertToVector512Int32(a.GetUpper());
        (Vector256.Load(sums) + low.GetLower()).Store(sums);
        (Vector256.Load(sums + 16) + low.GetUpper()).Store(sums + 16);
        (Vector256.Load(sums + 32) + high.GetLower()).Store(sums + 32);
        (Vector256.Load(sums + 48) + high.GetUpper()).Store(sums + 48);
        low = Avx512BW.ConvertToVector512Int32(b.GetLower());
        high = Avx512BW.ConvertToVector512Int32(b.GetUpper());
        (Vector256.Load(sums + 8) + low.GetLower()).Store(sums + 8);
        (Vector256.Load(sums + 24) + low.GetUpper()).Store(sums + 24);
        (Vector256.Load(sums + 40) + high.GetLower()).Store(sums + 40);
        (Vector256.Load(sums + 56) + high.GetUpper()).Store(sums + 56);
    }
}
