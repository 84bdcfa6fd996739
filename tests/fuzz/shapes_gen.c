/* shapes_gen.c: random graphs in which symbols meet: broadcasting between unlike ones, products and quotients in
 * reshapes, windows over symbolic sizes, slices to symbolic ends. */
#include <stdlib.h>
#include <string.h>

#include "passes/pass.h"
#include "tenon/internal/arith.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/shapes.h"

enum { MAX_VALUES = 40 };

const char *const shapes_symbols[SHAPES_SYMBOLS] = {"SA", "SB", "SC"};

typedef struct builder {
    tn_graph *g;
    uint64_t seed;
    tn_val v[MAX_VALUES];
    bool exact[MAX_VALUES]; /* no rounding so far: comparisons and indices of it are sure */
    size_t n;
    shapes_binding at[SHAPES_BINDINGS];
} builder;

static size_t below(builder *b, size_t n) {
    return fuzz_below(&b->seed, n);
}

static tn_dim num(builder *b, int64_t v) {
    return tn_dim_const(b->g, v);
}

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

void shapes_draw(tn_graph *g, uint64_t seed, shapes_binding at[SHAPES_BINDINGS]) {
    static const int64_t sizes[] = {0, 1, 1, 2, 2, 3, 4, 4, 5, 6, 7, 8, 9, 16, 17}, first[] = {4, 1, 0, 2};
    for (int n = 0; n < SHAPES_BINDINGS; n++) {
        for (int k = 0; k < SHAPES_SYMBOLS; k++)
            at[n][k] = n < 4 ? first[n] : sizes[fuzz_below(&seed, sizeof sizes / sizeof *sizes)];
        const size_t what = fuzz_below(&seed, 4), i = fuzz_below(&seed, SHAPES_SYMBOLS),
                     j = fuzz_below(&seed, SHAPES_SYMBOLS);
        if (n >= 4 && what < 2) at[n][i] = at[n][j];
        if (n >= 4 && what == 2) at[n][i] = 1;
        for (int k = 0; n % 2 && k < SHAPES_SYMBOLS; k++) {
            int64_t lo, hi;
            tn_dim_bounds(g, tn_dim_sym(g, shapes_symbols[k]), &lo, &hi);
            at[n][k] = tn_clamp(at[n][k], lo, hi);
        }
    }
}

int64_t shapes_elements(const tn_graph *g, tn_type t, const shapes_binding at) {
    tn_binding b[SHAPES_SYMBOLS];
    int64_t n = 1, d;
    for (int k = 0; k < SHAPES_SYMBOLS; k++) b[k] = (tn_binding){shapes_symbols[k], at[k]};
    for (size_t i = 0; i < tn_type_rank(g, t); i++) {
        if (!tn_dim_eval(g, tn_type_dims(g, t)[i], b, SHAPES_SYMBOLS, &d) || d < 0) return 0;
        n = d > SHAPES_ELEMENTS ? SHAPES_ELEMENTS + 1 : n * d;
        if (n > SHAPES_ELEMENTS) n = SHAPES_ELEMENTS + 1;
    }
    return n;
}

static bool is_small(const builder *b, tn_type t) {
    for (int n = 0; n < SHAPES_BINDINGS; n++)
        if (shapes_elements(b->g, t, b->at[n]) > SHAPES_ELEMENTS) return false;
    return true;
}

/* A symbol that is a size of some input, which tells it; 3 where there is none. */
static tn_dim symbol(builder *b) {
    tn_dim found = num(b, 3);
    size_t n = 0;
    for (size_t k = 0; k < tn_graph_input_count(b->g); k++) {
        const tn_val v = tn_graph_input(b->g, k);
        for (size_t i = 0; i < tn_val_rank(b->g, v); i++)
            if (tn_dim_kind_of(b->g, tn_val_dim(b->g, v, i)) == TN_DIM_SYM && below(b, ++n) == 0)
                found = tn_val_dim(b->g, v, i);
    }
    return found;
}

/* Mostly a late value. */
static size_t any(builder *b) {
    return below(b, 3) ? b->n - 1 - below(b, b->n < 4 ? b->n : 4) : below(b, b->n);
}

/* A value of the dtype of v[k]; at worst that one. */
static size_t other(builder *b, size_t k) {
    for (int tries = 0; tries < 8; tries++) {
        const size_t o = any(b);
        if (tn_val_dtype(b->g, b->v[o]) == tn_val_dtype(b->g, b->v[k])) return o;
    }
    return k;
}

