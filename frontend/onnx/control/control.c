/* control.c: constants, identities, and branches. */
#include "frontend/onnx/control/branch.h"

#include <stdio.h>
#include <string.h>

/* ---- constants --------------------------------------------------------------------------------------------------- */

static void dense_of_sparse(tn_oi *x, const TnOnnx__SparseTensorProto *sp) {
    tn_graph *g = x->g;
    tn_onnx_tensor v = {0}, idx = {0};
    int64_t n = 1;
    if (!sp->values || !sp->indices || sp->n_dims > TN_MAX_RANK) {
        tn_oi_fail(x, TN_E_FORMAT, "", "an incomplete sparse tensor");
        return;
    }
    for (size_t k = 0; k < sp->n_dims; k++)
        if (sp->dims[k] < 0 || (sp->dims[k] && n > ((int64_t)1 << 26) / sp->dims[k])) {
            tn_oi_fail(x, TN_E_UNSUPPORTED, "", "a sparse tensor of a shape that is too large");
            return;
        } else
            n *= sp->dims[k];
    tn_status st = tn_onnx_decode(x->m, sp->values, "values", &v);
    if (!st) st = tn_onnx_decode(x->m, sp->indices, "indices", &idx);
    bool coords = idx.rank == 2;
    void *data = NULL;
    if (st)
        tn_oi_fail(x, st, "", "its sparse tensor cannot be read");
    else if (idx.dtype != TN_I64 || idx.count != v.count * (coords ? sp->n_dims : 1) || tn_dtype_bits(v.dtype) < 8)
        tn_oi_fail(x, TN_E_FORMAT, "", "a sparse tensor whose indices do not fit its values");
    tn_blob b = tn_oi_failed(x) ? (tn_blob){0} : tn_blob_new(g, tn_dtype_bytes(v.dtype, (uint64_t)n), &data);
    size_t width = tn_dtype_bits(v.dtype) / 8;
    if (b.i) memset(data, 0, width * (size_t)n);
    for (uint64_t k = 0; b.i && k < v.count; k++) {
        int64_t at = 0;
        for (size_t a = 0; a < (coords ? sp->n_dims : 1); a++) {
            int64_t i = tn_load_int(TN_I64, idx.data, coords ? k * sp->n_dims + a : k), size = coords ? sp->dims[a] : n;
            if (i < 0 || i >= size) {
                tn_oi_fail(x, TN_E_FORMAT, "", "a sparse tensor with an index outside its shape");
                b.i = 0;
                break;
            }
            at = at * size + i;
        }
        if (b.i) memcpy((uint8_t *)data + (size_t)at * width, (const uint8_t *)v.data + k * width, width);
    }
    if (b.i) tn_oi_out(x, 0, tn_const(g, tn_type_const(g, v.dtype, sp->n_dims, sp->dims), b, NULL));
    tn_onnx_tensor_release(x->env, &v);
    tn_onnx_tensor_release(x->env, &idx);
}

static void list_out(tn_oi *x, tn_dtype t, bool scalar, size_t n, const int64_t *ints, const float *nums) {
    tn_graph *g = x->g;
    int64_t count = (int64_t)n;
    void *data = NULL;
    tn_blob b = tn_blob_new(g, tn_dtype_bytes(t, n), &data);
    if (tn_oi_failed(x)) return;
    for (size_t k = 0; k < n; k++) {
        if (ints)
            tn_store_int(t, data, k, ints[k]);
        else
            tn_store_num(t, data, k, (double)nums[k]);
    }
    tn_oi_out(x, 0, tn_const(g, tn_type_const(g, t, scalar ? 0 : 1, &count), b, NULL));
}

void tn_oi_op_constant(tn_oi *x) {
    const TnOnnx__AttributeProto *a;
    if ((a = tn_oi_attr(x, "value")) && a->t)
        tn_oi_out_value(x, 0, &(tn_oi_value){.init = a->t});
    else if ((a = tn_oi_attr(x, "value_float")))
        list_out(x, TN_F32, true, 1, NULL, &a->f);
    else if ((a = tn_oi_attr(x, "value_int")))
        list_out(x, TN_I64, true, 1, &a->i, NULL);
    else if ((a = tn_oi_attr(x, "value_floats")))
        list_out(x, TN_F32, false, a->n_floats, NULL, a->floats);
    else if ((a = tn_oi_attr(x, "value_ints")))
        list_out(x, TN_I64, false, a->n_ints, a->ints, NULL);
    else if ((a = tn_oi_attr(x, "sparse_value")) && a->sparse_tensor)
        dense_of_sparse(x, a->sparse_tensor);
    else
        tn_oi_fail(x, TN_E_UNSUPPORTED, "strings are not supported", "a constant without a numeric value");
}

