/* sort.c: cumulative sums and products along, and sorts of, rows too long for the threads of one block.
 *
 * A long cumulative sum (of halves: in f32) is one of each block of SCAN_BLOCK elements plus one of the sums of the blocks before it.  A sort
 * carries each element's key and its position in one 64-bit number, and moves those by one digit of 8 bits after the
 * other, the least first (`sort_move`): where the elements of a block with a digit go is a cumulative sum of how many there are
 * of each in each block (`sort_count`).  That takes time linear in the row's length, for any number of rows, whatever the sizes turn out to be.
 * Keys of 8 bytes are sorted by their lower half, then by their upper one. */
#include "passes/fuse/fuse.h"
#include "passes/util.h"

enum {
    SCAN_BLOCK = 1024,
    SCAN_LONG = 4 * SCAN_BLOCK, /* shorter rows are summed up as they are */
    SCAN_ROWS = 1024,           /* and so are this many */
    SORT_SHORT = 1024,          /* rows that all elements of can be compared with each other in */
    SORT_KEPT = 2048,           /* templates/sorting/top_k.cu chooses up to so many */
    SORT_LONG = 1 << 17,        /* of rows that few blocks should not look at alone */
    SORT_ROWS = 32
};

/* ---- cumulative sums and products -------------------------------------------------------------------------------- */

static tn_val scan(tn_graph *g, tn_op op, tn_val v, tn_attrs_cumsum a, size_t axis) {
    a.axis = (int64_t)axis;
    return tn_emit1(g, op, &a, 1, &v);
}

/* v [outer, n, inner] with what changes nothing behind, so that blocks divide n. */
static tn_val filled_up(tn_graph *g, tn_val v, tn_dim all, double with) {
    const tn_dim zero = tn_dim_const(g, 0), before[] = {zero, zero, zero},
                 after[] = {zero, tn_dim_sub(g, all, tn_val_dim(g, v, 1)), zero};
    const tn_attrs_pad pad = {.before = {before, 3}, .after = {after, 3}, .mode = "constant", .value = with};
    return tn_dim_equal_const(g, after[1], 0) ? v : tn_emit1(g, TN_OP_PAD, &pad, 1, &v);
}

/* Of v [outer, n, inner]. */
static tn_val in_blocks(tn_graph *g, tn_op op, tn_val v, tn_attrs_cumsum a) {
    const bool sum = op == TN_OP_CUMSUM;
    const tn_op of_block = sum ? TN_OP_REDUCE_SUM : TN_OP_REDUCE_PROD;
    const tn_dim n = tn_val_dim(g, v, 1), outer = tn_val_dim(g, v, 0), inner = tn_val_dim(g, v, 2),
                 one = tn_dim_const(g, 1), size = tn_dim_const(g, SCAN_BLOCK), blocks = tn_blocks_of(g, n, SCAN_BLOCK),
                 all = tn_dim_mul(g, blocks, size);
    const tn_dim split[] = {outer, blocks, size, inner}, offset[] = {outer, blocks, one, inner},
                 flat[] = {outer, all, inner};
    const int64_t axis = 2;
    v = tn_emit_reshape(g, filled_up(g, v, all, sum ? 0 : 1), 4, split);
    const tn_val sums = tn_emit1(g, of_block, &(tn_attrs_reduce){.axes = {&axis, 1}}, 1, &v);
    const tn_val before = scan(g, op, sums, (tn_attrs_cumsum){.exclusive = true, .reverse = a.reverse}, 1);
    v = tn_binary(g, sum ? TN_OP_ADD : TN_OP_MUL, scan(g, op, v, a, 2), tn_emit_reshape(g, before, 4, offset));
    return tn_emit_slice(g, tn_emit_reshape(g, v, 3, flat), 1, tn_dim_const(g, 0), n);
}

