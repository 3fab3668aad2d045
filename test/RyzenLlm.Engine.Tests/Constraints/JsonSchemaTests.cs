using System.Text.Json.Nodes;
using RyzenLlm.Engine.Decoding.Constraints;

namespace RyzenLlm.Engine.Tests.Constraints;

/// <summary>What is generated under a JSON schema parses and validates, or the schema is refused with the keyword named.</summary>
public class JsonSchemaTests
{
    private const int MaxTokens = 400;

    private static readonly TestVocabulary Vocabulary = new(512, "\"name", "\": ", "\", \"", "true", "false", "null", "{\"", "\"}", "}, {", "the", " the");

    /// <summary>Schemas as people write them for tools and forms.</summary>
    public static readonly string[] Corpus =
    [
        """{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":130},"email":{"type":"string","format":"email"}},"required":["name","age"],"additionalProperties":false}""",
        """{"$schema":"https://json-schema.org/draft/2020-12/schema","title":"Person","type":"object","properties":{"id":{"type":"string","format":"uuid"},"born":{"type":"string","format":"date"},"tags":{"type":"array","items":{"type":"string","minLength":1,"maxLength":12},"maxItems":3}},"required":["id","tags"]}""",
        """{"type":"array","items":{"type":"object","properties":{"x":{"type":"number","minimum":-1,"maximum":1},"y":{"type":"number","exclusiveMinimum":0.25,"maximum":0.75}},"required":["x","y"]},"minItems":1,"maxItems":4}""",
        """{"$defs":{"node":{"type":"object","properties":{"value":{"type":"integer"},"children":{"type":"array","items":{"$ref":"#/$defs/node"},"maxItems":3}},"required":["value"]}},"$ref":"#/$defs/node"}""",
        """{"type":"object","properties":{"kind":{"const":"circle"},"radius":{"type":"number","exclusiveMinimum":0}},"required":["kind","radius"]}""",
        """{"oneOf":[{"type":"object","properties":{"kind":{"const":"circle"},"r":{"type":"number"}},"required":["kind","r"],"additionalProperties":false},{"type":"object","properties":{"kind":{"const":"square"},"a":{"type":"number"}},"required":["kind","a"],"additionalProperties":false}]}""",
        """{"type":"object","additionalProperties":{"type":"integer"}}""",
        """{"type":"object","properties":{"sku":{"type":"string","pattern":"^[A-Z]{3}-\\d{4}$"},"price":{"type":"number","minimum":0.01},"currency":{"enum":["EUR","USD","JPY"]},"discount":{"type":["number","null"],"minimum":0,"maximum":100}},"required":["sku","price","currency"]}""",
        """{"type":"object","properties":{"city":{"type":"string","description":"The city"},"unit":{"type":"string","enum":["celsius","fahrenheit"]},"days":{"type":"integer","minimum":1,"maximum":7,"default":1}},"required":["city"]}""",
        """{"prefixItems":[{"type":"string"},{"type":"integer"},{"enum":["N","S"]}],"items":false}""",
        """{"anyOf":[{"type":"string","maxLength":5},{"type":"integer","exclusiveMaximum":10,"minimum":-10},{"type":"null"}]}""",
        """{"type":"object","properties":{"when":{"type":"string","format":"date-time"},"ip":{"type":"string","format":"ipv4"},"quote \"q\" \\ é":{"type":"boolean"}},"required":["quote \"q\" \\ é","when"]}""",
        """{"type":"object","properties":{"a":true,"b":{"type":"array"},"c":{"type":"object"}},"required":["b","z"]}""",
        """{"type":"object","properties":{"steps":{"type":"array","minItems":2,"maxItems":2,"items":{"type":"object","properties":{"explanation":{"type":"string","maxLength":40},"output":{"type":"string","maxLength":20}},"required":["explanation","output"],"additionalProperties":false}},"final_answer":{"type":"string","maxLength":10}},"required":["steps","final_answer"],"additionalProperties":false}""",
        """{"enum":["a",1,2.5,null,true,{"k":[1,"two"]},"\n\"\\ü"]}""",
        """{"pattern":"colou?r"}""",
        "true",
        "{}",
    ];

    [TestCaseSource(nameof(Corpus))]
    public void OutputsOfACommonSchemaValidate(string schema)
    {
        var constraint = Constrained.For(OutputConstraint.JsonSchema(schema), Vocabulary);
        for (var seed = 0; seed < 12; seed++)
        {
            var text = Constrained.Generate(constraint, Vocabulary, seed, seed % 3 == 0 ? MaxTokens : 120 + seed, out _);

            Assert.That(SchemaValidation.IsValid(schema, text), text);
        }
    }

