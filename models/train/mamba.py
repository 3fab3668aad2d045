"""Mamba (version 1): selective state space model. Tensor names are those of the GGUF file; A is trained as its
logarithm so that it stays negative."""
import math

import torch
from torch import nn


class Mamba(nn.Module):
    arch = 'mamba'
    eps = 1e-5

    def __init__(self, V=4096, n=128, L=8, ds=16, dc=4):
        super().__init__()
        self.cfg = dict(V=V, n=n, L=L, ds=ds, dc=dc)
        di, dr = 2 * n, -(-n // 16)
        self.V, self.n, self.L, self.ds, self.di, self.dr = V, n, L, ds, di, dr
        self.p = nn.ParameterDict()

        def new(name, value):
            self.p[name.replace('.', ':')] = nn.Parameter(value)
        new('token_embd.weight', torch.randn(V, n) * 0.02)
        new('output_norm.weight', torch.ones(n))
        for i in range(L):
            b = 'blk.%d.' % i
            new(b + 'attn_norm.weight', torch.ones(n))
            new(b + 'ssm_in.weight', torch.randn(2 * di, n) * n ** -0.5)
            new(b + 'ssm_conv1d.weight', (torch.rand(di, dc) * 2 - 1) * dc ** -0.5)
            new(b + 'ssm_conv1d.bias', torch.zeros(di))
            new(b + 'ssm_x.weight', torch.randn(dr + 2 * ds, di) * di ** -0.5)
            new(b + 'ssm_dt.weight', (torch.rand(di, dr) * 2 - 1) * dr ** -0.5)
            # time steps start log-uniform in [0.001, 0.1]; the bias is the inverse softplus of that
            dt = torch.exp(torch.rand(di) * (math.log(0.1) - math.log(0.001)) + math.log(0.001))
            new(b + 'ssm_dt.bias', dt + torch.log(-torch.expm1(-dt)))
            new(b + 'ssm_a', torch.log(torch.arange(1, ds + 1).float()).repeat(di, 1))
            new(b + 'ssm_d', torch.ones(di))
            new(b + 'ssm_out.weight', torch.randn(n, di) * (di * 2 * L) ** -0.5)

    def w(self, name):
        return self.p[name.replace('.', ':')]

    def forward(self, ids, ops):
        B, T = ids.shape
        x = self.w('token_embd.weight')[ids.reshape(-1)]
        for i in range(self.L):
            W = lambda nm: self.w('blk.%d.' % i + nm)
            h = ops.rms_norm(x, W('attn_norm.weight'), self.eps)
            u, z = (ops.matmul(h, m) for m in W('ssm_in.weight').split(self.di))
            c = ops.conv_silu(u, W('ssm_conv1d.weight'), W('ssm_conv1d.bias'), B, T)
            d, Bm, Cm = ops.matmul(c, W('ssm_x.weight')).split([self.dr, self.ds, self.ds], 1)
            raw = ops.matmul(d.contiguous(), W('ssm_dt.weight'))
            y = ops.selective_scan(c, raw, W('ssm_dt.bias'), -torch.exp(W('ssm_a')), Bm, Cm, W('ssm_d'), z, B, T)
            x = ops.add(x, ops.matmul(y, W('ssm_out.weight')))
        return ops.matmul(ops.rms_norm(x, self.w('output_norm.weight'), self.eps), self.w('token_embd.weight'))
