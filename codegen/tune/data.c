/* data.c: what candidates of one spec run on.
 *
 * Each input is in memory of its own with its true strides, weights in several copies.  Outputs lie between guard zones
 * and are filled with a pattern before every checked run; gaps of strided outputs are guards too.  Values and
 * results come from spec/. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "codegen/spec/contraction.h"
#include "codegen/tune/internal.h"
#include "tenon/internal/arith.h"

static double tolerance_of(tn_dtype t, bool tf32) {
    switch (t) {
    case TN_F64: return 1e-9;
    case TN_F32: return tf32 ? 5e-3 : 2e-4;
    case TN_F16: return 4e-3;
    case TN_BF16: return 3e-2;
    case TN_F8E4M3:
    case TN_F8E4M3FNUZ: return 0.15;
    case TN_F8E5M2:
    case TN_F8E5M2FNUZ: return 0.3;
    case TN_F4E2M1: return 0.6;
    case TN_F8E8M0: return 1.1; /* a step is a factor of two */
    default: return 0;          /* integers are exact */
    }
}

/* Bounds of |got - want| / (|want| + rms(want)) by the result's type and what is rounded on the way to it: rounding
 * plus float32 accumulation of rounded operands.  A wrong index or a missed element is of the order of 1. */
double tn_tolerance(const tn_spec *s, tn_dtype t) {
    const bool tf32 = tn_spec_tf32(s);
    double most = tolerance_of(t, tf32);
    if (s->plugin && s->plugin->tolerance > 0) return s->plugin->tolerance;
    TN_FOR_NODES(s->g, s->region, n)
    for (size_t k = 0; most > 0 && k < tn_node_result_count(s->g, n); k++) {
        const tn_val v = tn_node_result(s->g, n, k);
        if (tn_spec_rounds(s, v) || tn_val_dtype(s->g, v) == TN_F32)
            most = fmax(most, tolerance_of(tn_val_dtype(s->g, v), tf32));
        if (tn_node_op(s->g, n) == TN_OP_ROW_SUMS) /* of what is stored */
            most = fmax(most, tolerance_of(tn_val_dtype(s->g, tn_node_input(s->g, n, 0)), tf32));
    }
    return most;
}

/* How many elements may be a step away where floats are rounded, compared or made integers. */
static uint64_t may_step(const tn_spec *s, int64_t numel) {
    if (!tn_spec_steps(s)) return 0;
    return (uint64_t)numel / (tn_spec_tf32(s) ? 16 : 256);
}

/* Memory of its own, or what the tuner lends: enough was reserved. */
static tn_status take(tn_tuner *t, bool lent, size_t bytes, CUdeviceptr *p, const char *what) {
    if (!lent) return TN_CU(t->cu, cuMemAlloc(p, bytes), what);
    *p = t->lent + t->lent_used;
    t->lent_used += (size_t)tn_round_up((int64_t)bytes, TN_GUARD);
    return TN_OK;
}

/* One copy of an input; on the host may lie the beginning of what repeats. */
static tn_status fill(tn_tuner *t, CUdeviceptr to, const void *data, size_t held, size_t span) {
    size_t there = held < span ? held : span;
    tn_status s = TN_CU(t->cu, cuMemcpyHtoD(to, data, there), "tuning input");
    while (s == TN_OK && there < span) {
        const size_t n = there < span - there ? there : span - there;
        s = TN_CU(t->cu, cuMemcpyDtoD(to + there, to, n), "tuning input");
        there += n;
    }
    return s;
}

/* Fills one input on the device. */
static tn_status upload(tn_tuner *t, const tn_case *c, uint32_t k, tn_tune_tensor *d) {
    const size_t bytes = 2 * TN_GUARD + d->copies * d->stride;
    tn_status s = take(t, d->lent, bytes, &d->base, "tuning input");
    if (s == TN_OK) s = TN_CU(t->cu, cuMemsetD8(d->base, 0xff, bytes), "tuning input"); /* NaN around inputs */
    for (uint32_t j = 0; s == TN_OK && d->at.numel > 0 && j < d->copies; j++)
        s = fill(t, d->base + TN_GUARD + j * d->stride, c->data[k], c->held[k], d->at.span);
    return s;
}

