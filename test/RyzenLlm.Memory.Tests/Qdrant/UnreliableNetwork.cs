namespace RyzenLlm.Memory.Tests.Qdrant;

/// <summary>How the way to the server misbehaves.</summary>
internal enum Fault
{
    None,

    /// <summary>No connection.</summary>
    Away,

    /// <summary>Requests are taken and never answered.</summary>
    Silent,

    /// <summary>The server does what writes ask for, but the connection breaks off before the answer.</summary>
    LosesAnswersToWrites,
}

/// <summary>The network between a store and its server, with a fault that can be switched on and off.</summary>
internal sealed class UnreliableNetwork() : DelegatingHandler(new SocketsHttpHandler { PooledConnectionIdleTimeout = TimeSpan.FromSeconds(3) })
{
    private int _requests;

    public Fault Fault { get; set; }

    /// <summary>Requests that the store made, answered or not.</summary>
    public int Requests => Volatile.Read(ref _requests);

    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _requests);
        if (Fault == Fault.Away)
        {
            throw new HttpRequestException("Connection refused");
        }

        if (Fault == Fault.Silent)
        {
            await Task.Delay(Timeout.InfiniteTimeSpan, cancellationToken);
        }

        HttpResponseMessage response = await base.SendAsync(request, cancellationToken);
        if (Fault == Fault.LosesAnswersToWrites && request.Method == HttpMethod.Put)
        {
            response.Dispose();
            throw new HttpRequestException("The response ended prematurely.");
        }

        return response;
    }
}
