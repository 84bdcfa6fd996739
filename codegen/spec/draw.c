/* draw.c: the values that candidates of one spec are judged with.
 *
 * Floats are uniform in [-1, 1).  Integers are what users feed: indices from both ends of what they index, every value
 * of the small types, and of the large ones the extremes where the region only does what is exact.  `few` is for regions
 * whose results such numbers take beyond a float's range. */
#include <string.h>

#include "codegen/emit/internal.h"
#include "codegen/spec/derived.h"
#include "codegen/tune/internal.h"

uint64_t tn_draw_bits(uint64_t *x) {
    *x ^= *x >> 12, *x ^= *x << 25, *x ^= *x >> 27;
    return *x * UINT64_C(2685821657736338717);
}

/* ---- what an integer may be ---- */

/* How a region uses a value. */
typedef struct usage {
    int64_t extent; /* of what it indexes as it is; INT64_MAX: nothing */
    bool computes;  /* an index, a shift or a power follows from it by arithmetic */
    bool divides;   /* 0 is none of its values */
} usage;

/* True if operand `slot` of n is an index; *extent: the least size that it may reach into. */
static bool indexes(const tn_spec *s, const tn_shape *at, tn_node n, size_t slot, int64_t *extent) {
    tn_graph *g = s->g;
    const tn_op op = tn_node_op(g, n);
    if (op == TN_OP_PUT_ROWS && slot > 1) { /* where rows go, and how many */
        *extent = tn_shape_value(s, at, tn_val_dim(g, tn_node_input(g, n, slot == 2 ? 0 : 1), 2)) + (slot == 3);
        return true;
    }
    if (slot != (op == TN_OP_ROI_ALIGN ? 2u : 1u)) return false;
    const tn_val x = tn_node_input(g, n, 0), i = tn_node_input(g, n, 1);
    size_t axis = 0, count = 1;
    switch (op) {
    case TN_OP_NMS_KEEP: axis = 1; break;
    case TN_OP_GATHER:
    case TN_OP_GATHER_ELEMENTS: axis = (size_t)TN_ATTRS_OF(g, n, axis)->axis; break;
    case TN_OP_SCATTER_ELEMENTS: axis = (size_t)TN_ATTRS_OF(g, n, scatter)->axis; break;
    case TN_OP_GATHER_ND:
    case TN_OP_SCATTER_ND:
        if (op == TN_OP_GATHER_ND) axis = (size_t)TN_ATTRS_OF(g, n, gather_nd)->batch_dims;
        count = (size_t)tn_shape_value(s, at, tn_val_dim(g, i, tn_val_rank(g, i) - 1));
        break;
    case TN_OP_ROI_ALIGN: break;
    default: return false;
    }
    *extent = INT64_MAX;
    for (size_t k = axis; k < axis + count && k < tn_val_rank(g, x); ++k) {
        const int64_t d = tn_shape_value(s, at, tn_val_dim(g, x, k));
        if (d < *extent) *extent = d;
    }
    return true;
}

/* Operands whose values are places or counts. */
static bool is_count(tn_op op, size_t slot) {
    return slot == 1 && (op == TN_OP_SHL || op == TN_OP_SHR || op == TN_OP_POW || op == TN_OP_TRILU);
}

static bool is_divisor(tn_op op, size_t slot) {
    return slot == 1 && (op == TN_OP_DIV || op == TN_OP_MOD || op == TN_OP_FMOD);
}

/* What becomes of a value on its way through the region. */
enum { APART, AS_IT_IS, COMPUTED };

/* True if the operand only chooses, and is not in the result. */
static bool use_operand(const tn_spec *s, const tn_shape *at, tn_node n, size_t slot, int state, usage *out) {
    int64_t extent = 0;
    const bool index = indexes(s, at, n, slot, &extent);
    if (is_count(tn_node_op(s->g, n), slot) || (index && state == COMPUTED)) out->computes = true;
    if (index && extent < out->extent) out->extent = extent;
    out->divides |= state == AS_IT_IS && is_divisor(tn_node_op(s->g, n), slot);
    return index;
}

