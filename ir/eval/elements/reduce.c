/* reduce.c: reductions, arg_max/arg_min, cumsum and cumprod.  Floats accumulate in double, integers in 64 bits that wrap. */
#include <math.h>

#include "ir/eval/internal.h"

enum { BLOCK = 512 };

typedef struct acc {
    double *f; /* one of the two, one element a result */
    int64_t *i;
} acc;

static double step_f(tn_op op, double a, double x) {
    switch (op) {
    case TN_OP_REDUCE_MAX: return isnan(x) || x > a ? x : a;
    case TN_OP_REDUCE_MIN: return isnan(x) || x < a ? x : a;
    case TN_OP_REDUCE_PROD: return a * x;
    default: return a + x;
    }
}

static int64_t step_i(tn_op op, int64_t a, int64_t x, bool u) {
    bool less = u ? (uint64_t)x < (uint64_t)a : x < a;
    switch (op) {
    case TN_OP_REDUCE_MAX: return less ? a : x;
    case TN_OP_REDUCE_MIN: return less ? x : a;
    case TN_OP_REDUCE_PROD: return (int64_t)((uint64_t)a * (uint64_t)x);
    default: return (int64_t)((uint64_t)a + (uint64_t)x);
    }
}

/* The result over no elements. */
static double start_f(tn_op op) {
    return op == TN_OP_REDUCE_MAX ? -INFINITY : op == TN_OP_REDUCE_MIN ? INFINITY : op == TN_OP_REDUCE_PROD ? 1 : 0;
}

static int64_t start_i(tn_op op, tn_dtype t) {
    unsigned bits = tn_dtype_bits(t);
    if (op == TN_OP_REDUCE_PROD) return 1;
    if (op != TN_OP_REDUCE_MAX && op != TN_OP_REDUCE_MIN) return 0;
    bool low = op == TN_OP_REDUCE_MAX;
    if (t == TN_BOOL) return !low;
    if (tn_dtype_is_unsigned(t)) return low ? 0 : (int64_t)(UINT64_MAX >> (64 - bits));
    int64_t top = (int64_t)(UINT64_MAX >> (65 - bits));
    return low ? -top - 1 : top;
}

/* Folds one run of the operand into the accumulators, which advance by `step` (0: all into one). */
static void fold_run(const tn_ev *c, acc a, int64_t to, int64_t step, int64_t from, int64_t from_step, int64_t count) {
    const tn_tensor *x = &c->in[0];
    bool u = tn_dtype_is_unsigned(x->dtype);
    for (int64_t at = 0; at < count; at += BLOCK) {
        size_t n = count - at < BLOCK ? (size_t)(count - at) : BLOCK;
        double f[BLOCK];
        int64_t i[BLOCK];
        if (a.f) {
            tn_ev_load_f(x, from + at * from_step, from_step, n, f);
            double *p = a.f + to + at * step;
            if (c->op == TN_OP_REDUCE_SUM || c->op == TN_OP_REDUCE_MEAN)
                for (size_t k = 0; k < n; k++) p[(int64_t)k * step] += f[k];
            else
                for (size_t k = 0; k < n; k++) p[(int64_t)k * step] = step_f(c->op, p[(int64_t)k * step], f[k]);
        } else {
            tn_ev_load_i(x, from + at * from_step, from_step, n, i);
            int64_t *p = a.i + to + at * step;
            for (size_t k = 0; k < n; k++) p[(int64_t)k * step] = step_i(c->op, p[(int64_t)k * step], i[k], u);
        }
    }
}

/* The accumulators' strides seen from the operand's axes: 0 on reduced ones. */
static int64_t result_strides(const tn_ev *c, int64_t *strides) {
    const tn_attrs_reduce *a = c->attrs;
    unsigned mask = 0;
    int64_t s = 1, reduced = 1;
    for (uint32_t k = 0; k < a->axes.n; k++) mask |= 1u << a->axes.p[k];
    for (size_t k = c->in[0].rank; k-- > 0;) {
        bool gone = mask >> k & 1u;
        strides[k] = gone ? 0 : s;
        s *= gone ? 1 : c->in[0].dims[k];
        reduced *= gone ? c->in[0].dims[k] : 1;
    }
    return reduced;
}

