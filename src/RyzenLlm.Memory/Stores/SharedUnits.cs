using RyzenLlm.Memory.Text;

namespace RyzenLlm.Memory.Stores;

/// <summary>
/// Units that their owners share lie, as copies, in places beside the tenants': one for everybody and one for each reader that was named. A
/// search reads the caller's own units and those places as one memory. A copy tells nothing of what was not shared: it has its own neighbours,
/// and neither the names of saved states nor of other places where its text was seen.
/// </summary>
internal static class SharedUnits
{
    /// <summary>Names every tenant of the store.</summary>
    public const string Everyone = "all";

    // No tenant's name begins so: control characters are refused in them.
    private const char Mark = '\u001f';

    private static readonly string EveryonesPlace = $"{Mark}{Everyone}";

    /// <summary>Where copies for a reader lie.</summary>
    public static string PlaceOf(string reader) => reader == Everyone ? EveryonesPlace : $"{Mark}={reader}";

    /// <summary>Whether a stored name is such a place.</summary>
    public static bool IsPlace(string name) => name.StartsWith(Mark);

    /// <summary>Who reads the copies of a place.</summary>
    public static string ReaderOf(string place) => place == EveryonesPlace ? Everyone : place[2..];

    /// <summary>The places that a tenant reads beside its own units.</summary>
    public static string[] PlacesFor(string tenant) => IsPlace(tenant) ? [] : [EveryonesPlace, $"{Mark}={tenant}"];

    /// <summary>The tenant, if it may be one.</summary>
    /// <exception cref="ArgumentException">The name is empty or holds control characters.</exception>
    public static string RequireTenant(string tenant) => RsuFilter.RequireTenant(tenant).Any(char.IsControl)
        ? throw new ArgumentException("The name of a tenant cannot hold control characters.", nameof(tenant))
        : tenant;

    /// <summary>Id of the copy of a unit in a place.</summary>
    public static Guid CopyId(string place, Guid unit) => Fingerprint.Id(place, unit.ToString());

    /// <summary>What is written for the readers of a place.</summary>
    public static Rsu Copy(Rsu unit, string place) => unit with
    {
        Id = CopyId(place, unit.Id),
        Tenant = place,
        SharedBy = unit.Tenant,
        Origin = unit.Id,
        VariantOf = null,
        Sources = [],
        Seen = 1,
        State = null,
    };

    /// <summary>A unit as its reader sees it: a copy appears as the owner's unit.</summary>
    public static Rsu Seen(Rsu stored) => stored is { SharedBy: { } owner, Origin: { } unit } ? stored with { Id = unit, Tenant = owner } : stored;
}