/* Emits where the type rules allow it, and results are small. */
static void emit(builder *b, tn_op op, const void *attrs, size_t n, const tn_val *in, bool exact) {
    tn_type types[4];
    size_t n_results = 0;
    if (tn_infer(b->g, op, attrs, n, in, 0, NULL, types, 4, &n_results) != TN_OK) return;
    for (size_t k = 0; k < n_results; k++)
        if (!is_small(b, types[k])) return;
    const tn_node node = tn_emit(b->g, op, attrs, n, in);
    for (size_t k = 0; node.i && k < n_results && b->n < MAX_VALUES; k++) {
        b->exact[b->n] = exact;
        b->v[b->n++] = tn_node_result(b->g, node, k);
    }
}

static size_t rank_of(const builder *b, size_t k) {
    return tn_val_rank(b->g, b->v[k]);
}
static tn_dim dim_of(const builder *b, size_t k, size_t axis) {
    return tn_val_dim(b->g, b->v[k], axis);
}

/* One of -4 to 4 quarters an element, as a function of the position. */
static tn_val pattern(builder *b, size_t rank, const tn_dim *dims) {
    tn_val at = tn_const_num(b->g, TN_F32, (double)below(b, 5));
    for (size_t k = 0; k < rank; k++) {
        const tn_attrs_iota a = {.dtype = TN_F32, .dims = {dims, (uint32_t)rank}, .axis = (int64_t)k};
        const tn_val i = tn_emit1(b->g, TN_OP_IOTA, &a, 0, NULL);
        at = tn_binary(b->g, TN_OP_ADD, at,
                       tn_binary(b->g, TN_OP_MUL, i, tn_const_num(b->g, TN_F32, 2 * (double)k + 1)));
    }
    at = tn_binary(b->g, TN_OP_FMOD, at, tn_const_num(b->g, TN_F32, 9));
    at = tn_binary(b->g, TN_OP_SUB, at, tn_const_num(b->g, TN_F32, 4));
    return tn_binary(b->g, TN_OP_MUL, at, tn_const_num(b->g, TN_F32, 0.25));
}

/* The same as numbers, unless they are so many that the text would keep them elsewhere. */
static tn_val weights(builder *b, size_t rank, const int64_t *dims) {
    int64_t n = 1;
    float data[TN_PRINT_INLINE];
    for (size_t k = 0; k < rank; k++) n *= dims[k];
    if (n <= TN_PRINT_INLINE) {
        for (int64_t k = 0; k < n; k++) data[k] = ((float)below(b, 9) - 4) / 4;
        return tn_const(b->g, tn_type_const(b->g, TN_F32, rank, dims),
                        tn_blob_copy(b->g, data, (size_t)n * sizeof *data), NULL);
    }
    tn_dim d[4];
    for (size_t k = 0; k < rank; k++) d[k] = num(b, dims[k]);
    return pattern(b, rank, d);
}

/* A size that may be equal to d where it is not the same: a symbol for a number, a number for a symbol; or d. */
static tn_dim alike(builder *b, tn_dim d) {
    if (below(b, 3)) return d;
    return tn_dim_is_const(b->g, d, NULL) ? symbol(b) : num(b, 1 + (int64_t)below(b, 4));
}

/* ---- ops --------------------------------------------------------------------------------------------------------- */

static void unary(builder *b, size_t k) {
    static const tn_op exact[] = {TN_OP_NEG, TN_OP_ABS, TN_OP_RELU},
                       rounding[] = {TN_OP_TANH, TN_OP_SIGMOID, TN_OP_GELU};
    if (below(b, 2) || !tn_dtype_is_float(tn_val_dtype(b->g, b->v[k])))
        emit(b, exact[below(b, 3)], NULL, 1, &b->v[k], b->exact[k]);
    else
        emit(b, rounding[below(b, 3)], NULL, 1, &b->v[k], false);
}

static void binary(builder *b, size_t k) {
    static const tn_op ops[] = {TN_OP_ADD, TN_OP_SUB, TN_OP_MUL, TN_OP_MIN, TN_OP_MAX, TN_OP_ADD};
    const size_t o = other(b, k);
    const tn_val in[2] = {b->v[k], b->v[o]};
    emit(b, ops[below(b, 6)], NULL, 2, in, b->exact[k] && b->exact[o]);
}

static void choose(builder *b, size_t k) {
    const size_t o = other(b, k), p = other(b, k);
    const tn_val pair[2] = {b->v[k], b->v[o]};
    const size_t n = b->n;
    if (!b->exact[k] || !b->exact[o]) return;
    emit(b, below(b, 2) ? TN_OP_LT : TN_OP_EQ, NULL, 2, pair, true);
    if (b->n == n) return;
    const tn_val in[3] = {b->v[n], b->v[p], b->v[o]};
    emit(b, TN_OP_SELECT, NULL, 3, in, b->exact[p]);
}