tn_status tn_ev_reduce(tn_ev *c) {
    const tn_tensor *x = &c->in[0];
    tn_tensor *y = &c->out[0];
    int64_t strides[TN_WALK_OPERANDS][TN_MAX_RANK], n = tn_tensor_numel(y), reduced = result_strides(c, strides[0]);
    bool floats = tn_dtype_is_float(x->dtype);
    const tn_dtype of = tn_val_dtype(c->g, tn_node_input(c->g, c->node, 0)); /* smaller elements stand in 8 bits in x */
    if (tn_tensor_numel(x) && tn_tensor_numel(x) != n * reduced) return tn_ev_fail(c, TN_E_TYPE, "the shapes differ");
    void *p = tn_ev_scratch(c, n, 8);
    if (!p) return tn_ev_no_memory(c);
    acc a = {.f = floats ? p : NULL, .i = floats ? NULL : p};
    for (int64_t k = 0; k < n; k++) {
        if (floats)
            a.f[k] = start_f(c->op);
        else
            a.i[k] = start_i(c->op, of);
    }
    tn_ev_strides(x, strides[1]);
    tn_walk w;
    for (tn_walk_start(&w, x->rank, x->dims, 2, strides); !w.done; tn_walk_next(&w))
        fold_run(c, a, w.at[0], w.step[0], w.at[1], w.step[1], w.inner);
    for (int64_t k = 0; c->op == TN_OP_REDUCE_MEAN && k < n; k++) {
        if (floats)
            a.f[k] /= (double)reduced;
        else if (reduced)
            a.i[k] =
                tn_dtype_is_unsigned(x->dtype) ? (int64_t)((uint64_t)a.i[k] / (uint64_t)reduced) : a.i[k] / reduced;
    }
    if (floats)
        tn_ev_store_f(y, 0, 1, (size_t)n, a.f);
    else
        tn_ev_store_i(y, 0, 1, (size_t)n, a.i);
    tn_ev_drop(c, p, n, 8);
    return TN_OK;
}

/* The first (or last) position of the best element; a NaN is better than any number. */
tn_status tn_ev_arg(tn_ev *c) {
    const tn_attrs_arg *a = c->attrs;
    const tn_tensor *x = &c->in[0];
    size_t axis = (size_t)a->axis;
    int64_t outer = tn_ev_product(x, 0, axis), n = x->dims[axis], inner = tn_ev_product(x, axis + 1, x->rank);
    bool floats = tn_dtype_is_float(x->dtype), u = tn_dtype_is_unsigned(x->dtype), max = c->op == TN_OP_ARG_MAX;
    int64_t *y = c->out[0].data;
    if (outer * inner != tn_tensor_numel(&c->out[0])) return tn_ev_fail(c, TN_E_TYPE, "the shapes differ");
    if (n == 0 && outer * inner > 0) return tn_ev_fail(c, TN_E_ARGUMENT, "axis %zu is empty", axis);
    for (int64_t o = 0; o < outer * inner; o++) {
        int64_t base = o / inner * n * inner + o % inner, best = 0, best_i = 0;
        double best_f = 0;
        for (int64_t k = 0; k < n; k++) {
            int64_t i = floats ? 0 : tn_ev_get_i(x, base + k * inner);
            double f = floats ? tn_ev_get_f(x, base + k * inner) : 0;
            bool more, same;
            if (floats) {
                more = !isnan(best_f) && (isnan(f) || (max ? f > best_f : f < best_f));
                same = f == best_f || (isnan(f) && isnan(best_f));
            } else {
                bool less = u ? (uint64_t)i < (uint64_t)best_i : i < best_i;
                same = i == best_i;
                more = !same && (max ? !less : less);
            }
            if (k == 0 || more || (same && a->last)) {
                best = k;
                best_i = i;
                best_f = f;
            }
        }
        y[o] = best;
    }
    return TN_OK;
}

tn_status tn_ev_cumsum(tn_ev *c) {
    const tn_attrs_cumsum *a = c->attrs;
    const tn_tensor *x = &c->in[0];
    size_t axis = (size_t)a->axis;
    int64_t outer = tn_ev_product(x, 0, axis), n = x->dims[axis], inner = tn_ev_product(x, axis + 1, x->rank);
    const bool floats = tn_dtype_is_float(x->dtype), product = c->op == TN_OP_CUMPROD;
    if (tn_tensor_numel(x) != tn_tensor_numel(&c->out[0])) return tn_ev_fail(c, TN_E_TYPE, "the shapes differ");
    for (int64_t o = 0; o < outer * inner; o++) {
        int64_t base = o / inner * n * inner + o % inner, now_i = product;
        double now_f = product;
        for (int64_t j = 0; j < n; j++) {
            const int64_t at = base + (a->reverse ? n - 1 - j : j) * inner, before_i = now_i;
            const double before_f = now_f;
            if (floats) {
                const double v = tn_ev_get_f(x, at);
                now_f = product ? now_f * v : now_f + v;
                tn_ev_store_f(&c->out[0], at, 1, 1, a->exclusive ? &before_f : &now_f);
            } else {
                const uint64_t v = (uint64_t)tn_ev_get_i(x, at), now = (uint64_t)now_i;
                now_i = (int64_t)(product ? now * v : now + v);
                tn_ev_store_i(&c->out[0], at, 1, 1, a->exclusive ? &before_i : &now_i);
            }
        }
    }
    return TN_OK;
}
