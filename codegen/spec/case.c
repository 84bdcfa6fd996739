/* case.c: what candidates are given at one shape and what they must give, on the host.
 *
 * Constants that are not one repeated number keep their values; the reference is the region evaluated in float64, or,
 * if it has steps, rounded after every op as kernels round.  A large layer takes seconds of one core, so of large results
 * only some rows are evaluated where that can be done (slice.c): the first, the last and some between.  The compiler makes
 * cases beside the builds; nothing here touches the device or changes the graph. */
#include <math.h>
#include <string.h>

#include "codegen/host/opaque.h"
#include "codegen/spec/derived.h"
#include "codegen/tune/internal.h"
#include "tenon/internal/float.h"

/* Beyond these a case is large: rows that a symbol counts are evaluated alone, which lose little where sizes change anyway; beyond
 * MORE times these, which is some tenths of a second, rows of any axis are. */
static const double MUCH_FLOPS = 2e8, MUCH_ELEMENTS = 2e6, MORE = 20;

tn_status tn_place(const tn_spec *s, const tn_shape *at, const tn_spec_tensor *t, tn_placed *out) {
    int64_t last = 0;
    *out = (tn_placed){.rank = t->rank, .dtype = t->dtype, .numel = 1};
    for (uint32_t k = 0; k < t->rank; k++) {
        out->dims[k] = tn_shape_value(s, at, t->dims[k]);
        out->strides[k] = tn_shape_value(s, at, t->strides[k]);
        out->numel *= out->dims[k];
        last += (out->dims[k] - 1) * out->strides[k];
    }
    if (out->numel == 0) last = -1;
    if (out->numel < 0 || last < -1 || last > (INT64_C(1) << 36)) return TN_E_UNSUPPORTED;
    out->span = tn_dtype_bytes(t->dtype, (uint64_t)(last + 1));
    return TN_OK;
}

static int64_t offset_of(const tn_placed *t, int64_t i) {
    int64_t at = 0;
    for (uint32_t k = t->rank; k-- > 0;) {
        at += i % t->dims[k] * t->strides[k];
        i /= t->dims[k];
    }
    return at;
}

static bool is_dense(const tn_placed *t) {
    int64_t want = 1;
    if (tn_dtype_bits(t->dtype) < 8) return true; /* 4-bit types are only ever dense */
    for (uint32_t k = t->rank; k-- > 0; want *= t->dims[k])
        if (t->dims[k] != 1 && t->strides[k] != want) return false;
    return true;
}

/* ---- inputs ---- */

typedef struct maker {
    const tn_env *env; /* of diagnostics */
    tn_case *c;
    tn_slice slice; /* of the result; n 0: all of it */
    tn_shape shape; /* that is evaluated */
    int64_t few;
    tn_tensor in[TN_MAX_ARGS]; /* for the evaluation */
    bool temporary[TN_MAX_ARGS];
} maker;

static bool is_fixed(const tn_spec *s, const tn_spec_tensor *t) {
    for (uint32_t k = 0; k < t->rank; k++)
        if (!tn_dim_is_const(s->g, t->dims[k], NULL) || !tn_dim_is_const(s->g, t->strides[k], NULL)) return false;
    return tn_dtype_is_float(t->dtype);
}

/* False if the operand has no legal value. */
static bool fill(const maker *m, uint32_t k, void *data, int64_t n) {
    const tn_case *c = m->c;
    uint64_t seed = UINT64_C(0x9e3779b97f4a7c15) * (k + 1);
    const tn_drawn_from first = {c->in[0].dtype, c->in[0].rank, c->in[0].dims, c->in[0].strides, c->data[0]};
    if (c->s->in[k].tells.i)
        tn_store_int(c->in[k].dtype, data, 0, tn_shape_value(c->s, &c->shape, c->s->in[k].tells));
    else if (!tn_derives(c->s, k, &first, c->in[k].dims, data, seed))
        return tn_draw(c->s, &c->shape, &c->s->in[k], m->few, data, n, &seed);
    return true;
}

