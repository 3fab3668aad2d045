using System.Text;
using ModelContextProtocol.Protocol;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>Texts too long for an answer: hosts cut those or refuse them. Kept for a while as resources of the tenant.</summary>
internal sealed class LongTexts(AppSettings settings, TimeProvider clock)
{
    /// <summary>What their addresses begin with.</summary>
    public const string Scheme = "result://";

    private const int BeginningCharacters = 2000;

    private readonly Handles<string> _texts = new(clock, TimeSpan.FromMinutes(30), perTenant: 16);

    /// <summary>A link to a text that is now kept, or null for one that is short enough for an answer.</summary>
    public ResourceLinkBlock? LinkTo(Caller owner, string text, string title) => text.Length <= settings.Server.InlineCharacters ? null : new()
    {
        Uri = Scheme + _texts.Add(owner, text),
        Name = "result",
        Title = title,
        MimeType = "text/plain",
        Size = Encoding.UTF8.GetByteCount(text),
    };

    /// <summary>The text of a link, or null if the tenant has none of this name.</summary>
    public string? Find(Caller owner, string handle) => _texts.Find(owner, handle);

    /// <summary>What an answer shows of a long text.</summary>
    public static string Beginning(string text)
    {
        var length = Math.Min(text.Length, BeginningCharacters);
        return text[..(char.IsHighSurrogate(text[length - 1]) ? length - 1 : length)];
    }
}
