/* filter.c: see filter.h. */
#include <math.h>

#include "ir/eval/eval.h"
#include "passes/rules/filter.h"
#include "passes/util.h"

static bool window_filter(tn_filter *f, const char *layout, int64_t groups) {
    const tn_graph *g = f->g;
    size_t rank = tn_val_rank(g, f->w);
    int64_t d;
    bool nhwc = tn_str_is(layout, "nhwc");
    f->second_last = nhwc;
    f->groups = groups ? groups : 1;
    if (rank < 3 || !tn_static_dim(g, f->w, 0, &f->first)) return false;
    if (!tn_static_dim(g, f->w, nhwc ? rank - 1 : 1, &f->second)) return false;
    f->spatial = 1;
    for (size_t k = 0; k + 2 < rank; k++) {
        if (!tn_static_dim(g, f->w, (nhwc ? 1 : 2) + k, &d)) return false;
        f->spatial *= d;
    }
    f->axis = f->in_axis = nhwc ? rank - 1 : 1;
    f->outs = f->first_is_in ? f->second * f->groups : f->first;
    f->ins = f->first_is_in ? f->first : f->second * f->groups;
    return f->first > 0 && f->second > 0 && f->spatial > 0 && f->first % f->groups == 0;
}

/* Weights of rank 2 only: [K, N], or [N, K] when transposed. */
static bool matmul_filter(tn_filter *f) {
    const tn_attrs_matmul *a = tn_node_attrs(f->g, f->node);
    f->matmul = true;
    f->groups = f->spatial = 1;
    f->first_is_in = !a->trans_b;
    if (tn_val_rank(f->g, f->w) != 2 || a->trans_a) return false;
    if (!tn_static_dim(f->g, f->w, 0, &f->first) || !tn_static_dim(f->g, f->w, 1, &f->second)) return false;
    f->outs = a->trans_b ? f->first : f->second;
    f->ins = a->trans_b ? f->second : f->first;
    f->axis = f->in_axis = tn_val_rank(f->g, f->x) - 1;
    return f->first > 0 && f->second > 0;
}

bool tn_filter_of(tn_graph *g, tn_node node, tn_filter *f) {
    tn_op op = tn_node_op(g, node);
    if (op != TN_OP_CONV && op != TN_OP_CONV_TRANSPOSE && op != TN_OP_MATMUL) return false;
    *f = (tn_filter){.g = g, .node = node, .first_is_in = op == TN_OP_CONV_TRANSPOSE};
    f->x = tn_node_input(g, node, 0);
    f->w = tn_node_input(g, node, 1);
    f->b = tn_node_input(g, node, 2);
    if (!tn_is_const(g, f->w) || (f->b.i && !tn_is_const(g, f->b)) || !tn_is_float(g, f->w)) return false;
    if (op == TN_OP_MATMUL) return matmul_filter(f);
    if (op == TN_OP_CONV)
        return window_filter(f, TN_ATTRS_OF(g, node, conv)->layout, TN_ATTRS_OF(g, node, conv)->groups);
    const tn_attrs_conv_transpose *a = tn_node_attrs(g, node);
    return window_filter(f, a->layout, a->groups);
}

void tn_filter_channels(const tn_filter *f, uint64_t e, int64_t *out, int64_t *in) {
    int64_t i = (int64_t)e, row = f->second * f->spatial;
    int64_t first = i / row, second = f->second_last ? i % f->second : i / f->spatial % f->second;
    int64_t group = first / (f->first / f->groups);
    int64_t other = group * f->second + second;
    *out = f->first_is_in ? other : first;
    *in = f->first_is_in ? first : other;
}

bool tn_per_channel(const tn_graph *g, tn_val c, size_t rank, size_t axis, int64_t n) {
    size_t r = tn_val_rank(g, c);
    if (!tn_is_const(g, c) || r > rank) return false;
    for (size_t k = 0; k < r; k++) {
        int64_t d;
        if (!tn_static_dim(g, c, k, &d)) return false;
        if (d != 1 && !(k + rank - r == axis && d == n)) return false;
    }
    return true;
}

double tn_channel_num(const tn_graph *g, tn_val c, int64_t i) {
    int64_t n = 1;
    tn_static_numel(g, c, &n);
    return tn_const_get(g, c, n == 1 ? 0 : (uint64_t)i);
}

/* The filter's elements times what belongs to their channels. */
typedef struct scaling {
    const tn_filter *f;
    tn_dtype dtype;
    const void *from;
    void *to;
    const double *out, *in; /* NULL: 1 */
    const double *less;     /* by output channel, taken away then; NULL: 0 */
} scaling;

