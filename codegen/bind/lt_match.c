/* lt_match.c: see lt_match.h.  Walks from the anchor to the yield; every step must be one that the epilogue can
 * express, in the order product, bias and residual (either order), relu. */
#include "codegen/bind/lt_match.h"

#include <string.h>

static bool arg_index(const tn_spec *s, tn_val v, uint32_t *k) {
    for (*k = 0; *k < s->n_in; (*k)++)
        if (s->in[*k].arg.i == v.i) return true;
    return false;
}

/* Skips casts between float types on the way from the anchor's result. */
static bool is_float_cast(const tn_spec *s, tn_node n) {
    return tn_node_op(s->g, n) == TN_OP_CAST && tn_dtype_is_float(tn_val_dtype(s->g, tn_node_result(s->g, n, 0))) &&
           tn_dtype_is_float(tn_val_dtype(s->g, tn_node_input(s->g, n, 0)));
}

/* An operand of the epilogue: a region argument, perhaps behind float casts and reshapes that only add leading ones. */
static bool epilogue_arg(const tn_spec *s, tn_val v, uint32_t *k) {
    for (int depth = 0; depth < 8; depth++) {
        if (arg_index(s, v, k)) return true;
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

static tn_dim product(tn_graph *g, const tn_dim *d, uint32_t n) {
    tn_dim p = tn_dim_const(g, 1);
    for (uint32_t k = 0; k < n; k++) p = tn_dim_mul(g, p, d[k]);
    return p;
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

/* The matrices of a spec in row-major words: X[M,K] W[K,N] -> Y[M,N], with batch strides. */
typedef struct product_form {
    uint32_t x, w;
    tn_dim m, n, k, batch;
    tn_dim xr, xc, wr, wc, xb, wb; /* strides of rows, columns, batch */
    const char *math;
} product_form;

static bool conv_form(const tn_spec *s, product_form *f) {
    tn_graph *g = s->g;
    const tn_attrs_conv *a = TN_ATTRS_OF(g, s->anchor, conv);
    if (!a->layout || strcmp(a->layout, "nhwc") || a->groups > 1) return false;
    for (uint32_t k = 0; k < a->strides.n; k++)
        if (a->strides.p[k] != 1) return false;
    for (uint32_t k = 0; k < a->pads.n; k++)
        if (a->pads.p[k] != 0) return false;
    if (!arg_index(s, tn_node_input(g, s->anchor, 0), &f->x) || !arg_index(s, tn_node_input(g, s->anchor, 1), &f->w))
        return false;
    const tn_spec_tensor *x = &s->in[f->x], *w = &s->in[f->w];
    for (uint32_t k = 1; k + 1 < w->rank; k++)
        if (!tn_dim_equal_const(g, w->dims[k], 1)) return false;
    if (!collapses(g, x, 0, x->rank - 1, &f->xr)) return false;
    f->m = product(g, x->dims, x->rank - 1);
    f->n = w->dims[0];
    f->k = x->dims[x->rank - 1];
    f->batch = tn_dim_const(g, 1);
    f->xc = x->strides[x->rank - 1];
    f->wr = w->strides[w->rank - 1]; /* W[K,N] = filters transposed */
    f->wc = w->strides[0];
    f->xb = f->wb = tn_dim_const(g, 0);
    f->math = a->math;
    return true;
}

static bool matmul_form(const tn_spec *s, product_form *f) {
    tn_graph *g = s->g;
    const tn_attrs_matmul *a = TN_ATTRS_OF(g, s->anchor, matmul);
    if (!arg_index(s, tn_node_input(g, s->anchor, 0), &f->x) || !arg_index(s, tn_node_input(g, s->anchor, 1), &f->w))
        return false;
    const tn_spec_tensor *x = &s->in[f->x], *w = &s->in[f->w];
    if (x->rank < 2 || w->rank < 2) return false;
    uint32_t xi = x->rank - 2, xj = x->rank - 1, wi = w->rank - 2, wj = w->rank - 1;
    if (a->trans_a) xi = x->rank - 1, xj = x->rank - 2;
    if (a->trans_b) wi = w->rank - 1, wj = w->rank - 2;
    f->m = x->dims[xi], f->k = x->dims[xj], f->n = w->dims[wj];
    f->xr = x->strides[xi], f->xc = x->strides[xj];
    f->wr = w->strides[wi], f->wc = w->strides[wj];
    f->math = a->math;
    f->xb = f->wb = tn_dim_const(g, 0);
    f->batch = product(g, x->dims, x->rank - 2);
    bool shared_w = tn_dim_equal_const(g, product(g, w->dims, w->rank - 2), 1);
    if (shared_w && !a->trans_a) { /* batch axes join the rows */
        tn_dim rows;
        if (!collapses(g, x, 0, x->rank - 1, &rows)) return false;
        f->m = product(g, x->dims, x->rank - 1);
        f->xr = rows;
        f->batch = tn_dim_const(g, 1);
        return true;
    }
    if (x->rank != w->rank) return shared_w && tn_dim_equal_const(g, f->batch, 1);
    for (uint32_t k = 0; k + 2 < x->rank; k++)
        if (x->dims[k].i != w->dims[k].i) return false; /* broadcast batches need own kernels */
    return collapses(g, x, 0, x->rank - 2, &f->xb) && collapses(g, w, 0, w->rank - 2, &f->wb);
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

bool tn_lt_match(const tn_spec *s, tn_lt_call *c) {
    tn_graph *g = s->g;
    product_form f = {0};
    memset(c, 0, sizeof *c);
    if (!s->anchor.i || s->n_out != 1) return false;
    tn_op op = tn_node_op(g, s->anchor);
    if (!(op == TN_OP_CONV ? conv_form(s, &f) : op == TN_OP_MATMUL && matmul_form(s, &f))) return false;
    const tn_spec_tensor *x = &s->in[f.x], *w = &s->in[f.w], *y = &s->out[0];
    if (x->dtype != w->dtype || x->dtype != y->dtype) return false;
    if (x->dtype != TN_F16 && x->dtype != TN_BF16 && x->dtype != TN_F32) return false;
    bool x_rows, w_rows;
    uint32_t batch_axes = tn_dim_equal_const(g, f.batch, 1) ? 0 : y->rank - 2;
    tn_dim yb = tn_dim_const(g, 0), y_row;
    if (!matrix(g, f.xr, f.xc, &x_rows, &c->ldb) || !matrix(g, f.wr, f.wc, &w_rows, &c->lda)) return false;
    if (!tn_dim_equal_const(g, y->strides[y->rank - 1], 1)) return false;
    if (batch_axes && !collapses(g, y, 0, batch_axes, &yb)) return false;
    if (!collapses(g, y, batch_axes, y->rank - 1, &y_row)) return false;
    c->m = f.n, c->n = f.m, c->k = f.k, c->batch = f.batch;
    c->type_a = c->type_b = c->type_c = c->type_d = x->dtype;
    c->trans_a = !w_rows; /* row-major W[K,N] is column-major W^T[N,K]: what A wants untransposed */
    c->trans_b = !x_rows;
    c->ldd = c->ldc = y_row;
    c->stride_a = f.wb, c->stride_b = f.xb, c->stride_d = c->stride_c = yb;
    c->tf32 = f.math && !strcmp(f.math, "tf32");
    c->a = (tn_arg){.kind = TN_ARG_IN, .index = f.w};
    c->b = (tn_arg){.kind = TN_ARG_IN, .index = f.x};
    c->c = c->d = (tn_arg){.kind = TN_ARG_OUT, .index = 0};
    tn_val bias = op == TN_OP_CONV ? tn_node_input(g, s->anchor, 2) : (tn_val){0};
    if (bias.i) {
        uint32_t k;
        if (!epilogue_arg(s, bias, &k) || !is_row_vector(s, &s->in[k], f.n) || s->in[k].dtype != c->type_d)
            return false;
        c->has_bias = true;
        c->bias = (tn_arg){.kind = TN_ARG_IN, .index = k};
    }
    if (!epilogue(s, c, f.n)) return false;
    if (c->beta != 0) {
        const tn_spec_tensor *r = &s->in[c->c.index];
        if (!tn_dim_equal_const(g, r->strides[r->rank - 1], 1)) return false;
        if (!collapses(g, r, batch_axes, r->rank - 1, &c->ldc)) return false;
        if (batch_axes && !collapses(g, r, 0, batch_axes, &c->stride_c)) return false;
    }
    return true;
}
