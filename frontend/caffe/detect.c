/* detect.c: SSD's layers: boxes that are laid out before, and what is detected by them. */
#include "frontend/caffe/caffe.h"

#include <math.h>
#include <string.h>

/* ---- PriorBox ---------------------------------------------------------------------------------------------------- */

enum { MAX_RATIOS = 64, MAX_SIZES = 64 };

typedef struct priors {
    float ratios[2 * MAX_RATIOS + 1], variance[4];
    size_t n_ratios, per_position;
    int64_t height, width, image_h, image_w;
    float step_h, step_w;
} priors;

static bool read_ratios(const TnCaffe__PriorBoxParameter *p, priors *b) {
    b->ratios[b->n_ratios++] = 1;
    for (size_t k = 0; k < p->n_aspect_ratio; k++) {
        const float r = p->aspect_ratio[k];
        bool known = false;
        if (!(r > 0) || isinf(r)) return false;
        for (size_t i = 0; i < b->n_ratios; i++) known |= fabsf(r - b->ratios[i]) < 1e-6f;
        if (known) continue;
        b->ratios[b->n_ratios++] = r;
        if (p->flip) b->ratios[b->n_ratios++] = 1.f / r;
    }
    return true;
}

static bool read_priors(tn_ci *x, const TnCaffe__PriorBoxParameter *p, priors *b) {
    const tn_val map = tn_ci_in(x, 0), image = tn_ci_in(x, 1);
    if (!p || !p->n_min_size || p->n_min_size > MAX_SIZES || p->n_aspect_ratio > MAX_RATIOS ||
        (p->n_max_size && p->n_max_size != p->n_min_size) || (p->n_variance > 1 && p->n_variance != 4)) {
        tn_ci_fail(x, TN_E_FORMAT, "",
                   "prior_box_param has no min_size, as many max_size or none, and 0, 1 or 4 variances");
        return false;
    }
    b->height = tn_ci_size(x, map, 2, "the first bottom");
    b->width = tn_ci_size(x, map, 3, "the first bottom");
    const bool own = p->img_size || p->img_h || p->img_w;
    b->image_h = own ? (p->img_size ? p->img_size : p->img_h) : tn_ci_size(x, image, 2, "the second bottom");
    b->image_w = own ? (p->img_size ? p->img_size : p->img_w) : tn_ci_size(x, image, 3, "the second bottom");
    if (tn_ci_failed(x)) return false;
    const float h = p->has_step ? p->step : p->step_h, w = p->has_step ? p->step : p->step_w;
    b->step_h = h == 0 || w == 0 ? (float)b->image_h / (float)b->height : h;
    b->step_w = h == 0 || w == 0 ? (float)b->image_w / (float)b->width : w;
    for (size_t k = 0; k < 4; k++) b->variance[k] = !p->n_variance ? 0.1f : p->variance[p->n_variance == 1 ? 0 : k];
    bool right = read_ratios(p, b);
    for (size_t k = 0; k < p->n_min_size; k++)
        right &= p->min_size[k] > 0 && p->min_size[k] < 1e6f && (!p->n_max_size || p->max_size[k] > p->min_size[k]);
    b->per_position = b->n_ratios * p->n_min_size + p->n_max_size;
    if (!right)
        tn_ci_fail(x, TN_E_FORMAT, "", "sizes and ratios must be positive, and max_size above min_size");
    else if (b->height < 1 || b->width < 1 || b->image_h < 1 || b->image_w < 1 ||
             b->height > (1 << 26) / (int64_t)b->per_position / b->width)
        tn_ci_fail(x, TN_E_UNSUPPORTED, "", "boxes for %lldx%lld positions", (long long)b->height, (long long)b->width);
    return !tn_ci_failed(x);
}

static float *put_box(const TnCaffe__PriorBoxParameter *p, const priors *b, float *to, float cx, float cy, float w,
                      float h) {
    const float box[] = {(cx - w / 2.f) / (float)b->image_w, (cy - h / 2.f) / (float)b->image_h,
                         (cx + w / 2.f) / (float)b->image_w, (cy + h / 2.f) / (float)b->image_h};
    for (size_t k = 0; k < 4; k++) *to++ = !p->clip ? box[k] : box[k] < 0 ? 0 : box[k] > 1 ? 1 : box[k];
    return to;
}

