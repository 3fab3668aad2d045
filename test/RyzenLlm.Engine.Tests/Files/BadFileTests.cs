using System.Buffers.Binary;
using System.Text;
using RyzenLlm.Engine.Files;

namespace RyzenLlm.Engine.Tests.Files;

/// <summary>
/// Damaged files, all made from the samples by fixed rules and seeds. Each must either open and read to the last value, or give
/// a <see cref="ModelFormatException"/>, and must not make the reader allocate more than a small multiple of its own size.
/// </summary>
public sealed class BadFileTests
{
    private const int AllocationPerByte = 16;
    private const int AllocationForTheError = 64 * 1024;

    private static readonly byte[] Gguf = Samples.GgufBytes();
    private static readonly byte[] Safetensors = Samples.SafetensorsBytes();
    private static readonly IReadOnlyList<GgufField> Fields = GgufLayout.Fields(Gguf);

    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [Test]
    public void TheSamplesAreValid()
    {
        Assert.That(Outcome(Gguf, OpenGguf), Is.EqualTo("read"));
        Assert.That(Outcome(Safetensors, OpenSafetensors), Is.EqualTo("read"));
        Assert.That(Fields, Has.Count.GreaterThan(200));
    }

    [Test]
    public void TruncatedGgufIsRefused()
    {
        var cuts = Fields.SelectMany(f => new[] { f.Start, f.Start + 1, f.Start + f.Size - 1 })
            .Concat([Gguf.Length / 2, Gguf.Length - 64])
            .Distinct();
        AssertRefused(cuts.Select(cut => ($"cut at {cut}", Gguf[..cut])), OpenGguf, atLeast: 400);
    }

    [Test]
    public void AbsurdCountsAndLengthsInGgufAreRefused()
    {
        ulong[] absurd = [1UL << 63, ulong.MaxValue, (1UL << 63) - 1, 1UL << 32, 1UL << 31, (ulong)Gguf.Length];
        var fields = Fields.Where(f => f.Role is GgufFieldRole.TensorCount or GgufFieldRole.PairCount or GgufFieldRole.Length or GgufFieldRole.ElementCount);
        AssertRefused(fields.SelectMany(f => absurd.Select(v => ($"{f} = {v}", Put(f, v)))), OpenGguf, atLeast: 300);
    }

    [Test]
    public void CountsOffByOneInGgufAreRefused()
    {
        // One pair or tensor more or less shifts what follows; a shorter tensor list alone would still make a file.
        var fields = Fields.Where(f => f.Role is GgufFieldRole.PairCount or GgufFieldRole.DimensionCount);
        AssertRefused(
            fields.SelectMany(f => new[] { -1L, 1 }.Select(step => ($"{f} {step:+0;-0}", Put(f, (ulong)((long)Get(f) + step))))), OpenGguf, atLeast: 20);
    }

    [Test]
    public void BadTypesInGgufAreRefused()
    {
        var kinds = Fields.Where(f => f.Role is GgufFieldRole.Kind or GgufFieldRole.ElementKind);
        var types = Fields.Where(f => f.Role is GgufFieldRole.TensorType);
        AssertRefused(
            kinds.SelectMany(f => new ulong[] { 13, 255, uint.MaxValue }.Select(v => ($"{f} = {v}", Put(f, v))))
                .Concat(types.SelectMany(f => new ulong[] { 3, 6, 31, 40, 1000, 1UL << 31, uint.MaxValue }.Select(v => ($"{f} = {v}", Put(f, v))))),
            OpenGguf,
            atLeast: 100);
    }

