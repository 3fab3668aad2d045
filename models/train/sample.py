"""Text from a model file. Noise is keyed by (seed, position), so two models asked with the same seed share it."""
import argparse

import numpy as np
import torch

import reference
from bpe import Tokenizer
from export import load


def gumbel(seed, position, V):
    u = np.random.default_rng([seed, position]).random(V)
    return torch.from_numpy(-np.log(-np.log(u + 1e-12) + 1e-12)).float()


def choose(row, temperature, noise, top_p=1.0):
    """Coupled sampling: the maximum of logits / temperature + Gumbel noise; greedy at temperature 0."""
    if temperature == 0:
        return int(row.argmax())
    row = row / temperature
    if top_p < 1:
        p, order = row.softmax(-1).sort(descending=True)
        row = row.index_fill(0, order[p.cumsum(0) - p > top_p], float('-inf'))
    return int((row + noise).argmax())


@torch.no_grad()
def extend(net, rows, count, temperature, seeds, ops=reference, top_p=1.0, window=512):
    """Continues several prompts of equal length; each step runs the sequence form over the whole text."""
    rows = [list(r) for r in rows]
    for _ in range(count):
        x = torch.tensor([r[-window:] for r in rows])
        out = net(x, ops).view(*x.shape, -1)[:, -1].float()
        for r, l, s in zip(rows, out, seeds):
            r.append(choose(l, temperature, gumbel(s, len(r), net.V), top_p))
    return rows


if __name__ == '__main__':
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument('model')
    ap.add_argument('--prompt', default='Once upon a time')
    ap.add_argument('--count', type=int, default=120)
    ap.add_argument('--temperature', type=float, default=0.8)
    ap.add_argument('--top-p', type=float, default=0.95)
    ap.add_argument('--seeds', type=int, nargs='+', default=[1, 2])
    a = ap.parse_args()
    torch.set_num_threads(1)
    net, r = load(a.model)
    tok = Tokenizer([m.split(' ') for m in r.keys['tokenizer.ggml.merges']])
    start = [0] + tok.encode(a.prompt)
    for s, ids in zip(a.seeds, extend(net, [start] * len(a.seeds), a.count, a.temperature, a.seeds, top_p=a.top_p)):
        print('--- seed', s)
        print(tok.decode(ids[1:]))
