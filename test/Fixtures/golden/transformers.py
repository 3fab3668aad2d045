#!/usr/bin/env python3
"""Writes the small transformers of this folder (qwen3-*, gemma3-*, llama-*) with random weights, and what they compute.

A plain reference in float64, one position after another, that shares nothing with the engine: numpy and the standard library.
    python3 transformers.py            writes models/ and expected/ beside this file
"""
import json
import os
import struct
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
F32, F16, I2_S = 0, 1, 36
GREEDY = 12
PROMPT = 20

MODELS = {
    "qwen3-f32": dict(arch="qwen3", n=96, heads=4, kv=2, hd=32, ff=160, blocks=2, type=F32, base=1e6),
    "qwen3-i2_s": dict(arch="qwen3", n=128, heads=4, kv=2, hd=64, ff=256, blocks=2, type=I2_S, base=1e6, norm_in=True),
    "gemma3-f32": dict(arch="gemma3", n=64, heads=2, kv=1, hd=32, ff=96, blocks=7, type=F32, base=1e6, window=8),
    "gemma3-i2_s": dict(arch="gemma3", n=128, heads=2, kv=1, hd=128, ff=256, blocks=2, type=I2_S, base=1e4, norm_in=True),
    "llama-f16": dict(arch="llama", n=64, heads=4, kv=2, hd=16, ff=96, blocks=2, type=F16, base=1e4, untied=True),
    "llama-i2_s": dict(arch="llama", n=128, heads=4, kv=2, hd=32, ff=256, blocks=2, type=I2_S, base=1e6),
}
VOCABULARY = 256


def make(m, seed):
    """Weights as they are in the file, by tensor name; ternary ones as (codes, scale)."""
    rng = np.random.default_rng(seed)
    t = {}

    def norm(name, size):
        t[name] = rng.uniform(0.6, 1.4, size).astype(np.float16 if m["type"] == I2_S else np.float32)

    def matrix(name, rows, columns):
        w = rng.standard_normal((rows, columns)) / np.sqrt(columns)
        if m["type"] == I2_S:
            t[name] = (rng.integers(-1, 2, (rows, columns)).astype(np.int8), np.float32(1.2 / np.sqrt(columns)))
        else:
            t[name] = w.astype(np.float16 if m["type"] == F16 else np.float32)

    n, qn, kv, ff = m["n"], m["heads"] * m["hd"], m["kv"] * m["hd"], m["ff"]
    kind = np.float32 if m["type"] == F32 else np.float16
    t["token_embd.weight"] = (rng.standard_normal((VOCABULARY, n)) * (1 if m.get("untied") else 0.1 if m["arch"] == "gemma3" else 0.25)).astype(kind)
    if m.get("untied"):
        t["output.weight"] = (rng.standard_normal((VOCABULARY, n)) / np.sqrt(n)).astype(kind)
    norm("output_norm.weight", n)
    for i in range(m["blocks"]):
        b = f"blk.{i}."
        norm(b + "attn_norm.weight", n)
        norm(b + "ffn_norm.weight", n)
        if m["arch"] != "llama":
            norm(b + "attn_q_norm.weight", m["hd"])
            norm(b + "attn_k_norm.weight", m["hd"])
        if m["arch"] == "gemma3":
            norm(b + "post_attention_norm.weight", n)
            norm(b + "post_ffw_norm.weight", n)
        for name, rows, columns in [("attn_q", qn, n), ("attn_k", kv, n), ("attn_v", kv, n), ("attn_output", n, qn),
                                    ("ffn_gate", ff, n), ("ffn_up", ff, n), ("ffn_down", n, ff)]:
            matrix(f"{b}{name}.weight", rows, columns)
            if m.get("norm_in"):
                norm(f"{b}{name}_norm_in.weight", columns)
    return t


