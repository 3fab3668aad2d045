using RyzenLlm.Engine.Models;

namespace RyzenLlm.Engine.Sessions;

/// <summary>What the sessions of one recurrent model have in common: the lanes, the state at position 0, and the plan of the present batch.</summary>
internal sealed unsafe class RecurrentState : IDisposable
{
    private readonly Lazy<byte[]> _fingerprint;
    private readonly Lane _initial;
    private float*[] _in = new float*[8];
    private float*[] _out = new float*[8];
    private bool _disposed;

    /// <summary>State of <paramref name="length"/> floats, all zero at position 0.</summary>
    public RecurrentState(long length, Func<byte[]> fingerprint)
    {
        Pool = new(length);
        _initial = Pool.Rent(); // fresh memory is zero
        _fingerprint = new(fingerprint);
    }

    /// <summary>All lanes.</summary>
    public LanePool Pool { get; }

    /// <summary>The state at position 0; its values may be set before the first session.</summary>
    /// <exception cref="ObjectDisposedException">The model was disposed of.</exception>
    public Lane Initial
    {
        get
        {
            ObjectDisposedException.ThrowIf(_disposed, typeof(LanguageModel));
            return _initial;
        }
    }

    /// <summary>Identifies the model in saved sessions.</summary>
    public byte[] Fingerprint => _fingerprint.Value;

    /// <summary>Finds the lanes of every row of a batch.</summary>
    public void Plan(Batch batch)
    {
        if (_in.Length < batch.Count)
        {
            _in = new float*[batch.Count * 2];
            _out = new float*[batch.Count * 2];
        }

        for (var t = 0; t < batch.Count; t++)
        {
            var row = batch.Rows[t];
            ((RecurrentSession)row.Session).Place(batch, row, out _in[t], out _out[t]);
        }
    }

    /// <summary>State before a row: its parent's, or its session's head.</summary>
    public float* In(int row) => _in[row];

    /// <summary>Where the state after a row goes; may be the same lane.</summary>
    public float* Out(int row) => _out[row];

    /// <inheritdoc/>
    public void Dispose()
    {
        _disposed = true;
        _initial.Release();
        Pool.Dispose();
    }
}
