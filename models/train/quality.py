"""Bits per byte on a validation text: every checkpoint by PyTorch in float32, xz, and an interpolated 5-gram.

A token is predicted from at least half a context window (but for the start of the text); bits are summed over
all tokens and divided by all bytes of the file. The last column is the engine's own figure, from
    ryzenllm perplexity --model MODEL --text valid.txt --json
"""
import argparse
import json
import lzma
import math
import os
from collections import Counter, defaultdict

import numpy as np
import torch

import export
import reference


@torch.no_grad()
def model_bits(net, ids, window, ops=reference, batch=8):
    """Windows overlap by half; in each only the second half counts (in the first one, everything)."""
    half, total, count = window // 2, 0.0, 0
    starts = list(range(0, max(1, len(ids) - 1 - half), half))
    groups = [starts[:1]] + [starts[i:i + batch] for i in range(1, len(starts), batch)]
    for g in groups:
        for rows in [[s for s in g if s + window + 1 <= len(ids)], [s for s in g if s + window + 1 > len(ids)]]:
            if not rows:
                continue
            x = torch.from_numpy(np.stack([ids[s:s + window + 1] for s in rows]).astype(np.int64))
            T = x.shape[1] - 1
            keep = 0 if rows[0] == 0 else half
            l = net(x[:, :-1].contiguous(), ops).view(len(rows), T, -1)[:, keep:].float()
            y = x[:, 1 + keep:]
            total += torch.nn.functional.cross_entropy(l.reshape(-1, net.V), y.reshape(-1), reduction='sum').item()
            count += y.numel()
    assert count == len(ids) - 1
    return total / math.log(2)


def xz_bits(train, text):
    """xz -9e of the text alone, and what it adds to the training text."""
    size = lambda b: len(lzma.compress(b, preset=9 | lzma.PRESET_EXTREME))
    return 8 * size(text), 8 * (size(train + text) - size(train)) if train else None


class KneserNey:
    """Interpolated Kneser-Ney over tokens with one absolute discount per order, from the counts of counts."""
    def __init__(self, ids, order, V):
        self.order, self.V = order, V
        ids = ids.astype(np.int64).tolist()
        self.count = [None] * (order + 1)
        self.count[order] = Counter(tuple(ids[i:i + order]) for i in range(len(ids) - order + 1))
        # lower orders count the different tokens to the left instead of occurrences
        for n in range(order - 1, 0, -1):
            self.count[n] = Counter(k[1:] for k in self.count[n + 1])
        self.total, self.kinds, self.discount = [None] * (order + 1), [None] * (order + 1), [0.0] * (order + 1)
        for n in range(1, order + 1):
            total, kinds = defaultdict(int), defaultdict(int)
            once = twice = 0
            for k, c in self.count[n].items():
                total[k[:-1]] += c
                kinds[k[:-1]] += 1
                once += c == 1
                twice += c == 2
            self.total[n], self.kinds[n], self.discount[n] = total, kinds, once / (once + 2 * twice)

    def probability(self, context, w):
        p = 1 / self.V
        for n in range(1, self.order + 1):
            c = context[len(context) - n + 1:] if n > 1 else ()
            if len(c) < n - 1:
                break
            t = self.total[n].get(c, 0)
            if t:
                d = self.discount[n]
                p = max(0.0, self.count[n].get(c + (w,), 0) - d) / t + d * self.kinds[n][c] / t * p
        return p

    def bits(self, ids):
        ids, k, total = ids.astype(np.int64).tolist(), self.order - 1, 0.0
        for i in range(1, len(ids)):
            total -= math.log2(self.probability(tuple(ids[max(0, i - k):i]), ids[i]))
        return total


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument('models', nargs='*', help='model.gguf files, or twin=CHECKPOINT for the full-precision twin')
    ap.add_argument('--train', default='runs/train.npy')
    ap.add_argument('--valid', default='runs/valid.npy')
    ap.add_argument('--text', required=True, help='the validation text itself')
    ap.add_argument('--window', type=int, default=512)
    ap.add_argument('--skip-baselines', action='store_true')
    ap.add_argument('--engine', default='{}', help='JSON {model name: engine bits per byte} for the last column')
    ap.add_argument('--native', action='store_true', help='bfloat16 kernels instead of exact float32: a quick look')
    a = ap.parse_args()
    torch.set_num_threads(1)
    ops = reference
    if a.native:
        import native as ops
    ops.build()
    with open(a.text, 'rb') as f:
        text = f.read()
    ids, V = np.load(a.valid), 4096
    engine = json.loads(a.engine)
    print('| model | parameters | file, bytes | nats per token | bits per byte, PyTorch | bits per byte, engine |\n|---|---|---|---|---|---|', flush=True)

    def row(name, bits, parameters='', size=''):
        print('| %s | %s | %s | %.3f | %.4f | %s |' % (name, parameters, size, bits * math.log(2) / (len(ids) - 1),
                                                     bits / len(text), engine.get(name, '')), flush=True)
    if not a.skip_baselines:
        row('xz -9e, text alone', xz_bits(b'', text)[0])
        row('token 5-gram, Kneser-Ney', KneserNey(np.load(a.train), 5, V).bits(ids))
    for m in a.models:
        if m.startswith('twin='):
            net, _ = export.from_checkpoint(m[5:], 'twin')
            name, size = 'full-precision twin of tales-bitnet (not shipped)', ''
        else:
            net, r = export.load(m)
            name, size = r.keys['general.name'], os.path.getsize(m)
        row(name, model_bits(net, ids, a.window, ops), sum(p.numel() for p in net.parameters()), size)


if __name__ == '__main__':
    main()
