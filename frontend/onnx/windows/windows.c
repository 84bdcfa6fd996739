/* windows.c: Col2Im, DeformConv, MaxUnpool and the indices of MaxPool: windows as gathers whose indices are arithmetic on
 * positions, so that any number of axes, any sizes and any GPU kernel that gathers will do. */
#include "frontend/onnx/windows/window.h"

#include <string.h>

enum { MAX_AXES = TN_MAX_RANK / 2 }; /* index arithmetic has two axes for each: the window's and the places' */

static bool few_axes(tn_oi *x, size_t n) {
    if (n >= 1 && n <= MAX_AXES) return true;
    tn_oi_fail(x, TN_E_UNSUPPORTED, "", "%zu spatial axes; from 1 to %d can be", n, MAX_AXES);
    return false;
}

static tn_dim size(const tn_oi *x, int64_t n) {
    return tn_dim_const(x->g, n);
}

static tn_dim product(const tn_oi *x, size_t n, const tn_dim *d) {
    tn_dim p = size(x, 1);
    for (size_t k = 0; k < n; k++) p = tn_dim_mul(x->g, p, d[k]);
    return p;
}

/* ---- index arithmetic -------------------------------------------------------------------------------------------- */

/* For axis k of n, the index in the window (which 0) or the place (which 1), as a tensor that broadcasts to [window axes,
 * place axes]. */
static tn_val along(tn_oi *x, size_t n, size_t k, int which, tn_dim extent) {
    tn_dim dims[TN_MAX_RANK];
    for (size_t i = 0; i < 2 * n; i++) dims[i] = size(x, 1);
    const size_t axis = k + (which ? n : 0);
    dims[axis] = extent;
    return tn_build_iota(x->g, TN_I64, 2 * n, dims, (int64_t)axis);
}

static tn_val scaled(tn_oi *x, tn_val v, int64_t by) {
    return by == 1 ? v : tn_build_scalar(x->g, TN_OP_MUL, v, (double)by);
}

static tn_val by_size(tn_oi *x, tn_val v, tn_dim by) {
    return tn_dim_equal_const(x->g, by, 1) ? v : tn_build_mul(x->g, v, tn_oi_size_value(x, by));
}

static tn_val plus(tn_oi *x, tn_val sum, tn_val v) {
    return sum.i ? tn_build_add(x->g, sum, v) : v;
}

static tn_val both(tn_oi *x, tn_val a, tn_val b) {
    return a.i ? tn_build_and(x->g, a, b) : b;
}

static tn_val within(tn_oi *x, tn_val v, tn_dim n) {
    const tn_val low = tn_build_scalar(x->g, TN_OP_GE, v, 0), high = tn_build_lt(x->g, v, tn_oi_size_value(x, n));
    return tn_build_and(x->g, low, high);
}

/* Element of the input that each position of each window sees, and whether there is one: [K, P] both. */
typedef struct taps {
    tn_val index, inside;
} taps;

static taps flattened(tn_oi *x, size_t n, const tn_dim *window, const tn_dim *places, tn_val index, tn_val inside) {
    tn_dim full[TN_MAX_RANK];
    memcpy(full, window, n * sizeof *full);
    memcpy(full + n, places, n * sizeof *full);
    const tn_dim flat[] = {product(x, n, window), product(x, n, places)};
    index = tn_build_broadcast_to(x->g, index, 2 * n, full);
    inside = tn_build_broadcast_to(x->g, inside, 2 * n, full);
    return (taps){tn_build_reshape_to(x->g, index, 2, flat), tn_build_reshape_to(x->g, inside, 2, flat)};
}

static void window_sizes(const tn_oi *x, const tn_oi_window *w, tn_dim *out) {
    for (size_t k = 0; k < w->n; k++) out[k] = size(x, w->kernel[k]);
}

/* ---- the indices of MaxPool -------------------------------------------------------------------------------------- */

