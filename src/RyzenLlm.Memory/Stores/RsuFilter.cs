using System.Collections;
using System.Linq.Expressions;
using System.Reflection;

namespace RyzenLlm.Memory.Stores;

/// <summary>Comparisons that every store can answer.</summary>
public enum Comparison
{
    /// <summary>The field equals the value.</summary>
    Equal,

    /// <summary>The field is one of the values, or, for a list field, holds one of them.</summary>
    AnyOf,

    /// <summary>The field is the value or more.</summary>
    AtLeast,

    /// <summary>The field is the value or less.</summary>
    AtMost,

    /// <summary>The field is empty.</summary>
    Absent,

    /// <summary>The field is empty or more than the value.</summary>
    AbsentOrAfter,

    /// <summary>There is no vector of the embedder that is the value.</summary>
    LacksVector,
}

/// <summary>One test on one stored field. <paramref name="Field"/> is the storage name, such as <c>created_at</c>.</summary>
public sealed record Condition(string Field, Comparison Comparison, object? Value);

/// <summary>
/// Which units of one tenant are meant. All stores turn this, and nothing else, into their own query language, and the
/// tenant is its first condition always: there is no way to write a query without one.
/// </summary>
public sealed record RsuFilter
{
    private readonly string _tenant = "";
    private readonly List<Condition> _more = [];

    /// <param name="tenant">Whose units; not empty.</param>
    /// <exception cref="ArgumentException">The tenant is empty.</exception>
    public RsuFilter(string tenant) => _tenant = RequireTenant(tenant);

    /// <summary>Only this shelf.</summary>
    public string? Scope { get; init; }

    /// <summary>Only this conversation or document.</summary>
    public string? Session { get; init; }

    /// <summary>Only text from here.</summary>
    public string? Source { get; init; }

    /// <summary>Only this speaker.</summary>
    public string? Speaker { get; init; }

    /// <summary>Not older than this.</summary>
    public DateTimeOffset? From { get; init; }

    /// <summary>Not newer than this.</summary>
    public DateTimeOffset? To { get; init; }

    /// <summary>Not before this place in the session.</summary>
    public long? OrdinalFrom { get; init; }

    /// <summary>Not after this place in the session.</summary>
    public long? OrdinalTo { get; init; }

    /// <summary>Only these units.</summary>
    public IReadOnlyCollection<Guid>? Ids { get; init; }

    /// <summary>Only units sharing one of these sketch keys.</summary>
    public IReadOnlyCollection<string>? Sketch { get; init; }

    /// <summary>Leave out what was superseded, and what had expired by this time.</summary>
    public DateTimeOffset? LiveAt { get; init; }

    /// <summary>Only what had expired by this time.</summary>
    public DateTimeOffset? ExpiredAt { get; init; }

    /// <summary>Only this tier.</summary>
    public RsuTier? Tier { get; init; }

    /// <summary>Only units without a vector of this embedder, in whatever order.</summary>
    public string? LacksVectorOf { get; init; }

    /// <summary>The conditions, tenant first; all must hold.</summary>
    public IEnumerable<Condition> Conditions()
    {
        yield return new Condition("tenant", Comparison.Equal, _tenant);
        (string Field, Comparison Comparison, object? Value)[] optional =
        [
            ("scope", Comparison.Equal, Scope),
            ("session", Comparison.Equal, Session),
            ("source", Comparison.Equal, Source),
            ("speaker", Comparison.Equal, Speaker),
            ("created_at", Comparison.AtLeast, From),
            ("created_at", Comparison.AtMost, To),
            ("ordinal", Comparison.AtLeast, OrdinalFrom),
            ("ordinal", Comparison.AtMost, OrdinalTo),
            ("id", Comparison.AnyOf, Ids),
            ("sketch", Comparison.AnyOf, Sketch),
            ("expires_at", Comparison.AbsentOrAfter, LiveAt),
            ("expires_at", Comparison.AtMost, ExpiredAt),
            ("tier", Comparison.Equal, Tier),
            ("embedder", Comparison.LacksVector, LacksVectorOf),
        ];
        foreach (var (field, comparison, value) in optional)
        {
            if (value is not null)
            {
                yield return new Condition(field, comparison, value);
            }
        }

        if (LiveAt is not null)
        {
            yield return new Condition("valid_to", Comparison.Absent, null);
        }

        foreach (Condition condition in _more)
        {
            yield return condition;
        }
    }

