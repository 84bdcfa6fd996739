/* tensor.c: dense tensors and the small services that op functions share. */
#include <stdarg.h>
#include <stdio.h>

#include "ir/eval/internal.h"

int64_t tn_tensor_numel(const tn_tensor *t) {
    return tn_ev_product(t, 0, t->rank);
}

int64_t tn_ev_product(const tn_tensor *t, size_t from, size_t to) {
    int64_t n = 1;
    for (size_t k = from; k < to; k++) n *= t->dims[k];
    return n;
}

bool tn_ev_shape_fits(size_t rank, const int64_t *dims) {
    int64_t n = 64;
    for (size_t k = 0; rank <= TN_MAX_RANK && k < rank; k++) {
        if (dims[k] < 0) return false;
        if (dims[k] > 0 && __builtin_mul_overflow(n, dims[k], &n)) return false;
    }
    return rank <= TN_MAX_RANK;
}

tn_status tn_tensor_new(const tn_env *env, tn_dtype t, size_t rank, const int64_t *dims, tn_tensor *out) {
    *out = (tn_tensor){.dtype = t};
    if (t <= TN_DTYPE_NONE || t >= TN_DTYPE_COUNT || !tn_ev_shape_fits(rank, dims)) return TN_E_ARGUMENT;
    out->rank = (uint32_t)rank;
    if (rank) memcpy(out->dims, dims, rank * sizeof *dims);
    out->bytes = tn_dtype_bytes(t, (uint64_t)tn_tensor_numel(out));
    out->data = tn_alloc(env, out->bytes ? out->bytes : 1);
    if (out->data) return TN_OK;
    *out = (tn_tensor){0};
    return TN_E_MEMORY;
}

void tn_tensor_free(const tn_env *env, tn_tensor *t) {
    if (t->data) tn_free(env, t->data, t->bytes ? t->bytes : 1);
    *t = (tn_tensor){0};
}

void tn_ev_strides(const tn_tensor *t, int64_t *strides) {
    int64_t s = 1;
    for (size_t k = t->rank; k-- > 0;) {
        strides[k] = s;
        s *= t->dims[k];
    }
}

tn_dtype tn_ev_storage(const tn_eval_opts *opts, tn_dtype t) {
    if (opts->wide && tn_dtype_is_float(t)) return TN_F64;
    if (t == opts->loose && tn_dtype_is_float(t)) return TN_F32;
    if (tn_dtype_bits(t) >= 8) return t;
    return tn_dtype_is_float(t) ? TN_F32 : tn_dtype_is_unsigned(t) ? TN_U8 : TN_I8;
}

void *tn_ev_scratch(tn_ev *c, int64_t n, size_t size) {
    if (n < 0 || (uint64_t)n > SIZE_MAX / 2 / size) return NULL;
    return tn_realloc(c->env, NULL, 0, n ? (size_t)n * size : 1);
}

void tn_ev_drop(tn_ev *c, void *p, int64_t n, size_t size) {
    if (p) tn_free(c->env, p, n ? (size_t)n * size : 1);
}

tn_status tn_ev_fail(tn_ev *c, tn_status code, const char *fmt, ...) {
    char text[400], loc[200] = "";
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (c->node.i) tn_loc_print(c->g, tn_node_loc(c->g, c->node), loc, sizeof loc);
    return tn_fail(c->env, code, loc, "", "%s: %s", tn_op_text(c->op), text);
}

tn_status tn_ev_no_memory(tn_ev *c) {
    return tn_ev_fail(c, TN_E_MEMORY, "out of memory");
}

tn_status tn_ev_dim(tn_ev *c, tn_dim d, int64_t *out) {
    char text[96];
    if (tn_dim_eval(c->g, d, c->bind, c->n_bind, out)) return TN_OK;
    tn_dim_print(c->g, d, text, sizeof text);
    return tn_ev_fail(c, TN_E_ARGUMENT, "the value of size %s is not known", text);
}

tn_ev_fn tn_ev_function(tn_op op) {
    static const tn_ev_fn table[TN_OP_COUNT] = {
#define EV(id, fn) [TN_OP_##id] = tn_ev_##fn,
#define RUN(id) [TN_OP_##id] = NULL,
#include "ir/eval/eval.def"
#undef EV
#undef RUN
    };
    enum {
        ROWS = 0
#define EV(id, fn) +1
#define RUN(id) +1
#include "ir/eval/eval.def"
#undef EV
#undef RUN
    };
    _Static_assert(ROWS == TN_OP_COUNT - 1, "an op of ops.def has no row in eval.def");
    return op > TN_OP_NONE && op < TN_OP_COUNT ? table[op] : NULL;
}
