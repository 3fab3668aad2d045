"""Writes card.md beside a model file: facts from the file, figures given as arguments, samples as they come."""
import argparse
import os

import torch

from bpe import Tokenizer
from export import load
from sample import extend

ABOUT = {
    'tales-bitnet': ('A BitNet b1.58 transformer: every matrix but the embedding holds only -1, 0 and 1 times one scale, and activations '
                     'are rounded to 8 bits per token. It was trained with both roundings in place.'),
    'tales-mamba': 'A Mamba (version 1) state space model: constant memory per sequence. Small enough to draft for `tales-bitnet`.',
    'tales-rwkv7': 'An RWKV-7 model: a recurrent net with constant memory per sequence.',
}
QUANT = {'tales-bitnet': 'TQ2_0 (ternary), embedding F16, norms F32', 'tales-mamba': 'Q8_0, small tensors F32', 'tales-rwkv7': 'Q8_0, small tensors F32'}
CARD = '''---
name: {name}
architecture: {arch}
parameters: {parameters}
context: {context}
vocabulary: {vocabulary}
vocabulary_size: {V}
tensor_types: {quant}
licence: MIT
bits_per_byte: {bits}
{draft}---
# {name}

{about}

- **Made** with `models/train` on one processor core: {made}
- **Text**: 22.8 MB of old children's books and detective stories in English (Project Gutenberg, public domain; listed in
  `models/train/README.md`), nothing else. Byte-level BPE with 4,096 tokens, shared by the three tales models.
- **Size**: {size:,} bytes, {parameters:,} parameters. Context {context} tokens (about {chars} characters): windows of that length were trained.
- **Quality**: {bits} bits per byte on 1.21 MB of unseen chapters of the same books, each token with at least half a context before it
  (`models/train/quality.py`, float32). For comparison: xz -9e 2.37, a token 5-gram with Kneser-Ney smoothing 1.57.
- **Start** the text with `<|endoftext|>` (id 0; `add_bos_token` is set). The same token ends a chapter.
- **Licence**: MIT.

## What it cannot do

It continues stories in the manner of a hundred years ago; sentences mostly hold together, plots do not. It knows no facts worth
relying on, follows no instructions, answers no questions, writes no code, and has no other language than English. The books are of
their time, in opinions about people too, and the model may repeat those. Meant for trying, testing and measuring the engine.

## Samples

Temperature {temperature}, top-p 0.95, prompt "Once upon a time", first two seeds, unedited.

{samples}
'''


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument('model')
    ap.add_argument('--bits', required=True)
    ap.add_argument('--made', required=True)
    ap.add_argument('--draft')
    ap.add_argument('--temperature', type=float, default=0.7)
    a = ap.parse_args()
    torch.set_num_threads(1)
    net, r = load(a.model)
    name = r.keys['general.name']
    tok = Tokenizer([m.split(' ') for m in r.keys['tokenizer.ggml.merges']])
    context = r.keys[net.arch + '.context_length']
    texts = extend(net, [[0] + tok.encode('Once upon a time')] * 2, 150, a.temperature, [1, 2], top_p=0.95)
    samples = '\n\n---\n\n'.join('\n'.join(('> ' + line).rstrip() for line in tok.decode(t[1:]).split('\n')) for t in texts)
    card = CARD.format(name=name, arch=net.arch, parameters=sum(p.numel() for p in net.parameters()), context=context,
                       vocabulary='sha256:' + tok.fingerprint(), V=net.V, quant=QUANT[name], bits=a.bits, about=ABOUT[name], made=a.made,
                       draft='draft: %s\n' % a.draft if a.draft else '', size=os.path.getsize(a.model), chars=round(context * 3.65, -2).__int__(),
                       temperature=a.temperature, samples=samples)
    with open(os.path.join(os.path.dirname(a.model), 'card.md'), 'w', encoding='utf-8') as f:
        f.write(card)


if __name__ == '__main__':
    main()