/* Sizes are whole pixels: Caffe cuts them. */
static float *put_boxes(const TnCaffe__PriorBoxParameter *p, const priors *b, float *to, float cx, float cy) {
    for (size_t s = 0; s < p->n_min_size; s++) {
        const float least = truncf(p->min_size[s]), between = p->n_max_size ? sqrtf(least * truncf(p->max_size[s])) : 0;
        to = put_box(p, b, to, cx, cy, least, least);
        if (p->n_max_size) to = put_box(p, b, to, cx, cy, between, between);
        for (size_t r = 1; r < b->n_ratios; r++)
            to = put_box(p, b, to, cx, cy, least * sqrtf(b->ratios[r]), least / sqrtf(b->ratios[r]));
    }
    return to;
}

/* A constant [1, 2, 4 * boxes]: boxes in the unit square, and their variances. */
void tn_ci_layer_prior_box(tn_ci *x) {
    const TnCaffe__PriorBoxParameter *p = x->layer->prior_box_param;
    priors b = {.n_ratios = 0};
    void *data;
    if (!read_priors(x, p, &b)) return;
    const size_t boxes = (size_t)(b.height * b.width) * b.per_position;
    const tn_blob blob = tn_blob_new(x->g, 8 * boxes * sizeof(float), &data);
    if (!blob.i) return;
    float *to = data;
    for (int64_t h = 0; h < b.height; h++)
        for (int64_t w = 0; w < b.width; w++)
            to = put_boxes(p, &b, to, ((float)w + p->offset) * b.step_w, ((float)h + p->offset) * b.step_h);
    for (size_t k = 0; k < 4 * boxes; k++) *to++ = b.variance[k % 4];
    const int64_t dims[] = {1, 2, (int64_t)boxes * 4};
    tn_ci_out(x, 0, tn_const(x->g, tn_type_const(x->g, TN_F32, 3, dims), blob, x->layer->name));
}

/* ---- DetectionOutput ---------------------------------------------------------------------------------------------
 * For each image and class but the background: the boxes with the highest scores, of which non-maximum suppression keeps
 * some; of those of all classes the best; by class, and by score in a class.  The result is [1, 1, count, 7]: image,
 * class, score, corners; where nothing is found in any image, a row of -1 for each. */

typedef struct detection {
    tn_ci *x;
    const TnCaffe__DetectionOutputParameter *p;
    tn_dim n;                           /* images */
    int64_t boxes, classes, used, most; /* used: classes but the background; most: candidates of a class */
} detection;

static tn_dim num(const detection *d, int64_t v) {
    return tn_dim_const(d->x->g, v);
}

/* A part of the last axis. */
static tn_val part(const detection *d, tn_val v, int64_t from, int64_t size) {
    return tn_build_slice_axis(d->x->g, v, -1, num(d, from), num(d, size));
}

/* Boxes from what was predicted relative to the prior ones; corners. */
static tn_val decode(const detection *d, tn_val loc, tn_val prior) {
    tn_graph *g = d->x->g;
    const TnCaffe__CodeType code = d->p->code_type;
    const tn_dim dims[] = {num(d, 1), num(d, d->boxes), num(d, 1), num(d, 4)};
    const tn_val box = tn_build_reshape_to(g, tn_build_slice_axis(g, prior, 1, num(d, 0), num(d, 1)), 4, dims),
                 var = tn_build_reshape_to(g, tn_build_slice_axis(g, prior, 1, num(d, 1), num(d, 1)), 4, dims);
    const tn_val low = part(d, box, 0, 2), high = part(d, box, 2, 2), size = tn_build_sub(g, high, low);
    const tn_val moved = d->p->variance_encoded_in_target ? loc : tn_build_mul(g, loc, var);
    if (code == TN_CAFFE__CODE_TYPE__CORNER) return tn_build_add(g, moved, box);
    const tn_val first = part(d, moved, 0, 2), second = part(d, moved, 2, 2);
    if (code == TN_CAFFE__CODE_TYPE__CORNER_SIZE) {
        const tn_val ends[] = {tn_build_add(g, low, tn_build_mul(g, first, size)),
                               tn_build_add(g, high, tn_build_mul(g, second, size))};
        return tn_build_concat(g, 2, ends, -1);
    }
    const tn_val middle = tn_build_scalar(g, TN_OP_MUL, tn_build_add(g, low, high), 0.5);
    const tn_val at = tn_build_add(g, tn_build_mul(g, first, size), middle);
    const tn_val half = tn_build_scalar(g, TN_OP_MUL, tn_build_mul(g, tn_build_exp(g, second), size), 0.5);
    const tn_val ends[] = {tn_build_sub(g, at, half), tn_build_add(g, at, half)};
    return tn_build_concat(g, 2, ends, -1);
}

