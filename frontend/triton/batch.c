/* batch.c: which sizes of batches the plan takes.
 *
 * Triton puts requests together along axis 0 of all inputs.  The plan may know that axis as a free size, with a range and
 * conditions (a multiple of 8), or as a constant: a batch that it does not take is filled up to the next one that it takes. */
#include "frontend/triton/backend.h"

#include <inttypes.h>
#include <string.h>

#include "runtime/plan/dims.h"
#include "runtime/plan/shape.h"

/* Axis 0 of the first input: which all have where requests may be put together. */
static const char *axis_of(const tensor *t) {
    return t->d->rank ? t->d->dim_text[0] : NULL;
}

/* What lacks that axis; NULL: nothing. */
static const tensor *stranger(const model *m) {
    const char *axis = m->n_in ? axis_of(&m->in[0]) : NULL;
    for (size_t k = 0; k < m->n_in + m->n_out; k++) {
        const tensor *t = k < m->n_in ? &m->in[k] : &m->out[k - m->n_in];
        if (t->made || !axis || !axis_of(t) || strcmp(axis, axis_of(t))) return t;
    }
    return m->n_in ? NULL : &m->out[0];
}

static const TnPlan__Dim *batch_dim(const model *m) {
    const TnPlan__Plan *pb = tn_plan_manifest(m->plan);
    return pb->dims[pb->inputs[0]->dims[0]];
}

int64_t batch_most(const model *m) {
    int64_t lo, hi;
    if (stranger(m) || batch_dim(m)->kind != TN_PLAN__DIM__KIND__SYM) return 0;
    tn_dims_range(batch_dim(m), &lo, &hi);
    return hi;
}

typedef struct trial {
    const model *m;
    tn_shape *shapes; /* of inputs, whose other sizes are what is typical */
    int64_t *table;
    bool *known;
} trial;

/* The other sizes: as the plan was tuned for.  False: these do not fit together. */
static bool set_typical(trial *t) {
    const TnPlan__Plan *pb = tn_plan_manifest(t->m->plan);
    for (size_t k = 0; k < pb->n_dims; k++) {
        const TnPlan__Dim *d = pb->dims[k];
        int64_t lo, hi;
        if (d->kind != TN_PLAN__DIM__KIND__SYM) continue;
        tn_dims_range(d, &lo, &hi);
        t->table[k] = d->hint >= lo && d->hint <= hi ? d->hint : lo;
    }
    const tn_env quiet = {0};
    if (tn_dims_eval(&quiet, pb->n_dims, pb->dims, t->table) != TN_OK) return false;
    for (size_t k = 0; k < pb->n_inputs; k++)
        for (size_t a = 0; a < pb->inputs[k]->n_dims; a++) t->shapes[k].d[a] = t->table[pb->inputs[k]->dims[a]];
    return true;
}

static bool takes(trial *t, int64_t rows) {
    for (size_t k = 0; k < t->m->n_in; k++) t->shapes[k].d[0] = rows;
    return tn_shapes_bind(t->m->plan, t->shapes, t->table, t->known) == TN_OK;
}

/* From the largest down; beyond it only as far as one batch more. */
static void pad(trial *t, int64_t *padded, int64_t most) {
    int64_t next = 0;
    for (int64_t n = most + 1; !next && n <= 2 * most + 64; n++)
        if (takes(t, n)) next = n;
    if (batch_dim(t->m)->kind == TN_PLAN__DIM__KIND__CONST) next = batch_dim(t->m)->value;
    for (int64_t n = most; n >= 1; n--) {
        if (takes(t, n)) next = n;
        padded[n] = next ? next : n; /* other sizes than the typical ones may be what it refuses */
    }
}

static triton_error *no_memory(const model *m) {
    return error_new(m->f, TRITON_UNAVAILABLE, "tenon: %s: out of memory", m->name);
}

static triton_error *fill(model *m) {
    const TnPlan__Plan *pb = tn_plan_manifest(m->plan);
    tn_arena a = {0};
    trial t = {m, tn_arena_alloc(&a, (m->n_in + 1) * sizeof *t.shapes),
               tn_arena_alloc(&a, (pb->n_dims + 1) * sizeof *t.table),
               tn_arena_alloc(&a, (pb->n_dims + 1) * sizeof *t.known)};
    m->padded = tn_alloc(NULL, (size_t)(m->max_batch + 1) * sizeof *m->padded);
    const bool ok = t.shapes && t.table && t.known && m->padded;
    if (ok && set_typical(&t))
        pad(&t, m->padded, m->max_batch);
    else if (ok)
        for (int64_t n = 0; n <= m->max_batch; n++) m->padded[n] = n;
    tn_arena_free(&a);
    error_forget();
    return ok ? NULL : no_memory(m);
}

triton_error *batch_settle(model *m) {
    if (!m->max_batch) return NULL;
    const tensor *t = stranger(m);
    if (t)
        return error_new(m->f, TRITON_INVALID_ARGUMENT,
                         "tenon: %s: max_batch_size is %" PRId64 ", but %s of '%s' %s: write max_batch_size: 0",
                         m->name, m->max_batch, t->made ? "a size" : "axis 0", t->d->name,
                         t->made ? "is made by data, which differs between requests"
                                 : "is not that of the first input, along which requests would be put together");
    const TnPlan__Dim *d = batch_dim(m);
    int64_t lo = 0, hi = d->value;
    if (d->kind == TN_PLAN__DIM__KIND__SYM) tn_dims_range(d, &lo, &hi);
    if (m->max_batch > hi)
        return error_new(m->f, TRITON_INVALID_ARGUMENT,
                         "tenon: %s: max_batch_size is %" PRId64 ", but the plan takes at most %" PRId64
                         " (compile the model with a larger range: --shape %s=1..%" PRId64 "x...)",
                         m->name, m->max_batch, hi, m->in[0].d->name, m->max_batch);
    return fill(m);
}
