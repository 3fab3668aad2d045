/* Training kernels for the CPU: what plain PyTorch does slowly there. Each has a plain twin in reference.py
 * and checks.py compares the two. rows.c: norms, activations, losses, attention; scan.c: the recurrences.
 *
 * bf is bfloat16 kept as its 16 bits; sums and states are float32. Matrices are row-major. Single-threaded:
 * train several models side by side rather than one on several cores.
 */
#pragma once
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
