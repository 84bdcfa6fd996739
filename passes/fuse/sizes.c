/* sizes.c: sizes that depend on data, on their way into kernels.
 *
 * `nonzero` becomes what a GPU does in order: how many elements of each block are set, the sums of that up to each block,
 * of which the last is the size that it makes, and `compact`, where every block writes its positions behind those of the
 * blocks before it.  A kernel in whose types such a size stands gets the size's value as a further operand, so that what
 * makes it is ordered and lives as any operand does. */
#include "passes/fuse/fuse.h"
#include "passes/util.h"

#include <string.h>

/* ---- nonzero ----------------------------------------------------------------------------------------------------- */

static tn_val is_set(tn_graph *g, tn_val x) {
    return tn_val_dtype(g, x) == TN_BOOL ? x : tn_binary(g, TN_OP_NE, x, tn_const_num(g, tn_val_dtype(g, x), 0));
}

/* [blocks]: how many are set in the mask up to the end of each block. */
static tn_val block_ends(tn_graph *g, tn_val mask) {
    const tn_dim n = tn_val_dim(g, mask, 0), blocks = tn_compact_blocks(g, n), zero = tn_dim_const(g, 0),
                 size = tn_dim_const(g, TN_COMPACT_BLOCK), dims[] = {blocks, size},
                 after = tn_dim_sub(g, tn_dim_mul(g, blocks, size), n);
    const int64_t axis = 1;
    tn_val v = tn_emit1(g, TN_OP_CAST, &(tn_attrs_cast){.to = TN_I64}, 1, &mask);
    const tn_attrs_pad pad = {.before = {&zero, 1}, .after = {&after, 1}, .mode = "constant"};
    if (!tn_dim_equal_const(g, after, 0)) v = tn_emit1(g, TN_OP_PAD, &pad, 1, &v);
    v = tn_emit_reshape(g, v, 2, dims);
    v = tn_emit1(g, TN_OP_REDUCE_SUM, &(tn_attrs_reduce){.axes = {&axis, 1}}, 1, &v);
    return tn_dim_equal_const(g, blocks, 1) ? v : tn_emit1(g, TN_OP_CUMSUM, &(tn_attrs_cumsum){.axis = 0}, 1, &v);
}

static tn_val last_of(tn_graph *g, tn_val v) {
    const tn_dim one = tn_dim_const(g, 1), last = tn_dim_sub(g, tn_val_dim(g, v, 0), one);
    const tn_attrs_slice a = {.starts = {&last, 1}, .sizes = {&one, 1}};
    return tn_emit_reshape(g, tn_emit1(g, TN_OP_SLICE, &a, 1, &v), 0, NULL);
}

tn_status tn_fuse_prepare_nonzero(tn_graph *g, tn_node n) {
    const tn_dim count = tn_node_makes(g, n);
    const tn_val x = tn_node_input(g, n, 0);
    tn_set_cursor(g, tn_cursor_before(g, n));
    const tn_val mask = is_set(g, x), ends = block_ends(g, mask), total = last_of(g, ends);
    tn_emit1(g, TN_OP_SIZE, &(tn_attrs_size){.count = count, .most = tn_val_dim(g, x, 0), .fits = true}, 1, &total);
    const tn_val y = tn_emit1(g, TN_OP_COMPACT, &(tn_attrs_compact){.size = count}, 2, (const tn_val[]){mask, ends});
    tn_replace(g, tn_node_result(g, n, 0), y);
    return tn_erase(g, n);
}

/* ---- size -------------------------------------------------------------------------------------------------------- */

