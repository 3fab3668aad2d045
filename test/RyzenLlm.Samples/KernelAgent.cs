using System.ComponentModel;
using System.Text.Json.Serialization;
using Microsoft.Extensions.AI;
using Microsoft.SemanticKernel;
using Microsoft.SemanticKernel.ChatCompletion;

namespace RyzenLlm.Samples;

/// <summary>
/// An agent of Semantic Kernel with the engine as its chat model: instructions, a history that it keeps, and a plugin whose functions the kernel
/// invokes when the model calls them.
/// </summary>
public static class KernelAgent
{
    /// <summary>Two turns of a conversation; the first must use the plugin.</summary>
    /// <param name="model">Any chat client.</param>
    /// <param name="output">Where the conversation is written.</param>
    /// <returns>The history.</returns>
    public static async Task<ChatHistory> RunAsync(IChatClient model, TextWriter output)
    {
        // Semantic Kernel invokes functions through the chat client, so the client is given the means.
        using var client = model.AsBuilder().UseKernelFunctionInvocation().Build();
        var builder = Kernel.CreateBuilder();
        builder.Plugins.AddFromObject(new Pantry(output));
        var kernel = builder.Build();
        var chat = client.AsChatCompletionService();
        var history = new ChatHistory("You are a cook who tells stories.");

        await Turn("What is in the pantry?", FunctionChoiceBehavior.Required());
        await Turn("Tell a story about it.", FunctionChoiceBehavior.None());
        return history;

        async Task Turn(string question, FunctionChoiceBehavior functions)
        {
            history.AddUserMessage(question);
            var settings = new PromptExecutionSettings
            {
                FunctionChoiceBehavior = functions,
                ExtensionData = new Dictionary<string, object> { ["max_tokens"] = 80, ["temperature"] = 0.8, ["seed"] = 3 },
            };
            var answer = await chat.GetChatMessageContentAsync(history, settings, kernel);
            history.Add(answer);
            await output.WriteLineAsync($"user:  {question}\nagent: {answer.Content}");
        }
    }

    /// <summary>A plugin.</summary>
    /// <param name="output">Where calls are written.</param>
    public sealed class Pantry(TextWriter output)
    {
        /// <summary>Shelves of the pantry, by name in JSON.</summary>
        [JsonConverter(typeof(JsonStringEnumConverter<Shelf>))]
        public enum Shelf
        {
            /// <summary>The upper one.</summary>
            Upper,

            /// <summary>The lower one.</summary>
            Lower,
        }

        /// <summary>What lies on a shelf.</summary>
        [KernelFunction("look"), Description("What lies on a shelf of the pantry.")]
        public string Look([Description("Which shelf.")] Shelf shelf)
        {
            output.WriteLine($"call:  look({shelf})");
            return shelf == Shelf.Upper ? "honey and a jar of plums" : "flour, salt and one onion";
        }
    }
}