/* The numbers that belong to n elements of a row, which has one channel on the first axis, from the at-th of the row on. */
static void numbers_of(const tn_filter *f, const double *by, bool first, int64_t row, int64_t at, size_t n, double *v) {
    const double *second = by + (first ? 0 : row / (f->first / f->groups) * f->second);
    for (size_t k = 0; k < n; k++) {
        const int64_t e = at + (int64_t)k;
        v[k] = first ? by[row] : second[f->spatial == 1 ? e : f->second_last ? e % f->second : e / f->spatial];
    }
}

static void scale_part(void *arg, unsigned part, size_t from, size_t n) {
    enum { AT_ONCE = 512 };
    const scaling *s = arg;
    const tn_filter *f = s->f;
    const int64_t length = f->second * f->spatial;
    double v[AT_ONCE], by[AT_ONCE];
    (void)part;
    for (size_t done = 0, some; done < n; done += some) {
        const int64_t row = (int64_t)(from + done) / length, at = (int64_t)(from + done) % length;
        some = n - done < AT_ONCE ? n - done : AT_ONCE;
        if ((int64_t)some > length - at) some = (size_t)(length - at);
        tn_load_floats(s->dtype, s->from, from + done, some, v);
        if (s->out) numbers_of(f, s->out, !f->first_is_in, row, at, some, by);
        for (size_t k = 0; s->out && k < some; k++) v[k] *= by[k];
        if (s->in) numbers_of(f, s->in, f->first_is_in, row, at, some, by);
        for (size_t k = 0; s->in && k < some; k++) v[k] *= by[k];
        if (s->less) numbers_of(f, s->less, !f->first_is_in, row, at, some, by);
        for (size_t k = 0; s->less && k < some; k++) v[k] -= by[k];
        tn_store_floats(s->dtype, s->to, from + done, some, v);
    }
}

tn_val tn_filter_scaled(const tn_filter *f, const double *out_scale, const double *in_scale) {
    return tn_filter_moved(f, out_scale, in_scale, NULL);
}

tn_val tn_filter_moved(const tn_filter *f, const double *out_scale, const double *in_scale, const double *out_less) {
    tn_graph *g = f->g;
    const tn_dtype t = tn_val_dtype(g, f->w);
    const size_t n = (size_t)(f->first * f->second * f->spatial);
    void *bytes = NULL;
    tn_blob blob = tn_blob_new(g, tn_dtype_bytes(t, n), &bytes);
    if (!bytes) return (tn_val){0};
    scaling s = {f, t, tn_const_data(g, f->w), bytes, out_scale, in_scale, out_less};
    tn_ev_parallel(n, scale_part, &s);
    if (!isfinite(tn_max_abs(t, bytes, n, false))) return (tn_val){0};
    return tn_const(g, tn_val_type(g, f->w), blob, TN_ATTRS_OF(g, tn_val_def(g, f->w), const)->name);
}

double tn_filter_bias(const tn_filter *f, int64_t o) {
    return f->b.i ? tn_channel_num(f->g, f->b, o) : 0;
}

tn_val tn_filter_emit(const tn_filter *f, tn_val x, tn_val w, const double *bias) {
    tn_graph *g = f->g;
    tn_val b = f->b;
    if (w.i && bias) b = tn_emit_const_f64(g, tn_val_dtype(g, w), 1, &f->outs, bias, NULL);
    if (!w.i || (bias && !b.i)) return (tn_val){0};
    tn_val in[3] = {x, w, b};
    bool third = !f->matmul && b.i;
    tn_val y = tn_emit1(g, tn_node_op(g, f->node), tn_node_attrs(g, f->node), third ? 3 : 2, in);
    return f->matmul && bias ? tn_binary(g, TN_OP_ADD, y, b) : y;
}

size_t tn_filter_outs_axis(const tn_filter *f) {
    return f->first_is_in ? 1 : 0;
}

bool tn_filter_alike(const tn_filter *a, const tn_filter *b) {
    const tn_graph *g = a->g;
    const tn_op op = tn_node_op(g, a->node);
    if (op != tn_node_op(g, b->node) || !tn_attrs_equal(op, tn_node_attrs(g, a->node), tn_node_attrs(g, b->node)) ||
        tn_node_region(g, a->node).i != tn_node_region(g, b->node).i || tn_val_rank(g, a->w) != tn_val_rank(g, b->w) ||
        tn_val_dtype(g, a->w) != tn_val_dtype(g, b->w))
        return false;
    for (size_t k = 0; k < tn_val_rank(g, a->w); k++)
        if (k != tn_filter_outs_axis(a) && tn_val_dim(g, a->w, k).i != tn_val_dim(g, b->w, k).i) return false;
    return true;
}