/* [N, all, ...] without the background's slice of an axis. */
static tn_val without_background(const detection *d, tn_val v, int64_t axis) {
    tn_graph *g = d->x->g;
    const int64_t b = d->p->background_label_id;
    if (d->used == d->classes) return v;
    const tn_val before = b ? tn_build_slice_axis(g, v, axis, num(d, 0), num(d, b)) : (tn_val){0},
                 after = b + 1 < d->classes ? tn_build_slice_axis(g, v, axis, num(d, b + 1), num(d, d->classes - b - 1))
                                            : (tn_val){0};
    const tn_val both[] = {before, after};
    return before.i && after.i ? tn_build_concat(g, 2, both, axis) : before.i ? before : after;
}

/* The best candidates of each class: their scores [N, used, most], best first, and boxes [N, used, most, 4]. */
static void candidates(const detection *d, tn_val loc, tn_val conf, tn_val prior, tn_val *score, tn_val *box) {
    tn_graph *g = d->x->g;
    const int64_t sets = d->p->share_location ? 1 : d->classes;
    const tn_dim at_loc[] = {d->n, num(d, d->boxes), num(d, sets), num(d, 4)},
                 at_conf[] = {d->n, num(d, d->boxes), num(d, d->classes)};
    tn_val all = tn_build_swap_axes(g, decode(d, tn_build_reshape_to(g, loc, 4, at_loc), prior), 1, 2);
    tn_val scores = tn_build_swap_axes(g, tn_build_reshape_to(g, conf, 3, at_conf), 1, 2);
    scores = without_background(d, scores, 1);
    const tn_val best = tn_build_top_k(g, scores, (tn_attrs_top_k){.axis = 2, .k = num(d, d->most)});
    *score = tn_build_gather_elements(g, scores, best, (tn_attrs_axis){.axis = 2});
    if (sets > 1) all = without_background(d, all, 1);
    const tn_dim every[] = {d->n, num(d, d->used), num(d, d->boxes), num(d, 4)};
    const tn_dim wide[] = {d->n, num(d, d->used), num(d, d->most), num(d, 4)};
    const tn_val index = tn_build_broadcast_to(g, tn_build_unsqueeze(g, best, 3), 4, wide);
    *box = tn_build_gather_elements(g, tn_build_broadcast_to(g, all, 4, every), index, (tn_attrs_axis){.axis = 2});
}

/* A box whose corners have changed places overlaps with none in Caffe: here, one without extent. */
static tn_val straightened(const detection *d, tn_val box) {
    tn_graph *g = d->x->g;
    const tn_val low = part(d, box, 0, 2), ends[] = {low, tn_build_max(g, low, part(d, box, 2, 2))};
    return tn_build_concat(g, 2, ends, -1);
}

