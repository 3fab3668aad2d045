using System.Text;
using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Engine.Tests.Constraints;

/// <summary>A vocabulary of all single bytes, some longer tokens and one end token, which is the last.</summary>
internal sealed class TestVocabulary : ITokenizer
{
    private readonly byte[][] _tokens;

    public TestVocabulary(int size, params string[] words)
    {
        var tokens = Enumerable.Range(0, 256).Select(b => new[] { (byte)b }).ToList();
        tokens.AddRange(words.Select(Encoding.UTF8.GetBytes));
        var random = new Random(size);
        const string letters = "etaoin \"{}[]:,.-01239éλ";
        while (tokens.Count < size - 1)
        {
            var runes = letters.EnumerateRunes().ToArray();
            tokens.Add(Encoding.UTF8.GetBytes(string.Concat(Enumerable.Range(0, random.Next(2, 6)).Select(_ => runes[random.Next(runes.Length)]))));
        }

        tokens.Add([]);
        _tokens = [.. tokens];
        EosIds = new HashSet<int> { size - 1 };
    }

    public int VocabularySize => _tokens.Length;

    public int? BosId => null;

    public IReadOnlySet<int> EosIds { get; init; }

    public bool AddBos => false;

    public string Fingerprint => "test";

    public int End => _tokens.Length - 1;

    public int[] Encode(string text, bool addBos, bool parseSpecial) => Encode(Encoding.UTF8.GetBytes(text), addBos, parseSpecial);

    public int[] Encode(ReadOnlySpan<byte> text, bool addBos, bool parseSpecial) => [.. text.ToArray().Select(b => (int)b)];

    public ReadOnlySpan<byte> TokenBytes(int id) => _tokens[id];

    public bool IsSpecial(int id) => id == End;

    public int? FindSpecial(string text) => null;
}
