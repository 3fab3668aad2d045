using System.ComponentModel.DataAnnotations;
using RyzenLlm.Memory;

namespace RyzenLlm.Mcp.Settings;

/// <summary>
/// Everything that can be configured. Sources, later ones winning: appsettings.json beside the program, environment variables
/// (RYZENLLM__GENERATION__TOPK for Generation:TopK), command line (<c>--set Generation:TopK=20</c> and the options of the verbs).
/// </summary>
public sealed record AppSettings
{
    /// <summary>Which models there are.</summary>
    public ModelSettings Models { get; init; } = new();

    /// <summary>How models are run.</summary>
    public EngineSettings Engine { get; init; } = new();

    /// <summary>What is kept of earlier requests, so that later ones cost only what is new in them.</summary>
    public StateSettings States { get; init; } = new();

    /// <summary>What a generation does where the request does not say.</summary>
    public GenerationSettings Generation { get; init; } = new();

    /// <summary>What was said and is found again.</summary>
    public MemoryOptions Memory { get; init; } = new();

    /// <summary>The MCP server.</summary>
    public ServerSettings Server { get; init; } = new();

    /// <summary>Metrics and traces.</summary>
    public TelemetrySettings Telemetry { get; init; } = new();

    /// <summary>Messages on standard error.</summary>
    public LogSettings Log { get; init; } = new();
}

/// <summary>Which models there are.</summary>
public sealed record ModelSettings
{
    /// <summary>Name or path of the model used where none is named; empty takes tales-bitnet, or else the first one found.</summary>
    public string Default { get; init; } = "";

    /// <summary>Folders to look for models in, before the usual ones.</summary>
    public string[] Folders { get; init; } = [];

    /// <summary>Models that stay loaded; beyond it the one unused for longest is unloaded.</summary>
    [Range(1, 64)]
    public int KeepLoaded { get; init; } = 2;

    /// <summary>Whether a model that was used is measured once while the server has nothing else to do, for automatic choice.</summary>
    public bool MeasureInBackground { get; init; } = true;

    /// <summary>Folder of the measured profiles; empty takes ryzenllm/profiles in the user's cache.</summary>
    public string ProfileFolder { get; init; } = "";

    /// <summary>Folder of the feedback about models; empty takes ryzenllm/feedback in the user's data.</summary>
    public string FeedbackFolder { get; init; } = "";
}

/// <summary>How models are run.</summary>
public sealed record EngineSettings
{
    /// <summary>Threads of a model; 0 takes one per processor.</summary>
    [Range(0, 1024)]
    public int Threads { get; init; }

    /// <summary>Kernel path.</summary>
    [AllowedValues("auto", "portable", "avx2", "avx512")]
    public string Kernels { get; init; } = "auto";

    /// <summary>Element type of key/value caches; i8 takes half the memory of f16 and reads half the bytes per token.</summary>
    [AllowedValues("f16", "f32", "i8")]
    public string KvType { get; init; } = "f16";

    /// <summary>
    /// Latest tokens that a transformer sees in longer texts, so that it goes on beyond its context in constant memory; more than it was trained on counts as that.
    /// 0: it sees all and ends with its context. Recurrent models go on anyway.
    /// </summary>
    [Range(0, 10_000_000)]
    public int Window { get; init; }

    /// <summary>First tokens of a text that stay in sight beside the window.</summary>
    [Range(0, 1024)]
    public int Sinks { get; init; } = 4;

    /// <summary>
    /// Activations of products with Q8_0 or Q4_0 weights: exact takes them as they are, fast rounds them to 16 bits where the processor gains by it.
    /// </summary>
    [AllowedValues("exact", "fast")]
    public string Precision { get; init; } = "fast";

    /// <summary>
    /// Ternary weights: auto multiplies by table lookup from a copy at 1.78 bits, made at load, where the processor has AVX-512; inplace reads them where they
    /// lie in the file. The text is the same.
    /// </summary>
    [AllowedValues("auto", "inplace")]
    public string TernaryLayout { get; init; } = "auto";

