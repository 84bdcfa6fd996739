/* spectral.c: DFT, STFT and MelWeightMatrix.
 *
 * A transform of known length n is matrix products with constant tables: one of the whole length where n is small, else
 * n = n1 * n2 in steps of factors of at most DIRECT (Cooley and Tukey: n1 in columns, twiddle factors, n2 in rows), so that a row takes
 * O(n * sum of the factors); a length with a larger prime factor is a convolution with a chirp (Bluestein) in transforms of
 * a power of two.  A length that only a run knows is one product with a table that the device computes, O(n^2).
 * Complex numbers are a last axis of size 2. */
#include "frontend/onnx/import.h"

#include <math.h>
#include <string.h>

enum { DIRECT = 64, MAX_LENGTH = 1 << 24 };

#define TAU 6.283185307179586476925286766559

/* cos and sin of 2 pi k / n, exact in k modulo n. */
static void root(int64_t k, int64_t n, double *re, double *im) {
    const double t = TAU * (double)(k % n) / (double)n;
    *re = cos(t);
    *im = sin(t);
}

/* Transforms of one node: their element type, and the sign of the exponent. */
typedef struct transform {
    tn_oi *x;
    tn_graph *g;
    tn_dtype t;
    double sign; /* -1: forward */
} transform;

static tn_dim size(const transform *f, int64_t n) {
    return tn_dim_const(f->g, n);
}

static double *table(const transform *f, int64_t n) {
    return tn_oi_alloc(f->x, (size_t)(n + 1) * sizeof(double));
}

/* A constant of f's type from doubles. */
static tn_val constant(const transform *f, size_t rank, const int64_t *dims, const double *v) {
    int64_t n = 1;
    for (size_t k = 0; k < rank; k++) n *= dims[k];
    if (f->t == TN_F64) return tn_build_const(f->g, NULL, TN_F64, rank, dims, v);
    float *narrow = tn_oi_alloc(f->x, (size_t)(n + 1) * sizeof *narrow);
    if (!narrow) return (tn_val){0};
    for (int64_t k = 0; k < n; k++) narrow[k] = (float)v[k];
    return tn_build_const(f->g, NULL, TN_F32, rank, dims, narrow);
}

static tn_val reshape(const transform *f, tn_val v, size_t rank, const tn_dim *dims) {
    return tn_build_reshape_to(f->g, v, rank, dims);
}

/* [R, a, b, c] as [R, b, a, c] */
static tn_val swap(const transform *f, tn_val v) {
    return tn_build_permute(f->g, v, 4, (const int64_t[]){0, 2, 1, 3});
}

static tn_val matmul(const transform *f, tn_val a, tn_val b) {
    return tn_build_matmul(f->g, a, b, (tn_attrs_matmul){0});
}

/* ---- complex factors --------------------------------------------------------------------------------------------- */

static tn_val part(const transform *f, tn_val v, int64_t which) {
    return tn_build_slice_axis(f->g, v, -1, size(f, which), size(f, 1));
}

/* v times the constants (re, im), whose dims end in 1. */
static tn_val times(const transform *f, tn_val v, size_t rank, const int64_t *dims, const double *re,
                    const double *im) {
    const tn_val a = part(f, v, 0), b = part(f, v, 1), c = constant(f, rank, dims, re), d = constant(f, rank, dims, im);
    const tn_val y[] = {tn_build_sub(f->g, tn_build_mul(f->g, a, c), tn_build_mul(f->g, b, d)),
                        tn_build_add(f->g, tn_build_mul(f->g, a, d), tn_build_mul(f->g, b, c))};
    return tn_build_concat(f->g, 2, y, -1);
}

/* ---- known lengths ----------------------------------------------------------------------------------------------- */

/* [R, n, c] to [R, m, 2], the first m frequencies, by a table of n * c by m * 2. */
static tn_val direct(const transform *f, tn_val v, int64_t n, int64_t c, int64_t m) {
    const tn_dim rows = tn_val_dim(f->g, v, 0);
    double *w = table(f, n * c * m * 2), re, im;
    for (int64_t j = 0; w && j < n; j++)
        for (int64_t k = 0; k < m; k++) {
            root(j * k, n, &re, &im);
            im *= f->sign;
            double *at = w + (j * c * m + k) * 2;
            at[0] = re, at[1] = im;
            if (c == 2) at[2 * m] = -im, at[2 * m + 1] = re;
        }
    if (!w) return (tn_val){0};
    v = reshape(f, v, 2, (const tn_dim[]){rows, size(f, n * c)});
    v = matmul(f, v, constant(f, 2, (const int64_t[]){n * c, m * 2}, w));
    return reshape(f, v, 3, (const tn_dim[]){rows, size(f, m), size(f, 2)});
}

