/* index.c: gathers.  Indices come from the data: each is checked, negative ones count from the end. */
#include "ir/eval/internal.h"

/* Index `at` of operand 1, wrapped into 0..n-1. */
static tn_status index_at(tn_ev *c, int64_t at, int64_t n, size_t axis, int64_t *out) {
    int64_t i = tn_ev_get_i(&c->in[1], at);
    *out = i < 0 ? i + n : i;
    if (*out >= 0 && *out < n) return TN_OK;
    return tn_ev_fail(c, TN_E_ARGUMENT, "index %lld at position %lld is out of range for axis %zu of size %lld",
                      (long long)i, (long long)at, axis, (long long)n);
}

/* n elements, also of a table that is held in a narrower dtype than what is taken from it. */
static void copy_run(tn_tensor *y, int64_t to, const tn_tensor *x, int64_t from, int64_t n) {
    tn_tensor dst = {.dtype = y->dtype, .rank = 1, .dims = {n}}, src = {.dtype = x->dtype, .rank = 1, .dims = {n}};
    dst.data = (char *)y->data + (size_t)to * tn_ev_size(y->dtype);
    src.data = (char *)x->data + (size_t)from * tn_ev_size(x->dtype);
    tn_ev_convert(&dst, &src);
}

tn_status tn_ev_gather(tn_ev *c) {
    const tn_attrs_axis *a = c->attrs;
    const tn_tensor *x = &c->in[0];
    size_t axis = (size_t)a->axis;
    int64_t outer = tn_ev_product(x, 0, axis), n = x->dims[axis], inner = tn_ev_product(x, axis + 1, x->rank);
    int64_t count = tn_tensor_numel(&c->in[1]), *idx = tn_ev_scratch(c, count, sizeof *idx);
    int64_t to = 0;
    if (!idx) return tn_ev_no_memory(c);
    tn_status status =
        outer * count * inner == tn_tensor_numel(&c->out[0]) ? TN_OK : tn_ev_fail(c, TN_E_TYPE, "the shapes differ");
    for (int64_t k = 0; status == TN_OK && k < count; k++) status = index_at(c, k, n, axis, &idx[k]);
    for (int64_t o = 0; status == TN_OK && inner && o < outer; o++)
        for (int64_t k = 0; k < count; k++, to += inner) copy_run(&c->out[0], to, x, (o * n + idx[k]) * inner, inner);
    tn_ev_drop(c, idx, count, sizeof *idx);
    return status;
}

tn_status tn_ev_gather_elements(tn_ev *c) {
    const tn_attrs_axis *a = c->attrs;
    const tn_tensor *x = &c->in[0], *idx = &c->in[1];
    size_t axis = (size_t)a->axis, e = tn_ev_size(x->dtype);
    int64_t xs[TN_MAX_RANK], at[TN_MAX_RANK] = {0}, n = tn_tensor_numel(idx);
    tn_ev_strides(x, xs);
    for (size_t k = 0; k < x->rank; k++)
        if ((k != axis && idx->dims[k] > x->dims[k]) || idx->dims[k] != c->out[0].dims[k])
            return tn_ev_fail(c, TN_E_TYPE, "the indices are larger than x on axis %zu", k);
    for (int64_t i = 0; i < n; i++) {
        int64_t offset = 0, v = 0;
        TN_TRY(index_at(c, i, x->dims[axis], axis, &v));
        for (size_t k = 0; k < x->rank; k++) offset += (k == axis ? v : at[k]) * xs[k];
        memcpy((char *)c->out[0].data + (size_t)i * e, (const char *)x->data + (size_t)offset * e, e);
        for (size_t k = x->rank; k-- > 0;) {
            if (++at[k] < idx->dims[k]) break;
            at[k] = 0;
        }
    }
    return TN_OK;
}

tn_status tn_ev_gather_nd(tn_ev *c) {
    const tn_attrs_gather_nd *a = c->attrs;
    const tn_tensor *x = &c->in[0], *idx = &c->in[1];
    size_t b = (size_t)a->batch_dims, e = tn_ev_size(x->dtype), len = (size_t)idx->dims[idx->rank - 1];
    int64_t xs[TN_MAX_RANK], batches = tn_ev_product(idx, 0, b), per = tn_ev_product(idx, b, idx->rank - 1u);
    tn_ev_strides(x, xs);
    if (b + len > x->rank) return tn_ev_fail(c, TN_E_TYPE, "an index of length %zu does not fit x", len);
    for (size_t k = 0; k < b; k++)
        if (x->dims[k] != idx->dims[k]) return tn_ev_fail(c, TN_E_TYPE, "batch axis %zu differs", k);
    int64_t inner = tn_ev_product(x, b + len, x->rank), batch = tn_ev_product(x, b, x->rank);
    size_t bytes = (size_t)inner * e;
    if (batches * per * inner != tn_tensor_numel(&c->out[0])) return tn_ev_fail(c, TN_E_TYPE, "the shapes differ");
    char *to = c->out[0].data;
    for (int64_t o = 0; o < batches; o++)
        for (int64_t i = 0; i < per; i++, to += bytes) {
            int64_t offset = o * batch;
            for (size_t k = 0; k < len; k++) {
                int64_t v = 0;
                TN_TRY(index_at(c, (o * per + i) * (int64_t)len + (int64_t)k, x->dims[b + k], b + k, &v));
                offset += v * xs[b + k];
            }
            if (bytes) memcpy(to, (const char *)x->data + (size_t)offset * e, bytes);
        }
    return TN_OK;
}
