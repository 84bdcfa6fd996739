/* signal.c: generators of grids and windows: arithmetic on indices. */
#include "frontend/onnx/import.h"

#include <math.h>

/* The window's angle 2 pi n / N (N - 1 when symmetric) in float32, n = 0 .. size-1. */
static tn_val angles(tn_oi *x) {
    tn_graph *g = x->g;
    const tn_oi_sym *s = tn_oi_need_dims(x, 0, "the size");
    if (!s || s->n != 1) return (tn_val){0};
    int64_t n = 0, periodic = tn_oi_int(x, "periodic", 1);
    if (!tn_dim_is_const(g, s->d[0], &n) || n < 0 || n > 1 << 28) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "make the size a constant", "the window's size is not constant");
        return (tn_val){0};
    }
    tn_dim size = s->d[0];
    double period = periodic || n < 2 ? (double)n : (double)(n - 1);
    return tn_build_scalar(g, TN_OP_MUL, tn_build_iota(g, TN_F32, 1, &size, 0), 6.283185307179586 / fmax(period, 1));
}

/* a0 - a1 cos(t) + a2 cos(2 t) */
static void window(tn_oi *x, double a0, double a1, double a2) {
    tn_graph *g = x->g;
    int64_t to = tn_oi_int(x, "output_datatype", TN_ONNX_FLOAT);
    tn_dtype t = to > 0 && to < 1000 ? tn_onnx_dtype((int32_t)to) : TN_DTYPE_NONE;
    tn_val angle = angles(x);
    if (!angle.i) return;
    if (!t) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "a window of element type %lld", (long long)to);
        return;
    }
    tn_val v = tn_build_scalar(g, TN_OP_MUL, tn_build_cos(g, angle), -a1);
    v = tn_build_scalar(g, TN_OP_ADD, v, a0);
    if (a2 != 0) {
        tn_val twice = tn_build_cos(g, tn_build_scalar(g, TN_OP_MUL, angle, 2));
        v = tn_build_add(g, v, tn_build_scalar(g, TN_OP_MUL, twice, a2));
    }
    tn_oi_out(x, 0, tn_build_cast_to(g, v, t));
}

void tn_oi_op_hann_window(tn_oi *x) {
    window(x, 0.5, 0.5, 0);
}
void tn_oi_op_hamming_window(tn_oi *x) {
    window(x, 25.0 / 46, 21.0 / 46, 0);
}
void tn_oi_op_blackman_window(tn_oi *x) {
    window(x, 0.42, 0.5, 0.08);
}

/* Coordinates in [-1, 1] along `axis` of a grid of these dims, with an axis of size 1 at the end. */
static tn_val coordinates(tn_oi *x, size_t n, const tn_dim *dims, size_t axis, bool corners) {
    tn_graph *g = x->g;
    tn_dim full[4];
    int64_t size = 0;
    for (size_t k = 0; k < n; k++) full[k] = dims[k];
    full[n] = tn_dim_const(g, 1);
    if (!tn_dim_is_const(g, dims[axis], &size) || size < 1) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "make the size a constant", "the grid's size is not constant");
        return (tn_val){0};
    }
    double step = corners ? 2 / fmax((double)size - 1, 1) : 2 / (double)size, start = corners ? -1 : -1 + step / 2;
    tn_val v = tn_build_iota(g, TN_F32, n + 1, full, (int64_t)axis);
    return tn_build_scalar(g, TN_OP_ADD, tn_build_scalar(g, TN_OP_MUL, v, step), start);
}

/* theta [N, n, n + 1] times homogeneous coordinates (x, y, [z,] 1) of every grid point */
void tn_oi_op_affine_grid(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val theta = tn_oi_need(x, 0), part[4];
    const tn_oi_sym *s = tn_oi_need_dims(x, 1, "the size");
    if (!s || !theta.i) return;
    size_t n = s->n - 2;
    if ((s->n != 4 && s->n != 5) || tn_val_rank(g, theta) != 3) {
        tn_oi_fail(x, TN_E_FORMAT, "", "a size of %u numbers and theta of rank %zu", s->n, tn_val_rank(g, theta));
        return;
    }
    tn_oi_fits(x, TN_REL_EQUAL, theta, 0, "theta", s->d[0], "the batch of the size");
    const tn_dim *dims = s->d + 2;
    tn_dim full[4], points = tn_dim_const(g, 1), out[5] = {tn_val_dim(g, theta, 0)};
    for (size_t k = 0; k < n; k++) {
        part[k] = coordinates(x, n, dims, n - 1 - k, tn_oi_int(x, "align_corners", 0)); /* x runs along the last axis */
        points = tn_dim_mul(g, points, dims[k]);
        full[k] = out[1 + k] = dims[k];
    }
    full[n] = tn_dim_const(g, 1);
    part[n] = tn_build_full(g, TN_F32, n + 1, full, 1);
    out[n + 1] = tn_dim_const(g, (int64_t)n);
    tn_dim flat[] = {points, tn_dim_const(g, (int64_t)n + 1)};
    tn_val grid = tn_build_reshape_to(g, tn_build_concat(g, n + 1, part, (int64_t)n), 2, flat);
    grid = tn_build_cast_to(g, grid, tn_val_dtype(g, theta));
    tn_val v = tn_build_matmul(g, grid, theta, (tn_attrs_matmul){.trans_b = true});
    tn_oi_out(x, 0, tn_build_reshape_to(g, v, n + 2, out));
}
