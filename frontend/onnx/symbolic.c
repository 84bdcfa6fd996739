/* symbolic.c: contents of small tensors as dim expressions, and the arithmetic on them.
 *
 * A function returns NULL where a result cannot be followed exactly (an unknown comparison, an overflow); the caller
 * then emits the op on IR values instead, so nothing here ever guesses. */
#include "frontend/onnx/import.h"

#include <math.h>
#include <string.h>

bool tn_oi_sym_dtype(tn_dtype t) {
    return t == TN_I64 || t == TN_I32 || t == TN_BOOL || t == TN_F32 || t == TN_F64 || t == TN_F16 || t == TN_BF16;
}

tn_oi_sym *tn_oi_sym_new(tn_oi *x, tn_dtype t, size_t rank, const int64_t *shape) {
    int64_t n = 1;
    if (!tn_oi_sym_dtype(t) || rank > TN_MAX_RANK) return NULL;
    for (size_t k = 0; k < rank; k++) {
        if (shape[k] < 0 || shape[k] > TN_OI_MAX_SYM) return NULL;
        n *= shape[k];
        if (n > TN_OI_MAX_SYM) return NULL;
    }
    tn_oi_sym *s = tn_oi_alloc(x, sizeof *s);
    if (!s) return NULL;
    s->dtype = t;
    s->rank = (uint32_t)rank;
    s->n = (uint32_t)n;
    for (size_t k = 0; k < rank; k++) s->shape[k] = shape[k];
    if (tn_dtype_is_float(t))
        s->f = tn_oi_alloc(x, ((size_t)n + 1) * sizeof *s->f);
    else
        s->d = tn_oi_alloc(x, ((size_t)n + 1) * sizeof *s->d);
    return s->f || s->d ? s : NULL;
}

tn_oi_sym *tn_oi_sym_from_const(tn_oi *x, tn_val v) {
    const void *data = tn_const_data(x->g, v);
    size_t rank = tn_val_rank(x->g, v);
    int64_t shape[TN_MAX_RANK];
    if (!data) return NULL;
    for (size_t k = 0; k < rank; k++)
        if (!tn_dim_is_const(x->g, tn_val_dim(x->g, v, k), &shape[k])) return NULL;
    tn_oi_sym *s = tn_oi_sym_new(x, tn_val_dtype(x->g, v), rank, shape);
    for (size_t k = 0; s && k < s->n; k++) {
        if (s->f)
            s->f[k] = tn_load_num(s->dtype, data, k);
        else
            s->d[k] = tn_dim_const(x->g, tn_load_int(s->dtype, data, k));
    }
    return s;
}

bool tn_oi_sym_int(const tn_oi *x, const tn_oi_sym *s, size_t k, int64_t *v) {
    return s->d && k < s->n && tn_dim_is_const(x->g, s->d[k], v);
}

bool tn_oi_sym_is_const(const tn_oi *x, const tn_oi_sym *s) {
    for (size_t k = 0; s->d && k < s->n; k++)
        if (!tn_dim_is_const(x->g, s->d[k], NULL)) return false;
    return true;
}

/* ---- contents as data -------------------------------------------------------------------------------------------- */

/* floor(a / b): mod has the sign of b, so that what is divided comes out even. */
static tn_val floor_quotient(tn_graph *g, tn_val a, tn_val b) {
    return tn_binary(g, TN_OP_DIV, tn_binary(g, TN_OP_SUB, a, tn_binary(g, TN_OP_MOD, a, b)), b);
}

/* The value of a dim as i64[1]: element d of 0, 1, 2, ..., which is index arithmetic and costs nothing; sums and
 * products that may be negative are computed from their parts. */