/* ---- identities -------------------------------------------------------------------------------------------------- */

void tn_oi_op_identity(tn_oi *x) {
    tn_oi_forward(x, 0, 0);
}

/* ---- branches ---------------------------------------------------------------------------------------------------- */

/* Imports a branch into a region of its own that yields the tensors of its outputs.  cond: 1 where it is taken, 0 where not;
 * none: no sizes decide it. */
static tn_region branch(tn_oi *x, const TnOnnx__GraphProto *sub, tn_dim cond, tn_oi_value *outs[TN_OI_MAX_RESULTS]) {
    const tn_dim around = x->runs;
    tn_val vals[TN_OI_MAX_RESULTS];
    size_t n = 0, yields = 0, more = 0;
    tn_region r = tn_region_new(x->g);
    tn_cursor at = tn_cursor_end(x->g, r), outer = tn_get_cursor(x->g);
    at.loc = outer.loc;
    tn_set_cursor(x->g, at);
    x->in_region++;
    if (cond.i) x->runs = around.i ? tn_dim_mul(x->g, around, cond) : cond;
    bool ok = tn_oi_subgraph(x, sub, TN_OI_MAX_RESULTS, outs, &n);
    for (size_t k = 0; ok && k < n && !tn_oi_failed(x); k++, yields += more)
        tn_oi_tensors(x, outs[k], TN_OI_MAX_RESULTS - yields, vals + yields, &more);
    x->in_region--;
    x->runs = around;
    if (ok && !tn_oi_failed(x)) tn_emit(x->g, TN_OP_YIELD, NULL, yields, vals);
    tn_set_cursor(x->g, outer);
    return r;
}

/* Adds the symbols of d to a list of names; cut to fit. */
static void add_symbols(const tn_graph *g, tn_dim d, char *buf, size_t size) {
    char text[64];
    size_t used = strlen(buf);
    if (tn_dim_kind_of(g, d) > TN_DIM_SYM) {
        add_symbols(g, tn_dim_lhs(g, d), buf, size);
        add_symbols(g, tn_dim_rhs(g, d), buf, size);
    } else if (tn_dim_kind_of(g, d) == TN_DIM_SYM) {
        tn_dim_print(g, d, text, sizeof text);
        const char *at = strstr(buf, text);
        const size_t n = strlen(text);
        if (!at || (at > buf && at[-1] != ' ') || (at[n] && at[n] != ','))
            snprintf(buf + used, size - used, "%s%s", used ? ", " : "", text);
    }
}

/* Adds the names of the sizes that v is computed from; false if it depends on data too.  Sizes come as indices into
 * 0, 1, 2, ... (symbolic.c). */
static bool add_sizes(const tn_graph *g, tn_val v, char *buf, size_t size, unsigned depth) {
    tn_node n = tn_val_def(g, v);
    if (!n.i || depth > 32 || tn_node_subregion_count(g, n)) return false;
    if (tn_node_op(g, n) == TN_OP_IOTA) {
        add_symbols(g, tn_val_dim(g, v, 0), buf, size);
        return true;
    }
    for (size_t k = 0; k < tn_node_input_count(g, n); k++) {
        tn_val in = tn_node_input(g, n, k);
        if (in.i && !add_sizes(g, in, buf, size, depth + 1)) return false;
    }
    return true;
}

/* The type that a region yields k-th. */
static tn_type yielded(const tn_graph *g, tn_region r, size_t k) {
    tn_node last = tn_region_last(g, r);
    return last.i && k < tn_node_input_count(g, last) ? tn_val_type(g, tn_node_input(g, last, k)) : (tn_type){0};
}

