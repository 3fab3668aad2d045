using System.Net;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace RyzenLlm.Memory.Tests.Qdrant;

/// <summary>
/// An HTTP server in this process that speaks the part of Qdrant 1.19's REST interface that the store uses. It checks
/// the shape of every request against that interface (an unknown key, an unindexed filter field or a missing tenant is
/// an error that fails the test) and ranks like the server: dot products, idf over the given corpus, formula fusion.
/// </summary>
internal sealed class FakeQdrant : IDisposable
{
    private readonly HttpListener _listener;
    private readonly Lock _lock = new();
    private readonly Dictionary<string, JsonObject> _points = [];
    private readonly HashSet<string> _indexed = [];
    private JsonObject? _collection;

    public FakeQdrant()
    {
        (_listener, Url) = Listen(attempts: 50);
        _ = ServeAsync();
    }

    private static (HttpListener Listener, string Url) Listen(int attempts)
    {
        string url = $"http://127.0.0.1:{Random.Shared.Next(20_000, 60_000)}/";
        var listener = new HttpListener { Prefixes = { url } };
        try
        {
            listener.Start();
            return (listener, url);
        }
        catch (HttpListenerException) when (attempts > 1)
        {
            listener.Close();
            return Listen(attempts - 1);
        }
    }

    public string Url { get; }

    public string ServerVersion { get; set; } = "1.19.0";

    public string ApiKey { get; set; } = "";

    /// <summary>Requests that broke the interface.</summary>
    public List<string> Violations { get; } = [];

    /// <summary>Method and path of every request, in order.</summary>
    public List<string> Requests { get; } = [];

    /// <summary>Answers to give instead of the real one, first to last; a null lets the request through.</summary>
    public Queue<(int Status, string Body)?> Faults { get; } = new();

    /// <summary>Names of the dense vectors that the points may have.</summary>
    public string[] VectorNames
    {
        get
        {
            lock (_lock)
            {
                return [.. DenseVectors.Select(v => v.Key)];
            }
        }
    }

    /// <summary>Names of the vectors that any point has.</summary>
    public string[] VectorsOfPoints
    {
        get
        {
            lock (_lock)
            {
                return [.. _points.Values.SelectMany(p => p["vector"]!.AsObject().Select(v => v.Key)).Distinct().Order()];
            }
        }
    }

    public int PointCount
    {
        get
        {
            lock (_lock)
            {
                return _points.Count;
            }
        }
    }

    private async Task ServeAsync()
    {
        while (_listener.IsListening)
        {
            HttpListenerContext context;
            try
            {
                context = await _listener.GetContextAsync();
            }
            catch (Exception e) when (e is HttpListenerException or ObjectDisposedException)
            {
                return;
            }

            using var reader = new StreamReader(context.Request.InputStream);
            string body = await reader.ReadToEndAsync();
            var (status, text) = Handle(context.Request, body);
            byte[] bytes = Encoding.UTF8.GetBytes(text);
            context.Response.StatusCode = status;
            context.Response.ContentType = text.StartsWith('{') ? "application/json" : "text/plain";
            context.Response.ContentLength64 = bytes.Length; // one packet: pieces would wait for the client's acknowledgements
            try
            {
                await context.Response.OutputStream.WriteAsync(bytes);
                context.Response.Close();
            }
            catch (HttpListenerException)
            {
                // The client gave up waiting.
            }
        }
    }

    private (int Status, string Text) Handle(HttpListenerRequest request, string body)
    {
        lock (_lock)
        {
            string path = request.Url!.AbsolutePath;
            Requests.Add($"{request.HttpMethod} {path}");
            if (path is not ("/" or "/readyz" or "/healthz" or "/livez") && ApiKey.Length > 0 && request.Headers["api-key"] != ApiKey)
            {
                return (401, "Must provide an API key or an Authorization bearer token");
            }

            if (Faults.TryDequeue(out var fault) && fault is { } answer)
            {
                return answer;
            }

            try
            {
                return path switch
                {
                    "/" => (200, $$"""{"title":"qdrant - vector search engine","version":"{{ServerVersion}}","commit":"0"}"""),
                    "/readyz" => (200, "all shards are ready"),
                    _ => Route(request.HttpMethod, path, request.QueryString["wait"], body.Length == 0 ? null : JsonNode.Parse(body)!.AsObject()),
                };
            }
            catch (QdrantRefusal refusal)
            {
                Violations.Add($"{request.HttpMethod} {path}: {refusal.Message}");
                return (refusal.Status, Envelope(null, refusal.Message));
            }
            catch (Exception e)
            {
                Violations.Add($"{request.HttpMethod} {path}: the fake failed: {e}");
                return (500, Envelope(null, e.Message));
            }
        }
    }