/* Which of them are kept: [N, used * most]. */
static tn_val suppress(const detection *d, tn_val score, tn_val box) {
    tn_graph *g = d->x->g;
    const TnCaffe__NonMaximumSuppressionParameter *p = d->p->nms_param;
    const tn_dim rows = tn_dim_mul(g, d->n, num(d, d->used)), one = num(d, 1), most = num(d, d->most);
    const tn_dim order_of[] = {rows, one, most}, boxes_of[] = {rows, most, num(d, 4)},
                 flat[] = {d->n, num(d, d->used * d->most)};
    const double least = d->p->has_confidence_threshold ? d->p->confidence_threshold : -3.4028234663852886e38;
    const tn_val may = tn_build_reshape_to(g, tn_build_scalar(g, TN_OP_GT, score, least), 3, order_of);
    const tn_val keep =
        tn_build_nms_keep(g, tn_build_reshape_to(g, straightened(d, box), 3, boxes_of),
                          tn_build_iota(g, TN_I64, 3, order_of, 2), may, tn_const_num(g, TN_I64, (double)d->most),
                          tn_const_num(g, TN_F32, p ? p->nms_threshold : 0.3f), (tn_attrs_nms_keep){0});
    return tn_build_reshape_to(g, keep, 2, flat);
}

/* Positions in [N, used * most] of the best of all classes, in order; those of what is not kept come last, and are as large
 * as the axis. */
static tn_val best_of_all(const detection *d, tn_val keep, tn_val score) {
    tn_graph *g = d->x->g;
    const int64_t all = d->used * d->most, k = d->p->keep_top_k;
    const tn_dim flat[] = {d->n, num(d, all)};
    const tn_val at = tn_build_iota(g, TN_I64, 2, flat, 1), end = tn_const_num(g, TN_I64, (double)all);
    if (k < 0 || k >= all) return tn_build_select(g, keep, at, end);
    const tn_attrs_axis along = {.axis = 1};
    const tn_val kept =
        tn_build_select(g, keep, tn_build_reshape_to(g, score, 2, flat), tn_const_num(g, TN_F32, -INFINITY));
    const tn_val best = tn_build_top_k(g, kept, (tn_attrs_top_k){.axis = 1, .k = num(d, k)});
    const tn_val found = tn_build_select(g, tn_build_gather_elements(g, keep, best, along), best, end);
    const tn_val sorted = tn_build_top_k(g, found, (tn_attrs_top_k){.axis = 1, .k = num(d, k), .smallest = true});
    return tn_build_gather_elements(g, found, sorted, along);
}

/* Rows [N, positions, 7] of what lies at positions. */
static tn_val rows_at(const detection *d, tn_val at, tn_val score, tn_val box) {
    tn_graph *g = d->x->g;
    const int64_t all = d->used * d->most, b = d->p->background_label_id;
    const tn_dim flat[] = {d->n, num(d, all), num(d, 1)}, flat_box[] = {d->n, num(d, all), num(d, 4)};
    const tn_dim k = tn_val_dim(g, at, 1), column[] = {d->n, k, num(d, 1)}, boxes[] = {d->n, k, num(d, 4)};
    const tn_attrs_axis along = {.axis = 1};
    const tn_val within = tn_build_unsqueeze(g, tn_build_scalar(g, TN_OP_MIN, at, (double)(all - 1)), 2);
    tn_val label = tn_build_scalar(g, TN_OP_DIV, within, (double)d->most);
    if (d->used < d->classes) {
        const tn_val beyond = tn_build_scalar(g, TN_OP_GE, label, (double)b);
        label = tn_build_add(g, label, tn_build_cast_to(g, beyond, TN_I64));
    }
    const tn_val columns[] = {tn_build_iota(g, TN_F32, 3, column, 0), tn_build_cast_to(g, label, TN_F32),
                              tn_build_gather_elements(g, tn_build_reshape_to(g, score, 3, flat), within, along),
                              tn_build_gather_elements(g, tn_build_reshape_to(g, box, 3, flat_box),
                                                       tn_build_broadcast_to(g, within, 3, boxes), along)};
    return tn_build_concat(g, 4, columns, 2);
}

