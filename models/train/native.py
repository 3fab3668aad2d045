"""rows.c and scan.c as autograd functions. Matrix products run in bfloat16, everything between them in float32.

Every function here has a plain counterpart of the same name in reference.py; nets take either module as `ops`.
"""
import ctypes
import hashlib
import os
import subprocess
import tempfile

import torch
from torch.autograd import Function

HERE = os.path.dirname(os.path.abspath(__file__))
BF = torch.bfloat16
lib = None


def build():
    """Compiled for this machine, cached by the hash of the source."""
    global lib
    if lib is None:
        src = [os.path.join(HERE, name) for name in ('rows.c', 'scan.c')]
        tag = hashlib.sha256(b''.join(open(f, 'rb').read() for f in src + [os.path.join(HERE, 'native.h')])).hexdigest()[:12]
        out = os.path.join(tempfile.gettempdir(), 'train-native-%d-%s.so' % (os.getuid(), tag))
        if not os.path.exists(out):
            part = '%s.%d' % (out, os.getpid())
            subprocess.run(['gcc', '-O3', '-march=native', '-ffast-math', '-shared', '-fPIC', *src, '-o', part, '-lm'], check=True)
            os.replace(part, out)
        lib = ctypes.CDLL(out)
        lib.ce.restype = lib.distil.restype = ctypes.c_double
    return lib


def call(name, *args):
    conv = []
    for a in args:
        if isinstance(a, torch.Tensor):
            assert a.is_contiguous()
            conv.append(ctypes.c_void_p(a.data_ptr()))
        elif isinstance(a, float):
            conv.append(ctypes.c_float(a))
        else:
            conv.append(ctypes.c_long(int(a)))
    return getattr(lib, name)(*conv)


class MatMul(Function):
    """y = x W^T with bfloat16 operands, float32 sums inside the library."""
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x @ w.t()

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        g = g.contiguous()
        gx = g @ w if ctx.needs_input_grad[0] else None
        gw = g.t() @ x if ctx.needs_input_grad[1] else None
        return gx, gw


def matmul(x, w):
    return MatMul.apply(to_bf(x), w if w.dtype == BF else w.to(BF))


class ToBf(Function):
    @staticmethod
    def forward(ctx, x):
        x = x.contiguous()
        o = torch.empty(x.shape, dtype=BF)
        call('to_bf', x, x.numel(), o)
        return o

    @staticmethod
    def backward(ctx, g):
        return g.float()


def to_bf(x):
    return x if x.dtype == BF else ToBf.apply(x)


class RmsNorm(Function):
    @staticmethod
    def forward(ctx, x, w, eps, quant):
        x = x.contiguous()
        N, n = x.shape
        o, rstd = torch.empty(N, n, dtype=BF), torch.empty(N)
        ctx.bf = x.dtype == BF
        call('rms_fwd', x, ctx.bf, w, eps, quant, N, n, o, rstd)
        ctx.save_for_backward(x, w, rstd)
        return o

    @staticmethod
    def backward(ctx, g):
        x, w, rstd = ctx.saved_tensors
        dx, dw = torch.empty_like(x), torch.zeros_like(w)
        call('rms_bwd', x, ctx.bf, w, rstd, g.contiguous(), *x.shape, dx, dw)
        return dx, dw, None, None


def rms_norm(x, w, eps, quant=False):
    return RmsNorm.apply(x, w, eps, quant)