/* So many that the L2 cache does not hold them. */
static uint32_t copies_of_weights(const tn_tuner *t, const tn_spec *s, const tn_case *c) {
    size_t weights = 0;
    for (uint32_t k = 0; k < s->n_in; k++)
        if (s->in[k].is_const) weights += c->in[k].span;
    const size_t l2 = t->dev.l2_bytes > 0 ? (size_t)t->dev.l2_bytes : (size_t)40 << 20;
    const size_t copies = weights < (64 << 10) ? 1 : 2 * l2 / weights + 1;
    return copies < TN_MAX_COPIES ? (uint32_t)copies : TN_MAX_COPIES;
}

static void describe(const tn_placed *at, tn_tune_tensor *out) {
    out->at = *at;
    out->stride = (size_t)tn_round_up((int64_t)at->span, TN_GUARD);
    out->copies = 1;
}

/* How tensors lie on the device. */
static void describe_all(tn_tuner *t, const tn_case *c, const tn_tune_data *first, tn_tune_data *d) {
    d->copies = first ? 1 : copies_of_weights(t, d->s, c);
    for (uint32_t k = 0; k < d->n_in; k++) {
        describe(&c->in[k], &d->in[k]);
        d->in[k].lent = first != NULL;
        d->in[k].shared = first && c->data[k] == first->of->data[k] && c->in[k].span == first->of->in[k].span;
        if (d->s->in[k].is_const) d->in[k].copies = d->copies;
    }
    for (uint32_t k = 0; k < d->n_out; k++) {
        tn_tune_tensor *o = &d->out[k];
        describe(&c->out[k], o);
        o->lent = first != NULL;
        o->rows = c->rows[k];
        o->scale = c->scale[k];
        o->tolerance = tn_tolerance(d->s, d->s->out[k].dtype);
        o->compared = tn_tensor_numel(&c->want[k]);
        o->may_step = may_step(d->s, o->compared);
    }
}

static tn_status make_inputs(tn_tuner *t, const tn_case *c, const tn_tune_data *first, tn_tune_data *d) {
    tn_status st = TN_OK;
    for (uint32_t k = 0; st == TN_OK && k < d->n_in; k++) {
        if (d->in[k].shared)
            d->in[k].base = first->in[k].base;
        else
            st = upload(t, c, k, &d->in[k]);
    }
    return st;
}

static size_t want_bytes(const tn_tune_tensor *o) {
    return (size_t)o->compared * sizeof(double) + 16;
}

static tn_status make_outputs(tn_tuner *t, const tn_case *c, tn_tune_data *d) {
    tn_status st = TN_OK;
    for (uint32_t k = 0; st == TN_OK && k < d->s->n_out; k++) {
        tn_tune_tensor *o = &d->out[k];
        const size_t bytes = (size_t)o->compared * sizeof(double);
        st = take(t, o->lent, want_bytes(o), &o->want, "reference");
        if (st == TN_OK && bytes) st = TN_CU(t->cu, cuMemcpyHtoD(o->want, c->want[k].data, bytes), "reference");
        if (st == TN_OK) st = take(t, o->lent, 2 * TN_GUARD + o->stride, &o->base, "tuning output");
    }
    return st;
}

/* Room for a case that is lent its memory. */
static tn_status reserve(tn_tuner *t, const tn_tune_data *d) {
    size_t bytes = 0;
    for (uint32_t k = 0; k < d->n_in; k++)
        if (!d->in[k].shared) bytes += 3 * TN_GUARD + d->in[k].stride;
    for (uint32_t k = 0; k < d->n_out; k++) bytes += 4 * TN_GUARD + d->out[k].stride + want_bytes(&d->out[k]);
    t->lent_used = 0;
    if (bytes <= t->lent_size) return TN_OK;
    if (t->lent) t->cu->cuMemFree(t->lent);
    t->lent = 0, t->lent_size = 0;
    const tn_status st = TN_CU(t->cu, cuMemAlloc(&t->lent, bytes + bytes / 2), "tuning data");
    if (st == TN_OK) t->lent_size = bytes + bytes / 2;
    return st;
}

