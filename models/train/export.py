"""Checkpoint -> GGUF, and back: load() gives the net with the weights exactly as the file stores them."""
import argparse

import numpy as np
import torch

from bitnet import BitNet, ternary
from bpe import Tokenizer
from gguf import ARR, BOOL, F32, I32, STR, U32, Reader, Writer
from mamba import Mamba
from rwkv7 import Rwkv7

CLASSES = {c.arch: c for c in (BitNet, Mamba, Rwkv7)}


def from_checkpoint(path, net='bitnet'):
    c = torch.load(path, map_location='cpu')
    m = {'bitnet': BitNet, 'twin': BitNet, 'mamba': Mamba, 'rwkv7': Rwkv7}[net](**c['cfg'])
    m.load_state_dict(c['net'])
    return m.eval(), c


def tokenizer_keys(w, tok):
    w.key('tokenizer.ggml.model', STR, 'gpt2')
    w.key('tokenizer.ggml.pre', STR, 'gpt-2')
    w.key('tokenizer.ggml.tokens', ARR, tok.tokens, STR)
    w.key('tokenizer.ggml.token_type', ARR, [3] + [1] * (len(tok.tokens) - 1), I32)
    w.key('tokenizer.ggml.merges', ARR, [' '.join(m) for m in tok.merges], STR)
    w.key('tokenizer.ggml.bos_token_id', U32, 0)
    w.key('tokenizer.ggml.eos_token_id', U32, 0)
    w.key('tokenizer.ggml.add_bos_token', BOOL, True)


def shape_keys(w, net, context):
    A = net.arch + '.'
    u32 = lambda k, v: w.key(A + k, U32, v)
    u32('vocab_size', net.V)
    u32('context_length', context)
    u32('embedding_length', net.n)
    u32('block_count', net.L)
    if net.arch == 'bitnet-b1.58':
        u32('feed_forward_length', net.ff)
        u32('rope.dimension_count', net.hd)
        u32('attention.head_count', net.H)
        u32('attention.head_count_kv', net.K)
        w.key(A + 'attention.layer_norm_rms_epsilon', F32, net.eps)
        w.key(A + 'rope.freq_base', F32, net.base)
        file_type = 37
    elif net.arch == 'mamba':
        u32('feed_forward_length', 0)
        u32('attention.head_count', 0)
        u32('ssm.conv_kernel', 4)
        u32('ssm.inner_size', net.di)
        u32('ssm.state_size', net.ds)
        u32('ssm.time_step_rank', net.dr)
        w.key(A + 'attention.layer_norm_rms_epsilon', F32, net.eps)
        file_type = 7
    else:
        u32('feed_forward_length', net.ff)
        u32('attention.head_count', 0)
        u32('wkv.head_size', net.hs)
        w.key(A + 'attention.layer_norm_epsilon', F32, net.eps)
        for key, r in (('decay', 'w'), ('iclr', 'a'), ('value_residual_mix', 'v'), ('gate', 'g')):
            u32('attention.%s_lora_rank' % key, net.ranks[r])
        file_type = 7
    w.key('general.file_type', U32, file_type)


def tensors(net, w):
    state = {k[2:].replace(':', '.'): v.detach().float() for k, v in net.state_dict().items()}
    if net.arch == 'rwkv7':
        # the format has them in block 0 too, where nothing reads them
        r = net.ranks['a']
        t = 'blk.0.time_mix_v'
        state.update({t + '0.weight': torch.zeros(net.n), t + '1.weight': torch.zeros(r, net.n), t + '2.weight': torch.zeros(net.n, r)})
    for name, x in state.items():
        if name.endswith('ssm_a'):
            w.tensor(name, -torch.exp(x).numpy())
        elif net.arch == 'bitnet-b1.58' and x.ndim == 2 and name != 'token_embd.weight':
            t, a = ternary(x)
            w.tensor(name, t.numpy().astype(np.int8), 'TQ2_0', a.item())
        elif name == 'blk.%s.time_mix_lerp_fused.weight' % name.split('.')[1]:
            w.tensor(name, x.view(6, 1, 1, net.n).numpy())
        elif x.ndim == 2 and name == 'token_embd.weight' and net.arch == 'bitnet-b1.58':
            w.tensor(name, x.numpy(), 'F16')
        elif x.ndim == 2 and x.shape[1] % 32 == 0 and x.shape[0] >= 32 and 'conv1d' not in name:
            w.tensor(name, x.numpy(), 'Q8_0')
        else:
            w.tensor(name, x.numpy())


def export(net, tok, path, name, context=512):
    w = Writer(net.arch)
    w.key('general.name', STR, name)
    w.key('general.license', STR, 'mit')
    shape_keys(w, net, context)
    tokenizer_keys(w, tok)
    tensors(net, w)
    w.write(path)


def load(path):
    """The net with the file's weights, and the file's reader."""
    r = Reader(path)
    arch = r.keys['general.architecture']
    h = lambda k: r.keys.get(arch + '.' + k)
    if arch == 'bitnet-b1.58':
        cfg = dict(ff=h('feed_forward_length'), H=h('attention.head_count'), K=h('attention.head_count_kv'), base=h('rope.freq_base'))
    elif arch == 'mamba':
        cfg = dict(ds=h('ssm.state_size'))
    else:
        cfg = dict(ff=h('feed_forward_length'), hs=h('wkv.head_size'), rw=h('attention.decay_lora_rank'), ra=h('attention.iclr_lora_rank'),
                   rv=h('attention.value_residual_mix_lora_rank'), rg=h('attention.gate_lora_rank'))
    net = CLASSES[arch](V=h('vocab_size'), n=h('embedding_length'), L=h('block_count'), **cfg)
    with torch.no_grad():
        for k, p in net.p.items():
            x = torch.from_numpy(r.tensor(k.replace(':', '.')))
            p.copy_(torch.log(-x) if k.endswith('ssm_a') else x.view(p.shape))
    if arch == 'bitnet-b1.58':
        net.stored = True
    return net.eval(), r


if __name__ == '__main__':
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument('net', choices=['bitnet', 'mamba', 'rwkv7'])
    ap.add_argument('checkpoint')
    ap.add_argument('out')
    ap.add_argument('--tokenizer', default='tokenizer.json')
    ap.add_argument('--name')
    ap.add_argument('--context', type=int, default=512)
    a = ap.parse_args()
    net, c = from_checkpoint(a.checkpoint, a.net)
    export(net, Tokenizer.load(a.tokenizer), a.out, a.name or 'tales-' + a.net, a.context)
    print(a.out, 'after', c['tokens'], 'tokens')
