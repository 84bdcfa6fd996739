/* sample.c: grid_sample as a few weighted reads of the operand at coordinates that the grid holds.  Every index is
 * clamped into the axis; taps that the padding makes 0 have weight 0 and do not count. */
#include "codegen/emit/internal.h"

#include <stdio.h>
#include <string.h>

enum { MAX_TAPS = 4, MAX_PRODUCT = 256 };

typedef struct axis_taps {
    tn_dim index[MAX_TAPS];
    tn_ref weight[MAX_TAPS]; /* empty text: 1 */
} axis_taps;

typedef struct sampling {
    const char *type, *padding; /* C type of coordinates; template argument */
    const char *align, *elements;
    bool near, cubic, zeros;
    uint32_t n_taps;
} sampling;

static bool is(const char *s, const char *name) {
    return s && !strcmp(s, name);
}

static sampling sampling_of(const tn_graph *g, tn_node n) {
    const tn_attrs_grid_sample *a = TN_ATTRS_OF(g, n, grid_sample);
    const bool wide = tn_emit_weights(g, tn_node_input(g, n, 0)) == TN_F64;
    sampling s = {.near = is(a->mode, "nearest"), .cubic = is(a->mode, "cubic")};
    s.zeros = !is(a->padding, "border") && !is(a->padding, "reflection");
    s.padding = s.zeros ? "TN_PAD_ZEROS" : is(a->padding, "border") ? "TN_PAD_BORDER" : "TN_PAD_REFLECTION";
    s.align = a->align_corners ? "true" : "false";
    s.elements = a->elements ? "true" : "false";
    s.type = s.near || wide ? "double" : "float"; /* nearest: which element it is must not depend on rounding */
    s.n_taps = s.near ? 1 : s.cubic ? 4 : 2;
    return s;
}

/* Taps of an axis of that size around grid coordinate g. */
static void taps_of(tn_fn *f, const sampling *s, tn_ref g, tn_dim dim, axis_taps *t) {
    const tn_expr n = tn_fn_expr(f, dim, true);
    const uint32_t id = f->n_names++;
    tn_text *o = tn_fn_text(f, g.lane);
    tn_text_add(o, "const %s g%u = tn_grid_coordinate<%s, %s, %s>((%s)%s, (%s)%s);\n", s->type, id, s->elements,
                s->align, s->padding, s->type, g.text, s->type, n.text);
    tn_text_add(o, s->near ? "const %s first%u = tn_round(g%u);\n" : "const %s first%u = tn_floor(g%u)%s;\n", s->type,
                id, id, s->cubic ? " - 1" : "");
    for (uint32_t k = 0; k < s->n_taps; ++k) {
        char text[700];
        snprintf(text, sizeof text, "tn_grid_index<%s, %s, tn_index>(first%u + %u, %s)", s->align, s->padding, id, k,
                 n.text);
        t->index[k] = tn_fn_index_var(f, "i", text, dim, g.lane);
        tn_ref *w = &t->weight[k];
        *w = (tn_ref){"", g.lane};
        if (s->near && !s->zeros) continue;
        snprintf(w->text, sizeof w->text, "w%u_%u", id, k);
        tn_text_add(o, "const %s %s = ", s->type, w->text);
        if (s->zeros) tn_text_add(o, "!tn_grid_inside(first%u + %u, %s) ? 0 : ", id, k, n.text);
        if (s->near)
            tn_text_add(o, "1;\n");
        else
            tn_text_add(o,
                        s->cubic ? "tn_cubic_weight<%s>(first%u + %u - g%u, -0.75);\n"
                                 : "tn_linear_weight<%s>(first%u + %u - g%u);\n",
                        s->type, id, k, id);
    }
}

