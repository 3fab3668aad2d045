using System.ComponentModel.DataAnnotations;

namespace RyzenLlm.Mcp.Settings;

/// <summary>Metrics and traces.</summary>
public sealed record TelemetrySettings
{
    /// <summary>Where they are sent.</summary>
    public OtlpSettings Otlp { get; init; } = new();

    /// <summary>Whether the HTTP server answers GET /metrics in the format of Prometheus.</summary>
    public bool Prometheus { get; init; } = true;
}

/// <summary>A collector that speaks the OpenTelemetry protocol.</summary>
public sealed record OtlpSettings
{
    /// <summary>
    /// Its address, such as http://localhost:4318. Empty takes the standard variable OTEL_EXPORTER_OTLP_ENDPOINT (and those for single
    /// signals); without either nothing is sent.
    /// </summary>
    public string Endpoint { get; init; } = "";

    /// <summary>Protocol for that address; with the standard variables, OTEL_EXPORTER_OTLP_PROTOCOL decides.</summary>
    [AllowedValues("http/protobuf", "grpc")]
    public string Protocol { get; init; } = "http/protobuf";
}
