using Microsoft.Extensions.AI;
using RyzenLlm.Engine.Chat;

namespace RyzenLlm.Engine.Tests.Chat;

public sealed class ToolCallReaderTests
{
    private static readonly AIFunctionDeclaration[] Functions = [AIFunctionFactory.Create((string city) => city, "weather")];

    [TestCase("Hello <b>you</b>.", "Hello <b>you</b>.")]
    [TestCase("  <tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm\"}}</tool_call>", "  |weather(Ulm)")]
    [TestCase("Wait. <tool_call>\n{\"name\":\"weather\",\"parameters\":{\"city\":\"Ulm\"}}\n</tool_call> Done.", "Wait. |weather(Ulm)| Done.")]
    [TestCase("<tool_call>{\"name\":\"weather\",\"arguments\":{\"city\":\"A\"}}</tool_call><tool_call>{\"name\":\"weather\",\"arguments\":{\"city\":\"B\"}}</tool_call>", "weather(A)|weather(B)")]
    [TestCase("<tool_call>{\"name\":\"weather\",\"arguments\":{\"city\":\"Ulm\"}}", "weather(Ulm)", Description = "cut before the closing mark")]
    [TestCase("{\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm\"}}", "weather(Ulm)")]
    [TestCase("{\"a\": 1}", "{\"a\": 1}")]
    [TestCase("<tool_call>{\"name\":\"other\",\"arguments\":{}}</tool_call>", "<tool_call>{\"name\":\"other\",\"arguments\":{}}</tool_call>")]
    [TestCase("<tool_call>not json</tool_call> x <tool_", "<tool_call>not json</tool_call> x <tool_")]
    [TestCase("", "")]
    public void AnswersArePartedTheSameHoweverTheyArrive(string answer, string expected)
    {
        for (var size = 1; size <= answer.Length + 1; size++)
        {
            var reader = new ToolCallReader(Functions);
            List<AIContent> contents = [];
            for (var i = 0; i < answer.Length; i += size)
            {
                contents.AddRange(reader.Push(answer.Substring(i, Math.Min(size, answer.Length - i))));
            }

            contents.AddRange(reader.Flush());
            Assert.That(Described(contents), Is.EqualTo(expected), $"pieces of {size}");
        }
    }

    [Test]
    public void TextIsPassedOnAsSoonAsItIsCertain()
    {
        var reader = new ToolCallReader(Functions);
        Assert.That(Described(reader.Push("Now <")), Is.EqualTo("Now "));
        Assert.That(Described(reader.Push("b> and <tool")), Is.EqualTo("<b> and "));
        Assert.That(Described(reader.Push("box")), Is.EqualTo("<toolbox"));
    }

    [Test]
    public void WithoutFunctionsEverythingIsText()
    {
        var reader = new ToolCallReader([]);
        Assert.That(Described(reader.Push("{<tool_call>")), Is.EqualTo("{<tool_call>"));
        Assert.That(Described(reader.Flush()), Is.Empty);
    }

    // Neighbouring texts joined, calls between bars.
    private static string Described(IEnumerable<AIContent> contents)
    {
        var parts = new List<string>();
        var open = false;
        foreach (var content in contents)
        {
            if (content is TextContent text)
            {
                if (open)
                {
                    parts[^1] += text.Text;
                }
                else if (text.Text.Length > 0)
                {
                    parts.Add(text.Text);
                }

                open = parts.Count > 0;
            }
            else if (content is FunctionCallContent call)
            {
                parts.Add($"{call.Name}({string.Join(", ", call.Arguments!.Values)})");
                open = false;
            }
        }

        return string.Join('|', parts);
    }
}