static tn_val dim_value(tn_oi *x, tn_dim d, unsigned depth) {
    tn_graph *g = x->g;
    int64_t v = 0, lo = 0, hi = 0;
    if (tn_dim_is_const(g, d, &v)) return tn_const_ints(g, TN_I64, 1, &v);
    tn_dim_bounds(g, d, &lo, &hi);
    if (lo >= 0) {
        tn_dim one = tn_dim_const(g, 1), size = tn_dim_add(g, d, one);
        return tn_build_slice_axis(g, tn_build_iota(g, TN_I64, 1, &size, 0), 0, d, one);
    }
    if (depth > 64) {
        char text[128];
        tn_dim_print(g, d, text, sizeof text);
        tn_oi_fail(x, TN_E_UNSUPPORTED, "fix the input shapes with --shape",
                   "the size %s is used as data and is too complicated", text);
        return (tn_val){0};
    }
    tn_val a = dim_value(x, tn_dim_lhs(g, d), depth + 1), b = dim_value(x, tn_dim_rhs(g, d), depth + 1);
    if (!a.i || !b.i) return (tn_val){0};
    switch (tn_dim_kind_of(g, d)) {
    case TN_DIM_ADD: return tn_binary(g, TN_OP_ADD, a, b);
    case TN_DIM_MUL: return tn_binary(g, TN_OP_MUL, a, b);
    case TN_DIM_MIN: return tn_binary(g, TN_OP_MIN, a, b);
    case TN_DIM_MAX: return tn_binary(g, TN_OP_MAX, a, b);
    case TN_DIM_MOD: return tn_binary(g, TN_OP_MOD, a, b);
    case TN_DIM_FLOORDIV: return floor_quotient(g, a, b);
    case TN_DIM_CEILDIV: return tn_unary(g, TN_OP_NEG, floor_quotient(g, tn_unary(g, TN_OP_NEG, a), b));
    case TN_DIM_BCAST: {
        tn_val one = dim_value(x, tn_dim_const(g, 1), depth + 1);
        tn_val in[] = {one.i ? tn_binary(g, TN_OP_EQ, a, one) : one, b, a};
        return one.i ? tn_emit1(g, TN_OP_SELECT, NULL, 3, in) : one;
    }
    default: return (tn_val){0};
    }
}

tn_val tn_oi_materialise(tn_oi *x, const tn_oi_sym *s, const char *name) {
    tn_graph *g = x->g;
    if (tn_oi_sym_is_const(x, s)) {
        void *data = NULL;
        tn_blob b = tn_blob_new(g, tn_dtype_bytes(s->dtype, s->n), &data);
        if (tn_oi_failed(x)) return (tn_val){0};
        for (size_t k = 0; k < s->n; k++) {
            int64_t v = 0;
            if (s->f)
                tn_store_num(s->dtype, data, k, s->f[k]);
            else if (tn_dim_is_const(g, s->d[k], &v))
                tn_store_int(s->dtype, data, k, v);
        }
        return tn_const(g, tn_type_const(g, s->dtype, s->rank, s->shape), b, name);
    }
    tn_val *parts = tn_oi_alloc(x, s->n * sizeof *parts);
    for (size_t k = 0; parts && k < s->n && !tn_oi_failed(x); k++) parts[k] = dim_value(x, s->d[k], 0);
    if (tn_oi_failed(x)) return (tn_val){0};
    tn_dim dims[TN_MAX_RANK];
    for (size_t k = 0; k < s->rank; k++) dims[k] = tn_dim_const(g, s->shape[k]);
    tn_val v = tn_build_reshape_to(g, tn_build_concat(g, s->n, parts, 0), s->rank, dims);
    return tn_build_cast_to(g, v, s->dtype);
}

tn_val tn_oi_size_value(tn_oi *x, tn_dim d) {
    tn_oi_sym *s = tn_oi_sym_new(x, TN_I64, 0, NULL);
    if (s) s->d[0] = d;
    return s ? tn_oi_materialise(x, s, NULL) : (tn_val){0};
}

/* ---- movement ---------------------------------------------------------------------------------------------------- */

/* Steps a multi-index of `shape` in row-major order. */
static void advance(size_t rank, const int64_t *shape, int64_t *i) {
    for (size_t k = rank; k-- > 0;) {
        if (++i[k] < shape[k]) return;
        i[k] = 0;
    }
}

