using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using RyzenLlm.Engine.Profiles;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>
/// Measures models that were used and have no profile yet: on a thread of low priority, only when no model has been in use for a while, and
/// ended at the next forward pass when one is.
/// </summary>
internal sealed partial class BackgroundProfiling(AppSettings settings, LoadedModels models, ProfileStore profiles, ILogger<BackgroundProfiling>? log = null, TimeSpan? pause = null) : IDisposable
{
    private const int LowPriority = 10;

    private static readonly TimeSpan UsualPause = TimeSpan.FromSeconds(5);

    private readonly BlockingCollection<ModelEntry> _queue = [];
    private readonly HashSet<(string Path, DateTime Modified)> _asked = [];
    private readonly CancellationTokenSource _stop = new();
    private Thread? _thread;

    /// <summary>A model was used: measure it some time, unless that was done.</summary>
    public void Ask(ModelEntry entry)
    {
        if (!settings.Models.MeasureInBackground)
        {
            return;
        }

        lock (_asked)
        {
            if (_stop.IsCancellationRequested || !_asked.Add((entry.Path, File.GetLastWriteTimeUtc(entry.Path))) || profiles.Find(entry) is not null)
            {
                return;
            }

            _queue.Add(entry);
            if (_thread is null)
            {
                _thread = new Thread(Serve) { IsBackground = true, Name = "profiles", Priority = ThreadPriority.Lowest };
                _thread.Start();
            }
        }
    }

    /// <summary>Ends it before its next forward pass.</summary>
    public void Dispose()
    {
        Thread? thread;
        lock (_asked)
        {
            _stop.Cancel();
            thread = _thread;
        }

        thread?.Join();
        _queue.Dispose();
    }

    private void Serve()
    {
        if (OperatingSystem.IsLinux())
        {
            _ = setpriority(0, 0, LowPriority); // this thread, and those that it starts for the kernels
        }

        try
        {
            foreach (var entry in _queue.GetConsumingEnumerable(_stop.Token))
            {
                Measure(entry);
            }
        }
        catch (OperationCanceledException)
        {
            // The server ends.
        }
    }

    // In memory that is free: nothing that somebody may need again is given up for it.
    private void Measure(ModelEntry entry)
    {
        var bytes = LoadedModels.BytesOf(entry);
        if (!models.Memory.TryReserve(bytes))
        {
            return;
        }

        try
        {
            MeasureUndisturbed(entry);
        }
        finally
        {
            models.Memory.Return(bytes);
        }
    }

    private void MeasureUndisturbed(ModelEntry entry)
    {
        for (var done = false; !done;)
        {
            using var quiet = models.Work.WaitForQuiet(pause ?? UsualPause, _stop.Token);
            try
            {
                profiles.Save(entry, ProfileRun.Measure(entry.Name, entry.Path, LoadedModels.OptionsFor(settings.Engine), quiet.Token));
                done = true;
            }
            catch (OperationCanceledException)
            {
                _stop.Token.ThrowIfCancellationRequested(); // else a request came, and this begins anew after it
            }
            catch (Exception e)
            {
                if (log is not null)
                {
                    LogFailure(log, entry.Name, e);
                }

                done = true;
            }
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Model} could not be measured")]
    private static partial void LogFailure(ILogger logger, string model, Exception e);

    [LibraryImport("libc")]
    private static partial int setpriority(int which, uint who, int priority);
}