/* The rows that were found, or one for each image where there are none. */
static tn_val found(const detection *d, tn_val at, tn_val rows) {
    tn_graph *g = d->x->g;
    const tn_dim k = tn_val_dim(g, at, 1), total = tn_dim_mul(g, d->n, k), seven = num(d, 7);
    const tn_dim flat[] = {total, seven}, none_of[] = {d->n, num(d, 1)}, rest_of[] = {d->n, num(d, 6)};
    const tn_val here =
        tn_build_reshape_to(g, tn_build_scalar(g, TN_OP_LT, at, (double)(d->used * d->most)), 1, &total);
    const int64_t axis = 0;
    const tn_val any = tn_build_reduce(g, TN_OP_REDUCE_MAX, tn_build_cast_to(g, here, TN_I32), 1, &axis, false);
    const tn_val none = tn_build_broadcast_to(g, tn_build_scalar(g, TN_OP_EQ, any, 0), 1, &d->n);
    const tn_val empty[] = {tn_build_iota(g, TN_F32, 2, none_of, 0), tn_build_full(g, TN_F32, 2, rest_of, -1)};
    const tn_val all_rows[] = {tn_build_reshape_to(g, rows, 2, flat), tn_build_concat(g, 2, empty, 1)},
                 all_here[] = {here, none};
    const tn_val which = tn_build_nonzero(g, tn_build_concat(g, 2, all_here, 0),
                                          (tn_attrs_nonzero){.count = tn_dim_fresh(g, "detections")});
    const tn_val y = tn_build_gather(g, tn_build_concat(g, 2, all_rows, 0), which, (tn_attrs_axis){.axis = 0});
    const tn_dim dims[] = {num(d, 1), num(d, 1), tn_val_dim(g, which, 0), seven};
    return tn_build_reshape_to(g, y, 4, dims);
}

static bool check_detection(detection *d, tn_val loc, tn_val conf, tn_val prior) {
    tn_ci *x = d->x;
    const TnCaffe__DetectionOutputParameter *p = d->p;
    if (tn_ci_failed(x)) return false;
    if (!p || !p->num_classes || p->num_classes > 1 << 20 || p->background_label_id >= (int64_t)p->num_classes ||
        p->background_label_id < -1) {
        tn_ci_fail(x, TN_E_FORMAT, "",
                   "detection_output_param with num_classes, and a background_label_id below it, is missing");
        return false;
    }
    if (p->nms_param && p->nms_param->eta != 1) {
        tn_ci_fail(x, TN_E_UNSUPPORTED, "leave it out", "a threshold that changes while boxes are suppressed (eta %g)",
                   (double)p->nms_param->eta);
        return false;
    }
    d->classes = p->num_classes;
    d->used = d->classes - (p->background_label_id >= 0);
    d->boxes = tn_ci_size(x, prior, 2, "the third bottom") / 4;
    d->n = tn_val_dim(x->g, loc, 0);
    const int64_t k = p->nms_param ? p->nms_param->top_k : -1;
    d->most = k > -1 && k < d->boxes ? k : d->boxes;
    if (tn_ci_failed(x)) return false;
    const bool ranks = tn_val_rank(x->g, prior) == 3 && tn_val_rank(x->g, loc) >= 2 && tn_val_rank(x->g, conf) >= 2;
    if (!ranks || d->boxes < 1 || d->boxes > INT32_MAX / d->classes / 8 || d->most < 1 || !d->used || !p->keep_top_k ||
        d->most > TN_NMS_MAX)
        tn_ci_fail(x, TN_E_TYPE, "", "%lld boxes, of which %lld are candidates, and %lld classes, of which %d are kept",
                   (long long)d->boxes, (long long)d->most, (long long)d->used, p->keep_top_k);
    return !tn_ci_failed(x);
}

void tn_ci_layer_detection(tn_ci *x) {
    detection d = {.x = x, .p = x->layer->detection_output_param};
    const tn_val loc = tn_ci_in(x, 0), conf = tn_ci_in(x, 1), prior = tn_ci_in(x, 2);
    tn_val score, box;
    if (!check_detection(&d, loc, conf, prior)) return;
    candidates(&d, loc, conf, prior, &score, &box);
    const tn_val at = best_of_all(&d, suppress(&d, score, box), score);
    tn_ci_out(x, 0, found(&d, at, rows_at(&d, at, score, box)));
}
