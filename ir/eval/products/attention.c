/* attention.c: attention in double (ir/type/attention.c says what it is). */
#include <math.h>

#include "ir/eval/internal.h"

typedef struct sizes {
    int64_t batch, s, t, d, e;
    int64_t all;       /* queries, of which s are given: */
    const int64_t *at; /* these; NULL: all are */
} sizes;

static sizes sizes_of(const tn_ev *c) {
    const tn_tensor *q = &c->in[0], *v = &c->in[2];
    const size_t r = q->rank;
    sizes n = {1, q->dims[r - 2], v->dims[r - 2], q->dims[r - 1], v->dims[r - 1], q->dims[r - 2], NULL};
    const tn_eval_cut *cut = tn_eval_cut_of(c->opts, tn_node_input(c->g, c->node, 0));
    if (cut && cut->axis == r - 2) n.all = c->opts->rows->of, n.at = c->opts->rows->at;
    for (size_t k = 0; k + 2 < r; k++) n.batch *= q->dims[k];
    return n;
}

/* Element (b, i, 0) of an operand that broadcasts to the scores, and its step along the keys. */
static int64_t start_of(const tn_ev *c, size_t k, const sizes *n, int64_t b, int64_t i, int64_t *step) {
    const tn_tensor *x = &c->in[k], *q = &c->in[0];
    int64_t at = 0, stride = 1, rest = b;
    *step = 0;
    for (size_t a = 0; a < q->rank; a++) { /* axes from the innermost */
        const bool has = a < x->rank;
        const int64_t size = a == 0   ? n->t
                             : a == 1 ? n->s
                                      : q->dims[q->rank - 1 - a],
                      own = has ? x->dims[x->rank - 1 - a] : 1;
        const int64_t place = a == 0 ? 0 : a == 1 ? i : rest % size;
        if (a > 1) rest /= size;
        if (own == 1) continue;
        if (a == 0) *step = 1;
        at += place * stride;
        stride *= own;
    }
    return at;
}

/* Scores of query i, as softmax takes them. */
static void adjust(const tn_ev *c, const sizes *n, int64_t b, int64_t i, double *score) {
    const tn_attrs_attention *a = c->attrs;
    int64_t step, at;
    for (int64_t j = 0; j < n->t; j++) score[j] *= a->scale != 0 ? a->scale : 1;
    for (int64_t j = 0; a->cap > 0 && j < n->t; j++) score[j] = a->cap * tanh(score[j] / a->cap);
    if (tn_ev_has(c, 3)) {
        at = start_of(c, 3, n, b, i, &step);
        for (int64_t j = 0; j < n->t; j++) score[j] += tn_ev_get_f(&c->in[3], at + j * step);
    }
    if (tn_ev_has(c, 4)) {
        at = start_of(c, 4, n, b, i, &step);
        for (int64_t j = 0; j < n->t; j++)
            if (!tn_ev_get_i(&c->in[4], at + j * step)) score[j] = a->fill;
    }
    const int64_t last = (n->at ? n->at[i] : i) + n->t - n->all;
    for (int64_t j = 0; a->causal && j < n->t; j++)
        if (j > last) score[j] = -INFINITY;
    if (tn_ev_has(c, 5)) {
        const int64_t limit = tn_ev_get_i(&c->in[5], start_of(c, 5, n, b, i, &step));
        for (int64_t j = limit > 0 ? limit : 0; j < n->t; j++) score[j] = -INFINITY;
    }
    if (tn_ev_has(c, 7)) {
        const int64_t from = tn_ev_get_i(&c->in[7], start_of(c, 7, n, b, i, &step));
        for (int64_t j = 0; j < from && j < n->t; j++) score[j] = -INFINITY;
    }
}

static double sink_of(const tn_ev *c, const sizes *n, int64_t b, int64_t i) {
    int64_t step;
    return tn_ev_has(c, 6) ? tn_ev_get_f(&c->in[6], start_of(c, 6, n, b, i, &step)) : -INFINITY;
}

/* Beside the n scores there is one, `sink`, whose weight nobody asks for; -inf: none. */
static void softmax(double *v, int64_t n, double sink, bool no_nan) {
    double most = sink;
    for (int64_t j = 0; j < n; j++) most = v[j] > most || isnan(v[j]) ? v[j] : most;
    double sum = exp(sink - most);
    for (int64_t j = 0; j < n; j++) sum += v[j] = exp(v[j] - most);
    for (int64_t j = 0; j < n; j++) v[j] = no_nan && isnan(v[j] / sum) ? 0 : v[j] / sum;
}

tn_status tn_ev_attention(tn_ev *c) {
    const sizes n = sizes_of(c);
    const int64_t held = n.s * n.d + n.t * n.d + n.t * n.e + n.s * n.t + n.s * n.e;
    double *const q = tn_ev_scratch(c, held, sizeof *q), *const k = q + n.s * n.d, *const v = k + n.t * n.d,
                  *const scores = v + n.t * n.e, *const y = scores + n.s * n.t;
    if (!q) return tn_ev_no_memory(c);
    for (int64_t b = 0; b < n.batch; b++) {
        tn_ev_load_f(&c->in[0], b * n.s * n.d, 1, (size_t)(n.s * n.d), q);
        tn_ev_load_f(&c->in[1], b * n.t * n.d, 1, (size_t)(n.t * n.d), k);
        tn_ev_load_f(&c->in[2], b * n.t * n.e, 1, (size_t)(n.t * n.e), v);
        tn_ev_gemm(false, true, n.s, n.t, n.d, q, n.d, k, n.d, false, scores, n.t);
        for (int64_t i = 0; i < n.s; i++) {
            adjust(c, &n, b, i, scores + i * n.t);
            softmax(scores + i * n.t, n.t, sink_of(c, &n, b, i), ((const tn_attrs_attention *)c->attrs)->no_nan);
        }
        tn_ev_gemm(false, false, n.s, n.e, n.t, scores, n.t, v, n.e, false, y, n.e);
        tn_ev_store_f(&c->out[0], b * n.s * n.e, 1, (size_t)(n.s * n.e), y);
    }
    tn_ev_drop(c, q, held, sizeof *q);
    return TN_OK;
}