/* Window position j of place p sees p * stride + j * dilation - pad. */
static taps pool_taps(tn_oi *x, const tn_oi_window *w, const tn_dim *in, const tn_dim *places, bool column_major) {
    tn_graph *g = x->g;
    tn_dim window[TN_OI_SPATIAL];
    tn_val index = {0}, inside = {0};
    window_sizes(x, w, window);
    for (size_t k = 0; k < w->n && !tn_oi_failed(x); k++) {
        tn_val at = plus(x, scaled(x, along(x, w->n, k, 0, window[k]), w->dilations[k]),
                         scaled(x, along(x, w->n, k, 1, places[k]), w->strides[k]));
        if (w->before[k].i)
            at = tn_build_sub(g, at, tn_oi_size_value(x, w->before[k]));
        else if (w->pads[k])
            at = tn_build_scalar(g, TN_OP_SUB, at, (double)w->pads[k]);
        inside = both(x, inside, within(x, at, in[k]));
        const tn_dim stride = column_major ? product(x, k, in) : product(x, w->n - 1 - k, in + k + 1);
        index = plus(x, index, by_size(x, at, stride));
    }
    return flattened(x, w->n, window, places, index, inside);
}

/* What is not equal to itself is the maximum where it is in the window. */
static tn_val is_maximum(tn_oi *x, tn_val v, tn_val y) {
    const tn_val equal = tn_build_eq(x->g, v, y);
    return tn_dtype_is_float(tn_val_dtype(x->g, v)) ? tn_build_or(x->g, equal, tn_build_is_nan(x->g, v)) : equal;
}

tn_val tn_oi_pool_indices(tn_oi *x, tn_val in, tn_val y, const tn_oi_window *w) {
    tn_graph *g = x->g;
    const size_t n = w->n;
    tn_dim dims[TN_MAX_RANK], places[TN_MAX_RANK];
    if (!few_axes(x, n)) return (tn_val){0};
    for (size_t k = 0; k < n + 2; k++) dims[k] = tn_val_dim(g, in, k), places[k] = tn_val_dim(g, y, k);
    const bool column_major = tn_oi_int(x, "storage_order", 0);
    const taps row = pool_taps(x, w, dims + 2, places + 2, false),
               told = column_major ? pool_taps(x, w, dims + 2, places + 2, true) : row;
    const tn_dim all = product(x, n, dims + 2), count = product(x, n, places + 2);
    const tn_dim planes[] = {dims[0], dims[1], all}, flat[] = {dims[0], dims[1], size(x, 1), count},
                 best[] = {dims[0], dims[1], count};
    /* the window's first element that is its maximum */
    tn_val v = tn_build_select(g, row.inside, row.index, tn_build_full(g, TN_I64, 0, NULL, 0));
    v = tn_build_gather(g, tn_build_reshape_to(g, in, 3, planes), v, (tn_attrs_axis){.axis = 2});
    v = tn_build_and(g, is_maximum(x, v, tn_build_reshape_to(g, y, 4, flat)), row.inside);
    v = tn_build_arg_max(g, tn_build_cast_to(g, v, TN_I32), (tn_attrs_arg){.axis = 2});
    /* which element of its plane that is, and of the whole */
    v = tn_build_add(g, by_size(x, v, count), tn_build_iota(g, TN_I64, 1, &count, 0));
    const tn_dim taps_count = product(x, 2, tn_type_dims(g, tn_val_type(g, told.index)));
    v = tn_build_gather(g, tn_build_reshape_to(g, told.index, 1, &taps_count), v, (tn_attrs_axis){.axis = 0});
    const tn_dim plane[] = {dims[0], dims[1], size(x, 1)};
    tn_val first =
        plus(x, by_size(x, tn_build_iota(g, TN_I64, 3, plane, 0), dims[1]), tn_build_iota(g, TN_I64, 3, plane, 1));
    v = tn_build_reshape_to(g, v, 3, best);
    return tn_build_reshape_to(g, tn_build_add(g, v, by_size(x, first, all)), n + 2, places);
}

/* ---- MaxUnpool --------------------------------------------------------------------------------------------------- */

/* Elements go where the indices say in a tensor of the size that the pool's input had at least; what output_shape asks for
 * beyond that is 0. */
