/* resize.c: ONNX Resize as a few weighted reads of the operand: the taps of each resized axis, multiplied out. */
#include "codegen/emit/internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_TAPS = 16, MAX_PRODUCT = 256 };

typedef struct axis_taps {
    uint32_t n;
    tn_dim index[MAX_TAPS];
    tn_ref weight[MAX_TAPS]; /* empty text: 1 */
} axis_taps;

static bool is(const char *s, const char *name) {
    return s && !strcmp(s, name);
}

/* Nearest upsampling by a whole factor is a quotient, which later folds into other index arithmetic. */
static bool whole_factor(tn_fn *f, const tn_attrs_resize *a, tn_dim o, tn_dim in, tn_dim out, double scale,
                         tn_dim *at) {
    tn_graph *g = f->e->g;
    const tn_dim q = tn_dim_floordiv(g, out, in);
    int64_t s;
    if (scale > 0)
        s = (int64_t)scale;
    else if (!tn_dim_is_const(g, q, &s))
        return false;
    if (s < 1 || (scale > 0 && (double)s != scale) || tn_dim_mul(g, in, tn_dim_const(g, s)).i != out.i) return false;
    const bool half = !a->coords || !*a->coords || is(a->coords, "half_pixel") || is(a->coords, "half_pixel_symmetric");
    const bool rounds =
        !a->nearest || !*a->nearest || is(a->nearest, "round_prefer_floor") || is(a->nearest, "round_prefer_ceil");
    if (!(half && rounds) && !(is(a->coords, "asymmetric") && is(a->nearest, "floor"))) return false;
    *at = tn_dim_floordiv(f->e->g, o, tn_dim_const(f->e->g, s));
    return true;
}

/* float or double variable: the sampled coordinate. */
static tn_ref source(tn_fn *f, const tn_attrs_resize *a, size_t k, size_t rank, tn_dim o, const char *scale,
                     const char *n_in, const char *n_out, const char *type) {
    const tn_expr x = tn_fn_expr(f, o, true);
    const double start = a->roi.n == 2 * rank ? a->roi.p[k] : 0, end = a->roi.n == 2 * rank ? a->roi.p[rank + k] : 1;
    tn_ref r = {"", tn_dim_is_per_lane(f->e->g, o) && f->vec > 1};
    tn_text *out = tn_fn_text(f, r.lane);
    snprintf(r.text, sizeof r.text, "x%u", f->n_names++);
    tn_text_add(out, "const %s %s = ", type, r.text);
    if (is(a->coords, "align_corners"))
        tn_text_add(out, "tn_resize_align_corners<%s>(%s, %s, %s)", type, x.text, scale, n_in);
    else if (is(a->coords, "asymmetric"))
        tn_text_add(out, "tn_resize_asymmetric<%s>(%s, %s)", type, x.text, scale);
    else if (is(a->coords, "pytorch_half_pixel"))
        tn_text_add(out, "tn_resize_pytorch<%s>(%s, %s, %s)", type, x.text, scale, n_in);
    else if (is(a->coords, "half_pixel_symmetric"))
        tn_text_add(out, "tn_resize_symmetric<%s>(%s, %s, %s, %s)", type, x.text, scale, n_in, n_out);
    else if (is(a->coords, "tf_crop_and_resize"))
        tn_text_add(out, "tn_resize_crop<%s>(%s, %s, %s, %.17g, %.17g)", type, x.text, scale, n_in, start, end);
    else
        tn_text_add(out, "tn_resize_half_pixel<%s>(%s, %s)", type, x.text, scale);
    tn_text_add(out, ";\n");
    return r;
}

static tn_dim tap_index(tn_fn *f, const char *x, const char *n_in, tn_dim in, bool lane) {
    char text[700];
    snprintf(text, sizeof text, "tn_resize_index<tn_index>(%s, %s)", x, n_in);
    return tn_fn_index_var(f, "i", text, in, lane);
}

