using System.Globalization;
using System.Numerics;
using System.Text.Json;

namespace RyzenLlm.Engine.Decoding.Constraints;

/// <summary>
/// The JSON texts that a JSON Schema (draft 2020-12) accepts, or a part of them: properties come in the order of the schema, undeclared ones
/// only where the schema declares none, and white space as <see cref="JsonText"/> says. What is generated validates; a keyword that cannot
/// be honoured is refused by name.
/// </summary>
internal sealed class JsonSchemaPattern
{
    private const int Deepest = 64;

    private static readonly string[] Annotations =
    [
        "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$schema", "$id", "$comment", "$defs", "definitions",
    ];

    private static readonly Dictionary<string, string[]> KeywordsOfTypes = new()
    {
        ["string"] = ["minLength", "maxLength", "pattern", "format"],
        ["number"] = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
        ["array"] = ["items", "prefixItems", "minItems", "maxItems", "uniqueItems"],
        ["object"] = ["properties", "required", "additionalProperties"],
    };

    private static readonly string[] AllTypes = ["object", "array", "string", "number", "integer", "boolean", "null"];

    private static readonly HashSet<string> Known =
        [.. Annotations, .. KeywordsOfTypes.Values.SelectMany(k => k), "type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"];

    private static readonly Dictionary<string, string> Formats = new()
    {
        ["date"] = @"[12]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])",
        ["time"] = @"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(Z|[+-](0\d|1[0-3]):[0-5]\d)",
        ["date-time"] = @"[12]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(Z|[+-](0\d|1[0-3]):[0-5]\d)",
        ["uuid"] = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        ["ipv4"] = @"((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)",
        ["email"] = @"[a-z0-9]+([._-][a-z0-9]+)*@[a-z0-9]+(-[a-z0-9]+)*(\.[a-z]{2,10})+",
    };

    private readonly JsonElement _root;
    private readonly Dictionary<string, Pattern.Rule> _references = [];
    private int _depth;

    private JsonSchemaPattern(JsonElement root) => _root = root;

    /// <summary>The texts to generate for a schema.</summary>
    /// <exception cref="ArgumentException">The schema is malformed or has a keyword that is not supported; the message names it and its place.</exception>
    public static Pattern Of(JsonElement schema) => new JsonSchemaPattern(schema).Compile(schema, "#");

    private Pattern Compile(JsonElement schema, string path)
    {
        if (++_depth > Deepest)
        {
            throw new ArgumentException($"The JSON schema nests more than {Deepest} schemas inside each other at {path}.");
        }

        try
        {
            return schema.ValueKind switch
            {
                JsonValueKind.True => JsonText.Value,
                JsonValueKind.False => Pattern.Nothing,
                JsonValueKind.Object => CompileObject(schema, path),
                _ => throw Malformed(path, "a schema", "an object, true or false"),
            };
        }
        finally
        {
            _depth--;
        }
    }

    private Pattern CompileObject(JsonElement schema, string path)
    {
        foreach (var keyword in schema.EnumerateObject())
        {
            if (!Known.Contains(keyword.Name))
            {
                throw Unsupported(keyword.Name, path);
            }
        }

        if (schema.TryGetProperty("$ref", out var reference))
        {
            RefuseBeside(schema, path, "$ref");
            return Resolve(Text(reference, "$ref", path), path);
        }

        if (schema.TryGetProperty("const", out var constant))
        {
            RefuseBeside(schema, path, "const", "type");
            return Values([constant], schema, path);
        }

        if (schema.TryGetProperty("enum", out var values))
        {
            RefuseBeside(schema, path, "enum", "type");
            return Values(Items(values, "enum", path), schema, path);
        }

        foreach (var keyword in (string[])["anyOf", "oneOf", "allOf"])
        {
            if (schema.TryGetProperty(keyword, out var parts))
            {
                return Combine(schema, keyword, [.. Items(parts, keyword, path)], path);
            }
        }

        return Pattern.Either([.. Types(schema, path).Select(type => OfType(type, schema, path))]);
    }

    private Pattern Combine(JsonElement schema, string keyword, JsonElement[] parts, string path)
    {
        RefuseBeside(schema, path, keyword);
        if (keyword == "allOf" && parts.Length != 1)
        {
            throw Unsupported("allOf with several schemas", path);
        }

        if (keyword == "oneOf")
        {
            for (var i = 0; i < parts.Length; i++)
            {
                if (parts[..i].Any(other => MayOverlap(other, parts[i])))
                {
                    throw Unsupported("oneOf with schemas that the same value may satisfy (anyOf is, and types or constants that differ are)", path);
                }
            }
        }

        return Pattern.Either([.. parts.Select((part, i) => Compile(part, $"{path}/{keyword}/{i}"))]);
    }

