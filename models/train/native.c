/* Training kernels for the CPU: what plain PyTorch does slowly there. Each has a plain twin in reference.py
 * and checks.py compares the two.
 *
 * bf is bfloat16 kept as its 16 bits; sums and states are float32. Matrices are row-major. Single-threaded:
 * train several models side by side rather than one on several cores.
 * gcc -O3 -march=native -ffast-math -shared -fPIC native.c -o native.so -lm
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef uint16_t bf;
typedef float v16 __attribute__((vector_size(64), aligned(4)));
typedef int32_t i16v __attribute__((vector_size(64), aligned(4)));
typedef uint32_t u16v __attribute__((vector_size(64), aligned(4)));
typedef bf h16 __attribute__((vector_size(32), aligned(2)));

static inline float up(bf x) { union { uint32_t u; float f; } c; c.u = (uint32_t)x << 16; return c.f; }
static inline bf dn(float f) {
    union { float f; uint32_t u; } c; c.f = f;
    return (bf)((c.u + 0x7fff + ((c.u >> 16) & 1)) >> 16);
}
static inline v16 up16(const bf *p) {
    return (v16)(__builtin_convertvector(*(const h16 *)p, u16v) << 16);
}
static inline void dn16(bf *p, v16 x) {
    u16v u = (u16v)x;
    *(h16 *)p = __builtin_convertvector((u + 0x7fff + ((u >> 16) & 1)) >> 16, h16);
}
static inline v16 splat(float x) { return (v16){x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x}; }

/* exp by 2^n * polynomial; relative error about 2e-7, clamped to the finite range. */
static inline float expq(float x) {
    x = x < -87.f ? -87.f : x > 88.f ? 88.f : x;
    float n = rintf(x * 1.44269504f), r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f; p = p * r + 8.3334519073e-3f; p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f; p = p * r + 5.0000001201e-1f; p = p * r * r + r + 1.f;
    union { int32_t i; float f; } c; c.i = ((int32_t)n + 127) << 23;
    return p * c.f;
}
static inline v16 exp16(v16 x) {
    v16 y;
    for (int i = 0; i < 16; i++) y[i] = expq(x[i]);
    return y;
}
static inline float sig(float x) { return 1.f / (1.f + expq(-x)); }
static inline v16 sig16(v16 x) { return 1.f / (1.f + exp16(-x)); }

/* sum over the lanes of each of 16 vectors: lane k of the result is the sum of a[k] */
static inline v16 pairs(v16 a, v16 b) {
    const i16v ev = {0,2,4,6,8,10,12,14,16,18,20,22,24,26,28,30}, od = ev + 1;
    return __builtin_shuffle(a, b, ev) + __builtin_shuffle(a, b, od);
}
static inline v16 lanesums(const v16 *a) {
    v16 b[8], c[4];
    for (int i = 0; i < 8; i++) b[i] = pairs(a[2 * i], a[2 * i + 1]);
    for (int i = 0; i < 4; i++) c[i] = pairs(b[2 * i], b[2 * i + 1]);
    return pairs(pairs(c[0], c[1]), pairs(c[2], c[3]));
}

/* ---- rows: norms, activations, loss -------------------------------------------------------------------- */

enum { MAXROW = 8192 };

static inline void load_row(const void *x, int xbf, long r, long n, float *b) {
    if (xbf) { const bf *p = (const bf *)x + r * n; for (long i = 0; i < n; i++) b[i] = up(p[i]); }
    else memcpy(b, (const float *)x + r * n, n * sizeof(float));
}
/* int8 absmax rounding of one row, stored as the value it stands for (FP: q / a) */
static inline void store_row(float *b, long n, int quant, bf *o) {
    if (!quant) { for (long i = 0; i < n; i++) o[i] = dn(b[i]); return; }
    float m = 1e-5f;
    for (long i = 0; i < n; i++) { float v = fabsf(b[i]); m = v > m ? v : m; }
    float a = 127.f / m, s = m / 127.f;
    for (long i = 0; i < n; i++) o[i] = dn(rintf(b[i] * a) * s);
}

