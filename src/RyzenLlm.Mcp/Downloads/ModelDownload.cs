using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text.Json;
using Polly;
using Polly.Retry;

namespace RyzenLlm.Mcp.Downloads;

/// <summary>How far a download is.</summary>
/// <param name="Bytes">Bytes on disk.</param>
/// <param name="Total">Size, if known.</param>
public readonly record struct DownloadProgress(long Bytes, long? Total);

/// <summary>
/// Fetches a model file so that a broken download never becomes a model: bytes go to a .part file that later attempts and later runs
/// continue by range request; size, SHA-256 and the file's own structure are checked; only then is it renamed into place.
/// </summary>
/// <param name="http">Client without a total time-out; stalls are detected per read.</param>
/// <param name="validate">Opens the complete file and throws if it is no usable model.</param>
/// <param name="retryDelay">First pause after a lost connection; doubled, with jitter, for the next ones.</param>
public sealed class ModelDownload(HttpClient http, Action<string> validate, TimeSpan? retryDelay = null)
{
    private const int MaxRetries = 6;

    /// <summary>Longest silence of the server before the connection counts as lost.</summary>
    public TimeSpan StallTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Downloads into <paramref name="folder"/> and returns the path; a complete file of the right size and digest is kept as it is.</summary>
    /// <exception cref="DownloadException">It could not be completed; the part that can be continued stays as FILE.part.</exception>
    public async Task<string> FetchAsync(RemoteFile file, string folder, IProgress<DownloadProgress>? progress = null, CancellationToken cancellation = default)
    {
        Directory.CreateDirectory(folder);
        var target = Path.Combine(folder, file.FileName);
        if (File.Exists(target) && await IsCompleteAsync(target, file, cancellation))
        {
            return target;
        }

        var part = new PartFile(target + ".part");
        using var claim = part.Claim();
        var pipeline = new ResiliencePipelineBuilder().AddRetry(new RetryStrategyOptions
        {
            MaxRetryAttempts = MaxRetries,
            BackoffType = DelayBackoffType.Exponential,
            UseJitter = true,
            Delay = retryDelay ?? TimeSpan.FromSeconds(1),
            MaxDelay = TimeSpan.FromSeconds(30),
            ShouldHandle = new PredicateBuilder().Handle<HttpRequestException>(IsTransient).Handle<IOException>(e => !IsDiskFull(e)),
        }).Build();
        try
        {
            await pipeline.ExecuteAsync(async token => await ContinueAsync(file, part, progress, token), cancellation);
        }
        catch (IOException e) when (IsDiskFull(e))
        {
            throw new DownloadException($"The disk is full at {folder}. Free some space and run the same command: it goes on where it stopped.", e);
        }
        catch (Exception e) when (e is HttpRequestException or IOException)
        {
            throw new DownloadException($"{file.Url.Host}: {e.Message} Run the same command again: it goes on at {part.Length:N0} bytes.", e);
        }

        await AdmitAsync(file, part, target, cancellation);
        return target;
    }

    private static bool IsTransient(HttpRequestException e) =>
        e.StatusCode is null or HttpStatusCode.RequestTimeout or HttpStatusCode.TooManyRequests or >= HttpStatusCode.InternalServerError;

    // ENOSPC on Unix, ERROR_DISK_FULL on Windows.
    private static bool IsDiskFull(IOException e) => (e.HResult & 0xFFFF) is 28 or 0x70;

    private static async Task<bool> IsCompleteAsync(string path, RemoteFile file, CancellationToken cancellation)
    {
        if (file.Bytes is { } bytes && new FileInfo(path).Length != bytes)
        {
            return false;
        }

        return file.Sha256 is null || await DigestAsync(path, cancellation) == file.Sha256;
    }

    private static async Task<string> DigestAsync(string path, CancellationToken cancellation)
    {
        await using var stream = File.OpenRead(path);
        return Convert.ToHexStringLower(await SHA256.HashDataAsync(stream, cancellation));
    }

    // One connection: asks for what is missing, appends what comes.
    private async Task ContinueAsync(RemoteFile file, PartFile part, IProgress<DownloadProgress>? progress, CancellationToken cancellation)
    {
        var (start, tag) = part.Resume(file);
        if (start > 0 && start == (file.Bytes ?? part.Total))
        {
            return;
        }

        using var request = new HttpRequestMessage(HttpMethod.Get, file.Url);
        if (start > 0)
        {
            request.Headers.Range = new RangeHeaderValue(start, null);
            if (tag is not null && EntityTagHeaderValue.TryParse(tag, out var strong) && !strong.IsWeak)
            {
                request.Headers.IfRange = new RangeConditionHeaderValue(strong);
            }
        }

        using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellation);
        if (response.StatusCode == HttpStatusCode.RequestedRangeNotSatisfiable)
        {
            part.Discard();
            throw new IOException("the server has no bytes where the part ends; starting over.");
        }

        response.EnsureSuccessStatusCode();
        var range = response.Content.Headers.ContentRange;
        var continues = response.StatusCode == HttpStatusCode.PartialContent;
        if (continues && range?.From != start)
        {
            part.Discard();
            throw new IOException("the server answered with another range than asked for; starting over.");
        }