class Ffn(Function):
    @staticmethod
    def forward(ctx, gu, w, eps, quant):
        N, n = gu.shape[0], gu.shape[1] // 2
        o, rstd = torch.empty(N, n, dtype=BF), torch.empty(N)
        call('ffn_fwd', gu, w, eps, quant, N, n, o, rstd)
        ctx.save_for_backward(gu, w, rstd)
        return o

    @staticmethod
    def backward(ctx, g):
        gu, w, rstd = ctx.saved_tensors
        d, dw = torch.empty_like(gu), torch.zeros_like(w)
        call('ffn_bwd', gu, w, rstd, g.contiguous(), gu.shape[0], gu.shape[1] // 2, d, dw)
        return d, dw, None, None


def squared_relu_gate(gu, w, eps, quant=False):
    return Ffn.apply(gu, w, eps, quant)


class Add(Function):
    @staticmethod
    def forward(ctx, x, y):
        o = torch.empty_like(x)
        call('add_fwd', x, y.contiguous(), x.numel(), o)
        return o

    @staticmethod
    def backward(ctx, g):
        g = g.contiguous()
        h = torch.empty(g.shape, dtype=BF)
        call('to_bf', g, g.numel(), h)
        return g, h


def add(x, y):
    return Add.apply(x, y)


class Attention(Function):
    """qkv [B*T, (H+2K)*hd] -> [B*T, H*hd]; causal, grouped queries."""
    @staticmethod
    def forward(ctx, qkv, cs, sn, B, T, H, K):
        hd = cs.shape[1] * 2
        q, k, v = (torch.empty(B, h, T, hd, dtype=BF) for h in (H, K, K))
        call('rope', qkv, q, k, v, cs, sn, B, T, H, K, hd, 1)
        q3, k3, v3 = q.view(B * K, H // K * T, hd), k.view(B * K, T, hd), v.view(B * K, T, hd)
        p = torch.bmm(q3, k3.transpose(1, 2))
        call('softmax_fwd', p, B * H * T, T, hd ** -0.5)
        o = torch.bmm(p, v3).view(B, H, T, hd)
        ctx.save_for_backward(q3, k3, v3, p, cs, sn)
        ctx.dims = B, T, H, K, hd
        return o.transpose(1, 2).reshape(B * T, H * hd)

    @staticmethod
    def backward(ctx, g):
        q, k, v, p, cs, sn = ctx.saved_tensors
        B, T, H, K, hd = ctx.dims
        g = g.view(B, T, H, hd).transpose(1, 2).reshape(B * K, H // K * T, hd)
        dp = torch.bmm(g, v.transpose(1, 2))
        dv = torch.bmm(p.transpose(1, 2), g)
        call('softmax_bwd', p, dp, B * H * T, T, hd ** -0.5)
        dq, dk = torch.bmm(dp, k), torch.bmm(dp.transpose(1, 2), q)
        d = torch.empty(B * T, (H + 2 * K) * hd, dtype=BF)
        call('rope', d, dq.contiguous(), dk.contiguous(), dv.contiguous(), cs, sn, B, T, H, K, hd, -1)
        return d, None, None, None, None, None, None


def attention(qkv, cs, sn, B, T, H, K):
    return Attention.apply(qkv, cs, sn, B, T, H, K)


class CrossEntropy(Function):
    @staticmethod
    def forward(ctx, logits, target):
        logits = logits.contiguous()
        N, V = logits.shape
        total = call('ce', logits, target, N, V, 1.0 / N)
        ctx.grad = logits           # the buffer now holds the gradient
        return torch.tensor(total / N)

    @staticmethod
    def backward(ctx, g):
        return ctx.grad if float(g) == 1.0 else ctx.grad * g.to(BF), None


def cross_entropy(logits, target):
    """Destroys `logits`."""
    return CrossEntropy.apply(logits, target)


class Distil(Function):
    @staticmethod
    def forward(ctx, logits, teacher, target, mix):
        logits = logits.contiguous()
        N, V = logits.shape
        total = call('distil', logits, teacher.contiguous(), target, mix, N, V, 1.0 / N)
        ctx.grad = logits
        return torch.tensor(total / N)

    @staticmethod
    def backward(ctx, g):
        return ctx.grad if float(g) == 1.0 else ctx.grad * g.to(BF), None, None, None


def distil(logits, teacher, target, mix):
    """Cross-entropy with `mix` times the teacher's distribution plus the rest on the target. Destroys `logits`."""
    return Distil.apply(logits, teacher, target, mix)


class ConvSilu(Function):
    @staticmethod
    def forward(ctx, u, w, bias, B, T):
        n = u.shape[1]
        wt, c = w.t().contiguous(), torch.empty(B * T, n, dtype=BF)
        call('conv_fwd', u, n, wt, bias, B, T, n, c)
        ctx.save_for_backward(u, wt, bias)
        ctx.dims = B, T, n
        return c

    @staticmethod
    def backward(ctx, g):
        u, wt, bias = ctx.saved_tensors
        B, T, n = ctx.dims
        du, dw, db = torch.empty_like(u), torch.zeros_like(wt), torch.zeros_like(bias)
        call('conv_bwd', u, n, wt, bias, g.contiguous(), B, T, n, du, dw, db)
        return du, dw.t(), db, None, None


def conv_silu(u, w, bias, B, T):
    return ConvSilu.apply(u, w, bias, B, T)


class Scan(Function):
    @staticmethod
    def forward(ctx, c, raw, dtb, A, Bm, Cm, D, z, B, T):
        n = c.shape[1]
        assert A.shape[1] == 16 and n % 16 == 0
        At, Bm, Cm = A.t().contiguous(), Bm.float().contiguous(), Cm.float().contiguous()
        o = torch.empty_like(c)
        call('scan_fwd', c, raw, dtb, At, Bm, Cm, D, z, n, B, T, n, o)
        ctx.save_for_backward(c, raw, dtb, At, Bm, Cm, D, z)
        ctx.dims = B, T, n
        return o

    @staticmethod
    def backward(ctx, g):
        c, raw, dtb, At, Bm, Cm, D, z = ctx.saved_tensors
        B, T, n = ctx.dims
        dc, draw, dz = (torch.empty_like(c) for _ in range(3))
        ddtb, dA, dB, dC, dD = (torch.zeros_like(x) for x in (dtb, At, Bm, Cm, D))
        call('scan_bwd', c, raw, dtb, At, Bm, Cm, D, z, n, g.contiguous(), B, T, n, dc, draw, ddtb, dA, dB, dC, dD, dz)
        return dc, draw, ddtb, dA.t(), dB.to(BF), dC.to(BF), dD, dz, None, None


def selective_scan(c, raw, dtb, A, Bm, Cm, D, z, B, T):
    return Scan.apply(c, raw.contiguous(), dtb, A, Bm, Cm, D, z, B, T)


class Wkv7(Function):
    @staticmethod
    def forward(ctx, r, w, k, v, kk, b):
        a = [x.contiguous() for x in (r, w, k, v, kk, b)]
        B, T, H, hs = r.shape
        o, ck = torch.empty_like(a[0]), torch.empty(B * H * (hs // 16) * ((T + 15) // 16) * hs * 16)
        call('wkv_fwd', *a, B, T, H, hs, o, ck)
        ctx.save_for_backward(*a, ck)
        return o

    @staticmethod
    def backward(ctx, g):
        *a, ck = ctx.saved_tensors
        d = [torch.zeros_like(x) for x in a]
        call('wkv_bwd', *a, g.contiguous(), ck, *a[0].shape, d[0], d[1], d[2], d[3], d[4], d[5])
        return tuple(d)


def wkv7(r, w, k, v, kk, b):
    """r, w, k, v, kk, b: float [B, T, H, hs]; b = kk * a."""
    return Wkv7.apply(r, w, k, v, kk, b)
