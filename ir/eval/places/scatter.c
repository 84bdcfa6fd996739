/* scatter.c: scatter_elements and scatter_nd.  Updates are applied in the order in which they stand, so without a
 * reduction the last of several to one element wins.  Each index is checked; negative ones count from the end. */
#include <math.h>

#include "ir/eval/internal.h"

/* x seen as rows of `inner` elements, of which update u replaces or changes the row rows[u]; -1: none. */
typedef struct plan {
    int64_t count, inner;
    int64_t *rows;
} plan;

static tn_status index_at(tn_ev *c, int64_t at, size_t axis, int64_t *out) {
    int64_t i = tn_ev_get_i(&c->in[1], at), n = c->in[0].dims[axis];
    *out = i < 0 ? i + n : i;
    if (*out >= 0 && *out < n) return TN_OK;
    return tn_ev_fail(c, TN_E_ARGUMENT, "index %lld at position %lld is out of range for axis %zu of size %lld",
                      (long long)i, (long long)at, axis, (long long)n);
}

static tn_status plan_elements(tn_ev *c, plan *p) {
    const tn_tensor *x = &c->in[0], *idx = &c->in[1];
    size_t axis = (size_t)((const tn_attrs_scatter *)c->attrs)->axis;
    int64_t strides[TN_MAX_RANK], at[TN_MAX_RANK] = {0};
    tn_ev_strides(x, strides);
    for (size_t k = 0; k < x->rank; k++)
        if ((k != axis && idx->dims[k] > x->dims[k]) || idx->dims[k] != c->in[2].dims[k])
            return tn_ev_fail(c, TN_E_TYPE, "axis %zu has size %lld in x, %lld in the indices, %lld in the updates", k,
                              (long long)x->dims[k], (long long)idx->dims[k], (long long)c->in[2].dims[k]);
    for (int64_t u = 0; u < p->count; u++) {
        int64_t v = 0;
        TN_TRY(index_at(c, u, axis, &v));
        p->rows[u] = 0;
        for (size_t k = 0; k < x->rank; k++) p->rows[u] += (k == axis ? v : at[k]) * strides[k];
        for (size_t k = x->rank; k-- > 0;) {
            if (++at[k] < idx->dims[k]) break;
            at[k] = 0;
        }
    }
    return TN_OK;
}

static tn_status plan_nd(tn_ev *c, plan *p) {
    const tn_tensor *x = &c->in[0], *idx = &c->in[1];
    size_t len = (size_t)idx->dims[idx->rank - 1];
    if (tn_tensor_numel(&c->in[2]) != p->count * p->inner)
        return tn_ev_fail(c, TN_E_TYPE, "the updates do not fit the indices and x");
    for (int64_t u = 0; u < p->count; u++) {
        p->rows[u] = 0;
        for (size_t k = 0; k < len; k++) {
            int64_t v = 0;
            TN_TRY(index_at(c, u * (int64_t)len + (int64_t)k, k, &v));
            p->rows[u] = p->rows[u] * x->dims[k] + v;
        }
    }
    return TN_OK;
}

static tn_op reduction_of(const char *name) {
    static const struct {
        const char *name;
        tn_op op;
    } all[] = {{"add", TN_OP_ADD}, {"mul", TN_OP_MUL}, {"min", TN_OP_MIN}, {"max", TN_OP_MAX}};
    for (size_t k = 0; name && k < sizeof all / sizeof *all; k++)
        if (!strcmp(name, all[k].name)) return all[k].op;
    return TN_OP_NONE;
}

static double combine_f(tn_op op, double a, double b) {
    switch (op) {
    case TN_OP_ADD: return a + b;
    case TN_OP_MUL: return a * b;
    case TN_OP_MIN: return isnan(b) || b < a ? b : a;
    default: return isnan(b) || b > a ? b : a;
    }
}

static int64_t combine_i(tn_op op, int64_t a, int64_t b, bool is_unsigned) {
    bool less = is_unsigned ? (uint64_t)b < (uint64_t)a : b < a;
    switch (op) {
    case TN_OP_ADD: return (int64_t)((uint64_t)a + (uint64_t)b);
    case TN_OP_MUL: return (int64_t)((uint64_t)a * (uint64_t)b);
    case TN_OP_MIN: return less ? b : a;
    default: return less ? a : b;
    }
}

