/* paired.c: two products of one operand whose results meet in a multiplication become one, with columns by pairs.
 *
 *     matmul(x, wg) -> silu -+                 y = matmul(x, [wg0 wu0 wg1 wu1 ...])
 *                            mul    becomes    mul(silu(every second column of y from 0), every second from 1)
 *     matmul(x, wu) ---------+
 *
 * SwiGLU, GEGLU and the like.  A tile of the product has both columns of a pair next to each other, so that the kernel's epilogue
 * multiplies them and writes a result of half the width; the double width is nowhere in memory.  The same where the two are the halves
 * of one product.  For products on tensor cores, whose kernels give their epilogue columns by pairs (tn_is_pair_half).
 *
 * The weights stand by pairs as movement of constants, which `fold` evaluates. */
#include "passes/pass.h"
#include "passes/rule.h"
#include "passes/rules/filter.h"
#include "passes/util.h"

tn_status tn_pass_paired(tn_graph *g, tn_pass_ctx *ctx);

static const char rule[] = "paired";
enum { FAR = 8, MAX_BYTES = 256 << 20, CHUNK_BITS = 128 };

/* One of the two: a product, or a part of one. */
typedef struct half {
    tn_val v; /* its result, or the part */
    tn_filter f;
    int64_t start, outs; /* of the product's columns */
} half;

/* Kernels of tensor cores compute it. */
static bool is_tiled(const tn_graph *g, tn_node n) {
    const tn_dtype t = tn_val_dtype(g, tn_node_input(g, n, 0));
    return t == TN_F16 || t == TN_BF16 || (t == TN_F32 && tn_str_is(TN_ATTRS_OF(g, n, matmul)->math, "tf32"));
}

/* A unit slice of the last axis alone. */
static bool is_part(const tn_graph *g, tn_node n, size_t axis, half *h) {
    const tn_attrs_slice *a = TN_ATTRS_OF(g, n, slice);
    const tn_val x = tn_node_input(g, n, 0);
    for (size_t k = 0; k < tn_val_rank(g, x); k++)
        if (a->steps.p[k] != 1 || (k != axis && a->sizes.p[k].i != tn_val_dim(g, x, k).i)) return false;
    return tn_dim_is_const(g, a->starts.p[axis], &h->start) && tn_dim_is_const(g, a->sizes.p[axis], &h->outs);
}

static bool is_half(tn_graph *g, tn_val v, half *h) {
    tn_node n = tn_val_def(g, v);
    *h = (half){.v = v};
    if (!n.i || !tn_val_has_one_use(g, v)) return false;
    const bool part = tn_node_op(g, n) == TN_OP_SLICE;
    const tn_node product = part ? tn_val_def(g, tn_node_input(g, n, 0)) : n;
    if (!product.i || tn_node_op(g, product) != TN_OP_MATMUL || !is_tiled(g, product) ||
        !tn_filter_of(g, product, &h->f))
        return false;
    h->outs = h->f.outs;
    return !part || is_part(g, n, h->f.axis, h);
}

/* The product that v comes from, through elementwise ops of which nothing else is made. */
static bool find_half(tn_graph *g, tn_val v, half *h) {
    for (int step = 0; step < FAR && tn_val_has_one_use(g, v); step++) {
        const tn_node n = tn_val_def(g, v);
        if (is_half(g, v, h)) return true;
        if (!n.i || !tn_op_is(tn_node_op(g, n), TN_T_ELEMENTWISE)) return false;
        tn_val next = {0};
        for (size_t k = 0; k < tn_node_input_count(g, n); k++) {
            const tn_val x = tn_node_input(g, n, k);
            if (!x.i || tn_is_const(g, x)) continue;
            if (next.i || !tn_same_dims(g, x, v)) return false;
            next = x;
        }
        v = next;
        if (!v.i) return false;
    }
    return false;
}

/* Two uses of the product of both: they. */
static bool used_by_parts_alone(const half *h) {
    const tn_use first = tn_val_first_use(h->f.g, tn_node_result(h->f.g, h->f.node, 0)),
                 next = tn_use_next(h->f.g, first);
    return next.i && !tn_use_next(h->f.g, next).i;
}

