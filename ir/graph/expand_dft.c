/* expand_dft.c: what Fourier transforms are where no kernel does all of one.
 *
 * A known length n is one product with a constant table where n is small; else n = a * b in two passes (Cooley and Tukey: a in
 * columns, twiddle factors, b in rows), where its primes are small; else a convolution with a chirp (Bluestein) in transforms of a power
 * of two.  Passes are `dft` nodes again.  A length that only a run knows is one product with a table that the device computes,
 * O(n^2). */
#include <math.h>

#include "ir/graph/fft.h"
#include "ir/internal.h"

enum { DIRECT = 64 };

#define TAU 6.283185307179586476925286766559

typedef struct transform {
    tn_graph *g;
    tn_dtype t; /* f32 or f64 */
    bool inverse;
    int sign; /* of the exponent */
} transform;

/* ---- vocabulary -------------------------------------------------------------------------------------------------- */

static tn_dim size(const transform *f, int64_t n) {
    return tn_dim_const(f->g, n);
}

/* v itself if nothing changes */
static tn_val reshape(const transform *f, tn_val v, size_t rank, const tn_dim *dims) {
    bool same = tn_val_rank(f->g, v) == rank;
    for (size_t k = 0; same && k < rank; k++) same = tn_val_dim(f->g, v, k).i == dims[k].i;
    if (same) return v;
    return tn_emit1(f->g, TN_OP_RESHAPE, &(tn_attrs_shape){.dims = {dims, (uint32_t)rank}}, 1, &v);
}

static tn_val matmul(const transform *f, tn_val a, tn_val b) {
    return tn_emit1(f->g, TN_OP_MATMUL, NULL, 2, (const tn_val[]){a, b});
}

static tn_val concat(const transform *f, tn_val a, tn_val b, int64_t axis) {
    return tn_emit1(f->g, TN_OP_CONCAT, &(tn_attrs_axis){.axis = axis}, 2, (const tn_val[]){a, b});
}

/* `n` elements of an axis of [R, n, c] from `from` on, forwards (1) or backwards (-1). */
static tn_val slice(const transform *f, tn_val v, size_t axis, tn_dim from, tn_dim n, int64_t step) {
    tn_dim starts[TN_MAX_RANK], sizes[TN_MAX_RANK];
    int64_t steps[TN_MAX_RANK];
    const uint32_t rank = (uint32_t)tn_val_rank(f->g, v);
    for (uint32_t k = 0; k < rank; k++) {
        starts[k] = k == axis ? from : size(f, 0);
        sizes[k] = k == axis ? n : tn_val_dim(f->g, v, k);
        steps[k] = k == axis ? step : 1;
    }
    const tn_attrs_slice a = {.starts = {starts, rank}, .sizes = {sizes, rank}, .steps = {steps, rank}};
    return tn_emit1(f->g, TN_OP_SLICE, &a, 1, &v);
}

/* A constant whose elements *data the caller writes with tn_store_num. */
static tn_val table(const transform *f, size_t rank, const int64_t *dims, void **data) {
    uint64_t n = 1;
    for (size_t k = 0; k < rank; k++) n *= (uint64_t)dims[k];
    *data = NULL;
    const tn_blob b = tn_blob_new(f->g, tn_dtype_bytes(f->t, n), data);
    return *data ? tn_const(f->g, tn_type_const(f->g, f->t, rank, dims), b, NULL) : (tn_val){0};
}

/* Complex factors of [..., n, c]: real parts [n, 1]; imaginary ones [n, 2], of which the first has the other sign. */
typedef struct factors {
    tn_val re, im;
    void *at_re, *at_im;
} factors;

static factors factors_new(const transform *f, size_t rank, const int64_t *dims) {
    factors w = {0};
    int64_t own[3] = {0};
    for (size_t k = 0; k < rank; k++) own[k] = dims[k];
    own[rank] = 1;
    w.re = table(f, rank + 1, own, &w.at_re);
    own[rank] = 2;
    w.im = table(f, rank + 1, own, &w.at_im);
    return w;
}

