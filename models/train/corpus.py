"""Text -> token files, and the windows that training draws from them."""
import argparse

import numpy as np

from bpe import Tokenizer, documents, read_text


def encode_file(tok, path, out):
    ids = []
    for d in documents(read_text(path)):
        ids.append(0)
        ids.extend(tok.encode(d))
    ids.append(0)
    np.save(out, np.array(ids, dtype=np.uint16))
    return len(ids)


class Windows:
    """Batches of [B, T+1] ids. Each pass cuts the text into windows at a fresh offset and shuffles them, so
    every token is seen once per pass. A share of the windows instead starts with id 0 followed by the
    beginning of a paragraph: that is what a prompt looks like after the begin token."""

    def __init__(self, ids, newline, seed, prompt_share=0.15):
        self.ids = ids.astype(np.int64)
        self.rng = np.random.default_rng(seed)
        breaks = np.flatnonzero((self.ids[:-2] == newline) & (self.ids[1:-1] == newline)) + 2
        self.starts = np.concatenate([np.flatnonzero(self.ids[:-1] == 0) + 1, breaks])
        self.share = prompt_share
        self.queue, self.T = np.empty(0, np.int64), None
        self.passes = 0

    def refill(self, T):
        first = int(self.rng.integers(T))
        at = np.arange(first, len(self.ids) - T - 1, T)
        self.rng.shuffle(at)
        self.queue, self.T = at, T
        self.passes += 1

    def batch(self, B, T):
        rows = np.empty((B, T + 1), np.int64)
        for b in range(B):
            if self.rng.random() < self.share:
                s = min(int(self.rng.choice(self.starts)), len(self.ids) - T)
                rows[b, 0] = 0
                rows[b, 1:] = self.ids[s:s + T]
                continue
            if T != self.T or len(self.queue) == 0:
                self.refill(T)
            s, self.queue = self.queue[-1], self.queue[:-1]
            rows[b] = self.ids[s:s + T + 1]
        return rows


if __name__ == '__main__':
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument('tokenizer')
    ap.add_argument('text')
    ap.add_argument('out')
    a = ap.parse_args()
    print(encode_file(Tokenizer.load(a.tokenizer), a.text, a.out), 'tokens')
