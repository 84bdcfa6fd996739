/* slice.c: of which results some rows can be told without the others.
 *
 * A row is what belongs to one value of a symbol: an image of the batch, a token of the sequence.  Where the types keep the
 * symbol apart (one axis, alone or before what is merged with it) and a trial at a small size, in which rows are left out,
 * gives the same for those that stay, rows are evaluated alone.  Ops that ask where a row stands are left out: what they do
 * to the first few says nothing of the last. */
#include <math.h>
#include <string.h>

#include "codegen/tune/internal.h"

enum { LEAST_ROWS = 4, WORTH = 4 /* times fewer elements */ };

/* ---- what types say ---------------------------------------------------------------------------------------------- */

static int64_t value_with(const tn_spec *s, const tn_shape *at, tn_dim d, tn_dim sym, int64_t v) {
    tn_shape shape = *at;
    for (size_t k = 0; k < shape.n; k++)
        if (s->sym[k].i == sym.i) shape.b[k].value = v;
    return tn_shape_value(s, &shape, d);
}

/* d is v * c where sym is v; c 0: it is not. */
static int64_t factor(const tn_spec *s, const tn_shape *at, tn_dim d, tn_dim sym) {
    const int64_t c = value_with(s, at, d, sym, 1);
    for (int64_t v = 2; v < 6; v++)
        if (c < 1 || value_with(s, at, d, sym, v) != c * v) return 0;
    return value_with(s, at, d, sym, 9973) == 9973 * c ? c : 0;
}

/* The axis of the symbol, n: there is none.  False if there are several, or sizes that the symbol does not divide. */
static bool find_axis(const tn_spec *s, const tn_shape *at, const tn_dim *dims, uint32_t n, tn_dim sym,
                      uint32_t *axis) {
    *axis = n;
    for (uint32_t k = 0; k < n; k++) {
        if (!tn_dim_mentions(s->g, dims[k], sym)) continue;
        if (*axis < n || !factor(s, at, dims[k], sym)) return false;
        *axis = k;
    }
    return true;
}

static bool tells_rows_apart(tn_op op) {
    return op == TN_OP_IOTA || op == TN_OP_RANDOM || op == TN_OP_TRILU || op == TN_OP_CUMSUM || op == TN_OP_CUMPROD ||
           op == TN_OP_RESIZE || op == TN_OP_GRID_SAMPLE || op == TN_OP_COMPACT || op == TN_OP_SORT_COUNT ||
           op == TN_OP_SORT_MOVE || op == TN_OP_PLACE || op == TN_OP_SCATTER_SORTED || op == TN_OP_NMS_KEEP ||
           tn_op_is(op, TN_T_REGIONS | TN_T_DYNAMIC);
}

static bool nodes_keep_apart(const tn_spec *s, const tn_shape *at, tn_dim sym) {
    TN_FOR_NODES(s->g, s->region, n) {
        for (size_t k = 0; k < tn_node_result_count(s->g, n); k++) {
            const tn_type t = tn_val_type(s->g, tn_node_result(s->g, n, k));
            const uint32_t rank = (uint32_t)tn_type_rank(s->g, t);
            uint32_t axis;
            if (!find_axis(s, at, tn_type_dims(s->g, t), rank, sym, &axis)) return false;
            if (axis < rank && tells_rows_apart(tn_node_op(s->g, n))) return false;
        }
    }
    return true;
}

static bool is_apart(const tn_spec *s, const tn_shape *at, tn_dim sym) {
    uint32_t axis;
    for (uint32_t k = 0; k < s->n_in; k++)
        if (!find_axis(s, at, s->in[k].dims, s->in[k].rank, sym, &axis) ||
            (axis < s->in[k].rank && tn_dtype_bits(s->in[k].dtype) < 8))
            return false;
    for (uint32_t k = 0; k < s->n_out; k++)
        if (!find_axis(s, at, s->out[k].dims, s->out[k].rank, sym, &axis) || axis == s->out[k].rank ||
            tn_dtype_bits(s->out[k].dtype) < 8)
            return false;
    return nodes_keep_apart(s, at, sym);
}

/* The first, the last and others, spread by the spec's hash. */
void tn_choose_rows(const tn_spec *s, tn_slice *x) {
    const int64_t parts = x->n - 2;
    x->at[0] = 0;
    x->at[x->n - 1] = x->of - 1;
    for (int64_t k = 0; k < parts; k++) {
        const int64_t lo = 1 + k * (x->of - 2) / parts, hi = 1 + (k + 1) * (x->of - 2) / parts;
        x->at[k + 1] = lo + (int64_t)((s->hash[1] >> (8 * (k % 8)) & 0xffff) % (uint64_t)(hi - lo));
    }
}

