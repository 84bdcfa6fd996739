/* window.c: the anchor as an NHWC convolution. */
#include "codegen/spec/window.h"

#include <string.h>

static int64_t at(tn_ints v, uint32_t k, int64_t missing) {
    return k < v.n ? v.p[k] : missing;
}

/* Static sizes of the filter, or false. */
static bool filter_sizes(const tn_spec *s, tn_window *w, uint32_t rank, int64_t *o) {
    const tn_graph *g = s->g;
    const uint32_t spatial = rank - 2;
    w->r = 1;
    return tn_dim_is_const(g, tn_val_dim(g, w->filter, 0), o) &&
           (spatial == 1 || tn_dim_is_const(g, tn_val_dim(g, w->filter, 1), &w->r)) &&
           tn_dim_is_const(g, tn_val_dim(g, w->filter, spatial), &w->s) &&
           tn_dim_is_const(g, tn_val_dim(g, w->filter, rank - 1), &w->c);
}

bool tn_window_of(const tn_spec *s, tn_window *w) {
    *w = (tn_window){0};
    tn_graph *g = s->g;
    if (!s->anchor.i || tn_node_op(g, s->anchor) != TN_OP_CONV) return false;
    const tn_attrs_conv *a = TN_ATTRS_OF(g, s->anchor, conv);
    w->x = tn_spec_anchor_input(s, 0);
    w->filter = tn_spec_anchor_input(s, 1);
    w->bias = tn_spec_anchor_input(s, 2);
    w->out = tn_spec_anchor_result(s);
    w->dtype = tn_val_dtype(g, w->x);
    w->tf32 = a->math && !strcmp(a->math, "tf32");
    const uint32_t rank = (uint32_t)tn_val_rank(g, w->x), spatial = rank - 2;
    int64_t o = 0;
    if (!a->layout || strcmp(a->layout, "nhwc") != 0 || rank < 3 || rank > 4 || tn_val_dtype(g, w->filter) != w->dtype)
        return false;
    w->groups = a->groups < 1 ? 1 : a->groups;
    if (!filter_sizes(s, w, rank, &o) || w->c < 1 || o < 1 || o % w->groups) return false;
    w->n = o / w->groups;
    const uint32_t iw = spatial - 1; /* index of the width among the spatial axes */
    w->stride_h = spatial == 2 ? at(a->strides, 0, 1) : 1;
    w->pad_h = spatial == 2 ? at(a->pads, 0, 0) : 0;
    w->dilation_h = spatial == 2 ? at(a->dilations, 0, 1) : 1;
    w->stride_w = at(a->strides, iw, 1);
    w->pad_w = at(a->pads, iw, 0);
    w->dilation_w = at(a->dilations, iw, 1);
    const tn_dim one = tn_dim_const(g, 1);
    w->h = spatial == 2 ? tn_val_dim(g, w->x, 1) : one;
    w->w = tn_val_dim(g, w->x, spatial);
    w->oh = spatial == 2 ? tn_val_dim(g, w->out, 1) : one;
    w->ow = tn_val_dim(g, w->out, spatial);
    w->m = tn_spec_product(s, w->out, 0, rank - 1);
    w->x_n = (tn_coord){"n", 0, 1, 0};
    w->x_h = (tn_coord){"h", 1, spatial - 1, 0};
    w->x_w = (tn_coord){"w", spatial, 1, 0};
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