void tn_oi_op_max_unpool(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0), at = tn_oi_need(x, 1);
    tn_oi_window w = {0};
    const size_t rank = tn_val_rank(g, v);
    if (tn_oi_failed(x)) return;
    if (rank < 3 || !tn_oi_attr(x, "kernel_shape")) {
        tn_oi_fail(x, TN_E_FORMAT, "", "input of rank %zu%s", rank, rank < 3 ? "" : " and no kernel_shape");
        return;
    }
    w.in = v;
    w.n = rank - 2;
    if (!tn_oi_list(x, "kernel_shape", w.n, 1, 1, w.kernel) || !tn_oi_read_window(x, &w)) return;
    tn_dim dims[TN_MAX_RANK], count = tn_type_numel(g, tn_val_type(g, v));
    for (size_t k = 0; k < rank; k++) {
        tn_oi_fits(x, TN_REL_EQUAL, at, k, "the indices", tn_val_dim(g, v, k), "the input");
        dims[k] = tn_val_dim(g, v, k);
        if (k < 2) continue;
        const tn_dim span = tn_dim_mul(g, tn_dim_sub(g, dims[k], size(x, 1)), size(x, w.strides[k - 2]));
        dims[k] = tn_dim_add(g, span, size(x, w.kernel[k - 2] - w.pads[k - 2] - w.pads[w.n + k - 2]));
    }
    const tn_oi_sym *s = tn_oi_has(x, 2) ? tn_oi_need_dims(x, 2, "the output's shape") : NULL;
    if (s && s->n != rank) tn_oi_fail(x, TN_E_FORMAT, "", "an output_shape of %u numbers; %zu are wanted", s->n, rank);
    if (tn_oi_failed(x)) return;
    const tn_dim all = product(x, rank, dims);
    tn_val y = tn_build_full(g, tn_val_dtype(g, v), 1, &all, 0);
    y = tn_build_scatter_elements(g, y, tn_build_reshape_to(g, at, 1, &count), tn_build_reshape_to(g, v, 1, &count),
                                  (tn_attrs_scatter){0});
    y = tn_build_reshape_to(g, y, rank, dims);
    if (s) {
        tn_dim before[TN_MAX_RANK], after[TN_MAX_RANK];
        for (size_t k = 0; k < rank; k++) before[k] = size(x, 0), after[k] = tn_dim_sub(g, s->d[k], dims[k]);
        const tn_attrs_pad a = {{before, (uint32_t)rank}, {after, (uint32_t)rank}, "constant", 0};
        y = tn_build_pad(g, y, a);
    }
    tn_oi_out(x, 0, y);
}

/* ---- Col2Im ------------------------------------------------------------------------------------------------------ */

/* Image element s is in the window at place p, position j, where s + pad - j * dilation = p * stride. */
static taps image_taps(tn_oi *x, const tn_oi_window *w, const tn_dim *image, const tn_dim *places) {
    tn_graph *g = x->g;
    tn_dim window[TN_OI_SPATIAL];
    tn_val index = {0}, inside = {0};
    window_sizes(x, w, window);
    const tn_dim all = product(x, w->n, places);
    for (size_t k = 0; k < w->n && !tn_oi_failed(x); k++) {
        const tn_val j = along(x, w->n, k, 0, window[k]), s = along(x, w->n, k, 1, image[k]);
        tn_val p = tn_build_sub(g, s, scaled(x, j, w->dilations[k]));
        if (w->pads[k]) p = tn_build_scalar(g, TN_OP_ADD, p, (double)w->pads[k]);
        inside = both(x, inside, within(x, p, tn_dim_mul(g, places[k], size(x, w->strides[k]))));
        if (w->strides[k] > 1) {
            const tn_val rest = tn_build_scalar(g, TN_OP_MOD, p, (double)w->strides[k]);
            inside = both(x, inside, tn_build_scalar(g, TN_OP_EQ, rest, 0));
            p = tn_build_scalar(g, TN_OP_DIV, p, (double)w->strides[k]);
        }
        index = plus(x, index, by_size(x, j, tn_dim_mul(g, product(x, w->n - 1 - k, window + k + 1), all)));
        index = plus(x, index, by_size(x, p, product(x, w->n - 1 - k, places + k + 1)));
    }
    return flattened(x, w->n, window, image, index, inside);
}

