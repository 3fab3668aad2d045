using System.Threading.RateLimiting;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.DataProtection;
using Microsoft.AspNetCore.HostFiltering;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;
using ModelContextProtocol.AspNetCore;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Http.Page;
using RyzenLlm.Mcp.Settings;
using RyzenLlm.Mcp.Tools;

namespace RyzenLlm.Mcp.Http;

/// <summary>The MCP server over HTTP: Streamable HTTP in both protocol eras, and the older transport with server-sent events.</summary>
internal static class HttpServer
{
    /// <summary>Where the protocol is served; the older transport is at its /sse and /message.</summary>
    public const string McpPath = "/mcp";

    private static readonly TimeSpan LastMoment = TimeSpan.FromSeconds(2);
    private static readonly string[] OwnNames = ["localhost", "127.0.0.1", "[::1]"];

    /// <summary>Serves until the process is told to stop. Loads no model before a call needs one.</summary>
    /// <exception cref="SettingsException">The settings do not allow it; the message names the key.</exception>
    /// <param name="settings">How.</param>
    /// <param name="cancel">Tells it to stop.</param>
    /// <param name="add">Adds to what is served, or null.</param>
    public static async Task<int> RunAsync(AppSettings settings, CancellationToken cancel, Action<IMcpServerBuilder>? add = null)
    {
        var addresses = ListenAddress.Read(settings.Server);
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions { ContentRootPath = AppContext.BaseDirectory });
        ConfigureWebServer(builder.WebHost, settings.Server, addresses);
        ConfigureLogging(builder.Logging, settings.Log);
        var mcp = ConfigureServices(builder.Services, settings, addresses);
        add?.Invoke(mcp);
        builder.AddRyzenLlmTelemetry(settings, http: true);
        var tokens = AddAuthentication(builder.Services, settings);
        await using var app = builder.Build();
        UsePipeline(app, settings);
        try
        {
            await app.StartAsync(cancel).ConfigureAwait(false);
        }
        catch (IOException e)
        {
            throw new SettingsException($"Server:Urls {settings.Server.Urls} cannot be listened on: {e.Message}");
        }