tn_oi_sym *tn_oi_sym_view(tn_oi *x, const tn_oi_sym *s, size_t rank, const int64_t *shape, int64_t base,
                          const int64_t *strides) {
    tn_oi_sym *r = tn_oi_sym_new(x, s->dtype, rank, shape);
    int64_t i[TN_MAX_RANK] = {0};
    for (size_t k = 0; r && k < r->n; k++, advance(rank, shape, i)) {
        int64_t at = base;
        for (size_t a = 0; a < rank; a++) at += i[a] * strides[a];
        if (at < 0 || at >= (int64_t)s->n) return NULL;
        if (r->f)
            r->f[k] = s->f[at];
        else
            r->d[k] = s->d[at];
    }
    return r;
}

/* s broadcast to a shape. */
static const tn_oi_sym *stretch(tn_oi *x, const tn_oi_sym *s, size_t rank, const int64_t *shape) {
    int64_t strides[TN_MAX_RANK] = {0}, step = 1;
    if (s->rank > rank) return NULL;
    for (size_t k = s->rank; k-- > 0;) {
        size_t at = rank - s->rank + k;
        if (s->shape[k] != 1 && s->shape[k] != shape[at]) return NULL;
        strides[at] = s->shape[k] == 1 ? 0 : step;
        step *= s->shape[k];
    }
    return tn_oi_sym_view(x, s, rank, shape, 0, strides);
}

static bool common_shape(const tn_oi_sym *a, const tn_oi_sym *b, size_t *rank, int64_t *shape) {
    *rank = a->rank > b->rank ? a->rank : b->rank;
    for (size_t k = 0; k < *rank; k++) {
        int64_t p = k < a->rank ? a->shape[a->rank - 1 - k] : 1, q = k < b->rank ? b->shape[b->rank - 1 - k] : 1;
        if (p != q && p != 1 && q != 1) return false;
        shape[*rank - 1 - k] = p == 1 ? q : p;
    }
    return true;
}

/* ---- arithmetic -------------------------------------------------------------------------------------------------- */

static bool fits(tn_dtype t, int64_t v) {
    return t != TN_I32 || (v >= INT32_MIN && v <= INT32_MAX);
}

static double rounded(tn_dtype t, double v) {
    uint64_t word = 0;
    tn_store_num(t, &word, 0, v);
    return tn_load_num(t, &word, 0);
}

static bool binary_const(tn_op op, int64_t a, int64_t b, int64_t *r) {
    switch (op) {
    case TN_OP_ADD: return !__builtin_add_overflow(a, b, r);
    case TN_OP_SUB: return !__builtin_sub_overflow(a, b, r);
    case TN_OP_MUL: return !__builtin_mul_overflow(a, b, r);
    case TN_OP_DIV:
        if (!b || (b == -1 && a == INT64_MIN)) return false;
        *r = a / b;
        return true;
    case TN_OP_MOD:
    case TN_OP_FMOD:
        if (!b || b == -1) return false;
        *r = a % b;
        if (op == TN_OP_MOD && *r && (*r < 0) != (b < 0)) *r += b;
        return true;
    case TN_OP_MIN: *r = a < b ? a : b; return true;
    case TN_OP_MAX: *r = a > b ? a : b; return true;
    case TN_OP_EQ: *r = a == b; return true;
    case TN_OP_NE: *r = a != b; return true;
    case TN_OP_LT: *r = a < b; return true;
    case TN_OP_LE: *r = a <= b; return true;
    case TN_OP_GT: *r = a > b; return true;
    case TN_OP_GE: *r = a >= b; return true;
    case TN_OP_AND: *r = a & b; return true;
    case TN_OP_OR: *r = a | b; return true;
    case TN_OP_XOR: *r = a ^ b; return true;
    default: return false;
    }
}

static bool huge(const tn_oi *x, tn_dim d) {
    int64_t v = 0;
    return tn_dim_is_const(x->g, d, &v) && (v > ((int64_t)1 << 40) || v < -((int64_t)1 << 40));
}

/* 1 where d > 0, else 0. */
static tn_dim is_positive(tn_graph *g, tn_dim d) {
    return tn_dim_min(g, tn_dim_max(g, d, tn_dim_const(g, 0)), tn_dim_const(g, 1));
}