class Reference:
    def __init__(self, m, tensors, eps=np.float32(1e-6)):
        self.m, self.t, self.eps = m, tensors, float(eps)
        self.margin = 0.5

    def v(self, name):
        return self.t[name].astype(np.float64)

    def rms(self, x, name):
        return x / np.sqrt(np.mean(x * x) + self.eps) * self.v(name)

    def product(self, name, x):
        norm = name.replace(".weight", "_norm_in.weight")
        if norm in self.t:
            x = self.rms(x, norm)
        w = self.t[name]
        if not isinstance(w, tuple):
            return w.astype(np.float64) @ x
        codes, scale = w
        a = 127 / max(np.max(np.abs(x)), 1e-5)
        y = x * a
        self.margin = min(self.margin, float(np.min(np.abs(np.abs(y - np.floor(y)) - 0.5))))
        return (codes.astype(np.float64) @ np.clip(np.rint(y), -128, 127)) / a * float(scale)

    def rotate(self, head, p, base):
        half = len(head) // 2
        angle = p * base ** (-2.0 * np.arange(half) / len(head))
        c, s = np.cos(angle), np.sin(angle)
        out = head.copy()
        if self.m["arch"] == "llama":  # pairs of neighbours
            a, b = head[0::2], head[1::2]
            out[0::2], out[1::2] = a * c - b * s, a * s + b * c
        else:
            a, b = head[:half], head[half:]
            out[:half], out[half:] = a * c - b * s, a * s + b * c
        return out

    def run(self, ids):
        m, logits = self.m, []
        keys, values = [[] for _ in range(m["blocks"])], [[] for _ in range(m["blocks"])]
        for p, token in enumerate(ids):
            x = self.v("token_embd.weight")[token]
            if m["arch"] == "gemma3":
                x = x * float(np.float32(np.sqrt(np.float32(m["n"]))))
            for i in range(m["blocks"]):
                b = f"blk.{i}."
                local = m.get("window", 0) > 0 and (i + 1) % 6 != 0
                base = 10000.0 if local else m["base"]
                h = self.rms(x, b + "attn_norm.weight")
                q = self.product(b + "attn_q.weight", h).reshape(m["heads"], m["hd"])
                k = self.product(b + "attn_k.weight", h).reshape(m["kv"], m["hd"])
                v = self.product(b + "attn_v.weight", h).reshape(m["kv"], m["hd"])
                if m["arch"] != "llama":
                    q = np.array([self.rms(head, b + "attn_q_norm.weight") for head in q])
                    k = np.array([self.rms(head, b + "attn_k_norm.weight") for head in k])
                keys[i].append(np.array([self.rotate(head, p, base) for head in k]))
                values[i].append(v)
                first = max(0, p + 1 - m["window"]) if local else 0
                out = []
                for j in range(m["heads"]):
                    g = j // (m["heads"] // m["kv"])
                    head = self.rotate(q[j], p, base)
                    scores = np.array([head @ keys[i][u][g] for u in range(first, p + 1)]) / np.sqrt(m["hd"])
                    weights = np.exp(scores - np.max(scores))
                    weights /= np.sum(weights)
                    out.append(sum(w * values[i][u][g] for w, u in zip(weights, range(first, p + 1))))
                y = self.product(b + "attn_output.weight", np.concatenate(out))
                x = x + (self.rms(y, b + "post_attention_norm.weight") if m["arch"] == "gemma3" else y)
                h = self.rms(x, b + "ffn_norm.weight")
                gate, up = self.product(b + "ffn_gate.weight", h), self.product(b + "ffn_up.weight", h)
                if m["arch"] == "gemma3":
                    gate = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate ** 3)))
                else:
                    gate = gate / (1 + np.exp(-gate))
                y = self.product(b + "ffn_down.weight", gate * up)
                x = x + (self.rms(y, b + "post_ffw_norm.weight") if m["arch"] == "gemma3" else y)
            head = "output.weight" if "output.weight" in self.t else "token_embd.weight"
            logits.append(self.v(head) @ self.rms(x, "output_norm.weight"))
        return np.array(logits)


