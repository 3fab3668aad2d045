using System.Text;
using Microsoft.Extensions.AI;

namespace RyzenLlm.Engine.Chat;

/// <summary>
/// Parts the streamed text of an answer into text and function calls. Passes on what is certainly text at once, and holds back what may be, or
/// become, a call: from <see cref="ToolText.Open"/> to <see cref="ToolText.Close"/>, or an answer that begins with a brace.
/// </summary>
/// <param name="functions">Functions that may be called; without any, everything is text.</param>
internal sealed class ToolCallReader(IReadOnlyList<AIFunctionDeclaration> functions)
{
    private readonly StringBuilder _held = new();
    private bool _begun; // whether something other than white space was passed on or read
    private bool _whole; // the answer began with a brace: a call, or not, as a whole

    /// <summary>Calls read so far.</summary>
    public int CallCount { get; private set; }

    /// <summary>Takes the next piece and returns what is certain now.</summary>
    public IReadOnlyList<AIContent> Push(string piece)
    {
        if (functions.Count == 0)
        {
            return [new TextContent(piece)];
        }

        _held.Append(piece);
        if (!_begun && _held.ToString().TrimStart() is { Length: > 0 } start)
        {
            _begun = true;
            _whole = start[0] == '{';
        }

        return _whole || !_begun ? [] : Take(atEnd: false);
    }

    /// <summary>What was held back, at the end of the answer.</summary>
    public IReadOnlyList<AIContent> Flush()
    {
        if (!_whole)
        {
            return Take(atEnd: true);
        }

        var text = _held.ToString();
        _held.Clear();
        return [Call(text) ?? (AIContent)new TextContent(text)];
    }

    private List<AIContent> Take(bool atEnd)
    {
        var found = new List<AIContent>();
        var text = _held.ToString();
        var from = 0;
        for (int open; (open = text.IndexOf(ToolText.Open, from, StringComparison.Ordinal)) >= 0;)
        {
            AddText(found, text[from..open]);
            from = open;
            var body = open + ToolText.Open.Length;
            var close = text.IndexOf(ToolText.Close, body, StringComparison.Ordinal);
            if (close < 0 && !atEnd)
            {
                Hold(text[open..]);
                return found;
            }

            var end = close < 0 ? text.Length : close + ToolText.Close.Length;
            if (Call(text[body..(close < 0 ? text.Length : close)]) is { } call)
            {
                found.Add(call);
            }
            else
            {
                AddText(found, text[open..end]); // not a call of any function there is: the caller sees what was written
            }

            from = end;
        }

        var keep = atEnd ? 0 : OpenBegun(text.AsSpan(from));
        AddText(found, text[from..^keep]);
        Hold(text[^keep..]);
        return found;
    }

    private FunctionCallContent? Call(string text)
    {
        var call = ToolText.ReadCall(text, functions);
        CallCount += call is null ? 0 : 1;
        return call;
    }

    private void Hold(string text) => _held.Clear().Append(text);

    private static void AddText(List<AIContent> found, string text)
    {
        if (text.Length > 0)
        {
            found.Add(new TextContent(text));
        }
    }

    // Length of the longest end of the text that is a beginning of the opening mark.
    private static int OpenBegun(ReadOnlySpan<char> text)
    {
        for (var length = Math.Min(text.Length, ToolText.Open.Length - 1); length > 0; length--)
        {
            if (text.EndsWith(ToolText.Open.AsSpan(0, length), StringComparison.Ordinal))
            {
                return length;
            }
        }

        return 0;
    }
}
