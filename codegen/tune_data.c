/* tune_data.c: what candidates of one spec run on.
 *
 * Inputs are random (constants that are not one repeated number keep their values, integer constants always), each in
 * memory of its own with its true strides.  Outputs lie between guard zones and are filled with a pattern before every
 * checked run; gaps of strided outputs are guards too.  The reference is the region evaluated in float64. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "codegen/tune_internal.h"
#include "ir/eval/eval.h"

/* Bounds of |got - want| / (|want| + rms(want)) by the result's type: rounding of the result plus float32 accumulation
 * of rounded operands.  A wrong index or a missed element is of the order of 1. */
static double tolerance(const tn_spec *s, tn_dtype t) {
    const tn_attrs_matmul *m = NULL;
    bool tf32 = false;
    if (s->anchor.i && tn_node_op(s->g, s->anchor) == TN_OP_MATMUL) {
        m = TN_ATTRS_OF(s->g, s->anchor, matmul);
        tf32 = m->math && !strcmp(m->math, "tf32");
    } else if (s->anchor.i && tn_node_op(s->g, s->anchor) == TN_OP_CONV) {
        const tn_attrs_conv *c = TN_ATTRS_OF(s->g, s->anchor, conv);
        tf32 = c->math && !strcmp(c->math, "tf32");
    }
    switch (t) {
    case TN_F64: return 1e-9;
    case TN_F32: return tf32 ? 5e-3 : 2e-4;
    case TN_F16: return 4e-3;
    case TN_BF16: return 3e-2;
    case TN_F8E4M3: return 0.15;
    case TN_F8E5M2: return 0.3;
    default: return 0; /* integers are exact */
    }
}

static uint64_t next_random(uint64_t *x) { /* xorshift64*, Vigna 2016 */
    *x ^= *x >> 12, *x ^= *x << 25, *x ^= *x >> 27;
    return *x * UINT64_C(2685821657736338717);
}

/* Exclusive bound of the values that an integer input may take: the extent of what it indexes, followed through casts
 * and movement. */
static int64_t index_bound(const tn_spec *s, tn_val v, int depth) {
    int64_t bound = 4;
    for (tn_use u = tn_val_first_use(s->g, v); u.i && depth < 8; u = tn_use_next(s->g, u)) {
        tn_node n = tn_use_node(s->g, u);
        tn_op op = tn_node_op(s->g, n);
        if ((op == TN_OP_GATHER || op == TN_OP_GATHER_ELEMENTS) && tn_use_slot(s->g, u) == 1) {
            tn_dim d = tn_val_dim(s->g, tn_node_input(s->g, n, 0), (size_t)TN_ATTRS_OF(s->g, n, axis)->axis);
            int64_t extent = tn_spec_hint(s, d);
            if (extent < bound || bound == 4) bound = extent;
        } else if (op == TN_OP_GATHER_ND && tn_use_slot(s->g, u) == 1) {
            bound = 1;
        } else if (op == TN_OP_CAST || tn_op_is(op, TN_T_MOVEMENT)) {
            int64_t inner = index_bound(s, tn_node_result(s->g, n, 0), depth + 1);
            if (inner != 4) bound = inner;
        }
    }
    return bound;
}

/* Large tensors repeat one block, whose odd length no extent of a network divides: drawing numbers takes most of the
 * time. */
static void randomise(const tn_spec *s, const tn_spec_tensor *t, void *data, int64_t n, uint64_t *seed) {
    enum { BLOCK = 65521 };
    int64_t bound = t->dtype == TN_BOOL ? 2 : index_bound(s, t->arg, 0);
    const size_t size = tn_dtype_bits(t->dtype) / 8;
    const int64_t drawn = size && n > BLOCK ? BLOCK : n;
    for (int64_t i = 0; i < drawn; i++) {
        uint64_t r = next_random(seed);
        if (tn_dtype_is_float(t->dtype))
            tn_store_num(t->dtype, data, (uint64_t)i, (double)(r >> 11) * 0x1p-52 - 1.0);
        else
            tn_store_int(t->dtype, data, (uint64_t)i, bound > 0 ? (int64_t)(r % (uint64_t)bound) : 0);
    }
    for (int64_t i = drawn; i < n; i += BLOCK)
        memcpy((char *)data + (size_t)i * size, data, (size_t)(n - i < BLOCK ? n - i : BLOCK) * size);
}

/* A constant operand's own bytes: kernels may have them as literals, and integer ones are indices. */
static const void *const_values(const tn_spec *s, uint32_t k) {
    return s->in[k].is_const ? tn_const_data(s->g, tn_node_input(s->g, s->kernel, k)) : NULL;
}