/* Why they are no pair; NULL if they are. */
static const char *apart(const half *a, const half *b) {
    const tn_graph *g = a->f.g;
    int64_t numel;
    if (a->f.x.i != b->f.x.i) return "the factors are products of different operands";
    if (a->outs != b->outs) return "the products have different widths";
    const bool one = a->f.node.i == b->f.node.i;
    if (one && (a->start == b->start || a->start + b->start != a->outs || a->f.outs != 2 * a->outs))
        return "the factors are no halves of their product";
    if (one && !used_by_parts_alone(a)) return "something else reads the product of both";
    if (!one && (!tn_filter_alike(&a->f, &b->f) || a->f.outs != a->outs || b->f.outs != b->outs))
        return "the products differ";
    if (a->outs * (int64_t)tn_dtype_bits(tn_val_dtype(g, a->f.w)) % CHUNK_BITS)
        return "the products' rows are no whole chunks";
    if (!tn_static_numel(g, a->f.w, &numel) ||
        (one ? 1 : 2) * tn_dtype_bytes(tn_val_dtype(g, a->f.w), (uint64_t)numel) > MAX_BYTES)
        return "the weights are too large to be arranged anew";
    return NULL;
}

/* The weights of a product of half the columns, or of the half that begins at `start`, with an axis of one behind the columns'. */
static tn_val columns_of(tn_graph *g, const half *h, size_t axis) {
    tn_val w = tn_emit1(g, TN_OP_CONST, tn_node_attrs(g, tn_val_def(g, h->f.w)), 0, NULL); /* again, here */
    if (h->outs != h->f.outs) w = tn_emit_slice(g, w, axis, tn_dim_const(g, h->start), tn_dim_const(g, h->outs));
    tn_dim dims[3];
    for (size_t k = 0; k < 3; k++)
        dims[k] = k == axis + 1 ? tn_dim_const(g, 1) : tn_val_dim(g, w, k <= axis ? k : k - 1);
    return tn_emit_reshape(g, w, 3, dims);
}

/* In place of the first of the two products. */
static void join(tn_graph *g, const half *a, const half *b, tn_node first) {
    tn_cursor at = tn_cursor_before(g, first);
    at.loc = tn_loc_join(g, tn_node_loc(g, a->f.node), tn_node_loc(g, b->f.node));
    const tn_cursor saved = tn_set_cursor(g, at);
    const size_t axis = tn_filter_outs_axis(&a->f);
    const tn_attrs_axis behind = {.axis = (int64_t)axis + 1};
    const tn_val halves[2] = {columns_of(g, a, axis), columns_of(g, b, axis)};
    const tn_dim dims[2] = {axis ? tn_dim_const(g, a->f.ins) : tn_dim_const(g, 2 * a->outs),
                            axis ? tn_dim_const(g, 2 * a->outs) : tn_dim_const(g, a->f.ins)};
    const tn_val w = tn_emit_reshape(g, tn_emit1(g, TN_OP_CONCAT, &behind, 2, halves), 2, dims);
    const tn_val y = tn_emit_like(g, a->f.node, 2, (tn_val[]){a->f.x, w});
    const tn_val even = tn_emit_pair_half(g, y, false), odd = tn_emit_pair_half(g, y, true);
    if (even.i && odd.i) {
        tn_replace(g, a->v, even);
        tn_replace(g, b->v, odd);
    }
    tn_set_cursor(g, saved);
    tn_reap(g, a->v);
    tn_reap(g, b->v);
}

/* Which of two nodes of a region comes first. */
static tn_node earlier(const tn_graph *g, tn_node a, tn_node b) {
    for (tn_node n = a; n.i; n = tn_node_next(g, n))
        if (n.i == b.i) return a;
    return b;
}

tn_status tn_pass_paired(tn_graph *g, tn_pass_ctx *ctx) {
    const uint32_t nodes = tn_graph_node_limit(g);
    for (tn_node n = {1}; n.i < nodes && tn_graph_status(g) == TN_OK; n.i++) {
        half a, b;
        if (tn_node_op(g, n) != TN_OP_MUL || tn_node_input(g, n, 0).i == tn_node_input(g, n, 1).i ||
            !find_half(g, tn_node_input(g, n, 0), &a) || !find_half(g, tn_node_input(g, n, 1), &b))
            continue;
        const char *why = apart(&a, &b);
        if (why)
            tn_pass_refused(ctx, rule, g, n, why);
        else if (tn_pass_may_rewrite(ctx, rule))
            join(g, &a, &b, earlier(g, a.f.node, b.f.node));
    }
    return tn_graph_status(g);
}