    // True unless their types, or the constants that they or a property required by both allow, have nothing in common.
    private static bool MayOverlap(JsonElement a, JsonElement b)
    {
        if (a.ValueKind != JsonValueKind.Object || b.ValueKind != JsonValueKind.Object)
        {
            return true;
        }

        if (Constants(a) is { } left && Constants(b) is { } right)
        {
            return left.Any(l => right.Any(r => JsonElement.DeepEquals(l, r)));
        }

        if (TypeNames(a) is { } typesOfA && TypeNames(b) is { } typesOfB && !typesOfA.Any(t => typesOfB.Any(u => t == u || (t, u) is ("number", "integer") or ("integer", "number"))))
        {
            return false;
        }

        return TypeNames(a) is not ["object"] || TypeNames(b) is not ["object"] || !Required(a).Intersect(Required(b)).Any(name =>
            Property(a, name) is { } p && Property(b, name) is { } q
            && Constants(p) is { } ofP && Constants(q) is { } ofQ && !ofP.Any(l => ofQ.Any(r => JsonElement.DeepEquals(l, r))));
    }

    private static JsonElement[]? Constants(JsonElement schema) =>
        schema.ValueKind != JsonValueKind.Object ? null
        : schema.TryGetProperty("const", out var constant) ? [constant]
        : schema.TryGetProperty("enum", out var values) && values.ValueKind == JsonValueKind.Array ? [.. values.EnumerateArray()]
        : null;

    private static string[]? TypeNames(JsonElement schema) =>
        !schema.TryGetProperty("type", out var type) ? null
        : type.ValueKind == JsonValueKind.String ? [type.GetString()!]
        : type.ValueKind == JsonValueKind.Array ? [.. type.EnumerateArray().Where(t => t.ValueKind == JsonValueKind.String).Select(t => t.GetString()!)]
        : null;

    private static string[] Required(JsonElement schema) =>
        schema.TryGetProperty("required", out var names) && names.ValueKind == JsonValueKind.Array
            ? [.. names.EnumerateArray().Where(n => n.ValueKind == JsonValueKind.String).Select(n => n.GetString()!)]
            : [];

    private static JsonElement? Property(JsonElement schema, string name) =>
        schema.TryGetProperty("properties", out var properties) && properties.ValueKind == JsonValueKind.Object && properties.TryGetProperty(name, out var property)
            ? property
            : null;

    private Pattern Resolve(string reference, string path)
    {
        if (_references.TryGetValue(reference, out var known))
        {
            return known;
        }

        if (reference is not "#" && !reference.StartsWith("#/", StringComparison.Ordinal))
        {
            throw Unsupported($"$ref {reference} (only # and #/... within the schema are)", path);
        }

        var target = _root;
        foreach (var escaped in reference.Split('/').Skip(1))
        {
            var step = Uri.UnescapeDataString(escaped).Replace("~1", "/", StringComparison.Ordinal).Replace("~0", "~", StringComparison.Ordinal);
            var found = target.ValueKind switch
            {
                JsonValueKind.Object when target.TryGetProperty(step, out var property) => property,
                JsonValueKind.Array when int.TryParse(step, NumberStyles.None, CultureInfo.InvariantCulture, out var i) && i < target.GetArrayLength() => target[i],
                _ => (JsonElement?)null,
            };
            target = found ?? throw Malformed(path, $"$ref {reference}", "a place in the schema");
        }

        var rule = new Pattern.Rule($"The JSON schema at {reference}");
        _references.Add(reference, rule);
        rule.Body = Compile(target, reference);
        return rule;
    }

    private static Pattern Values(IEnumerable<JsonElement> values, JsonElement schema, string path)
    {
        var types = Types(schema, path);
        return Pattern.Either([.. values.Where(v => types.Any(t => IsOfType(v, t))).Select(JsonText.Constant)]);
    }

    private static bool IsOfType(JsonElement value, string type) => value.ValueKind switch
    {
        JsonValueKind.Object => type == "object",
        JsonValueKind.Array => type == "array",
        JsonValueKind.String => type == "string",
        JsonValueKind.True or JsonValueKind.False => type == "boolean",
        JsonValueKind.Null => type == "null",
        _ => type == "number" || (type == "integer" && value.TryGetDecimal(out var number) && decimal.IsInteger(number)),
    };