/* o = quant(rms(x) * w); rstd is kept for the way back */
void rms_fwd(const void *x, int xbf, const float *w, float eps, int quant, long N, long n, bf *o, float *rstd) {
    float b[MAXROW];
    for (long r = 0; r < N; r++) {
        load_row(x, xbf, r, n, b);
        float s = 0;
        for (long i = 0; i < n; i++) s += b[i] * b[i];
        float k = rstd[r] = 1.f / sqrtf(s / n + eps);
        for (long i = 0; i < n; i++) b[i] *= k * w[i];
        store_row(b, n, quant, o + r * n);
    }
}
/* The rounding is passed through (straight-through estimator). dx has the type of x; dw is added to. */
void rms_bwd(const void *x, int xbf, const float *w, const float *rstd, const bf *dout, long N, long n, void *dx, float *dw) {
    float b[MAXROW], g[MAXROW];
    for (long r = 0; r < N; r++) {
        load_row(x, xbf, r, n, b);
        const bf *d = dout + r * n;
        float k = rstd[r], s = 0;
        for (long i = 0; i < n; i++) {
            b[i] *= k;
            float e = up(d[i]);
            dw[i] += e * b[i];
            g[i] = e * w[i];
            s += g[i] * b[i];
        }
        s /= n;
        if (xbf) { bf *q = (bf *)dx + r * n; for (long i = 0; i < n; i++) q[i] = dn(k * (g[i] - b[i] * s)); }
        else { float *q = (float *)dx + r * n; for (long i = 0; i < n; i++) q[i] = k * (g[i] - b[i] * s); }
    }
}

/* gu holds gate and up side by side: o = quant(rms(relu(gate)^2 * up) * w) */
void ffn_fwd(const bf *gu, const float *w, float eps, int quant, long N, long n, bf *o, float *rstd) {
    float b[MAXROW];
    for (long r = 0; r < N; r++) {
        const bf *g = gu + 2 * r * n, *u = g + n;
        float s = 0;
        for (long i = 0; i < n; i++) {
            float a = up(g[i]);
            a = a > 0 ? a : 0;
            b[i] = a * a * up(u[i]);
            s += b[i] * b[i];
        }
        float k = rstd[r] = 1.f / sqrtf(s / n + eps);
        for (long i = 0; i < n; i++) b[i] *= k * w[i];
        store_row(b, n, quant, o + r * n);
    }
}
void ffn_bwd(const bf *gu, const float *w, const float *rstd, const bf *dout, long N, long n, bf *dgu, float *dw) {
    float b[MAXROW], h[MAXROW];
    for (long r = 0; r < N; r++) {
        const bf *g = gu + 2 * r * n, *u = g + n, *d = dout + r * n;
        bf *dg = dgu + 2 * r * n, *du = dg + n;
        float k = rstd[r], s = 0;
        for (long i = 0; i < n; i++) {
            float a = up(g[i]);
            a = a > 0 ? a : 0;
            b[i] = a * a * up(u[i]) * k;
            float e = up(d[i]);
            dw[i] += e * b[i];
            h[i] = e * w[i];
            s += h[i] * b[i];
        }
        s /= n;
        for (long i = 0; i < n; i++) {
            float df = k * (h[i] - b[i] * s), a = up(g[i]);
            a = a > 0 ? a : 0;
            dg[i] = dn(df * 2 * a * up(u[i]));
            du[i] = dn(df * a * a);
        }
    }
}

/* out = x + y with the residual stream in float32 */
void add_fwd(const float *x, const bf *y, long n, float *o) { for (long i = 0; i < n; i++) o[i] = x[i] + up(y[i]); }
void to_bf(const float *x, long n, bf *o) { for (long i = 0; i < n; i++) o[i] = dn(x[i]); }

/* Mean cross-entropy; logits [N, V] are replaced by their gradient. Returns the sum of the losses in nats. */
double ce(bf *logits, const int64_t *target, long N, long V, float scale) {
    float b[MAXROW];
    double total = 0;
    for (long r = 0; r < N; r++) {
        bf *l = logits + r * V;
        float m = -1e30f, s = 0;
        for (long i = 0; i < V; i++) { b[i] = up(l[i]); m = b[i] > m ? b[i] : m; }
        long t = target[r];
        float at = b[t];
        for (long i = 0; i < V; i++) { b[i] = expq(b[i] - m); s += b[i]; }
        float k = scale / s;
        total += logf(s) + m - at;
        b[t] -= s;
        for (long i = 0; i < V; i++) l[i] = dn(b[i] * k);
    }
    return total;
}