tn_status tn_fuse_prepare_scan(tn_graph *g, tn_node n) {
    const tn_attrs_cumsum a = *TN_ATTRS_OF(g, n, cumsum);
    const tn_val x = tn_node_input(g, n, 0);
    const size_t axis = (size_t)a.axis, rank = tn_val_rank(g, x);
    const tn_dtype t = tn_val_dtype(g, x), wide = tn_dtype_is_float(t) && t != TN_F64 ? TN_F32 : t;
    const double cols = (double)tn_dim_typical(g, tn_val_dim(g, x, axis)), rows = tn_typical_numel(g, x) / cols;
    if (cols < SCAN_LONG || rows >= SCAN_ROWS) return tn_graph_status(g);
    if (tn_node_op(g, n) == TN_OP_CUMPROD && tn_dtype_is_float(t)) return tn_graph_status(g); /* see bind/reduce.c */
    tn_set_cursor(g, tn_cursor_before(g, n));
    const tn_dim dims[] = {tn_val_extent(g, x, 0, axis), tn_val_dim(g, x, axis), tn_val_extent(g, x, axis + 1, rank)};
    tn_val v = in_blocks(g, tn_node_op(g, n), tn_emit_reshape(g, tn_emit_cast(g, x, wide), 3, dims), a);
    v = tn_emit_cast(g, tn_emit_reshape(g, v, rank, tn_type_dims(g, tn_val_type(g, x))), t);
    tn_replace(g, tn_node_result(g, n, 0), v);
    return tn_erase(g, n);
}

/* ---- sorts ------------------------------------------------------------------------------------------------------- */

/* A float's bits in an order that unsigned numbers have: 0 and -0 are equal, a NaN is larger than every number. */
static tn_val float_key(tn_graph *g, tn_val x) {
    const bool wide = tn_val_dtype(g, x) == TN_F64;
    const tn_dtype t = wide ? TN_F64 : TN_F32, u = wide ? TN_U64 : TN_U32;
    const tn_val sign = tn_emit_int(g, u, wide ? INT64_MIN : INT64_C(1) << 31), all = tn_emit_int(g, u, -1),
                 zero = tn_const_num(g, t, 0);
    x = tn_emit_cast(g, x, t);
    const tn_val v = tn_emit_select(g, tn_binary(g, TN_OP_EQ, x, zero), zero, x);
    const tn_val bits = tn_emit1(g, TN_OP_BITCAST, &(tn_attrs_cast){.to = u}, 1, &v);
    const tn_val below = tn_unary(g, TN_OP_BIT_NOT, bits), above = tn_binary(g, TN_OP_OR, bits, sign);
    const tn_val key = tn_emit_select(g, tn_binary(g, TN_OP_GE, bits, sign), below, above);
    return tn_emit_select(g, tn_unary(g, TN_OP_IS_NAN, x), all, key);
}

static tn_val integer_key(tn_graph *g, tn_val x) {
    const tn_dtype t = tn_val_dtype(g, x);
    if (tn_dtype_is_unsigned(t)) return x;
    if (t == TN_I64) {
        const tn_val bits = tn_emit1(g, TN_OP_BITCAST, &(tn_attrs_cast){.to = TN_U64}, 1, &x);
        return tn_binary(g, TN_OP_XOR, bits, tn_emit_int(g, TN_U64, INT64_MIN));
    }
    return tn_binary(g, TN_OP_ADD, tn_emit_cast(g, x, TN_I64),
                     tn_emit_int(g, TN_I64, INT64_C(1) << (tn_dtype_bits(t) - 1)));
}

/* What rows are sorted by: bits [from, to) of a u64, the best with the least. */
typedef struct key {
    tn_val v;
    int from, to;
} key;

static key key_of(tn_graph *g, tn_val x, bool smallest) {
    const tn_dtype t = tn_val_dtype(g, x);
    const bool is_float = tn_dtype_is_float(t);
    key k = {.to = is_float && t != TN_F64 ? 32 : (int)tn_dtype_bits(t)};
    k.from = t == TN_BF16 ? 16 : t == TN_F16 ? 8 : 0; /* below are zeros, or ones */
    k.v = tn_emit_cast(g, is_float ? float_key(g, x) : integer_key(g, x), TN_U64);
    if (!smallest)
        k.v = tn_binary(g, TN_OP_XOR, k.v, tn_emit_int(g, TN_U64, k.to == 64 ? -1 : (INT64_C(1) << k.to) - 1));
    return k;
}

/* Stably by one digit. */
static tn_val by_digit(tn_graph *g, tn_val v, int shift) {
    const tn_attrs_sort a = {.shift = shift};
    const tn_val counts = tn_emit1(g, TN_OP_SORT_COUNT, &a, 1, &v);
    tn_dim dims[3], flat[2];
    for (size_t k = 0; k < 3; k++) dims[k] = tn_val_dim(g, counts, k);
    flat[0] = dims[0];
    flat[1] = tn_dim_mul(g, dims[1], dims[2]);
    const tn_val starts =
        scan(g, TN_OP_CUMSUM, tn_emit_reshape(g, counts, 2, flat), (tn_attrs_cumsum){.exclusive = true}, 1);
    return tn_emit1(g, TN_OP_SORT_MOVE, &a, 2, (const tn_val[]){v, tn_emit_reshape(g, starts, 3, dims)});
}