    /// <summary>The filter of an expression such as <c>r => r.Session == s &amp;&amp; r.CreatedAt >= t</c>, for one tenant.</summary>
    /// <exception cref="NotSupportedException">The expression uses something other than comparisons joined by &amp;&amp;.</exception>
    public static RsuFilter Parse(string tenant, Expression<Func<Rsu, bool>>? expression)
    {
        var filter = new RsuFilter(tenant);
        if (expression is not null)
        {
            filter.Add(expression.Body);
        }

        return filter;
    }

    internal static string RequireTenant(string? tenant) => string.IsNullOrWhiteSpace(tenant)
        ? throw new ArgumentException("A memory needs a tenant: sign in, or set Memory:Tenant for local use.", nameof(tenant))
        : tenant;

    private void Add(Expression node)
    {
        switch (node)
        {
            case BinaryExpression { NodeType: ExpressionType.AndAlso } and:
                Add(and.Left);
                Add(and.Right);
                break;
            case BinaryExpression comparison when FieldOf(comparison.Left) is { } field:
                AddComparison(field, comparison.NodeType, ValueOf(comparison.Right), node);
                break;
            case MethodCallExpression { Method.Name: "Contains" } call when call.Arguments.Count > 0 && FieldOf(call.Arguments[^1]) is { } field:
                object? list = ValueOf(call.Object ?? call.Arguments[0]);
                _more.Add(new Condition(field, Comparison.AnyOf, ((IEnumerable)list!).Cast<object>().ToArray()));
                break;
            default:
                throw Unsupported(node);
        }
    }

    private void AddComparison(string field, ExpressionType type, object? value, Expression node)
    {
        if (field == "tenant" && !Equals(value, _tenant))
        {
            throw new ArgumentException("The filter names another tenant than the one this collection was opened for.");
        }

        _more.Add((type, value) switch
        {
            (ExpressionType.Equal, null) => new Condition(field, Comparison.Absent, null),
            (ExpressionType.Equal, _) => new Condition(field, Comparison.Equal, value),
            (ExpressionType.GreaterThanOrEqual, not null) => new Condition(field, Comparison.AtLeast, value),
            (ExpressionType.LessThanOrEqual, not null) => new Condition(field, Comparison.AtMost, value),
            _ => throw Unsupported(node),
        });
    }

    private static string? FieldOf(Expression node)
    {
        while (node is UnaryExpression { NodeType: ExpressionType.Convert } convert)
        {
            node = convert.Operand;
        }

        return node is MemberExpression { Expression: ParameterExpression, Member: PropertyInfo property }
            ? StorageName(property)
            : null;
    }

    private static string StorageName(PropertyInfo property) =>
        property.Name == nameof(Rsu.Id)
            ? "id"
            : property.GetCustomAttribute<Microsoft.Extensions.VectorData.VectorStoreDataAttribute>()?.StorageName
              ?? throw new NotSupportedException($"{property.Name} cannot be filtered on.");

    /// <summary>The value of a part without the record in it. A list turned into a span, as the compiler does before Contains, is taken as the list.</summary>
    private static object? ValueOf(Expression node) => node switch
    {
        ConstantExpression constant => constant.Value,
        MethodCallExpression { Method.Name: "op_Implicit" } call => ValueOf(call.Arguments[0]),
        _ when HasRecord.In(node) => throw Unsupported(node),
        _ => Expression.Lambda(node).Compile(preferInterpretation: true).DynamicInvoke(),
    };

    private static NotSupportedException Unsupported(Expression node) => new(
        $"The filter part '{node}' is not supported: use ==, >=, <= on a stored property and list.Contains(property), joined by &&.");

    private sealed class HasRecord : ExpressionVisitor
    {
        private bool _found;

        public static bool In(Expression node)
        {
            var visitor = new HasRecord();
            visitor.Visit(node);
            return visitor._found;
        }

        protected override Expression VisitParameter(ParameterExpression node)
        {
            _found = true;
            return node;
        }
    }
}
