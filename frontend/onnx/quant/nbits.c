/* nbits.c: MatMulNBits of com.microsoft, whose weight has a few bits an element, and a scale a block of K.
 *
 * A constant weight stays packed: kernels make numbers of it where they read it.  g_idx gives each k the block whose scale
 * it has; where that is constant and gives a block as many as it has room for (GPTQ, which quantises the columns that matter
 * most first), the weight's columns and A's are put in the order of their blocks, and the product is an ordinary one.  Of
 * others the scales stand anywhere: such a weight is made whole when the model is compiled. */
#include "frontend/onnx/quant/quant.h"

#include <string.h>

typedef struct setting {
    int64_t bits, block, n, k, blocks;
    bool kept;             /* the weight stays as it is: what reads it makes numbers of it */
    tn_val weight, groups; /* groups: the block of each k; none: one block after the other */
} setting;

static bool read_setting(tn_oi *x, setting *s) {
    *s = (setting){.bits = tn_oi_int(x, "bits", 4),
                   .block = tn_oi_int(x, "block_size", 0),
                   .n = tn_oi_int(x, "N", 0),
                   .k = tn_oi_int(x, "K", 0)};
    const int64_t packing = tn_oi_int(x, "weight_prepacked", 0);
    if (s->bits != 2 && s->bits != 4 && s->bits != 8)
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "weights of %lld bits (2, 4 and 8 there are)", (long long)s->bits);
    else if (packing)
        tn_oi_fail(x, TN_E_UNSUPPORTED, "export with weight_prepacked = 0", "weight_prepacked = %lld",
                   (long long)packing);
    else if (s->block < 16 || s->block > 1 << 20 || s->block & (s->block - 1) || s->n < 1 || s->k < 1 ||
             s->n > INT32_MAX || s->k > INT32_MAX)
        tn_oi_fail(x, TN_E_FORMAT, "", "block_size is %lld (a power of 2 from 16 on), N %lld and K %lld (positive)",
                   (long long)s->block, (long long)s->n, (long long)s->k);
    s->blocks = s->block > 0 ? (s->k + s->block - 1) / s->block : 0;
    return !tn_oi_failed(x);
}

/* Behind a barrier a constant is not folded into what is computed of it. */
static tn_val keep(tn_oi *x, const setting *s, tn_val v) {
    return s->kept && v.i && !tn_oi_failed(x) ? tn_emit1(x->g, TN_OP_BARRIER, NULL, 1, &v) : v;
}

/* All of the weight is constant, less than what is computed of it, and in the order of its blocks: kernels read it packed
 * (passes/fuse). */
static bool is_kept(tn_oi *x, const setting *s) {
    const tn_val scale = tn_oi_in(x, 2), zero = tn_oi_in(x, 3);
    return !s->groups.i && tn_const_data(x->g, s->weight) && scale.i && tn_const_data(x->g, scale) &&
           (!zero.i || tn_const_data(x->g, zero));
}

/* Bytes [N, ...] as numbers of `bits` each, the low bits of a byte first: [N, `count`], which may be fewer than there are.
 * A constant's bytes stay what they are. */
static tn_val numbers(tn_oi *x, const setting *s, tn_val v, int64_t count) {
    tn_graph *g = x->g;
    const int64_t bits = s->bits, n = s->n, each = 8 / bits, bytes = (count + each - 1) / each;
    const tn_dim rows = tn_dim_const(g, n), one = tn_dim_const(g, 1), width = tn_dim_const(g, bytes);
    const tn_dim packed[] = {rows, width}, apart[] = {rows, width, one},
                 together[] = {rows, tn_dim_const(g, bytes * each)};
    const tn_dtype t = bits == 2 ? TN_U2 : bits == 4 ? TN_U4 : TN_U8;
    if (tn_oi_failed(x)) return v;
    const tn_node from = tn_val_def(g, v);
    if (t != TN_U8 && tn_const_data(g, v)) {
        const tn_attrs_const *c = TN_ATTRS_OF(g, from, const);
        tn_val checked = tn_build_reshape_to(g, v, 2, packed); /* as many as that */
        if (!checked.i || tn_oi_failed(x)) return v;
        v = tn_const(g, tn_type_make(g, t, 2, together), c->data, c->name);
    } else if (t != TN_U8) {
        const int64_t shift[] = {0, bits, 2 * bits, 3 * bits};
        tn_val by = tn_const_ints(g, TN_U8, (size_t)each, shift),
               mask = tn_const_num(g, TN_U8, (double)((1 << bits) - 1));
        v = tn_build_shr(g, tn_build_reshape_to(g, v, 3, apart), by);
        v = tn_build_reshape_to(g, tn_build_and(g, v, mask), 2, together);
    } else {
        v = tn_build_reshape_to(g, v, 2, packed);
    }
    v = tn_build_cast_to(g, keep(x, s, v), TN_I32);
    return tn_build_slice_axis(g, v, 1, tn_dim_const(g, 0), tn_dim_const(g, count));
}

