using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Tests.Settings;

public sealed class ModelLibraryTests
{
    private string _folder = null!;

    [SetUp]
    public void Create() => _folder = Directory.CreateTempSubdirectory("ryzenllm-models-").FullName;

    [TearDown]
    public void Delete() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void ModelsAreNamedByFileOrFolderAndTheFirstOfANameWins()
    {
        Touch("first/b.gguf", "first/a/model.gguf", "first/two/x.gguf", "first/two/y.gguf", "first/st/model.safetensors", "first/st/config.json");
        Touch("second/a.gguf", "second/c/weights.gguf", "second/empty/readme.md", "second/c.gguf.part");
        var library = Library("first", "second", "missing");
        Assert.That(library.List().Select(m => m.Name), Is.EqualTo(new[] { "b", "a", "st", "x", "y", "c" }));
        Assert.That(library.Resolve("A").Path, Is.EqualTo(Path.Combine(_folder, "first", "a", "model.gguf")));
        Assert.That(library.Resolve("st").Path, Is.EqualTo(Path.Combine(_folder, "first", "st")));
    }

    [Test]
    public void PathsAreTakenAsTheyAre()
    {
        Touch("m/a/model.gguf", "m/b/x.gguf", "m/b/y.gguf", "m/c/readme.md");
        var library = Library("none");
        Assert.That(library.Resolve(Path.Combine(_folder, "m/a/model.gguf")).Name, Is.EqualTo("a"));
        Assert.That(library.Resolve(Path.Combine(_folder, "m/a")).Path, Does.EndWith("model.gguf"));
        Assert.That(() => library.Resolve(Path.Combine(_folder, "m/b")), Throws.InstanceOf<ModelNotFoundException>().With.Message.Contains("several models"));
        Assert.That(() => library.Resolve(Path.Combine(_folder, "m/c")), Throws.InstanceOf<ModelNotFoundException>().With.Message.Contains("holds no model"));
        Assert.That(() => library.Resolve("nowhere/z.gguf"), Throws.InstanceOf<ModelNotFoundException>().With.Message.Contains("no model file or folder nowhere/z.gguf"));
    }

    [Test]
    public void TheDefaultIsChosenThenConfiguredThenTheShippedOneThenTheFirst()
    {
        Assert.That(() => Library("m").Default(), Throws.InstanceOf<ModelNotFoundException>().With.Message.Contains("put a GGUF file into"));
        Assert.That(Library("m").TryDefault(), Is.Null);
        Touch("m/alpha.gguf", "m/beta.gguf");
        Assert.That(Library("m").Default().Name, Is.EqualTo("alpha"));
        Touch("m/tales-bitnet/model.gguf");
        var library = Library("m");
        Assert.That(library.Default().Name, Is.EqualTo("tales-bitnet"));
        Assert.That(library.Resolve(" ").Name, Is.EqualTo("tales-bitnet"));
        Assert.That(new ModelLibrary(new ModelSettings { Default = "beta" }, library.Folders).Default().Name, Is.EqualTo("beta"));
        library.Choose("alpha");
        Assert.That(library.Default().Name, Is.EqualTo("alpha"));
        Assert.That(() => library.Choose("gamma"), Throws.InstanceOf<ModelNotFoundException>().With.Message.Contains("alpha, beta, tales-bitnet"));
        Assert.That(library.Default().Name, Is.EqualTo("alpha"));
    }

    [Test]
    public void ConfiguredFoldersComeFirst()
    {
        Touch("m/a.gguf", "mine/a.gguf");
        var library = new ModelLibrary(new ModelSettings { Folders = [Path.Combine(_folder, "mine")] }, [Path.Combine(_folder, "m")]);
        Assert.That(library.Resolve("a").Path, Is.EqualTo(Path.Combine(_folder, "mine", "a.gguf")));
    }

    private ModelLibrary Library(params string[] folders) => new(new ModelSettings(), folders.Select(f => Path.Combine(_folder, f)));

    private void Touch(params string[] files)
    {
        foreach (var file in files)
        {
            var path = Path.Combine(_folder, file);
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllText(path, "");
        }
    }
}
