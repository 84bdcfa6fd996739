/* resize.c: Resize 10 to 19 and Upsample.  The IR wants the result's dims, and scales where they were given. */
#include "frontend/onnx/import.h"

#include <math.h>
#include <string.h>

/* floor(d * scale), exact in float32 as exporters compute it; symbolic d needs a scale that is a fraction of a power of
 * two. */
static tn_dim scaled_dim(tn_oi *x, tn_dim d, double scale) {
    tn_graph *g = x->g;
    int64_t v;
    if (!(scale > 0 && scale < 1e6)) {
        tn_oi_fail(x, TN_E_FORMAT, "", "a scale of %g", scale);
        return (tn_dim){0};
    }
    if (tn_dim_is_const(g, d, &v)) {
        double r = floor((double)v * scale);
        if (r >= 0 && r < 1e12) return tn_dim_const(g, (int64_t)r);
    }
    for (int64_t q = 1; q <= 1024; q *= 2)
        if (scale * (double)q == floor(scale * (double)q))
            return tn_dim_floordiv(g, tn_dim_mul(g, d, tn_dim_const(g, (int64_t)(scale * (double)q))),
                                   tn_dim_const(g, q));
    tn_oi_fail(x, TN_E_UNSUPPORTED, "fix the input's size with --shape", "a scale of %g on a size that is not known",
               scale);
    return (tn_dim){0};
}

typedef struct request {
    tn_attrs_resize a;
    tn_dim sizes[TN_MAX_RANK];
    double scales[TN_MAX_RANK], roi[2 * TN_MAX_RANK];
} request;

static void emit(tn_oi *x, request *r, bool has_scales, bool has_roi) {
    tn_val v = tn_oi_need(x, 0);
    uint32_t rank = (uint32_t)tn_val_rank(x->g, v);
    bool same = true;
    if (tn_oi_failed(x)) return;
    for (uint32_t k = 0; k < rank; k++)
        same = same && r->sizes[k].i == tn_val_dim(x->g, v, k).i &&
               (!has_scales || r->scales[k] == 1 || r->scales[k] == 0);
    if (same && strcmp(r->a.coords, "tf_crop_and_resize") != 0) {
        tn_oi_forward(x, 0, 0);
        return;
    }
    r->a.sizes = (tn_dims){r->sizes, rank};
    if (has_scales) r->a.scales = (tn_nums){r->scales, rank};
    if (has_roi) r->a.roi = (tn_nums){r->roi, 2 * rank};
    tn_oi_out(x, 0, tn_build_resize(x->g, v, r->a));
}

static const char *mode_of(tn_oi *x) {
    const char *m = tn_oi_str(x, "mode", "nearest");
    return !strcmp(m, "bilinear") ? "linear" : m;
}

/* Upsample 7 (scales as attribute), 9, 10 and Resize 10. */
void tn_oi_op_upsample(tn_oi *x) {
    request r = {.a = {.mode = mode_of(x), .coords = "asymmetric", .nearest = "floor"}};
    size_t rank = tn_oi_rank(x, 0), n = 0;
    const float *f;
    if (x->opset < 9) {
        n = tn_oi_nums(x, "scales", &f);
        for (size_t k = 0; k < n && k < TN_MAX_RANK; k++) r.scales[k] = (double)f[k];
    } else if (!tn_oi_const_nums(x, 1, TN_MAX_RANK, r.scales, &n)) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "make them constants", "the scales depend on the data");
        return;
    }
    if (n != rank) {
        tn_oi_fail(x, TN_E_FORMAT, "", "%zu scales for a tensor of rank %zu", n, rank);
        return;
    }
    for (size_t k = 0; k < rank && !tn_oi_failed(x); k++) r.sizes[k] = scaled_dim(x, tn_oi_dim(x, 0, k), r.scales[k]);
    emit(x, &r, true, false);
}

