using System.CommandLine;
using System.CommandLine.Parsing;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Cli;

/// <summary>The verbs of the program. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 cancelled by the user.</summary>
public static class CommandLine
{
    /// <summary>Exit code for a command line that cannot be understood.</summary>
    public const int WrongUsage = 2;

    /// <summary>Exit code after Ctrl-C.</summary>
    public const int Interrupted = 130;

    /// <summary>Runs one command line; every failure is one line on standard error.</summary>
    public static async Task<int> RunAsync(string[] args)
    {
        // Response files would make "@name" in a prompt mean a file.
        var parsed = Create().Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });
        if (parsed.Errors.Count > 0)
        {
            return Fail($"{string.Join(" ", parsed.Errors.Select(e => e.Message)).ReplaceLineEndings(" ")} See: {Path(parsed)} --help", WrongUsage);
        }

        try
        {
            return await parsed.InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false }).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            return Interrupted;
        }
        catch (Exception e) when (Failures.Describe(e) is { } message)
        {
            return Fail(message, 1);
        }
        catch (Exception e)
        {
            return Fail($"unexpected {e.GetType().Name}: {e.Message.ReplaceLineEndings(" ")} Please report it with: {e.StackTrace?.Split('\n')[0].Trim()}", 1);
        }
    }

    internal static RootCommand Create()
    {
        var root = new RootCommand("Runs small language models (BitNet b1.58, Mamba, RWKV) on the CPU, on the command line and as an MCP server.");
        ServeVerb.Configure(root);
        root.Add(ServeVerb.Create());
        root.Add(GenerateVerb.Create());
        root.Add(TokenizeVerb.Create());
        root.Add(DetokenizeVerb.Create());
        root.Add(EvalVerb.Create());
        root.Add(PerplexityVerb.Create());
        root.Add(InspectVerb.Create());
        root.Add(BenchVerb.Create());
        root.Add(ModelsVerb.Create());
        root.Add(DoctorVerb.Create());
        return root;
    }

    private static int Fail(string message, int code)
    {
        Console.Error.WriteLine($"ryzenllm: {message}");
        return code;
    }

    private static string Path(ParseResult parsed)
    {
        var names = new List<string>();
        for (SymbolResult? result = parsed.CommandResult; result is CommandResult command; result = result.Parent)
        {
            names.Insert(0, command.Command is RootCommand ? "ryzenllm" : command.Command.Name);
        }

        return string.Join(' ', names);
    }
}