static void transpose(builder *b, size_t k) {
    int64_t perm[TN_MAX_RANK];
    const size_t rank = rank_of(b, k);
    for (size_t i = 0; i < rank; i++) perm[i] = (int64_t)i;
    for (size_t i = rank; i > 1; i--) {
        const size_t j = below(b, i);
        const int64_t t = perm[i - 1];
        perm[i - 1] = perm[j];
        perm[j] = t;
    }
    const tn_attrs_perm a = {.perm = {perm, (uint32_t)rank}};
    emit(b, TN_OP_TRANSPOSE, &a, 1, &b->v[k], b->exact[k]);
}

/* Merges two axes, splits one, drops one, adds one, or anything with the same number of elements. */
static void reshape(builder *b, size_t k) {
    tn_dim d[TN_MAX_RANK + 2];
    size_t rank = rank_of(b, k), n = 0;
    const size_t axis = below(b, rank), what = below(b, 6);
    for (size_t i = 0; i < rank; i++) {
        const tn_dim x = dim_of(b, k, i);
        if (what == 0 && i == axis && i + 1 < rank) {
            d[n++] = tn_dim_mul(b->g, x, dim_of(b, k, ++i));
        } else if (what == 1 && i == axis) {
            d[n++] = tn_dim_floordiv(b->g, x, num(b, 2));
            d[n++] = num(b, 2);
        } else if (what == 2 && i == axis) {
            continue; /* its size has to be 1 */
        } else if (what == 3 && i == axis) {
            d[n++] = num(b, 1);
            d[n++] = x;
        } else if (what == 4 && i == axis) {
            const tn_dim s = symbol(b);
            d[n++] = s;
            d[n++] = tn_dim_floordiv(b->g, x, tn_dim_max(b->g, s, num(b, 1)));
        } else {
            d[n++] = x;
        }
    }
    if (what == 5) {
        d[0] = below(b, 2) ? symbol(b) : num(b, 1 + (int64_t)below(b, 4));
        d[1] =
            tn_dim_floordiv(b->g, tn_type_numel(b->g, tn_val_type(b->g, b->v[k])), tn_dim_max(b->g, d[0], num(b, 1)));
        n = 2;
    }
    const tn_attrs_shape a = {.dims = {d, (uint32_t)n}};
    if (n <= TN_MAX_RANK) emit(b, TN_OP_RESHAPE, &a, 1, &b->v[k], b->exact[k]);
}

static void broadcast(builder *b, size_t k) {
    tn_dim d[TN_MAX_RANK];
    const size_t rank = rank_of(b, k), more = rank < 4 ? below(b, 2) : 0;
    for (size_t i = 0; i < rank + more; i++) {
        const bool free = i < more || tn_dim_equal_const(b->g, dim_of(b, k, i - more), 1) || below(b, 4) == 0;
        d[i] = !free ? dim_of(b, k, i - more) : below(b, 2) ? symbol(b) : num(b, 1 + (int64_t)below(b, 4));
    }
    const tn_attrs_shape a = {.dims = {d, (uint32_t)(rank + more)}};
    emit(b, TN_OP_BROADCAST, &a, 1, &b->v[k], b->exact[k]);
}

static void slice(builder *b, size_t k) {
    tn_dim start[TN_MAX_RANK], size[TN_MAX_RANK];
    int64_t steps[TN_MAX_RANK];
    const size_t rank = rank_of(b, k), axis = below(b, rank);
    for (size_t i = 0; i < rank; i++) start[i] = num(b, 0), size[i] = dim_of(b, k, i), steps[i] = 1;
    const tn_dim d = size[axis], one = num(b, 1);
    switch (below(b, 5)) {
    case 0:
        start[axis] = num(b, (int64_t)below(b, 3));
        size[axis] = tn_dim_sub(b->g, d, start[axis]);
        break;
    case 1: size[axis] = num(b, (int64_t)below(b, 5)); break;
    case 2:
        steps[axis] = -1;
        start[axis] = tn_dim_sub(b->g, d, one);
        break;
    case 3:
        steps[axis] = 2;
        size[axis] = tn_dim_ceildiv(b->g, d, num(b, 2));
        break;
    default: size[axis] = tn_dim_min(b->g, d, symbol(b));
    }
    const tn_attrs_slice a = {{start, (uint32_t)rank}, {size, (uint32_t)rank}, {steps, (uint32_t)rank}};
    emit(b, TN_OP_SLICE, &a, 1, &b->v[k], b->exact[k]);
}

static void pad(builder *b, size_t k) {
    static const char *const modes[] = {"constant", "constant", "reflect", "edge", "wrap"};
    tn_dim before[TN_MAX_RANK], after[TN_MAX_RANK];
    const size_t rank = rank_of(b, k), axis = below(b, rank);
    for (size_t i = 0; i < rank; i++) before[i] = after[i] = num(b, 0);
    before[axis] = num(b, (int64_t)below(b, 3));
    after[axis] = below(b, 4) ? num(b, (int64_t)below(b, 4) - 1) : symbol(b);
    const tn_attrs_pad a = {{before, (uint32_t)rank}, {after, (uint32_t)rank}, modes[below(b, 5)], 1};
    emit(b, TN_OP_PAD, &a, 1, &b->v[k], b->exact[k]);
}

