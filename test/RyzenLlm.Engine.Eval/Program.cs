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

if (args is ["batch", var served, ..])
{
    return Company.Run(served, new(args[2..]));
}

if (args is ["users", var crowded, ..])
{
    return await Users.Run(crowded, new(args[2..]));
}

if (args is ["turns", var talker, ..])
{
    return Turns.Run(talker, new(args[2..]));
}

Console.Error.WriteLine("""
    pair TARGET DRAFT TEXT [prompts=100] [tokens=64] [guesses=N] [exact=0] [head=auto] [threads=1] [kernels=auto]
                                                                                streams of prompts cut from a text, plain and speculative: differences, acceptance, speed;
                                                                                exact=1: a draft as exact as a target; head=candidates: of few logits, however small the head
    agreement TARGET DRAFT [tokens=48] [repeats=3] [threads=2] [kernels=auto] [chart=FILE.svg]
                                                                                speed against plain when a script agrees with the target at a given rate
    editing TARGET VOCABULARY TEXT [words=200] [repeats=5] [threads=2] [kernels=auto]
                                                                                prompt lookup on "repeat this text with one word changed": speed against plain
    batch MODEL [rounds=5] [tokens=64] [prompt=16] [running=4] [long=4000] [speculate=off] [threads=2] [kernels=auto]
                                                                                tokens/s of 1 to 16 users at once; gaps between tokens while a long prompt arrives
    users MODEL [clients=200] [seconds=600] [sequences=16] [queue=64] [threads=2] [kernels=auto]
                                                                                clients that cancel, expire, hang up and are turned away: memory, sessions, wrong texts
    turns MODEL [turns=10] [history=512] [rounds=3] [threads=2] [kernels=auto] [json=FILE]
                                                                                time to the first token of the last turn: state in memory, from disk, none
    masks VOCABULARY                                                            cost of constraints over a vocabulary
    """);
return 1;