/* Truth of a comparison, which bounds mostly make a constant. */
static tn_dim compare_dims(tn_oi *x, tn_op op, tn_dim a, tn_dim b) {
    tn_graph *g = x->g;
    tn_dim one = tn_dim_const(g, 1), above = is_positive(g, tn_dim_sub(g, a, b)),
           below = is_positive(g, tn_dim_sub(g, b, a));
    switch (op) {
    case TN_OP_EQ: return tn_dim_sub(g, one, tn_dim_add(g, above, below));
    case TN_OP_NE: return tn_dim_add(g, above, below);
    case TN_OP_LT: return below;
    case TN_OP_LE: return tn_dim_sub(g, one, above);
    case TN_OP_GT: return above;
    case TN_OP_GE: return tn_dim_sub(g, one, below);
    default: return (tn_dim){0};
    }
}

/* c ? a : b of a c that is 0 or 1. */
static tn_dim choose_dim(tn_oi *x, tn_dim c, tn_dim a, tn_dim b) {
    tn_graph *g = x->g;
    if (a.i == b.i || tn_dim_equal_const(g, c, 1)) return a;
    if (tn_dim_equal_const(g, c, 0)) return b;
    if (huge(x, a) || huge(x, b)) return (tn_dim){0};
    return tn_dim_add(g, b, tn_dim_mul(g, c, tn_dim_sub(g, a, b)));
}

/* Integer division truncates: max(floor, 0) + min(ceil, 0), of which the bounds mostly leave one term. */
static tn_dim truncating_div(tn_oi *x, tn_dim a, tn_dim b) {
    tn_graph *g = x->g;
    int64_t lo, hi, blo, bhi;
    tn_dim_bounds(g, a, &lo, &hi);
    tn_dim_bounds(g, b, &blo, &bhi);
    if (blo < 0) return (tn_dim){0};
    if (lo >= 0) return tn_dim_floordiv(g, a, b);
    tn_dim zero = tn_dim_const(g, 0);
    return tn_dim_add(g, tn_dim_max(g, tn_dim_floordiv(g, a, b), zero), tn_dim_min(g, tn_dim_ceildiv(g, a, b), zero));
}

static tn_dim binary_dims(tn_oi *x, tn_op op, tn_dtype t, tn_dim a, tn_dim b) {
    tn_graph *g = x->g;
    int64_t p, q, r, lo, hi;
    if (tn_dim_is_const(g, a, &p) && tn_dim_is_const(g, b, &q))
        return binary_const(op, p, q, &r) && fits(t, r) ? tn_dim_const(g, r) : (tn_dim){0};
    if (huge(x, a) || huge(x, b)) return (tn_dim){0};
    switch (op) {
    case TN_OP_ADD: return tn_dim_add(g, a, b);
    case TN_OP_SUB: return tn_dim_sub(g, a, b);
    case TN_OP_MUL: return tn_dim_mul(g, a, b);
    case TN_OP_MIN: return tn_dim_min(g, a, b);
    case TN_OP_MAX: return tn_dim_max(g, a, b);
    case TN_OP_DIV: return truncating_div(x, a, b);
    case TN_OP_AND: return t == TN_BOOL ? tn_dim_min(g, a, b) : (tn_dim){0};
    case TN_OP_OR: return t == TN_BOOL ? tn_dim_max(g, a, b) : (tn_dim){0};
    case TN_OP_MOD:
    case TN_OP_FMOD:
        tn_dim_bounds(g, b, &lo, &hi);
        if (lo < 0) return (tn_dim){0};
        tn_dim_bounds(g, a, &lo, &hi);
        return lo >= 0 || op == TN_OP_MOD ? tn_dim_mod(g, a, b) : (tn_dim){0};
    default: return compare_dims(x, op, a, b);
    }
}