void tn_oi_op_col2im(tn_oi *x) {
    tn_graph *g = x->g;
    const tn_val v = tn_oi_need(x, 0);
    const tn_oi_sym *image = tn_oi_need_dims(x, 1, "the image's shape");
    tn_oi_window w = {0};
    if (!image || !few_axes(x, image->n)) return;
    if (!tn_oi_const_ints(x, 2, TN_OI_SPATIAL, w.kernel, &w.n) || w.n != image->n || tn_val_rank(g, v) != 3) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "make the block's shape a constant",
                   "an input of rank %zu, an image of %u axes, and a block's shape that is no constant of as many",
                   tn_val_rank(g, v), image->n);
        return;
    }
    if (!tn_oi_read_window(x, &w)) return;
    tn_dim places[TN_MAX_RANK], out[TN_MAX_RANK], block = size(x, 1);
    for (size_t k = 0; k < w.n; k++) {
        if (w.kernel[k] < 1 || w.kernel[k] > TN_OI_MAX_ATTR) {
            tn_oi_fail(x, TN_E_FORMAT, "", "the block's size is %lld", (long long)w.kernel[k]);
            return;
        }
        const int64_t extent = (w.kernel[k] - 1) * w.dilations[k] + 1;
        const tn_dim room = tn_dim_add(g, image->d[k], size(x, w.pads[k] + w.pads[w.n + k] - extent));
        places[k] = tn_dim_add(g, tn_dim_floordiv(g, room, size(x, w.strides[k])), size(x, 1));
        block = tn_dim_mul(g, block, size(x, w.kernel[k]));
        out[2 + k] = image->d[k];
    }
    out[0] = tn_val_dim(g, v, 0);
    out[1] = tn_dim_floordiv(g, tn_val_dim(g, v, 1), block);
    const tn_dim all = product(x, w.n, places), columns[] = {out[0], out[1], tn_dim_mul(g, block, all)};
    tn_oi_fits(x, TN_REL_EQUAL, v, 2, "the input", all, "the number of blocks in the image");
    tn_oi_fits(x, TN_REL_EQUAL, v, 1, "the input", tn_dim_mul(g, out[1], block), "a multiple of the block's size");
    if (tn_oi_failed(x)) return;
    const taps t = image_taps(x, &w, image->d, places);
    const tn_val none = tn_build_full(g, tn_val_dtype(g, v), 0, NULL, 0), zero = tn_build_full(g, TN_I64, 0, NULL, 0);
    tn_val y = tn_build_select(g, t.inside, t.index, zero);
    y = tn_build_gather(g, tn_build_reshape_to(g, v, 3, columns), y, (tn_attrs_axis){.axis = 2});
    y = tn_build_select(g, t.inside, y, none);
    y = tn_build_reduce(g, TN_OP_REDUCE_SUM, y, 1, (const int64_t[]){2}, false);
    tn_oi_out(x, 0, tn_build_reshape_to(g, y, w.n + 2, out));
}

/* ---- DeformConv -------------------------------------------------------------------------------------------------- */

typedef struct deformed {
    tn_oi_window w;
    tn_val v, weight, offset, mask;
    int64_t groups, offset_groups;
    tn_dim in[TN_MAX_RANK], out[TN_MAX_RANK]; /* dims of the input and of the result */
    tn_dim taps, places;                      /* products of the kernel's and of the result's spatial sizes */
} deformed;

/* Where the taps are without offsets: [1, K, places, n], the innermost axis first as grid_sample wants it. */
static tn_val regular_grid(tn_oi *x, const deformed *d, tn_dtype t) {
    tn_graph *g = x->g;
    const size_t n = d->w.n;
    tn_dim window[TN_OI_SPATIAL], full[TN_MAX_RANK], flat[] = {size(x, 1), d->taps, d->places, size(x, 1)};
    tn_val axes[TN_OI_SPATIAL];
    window_sizes(x, &d->w, window);
    for (size_t k = 0; k < n; k++) full[k] = window[k], full[n + k] = d->out[2 + k];
    for (size_t k = 0; k < n && !tn_oi_failed(x); k++) {
        tn_val at = plus(x, scaled(x, along(x, n, k, 0, window[k]), d->w.dilations[k]),
                         scaled(x, along(x, n, k, 1, d->out[2 + k]), d->w.strides[k]));
        if (d->w.pads[k]) at = tn_build_scalar(g, TN_OP_SUB, at, (double)d->w.pads[k]);
        at = tn_build_broadcast_to(g, tn_build_cast_to(g, at, t), 2 * n, full);
        axes[n - 1 - k] = tn_build_reshape_to(g, at, 4, flat);
    }
    return tn_oi_failed(x) ? (tn_val){0} : tn_build_concat(g, n, axes, -1);
}