static void concat(builder *b, size_t k) {
    tn_val in[3] = {b->v[k], b->v[other(b, k)], b->v[other(b, k)]};
    const tn_attrs_axis a = {.axis = (int64_t)below(b, rank_of(b, k))};
    emit(b, TN_OP_CONCAT, &a, 2 + below(b, 2), in, false);
}

static void split(builder *b, size_t k) {
    const size_t axis = below(b, rank_of(b, k));
    const tn_dim d = dim_of(b, k, axis),
                 first = below(b, 2) ? num(b, 1 + (int64_t)below(b, 2)) : tn_dim_floordiv(b->g, d, num(b, 2));
    const tn_dim sizes[2] = {first, tn_dim_sub(b->g, d, first)};
    const tn_attrs_split a = {(int64_t)axis, {sizes, 2}};
    emit(b, TN_OP_SPLIT, &a, 1, &b->v[k], b->exact[k]);
}

static void reduce(builder *b, size_t k) {
    static const tn_op ops[] = {TN_OP_REDUCE_SUM, TN_OP_REDUCE_MAX, TN_OP_REDUCE_MIN, TN_OP_REDUCE_MEAN,
                                TN_OP_REDUCE_PROD};
    const tn_op op = ops[below(b, 5)];
    int64_t axes[TN_MAX_RANK];
    tn_attrs_reduce a = {.axes = {axes, 0}, .keepdims = below(b, 2) != 0};
    const tn_attrs_clamp one = {.lo = -1, .hi = 1};
    for (size_t i = 0; i < rank_of(b, k); i++)
        if (below(b, 2)) axes[a.axes.n++] = (int64_t)i;
    if (op == TN_OP_REDUCE_PROD) { /* of what cannot overflow on the way to a factor of 0 */
        const size_t n = b->n;
        emit(b, TN_OP_CLAMP, &one, 1, &b->v[k], b->exact[k]);
        if (b->n == n) return;
        k = n;
    }
    emit(b, op, &a, 1, &b->v[k], b->exact[k] && (op == TN_OP_REDUCE_MAX || op == TN_OP_REDUCE_MIN));
}

static void along_axis(builder *b, size_t k) {
    const int64_t axis = (int64_t)below(b, rank_of(b, k));
    const tn_attrs_axis a = {.axis = axis};
    const tn_attrs_norm norm = {.axis = axis, .eps = 1e-3};
    const tn_attrs_cumsum sum = {.axis = axis, .exclusive = below(b, 2), .reverse = below(b, 2)};
    const tn_attrs_arg arg = {.axis = axis, .keepdims = below(b, 2), .last = below(b, 2)};
    switch (below(b, 6)) {
    case 0: emit(b, TN_OP_SOFTMAX, &a, 1, &b->v[k], false); break;
    case 1: emit(b, TN_OP_LOG_SOFTMAX, &a, 1, &b->v[k], false); break;
    case 2: emit(b, TN_OP_LAYER_NORM, &norm, 1, &b->v[k], false); break;
    case 3: emit(b, TN_OP_RMS_NORM, &norm, 1, &b->v[k], false); break;
    case 4: emit(b, TN_OP_CUMSUM, &sum, 1, &b->v[k], false); break;
    default:
        if (b->exact[k]) emit(b, TN_OP_ARG_MAX, &arg, 1, &b->v[k], true);
    }
}

/* Parameters of norms, whose sizes are a vector's and not the value's. */
static void scaled(builder *b, size_t k) {
    const size_t rank = rank_of(b, k), axis = below(b, rank);
    const size_t what = below(b, 4);
    const size_t of = what < 2 ? rank - 1 : what == 2 ? axis : 1;
    if (of >= rank || tn_val_dtype(b->g, b->v[k]) != TN_F32) return;
    const tn_attrs_norm a = {.axis = (int64_t)of, .groups = 1, .eps = 1e-3};
    tn_val in[5] = {b->v[k]};
    for (size_t i = 1; i < 5; i++) {
        const tn_dim d = alike(b, dim_of(b, k, of));
        in[i] = pattern(b, 1, &d);
    }
    in[4] = tn_unary(b->g, TN_OP_ABS, in[4]); /* a variance */
    switch (what) {
    case 0: emit(b, TN_OP_LAYER_NORM, &a, 3, in, false); break;
    case 1: emit(b, TN_OP_RMS_NORM, &a, 2, in, false); break;
    case 2: emit(b, TN_OP_BATCH_NORM, &a, 5, in, false); break;
    default: emit(b, TN_OP_GROUP_NORM, &a, 3, in, false);
    }
}

