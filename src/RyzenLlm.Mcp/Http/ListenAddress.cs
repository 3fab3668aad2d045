using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Http;

/// <summary>Where the server listens and under which names it answers.</summary>
/// <param name="Url">As the web server takes it.</param>
/// <param name="Host">Host name or address; * for every address of the computer.</param>
/// <param name="IsLoopback">Whether only this computer can connect.</param>
/// <param name="IsSecure">Whether it is https.</param>
internal sealed record ListenAddress(string Url, string Host, bool IsLoopback, bool IsSecure)
{
    private static readonly string[] Anywhere = ["*", "+", "0.0.0.0", "[::]"];

    /// <summary>The addresses of the settings.</summary>
    /// <exception cref="SettingsException">They cannot be listened on as they are, or must not be.</exception>
    public static ListenAddress[] Read(ServerSettings server)
    {
        ListenAddress[] addresses = [.. server.Urls.Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).Select(Parse)];
        if (addresses.Length == 0)
        {
            throw new SettingsException("Setting Server:Urls is empty but must be one or more addresses, such as http://127.0.0.1:8484.");
        }

        if (addresses.FirstOrDefault(a => a.IsSecure) is { } secure && server.Tls.Certificate.Length == 0)
        {
            throw new SettingsException($"Setting Server:Urls asks for {secure.Url}, so Server:Tls:Certificate must name a file with a certificate.");
        }

        if (addresses.FirstOrDefault(a => !a.IsLoopback) is { } open)
        {
            if (server.Auth == "none")
            {
                throw new SettingsException(
                    $"Setting Server:Auth is 'none' but must be one of: token, oauth, because {open.Url} in Server:Urls can be reached from other computers.");
            }

            if (open.Host == "*" && server.AllowedHosts.Length == 0)
            {
                throw new SettingsException(
                    $"Setting Server:AllowedHosts is empty but must list the host names by which clients address this server, because {open.Url} in Server:Urls names none.");
            }
        }

        return addresses;
    }

    /// <summary>The certificate of the settings, or null for none.</summary>
    /// <exception cref="SettingsException">It cannot be read.</exception>
    public static X509Certificate2? Certificate(TlsSettings tls)
    {
        if (tls.Certificate.Length == 0)
        {
            return null;
        }

        var password = tls.Password.Length > 0 ? tls.Password : null;
        try
        {
            return Path.GetExtension(tls.Certificate).ToLowerInvariant() is ".pfx" or ".p12" ? X509CertificateLoader.LoadPkcs12FromFile(tls.Certificate, password)
                : password is not null ? X509Certificate2.CreateFromEncryptedPemFile(tls.Certificate, password, tls.Key.Length > 0 ? tls.Key : null)
                : X509Certificate2.CreateFromPemFile(tls.Certificate, tls.Key.Length > 0 ? tls.Key : null);
        }
        catch (Exception e) when (e is CryptographicException or IOException or UnauthorizedAccessException)
        {
            throw new SettingsException($"Setting Server:Tls:Certificate names {tls.Certificate}, whose certificate and key (Server:Tls:Key, Server:Tls:Password) cannot be read: {e.Message}");
        }
    }

    private static ListenAddress Parse(string text)
    {
        var at = text.IndexOf("://", StringComparison.Ordinal);
        var scheme = at > 0 ? text[..at].ToLowerInvariant() : "";
        var rest = at > 0 ? text[(at + 3)..].TrimEnd('/') : "";
        var colon = rest.LastIndexOf(':');
        if (scheme is not ("http" or "https") || colon < 1 || !ushort.TryParse(rest[(colon + 1)..], out var port) || rest.Contains('/'))
        {
            throw Wrong(text);
        }

        var host = rest[..colon];
        if (Anywhere.Contains(host))
        {
            return new($"{scheme}://{(host == "+" ? "*" : host)}:{port}", "*", false, scheme == "https");
        }

        if (host.Equals("localhost", StringComparison.OrdinalIgnoreCase))
        {
            // The web server listens on both loopback addresses then, and cannot take the same free port on both.
            return port > 0 ? new($"{scheme}://localhost:{port}", "localhost", true, scheme == "https")
                : throw new SettingsException($"Setting Server:Urls holds {text}: port 0 goes with an address, such as http://127.0.0.1:0, not with localhost.");
        }

        // The web server takes any other name for every address, which is not what it looks like.
        return IPAddress.TryParse(host, out var address) ? new($"{scheme}://{host}:{port}", host, IPAddress.IsLoopback(address), scheme == "https") : throw Wrong(text);
    }

    private static SettingsException Wrong(string text) => new(
        $"Setting Server:Urls holds '{text}' but must be addresses such as http://127.0.0.1:8484, https://192.0.2.7:443 or http://*:8484, separated by semicolons: http or https, an IP address, localhost or *, and a port.");
}
