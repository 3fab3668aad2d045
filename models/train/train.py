"""Trains one model within a budget of processor minutes (or for a fixed number of steps).

The schedule runs on p, the share of the budget used, from 0 to 1: short warm-up, then the learning rate falls
linearly to nothing. So every run ends annealed however much the machine had to do besides. --until is a wall
clock time which p also respects. --replay repeats the p of every step of another run: same tokens, same schedule.
"""
import argparse
import contextlib
import csv
import datetime
import json
import os
import time

import numpy as np
import torch

import native
import reference
from bitnet import BitNet
from corpus import Windows
from mamba import Mamba
from optim import Optimizer
from rwkv7 import Rwkv7

NETS = {
    'bitnet': lambda **o: BitNet(**o), 'twin': lambda **o: BitNet(**{**o, 'quant': False}),
    'mamba': lambda **o: Mamba(**o), 'rwkv7': lambda **o: Rwkv7(**o),
}
RATES = {'bitnet': (4e-3, 1.6e-2), 'twin': (4e-3, 1.6e-2), 'mamba': (4e-3, 6e-3), 'rwkv7': (3e-3, 6e-3)}     # AdamW, Muon


def arguments():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument('net', choices=NETS)
    ap.add_argument('--train', default='runs/train.npy')
    ap.add_argument('--valid', default='runs/valid.npy')
    ap.add_argument('--valid-bytes', type=int, default=0, help='size of the validation text, to report bits per byte')
    ap.add_argument('--out', default=None, help='folder for checkpoint and log (default runs/NET)')
    ap.add_argument('--minutes', type=float, default=60, help='processor minutes')
    ap.add_argument('--until', default=None, help='wall clock HH:MM by which to be done')
    ap.add_argument('--replay', default=None, help='log.csv of a run to repeat step by step')
    ap.add_argument('--tokens', type=int, default=4096, help='tokens per step')
    ap.add_argument('--first-tokens', type=int, default=2048, help='tokens per step at first, when steps matter more than their precision')
    ap.add_argument('--first-share', type=float, default=0.35)
    ap.add_argument('--window', type=int, default=256)
    ap.add_argument('--last-window', type=int, default=512)
    ap.add_argument('--last-share', type=float, default=0.2, help='share of the budget with the longer window')
    ap.add_argument('--lr', type=float)
    ap.add_argument('--muon', type=float, help='0: AdamW for everything')
    ap.add_argument('--decay', type=float, default=0.1)
    ap.add_argument('--warm', type=float, default=0.01)
    ap.add_argument('--seed', type=int, default=1)
    ap.add_argument('--threads', type=int, default=1)
    ap.add_argument('--options', default='{}', help='JSON: sizes of the net')
    ap.add_argument('--start', default=None, help='checkpoint whose weights to begin with')
    ap.add_argument('--teacher', nargs='*', default=[], metavar='CHECKPOINT@P', help='nets to distil from, each from share P of the budget on')
    ap.add_argument('--mix', type=float, default=0.5, help='weight of the teacher against the text itself')
    ap.add_argument('--resume', action='store_true')
    return ap.parse_args()


class Clock:
    """Share of the budget used, by whichever of processor and wall time is scarcer from here on."""
    def __init__(self, minutes, until, p=0.0):
        self.left, self.p = minutes * 60 * (1 - p), p
        self.cpu, self.wall = time.process_time(), time.time()
        self.end = None
        if until:
            now = datetime.datetime.now()
            h, m = map(int, until.split(':'))
            end = now.replace(hour=h, minute=m, second=0)
            self.end = (end if end > now else end + datetime.timedelta(days=1)).timestamp()

    def tick(self):
        cpu, wall = time.process_time(), time.time()
        used = (cpu - self.cpu) / max(1e-3, self.left)
        if self.end:
            used = max(used, (wall - self.wall) / max(1e-3, self.end - self.wall))
        self.left -= cpu - self.cpu
        self.cpu, self.wall = cpu, wall
        self.p = min(1.0, self.p + (1 - self.p) * used)
        return self.p


