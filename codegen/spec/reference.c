/* reference.c: what candidates of one spec are given and what they must give, on the host, at each shape that they are
 * judged at.
 *
 * Constants that are not one repeated number keep their values; the reference is the region evaluated in float64, or,
 * if it has steps, rounded after every op as kernels round.  A large layer takes a second of one core, so the compiler
 * makes these beside the builds; nothing here touches the device or changes the graph. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "codegen/tune/internal.h"

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

static bool same_place(const tn_placed *a, const tn_placed *b) {
    return a->rank == b->rank && !memcmp(a->dims, b->dims, sizeof a->dims) &&
           !memcmp(a->strides, b->strides, sizeof a->strides);
}

/* ---- inputs ---- */

/* An operand's bytes where no value is drawn: a constant's own (kernels may have them as literals, and integer ones are
 * indices), or the first case's floats. */
static const void *known_values(const tn_reference *r, const tn_case *c, uint32_t k) {
    const tn_case *first = &r->of[0];
    if (r->s->in[k].is_const) {
        const void *own = tn_const_data(r->s->g, tn_node_input(r->s->g, r->s->kernel, k));
        if (own) return own;
    }
    const bool again = c != first && tn_dtype_is_float(c->in[k].dtype) && same_place(&c->in[k], &first->in[k]);
    return again && is_dense(&c->in[k]) ? first->data[k] : NULL;
}

/* From a dense tensor to the input's strides. */
static tn_status to_strides(const tn_reference *r, tn_case *c, uint32_t k, const char *dense) {
    const tn_placed *t = &c->in[k];
    const size_t size = tn_dtype_bits(t->dtype) / 8;
    char *strided = tn_alloc(r->env, t->span + 1);
    if (!strided) return TN_E_MEMORY;
    c->data[k] = strided;
    c->owned[k] = true;
    for (int64_t i = 0; i < t->numel; i++)
        memcpy(strided + (size_t)offset_of(t, i) * size, dense + (size_t)i * size, size);
    return TN_OK;
}

/* The ends that go with the mask of a `compact`, which is as it was drawn: a bool a byte. */
static void count_blocks(const tn_case *c, int64_t *ends, int64_t n) {
    const unsigned char *mask = c->data[0];
    int64_t count = 0;
    for (int64_t b = 0; b < n; b++) {
        for (int64_t k = b * TN_COMPACT_BLOCK; k < (b + 1) * TN_COMPACT_BLOCK && k < c->in[0].numel; k++)
            count += mask[k] != 0;
        ends[b] = count;
    }
}

/* An input for the reference; *temporary: its bytes are neither c's nor known. */
static tn_status make_input(const tn_reference *r, tn_case *c, uint32_t k, int64_t few, tn_tensor *dense,
                            bool *temporary, uint64_t *seed) {
    const tn_placed *p = &c->in[k];
    const void *known = known_values(r, c, k);
    void *drawn = NULL;
    *dense = (tn_tensor){.dtype = p->dtype, .rank = p->rank, .bytes = tn_dtype_bytes(p->dtype, (uint64_t)p->numel)};
    memcpy(dense->dims, p->dims, sizeof dense->dims);
    if (!known) {
        drawn = tn_alloc(r->env, dense->bytes + 1);
        if (!drawn) return TN_E_MEMORY;
        if (r->s->in[k].tells.i)
            tn_store_int(p->dtype, drawn, 0, tn_shape_value(r->s, &c->shape, r->s->in[k].tells));
        else if (tn_node_op(r->s->g, r->s->anchor) == TN_OP_COMPACT && k == 1)
            count_blocks(c, drawn, p->numel);
        else if (!tn_draw(r->s, &c->shape, &r->s->in[k], few, drawn, p->numel, seed)) {
            tn_free(r->env, drawn, dense->bytes + 1);
            return TN_E_UNSUPPORTED;
        }
    }
    dense->data = known ? (void *)(uintptr_t)known : drawn;
    c->shared[k] = c != &r->of[0] && known && known == r->of[0].data[k];
    if (is_dense(p)) {
        c->data[k] = dense->data;
        c->owned[k] = drawn != NULL;
        return TN_OK;
    }
    *temporary = drawn != NULL;
    return to_strides(r, c, k, dense->data);
}

/* ---- results ---- */

