#include "native.h"

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