/* Offsets [N, groups * K * n, places] as [N * groups, K, places, n], the innermost axis first. */
static tn_val offsets(tn_oi *x, const deformed *d, tn_dtype t) {
    tn_graph *g = x->g;
    const tn_dim n = size(x, (int64_t)d->w.n), all = tn_dim_mul(g, d->in[0], size(x, d->offset_groups)),
                 dims[] = {all, d->taps, n, d->places},
                 starts[] = {size(x, 0), size(x, 0), size(x, 0), tn_dim_sub(g, n, size(x, 1))},
                 sizes[] = {all, d->taps, d->places, n};
    tn_val v = tn_build_cast_to(g, tn_build_reshape_to(g, d->offset, 4, dims), t);
    v = tn_build_permute(g, v, 4, (const int64_t[]){0, 1, 3, 2});
    return tn_build_slice(g, v, (tn_attrs_slice){{starts, 4}, {sizes, 4}, {(const int64_t[]){1, 1, 1, -1}, 4}});
}

/* What each tap of each place sees: [N, C, K, places]. */
static tn_val columns(tn_oi *x, const deformed *d) {
    tn_graph *g = x->g;
    const size_t n = d->w.n;
    const tn_dtype t = tn_val_dtype(g, d->v) == TN_F64 ? TN_F64 : TN_F32;
    const tn_dim groups = size(x, d->offset_groups), all = tn_dim_mul(g, d->in[0], groups),
                 share = tn_dim_floordiv(g, d->in[1], groups);
    tn_dim image[TN_MAX_RANK], grid[TN_MAX_RANK], one = size(x, 1);
    tn_val at = tn_build_add(g, offsets(x, d, t), regular_grid(x, d, t));
    image[0] = grid[0] = all;
    image[1] = share;
    for (size_t k = 0; k < n; k++) image[2 + k] = d->in[2 + k], grid[1 + k] = one;
    grid[n] = tn_dim_mul(g, d->taps, d->places); /* as many axes as the image has */
    grid[n + 1] = size(x, (int64_t)n);
    tn_val v =
        tn_build_grid_sample(g, tn_build_reshape_to(g, d->v, n + 2, image), tn_build_reshape_to(g, at, n + 2, grid),
                             (tn_attrs_grid_sample){.mode = "linear", .padding = "zeros", .elements = true});
    if (d->mask.i) {
        const tn_dim split[] = {all, share, d->taps, d->places}, mask[] = {all, one, d->taps, d->places};
        v = tn_build_mul(g, tn_build_reshape_to(g, v, 4, split), tn_build_reshape_to(g, d->mask, 4, mask));
    }
    return v;
}

static bool read_deformed(tn_oi *x, deformed *d) {
    tn_graph *g = x->g;
    *d = (deformed){.v = tn_oi_need(x, 0),
                    .weight = tn_oi_need(x, 1),
                    .offset = tn_oi_need(x, 2),
                    .mask = tn_oi_in(x, 4),
                    .groups = tn_oi_int(x, "group", 1),
                    .offset_groups = tn_oi_int(x, "offset_group", 1)};
    const size_t rank = tn_val_rank(g, d->v);
    if (tn_oi_failed(x)) return false;
    if (rank < 3 || tn_val_rank(g, d->weight) != rank || tn_val_rank(g, d->offset) != rank ||
        (d->mask.i && tn_val_rank(g, d->mask) != rank)) {
        tn_oi_fail(x, TN_E_TYPE, "",
                   "the input, the weight, the offset and the mask are not of one rank of at least 3");
        return false;
    }
    d->w.in = d->v;
    d->w.n = rank - 2;
    if (!few_axes(x, d->w.n)) return false;
    d->taps = d->places = size(x, 1);
    for (size_t k = 0; k < rank; k++) d->in[k] = tn_val_dim(g, d->v, k), d->out[k] = tn_val_dim(g, d->offset, k);
    d->out[1] = tn_val_dim(g, d->weight, 0);
    for (size_t k = 0; k < d->w.n; k++) {
        if (!tn_dim_is_const(g, tn_val_dim(g, d->weight, 2 + k), &d->w.kernel[k]) || d->w.kernel[k] > TN_OI_MAX_ATTR) {
            tn_oi_fail(x, TN_E_UNSUPPORTED, "", "the kernel's size is not known");
            return false;
        }
        d->taps = tn_dim_mul(g, d->taps, size(x, d->w.kernel[k]));
        d->places = tn_dim_mul(g, d->places, d->out[2 + k]);
    }
    if (d->groups < 1 || d->groups > TN_OI_MAX_ATTR || d->offset_groups < 1 || d->offset_groups > TN_OI_MAX_ATTR) {
        tn_oi_fail(x, TN_E_FORMAT, "", "%lld groups, and %lld of offsets", (long long)d->groups,
                   (long long)d->offset_groups);
        return false;
    }
    return tn_oi_read_window(x, &d->w);
}