/* ---- groups ------------------------------------------------------------------------------------------------------ */

/* Fills order with the k's of one block after the other; false where a block has fewer than it has room for, or more. */
static bool order_of(const setting *s, tn_dtype t, const void *groups, int64_t *order, int64_t *filled) {
    for (int64_t k = 0; k < s->k; k++) {
        const int64_t b = tn_load_int(t, groups, (uint64_t)k);
        if (b < 0 || b >= s->blocks || filled[b] == s->block) return false;
        const int64_t at = b * s->block + filled[b]++;
        if (at >= s->k) return false;
        order[at] = k;
    }
    return true;
}

/* The bytes of a weight whose k-th column is from's order[k]-th one. */
static void move_columns(const setting *s, const uint8_t *from, const int64_t *order, uint8_t *to) {
    const int64_t bits = s->bits, each = 8 / bits, row = s->blocks * s->block / each;
    const unsigned mask = (1u << bits) - 1;
    memset(to, 0, (size_t)(s->n * row));
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t k = 0; k < s->k; k++) {
            const unsigned v = (unsigned)from[n * row + order[k] / each] >> (order[k] % each * bits) & mask;
            to[n * row + k / each] = (uint8_t)(to[n * row + k / each] | v << (k % each * bits));
        }
}

/* Puts the weight's columns, and a's, in the order of their blocks where that can be done. */
static tn_val put_in_order(tn_oi *x, setting *s, tn_val a) {
    tn_graph *g = x->g;
    const tn_val groups = s->groups;
    const void *of = groups.i ? tn_const_data(g, groups) : NULL;
    const uint8_t *from = of ? tn_const_data(g, s->weight) : NULL;
    const uint64_t bytes = (uint64_t)(s->n * s->blocks * s->block / 8 * s->bits);
    if (!from || tn_val_rank(g, groups) != 1 || tn_val_dtype(g, s->weight) != TN_U8) return a;
    const tn_attrs_const *c = TN_ATTRS_OF(g, tn_val_def(g, s->weight), const);
    if (tn_blob_size(g, c->data) != bytes) return a;
    int64_t there = 0;
    if (!tn_dim_is_const(g, tn_val_dim(g, groups, 0), &there) || there < s->k) return a;
    int64_t *order = tn_oi_alloc(x, (size_t)s->k * sizeof *order);
    int64_t *filled = tn_oi_alloc(x, (size_t)s->blocks * sizeof *filled);
    if (!order || !filled || !order_of(s, tn_val_dtype(g, groups), of, order, filled)) return a;
    s->groups = (tn_val){0};
    bool moves = false;
    for (int64_t k = 0; k < s->k; k++) moves |= order[k] != k;
    if (!moves) return a;
    void *to = NULL;
    const tn_blob b = tn_blob_new(g, bytes, &to);
    if (!b.i) return a;
    move_columns(s, from, order, to);
    s->weight = tn_const(g, tn_val_type(g, s->weight), b, c->name);
    return tn_build_gather(g, a, tn_const_ints(g, TN_I64, (size_t)s->k, order),
                           (tn_attrs_axis){.axis = (int64_t)tn_val_rank(g, a) - 1});
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

/* [N, blocks] of numbers for w [N, K]: of the block of each k, or of the one that g_idx names. */
static tn_val for_each(tn_oi *x, tn_val v, tn_val w, const setting *s) {
    const tn_val index = s->groups;
    if (!index.i || tn_oi_failed(x)) return tn_oi_spread(x, v, w, 1, s->block);
    tn_val at = tn_build_slice_axis(x->g, index, 0, tn_dim_const(x->g, 0), tn_dim_const(x->g, s->k));
    return tn_build_gather(x->g, v, at, (tn_attrs_axis){.axis = 1});
}

/* The weight [N, K] in float32. */
static tn_val weight(tn_oi *x, const setting *s) {
    tn_graph *g = x->g;
    tn_val w = s->weight, scale = tn_oi_need(x, 2), zero = tn_oi_in(x, 3);
    if (tn_oi_failed(x)) return w;
    if (tn_val_dtype(g, w) != TN_U8) {
        tn_oi_fail(x, TN_E_TYPE, "", "the weight is of %s; it must be of u8", tn_dtype_text(tn_val_dtype(g, w)));
        return w;
    }
    const tn_dim blocks[] = {tn_dim_const(g, s->n), tn_dim_const(g, s->blocks)};
    w = numbers(x, s, w, s->blocks * s->block);
    w = tn_build_slice_axis(g, w, 1, tn_dim_const(g, 0), tn_dim_const(g, s->k));
    if (zero.i && tn_val_dtype(g, zero) == TN_U8)
        zero = numbers(x, s, zero, s->blocks);
    else if (zero.i)
        zero = keep(x, s, tn_build_reshape_to(g, zero, 2, blocks));
    w = tn_build_cast_to(g, w, TN_F32);
    if (zero.i)
        w = tn_build_sub(g, w, for_each(x, tn_build_cast_to(g, zero, TN_F32), w, s));
    else
        w = tn_build_scalar(g, TN_OP_SUB, w, (double)(1 << (s->bits - 1)));
    scale = tn_build_cast_to(g, keep(x, s, tn_build_reshape_to(g, scale, 2, blocks)), TN_F32);
    return tn_build_mul(g, w, for_each(x, scale, w, s));
}

/* A packed weight with an axis of size 0 stands for none: the product is 0. */
static bool is_omitted(tn_oi *x) {
    const size_t rank = tn_oi_rank(x, 1);
    for (size_t k = 0; k < rank; k++)
        if (tn_dim_equal_const(x->g, tn_oi_dim(x, 1, k), 0)) return true;
    return false;
}

void tn_oi_op_matmul_nbits(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val a = tn_oi_need(x, 0), w = tn_oi_need(x, 1), bias = tn_oi_in(x, 5);
    setting s;
    if (tn_oi_failed(x) || !read_setting(x, &s)) return;
    s.weight = w;
    s.groups = tn_oi_in(x, 4);
    const size_t rank = tn_val_rank(g, a);
    const tn_dtype t = tn_val_dtype(g, a);
    if (rank < 1) {
        tn_oi_fail(x, TN_E_FORMAT, "", "an input of rank 0");
        return;
    }
    tn_oi_fits(x, TN_REL_EQUAL, a, rank - 1, "A", tn_dim_const(g, s.k), "K");
    tn_val y;
    if (is_omitted(x)) {
        tn_dim dims[TN_MAX_RANK];
        for (size_t k = 0; k < rank; k++) dims[k] = k + 1 < rank ? tn_val_dim(g, a, k) : tn_dim_const(g, s.n);
        y = tn_build_full(g, t, rank, dims, 0);
    } else {
        a = put_in_order(x, &s, a);
        s.kept = is_kept(x, &s);
        y = tn_oi_product(x, a, tn_build_swap_axes(g, tn_build_cast_to(g, weight(x, &s), t), 0, 1));
    }
    if (bias.i && !tn_oi_failed(x)) {
        if (tn_val_rank(g, bias) == 1)
            tn_oi_fits(x, TN_REL_EQUAL, bias, 0, "the bias", tn_dim_const(g, s.n), "N");
        else
            tn_oi_fail(x, TN_E_FORMAT, "", "a bias of rank %zu; it must be 1", tn_val_rank(g, bias));
        y = tn_build_add(g, y, bias);
    }
    tn_oi_out(x, 0, y);
}
