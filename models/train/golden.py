"""Golden files for a model file: logits in float64 after every prompt token, and the greedy continuation.

What is computed is what an engine reading the file must compute: dequantised weights, activations unrounded
except before BitNet's ternary products. Rounding there is a step function, so for BitNet the first position
with an activation close to a rounding boundary is found (strict_positions) and the spread of an ensemble with
float noise gives the tolerances from there on.
"""
import argparse
import json
import os

import numpy as np
import torch

import reference
from bpe import Tokenizer
from export import load

PROMPT = ('Once upon a time there was a poor woodcutter who lived with his wife and his two children at the edge of a great forest. '
          'One evening, when the children had gone to bed, the woodcutter said to his wife,')


class Probe:
    """reference.py with a look at, or noise on, what goes into the int8 rounding."""
    def __init__(self, noise=0.0, seed=0):
        self.noise, self.rng, self.margin = noise, torch.Generator().manual_seed(seed), None

    def __getattr__(self, name):
        return getattr(reference, name)

    def look(self, h):
        if self.noise:
            h = h * (1 + self.noise * torch.randn(h.shape, generator=self.rng, dtype=h.dtype))
        v = h * (127 / h.abs().amax(-1, keepdim=True).clamp(min=1e-5))
        m = (((v - v.floor() - 0.5).abs()) / (v.abs() + 4)).amin(-1)        # relative distance to a boundary
        self.margin = m if self.margin is None or self.margin.shape != m.shape else torch.minimum(self.margin, m)
        return reference.int8_absmax(h)

    def rms_norm(self, x, w, eps, quant=False):
        h = reference.rms(x, eps) * w
        return self.look(h) if quant else h

    def squared_relu_gate(self, gu, w, eps, quant=False):
        g, u = gu.chunk(2, -1)
        return self.rms_norm(torch.relu(g) ** 2 * u, w, eps, quant)


@torch.no_grad()
def logits(net, ids, ops=reference):
    return net(torch.tensor([ids]), ops)


@torch.no_grad()
def greedy(net, ids, count, ops=reference):
    """Returns ids and the gap between best and second at each step; the sequence form is run afresh each time."""
    ids, gaps = list(ids), []
    for _ in range(count):
        row = logits(net, ids, ops)[-1]
        top = torch.topk(row, 2).values
        gaps.append((top[0] - top[1]).item())
        ids.append(int(row.argmax()))
    return ids[-count:], gaps


NEAR = 1e-6     # relative distance to a rounding boundary that float32 arithmetic reliably keeps apart


def strict_length(margin):
    near = (margin < NEAR).nonzero().flatten().tolist()
    return near[0] if near else len(margin)


