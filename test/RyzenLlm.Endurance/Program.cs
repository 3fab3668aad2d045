using System.Globalization;
using RyzenLlm.Endurance;

// dotnet run -c Release --project test/RyzenLlm.Endurance -- kill [--rounds 200] [--seed 1] | soak [--minutes 5] [--clients 50] [--seed 1] | refusals [--calls 500]
string Option(string name, string otherwise) => Array.IndexOf(args, name) is var at and > 0 && at + 1 < args.Length ? args[at + 1] : otherwise;
var seed = int.Parse(Option("--seed", "1"), CultureInfo.InvariantCulture);
switch (args)
{
    case ["kill", ..]:
        return await KillRounds.RunAsync(int.Parse(Option("--rounds", "200"), CultureInfo.InvariantCulture), seed);
    case ["soak", ..]:
        var time = TimeSpan.FromMinutes(double.Parse(Option("--minutes", "5"), CultureInfo.InvariantCulture));
        return await Soak.RunAsync(time, int.Parse(Option("--clients", "50"), CultureInfo.InvariantCulture), seed);
    case ["refusals", ..]:
        return await Refusals.RunAsync(int.Parse(Option("--calls", "500"), CultureInfo.InvariantCulture));
    default:
        Console.Error.WriteLine("kill [--rounds 200] [--seed 1] | soak [--minutes 5] [--clients 50] [--seed 1] | refusals [--calls 500]");
        return 2;
}