static tn_status describe(const tn_spec *s, const tn_spec_tensor *t, tn_tune_tensor *out) {
    int64_t last = 0;
    out->numel = 1;
    for (uint32_t k = 0; k < t->rank; k++) {
        out->dims[k] = tn_spec_hint(s, t->dims[k]);
        out->strides[k] = tn_spec_hint(s, t->strides[k]);
        out->numel *= out->dims[k];
        last += (out->dims[k] - 1) * out->strides[k];
    }
    if (out->numel < 0 || last < 0 || last > (INT64_C(1) << 36)) return TN_E_UNSUPPORTED;
    out->span = tn_dtype_bytes(t->dtype, (uint64_t)last + 1);
    out->stride = (out->span + TN_GUARD - 1) / TN_GUARD * TN_GUARD;
    out->copies = 1;
    return TN_OK;
}

static int64_t offset_of(const tn_tune_tensor *t, uint32_t rank, int64_t i) {
    int64_t at = 0;
    for (uint32_t k = rank; k-- > 0;) {
        at += i % t->dims[k] * t->strides[k];
        i /= t->dims[k];
    }
    return at;
}

/* Scatters a dense tensor to its strides; 4-bit types are only ever dense. */
static void to_strides(const tn_spec_tensor *t, const tn_tune_tensor *d, const void *dense, void *strided) {
    size_t size = tn_dtype_bits(t->dtype) / 8;
    bool is_dense = (int64_t)(d->span / (size ? size : 1)) == d->numel || size == 0;
    if (is_dense) { /* strides of a dense tensor may still permute: then the general path is needed */
        int64_t want = 1;
        for (uint32_t k = t->rank; k-- > 0; want *= d->dims[k])
            if (d->dims[k] != 1 && d->strides[k] != want) is_dense = false;
    }
    if (is_dense || size == 0) {
        memcpy(strided, dense, d->span);
        return;
    }
    for (int64_t i = 0; i < d->numel; i++)
        memcpy((char *)strided + (size_t)offset_of(d, t->rank, i) * size, (const char *)dense + (size_t)i * size, size);
}

/* Fills one input on the device from a dense host tensor. */
static tn_status upload(tn_tuner *t, const tn_spec_tensor *st, tn_tune_tensor *d, const tn_tensor *dense) {
    size_t bytes = 2 * TN_GUARD + d->copies * d->stride;
    void *host = tn_alloc(t->env, d->span);
    if (!host) return TN_E_MEMORY;
    tn_status s = TN_CU(t->cu, cuMemAlloc(&d->base, bytes), "tuning input");
    if (s == TN_OK) s = TN_CU(t->cu, cuMemsetD8(d->base, 0xff, bytes), "tuning input"); /* NaN around inputs */
    if (d->numel > 0) to_strides(st, d, dense->data, host);
    for (uint32_t k = 0; s == TN_OK && d->numel > 0 && k < d->copies; k++)
        s = TN_CU(t->cu, cuMemcpyHtoD(d->base + TN_GUARD + k * d->stride, host, d->span), "tuning input");
    tn_free(t->env, host, d->span);
    return s;
}

static tn_status make_inputs(tn_tuner *t, tn_tune_data *d, tn_tensor *host) {
    const tn_spec *s = d->s;
    uint64_t seed = 0x9e3779b97f4a7c15u;
    size_t weights = 0;
    for (uint32_t k = 0; k < s->n_in; k++) {
        tn_status st = describe(s, &s->in[k], &d->in[k]);
        if (st != TN_OK) return st;
        if (s->in[k].is_const) weights += d->in[k].span;
    }
    size_t l2 = t->dev.l2_bytes > 0 ? (size_t)t->dev.l2_bytes : (size_t)40 << 20;
    d->copies = weights < (64 << 10) ? 1 : (uint32_t)(2 * l2 / weights + 1);
    if (d->copies > TN_MAX_COPIES) d->copies = TN_MAX_COPIES;
    for (uint32_t k = 0; k < s->n_in; k++) {
        if (s->in[k].is_const) d->in[k].copies = d->copies;
        tn_status st = tn_tensor_new(t->env, s->in[k].dtype, s->in[k].rank, d->in[k].dims, &host[k]);
        if (st != TN_OK) return st;
        const void *own = const_values(s, k);
        if (own)
            memcpy(host[k].data, own, tn_dtype_bytes(host[k].dtype, (uint64_t)d->in[k].numel));
        else
            randomise(s, &s->in[k], host[k].data, d->in[k].numel, &seed);
        st = upload(t, &s->in[k], &d->in[k], &host[k]);
        if (st != TN_OK) return st;
    }
    return TN_OK;
}

