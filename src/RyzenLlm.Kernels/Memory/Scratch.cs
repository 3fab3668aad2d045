namespace RyzenLlm.Kernels.Memory;

/// <summary>
/// Working memory of the calling thread, kept and grown between calls so that kernels allocate nothing once warm.
/// A kernel takes its whole need in one call and is done with it when it returns; kernels that use it do not call one another.
/// </summary>
internal static unsafe class Scratch
{
    [ThreadStatic]
    private static NativeBuffer<byte>? t_buffer;

    /// <summary>At least <paramref name="bytes"/> bytes, aligned to a cache line, holding whatever the last user left.</summary>
    public static byte* Take(long bytes)
    {
        if (t_buffer is null || t_buffer.Length < bytes)
        {
            t_buffer?.Dispose();
            t_buffer = null;
            t_buffer = new NativeBuffer<byte>(Math.Max(bytes, 64 * 1024));
        }

        return t_buffer.Pointer;
    }
}
