namespace RyzenLlm.Kernels.Formats;

/// <summary>Element type of a weight tensor. The numbers are those of GGUF files (<c>ggml_type</c>).</summary>
public enum QuantType
{
    /// <summary>IEEE binary32.</summary>
    F32 = 0,

    /// <summary>IEEE binary16.</summary>
    F16 = 1,

    /// <summary>Blocks of 32 four-bit values with one scale.</summary>
    Q4_0 = 2,

    /// <summary>Blocks of 32 signed bytes with one scale.</summary>
    Q8_0 = 8,

    /// <summary>Super-blocks of 256 four-bit values; scale and minimum per 32.</summary>
    Q4_K = 12,

    /// <summary>Super-blocks of 256 five-bit values; scale and minimum per 32.</summary>
    Q5_K = 13,

    /// <summary>Super-blocks of 256 six-bit values; scale per 16.</summary>
    Q6_K = 14,

    /// <summary>Upper half of an IEEE binary32.</summary>
    BF16 = 30,

    /// <summary>Ternary, five digits to a byte, scale per 256.</summary>
    TQ1_0 = 34,

    /// <summary>Ternary, four digits to a byte, scale per 256.</summary>
    TQ2_0 = 35,

    /// <summary>Ternary, four digits to a byte, one scale for the tensor (bitnet.cpp).</summary>
    I2_S = 36,
}