static double largest_of(tn_dtype t) {
    static const double largest[TN_DTYPE_COUNT] = {
        [TN_F64] = DBL_MAX,     [TN_F32] = (double)FLT_MAX, [TN_F16] = 65504,
        [TN_BF16] = 0x1.fep127, [TN_F8E4M3] = 448,          [TN_F8E5M2] = 57344};
    return largest[t];
}

/* A result as doubles, and the scale of its errors. */
static tn_status take_result(const tn_reference *r, tn_case *c, uint32_t k, tn_tensor *t) {
    tn_status st = TN_OK;
    if (tn_tensor_numel(t) != c->out[k].numel)
        return tn_fail(r->env, TN_E_INTERNAL, r->s->name, "",
                       "the reference gives %lld elements for result %u, its type has %lld",
                       (long long)tn_tensor_numel(t), k, (long long)c->out[k].numel);
    if (t->dtype == TN_F64) {
        c->want[k] = *t;
        *t = (tn_tensor){0};
    } else {
        st = tn_tensor_new(r->env, TN_F64, t->rank, t->dims, &c->want[k]);
        for (int64_t i = 0; st == TN_OK && i < c->out[k].numel; i++)
            ((double *)c->want[k].data)[i] = tn_load_num(t->dtype, t->data, (uint64_t)i);
    }
    const double *w = c->want[k].data;
    double sum = 0;
    int64_t n = 0;
    for (int64_t i = 0; st == TN_OK && i < c->out[k].numel; i++)
        if (isfinite(w[i])) sum += w[i] * w[i], n++;
    c->scale[k] = n ? sqrt(sum / (double)n) : 0;
    return st;
}

static tn_status run(const tn_env *env, const tn_reference *r, const tn_case *c, const tn_tensor *in, bool wide,
                     tn_tensor *out) {
    const tn_eval_opts opts = {.wide = wide && !tn_spec_steps(r->s),
                               .loose = r->s->loose,
                               .total = true,
                               .symbols = c->shape.b,
                               .n_symbols = c->shape.n};
    return tn_eval_region(env, r->s->g, r->s->region, in, r->s->n_in, out, r->s->n_out, &opts);
}

