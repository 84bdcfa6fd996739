/* elementwise.c: unary, binary and ternary elementwise ops, cast and bitcast.
 *
 * A row of elementwise.def gives an op's formula over double and over int64; the driver loads broadcast operands in
 * blocks, applies the formula and stores the block, which rounds once.  Integers of every width are computed in 64 bits
 * and wrap when stored; u64 is carried in the bits of int64, and formulas that depend on the sign get `u`. */
#include <math.h>

#include "ir/eval/internal.h"
#include "tenon/internal/float.h"

enum { BLOCK = 512 };

/* What a formula may use besides its operands. */
typedef struct params {
    double alpha, beta, gamma; /* activations; clamp: lo, hi */
    bool tanh_gelu, u;         /* u: the operands are unsigned */
} params;

typedef void (*fn_f)(double *restrict y, const double *a, const double *b, size_t n, const params *p);
typedef void (*fn_i)(int64_t *restrict y, const int64_t *a, const int64_t *b, size_t n, const params *p);

typedef uint64_t u64;
typedef int64_t i64;

/* ---- formulas ---------------------------------------------------------------------------------------------------- */

static double py_mod(double x, double z) {
    double m = fmod(x, z);
    return m != 0 && (m < 0) != (z < 0) ? m + z : m;
}

static i64 idiv(i64 x, i64 z, bool u) {
    if (z == 0) return 0;
    if (u) return (i64)((u64)x / (u64)z);
    return z == -1 ? (i64)(0 - (u64)x) : x / z;
}

static i64 irem(i64 x, i64 z, bool u) {
    if (z == 0) return 0;
    if (u) return (i64)((u64)x % (u64)z);
    return z == -1 ? 0 : x % z;
}

static i64 imod(i64 x, i64 z, bool u) {
    i64 m = irem(x, z, u);
    return !u && m != 0 && (m < 0) != (z < 0) ? m + z : m;
}

static i64 ipow(i64 x, i64 z, bool u) {
    u64 y = 1, base = (u64)x;
    if (!u && z < 0) return x == 1 ? 1 : x == -1 ? (z % 2 ? -1 : 1) : 0;
    for (u64 e = (u64)z; e; e >>= 1, base *= base)
        if (e & 1) y *= base;
    return (i64)y;
}

/* Shifts by the width or more give 0 (or the sign for >> of signed values). */
static i64 ishl(i64 x, i64 z) {
    return z < 0 || z > 63 ? 0 : (i64)((u64)x << z);
}
static i64 ishr(i64 x, i64 z, bool u) {
    bool far = z < 0 || z > 63;
    if (u) return far ? 0 : (i64)((u64)x >> z);
    return x >> (far ? 63 : z);
}

static bool iless(i64 x, i64 z, bool u) {
    return u ? (u64)x < (u64)z : x < z;
}

static i64 ineg(i64 x) {
    return (i64)(0 - (u64)x);
}
static i64 iclamp(i64 x, const params *p) {
    double least = p->u ? fmax(p->alpha, 0) : p->alpha, most = p->u ? fmax(p->beta, 0) : p->beta;
    i64 lo = tn_float_to_int(ceil(least), p->u), hi = tn_float_to_int(floor(most), p->u);
    return iless(x, lo, p->u) ? lo : iless(hi, x, p->u) ? hi : x;
}