        start = continues ? start : 0;
        var total = continues ? range?.Length : response.Content.Headers.ContentLength;
        if (file.Bytes is { } expected && total is { } stated && stated != expected)
        {
            part.Discard();
            throw new DownloadException($"{file.Url} offers {stated:N0} bytes where {expected:N0} were announced. Try again later or name another file.");
        }

        total ??= file.Bytes;
        CheckSpace(Path.GetDirectoryName(part.Path)!, total - start);
        part.Note(file, response.Headers.ETag?.ToString(), total);
        await AppendAsync(response, part, start, total, progress, cancellation);
    }

    private async Task AppendAsync(HttpResponseMessage response, PartFile part, long start, long? total, IProgress<DownloadProgress>? progress, CancellationToken cancellation)
    {
        await using var output = part.Open(start);
        await using var input = await response.Content.ReadAsStreamAsync(cancellation);
        var buffer = new byte[1 << 17];
        var written = start;
        progress?.Report(new(written, total));
        while (true)
        {
            using var stall = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
            stall.CancelAfter(StallTimeout);
            int read;
            try
            {
                read = await input.ReadAsync(buffer, stall.Token);
            }
            catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
            {
                throw new IOException($"no data for {StallTimeout.TotalSeconds:N0} s.");
            }

            if (read == 0)
            {
                break;
            }

            if (written + read > total)
            {
                throw new DownloadException($"{response.RequestMessage?.RequestUri} sends more than the {total:N0} bytes it announced. Nothing was kept; try another source.");
            }

            await output.WriteAsync(buffer.AsMemory(0, read), cancellation);
            written += read;
            progress?.Report(new(written, total));
        }

        output.Flush(flushToDisk: true);
        if (total is { } size && written < size)
        {
            throw new IOException($"the connection ended at {written:N0} of {size:N0} bytes.");
        }
    }

    private async Task AdmitAsync(RemoteFile file, PartFile part, string target, CancellationToken cancellation)
    {
        if (file.Sha256 is { } expected && await DigestAsync(part.Path, cancellation) is var found && found != expected)
        {
            part.Discard();
            throw new DownloadException($"{file.FileName} arrived damaged: its SHA-256 is {found}, not {expected}. It was deleted; run the command again.");
        }

        try
        {
            validate(part.Path);
        }
        catch (Exception e)
        {
            part.Discard();
            throw new DownloadException($"What {file.Url} sent is no usable model and was deleted: {e.Message}", e);
        }

        File.Move(part.Path, target, overwrite: true);
        part.Discard();
    }

    private static void CheckSpace(string folder, long? needed)
    {
        var free = new DriveInfo(Path.GetFullPath(folder)).AvailableFreeSpace;
        if (needed > free)
        {
            throw new DownloadException($"{needed:N0} bytes are needed but only {free:N0} are free at {folder}. Free some space and run the same command.");
        }
    }

    // The bytes so far (FILE.part) and which remote file they belong to (FILE.part.json).
    private sealed class PartFile(string path)
    {
        private readonly string _note = path + ".json";

        public string Path { get; } = path;

        public long Length => File.Exists(Path) ? new FileInfo(Path).Length : 0;

        public long? Total { get; private set; }

        // Two processes must not append to one file; the lock goes with its owner, also when that is killed.
        public FileStream Claim()
        {
            try
            {
                return new FileStream(Path + ".lock", FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1, FileOptions.DeleteOnClose);
            }
            catch (IOException e)
            {
                throw new DownloadException($"{Path} is being downloaded by another process. Wait for it or stop it.", e);
            }
        }

        // Where to go on: never with bytes of another URL, digest or entity tag.
        public (long Start, string? Tag) Resume(RemoteFile file)
        {
            var note = ReadNote();
            if (note is null || note.Url != file.Url.ToString() || note.Sha256 != file.Sha256 || Length > (file.Bytes ?? note.Total ?? long.MaxValue))
            {
                Discard();
                return (0, null);
            }

            // Without a digest to check in the end or a tag to check now, an old part may belong to an older file.
            if (file.Sha256 is null && note.Tag is null)
            {
                return (0, null);
            }

            Total = note.Total;
            return (Length, note.Tag);
        }

        public void Note(RemoteFile file, string? tag, long? total)
        {
            Total = total;
            File.WriteAllText(_note, JsonSerializer.Serialize(new PartNote(file.Url.ToString(), file.Sha256, tag, total)));
        }

        public FileStream Open(long start)
        {
            var stream = new FileStream(Path, FileMode.OpenOrCreate, FileAccess.Write, FileShare.Read, 1 << 17, FileOptions.Asynchronous);
            stream.SetLength(start);
            stream.Position = start;
            return stream;
        }

        public void Discard()
        {
            File.Delete(Path);
            File.Delete(_note);
        }

        private PartNote? ReadNote()
        {
            try
            {
                return File.Exists(_note) ? JsonSerializer.Deserialize<PartNote>(File.ReadAllText(_note)) : null;
            }
            catch (JsonException)
            {
                return null;
            }
        }

        private sealed record PartNote(string Url, string? Sha256, string? Tag, long? Total);
    }
}
