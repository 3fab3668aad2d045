using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace RyzenLlm.Memory.Tests.Qdrant;

/// <summary>Checks of request shapes.</summary>
internal static class QdrantShape
{
    public static void Keys(JsonObject json, params string[] allowed)
    {
        foreach (var (key, _) in json)
        {
            Require(allowed.Contains(key), $"unknown key '{key}'");
        }
    }

    public static void Require(bool holds, string otherwise)
    {
        if (!holds)
        {
            throw new QdrantRefusal(400, otherwise);
        }
    }

    public static void Dense(JsonObject dense)
    {
        Keys(dense, "size", "distance", "memory", "datatype");
        Require((int)dense["size"]! is >= 1 and <= 65536, "size must be 1..65536");
        Require((string?)dense["memory"] is null or "cold" or "cached", "dense storage refuses 'pinned'");
    }

    /// <summary>Checks a point's vectors; returns the name of one that the collection does not have, or null.</summary>
    public static string? Unknown(JsonObject vectors, JsonObject collection)
    {
        foreach (var (name, vector) in vectors)
        {
            if (name == "bm25")
            {
                Sparse(vector!.AsObject());
            }
            else if (collection[name] is { } config)
            {
                Require(vector!.AsArray().Count == (int)config["size"]!, $"Wrong input: Vector dimension error: expected dim: {config["size"]}, got {vector.AsArray().Count}");
            }
            else
            {
                return name;
            }
        }

        return null;
    }

    public static void Sparse(JsonObject sparse)
    {
        Keys(sparse, "indices", "values");
        long[] indices = [.. sparse["indices"]!.AsArray().Select(i => (long)i!)];
        if (indices.Distinct().Count() != indices.Length || indices.Length != sparse["values"]!.AsArray().Count || indices.Any(i => i is < 0 or > uint.MaxValue))
        {
            throw new QdrantRefusal(422, "Validation error in JSON body: [sparse: indices must be unique and as many as values]");
        }
    }

    /// <summary>Cosine vectors are normalised when written.</summary>
    public static JsonObject Normalised(JsonObject point)
    {
        foreach (var (name, vector) in point["vector"]!.AsObject().ToArray())
        {
            if (vector is JsonArray dense)
            {
                double norm = Math.Sqrt(dense.Sum(v => (double)v! * (double)v!));
                point["vector"]![name] = new JsonArray([.. dense.Select(v => JsonValue.Create((double)v! / (norm == 0 ? 1 : norm)))]);
            }
        }

        return point;
    }

    public static JsonNode Output(JsonObject point, JsonObject request, double? score = null)
    {
        var output = new JsonObject { ["id"] = point["id"]!.DeepClone() };
        if (score is { } value)
        {
            output["version"] = 1;
            output["score"] = value;
        }

        Require((bool?)request["with_payload"] == true, "with_payload is expected");
        output["payload"] = point["payload"]!.DeepClone();
        if (request["with_vector"] is JsonArray names)
        {
            var vectors = new JsonObject();
            foreach (string name in names.Select(n => (string)n!).Where(n => point["vector"]![n] is not null))
            {
                vectors[name] = point["vector"]![name]!.DeepClone();
            }

            output["vector"] = vectors;
        }

        return output;
    }
}

/// <summary>A filter that must name a tenant first.</summary>
internal sealed class QdrantMatch
{
    private readonly List<Predicate<JsonObject>> _tests = [];

    public static QdrantMatch Of(JsonNode? filter, HashSet<string> indexed)
    {
        QdrantShape.Require(filter is JsonObject, "a request without a filter reaches all tenants");
        JsonObject json = filter!.AsObject();
        QdrantShape.Keys(json, "must", "must_not");
        JsonArray must = json["must"]!.AsArray();
        QdrantShape.Require((string?)must[0]?["key"] == "tenant" && !string.IsNullOrEmpty((string?)must[0]?["match"]?["value"]), "the first condition must be the tenant");
        var match = new QdrantMatch();
        foreach (JsonNode? condition in must)
        {
            match._tests.Add(Test(condition!.AsObject(), indexed));
        }

        foreach (JsonNode? condition in json["must_not"] as JsonArray ?? [])
        {
            Predicate<JsonObject> test = Test(condition!.AsObject(), indexed);
            match._tests.Add(p => !test(p));
        }

        return match;
    }

    public bool Accepts(JsonObject point) => _tests.TrueForAll(test => test(point));

    private static Predicate<JsonObject> Test(JsonObject condition, HashSet<string> indexed)
    {
        if (condition["has_id"] is JsonArray ids)
        {
            QdrantShape.Keys(condition, "has_id");
            HashSet<string> set = [.. ids.Select(i => (string)i!)];
            return p => set.Contains((string)p["id"]!);
        }

        if ((string?)condition["has_vector"] is { } name)
        {
            QdrantShape.Keys(condition, "has_vector");
            return p => p["vector"]![name] is not null;
        }

        if (condition["is_empty"] is JsonObject empty)
        {
            QdrantShape.Keys(condition, "is_empty");
            string field = Indexed((string)empty["key"]!, indexed);
            return p => p["payload"]![field] is null or JsonArray { Count: 0 };
        }

        QdrantShape.Keys(condition, "key", "match", "range");
        string key = Indexed((string)condition["key"]!, indexed);
        if (condition["match"] is JsonObject match)
        {
            QdrantShape.Keys(match, "value", "any");
            HashSet<string> wanted = [.. match["any"] is JsonArray any ? any.Select(v => v!.ToJsonString()) : [match["value"]!.ToJsonString()]];
            return p => p["payload"]![key] switch
            {
                null => false,
                JsonArray list => list.Any(v => wanted.Contains(v!.ToJsonString())),
                JsonNode value => wanted.Contains(value.ToJsonString()),
            };
        }

        JsonObject range = condition["range"]!.AsObject();
        QdrantShape.Keys(range, "gte", "lte", "gt", "lt");
        return p => p["payload"]![key] is { } value
            && (range["gte"] is null || Sortable(value) >= Sortable(range["gte"]))
            && (range["lte"] is null || Sortable(value) <= Sortable(range["lte"]))
            && (range["gt"] is null || Sortable(value) > Sortable(range["gt"]))
            && (range["lt"] is null || Sortable(value) < Sortable(range["lt"]));
    }

    private static string Indexed(string field, HashSet<string> indexed)
    {
        QdrantShape.Require(indexed.Contains(field), $"Index required but not found for \"{field}\". Help: create an index for this key");
        return field;
    }

    public static decimal Sortable(JsonNode? value) => value switch
    {
        null => decimal.MinValue,
        JsonValue v when v.GetValueKind() == JsonValueKind.String =>
            DateTimeOffset.Parse((string)v!, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal).UtcTicks,
        JsonNode v => (decimal)(double)v,
    };
}