    [Test]
    public void OutputsOfRandomSchemasValidateOrTheKeywordIsNamed()
    {
        // More with RYZENLLM_SCHEMAS=10000.
        var count = int.TryParse(Environment.GetEnvironmentVariable("RYZENLLM_SCHEMAS"), out var wanted) ? wanted : 300;
        var (valid, refused) = (0, 0);
        for (var seed = 0; seed < count; seed++)
        {
            var schema = new RandomSchema(seed).Next().ToJsonString();
            var refusable = RandomSchema.Unsupported.Where(k => schema.Contains($"\"{k}\":", StringComparison.Ordinal)).ToArray();
            Constraint constraint;
            try
            {
                constraint = Constrained.For(OutputConstraint.JsonSchema(schema), Vocabulary);
                constraint.Begin(MaxTokens);
            }
            catch (ArgumentException e)
            {
                refused++;
                Assert.That(
                    refusable.Any(r => e.Message.Contains(r, StringComparison.Ordinal)) || e.Message.Contains("No text", StringComparison.Ordinal) || e.Message.Contains("max_tokens", StringComparison.Ordinal),
                    $"seed {seed}: {e.Message}\n{schema}");
                continue;
            }

            Assert.That(refusable, Is.Empty, $"seed {seed}: accepted {schema}");
            var text = Constrained.Generate(constraint, Vocabulary, seed, MaxTokens, out _);
            Assert.That(SchemaValidation.IsValid(schema, text), $"seed {seed}: {text}\n{schema}");
            valid++;
        }

        Assert.That(valid, Is.GreaterThan(count / 3));
        Assert.That(refused, Is.GreaterThan(count / 30));
    }

    [TestCase("""{"type":"array","uniqueItems":true}""", "uniqueItems")]
    [TestCase("""{"type":"array","contains":{}}""", "contains")]
    [TestCase("""{"not":{}}""", "not")]
    [TestCase("""{"if":{},"then":{}}""", "if")]
    [TestCase("""{"properties":{"a":{"patternProperties":{}}}}""", "patternProperties")]
    [TestCase("""{"type":"object","minProperties":1}""", "minProperties")]
    [TestCase("""{"type":"number","multipleOf":0.5}""", "multipleOf")]
    [TestCase("""{"type":"string","pattern":"a","maxLength":3}""", "pattern beside")]
    [TestCase("""{"type":"string","pattern":"(?=a)"}""", "lookahead")]
    [TestCase("""{"type":"string","format":"idn-hostname"}""", "format idn-hostname")]
    [TestCase("""{"allOf":[{},{}]}""", "allOf")]
    [TestCase("""{"oneOf":[{"type":"integer"},{"type":"number"}]}""", "oneOf")]
    [TestCase("""{"anyOf":[{}],"minimum":3}""", "minimum beside anyOf")]
    [TestCase("""{"enum":["a"],"minLength":3}""", "minLength beside enum")]
    [TestCase("""{"$ref":"https://example.org/x"}""", "$ref https://example.org/x")]
    [TestCase("""{"$ref":"#/nowhere"}""", "#/nowhere")]
    [TestCase("""{"$ref":"#"}""", "itself")]
    [TestCase("""{"minLenght":3}""", "minLenght")]
    [TestCase("""{"type":"text"}""", "type text")]
    [TestCase("""{"type":"string","minLength":-1}""", "minLength")]
    [TestCase("""{"type":"string","minLength":4,"maxLength":3}""", "maxLength 3")]
    [TestCase("""{"minimum":"x"}""", "minimum")]
    [TestCase("""{"items":[{}]}""", "items as a list")]
    [TestCase("""[]""", "a schema")]
    [TestCase("""{"type":""", "no JSON")]
    [TestCase("""false""", "No text")]
    [TestCase("""{"type":"integer","minimum":3,"maximum":2}""", "No text")]
    [TestCase("""{"properties":{"a":false},"required":["a"]}""", "No text")]
    public void WhatIsNotSupportedIsNamed(string schema, string named) =>
        Assert.That(() => Constrained.For(OutputConstraint.JsonSchema(schema), Vocabulary).Begin(MaxTokens), Throws.ArgumentException.With.Message.Contains(named));

