"""RWKV-7. Tensor names are those of the GGUF file (block 0 carries no v0/v1/v2 here; the export adds the unused ones)."""
import torch
import torch.nn.functional as F
from torch import nn

DECAY = 0.606531        # exp(-1/2), in the digits that the format fixes


class Rwkv7(nn.Module):
    arch = 'rwkv7'
    eps, group_eps = 1e-5, 64e-5

    def __init__(self, V=4096, n=192, L=5, ff=640, hs=64, rw=32, ra=32, rv=16, rg=64):
        super().__init__()
        self.cfg = dict(V=V, n=n, L=L, ff=ff, hs=hs, rw=rw, ra=ra, rv=rv, rg=rg)
        self.V, self.n, self.L, self.ff, self.hs = V, n, L, ff, hs
        self.ranks = dict(w=rw, a=ra, v=rv, g=rg)
        self.p = nn.ParameterDict()

        def new(name, value):
            self.p[name.replace('.', ':')] = nn.Parameter(value)

        def norm(name):
            new(name + '.weight', torch.ones(n))
            new(name + '.bias', torch.zeros(n))
        c = torch.arange(n) / (n - 1)
        new('token_embd.weight', torch.randn(V, n) * 0.02)
        new('output.weight', torch.randn(V, n) * 0.5 * n ** -0.5)
        norm('token_embd_norm')
        norm('output_norm')
        for i in range(L):
            b, depth = 'blk.%d.' % i, i / max(1, L - 1)
            t = b + 'time_mix_'
            norm(b + 'attn_norm')
            norm(b + 'attn_norm_2')
            norm(t + 'ln')
            # how much of the previous token each channel takes; less in deeper blocks
            new(t + 'lerp_fused.weight', torch.stack([1 - c ** (e * (1 - 0.7 * depth)) for e in (0.3, 0.9, 0.7, 0.7, 0.9, 0.3)]))
            # decays from very slow to fast across the channels
            new(t + 'w0.weight', -6.5 + 5 * c ** (0.85 + depth ** 0.5))
            new(t + 'a0.weight', torch.zeros(n))
            new(t + 'k_k.weight', torch.full((n,), 0.85))
            new(t + 'k_a.weight', torch.ones(n))
            new(t + 'r_k.weight', torch.zeros(n))
            for name, r in self.ranks.items():
                if name == 'v':
                    if i == 0:
                        continue
                    new(t + 'v0.weight', torch.ones(n))
                # the second factor starts at zero-mean small values, the first at zero: the gate begins constant
                new(t + name + '1.weight', torch.zeros(r, n) if name != 'g' else torch.randn(r, n) * n ** -0.5)
                new(t + name + '2.weight', torch.randn(n, r) * (0.1 if name != 'g' else 1.0) * r ** -0.5)
            for name, s in (('receptance', 0.5), ('key', 0.5), ('value', 0.5), ('output', 0.5 * (2 * L) ** -0.5)):
                new(t + name + '.weight', torch.randn(n, n) * s * n ** -0.5)
            new(b + 'channel_mix_lerp_k.weight', 1 - c ** (1 - 0.9 * depth))
            new(b + 'channel_mix_key.weight', torch.randn(ff, n) * 0.7 * n ** -0.5)
            new(b + 'channel_mix_value.weight', torch.randn(n, ff) * 0.5 * (2 * L * ff) ** -0.5)

    def w(self, name):
        return self.p[name.replace('.', ':')]

    def ln(self, x, name):
        return F.layer_norm(x, (self.n,), self.w(name + '.weight').to(x), self.w(name + '.bias').to(x), self.eps)

    def forward(self, ids, ops):
        B, T = ids.shape
        n, hs = self.n, self.hs
        mm = lambda x, name: ops.matmul(x.reshape(B * T, -1), self.w(name + '.weight')).to(x.dtype).view(B, T, -1)
        heads = lambda x: x.view(B, T, n // hs, hs)
        x = self.ln(self.w('token_embd.weight')[ids], 'token_embd_norm')
        for i in range(self.L):
            b = 'blk.%d.' % i
            t = b + 'time_mix_'
            W = lambda nm: self.w(t + nm + '.weight')
            h = self.ln(x, b + 'attn_norm')
            dx = F.pad(h, (0, 0, 1, -1)) - h
            xr, xw, xk, xv, xa, xg = (h + dx * m for m in W('lerp_fused').view(6, n))
            r, k, v = mm(xr, t + 'receptance'), mm(xk, t + 'key'), mm(xv, t + 'value')
            w = torch.exp(-DECAY * torch.sigmoid(W('w0') + mm(torch.tanh(mm(xw, t + 'w1')), t + 'w2')))
            a = torch.sigmoid(W('a0') + mm(mm(xa, t + 'a1'), t + 'a2'))
            g = mm(torch.sigmoid(mm(xg, t + 'g1')), t + 'g2')
            if i == 0:
                v_first = v
            else:
                v = v + (v_first - v) * torch.sigmoid(W('v0') + mm(mm(xv, t + 'v1'), t + 'v2'))
            kk = heads(F.normalize(heads(k * W('k_k')), dim=-1, eps=1e-12))
            k = k * (1 + (a - 1) * W('k_a'))
            r, w, k, v, a = heads(r), heads(w), heads(k), heads(v), heads(a)
            o = ops.wkv7(r, w, k, v, kk, kk * a)
            o = F.layer_norm(o, (hs,), eps=self.group_eps).view(B, T, n) * W('ln') + self.w(t + 'ln.bias')
            o = o + ((r * k * W('r_k').view(-1, hs)).sum(-1, keepdim=True) * v).view(B, T, n)
            x = x + mm(o * g, t + 'output')
            h = self.ln(x, b + 'attn_norm_2')
            h = h + (F.pad(h, (0, 0, 1, -1)) - h) * self.w(b + 'channel_mix_lerp_k.weight')
            x = x + mm(F.relu(mm(h, b + 'channel_mix_key')) ** 2, b + 'channel_mix_value')
        return ops.matmul(self.ln(x, 'output_norm').view(B * T, n), self.w('output.weight'))
