namespace RyzenLlm.Engine.Tokenizers;

/// <summary>stub</summary>
public interface ITokenizer;
