/* spectral.c: DFT, STFT and MelWeightMatrix.
 *
 * A transform is a `dft` node (ir/type/dft.c); what a kernel cannot do of it is written down by ir/graph/expand_dft.c.  Here signals are cut,
 * filled up, and for STFT, framed.  Complex numbers are a last axis of size 2. */
#include "frontend/onnx/import.h"

#include <math.h>
#include <string.h>

/* Transforms of one node and the type in which they are computed. */
typedef struct transform {
    tn_oi *x;
    tn_graph *g;
    tn_dtype t;
    bool inverse;
} transform;

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

/* The transform along the axis before the last of v, [..., n or fewer or more, c]. */
static tn_val transformed(const transform *f, tn_val v, tn_dim n, bool onesided) {
    tn_graph *g = f->g;
    const size_t rank = tn_val_rank(g, v);
    const bool to_real = onesided && f->inverse;
    int64_t c = 0, length = 1;
    if (tn_oi_failed(f->x)) return v;
    if (!tn_dim_is_const(g, tn_val_dim(g, v, rank - 1), &c) || c < 1 || c > 2)
        tn_oi_fail(f->x, TN_E_TYPE, "", "the last axis is not 1 (real) or 2 (complex)");
    else if (to_real && c == 1)
        tn_oi_fail(f->x, TN_E_TYPE, "", "a onesided inverse of a real signal");
    else if (onesided && !to_real && c == 2)
        tn_oi_fail(f->x, TN_E_TYPE, "set onesided to 0", "a onesided transform of a complex signal");
    else if (tn_dim_is_const(g, n, &length) && (length < 1 || length > TN_DFT_LONGEST))
        tn_oi_fail(f->x, TN_E_UNSUPPORTED, "", "a transform of length %lld; from 1 to %d can be", (long long)length,
                   TN_DFT_LONGEST);
    if (tn_oi_failed(f->x)) return v;
    const tn_dim have = to_real ? tn_dft_half(g, n) : n;
    const tn_attrs_dft a = {.inverse = f->inverse, .onesided = onesided, .length = to_real ? n : (tn_dim){0}};
    return tn_build_dft(g, resized(f, v, rank - 2, have), a);
}

static transform transform_of(tn_oi *x, tn_val v, bool inverse) {
    const tn_dtype t = tn_val_dtype(x->g, v);
    if (!tn_oi_failed(x) && !tn_dtype_is_float(t)) tn_oi_fail(x, TN_E_TYPE, "", "a signal of %s", tn_dtype_text(t));
    return (transform){x, x->g, t == TN_F64 ? TN_F64 : TN_F32, inverse};
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
    v = tn_build_cast_to(g, transformed(&f, v, n, onesided), t);
    tn_oi_out(x, 0, tn_build_swap_axes(g, v, axis, -2));
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
    double *w = tn_oi_alloc(x, (size_t)(bins * spectrum) * sizeof *w);
    if (!w) return;
    fill_triangles(w, bins, spectrum, in[1], in[2], in[3], in[4]);
    tn_oi_out(x, 0,
              tn_build_cast_to(x->g, tn_build_const(x->g, NULL, TN_F64, 2, (const int64_t[]){spectrum, bins}, w), t));
}