static tn_status evaluate(const tn_env *env, const tn_reference *r, tn_case *c, const tn_tensor *in) {
    tn_tensor out[TN_MAX_ARGS] = {{0}};
    tn_status st = run(env, r, c, in, true, out);
    if (st != TN_OK) return st;
    for (uint32_t k = 0; k < r->s->n_out; k++) {
        if (st == TN_OK) st = take_result(r, c, k, &out[k]);
        tn_tensor_free(r->env, &out[k]);
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
static tn_status stays_in_range(const tn_reference *r, const tn_case *c, const tn_tensor *in, bool *ok) {
    tn_tensor out[TN_MAX_ARGS] = {{0}};
    tn_env quiet = r->env ? *r->env : (tn_env){0};
    quiet.diag = NULL;
    tn_status st = run(&quiet, r, c, in, false, out);
    *ok = st == TN_OK;
    for (uint32_t k = 0; k < r->s->n_out; k++) {
        const double *w = c->want[k].data, most = largest_of(c->out[k].dtype);
        for (int64_t i = 0; *ok && most > 0 && i < c->out[k].numel; i++) {
            const double narrow = tn_load_num(out[k].dtype, out[k].data, (uint64_t)i);
            *ok = isfinite(w[i]) ? isfinite(narrow) && fabs(w[i]) <= most : !isfinite(narrow);
        }
        tn_tensor_free(r->env, &out[k]);
    }
    return st == TN_E_MEMORY ? st : TN_OK;
}

/* ---- cases ---- */

static tn_status place_all(const tn_reference *r, tn_case *c) {
    const tn_spec *s = r->s;
    tn_status st = TN_OK;
    for (uint32_t k = 0; st == TN_OK && k < s->n_in; k++) st = tn_place(s, &c->shape, &s->in[k], &c->in[k]);
    for (uint32_t k = 0; st == TN_OK && k < s->n_out; k++) st = tn_place(s, &c->shape, &s->out[k], &c->out[k]);
    return st;
}

/* *ok: the results are numbers that candidates can be compared by. */
static tn_status try_case(const tn_env *env, const tn_reference *r, tn_case *c, int64_t few, bool *ok) {
    tn_tensor dense[TN_MAX_ARGS] = {{0}};
    bool temporary[TN_MAX_ARGS] = {false};
    uint64_t seed = 0x9e3779b97f4a7c15u;
    tn_status st = TN_OK;
    for (uint32_t k = 0; st == TN_OK && k < r->s->n_in; k++)
        st = make_input(r, c, k, few, &dense[k], &temporary[k], &seed);
    if (st == TN_OK) st = evaluate(env, r, c, dense);
    *ok = st == TN_OK;
    if (st == TN_OK && mixes(r->s)) st = stays_in_range(r, c, dense, ok);
    for (uint32_t k = 0; k < r->s->n_in; k++)
        if (temporary[k]) tn_free(r->env, dense[k].data, dense[k].bytes + 1);
    return st;
}

static void drop_case(const tn_reference *r, tn_case *c) {
    for (uint32_t k = 0; k < r->s->n_in; k++)
        if (c->owned[k]) tn_free(r->env, (void *)(uintptr_t)c->data[k], c->in[k].span + 1), c->owned[k] = false;
    for (uint32_t k = 0; k < r->s->n_out; k++) tn_tensor_free(r->env, &c->want[k]);
}

/* With the whole range of integers; where those lead to nothing, with fewer: a mask of 0 and 1, say, times the lowest float
 * bears no 3. */
static tn_status make_case(const tn_env *env, const tn_env *quiet, const tn_reference *r, tn_case *c) {
    static const int64_t few[] = {0, 4, 2, 1};
    enum { TRIES = sizeof few / sizeof *few };
    bool ok = false;
    tn_status st = place_all(r, c);
    for (size_t k = 0; st == TN_OK && !ok && k < TRIES; k++) {
        st = try_case(k + 1 < TRIES ? quiet : env, r, c, few[k], &ok);
        if (!ok) drop_case(r, c);
        if (st != TN_E_MEMORY && k + 1 < TRIES) st = TN_OK;
    }
    return st == TN_OK && !ok ? TN_E_UNSUPPORTED : st;
}

/* Shapes that the reference refuses are not judged; time is taken at the first that is. */
static tn_status make_cases(tn_reference *r) {
    tn_shape shapes[TN_MAX_SHAPES];
    const size_t n = tn_judged_shapes(r->s, shapes);
    tn_env quiet = r->env ? *r->env : (tn_env){0};
    quiet.diag = NULL;
    const tn_env *env = n > 1 ? &quiet : r->env;
    tn_status st = TN_OK;
    for (size_t k = 0; k < n && st != TN_E_MEMORY; k++) {
        tn_case *c = &r->of[r->n];
        *c = (tn_case){.shape = shapes[k]};
        st = make_case(env, &quiet, r, c);
        r->n += st == TN_OK;
    }
    if (st == TN_E_MEMORY || r->n) return st == TN_E_MEMORY ? st : TN_OK;
    if (n == 1) return st;
    return tn_report(r->env, TN_NOTE, TN_E_UNSUPPORTED, r->s->name,
                     "no shape is known at which this kernel could be judged");
}

tn_status tn_reference_make(const tn_env *env, const tn_spec *s, tn_reference **out) {
    *out = NULL;
    if (s->n_in > TN_MAX_ARGS || s->n_out > TN_MAX_ARGS) return TN_E_UNSUPPORTED;
    tn_reference *r = tn_alloc(env, sizeof *r);
    if (!r) return TN_E_MEMORY;
    r->env = env;
    r->s = s;
    const tn_status st = make_cases(r);
    if (st == TN_OK)
        *out = r;
    else
        tn_reference_free(r);
    return st;
}

void tn_reference_free(tn_reference *r) {
    if (!r) return;
    for (size_t k = 0; k < r->n; k++) drop_case(r, &r->of[k]);
    tn_free(r->env, r, sizeof *r);
}

size_t tn_reference_bytes(const tn_spec *s) {
    double bytes = 0;
    tn_placed p;
    tn_shape shapes[TN_MAX_SHAPES];
    const size_t n = tn_judged_shapes(s, shapes);
    for (size_t j = 0; j < n; j++)
        for (uint32_t k = 0; k < s->n_in + s->n_out; k++) {
            const tn_spec_tensor *t = k < s->n_in ? &s->in[k] : &s->out[k - s->n_in];
            if (j && k < s->n_in && t->is_const) continue; /* shared */
            if (tn_place(s, &shapes[j], t, &p) == TN_OK)
                bytes += (double)p.numel * (k < s->n_in ? 4 : 2 * sizeof(double));
        }
    return bytes < 1e18 ? (size_t)bytes : (size_t)1e18;
}