static bool factors_ok(const factors *w) {
    return w->re.i && w->im.i;
}

static void factors_put(const transform *f, const factors *w, int64_t k, tn_complex v) {
    tn_store_num(f->t, w->at_re, (uint64_t)k, v.re);
    tn_store_num(f->t, w->at_im, (uint64_t)k * 2, -v.im);
    tn_store_num(f->t, w->at_im, (uint64_t)k * 2 + 1, v.im);
}

static tn_val times(const transform *f, tn_val v, const factors *w) {
    const tn_val other = slice(f, v, tn_val_rank(f->g, v) - 1, size(f, 1), size(f, 2), -1);
    return tn_binary(f->g, TN_OP_ADD, tn_binary(f->g, TN_OP_MUL, v, w->re), tn_binary(f->g, TN_OP_MUL, other, w->im));
}

static tn_val pass(const transform *f, tn_val v, bool inverse) {
    return tn_emit1(f->g, TN_OP_DFT, &(tn_attrs_dft){.inverse = inverse}, 1, &v);
}

/* ---- known lengths ----------------------------------------------------------------------------------------------- */

/* [R, n, c] to [R, m, 2], the first m frequencies, by a table of n * c by m * 2. */
static tn_val direct(const transform *f, tn_val v, int64_t n, int64_t c, int64_t m) {
    void *data;
    const tn_dim rows = tn_val_dim(f->g, v, 0);
    const tn_val w = table(f, 2, (const int64_t[]){n * c, m * 2}, &data);
    const double by = f->inverse ? 1 / (double)n : 1;
    if (!w.i) return w;
    for (int64_t j = 0; j < n; j++)
        for (int64_t k = 0; k < m; k++) {
            const tn_complex r = tn_root(j * k, n, f->sign);
            const uint64_t at = (uint64_t)((j * c * m + k) * 2);
            tn_store_num(f->t, data, at, r.re * by);
            tn_store_num(f->t, data, at + 1, r.im * by);
            if (c == 1) continue;
            tn_store_num(f->t, data, at + (uint64_t)m * 2, -r.im * by);
            tn_store_num(f->t, data, at + (uint64_t)m * 2 + 1, r.re * by);
        }
    v = matmul(f, reshape(f, v, 2, (const tn_dim[]){rows, size(f, n * c)}), w);
    return reshape(f, v, 3, (const tn_dim[]){rows, size(f, m), size(f, 2)});
}

static tn_val first(const transform *f, tn_val v, int64_t n, int64_t m) {
    return m == n ? v : slice(f, v, 1, size(f, 0), size(f, m), 1);
}

/* [R, a, b, c] as [R, b, a, c] */
static tn_val swap(const transform *f, tn_val v) {
    return tn_emit1(f->g, TN_OP_TRANSPOSE, &(tn_attrs_perm){.perm = {(const int64_t[]){0, 2, 1, 3}, 4}}, 1, &v);
}

/* Element ja * b + jb, frequency ka + kb * a. */
static tn_val two_passes(const transform *f, tn_val v, int64_t n, int64_t c, int64_t m) {
    const tn_dim rows = tn_val_dim(f->g, v, 0);
    int64_t a = (int64_t)sqrt((double)n);
    while (n % a != 0) a--;
    const int64_t b = n / a;
    const factors w = factors_new(f, 2, (const int64_t[]){b, a});
    if (!factors_ok(&w)) return (tn_val){0};
    for (int64_t k = 0; k < n; k++) factors_put(f, &w, k, tn_root(k / a * (k % a), n, f->sign));
    v = swap(f, reshape(f, v, 4, (const tn_dim[]){rows, size(f, a), size(f, b), size(f, c)}));
    v = swap(f, times(f, pass(f, v, f->inverse), &w));
    v = swap(f, pass(f, v, f->inverse));
    return first(f, reshape(f, v, 3, (const tn_dim[]){rows, size(f, n), size(f, 2)}), n, m);
}

