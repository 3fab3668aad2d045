using System.Text;

namespace RyzenLlm.Mcp.Tests;

/// <summary>Nonsense, made of messages of the protocol.</summary>
internal static class Malformed
{
    public static readonly string[] Seeds =
    [
        """{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}""",
        """{"jsonrpc":"2.0","id":2,"method":"tools/list"}""",
        """{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"model-select","arguments":{"action":"list"}}}""",
        """{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"recall-context","arguments":{"query":"x"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}""",
        """{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}""",
        """[{"jsonrpc":"2.0","id":5,"method":"ping"}]""",
        """{"jsonrpc":"2.0","id":6,"result":{}}""",
    ];

    /// <summary>The next malformed message.</summary>
    public static byte[] Message(Random random) => Mutated(random, Encoding.UTF8.GetBytes(Seeds[random.Next(Seeds.Length)]));

    /// <summary>Bytes cut, doubled, overwritten, swelled or nested.</summary>
    public static byte[] Mutated(Random random, byte[] seed)
    {
        var bytes = seed.ToList();
        for (var changes = random.Next(1, 5); changes > 0 && bytes.Count > 0; changes--)
        {
            var at = random.Next(bytes.Count);
            switch (random.Next(6))
            {
                case 0:
                    bytes.RemoveRange(at, bytes.Count - at);
                    break;
                case 1:
                    bytes.RemoveAt(at);
                    break;
                case 2:
                    bytes[at] = (byte)random.Next(256);
                    break;
                case 3:
                    bytes.InsertRange(at, bytes.GetRange(at, Math.Min(random.Next(64), bytes.Count - at)));
                    break;
                case 4:
                    bytes.InsertRange(at, Enumerable.Repeat((byte)"[{\""[random.Next(3)], random.Next(2000)));
                    break;
                default:
                    bytes.InsertRange(at, [0xff, 0xfe, 0x00, (byte)'\\', (byte)'u', (byte)'d', (byte)'8']);
                    break;
            }
        }

        return [.. bytes];
    }
}
