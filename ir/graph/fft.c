/* fft.c: see fft.h.  Small factors take one step each, which leaves what it computes in order (Stockham). */
#include "ir/graph/fft.h"

#include <math.h>
#include <string.h>

#include "tenon/internal/memory.h"

enum { LARGE_PRIME = 64 };

tn_complex tn_root(int64_t k, int64_t n, int sign) {
    const double t = 6.283185307179586476925286766559 * (double)(k % n) / (double)n;
    return (tn_complex){cos(t), sign * sin(t)};
}

static int64_t least_prime(int64_t n) {
    for (int64_t p = 2; p * p <= n; p++)
        if (n % p == 0) return p;
    return n;
}

static bool has_large_prime(int64_t n) {
    while (n > LARGE_PRIME) {
        const int64_t p = least_prime(n);
        if (p > LARGE_PRIME) return true;
        n /= p;
    }
    return false;
}

static tn_complex *array(const tn_env *env, int64_t n) {
    return tn_alloc(env, (size_t)n * sizeof(tn_complex));
}

static void drop(const tn_env *env, tn_complex *p, int64_t n) {
    tn_free(env, p, (size_t)n * sizeof *p);
}

void tn_fft_free(tn_fft *f) {
    if (!f) return;
    tn_fft_free(f->inner);
    drop(f->env, f->root, f->n);
    drop(f->env, f->work, f->n);
    drop(f->env, f->chirp, f->n);
    drop(f->env, f->filter, f->wide);
    drop(f->env, f->padded, f->wide);
    tn_free(f->env, f, sizeof *f);
}

/* jk = (j^2 + k^2 - (k - j)^2) / 2 */
static bool make_chirp(tn_fft *f, int sign) {
    const int64_t n = f->n;
    for (f->wide = 1; f->wide < 2 * n - 1; f->wide *= 2) {
    }
    f->chirp = array(f->env, n);
    f->filter = array(f->env, f->wide);
    f->padded = array(f->env, f->wide);
    f->inner = tn_fft_new(f->env, f->wide, -1);
    if (!f->chirp || !f->filter || !f->padded || !f->inner) return false;
    memset(f->filter, 0, (size_t)f->wide * sizeof *f->filter);
    for (int64_t k = 0; k < n; k++) {
        const tn_complex c = f->chirp[k] = tn_root(k * k % (2 * n), 2 * n, sign);
        f->filter[k] = f->filter[k ? f->wide - k : 0] = (tn_complex){c.re, -c.im};
    }
    tn_fft_run(f->inner, f->filter);
    return true;
}

static bool make_roots(tn_fft *f, int sign) {
    f->root = array(f->env, f->n);
    f->work = array(f->env, f->n);
    for (int64_t k = 0; f->root && k < f->n; k++) f->root[k] = tn_root(k, f->n, sign);
    return f->root && f->work;
}

static tn_fft *make(const tn_env *env, int64_t n, int sign, bool chirped) {
    tn_fft *f = tn_alloc(env, sizeof *f);
    if (!f) return NULL;
    *f = (tn_fft){.env = env, .n = n};
    if (chirped ? make_chirp(f, sign) : make_roots(f, sign)) return f;
    tn_fft_free(f);
    return NULL;
}

tn_fft *tn_fft_new(const tn_env *env, int64_t n, int sign) {
    return make(env, n, sign, has_large_prime(n));
}

tn_fft *tn_fft_chirped(const tn_env *env, int64_t n, int sign) {
    return make(env, n, sign, true);
}

/* One factor p: `done` is the product of those before. */
static void step(const tn_fft *f, int64_t p, int64_t done, const tn_complex *from, tn_complex *to) {
    const int64_t part = f->n / p, all = done * p;
    for (int64_t j = 0; j < part; j++) {
        const int64_t k = j % done;
        tn_complex *out = to + j / done * all + k;
        for (int64_t q = 0; q < p; q++) {
            tn_complex sum = from[j];
            for (int64_t i = 1; i < p; i++) {
                const tn_complex v =
                    tn_complex_mul(from[j + i * part], f->root[i * (k + q * done) % all * (f->n / all)]);
                sum.re += v.re, sum.im += v.im;
            }
            out[q * done] = sum;
        }
    }
}

static void run_steps(const tn_fft *f, tn_complex *x) {
    tn_complex *from = x, *to = f->work;
    for (int64_t done = 1; done < f->n;) {
        const int64_t p = least_prime(f->n / done);
        step(f, p, done, from, to);
        done *= p;
        tn_complex *const swapped = from;
        from = to, to = swapped;
    }
    if (from != x) memcpy(x, from, (size_t)f->n * sizeof *x);
}

static void run_chirped(const tn_fft *f, tn_complex *x) {
    tn_complex *a = f->padded;
    memset(a, 0, (size_t)f->wide * sizeof *a);
    for (int64_t k = 0; k < f->n; k++) a[k] = tn_complex_mul(x[k], f->chirp[k]);
    tn_fft_run(f->inner, a);
    for (int64_t k = 0; k < f->wide; k++) { /* the inverse, by conjugates */
        a[k] = tn_complex_mul(a[k], f->filter[k]);
        a[k].im = -a[k].im;
    }
    tn_fft_run(f->inner, a);
    for (int64_t k = 0; k < f->n; k++)
        x[k] = tn_complex_mul((tn_complex){a[k].re / (double)f->wide, -a[k].im / (double)f->wide}, f->chirp[k]);
}

void tn_fft_run(const tn_fft *f, tn_complex *x) {
    if (f->wide)
        run_chirped(f, x);
    else
        run_steps(f, x);
}
