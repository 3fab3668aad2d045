using System.Text.Json;
using System.Text.RegularExpressions;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Tests.Server;

/// <summary>
/// .mcp/server.json, which registries and NuGet read, against the rules of its schema (draft-07, edition 2025-12-11). The schema is no part of this repository: each of
/// its rules that can concern the file is written out here, and a property that has no rule here is refused, though the schema would let most of them pass.
/// </summary>
public sealed class ServerJsonTests
{
    private static readonly string File = System.IO.File.ReadAllText(Path.Combine(Repository.Root, ".mcp", "server.json"));
    private static readonly JsonElement Server = JsonElement.Parse(File);

    [Test]
    public void ItSatisfiesTheSchema() => Assert.That(Problems(Server), Is.Empty);

    [Test]
    public void ItSaysWhatTheProgramIs()
    {
        Assert.That(Server.GetProperty("version").GetString(), Is.EqualTo(ProductInfo.Version));
        var package = Server.GetProperty("packages").EnumerateArray().Single();
        Assert.That(package.GetProperty("version").GetString(), Is.EqualTo(ProductInfo.Version));
        Assert.That(package.GetProperty("identifier").GetString(), Is.EqualTo("RyzenLlm.Mcp"), "the package's name");
        var keys = SettingsReader.Keys().Select(k => SettingsReader.EnvironmentPrefix + k.Key.Replace(":", "__", StringComparison.Ordinal).ToUpperInvariant());
        Assert.That(package.GetProperty("environmentVariables").EnumerateArray().Select(v => v.GetProperty("name").GetString()), Is.SubsetOf(keys));
    }

    [TestCase("\"name\": \"io.github.ryzenllm/ryzenllm\"", "\"name\": \"ryzenllm\"", "name")]
    [TestCase("\"title\": \"RyzenLlm\"", "\"title\": \"\"", "title")]
    [TestCase("\"description\": \"Small", "\"description\": \"Small small small small small small small small small small", "description")]
    [TestCase("\"version\": \"0.1.0\"", "\"version\": \"^0.1.0\"", "version")]
    [TestCase("\"version\": \"0.1.0\"", "\"version\": \"latest\"", "version")]
    [TestCase("\"registryType\": \"nuget\",", "", "registryType")]
    [TestCase("{ \"type\": \"stdio\" }", "{ \"type\": \"sse\" }", "url")]
    [TestCase("\"positional\", \"value\": \"serve\"", "\"positional\"", "value")]
    [TestCase("\"positional\"", "\"optional\"", "type")]
    [TestCase("\"name\": \"RYZENLLM__ENGINE__THREADS\",", "", "name")]
    [TestCase("\"runtimeHint\"", "\"runtimeHints\"", "runtimeHints")]
    public void WhatBreaksARuleIsNoticed(string part, string instead, string problem)
    {
        Assert.That(File, Does.Contain(part));
        Assert.That(Problems(JsonElement.Parse(File.Replace(part, instead, StringComparison.Ordinal))), Has.Some.Contains(problem));
    }

    private static List<string> Problems(JsonElement server)
    {
        List<string> problems = [];
        Check("", server, ["name", "description", "version"], new()
        {
            ["$schema"] = v => v.GetString() == "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
            ["name"] = v => IsText(v, 3, 200) && Regex.IsMatch(v.GetString()!, "^[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+$"),
            ["title"] = v => IsText(v, 1, 100),
            ["description"] = v => IsText(v, 1, 100),
            ["version"] = v => IsText(v, 0, 255) && IsVersion(v),
            ["packages"] = v => Each(v, "packages", Package),
        });
        return problems;

        void Package(string path, JsonElement package) => Check(path, package, ["registryType", "identifier", "transport"], new()
        {
            ["registryType"] = v => v.GetString() is "npm" or "pypi" or "oci" or "nuget" or "mcpb",
            ["identifier"] = v => IsText(v),
            ["version"] = v => IsText(v, 1) && IsVersion(v),
            ["runtimeHint"] = v => IsText(v),
            ["transport"] = v => Transport($"{path}.transport", v),
            ["packageArguments"] = v => Each(v, $"{path}.packageArguments", Argument),
            ["environmentVariables"] = v => Each(v, $"{path}.environmentVariables", (at, input) => Check(at, input, ["name"], Input())),
        });

        bool Transport(string path, JsonElement transport)
        {
            var local = transport.GetProperty("type").GetString() == "stdio";
            Check(path, transport, local ? ["type"] : ["type", "url"], new()
            {
                ["type"] = v => v.GetString() is "stdio" or "streamable-http" or "sse",
                ["url"] = v => IsText(v),
            });
            return true;
        }

        void Argument(string path, JsonElement argument)
        {
            var named = argument.GetProperty("type").GetString() == "named";
            var rules = Input();
            rules["type"] = v => v.GetString() is "named" or "positional";
            rules["valueHint"] = v => IsText(v);
            rules["isRepeated"] = v => v.ValueKind is JsonValueKind.True or JsonValueKind.False;
            Check(path, argument, named ? ["type", "name"] : argument.TryGetProperty("valueHint", out _) ? ["type"] : ["type", "value"], rules);
        }

        Dictionary<string, Func<JsonElement, bool>> Input() => new()
        {
            ["name"] = v => IsText(v),
            ["description"] = v => IsText(v),
            ["default"] = v => IsText(v),
            ["value"] = v => IsText(v),
            ["placeholder"] = v => IsText(v),
            ["format"] = v => v.GetString() is "string" or "number" or "boolean" or "filepath",
            ["isRequired"] = v => v.ValueKind is JsonValueKind.True or JsonValueKind.False,
            ["isSecret"] = v => v.ValueKind is JsonValueKind.True or JsonValueKind.False,
        };

        bool Each(JsonElement list, string path, Action<string, JsonElement> check)
        {
            foreach (var (i, item) in list.EnumerateArray().Index())
            {
                check($"{path}[{i}]", item);
            }

            return true;
        }

        void Check(string path, JsonElement value, string[] required, Dictionary<string, Func<JsonElement, bool>> rules)
        {
            problems.AddRange(required.Where(name => !value.TryGetProperty(name, out _)).Select(name => $"{path}.{name} is missing"));
            foreach (var property in value.EnumerateObject())
            {
                if (!rules.TryGetValue(property.Name, out var holds))
                {
                    problems.Add($"{path}.{property.Name} has no rule");
                }
                else if (!holds(property.Value))
                {
                    problems.Add($"{path}.{property.Name} is {property.Value}");
                }
            }
        }
    }

    private static bool IsText(JsonElement value, int shortest = 0, int longest = int.MaxValue) =>
        value.ValueKind == JsonValueKind.String && value.GetString()!.Length is var length && length >= shortest && length <= longest;

    // The schema's words: a specific version, no range, and not "latest".
    private static bool IsVersion(JsonElement value) => Regex.IsMatch(value.GetString()!, @"^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$");
}
