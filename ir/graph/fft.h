/* fft.h: discrete Fourier transforms in double: what the reference computes, and the constants of expansions. */
#ifndef TENON_IR_FFT_H
#define TENON_IR_FFT_H

#include <stdbool.h>
#include <stdint.h>

#include "tenon/base.h"

typedef struct tn_complex {
    double re, im;
} tn_complex;

static inline tn_complex tn_complex_mul(tn_complex a, tn_complex b) {
    return (tn_complex){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
/* exp(sign * 2 pi i k / n), exact in k modulo n; 0 <= k. */
tn_complex tn_root(int64_t k, int64_t n, int sign);

/* Transforms of one length, n >= 1.  A length with a large prime factor is a convolution with a chirp (Bluestein): x times the chirp,
 * convolved with what has the transform `filter`, times the chirp, in transforms of the length `wide`, a power of two; else wide is 0. */
typedef struct tn_fft tn_fft;
struct tn_fft {
    const tn_env *env;
    int64_t n, wide;
    tn_complex *root, *work; /* n; none where there is a chirp */
    tn_complex *chirp, *filter, *padded;
    tn_fft *inner; /* forward, of length wide */
};

/* sign -1: forward.  NULL: out of memory. */
tn_fft *tn_fft_new(const tn_env *env, int64_t n, int sign);
/* Whatever its factors are, as one with a chirp. */
tn_fft *tn_fft_chirped(const tn_env *env, int64_t n, int sign);
void tn_fft_free(tn_fft *f); /* NULL allowed */
/* x[k] becomes the sum over j of x[j] exp(sign * 2 pi i jk / n).  One call at a time. */
void tn_fft_run(const tn_fft *f, tn_complex *x);

#endif