static usage usage_of(const tn_spec *s, const tn_shape *at, tn_val v) {
    enum { MAX_VALUES = 512 };
    uint8_t state[MAX_VALUES] = {0}; /* by the numbers of the spec's text */
    usage u = {.extent = INT64_MAX};
    uint32_t number = s->n_in;
    state[tn_val_index(s->g, v)] = AS_IT_IS;
    TN_FOR_NODES(s->g, s->region, n) {
        const tn_op op = tn_node_op(s->g, n);
        uint8_t result = APART;
        for (size_t k = 0; k < tn_node_input_count(s->g, n); ++k) {
            const tn_val x = tn_node_input(s->g, n, k);
            const uint32_t from = x.i ? tn_spec_number(s, x) : MAX_VALUES;
            if (from >= MAX_VALUES || !state[from]) continue;
            if (use_operand(s, at, n, k, state[from], &u)) continue;
            if (op != TN_OP_CAST && !tn_op_is(op, TN_T_MOVEMENT))
                result = COMPUTED;
            else if (state[from] > result)
                result = state[from];
        }
        for (size_t k = 0; k < tn_node_result_count(s->g, n); ++k, ++number)
            if (number < MAX_VALUES) state[number] = result;
        u.computes |= number >= MAX_VALUES;
    }
    return u;
}

typedef struct span {
    int64_t lo, hi; /* inclusive; lo > hi: nothing is legal */
    bool extremes;  /* and the type's own bounds, now and then */
    bool divides;   /* 1 stands for 0 */
    int64_t mostly; /* three times of four; 0: none is drawn more often than others */
} span;

static span span_of_type(tn_dtype t) {
    const unsigned bits = tn_dtype_bits(t) < 64 ? tn_dtype_bits(t) : 63;
    if (t == TN_BOOL) return (span){.lo = 0, .hi = 1};
    if (t == TN_I64) return (span){.lo = INT64_MIN, .hi = INT64_MAX};
    const int64_t half = (int64_t)(UINT64_C(1) << (bits - 1));
    return tn_dtype_is_unsigned(t) ? (span){.lo = 0, .hi = half - 1 + half} : (span){.lo = -half, .hi = half - 1};
}

/* Does the region only move, compare and combine bits?  Sums may pass through wider registers, floats are rounded. */
static bool is_exact(const tn_spec *s) {
    for (uint32_t k = 0; k < s->n_in; ++k)
        if (tn_dtype_is_float(s->in[k].dtype)) return false;
    TN_FOR_NODES(s->g, s->region, n) {
        const tn_op op = tn_node_op(s->g, n);
        const bool simple = tn_op_is(op, TN_T_ELEMENTWISE | TN_T_MOVEMENT | TN_T_TERMINATOR) && op != TN_OP_POW;
        if (!simple && op != TN_OP_CONST && op != TN_OP_ARG_MAX && op != TN_OP_ARG_MIN && op != TN_OP_REDUCE_MAX &&
            op != TN_OP_REDUCE_MIN)
            return false;
        for (size_t k = 0; k < tn_node_result_count(s->g, n); ++k)
            if (tn_dtype_is_float(tn_val_dtype(s->g, tn_node_result(s->g, n, k)))) return false;
    }
    return true;
}

static span span_of(const tn_spec *s, const tn_shape *at, const tn_spec_tensor *t, int64_t few) {
    enum { FEW = 4, MANY = 1000, SOME = 100 };
    bool first;
    const tn_dim keys = tn_drawn_keys(s, t->arg, &first);
    if (keys.i) { /* times are those of queries that see all */
        const int64_t n = tn_shape_value(s, at, keys);
        return (span){.lo = -1, .hi = n + 1, .mostly = first ? -1 : n};
    }
    const usage u = usage_of(s, at, t->arg);
    span r = span_of_type(t->dtype);
    if (few || u.computes) {
        const int64_t n = few ? few : FEW;
        r.lo = 0;
        if (r.hi >= n) r.hi = n - 1;
        if (r.hi >= u.extent) r.hi = u.extent - 1;
    } else if (u.extent < INT64_MAX) {
        if (r.lo < -u.extent) r.lo = -u.extent;
        if (r.hi >= u.extent) r.hi = u.extent - 1;
    } else if (tn_dtype_bits(t->dtype) > 16) {
        r.extremes = is_exact(s);
        const int64_t most = r.extremes ? MANY : SOME;
        r.lo = r.lo < 0 ? -most : 0;
        r.hi = most;
    }
    r.divides = u.divides;
    return r;
}

