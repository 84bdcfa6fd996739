/* sample.c: GridSample, RoiAlign, MaxRoiPool and NonMaxSuppression. */
#include "frontend/onnx/import.h"

#include <math.h>
#include <string.h>

/* Opset 20 renamed the modes: bilinear became linear, bicubic cubic. */
void tn_oi_op_grid_sample(tn_oi *x) {
    const char *mode = tn_oi_str(x, "mode", x->opset < 20 ? "bilinear" : "linear");
    if (!strncmp(mode, "bi", 2)) mode += 2;
    tn_val v = tn_oi_need(x, 0), grid = tn_oi_need(x, 1);
    tn_attrs_grid_sample a = {.mode = mode,
                              .padding = tn_oi_str(x, "padding_mode", "zeros"),
                              .align_corners = tn_oi_int(x, "align_corners", 0)};
    tn_oi_out(x, 0, tn_build_grid_sample(x->g, v, grid, a));
}

void tn_oi_op_roi_align(tn_oi *x) {
    const char *coords =
        x->opset < 16 ? "output_half_pixel" : tn_oi_str(x, "coordinate_transformation_mode", "half_pixel");
    if (strcmp(coords, "half_pixel") && strcmp(coords, "output_half_pixel")) {
        tn_oi_fail(x, TN_E_FORMAT, "", "coordinate_transformation_mode '%s'", coords);
        return;
    }
    tn_val v = tn_oi_need(x, 0), rois = tn_oi_need(x, 1), batch = tn_oi_need(x, 2);
    tn_attrs_roi_align a = {.height = tn_oi_int(x, "output_height", 1),
                            .width = tn_oi_int(x, "output_width", 1),
                            .sampling = tn_oi_int(x, "sampling_ratio", 0),
                            .scale = tn_oi_num(x, "spatial_scale", 1),
                            .mode = tn_oi_str(x, "mode", "avg"),
                            .half_pixel = !strcmp(coords, "half_pixel")};
    tn_oi_out(x, 0, tn_build_roi_align(x->g, v, rois, batch, a));
}

/* Input k as a scalar, or `otherwise`. */
static tn_val scalar(tn_oi *x, size_t k, tn_val otherwise) {
    return tn_oi_has(x, k) ? tn_build_reshape_to(x->g, tn_oi_in(x, k), 0, NULL) : otherwise;
}

/* Without a limit for a class nothing is kept. */
void tn_oi_op_nms(tn_oi *x) {
    tn_graph *g = x->g;
    const int64_t zero = 0;
    tn_val none = tn_build_reshape_to(g, tn_const_ints(g, TN_I64, 1, &zero), 0, NULL);
    tn_val boxes = tn_oi_need(x, 0), scores = tn_oi_need(x, 1), most = scalar(x, 2, none),
           iou = scalar(x, 3, tn_const_num(g, TN_F32, 0)), score = scalar(x, 4, (tn_val){0});
    tn_attrs_nms a = {.center = tn_oi_int(x, "center_point_box", 0), .count = tn_dim_fresh(g, "count")};
    tn_oi_out(x, 0, tn_build_nms(g, boxes, scores, most, iou, score, a));
}

/* The positions [from, to) of bin k of p along an axis of n elements, for a region of which input columns `first` and `last` say
 * where it begins and ends: [R, p, 1] both.  Arithmetic as Caffe's, in single precision. */
static void bins(tn_oi *x, tn_val rois, int64_t first, int64_t last, double scale, int64_t p, tn_dim n, tn_val *from,
                 tn_val *to) {
    tn_graph *g = x->g;
    const tn_dim one = tn_dim_const(g, 1), r = tn_val_dim(g, rois, 0), index[] = {one, tn_dim_const(g, p)};
    const tn_dim flat[] = {r, one}, dims[] = {r, index[1], one};
    tn_val edge[2];
    for (int k = 0; k < 2; k++) { /* rounded, halves away from 0 */
        const tn_val v = tn_build_slice_axis(g, rois, 1, tn_dim_const(g, k ? last : first), one);
        const tn_val at = tn_build_scalar(g, TN_OP_MUL, tn_build_reshape_to(g, v, 2, flat), scale);
        const tn_val much = tn_build_abs(g, at), whole = tn_build_floor(g, much);
        const tn_val up = tn_build_scalar(g, TN_OP_GE, tn_build_sub(g, much, whole), 0.5);
        const tn_val near =
            tn_build_add(g, whole, tn_build_cast_to(g, up, TN_F32)); /* much + 0.5 may round up itself */
        edge[k] = tn_build_mul(g, near, tn_build_sign(g, at));
    }
    tn_val size = tn_build_scalar(g, TN_OP_ADD, tn_build_sub(g, edge[1], edge[0]), 1);
    size = tn_build_scalar(g, TN_OP_DIV, tn_build_scalar(g, TN_OP_MAX, size, 1), (double)p);
    const tn_val k = tn_build_iota(g, TN_F32, 2, index, 1), next = tn_build_scalar(g, TN_OP_ADD, k, 1);
    const tn_val least = tn_build_full(g, TN_F32, 0, NULL, 0),
                 most = tn_build_cast_to(g, tn_oi_size_value(x, n), TN_F32);
    const tn_val ends[] = {tn_build_floor(g, tn_build_mul(g, k, size)), tn_build_ceil(g, tn_build_mul(g, next, size))};
    for (int i = 0; i < 2; i++) {
        const tn_val at = tn_build_min(g, tn_build_max(g, tn_build_add(g, ends[i], edge[0]), least), most);
        *(i ? to : from) = tn_build_reshape_to(g, at, 3, dims);
    }
}

