/* matmul.c: batched matrix product.  Operands go to double (or stay f32 in fast mode), one matrix at a time; integers
 * are multiplied in 64 bits that wrap, but those of 8 bits (math = "i32") in double too, whose sums hold them exactly. */
#include <math.h>

#include "ir/eval/internal.h"

typedef struct side {
    const tn_tensor *t;
    int64_t strides[TN_MAX_RANK]; /* of the batch axes, in elements, 0 where broadcast */
    int64_t numel;                /* of one matrix */
    int64_t held;                 /* the matrix that `f` or `i` holds; -1: none */
    double *f;
    int64_t *i;
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

/* Converts the matrix at element `at`, unless it is the one that is held already. */
static void hold(side *s, int64_t at) {
    if (s->held == at) return;
    if (s->f)
        tn_ev_load_f(s->t, at, 1, (size_t)s->numel, s->f);
    else
        tn_ev_load_i(s->t, at, 1, (size_t)s->numel, s->i);
    s->held = at;
}

static void int_gemm(const tn_attrs_matmul *at, int64_t m, int64_t n, int64_t k, const int64_t *a, const int64_t *b,
                     int64_t *y) {
    memset(y, 0, (size_t)(m * n) * sizeof *y);
    for (int64_t i = 0; i < m; i++)
        for (int64_t p = 0; p < k; p++) {
            uint64_t x = (uint64_t)(at->trans_a ? a[p * m + i] : a[i * k + p]);
            for (int64_t j = 0; j < n; j++) {
                uint64_t z = (uint64_t)(at->trans_b ? b[j * k + p] : b[p * n + j]);
                y[i * n + j] = (int64_t)((uint64_t)y[i * n + j] + x * z);
            }
        }
}

/* The product y [m, n] of the rows of x [m, k] as they are becomes that of the rows with a norm (ir/type/contract.c); sums: of the
 * columns of the other factor, or NULL: means are not taken away. */
static void norm_rows(double eps, int64_t m, int64_t n, int64_t k, const double *x, const double *sums, double *y) {
    for (int64_t i = 0; i < m; i++) {
        double mean = 0, square = 0;
        for (int64_t p = 0; sums && p < k; p++) mean += x[i * k + p];
        mean /= (double)k;
        for (int64_t p = 0; p < k; p++) square += (x[i * k + p] - mean) * (x[i * k + p] - mean);
        const double scale = 1 / sqrt(square / (double)k + eps);
        for (int64_t j = 0; j < n; j++) y[i * n + j] = (y[i * n + j] - (sums ? mean * sums[j] : 0)) * scale;
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
    const bool bytes = at->math && !strcmp(at->math, "i32");
    const bool norm = at->norm && *at->norm, centred = norm && tn_ev_has(c, 2);
    bool floats = bytes || tn_dtype_is_float(y->dtype), fast = c->opts->fast && y->dtype == TN_F32 && !norm;
    void *pa = NULL, *pb = NULL, *out = NULL; /* double and int64_t have one size */
    double *sums = centred ? tn_ev_scratch(c, n, sizeof *sums) : NULL;
    if (!fast) {
        pa = tn_ev_scratch(c, a.numel, 8);
        pb = tn_ev_scratch(c, b.numel, 8);
        out = tn_ev_scratch(c, m * n, 8);
    }
    a.f = floats ? pa : NULL;
    b.f = floats ? pb : NULL;
    a.i = floats ? NULL : pa;
    b.i = floats ? NULL : pb;
    tn_status status = (fast || (pa && pb && out)) && (!centred || sums) ? TN_OK : tn_ev_no_memory(c);
    if (sums) tn_ev_load_f(&c->in[2], 0, 1, (size_t)n, sums);
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
                continue;
            }
            hold(&a, at_a);
            hold(&b, at_b);
            if (floats) {
                tn_ev_gemm(at->trans_a, at->trans_b, m, n, k, a.f, da[1], b.f, db[1], false, out, n);
                if (norm) norm_rows(at->eps, m, n, k, a.f, sums, out);
                tn_ev_store_f(y, at_y, 1, (size_t)(m * n), out);
            } else {
                int_gemm(at, m, n, k, a.i, b.i, out);
                tn_ev_store_i(y, at_y, 1, (size_t)(m * n), out);
            }
        }
    tn_ev_drop(c, pa, a.numel, 8);
    tn_ev_drop(c, pb, b.numel, 8);
    tn_ev_drop(c, out, m * n, 8);
    tn_ev_drop(c, sums, n, sizeof *sums);
    return status;
}
