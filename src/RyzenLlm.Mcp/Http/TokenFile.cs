using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Http;

/// <summary>
/// The bearer tokens of a server: a JSON file that only its owner may read, made with one token that allows everything where there is none.
/// A change takes effect with the next request; while the file is wrong, nobody gets in.
/// </summary>
internal sealed partial class TokenFile
{
    /// <summary>Shortest token: as many letters and digits as 128 bits need.</summary>
    private const int ShortestToken = 22;

    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private readonly Lock _lock = new();
    private (DateTime Written, long Bytes) _version;
    private (byte[] Hash, TokenEntry Entry)[] _tokens;

    private TokenFile(string path, bool isNew)
    {
        (Path, IsNew) = (path, isNew);
        _version = Version();
        _tokens = Read();
    }

    /// <summary>A token and what it stands for.</summary>
    /// <param name="Name">Name of its holder, different for each.</param>
    /// <param name="Token">The secret.</param>
    /// <param name="Tenant">Whose memory its holder uses.</param>
    /// <param name="Scopes">What its holder may do.</param>
    internal sealed record TokenEntry(string Name, string Token, string Tenant, string[] Scopes);

    /// <summary>The file's content.</summary>
    internal sealed record TokenList(TokenEntry[] Tokens);

    /// <summary>Where the file is.</summary>
    public string Path { get; }

    /// <summary>Whether it was made just now.</summary>
    public bool IsNew { get; }

    /// <summary>Opens the file of the settings, or makes it.</summary>
    /// <exception cref="SettingsException">It is not what it must be, or others may read it.</exception>
    public static TokenFile Open(AppSettings settings)
    {
        var path = System.IO.Path.GetFullPath(settings.Server.TokenFile is { Length: > 0 } named ? named : DefaultPath());
        var missing = !File.Exists(path);
        if (missing)
        {
            Create(path, settings.Memory.Tenant);
        }

        return new(path, missing);
    }

    /// <summary>
    /// The holder of a token, or null. Every entry is compared in full by its hash, so the time taken tells nothing about tokens.
    /// </summary>
    /// <exception cref="SettingsException">The file has become wrong.</exception>
    public TokenEntry? Find(string token)
    {
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(Encoding.UTF8.GetBytes(token), hash);
        TokenEntry? found = null;
        foreach (var (other, entry) in Current())
        {
            found = CryptographicOperations.FixedTimeEquals(hash, other) ? entry : found;
        }

        return found;
    }

    private static string DefaultPath()
    {
        var folder = Environment.GetEnvironmentVariable("XDG_CONFIG_HOME");
        if (string.IsNullOrEmpty(folder))
        {
            folder = Environment.GetFolderPath(Environment.SpecialFolder.ApplicationData, Environment.SpecialFolderOption.DoNotVerify);
        }

        return System.IO.Path.Combine(folder, "ryzenllm", "tokens.json");
    }

    private static void Create(string path, string tenant)
    {
        var token = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(32));
        var content = JsonSerializer.SerializeToUtf8Bytes(new([new("owner", token, tenant, [.. Scopes.All])]), TokenJson.Default.TokenList);
        var folder = System.IO.Path.GetDirectoryName(path)!;
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write };
        if (OperatingSystem.IsWindows())
        {
            Directory.CreateDirectory(folder); // below the user's profile, which others cannot read
        }
        else
        {
            Directory.CreateDirectory(folder, OwnerOnly | UnixFileMode.UserExecute);
            options.UnixCreateMode = OwnerOnly;
        }

        using var file = new FileStream(path, options);
        file.Write(content);
    }

    private (byte[] Hash, TokenEntry Entry)[] Current()
    {
        lock (_lock)
        {
            if (Version() is var version && version != _version)
            {
                _tokens = [];
                _tokens = Read();
                _version = version; // only now: a wrong file is read again, and reported again, by the next request
            }

            return _tokens;
        }
    }

    private (DateTime Written, long Bytes) Version() => new FileInfo(Path) is { Exists: true } file ? (file.LastWriteTimeUtc, file.Length) : default;

    private (byte[] Hash, TokenEntry Entry)[] Read()
    {
        if (!OperatingSystem.IsWindows() && (File.GetUnixFileMode(Path) & ~(OwnerOnly | UnixFileMode.UserExecute)) != 0)
        {
            throw Wrong($"others than its owner may read it; run: chmod 600 '{Path}'");
        }

        try
        {
            var list = JsonSerializer.Deserialize(File.ReadAllBytes(Path), TokenJson.Default.TokenList) ?? throw Wrong("it is empty");
            if (list.Tokens.Length == 0)
            {
                throw Wrong("it holds no token; delete it to have a new one made");
            }

            return [.. list.Tokens.Select((entry, at) => (SHA256.HashData(Encoding.UTF8.GetBytes(entry.Token)), Checked(entry, at, list)))];
        }
        catch (JsonException e)
        {
            throw Wrong($"it must be {{\"tokens\":[{{\"name\":..., \"token\":..., \"tenant\":..., \"scopes\":[...]}}]}}: {e.Message}");
        }
    }

    private TokenEntry Checked(TokenEntry entry, int at, TokenList list)
    {
        var label = $"tokens[{at}] ({entry.Name})";
        return entry switch
        {
            _ when string.IsNullOrWhiteSpace(entry.Name) || list.Tokens.Count(other => other.Name == entry.Name) > 1 => throw Wrong($"{label}: every token needs a name of its own"),
            _ when entry.Token.Length < ShortestToken || entry.Token.Any(c => c is <= ' ' or > '~') =>
                throw Wrong($"{label}: token must be {ShortestToken} or more characters of ASCII without spaces; make one with: openssl rand -hex 32"),
            _ when list.Tokens.Count(other => other.Token == entry.Token) > 1 => throw Wrong($"{label}: its token is that of another entry too"),
            _ when string.IsNullOrWhiteSpace(entry.Tenant) || entry.Tenant.Length > CallerIdentity.LongestTenant =>
                throw Wrong($"{label}: tenant must be a name of 1 to {CallerIdentity.LongestTenant} characters"),
            _ when entry.Scopes.FirstOrDefault(scope => !Scopes.All.Contains(scope)) is { } unknown =>
                throw Wrong($"{label}: there is no scope '{unknown}'; scopes are: {string.Join(", ", Scopes.All)}"),
            _ => entry,
        };
    }

    private SettingsException Wrong(string what) => new($"Server:TokenFile {Path} cannot be used: {what}.");

    [JsonSourceGenerationOptions(
        PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
        WriteIndented = true,
        RespectNullableAnnotations = true,
        RespectRequiredConstructorParameters = true,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow)]
    [JsonSerializable(typeof(TokenList))]
    private sealed partial class TokenJson : JsonSerializerContext;
}
