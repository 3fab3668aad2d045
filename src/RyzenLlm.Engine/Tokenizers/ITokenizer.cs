using System.Buffers;
using System.Text;

namespace RyzenLlm.Engine.Tokenizers;

/// <summary>
/// Text to token ids and back for one model. Immutable and safe to share between threads. Ids are 0 to
/// <see cref="VocabularySize"/> - 1; the text side is bytes, usually UTF-8, because a token may end inside a character.
/// </summary>
public interface ITokenizer
{
    /// <summary>Number of ids, padding included: the width of a logits row.</summary>
    int VocabularySize { get; }

    /// <summary>Token that begins a sequence, or null if the model has none.</summary>
    int? BosId { get; }

    /// <summary>Tokens after which generation ends: end of text and end of turn. May be empty.</summary>
    IReadOnlySet<int> EosIds { get; }

    /// <summary>Whether the model expects <see cref="BosId"/> before a prompt.</summary>
    bool AddBos { get; }

    /// <summary>
    /// SHA-256 (hex) of what each id stands for. Two models whose fingerprints are equal may draft for each other.
    /// </summary>
    string Fingerprint { get; }

    /// <summary>Token ids of a text. Lone surrogates become U+FFFD.</summary>
    /// <param name="text">Any text.</param>
    /// <param name="addBos">Put <see cref="BosId"/> first, if the model has one.</param>
    /// <param name="parseSpecial">Whether the text may name control tokens such as <c>&lt;|eot_id|&gt;</c>: never for text that a user wrote.</param>
    int[] Encode(string text, bool addBos, bool parseSpecial);

    /// <summary>
    /// As <see cref="Encode(string, bool, bool)"/> for bytes, which need not be UTF-8: decoding gives the same bytes back. Only a byte that
    /// UTF-8 never uses (0xC0, 0xC1, 0xF5 to 0xFF) is left out where a byte-level BPE vocabulary has no token for it.
    /// </summary>
    int[] Encode(ReadOnlySpan<byte> text, bool addBos, bool parseSpecial);

    /// <summary>The bytes that a token adds to the text; a control token's are its name. Does not allocate.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The vocabulary has no such id.</exception>
    ReadOnlySpan<byte> TokenBytes(int id);

    /// <summary>Whether a token stands for no text: control, unknown and padding tokens. Generated text leaves such tokens out.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The vocabulary has no such id.</exception>
    bool IsSpecial(int id);

    /// <summary>Id of the control or user-defined token of exactly this text, or null.</summary>
    int? FindSpecial(string text);

    /// <summary>A token as text to show, with U+FFFD for bytes that are no whole character.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The vocabulary has no such id.</exception>
    string TokenText(int id) => Encoding.UTF8.GetString(TokenBytes(id));

    /// <summary>The bytes of a whole sequence, control tokens by name: the inverse of <c>Encode</c> for a text without BOS.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The vocabulary has no such id.</exception>
    byte[] Decode(ReadOnlySpan<int> ids)
    {
        var bytes = new ArrayBufferWriter<byte>();
        foreach (var id in ids)
        {
            bytes.Write(TokenBytes(id));
        }

        return bytes.WrittenSpan.ToArray();
    }

    /// <summary>As <see cref="Decode"/>, as text with U+FFFD for bytes that are not UTF-8.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The vocabulary has no such id.</exception>
    string DecodeText(ReadOnlySpan<int> ids) => Encoding.UTF8.GetString(Decode(ids));
}
