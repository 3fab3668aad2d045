using System.ComponentModel;
using Microsoft.Extensions.AI;

namespace RyzenLlm.Samples;

/// <summary>
/// Function calling with Microsoft.Extensions.AI: the library invokes the function that the model asks for and gives the result back to it. The
/// first answer must be a call, so the engine holds it to the functions' schemas; even a model of a few million weights calls correctly then.
/// </summary>
public static class FunctionCalling
{
    /// <summary>Runs one exchange.</summary>
    /// <param name="model">Any chat client.</param>
    /// <param name="output">Where calls and answer are written.</param>
    /// <returns>The messages that came back: call, result and answer.</returns>
    public static async Task<IReadOnlyList<ChatMessage>> RunAsync(IChatClient model, TextWriter output)
    {
        using var client = model.AsBuilder().UseFunctionInvocation().Build();
        var response = await client.GetResponseAsync("Who lives in the forest? Tell a story about it.", new ChatOptions
        {
            Tools = [AIFunctionFactory.Create(Describe, "describe_animal", "What an animal is like.")],
            ToolMode = ChatToolMode.RequireAny, // afterwards the model is free to answer
            MaxOutputTokens = 120,
            Temperature = 0.8f,
            Seed = 7,
        });
        foreach (var content in response.Messages.SelectMany(m => m.Contents))
        {
            await output.WriteLineAsync(content switch
            {
                FunctionCallContent call => $"call:   {call.Name}({string.Join(", ", call.Arguments!.Select(a => $"{a.Key}: {a.Value}"))})",
                FunctionResultContent result => $"result: {result.Result}",
                TextContent text => $"answer: {text.Text}",
                _ => "",
            });
        }

        return [.. response.Messages];
    }

    /// <summary>Animals that there are.</summary>
    public enum Animal
    {
        /// <summary>A hare.</summary>
        Hare,

        /// <summary>A fox.</summary>
        Fox,

        /// <summary>A crow.</summary>
        Crow,
    }

    private static string Describe([Description("Which animal.")] Animal animal) => animal switch
    {
        Animal.Hare => "The hare is quick and easily frightened.",
        Animal.Fox => "The fox is red and has a plan.",
        _ => "The crow is old and remembers everything.",
    };
}
