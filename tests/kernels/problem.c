/* problem.c: one kernel with a size for every symbol: inputs, the float64 reference, and the comparison with it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/spec/derived.h"
#include "tests/kernels/matrix.h"

enum { PATTERN = 0xa5 };

int64_t problem_value(const problem *p, tn_dim d) {
    int64_t v = 0;
    if (!tn_dim_eval(p->g, d, p->b, p->n_b, &v)) die("%s: a dim has no value", p->name);
    return v;
}

static unsigned next_random(void) {
    static unsigned s = 12345;
    s = s * 1664525u + 1013904223u;
    return s >> 8;
}

/* An integer divides as it is: it is never 0. */
static bool divides(const tn_spec *s, tn_val v) {
    for (tn_use u = tn_val_first_use(s->g, v); u.i; u = tn_use_next(s->g, u)) {
        const tn_op op = tn_node_op(s->g, tn_use_node(s->g, u));
        if (tn_use_slot(s->g, u) == 1 && (op == TN_OP_DIV || op == TN_OP_MOD || op == TN_OP_FMOD)) return true;
    }
    return false;
}

static void fill_random(tn_tensor *t, bool divisor, double scale) {
    const int64_t n = tn_tensor_numel(t);
    for (int64_t i = 0; i < n; ++i) {
        const int any = (int)(next_random() % 65) - 32, r = divisor && any % 4 == 0 ? 1 : any;
        if (t->dtype == TN_BOOL)
            tn_store_int(t->dtype, t->data, (uint64_t)i, r & 1);
        else if (tn_dtype_is_float(t->dtype))
            tn_store_num(t->dtype, t->data, (uint64_t)i, r / 16.0 * scale);
        else
            tn_store_int(t->dtype, t->data, (uint64_t)i, tn_dtype_is_unsigned(t->dtype) ? (r + 32) % 4 : r % 4);
    }
}

/* How many of n keys queries see: adjacent ones few of them, or up to half, or up to more than there are; and less than none.  first: the first key
 * of so many. */
static void fill_limits(tn_tensor *t, int64_t n, bool first) {
    enum { ALIKE = 32 };
    const int64_t tops[] = {3, n / 2, n + n / 8 + 2};
    int64_t top = tops[2];
    for (int64_t i = 0; i < tn_tensor_numel(t); i++) {
        if (i % ALIKE == 0) top = tops[next_random() % 3];
        const int64_t seen = (int64_t)(next_random() % (uint64_t)(top + 3)) - 2;
        tn_store_int(t->dtype, t->data, (uint64_t)i, first ? n - seen : seen);
    }
}

/* Element i of a strided buffer (row-major index i). */
static int64_t element(const buffer *b, int64_t i) {
    int64_t at = 0;
    for (uint32_t k = b->dense.rank; k-- > 0; i /= b->dims[k]) at += i % b->dims[k] * b->strides[k];
    return at;
}

static size_t block_bytes(const buffer *b) {
    return b->bytes + 4 * GUARD;
}

static void make_buffer(const problem *p, const tn_spec_tensor *t, buffer *b) {
    int64_t span = 1;
    for (uint32_t k = 0; k < t->rank; ++k) {
        b->dims[k] = problem_value(p, t->dims[k]);
        b->strides[k] = problem_value(p, t->strides[k]);
        if (b->dims[k] > 1) span += (b->dims[k] - 1) * b->strides[k];
    }
    if (tn_tensor_new(matrix_env, t->dtype, t->rank, b->dims, &b->dense) != TN_OK) die("out of memory");
    b->bytes = tn_dtype_bytes(t->dtype, (uint64_t)span);
    b->misalign = t->align < 256 ? t->align : 0; /* aligned as promised and no better */
    b->block = malloc(block_bytes(b));
    if (!b->block) die("out of memory");
    memset(b->block, PATTERN, block_bytes(b));
    b->p = b->block + GUARD;
    b->p += (256 - (uintptr_t)b->p % 256) % 256 + b->misalign;
}

static void scatter(buffer *b) {
    const int64_t n = tn_tensor_numel(&b->dense);
    const tn_dtype t = b->dense.dtype;
    for (int64_t i = 0; i < n; ++i) {
        const uint64_t at = (uint64_t)element(b, i);
        tn_store_bits(t, b->p, at, tn_load_bits(t, b->dense.data, (uint64_t)i));
    }
}

static void magnitude(tn_tensor *t) {
    for (int64_t i = 0; tn_dtype_is_float(t->dtype) && i < tn_tensor_numel(t); i++)
        tn_store_num(t->dtype, t->data, (uint64_t)i, fabs(tn_load_num(t->dtype, t->data, (uint64_t)i)));
}

