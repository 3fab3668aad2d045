using System.Collections;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using OpenTelemetry;
using OpenTelemetry.Exporter;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;
using RyzenLlm.Engine.Telemetry;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>Sends or offers metrics and traces where the settings ask for it; otherwise nothing listens and nothing is measured.</summary>
internal static class Telemetry
{
    /// <summary>Path of the endpoint for Prometheus.</summary>
    public const string PrometheusPath = "/metrics";

    // Meter and activity source of the protocol library: a span for each request, which continues the traceparent of its _meta.
    private const string Protocol = "Experimental.ModelContextProtocol";

    /// <summary>Registers the exporters.</summary>
    /// <param name="builder">The server.</param>
    /// <param name="settings">Which exporters.</param>
    /// <param name="http">Whether <see cref="MapRyzenLlmMetrics"/> will be called.</param>
    /// <exception cref="SettingsException">The address of the collector is none.</exception>
    public static void AddRyzenLlmTelemetry(this IHostApplicationBuilder builder, AppSettings settings, bool http = false)
    {
        var traces = Target(settings.Telemetry.Otlp, "TRACES");
        var metrics = Target(settings.Telemetry.Otlp, "METRICS");
        var prometheus = http && settings.Telemetry.Prometheus;
        if (traces is null && metrics is null && !prometheus)
        {
            return;
        }

        // The exporters look for the standard variables in the configuration of the host, which need not hold the environment.
        builder.Configuration.AddInMemoryCollection(Environment.GetEnvironmentVariables().Cast<DictionaryEntry>()
            .Where(v => ((string)v.Key).StartsWith("OTEL_", StringComparison.Ordinal))
            .Select(v => KeyValuePair.Create((string)v.Key, (string?)v.Value)));
        var telemetry = builder.Services.AddOpenTelemetry().ConfigureResource(r => r.AddService(ProductInfo.Name, serviceVersion: ProductInfo.Version));
        if (traces is not null)
        {
            telemetry.WithTracing(t => t.AddSource(Instruments.Name, Protocol).AddOtlpExporter(traces));
        }

        if (metrics is not null || prometheus)
        {
            telemetry.WithMetrics(m =>
            {
                m.AddMeter(Instruments.Name, Protocol);
                if (metrics is not null)
                {
                    m.AddOtlpExporter(metrics);
                }

                if (prometheus)
                {
                    m.AddPrometheusExporter(options => options.ScrapeEndpointPath = PrometheusPath);
                }
            });
        }
    }

    /// <summary>Answers GET /metrics for Prometheus, after <see cref="AddRyzenLlmTelemetry"/> with http; null where the settings switch it off.</summary>
    public static IEndpointConventionBuilder? MapRyzenLlmMetrics(this IEndpointRouteBuilder endpoints, AppSettings settings) =>
        settings.Telemetry.Prometheus ? endpoints.MapPrometheusScrapingEndpoint(PrometheusPath) : null;

    // How the exporter of one signal is set up; null for none. The standard variables are read by the exporter itself.
    private static Action<OtlpExporterOptions>? Target(OtlpSettings settings, string signal)
    {
        if (settings.Endpoint.Length > 0)
        {
            if (!Uri.TryCreate(settings.Endpoint, UriKind.Absolute, out var address) || address.Scheme is not ("http" or "https"))
            {
                throw new SettingsException($"Setting Telemetry:Otlp:Endpoint is '{settings.Endpoint}' but must be an address such as http://localhost:4318.");
            }

            return options =>
            {
                var grpc = settings.Protocol == "grpc";
                options.Protocol = grpc ? OtlpExportProtocol.Grpc : OtlpExportProtocol.HttpProtobuf;
                options.Endpoint = grpc ? address : new Uri($"{settings.Endpoint.TrimEnd('/')}/v1/{signal.ToLowerInvariant()}");
            };
        }

        string[] variables = ["OTEL_EXPORTER_OTLP_ENDPOINT", $"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"];
        return variables.Any(name => !string.IsNullOrEmpty(Environment.GetEnvironmentVariable(name))) ? static _ => { } : null;
    }
}