    // The types that the schema names; else those that its keywords are about; else all.
    private static string[] Types(JsonElement schema, string path)
    {
        if (schema.TryGetProperty("type", out var type))
        {
            string[] named = type.ValueKind == JsonValueKind.Array
                ? [.. type.EnumerateArray().Select(t => Text(t, "type", path)).Distinct()]
                : [Text(type, "type", path)];
            var unknown = Array.Find(named, t => !AllTypes.Contains(t));
            return unknown is null ? named : throw Malformed(path, $"type {unknown}", $"one of {string.Join(", ", AllTypes)}");
        }

        string[] implied = [.. KeywordsOfTypes.Where(t => t.Value.Any(k => schema.TryGetProperty(k, out _))).Select(t => t.Key)];
        return implied.Length > 0 ? implied : AllTypes;
    }

    private Pattern OfType(string type, JsonElement schema, string path) => type switch
    {
        "null" => JsonText.Null,
        "boolean" => JsonText.Boolean,
        "integer" => Number(schema, path, integer: true),
        "number" => Number(schema, path, integer: false),
        "string" => String(schema, path),
        "array" => ArrayOf(schema, path),
        _ => ObjectOf(schema, path),
    };

    private static Pattern Number(JsonElement schema, string path, bool integer)
    {
        if (schema.TryGetProperty("multipleOf", out var multiple))
        {
            if (Decimal(multiple, "multipleOf", path) != 1)
            {
                throw Unsupported("multipleOf other than 1", path);
            }

            integer = true;
        }

        var (least, leastExcluded) = Bound("minimum", "exclusiveMinimum", (a, b) => a > b);
        var (most, mostExcluded) = Bound("maximum", "exclusiveMaximum", (a, b) => a < b);
        return least is null && most is null
            ? integer ? JsonText.Integer : JsonText.Number
            : integer
                ? JsonText.Integers(
                    least is { } l ? JsonText.Ceiling(l, BigInteger.One, leastExcluded) : null,
                    most is { } m ? -JsonText.Ceiling(-m, BigInteger.One, mostExcluded) : null)
                : JsonText.Numbers(least, leastExcluded, most, mostExcluded);

        (decimal? Value, bool Excluded) Bound(string inclusive, string exclusive, Func<decimal, decimal, bool> tighter)
        {
            var closed = schema.TryGetProperty(inclusive, out var i) ? Decimal(i, inclusive, path) : (decimal?)null;
            var open = schema.TryGetProperty(exclusive, out var e) ? Decimal(e, exclusive, path) : (decimal?)null;
            return open is { } o && (closed is not { } c || o == c || tighter(o, c)) ? (open, true) : (closed, false);
        }
    }

    private static Pattern String(JsonElement schema, string path)
    {
        var (min, max) = Counts(schema, "minLength", "maxLength", path);
        var counted = min > 0 || max is not null;
        if (schema.TryGetProperty("pattern", out var pattern))
        {
            return counted || schema.TryGetProperty("format", out _)
                ? throw Unsupported("pattern beside minLength, maxLength or format", path)
                : Pattern.Join(JsonText.Quote, RegexPattern.Search(Text(pattern, "pattern", path), JsonText.Encode), JsonText.Quote);
        }

        if (schema.TryGetProperty("format", out var format))
        {
            var name = Text(format, "format", path);
            return counted ? throw Unsupported("format beside minLength or maxLength", path)
                : !Formats.TryGetValue(name, out var expression) ? throw Unsupported($"format {name} (of formats, {string.Join(", ", Formats.Keys)} are)", path)
                : Pattern.Join(JsonText.Quote, RegexPattern.WholeText(expression), JsonText.Quote);
        }

        return counted ? Pattern.Join(JsonText.Quote, JsonText.Character.Times(min, max), JsonText.Quote) : JsonText.String;
    }

    private Pattern ArrayOf(JsonElement schema, string path)
    {
        if (schema.TryGetProperty("uniqueItems", out var unique) && unique.ValueKind != JsonValueKind.False)
        {
            throw Unsupported("uniqueItems", path);
        }

        if (schema.TryGetProperty("items", out var items) && items.ValueKind == JsonValueKind.Array)
        {
            throw Unsupported("items as a list (prefixItems is)", path);
        }

        var (min, max) = Counts(schema, "minItems", "maxItems", path);
        Pattern[] prefix = schema.TryGetProperty("prefixItems", out var first)
            ? [.. Items(first, "prefixItems", path).Select((item, i) => Compile(item, $"{path}/prefixItems/{i}"))]
            : [];
        var item = items.ValueKind == JsonValueKind.Undefined ? JsonText.Value : JsonText.Named("an item", Compile(items, path + "/items"));
        prefix = prefix[..Math.Min(prefix.Length, max ?? int.MaxValue)];
        if (prefix.Length == 0)
        {
            return Pattern.Join(Pattern.Literal("["), JsonText.List(item, min, max), Pattern.Literal("]"));
        }

        // Items without a schema of their own only where the array would be too short.
        var further = Math.Max(0, min - prefix.Length);
        var most = items.ValueKind is JsonValueKind.Undefined ? further : max - prefix.Length;
        var tail = most == 0 ? Pattern.Empty : Pattern.Join(JsonText.Comma, item).Times(further, most);
        return Pattern.Join([Pattern.Literal("["), .. prefix.SelectMany((p, i) => i == 0 ? [p] : new[] { JsonText.Comma, p }), tail, Pattern.Literal("]")]);
    }

