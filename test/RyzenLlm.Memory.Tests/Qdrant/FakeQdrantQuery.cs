using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;

namespace RyzenLlm.Memory.Tests.Qdrant;

/// <summary>Runs <c>points/query</c>: nearest by dense or sparse vector, and a formula over two prefetches.</summary>
internal sealed class FakeQdrantQuery(Dictionary<string, JsonObject> points, HashSet<string> indexed, string version)
{
    public JsonArray Run(JsonObject body)
    {
        QdrantShape.Keys(body, "prefetch", "query", "using", "filter", "limit", "params", "with_payload", "with_vector", "score_threshold", "offset");
        int limit = (int)body["limit"]!;
        QdrantShape.Require(limit is >= 1 and <= 256, "strict mode: limit is above max_query_limit. Help: lower it");
        JsonObject[] candidates = Candidates(body["filter"]);
        IEnumerable<(string Id, double Score)> ranked;
        if (body["prefetch"] is JsonArray prefetches)
        {
            var lists = prefetches.Select(p => Prefetch(p!.AsObject(), candidates, limit)).ToArray();
            ranked = Formula(body["query"]!.AsObject(), lists);
        }
        else
        {
            ranked = Nearest(body, candidates);
        }

        var results = new JsonArray();
        foreach (var (id, score) in ranked.OrderByDescending(r => r.Score).ThenBy(r => r.Id, StringComparer.Ordinal).Take(limit))
        {
            results.Add(QdrantShape.Output(points[id], body, score));
        }

        return results;
    }

    private JsonObject[] Candidates(JsonNode? filter)
    {
        QdrantMatch match = QdrantMatch.Of(filter, indexed);
        return [.. points.Values.Where(match.Accepts)];
    }

    private Dictionary<string, double> Prefetch(JsonObject prefetch, JsonObject[] candidates, int outerLimit)
    {
        QdrantShape.Keys(prefetch, "query", "using", "limit", "params", "score_threshold", "filter");
        int limit = (int)prefetch["limit"]!;
        QdrantShape.Require(limit >= outerLimit && limit <= 256, "a prefetch needs at least the outer limit");
        double threshold = (double?)prefetch["score_threshold"] ?? double.NegativeInfinity;
        return Nearest(prefetch, candidates).Where(r => r.Score >= threshold).OrderByDescending(r => r.Score).ThenBy(r => r.Id, StringComparer.Ordinal).Take(limit).ToDictionary(r => r.Id, r => r.Score);
    }

    private IEnumerable<(string Id, double Score)> Nearest(JsonObject search, JsonObject[] candidates) => (string)search["using"]! switch
    {
        "bm25" => Sparse(search, candidates),
        var name => Dense(name, search["query"]!.AsArray(), candidates),
    };

    private static IEnumerable<(string, double)> Dense(string name, JsonArray query, JsonObject[] candidates)
    {
        double[] q = [.. query.Select(v => (double)v!)];
        double norm = Math.Sqrt(q.Sum(v => v * v));
        foreach (JsonObject point in candidates)
        {
            if (point["vector"]![name] is JsonArray dense)
            {
                QdrantShape.Require(dense.Count == q.Length, "Wrong input: Vector dimension error");
                double[] d = ParsedDense.GetValue(dense, node => [.. node.AsArray().Select(v => (double)v!)]);
                yield return ((string)point["id"]!, d.Zip(q, (a, b) => a * b).Sum() / norm);
            }
        }
    }

    private IEnumerable<(string, double)> Sparse(JsonObject search, JsonObject[] candidates)
    {
        JsonObject query = search["query"]!.AsObject();
        QdrantShape.Sparse(query);
        QdrantShape.Require(query["indices"]!.AsArray().Count > 0, "an empty sparse query");
        JsonObject[] corpus = [.. points.Values];
        if (Version.Parse(version) >= new Version(1, 19))
        {
            QdrantShape.Require(search["params"]?["idf"]?["corpus"] is not null, "idf over all tenants leaks between them: params.idf.corpus is missing");
            corpus = Candidates(search["params"]!["idf"]!["corpus"]);
        }
        else
        {
            QdrantShape.Require(search["params"]?["idf"] is null, "params.idf came with 1.19");
        }

        var weights = new Dictionary<uint, double>();
        for (int i = 0; i < query["indices"]!.AsArray().Count; i++)
        {
            uint term = (uint)query["indices"]![i]!;
            int holding = corpus.Count(p => Value(p, term) != 0);
            weights[term] = (double)query["values"]![i]! * Math.Log((corpus.Length - holding + 0.5) / (holding + 0.5) + 1);
        }

        foreach (JsonObject point in candidates)
        {
            double score = weights.Sum(w => w.Value * Value(point, w.Key));
            if (weights.Keys.Any(term => Value(point, term) != 0))
            {
                yield return ((string)point["id"]!, score);
            }
        }
    }

    private static readonly ConditionalWeakTable<JsonNode, Dictionary<uint, double>> Parsed = [];

    private static readonly ConditionalWeakTable<JsonNode, double[]> ParsedDense = [];

    private static double Value(JsonObject point, uint term) =>
        Parsed.GetValue(point["vector"]!["bm25"]!, Parse).GetValueOrDefault(term);

    private static Dictionary<uint, double> Parse(JsonNode sparse)
    {
        JsonArray indices = sparse["indices"]!.AsArray(), values = sparse["values"]!.AsArray();
        return indices.Select((index, i) => (Index: (uint)index!, Value: (double)values[i]!)).ToDictionary(p => p.Index, p => p.Value);
    }

    /// <summary>Evaluates a sum of variables, constants and products; a point missing from a list takes the default.</summary>
    private static IEnumerable<(string, double)> Formula(JsonObject query, Dictionary<string, double>[] lists)
    {
        QdrantShape.Keys(query, "formula", "defaults");
        foreach (string id in lists.SelectMany(l => l.Keys).Distinct())
        {
            yield return (id, Evaluate(query["formula"]!));
            double Evaluate(JsonNode node) => node switch
            {
                JsonObject o when o["sum"] is JsonArray sum => sum.Sum(n => Evaluate(n!)),
                JsonObject o when o["mult"] is JsonArray product => product.Aggregate(1.0, (a, n) => a * Evaluate(n!)),
                JsonValue v when v.GetValueKind() == System.Text.Json.JsonValueKind.String => Variable((string)v!),
                JsonValue v => (double)v,
                _ => throw new QdrantRefusal(400, $"unknown expression {node}"),
            };
            double Variable(string name)
            {
                int list = name switch { "$score" or "$score[0]" => 0, "$score[1]" => 1, _ => throw new QdrantRefusal(400, $"unknown variable {name}") };
                return lists[list].TryGetValue(id, out double score) ? score
                    : (double?)query["defaults"]?[name] ?? throw new QdrantRefusal(400, $"No value for {name} and no default");
            }
        }
    }
}
