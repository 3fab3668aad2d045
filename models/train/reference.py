"""The same operations as native.py in plain PyTorch: the statement of what is computed, used on CUDA, for
exact evaluation in float32 or float64, and to check the C kernels. Matrix products keep the type of x."""
import torch
import torch.nn.functional as F

build = lambda: None


def matmul(x, w):
    return x @ w.to(x.dtype).t()


def rms(x, eps):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps)


def int8_absmax(x):
    """Per-token int8 rounding with a straight-through gradient. torch.round rounds half to even."""
    a = 127 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
    return x + ((x * a).round().clamp(-128, 127) / a - x).detach()


def rms_norm(x, w, eps, quant=False):
    h = rms(x, eps) * w
    return int8_absmax(h) if quant else h


def squared_relu_gate(gu, w, eps, quant=False):
    g, u = gu.chunk(2, -1)
    return rms_norm(F.relu(g) ** 2 * u, w, eps, quant)


def add(x, y):
    return x + y


def rotate(x, cs, sn):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cs - b * sn, a * sn + b * cs], -1)


def attention(qkv, cs, sn, B, T, H, K):
    hd = cs.shape[1] * 2
    q, k, v = (t.transpose(1, 2) for t in qkv.view(B, T, H + 2 * K, hd).split([H, K, K], 2))
    q, k = rotate(q, cs, sn), rotate(k, cs, sn)
    k, v = (t.repeat_interleave(H // K, 1) for t in (k, v))
    s = q @ k.transpose(2, 3) * hd ** -0.5
    s = s.masked_fill(torch.ones(T, T, dtype=torch.bool, device=s.device).triu(1), float('-inf'))
    return (s.softmax(-1) @ v).transpose(1, 2).reshape(B * T, H * hd)


def cross_entropy(logits, target):
    return F.cross_entropy(logits.float(), target)


def distil(logits, teacher, target, mix):
    soft = -(teacher.float().softmax(-1) * logits.float().log_softmax(-1)).sum(-1).mean()
    return mix * soft + (1 - mix) * cross_entropy(logits, target)


def conv_silu(u, w, bias, B, T):
    n = u.shape[1]
    x = F.pad(u.view(B, T, n).transpose(1, 2), (3, 0))
    return F.silu(F.conv1d(x, w[:, None, :], bias, groups=n)).transpose(1, 2).reshape(B * T, n)


def selective_scan(c, raw, dtb, A, Bm, Cm, D, z, B, T):
    n = c.shape[1]
    dt = F.softplus(raw + dtb).view(B, T, n, 1)
    x, Bm, Cm = c.view(B, T, n, 1), Bm.reshape(B, T, 1, -1), Cm.reshape(B, T, 1, -1)
    S, ys = torch.zeros(B, n, A.shape[1], dtype=c.dtype, device=c.device), []
    for t in range(T):
        S = torch.exp(dt[:, t] * A) * S + dt[:, t] * x[:, t] * Bm[:, t]
        ys.append((S * Cm[:, t]).sum(-1))
    y = torch.stack(ys, 1).view(B * T, n) + D * c
    return y * F.silu(z)


def wkv7(r, w, k, v, kk, b):
    B, T, H, hs = r.shape
    S, out = torch.zeros(B, H, hs, hs, dtype=r.dtype, device=r.device), []
    for t in range(T):
        sa = -(S @ kk[:, t, :, :, None])
        S = S * w[:, t, :, None] + sa * b[:, t, :, None] + v[:, t, :, :, None] * k[:, t, :, None]
        out.append((S @ r[:, t, :, :, None])[..., 0])
    return torch.stack(out, 1)
