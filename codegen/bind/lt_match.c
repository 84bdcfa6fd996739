/* lt_match.c: see lt_match.h.  Walks from the anchor to the yield; every step must be one that the epilogue can
 * express, in the order product, bias and residual (either order), relu. */
#include "codegen/bind/lt_match.h"
#include "codegen/spec/contraction.h"

#include <string.h>

/* Skips casts between float types on the way from the anchor's result. */
static bool is_float_cast(const tn_spec *s, tn_node n) {
    return tn_node_op(s->g, n) == TN_OP_CAST && tn_dtype_is_float(tn_val_dtype(s->g, tn_node_result(s->g, n, 0))) &&
           tn_dtype_is_float(tn_val_dtype(s->g, tn_node_input(s->g, n, 0)));
}

/* An operand of the epilogue: a region argument, perhaps behind float casts and reshapes that only add leading ones. */
static bool epilogue_arg(const tn_spec *s, tn_val v, uint32_t *k) {
    for (int depth = 0; depth < 8; depth++) {
        if (tn_spec_direct(s, v, k)) return true;
        tn_node d = tn_val_def(s->g, v);
        if (!d.i || !is_float_cast(s, d)) return false;
        v = tn_node_input(s->g, d, 0);
    }
    return false;
}

/* A vector along the last axis of the result: all other dims 1, dense. */
static bool is_row_vector(const tn_spec *s, const tn_spec_tensor *t, tn_dim cols) {
    for (uint32_t k = 0; k + 1 < t->rank; k++)
        if (!tn_dim_equal_const(s->g, t->dims[k], 1)) return false;
    return t->rank && t->dims[t->rank - 1].i == cols.i && tn_dim_equal_const(s->g, t->strides[t->rank - 1], 1);
}

/* Axes [from, to) of t lie in memory as one axis of stride *stride (elements). */
static bool collapses(tn_graph *g, const tn_spec_tensor *t, uint32_t from, uint32_t to, tn_dim *stride) {
    *stride = to > from ? t->strides[to - 1] : tn_dim_const(g, 0);
    for (uint32_t k = to; k-- > from + 1;) {
        if (tn_dim_equal_const(g, t->dims[k - 1], 1)) continue;
        if (t->strides[k - 1].i != tn_dim_mul(g, t->strides[k], t->dims[k]).i) return false;
    }
    return true;
}

static bool same_dims(const tn_spec_tensor *a, const tn_spec_tensor *b) {
    if (a->rank != b->rank) return false;
    for (uint32_t k = 0; k < a->rank; k++)
        if (a->dims[k].i != b->dims[k].i) return false;
    return true;
}

/* One matrix operand with a unit stride: ld, and whether its last logical axis is the strided one. */
static bool matrix(tn_graph *g, tn_dim row_stride, tn_dim col_stride, bool *row_major, tn_dim *ld) {
    if (tn_dim_equal_const(g, col_stride, 1)) return *row_major = true, *ld = row_stride, true;
    if (tn_dim_equal_const(g, row_stride, 1)) return *row_major = false, *ld = col_stride, true;
    return false;
}

/* Strides of a coordinate's axes, which must lie in memory as one. */
static bool stride_of(const tn_spec *s, const tn_spec_tensor *t, tn_coord c, tn_dim *stride) {
    return collapses(s->g, t, c.axis, c.axis + c.n_axes, stride);
}

/* The stride of an operand's batch; broadcast batches need own kernels. */
static bool batch_stride(const tn_spec *s, const tn_contraction *c, const tn_spec_tensor *t, tn_coord batch,
                         tn_batch_map map, tn_dim *stride) {
    *stride = tn_dim_const(s->g, 0);
    if (tn_dim_equal_const(s->g, c->batch, 1)) return true;
    return map == TN_BATCH_SAME && stride_of(s, t, batch, stride);
}

/* Follows the only use of v inside the region. */
static tn_node only_user(const tn_spec *s, tn_val v) {
    tn_node none = {0};
    return tn_val_has_one_use(s->g, v) ? tn_use_node(s->g, tn_val_first_use(s->g, v)) : none;
}