tn_status tn_tune_data_make(tn_tuner *t, const tn_spec *s, const tn_shape *shape, const tn_case *c,
                            const tn_tune_data *first, tn_tune_data *d) {
    *d = (tn_tune_data){.s = s, .of = c, .shape = *shape, .n_in = s->n_in, .n_out = s->n_out};
    d->in = tn_alloc(t->env, (s->n_in + 1) * sizeof *d->in);
    d->out = tn_alloc(t->env, (s->n_out + 1) * sizeof *d->out);
    tn_status st = d->in && d->out ? TN_OK : TN_E_MEMORY;
    if (st == TN_OK) describe_all(t, c, first, d);
    if (st == TN_OK && first) st = reserve(t, d);
    if (st == TN_OK) st = make_inputs(t, c, first, d);
    if (st == TN_OK) st = make_outputs(t, c, d);
    if (st == TN_OK)
        st = TN_CU(t->cu, cuCtxSynchronize(), "tuning data"); /* copies may still be under way when they return */
    if (st != TN_OK) tn_tune_data_free(t, d);
    return st;
}

void tn_tune_data_free(tn_tuner *t, tn_tune_data *d) {
    for (uint32_t k = 0; d->in && k < d->n_in; k++)
        if (d->in[k].base && !d->in[k].shared && !d->in[k].lent) t->cu->cuMemFree(d->in[k].base);
    for (uint32_t k = 0; d->out && k < d->n_out; k++) {
        if (d->out[k].lent) continue;
        if (d->out[k].base) t->cu->cuMemFree(d->out[k].base);
        if (d->out[k].want) t->cu->cuMemFree(d->out[k].want);
    }
    tn_free(t->env, d->in, (d->n_in + 1) * sizeof *d->in);
    tn_free(t->env, d->out, (d->n_out + 1) * sizeof *d->out);
    *d = (tn_tune_data){0};
}

CUdeviceptr tn_tune_address(const tn_tune_data *d, const tn_arg *a, uint32_t copy) {
    const tn_tune_tensor *x = a->kind == TN_ARG_IN ? &d->in[a->index] : &d->out[a->index];
    return x->base + TN_GUARD + (x->copies > 1 ? copy % x->copies * x->stride : 0);
}

/* Lays out and fills the copies; beside and between them are NaNs. */
static tn_status upload_packed(tn_tuner *t, const void *packed, size_t size, tn_tune_packed *out) {
    const size_t bytes = 2 * TN_GUARD + out->copies * out->stride;
    tn_status s = TN_CU(t->cu, cuMemAlloc(&out->memory, bytes), "packed weights");
    out->base = out->memory + TN_GUARD;
    if (s == TN_OK) s = TN_CU(t->cu, cuMemsetD8(out->memory, 0xff, bytes), "packed weights");
    for (uint32_t k = 0; s == TN_OK && k < out->copies; k++)
        s = TN_CU(t->cu, cuMemcpyHtoD(out->base + k * out->stride, packed, size), "packed weights");
    if (s != TN_OK && out->memory) t->cu->cuMemFree(out->memory);
    return s;
}

tn_status tn_tune_pack(tn_tuner *t, const tn_tune_data *d, uint32_t in, const tn_packing *how, tn_tune_packed *out) {
    const tn_tune_tensor *x = &d->in[in];
    uint64_t plain_size, size;
    if (!tn_packing_sizes(how, &plain_size, &size) || plain_size != x->at.span) return TN_E_INTERNAL;
    void *plain = tn_alloc(t->env, plain_size), *packed = tn_alloc(t->env, size);
    *out = (tn_tune_packed){.in = in, .copies = x->copies, .how = *how};
    out->stride = (size_t)tn_round_up((int64_t)size, TN_GUARD);
    tn_status s =
        plain && packed ? TN_CU(t->cu, cuMemcpyDtoH(plain, x->base + TN_GUARD, plain_size), "weights") : TN_E_MEMORY;
    if (s == TN_OK) tn_packing_pack(how, plain, packed);
    if (s == TN_OK) s = upload_packed(t, packed, size, out);
    tn_free(t->env, plain, plain_size);
    tn_free(t->env, packed, size);
    return s;
}

/* ---- checking ---- */

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
        .data = o->base + TN_GUARD, .numel = o->at.numel, .rank = (int32_t)st->rank, .code = (int32_t)st->dtype};
    memcpy(v.dims, o->at.dims, sizeof v.dims);
    memcpy(v.strides, o->at.strides, sizeof v.strides);
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
    const void *compare[] = {&v, &o->want, &o->tolerance, &o->scale, &t->result, &o->rows};
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
        if (r.bad > d->out[k].may_step && !*why)
            snprintf(why, size, "wrong: result %u has %llu of %lld elements off, first at %llu, max error %.3g", k,
                     (unsigned long long)r.bad, (long long)d->out[k].compared, (unsigned long long)r.first_bad, a);
    }
    return TN_OK;
}