    [TestCase("0", "10")]
    [TestCase("-12", "7")]
    [TestCase("3", null)]
    [TestCase(null, "-3")]
    [TestCase("99", "1002")]
    [TestCase("0.25", "0.8")]
    [TestCase("-1.5", "1.125")]
    [TestCase("-0.05", "0.05")]
    public void NumbersKeepToTheirBoundsExactly(string? least, string? most)
    {
        var bounds = string.Join(',', new[] { least is null ? null : $"\"minimum\":{least}", most is null ? null : $"\"maximum\":{most}" }.OfType<string>());
        var numbers = OutputConstraint.JsonSchema($$"""{"type":"number",{{bounds}}}""");
        var integers = OutputConstraint.JsonSchema($$"""{"type":"integer",{{bounds}}}""");
        var (low, high) = (least is null ? -2000 : decimal.Parse(least), most is null ? 2000 : decimal.Parse(most));
        for (var i = -1100; i <= 1100; i++)
        {
            Assert.That(Constrained.Matches(integers, $"{i}"), Is.EqualTo(i >= low && i <= high), $"{i}");
            var hundredths = i / 100m;
            Assert.That(Constrained.Matches(numbers, $"{hundredths:0.00}".Replace("-0.00", "0.00")), Is.EqualTo(hundredths >= low && hundredths <= high), $"{hundredths:0.00}");
        }

        foreach (var text in (string[])["00", "01", "-", "", "1.", ".5", "-0", "+1", "1e", "--1"])
        {
            Assert.That(Constrained.Matches(numbers, text), Is.False, text);
        }
    }

    /// <summary>Random schemas of all supported keywords, with now and then one that is not supported.</summary>
    private sealed class RandomSchema(int seed)
    {
        private readonly Random _random = new(seed);

        public static readonly string[] Unsupported = ["not", "uniqueItems", "contains", "minProperties", "multipleOf", "dependentRequired"];

        public JsonNode Next(int depth = 0)
        {
            if (_random.Next(60) == 0)
            {
                return NotSupported();
            }

            return _random.Next(depth > 2 ? 7 : 11) switch
            {
                0 => new JsonObject { ["type"] = Chance() ? "boolean" : "null" },
                1 => new JsonObject { ["enum"] = new JsonArray(_random.Next(100), Word(), null, Chance()) },
                2 => Bounds(new() { ["type"] = "integer" }, integer: true),
                3 => Bounds(new() { ["type"] = "number" }, integer: false),
                4 => new JsonObject { ["type"] = "string" },
                5 => Counts(new() { ["type"] = "string" }, "minLength", "maxLength", 12),
                6 => Chance() ? new JsonObject { ["pattern"] = Chance() ? "^[a-c]+\\d{2}$" : "x[^yz]", ["type"] = "string" } : new JsonObject { ["type"] = "string", ["format"] = Pick("date", "time", "date-time", "uuid", "ipv4", "email") },
                7 or 8 => Object(depth),
                9 => Array(depth),
                _ => new JsonObject { ["anyOf"] = new JsonArray(Next(depth + 1), Next(depth + 1)) },
            };
        }

        private JsonObject Object(int depth)
        {
            var (properties, required) = (new JsonObject(), new JsonArray());
            for (var i = _random.Next(5); i >= 0; i--)
            {
                var name = $"{Word()}{i}";
                properties[name] = Next(depth + 1);
                if (Chance())
                {
                    required.Add(name);
                }
            }

            var schema = new JsonObject { ["type"] = "object", ["properties"] = properties, ["required"] = required };
            if (Chance())
            {
                schema["additionalProperties"] = false;
            }

            return _random.Next(6) == 0 ? new JsonObject { ["type"] = "object", ["additionalProperties"] = Next(depth + 1) } : schema;
        }

        private JsonObject Array(int depth)
        {
            var schema = Counts(new() { ["type"] = "array" }, "minItems", "maxItems", 4);
            if (Chance())
            {
                schema["items"] = Next(depth + 1);
            }

            if (_random.Next(4) == 0)
            {
                schema["prefixItems"] = new JsonArray(Next(depth + 1), Next(depth + 1));
            }

            return schema;
        }

        private JsonObject Bounds(JsonObject schema, bool integer)
        {
            var low = integer ? _random.Next(-500, 500) : Math.Round((decimal)((_random.NextDouble() * 20) - 10), _random.Next(4));
            if (Chance())
            {
                schema[Pick("minimum", "exclusiveMinimum")] = low;
            }

            if (Chance())
            {
                schema[Pick("maximum", "exclusiveMaximum")] = low + _random.Next(1, 200);
            }

            return schema;
        }

        private JsonObject Counts(JsonObject schema, string least, string most, int limit)
        {
            var low = _random.Next(limit / 2);
            if (Chance())
            {
                schema[least] = low;
            }

            if (Chance())
            {
                schema[most] = low + _random.Next(limit / 2);
            }

            return schema;
        }

        private JsonObject NotSupported()
        {
            var keyword = Pick(Unsupported);
            return new JsonObject
            {
                [keyword] = keyword switch
                {
                    "not" or "contains" or "dependentRequired" => new JsonObject(),
                    "uniqueItems" => true,
                    _ => 2,
                },
            };
        }

        private string Word() => Pick("name", "the \"x\"", "é\\", "k", "value");

        private string Pick(params string[] texts) => texts[_random.Next(texts.Length)];

        private bool Chance() => _random.Next(2) == 0;
    }
}
