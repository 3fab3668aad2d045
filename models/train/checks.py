"""Compares the C kernels with reference.py: value and every gradient, for each operation. Run after a change to either."""
import torch

import native
import reference
from bitnet import BitNet
from mamba import Mamba
from rwkv7 import Rwkv7


def check(net, tol):
    ids = torch.randint(1, net.V, (2, 49))
    x, y = ids[:, :-1].contiguous(), ids[:, 1:].reshape(-1).contiguous()
    grads, losses = [], []
    for ops in (reference, native):
        net.zero_grad()
        loss = ops.cross_entropy(net(x, ops), y)
        loss.backward()
        losses.append(loss.item())
        grads.append({k: p.grad.clone() for k, p in net.named_parameters()})
    worst = sorted(((grads[0][k] - grads[1][k]).norm() / (grads[0][k].norm() + 1e-9)).item() for k in grads[0])
    names = {((grads[0][k] - grads[1][k]).norm() / (grads[0][k].norm() + 1e-9)).item(): k for k in grads[0]}
    print('%-12s loss %.5f %.5f  gradient error: median %.2g, worst %.2g (%s)'
          % (net.arch, *losses, worst[len(worst) // 2], worst[-1], names[worst[-1]]))
    assert abs(losses[0] - losses[1]) < 0.01 and worst[-1] < tol


def check_exact():
    """The float32 recurrence must agree to rounding."""
    torch.manual_seed(1)
    a = [torch.randn(2, 40, 3, 32) for _ in range(6)]
    a[1] = a[1].sigmoid() * 0.4 + 0.55
    a[4] = torch.nn.functional.normalize(a[4], dim=-1)
    a[5] = a[4] * a[5].sigmoid()
    g, out = torch.randn(2, 40, 3, 32), []
    for ops in (reference, native):
        leaves = [x.clone().requires_grad_() for x in a]
        o = ops.wkv7(*leaves)
        o.backward(g)
        out.append([o.detach()] + [x.grad for x in leaves])
    err = max(((x - y).norm() / x.norm()).item() for x, y in zip(*out))
    print('wkv7         relative error %.2g' % err)
    assert err < 1e-5


def check_distil():
    torch.manual_seed(2)
    s, t, y, out = torch.randn(20, 512).bfloat16(), torch.randn(20, 512).bfloat16(), torch.randint(0, 512, (20,)), []
    for ops in (reference, native):
        x = s.clone().requires_grad_()
        loss = ops.distil(x * 1, t, y, 0.7)
        loss.backward()
        out.append((loss.item(), x.grad.float()))
    err = ((out[0][1] - out[1][1]).norm() / out[0][1].norm()).item()
    print('distil       loss %.5f %.5f  gradient error %.2g' % (out[0][0], out[1][0], err))
    assert abs(out[0][0] - out[1][0]) < 1e-3 and err < 0.01


def perturb(net):
    """Away from the initial values, where some gradients vanish and comparisons say nothing."""
    with torch.no_grad():
        for p in net.parameters():
            p += torch.randn_like(p) * 0.05 * (p.std() if p.numel() > 1 and p.std() > 0 else 1)
    return net


if __name__ == '__main__':
    torch.manual_seed(0)
    native.build()
    check_exact()
    check_distil()
    check(perturb(BitNet(V=512, n=128, L=2, ff=256, H=4, K=2, quant=False)), 0.08)
    check(perturb(BitNet(V=512, n=128, L=2, ff=256, H=4, K=2)), 0.25)
    check(perturb(Mamba(V=512, n=64, L=2)), 0.08)
    check(perturb(Rwkv7(V=512, n=128, L=2, ff=256)), 0.08)
