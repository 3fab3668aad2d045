"""BitNet b1.58: grouped-query transformer with ternary weights and int8 activations, trained quantised.

`quant=False` is its full-precision twin: the same net without the two quantisers.
Tensor names are those of the GGUF file.
"""
import torch
from torch import nn


class Ternary(torch.autograd.Function):
    """W -> clamp(round(W / mean|W|), -1, 1) * mean|W|; the gradient passes straight through."""
    @staticmethod
    def forward(ctx, w):
        t, a = ternary(w)
        return t * a

    @staticmethod
    def backward(ctx, g):
        return g


def ternary(w):
    a = w.abs().mean().clamp(min=1e-5)
    return (w / a).round().clamp_(-1, 1), a


class BitNet(nn.Module):
    arch = 'bitnet-b1.58'
    eps = 1e-5

    def __init__(self, V=4096, n=256, L=6, ff=768, H=8, K=4, base=10000.0, quant=True):
        super().__init__()
        self.cfg = dict(V=V, n=n, L=L, ff=ff, H=H, K=K, base=base, quant=quant)
        self.V, self.n, self.L, self.ff, self.H, self.K, self.base, self.quant = V, n, L, ff, H, K, base, quant
        hd = self.hd = n // H
        self.p = nn.ParameterDict()
        new = lambda name, *shape, std=0.0, one=False: self.p.update(
            {name.replace('.', ':'): nn.Parameter(torch.ones(shape) if one else torch.randn(shape) * std)})
        new('token_embd.weight', V, n, std=0.02)
        new('output_norm.weight', n, one=True)
        for i in range(L):
            b = 'blk.%d.' % i
            for name, size in (('attn_norm', n), ('ffn_norm', n), ('attn_sub_norm', n), ('ffn_sub_norm', ff)):
                new(b + name + '.weight', size, one=True)
            # the branch outputs start smaller so that the residual stream does not grow with depth
            out = (2 * L) ** -0.5
            for name, m, k, s in (('attn_q', n, n, 1), ('attn_k', K * hd, n, 1), ('attn_v', K * hd, n, 1), ('attn_output', n, n, out),
                                  ('ffn_gate', ff, n, 1), ('ffn_up', ff, n, 1), ('ffn_down', n, ff, out)):
                new(b + name + '.weight', m, k, std=s * k ** -0.5)
        self.tables = {}
        self.stored = False     # True: the weights come from a file and are ternary times scale already

    def w(self, name):
        return self.p[name.replace('.', ':')]

    def t(self, name):
        w = self.w(name)
        return Ternary.apply(w) if self.quant and not self.stored else w

    def angles(self, T, like):
        key = T, like.dtype, like.device
        if key not in self.tables:
            inv = self.base ** (-torch.arange(self.hd // 2, dtype=torch.float64) * 2 / self.hd)
            a = torch.arange(T, dtype=torch.float64)[:, None] * inv
            self.tables[key] = a.cos().to(like).contiguous(), a.sin().to(like).contiguous()
        return self.tables[key]

    def forward(self, ids, ops):
        B, T = ids.shape
        W, Q, q = lambda nm: self.w(nm + '.weight'), lambda nm: self.t(nm + '.weight'), self.quant
        x = W('token_embd')[ids.reshape(-1)]
        cs, sn = self.angles(T, x)
        for i in range(self.L):
            b = 'blk.%d.' % i
            h = ops.rms_norm(x, W(b + 'attn_norm'), self.eps, q)
            qkv = ops.matmul(h, torch.cat([Q(b + 'attn_q'), Q(b + 'attn_k'), Q(b + 'attn_v')]))
            o = ops.attention(qkv, cs, sn, B, T, self.H, self.K)
            x = ops.add(x, ops.matmul(ops.rms_norm(o, W(b + 'attn_sub_norm'), self.eps, q), Q(b + 'attn_output')))
            h = ops.rms_norm(x, W(b + 'ffn_norm'), self.eps, q)
            gu = ops.matmul(h, torch.cat([Q(b + 'ffn_gate'), Q(b + 'ffn_up')]))
            x = ops.add(x, ops.matmul(ops.squared_relu_gate(gu, W(b + 'ffn_sub_norm'), self.eps, q), Q(b + 'ffn_down')))
        return ops.matmul(ops.rms_norm(x, W('output_norm'), self.eps), W('token_embd'))
