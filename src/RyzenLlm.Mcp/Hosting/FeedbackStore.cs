using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using RyzenLlm.Engine.Choosing;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>
/// Praise and blame for models, by tenant and kind of task, in one file per tenant. It shifts what automatic choice expects of a model for that
/// kind of task, within <see cref="ModelChooser.MostPreference"/>, and can be reset.
/// </summary>
internal sealed class FeedbackStore(AppSettings settings)
{
    /// <summary>Kinds of tasks that a tenant may have.</summary>
    public const int MostTasks = 200;

    // Beyond this many, older praise and blame count half: models and habits change.
    private const long Horizon = 200;

    private static readonly TimeSpan LongestWait = TimeSpan.FromSeconds(2);

    private readonly string _folder = settings.Models.FeedbackFolder.Length > 0
        ? Path.GetFullPath(settings.Models.FeedbackFolder)
        : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify), "ryzenllm", "feedback");

    private readonly Lock _lock = new();

    /// <summary>Praise and blame for one model.</summary>
    internal sealed record Count(long Good, long Bad);

    /// <summary>By task, then by model.</summary>
    internal sealed record Feedback(SortedDictionary<string, SortedDictionary<string, Count>> Tasks);

    /// <summary>A task hint as it is kept: without case.</summary>
    /// <exception cref="ArgumentException">It has other characters than letters, digits, blanks, dots and dashes.</exception>
    public static string Task(string hint)
    {
        var task = hint.Trim().ToLowerInvariant();
        return task.Length <= 64 && task.All(c => char.IsAsciiLetterOrDigit(c) || c is ' ' or '-' or '_' or '.')
            ? task
            : throw new ArgumentException($"task is '{hint}' but must be a short name of letters, digits, blanks and dashes, such as summarise.");
    }

    /// <summary>What was said about a model.</summary>
    public Count Of(Caller caller, string task, string model) =>
        Read(caller).Tasks.TryGetValue(task, out var models) && models.TryGetValue(model, out var count) ? count : new(0, 0);

    /// <summary>Adds praise or blame.</summary>
    /// <exception cref="ArgumentException">The tenant has too many tasks.</exception>
    public Count Add(Caller caller, string task, string model, bool good)
    {
        Count? count = null;
        Change(caller, feedback =>
        {
            if (!feedback.Tasks.TryGetValue(task, out var models))
            {
                if (feedback.Tasks.Count >= MostTasks)
                {
                    throw new ArgumentException($"There is feedback for {MostTasks} kinds of tasks already: use one of them, or reset_feedback.");
                }

                feedback.Tasks[task] = models = [];
            }

            var (g, b) = models.TryGetValue(model, out var before) ? (before.Good, before.Bad) : (0, 0);
            (g, b) = g + b >= Horizon ? (g / 2, b / 2) : (g, b);
            models[model] = count = good ? new(g + 1, b) : new(g, b + 1);
        });
        return count!;
    }

    /// <summary>Forgets the feedback for a task, or all of it.</summary>
    /// <returns>Kinds of tasks forgotten.</returns>
    public int Reset(Caller caller, string? task)
    {
        var removed = 0;
        Change(caller, feedback =>
        {
            removed = task is null ? feedback.Tasks.Count : feedback.Tasks.Remove(task) ? 1 : 0;
            if (task is null)
            {
                feedback.Tasks.Clear();
            }
        });
        return removed;
    }

    private Feedback Read(Caller caller)
    {
        try
        {
            using var file = File.OpenRead(PathOf(caller));
            return JsonSerializer.Deserialize(file, ProfileJson.Default.Feedback) is { Tasks: not null } feedback ? feedback : new([]);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return new([]);
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"{PathOf(caller)} is damaged: {e.Message} Delete it to begin anew.");
        }
    }

    // One change at a time, also of other processes; the file is replaced as a whole.
    private void Change(Caller caller, Action<Feedback> change)
    {
        lock (_lock)
        {
            Directory.CreateDirectory(_folder);
            var path = PathOf(caller);
            using var gate = Lock(path + ".lock");
            var feedback = Read(caller);
            change(feedback);
            File.WriteAllBytes(path + ".tmp", JsonSerializer.SerializeToUtf8Bytes(feedback, ProfileJson.Default.Feedback));
            File.Move(path + ".tmp", path, overwrite: true);
        }
    }

    private static FileStream Lock(string path)
    {
        var started = TimeProvider.System.GetTimestamp();
        while (true)
        {
            try
            {
                return new(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (IOException) when (TimeProvider.System.GetElapsedTime(started) < LongestWait)
            {
                Thread.Sleep(10); // another process changes it
            }
        }
    }

    // A tenant's name may hold anything; its file must not.
    private string PathOf(Caller caller) => Path.Combine(_folder, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(caller.Tenant)))[..32] + ".json");
}