@torch.no_grad()
def choose_prompt(net, tok, ids, length=48, tries=3000, batch=50):
    """For BitNet: the beginning of a paragraph (without the begin token, which would be the same risk every time)
    that stays clear of rounding boundaries longest. Most fail within a few tokens, so they are sieved by length."""
    line = tok.ids['\u010a']
    starts = [i for i in range(2, len(ids) - length) if ids[i - 1] == line and ids[i - 2] == line]
    texts = [ids[s:s + length].tolist() for s in starts[::max(1, len(starts) // tries)]]
    texts = [t for t in texts if 0 not in t and tok.encode(tok.decode(t)) == t]
    for n in (8, 16, 32, length):
        scored = []
        for i in range(0, len(texts), batch):
            part, probe = texts[i:i + batch], Probe()
            net(torch.tensor([t[:n] for t in part]), probe)
            scored += [(strict_length(m), t) for m, t in zip(probe.margin.view(len(part), n), part)]
        scored.sort(reverse=True)
        texts = [t for _, t in scored[:max(8, len(scored) // 6)]]
    print('strict positions of the best prompts:', [s for s, _ in scored[:8]])
    best = [t for s, t in scored if s >= scored[0][0] - 4]
    return max(best, key=lambda t: min(greedy(net, t, 32)[1]))


def make(path, folder, prompt, corpus, count=32):
    net, r = load(path)
    tok = Tokenizer([m.split(' ') for m in r.keys['tokenizer.ggml.merges']])
    name = r.keys['general.name']
    net.double()
    if net.arch == 'bitnet-b1.58' and corpus:
        ids = choose_prompt(net, tok, np.load(corpus).astype(int))
    else:
        ids = [0] + tok.encode(prompt)
    exact = logits(net, ids)
    out, gaps = greedy(net, ids, count)
    full = logits(net, ids + out)
    chunked = (full[:len(ids)] - exact).abs().max().item()
    net.float()
    single = (logits(net, ids).double() - exact).abs().max().item()
    j = {
        'model': 'models/%s/model.gguf' % name, 'architecture': net.arch, 'prompt': tok.decode(ids[ids[0] == 0:]), 'add_bos': ids[0] == 0, 'prompt_ids': ids,
        'n_vocab': net.V, 'logits_file': name + '.logits.f32', 'logits_shape': list(exact.shape),
        'logits_std': float('%.6g' % exact.std().item()), 'greedy_ids': out, 'greedy_text_utf8': tok.decode(out),
        'greedy_min_gap': float('%.6g' % min(gaps)), 'longer_sequence_max_abs_diff': float('%.6g' % chunked),
        'float32_noise_max_abs': float('%.6g' % single),
    }
    if net.arch == 'bitnet-b1.58':
        net.double()
        probe = Probe()
        logits(net, ids + out, probe)
        strict, runs = strict_length(probe.margin), []
        with torch.no_grad():
            for seed in range(12):
                runs.append(net(torch.tensor([ids + out]), Probe(3e-7, seed)))
        d = torch.stack([(x - full).abs() for x in runs])
        prefix = count
        for seed in range(4):
            o, _ = greedy(net, ids, count, Probe(3e-7, 100 + seed))
            prefix = min([prefix] + [i for i in range(count) if o[i] != out[i]])
        agree = min((x.argmax(-1) == full.argmax(-1)).float().mean().item() for x in runs)
        cos = min(torch.cosine_similarity(x, full, dim=-1).min().item() for x in runs)
        worst, mean = d.max().item(), d.flatten(1).mean(1).max().item()
        j.update({
            'activation_rule': 'int8 absmax per token before every ternary matrix product; nothing else is rounded',
            'suggested_max_abs_tolerance': 0.005, 'strict_positions': min(strict, len(ids)),
            'strict_positions_with_greedy': strict, 'strict_margin': NEAR, 'position_margins': [float('%.3g' % m) for m in probe.margin[:len(ids)]],
            'smallest_rounding_margin': float('%.6g' % probe.margin.min().item()),
            'ensemble_of_float_noise': {'max_abs': float('%.6g' % worst), 'mean_abs': float('%.6g' % mean), 'min_cosine': float('%.8g' % cos),
                                        'min_argmax_agreement': float('%.4g' % agree), 'greedy_prefix_common_to_all': prefix},
            'loose_max_abs_tolerance': float('%.6g' % (2 * worst + 0.005)), 'loose_mean_abs_tolerance': float('%.6g' % (2 * mean + 0.005)),
            'note': 'positions before strict_positions have no activation near a rounding boundary: compare them with '
                    'suggested_max_abs_tolerance; later positions may differ by loose_* because one flipped int8 rounding spreads',
        })
    else:
        j.update({'activation_rule': 'none: dequantised weights, unrounded activations', 'suggested_max_abs_tolerance': 0.002})
    os.makedirs(folder, exist_ok=True)
    exact.numpy().astype('<f4').tofile(os.path.join(folder, name + '.logits.f32'))
    with open(os.path.join(folder, name + '.json'), 'w', encoding='utf-8') as f:
        json.dump(j, f, ensure_ascii=False, indent=1)
    return j


if __name__ == '__main__':
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument('models', nargs='+')
    ap.add_argument('--out', required=True)
    ap.add_argument('--prompt', default=PROMPT)
    ap.add_argument('--corpus', help='token file from which a prompt for a BitNet is chosen')
    a = ap.parse_args()
    for m in a.models:
        j = make(m, a.out, a.prompt, a.corpus)
        print(j['model'], len(j['prompt_ids']), 'prompt ids, gap', j['greedy_min_gap'], 'strict', j.get('strict_positions'),
              'float32 noise', j['float32_noise_max_abs'], repr(j['greedy_text_utf8']))