    [Test]
    public void BadDimensionsInGgufAreRefused()
    {
        // The first dimension decides the length of rows, the others only how far the data reaches: all these reach too far.
        ulong[] absurd = [0, ulong.MaxValue, 1UL << 63, 1UL << 62, 1UL << 40, 3];
        var first = Fields.Where(f => f.Role == GgufFieldRole.Dimension && f.Owner.StartsWith("w.", StringComparison.Ordinal)).DistinctBy(f => f.Owner);
        var all = Fields.Where(f => f.Role == GgufFieldRole.Dimension);
        var noBlocks = first.Where(f => f.Owner is not ("w.F32" or "w.F16" or "w.BF16")).Select(f => ($"{f} = 257", Put(f, 257)));
        AssertRefused(all.SelectMany(f => absurd[..^1].Select(v => ($"{f} = {v}", Put(f, v)))).Concat(noBlocks), OpenGguf, atLeast: 100);

        // A product of dimensions that wraps to a small number, and to exactly zero.
        var lerp = Fields.Where(f => f.Role == GgufFieldRole.Dimension && f.Owner == "v.lerp").ToArray();
        AssertRefused(
            [("wraps to 16", Put([(lerp[0], 4), (lerp[1], 1UL << 62), (lerp[2], 4), (lerp[3], 4)])),
             ("wraps to 0", Put([(lerp[1], 1UL << 32), (lerp[2], 1UL << 32)])),
             ("bytes overflow", Put([(lerp[0], 1), (lerp[1], 1UL << 62)]))],
            OpenGguf,
            atLeast: 3);
    }

    [Test]
    public void BadOffsetsInGgufAreRefused()
    {
        var offsets = Fields.Where(f => f.Role == GgufFieldRole.Offset).ToArray();
        var absurd = new ulong[] { 1, 31, 1UL << 63, ulong.MaxValue, (1UL << 63) - 32, 1UL << 40, (ulong)Gguf.Length & ~31UL };
        var own = offsets.SelectMany(f => absurd.Select(v => ($"{f} = {v}", Put(f, Get(f) == v ? v + 1 : v))));
        var others = offsets.SelectMany(f => offsets.Where(o => o != f).Select(o => ($"{f} as {o}", Put(f, Get(o)))));
        var behind = offsets[1..].Select(f => ($"{f} 32 lower", Put(f, Get(f) - 32)));
        var misaligned = offsets.Select(f => ($"{f} 1 higher", Put(f, Get(f) + 1)));
        AssertRefused(own.Concat(others).Concat(behind).Concat(misaligned), OpenGguf, atLeast: 200);
    }

    [Test]
    public void RepeatedNamesInGgufAreRefused()
    {
        var names = Fields.Where(f => f.Role == GgufFieldRole.Text && Encoding.UTF8.GetString(Gguf, f.Start, f.Size) == f.Owner).ToArray();
        var pairs = from a in names from b in names where a != b && a.Size == b.Size && IsKey(a) == IsKey(b) select (a, b);
        AssertRefused(pairs.Select(p => ($"{p.a} as {p.b}", Put(p.a, Gguf.AsSpan(p.b.Start, p.b.Size)))), OpenGguf, atLeast: 50);

        static bool IsKey(GgufField field) => !field.Owner.StartsWith("w.", StringComparison.Ordinal) && !field.Owner.StartsWith("v.", StringComparison.Ordinal);
    }

    [Test]
    public void OtherHeadersThanGgufAreRefused()
    {
        var version = Fields.Single(f => f.Role == GgufFieldRole.Version);
        var architecture = Fields.Where(f => f.Owner == "general.architecture" && f.Role == GgufFieldRole.Text).Last();
        var names = Fields.Where(f => f.Role == GgufFieldRole.Text && Encoding.UTF8.GetString(Gguf, f.Start, f.Size) == f.Owner);
        byte[] swapped = [.. Gguf];
        swapped.AsSpan(4, 4).Reverse();

        AssertRefused(
            Enumerable.Range(0, 4).Select(i => ($"magic byte {i}", Put(i, 0x20)))
                .Concat(new ulong[] { 0, 1, 4, uint.MaxValue }.Select(v => ($"version {v}", Put(version, v))))
                .Concat(names.Select(f => ($"{f} not UTF-8", Put(f.Start, 0xFF))))
                .Append(("big-endian", swapped))
                .Append(("I2_S outside BitNet", Put(architecture, "matnet-b1.58"u8)))
                .Append(("no architecture", Put(Fields.First(f => f.Role == GgufFieldRole.Text), "general.architectura"u8)))
                .Append(("bool of 2", Put(Fields.Single(f => f is { Owner: "k.bool", Role: GgufFieldRole.Number }).Start, 2))),
            OpenGguf,
            atLeast: 30);
    }

