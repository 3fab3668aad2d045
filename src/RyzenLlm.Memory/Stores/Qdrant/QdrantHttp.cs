using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Http.Resilience;
using Microsoft.Extensions.VectorData;
using Polly;
using Polly.CircuitBreaker;
using Polly.Timeout;

namespace RyzenLlm.Memory.Stores.Qdrant;

/// <summary>Requests to a Qdrant server: key, retries, and errors in words.</summary>
internal sealed class QdrantHttp : IDisposable
{
    private const int Attempts = 3;
    private static readonly TimeSpan Rest = TimeSpan.FromSeconds(5);
    private readonly HttpClient _client;
    private readonly QdrantOptions _options;

    public QdrantHttp(QdrantOptions options, HttpMessageHandler? inner = null, TimeProvider? clock = null)
    {
        _options = options;
        if (!Uri.TryCreate(options.Url, UriKind.Absolute, out Uri? url) || url.Scheme is not ("http" or "https"))
        {
            throw new ArgumentException($"Memory:Qdrant:Url is '{options.Url}'; give an address such as http://localhost:6333.");
        }

        var handler = new ResilienceHandler(Pipeline(options, clock ?? TimeProvider.System))
        {
            // The server closes idle connections after five seconds; ours go first.
            InnerHandler = inner ?? new SocketsHttpHandler { PooledConnectionIdleTimeout = TimeSpan.FromSeconds(3) },
        };
        _client = new HttpClient(handler) { BaseAddress = url, Timeout = TimeSpan.FromSeconds(4 * (options.TimeoutSeconds + 2)) };
        if (options.ApiKey.Length > 0)
        {
            _client.DefaultRequestHeaders.Add("api-key", options.ApiKey);
        }
    }

    /// <summary>Sends a request and returns its <c>result</c>; null where the server says 404 and <paramref name="missing"/> allows it.</summary>
    /// <exception cref="VectorStoreException">The server refused; the message says what to do.</exception>
    /// <exception cref="StoreUnavailableException">It cannot be reached, failed, or is too slow.</exception>
    public async Task<JsonNode?> SendAsync(HttpMethod method, string path, JsonNode? body, CancellationToken cancellationToken, bool missing = false)
    {
        try
        {
            using var request = new HttpRequestMessage(method, path) { Content = body is null ? null : JsonContent.Create(body) };
            using HttpResponseMessage response = await _client.SendAsync(request, cancellationToken).ConfigureAwait(false);
            string text = await response.Content.ReadAsStringAsync(cancellationToken).ConfigureAwait(false);
            if (response.IsSuccessStatusCode)
            {
                return Result(path, text);
            }

            return missing && response.StatusCode == HttpStatusCode.NotFound ? null : throw Refused(path, response.StatusCode, text);
        }
        catch (HttpRequestException e)
        {
            throw new StoreUnavailableException($"Qdrant at {_options.Url} cannot be reached ({e.Message}). Is it running, and is Memory:Qdrant:Url right?", e);
        }
        catch (BrokenCircuitException e)
        {
            throw new StoreUnavailableException($"Qdrant at {_options.Url} failed repeatedly and is left alone for {Rest.TotalSeconds:F0} s.", e);
        }
        catch (IOException e)
        {
            throw new StoreUnavailableException($"The connection to Qdrant at {_options.Url} broke off ({e.Message}).", e);
        }
        catch (Exception e) when (e is TimeoutRejectedException || (e is TaskCanceledException && !cancellationToken.IsCancellationRequested))
        {
            throw new StoreUnavailableException($"Qdrant at {_options.Url} did not answer in {_client.Timeout.TotalSeconds:F0} s.", e);
        }
    }

    private JsonNode? Result(string path, string text)
    {
        JsonNode? json = Parse(text);
        JsonNode? result = path == "/" ? json : json?["result"];
        return result is JsonObject o && o["status"] is JsonValue status && status.GetValueKind() == JsonValueKind.String && (string?)status == "wait_timeout"
            ? throw new StoreUnavailableException(
                $"Qdrant took the write but did not finish it in {_options.TimeoutSeconds} s. It is queued and will be done: look at the server's load.")
            : result;
    }

    private VectorStoreException Refused(string path, HttpStatusCode code, string text)
    {
        string said = Parse(text)?["status"] is JsonObject status ? (string?)status["error"] ?? text : text;
        string advice = (int)code switch
        {
            401 => "Set Memory:Qdrant:ApiKey to a key that the server knows.",
            403 => "The key lacks the right to write this collection: use a read-write key.",
            404 => "The collection does not exist: open the store before using it.",
            408 => "The server was too slow: ask for less, or raise Memory:Qdrant:TimeoutSeconds.",
            429 => "The server limits the rate: try again later.",
            507 => "The server's disk or memory quota is used up: nothing was written; reads go on.",
            _ => "The server's log may say more.",
        };
        string message = $"Qdrant refused {path.Split('?')[0]} with {(int)code}: {said.Trim()} {advice}";
        if ((int)code is 408 or 429 or >= 500)
        {
            return new StoreUnavailableException(message);
        }

        return new VectorStoreException(message)
        {
            VectorStoreSystemName = "qdrant",
            CollectionName = _options.Collection,
            OperationName = path.Split('?')[0],
        };
    }

    /// <summary>Bodies of 401 and of proxies are plain text.</summary>
    private static JsonNode? Parse(string text)
    {
        try
        {
            return text.Length == 0 ? null : JsonNode.Parse(text);
        }
        catch (JsonException)
        {
            return null;
        }
    }

    /// <summary>
    /// All our writes name their points or a filter, so repeating one is safe; a 408 on a write is not repeated as it may still run. Each
    /// attempt has its time, and after repeated failures the server is left alone for a while.
    /// </summary>
    private static ResiliencePipeline<HttpResponseMessage> Pipeline(QdrantOptions options, TimeProvider clock) =>
        new ResiliencePipelineBuilder<HttpResponseMessage> { TimeProvider = clock }
            .AddRetry(new HttpRetryStrategyOptions
            {
                MaxRetryAttempts = Attempts - 1,
                Delay = TimeSpan.FromMilliseconds(200),
                UseJitter = true,
                ShouldHandle = outcome => ValueTask.FromResult(
                    IsOutage(outcome.Outcome)
                    || (outcome.Outcome.Result?.StatusCode == HttpStatusCode.RequestTimeout
                        && outcome.Outcome.Result.RequestMessage?.RequestUri?.AbsolutePath is { } path
                        && (path.EndsWith("/query", StringComparison.Ordinal) || path.EndsWith("/scroll", StringComparison.Ordinal) || path.EndsWith("/count", StringComparison.Ordinal)))),
            })
            .AddCircuitBreaker(new HttpCircuitBreakerStrategyOptions
            {
                FailureRatio = 0.8,
                MinimumThroughput = 6,
                SamplingDuration = TimeSpan.FromSeconds(30),
                BreakDuration = Rest,
                ShouldHandle = outcome => ValueTask.FromResult(IsOutage(outcome.Outcome) || outcome.Outcome.Exception is TimeoutRejectedException),
            })
            .AddTimeout(TimeSpan.FromSeconds(options.TimeoutSeconds + 2))
            .Build();

    private static bool IsOutage(Outcome<HttpResponseMessage> outcome) => outcome.Exception is HttpRequestException
        || outcome.Result?.StatusCode is HttpStatusCode.TooManyRequests or HttpStatusCode.ServiceUnavailable or HttpStatusCode.BadGateway;

    public void Dispose() => _client.Dispose();
}
