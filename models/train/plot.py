"""Loss curves of all runs into one picture."""
import argparse
import csv
import glob
import os

import matplotlib
matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument('logs', nargs='*', help='log.csv files (default runs/*/log.csv)')
    ap.add_argument('--out', default='loss.png')
    a = ap.parse_args()
    fig, ax = plt.subplots(figsize=(8, 5))
    for path in sorted(a.logs or glob.glob('runs/*/log.csv')):
        with open(path) as f:
            rows = list(csv.DictReader(f))
        n = max(1, len(rows) // 150)
        mean = lambda k: np.array([float(r[k]) for r in rows])[:len(rows) // n * n].reshape(-1, n).mean(1)
        ax.plot(mean('tokens') / 1e6, mean('loss'), label=os.path.basename(os.path.dirname(path)))
    ax.set_xlabel('million tokens')
    ax.set_ylabel('training loss, nats per token')
    ax.set_ylim(top=6)
    ax.grid(alpha=0.3)
    ax.legend()
    fig.tight_layout()
    fig.savefig(a.out, dpi=80)


if __name__ == '__main__':
    main()