/* Floats are combined in double and rounded once. */
static tn_status reduce(tn_ev *c, const plan *p, tn_op op) {
    const tn_tensor *x = &c->in[0];
    tn_dtype t = x->dtype;
    int64_t n = tn_tensor_numel(x);
    bool floats = tn_dtype_is_float(t), is_unsigned = tn_dtype_is_unsigned(t);
    void *acc = tn_ev_scratch(c, n, 8);
    if (!acc) return tn_ev_no_memory(c);
    double *f = acc;
    int64_t *i = acc;
    if (floats)
        tn_ev_load_f(x, 0, 1, (size_t)n, f);
    else
        tn_ev_load_i(x, 0, 1, (size_t)n, i);
    for (int64_t u = 0; u < p->count; u++)
        for (int64_t k = 0; p->rows[u] >= 0 && k < p->inner; k++) {
            int64_t to = p->rows[u] * p->inner + k, from = u * p->inner + k;
            if (floats)
                f[to] = combine_f(op, f[to], tn_ev_get_f(&c->in[2], from));
            else
                i[to] = combine_i(op, i[to], tn_ev_get_i(&c->in[2], from), is_unsigned);
        }
    if (floats)
        tn_ev_store_f(&c->out[0], 0, 1, (size_t)n, f);
    else
        tn_ev_store_i(&c->out[0], 0, 1, (size_t)n, i);
    tn_ev_drop(c, acc, n, 8);
    return TN_OK;
}

static void replace(tn_ev *c, const plan *p) {
    const tn_tensor *x = &c->in[0];
    size_t bytes = (size_t)p->inner * tn_ev_size(x->dtype), all = (size_t)tn_tensor_numel(x) * tn_ev_size(x->dtype);
    if (all) memcpy(c->out[0].data, x->data, all);
    for (int64_t u = 0; bytes && u < p->count; u++) {
        if (p->rows[u] < 0) continue;
        memcpy((char *)c->out[0].data + (size_t)p->rows[u] * bytes, (const char *)c->in[2].data + (size_t)u * bytes,
               bytes);
    }
}

tn_status tn_ev_scatter(tn_ev *c) {
    tn_op reduction = reduction_of(((const tn_attrs_scatter *)c->attrs)->reduction);
    const tn_tensor *x = &c->in[0], *idx = &c->in[1];
    bool nd = c->op == TN_OP_SCATTER_ND;
    size_t len = nd ? (size_t)idx->dims[idx->rank - 1] : x->rank;
    if (len > x->rank) return tn_ev_fail(c, TN_E_TYPE, "an index of length %zu does not fit x", len);
    plan p = {.inner = tn_ev_product(x, len, x->rank),
              .count = nd ? tn_ev_product(idx, 0, idx->rank - 1u) : tn_tensor_numel(idx)};
    p.rows = tn_ev_scratch(c, p.count, sizeof *p.rows);
    if (!p.rows) return tn_ev_no_memory(c);
    tn_status status = nd ? plan_nd(c, &p) : plan_elements(c, &p);
    if (status == TN_OK && reduction != TN_OP_NONE)
        status = reduce(c, &p, reduction);
    else if (status == TN_OK)
        replace(c, &p);
    tn_ev_drop(c, p.rows, p.count, sizeof *p.rows);
    return status;
}

/* The order says where updates go; equal rows keep it. */
tn_status tn_ev_scatter_sorted(tn_ev *c) {
    const tn_op reduction = reduction_of(((const tn_attrs_scatter *)c->attrs)->reduction);
    plan p = {.inner = c->in[0].dims[1], .count = c->in[1].dims[0]};
    if (c->in[2].dims[0] != p.count || c->in[2].dims[1] != p.inner)
        return tn_ev_fail(c, TN_E_TYPE, "the updates do not fit the order and x");
    p.rows = tn_ev_scratch(c, p.count, sizeof *p.rows);
    if (!p.rows) return tn_ev_no_memory(c);
    for (int64_t k = 0; k < p.count; k++) p.rows[k] = -1;
    for (int64_t k = 0; k < p.count; k++) {
        const uint64_t v = (uint64_t)tn_ev_get_i(&c->in[1], k), row = v >> 32, u = v & UINT32_MAX;
        if (u < (uint64_t)p.count && row < (uint64_t)c->in[0].dims[0]) p.rows[u] = (int64_t)row;
    }
    tn_status status = TN_OK;
    if (reduction != TN_OP_NONE)
        status = reduce(c, &p, reduction);
    else
        replace(c, &p);
    tn_ev_drop(c, p.rows, p.count, sizeof *p.rows);
    return status;
}

tn_status tn_ev_put_rows(tn_ev *c) {
    const tn_tensor *x = &c->in[0], *rows = &c->in[1];
    const int64_t heads = x->dims[1], steps = rows->dims[2];
    const size_t bytes = (size_t)x->dims[3] * tn_ev_size(x->dtype),
                 all = (size_t)tn_tensor_numel(x) * tn_ev_size(x->dtype);
    if (all) memcpy(c->out[0].data, x->data, all);
    for (int64_t u = 0; bytes && u < x->dims[0] * heads * steps; u++) {
        const int64_t head = u / steps, s = u % steps, first = tn_ev_get_i(&c->in[2], head / heads);
        if (s >= tn_ev_get_i(&c->in[3], head / heads) || first < -s || first >= x->dims[2] - s) continue;
        const int64_t at = first + s;
        memcpy((char *)c->out[0].data + (size_t)(head * x->dims[2] + at) * bytes,
               (const char *)rows->data + (size_t)u * bytes, bytes);
    }
    return TN_OK;
}