static bool binary_floats(tn_op op, double a, double b, double *r) {
    switch (op) {
    case TN_OP_ADD: *r = a + b; return true;
    case TN_OP_SUB: *r = a - b; return true;
    case TN_OP_MUL: *r = a * b; return true;
    case TN_OP_DIV: *r = a / b; return true;
    case TN_OP_MIN: *r = a < b ? a : b; return a == a && b == b;
    case TN_OP_MAX: *r = a > b ? a : b; return a == a && b == b;
    case TN_OP_EQ: *r = a == b; return true;
    case TN_OP_NE: *r = a != b; return true;
    case TN_OP_LT: *r = a < b; return true;
    case TN_OP_LE: *r = a <= b; return true;
    case TN_OP_GT: *r = a > b; return true;
    case TN_OP_GE: *r = a >= b; return true;
    default: return false;
    }
}

const tn_oi_sym *tn_oi_sym_binary(tn_oi *x, tn_op op, const tn_oi_sym *a, const tn_oi_sym *b) {
    size_t rank;
    int64_t shape[TN_MAX_RANK];
    if (!a || !b || a->dtype != b->dtype || !common_shape(a, b, &rank, shape)) return NULL;
    tn_dtype t = tn_op_is(op, TN_T_COMPARE) ? TN_BOOL : a->dtype;
    tn_oi_sym *r = tn_oi_sym_new(x, t, rank, shape);
    if (!r || !(a = stretch(x, a, rank, shape)) || !(b = stretch(x, b, rank, shape))) return NULL;
    for (size_t k = 0; k < r->n; k++) {
        double v;
        if (a->d) {
            if (!(r->d[k] = binary_dims(x, op, t, a->d[k], b->d[k])).i) return NULL;
        } else {
            if (!binary_floats(op, a->f[k], b->f[k], &v)) return NULL;
            if (r->f)
                r->f[k] = rounded(t, v);
            else
                r->d[k] = tn_dim_const(x->g, v != 0);
        }
    }
    return r;
}

static bool unary_float(tn_op op, double a, double *r) {
    switch (op) {
    case TN_OP_NEG: *r = -a; return true;
    case TN_OP_ABS: *r = fabs(a); return true;
    case TN_OP_FLOOR: *r = floor(a); return true;
    case TN_OP_CEIL: *r = ceil(a); return true;
    case TN_OP_ROUND: *r = rint(a); return true;
    case TN_OP_SQRT: *r = sqrt(a); return true;
    case TN_OP_RECIP: *r = 1 / a; return true;
    case TN_OP_RELU: *r = a > 0 || isnan(a) ? a : 0; return true;
    default: return false;
    }
}

const tn_oi_sym *tn_oi_sym_unary(tn_oi *x, tn_op op, const tn_oi_sym *a) {
    tn_oi_sym *r = a ? tn_oi_sym_new(x, a->dtype, a->rank, a->shape) : NULL;
    for (size_t k = 0; r && k < r->n; k++) {
        double v;
        int64_t i;
        if (a->f) {
            if (!unary_float(op, a->f[k], &v)) return NULL;
            r->f[k] = rounded(a->dtype, v);
        } else if (op == TN_OP_NEG && !huge(x, a->d[k])) {
            r->d[k] = tn_dim_sub(x->g, tn_dim_const(x->g, 0), a->d[k]);
        } else if (op == TN_OP_RELU && !huge(x, a->d[k])) {
            r->d[k] = tn_dim_max(x->g, a->d[k], tn_dim_const(x->g, 0));
        } else if (op == TN_OP_NOT) {
            r->d[k] = tn_dim_sub(x->g, tn_dim_const(x->g, 1), a->d[k]);
        } else if (op == TN_OP_ABS && tn_oi_sym_int(x, a, k, &i) && i != INT64_MIN) {
            r->d[k] = tn_dim_const(x->g, i < 0 ? -i : i);
        } else {
            return NULL;
        }
    }
    return r;
}

const tn_oi_sym *tn_oi_sym_select(tn_oi *x, const tn_oi_sym *c, const tn_oi_sym *a, const tn_oi_sym *b) {
    size_t rank;
    int64_t shape[TN_MAX_RANK];
    if (!c || !c->d || !a || !b || a->dtype != b->dtype || !common_shape(a, b, &rank, shape)) return NULL;
    if (!(a = stretch(x, a, rank, shape)) || !common_shape(a, c, &rank, shape)) return NULL;
    tn_oi_sym *r = tn_oi_sym_new(x, a->dtype, rank, shape);
    if (!r || !(a = stretch(x, a, rank, shape)) || !(b = stretch(x, b, rank, shape)) ||
        !(c = stretch(x, c, rank, shape)))
        return NULL;
    for (size_t k = 0; k < r->n; k++) {
        int64_t yes = 0;
        bool known = tn_oi_sym_int(x, c, k, &yes);
        if (r->f && known)
            r->f[k] = (yes ? a : b)->f[k];
        else if (r->f || !(r->d[k] = choose_dim(x, c->d[k], a->d[k], b->d[k])).i)
            return NULL;
    }
    return r;
}

