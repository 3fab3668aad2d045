return await RyzenLlm.Mcp.Cli.CommandLine.RunAsync(args);