/* Whether there is none, [R, 1, p, 1] or [R, 1, 1, p]. */
static tn_val empty(tn_oi *x, tn_val from, tn_val to, int64_t p, bool last) {
    const tn_dim one = tn_dim_const(x->g, 1), many = tn_dim_const(x->g, p);
    const tn_dim dims[] = {tn_val_dim(x->g, from, 0), one, last ? one : many, last ? many : one};
    return tn_build_reshape_to(x->g, tn_build_ge(x->g, from, to), 4, dims);
}

/* The maximum of v [R, C, a, n], over the positions of each bin along the last axis: [R, C, p, a]; -infinity where there is none. */
static tn_val pooled(tn_oi *x, tn_val v, tn_val from, tn_val to, int64_t p) {
    tn_graph *g = x->g;
    const tn_dim one = tn_dim_const(g, 1), n = tn_val_dim(g, v, 3), r = tn_val_dim(g, v, 0);
    const tn_dim row[] = {one, one, n}, bin[] = {r, one, tn_dim_const(g, p), one, n},
                 all[] = {r, tn_val_dim(g, v, 1), one, tn_val_dim(g, v, 2), n};
    const tn_val at = tn_build_iota(g, TN_F32, 3, row, 2);
    const tn_val in = tn_build_and(g, tn_build_ge(g, at, from), tn_build_lt(g, at, to));
    const tn_val none = tn_build_full(g, tn_val_dtype(g, v), 0, NULL, -INFINITY);
    v = tn_build_select(g, tn_build_reshape_to(g, in, 5, bin), tn_build_reshape_to(g, v, 5, all), none);
    return tn_build_reduce(g, TN_OP_REDUCE_MAX, v, 1, (const int64_t[]){4}, false);
}

/* A bin is a rectangle, so that the maximum is taken over rows of each, then over columns. */
void tn_oi_op_max_roi_pool(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0), rois = tn_oi_need(x, 1), from, to;
    const int64_t *shape;
    const double scale = tn_oi_num(x, "spatial_scale", 1);
    if (tn_oi_failed(x)) return;
    if (tn_oi_ints(x, "pooled_shape", &shape) != 2 || shape[0] < 1 || shape[1] < 1 || tn_val_rank(g, v) != 4 ||
        tn_val_rank(g, rois) != 2) {
        tn_oi_fail(x, TN_E_FORMAT, "", "an input of rank %zu, regions of rank %zu, and a pooled_shape that is none",
                   tn_val_rank(g, v), tn_val_rank(g, rois));
        return;
    }
    tn_oi_fits(x, TN_REL_EQUAL, rois, 1, "the regions", tn_dim_const(g, 5), "a batch index and four coordinates");
    if (tn_oi_failed(x)) return;
    const tn_dtype t = tn_val_dtype(g, v);
    const tn_dim count = tn_val_dim(g, rois, 0), h = tn_val_dim(g, v, 2), w = tn_val_dim(g, v, 3);
    rois = tn_build_cast_to(g, rois, TN_F32);
    const tn_val batch = tn_build_slice_axis(g, rois, 1, tn_dim_const(g, 0), tn_dim_const(g, 1));
    const tn_val which = tn_build_cast_to(g, tn_build_reshape_to(g, batch, 1, &count), TN_I64);
    v = tn_build_gather(g, tn_build_swap_axes(g, v, 2, 3), which, (tn_attrs_axis){.axis = 0}); /* [R, C, W, H] */
    bins(x, rois, 2, 4, scale, shape[0], h, &from, &to);
    v = pooled(x, v, from, to, shape[0]); /* [R, C, p, W] */
    tn_val none = empty(x, from, to, shape[0], false);
    bins(x, rois, 1, 3, scale, shape[1], w, &from, &to);
    v = tn_build_swap_axes(g, pooled(x, v, from, to, shape[1]), 2, 3); /* [R, C, q, p] turned */
    none = tn_build_or(g, none, empty(x, from, to, shape[1], true));
    tn_oi_out(x, 0, tn_build_select(g, none, tn_build_full(g, t, 0, NULL, 0), v));
}
