namespace RyzenLlm.Kernels.Memory;

/// <summary>
/// Working memory of the calling thread, kept and grown between calls so that kernels allocate nothing once warm.
/// A kernel takes its whole need in one call and is done with it when it returns; kernels that use it do not call one another.
/// </summary>
internal static unsafe class Scratch
{
    [ThreadStatic]
    private static NativeBuffer<byte>? t_inner;

    [ThreadStatic]
    private static NativeBuffer<byte>? t_outer;

    /// <summary>At least <paramref name="bytes"/> bytes, aligned to a cache line, holding whatever the last user left.</summary>
    public static byte* Take(long bytes) => Take(ref t_inner, bytes);

    /// <summary>The same, apart from <see cref="Take(long)"/>, for a kernel that prepares operands and calls another.</summary>
    public static byte* TakeOuter(long bytes) => Take(ref t_outer, bytes);

    private static byte* Take(ref NativeBuffer<byte>? buffer, long bytes)
    {
        if (buffer is null || buffer.Length < bytes)
        {
            buffer?.Dispose();
            buffer = null;
            buffer = new NativeBuffer<byte>(Math.Max(bytes, 64 * 1024));
        }

        return buffer.Pointer;
    }
}
