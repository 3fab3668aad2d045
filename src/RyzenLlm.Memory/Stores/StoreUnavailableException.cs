using Microsoft.Extensions.VectorData;

namespace RyzenLlm.Memory.Stores;

/// <summary>
/// A remote store cannot be reached, does not answer in time, or cannot write at present. Trying again later may succeed; what was
/// sent may or may not have been done.
/// </summary>
public sealed class StoreUnavailableException(string message, Exception? inner = null) : VectorStoreException(message, inner);
