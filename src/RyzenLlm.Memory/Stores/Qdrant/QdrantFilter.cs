using System.Collections;
using System.Globalization;
using System.Text.Json.Nodes;

namespace RyzenLlm.Memory.Stores.Qdrant;

/// <summary>Turns the conditions of a filter into Qdrant's filter language; every request over points gets its filter from here.</summary>
internal static class QdrantFilter
{
    /// <summary>An object with <c>must</c>, whose first condition is the tenant, and <c>must_not</c> where needed.</summary>
    /// <param name="filter">The conditions.</param>
    /// <param name="vectorName">Name of the vector of an embedder.</param>
    public static JsonObject Of(RsuFilter filter, Func<string, string> vectorName)
    {
        var must = new JsonArray();
        var mustNot = new JsonArray();
        foreach (Condition condition in filter.Conditions())
        {
            if (condition.Comparison == Comparison.AbsentOrAfter)
            {
                mustNot.Add(Range(condition.Field, "lte", condition.Value));
            }
            else if (condition.Comparison == Comparison.LacksVector)
            {
                mustNot.Add(new JsonObject { ["has_vector"] = vectorName((string)condition.Value!) });
            }
            else
            {
                must.Add(Term(condition));
            }
        }

        var json = new JsonObject { ["must"] = must };
        if (mustNot.Count > 0)
        {
            json["must_not"] = mustNot;
        }

        return json;
    }

    private static JsonObject Term(Condition condition) => (condition.Field, condition.Comparison) switch
    {
        ("id", Comparison.Equal) => HasId(new[] { condition.Value! }),
        ("id", _) => HasId((IEnumerable)condition.Value!),
        (var field, Comparison.Equal) => new JsonObject { ["key"] = field, ["match"] = new JsonObject { ["value"] = Value(condition.Value) } },
        (var field, Comparison.AnyOf) => new JsonObject { ["key"] = field, ["match"] = new JsonObject { ["any"] = Values((IEnumerable)condition.Value!) } },
        (var field, Comparison.AtLeast) => Range(field, "gte", condition.Value),
        (var field, Comparison.AtMost) => Range(field, "lte", condition.Value),
        (var field, Comparison.Absent) => new JsonObject { ["is_empty"] = new JsonObject { ["key"] = field } },
        _ => throw new NotSupportedException($"Unknown comparison {condition.Comparison}."),
    };

    private static JsonObject HasId(IEnumerable ids) => new() { ["has_id"] = Values(ids) };

    private static JsonObject Range(string field, string bound, object? value) =>
        new() { ["key"] = field, ["range"] = new JsonObject { [bound] = Value(value) } };

    private static JsonArray Values(IEnumerable values)
    {
        var array = new JsonArray();
        foreach (object? value in values)
        {
            array.Add(Value(value));
        }

        return array;
    }

    public static JsonNode? Value(object? value) => value switch
    {
        null => null,
        Guid id => id.ToString(),
        DateTimeOffset time => time.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'", CultureInfo.InvariantCulture),
        Enum number => Convert.ToInt32(number, CultureInfo.InvariantCulture),
        string text => text,
        long number => number,
        int number => number,
        float number => number,
        double number => number,
        _ => throw new NotSupportedException($"A {value.GetType().Name} cannot be filtered on."),
    };
}