tn_status tn_fuse_prepare_size(tn_graph *g, tn_node n) {
    tn_attrs_size a = *TN_ATTRS_OF(g, n, size);
    const tn_val was = tn_node_input(g, n, 0);
    int64_t most = 0;
    if (a.fits) return tn_graph_status(g);
    if (!tn_dim_is_const(g, a.most, &most))
        return tn_graph_fail(g, TN_E_UNSUPPORTED, n, "give the symbols in it one size",
                             "size: how large it can be must be a number");
    tn_set_cursor(g, tn_cursor_before(g, n));
    const tn_val least = tn_emit_int(g, TN_I64, 0), top = tn_emit_int(g, TN_I64, most);
    tn_val v = tn_binary(g, TN_OP_MIN, tn_binary(g, TN_OP_MAX, was, least), top);
    a.fits = true;
    v = tn_emit1(g, TN_OP_SIZE, &a, 2, (const tn_val[]){v, was});
    tn_replace(g, tn_node_result(g, n, 0), v);
    return tn_erase(g, n);
}

/* ---- who needs which size ---------------------------------------------------------------------------------------- */

typedef struct needed {
    tn_graph *g;
    tn_made_sizes s;
} needed;

static void refuse_more(needed *k) {
    if (k->s.full && tn_graph_status(k->g) == TN_OK)
        tn_graph_fail(k->g, TN_E_UNSUPPORTED, (tn_node){0}, "",
                      "a kernel that depends on more than %d sizes that data makes", TN_MADE_MOST);
}

static void need(needed *k, tn_dim d) {
    tn_made_put(k->g, &k->s, d);
    refuse_more(k);
}

static void need_type(needed *k, tn_val v) {
    tn_made_put_type(k->g, &k->s, v);
    refuse_more(k);
}

/* Attributes say no more than types, but where a slice starts and what is padded. */
static void need_node(needed *k, tn_node n) {
    for (size_t i = 0; i < tn_node_result_count(k->g, n); i++) need_type(k, tn_node_result(k->g, n, i));
    if (tn_node_op(k->g, n) == TN_OP_SLICE)
        for (uint32_t i = 0; i < TN_ATTRS_OF(k->g, n, slice)->starts.n; i++)
            need(k, TN_ATTRS_OF(k->g, n, slice)->starts.p[i]);
    if (tn_node_op(k->g, n) == TN_OP_PAD)
        for (uint32_t i = 0; i < TN_ATTRS_OF(k->g, n, pad)->before.n; i++) {
            need(k, TN_ATTRS_OF(k->g, n, pad)->before.p[i]);
            need(k, TN_ATTRS_OF(k->g, n, pad)->after.p[i]);
        }
}

static tn_node maker_of(const tn_graph *g, tn_dim sym) {
    TN_FOR_NODES(g, tn_graph_body(g), n)
    if (tn_node_op(g, n) == TN_OP_SIZE && tn_node_makes(g, n).i == sym.i) return n;
    return (tn_node){0};
}

/* The value of a size: what the node that makes it gives. */
static tn_val value_of(tn_graph *g, tn_dim sym) {
    const tn_node n = maker_of(g, sym);
    if (n.i) return tn_node_result(g, n, 0);
    tn_graph_fail(g, TN_E_INTERNAL, (tn_node){0}, "", "no node makes the size %s", tn_dim_name(g, sym));
    return (tn_val){0};
}

tn_node tn_emit_kernel(tn_graph *g, const tn_attrs_kernel *a, size_t n, const tn_val *in, tn_region r) {
    needed k = {.g = g};
    tn_attrs_kernel told = *a;
    for (size_t i = 0; tn_graph_makes_sizes(g) && i < n; i++) need_type(&k, in[i]);
    if (tn_graph_makes_sizes(g)) TN_FOR_NODES(g, r, m) need_node(&k, m);
    if (!k.s.n) return tn_emit_regions(g, TN_OP_KERNEL, a, n, in, 1, &r);
    const tn_env *env = tn_graph_env(g);
    tn_val *all = tn_alloc(env, (n + k.s.n) * sizeof *all);
    if (!all) return tn_graph_fail(g, TN_E_MEMORY, (tn_node){0}, "", "out of memory"), (tn_node){0};
    if (n) memcpy(all, in, n * sizeof *all);
    for (size_t i = 0; i < k.s.n; i++) {
        all[n + i] = value_of(g, k.s.sym[i]);
        tn_region_add_arg(g, r, tn_val_type(g, all[n + i]), "");
    }
    told.sizes = (tn_dims){k.s.sym, k.s.n};
    const tn_node kernel = tn_emit_regions(g, TN_OP_KERNEL, &told, n + k.s.n, all, 1, &r);
    tn_free(env, all, (n + k.s.n) * sizeof *all);
    return kernel;
}