    private (int Status, string Text) Route(string method, string path, string? wait, JsonObject? body)
    {
        string[] parts = path.Trim('/').Split('/');
        if (parts.Length < 2 || parts[0] != "collections")
        {
            throw new QdrantRefusal(404, "no such path");
        }

        string action = string.Join('/', parts.Skip(2));
        if (method == "GET" && action == "exists")
        {
            return Ok(new JsonObject { ["exists"] = _collection is not null });
        }

        if (method == "PUT" && action.Length == 0)
        {
            return Create(body!);
        }

        if (_collection is null)
        {
            return (404, Envelope(null, $"Not found: Collection `{parts[1]}` doesn't exist!"));
        }

        if (action.StartsWith("vectors/", StringComparison.Ordinal))
        {
            return Vector(method, parts[3], wait, body);
        }

        bool write = action is "points" or "points/vectors" or "points/delete" or "index";
        if (write && wait != "true")
        {
            throw new QdrantRefusal(400, "this store promises writes that can be read at once: wait=true is missing");
        }

        return (method, action) switch
        {
            ("GET", "") => Ok(Info()),
            ("PATCH", "") => Patch(body!),
            ("PUT", "index") => Index(body!),
            ("PUT", "points") => Upsert(body!),
            ("PUT", "points/vectors") => UpdateVectors(body!),
            ("POST", "points/delete") => Delete(body!),
            ("POST", "points/count") => Count(body!),
            ("POST", "points/scroll") => Scroll(body!),
            ("POST", "points/query") => Query(body!),
            ("POST", "facet") => Facet(body!),
            _ => throw new QdrantRefusal(404, $"{method} {path} is no request of this interface"),
        };
    }

    private (int Status, string Text) Create(JsonObject body)
    {
        QdrantShape.Keys(body, "vectors", "sparse_vectors", "hnsw_config", "on_disk_payload", "metadata", "strict_mode_config", "replication_factor", "write_consistency_factor");
        QdrantShape.Dense(body["vectors"]!["dense"]!.AsObject());
        QdrantShape.Keys(body["sparse_vectors"]!["bm25"]!.AsObject(), "modifier", "index");
        QdrantShape.Keys(body["hnsw_config"]!.AsObject(), "m", "payload_m", "ef_construct");
        QdrantShape.Keys(
            body["strict_mode_config"]!.AsObject(), "enabled", "max_query_limit", "unindexed_filtering_retrieve", "unindexed_filtering_update",
            "upsert_max_batchsize", "search_max_batchsize", "filter_max_conditions", "search_allow_exact", "max_timeout");
        if (_collection is not null)
        {
            return (409, Envelope(null, "Wrong input: Collection `rsu` already exists!"));
        }

        _collection = body.DeepClone().AsObject();
        return Ok(true);
    }

    private JsonObject DenseVectors => _collection!["vectors"]!.AsObject();

    private (int Status, string Text) Query(JsonObject body)
    {
        JsonObject[] searches = [body, .. (body["prefetch"] as JsonArray ?? []).Select(p => p!.AsObject())];
        if (searches.Select(s => (string?)s["using"]).FirstOrDefault(name => name is not null and not "bm25" && !DenseVectors.ContainsKey(name)) is { } unknown)
        {
            return (400, Envelope(null, $"Wrong input: Not existing vector name error: {unknown}"));
        }

        return Ok(new JsonObject { ["points"] = new FakeQdrantQuery(_points, _indexed, ServerVersion).Run(body) });
    }

