"""AdamW for vectors, embeddings and small factors; Muon (momentum, then orthogonalised) for the big matrices."""
import torch


def orthogonal(g, steps=5):
    """Nearest (semi-)orthogonal matrix, roughly, by a quintic Newton-Schulz iteration; bfloat16 is enough."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16()
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.t()
    x = (x / (x.norm() + 1e-7)).contiguous()
    for _ in range(steps):
        s = x @ x.t()
        x = a * x + (b * s + c * (s @ s)) @ x
    return (x.t() if tall else x).float()


def is_matrix(name, p):
    return p.ndim == 2 and min(p.shape) >= 64 and 'embd' not in name and 'output:weight' != name.split('.')[-1]


class Optimizer:
    def __init__(self, net, lr, muon_lr, decay=0.1, betas=(0.9, 0.98), momentum=0.95, clip=1.0):
        self.lr, self.muon_lr, self.decay, self.betas, self.momentum, self.clip = lr, muon_lr, decay, betas, momentum, clip
        named = list(net.named_parameters())
        self.big = [p for k, p in named if muon_lr > 0 and is_matrix(k, p)]
        taken = {id(p) for p in self.big}
        self.rest = [p for _, p in named if id(p) not in taken]
        self.m = [torch.zeros_like(p) for p in self.rest]
        self.v = [torch.zeros_like(p) for p in self.rest]
        self.mom = [torch.zeros_like(p) for p in self.big]
        self.t = 0

    @torch.no_grad()
    def step(self, scale, decay_scale):
        """`scale` multiplies both learning rates. Returns the norm of the gradient before clipping."""
        self.t += 1
        everything = [p for p in self.big + self.rest if p.grad is not None]
        norm = torch.sqrt(sum((p.grad ** 2).sum() for p in everything)).item()
        if norm > self.clip:
            for p in everything:
                p.grad.mul_(self.clip / norm)
        b1, b2 = self.betas
        lr, wd = self.lr * scale, self.decay * decay_scale
        c1, c2 = 1 - b1 ** self.t, 1 - b2 ** self.t
        for p, m, v in zip(self.rest, self.m, self.v):
            if p.grad is None:
                continue
            m.mul_(b1).add_(p.grad, alpha=1 - b1)
            v.mul_(b2).addcmul_(p.grad, p.grad, value=1 - b2)
            if p.ndim == 2:
                p.mul_(1 - lr * wd)
            p.addcdiv_(m, (v / c2).sqrt_().add_(1e-8), value=-lr / c1)
        lr = self.muon_lr * scale
        for p, m in zip(self.big, self.mom):
            m.mul_(self.momentum).add_(p.grad)
            u = orthogonal(p.grad.add(m, alpha=self.momentum))
            p.mul_(1 - lr * wd)
            # 0.2 * sqrt(longer side) gives the step the root mean square of a typical Adam step
            p.add_(u, alpha=-lr * 0.2 * max(p.shape) ** 0.5)
        for p in everything:
            p.grad = None
        return norm

    def state(self):
        return dict(m=self.m, v=self.v, mom=self.mom, t=self.t)

    def restore(self, s):
        for mine, theirs in ((self.m, s['m']), (self.v, s['v']), (self.mom, s['mom'])):
            for a, b in zip(mine, theirs):
                a.copy_(b)
        self.t = s['t']