void tn_slice_find(const tn_spec *s, const tn_shape *at, tn_slice *out) {
    *out = (tn_slice){0};
    for (size_t k = 0; k < at->n && !s->n_told; k++) { /* what tells a size is for the whole */
        int64_t lo, hi;
        tn_dim_bounds(s->g, s->sym[k], &lo, &hi);
        const int64_t n = lo + 1 > LEAST_ROWS ? lo + 1 : LEAST_ROWS,
                      of = at->b[k].value; /* one row less is tried, too */
        if (lo >= TN_MAX_ROWS || n > hi || of < WORTH * n || of <= out->of || !is_apart(s, at, s->sym[k])) continue;
        *out = (tn_slice){.sym = s->sym[k], .of = of, .n = n};
    }
    if (out->n) tn_choose_rows(s, out);
    const tn_shape shape = tn_slice_shape(s, at, out);
    if (out->n && !tn_shape_binds(s, &shape)) *out = (tn_slice){0};
}

static tn_shape shape_with(const tn_spec *s, const tn_shape *at, tn_dim sym, int64_t v) {
    tn_shape shape = *at;
    for (size_t k = 0; k < shape.n; k++)
        if (s->sym[k].i == sym.i) shape.b[k].value = v;
    return shape;
}

tn_shape tn_slice_shape(const tn_spec *s, const tn_shape *at, const tn_slice *x) {
    return x->sym.i ? shape_with(s, at, x->sym, x->n) : *at;
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

tn_case_rows tn_slice_rows(const tn_spec *s, const tn_slice *x, const tn_spec_tensor *t, const tn_placed *at) {
    tn_case_rows r = {.of = x->of, .n = x->n};
    uint32_t axis = 0;
    memcpy(r.at, x->at, sizeof r.at);
    for (size_t k = 0; k < x->n_cut; k++)
        if (x->cut[k].v.i == t->arg.i) return r.inner = x->cut[k].inner, r;
    while (x->sym.i && axis < t->rank && !tn_dim_mentions(s->g, t->dims[axis], x->sym)) axis++;
    if (!x->sym.i || axis == t->rank) return (tn_case_rows){0};
    r.inner = at->dims[axis] / x->of;
    for (uint32_t k = axis + 1; k < t->rank; k++) r.inner *= at->dims[k];
    return r;
}

/* n bytes from `from` on of data that repeats. */
static void copy_repeated(char *to, const char *data, size_t held, size_t from, size_t n) {
    while (n) {
        const size_t at = from % held, some = held - at < n ? held - at : n;
        memcpy(to, data + at, some);
        to += some, from += some, n -= some;
    }
}

tn_status tn_take_rows(const tn_env *env, const tn_case_rows *r, const tn_placed *at, const void *data, size_t held,
                       tn_tensor *out) {
    const size_t row = (size_t)r->inner * (tn_dtype_bits(at->dtype) / 8);
    const int64_t outer = row ? at->numel / (r->of * r->inner) : 0;
    int64_t behind = 1;
    uint32_t axis = at->rank;
    while (axis > 0 && behind < r->inner * r->of) behind *= at->dims[--axis]; /* the axis that holds the rows */
    *out = (tn_tensor){.dtype = at->dtype, .rank = at->rank, .bytes = (size_t)(outer * r->n) * row};
    memcpy(out->dims, at->dims, sizeof out->dims);
    if (outer) out->dims[axis] = at->dims[axis] / r->of * r->n;
    char *to = out->data = tn_alloc(env, out->bytes + 1);
    if (!to) return TN_E_MEMORY;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t k = 0; k < r->n; k++, to += row)
            copy_repeated(to, data, held, (size_t)(o * r->of + r->at[k]) * row, row);
    return TN_OK;
}

/* ---- the trial --------------------------------------------------------------------------------------------------- */

typedef struct trial {
    const tn_env *env;
    const tn_spec *s;
    tn_shape shape, less;
    tn_slice kept; /* rows of `shape` that are those of `less` */
    int64_t few;
    tn_placed at[TN_MAX_ARGS];
    tn_tensor in[TN_MAX_ARGS], part[TN_MAX_ARGS], out[TN_MAX_ARGS], again[TN_MAX_ARGS];
    bool drawn[TN_MAX_ARGS];
} trial;

static void free_all(trial *t) {
    for (uint32_t k = 0; k < TN_MAX_ARGS; k++) {
        if (t->drawn[k]) tn_free(t->env, t->in[k].data, t->in[k].bytes + 1);
        if (t->part[k].data && t->part[k].data != t->in[k].data) tn_free(t->env, t->part[k].data, t->part[k].bytes + 1);
        if (t->out[k].data) tn_tensor_free(t->env, &t->out[k]);
        if (t->again[k].data) tn_tensor_free(t->env, &t->again[k]);
        t->drawn[k] = false;
        t->in[k] = t->part[k] = t->out[k] = t->again[k] = (tn_tensor){0};
    }
}