/* The largest factor of n that is at most DIRECT; 1: all are larger. */
static int64_t factor_of(int64_t n) {
    for (int64_t k = DIRECT; k > 1; k--)
        if (n % k == 0) return k;
    return 1;
}

static bool is_smooth(int64_t n) {
    while (n > DIRECT) {
        const int64_t k = factor_of(n);
        if (k == 1) return false;
        n /= k;
    }
    return true;
}

static tn_val smooth(const transform *f, tn_val v, int64_t n, int64_t c, int64_t m) {
    if (n <= DIRECT) return direct(f, v, n, c, m);
    const tn_dim rows = tn_val_dim(f->g, v, 0), two = size(f, 2);
    const int64_t a = factor_of(n), b = n / a;
    const tn_dim da = size(f, a), db = size(f, b), all = tn_dim_mul(f->g, rows, db);
    /* element ja * b + jb, frequency ka + kb * a */
    v = swap(f, reshape(f, v, 4, (const tn_dim[]){rows, da, db, size(f, c)}));
    v = direct(f, reshape(f, v, 3, (const tn_dim[]){all, da, size(f, c)}), a, c, a);
    v = reshape(f, v, 4, (const tn_dim[]){rows, db, da, two});
    double *re = table(f, n), *im = table(f, n);
    for (int64_t k = 0; re && im && k < n; k++) {
        root(k / a * (k % a), n, &re[k], &im[k]);
        im[k] *= f->sign;
    }
    if (!re || !im) return (tn_val){0};
    v = swap(f, times(f, v, 3, (const int64_t[]){b, a, 1}, re, im));
    v = smooth(f, reshape(f, v, 3, (const tn_dim[]){tn_dim_mul(f->g, rows, da), db, two}), b, 2, b);
    v = swap(f, reshape(f, v, 4, (const tn_dim[]){rows, da, db, two}));
    v = reshape(f, v, 3, (const tn_dim[]){rows, size(f, n), two});
    return m == n ? v : tn_build_slice_axis(f->g, v, 1, size(f, 0), size(f, m));
}

/* In place, for a power of two: what a chirp's transform is computed by, once. */
static void fft(double *re, double *im, int64_t n) {
    for (int64_t k = 1, r = 0; k < n; k++) {
        int64_t bit = n >> 1;
        for (; r & bit; bit >>= 1) r ^= bit;
        r ^= bit;
        if (k >= r) continue;
        const double a = re[k], b = im[k];
        re[k] = re[r], im[k] = im[r], re[r] = a, im[r] = b;
    }
    for (int64_t half = 1; half < n; half *= 2)
        for (int64_t j = 0; j < half; j++) {
            double c, s;
            root(j, 2 * half, &c, &s);
            for (int64_t k = j; k < n; k += 2 * half) {
                const int64_t l = k + half;
                const double a = re[l] * c + im[l] * s, b = im[l] * c - re[l] * s;
                re[l] = re[k] - a, im[l] = im[k] - b;
                re[k] += a, im[k] += b;
            }
        }
}

