using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Resources;

/// <summary>Watches the model folders while the server runs, so that clients hear of models that come and go.</summary>
internal sealed class ModelFolders(ModelLibrary library, ServerResources resources, TimeProvider clock, ILogger<ModelFolders> log) : IHostedService, IDisposable
{
    // A file that is copied or unpacked makes many events.
    private static readonly TimeSpan Quiet = TimeSpan.FromMilliseconds(250);

    private readonly List<FileSystemWatcher> _watchers = [];
    private ITimer? _refresh;

    /// <inheritdoc/>
    public Task StartAsync(CancellationToken cancellationToken)
    {
        _refresh = clock.CreateTimer(_ => Refresh(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        foreach (var folder in library.Folders.Where(Directory.Exists))
        {
            try
            {
                var watcher = new FileSystemWatcher(folder) { IncludeSubdirectories = true, NotifyFilter = NotifyFilters.FileName | NotifyFilters.DirectoryName };
                watcher.Created += Changed;
                watcher.Deleted += Changed;
                watcher.Renamed += Changed;
                watcher.EnableRaisingEvents = true;
                _watchers.Add(watcher);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or PlatformNotSupportedException)
            {
                // The list is still made anew whenever somebody asks for it.
                log.LogWarning("Folder {Folder} cannot be watched, so clients are not told of new models in it: {Problem}", folder, e.Message);
            }
        }

        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public Task StopAsync(CancellationToken cancellationToken)
    {
        Dispose();
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _watchers.ForEach(w => w.Dispose());
        _refresh?.Dispose();
    }

    private void Changed(object sender, FileSystemEventArgs change) => _refresh?.Change(Quiet, Timeout.InfiniteTimeSpan);

    private void Refresh()
    {
        if (!resources.TryRefresh())
        {
            _refresh?.Change(Quiet, Timeout.InfiniteTimeSpan); // the folder changed while it was read
        }
    }
}