    private Pattern ObjectOf(JsonElement schema, string path)
    {
        var required = schema.TryGetProperty("required", out var names)
            ? Items(names, "required", path).Select(n => Text(n, "required", path)).ToHashSet()
            : [];
        var additional = schema.TryGetProperty("additionalProperties", out var other) ? other : (JsonElement?)null;
        var properties = new List<(Pattern Pattern, bool Required)>();
        if (schema.TryGetProperty("properties", out var declared))
        {
            if (declared.ValueKind != JsonValueKind.Object)
            {
                throw Malformed(path, "properties", "an object");
            }

            foreach (var property in declared.EnumerateObject().Where(p => p.Value.ValueKind != JsonValueKind.False || required.Contains(p.Name)))
            {
                properties.Add((Entry(property.Name, Compile(property.Value, $"{path}/properties/{property.Name}")), required.Remove(property.Name)));
            }
        }

        foreach (var name in required)
        {
            properties.Add((Entry(name, Additional()), true));
        }

        var entries = properties.Count > 0 || additional is { ValueKind: JsonValueKind.False }
            ? Entries(properties)
            : JsonText.List(Pattern.Join(JsonText.String, JsonText.Colon, JsonText.Named("a value", Additional())), 0, null);
        return Pattern.Join(Pattern.Literal("{"), entries, Pattern.Literal("}"));

        Pattern Additional() => additional is { } a ? Compile(a, path + "/additionalProperties") : JsonText.Value;
    }

    private static Pattern Entry(string name, Pattern value) => JsonText.Named(name, Pattern.Join(JsonText.Name(name), JsonText.Colon, value));

    // The first property that is there has no comma before it: one alternative for each that may be the first.
    private static Pattern Entries(List<(Pattern Pattern, bool Required)> properties)
    {
        var alternatives = new List<Pattern>();
        for (var first = 0; first < properties.Count; first++)
        {
            var rest = properties.Skip(first + 1).Select(p => Pattern.Join(JsonText.Comma, p.Pattern) is var part && p.Required ? part : part.Optional());
            alternatives.Add(Pattern.Join([properties[first].Pattern, .. rest]));
            if (properties[first].Required)
            {
                return Pattern.Either([.. alternatives]);
            }
        }

        return Pattern.Either([.. alternatives, Pattern.Empty]);
    }

    private static (int Min, int? Max) Counts(JsonElement schema, string least, string most, string path)
    {
        var min = schema.TryGetProperty(least, out var l) ? Count(l, least, path) : 0;
        var max = schema.TryGetProperty(most, out var m) ? Count(m, most, path) : (int?)null;
        return max < min ? throw Malformed(path, $"{most} {max}", $"at least {least} {min}") : (min, max);
    }

    private static void RefuseBeside(JsonElement schema, string path, params string[] allowed)
    {
        foreach (var keyword in schema.EnumerateObject())
        {
            if (!allowed.Contains(keyword.Name) && !Annotations.Contains(keyword.Name))
            {
                throw Unsupported($"{keyword.Name} beside {allowed[0]}", path);
            }
        }
    }

    private static IEnumerable<JsonElement> Items(JsonElement value, string keyword, string path) =>
        value.ValueKind == JsonValueKind.Array ? value.EnumerateArray() : throw Malformed(path, keyword, "a list");

    private static string Text(JsonElement value, string keyword, string path) =>
        value.ValueKind == JsonValueKind.String ? value.GetString()! : throw Malformed(path, keyword, "a string");

    private static int Count(JsonElement value, string keyword, string path) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetDecimal(out var count) && count >= 0 && count <= int.MaxValue && decimal.IsInteger(count)
            ? (int)count
            : throw Malformed(path, keyword, "a whole number, 0 or more");

    private static decimal Decimal(JsonElement value, string keyword, string path) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetDecimal(out var number) ? number : throw Malformed(path, keyword, "a number of up to 28 digits");

    private static ArgumentException Unsupported(string keyword, string path) =>
        new($"The JSON schema at {path} has {keyword}, which is not supported for constrained output: leave it out, or check the result afterwards.");

    private static ArgumentException Malformed(string path, string found, string expected) =>
        new($"The JSON schema at {path} is malformed: {found} must be {expected}.");
}
