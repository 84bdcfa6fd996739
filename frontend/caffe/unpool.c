/* unpool.c: SegNet's pair of layers: a pool that tells where its maxima were, and an upsampling that puts elements back
 * there.  Both have positions in a channel, as floats. */
#include "frontend/caffe/caffe.h"

#include <math.h>

/* Along axis k of [kernel h, kernel w, rows, columns]: what a window sees in direction `axis` (0: down, 1: across). */
static tn_val seen(tn_ci *x, const tn_attrs_pool *a, const tn_dim *dims, size_t axis) {
    tn_dim in[4], at[4];
    for (size_t k = 0; k < 4; k++) in[k] = at[k] = tn_dim_const(x->g, 1);
    in[axis] = dims[axis];
    at[axis + 2] = dims[axis + 2];
    const tn_val tap = tn_build_iota(x->g, TN_I64, 4, in, (int64_t)axis),
                 place = tn_build_iota(x->g, TN_I64, 4, at, (int64_t)axis + 2);
    const tn_val start = tn_build_scalar(
        x->g, TN_OP_SUB, tn_build_scalar(x->g, TN_OP_MUL, place, (double)a->strides.p[axis]), (double)a->pads.p[axis]);
    return tn_build_add(x->g, start, tap);
}

static tn_val within(tn_ci *x, tn_val v, int64_t size) {
    return tn_build_and(x->g, tn_build_scalar(x->g, TN_OP_GE, v, 0), tn_build_scalar(x->g, TN_OP_LT, v, (double)size));
}

/* Of each element of y, which is max_pool of v: the position of the first that is as large. */
tn_val tn_ci_maxima(tn_ci *x, tn_val v, tn_val y, const tn_attrs_pool *a) {
    tn_graph *g = x->g;
    const int64_t h = tn_ci_size(x, v, 2, "the bottom"), w = tn_ci_size(x, v, 3, "the bottom");
    if (tn_ci_failed(x)) return (tn_val){0};
    const tn_dim n = tn_val_dim(g, v, 0), c = tn_val_dim(g, v, 1),
                 taps = tn_dim_const(g, a->kernel.p[0] * a->kernel.p[1]);
    const tn_dim rows = tn_val_dim(g, y, 2), columns = tn_val_dim(g, y, 3), places = tn_dim_mul(g, rows, columns);
    const tn_dim all[] = {tn_dim_const(g, a->kernel.p[0]), tn_dim_const(g, a->kernel.p[1]), rows, columns};
    const tn_dim flat[] = {taps, places}, plane[] = {n, c, tn_dim_const(g, h * w)}, result[] = {n, c, rows, columns};
    const tn_val row = seen(x, a, all, 0), column = seen(x, a, all, 1);
    const tn_val is = tn_build_and(g, within(x, row, h), within(x, column, w));
    const tn_val where = tn_build_add(g, tn_build_scalar(g, TN_OP_MUL, row, (double)w), column);
    const tn_val inside = tn_build_reshape_to(g, tn_build_broadcast_to(g, is, 4, all), 2, flat);
    const tn_val at =
        tn_build_select(g, inside, tn_build_reshape_to(g, tn_build_broadcast_to(g, where, 4, all), 2, flat),
                        tn_const_num(g, TN_I64, 0));
    const tn_val windows = tn_build_gather(g, tn_build_reshape_to(g, v, 3, plane), at, (tn_attrs_axis){.axis = 2});
    const tn_val kept = tn_build_select(g, inside, windows, tn_const_num(g, TN_F32, -INFINITY));
    const tn_val tap = tn_build_arg_max(g, kept, (tn_attrs_arg){.axis = 2});
    const tn_dim wide[] = {n, c, taps, places};
    const tn_val found = tn_build_gather_elements(g, tn_build_broadcast_to(g, at, 4, wide),
                                                  tn_build_unsqueeze(g, tap, 2), (tn_attrs_axis){.axis = 2});
    return tn_build_cast_to(g, tn_build_reshape_to(g, found, 4, result), TN_F32);
}

/* Elements of v at positions in channels of h x w, and zeros. */
tn_val tn_ci_unpool(tn_ci *x, tn_val v, tn_val at, tn_dim h, tn_dim w) {
    tn_graph *g = x->g;
    tn_ci_same_shape(x, at, "the second bottom", v, "the first bottom");
    if (tn_ci_failed(x)) return (tn_val){0};
    const tn_dim n = tn_val_dim(g, v, 0), c = tn_val_dim(g, v, 1), few = tn_val_extent(g, v, 2, 4),
                 all = tn_dim_mul(g, h, w);
    const tn_dim from[] = {n, c, few}, to[] = {n, c, all}, result[] = {n, c, h, w};
    const tn_val index = tn_build_cast_to(g, tn_build_reshape_to(g, at, 3, from), TN_I64);
    const tn_val y = tn_build_scatter_elements(g, tn_build_full(g, TN_F32, 3, to, 0), index,
                                               tn_build_reshape_to(g, v, 3, from), (tn_attrs_scatter){.axis = 2});
    return tn_build_reshape_to(g, y, 4, result);
}
