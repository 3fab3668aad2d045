#include "native.h"

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