/* The reference as doubles on the device, and the scale of its errors. */
static tn_status upload_reference(tn_tuner *t, const tn_spec *s, uint32_t k, const tn_tensor *r, tn_tune_tensor *d) {
    double *w = tn_alloc(t->env, (size_t)d->numel * sizeof *w + 1), sum = 0;
    if (!w) return TN_E_MEMORY;
    int64_t n = 0;
    for (int64_t i = 0; i < d->numel; i++) {
        w[i] = r->dtype == TN_F64 ? ((const double *)r->data)[i] : tn_load_num(r->dtype, r->data, (uint64_t)i);
        if (isfinite(w[i])) sum += w[i] * w[i], n++;
    }
    d->scale = n ? sqrt(sum / (double)n) : 0;
    d->tolerance = tolerance(s, s->out[k].dtype);
    tn_status st = TN_CU(t->cu, cuMemAlloc(&d->want, (size_t)d->numel * sizeof *w + 16), "reference");
    if (st == TN_OK && d->numel) st = TN_CU(t->cu, cuMemcpyHtoD(d->want, w, (size_t)d->numel * sizeof *w), "reference");
    tn_free(t->env, w, (size_t)d->numel * sizeof *w + 1);
    return st;
}

static tn_status make_outputs(tn_tuner *t, tn_tune_data *d, const tn_tensor *host) {
    const tn_spec *s = d->s;
    tn_tensor *ref = tn_alloc(t->env, (s->n_out + 1) * sizeof *ref);
    if (!ref) return TN_E_MEMORY;
    tn_binding bind[64];
    size_t n_bind = 0;
    for (size_t k = 0; k < tn_sym_count(s->g) && k < 64; k++) {
        tn_dim sym = tn_sym_at(s->g, k);
        bind[n_bind++] = (tn_binding){tn_dim_name(s->g, sym), tn_spec_hint(s, sym)};
    }
    tn_eval_opts opts = {.wide = true, .symbols = bind, .n_symbols = n_bind};
    tn_status st = tn_eval_region(t->env, s->g, s->region, host, s->n_in, ref, s->n_out, &opts);
    bool evaluated = st == TN_OK;
    for (uint32_t k = 0; st == TN_OK && k < s->n_out; k++) {
        st = describe(s, &s->out[k], &d->out[k]);
        if (st == TN_OK && tn_tensor_numel(&ref[k]) != d->out[k].numel)
            st = tn_fail(t->env, TN_E_INTERNAL, s->name, "",
                         "the reference gives %lld elements for result %u, its type has %lld",
                         (long long)tn_tensor_numel(&ref[k]), k, (long long)d->out[k].numel);
        if (st == TN_OK) st = upload_reference(t, s, k, &ref[k], &d->out[k]);
        if (st == TN_OK)
            st = TN_CU(t->cu, cuMemAlloc(&d->out[k].base, 2 * TN_GUARD + d->out[k].stride), "tuning output");
    }
    for (uint32_t k = 0; evaluated && k < s->n_out; k++) tn_tensor_free(t->env, &ref[k]);
    tn_free(t->env, ref, (s->n_out + 1) * sizeof *ref);
    return st;
}

tn_status tn_tune_data_make(tn_tuner *t, const tn_spec *s, tn_tune_data *d) {
    *d = (tn_tune_data){.s = s, .n_in = s->n_in, .n_out = s->n_out};
    d->in = tn_alloc(t->env, (s->n_in + 1) * sizeof *d->in);
    d->out = tn_alloc(t->env, (s->n_out + 1) * sizeof *d->out);
    tn_tensor *host = tn_alloc(t->env, (s->n_in + 1) * sizeof *host);
    tn_status st = d->in && d->out && host ? make_inputs(t, d, host) : TN_E_MEMORY;
    if (st == TN_OK) st = make_outputs(t, d, host);
    for (uint32_t k = 0; host && k < s->n_in; k++) tn_tensor_free(t->env, &host[k]);
    tn_free(t->env, host, (s->n_in + 1) * sizeof *host);
    if (st != TN_OK) tn_tune_data_free(t, d);
    return st;
}

void tn_tune_data_free(tn_tuner *t, tn_tune_data *d) {
    for (uint32_t k = 0; d->in && k < d->n_in; k++)
        if (d->in[k].base) t->cu->cuMemFree(d->in[k].base);
    for (uint32_t k = 0; d->out && k < d->n_out; k++) {
        if (d->out[k].base) t->cu->cuMemFree(d->out[k].base);
        if (d->out[k].want) t->cu->cuMemFree(d->out[k].want);
    }
    tn_free(t->env, d->in, (d->n_in + 1) * sizeof *d->in);
    tn_free(t->env, d->out, (d->n_out + 1) * sizeof *d->out);
    *d = (tn_tune_data){0};
}

CUdeviceptr tn_tune_address(const tn_tuner *t, const tn_tune_data *d, const tn_arg *a, uint32_t copy) {
    if (a->kind == TN_ARG_WORKSPACE) return t->workspace;
    const tn_tune_tensor *x = a->kind == TN_ARG_IN ? &d->in[a->index] : &d->out[a->index];
    return x->base + TN_GUARD + (x->copies > 1 ? copy % x->copies * x->stride : 0);
}

