using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Models;

namespace RyzenLlm.Engine.Chat;

/// <summary>Puts a model into a host's services.</summary>
public static class ServiceRegistration
{
    /// <summary>
    /// Registers a model as <see cref="IChatClient"/>, as <see cref="IEmbeddingGenerator{TInput, TEmbedding}"/> of texts, and as the
    /// <see cref="Scheduler"/> that serves both. It is loaded when one of them is first asked for, and unloaded with the host.
    /// </summary>
    /// <param name="services">The host's services.</param>
    /// <param name="path">GGUF file, or folder with safetensors.</param>
    /// <param name="options">How to run it; null takes the defaults.</param>
    /// <param name="key">Key of the services, for hosts with several models; null registers without one.</param>
    public static IServiceCollection AddRyzenLlm(this IServiceCollection services, string path, LoadOptions? options = null, object? key = null)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentException.ThrowIfNullOrWhiteSpace(path);
        if (key is null)
        {
            return services
                .AddSingleton(_ => Open(path, options))
                .AddSingleton<IChatClient>(host => new EngineChatClient(host.GetRequiredService<Scheduler>()))
                .AddSingleton<IEmbeddingGenerator<string, Embedding<float>>>(host => new EngineEmbeddingGenerator(host.GetRequiredService<Scheduler>()));
        }

        return services
            .AddKeyedSingleton(key, (_, _) => Open(path, options))
            .AddKeyedSingleton<IChatClient>(key, (host, k) => new EngineChatClient(host.GetRequiredKeyedService<Scheduler>(k)))
            .AddKeyedSingleton<IEmbeddingGenerator<string, Embedding<float>>>(key, (host, k) => new EngineEmbeddingGenerator(host.GetRequiredKeyedService<Scheduler>(k)));
    }

    private static Scheduler Open(string path, LoadOptions? options) => new(ModelLoader.Load(path, options));
}
