using System.Diagnostics;

namespace RyzenLlm.Mcp.Tests.Reliability;

/// <summary>No room to write: the program says so in a line, keeps what it had, and goes on when there is room again.</summary>
public sealed class FullDiskTests
{
    private string _folder = null!;

    [SetUp]
    public void Create()
    {
        if (!OperatingSystem.IsLinux())
        {
            Assert.Ignore("Needs a shell that limits the size of files.");
        }

        _folder = Directory.CreateTempSubdirectory("ryzenllm-full-").FullName;
    }

    [TearDown]
    public void Delete()
    {
        if (_folder is not null)
        {
            Directory.Delete(_folder, recursive: true);
        }
    }

    [Test]
    public async Task A_memory_that_cannot_grow_says_so_and_loses_nothing()
    {
        var notes = Path.Combine(_folder, "notes.md");
        await File.WriteAllTextAsync(notes, "The van is behind the bakery on the corner of the market square.");
        Assert.That((await RunAsync("unlimited", "memory", "ingest", "--file", notes)).Code, Is.Zero);

        var many = Path.Combine(_folder, "many.md");
        await File.WriteAllLinesAsync(many, Enumerable.Range(0, 4000).Select(i => $"Note {i}: drawer {i * 7} of the tall cupboard holds {i * 31} buttons and a ribbon.\n"));
        var (code, error) = await RunAsync("1000", "memory", "ingest", "--file", many); // blocks of 512 or 1024 bytes
        Assert.That(code, Is.EqualTo(1), error);
        Assert.That(error.Trim().Split('\n'), Has.Length.EqualTo(1), error);
        Assert.That(error, Does.Contain("cannot be written").And.Contain("check free space").And.Contain("Nothing was written"));

        Assert.That((await RunAsync("unlimited", "memory", "ingest", "--file", many)).Code, Is.Zero, "room is back");
        var (_, output, _) = await BuiltProgram.RunAsync(["memory", "recall", "Where is the van?"], environment: Environment());
        Assert.That(output, Does.Contain("behind the bakery"));
    }

    [Test]
    public async Task A_place_that_cannot_be_written_is_told_in_a_line()
    {
        var environment = Environment();
        environment["RYZENLLM__MEMORY__STORE"] = "sqlite:/proc/ryzenllm/memory.db"; // read-only for everybody
        var (code, _, error) = await BuiltProgram.RunAsync(["memory", "stats"], environment: environment);
        Assert.That(code, Is.EqualTo(1));
        Assert.That(error.Trim().Split('\n'), Has.Length.EqualTo(1), error);
        Assert.That(error, Does.Contain("/proc/ryzenllm cannot be made").And.Contain("Memory:Store"));
    }

    private Dictionary<string, string?> Environment()
    {
        var environment = BuiltProgram.Environment();
        environment["RYZENLLM__MEMORY__STORE"] = $"sqlite:{Path.Combine(_folder, "memory.db")}";
        return environment;
    }

    // Under a limit of file sizes, with the signal that comes with it ignored, so that writes fail as on a full disk.
    private async Task<(int Code, string Error)> RunAsync(string limit, params string[] arguments)
    {
        var start = new ProcessStartInfo("/bin/sh", ["-c", $"ulimit -f {limit}; trap '' XFSZ; exec \"$0\" \"$@\"", BuiltProgram.Path, .. arguments])
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
        };
        foreach (var (name, value) in Environment())
        {
            start.Environment[name] = value;
        }

        start.Environment["DOTNET_EnableWriteXorExecute"] = "0"; // else the runtime keeps its code in a file, which the limit is for too
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync();
        var error = await process.StandardError.ReadToEndAsync();
        await output;
        await BuiltProgram.WaitAsync(process);
        return (process.ExitCode, error);
    }
}
