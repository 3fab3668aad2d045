using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Cli;

/// <summary>Options that several verbs share, and the settings that follow from them.</summary>
internal sealed class CommonOptions
{
    private readonly Command _command;
    private readonly List<(Option Option, string Key)> _settings = [];
    private readonly Option<string[]> _set = new("--set")
    {
        Description = "A setting for this run, as Section:Key=VALUE; may be given several times.",
        HelpName = "KEY=VALUE",
    };

    public CommonOptions(Command command)
    {
        _command = command;
        _set.Validators.Add(result =>
        {
            foreach (var token in result.Tokens.Where(t => t.Value.IndexOf('=') < 1))
            {
                result.AddError($"--set {token.Value}: expected KEY=VALUE, such as Engine:Threads=2.");
            }
        });
        command.Add(_set);
    }

    public Option<string>? Model { get; private set; }

    public Option<bool>? Json { get; private set; }

    public CommonOptions WithModel(bool required = false)
    {
        Model = new Option<string>("--model", "-m")
        {
            Description = required
                ? "Name of a model (see: ryzenllm models list), or path of a file or folder."
                : "Name of a model (see: ryzenllm models list), or path of a file or folder; the default model if absent.",
            HelpName = "NAME|PATH",
            Required = required,
        };
        _command.Add(Model);
        return this;
    }

    public CommonOptions WithJson(string what)
    {
        Json = new Option<bool>("--json") { Description = what };
        _command.Add(Json);
        return this;
    }

    public CommonOptions WithThreads()
    {
        AddSetting(new Option<int>("--threads") { Description = "Threads; 0 takes one per processor.", HelpName = "N" }, "Engine:Threads");
        return this;
    }

    public CommonOptions WithKernels()
    {
        var kernels = new Option<string>("--kernels") { Description = "Kernel path.", HelpName = "auto|portable|avx2|avx512" };
        kernels.AcceptOnlyFromAmong("auto", "portable", "avx2", "avx512");
        AddSetting(kernels, "Engine:Kernels");
        return this;
    }

    public CommonOptions WithMemory()
    {
        AddSetting(new Option<string>("--store") { Description = "Where the memory is; Memory:Store if absent.", HelpName = "sqlite:PATH|qdrant:URL" }, "Memory:Store");
        AddSetting(new Option<string>("--tenant") { Description = "Whose memory; Memory:Tenant if absent.", HelpName = "NAME" }, "Memory:Tenant");
        return this;
    }

    /// <summary>Adds an option that overrides a setting.</summary>
    public void AddSetting<T>(Option<T> option, string key)
    {
        _command.Add(option);
        _settings.Add((option, key));
    }

    /// <summary>Settings of this run: files, environment, then the command line.</summary>
    public AppSettings Settings(ParseResult parsed)
    {
        var values = new Dictionary<string, string?>(StringComparer.OrdinalIgnoreCase); // the last of a key wins
        foreach (var pair in parsed.GetValue(_set) ?? [])
        {
            var at = pair.IndexOf('=');
            values[pair[..at]] = pair[(at + 1)..];
        }

        foreach (var (option, key) in _settings)
        {
            if (parsed.GetResult(option) is { Implicit: false, Tokens: [var token, ..] })
            {
                values[key] = token.Value;
            }
        }

        return SettingsReader.Read(values);
    }

    /// <summary>The model that the command line names, or the default one.</summary>
    public ModelEntry Entry(ParseResult parsed, AppSettings settings) => new ModelLibrary(settings.Models).Resolve(parsed.GetValue(Model!));

    /// <summary>Refuses numbers outside a range while the command line is read.</summary>
    public static Option<T> InRange<T>(Option<T> option, T low, T high)
        where T : struct, IComparable<T>, IFormattable
    {
        option.Validators.Add(result =>
        {
            if (!result.Implicit && result.Tokens.Count == 1 && result.GetValueOrDefault<T>() is var value
                && (value.CompareTo(low) < 0 || value.CompareTo(high) > 0))
            {
                result.AddError(
                    $"{option.Name} is {value.ToString(null, CultureInfo.InvariantCulture)} but must be from {low.ToString(null, CultureInfo.InvariantCulture)} to {high.ToString(null, CultureInfo.InvariantCulture)}.");
            }
        });
        return option;
    }
}