/* Distillation: the target distribution is `mix` times the teacher's and the rest on the text's own token.
 * Student logits [N, V] are replaced by their gradient. Returns the sum of the cross-entropies in nats. */
double distil(bf *logits, const bf *teacher, const int64_t *target, float mix, long N, long V, float scale) {
    float b[MAXROW], q[MAXROW];
    double total = 0;
    for (long r = 0; r < N; r++) {
        bf *l = logits + r * V;
        const bf *h = teacher + r * V;
        float m = -1e30f, mq = -1e30f, s = 0, sq = 0, at = 0;
        for (long i = 0; i < V; i++) {
            b[i] = up(l[i]); m = b[i] > m ? b[i] : m;
            q[i] = up(h[i]); mq = q[i] > mq ? q[i] : mq;
        }
        for (long i = 0; i < V; i++) {
            q[i] = expq(q[i] - mq); sq += q[i];
            at += q[i] * b[i];
            b[i] = expq(b[i] - m); s += b[i];
        }
        long t = target[r];
        total += logf(s) + m - mix * at / sq - (1 - mix) * up(l[t]);
        float k = scale / s, kq = scale * mix / sq;
        for (long i = 0; i < V; i++) l[i] = dn(b[i] * k - q[i] * kq - (i == t ? (1 - mix) * scale : 0));
    }
    return total;
}

/* ---- attention ------------------------------------------------------------------------------------------ */

/* qkv [B,T,(H+2K)*hd] -> q [B,H,T,hd], k and v [B,K,T,hd], q and k rotated (NeoX form); dir -1 goes back */
void rope(bf *qkv, bf *q, bf *k, bf *v, const float *cs, const float *sn, long B, long T, long H, long K, long hd, int dir) {
    long half = hd / 2, row = (H + 2 * K) * hd;
    for (long b = 0; b < B; b++) for (long t = 0; t < T; t++) for (long h = 0; h < H + 2 * K; h++) {
        bf *m = qkv + (b * T + t) * row + h * hd;
        bf *z = h < H ? q + ((b * H + h) * T + t) * hd
              : h < H + K ? k + ((b * K + h - H) * T + t) * hd : v + ((b * K + h - H - K) * T + t) * hd;
        bf *from = dir > 0 ? m : z, *to = dir > 0 ? z : m;
        if (h >= H + K) { memcpy(to, from, hd * sizeof(bf)); continue; }
        const float *c = cs + t * half, *s = sn + t * half;
        for (long d = 0; d < half; d++) {
            float x = up(from[d]), y = up(from[d + half]), si = dir * s[d];
            to[d] = dn(x * c[d] - y * si);
            to[d + half] = dn(x * si + y * c[d]);
        }
    }
}
/* In place on R rows of scores; row r belongs to position r mod T and sees columns 0..t */
void softmax_fwd(bf *s, long R, long T, float scale) {
    float b[MAXROW];
    for (long r = 0; r < R; r++) {
        bf *p = s + r * T;
        long n = r % T + 1;
        float m = -1e30f, z = 0;
        for (long i = 0; i < n; i++) { b[i] = up(p[i]) * scale; m = b[i] > m ? b[i] : m; }
        for (long i = 0; i < n; i++) { b[i] = expq(b[i] - m); z += b[i]; }
        z = 1.f / z;
        for (long i = 0; i < n; i++) p[i] = dn(b[i] * z);
        memset(p + n, 0, (T - n) * sizeof(bf));
    }
}
void softmax_bwd(const bf *P, bf *dP, long R, long T, float scale) {
    for (long r = 0; r < R; r++) {
        const bf *p = P + r * T;
        bf *d = dP + r * T;
        long n = r % T + 1;
        float s = 0;
        for (long i = 0; i < n; i++) s += up(p[i]) * up(d[i]);
        for (long i = 0; i < n; i++) d[i] = dn(up(p[i]) * (up(d[i]) - s) * scale);
        memset(d + n, 0, (T - n) * sizeof(bf));
    }
}

