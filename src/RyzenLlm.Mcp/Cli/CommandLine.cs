using System.CommandLine;
using System.CommandLine.Parsing;
using System.Text.RegularExpressions;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Cli;

/// <summary>The verbs of the program. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 cancelled by the user.</summary>
public static partial class CommandLine
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
        string[] problems = [.. parsed.Errors.Select(e => e.Message), .. Mistyped(parsed)];
        if (problems.Length > 0)
        {
            return Fail($"{string.Join(" ", problems).ReplaceLineEndings(" ")} See: {Path(parsed)} --help", WrongUsage);
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
        root.Add(MemoryVerb.Create());
        root.Add(DoctorVerb.Create());
        return root;
    }

    // The parser takes an unknown option for a text argument, and would generate from it.
    private static IEnumerable<string> Mistyped(ParseResult parsed) =>
        parsed.Tokens.Any(t => t.Type == TokenType.DoubleDash)
            ? []
            : parsed.CommandResult.Children.OfType<ArgumentResult>()
                .SelectMany(argument => argument.Tokens)
                .Where(token => OptionShape().IsMatch(token.Value))
                .Select(token => $"There is no option {token.Value}. (A text that begins with dashes goes after --.)");

    [GeneratedRegex("^--?[A-Za-z][A-Za-z0-9-]*$")]
    private static partial Regex OptionShape();

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