/* jk = (j^2 + k^2 - (k - j)^2) / 2: the transform is a convolution with the chirp, between products with it. */
static tn_val chirped(const transform *f, tn_val v, int64_t n, int64_t c, int64_t m) {
    int64_t wide = 1;
    while (wide < 2 * n - 1) wide *= 2;
    double *re = table(f, n), *im = table(f, n), *a = table(f, wide), *b = table(f, wide);
    if (!re || !im || !a || !b) return (tn_val){0};
    for (int64_t k = 0; k < n; k++) {
        root(k * k % (2 * n), 2 * n, &re[k], &im[k]);
        im[k] *= f->sign;
        a[k] = a[k ? wide - k : 0] = re[k];
        b[k] = b[k ? wide - k : 0] = -im[k];
    }
    fft(a, b, wide);
    for (int64_t k = 0; k < wide; k++) a[k] /= (double)wide, b[k] /= (double)wide;
    const tn_dim zero = size(f, 0), before[] = {zero, zero, zero}, more[] = {zero, size(f, wide - n), zero};
    const int64_t narrow[] = {n, 1}, full[] = {wide, 1}, some[] = {m, 1};
    const tn_attrs_pad pad = {.before = {before, 3}, .after = {more, 3}, .mode = "constant"};
    transform there = *f, back = *f;
    there.sign = -1;
    back.sign = 1;
    if (c == 1) {
        const tn_dim dims[] = {tn_val_dim(f->g, v, 0), size(f, n), size(f, 1)};
        const tn_val y[] = {v, tn_build_full(f->g, f->t, 3, dims, 0)};
        v = tn_build_concat(f->g, 2, y, -1);
    }
    v = tn_build_pad(f->g, times(f, v, 2, narrow, re, im), pad);
    v = times(f, smooth(&there, v, wide, 2, wide), 2, full, a, b);
    return times(f, smooth(&back, v, wide, 2, m), 2, some, re, im);
}

static tn_val known(const transform *f, tn_val v, int64_t n, int64_t c, int64_t m) {
    if (n < 1 || n > MAX_LENGTH) {
        tn_oi_fail(f->x, TN_E_UNSUPPORTED, "", "a transform of length %lld; from 1 to %d can be", (long long)n,
                   MAX_LENGTH);
        return (tn_val){0};
    }
    return is_smooth(n) ? smooth(f, v, n, c, m) : chirped(f, v, n, c, m);
}

/* ---- lengths that only a run knows ------------------------------------------------------------------------------- */

/* [n, m]: j * k / n * 2 pi */
static tn_val angles(const transform *f, tn_dim n, tn_dim m) {
    const tn_dim dims[] = {n, m};
    const tn_val length = tn_oi_size_value(f->x, n);
    tn_val k = tn_build_mul(f->g, tn_build_iota(f->g, TN_I64, 2, dims, 0), tn_build_iota(f->g, TN_I64, 2, dims, 1));
    k = tn_build_cast_to(f->g, tn_build_mod(f->g, k, length), f->t);
    k = tn_build_div(f->g, k, tn_build_cast_to(f->g, length, f->t));
    return tn_build_scalar(f->g, TN_OP_MUL, k, TAU);
}

/* [R, n] parts of v, [R, n, c], as products with the table. */
static tn_val product(const transform *f, tn_val v, int64_t which, tn_val w) {
    const tn_dim dims[] = {tn_val_dim(f->g, v, 0), tn_val_dim(f->g, v, 1)};
    return matmul(f, reshape(f, part(f, v, which), 2, dims), w);
}

static tn_val pair(const transform *f, tn_val re, tn_val im) {
    const tn_val y[] = {tn_build_unsqueeze(f->g, re, 2), tn_build_unsqueeze(f->g, im, 2)};
    return tn_build_concat(f->g, 2, y, -1);
}

static tn_val unknown(const transform *f, tn_val v, tn_dim n, int64_t c, tn_dim m) {
    tn_graph *g = f->g;
    const tn_val angle = angles(f, n, m), re = tn_build_cos(g, angle),
                 im = tn_build_scalar(g, TN_OP_MUL, tn_build_sin(g, angle), f->sign);
    const tn_val a = product(f, v, 0, re), b = product(f, v, 0, im);
    if (c == 1) return pair(f, a, b);
    return pair(f, tn_build_sub(g, a, product(f, v, 1, im)), tn_build_add(g, b, product(f, v, 1, re)));
}

/* ---- what a node asks for ---------------------------------------------------------------------------------------- */

/* The first m frequencies (or elements, backward) of [R, n, c]; backward they are divided by n. */
static tn_val of_rows(const transform *f, tn_val v, tn_dim n, int64_t c, tn_dim m) {
    int64_t length, wanted;
    const bool is_known = tn_dim_is_const(f->g, n, &length) && tn_dim_is_const(f->g, m, &wanted);
    v = is_known ? known(f, v, length, c, wanted) : unknown(f, v, n, c, m);
    if (f->sign < 0 || tn_oi_failed(f->x)) return v;
    const tn_val by = tn_build_cast_to(f->g, tn_oi_size_value(f->x, n), f->t);
    return tn_build_div(f->g, v, by);
}