/* ---- Mamba ---------------------------------------------------------------------------------------------- */

/* c = silu(bias + causal 4-tap filter of u); u are the first n of every `stride` values. w is [4][n]. */
void conv_fwd(const bf *u, long stride, const float *w, const float *bias, long B, long T, long n, bf *c) {
    for (long b = 0; b < B; b++) for (long t = 0; t < T; t++) {
        bf *o = c + (b * T + t) * n;
        for (long i = 0; i < n; i += 16) {
            v16 a = *(v16 *)(bias + i);
            for (long j = 0; j < 4; j++) if (t + j >= 3)
                a += *(v16 *)(w + j * n + i) * up16(u + (b * T + t + j - 3) * stride + i);
            dn16(o + i, a * sig16(a));
        }
    }
}
void conv_bwd(const bf *u, long stride, const float *w, const float *bias, const bf *dc, long B, long T, long n,
              bf *du, float *dw, float *db) {
    v16 *g = aligned_alloc(64, (T + 3) * sizeof(v16));
    for (long b = 0; b < B; b++) for (long i = 0; i < n; i += 16) {
        v16 sw[4] = {0}, sb = splat(0);
        for (long t = 0; t < T; t++) {
            v16 a = *(v16 *)(bias + i);
            for (long j = 0; j < 4; j++) if (t + j >= 3)
                a += *(v16 *)(w + j * n + i) * up16(u + (b * T + t + j - 3) * stride + i);
            v16 s = sig16(a), d = up16(dc + (b * T + t) * n + i) * s * (1.f + a * (1.f - s));
            g[t] = d;
            sb += d;
            for (long j = 0; j < 4; j++) if (t + j >= 3) sw[j] += d * up16(u + (b * T + t + j - 3) * stride + i);
        }
        for (long t = T; t < T + 3; t++) g[t] = splat(0);
        for (long t = 0; t < T; t++) {
            v16 d = splat(0);
            for (long j = 0; j < 4; j++) d += *(v16 *)(w + j * n + i) * g[t + 3 - j];
            dn16(du + (b * T + t) * stride + i, d);
        }
        for (long j = 0; j < 4; j++) *(v16 *)(dw + j * n + i) += sw[j];
        *(v16 *)(db + i) += sb;
    }
    free(g);
}

/* Selective scan with 16 states, 16 channels per vector.
 * out = (sum_k S[k] C[k] + D c) * silu(z),  S[k] = exp(dt A[k]) S[k] + dt c B[k],  dt = softplus(raw + dtb)
 * A is [16][n] (state first); Bm and Cm are float [B*T][16]; z has row stride zs. */