tn_val tn_emit_sorted(tn_graph *g, tn_val rows, int from, int to) {
    for (int shift = from; shift < to && tn_graph_status(g) == TN_OK; shift += 8) rows = by_digit(g, rows, shift);
    return rows;
}

static tn_val low_half(tn_graph *g, tn_val v) {
    return tn_binary(g, TN_OP_AND, v, tn_emit_int(g, TN_U64, UINT32_MAX));
}

/* Positions of each row of x [R, N] in order. */
static tn_val order_of(tn_graph *g, tn_val x, bool smallest) {
    const key k = key_of(g, x, smallest);
    const tn_dim *dims = tn_type_dims(g, tn_val_type(g, x));
    const tn_attrs_iota at = {.dtype = TN_U64, .dims = {dims, 2}, .axis = 1};
    const tn_val half = tn_emit_int(g, TN_U64, 32);
    tn_val low = tn_emit1(g, TN_OP_IOTA, &at, 0, NULL), v = tn_binary(g, TN_OP_SHL, k.v, half);
    v = tn_emit_sorted(g, tn_binary(g, TN_OP_OR, v, low), 32 + k.from, k.to < 32 ? 32 + k.to : 64);
    low = low_half(g, v);
    if (k.to > 32) { /* and by the upper half */
        const tn_val in[] = {x, tn_emit_cast(g, low, TN_I64)};
        const tn_val moved = tn_emit1(g, TN_OP_GATHER_ELEMENTS, &(tn_attrs_axis){.axis = 1}, 2, in);
        const tn_val high = tn_binary(g, TN_OP_SHR, key_of(g, moved, smallest).v, half);
        v = tn_binary(g, TN_OP_OR, tn_binary(g, TN_OP_SHL, high, half), low);
        low = low_half(g, tn_emit_sorted(g, v, 32, 64));
    }
    return tn_emit_cast(g, low, TN_I64);
}

/* Kernels of their own compare all elements of a row with each other, or keep few. */
static bool is_short(tn_graph *g, tn_val x, const tn_attrs_top_k *a) {
    int64_t lo = 0, hi = 0, most = 0;
    const tn_dim n = tn_val_dim(g, x, (size_t)a->axis);
    tn_dim_bounds(g, n, &lo, &hi);
    tn_dim_bounds(g, a->k, &lo, &most);
    if (hi <= SORT_SHORT) return true;
    const double cols = (double)tn_dim_typical(g, n), rows = tn_typical_numel(g, x) / cols;
    return most <= SORT_KEPT && (cols < SORT_LONG || rows >= SORT_ROWS);
}

tn_status tn_fuse_prepare_top_k(tn_graph *g, tn_node n) {
    const tn_attrs_top_k a = *TN_ATTRS_OF(g, n, top_k);
    const tn_val x = tn_node_input(g, n, 0);
    const size_t axis = (size_t)a.axis, rank = tn_val_rank(g, x);
    if (is_short(g, x, &a)) return tn_graph_status(g);
    tn_perm last = {.n = (uint32_t)rank}, back = {.n = (uint32_t)rank};
    for (size_t k = 0, at = 0; k < rank; k++)
        if (k != axis) last.p[at++] = (int64_t)k;
    last.p[rank - 1] = a.axis;
    for (size_t k = 0; k < rank; k++) back.p[last.p[k]] = (int64_t)k;
    tn_set_cursor(g, tn_cursor_before(g, n));
    const tn_val moved = tn_emit_transpose(g, x, last);
    const tn_dim dims[] = {tn_val_extent(g, moved, 0, rank - 1), tn_val_dim(g, moved, rank - 1)};
    tn_val v = order_of(g, tn_emit_reshape(g, moved, 2, dims), a.smallest);
    v = tn_emit_reshape(g, v, rank, tn_type_dims(g, tn_val_type(g, moved)));
    if (a.k.i != dims[1].i) v = tn_emit_slice(g, v, rank - 1, tn_dim_const(g, 0), a.k);
    v = tn_emit_transpose(g, v, back);
    tn_replace(g, tn_node_result(g, n, 0), v);
    return tn_erase(g, n);
}
