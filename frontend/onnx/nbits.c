/* nbits.c: MatMulNBits of com.microsoft, whose weight has a few bits an element, and a scale a block of K. */
#include "frontend/onnx/quant.h"

typedef struct setting {
    int64_t bits, block, n, k, blocks;
    bool kept; /* the weight stays as it is: what reads it makes numbers of it */
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

/* All of the weight is constant, less than half of what is computed of it, and in the order of its blocks: kernels read it packed
 * (passes/fuse). */
static bool is_kept(tn_oi *x, const setting *s) {
    const tn_val w = tn_oi_in(x, 1), scale = tn_oi_in(x, 2), zero = tn_oi_in(x, 3);
    return s->bits <= 4 && !tn_oi_in(x, 4).i && w.i && tn_const_data(x->g, w) && scale.i &&
           tn_const_data(x->g, scale) && (!zero.i || tn_const_data(x->g, zero));
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
        v = tn_const(g, tn_type_make(g, t, 2, together), c->data, tn_val_name(g, v));
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

/* [N, blocks] of numbers for w [N, K]: of the block of each k, or of the one that g_idx names. */
static tn_val for_each(tn_oi *x, tn_val v, tn_val w, const setting *s) {
    const tn_val index = tn_oi_in(x, 4);
    if (!index.i || tn_oi_failed(x)) return tn_oi_spread(x, v, w, 1, s->block);
    tn_val at = tn_build_slice_axis(x->g, index, 0, tn_dim_const(x->g, 0), tn_dim_const(x->g, s->k));
    return tn_build_gather(x->g, v, at, (tn_attrs_axis){.axis = 1});
}

/* The weight [N, K] in float32. */
static tn_val weight(tn_oi *x, const setting *s) {
    tn_graph *g = x->g;
    tn_val w = tn_oi_need(x, 1), scale = tn_oi_need(x, 2), zero = tn_oi_in(x, 3);
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
    tn_val a = tn_oi_need(x, 0), bias = tn_oi_in(x, 5);
    setting s;
    if (tn_oi_failed(x) || !read_setting(x, &s)) return;
    const size_t rank = tn_val_rank(g, a);
    const tn_dtype t = tn_val_dtype(g, a);
    s.kept = is_kept(x, &s);
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
        tn_val w = tn_build_swap_axes(g, tn_build_cast_to(g, weight(x, &s), t), 0, 1);
        y = tn_oi_product(x, a, w);
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