static inline v16 softplus16(v16 x) {
    v16 e = exp16(x), y;
    for (int i = 0; i < 16; i++) y[i] = x[i] > 15.f ? x[i] : logf(1.f + e[i]);
    return y;
}
void scan_fwd(const bf *c, const bf *raw, const float *dtb, const float *A, const float *Bm, const float *Cm, const float *D,
              const bf *z, long zs, long B, long T, long n, bf *o) {
    for (long b = 0; b < B; b++) for (long i = 0; i < n; i += 16) {
        v16 S[16], a[16];
        for (int k = 0; k < 16; k++) { S[k] = splat(0); a[k] = *(v16 *)(A + k * n + i); }
        for (long t = 0; t < T; t++) {
            long r = b * T + t;
            v16 x = up16(c + r * n + i), dt = softplus16(up16(raw + r * n + i) + *(v16 *)(dtb + i));
            v16 dx = dt * x, y = *(v16 *)(D + i) * x, g = up16(z + r * zs + i);
            for (int k = 0; k < 16; k++) {
                S[k] = exp16(dt * a[k]) * S[k] + dx * Bm[r * 16 + k];
                y += S[k] * Cm[r * 16 + k];
            }
            dn16(o + r * n + i, y * g * sig16(g));
        }
    }
}
void scan_bwd(const bf *c, const bf *raw, const float *dtb, const float *A, const float *Bm, const float *Cm, const float *D,
              const bf *z, long zs, const bf *dout, long B, long T, long n,
              bf *dc, bf *draw, float *ddtb, float *dA, float *dB, float *dC, float *dD, bf *dz) {
    v16 *H = aligned_alloc(64, (T + 1) * 16 * sizeof(v16));     /* states, H[t] before token t */
    v16 *Y = aligned_alloc(64, T * sizeof(v16)), *DT = aligned_alloc(64, T * sizeof(v16));
    for (long b = 0; b < B; b++) for (long i = 0; i < n; i += 16) {
        v16 a[16], dS[16], sA[16], sD = splat(0), sdt = splat(0);
        for (int k = 0; k < 16; k++) { H[k] = dS[k] = sA[k] = splat(0); a[k] = *(v16 *)(A + k * n + i); }
        for (long t = 0; t < T; t++) {
            long r = b * T + t;
            v16 x = up16(c + r * n + i), dt = DT[t] = softplus16(up16(raw + r * n + i) + *(v16 *)(dtb + i));
            v16 dx = dt * x, y = *(v16 *)(D + i) * x, *S = H + t * 16;
            for (int k = 0; k < 16; k++) {
                S[16 + k] = exp16(dt * a[k]) * S[k] + dx * Bm[r * 16 + k];
                y += S[16 + k] * Cm[r * 16 + k];
            }
            Y[t] = y;
        }
        for (long t = T - 1; t >= 0; t--) {
            long r = b * T + t;
            v16 *S = H + t * 16, gB[16], gC[16];
            v16 x = up16(c + r * n + i), dt = DT[t], g = up16(z + r * zs + i), s = sig16(g), d = up16(dout + r * n + i);
            v16 dy = d * g * s, gx = dy * *(v16 *)(D + i), gdt = splat(0), gdx = splat(0), dx = dt * x;
            dn16(dz + r * zs + i, d * Y[t] * s * (1.f + g * (1.f - s)));
            sD += dy * x;
            for (int k = 0; k < 16; k++) {
                v16 e = exp16(dt * a[k]), q = dS[k] + dy * Cm[r * 16 + k];
                gC[k] = dy * S[16 + k];
                gB[k] = q * dx;
                gdx += q * Bm[r * 16 + k];
                v16 de = q * S[k] * e;              /* gradient of the exponent dt*A */
                gdt += de * a[k];
                sA[k] += de * dt;
                dS[k] = q * e;
            }
            gx += gdx * dt;
            gdt += gdx * x;
            v16 gr = gdt * (1.f - exp16(-dt));      /* d softplus = sigmoid(input) = 1 - exp(-output) */
            sdt += gr;
            dn16(dc + r * n + i, gx);
            dn16(draw + r * n + i, gr);
            *(v16 *)(dB + r * 16) += lanesums(gB);
            *(v16 *)(dC + r * 16) += lanesums(gC);
        }
        for (int k = 0; k < 16; k++) *(v16 *)(dA + k * n + i) += sA[k];
        *(v16 *)(dD + i) += sD;
        *(v16 *)(ddtb + i) += sdt;
    }
    free(H); free(Y); free(DT);
}

/* ---- RWKV-7 --------------------------------------------------------------------------------------------- */

/* One head state S[p][q] (p value, q key channel) is kept as S[q] over 16 lanes of p.
 *   sa = -S kk,  S = S diag(w) + sa b^T + v k^T,  o = S r
 * All inputs float [B,T,H,hs], hs a multiple of 16 and at most 64. The state before every 16th token is kept
 * in ck [B,H,hs/16,T/16,hs][16] so that the way back recomputes 16 tokens at a time. */