static void interpolate(tn_fn *f, tn_node n, const tn_attrs_resize *a, tn_ref x, const char *n_in, tn_dim in,
                        double scale, const char *type, axis_taps *t) {
    const bool cubic = is(a->mode, "cubic");
    const double A = a->cubic_a != 0 ? a->cubic_a : -0.75, shrink = a->antialias && scale > 0 && scale < 1 ? scale : 1;
    const double support = (cubic ? 2 : 1) / shrink;
    const uint32_t count = support < MAX_TAPS ? 2 * (uint32_t)ceil(support) : MAX_TAPS + 1;
    if (count > MAX_TAPS) {
        tn_fn_failed(f, n, "antialiasing needs too many taps");
        return;
    }
    tn_text *o = tn_fn_text(f, x.lane);
    const uint32_t id = f->n_names++;
    const tn_dtype real = is(type, "double") ? TN_F64 : TN_F32;
    const tn_ref width = tn_fn_literal(f, real, support, 0), tight = tn_fn_literal(f, real, shrink, 0);
    tn_text_add(o, "const %s first%u = tn_floor(%s - %s) + 1;\n", type, id, x.text, width.text);
    t->n = count;
    for (uint32_t k = 0; k < count; ++k) {
        char at[64];
        snprintf(at, sizeof at, "first%u + %u", id, k);
        t->index[k] = tap_index(f, at, n_in, in, x.lane);
        tn_ref *w = &t->weight[k];
        *w = (tn_ref){"", x.lane};
        snprintf(w->text, sizeof w->text, "w%u_%u", id, k);
        tn_text_add(o, "%s%s %s = ", a->exclude_outside || shrink < 1 ? "" : "const ", type, w->text);
        if (a->exclude_outside) tn_text_add(o, "%s < 0 || %s > %s - 1 ? 0 : ", at, at, n_in);
        if (cubic)
            tn_text_add(o, "tn_cubic_weight<%s>((%s - %s) * %s, %s);\n", type, at, x.text, tight.text,
                        tn_fn_literal(f, real, A, 0).text);
        else
            tn_text_add(o, "tn_linear_weight<%s>((%s - %s) * %s);\n", type, at, x.text, tight.text);
    }
    if (!a->exclude_outside && shrink >= 1) return;
    tn_text_add(o, "const %s sum%u = ", type, id);
    for (uint32_t k = 0; k < count; ++k) tn_text_add(o, "%sw%u_%u", k ? " + " : "", id, k);
    tn_text_add(o, ";\n");
    for (uint32_t k = 0; k < count; ++k) tn_text_add(o, "w%u_%u /= sum%u == 0 ? 1 : sum%u;\n", id, k, id, id);
}

tn_dtype tn_emit_weights(const tn_graph *g, tn_val x) {
    const tn_dtype t = tn_val_dtype(g, x);
    return t == TN_F64 || (tn_dtype_is_int(t) && tn_dtype_bits(t) > 16) ? TN_F64 : TN_F32;
}

static const char *weight_type(const tn_graph *g, tn_val x) {
    return tn_emit_weights(g, x) == TN_F64 ? "double" : "float";
}

/* Taps of axis k; *ok gains the condition that the coordinate lies inside (crop only). */
static void taps_of(tn_fn *f, tn_node n, size_t k, tn_dim o, axis_taps *t, uint32_t *ok) {
    tn_emitter *e = f->e;
    const tn_attrs_resize *a = TN_ATTRS_OF(e->g, n, resize);
    const tn_val vx = tn_node_input(e->g, n, 0), vy = tn_node_result(e->g, n, 0);
    const tn_dim in = tn_val_dim(e->g, vx, k), out = tn_val_dim(e->g, vy, k);
    const double given = k < a->scales.n && a->scales.p[k] > 0 ? a->scales.p[k] : 0;
    const bool near = !a->mode || !*a->mode || is(a->mode, "nearest"), crop = is(a->coords, "tf_crop_and_resize");
    *t = (axis_taps){.n = 1};
    if (!crop && in.i == out.i && (given == 0 || given == 1)) {
        t->index[0] = o;
        return;
    }
    if (near && whole_factor(f, a, o, in, out, given, &t->index[0])) return;
    const char *weights = weight_type(e->g, vx), *type = near || crop ? "double" : weights;
    int64_t ci, co;
    double scale = given;
    if (scale == 0 && tn_dim_is_const(e->g, in, &ci) && tn_dim_is_const(e->g, out, &co) && ci > 0)
        scale = (double)co / (double)ci;
    if (a->antialias && scale == 0) {
        tn_fn_failed(f, n, "antialiasing needs a scale that is known at compile time");
        return;
    }
    const tn_expr n_in = tn_fn_expr(f, in, true), n_out = tn_fn_expr(f, out, true);
    char factor[1200];
    if (scale > 0)
        snprintf(factor, sizeof factor, "%s", tn_fn_literal(f, is(type, "double") ? TN_F64 : TN_F32, scale, 0).text);
    else
        snprintf(factor, sizeof factor, "(%s)%s / (%s)%s", type, n_out.text, type, n_in.text);
    const tn_ref x = source(f, a, k, tn_val_rank(e->g, vx), o, factor, n_in.text, n_out.text, type);
    if (crop) {
        char text[700];
        snprintf(text, sizeof text, "%s >= 0 && %s <= %s - 1", x.text, x.text, n_in.text);
        *ok = tn_fn_pred(f, *ok, text, x.lane);
    }
    if (!near) {
        tn_ref single = x;
        if (crop) {
            snprintf(single.text, sizeof single.text, "x%u", f->n_names++);
            tn_text_add(tn_fn_text(f, x.lane), "const %s %s = (%s)%s;\n", weights, single.text, weights, x.text);
        }
        interpolate(f, n, a, single, n_in.text, in, scale, weights, t);
        return;
    }
    const char *round = is(a->nearest, "floor")               ? "floor"
                        : is(a->nearest, "ceil")              ? "ceil"
                        : is(a->nearest, "round_prefer_ceil") ? "prefer_ceil"
                                                              : "prefer_floor";
    char text[100];
    snprintf(text, sizeof text, "tn_nearest_%s(%s)", round, x.text);
    t->index[0] = tap_index(f, text, n_in.text, in, x.lane);
}