def pack(codes):
    groups = (codes.reshape(-1, 4, 32) + 1).astype(np.uint8)
    return (groups[:, 0] << 6 | groups[:, 1] << 4 | groups[:, 2] << 2 | groups[:, 3]).tobytes()


def write(path, m, tensors):
    a = m["arch"]
    text = lambda s: struct.pack("<Q", len(s)) + s.encode()
    pairs = [(k, 4, struct.pack("<I", value)) for k, value in [
        ("general.file_type", {F32: 0, F16: 1, I2_S: 40}[m["type"]]), (f"{a}.context_length", 512), (f"{a}.embedding_length", m["n"]),
        (f"{a}.block_count", m["blocks"]), (f"{a}.feed_forward_length", m["ff"]), (f"{a}.attention.head_count", m["heads"]),
        (f"{a}.attention.head_count_kv", m["kv"]), (f"{a}.attention.key_length", m["hd"]), (f"{a}.attention.value_length", m["hd"]),
    ] + ([(f"{a}.attention.sliding_window", m["window"])] if "window" in m else [])]
    pairs += [(k, 6, struct.pack("<f", value)) for k, value in [(f"{a}.attention.layer_norm_rms_epsilon", 1e-6), (f"{a}.rope.freq_base", m["base"])]]
    pairs.insert(0, ("general.architecture", 8, text(a)))
    infos, data = b"", b""
    for name, w in tensors.items():
        shape, kind = (w[0].shape, I2_S) if isinstance(w, tuple) else (w.shape, {np.dtype("f4"): F32, np.dtype("f2"): F16}[w.dtype])
        raw = pack(w[0]) + struct.pack("<f", w[1]) + bytes(28) if isinstance(w, tuple) else w.tobytes()
        infos += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", d) for d in reversed(shape)) + struct.pack("<IQ", kind, len(data))
        data += raw + bytes(-len(raw) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(text(k) + struct.pack("<I", t) + v for k, t, v in pairs) + infos
    with open(path, "wb") as file:
        file.write(head + bytes(-len(head) % 32) + data)


def main():
    for name, m in MODELS.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        best = None
        for seed in range(1, 2 if m["type"] != I2_S else 121):
            tensors = make(m, seed)
            ids = [int(i) for i in np.random.default_rng(1000 + seed).integers(0, 200, PROMPT)]
            reference = Reference(m, tensors)
            rows = reference.run(ids)
            if best and reference.margin < best[0]:
                continue
            greedy, gaps, last = [], [], rows[-1]
            for _ in range(GREEDY):
                greedy.append(int(np.argmax(last)))
                top = np.sort(last)
                gaps.append(top[-1] - top[-2])
                last = reference.run(ids + greedy)[-1]
            if min(gaps) > 0.01 and (best is None or reference.margin > best[0]):
                best = (reference.margin, seed, ids, greedy, float(min(gaps)), rows, tensors)
        margin, seed, ids, greedy, gap, rows, tensors = best
        write(os.path.join(HERE, "models", name + ".gguf"), m, tensors)
        rows.astype("<f4").tofile(os.path.join(HERE, "expected", name + ".logits.f32"))
        with open(os.path.join(HERE, "expected", name + ".json"), "w") as file:
            json.dump({
                "model": name + ".gguf", "architecture": m["arch"], "seed": seed, "prompt_ids": ids, "n_vocab": VOCABULARY,
                "logits_file": name + ".logits.f32", "logits_shape": list(rows.shape), "logits_std": float(np.std(rows)),
                "greedy_ids": greedy, "greedy_min_gap": gap, "chunks": [3, 5, 1, 7, 4], "smallest_rounding_margin": margin,
                "suggested_max_abs_tolerance": 0.005,
            }, file, indent=1)
            file.write("\n")
        print(name, "seed", seed, "margin", margin, "gap", gap, "std", float(np.std(rows)), flush=True)


main()