static tn_val chirped(const transform *f, tn_val v, int64_t n, int64_t m) {
    tn_graph *g = f->g;
    tn_fft *fft = tn_fft_chirped(g->env, n, f->sign);
    const factors chirp = factors_new(f, 1, &n), filter = factors_new(f, 1, fft ? &fft->wide : &n),
                  last = factors_new(f, 1, &m);
    if (!fft || !factors_ok(&chirp) || !factors_ok(&filter) || !factors_ok(&last)) {
        if (!fft) tn_graph_fail(g, TN_E_MEMORY, (tn_node){0}, "", "out of memory");
        tn_fft_free(fft);
        return (tn_val){0};
    }
    const double by = f->inverse ? 1 / (double)n : 1;
    const int64_t wide = fft->wide;
    for (int64_t k = 0; k < n; k++) {
        const tn_complex c = fft->chirp[k];
        factors_put(f, &chirp, k, c);
        if (k < m) factors_put(f, &last, k, (tn_complex){c.re * by, c.im * by});
    }
    for (int64_t k = 0; k < wide; k++) factors_put(f, &filter, k, fft->filter[k]);
    tn_fft_free(fft);
    const tn_dim zero = size(f, 0), before[] = {zero, zero, zero}, after[] = {zero, size(f, wide - n), zero};
    const tn_attrs_pad pad = {.before = {before, 3}, .after = {after, 3}, .mode = "constant"};
    v = times(f, v, &chirp);
    v = tn_emit1(g, TN_OP_PAD, &pad, 1, &v);
    v = pass(f, times(f, pass(f, v, false), &filter), true);
    return times(f, first(f, v, wide, m), &last);
}

static tn_val known(const transform *f, tn_val v, int64_t n, int64_t c, int64_t m) {
    if (n <= DIRECT) return direct(f, v, n, c, m);
    if (tn_dft_points(n, false)) return two_passes(f, v, n, c, m);
    if (c == 1) {
        const tn_dim dims[] = {tn_val_dim(f->g, v, 0), size(f, n), size(f, 1)};
        const tn_val zero = tn_const_num(f->g, f->t, 0);
        v = concat(f, v, tn_emit1(f->g, TN_OP_BROADCAST, &(tn_attrs_shape){.dims = {dims, 3}}, 1, &zero), 2);
    }
    return chirped(f, v, n, m);
}

/* ---- lengths that only a run knows ------------------------------------------------------------------------------- */

/* [1]: a size as a value of f's type, or i64. */
static tn_val size_value(const transform *f, tn_dim d, tn_dtype t) {
    const tn_val v = tn_size_value(f->g, d);
    return t == TN_I64 ? v : tn_emit1(f->g, TN_OP_CAST, &(tn_attrs_cast){.to = t}, 1, &v);
}

/* [n, m]: 2 pi jk / n */
static tn_val angles(const transform *f, tn_dim n, tn_dim m) {
    tn_graph *g = f->g;
    const tn_dim dims[] = {n, m};
    tn_val at[2];
    for (int64_t k = 0; k < 2; k++)
        at[k] = tn_emit1(g, TN_OP_IOTA, &(tn_attrs_iota){.dtype = TN_I64, .dims = {dims, 2}, .axis = k}, 0, NULL);
    const tn_val k = tn_binary(g, TN_OP_MOD, tn_binary(g, TN_OP_MUL, at[0], at[1]), size_value(f, n, TN_I64)),
                 t = tn_emit1(g, TN_OP_CAST, &(tn_attrs_cast){.to = f->t}, 1, &k);
    return tn_binary(g, TN_OP_MUL, tn_binary(g, TN_OP_DIV, t, size_value(f, n, f->t)), tn_const_num(g, f->t, TAU));
}