        await AnnounceAsync(app, settings, tokens).ConfigureAwait(false);
        await app.WaitForShutdownAsync(cancel).ConfigureAwait(false);
        return 0;
    }

    private static void ConfigureWebServer(IWebHostBuilder web, ServerSettings server, ListenAddress[] addresses)
    {
        var certificate = ListenAddress.Certificate(server.Tls);
        web.UseKestrel(options =>
        {
            options.AddServerHeader = false;
            options.Limits.MaxRequestBodySize = server.Limits.RequestBytes;
            options.Limits.MaxRequestHeadersTotalSize = server.Limits.HeaderBytes;
            options.Limits.MaxConcurrentConnections = server.Limits.Connections;
            options.ConfigureHttpsDefaults(https => https.ServerCertificate = certificate);
        });
        web.UseUrls([.. addresses.Select(a => a.Url)]);
    }

    private static void ConfigureLogging(ILoggingBuilder logging, LogSettings log)
    {
        logging.AddConsole(console => console.LogToStandardErrorThreshold = LogLevel.Trace);
        logging.SetMinimumLevel(Enum.Parse<LogLevel>(log.Level, ignoreCase: true));
        logging.AddFilter("ModelContextProtocol.Server", LogLevel.Critical); // it logs every cancelled call as an error
        logging.AddFilter("Microsoft.AspNetCore.HostFiltering", LogLevel.Error);
        logging.AddFilter("Microsoft.Extensions.Hosting", LogLevel.Critical); // what keeps it from starting is said in one line at the end
        logging.Services.Configure<ConsoleLoggerOptions>(options => options.FormatterName = ConsoleFormatterNames.Simple);
    }

    private static IMcpServerBuilder ConfigureServices(IServiceCollection services, AppSettings settings, ListenAddress[] addresses)
    {
        var limits = settings.Server.Limits;
        services.Configure<HostOptions>(options => options.ShutdownTimeout = LastMoment);
        services.Configure<HostFilteringOptions>(options =>
        {
            options.AllowedHosts = [.. OwnNames, .. addresses.Select(a => a.Host).Where(host => host != "*"), .. settings.Server.AllowedHosts];
            options.AllowEmptyHosts = false;
            options.IncludeFailureMessage = false;
        });
        services.AddRouting();
        services.AddSingleton<LiveMetrics>();
        services.AddCors(cors => cors.AddDefaultPolicy(policy => policy
            .WithOrigins(settings.Server.AllowedOrigins)
            .AllowAnyHeader()
            .WithMethods(HttpMethods.Get, HttpMethods.Post, HttpMethods.Delete)
            .WithExposedHeaders("Mcp-Session-Id", "WWW-Authenticate", "Retry-After")));
        services.AddRateLimiter(rates =>
        {
            rates.GlobalLimiter = PartitionedRateLimiter.Create<HttpContext, string>(context => Partition(context, limits.RequestsPerMinute));
            rates.OnRejected = RefuseAsync;
        });
        return services.AddRyzenLlm(settings)
            .WithHttpTransport(http =>
            {
                http.SessionMode = HttpServerSessionMode.StatefulForInitializeClients;
#pragma warning disable MCP9004, MCP9006 // sessions and the older transport are deprecated, but what many clients in use speak
                http.EnableLegacySse = true;
                http.IdleTimeout = TimeSpan.FromMinutes(limits.SessionMinutes);
                http.MaxIdleSessionCount = limits.IdleSessions;
#pragma warning restore MCP9004, MCP9006
            })
            .WithRequestFilters(filters => filters.AddCallToolFilter(ToolAccess.Limit).AddCallToolFilter(RequestLifetime.Call));
    }

    private static TokenFile? AddAuthentication(IServiceCollection services, AppSettings settings)
    {
        services.AddAuthorization();
        services.AddAuthentication();
        ForgetDataProtection(services);
        if (settings.Server.Auth == "oauth")
        {
            OAuth.Add(services, settings.Server.OAuth);
            return null;
        }

        if (settings.Server.Auth == "none")
        {
            return null;
        }

        var tokens = TokenFile.Open(settings);
        services.AddSingleton(tokens);
        services.AddAuthentication(TokenAuthentication.SchemeName)
            .AddScheme<AuthenticationSchemeOptions, TokenAuthentication>(TokenAuthentication.SchemeName, null);
        return tokens;
    }

    // It comes with authentication for the sake of cookies, of which there are none here, and writes keys into the user's home when it starts.
    private static void ForgetDataProtection(IServiceCollection services)
    {
        services.AddDataProtection().UseEphemeralDataProtectionProvider();
        foreach (var starter in services.Where(s => s.ServiceType == typeof(IHostedService) && s.ImplementationType?.Assembly == typeof(EphemeralDataProtectionProvider).Assembly).ToList())
        {
            services.Remove(starter);
        }
    }

    private static void UsePipeline(WebApplication app, AppSettings settings)
    {
        app.Use(StatusPage.ProtectAsync);
        app.UseHostFiltering();
        app.UseMiddleware<OriginCheck>();
        app.UseRouting();
        app.UseCors();
        app.UseMiddleware<BodyCheck>();
        app.UseAuthentication();
        app.UseRateLimiter();
        app.UseAuthorization();
        app.Use(ScopeChallenge.CheckAsync);
        app.Use(RequestLifetime.FollowAsync);
        var callers = app.MapGroup("");
        if (settings.Server.Auth != "none")
        {
            callers.RequireAuthorization();
        }

        callers.MapMcp(McpPath);
        callers.MapRyzenLlmMetrics(settings);
        PageApi.Map(callers);
        StatusPage.Map(app);
        Health.Map(app);
        app.Services.GetRequiredService<LiveMetrics>(); // counts from the start
    }

    // By tenant; whoever is not let in shares one by address, so that guessing tokens is slow.
    private static RateLimitPartition<string> Partition(HttpContext context, int perMinute) => perMinute == 0
        ? RateLimitPartition.GetNoLimiter("")
        : RateLimitPartition.GetTokenBucketLimiter(
            context.User.FindFirst(Caller.TenantClaim) is { } tenant ? $"tenant {tenant.Value}" : $"address {context.Connection.RemoteIpAddress}",
            _ => new()
            {
                TokenLimit = perMinute,
                TokensPerPeriod = 1,
                ReplenishmentPeriod = TimeSpan.FromMinutes(1) / perMinute,
                QueueLimit = 0,
            });

    private static async ValueTask RefuseAsync(Microsoft.AspNetCore.RateLimiting.OnRejectedContext rejected, CancellationToken cancel)
    {
        var wait = rejected.Lease.TryGetMetadata(MetadataName.RetryAfter, out var after) ? Math.Max(1, (int)Math.Ceiling(after.TotalSeconds)) : 1;
        rejected.HttpContext.Response.Headers.RetryAfter = wait.ToString(System.Globalization.CultureInfo.InvariantCulture);
        await Refusal.WriteAsync(
            rejected.HttpContext, StatusCodes.Status429TooManyRequests, $"Too many requests: try again in {wait} s, or raise Server:Limits:RequestsPerMinute.").ConfigureAwait(false);
    }

    private static async Task AnnounceAsync(WebApplication app, AppSettings settings, TokenFile? tokens)
    {
        var listening = app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses;
        if (tokens is not null)
        {
            await Console.Error.WriteLineAsync(
                $"ryzenllm: clients send the header 'Authorization: Bearer TOKEN' with a token of {tokens.Path}{(tokens.IsNew ? ", made just now" : "")}.").ConfigureAwait(false);
        }
        else if (settings.Server.Auth == "none")
        {
            await Console.Error.WriteLineAsync("ryzenllm: Server:Auth is none: every program of every user of this computer may use this server.").ConfigureAwait(false);
        }

        // Last: whoever waits for it has read the rest.
        foreach (var address in listening)
        {
            await Console.Error.WriteLineAsync($"ryzenllm: serving MCP at {address}{McpPath} (older clients: {address}{McpPath}/sse)").ConfigureAwait(false);
        }
    }
}