static bool epilogue(const tn_spec *s, tn_lt_call *c, tn_dim cols) {
    tn_val v = tn_node_result(s->g, s->anchor, 0);
    bool residual = false;
    for (int step = 0; step < 16; step++) {
        tn_node u = only_user(s, v);
        if (!u.i || tn_spec_rounds(s, v)) return false; /* its epilogue is computed in f32 */
        tn_op op = tn_node_op(s->g, u);
        if (op == TN_OP_YIELD) {
            if (residual && s->in[c->c.index].dtype != c->type_d) return false;
            return true;
        }
        if (c->relu && !is_float_cast(s, u)) return false; /* relu comes last */
        if (op == TN_OP_RELU) {
            c->relu = true;
        } else if (op == TN_OP_ADD) {
            tn_val other = tn_node_input(s->g, u, tn_node_input(s->g, u, 0).i == v.i ? 1 : 0);
            uint32_t k;
            if (other.i == v.i || !epilogue_arg(s, other, &k)) return false;
            const tn_spec_tensor *t = &s->in[k];
            if (is_row_vector(s, t, cols) && !c->has_bias && t->dtype == c->type_d) {
                c->has_bias = true;
                c->bias = (tn_arg){.kind = TN_ARG_IN, .index = k};
            } else if (same_dims(t, &s->out[0]) && !residual) {
                residual = true;
                c->beta = 1;
                c->type_c = t->dtype;
                c->c = (tn_arg){.kind = TN_ARG_IN, .index = k};
            } else {
                return false;
            }
        } else if (!is_float_cast(s, u)) {
            return false;
        }
        v = tn_node_result(s->g, u, 0);
    }
    return false;
}

/* A: the right operand, B: the left one. */
static bool matrices(const tn_spec *s, const tn_contraction *p, tn_lt_call *c) {
    tn_dim m, k, n;
    uint32_t in;
    bool x_rows, w_rows;
    if (!tn_spec_direct(s, p->a, &in)) return false;
    const tn_spec_tensor *x = &s->in[in];
    c->b = (tn_arg){.kind = TN_ARG_IN, .index = in};
    if (!tn_spec_direct(s, p->b, &in)) return false;
    const tn_spec_tensor *w = &s->in[in];
    c->a = (tn_arg){.kind = TN_ARG_IN, .index = in};
    if (!stride_of(s, x, p->a_m, &m) || !stride_of(s, x, p->a_k, &k) || !matrix(s->g, m, k, &x_rows, &c->ldb) ||
        !batch_stride(s, p, x, p->a_batch, p->a_map, &c->stride_b))
        return false;
    if (!stride_of(s, w, p->b_k, &k) || !stride_of(s, w, p->b_n, &n) || !matrix(s->g, k, n, &w_rows, &c->lda) ||
        !batch_stride(s, p, w, p->b_batch, p->b_map, &c->stride_a))
        return false;
    c->m = p->n, c->n = p->m, c->k = p->k, c->batch = p->batch;
    c->trans_a = !w_rows; /* row-major W[K,N] is column-major W^T[N,K]: what A wants untransposed */
    c->trans_b = !x_rows;
    c->tf32 = p->tf32;
    return x->dtype == w->dtype;
}

/* C or D: a tensor of the result's shape. */
static bool result(const tn_spec *s, const tn_spec_tensor *t, uint32_t batch_axes, tn_dim *ld, tn_dim *stride) {
    *stride = tn_dim_const(s->g, 0);
    return tn_dim_equal_const(s->g, t->strides[t->rank - 1], 1) &&
           (!batch_axes || collapses(s->g, t, 0, batch_axes, stride)) &&
           collapses(s->g, t, batch_axes, t->rank - 1, ld);
}

bool tn_lt_match(const tn_spec *s, tn_lt_call *c) {
    tn_contraction p;
    memset(c, 0, sizeof *c);
    if (s->n_out != 1 || s->n_told || !tn_contraction_of(s, &p) || p.norm) return false; /* its sizes are the host's */
    const tn_spec_tensor *y = &s->out[0];
    if (p.dtype != y->dtype || (p.dtype != TN_F16 && p.dtype != TN_BF16 && p.dtype != TN_F32)) return false;
    const uint32_t batch_axes = tn_dim_equal_const(s->g, p.batch, 1) ? 0 : y->rank - 2;
    if (!matrices(s, &p, c) || !result(s, y, batch_axes, &c->ldd, &c->stride_d)) return false;
    c->ldc = c->ldd, c->stride_c = c->stride_d;
    c->type_a = c->type_b = c->type_c = c->type_d = p.dtype;
    c->c = c->d = (tn_arg){.kind = TN_ARG_OUT, .index = 0};
    if (p.bias.i) {
        uint32_t k;
        if (!epilogue_arg(s, p.bias, &k) || !is_row_vector(s, &s->in[k], p.n) || s->in[k].dtype != c->type_d)
            return false;
        c->has_bias = true;
        c->bias = (tn_arg){.kind = TN_ARG_IN, .index = k};
    }
    if (!epilogue(s, c, p.n)) return false;
    return c->beta == 0 || result(s, &s->in[c->c.index], batch_axes, &c->ldc, &c->stride_c);
}