static void *draw(const maker *m, uint32_t k, int64_t n, tn_status *st) {
    const tn_case *c = m->c;
    const size_t bytes = tn_dtype_bytes(c->in[k].dtype, (uint64_t)n);
    void *data = tn_alloc(c->set->env, bytes + 1);
    *st = data ? TN_OK : TN_E_MEMORY;
    if (!data || fill(m, k, data, n)) return data;
    tn_free(c->set->env, data, bytes + 1);
    *st = TN_E_UNSUPPORTED;
    return NULL;
}

/* The set's floats for an operand whose size is always the same; NULL: it has none. */
static const void *fixed_data(const maker *m, uint32_t k, tn_status *st) {
    tn_case_set *set = m->c->set;
    const tn_placed *p = &m->c->in[k];
    if (k >= set->n_fixed || !is_fixed(m->c->s, &m->c->s->in[k]) || !is_dense(p)) return NULL;
    pthread_mutex_lock(&set->mutex);
    if (!set->fixed[k]) {
        set->fixed[k] = draw(m, k, p->numel, st);
        set->fixed_at[k] = *p;
    }
    const void *data = !memcmp(&set->fixed_at[k], p, sizeof *p) ? set->fixed[k] : NULL;
    pthread_mutex_unlock(&set->mutex);
    return data;
}

/* An operand's bytes where no value is drawn for this case: a constant's own (kernels may have them as literals, and
 * integer ones are indices), or the set's. */
static const void *known_data(const maker *m, uint32_t k, tn_status *st) {
    const tn_spec *s = m->c->s;
    const void *own = s->in[k].is_const ? tn_const_data(s->g, tn_node_input(s->g, s->kernel, k)) : NULL;
    return own ? own : fixed_data(m, k, st);
}

/* From a dense tensor to the input's strides. */
static tn_status to_strides(tn_case *c, uint32_t k, const char *dense) {
    const tn_placed *t = &c->in[k];
    const size_t size = tn_dtype_bits(t->dtype) / 8;
    char *strided = tn_alloc(c->set->env, t->span + 1);
    if (!strided) return TN_E_MEMORY;
    c->data[k] = strided;
    c->held[k] = t->span;
    c->owned[k] = true;
    for (int64_t i = 0; i < t->numel; i++)
        memcpy(strided + (size_t)offset_of(t, i) * size, dense + (size_t)i * size, size);
    return TN_OK;
}

/* The operand of the evaluation: the dense data, or rows of it. */
static tn_status take_operand(maker *m, uint32_t k, void *dense, size_t held, bool temporary) {
    tn_case *c = m->c;
    const tn_case_rows rows = tn_slice_rows(c->s, &m->slice, &c->s->in[k], &c->in[k]);
    tn_status st = TN_OK;
    if (rows.n) {
        st = tn_take_rows(c->set->env, &rows, &c->in[k], dense, held, &m->in[k]);
        if (temporary) tn_free(c->set->env, dense, held + 1);
        m->temporary[k] = st == TN_OK;
        return st;
    }
    m->in[k] = (tn_tensor){.dtype = c->in[k].dtype, .rank = c->in[k].rank, .data = dense, .bytes = held};
    memcpy(m->in[k].dims, c->in[k].dims, sizeof m->in[k].dims);
    m->temporary[k] = temporary;
    return TN_OK;
}

static tn_status make_input(maker *m, uint32_t k) {
    tn_case *c = m->c;
    const tn_placed *p = &c->in[k];
    tn_status st = TN_OK;
    const void *known = known_data(m, k, &st);
    if (st != TN_OK) return st;
    const bool dense = is_dense(p);
    const bool repeats = !known && dense && p->numel > TN_DRAWN && tn_dtype_bits(p->dtype) >= 8 &&
                         tn_slice_rows(c->s, &m->slice, &c->s->in[k], p).n;
    const int64_t n = repeats ? TN_DRAWN : p->numel;
    const size_t held = tn_dtype_bytes(p->dtype, (uint64_t)n);
    void *data = known ? (void *)(uintptr_t)known : draw(m, k, n, &st);
    if (st != TN_OK) return st;
    if (dense) {
        c->data[k] = data;
        c->held[k] = held;
        c->owned[k] = !known;
    } else
        st = to_strides(c, k, data);
    if (st == TN_OK) return take_operand(m, k, data, held, !known && !dense);
    if (!known) tn_free(c->set->env, data, held + 1);
    return st;
}