    // Came with 1.18. Creating one that exists with the same configuration changes nothing; deleting takes its values from all points.
    private (int Status, string Text) Vector(string method, string name, string? wait, JsonObject? body)
    {
        QdrantShape.Require(Version.Parse(ServerVersion) >= new Version(1, 18) && wait == "true", "vectors are added and deleted from 1.18 on, and waited for");
        QdrantShape.Require(name.Length <= 200 && name.IndexOfAny(['<', '>', ':', '"', '/', '\\', '|', '?', '*']) < 0, $"'{name}' is no name of a vector");
        if (method == "PUT")
        {
            QdrantShape.Keys(body!, "dense");
            QdrantShape.Dense(body!["dense"]!.AsObject());
            DenseVectors[name] = body["dense"]!.DeepClone();
        }
        else
        {
            QdrantShape.Require(method == "DELETE" && DenseVectors.Remove(name), $"there is no vector {name} to {method}");
            foreach (JsonObject point in _points.Values)
            {
                point["vector"]!.AsObject().Remove(name);
            }
        }

        return Ok(true);
    }

    private (int Status, string Text) Patch(JsonObject body)
    {
        QdrantShape.Keys(body, "metadata");
        foreach (var (key, value) in body["metadata"]!.AsObject())
        {
            _collection!["metadata"]![key] = value?.DeepClone();
        }

        return Ok(true);
    }

    private JsonObject Info() => new()
    {
        ["status"] = "green",
        ["points_count"] = _points.Count,
        ["config"] = new JsonObject
        {
            ["params"] = new JsonObject { ["vectors"] = _collection!["vectors"]!.DeepClone(), ["sparse_vectors"] = _collection["sparse_vectors"]!.DeepClone() },
            ["metadata"] = _collection["metadata"]?.DeepClone(),
        },
    };

    private (int Status, string Text) Index(JsonObject body)
    {
        QdrantShape.Keys(body, "field_name", "field_schema");
        JsonObject schema = body["field_schema"]!.AsObject();
        QdrantShape.Keys(schema, (string)schema["type"]! switch
        {
            "keyword" => ["type", "is_tenant", "enable_hnsw", "prefix"],
            "integer" => ["type", "lookup", "range", "enable_hnsw", "is_principal"],
            "datetime" or "float" => ["type", "enable_hnsw", "is_principal"],
            var other => throw new QdrantRefusal(400, $"unknown index type {other}"),
        });
        _indexed.Add((string)body["field_name"]!);
        return Ok(new JsonObject { ["operation_id"] = 1, ["status"] = "completed" });
    }

    private (int Status, string Text) Upsert(JsonObject body)
    {
        QdrantShape.Keys(body, "points", "update_mode", "update_filter");
        JsonArray points = body["points"]!.AsArray();
        QdrantShape.Require(points.Count is > 0 and <= 256, "batches have 1 to 256 points");
        foreach (JsonNode? node in points)
        {
            JsonObject point = node!.AsObject();
            QdrantShape.Keys(point, "id", "vector", "payload");
            if (QdrantShape.Unknown(point["vector"]!.AsObject(), DenseVectors) is { } name)
            {
                return (400, Envelope(null, $"Wrong input: Not existing vector name error: {name}"));
            }

            QdrantShape.Require(!string.IsNullOrEmpty((string?)point["payload"]!["tenant"]), "a point without a tenant");
            _points[Guid.Parse((string)point["id"]!).ToString()] = QdrantShape.Normalised(point.DeepClone().AsObject());
        }

        return Ok(new JsonObject { ["operation_id"] = 1, ["status"] = "completed" });
    }