enum { CH = 16 };
static inline void wkv_step(const v16 *S, v16 *N, v16 *sa, v16 *o, const float *r, const float *w, const float *k, v16 v,
                            const float *kk, const float *b, long hs) {
    v16 s0 = splat(0), s1 = s0, o0 = s0, o1 = s0;
    for (long q = 0; q < hs; q += 2) { s0 -= S[q] * kk[q]; s1 -= S[q + 1] * kk[q + 1]; }
    s0 += s1;
    *sa = s0;
    for (long q = 0; q < hs; q += 2) {
        v16 x = S[q] * w[q] + s0 * b[q] + v * k[q], y = S[q + 1] * w[q + 1] + s0 * b[q + 1] + v * k[q + 1];
        N[q] = x; N[q + 1] = y;
        o0 += x * r[q]; o1 += y * r[q + 1];
    }
    *o = o0 + o1;
}
void wkv_fwd(const float *r, const float *w, const float *k, const float *v, const float *kk, const float *b,
             long B, long T, long H, long hs, float *o, float *ck) {
    long n = H * hs, nc = (T + CH - 1) / CH;
    for (long i = 0; i < B; i++) for (long h = 0; h < H; h++) for (long g = 0; g < hs; g += 16) {
        v16 S[64], sa, out;
        v16 *c = (v16 *)ck + ((i * H + h) * (hs / 16) + g / 16) * nc * hs;
        memset(S, 0, sizeof S);
        for (long t = 0; t < T; t++) {
            long e = (i * T + t) * n + h * hs;
            if (t % CH == 0) for (long q = 0; q < hs; q++) c[t / CH * hs + q] = S[q];
            wkv_step(S, S, &sa, &out, r + e, w + e, k + e, *(v16 *)(v + e + g), kk + e, b + e, hs);
            *(v16 *)(o + e + g) = out;
        }
    }
}
void wkv_bwd(const float *r, const float *w, const float *k, const float *v, const float *kk, const float *b, const float *dO,
             const float *ck, long B, long T, long H, long hs,
             float *dr, float *dw, float *dk, float *dv, float *dkk, float *db) {
    long n = H * hs, nc = (T + CH - 1) / CH;
    v16 *Z = aligned_alloc(64, (CH + 1) * 64 * sizeof(v16));
    for (long i = 0; i < B; i++) for (long h = 0; h < H; h++) for (long g = 0; g < hs; g += 16) {
        v16 dS[64], sa[CH], out;
        const v16 *c = (const v16 *)ck + ((i * H + h) * (hs / 16) + g / 16) * nc * hs;
        memset(dS, 0, sizeof dS);
        for (long t0 = (nc - 1) * CH; t0 >= 0; t0 -= CH) {
            long m = T - t0 < CH ? T - t0 : CH;
            for (long q = 0; q < hs; q++) Z[q] = c[t0 / CH * hs + q];
            for (long j = 0; j < m; j++) {
                long e = (i * T + t0 + j) * n + h * hs;
                wkv_step(Z + j * 64, Z + (j + 1) * 64, sa + j, &out, r + e, w + e, k + e, *(v16 *)(v + e + g), kk + e, b + e, hs);
            }
            for (long j = m - 1; j >= 0; j--) {
                long e = (i * T + t0 + j) * n + h * hs;
                const v16 *S = Z + j * 64, *N = S + 64;
                v16 d = *(v16 *)(dO + e + g), x = *(v16 *)(v + e + g), dsa = splat(0), gv = dsa;
                v16 br[16], bw[16], bk[16], bb[16];
                for (long q0 = 0; q0 < hs; q0 += 16) {
                    for (long q = 0; q < 16; q++) {
                        v16 u = dS[q0 + q] + d * r[e + q0 + q];
                        br[q] = d * N[q0 + q];
                        bw[q] = u * S[q0 + q];
                        bk[q] = u * x;
                        bb[q] = u * sa[j];
                        dsa += u * b[e + q0 + q];
                        gv += u * k[e + q0 + q];
                        dS[q0 + q] = u;
                    }
                    *(v16 *)(dr + e + q0) += lanesums(br);
                    *(v16 *)(dw + e + q0) += lanesums(bw);
                    *(v16 *)(dk + e + q0) += lanesums(bk);
                    *(v16 *)(db + e + q0) += lanesums(bb);
                }
                *(v16 *)(dv + e + g) = gv;
                for (long q0 = 0; q0 < hs; q0 += 16) {
                    for (long q = 0; q < 16; q++) {
                        bk[q] = -dsa * S[q0 + q];
                        dS[q0 + q] = dS[q0 + q] * w[e + q0 + q] - dsa * kk[e + q0 + q];
                    }
                    *(v16 *)(dkk + e + q0) += lanesums(bk);
                }
            }
        }
    }
    free(Z);
}