    [TestCase(8, "general.architecture")]
    [TestCase(9, "levels")]
    [TestCase(200_000, "levels")]
    public void DeeplyNestedArraysAreRefused(int depth, string complaint)
    {
        // Arrays of one array each, the innermost empty, and no other key: a reader that recurses without a limit dies of its stack.
        using var stream = new MemoryStream();
        stream.Write("GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0k\x09\0\0\0"u8);
        for (var i = 1; i < depth; i++)
        {
            stream.Write("\x09\0\0\0\x01\0\0\0\0\0\0\0"u8);
        }

        stream.Write("\x04\0\0\0\0\0\0\0\0\0\0\0"u8);
        var path = _folder.Write(stream.ToArray());

        Assert.That(() => GgufFile.Open(path), Throws.InstanceOf<ModelFormatException>().With.Property("Expected").Contains(complaint));
    }

    [Test]
    public void FlippedBytesInGgufAreSurvived()
    {
        var header = (int)Fields[^1].Start + 8;
        AssertSurvived(
            Enumerable.Range(0, 600).Select(seed =>
            {
                var random = new Random(seed);
                byte[] bytes = [.. Gguf];
                for (var n = random.Next(1, 4); n > 0; n--)
                {
                    bytes[random.Next(header)] = (byte)random.Next(256);
                }

                return ($"seed {seed}", bytes);
            }),
            OpenGguf,
            atLeast: 600);
    }

    [Test]
    public void TruncatedSafetensorsIsRefused() =>
        AssertRefused(Enumerable.Range(1, Safetensors.Length - 1).Select(cut => ($"cut at {cut}", Safetensors[..cut])), OpenSafetensors, atLeast: 200);

