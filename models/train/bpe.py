"""Byte-level BPE with GPT-2 splitting: training, encoding, decoding.

Id 0 is <|endoftext|> (begin, end and document separator), ids 1..256 the single bytes in the order of the
printable alphabet, the rest merges in rank order. So a smaller vocabulary is a prefix of a larger one.
"""
import argparse
import hashlib
import heapq
import json
import lzma
import re
import struct
import sys
import unicodedata
from collections import Counter, defaultdict

END = '<|endoftext|>'
# Unicode White_Space. Python's own \s has four more control characters, so it is spelled out.
SPACE = '\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000'


def byte_alphabet():
    """GPT-2's 256 printable stand-ins: printable Latin-1 is itself, the other 68 bytes follow U+0100."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {b: chr(b) for b in keep}
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + len(table) - len(keep))
    return table


BYTE_TO_CHAR = byte_alphabet()
CHAR_TO_BYTE = {c: b for b, c in BYTE_TO_CHAR.items()}


def category_class(letter):
    """Regular-expression ranges of all characters whose Unicode category starts with `letter`."""
    out, start = [], None
    for cp in range(sys.maxunicode + 2):
        inside = cp <= sys.maxunicode and unicodedata.category(chr(cp))[0] == letter
        if inside and start is None:
            start = cp
        elif not inside and start is not None:
            out.append('\\U%08x-\\U%08x' % (start, cp - 1))
            start = None
    return ''.join(out)


def splitter():
    L, N = category_class('L'), category_class('N')
    return re.compile("'s|'t|'re|'ve|'m|'ll|'d| ?[%s]+| ?[%s]+| ?[^%s%s%s]+|[%s]+(?![^%s])|[%s]+"
                      % (L, N, SPACE, L, N, SPACE, SPACE, SPACE))


def printable(text):
    return ''.join(BYTE_TO_CHAR[b] for b in text.encode('utf-8'))


def read_text(path):
    opener = lzma.open if path.endswith('.xz') else open
    with opener(path, 'rt', encoding='utf-8', newline='') as f:
        return f.read()


def documents(text):
    """The pieces between separators, without the line breaks that set the separator apart."""
    return [d.strip('\r\n') for d in text.split(END) if d.strip()]


def train(text, size):
    """Merges of the most frequent pair, ties to the lexicographically smaller pair.

    Only the distinct words are kept, with an index pair -> words, so a merge touches few of them.
    """
    split, raw = splitter(), Counter()
    for d in documents(text):
        raw.update(split.findall(d))
    counts = {printable(w): n for w, n in raw.items()}
    words = [list(w) for w in counts]
    freq = list(counts.values())
    pairs, where = Counter(), defaultdict(set)
    for i, w in enumerate(words):
        for p in zip(w, w[1:]):
            pairs[p] += freq[i]
            where[p].add(i)
    heap = [(-n, p) for p, n in pairs.items()]
    heapq.heapify(heap)
    merges = []
    while len(merges) < size - 257 and heap:
        n, p = heapq.heappop(heap)
        if pairs[p] != -n:              # stale entry: the count has changed since it was pushed
            if pairs[p] > 0:
                heapq.heappush(heap, (-pairs[p], p))
            continue
        merges.append(p)
        joined, changed = p[0] + p[1], set()
        for i in list(where[p]):
            w = words[i]
            for q in zip(w, w[1:]):
                pairs[q] -= freq[i]
            new, j = [], 0
            while j < len(w):
                if j + 1 < len(w) and (w[j], w[j + 1]) == p:
                    new.append(joined)
                    j += 2
                else:
                    new.append(w[j])
                    j += 1
            words[i] = new
            for q in zip(new, new[1:]):
                pairs[q] += freq[i]
                where[q].add(i)
                changed.add(q)
        for q in changed:
            heapq.heappush(heap, (-pairs[q], q))
        del pairs[p], where[p]
    return merges


class Tokenizer:
    def __init__(self, merges):
        self.merges = [tuple(m) for m in merges]
        self.rank = {m: i for i, m in enumerate(self.merges)}
        self.tokens = [END] + list(BYTE_TO_CHAR.values()) + [a + b for a, b in self.merges]
        self.ids = {t: i for i, t in enumerate(self.tokens)}
        self.split = splitter()
        self.cache = {}

    def word(self, w):
        if w not in self.cache:
            parts = list(printable(w))
            while len(parts) > 1:
                best = min(zip(parts, parts[1:]), key=lambda p: self.rank.get(p, 1 << 30))
                if best not in self.rank:
                    break
                new, j = [], 0
                while j < len(parts):
                    if j + 1 < len(parts) and (parts[j], parts[j + 1]) == best:
                        new.append(best[0] + best[1])
                        j += 2
                    else:
                        new.append(parts[j])
                        j += 1
                parts = new
            self.cache[w] = [self.ids[p] for p in parts]
        return self.cache[w]

    def encode(self, text):
        return [i for w in self.split.findall(text) for i in self.word(w)]

    def decode(self, ids):
        data = b''.join(END.encode() if i == 0 else bytes(CHAR_TO_BYTE[c] for c in self.tokens[i]) for i in ids)
        return data.decode('utf-8', 'replace')

    def fingerprint(self):
        """What the engine calls the fingerprint of a vocabulary: the bytes of every id and whether it is special."""
        h = hashlib.sha256()
        for i, t in enumerate(self.tokens):
            data = END.encode() if i == 0 else bytes(CHAR_TO_BYTE[c] for c in t)
            h.update(struct.pack('<Bi', i == 0, len(data)) + data)
        return h.hexdigest()

    def save(self, path):
        with open(path, 'w', encoding='utf-8') as f:
            json.dump({'merges': [' '.join(m) for m in self.merges]}, f, ensure_ascii=False, indent=0)

    @staticmethod
    def load(path):
        with open(path, encoding='utf-8') as f:
            return Tokenizer([m.split(' ') for m in json.load(f)['merges']])


if __name__ == '__main__':
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument('text')
    ap.add_argument('--size', type=int, default=4096)
    ap.add_argument('--out', default='tokenizer.json')
    a = ap.parse_args()
    tok = Tokenizer(train(read_text(a.text), a.size))
    tok.save(a.out)
    print(len(tok.tokens), 'tokens')