static bool can_be_equal(const tn_graph *g, tn_type a, tn_type b) {
    size_t rank = tn_type_rank(g, a);
    if (tn_type_dtype(g, a) != tn_type_dtype(g, b) || rank != tn_type_rank(g, b)) return false;
    for (size_t k = 0; k < rank; k++) {
        int64_t va, vb;
        if (tn_dim_is_const(g, tn_type_dims(g, a)[k], &va) && tn_dim_is_const(g, tn_type_dims(g, b)[k], &vb) &&
            va != vb)
            return false;
    }
    return true;
}

/* Says what would decide between branches whose output k is not of one type. */
static bool fail_fit(tn_oi *x, tn_status code, tn_val cond, const TnOnnx__GraphProto *yes, size_t k, const char *a,
                     const char *b) {
    char sizes[256] = "", hint[400];
    if (add_sizes(x->g, cond, sizes, sizeof sizes, 0) && *sizes)
        snprintf(hint, sizeof hint, "the condition depends on the size of %s: give it with --shape", sizes);
    else
        snprintf(hint, sizeof hint, "a result has one type: make the condition a constant, or the types equal");
    tn_oi_fail(x, code, hint, "output '%s' is %s if the condition holds and %s if not",
               k < x->node->n_output && *x->node->output[k] ? x->node->output[k] : yes->output[k]->name, a, b);
    return false;
}

static const char *kind_text(const tn_oi_value *v, char *buf, size_t size) {
    snprintf(buf, size,
             v->seq      ? "a sequence of %zu tensors"
             : v->absent ? "an optional without an element"
                         : "a tensor",
             tn_oi_length(v));
    return buf;
}

/* Both branches give as many tensors, in sequences alike, and these can have the same types. */
static bool branches_fit(tn_oi *x, tn_val cond, const tn_region *r, tn_oi_value *outs[2][TN_OI_MAX_RESULTS],
                         const TnOnnx__GraphProto *yes) {
    const tn_graph *g = x->g;
    for (size_t k = 0, at = 0; k < yes->n_output; k++) {
        char ta[128], tb[128];
        if (!tn_oi_same_kind(outs[0][k], outs[1][k]))
            return fail_fit(x, TN_E_UNSUPPORTED, cond, yes, k, kind_text(outs[0][k], ta, sizeof ta),
                            kind_text(outs[1][k], tb, sizeof tb));
        for (size_t i = 0; i < tn_oi_length(outs[0][k]); i++, at++) {
            tn_type a = yielded(g, r[0], at), b = yielded(g, r[1], at);
            if (!a.i || !b.i || can_be_equal(g, a, b)) continue;
            tn_type_print(g, a, ta, sizeof ta);
            tn_type_print(g, b, tb, sizeof tb);
            return fail_fit(x, TN_E_TYPE, cond, yes, k, ta, tb);
        }
    }
    return true;
}

static bool same_results(const tn_graph *g, const tn_region r[2]) {
    tn_node a = tn_region_last(g, r[0]), b = tn_region_last(g, r[1]);
    if (tn_node_input_count(g, a) != tn_node_input_count(g, b)) return false;
    for (size_t k = 0; k < tn_node_input_count(g, a); k++)
        if (tn_val_type(g, tn_node_input(g, a, k)).i != tn_val_type(g, tn_node_input(g, b, k)).i) return false;
    return true;
}

static bool tensors_only(tn_oi_value *outs[2][TN_OI_MAX_RESULTS], size_t n) {
    bool plain = true;
    for (size_t k = 0; k < n; k++)
        for (int b = 0; b < 2; b++) plain = plain && !outs[b][k]->seq && !outs[b][k]->absent;
    return plain;
}

static void drop_region(tn_graph *g, tn_region r) {
    tn_conditions_drop(g, r);
    for (tn_node n = tn_region_last(g, r), prev; n.i; n = prev) {
        prev = tn_node_prev(g, n);
        tn_erase(g, n);
    }
}

/* ---- branches for tensors without elements ----------------------------------------------------------------------- */