/* Queries that see keys whose sizes may be said in other ways, with something for each score. */
static void attention(builder *b, size_t k) {
    const size_t r = rank_of(b, k);
    tn_dim dims[TN_MAX_RANK], keys;
    tn_val in[5] = {b->v[k]};
    if (r < 2 || tn_val_dtype(b->g, b->v[k]) != TN_F32) return;
    keys = below(b, 2) ? symbol(b) : num(b, 1 + (int64_t)below(b, 4));
    for (size_t i = 1; i < 3; i++) {
        for (size_t n = 0; n + 2 < r; n++) dims[n] = alike(b, dim_of(b, k, n));
        dims[r - 2] = i == 1 ? keys : alike(b, keys);
        dims[r - 1] = i == 1 ? alike(b, dim_of(b, k, r - 1)) : num(b, 1 + (int64_t)below(b, 4));
        in[i] = pattern(b, r, dims);
    }
    for (size_t n = 0; n < r; n++) dims[n] = below(b, 3) ? num(b, 1) : alike(b, n + 1 < r ? dim_of(b, k, n) : keys);
    const size_t drop = below(b, r);
    if (below(b, 2)) in[3] = pattern(b, r - drop, dims + drop);
    if (below(b, 3) == 0)
        in[4] = tn_binary(b->g, TN_OP_LT, pattern(b, r - drop, dims + drop), tn_const_num(b->g, TN_F32, 0.6));
    const tn_attrs_attention a = {
        .scale = 0.5, .fill = -2, .cap = below(b, 3) ? 0 : 1.5, .causal = below(b, 4) == 0, .no_nan = below(b, 4) == 0};
    emit(b, TN_OP_ATTENTION, &a, in[4].i ? 5 : in[3].i ? 4 : 3, in, false);
}

static void matmul(builder *b, size_t k) {
    const tn_attrs_matmul a = {.trans_a = below(b, 4) == 0, .trans_b = below(b, 2)};
    const size_t rank = rank_of(b, k);
    int64_t dims[2] = {0, 1 + (int64_t)below(b, 6)};
    tn_val in[2] = {b->v[k], b->v[other(b, k)]};
    if (rank && !a.trans_a && tn_val_dtype(b->g, b->v[k]) == TN_F32 &&
        tn_dim_is_const(b->g, dim_of(b, k, rank - 1), &dims[0]) && dims[0] > 0 && dims[0] < 50 && below(b, 2)) {
        const tn_attrs_matmul plain = {0};
        in[1] = weights(b, 2, dims);
        emit(b, TN_OP_MATMUL, &plain, 2, in, false);
    } else {
        emit(b, TN_OP_MATMUL, &a, 2, in, false);
    }
}

static void window(builder *b, size_t k) {
    int64_t kernel[3], strides[3], pads[6], dilations[3], channels;
    const size_t rank = rank_of(b, k), n = rank - 2;
    if (rank < 3 || rank > 4 || tn_val_dtype(b->g, b->v[k]) != TN_F32) return;
    for (size_t i = 0; i < n; i++) {
        kernel[i] = 1 + (int64_t)below(b, 3);
        strides[i] = 1 + (int64_t)below(b, 2);
        dilations[i] = 1 + (below(b, 4) == 0);
        pads[i] = pads[n + i] = (int64_t)below(b, (size_t)kernel[i]);
    }
    const tn_ints s = {strides, (uint32_t)n}, p = {pads, 2 * (uint32_t)n}, l = {dilations, (uint32_t)n};
    const size_t what = below(b, 3);
    if (what < 2) {
        const tn_attrs_pool a = {.kernel = {kernel, (uint32_t)n},
                                 .strides = s,
                                 .pads = p,
                                 .ceil_mode = below(b, 3) == 0,
                                 .count_pad = below(b, 2)};
        emit(b, what ? TN_OP_MAX_POOL : TN_OP_AVG_POOL, &a, 1, &b->v[k], what && b->exact[k]);
    } else if (tn_dim_is_const(b->g, dim_of(b, k, 1), &channels) && channels > 0 && channels < 9) {
        const bool depthwise = below(b, 3) == 0;
        const int64_t dims[4] = {depthwise ? channels : 1 + (int64_t)below(b, 5), depthwise ? 1 : channels, kernel[0],
                                 kernel[n - 1]};
        const tn_attrs_conv a = {.strides = s, .pads = p, .dilations = l, .groups = depthwise ? channels : 1};
        const tn_val in[2] = {b->v[k], weights(b, rank, dims)};
        emit(b, TN_OP_CONV, &a, 2, in, false);
    }
}