/* v's axis with n elements: cut, or filled up with zeros. */
static tn_val resized(const transform *f, tn_val v, size_t axis, tn_dim n) {
    tn_graph *g = f->g;
    const tn_dim have = tn_val_dim(g, v, axis), zero = tn_dim_const(g, 0);
    if (have.i == n.i) return v;
    tn_dim before[TN_MAX_RANK], after[TN_MAX_RANK];
    const uint32_t rank = (uint32_t)tn_val_rank(g, v);
    for (size_t k = 0; k < rank; k++) before[k] = after[k] = zero;
    after[axis] = tn_dim_max(g, tn_dim_sub(g, n, have), zero);
    v = tn_build_slice_axis(g, v, (int64_t)axis, zero, tn_dim_min(g, have, n));
    if (tn_dim_equal_const(g, after[axis], 0)) return v;
    return tn_build_pad(g, v, (tn_attrs_pad){.before = {before, rank}, .after = {after, rank}, .mode = "constant"});
}

/* The whole spectrum, [R, n, 2], that the first n / 2 + 1 frequencies of a real signal imply. */
static tn_val mirrored(const transform *f, tn_val v, tn_dim n) {
    tn_graph *g = f->g;
    const tn_dim one = tn_dim_const(g, 1), two = tn_dim_const(g, 2), zero = tn_dim_const(g, 0),
                 rest = tn_dim_floordiv(g, tn_dim_sub(g, n, one), two); /* n/2 - 1, or (n - 1)/2 */
    const tn_dim starts[] = {zero, rest, zero}, sizes[] = {tn_val_dim(g, v, 0), rest, two};
    const int64_t steps[] = {1, -1, 1}, only[] = {2};
    const double sign[] = {1, -1};
    tn_val back =
        tn_build_slice(g, v, (tn_attrs_slice){.starts = {starts, 3}, .sizes = {sizes, 3}, .steps = {steps, 3}});
    back = tn_build_mul(g, back, constant(f, 1, only, sign));
    const tn_val y[] = {v, back};
    return tn_build_concat(g, 2, y, 1);
}

/* The transform along the axis before the last of v, [..., n or fewer or more, c]. */
static tn_val transformed(const transform *f, tn_val v, tn_dim n, bool onesided) {
    tn_graph *g = f->g;
    const size_t rank = tn_val_rank(g, v);
    const tn_dim half = tn_dim_add(g, tn_dim_floordiv(g, n, tn_dim_const(g, 2)), tn_dim_const(g, 1));
    const bool to_real = onesided && f->sign > 0;
    int64_t c = 0;
    if (tn_oi_failed(f->x)) return v;
    if (!tn_dim_is_const(g, tn_val_dim(g, v, rank - 1), &c) || c < 1 || c > 2) {
        tn_oi_fail(f->x, TN_E_TYPE, "", "the last axis is not 1 (real) or 2 (complex)");
        return v;
    }
    if (to_real && c == 1) {
        tn_oi_fail(f->x, TN_E_TYPE, "", "a onesided inverse of a real signal");
        return v;
    }
    if (onesided && !to_real && c == 2) {
        tn_oi_fail(f->x, TN_E_TYPE, "set onesided to 0", "a onesided transform of a complex signal");
        return v;
    }
    v = resized(f, v, rank - 2, to_real ? half : n);
    tn_dim out[TN_MAX_RANK];
    for (size_t k = 0; k < rank; k++) out[k] = tn_val_dim(g, v, k);
    v = reshape(f, v, 3, (const tn_dim[]){tn_val_extent(g, v, 0, rank - 2), out[rank - 2], out[rank - 1]});
    if (to_real) v = mirrored(f, v, n);
    out[rank - 2] = onesided && !to_real ? half : n;
    v = of_rows(f, v, n, c, out[rank - 2]);
    if (to_real) v = part(f, v, 0);
    out[rank - 1] = tn_dim_const(g, to_real ? 1 : 2);
    return reshape(f, v, rank, out);
}

static transform transform_of(tn_oi *x, tn_val v, bool inverse) {
    const tn_dtype t = tn_val_dtype(x->g, v);
    if (!tn_oi_failed(x) && !tn_dtype_is_float(t)) tn_oi_fail(x, TN_E_TYPE, "", "a signal of %s", tn_dtype_text(t));
    return (transform){x, x->g, t == TN_F64 ? TN_F64 : TN_F32, inverse ? 1 : -1};
}