/* ---- conditions -------------------------------------------------------------------------------------------------- */

/* Nothing makes a size in d any more. */
static bool is_gone(const tn_graph *g, tn_dim d) {
    if (!tn_dim_is_made(g, d)) return false;
    if (tn_dim_kind_of(g, d) == TN_DIM_SYM) return !maker_of(g, d).i;
    return is_gone(g, tn_dim_lhs(g, d)) || is_gone(g, tn_dim_rhs(g, d));
}

/* Kernels rely on conditions.  One between sizes that data makes is known only after a run; where some size need only be
 * large enough, what is computed before that is wrong at worst, since memory is made for the most: the runtime tells.
 * Any other is refused. */
static tn_status check_condition(needed *k, const tn_condition *c) {
    char loc[256], a[96], b[96], text[400];
    if (!tn_dim_is_made(k->g, c->a) && !tn_dim_is_made(k->g, c->b)) return TN_OK;
    if (is_gone(k->g, c->a) || is_gone(k->g, c->b)) return TN_OK; /* with all that needed it */
    need(k, c->a);
    if (c->rel == TN_REL_AT_LEAST && !tn_dim_is_made(k->g, c->b)) return tn_graph_status(k->g);
    tn_loc_print(k->g, c->loc, loc, sizeof loc);
    tn_dim_print(k->g, c->a, a, sizeof a);
    tn_dim_print(k->g, c->b, b, sizeof b);
    tn_condition_print(c, a, b, text, sizeof text);
    return tn_graph_fail(k->g, TN_E_UNSUPPORTED, (tn_node){0}, "run the model with --device cpu",
                         "%s%s%s: sizes that depend on data must fit in a way that cannot be proved: %s", loc,
                         *loc ? ": " : "", c->what, text);
}

/* What the runtime is told of a size: what it was before it was cut to fit. */
static tn_val told_of(tn_graph *g, tn_dim sym) {
    const tn_val v = value_of(g, sym), was = v.i ? tn_node_input(g, tn_val_def(g, v), 1) : v;
    return was.i ? was : v;
}

/* ---- outputs ----------------------------------------------------------------------------------------------------- */

tn_status tn_fuse_tell_outputs(tn_graph *g) {
    needed k = {.g = g};
    tn_val values[TN_MADE_MOST];
    if (!tn_graph_makes_sizes(g) || tn_graph_told_sizes(g).n) return tn_graph_status(g);
    for (size_t i = 0; i < tn_graph_output_count(g); i++) need_type(&k, tn_graph_output(g, i));
    for (size_t i = 0; i < tn_condition_count(g); i++) {
        const tn_condition c = tn_condition_at(g, i);
        const tn_status s = check_condition(&k, &c);
        if (s != TN_OK) return s;
    }
    TN_FOR_NODES(g, tn_graph_body(g), n)
    if (tn_node_op(g, n) == TN_OP_SIZE && tn_node_input(g, n, 1).i) need(&k, tn_node_makes(g, n));
    for (size_t i = 0; i < k.s.n; i++) values[i] = told_of(g, k.s.sym[i]);
    if (!k.s.n || tn_graph_status(g) != TN_OK) return tn_graph_status(g);
    return tn_graph_tell_sizes(g, (tn_dims){k.s.sym, k.s.n}, values);
}
