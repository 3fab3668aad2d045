using RyzenLlm.Engine.Eval;

if (args is ["pair", var target, var draft, var text, ..])
{
    return Pair.Run(target, draft, text, new(args[4..]));
}

if (args is ["agreement", var large, var small, ..])
{
    return Agreement.Run(large, small, new(args[3..]));
}

if (args is ["editing", var model, var vocabularyOfText, var original, ..])
{
    return Editing.Run(model, vocabularyOfText, original, new(args[4..]));
}

if (args is ["masks", var vocabulary])
{
    return Masks.Run(vocabulary);
}

Console.Error.WriteLine("""
    pair TARGET DRAFT TEXT [prompts=100] [tokens=64] [guesses=N] [threads=1] [kernels=auto]
                                                                                streams of prompts cut from a text, plain and speculative: differences, acceptance, speed
    agreement TARGET DRAFT [tokens=48] [repeats=3] [threads=2] [kernels=auto] [chart=FILE.svg]
                                                                                speed against plain when a script agrees with the target at a given rate
    editing TARGET VOCABULARY TEXT [words=200] [repeats=5] [threads=2] [kernels=auto]
                                                                                prompt lookup on "repeat this text with one word changed": speed against plain
    masks VOCABULARY                                                            cost of constraints over a vocabulary
    """);
return 1;
