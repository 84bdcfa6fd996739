/* window.c: the anchor as a sliding window; as an NHWC convolution. */
#include "codegen/spec/contraction.h"
#include "codegen/spec/window.h"

#include <string.h>

static void place(const tn_spec *s, tn_sliding *w, const char *layout, tn_ints strides, tn_ints pads,
                  tn_ints dilations) {
    w->x = tn_spec_anchor_input(s, 0);
    w->y = tn_spec_anchor_result(s);
    w->nhwc = layout && !strcmp(layout, "nhwc");
    const uint32_t rank = (uint32_t)tn_val_rank(s->g, w->x);
    w->spatial = rank - 2;
    w->first = w->nhwc ? 1 : 2;
    w->channel = w->nhwc ? rank - 1 : 1;
    for (uint32_t k = 0; k < 3; k++) {
        w->stride[k] = w->dilation[k] = w->kernel[k] = 1;
        w->in[k] = w->out[k] = tn_dim_const(s->g, 1);
    }
    for (uint32_t k = 0; k < w->spatial; k++) {
        const uint32_t to = 3 - w->spatial + k;
        w->stride[to] = tn_ints_at(strides, k, 1);
        w->dilation[to] = tn_ints_at(dilations, k, 1);
        w->before[to] = tn_ints_at(pads, k, 0);
        w->after[to] = tn_ints_at(pads, w->spatial + k, 0);
        w->in[to] = tn_val_dim(s->g, w->x, w->first + k);
        w->out[to] = tn_val_dim(s->g, w->y, w->first + k);
    }
}

static bool pool(const tn_spec *s, tn_sliding *w) {
    const tn_attrs_pool *a = TN_ATTRS_OF(s->g, s->anchor, pool);
    place(s, w, a->layout, a->strides, a->pads, a->dilations);
    for (uint32_t k = 0; k < w->spatial; k++) w->kernel[3 - w->spatial + k] = tn_ints_at(a->kernel, k, 1);
    return true;
}

/* The weight's spatial axes stand as x's. */
static bool filter(const tn_spec *s, tn_sliding *w, int64_t groups) {
    w->groups = groups < 1 ? 1 : groups;
    w->w = tn_spec_anchor_input(s, 1);
    w->bias = tn_spec_anchor_input(s, 2);
    for (uint32_t k = 0; k < w->spatial; k++)
        if (!tn_dim_is_const(s->g, tn_val_dim(s->g, w->w, w->first + k), &w->kernel[3 - w->spatial + k])) return false;
    return true;
}

bool tn_sliding_of(const tn_spec *s, tn_sliding *w) {
    *w = (tn_sliding){.groups = 1};
    switch (s->anchor.i ? tn_node_op(s->g, s->anchor) : TN_OP_NONE) {
    case TN_OP_MAX_POOL:
    case TN_OP_AVG_POOL: return pool(s, w);
    case TN_OP_CONV: {
        const tn_attrs_conv *a = TN_ATTRS_OF(s->g, s->anchor, conv);
        place(s, w, a->layout, a->strides, a->pads, a->dilations);
        w->tf32 = tn_spec_tf32(s);
        return filter(s, w, a->groups);
    }
    case TN_OP_CONV_TRANSPOSE: {
        const tn_attrs_conv_transpose *a = TN_ATTRS_OF(s->g, s->anchor, conv_transpose);
        place(s, w, a->layout, a->strides, a->pads, a->dilations);
        return filter(s, w, a->groups);
    }
    default: return false;
    }
}

/* ---- NHWC convolution -------------------------------------------------------------------------------------------- */

bool tn_window_of(const tn_spec *s, tn_window *w) {
    enum { H = 1, W = 2 };
    tn_sliding v;
    *w = (tn_window){0};
    tn_graph *g = s->g;
    if (!s->anchor.i || tn_node_op(g, s->anchor) != TN_OP_CONV || !tn_sliding_of(s, &v) || !v.nhwc || v.spatial > 2)
        return false;
    const uint32_t rank = v.spatial + 2;
    int64_t o = 0;
    w->x = v.x, w->filter = v.w, w->bias = v.bias, w->out = v.y;
    w->dtype = tn_val_dtype(g, w->x);
    w->filter_dtype = tn_val_dtype(g, w->filter);
    w->tf32 = v.tf32, w->i32 = tn_spec_i32(s);
    w->groups = v.groups;
    if ((!w->i32 && w->filter_dtype != w->dtype) || !tn_dim_is_const(g, tn_val_dim(g, w->filter, 0), &o) ||
        !tn_dim_is_const(g, tn_val_dim(g, w->filter, rank - 1), &w->c) || w->c < 1 || o < 1 || o % w->groups)
        return false;
    w->n = o / w->groups;
    w->r = v.kernel[H], w->s = v.kernel[W];
    w->stride_h = v.stride[H], w->stride_w = v.stride[W];
    w->pad_h = v.before[H], w->pad_w = v.before[W];
    w->after_h = v.after[H], w->after_w = v.after[W];
    w->dilation_h = v.dilation[H], w->dilation_w = v.dilation[W];
    w->h = v.in[H], w->w = v.in[W];
    w->oh = v.out[H], w->ow = v.out[W];
    w->m = tn_spec_product(s, w->out, 0, rank - 1);
    w->x_n = (tn_coord){"n", 0, 1, 0};
    w->x_h = (tn_coord){"h", 1, v.spatial - 1, 0};
    w->x_w = (tn_coord){"w", v.spatial, 1, 0};
    w->x_c = (tn_coord){"c", rank - 1, 1, 0};
    w->f_o = (tn_coord){"n", 0, 1, 0};
    w->f_k = (tn_coord){"k", 1, rank - 1, 0};
    w->o_m = (tn_coord){"m", 0, rank - 1, 0};
    w->o_n = (tn_coord){"n", rank - 1, 1, 0};
    return true;
}

void tn_window_constants(const tn_spec *s, const tn_window *w, tn_problem *p) {
    tn_problem_add(s, p, "M", w->m);
    tn_problem_add(s, p, "H", w->h);
    tn_problem_add(s, p, "W", w->w);
    tn_problem_add(s, p, "OH", w->oh);
    tn_problem_add(s, p, "OW", w->ow);
    const struct {
        const char *name;
        int64_t value;
    } ints[] = {{"N", w->n},
                {"K", w->r * w->s * w->c},
                {"BATCH", w->groups},
                {"GROUPS", w->groups},
                {"C", w->c},
                {"R", w->r},
                {"S", w->s},
                {"STRIDE_H", w->stride_h},
                {"STRIDE_W", w->stride_w},
                {"PAD_H", w->pad_h},
                {"PAD_W", w->pad_w},
                {"DILATION_H", w->dilation_h},
                {"DILATION_W", w->dilation_w}};
    for (size_t k = 0; k < sizeof ints / sizeof *ints; k++) tn_problem_add_int(p, ints[k].name, ints[k].value);
}
