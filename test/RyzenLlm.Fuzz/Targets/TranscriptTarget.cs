using System.Text;
using RyzenLlm.Memory;
using RyzenLlm.Memory.Text;

namespace RyzenLlm.Fuzz.Targets;

/// <summary>A file to be remembered, in each of its forms (chosen by the first byte), and its texts as they are stored.</summary>
internal sealed class TranscriptTarget : FuzzTarget
{
    private static readonly string[] Names = ["input.json", "input.jsonl", "input.txt"];

    private readonly InputFile _file = new();

    public override string Name => "transcript";

    public override int LongestInput => 4096;

    public override IReadOnlyList<string> Words =>
    [
        "\"messages\":", "\"role\":", "\"content\":", "\"text\":", "\"type\":\"text\"", "\"dia_id\":", "\"conv\":", "\"session\":", "\"date\":", "\"caption\":", "null", "true", "{}", "[]",
        "\n", "sk-", "AKIA", "-----BEGIN PRIVATE KEY-----", "password: ", "://a:", "@", "4111 1111 1111 1111", "eyJ", "<recalled-context", "</recalled-context>", "\\ud800",
    ];

    public override IEnumerable<byte[]> Seeds() =>
    [
        [0, .. """[{"role":"user","content":"Hello"},{"role":"assistant","content":[{"type":"text","text":"Hi"},{"text":"there"}]}]"""u8],
        [0, .. """{"messages":[{"role":"user","content":{"type":"text","text":"password: hunter22!"}}]}"""u8],
        [1, .. "{\"role\":\"user\",\"content\":\"Hello\"}\n\n{\"content\":\"a\"}\n"u8],
        [1, .. "{\"conv\":\"c\",\"session\":1,\"date\":\"1:56 pm on 8 May, 2023\",\"dia_id\":\"D1:1\",\"speaker\":\"Ann\",\"text\":\"Hey!\",\"caption\":\"a dog\"}\n"u8],
        [2, .. "A text. With sentences! https://a:secret1@host/ 4111 1111 1111 1111\n\nAnother paragraph: eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK"u8],
    ];

    public override void Run(byte[] input)
    {
        if (input.Length == 0)
        {
            return;
        }

        foreach (var (_, request) in Transcript.Read(_file.Write(Names[input[0] % Names.Length], input[1..])))
        {
            foreach (var item in request.Items)
            {
                if (SecretScan.Find(SecretScan.Redact(item.Text)) is [var left, ..])
                {
                    throw new InvalidOperationException($"After redaction there is still a {left.Kind}.");
                }

                _ = Sentences.Segment(item.Text, 120, t => t.Length / 4).Count();
            }
        }
    }

    public override bool IsDocumented(Exception e) => e is InvalidDataException;

    public override void Dispose() => _file.Dispose();
}
