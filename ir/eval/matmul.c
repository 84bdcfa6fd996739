/* matmul.c: batched matrix product.  Operands go to double (or stay f32 in fast mode), one matrix at a time; integers
 * are multiplied in 64 bits that wrap. */
#include "ir/eval/internal.h"

typedef struct side {
    const tn_tensor *t;
    int64_t strides[TN_MAX_RANK]; /* of the batch axes, in elements, 0 where broadcast */
    int64_t numel;                /* of one matrix */
    int64_t held;                 /* the matrix that `data` holds; -1: none */
    double *data;
} side;

/* Strides of the batch axes of an operand, aligned with the result's. */
static bool batch_strides(const tn_tensor *t, const tn_tensor *y, int64_t *strides) {
    tn_tensor bt = *t, by = *y;
    bt.rank -= 2;
    by.rank -= 2;
    if (!tn_ev_broadcast_strides(&bt, &by, strides)) return false;
    for (uint32_t k = 0; k < by.rank; k++) strides[k] *= t->dims[t->rank - 2] * t->dims[t->rank - 1];
    return true;
}

static const double *hold(side *s, int64_t at) {
    if (s->held != at) tn_ev_load_f(s->t, at, 1, (size_t)s->numel, s->data);
    s->held = at;
    return s->data;
}

static void int_matmul(const tn_ev *c, int64_t m, int64_t n, int64_t k, int64_t at_a, int64_t at_b, int64_t at_y) {
    const tn_attrs_matmul *a = c->attrs;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            uint64_t sum = 0;
            for (int64_t p = 0; p < k; p++) {
                int64_t x = tn_ev_get_i(&c->in[0], at_a + (a->trans_a ? p * m + i : i * k + p));
                int64_t z = tn_ev_get_i(&c->in[1], at_b + (a->trans_b ? j * k + p : p * n + j));
                sum += (uint64_t)x * (uint64_t)z;
            }
            int64_t v = (int64_t)sum;
            tn_ev_store_i(&c->out[0], at_y + i * n + j, 1, 1, &v);
        }
}

tn_status tn_ev_matmul(tn_ev *c) {
    const tn_attrs_matmul *at = c->attrs;
    const tn_tensor *ta = &c->in[0], *tb = &c->in[1];
    tn_tensor *y = &c->out[0];
    const int64_t *da = ta->dims + ta->rank - 2, *db = tb->dims + tb->rank - 2, *dy = y->dims + y->rank - 2;
    int64_t m = da[at->trans_a], k = da[!at->trans_a], n = db[!at->trans_b];
    side a = {.t = ta, .numel = m * k, .held = -1}, b = {.t = tb, .numel = k * n, .held = -1};
    if (db[at->trans_b] != k || dy[0] != m || dy[1] != n)
        return tn_ev_fail(c, TN_E_TYPE, "the inner sizes %lld and %lld differ", (long long)k,
                          (long long)db[at->trans_b]);
    if (!batch_strides(ta, y, a.strides) || !batch_strides(tb, y, b.strides))
        return tn_ev_fail(c, TN_E_TYPE, "the batch sizes do not broadcast");
    bool floats = tn_dtype_is_float(y->dtype), fast = c->opts->fast && y->dtype == TN_F32;
    double *out = floats && !fast ? tn_ev_scratch(c, m * n, sizeof(double)) : NULL;
    if (floats && !fast) {
        a.data = tn_ev_scratch(c, a.numel, sizeof(double));
        b.data = tn_ev_scratch(c, b.numel, sizeof(double));
    }
    tn_status status = !floats || fast || (a.data && b.data && out) ? TN_OK : tn_ev_no_memory(c);
    int64_t strides[TN_WALK_OPERANDS][TN_MAX_RANK], at_y = 0;
    memcpy(strides[0], a.strides, sizeof a.strides);
    memcpy(strides[1], b.strides, sizeof b.strides);
    tn_walk w;
    tn_walk_start(&w, y->rank - 2, y->dims, 2, strides);
    for (; status == TN_OK && m > 0 && n > 0 && !w.done; tn_walk_next(&w))
        for (int64_t i = 0; i < w.inner; i++, at_y += m * n) {
            int64_t at_a = w.at[0] + i * w.step[0], at_b = w.at[1] + i * w.step[1];
            if (fast) {
                tn_ev_sgemm(at->trans_a, at->trans_b, m, n, k, (const float *)ta->data + at_a, da[1],
                            (const float *)tb->data + at_b, db[1], false, (float *)y->data + at_y, n);
            } else if (floats) {
                tn_ev_gemm(at->trans_a, at->trans_b, m, n, k, hold(&a, at_a), da[1], hold(&b, at_b), db[1], false, out,
                           n);
                tn_ev_store_f(y, at_y, 1, (size_t)(m * n), out);
            } else {
                int_matmul(c, m, n, k, at_a, at_b, at_y);
            }
        }
    tn_ev_drop(c, a.data, a.numel, sizeof(double));
    tn_ev_drop(c, b.data, b.numel, sizeof(double));
    tn_ev_drop(c, out, m * n, sizeof(double));
    return status;
}