/* The same with a transposed convolution, and what normalises over channels or moves between them and the image. */
static void transposed(builder *b, size_t k) {
    int64_t kernel[2], strides[2], more[2], in_channels;
    const size_t rank = rank_of(b, k), n = rank - 2;
    if (rank < 3 || rank > 4 || tn_val_dtype(b->g, b->v[k]) != TN_F32) return;
    if (!tn_dim_is_const(b->g, dim_of(b, k, 1), &in_channels) || in_channels < 1 || in_channels > 8) return;
    for (size_t i = 0; i < n; i++) {
        kernel[i] = 1 + (int64_t)below(b, 3);
        strides[i] = 1 + (int64_t)below(b, 2);
        more[i] = (int64_t)below(b, (size_t)strides[i]);
    }
    const int64_t dims[4] = {in_channels, 1 + (int64_t)below(b, 4), kernel[0], kernel[n - 1]};
    const tn_attrs_conv_transpose a = {.strides = {strides, (uint32_t)n}, .output_pads = {more, (uint32_t)n}};
    const tn_val in[2] = {b->v[k], weights(b, rank, dims)};
    emit(b, TN_OP_CONV_TRANSPOSE, &a, 2, in, false);
}

static void channels(builder *b, size_t k) {
    const size_t rank = rank_of(b, k);
    const tn_attrs_lrn lrn = {
        .size = 1 + (int64_t)below(b, 4), .alpha = 0.5, .beta = 0.75, .bias = 1, .axis = (int64_t)below(b, rank)};
    const tn_attrs_norm groups = {.groups = 1 + (int64_t)below(b, 2), .eps = 1e-3};
    const tn_attrs_depth depth = {.block = 2, .mode = below(b, 2) ? "DCR" : "CRD"};
    switch (below(b, 4)) {
    case 0: emit(b, TN_OP_LRN, &lrn, 1, &b->v[k], false); break;
    case 1:
        if (rank > 1) emit(b, TN_OP_GROUP_NORM, &groups, 1, &b->v[k], false);
        break;
    case 2: emit(b, TN_OP_SPACE_TO_DEPTH, &depth, 1, &b->v[k], b->exact[k]); break;
    default: emit(b, TN_OP_DEPTH_TO_SPACE, &depth, 1, &b->v[k], b->exact[k]);
    }
}

/* A triangle from a diagonal near the main one. */
static void triangle(builder *b, size_t k) {
    const int64_t diagonal = (int64_t)below(b, 5) - 2;
    const tn_attrs_trilu a = {.upper = below(b, 2)};
    const tn_val in[2] = {b->v[k],
                          tn_const(b->g, tn_type_const(b->g, TN_I64, 0, NULL), tn_blob_copy(b->g, &diagonal, 8), NULL)};
    if (rank_of(b, k) > 1) emit(b, TN_OP_TRILU, &a, 2, in, b->exact[k]);
}

/* Random numbers in the shape of a value. */
static void noise(builder *b, size_t k) {
    tn_dim d[TN_MAX_RANK];
    const size_t rank = rank_of(b, k);
    for (size_t i = 0; i < rank; i++) d[i] = dim_of(b, k, i);
    const tn_attrs_random a = {
        .dtype = TN_F32, .dims = {d, (uint32_t)rank}, .seed = (int64_t)below(b, 9), .stream = (int64_t)below(b, 3)};
    emit(b, TN_OP_RANDOM, &a, 0, NULL, true);
}

/* Rows 0 and -1, which are there in every table that has a row. */
static void gather(builder *b, size_t k) {
    const int64_t ends[2] = {0, -1}, n = 1 + (int64_t)below(b, 2);
    const tn_attrs_axis a = {.axis = (int64_t)below(b, rank_of(b, k))};
    const tn_val in[2] = {
        b->v[k], tn_const(b->g, tn_type_const(b->g, TN_I64, 1, &n), tn_blob_copy(b->g, ends, (size_t)n * 8), NULL)};
    emit(b, TN_OP_GATHER, &a, 2, in, b->exact[k]);
}

/* Rows 0 and -1 of an axis get the rows -1 and 0, or are combined with them. */
static void scatter(builder *b, size_t k) {
    static const char *const reductions[] = {"", "add", "mul", "min", "max"};
    const int64_t ends[2] = {0, -1}, swapped[2] = {-1, 0}, dims[2] = {2, 1};
    const tn_attrs_axis first = {0};
    const tn_attrs_scatter a = {.reduction = reductions[below(b, 5)]};
    const tn_val at = tn_const(b->g, tn_type_const(b->g, TN_I64, 2, dims), tn_blob_copy(b->g, ends, 16), NULL),
                 from = tn_const(b->g, tn_type_const(b->g, TN_I64, 1, dims), tn_blob_copy(b->g, swapped, 16), NULL),
                 rows[2] = {b->v[k], from};
    const bool moves = !*a.reduction || *a.reduction == 'm';
    const size_t n = b->n;
    emit(b, TN_OP_GATHER, &first, 2, rows, b->exact[k]);
    if (b->n == n) return;
    const tn_val in[3] = {b->v[k], at, b->v[n]};
    emit(b, TN_OP_SCATTER_ND, &a, 3, in, b->exact[k] && moves && strcmp(a.reduction, "mul") != 0);
}