    /// <summary>
    /// Memory that models, sequences and kept states may take together: a size such as 6GB, or a share of what the machine or container allows. Whatever would
    /// exceed it is refused beforehand.
    /// </summary>
    [MemorySize]
    public string MemoryLimit { get; init; } = "80%";

    /// <summary>Requests that a model serves at once; each holds the state of its own sequence.</summary>
    [Range(1, 1024)]
    public int MaxSequences { get; init; } = 16;

    /// <summary>Requests that may wait for a model behind those.</summary>
    [Range(1, 100_000)]
    public int QueueLimit { get; init; } = 64;

    /// <summary>Tokens that a step of a model computes at most: next tokens of all requests and parts of prompts.</summary>
    [Range(1, 8192)]
    public int StepTokens { get; init; } = 256;
}

/// <summary>What is kept of earlier requests, so that later ones cost only what is new in them.</summary>
public sealed record StateSettings
{
    /// <summary>Memory for the kept states of each model: a size, or a share of Engine:MemoryLimit; 0 keeps none.</summary>
    [MemorySize]
    public string Memory { get; init; } = "15%";

    /// <summary>Disk space for conversations' states: a size, or a share of the space that is free; 0 lets nothing outlive the process.</summary>
    [MemorySize]
    public string Disk { get; init; } = "4GB";

    /// <summary>Folder of states and conversations; empty takes ryzenllm/states in the user's cache folder.</summary>
    public string Folder { get; init; } = "";

    /// <summary>Conversations that are kept for each tenant; beyond it the one unused for longest is forgotten.</summary>
    [Range(1, 100_000)]
    public int Conversations { get; init; } = 200;

    /// <summary>Days after its last turn that a conversation is forgotten.</summary>
    [Range(0.001, 3650.0)]
    public double ExpireDays { get; init; } = 30;
}

/// <summary>What a generation does where the request does not say.</summary>
public sealed record GenerationSettings
{
    /// <summary>Tokens at most.</summary>
    [Range(1, 1_000_000)]
    public int MaxTokens { get; init; } = 256;

    /// <summary>Divides the logits; 0 always takes the most probable token.</summary>
    [Range(0.0, 10.0)]
    public float Temperature { get; init; } = 0.8f;

    /// <summary>Keeps the k most probable tokens; 0 keeps all.</summary>
    [Range(0, int.MaxValue)]
    public int TopK { get; init; } = 40;

    /// <summary>Keeps the most probable tokens of this mass; 1 keeps all.</summary>
    [Range(0.0, 1.0, MinimumIsExclusive = true)]
    public float TopP { get; init; } = 0.95f;

    /// <summary>Drops tokens below this share of the most probable one; 0 keeps all.</summary>
    [Range(0.0, 1.0, MaximumIsExclusive = true)]
    public float MinP { get; init; } = 0.05f;

    /// <summary>Keeps the mass of tokens nearest to the expected surprise; 1 keeps all.</summary>
    [Range(0.0, 1.0, MinimumIsExclusive = true)]
    public float TypicalP { get; init; } = 1;

    /// <summary>Weakens tokens of the penalty window; 1 is off.</summary>
    [Range(0.0, 10.0, MinimumIsExclusive = true)]
    public float RepetitionPenalty { get; init; } = 1;

    /// <summary>Subtracted per occurrence in the penalty window.</summary>
    [Range(-2.0, 2.0)]
    public float FrequencyPenalty { get; init; }

    /// <summary>Subtracted for any occurrence in the penalty window.</summary>
    [Range(-2.0, 2.0)]
    public float PresencePenalty { get; init; }

    /// <summary>Tokens that the penalties look back on; 0 means all.</summary>
    [Range(0, int.MaxValue)]
    public int PenaltyWindow { get; init; } = 64;

    /// <summary>Names the randomness: the same seed and request give the same text.</summary>
    [Range(0.0, 9007199254740991.0)]
    public long Seed { get; init; }
}

/// <summary>Messages on standard error.</summary>
public sealed record LogSettings
{
    /// <summary>Least severe level that is written.</summary>
    [AllowedValues("trace", "debug", "information", "warning", "error", "critical", "none")]
    public string Level { get; init; } = "warning";
}