static double softplus(double x) {
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}
static double sigmoid(double x) {
    if (x >= 0) return 1 / (1 + exp(-x));
    double e = exp(x);
    return e / (1 + e);
}
static double clip01(double x) {
    return x < 0 ? 0 : x > 1 ? 1 : x;
}
static double gelu(double x, bool approximate) {
    if (!approximate) return 0.5 * x * erfc(-x * M_SQRT1_2);
    return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

/* A function a formula: x is the first operand, z the second, p the parameters. */
#define FUNCTION(name, T, expr)                                                                                        \
    static void name(T *restrict y, const T *a, const T *b, size_t n, const params *p) {                               \
        (void)b, (void)p;                                                                                              \
        for (size_t k = 0; k < n; k++) {                                                                               \
            const T x = a[k], z = b[k];                                                                                \
            (void)x, (void)z;                                                                                          \
            y[k] = (expr);                                                                                             \
        }                                                                                                              \
    }
#define FLOAT(op, f) FUNCTION(f_##op, double, f)
#define INT(op, i) FUNCTION(i_##op, int64_t, i)
#define BOTH(op, f, i) FLOAT(op, f) INT(op, i)
#define OWN(op)
#include "ir/eval/elements/elementwise.def"
#undef FLOAT
#undef INT
#undef BOTH
#undef OWN

typedef struct row {
    fn_f f;
    fn_i i;
} row;

static const row rows[TN_OP_COUNT] = {
#define FLOAT(op, f) [TN_OP_##op] = {f_##op, NULL},
#define INT(op, i) [TN_OP_##op] = {NULL, i_##op},
#define BOTH(op, f, i) [TN_OP_##op] = {f_##op, i_##op},
#define OWN(op) [TN_OP_##op] = {NULL, NULL},
#include "ir/eval/elements/elementwise.def"
#undef FLOAT
#undef INT
#undef BOTH
#undef OWN
};

enum {
    ROWS = 0
#define FLOAT(op, f) +1
#define INT(op, i) +1
#define BOTH(op, f, i) +1
#define OWN(op) +1
#include "ir/eval/elements/elementwise.def"
#undef FLOAT
#undef INT
#undef BOTH
#undef OWN
};
_Static_assert((int)ROWS == (int)TN_ELEMENTWISE_OPS, "an elementwise op of ops.def has no row in elementwise.def");

/* ---- the loops --------------------------------------------------------------------------------------------------- */

static params params_of(const tn_ev *c) {
    params p = {.u = tn_dtype_is_unsigned(c->in[0].dtype)};
    if (c->op == TN_OP_CLAMP) {
        const tn_attrs_clamp *a = c->attrs;
        p.alpha = a->lo;
        p.beta = a->hi;
    } else if (c->op == TN_OP_IS_INF || tn_op_is(c->op, TN_T_COMPOSITE)) {
        const tn_attrs_activation *a = c->attrs;
        if (c->op == TN_OP_SILU || c->op == TN_OP_HARD_SWISH || c->op == TN_OP_MISH || c->op == TN_OP_SOFTSIGN)
            return p;
        p.alpha = a->alpha;
        p.beta = a->beta;
        p.gamma = a->gamma;
        p.tanh_gelu = a->approximate && !strcmp(a->approximate, "tanh");
    }
    return p;
}

/* Strides of all operands and, last, of the result. */
static tn_status all_strides(tn_ev *c, int64_t strides[TN_WALK_OPERANDS][TN_MAX_RANK]) {
    for (size_t k = 0; k < c->n_in; k++) {
        if (!tn_ev_has(c, k)) return tn_ev_fail(c, TN_E_ARGUMENT, "operand %zu is missing", k);
        if (!tn_ev_broadcast_strides(&c->in[k], &c->out[0], strides[k]))
            return tn_ev_fail(c, TN_E_TYPE, "operand %zu's shape does not broadcast to the result's", k);
    }
    tn_ev_strides(&c->out[0], strides[c->n_in]);
    return TN_OK;
}

static void run_f(tn_ev *c, fn_f f, const params *p, const tn_walk *w) {
    double a[BLOCK], b[BLOCK], y[BLOCK];
    size_t o = c->n_in;
    if (o < 2) memset(b, 0, sizeof b);
    for (int64_t at = 0; at < w->inner; at += BLOCK) {
        size_t n = w->inner - at < BLOCK ? (size_t)(w->inner - at) : BLOCK;
        tn_ev_load_f(&c->in[0], w->at[0] + at * w->step[0], w->step[0], n, a);
        if (o > 1) tn_ev_load_f(&c->in[1], w->at[1] + at * w->step[1], w->step[1], n, b);
        f(y, a, b, n, p);
        tn_ev_store_f(&c->out[0], w->at[o] + at * w->step[o], w->step[o], n, y);
    }
}

static tn_status run_i(tn_ev *c, fn_i f, const params *p, const tn_walk *w) {
    bool divides = (c->op == TN_OP_DIV || c->op == TN_OP_MOD || c->op == TN_OP_FMOD) && !c->opts->total;
    int64_t a[BLOCK], b[BLOCK], y[BLOCK];
    size_t o = c->n_in;
    if (o < 2) memset(b, 0, sizeof b);
    for (int64_t at = 0; at < w->inner; at += BLOCK) {
        size_t n = w->inner - at < BLOCK ? (size_t)(w->inner - at) : BLOCK;
        tn_ev_load_i(&c->in[0], w->at[0] + at * w->step[0], w->step[0], n, a);
        if (o > 1) tn_ev_load_i(&c->in[1], w->at[1] + at * w->step[1], w->step[1], n, b);
        for (size_t k = 0; divides && k < n; k++)
            if (b[k] == 0)
                return tn_ev_fail(c, TN_E_ARGUMENT, "an integer is divided by zero: element %lld of the divisor is 0",
                                  (long long)(w->at[1] + (at + (int64_t)k) * w->step[1]));
        f(y, a, b, n, p);
        tn_ev_store_i(&c->out[0], w->at[o] + at * w->step[o], w->step[o], n, y);
    }
    return TN_OK;
}

tn_status tn_ev_elementwise(tn_ev *c) {
    int64_t strides[TN_WALK_OPERANDS][TN_MAX_RANK];
    TN_TRY(all_strides(c, strides));
    const row *r = &rows[c->op];
    params p = params_of(c);
    bool floats = tn_dtype_is_float(c->in[0].dtype);
    if (c->op == TN_OP_POW && tn_dtype_is_float(c->in[1].dtype)) floats = true;
    if (floats ? !r->f : !r->i)
        return tn_ev_fail(c, TN_E_UNSUPPORTED, "has no evaluation for %s", tn_dtype_text(c->in[0].dtype));
    tn_walk w;
    for (tn_walk_start(&w, c->out[0].rank, c->out[0].dims, c->n_in + 1, strides); !w.done; tn_walk_next(&w)) {
        if (floats)
            run_f(c, r->f, &p, &w);
        else
            TN_TRY(run_i(c, r->i, &p, &w));
    }
    return TN_OK;
}

/* Moves whole elements, so that NaN payloads and 64-bit integers survive. */
tn_status tn_ev_select(tn_ev *c) {
    int64_t strides[TN_WALK_OPERANDS][TN_MAX_RANK];
    TN_TRY(all_strides(c, strides));
    size_t e = tn_ev_size(c->out[0].dtype);
    if (c->in[1].dtype != c->out[0].dtype || c->in[2].dtype != c->out[0].dtype || c->in[0].dtype != TN_BOOL)
        return tn_ev_fail(c, TN_E_TYPE, "operands of different dtypes");
    tn_walk w;
    for (tn_walk_start(&w, c->out[0].rank, c->out[0].dims, 4, strides); !w.done; tn_walk_next(&w))
        for (int64_t k = 0; k < w.inner; k++) {
            bool yes = ((const uint8_t *)c->in[0].data)[w.at[0] + k * w.step[0]] != 0;
            const char *from = (const char *)c->in[yes ? 1 : 2].data;
            int64_t at = yes ? w.at[1] + k * w.step[1] : w.at[2] + k * w.step[2];
            memcpy((char *)c->out[0].data + (size_t)(w.at[3] + k * w.step[3]) * e, from + (size_t)at * e, e);
        }
    return TN_OK;
}

/* ---- cast -------------------------------------------------------------------------------------------------------- */

/* 8-bit floats saturate to their largest finite value. */
static void saturate(tn_dtype t, double *v, size_t n) {
    double top = tn_float_format_of(t)->largest;
    for (size_t k = 0; k < n; k++) v[k] = v[k] > top ? top : v[k] < -top ? -top : v[k];
}

/* To a power of two that f8e8m0 has, where the cast says more than that its store does: that is to nearest, and saturates. */
static double scale_of(const tn_attrs_cast *a, double v) {
    const double least = 0x1p-127, most = 0x1p127;
    int exp = 0;
    if (isnan(v) || v < least || v > most) return a->saturate ? v : (double)NAN;
    if (!a->round || !*a->round) return v;
    const bool exact = frexp(v, &exp) == 0.5;
    return ldexp(1, exact || a->round[0] == 'd' ? exp - 1 : exp);
}

/* To values of dtype t, which y holds in a wider one. */
static void round_to(tn_dtype t, double *v, size_t n) {
    uint64_t room[BLOCK];
    tn_tensor narrow = {.dtype = t, .rank = 1, .dims = {(int64_t)n}, .data = room, .bytes = sizeof room};
    tn_ev_store_f(&narrow, 0, 1, n, v);
    tn_ev_load_f(&narrow, 0, 1, n, v);
}

tn_status tn_ev_cast(tn_ev *c) {
    const tn_attrs_cast *a = c->attrs;
    const tn_tensor *x = &c->in[0];
    tn_tensor *y = &c->out[0];
    int64_t n = tn_tensor_numel(x);
    if (n != tn_tensor_numel(y)) return tn_ev_fail(c, TN_E_TYPE, "the shapes differ");
    bool scale = a->to == TN_F8E8M0,
         clip = a->saturate && !scale && tn_dtype_is_float(a->to) && tn_dtype_bits(a->to) == 8;
    bool held_wider = tn_dtype_is_float(a->to) && y->dtype != a->to && !a->loose;
    if (!clip && !scale && !held_wider) {
        if (n) tn_ev_convert(y, x);
        return TN_OK;
    }
    for (int64_t at = 0; at < n; at += BLOCK) {
        double v[BLOCK];
        size_t m = n - at < BLOCK ? (size_t)(n - at) : BLOCK;
        tn_ev_load_f(x, at, 1, m, v);
        if (clip) saturate(a->to, v, m);
        for (size_t k = 0; scale && k < m; k++) v[k] = scale_of(a, v[k]);
        if (held_wider) round_to(a->to, v, m);
        tn_ev_store_f(y, at, 1, m, v);
    }
    return TN_OK;
}

/* The bits of the value's own dtype: in wide mode they are rounded to it first and widened after. */
tn_status tn_ev_bitcast(tn_ev *c) {
    tn_dtype from = tn_val_dtype(c->g, tn_node_input(c->g, c->node, 0)), to = ((const tn_attrs_cast *)c->attrs)->to;
    int64_t n = tn_tensor_numel(&c->in[0]);
    size_t bytes = tn_dtype_bytes(from, (uint64_t)n);
    if (n != tn_tensor_numel(&c->out[0]) || tn_dtype_bits(from) != tn_dtype_bits(to))
        return tn_ev_fail(c, TN_E_TYPE, "the sizes differ");
    tn_tensor bits = {.dtype = from, .rank = 1, .dims = {n}, .bytes = bytes, .data = tn_ev_scratch(c, n, 8)};
    if (!bits.data) return tn_ev_no_memory(c);
    if (n) {
        tn_ev_convert(&bits, &c->in[0]);
        bits.dtype = to;
        tn_ev_convert(&c->out[0], &bits);
    }
    tn_ev_drop(c, bits.data, n, 8);
    return TN_OK;
}