/* Taps of every sampled axis: the grid's coordinates stand innermost axis first. */
static void all_taps(tn_fn *f, tn_node n, const sampling *s, const tn_dim *c, uint32_t pred, axis_taps *t) {
    tn_emitter *e = f->e;
    const tn_val x = tn_node_input(e->g, n, 0), grid = tn_node_input(e->g, n, 1);
    const size_t rank = tn_val_rank(e->g, x), axes = rank - 2;
    tn_dim at[TN_MAX_RANK];
    at[0] = c[0];
    for (size_t k = 0; k < axes; ++k) at[1 + k] = c[2 + k];
    for (size_t k = 0; k < axes && tn_emit_ok(e); ++k) {
        at[rank - 1] = tn_dim_const(e->g, (int64_t)(axes - 1 - k));
        taps_of(f, s, tn_fn_value(f, grid, at, pred), tn_val_dim(e->g, x, 2 + k), &t[k]);
    }
}

/* Adds one combination of taps to the sum. */
static void add_tap(tn_fn *f, tn_val x, const tn_dim *c, const axis_taps *t, size_t axes, const sampling *s,
                    uint32_t which, uint32_t pred, tn_text *sum, bool *lane) {
    tn_dim at[TN_MAX_RANK];
    char weight[8 * 24] = "";
    size_t len = 0;
    at[0] = c[0];
    at[1] = c[1];
    for (size_t k = axes; k-- > 0; which /= s->n_taps) {
        const tn_ref *w = &t[k].weight[which % s->n_taps];
        at[2 + k] = t[k].index[which % s->n_taps];
        *lane |= w->lane;
        if (w->text[0] && len < sizeof weight)
            len += (size_t)snprintf(weight + len, sizeof weight - len, "%s%s", len ? " * " : "", w->text);
    }
    const tn_ref v = tn_fn_value(f, x, at, pred);
    *lane |= v.lane;
    if (sum->n) tn_text_add(sum, " + ");
    if (!len)
        tn_text_add(sum, "%s", v.text);
    else if (s->near)
        tn_text_add(sum, "(%s == 0 ? 0 : %s)", weight, v.text);
    else
        tn_text_add(sum, "tn_tap(%s, (%s)%s)", weight, s->type, v.text);
}

tn_ref tn_fn_grid_sample(tn_fn *f, tn_node n, const tn_dim *c, uint32_t pred) {
    tn_emitter *e = f->e;
    const tn_val x = tn_node_input(e->g, n, 0), y = tn_node_result(e->g, n, 0);
    const tn_dtype type = tn_val_dtype(e->g, y);
    const size_t axes = tn_val_rank(e->g, x) - 2;
    const sampling s = sampling_of(e->g, n);
    axis_taps t[TN_MAX_RANK];
    uint32_t product = 1;
    bool lane = false;
    for (size_t k = 0; k < axes; ++k) product *= s.n_taps;
    if (product > MAX_PRODUCT) return tn_fn_failed(f, n, "interpolation needs too many taps");
    all_taps(f, n, &s, c, pred, t);
    tn_text sum = {.env = e->env};
    for (uint32_t p = 0; p < product && tn_emit_ok(e); ++p) add_tap(f, x, c, t, axes, &s, p, pred, &sum, &lane);
    tn_ref out = {"0", false};
    if (sum.failed) tn_emit_fail(e, TN_E_MEMORY, "out of memory");
    if (tn_emit_ok(e)) {
        tn_text text = {.env = e->env};
        if (!s.near && tn_dtype_is_int(type))
            tn_cast_text(&text, sum.p ? sum.p : "0", tn_emit_weights(e->g, x), &(tn_attrs_cast){.to = type}, false);
        else
            tn_text_add(&text, "(%s)(%s)", tn_register_type(type), sum.p);
        if (text.failed) tn_emit_fail(e, TN_E_MEMORY, "out of memory");
        out = tn_fn_define(f, y, lane, text.p ? text.p : "0");
        tn_text_free(&text);
    }
    tn_text_free(&sum);
    return out;
}