    [TestCase("[]")]
    [TestCase("{")]
    [TestCase("null")]
    [TestCase("{} x")]
    [TestCase("{\"a\":1}")]
    [TestCase("{\"a\":{}}")]
    [TestCase("{\"__metadata__\":{\"a\":1}}")]
    [TestCase("{\"__metadata__\":[]}")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[4]}}")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0]}}")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,8]}}")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[16,0]}}")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[-16,0]}}")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[32,48]}}")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[9223372036854775791,9223372036854775807]}}")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,1e400]}}")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[-4],\"data_offsets\":[0,16]}}")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[4.5],\"data_offsets\":[0,18]}}")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,4],\"data_offsets\":[0,16]}}")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,4],\"data_offsets\":[0,16]}}")]
    [TestCase("{\"a\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[0,16]}}")]
    [TestCase("{\"a\":{\"dtype\":32,\"shape\":[4],\"data_offsets\":[0,16]}}")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":4,\"data_offsets\":[0,16]}}")]
    [TestCase("{\"\\ud800\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]},\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[16,32]}}")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]},\"b\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[12,28]}}")]
    public void BadSafetensorsHeadersAreRefused(string header) =>
        AssertRefused([(header, Samples.Safetensors(header, new byte[32]))], OpenSafetensors, atLeast: 1);

    [Test]
    public void AbsurdSafetensorsHeaderLengthsAreRefused()
    {
        ulong[] lengths = [0, 1, ulong.MaxValue, 1UL << 63, 1UL << 32, 100_000_001, (ulong)Safetensors.Length];
        AssertRefused(lengths.Select(v => ($"{v}", Put(Safetensors, 0, BitConverter.GetBytes(v)))), OpenSafetensors, atLeast: 7);
    }

    [Test]
    public void DeeplyNestedSafetensorsHeadersAreRefused()
    {
        var header = $"{{\"a\":{{\"x\":{new string('[', 100_000)}";
        AssertRefused([("nested", Samples.Safetensors(header, []))], OpenSafetensors, atLeast: 1);
    }

    [Test]
    public void FlippedBytesInSafetensorsAreSurvived() =>
        AssertSurvived(
            Enumerable.Range(0, 600).Select(seed =>
            {
                var random = new Random(seed);
                byte[] bytes = [.. Safetensors];
                for (var n = random.Next(1, 4); n > 0; n--)
                {
                    bytes[random.Next(bytes.Length - 36)] = (byte)random.Next(256);
                }

                return ($"seed {seed}", bytes);
            }),
            OpenSafetensors,
            atLeast: 600);

    private void AssertRefused(IEnumerable<(string Name, byte[] Bytes)> files, Func<string, TensorFile> open, int atLeast) =>
        AssertOutcomes(files, open, atLeast, outcome => outcome == "refused");

    private void AssertSurvived(IEnumerable<(string Name, byte[] Bytes)> files, Func<string, TensorFile> open, int atLeast) =>
        AssertOutcomes(files, open, atLeast, outcome => outcome is "refused" or "read");

    private void AssertOutcomes(IEnumerable<(string Name, byte[] Bytes)> files, Func<string, TensorFile> open, int atLeast, Func<string, bool> isRight)
    {
        var outcomes = files.Select(f => (f.Name, Outcome: Outcome(f.Bytes, open))).ToList();

        Assert.That(outcomes.Where(o => !isRight(o.Outcome)).Select(o => $"{o.Name}: {o.Outcome}"), Is.Empty);
        Assert.That(outcomes, Has.Count.GreaterThanOrEqualTo(atLeast));
    }

    /// <summary>"read", "refused", or what went wrong.</summary>
    private string Outcome(byte[] bytes, Func<string, TensorFile> open)
    {
        var path = _folder.Write(bytes);
        var before = GC.GetAllocatedBytesForCurrentThread();
        string outcome;
        try
        {
            using var file = open(path);
            outcome = Allocated() is { } tooMuch ? tooMuch : ReadAll(file);
        }
        catch (ModelFormatException e)
        {
            outcome = Allocated() ?? (e.Message.Contains(path, StringComparison.Ordinal) && !e.Message.Any(char.IsControl) ? "refused" : e.Message);
        }
        catch (Exception e)
        {
            outcome = e.ToString();
        }

        return outcome;

        string? Allocated()
        {
            var allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            return allocated > (long)AllocationPerByte * bytes.Length + AllocationForTheError ? $"{allocated} bytes allocated for {bytes.Length}" : null;
        }
    }

    /// <summary>Reads every value and every weight: what opens must be usable.</summary>
    private static string ReadAll(TensorFile file)
    {
        foreach (var value in (file as GgufFile)?.Metadata.Values ?? [])
        {
            _ = value.ToString();
            _ = value.TryGetStrings(out var strings) && strings.Count(s => s.Length > 0) > 0;
            _ = value.TryGetIntegers(out _) || value.TryGetNumbers(out _) || value.TryGetArrays(out _);
        }

        foreach (var tensor in file.Tensors.Values)
        {
            var columns = (int)tensor.Dimensions[0];
            if (file.Values(tensor.Name, (int)(tensor.Elements / columns), columns).Length != tensor.Elements)
            {
                return $"{tensor.Name} is short";
            }
        }

        return "read";
    }

    private static GgufFile OpenGguf(string path) => GgufFile.Open(path);

    private static SafetensorsFile OpenSafetensors(string path) => SafetensorsFile.Open(path);

    private static ulong Get(GgufField field) =>
        field.Size == 4 ? BinaryPrimitives.ReadUInt32LittleEndian(Gguf.AsSpan(field.Start)) : BinaryPrimitives.ReadUInt64LittleEndian(Gguf.AsSpan(field.Start));

    private static byte[] Put(GgufField field, ulong value) => Put(field, BitConverter.GetBytes(value).AsSpan(0, field.Size));

    private static byte[] Put(GgufField field, ReadOnlySpan<byte> value) => Put(Gguf, field.Start, value);

    private static byte[] Put(int start, byte value) => Put(Gguf, start, [value]);

    private static byte[] Put((GgufField Field, ulong Value)[] changes) =>
        changes.Aggregate(Gguf, (bytes, change) => Put(bytes, change.Field.Start, BitConverter.GetBytes(change.Value)));

    private static byte[] Put(byte[] source, int start, ReadOnlySpan<byte> value)
    {
        byte[] bytes = [.. source];
        value.CopyTo(bytes.AsSpan(start));
        return bytes;
    }
}
