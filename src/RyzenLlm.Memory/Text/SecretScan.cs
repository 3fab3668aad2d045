using System.Text.RegularExpressions;

namespace RyzenLlm.Memory.Text;

/// <summary>Finds what should not be remembered: keys, tokens, passwords and card numbers.</summary>
public static partial class SecretScan
{
    private const int MostRounds = 8;

    /// <summary>One finding.</summary>
    /// <param name="Kind">Such as <c>aws-key</c>.</param>
    /// <param name="Start">First character.</param>
    /// <param name="Length">Number of characters.</param>
    public readonly record struct Secret(string Kind, int Start, int Length);

    /// <summary>Every secret in <paramref name="text"/>, in order, without overlaps.</summary>
    public static IReadOnlyList<Secret> Find(string text)
    {
        var found = new List<Secret>();
        foreach (var (kind, pattern) in Patterns())
        {
            foreach (Match match in pattern.Matches(text))
            {
                Group value = match.Groups["v"].Success ? match.Groups["v"] : match;
                if (kind != "card-number" || PassesLuhn(value.Value))
                {
                    found.Add(new Secret(kind, value.Index, value.Length));
                }
            }
        }

        found.Sort((a, b) => a.Start != b.Start ? a.Start.CompareTo(b.Start) : b.Length.CompareTo(a.Length));
        return Joined(found);
    }

    /// <summary>Puts <c>[redacted:kind]</c> in the place of every secret.</summary>
    public static string Redact(string text)
    {
        // With a secret gone, what stood around it may look like another one; few texts need a second round.
        IReadOnlyList<Secret> secrets = Find(text);
        for (int round = 0; round < MostRounds && secrets.Count > 0; round++, secrets = Find(text))
        {
            for (int i = secrets.Count - 1; i >= 0; i--)
            {
                text = string.Concat(text.AsSpan(0, secrets[i].Start), $"[redacted:{secrets[i].Kind}]", text.AsSpan(secrets[i].Start + secrets[i].Length));
            }
        }

        return text;
    }

    // Two that overlap become one that covers both: the end of the second must not stay behind.
    private static List<Secret> Joined(List<Secret> sorted)
    {
        var joined = new List<Secret>(sorted.Count);
        foreach (Secret secret in sorted)
        {
            if (joined.Count > 0 && joined[^1] is var last && secret.Start < last.Start + last.Length)
            {
                joined[^1] = last with { Length = Math.Max(last.Length, secret.Start + secret.Length - last.Start) };
            }
            else
            {
                joined.Add(secret);
            }
        }

        return joined;
    }

    private static (string Kind, Regex Pattern)[] Patterns() =>
    [
        ("private-key", PrivateKey()), ("aws-key", AwsKey()), ("github-token", GithubToken()), ("slack-token", SlackToken()),
        ("api-key", ApiKey()), ("jwt", Jwt()), ("card-number", CardNumber()), ("bearer-token", Bearer()), ("url-password", UrlPassword()),
        ("credential", Assigned()),
    ];

    /// <summary>The check-digit rule of ISO/IEC 7812 for 13 to 19 digits, not all equal.</summary>
    private static bool PassesLuhn(string text)
    {
        int sum = 0, count = 0;
        for (int i = text.Length - 1; i >= 0; i--)
        {
            if (char.IsAsciiDigit(text[i]))
            {
                int digit = (text[i] - '0') << (count++ & 1);
                sum += digit > 9 ? digit - 9 : digit;
            }
        }

        return count is >= 13 and <= 19 && sum % 10 == 0 && text.Where(char.IsAsciiDigit).Distinct().Count() > 1;
    }

    [GeneratedRegex(@"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\z)", RegexOptions.Singleline)]
    private static partial Regex PrivateKey();

    [GeneratedRegex(@"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")]
    private static partial Regex AwsKey();

    [GeneratedRegex(@"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{40,})")]
    private static partial Regex GithubToken();

    [GeneratedRegex(@"\bxox[abeprs]-[A-Za-z0-9-]{10,}")]
    private static partial Regex SlackToken();

    [GeneratedRegex(@"\b(?:sk|pk|rk)[-_](?:[a-z]+[-_])*[A-Za-z0-9]{20,}|\bsk-(?:ant|proj|svcacct|or)-[A-Za-z0-9_-]{20,}|\bAIza[0-9A-Za-z_-]{35}|\bhf_[A-Za-z0-9]{30,}|\bglpat-[A-Za-z0-9_-]{20,}|\bnpm_[A-Za-z0-9]{36}\b|\bpypi-[A-Za-z0-9_-]{50,}")]
    private static partial Regex ApiKey();

    [GeneratedRegex(@"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}")]
    private static partial Regex Jwt();

    [GeneratedRegex(@"(?<![\d.])\d(?:[ -]?\d){12,18}(?![\d.]\d)")]
    private static partial Regex CardNumber();

    [GeneratedRegex(@"\bBearer\s+(?<v>[A-Za-z0-9._~+/-]{16,}=*)", RegexOptions.IgnoreCase)]
    private static partial Regex Bearer();

    [GeneratedRegex(@"\b[a-z][a-z0-9+.-]*://[^\s/:@]+:(?!\[redacted:)(?<v>[^\s/@]+)@", RegexOptions.IgnoreCase)]
    private static partial Regex UrlPassword();

    [GeneratedRegex(@"\b(?:api[_ -]?key|access[_ -]?key|secret(?:[_ -]?key)?|auth[_ -]?token|access[_ -]?token|password|passwd|pwd)\b[""']?\s*(?:[:=]|\bis\b)\s*[""']?(?!\[redacted:[a-z-]+\](?:[\s""',;]|\z))(?<v>(?=[^\s""']*[\d!@#$%^&*_+/])[^\s""',;]{8,})", RegexOptions.IgnoreCase)]
    private static partial Regex Assigned();
}