/* Input k as one size. */
static tn_dim size_input(tn_oi *x, size_t k, const char *what) {
    const tn_oi_sym *s = tn_oi_need_dims(x, k, what);
    if (s && s->n != 1) tn_oi_fail(x, TN_E_FORMAT, "", "%s has %u elements", what, s->n);
    return s && s->n == 1 ? s->d[0] : (tn_dim){0};
}

/* The axis is an attribute up to opset 19, then an input. */
static int64_t axis_of(tn_oi *x, size_t rank) {
    int64_t axis = x->opset < 20 ? tn_oi_int(x, "axis", 1) : -2;
    size_t n = 0;
    if (tn_oi_has(x, 2) && (!tn_oi_const_ints(x, 2, 1, &axis, &n) || n != 1)) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "make it a constant", "the axis depends on the data");
        return 0;
    }
    axis = tn_oi_axis(x, axis, rank);
    if (!tn_oi_failed(x) && axis == (int64_t)rank - 1)
        tn_oi_fail(x, TN_E_FORMAT, "", "the axis is that of the real and the imaginary parts");
    return axis;
}

void tn_oi_op_dft(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0);
    const size_t rank = tn_val_rank(g, v);
    const bool inverse = tn_oi_int(x, "inverse", 0), onesided = tn_oi_int(x, "onesided", 0);
    if (!tn_oi_failed(x) && rank < 2) tn_oi_fail(x, TN_E_TYPE, "", "a signal of rank %zu", rank);
    if (tn_oi_failed(x)) return;
    const int64_t axis = axis_of(x, rank);
    const transform f = transform_of(x, v, inverse);
    if (tn_oi_failed(x)) return;
    tn_dim n = tn_val_dim(g, v, (size_t)axis);
    if (inverse && onesided) n = tn_dim_mul(g, tn_dim_sub(g, n, tn_dim_const(g, 1)), tn_dim_const(g, 2));
    if (tn_oi_has(x, 1)) n = size_input(x, 1, "the length");
    if (tn_oi_failed(x)) return;
    const tn_dtype t = tn_val_dtype(g, v);
    v = tn_build_swap_axes(g, tn_build_cast_to(g, v, f.t), axis, -2);
    v = tn_build_swap_axes(g, transformed(&f, v, n, onesided), axis, -2);
    tn_oi_out(x, 0, tn_build_cast_to(g, v, t));
}

/* Frames of a signal, [B, L, c], that start every `step` elements: [B, frames, length, c]. */
static tn_val frames_of(tn_oi *x, tn_val v, tn_dim step, tn_dim length) {
    tn_graph *g = x->g;
    const tn_dim one = tn_dim_const(g, 1);
    tn_dim count = tn_dim_add(g, tn_dim_floordiv(g, tn_dim_sub(g, tn_val_dim(g, v, 1), length), step), one);
    if (x->runs.i) count = tn_dim_max(g, count, tn_dim_const(g, 0)); /* a size even where it is not taken */
    const tn_dim dims[] = {count, length};
    tn_oi_fits(x, TN_REL_AT_LEAST, v, 1, "the signal", length, "the frame's length");
    if (tn_oi_failed(x)) return v;
    tn_val at = tn_build_mul(g, tn_build_iota(g, TN_I64, 2, dims, 0), tn_oi_size_value(x, step));
    at = tn_build_add(g, at, tn_build_iota(g, TN_I64, 2, dims, 1));
    return tn_build_gather(g, v, at, (tn_attrs_axis){.axis = 1});
}