/* ---- results ---- */

static double largest_of(tn_dtype t) {
    const tn_float_format *f = tn_float_format_of(t);
    return f ? f->largest : 0;
}

/* A result as doubles, and the scale of its errors. */
static tn_status take_result(const maker *m, uint32_t k, tn_tensor *t) {
    tn_case *c = m->c;
    tn_status st = TN_OK;
    c->rows[k] = tn_slice_rows(c->s, &m->slice, &c->s->out[k], &c->out[k]);
    const int64_t all = c->out[k].numel, n = c->rows[k].n ? all / c->rows[k].of * c->rows[k].n : all;
    if (tn_tensor_numel(t) != n)
        return tn_fail(m->env, TN_E_INTERNAL, c->s->name, "",
                       "the reference gives %lld elements for result %u, its type has %lld",
                       (long long)tn_tensor_numel(t), k, (long long)n);
    if (t->dtype == TN_F64) {
        c->want[k] = *t;
        *t = (tn_tensor){0};
    } else {
        st = tn_tensor_new(c->set->env, TN_F64, t->rank, t->dims, &c->want[k]);
        for (int64_t i = 0; st == TN_OK && i < n; i++)
            ((double *)c->want[k].data)[i] = tn_load_num(t->dtype, t->data, (uint64_t)i);
    }
    const double *w = c->want[k].data;
    double sum = 0;
    int64_t finite = 0;
    for (int64_t i = 0; st == TN_OK && i < n; i++)
        if (isfinite(w[i])) sum += w[i] * w[i], finite++;
    c->scale[k] = finite ? sqrt(sum / (double)finite) : 0;
    return st;
}

tn_status tn_case_run(const tn_env *env, const tn_spec *s, const tn_shape *at, const tn_slice *part,
                      const tn_tensor *in, bool wide, tn_tensor *out) {
    const tn_eval_rows rows =
        part ? (tn_eval_rows){part->cut, part->n_cut, part->of, part->n, part->at} : (tn_eval_rows){0};
    const tn_eval_opts opts = {.wide = wide && !tn_spec_steps(s),
                               .loose = s->loose,
                               .total = true,
                               .rows = &rows,
                               .symbols = at->b,
                               .n_symbols = at->n,
                               .opaque = tn_run_opaque};
    return tn_eval_region(env, s->g, s->region, in, s->n_in, out, s->n_out, &opts);
}

static tn_status evaluate(const maker *m) {
    tn_case *c = m->c;
    tn_tensor out[TN_MAX_ARGS] = {{0}};
    tn_status st = tn_case_run(m->env, c->s, &m->shape, &m->slice, m->in, true, out);
    if (st != TN_OK) return st;
    for (uint32_t k = 0; k < c->s->n_out; k++) {
        if (st == TN_OK) st = take_result(m, k, &out[k]);
        tn_tensor_free(c->set->env, &out[k]);
    }
    return st;
}

/* Integers become floats in this region: it may overflow where doubles do not. */
static bool mixes(const tn_spec *s) {
    bool integers = false, floats = false;
    for (uint32_t k = 0; k < s->n_in; k++)
        integers |= !s->in[k].is_const && tn_dtype_is_int(s->in[k].dtype) && tn_dtype_bits(s->in[k].dtype) > 4;
    TN_FOR_NODES(s->g, s->region, n) {
        for (size_t k = 0; k < tn_node_result_count(s->g, n); k++)
            floats |= tn_dtype_is_float(tn_val_dtype(s->g, tn_node_result(s->g, n, k)));
    }
    return integers && floats;
}

/* Are the results numbers that the kernel's own floats can hold, also on the way?  *ok is set if so. */
static tn_status stays_in_range(const maker *m, bool *ok) {
    const tn_case *c = m->c;
    tn_tensor out[TN_MAX_ARGS] = {{0}};
    tn_env quiet = m->env ? *m->env : (tn_env){0};
    quiet.diag = NULL;
    tn_status st = tn_case_run(&quiet, c->s, &m->shape, &m->slice, m->in, false, out);
    *ok = st == TN_OK;
    for (uint32_t k = 0; k < c->s->n_out; k++) {
        const double *w = c->want[k].data, most = largest_of(c->out[k].dtype);
        const int64_t n = *ok ? tn_tensor_numel(&c->want[k]) : 0;
        for (int64_t i = 0; *ok && most > 0 && i < n; i++) {
            const double narrow = tn_load_num(out[k].dtype, out[k].data, (uint64_t)i);
            *ok = isfinite(w[i]) ? isfinite(narrow) && fabs(w[i]) <= most : !isfinite(narrow);
        }
        tn_tensor_free(c->set->env, &out[k]);
    }
    return st == TN_E_MEMORY ? st : TN_OK;
}