static void check_deformed(tn_oi *x, const deformed *d) {
    tn_graph *g = x->g;
    const tn_dim taps = tn_dim_mul(g, d->taps, size(x, d->offset_groups));
    for (size_t k = 0; k < d->w.n; k++) {
        const int64_t extent = (d->w.kernel[k] - 1) * d->w.dilations[k] + 1;
        const tn_dim room = tn_dim_add(g, d->in[2 + k], size(x, d->w.pads[k] + d->w.pads[d->w.n + k] - extent)),
                     wide = tn_dim_add(g, tn_dim_floordiv(g, room, size(x, d->w.strides[k])), size(x, 1));
        tn_oi_fits(x, TN_REL_EQUAL, d->offset, 2 + k, "the offset", wide, "the places of the kernel");
        if (d->mask.i) tn_oi_fits(x, TN_REL_EQUAL, d->mask, 2 + k, "the mask", d->out[2 + k], "the offset");
    }
    tn_oi_fits(x, TN_REL_EQUAL, d->offset, 0, "the offset", d->in[0], "the batch");
    tn_oi_fits(x, TN_REL_EQUAL, d->offset, 1, "the offset", tn_dim_mul(g, taps, size(x, (int64_t)d->w.n)),
               "a coordinate for each tap");
    if (d->mask.i) tn_oi_fits(x, TN_REL_EQUAL, d->mask, 0, "the mask", d->in[0], "the batch");
    if (d->mask.i) tn_oi_fits(x, TN_REL_EQUAL, d->mask, 1, "the mask", taps, "one for each tap");
    const tn_dim share = tn_dim_mul(g, tn_val_dim(g, d->weight, 1), size(x, d->groups)),
                 even =
                     tn_dim_mul(g, tn_dim_floordiv(g, d->in[1], size(x, d->offset_groups)), size(x, d->offset_groups));
    tn_oi_fits(x, TN_REL_EQUAL, d->v, 1, "the input", share, "the channels of the weight");
    tn_oi_fits(x, TN_REL_EQUAL, d->v, 1, "the input", even, "a multiple of the offset groups");
    tn_oi_fits(x, TN_REL_EQUAL, d->weight, 0, "the weight",
               tn_dim_mul(g, tn_dim_floordiv(g, d->out[1], size(x, d->groups)), size(x, d->groups)),
               "a multiple of the groups");
}

/* The taps that each place sees, at fractional positions, times the weight: a product of matrices for each group. */
void tn_oi_op_deform_conv(tn_oi *x) {
    tn_graph *g = x->g;
    deformed d;
    if (!read_deformed(x, &d)) return;
    check_deformed(x, &d);
    if (tn_oi_failed(x)) return;
    const size_t rank = d.w.n + 2;
    const tn_dim groups = size(x, d.groups), one = size(x, 1),
                 depth = tn_dim_mul(g, tn_dim_floordiv(g, d.in[1], groups), d.taps),
                 wide = tn_dim_floordiv(g, d.out[1], groups);
    const tn_dim a[] = {one, groups, wide, depth}, b[] = {d.in[0], groups, depth, d.places};
    tn_val y = tn_build_matmul(g, tn_build_reshape_to(g, d.weight, 4, a), tn_build_reshape_to(g, columns(x, &d), 4, b),
                               (tn_attrs_matmul){0});
    y = tn_build_reshape_to(g, y, rank, d.out);
    if (tn_oi_has(x, 3)) {
        tn_dim bias[TN_MAX_RANK];
        for (size_t k = 0; k + 1 < rank; k++) bias[k] = k ? one : d.out[1];
        y = tn_build_add(g, y, tn_build_reshape_to(g, tn_oi_in(x, 3), rank - 1, bias));
    }
    tn_oi_out(x, 0, y);
}