static tn_status draw_input(trial *t, uint32_t k) {
    const tn_spec *s = t->s;
    uint64_t seed = UINT64_C(0x2545f4914f6cdd1d) + k;
    const void *own = s->in[k].is_const ? tn_const_data(s->g, tn_node_input(s->g, s->kernel, k)) : NULL;
    tn_status st = tn_place(s, &t->shape, &s->in[k], &t->at[k]);
    if (st != TN_OK) return st;
    tn_tensor *x = &t->in[k];
    *x = (tn_tensor){.dtype = t->at[k].dtype, .rank = t->at[k].rank, .data = (void *)(uintptr_t)own};
    x->bytes = tn_dtype_bytes(x->dtype, (uint64_t)t->at[k].numel);
    memcpy(x->dims, t->at[k].dims, sizeof x->dims);
    if (!own) {
        x->data = tn_alloc(t->env, x->bytes + 1);
        t->drawn[k] = x->data != NULL;
        if (!x->data) return TN_E_MEMORY;
        if (!tn_draw(s, &t->shape, &s->in[k], t->few, x->data, t->at[k].numel, &seed)) return TN_E_UNSUPPORTED;
    }
    const tn_case_rows rows = tn_slice_rows(s, &t->kept, &s->in[k], &t->at[k]);
    if (rows.n) return tn_take_rows(t->env, &rows, &t->at[k], x->data, x->bytes, &t->part[k]);
    t->part[k] = *x;
    return TN_OK;
}

/* Rows that stay must not change, but for the last places of sums and what follows from those by steps. */
static bool agrees(const trial *t, uint32_t k) {
    static const double LAST = 1e-9, STEP = 1e-2;
    tn_placed at;
    const tn_tensor *x = &t->out[k], *y = &t->again[k];
    if (tn_place(t->s, &t->shape, &t->s->out[k], &at) != TN_OK || at.numel != tn_tensor_numel(x)) return false;
    const tn_case_rows r = tn_slice_rows(t->s, &t->kept, &t->s->out[k], &at);
    const int64_t n = tn_tensor_numel(y);
    if (!r.n || n != at.numel / r.of * r.n) return false;
    const bool steps = tn_spec_steps(t->s);
    int64_t off = 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t row = i / r.inner, from = (row / r.n * r.of + r.at[row % r.n]) * r.inner + i % r.inner;
        const double a = tn_load_num(x->dtype, x->data, (uint64_t)from),
                     b = tn_load_num(y->dtype, y->data, (uint64_t)i);
        if (a == b || (isnan(a) && isnan(b))) continue;
        off += !(fabs(a - b) <= (steps ? STEP : LAST) * (fabs(a) + fabs(b) + 1e-3));
    }
    return off <= (steps ? n / 256 : 0);
}

static tn_status compare(trial *t, bool *ran, bool *holds) {
    tn_status st = TN_OK;
    for (uint32_t k = 0; st == TN_OK && k < t->s->n_in; k++) st = draw_input(t, k);
    if (st == TN_OK) st = tn_case_run(t->env, t->s, &t->shape, NULL, t->in, true, t->out);
    *ran = st == TN_OK;
    if (st == TN_OK) st = tn_case_run(t->env, t->s, &t->less, NULL, t->part, true, t->again);
    *holds = st == TN_OK;
    for (uint32_t k = 0; *holds && k < t->s->n_out; k++) *holds = agrees(t, k);
    free_all(t);
    return st == TN_E_MEMORY ? st : TN_OK;
}

/* All other symbols small, if such a shape can be bound. */
static tn_shape small_shape(const tn_spec *s, const tn_slice *x) {
    tn_shape shapes[TN_MAX_SHAPES], best = shape_with(s, &s->typical, x->sym, x->n);
    const size_t n = tn_judged_shapes(s, shapes);
    for (size_t k = 0; k < n; k++) {
        const tn_shape shape = shape_with(s, &shapes[k], x->sym, x->n);
        const double elements = tn_shape_elements(s, &shape);
        if (elements > 0 && tn_shape_binds(s, &shape) && elements < tn_shape_elements(s, &best)) best = shape;
    }
    return best;
}

tn_status tn_slice_try(const tn_env *env, const tn_spec *s, const tn_slice *x, bool *holds) {
    static const int64_t few[] = {0, 4, 2, 1};
    trial *t = tn_alloc(env, sizeof *t);
    *holds = false;
    if (!t) return TN_E_MEMORY;
    *t = (trial){.env = env, .s = s, .shape = small_shape(s, x)};
    t->less = shape_with(s, &t->shape, x->sym, x->n - 1);
    t->kept = (tn_slice){.sym = x->sym, .of = x->n, .n = x->n - 1}; /* all but the second: no mirror keeps these */
    for (int64_t k = 1; k < t->kept.n; k++) t->kept.at[k] = k + 1;
    tn_status st = TN_OK;
    bool ran = false;
    for (size_t k = 0; st == TN_OK && !ran && k < sizeof few / sizeof *few; k++) {
        t->few = few[k];
        st = compare(t, &ran, holds);
    }
    tn_free(env, t, sizeof *t);
    return st;
}
