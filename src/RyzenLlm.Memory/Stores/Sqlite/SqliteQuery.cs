using System.Collections;
using System.Text;
using Microsoft.Data.Sqlite;

namespace RyzenLlm.Memory.Stores.Sqlite;

/// <summary>Turns the conditions of a filter into SQL with parameters; every statement over units gets its WHERE from here.</summary>
internal static class SqliteQuery
{
    /// <summary>
    /// A command of the given text with <c>{where}</c> replaced. The tenant condition becomes a comparison with the
    /// tenant's number, which is the leading column of every index.
    /// </summary>
    public static SqliteCommand Command(SqliteConnection connection, string sql, RsuFilter filter)
    {
        SqliteCommand command = connection.CreateCommand();
        var where = new StringBuilder();
        foreach (Condition condition in filter.Conditions())
        {
            where.Append(where.Length == 0 ? "" : " AND ").Append(Term(command, condition, filter));
        }

        command.CommandText = sql.Replace("{where}", where.ToString(), StringComparison.Ordinal);
        return command;
    }

    private static string Term(SqliteCommand command, Condition condition, RsuFilter filter) => (condition.Field, condition.Comparison) switch
    {
        // The plus keeps the planner from reading the whole tenant where the sketch names the rows.
        ("tenant", _) => $"{(filter.Sketch is null ? "" : "+")}u.tenant = (SELECT number FROM tenants WHERE name = {Parameter(command, condition.Value)})",
        ("sketch", _) => Sketch(Values(command, condition.Value)),
        (_, Comparison.LacksVector) => $"NOT EXISTS (SELECT 1 FROM vectors WHERE row = u.row AND embedder = {Parameter(command, condition.Value)})",
        (var field, Comparison.Equal) => $"u.{field} = {Parameter(command, condition.Value)}",
        (var field, Comparison.AnyOf) => $"u.{field} IN ({Values(command, condition.Value)})",
        (var field, Comparison.AtLeast) => $"u.{field} >= {Parameter(command, condition.Value)}",
        (var field, Comparison.AtMost) => $"u.{field} <= {Parameter(command, condition.Value)}",
        (var field, Comparison.Absent) => $"u.{field} IS NULL",
        (var field, Comparison.AbsentOrAfter) => $"(u.{field} IS NULL OR u.{field} > {Parameter(command, condition.Value)})",
        _ => throw new NotSupportedException($"Unknown comparison {condition.Comparison}."),
    };

    /// <summary>As rows of two index look-ups: an OR over both columns would read the whole tenant. The tenant is parameter 0 always.</summary>
    private static string Sketch(string values)
    {
        const string mine = "FROM units WHERE tenant = (SELECT number FROM tenants WHERE name = $c0) AND";
        return $"u.row IN (SELECT row {mine} sketch_a IN ({values}) UNION ALL SELECT row {mine} sketch_b IN ({values}))";
    }

    private static string Values(SqliteCommand command, object? values) =>
        string.Join(", ", ((IEnumerable)values!).Cast<object>().Select(v => Parameter(command, v)));

    private static string Parameter(SqliteCommand command, object? value)
    {
        string name = $"$c{command.Parameters.Count}";
        command.Parameters.AddWithValue(name, ToStored(value));
        return name;
    }

    /// <summary>Ids are stored as 16 bytes, times as microseconds since 1970, enumerations as numbers.</summary>
    public static object ToStored(object? value) => value switch
    {
        null => DBNull.Value,
        Guid id => id.ToByteArray(bigEndian: true),
        DateTimeOffset time => ToMicroseconds(time),
        Enum number => Convert.ToInt64(number, System.Globalization.CultureInfo.InvariantCulture),
        _ => value,
    };

    public static long ToMicroseconds(DateTimeOffset time) => (time.UtcTicks - DateTimeOffset.UnixEpoch.UtcTicks) / TimeSpan.TicksPerMicrosecond;

    public static DateTimeOffset FromMicroseconds(long time) => DateTimeOffset.UnixEpoch.AddTicks(time * TimeSpan.TicksPerMicrosecond);
}