/* One scale for all axes: the smallest (not_larger) or the largest (not_smaller) of those that the sizes ask for. */
static bool keep_aspect(tn_oi *x, request *r, size_t n, const int64_t *axes, bool larger) {
    double scale = larger ? 0 : INFINITY;
    int64_t from[TN_MAX_RANK], to;
    for (size_t k = 0; k < n; k++) {
        size_t a = (size_t)axes[k];
        if (!tn_dim_is_const(x->g, tn_oi_dim(x, 0, a), &from[k]) || !tn_dim_is_const(x->g, r->sizes[a], &to) ||
            from[k] < 1) {
            tn_oi_fail(x, TN_E_UNSUPPORTED, "fix the input's size with --shape",
                       "keep_aspect_ratio_policy needs known sizes");
            return false;
        }
        double s = (double)to / (double)from[k];
        scale = larger ? fmax(scale, s) : fmin(scale, s);
    }
    for (size_t k = 0; k < n; k++) {
        if (!(scale >= 0 && scale * (double)from[k] < 1e12)) {
            tn_oi_fail(x, TN_E_FORMAT, "", "the sizes ask for a scale of %g", scale);
            return false;
        }
        r->scales[axes[k]] = scale;
        r->sizes[axes[k]] = tn_dim_const(x->g, (int64_t)floor(scale * (double)from[k] + 0.5));
    }
    return true;
}

void tn_oi_op_resize(tn_oi *x) {
    size_t rank = tn_oi_rank(x, 0), n_axes = rank, n = 0;
    int64_t axes[TN_MAX_RANK];
    double given[2 * TN_MAX_RANK];
    request r = {.a = {.mode = mode_of(x),
                       .coords = tn_oi_str(x, "coordinate_transformation_mode", "half_pixel"),
                       .nearest = tn_oi_str(x, "nearest_mode", "round_prefer_floor"),
                       .cubic_a = tn_oi_num(x, "cubic_coeff_a", -0.75),
                       .antialias = tn_oi_int(x, "antialias", 0),
                       .exclude_outside = tn_oi_int(x, "exclude_outside", 0),
                       .extrapolation = tn_oi_num(x, "extrapolation_value", 0)}};
    const char *policy = tn_oi_str(x, "keep_aspect_ratio_policy", "stretch");
    bool crop = !strcmp(r.a.coords, "tf_crop_and_resize"), by_scale = false, aspect = false;
    for (size_t k = 0; k < rank; k++) {
        axes[k] = (int64_t)k;
        r.sizes[k] = tn_oi_dim(x, 0, k);
        r.scales[k] = 1;
        r.roi[k] = 0;
        r.roi[rank + k] = 1;
    }
    if (tn_oi_attr(x, "axes") && !tn_oi_axes(x, SIZE_MAX, rank, &n_axes, axes)) return;
    if (crop) {
        if (!tn_oi_const_nums(x, 1, 2 * TN_MAX_RANK, given, &n) || n != 2 * n_axes) {
            tn_oi_fail(x, TN_E_UNSUPPORTED, "make it a constant",
                       "the region of interest is missing, or depends on the data");
            return;
        }
        for (size_t k = 0; k < n_axes; k++) {
            r.roi[axes[k]] = given[k];
            r.roi[rank + (size_t)axes[k]] = given[n_axes + k];
        }
    }
    const tn_oi_sym *s = tn_oi_sym_of(x, 2);
    if (tn_oi_has(x, 2) && !(s && s->n == 0)) {
        by_scale = true;
        if (!tn_oi_const_nums(x, 2, TN_MAX_RANK, given, &n) || n != n_axes) {
            tn_oi_fail(x, TN_E_UNSUPPORTED, "make them constants, or resize to sizes",
                       "the scales depend on the data, or are not one an axis");
            return;
        }
        for (size_t k = 0; k < n && !tn_oi_failed(x); k++) {
            size_t a = (size_t)axes[k];
            r.scales[a] = given[k];
            r.sizes[a] = scaled_dim(x, r.sizes[a], crop ? given[k] * (r.roi[rank + a] - r.roi[a]) : given[k]);
        }
    } else {
        s = tn_oi_need_dims(x, 3, "the size");
        if (!s) return;
        if (s->n != n_axes) {
            tn_oi_fail(x, TN_E_FORMAT, "", "%u sizes for %zu axes", s->n, n_axes);
            return;
        }
        for (size_t k = 0; k < n_axes; k++) {
            r.sizes[axes[k]] = s->d[k];
            r.scales[axes[k]] = 0;
        }
        aspect = strcmp(policy, "stretch") != 0;
        if (aspect && !keep_aspect(x, &r, n_axes, axes, !strcmp(policy, "not_smaller"))) return;
    }
    emit(x, &r, by_scale || aspect, crop);
}