/* All tensors that r yields have no elements, whatever the sizes. */
static bool yields_nothing(const tn_graph *g, tn_region r) {
    const tn_node last = tn_region_last(g, r);
    bool nothing = last.i && tn_node_input_count(g, last) > 0;
    for (size_t k = 0; nothing && k < tn_node_input_count(g, last); k++) {
        const tn_val v = tn_node_input(g, last, k);
        nothing = false;
        for (size_t a = 0; a < tn_val_rank(g, v); a++) nothing |= tn_dim_equal_const(g, tn_val_dim(g, v, a), 0);
    }
    return nothing;
}

/* b is a, but for axes of which b has nothing. */
static bool can_be_cut_to(const tn_graph *g, tn_type a, tn_type b) {
    bool fits = tn_type_dtype(g, a) == tn_type_dtype(g, b) && tn_type_rank(g, a) == tn_type_rank(g, b);
    for (size_t k = 0; fits && k < tn_type_rank(g, a); k++)
        fits = tn_type_dims(g, a)[k].i == tn_type_dims(g, b)[k].i || tn_dim_equal_const(g, tn_type_dims(g, b)[k], 0);
    return fits;
}

static bool all_can_be_cut(const tn_graph *g, tn_region from, tn_region to) {
    const tn_node a = tn_region_last(g, from), b = tn_region_last(g, to);
    bool fits = a.i && tn_node_input_count(g, a) == tn_node_input_count(g, b);
    for (size_t k = 0; fits && k < tn_node_input_count(g, a); k++)
        fits = can_be_cut_to(g, yielded(g, from, k), yielded(g, to, k));
    return fits;
}

/* cond is 1 where e is 0 and 0 elsewhere (symbolic.c writes 1 - min(e, 1)), and d is at most e: 0 with it. */
static bool goes_with(tn_graph *g, tn_dim cond, tn_dim d) {
    const tn_dim one = tn_dim_const(g, 1), most = tn_dim_most(g, d);
    const tn_dim rest = tn_dim_mul(g, cond, tn_dim_const(g, -1)); /* min(e - 1, 0) */
    if (!most.i || !rest.i || tn_dim_kind_of(g, rest) != TN_DIM_MIN) return false;
    const bool zero = tn_dim_equal_const(g, tn_dim_rhs(g, rest), 0);
    const tn_dim e = zero ? tn_dim_add(g, tn_dim_lhs(g, rest), one) : (tn_dim){0};
    return e.i && tn_dim_less(g, e, most) < 0;
}

/* v, of which axes that `like` has nothing of are empty where cond (0 or 1) is 1. */
static tn_val cut_where(tn_oi *x, tn_val v, tn_type like, tn_dim cond) {
    tn_graph *g = x->g;
    for (size_t a = 0; a < tn_val_rank(g, v) && !tn_oi_failed(x); a++) {
        const tn_dim d = tn_val_dim(g, v, a);
        if (d.i == tn_type_dims(g, like)[a].i || !tn_dim_equal_const(g, tn_type_dims(g, like)[a], 0)) continue;
        if (goes_with(g, cond, d)) continue;
        const tn_dim count = tn_dim_fresh(g, "length");
        const tn_val n = tn_oi_size_value(x, tn_dim_mul(g, d, tn_dim_sub(g, tn_dim_const(g, 1), cond)));
        tn_build_size(g, n, (tn_attrs_size){.count = count, .most = d, .fits = true});
        v = tn_build_gather(g, v, tn_build_iota(g, TN_I64, 1, &count, 0), (tn_attrs_axis){.axis = (int64_t)a});
    }
    return v;
}

/* Where a size that data makes decides between a branch that gives nothing and another (boxes of which none may be left), the
 * other runs always, and its results are cut.  False: these are no such branches. */
static bool take_unless_nothing(tn_oi *x, tn_dim cond, const tn_region r[2], const TnOnnx__GraphProto *const sub[2]) {
    tn_graph *g = x->g;
    tn_type like[TN_OI_MAX_RESULTS];
    const size_t nothing = yields_nothing(g, r[0]) ? 0 : 1, other = 1 - nothing;
    if (x->in_region || !tn_dim_is_made(g, cond) || !yields_nothing(g, r[nothing]) ||
        !all_can_be_cut(g, r[other], r[nothing]))
        return false;
    size_t n = 0;
    tn_oi_value *outs[TN_OI_MAX_RESULTS];
    for (size_t k = 0; k < sub[other]->n_output && k < TN_OI_MAX_RESULTS; k++) like[k] = yielded(g, r[nothing], k);
    drop_region(g, r[0]);
    drop_region(g, r[1]);
    if (!tn_oi_subgraph(x, sub[other], TN_OI_MAX_RESULTS, outs, &n)) return true;
    if (nothing == 1) cond = tn_dim_sub(g, tn_dim_const(g, 1), cond);
    for (size_t k = 0; k < n && !tn_oi_failed(x); k++)
        tn_oi_out(x, k, cut_where(x, tn_oi_value_val(x, outs[k]), like[k], cond));
    return true;
}