/* ---- checking ---- */

static const int32_t codes[TN_DTYPE_COUNT] =
    {/* the order of templates/check.cu */
     [TN_F64] = 0,    [TN_F32] = 1,  [TN_F16] = 2,  [TN_BF16] = 3, [TN_F8E4M3] = 4,
     [TN_F8E5M2] = 5, [TN_I64] = 6,  [TN_I32] = 7,  [TN_I16] = 8,  [TN_I8] = 9,
     [TN_U64] = 10,   [TN_U32] = 11, [TN_U16] = 12, [TN_U8] = 13,  [TN_BOOL] = 14};

static tn_status run(tn_tuner *t, CUfunction fn, const void *const *params, const char *what) {
    CUlaunchConfig config = {.gridDimX = 1024,
                             .gridDimY = 1,
                             .gridDimZ = 1,
                             .blockDimX = 256,
                             .blockDimY = 1,
                             .blockDimZ = 1,
                             .hStream = t->stream};
    return TN_CU(t->cu, cuLaunchKernelEx(&config, fn, (void **)(uintptr_t)params, NULL), what);
}

static int64_t guard_words(const tn_tune_tensor *o) {
    return (int64_t)((2 * TN_GUARD + o->stride) / 4);
}

tn_status tn_tune_data_poison(tn_tuner *t, const tn_tune_data *d) {
    uint32_t pattern = TN_GUARD_PATTERN;
    tn_status s = TN_OK;
    for (uint32_t k = 0; s == TN_OK && k < d->n_out; k++) {
        int64_t words = guard_words(&d->out[k]);
        const void *params[] = {&d->out[k].base, &words, &pattern};
        s = run(t, t->fill, params, "tn_check_fill");
    }
    return s;
}

static double from_bits(uint64_t bits) {
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static tn_status judge_one(tn_tuner *t, const tn_tune_data *d, uint32_t k, tn_check_result *r, uint64_t *overrun) {
    const tn_tune_tensor *o = &d->out[k];
    const tn_spec_tensor *st = &d->s->out[k];
    tn_check_view v = {
        .data = o->base + TN_GUARD, .numel = o->numel, .rank = (int32_t)st->rank, .code = codes[st->dtype]};
    memcpy(v.dims, o->dims, sizeof v.dims);
    memcpy(v.strides, o->strides, sizeof v.strides);
    uint32_t pattern = TN_GUARD_PATTERN;
    int64_t words = guard_words(o);
    CUdeviceptr counter = t->result + sizeof *r;
    const struct {
        tn_check_result r;
        uint64_t count;
    } zero = {{0, 0, 0, UINT64_MAX}, 0};
    struct {
        tn_check_result r;
        uint64_t count;
    } got;
    tn_status s = TN_CU(t->cu, cuMemcpyHtoD(t->result, &zero, sizeof zero), "check");
    const void *compare[] = {&v, &o->want, &o->tolerance, &o->scale, &t->result};
    const void *erase[] = {&v, &pattern};
    const void *count[] = {&o->base, &words, &pattern, &counter};
    if (s == TN_OK) s = run(t, t->compare, compare, "tn_check_compare");
    if (s == TN_OK) s = run(t, t->erase, erase, "tn_check_erase");
    if (s == TN_OK) s = run(t, t->count, count, "tn_check_count");
    if (s == TN_OK) s = TN_CU(t->cu, cuStreamSynchronize(t->stream), "check");
    if (s == TN_OK) s = TN_CU(t->cu, cuMemcpyDtoH(&got, t->result, sizeof got), "check");
    *r = got.r;
    *overrun = got.count;
    return s;
}

tn_status tn_tune_data_judge(tn_tuner *t, const tn_tune_data *d, double *max_abs, double *max_rel, char *why,
                             size_t size) {
    *max_abs = *max_rel = 0;
    *why = 0;
    for (uint32_t k = 0; k < d->n_out; k++) {
        tn_check_result r;
        uint64_t overrun;
        tn_status s = judge_one(t, d, k, &r, &overrun);
        if (s != TN_OK) return s;
        double a = from_bits(r.max_abs_bits), b = from_bits(r.max_rel_bits);
        if (a > *max_abs) *max_abs = a;
        if (b > *max_rel) *max_rel = b;
        if (overrun && !*why)
            snprintf(why, size, "writes outside result %u: %llu guard words changed", k, (unsigned long long)overrun);
        if (r.bad && !*why)
            snprintf(why, size, "wrong: result %u has %llu of %lld elements off, first at %llu, max error %.3g", k,
                     (unsigned long long)r.bad, (long long)d->out[k].numel, (unsigned long long)r.first_bad, a);
    }
    return TN_OK;
}