tn_ref tn_fn_resize(tn_fn *f, tn_node n, const tn_dim *c, uint32_t pred) {
    tn_emitter *e = f->e;
    const tn_val x = tn_node_input(e->g, n, 0), y = tn_node_result(e->g, n, 0);
    const tn_dtype type = tn_val_dtype(e->g, y);
    const size_t rank = tn_val_rank(e->g, x);
    axis_taps *t = tn_alloc(e->env, TN_MAX_RANK * sizeof *t);
    uint32_t product = 1, ok = pred;
    if (!t) {
        tn_emit_fail(e, TN_E_MEMORY, "out of memory");
        return (tn_ref){"0", false};
    }
    for (size_t k = 0; k < rank && tn_emit_ok(e); ++k) {
        taps_of(f, n, k, c[k], &t[k], &ok);
        product *= t[k].n ? t[k].n : 1;
    }
    tn_ref out = {"0", false};
    if (product > MAX_PRODUCT) out = tn_fn_failed(f, n, "interpolation needs too many taps");
    tn_text sum = {.env = e->env};
    for (uint32_t p = 0; p < product && tn_emit_ok(e); ++p) {
        tn_dim at[TN_MAX_RANK];
        uint32_t rest = p;
        if (p) tn_text_add(&sum, " + ");
        bool weighs = false;
        for (size_t k = rank; k-- > 0; rest /= t[k].n) {
            const tn_ref *w = &t[k].weight[rest % t[k].n];
            at[k] = t[k].index[rest % t[k].n];
            if (!w->text[0]) continue;
            tn_text_add(&sum, weighs ? " * %s" : "tn_tap(%s", w->text);
            weighs = true;
            out.lane |= w->lane;
        }
        const tn_ref v = tn_fn_value(f, x, at, ok);
        if (product == 1 && !sum.n && ok == pred) { /* an element itself */
            tn_free(e->env, t, TN_MAX_RANK * sizeof *t);
            return v;
        }
        out.lane |= v.lane;
        if (weighs)
            tn_text_add(&sum, ", (%s)%s)", weight_type(e->g, x), v.text);
        else
            tn_text_add(&sum, "%s", v.text);
    }
    if (sum.failed) tn_emit_fail(e, TN_E_MEMORY, "out of memory");
    if (tn_emit_ok(e)) {
        tn_text text = {.env = e->env};
        if (ok != pred) tn_text_add(&text, "%s ? ", f->pred[ok].text);
        if (product > 1 && tn_dtype_is_int(type))
            tn_cast_text(&text, sum.p ? sum.p : "0", tn_emit_weights(e->g, x), &(tn_attrs_cast){.to = type}, false);
        else
            tn_text_add(&text, "(%s)(%s)", tn_register_type(type), sum.p ? sum.p : "0");
        if (ok != pred)
            tn_text_add(&text, " : %s", tn_fn_number(f, type, TN_ATTRS_OF(e->g, n, resize)->extrapolation).text);
        out = tn_fn_define(f, y, out.lane || f->pred[ok].lane, text.p ? text.p : "0");
        tn_text_free(&text);
    }
    tn_text_free(&sum);
    tn_free(e->env, t, TN_MAX_RANK * sizeof *t);
    return out;
}