/* The best along an axis, as many as a symbol says. */
static void top(builder *b, size_t k) {
    const size_t axis = below(b, rank_of(b, k));
    const tn_dim d = dim_of(b, k, axis), some = below(b, 2) ? symbol(b) : num(b, 1 + (int64_t)below(b, 3));
    const tn_attrs_top_k a = {(int64_t)axis, below(b, 4) ? tn_dim_min(b->g, d, some) : d, below(b, 2)};
    const tn_attrs_axis along = {(int64_t)axis};
    const size_t n = b->n;
    if (!b->exact[k]) return;
    emit(b, TN_OP_TOP_K, &a, 1, &b->v[k], true);
    if (b->n == n) return;
    const tn_val in[2] = {b->v[k], b->v[n]};
    emit(b, TN_OP_GATHER_ELEMENTS, &along, 2, in, true);
}

/* An image sampled at points of another size. */
static void grid(builder *b, size_t k) {
    static const char *const modes[] = {"linear", "cubic"}, *const paddings[] = {"zeros", "border", "reflection"};
    if (rank_of(b, k) != 4 || tn_val_dtype(b->g, b->v[k]) != TN_F32) return;
    const tn_dim d[4] = {dim_of(b, k, 0), symbol(b), num(b, 1 + (int64_t)below(b, 4)), num(b, 2)};
    tn_val at = tn_const_num(b->g, TN_F32, -1.3);
    for (int64_t axis = 0; axis < 4; axis++) {
        const tn_attrs_iota i = {.dtype = TN_F32, .dims = {d, 4}, .axis = axis};
        const tn_val step = tn_const_num(b->g, TN_F32, 0.21 + 0.13 * (double)axis);
        at = tn_binary(b->g, TN_OP_ADD, at, tn_binary(b->g, TN_OP_MUL, tn_emit1(b->g, TN_OP_IOTA, &i, 0, NULL), step));
    }
    const tn_attrs_grid_sample a = {modes[below(b, 2)], paddings[below(b, 3)], below(b, 2), below(b, 2)};
    const tn_val in[2] = {b->v[k], at};
    emit(b, TN_OP_GRID_SAMPLE, &a, 2, in, false);
}

/* Twice as large along an axis. */
static void enlarge(builder *b, size_t k, size_t axis) {
    static const char *const modes[] = {"nearest", "linear"};
    tn_dim sizes[TN_MAX_RANK];
    const size_t rank = rank_of(b, k);
    for (size_t i = 0; i < rank; i++)
        sizes[i] = i == axis ? tn_dim_mul(b->g, dim_of(b, k, i), num(b, 2)) : dim_of(b, k, i);
    const tn_attrs_resize a = {
        .sizes = {sizes, (uint32_t)rank}, .mode = modes[below(b, 2)], .coords = "asymmetric", .nearest = "floor"};
    emit(b, TN_OP_RESIZE, &a, 1, &b->v[k], false);
}

static void resize(builder *b, size_t k) {
    enlarge(b, k, below(b, rank_of(b, k)));
}

/* Every other row of an axis. */
static void halve(builder *b, size_t k, size_t axis) {
    tn_dim start[TN_MAX_RANK], size[TN_MAX_RANK];
    int64_t steps[TN_MAX_RANK];
    const size_t rank = rank_of(b, k);
    for (size_t i = 0; i < rank; i++) start[i] = num(b, 0), size[i] = dim_of(b, k, i), steps[i] = 1;
    size[axis] = tn_dim_ceildiv(b->g, size[axis], num(b, 2));
    steps[axis] = 2;
    const tn_attrs_slice a = {{start, (uint32_t)rank}, {size, (uint32_t)rank}, {steps, (uint32_t)rank}};
    emit(b, TN_OP_SLICE, &a, 1, &b->v[k], b->exact[k]);
}

/* What is halved twice and doubled, with what was halved once: sizes that are equal by a condition. */
static void pyramid(builder *b, size_t k) {
    const size_t n = b->n, rank = rank_of(b, k), axis = below(b, rank);
    halve(b, k, axis);
    if (b->n == n + 1) halve(b, n, axis);
    if (b->n == n + 2) enlarge(b, n + 1, axis);
    if (b->n != n + 3) return;
    const tn_val in[2] = {b->v[n], b->v[n + 2]};
    const tn_attrs_axis a = {.axis = (int64_t)((axis + 1) % rank)};
    if (rank > 1 && below(b, 2))
        emit(b, TN_OP_CONCAT, &a, 2, in, false);
    else
        emit(b, TN_OP_ADD, NULL, 2, in, false);
}

/* ---- graphs ------------------------------------------------------------------------------------------------------ */