/* A part of v, [R, n, c], as its product with a table. */
static tn_val product(const transform *f, tn_val v, int64_t part, tn_val w) {
    const tn_dim dims[] = {tn_val_dim(f->g, v, 0), tn_val_dim(f->g, v, 1)};
    return matmul(f, reshape(f, slice(f, v, 2, size(f, part), size(f, 1), 1), 2, dims), w);
}

static tn_val unknown(const transform *f, tn_val v, tn_dim n, int64_t c, tn_dim m) {
    tn_graph *g = f->g;
    const tn_val angle = angles(f, n, m), re = tn_unary(g, TN_OP_COS, angle),
                 im = tn_binary(g, TN_OP_MUL, tn_unary(g, TN_OP_SIN, angle), tn_const_num(g, f->t, f->sign));
    tn_val y[] = {product(f, v, 0, re), product(f, v, 0, im)};
    if (c == 2) {
        y[0] = tn_binary(g, TN_OP_SUB, y[0], product(f, v, 1, im));
        y[1] = tn_binary(g, TN_OP_ADD, y[1], product(f, v, 1, re));
    }
    const tn_dim dims[] = {tn_val_dim(g, v, 0), m, size(f, 1)};
    for (size_t k = 0; k < 2; k++) {
        if (f->inverse) y[k] = tn_binary(g, TN_OP_DIV, y[k], size_value(f, n, f->t));
        y[k] = reshape(f, y[k], 3, dims);
    }
    return concat(f, y[0], y[1], 2);
}

/* ---- what a node asks for ---------------------------------------------------------------------------------------- */

/* The whole spectrum, [R, n, 2], that the first n / 2 + 1 frequencies of a real signal imply. */
static tn_val mirrored(const transform *f, tn_val v, tn_dim n) {
    tn_graph *g = f->g;
    const tn_dim rest = tn_dim_floordiv(g, tn_dim_sub(g, n, size(f, 1)), size(f, 2)); /* n/2 - 1, or (n - 1)/2 */
    void *data;
    const tn_val sign = table(f, 1, (const int64_t[]){2}, &data);
    if (!sign.i) return sign;
    tn_store_num(f->t, data, 0, 1);
    tn_store_num(f->t, data, 1, -1);
    return concat(f, v, tn_binary(g, TN_OP_MUL, slice(f, v, 1, rest, rest, -1), sign), 1);
}

tn_val tn_expand_dft(tn_graph *g, const tn_attrs_dft *a, tn_val x) {
    const transform f = {g, tn_val_dtype(g, x), a->inverse, a->inverse ? 1 : -1};
    const size_t rank = tn_val_rank(g, x);
    const bool to_real = a->inverse && a->onesided;
    tn_dim out[TN_MAX_RANK], n;
    int64_t c = 1, length, wanted;
    for (size_t k = 0; k < rank; k++) out[k] = tn_val_dim(g, x, k);
    tn_dim_is_const(g, out[rank - 1], &c);
    tn_val v = reshape(&f, x, 3, (const tn_dim[]){tn_val_extent(g, x, 0, rank - 2), out[rank - 2], out[rank - 1]});
    if (to_real) v = mirrored(&f, v, a->length);
    n = to_real ? a->length : out[rank - 2];
    out[rank - 2] = a->onesided && !to_real ? tn_dft_half(g, n) : n;
    out[rank - 1] = size(&f, to_real ? 1 : 2);
    if (tn_dim_is_const(g, n, &length) && length > 0 && tn_dim_is_const(g, out[rank - 2], &wanted))
        v = known(&f, v, length, c, wanted);
    else
        v = unknown(&f, v, n, c, out[rank - 2]);
    if (to_real) v = slice(&f, v, 2, size(&f, 0), size(&f, 1), 1);
    return reshape(&f, v, rank, out);
}