static bool cast_element(tn_oi *x, const tn_oi_sym *a, size_t k, tn_oi_sym *r) {
    int64_t v = 0;
    bool known = a->d && tn_oi_sym_int(x, a, k, &v);
    if (a->d && r->d) {
        if (known) {
            if (r->dtype == TN_BOOL) v = v != 0;
            if (!fits(r->dtype, v)) return false;
            r->d[k] = tn_dim_const(x->g, v);
            return true;
        }
        r->d[k] = a->d[k];
        if (r->dtype == TN_BOOL && a->dtype != TN_BOOL) /* true where it is not 0 */
            r->d[k] = compare_dims(x, TN_OP_NE, a->d[k], tn_dim_const(x->g, 0));
        return r->d[k].i != 0;
    }
    if (a->d) {
        r->f[k] = rounded(r->dtype, (double)v);
        return known;
    }
    if (r->f) {
        r->f[k] = rounded(r->dtype, a->f[k]);
        return true;
    }
    if (r->dtype == TN_BOOL) {
        r->d[k] = tn_dim_const(x->g, a->f[k] != 0);
        return true;
    }
    if (!(fabs(a->f[k]) < 9e15)) return false;
    v = (int64_t)a->f[k];
    r->d[k] = tn_dim_const(x->g, v);
    return fits(r->dtype, v);
}

const tn_oi_sym *tn_oi_sym_cast(tn_oi *x, const tn_oi_sym *a, tn_dtype t) {
    tn_oi_sym *r = a ? tn_oi_sym_new(x, t, a->rank, a->shape) : NULL;
    for (size_t k = 0; r && k < r->n; k++)
        if (!cast_element(x, a, k, r)) return NULL;
    return r;
}

const tn_oi_sym *tn_oi_sym_reduce(tn_oi *x, tn_op op, const tn_oi_sym *a, size_t n, const int64_t *axes,
                                  bool keepdims) {
    tn_op step = op == TN_OP_REDUCE_SUM    ? TN_OP_ADD
                 : op == TN_OP_REDUCE_PROD ? TN_OP_MUL
                 : op == TN_OP_REDUCE_MAX  ? TN_OP_MAX
                 : op == TN_OP_REDUCE_MIN  ? TN_OP_MIN
                                           : TN_OP_NONE;
    if (!a || !a->d || step == TN_OP_NONE || !a->n || a->dtype == TN_BOOL) return NULL;
    bool out[TN_MAX_RANK] = {false};
    int64_t shape[TN_MAX_RANK], strides[TN_MAX_RANK], i[TN_MAX_RANK] = {0}, size = 1;
    size_t rank = 0;
    for (size_t k = 0; k < n; k++) out[axes[k]] = true;
    for (size_t k = a->rank; k-- > 0;) {
        strides[k] = out[k] ? 0 : size;
        if (!out[k]) size *= a->shape[k];
    }
    for (size_t k = 0; k < a->rank; k++)
        if (!out[k] || keepdims) shape[rank++] = out[k] ? 1 : a->shape[k];
    tn_oi_sym *r = tn_oi_sym_new(x, a->dtype, rank, shape);
    for (size_t k = 0; r && k < a->n; k++, advance(a->rank, a->shape, i)) {
        int64_t at = 0;
        for (size_t q = 0; q < a->rank; q++) at += i[q] * strides[q];
        r->d[at] = r->d[at].i ? binary_dims(x, step, a->dtype, r->d[at], a->d[k]) : a->d[k];
        if (!r->d[at].i) return NULL;
    }
    return r;
}