    private (int Status, string Text) UpdateVectors(JsonObject body)
    {
        QdrantShape.Keys(body, "points", "update_filter");
        foreach (JsonNode? node in body["points"]!.AsArray())
        {
            QdrantShape.Keys(node!.AsObject(), "id", "vector");
            if (QdrantShape.Unknown(node["vector"]!.AsObject(), DenseVectors) is { } missing)
            {
                return (400, Envelope(null, $"Wrong input: Not existing vector name error: {missing}"));
            }

            if (!_points.TryGetValue((string)node["id"]!, out JsonObject? point))
            {
                return (404, Envelope(null, $"Not found: No point with id {node["id"]} found"));
            }

            foreach (var (name, vector) in QdrantShape.Normalised(node.DeepClone().AsObject())["vector"]!.AsObject())
            {
                point["vector"]![name] = vector!.DeepClone();
            }
        }

        return Ok(new JsonObject { ["operation_id"] = 1, ["status"] = "completed" });
    }

    private (int Status, string Text) Delete(JsonObject body)
    {
        QdrantShape.Keys(body, "filter");
        QdrantMatch match = QdrantMatch.Of(body["filter"], _indexed);
        foreach (string id in _points.Where(p => match.Accepts(p.Value)).Select(p => p.Key).ToArray())
        {
            _points.Remove(id);
        }

        return Ok(new JsonObject { ["operation_id"] = 1, ["status"] = "completed" });
    }

    private (int Status, string Text) Count(JsonObject body)
    {
        QdrantShape.Keys(body, "filter", "exact");
        QdrantMatch match = QdrantMatch.Of(body["filter"], _indexed);
        return Ok(new JsonObject { ["count"] = _points.Values.Count(match.Accepts) });
    }

    private (int Status, string Text) Scroll(JsonObject body)
    {
        QdrantShape.Keys(body, "filter", "limit", "offset", "with_payload", "with_vector", "order_by");
        int limit = (int)body["limit"]!;
        QdrantShape.Require(limit is >= 1 and <= 256, "strict mode: limit is above max_query_limit. Help: lower it");
        QdrantMatch match = QdrantMatch.Of(body["filter"], _indexed);
        IEnumerable<JsonObject> found = _points.Values.Where(match.Accepts);
        if (body["order_by"] is JsonObject order)
        {
            QdrantShape.Keys(order, "key", "direction", "start_from");
            string key = (string)order["key"]!;
            QdrantShape.Require(_indexed.Contains(key) && body["offset"] is null, "order_by needs an index and takes no offset");
            found = found.OrderBy(p => QdrantMatch.Sortable(p["payload"]![key]));
            found = (string?)order["direction"] == "desc" ? found.Reverse() : found;
        }
        else
        {
            string from = (string?)body["offset"] ?? "";
            found = found.OrderBy(p => (string)p["id"]!, StringComparer.Ordinal).Where(p => string.CompareOrdinal((string)p["id"]!, from) >= 0);
        }

        JsonObject[] page = [.. found.Take(limit + 1)];
        return Ok(new JsonObject
        {
            ["points"] = new JsonArray([.. page.Take(limit).Select(p => QdrantShape.Output(p, body))]),
            ["next_page_offset"] = page.Length > limit && body["order_by"] is null ? page[limit]["id"]!.DeepClone() : null,
        });
    }

    private (int Status, string Text) Facet(JsonObject body)
    {
        QdrantShape.Keys(body, "key", "limit", "exact", "filter");
        string key = (string)body["key"]!;
        QdrantShape.Require(_indexed.Contains(key), $"facet needs an index on {key}");
        var hits = _points.Values.GroupBy(p => (string)p["payload"]![key]!).Select(g => new JsonObject { ["value"] = g.Key, ["count"] = g.Count() });
        return Ok(new JsonObject { ["hits"] = new JsonArray([.. hits]) });
    }

    private static (int, string) Ok(JsonNode result) => (200, Envelope(result, null));

    private static string Envelope(JsonNode? result, string? error) => new JsonObject
    {
        ["result"] = result,
        ["status"] = error is null ? "ok" : new JsonObject { ["error"] = error },
        ["time"] = 0.001,
    }.ToJsonString(JsonSerializerOptions.Default);

    public void Dispose() => _listener.Abort(); // closing waits a second for connections that are kept alive
}

/// <summary>An answer with an error status.</summary>
internal sealed class QdrantRefusal(int status, string message) : Exception(message)
{
    public int Status { get; } = status;
}