static tn_dim input_size(builder *b) {
    static const int64_t sizes[] = {1, 1, 2, 3, 4, 8};
    const tn_dim s = tn_dim_sym(b->g, shapes_symbols[below(b, SHAPES_SYMBOLS)]);
    switch (below(b, 8)) {
    case 0:
    case 1:
    case 2: return num(b, below(b, 12) ? sizes[below(b, 6)] : 0);
    case 3: return below(b, 2) ? tn_dim_mul(b->g, s, num(b, 2)) : tn_dim_add(b->g, s, num(b, 1));
    default: return s;
    }
}

static void inputs(builder *b) {
    static const char *const names[] = {"x", "y", "z"};
    static const tn_dtype whole[] = {TN_I32, TN_I32, TN_I4, TN_U4, TN_I2, TN_U2};
    const tn_dtype t = below(b, 6) ? TN_F32 : whole[below(b, sizeof whole / sizeof *whole)];
    for (size_t k = 0, n = 2 + below(b, 2); k < n; k++) {
        tn_dim d[4];
        size_t rank = 1 + below(b, 4);
        for (size_t i = 0; i < rank; i++) d[i] = input_size(b);
        const tn_dtype dtype = below(b, 5) ? t : TN_F32;
        while (!is_small(b, tn_type_make(b->g, dtype, rank, d))) rank--;
        b->exact[b->n] = true;
        b->v[b->n++] = tn_graph_add_input(b->g, names[k], tn_type_make(b->g, dtype, rank, d));
    }
}

/* Most symbols may be any size; some are never 0, or of a few sizes. */
static void ranges(builder *b) {
    for (size_t i = 0; i < SHAPES_SYMBOLS; i++) {
        const bool any = below(b, 6) != 0;
        const int64_t lo = any ? 0 : (int64_t)below(b, 4),
                      hi = any || below(b, 2) ? INT64_MAX : lo + (int64_t)below(b, 18);
        tn_dim_set_range(b->g, tn_dim_sym(b->g, shapes_symbols[i]), lo, hi);
    }
}

/* Of one graph in three: buckets that overlap, leave sizes out, or say sizes that the graph does not take. */
static void buckets(builder *b) {
    for (size_t k = 0, n = below(b, 3) ? 0 : 1 + below(b, 3); k < n; k++)
        for (size_t i = 0; i < SHAPES_SYMBOLS; i++) {
            const int64_t lo = (int64_t)below(b, 6), hi = below(b, 4) ? lo + (int64_t)below(b, 20) : INT64_MAX;
            const int64_t typical =
                below(b, 4) ? lo + (int64_t)below(b, hi < INT64_MAX ? (size_t)(hi - lo + 1) : 40) : 0;
            const int64_t divisor = below(b, 4) ? 0 : 1 + (int64_t)below(b, 8);
            const tn_size_range r = {lo, hi, typical, divisor};
            tn_bucket_set_range(b->g, k, tn_dim_sym(b->g, shapes_symbols[i]), r);
        }
}

tn_graph *shapes_graph(const tn_env *env, uint64_t seed, int output, int *n_values) {
    static void (*const makers[])(builder *, size_t) = {
        unary,      binary,   binary,   binary,  choose, transpose, reshape, reshape,    broadcast,
        slice,      slice,    pad,      concat,  split,  reduce,    reduce,  along_axis, along_axis,
        matmul,     matmul,   window,   window,  gather, resize,    scatter, top,        grid,
        transposed, channels, triangle, pyramid, noise,  scaled,    scaled,  attention};
    builder b = {.g = tn_graph_new(env), .seed = seed};
    if (!b.g) return NULL;
    ranges(&b);
    shapes_draw(b.g, seed, b.at);
    inputs(&b);
    const size_t n_inputs = b.n, want = n_inputs + 2 + below(&b, 7);
    for (int tries = 0; tries < 60 && b.n < want; tries++) {
        const size_t k = any(&b);
        if (rank_of(&b, k)) makers[below(&b, sizeof makers / sizeof *makers)](&b, k);
    }
    const tn_val outs[2] = {b.v[b.n - 1], b.v[n_inputs + below(&b, b.n - n_inputs)]};
    const char *const names[2] = {"a", "b"};
    if (n_values) *n_values = (int)(b.n - n_inputs);
    if (output == SHAPES_ALL)
        tn_graph_set_outputs(b.g, b.n > n_inputs + 1 ? 2 : 1, outs, names);
    else
        tn_graph_set_outputs(b.g, 1, &b.v[n_inputs + (size_t)output], names);
    tn_pass_ctx *ctx = tn_pass_ctx_new(env, NULL);
    if (ctx) tn_run_passes(b.g, "dce", ctx);
    tn_pass_ctx_free(ctx);
    buckets(&b);
    return b.g;
}
