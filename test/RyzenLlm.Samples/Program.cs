using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using RyzenLlm.Engine.Chat;
using RyzenLlm.Samples;

// dotnet run -c Release --project test/RyzenLlm.Samples -- functions|agent [MODEL.gguf]
if (args is not ([("functions" or "agent")] or [("functions" or "agent"), _]))
{
    Console.Error.WriteLine("usage: functions|agent [MODEL.gguf]   (functions: Microsoft.Extensions.AI; agent: Semantic Kernel)");
    return 2;
}

// All that a host needs: one line, and a chat client comes out of its services.
var services = new ServiceCollection().AddRyzenLlm(args.Length > 1 ? args[1] : Path.Combine("models", "tales-mamba", "model.gguf"));
await using var host = services.BuildServiceProvider();
var model = host.GetRequiredService<IChatClient>();
if (args[0] == "functions")
{
    await FunctionCalling.RunAsync(model, Console.Out);
}
else
{
    await KernelAgent.RunAsync(model, Console.Out);
}

return 0;
