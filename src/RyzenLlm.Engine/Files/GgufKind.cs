namespace RyzenLlm.Engine.Files;

/// <summary>Kind of a metadata value, numbered as in the GGUF specification.</summary>
public enum GgufKind
{
    /// <summary>Unsigned 8 bit.</summary>
    UInt8 = 0,

    /// <summary>Signed 8 bit.</summary>
    Int8 = 1,

    /// <summary>Unsigned 16 bit.</summary>
    UInt16 = 2,

    /// <summary>Signed 16 bit.</summary>
    Int16 = 3,

    /// <summary>Unsigned 32 bit.</summary>
    UInt32 = 4,

    /// <summary>Signed 32 bit.</summary>
    Int32 = 5,

    /// <summary>IEEE binary32.</summary>
    Float32 = 6,

    /// <summary>One byte, 0 or 1.</summary>
    Bool = 7,

    /// <summary>A 64-bit byte count and that many bytes, normally UTF-8.</summary>
    String = 8,

    /// <summary>Element kind, 64-bit count, elements.</summary>
    Array = 9,

    /// <summary>Unsigned 64 bit.</summary>
    UInt64 = 10,

    /// <summary>Signed 64 bit.</summary>
    Int64 = 11,

    /// <summary>IEEE binary64.</summary>
    Float64 = 12,
}
