/* matmul.c: batched matrix product.  Operands go to double (or stay f32 in fast mode), one matrix at a time, of B some
 * columns at a time: fresh memory for a vocabulary's weights in double costs more than the product.  Integers are
 * multiplied in 64 bits that wrap, but those of 8 bits (math = "i32") in double too, whose sums hold them exactly. */
#include <math.h>

#include "ir/eval/internal.h"

enum { PANEL = 1 << 21 }; /* elements of B in double */

typedef struct side {
    const tn_tensor *t;
    int64_t strides[TN_MAX_RANK]; /* of the batch axes, in elements, 0 where broadcast */
    int64_t rows, row, pitch,
        numel;    /* what is held of one matrix: so many rows of `row` elements, `pitch` apart in t */
    int64_t held; /* the element of t that `f` or `i` begins with; -1: none */
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

/* Converts the rows from element `at` on, unless they are held already. */
static void hold(side *s, int64_t at) {
    if (s->held == at) return;
    const bool whole = s->pitch == s->row;
    const size_t n = (size_t)(whole ? s->numel : s->row);
    for (int64_t r = 0; r < (whole ? 1 : s->rows); r++)
        if (s->f)
            tn_ev_load_f(s->t, at + r * s->pitch, 1, n, s->f + r * s->row);
        else
            tn_ev_load_i(s->t, at + r * s->pitch, 1, n, s->i + r * s->row);
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

/* The mean square of a row, less its mean where that is taken away. */
static double variance_of_row(const double *x, int64_t k, bool centred) {
    double mean = 0, square = 0;
    for (int64_t p = 0; centred && p < k; p++) mean += x[p] / (double)k;
    for (int64_t p = 0; p < k; p++) square += (x[p] - mean) * (x[p] - mean);
    return square / (double)k;
}

/* The same from the sums of the row's parts and of their squares, which are that far apart. */
static double variance_of_parts(const double *part, int64_t parts, int64_t apart, int64_t k, bool centred) {
    double mean = 0, square = 0;
    for (int64_t p = 0; p < parts; p++, part += apart) mean += part[0] / (double)k, square += part[1] / (double)k;
    return fmax(0, square - (centred ? mean * mean : 0));
}

typedef struct product {
    const tn_attrs_matmul *at;
    int64_t m, n, k;
    side a, b; /* b: of the columns that are in work */
    tn_tensor *y;
    void *out;    /* m rows of those columns; doubles, or int64_t, which have one size */
    double *rows; /* of all rows, by parts, where they are given */
    int64_t parts, apart;
    bool floats, norm, layer; /* layer: a norm that takes means away */
} product;

/* The product of w columns and of the rows as they are becomes that of the rows with a norm (ir/type/contract.c); row: the number of the
 * first. */
static void norm_rows(const product *p, int64_t row, int64_t w) {
    double *y = p->out;
    for (int64_t i = 0; i < p->m; i++, y += w) {
        const double variance = p->rows ? variance_of_parts(p->rows + (row + i) * 2, p->parts, p->apart, p->k, p->layer)
                                        : variance_of_row(p->a.f + i * p->k, p->k, p->layer);
        const double scale = 1 / sqrt(variance + p->at->eps);
        for (int64_t n = 0; n < w; n++) y[n] *= scale;
    }
}

/* w columns from column j on, of the matrices that begin with these elements. */
static void multiply(product *p, int64_t at_a, int64_t at_b, int64_t at_y, int64_t j, int64_t w) {
    hold(&p->a, at_a);
    hold(&p->b, at_b + j * (p->at->trans_b ? p->k : 1));
    if (p->floats)
        tn_ev_gemm(p->at->trans_a, p->at->trans_b, p->m, w, p->k, p->a.f, p->a.row, p->b.f, p->b.row, false, p->out, w);
    else
        int_gemm(p->at, p->m, w, p->k, p->a.i, p->b.i, p->out);
    if (p->norm) norm_rows(p, p->k ? at_a / p->k : 0, w);
    const int64_t rows = w == p->n ? 1 : p->m, row = w == p->n ? p->m * w : w;
    for (int64_t i = 0; i < rows; i++)
        if (p->floats)
            tn_ev_store_f(p->y, at_y + i * p->n + j, 1, (size_t)row, (double *)p->out + i * row);
        else
            tn_ev_store_i(p->y, at_y + i * p->n + j, 1, (size_t)row, (int64_t *)p->out + i * row);
}

static void multiply_f32(product *p, int64_t at_a, int64_t at_b, int64_t at_y) {
    tn_ev_sgemm(p->at->trans_a, p->at->trans_b, p->m, p->n, p->k, (const float *)p->a.t->data + at_a, p->a.row,
                (const float *)p->b.t->data + at_b, p->at->trans_b ? p->k : p->n, false, (float *)p->y->data + at_y,
                p->n);
}

/* All matrices of the batch; w columns from column j on, or, in fast mode, all (w 0). */
static void multiply_batch(product *p, int64_t j, int64_t w) {
    int64_t strides[TN_WALK_OPERANDS][TN_MAX_RANK], at_y = 0;
    tn_walk walk;
    memcpy(strides[0], p->a.strides, sizeof p->a.strides);
    memcpy(strides[1], p->b.strides, sizeof p->b.strides);
    tn_walk_start(&walk, p->y->rank - 2, p->y->dims, 2, strides);
    for (; !walk.done; tn_walk_next(&walk))
        for (int64_t i = 0; i < walk.inner; i++, at_y += p->m * p->n) {
            const int64_t at_a = walk.at[0] + i * walk.step[0], at_b = walk.at[1] + i * walk.step[1];
            if (w)
                multiply(p, at_a, at_b, at_y, j, w);
            else
                multiply_f32(p, at_a, at_b, at_y);
        }
}

static int64_t less(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static void take_columns(product *p, int64_t w) {
    const bool turned = p->at->trans_b;
    side *b = &p->b;
    b->rows = turned ? w : p->k;
    b->row = turned ? p->k : w;
    b->pitch = turned ? p->k : p->n;
    b->numel = w * p->k;
    b->held = -1;
}

static tn_status multiply_panels(tn_ev *c, product *p) {
    const int64_t most = less(p->n, p->k < PANEL ? PANEL / (p->k ? p->k : 1) : 1);
    void *a = tn_ev_scratch(c, p->a.numel, 8), *b = tn_ev_scratch(c, most * p->k, 8);
    const bool given = p->norm && tn_ev_has(c, 2);
    const int64_t of_rows = given ? tn_tensor_numel(&c->in[2]) : 0;
    p->out = tn_ev_scratch(c, p->m * most, 8);
    p->rows = given ? tn_ev_scratch(c, of_rows, sizeof *p->rows) : NULL;
    p->parts = given ? c->in[2].dims[0] : 0;
    p->apart = p->parts ? of_rows / p->parts : 0;
    p->a.f = p->floats ? a : NULL;
    p->b.f = p->floats ? b : NULL;
    p->a.i = p->floats ? NULL : a;
    p->b.i = p->floats ? NULL : b;
    const tn_status status = a && b && p->out && (p->rows || !given) ? TN_OK : tn_ev_no_memory(c);
    if (p->rows) tn_ev_load_f(&c->in[2], 0, 1, (size_t)of_rows, p->rows);
    for (int64_t j = 0; status == TN_OK && j < p->n; j += most) {
        take_columns(p, less(most, p->n - j));
        multiply_batch(p, j, less(most, p->n - j));
    }
    tn_ev_drop(c, a, p->a.numel, 8);
    tn_ev_drop(c, b, most * p->k, 8);
    tn_ev_drop(c, p->out, p->m * most, 8);
    tn_ev_drop(c, p->rows, of_rows, sizeof *p->rows);
    return status;
}

tn_status tn_ev_matmul(tn_ev *c) {
    const tn_attrs_matmul *at = c->attrs;
    const tn_tensor *ta = &c->in[0], *tb = &c->in[1];
    tn_tensor *y = &c->out[0];
    const int64_t *da = ta->dims + ta->rank - 2, *db = tb->dims + tb->rank - 2, *dy = y->dims + y->rank - 2;
    product p = {.at = at, .m = da[at->trans_a], .k = da[!at->trans_a], .n = db[!at->trans_b], .y = y};
    p.a = (side){.t = ta, .rows = da[0], .row = da[1], .pitch = da[1], .numel = p.m * p.k, .held = -1};
    p.b.t = tb;
    if (db[at->trans_b] != p.k || dy[0] != p.m || dy[1] != p.n)
        return tn_ev_fail(c, TN_E_TYPE, "the inner sizes %lld and %lld differ", (long long)p.k,
                          (long long)db[at->trans_b]);
    if (!batch_strides(ta, y, p.a.strides) || !batch_strides(tb, y, p.b.strides))
        return tn_ev_fail(c, TN_E_TYPE, "the batch sizes do not broadcast");
    const bool bytes = at->math && !strcmp(at->math, "i32");
    p.floats = bytes || tn_dtype_is_float(y->dtype);
    p.norm = at->norm && *at->norm;
    p.layer = p.norm && !strcmp(at->norm, "layer");
    if (p.m == 0 || p.n == 0) return TN_OK;
    if (!c->opts->fast || y->dtype != TN_F32 || p.norm) return multiply_panels(c, &p);
    multiply_batch(&p, 0, 0);
    return TN_OK;
}
