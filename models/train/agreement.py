"""How well one model drafts for another: mean number of drafted tokens accepted per round.

Draft and target share the Gumbel noise of each position, and a drafted token is accepted when the target would
have chosen the same. Accepted tokens are the target's own, so the draft's choice at every position of the
target's text tells all: no round has to be played.
"""
import argparse

import numpy as np
import torch

import reference
from export import load
from sample import choose, extend, gumbel


def rounds(match, k):
    """Accepted drafts per round; a round also yields the target's own next token."""
    out, i = [], 0
    while i + k < len(match):
        n = 0
        while n < k and match[i + n]:
            n += 1
        out.append(n)
        i += n + 1
    return out


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument('target')
    ap.add_argument('draft')
    ap.add_argument('--valid', default='runs/valid.npy')
    ap.add_argument('--prompts', type=int, default=16)
    ap.add_argument('--count', type=int, default=128)
    ap.add_argument('--drafted', type=int, default=4)
    ap.add_argument('--native', action='store_true')
    a = ap.parse_args()
    torch.set_num_threads(1)
    ops = reference
    if a.native:
        import native as ops
    ops.build()
    (target, _), (draft, _) = load(a.target), load(a.draft)
    ids = np.load(a.valid).astype(np.int64)
    starts = np.flatnonzero(ids[:-64] == 0)
    starts = starts[np.linspace(0, len(starts) - 1, a.prompts).astype(int)]
    prompts = [ids[s:s + 48].tolist() for s in starts]
    for temperature in (0.0, 0.8, 1.0):
        seeds = list(range(100, 100 + a.prompts))
        texts = extend(target, prompts, a.count, temperature, seeds, ops)
        with torch.no_grad():
            out = draft(torch.tensor(texts), ops).view(a.prompts, -1, draft.V).float()
        accepted, hits, total = [], 0, 0
        for t, l, s in zip(texts, out, seeds):
            match = [choose(l[i - 1], temperature, gumbel(s, i, draft.V)) == t[i] for i in range(48, len(t))]
            accepted += rounds(match, a.drafted)
            hits, total = hits + sum(match), total + len(match)
        print('temperature %.1f: %.2f of %d drafted tokens accepted per round, %.2f tokens per target pass, agreement per token %.3f'
              % (temperature, np.mean(accepted), a.drafted, np.mean(accepted) + 1, hits / total), flush=True)


if __name__ == '__main__':
    main()
