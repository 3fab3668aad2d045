using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Tests.Models;

namespace RyzenLlm.Engine.Tests.Decoding;

/// <summary>A scheduler whose steps the test holds up, lets through one by one, looks into and makes fail.</summary>
internal sealed class SteppedModel : IDisposable
{
    /// <summary>Prompt rows of a step before the scheduler has measured any.</summary>
    public const int FirstPromptRows = 8;

    private readonly SemaphoreSlim _permits = new(0);
    private readonly SemaphoreSlim _arrived = new(0);
    private volatile bool _free;

    public SteppedModel(string model, SchedulerOptions? options = null, TimeProvider? clock = null)
    {
        Model = Golden.Open(model).Load();
        Scheduler = new(Model, options, clock, Forward);
    }

    public Scheduler Scheduler { get; }

    public LanguageModel Model { get; }

    /// <summary>Called on the model's thread before each forward pass.</summary>
    public Action<Batch>? Before { get; set; }

    /// <summary>Called on the model's thread after each forward pass.</summary>
    public Action<Batch>? After { get; set; }

    /// <summary>Waits until so many more steps are ready to run, or ran.</summary>
    public void Await(int steps)
    {
        for (; steps > 0; steps--)
        {
            _arrived.Wait();
        }
    }

    /// <summary>Lets so many steps run.</summary>
    public void Run(int steps)
    {
        for (; steps > 0; steps--)
        {
            _permits.Release();
        }
    }

    /// <summary>Holds up nothing any more.</summary>
    public void RunFreely()
    {
        _free = true;
        _permits.Release();
    }

    public void Dispose()
    {
        RunFreely();
        Scheduler.Dispose();
        _permits.Dispose();
        _arrived.Dispose();
    }

    private void Forward(Batch batch)
    {
        _arrived.Release();
        if (!_free)
        {
            _permits.Wait();
        }

        Before?.Invoke(batch);
        Model.Forward(batch);
        After?.Invoke(batch);
    }
}
