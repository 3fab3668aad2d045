using System.Globalization;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;

namespace RyzenLlm.Bench;

/// <summary>A benchmark that knows how much it does per call.</summary>
public interface ISized
{
    /// <summary>Bytes of weights that one call reads.</summary>
    double BytesPerCall { get; }

    /// <summary>Multiply-adds of one call.</summary>
    double MultiplyAddsPerCall { get; }
}

/// <summary>An amount per call over the median time of a call, in 10^9 per second.</summary>
public sealed class RateColumn(string name, string legend, Func<ISized, double> amount) : IColumn
{
    public string Id => nameof(RateColumn) + name;

    public string ColumnName => name;

    public string Legend => legend;

    public UnitType UnitType => UnitType.Dimensionless;

    public bool AlwaysShow => true;

    public ColumnCategory Category => ColumnCategory.Custom;

    public int PriorityInCategory => 0;

    public bool IsNumeric => true;

    public bool IsAvailable(Summary summary) => true;

    public bool IsDefault(Summary summary, BenchmarkCase benchmarkCase) => false;

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase)
    {
        var statistics = summary[benchmarkCase]?.ResultStatistics;
        if (statistics is null || Activator.CreateInstance(benchmarkCase.Descriptor.Type) is not ISized sized)
        {
            return "-";
        }

        foreach (var parameter in benchmarkCase.Parameters.Items)
        {
            benchmarkCase.Descriptor.Type.GetProperty(parameter.Name)?.SetValue(sized, parameter.Value);
        }

        return (amount(sized) / statistics.Median).ToString("F1", CultureInfo.InvariantCulture); // per nanosecond = 10^9 per second
    }

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase, SummaryStyle style) => GetValue(summary, benchmarkCase);

    public override string ToString() => ColumnName;
}
