using RyzenLlm.Fuzz;

// dotnet run -c Release --project test/RyzenLlm.Fuzz -- TARGET --seconds N --seed S [--keep N] [--count FILE] | TARGET --replay FILE...
var coverage = new Coverage(); // before anything else: instrumented code counts from its first instruction on
return args is []
    ? Usage()
    : args is [var name, "--replay", ..] ? Replay(name, args[2..])
    : Instrumented.IsRunning ? Campaign.Run(CampaignOptions.Parse(args), coverage) : Instrumented.Start(args, CampaignOptions.Parse(args));

static int Replay(string name, string[] files)
{
    using var target = FuzzTarget.Named(name);
    var found = 0;
    foreach (var file in files)
    {
        var finding = Execution.Check(target, File.ReadAllBytes(file));
        Console.WriteLine($"{file}: {finding?.ToString() ?? "in order"}");
        found += finding is null ? 0 : 1;
    }

    return found > 0 ? 1 : 0;
}

static int Usage()
{
    Console.Error.WriteLine(
        $"RyzenLlm.Fuzz TARGET|all [--seconds N] [--seed S] [--keep N] [--count FILE]\nRyzenLlm.Fuzz TARGET --replay FILE...\nTargets: {string.Join(", ", FuzzTarget.All.Select(t => t().Name))}");
    return 2;
}