/* Inputs, reference, and the reference of the inputs' magnitudes, which says how large the terms of sums are. */
void problem_prepare(problem *p) {
    tn_tensor in[TN_MAX_ARGS];
    const tn_spec *s = p->s;
    for (uint32_t k = 0; k < s->n_in; ++k) {
        make_buffer(p, &s->in[k], &p->in[k]);
        bool first_key;
        const tn_dim keys = tn_drawn_keys(s, s->in[k].arg, &first_key);
        const void *data = tn_const_data(p->g, tn_node_input(p->g, s->kernel, k));
        const buffer *x = &p->in[0];
        const tn_drawn_from first = {x->dense.dtype, x->dense.rank, x->dims, x->strides, x->p};
        if (data)
            memcpy(p->in[k].dense.data, data, p->in[k].dense.bytes);
        else if (keys.i)
            fill_limits(&p->in[k].dense, problem_value(p, keys), first_key);
        else if (!tn_derives(s, k, &first, p->in[k].dims, p->in[k].dense.data, k + 1))
            fill_random(&p->in[k].dense, tn_dtype_is_int(s->in[k].dtype) && divides(s, s->in[k].arg),
                        tn_drawn_scale(s, &s->in[k], s->in[k].rank ? p->in[k].dims[s->in[k].rank - 1] : 1));
        scatter(&p->in[k]);
        in[k] = p->in[k].dense;
    }
    for (uint32_t k = 0; k < s->n_out; ++k) make_buffer(p, &s->out[k], &p->out[k]);
    const tn_eval_opts opts = {.wide = true, .total = true, .symbols = p->b, .n_symbols = p->n_b};
    if (tn_eval_region(matrix_env, p->g, s->region, in, s->n_in, p->want, s->n_out, &opts) != TN_OK)
        die("%s: the reference fails", p->name);
    for (uint32_t k = 0; k < s->n_in; ++k) magnitude(&p->in[k].dense);
    if (tn_eval_region(matrix_env, p->g, s->region, in, s->n_in, p->scale, s->n_out, &opts) != TN_OK)
        die("%s: the reference fails on magnitudes", p->name);
    p->model = bound_model_of(s, p->b, p->n_b, !strcmp(p->kind, "tf32"));
    p->ready = true;
}

/* In the room of its own: the bytes that inputs have, which their magnitudes have replaced in `dense`. */
buffer problem_pack(const problem *p, const tn_packed_in *x) {
    buffer b = {0};
    uint64_t plain, packed;
    if (!tn_packing_sizes(&x->how, &plain, &packed) || plain != p->in[x->in].bytes)
        die("%s: not to be packed", p->name);
    b.bytes = (size_t)packed;
    b.block = malloc(block_bytes(&b));
    if (!b.block) die("out of memory");
    memset(b.block, PATTERN, block_bytes(&b));
    b.p = b.block + GUARD;
    b.p += (256 - (uintptr_t)b.p % 256) % 256;
    tn_packing_pack(&x->how, p->in[x->in].p, b.p);
    return b;
}

void problem_release(problem *p) {
    for (uint32_t k = 0; k < p->s->n_in; ++k) {
        tn_tensor_free(matrix_env, &p->in[k].dense);
        free(p->in[k].block);
    }
    for (uint32_t k = 0; k < p->s->n_out; ++k) {
        tn_tensor_free(matrix_env, &p->out[k].dense);
        tn_tensor_free(matrix_env, &p->want[k]);
        tn_tensor_free(matrix_env, &p->scale[k]);
        free(p->out[k].block);
    }
}

static bool guards_are_whole(const buffer *b) {
    for (const char *q = b->block; q < b->p; q++)
        if (*q != (char)PATTERN) return false;
    for (const char *q = b->p + b->bytes; q < b->block + block_bytes(b); q++)
        if (*q != (char)PATTERN) return false;
    return true;
}

/* False: `why` says what is wrong with output k. */
static bool judge_output(const problem *p, uint32_t k, char *why, size_t size) {
    const buffer *b = &p->out[k];
    const tn_dtype t = b->dense.dtype;
    const tn_tensor *want = &p->want[k];
    const double rms = bound_rms(want);
    for (int64_t i = 0, n = tn_tensor_numel(&b->dense); i < n; ++i) {
        const uint64_t at = (uint64_t)element(b, i);
        if (!tn_dtype_is_float(t)) {
            const int64_t got = tn_load_int(t, b->p, at), w = tn_load_int(want->dtype, want->data, (uint64_t)i);
            if (got == w) continue;
            snprintf(why, size, "output %u[%lld] is %lld, not %lld", k, (long long)i, (long long)got, (long long)w);
            return false;
        }
        const double got = tn_load_num(t, b->p, at), w = tn_load_num(want->dtype, want->data, (uint64_t)i);
        const double bound =
            bound_of(&p->model, t, w, tn_load_num(p->scale[k].dtype, p->scale[k].data, (uint64_t)i), rms);
        if (got == w || (isnan(got) && isnan(w)) || (isfinite(w) && fabs(got - w) <= bound)) continue;
        snprintf(why, size, "output %u[%lld] is %.9g, not %.9g: off by %.3g, the bound is %.3g", k, (long long)i, got,
                 w, fabs(got - w), bound);
        return false;
    }
    if (guards_are_whole(b)) return true;
    snprintf(why, size, "output %u: the guard zone was written", k);
    return false;
}

void problem_poison(problem *p, bool ones) {
    for (uint32_t k = 0; k < p->s->n_out; ++k) {
        memset(p->out[k].block, PATTERN, block_bytes(&p->out[k]));
        if (ones) memset(p->out[k].p, 0xff, p->out[k].bytes);
    }
}

bool problem_judge(const problem *p, char *why, size_t size) {
    for (uint32_t k = 0; k < p->s->n_out; ++k)
        if (!judge_output(p, k, why, size)) return false;
    return true;
}