@torch.no_grad()
def quick_loss(net, ops, ids, T, windows=48):
    """Nats per token on evenly spread windows; each window's first half only warms up the context."""
    at = np.linspace(0, len(ids) - T - 1, windows).astype(int)
    total, count = 0.0, 0
    for i in range(0, windows, 8):
        rows = torch.from_numpy(np.stack([ids[s:s + T + 1] for s in at[i:i + 8]]).astype(np.int64)).to(next(net.parameters()).device)
        logits = net(rows[:, :-1], ops).view(len(rows), T, -1)[:, T // 2:].float()
        y = rows[:, 1 + T // 2:]
        total += torch.nn.functional.cross_entropy(logits.reshape(-1, net.V), y.reshape(-1), reduction='sum').item()
        count += y.numel()
    return total / count


def load_teacher(text, cuda):
    path, start = text.rsplit('@', 1) if '@' in text else (text, '0')
    c = torch.load(path, map_location='cpu')
    net = NETS['mamba' if 'ds' in c['cfg'] else 'rwkv7' if 'hs' in c['cfg'] else 'bitnet'](**c['cfg'])
    net.load_state_dict(c['net'])
    return float(start), path, net.cuda() if cuda else net


def save(path, net, opt, p, step, tokens, windows, history):
    torch.save(dict(net=net.state_dict(), cfg=net.cfg, opt=opt.state(), p=p, step=step, tokens=tokens, windows=windows,
                    history=history, rng=torch.get_rng_state()), path + '.part')
    os.replace(path + '.part', path)


def main():
    a = arguments()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    out = a.out or 'runs/' + a.net
    os.makedirs(out, exist_ok=True)
    cuda = torch.cuda.is_available()
    ops = reference if cuda else native
    ops.build()
    net = NETS[a.net](**json.loads(a.options))
    if a.start:
        net.load_state_dict(torch.load(a.start, map_location='cpu')['net'])
    teachers = sorted(load_teacher(t, cuda) for t in a.teacher)
    if cuda:
        net.cuda()
    lr, muon = RATES[a.net]
    opt = Optimizer(net, lr if a.lr is None else a.lr, muon if a.muon is None else a.muon, a.decay)
    data = Windows(np.load(a.train), newline=199, seed=a.seed)
    valid = np.load(a.valid)
    step = tokens = 0
    p, history, ckpt = 0.0, [], os.path.join(out, 'last.pt')
    if a.resume and os.path.exists(ckpt):
        c = torch.load(ckpt)
        net.load_state_dict(c['net'])
        opt.restore(c['opt'])
        p, step, tokens, data, history = c['p'], c['step'], c['tokens'], c['windows'], c['history']
        torch.set_rng_state(c['rng'])
    replay = None
    if a.replay:
        with open(a.replay) as f:
            rows = list(csv.DictReader(f))
        totals = [0] + [int(r['tokens']) for r in rows]
        replay = [(float(r['p']), t1 - t0) for r, t0, t1 in zip(rows, totals, totals[1:])]
    log_path, kept = os.path.join(out, 'log.csv'), ['step,tokens,p,loss,norm,seconds\n']
    if step:                        # lines written after the checkpoint are done again
        with open(log_path) as f:
            kept = f.readlines()[:step + 1]
    log = open(log_path, 'w')
    log.writelines(kept)
    print(a.net, sum(x.numel() for x in net.parameters()), 'parameters', flush=True)
    bytes_per_token = a.valid_bytes / (len(valid) - 1) if a.valid_bytes else 0
    clock, started, checked = Clock(a.minutes, a.until, p), time.time(), time.time()

    def report(T):
        nats = quick_loss(net, ops, valid, T)
        bits = nats / np.log(2) / bytes_per_token if bytes_per_token else 0
        history.append((step, tokens, p, nats))
        print('%s step %d p %.3f tokens %.2fM loss %.3f valid %.4f nats/token %.4f bits/byte, %.0f tokens/s'
              % (datetime.datetime.now().strftime('%H:%M'), step, p, tokens / 1e6, smooth, nats, bits,
                 tokens / (time.time() - started)), flush=True)

    smooth = 0.0
    while p < 1 if replay is None else step < len(replay):
        size = a.first_tokens if p < a.first_share else a.tokens
        if replay:
            p, size = replay[step]
        T = a.last_window if p > 1 - a.last_share else a.window
        rows = torch.from_numpy(data.batch(size // T, T))
        if cuda:
            rows = rows.cuda()
        with torch.autocast('cuda', torch.bfloat16) if cuda else contextlib.nullcontext():
            x, y = rows[:, :-1], rows[:, 1:].reshape(-1).contiguous()
            teacher = [t for t in teachers if t[0] <= p]
            if teacher:
                with torch.no_grad():
                    soft = teacher[-1][2](x, ops)
                loss = ops.distil(net(x, ops), soft, y, a.mix)
            else:
                loss = ops.cross_entropy(net(x, ops), y)
        loss.backward()
        # no weight decay in the second half: with ternary weights it keeps pulling values over the threshold
        norm = opt.step(min(1, (step + 1) / 50) * min(1, p / a.warm if step > 50 else 1) * max(1 - p, 0.002), float(p < 0.5))
        value = loss.item()
        smooth = value if step == 0 else 0.98 * smooth + 0.02 * value
        step += 1
        tokens += rows.numel() - rows.shape[0]
        log.write('%d,%d,%.6f,%.4f,%.3f,%.1f\n' % (step, tokens, p, value, norm, time.time() - started))
        if replay is None:
            p = clock.tick()
        if time.time() - checked > 180:
            report(a.window)
            log.flush()
            save(ckpt, net, opt, p, step, tokens, data, history)
            checked = time.time()
    report(a.last_window)
    save(ckpt, net, opt, p, step, tokens, data, history)
    log.close()


if __name__ == '__main__':
    main()