/* ---- all ---- */

/* *ok: the results are numbers that candidates can be compared by. */
static tn_status try_case(maker *m, bool *ok) {
    tn_status st = TN_OK;
    const uint32_t n = m->c->s->n_in;
    memset(m->temporary, 0, sizeof m->temporary);
    for (uint32_t k = 0; st == TN_OK && k < n; k++) st = make_input(m, k);
    if (st == TN_OK) st = evaluate(m);
    *ok = st == TN_OK;
    if (st == TN_OK && mixes(m->c->s)) st = stays_in_range(m, ok);
    for (uint32_t k = 0; k < n; k++)
        if (m->temporary[k]) tn_free(m->c->set->env, m->in[k].data, m->in[k].bytes + 1);
    return st;
}

static void drop(tn_case *c) {
    for (uint32_t k = 0; k < c->s->n_in; k++) {
        if (c->owned[k]) tn_free(c->set->env, (void *)(uintptr_t)c->data[k], c->held[k] + 1);
        c->owned[k] = false;
        c->data[k] = NULL;
    }
    for (uint32_t k = 0; k < c->s->n_out; k++) tn_tensor_free(c->set->env, &c->want[k]);
}

void tn_case_drop(tn_case *c) {
    drop(c);
    c->begun = c->done = false;
}

static bool is_large(const tn_case *c, double times) {
    return tn_spec_flops(c->s, &c->shape) > times * MUCH_FLOPS ||
           tn_shape_elements(c->s, &c->shape) > times * MUCH_ELEMENTS;
}

/* Rows of a symbol, or else of an axis. */
void tn_case_part(const tn_case *c, tn_slice *part) {
    *part = (tn_slice){0};
    if (is_large(c, 1)) tn_slice_find(c->s, &c->shape, part);
    if (!part->n && is_large(c, MORE)) tn_cut_find(c->s, &c->shape, part);
}

static tn_status choose_part(maker *m) {
    const tn_case *c = m->c;
    bool holds = true;
    tn_status st = TN_OK;
    tn_case_part(c, &m->slice);
    if (m->slice.sym.i) st = tn_slice_try(m->env, c->s, &m->slice, &holds);
    if (!holds) m->slice = (tn_slice){0};
    if (!holds && is_large(c, MORE)) tn_cut_find(c->s, &c->shape, &m->slice);
    m->shape = tn_slice_shape(c->s, &c->shape, &m->slice);
    return st;
}

/* With the whole range of integers; where those lead to nothing, with fewer: a mask of 0 and 1, say, times the lowest float
 * bears no 3. */
static tn_status make_case(const tn_env *env, const tn_env *quiet, maker *m) {
    static const int64_t few[] = {0, 4, 2, 1};
    enum { TRIES = sizeof few / sizeof *few };
    bool ok = false;
    m->env = quiet;
    tn_status st = choose_part(m);
    for (size_t k = 0; st == TN_OK && !ok && k < TRIES; k++) {
        m->few = few[k];
        m->env = k + 1 < TRIES ? quiet : env;
        st = try_case(m, &ok);
        if (!ok) drop(m->c);
        if (st != TN_E_MEMORY && k + 1 < TRIES) st = TN_OK;
    }
    return st == TN_OK && !ok ? TN_E_UNSUPPORTED : st;
}

void tn_case_make(const tn_env *env, tn_case *c) {
    tn_env quiet = env ? *env : (tn_env){0};
    quiet.diag = NULL;
    maker *m = tn_alloc(c->set->env, sizeof *m);
    if (m) m->c = c;
    c->status = m ? make_case(c->s->one_of_many ? &quiet : env, &quiet, m) : TN_E_MEMORY;
    tn_free(c->set->env, m, sizeof *m);
}