static int64_t draw_any(const span *r, tn_dtype t, uint64_t *seed) {
    const uint64_t x = tn_draw_bits(seed);
    if (r->mostly && x % 4) return r->mostly;
    if (r->extremes && x % 8 == 0) {
        const span all = span_of_type(t);
        switch (x >> 8 & 7) {
        case 0: return all.lo;
        case 1: return t == TN_U64 ? -1 : all.hi; /* as bits */
        case 2: return all.lo + 1;
        case 3: return all.hi - 1;
        default: return (int64_t)tn_draw_bits(seed); /* cut to the type */
        }
    }
    return r->lo + (int64_t)((x >> 16) % ((uint64_t)r->hi - (uint64_t)r->lo + 1));
}

static int64_t draw_integer(const span *r, tn_dtype t, uint64_t *seed) {
    const int64_t x = draw_any(r, t, seed);
    return x || !r->divides ? x : 1;
}

/* One number throughout, which kernels have as a literal, behind a view: fills n elements with it. */
static bool draw_splat(const tn_spec *s, const tn_spec_tensor *t, void *data, int64_t n) {
    if (!t->is_const) return false;
    const tn_val own = tn_node_input(s->g, s->kernel, (size_t)(t - s->in));
    double num;
    if (!tn_const_splat(s->g, own, &num)) return false;
    const int64_t exact = tn_const_get_int(s->g, tn_const_behind(s->g, own), 0);
    for (int64_t i = 0; i < n; i++) {
        if (tn_dtype_is_float(t->dtype))
            tn_store_num(t->dtype, data, (uint64_t)i, num);
        else
            tn_store_int(t->dtype, data, (uint64_t)i, exact);
    }
    return true;
}

/* Sums of 32 neighbours and of their squares, in turns, as numbers drawn like all others might have them: such as leave a variance. */
static void draw_sums(const tn_spec_tensor *t, void *data, int64_t n, uint64_t *seed) {
    for (int64_t i = 0; i < n; i++) {
        const double u = (double)(tn_draw_bits(seed) >> 11) * 0x1p-52 - 1;
        tn_store_num(t->dtype, data, (uint64_t)i, i % 2 ? 10 + 2 * u : 3 * u);
    }
}

/* Large tensors repeat one block, whose odd length no extent of a network divides: drawing numbers takes most of the
 * time. */
bool tn_draw(const tn_spec *s, const tn_shape *at, const tn_spec_tensor *t, int64_t few, void *data, int64_t n,
             uint64_t *seed) {
    if (draw_splat(s, t, data, n)) return true;
    const bool is_float = tn_dtype_is_float(t->dtype);
    if (is_float && tn_drawn_sums(s, t->arg)) return draw_sums(t, data, n, seed), true;
    const span r = is_float ? (span){0} : span_of(s, at, t, few);
    const size_t size = tn_dtype_bits(t->dtype) / 8;
    const int64_t drawn = size && n > TN_DRAWN ? TN_DRAWN : n;
    if (r.lo > r.hi) return n == 0;
    const double scale = is_float ? tn_drawn_scale(s, t, tn_shape_value(s, at, t->dims[t->rank ? t->rank - 1 : 0])) : 1;
    for (int64_t i = 0; i < drawn; i++) {
        if (is_float)
            tn_store_num(t->dtype, data, (uint64_t)i, ((double)(tn_draw_bits(seed) >> 11) * 0x1p-52 - 1.0) * scale);
        else
            tn_store_int(t->dtype, data, (uint64_t)i, draw_integer(&r, t->dtype, seed));
    }
    for (int64_t i = drawn; i < n; i += TN_DRAWN)
        memcpy((char *)data + (size_t)i * size, data, (size_t)(n - i < TN_DRAWN ? n - i : TN_DRAWN) * size);
    return true;
}