/* A tensor gets the output's name; others have none in the graph. */
static void give_result(tn_oi *x, size_t k, const tn_oi_value *v) {
    if (v && v->val.i)
        tn_oi_out(x, k, v->val);
    else if (v)
        tn_oi_out_value(x, k, v);
}

static void branches(tn_oi *x, const TnOnnx__GraphProto *yes, const TnOnnx__GraphProto *no, tn_dim cond, tn_region r[2],
                     tn_oi_value *outs[2][TN_OI_MAX_RESULTS]) {
    const bool known = cond.i && tn_inputs_tell_all(x->g, cond);
    r[0] = branch(x, yes, known ? cond : (tn_dim){0}, outs[0]);
    r[1] = branch(x, no, known ? tn_dim_sub(x->g, tn_dim_const(x->g, 1), cond) : (tn_dim){0}, outs[1]);
}

/* A known condition takes one branch; otherwise both become regions. */
void tn_oi_op_if(tn_oi *x) {
    tn_graph *g = x->g;
    const TnOnnx__AttributeProto *yes = tn_oi_attr(x, "then_branch"), *no = tn_oi_attr(x, "else_branch");
    if (!yes || !no || !yes->g || !no->g || yes->g->n_output != no->g->n_output ||
        x->node->n_output > yes->g->n_output) {
        tn_oi_fail(x, TN_E_FORMAT, "", "its branches are missing, or differ in their outputs");
        return;
    }
    int64_t cond = 0;
    size_t n = 0;
    if (tn_oi_const_ints(x, 0, 1, &cond, &n) && n == 1) {
        tn_oi_take_branch(x, cond ? yes->g : no->g);
        return;
    }
    const tn_oi_sym *sizes = tn_oi_sym_of(x, 0);
    bool holds = false;
    if (sizes && sizes->d && sizes->n == 1 && tn_oi_is_assumed(x, sizes->d[0], &holds)) {
        tn_oi_take_branch(x, holds ? yes->g : no->g);
        return;
    }
    const tn_cursor at = tn_get_cursor(g);
    tn_oi_value *outs[2][TN_OI_MAX_RESULTS];
    tn_region r[2];
    const bool known = sizes && sizes->d && sizes->n == 1;
    branches(x, yes->g, no->g, known ? sizes->d[0] : (tn_dim){0}, r, outs);
    if (tn_oi_failed(x)) return;
    if (known && !same_results(g, r)) {
        const TnOnnx__GraphProto *const sub[] = {yes->g, no->g};
        if (tensors_only(outs, yes->g->n_output) && take_unless_nothing(x, sizes->d[0], r, sub)) return;
        drop_region(g, r[0]);
        drop_region(g, r[1]);
        tn_set_cursor(g, at);
        if (tn_oi_branch_by_sizes(x, sizes->d[0], yes->g, no->g) || tn_oi_failed(x)) return;
        branches(x, yes->g, no->g, sizes->d[0], r, outs);
    }
    tn_val c = tn_build_reshape_to(g, tn_oi_need(x, 0), 0, NULL), results[TN_OI_MAX_RESULTS];
    if (tn_oi_failed(x) || !branches_fit(x, c, r, outs, yes->g)) return;
    tn_node node = tn_emit_regions(g, TN_OP_IF, &(tn_attrs_branch){0}, 1, &c, 2, r);
    if (!node.i) return;
    for (size_t k = 0; k < tn_node_result_count(g, node); k++) results[k] = tn_node_result(g, node, k);
    const tn_val *next = results;
    for (size_t k = 0; k < x->node->n_output; k++) give_result(x, k, tn_oi_regroup(x, outs[0][k], &next));
}