void tn_oi_op_stft(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0);
    const tn_dim step = size_input(x, 1, "the frame step");
    if (!tn_oi_failed(x) && tn_val_rank(g, v) == 2) v = tn_build_unsqueeze(g, v, 2);
    if (!tn_oi_failed(x) && tn_val_rank(g, v) != 3)
        tn_oi_fail(x, TN_E_TYPE, "", "a signal of rank %zu", tn_val_rank(g, v));
    const transform f = transform_of(x, v, false);
    const tn_val window = tn_oi_in(x, 2);
    if (tn_oi_failed(x)) return;
    tn_dim length = window.i && tn_val_rank(g, window) == 1 ? tn_val_dim(g, window, 0) : tn_val_dim(g, v, 1);
    if (tn_oi_has(x, 3)) length = size_input(x, 3, "the frame's length");
    int64_t least = 0, most = 0;
    if (!tn_oi_failed(x)) tn_dim_bounds(g, step, &least, &most);
    if (most < 1) tn_oi_fail(x, TN_E_FORMAT, "", "the frame step is %lld", (long long)most);
    if (tn_oi_failed(x)) return;
    tn_oi_needs(x, TN_REL_AT_LEAST, step, "the frame step", tn_dim_const(g, 1), "");
    const tn_dtype t = tn_val_dtype(g, v);
    v = frames_of(x, tn_build_cast_to(g, v, f.t), step, length);
    if (window.i) {
        const tn_dim dims[] = {length, tn_dim_const(g, 1)};
        v = tn_build_mul(g, v, tn_build_reshape_to(g, tn_build_cast_to(g, window, f.t), 2, dims));
    }
    v = transformed(&f, v, length, tn_oi_int(x, "onesided", 1));
    tn_oi_out(x, 0, tn_build_cast_to(g, v, t));
}

/* ---- mel weights ------------------------------------------------------------------------------------------------- */

static double hertz_to_mel(double hertz) {
    return 2595 * log10(1 + hertz / 700);
}

/* Triangles over the bins of a spectrum whose corners are equally far apart on the mel scale. */
static void fill_triangles(double *w, int64_t bins, int64_t spectrum, double length, double rate, double low,
                           double high) {
    const double from = hertz_to_mel(low), step = (hertz_to_mel(high) - from) / (double)(bins + 2);
    for (int64_t i = 0; i < bins; i++) {
        int64_t at[3];
        for (int k = 0; k < 3; k++) {
            const double hertz = 700 * (pow(10, (from + (double)(i + k) * step) / 2595) - 1),
                         bin = floor((length + 1) * hertz / rate);
            at[k] = bin > -1 && bin < (double)spectrum ? (int64_t)bin : bin < 0 ? 0 : spectrum - 1;
        }
        for (int64_t j = at[0]; j <= at[1]; j++)
            w[j * bins + i] = at[1] > at[0] ? (double)(j - at[0]) / (double)(at[1] - at[0]) : 1;
        for (int64_t j = at[1]; j < at[2]; j++) w[j * bins + i] = (double)(at[2] - j) / (double)(at[2] - at[1]);
    }
}

void tn_oi_op_mel_weight_matrix(tn_oi *x) {
    static const char *const names[] = {"the number of bins", "the length", "the sample rate", "the lower edge",
                                        "the upper edge"};
    double in[5];
    const int64_t to = tn_oi_int(x, "output_datatype", TN_ONNX_FLOAT);
    const tn_dtype t = to > 0 && to < 1000 ? tn_onnx_dtype((int32_t)to) : TN_DTYPE_NONE;
    for (size_t k = 0; k < 5; k++)
        if (!tn_oi_need_num(x, k, names[k], &in[k])) return;
    const transform f = {.x = x, .g = x->g, .t = TN_F64};
    const int64_t bins = in[0] >= 0 && in[0] < 1 << 16 ? (int64_t)in[0] : -1,
                  spectrum = in[1] >= 0 && in[1] < 1 << 20 ? (int64_t)in[1] / 2 + 1 : -1;
    if (bins < 1 || spectrum < 1 || !(in[2] > 0) || !(in[3] >= 0) || !(in[4] >= 0) || !t) {
        tn_oi_fail(x, t ? TN_E_FORMAT : TN_E_UNSUPPORTED, "", "%g bins of a spectrum of %g, rate %g, from %g to %g",
                   in[0], in[1], in[2], in[3], in[4]);
        return;
    }
    if (bins * spectrum > 1 << 26) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "a table of %lld numbers", (long long)(bins * spectrum));
        return;
    }
    double *w = table(&f, bins * spectrum);
    if (!w) return;
    fill_triangles(w, bins, spectrum, in[1], in[2], in[3], in[4]);
    tn_oi_out(x, 0, tn_build_cast_to(x->g, constant(&f, 2, (const int64_t[]){spectrum, bins}, w), t));
}
