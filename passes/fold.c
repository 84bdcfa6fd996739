/* fold.c: evaluates nodes whose operands are constants with the reference evaluator, and takes the branch of an `if`
 * whose condition is constant.
 *
 * A broadcast or iota is left symbolic while only elementwise and movement ops read it, since their kernels index it
 * for nothing, unless it is small.  Results above MAX_BYTES are never made.  What has been folded away is given back on the
 * way, so that weights are in memory about once. */
#include "ir/eval/eval.h"
#include "passes/rule.h"
#include "passes/util.h"

tn_status tn_pass_fold(tn_graph *g, tn_pass_ctx *ctx);

enum { MAX_BYTES = 256 << 20, SMALL_BYTES = 4096, MAX_OUT = 16, DROP_BYTES = 64 << 20 };

static bool constant_operands(const tn_graph *g, tn_node n) {
    for (size_t k = 0; k < tn_node_input_count(g, n); k++) {
        tn_val v = tn_node_input(g, n, k);
        if (v.i && !tn_is_const(g, v)) return false;
    }
    return true;
}

/* Bytes of all results; false where a shape is symbolic or they are too large. */
static bool result_bytes(const tn_graph *g, tn_node n, size_t *bytes) {
    *bytes = 0;
    for (size_t k = 0; k < tn_node_result_count(g, n); k++) {
        int64_t count;
        tn_val v = tn_node_result(g, n, k);
        if (!tn_static_numel(g, v, &count)) return false;
        size_t b = tn_dtype_bytes(tn_val_dtype(g, v), (uint64_t)count);
        if (b > MAX_BYTES || (*bytes += b) > MAX_BYTES) return false;
    }
    return true;
}

typedef struct folding {
    tn_folder *folder;
    bool any;
    size_t read; /* bytes of constants that may have become useless */
} folding;

/* Does a user need the elements in memory? */
static bool wanted_in_memory(const tn_graph *g, tn_node n) {
    for (tn_use u = tn_val_first_use(g, tn_node_result(g, n, 0)); u.i; u = tn_use_next(g, u)) {
        tn_op op = tn_node_op(g, tn_use_node(g, u));
        if (!tn_op_is(op, TN_T_ELEMENTWISE) && !tn_op_is(op, TN_T_TERMINATOR)) return true;
    }
    return false;
}

static bool foldable(const tn_graph *g, tn_node n) {
    tn_op op = tn_node_op(g, n);
    size_t bytes, count = tn_node_result_count(g, n);
    if (op == TN_OP_CONST || tn_op_is(op, TN_T_EFFECT | TN_T_REGIONS)) return false;
    if (count == 0 || count > MAX_OUT || !constant_operands(g, n) || !result_bytes(g, n, &bytes)) return false;
    if (op != TN_OP_BROADCAST && op != TN_OP_IOTA) return tn_node_input_count(g, n) > 0;
    return bytes <= SMALL_BYTES || wanted_in_memory(g, n);
}

/* A movement of one constant keeps its name: it is still the user's weight. */
static const char *name_for(const tn_graph *g, tn_node n) {
    if (tn_node_input_count(g, n) != 1 || !tn_node_input(g, n, 0).i) return NULL;
    if (!tn_op_is(tn_node_op(g, n), TN_T_MOVEMENT) && tn_node_op(g, n) != TN_OP_CAST) return NULL;
    const char *name = TN_ATTRS_OF(g, tn_val_def(g, tn_node_input(g, n, 0)), const)->name;
    return name && name[0] ? name : NULL;
}

static void fold_node(tn_graph *g, tn_folder *folder, tn_node n) {
    tn_tensor out[MAX_OUT] = {{0}};
    size_t count = tn_node_result_count(g, n);
    if (tn_folder_eval(folder, n, out, count) != TN_OK) return;
    tn_cursor former = tn_set_cursor(g, tn_cursor_before(g, n));
    for (size_t k = 0; k < count; k++) {
        tn_val old = tn_node_result(g, n, k);
        const size_t bytes = out[k].bytes;
        tn_val c =
            tn_const(g, tn_val_type(g, old), tn_blob_adopt(g, out[k].data, bytes, bytes ? bytes : 1), name_for(g, n));
        if (c.i) tn_replace(g, old, c);
    }
    tn_set_cursor(g, former);
    if (tn_graph_status(g) == TN_OK) tn_reap(g, tn_node_result(g, n, 0));
}

/* if (constant): the branch taken moves in front, its yielded values replace the results. */
static void take_branch(tn_graph *g, tn_node n) {
    tn_take_region(g, n, tn_const_get_int(g, tn_node_input(g, n, 0), 0) != 0 ? 0 : 1);
}

static bool branch_known(const tn_graph *g, tn_node n) {
    if (tn_node_op(g, n) != TN_OP_IF || tn_node_subregion_count(g, n) != 2) return false;
    if (!tn_is_const(g, tn_node_input(g, n, 0))) return false;
    const void *data = tn_const_data(g, tn_node_input(g, n, 0));
    tn_node last = tn_region_last(g, tn_node_subregion(g, n, data && tn_load_int(TN_BOOL, data, 0) ? 0 : 1));
    if (!data || !last.i || tn_node_input_count(g, last) != tn_node_result_count(g, n)) return false;
    for (size_t k = 0; k < tn_node_result_count(g, n); k++)
        if (!tn_same_type(g, tn_node_result(g, n, k), tn_node_input(g, last, k))) return false;
    return true;
}

/* Of the constants that n reads. */
static size_t bytes_at(const tn_graph *g, tn_node n) {
    size_t bytes = 0;
    for (size_t k = 0; k < tn_node_input_count(g, n); k++)
        if (tn_node_input(g, n, k).i)
            bytes += tn_blob_size(g, TN_ATTRS_OF(g, tn_val_def(g, tn_node_input(g, n, k)), const)->data);
    return bytes;
}

/* size of a constant: the symbol is that number. */
static bool size_known(const tn_graph *g, tn_node n, int64_t *size) {
    int64_t most;
    if (tn_node_op(g, n) != TN_OP_SIZE || !tn_is_const(g, tn_node_input(g, n, 0))) return false;
    *size = tn_const_get_int(g, tn_node_input(g, n, 0), 0);
    return *size >= 0 && tn_dim_is_const(g, TN_ATTRS_OF(g, n, size)->most, &most) && *size <= most;
}

static void take_size(tn_graph *g, tn_node n, int64_t size) {
    const tn_dim sym = tn_node_makes(g, n);
    tn_replace(g, tn_node_result(g, n, 0), tn_node_input(g, n, 0));
    if (tn_erase(g, n) == TN_OK) tn_dim_bind(g, sym, tn_dim_const(g, size));
}

static void fold_region(tn_graph *g, tn_pass_ctx *ctx, folding *f, tn_region r) {
    tn_node next;
    int64_t size;
    for (tn_node n = tn_region_first(g, r); n.i && tn_graph_status(g) == TN_OK; n = next) {
        next = tn_node_next(g, n);
        if (branch_known(g, n)) {
            if (!tn_pass_may_rewrite(ctx, "if_const")) return;
            tn_node before = tn_node_prev(g, n);
            take_branch(g, n);
            f->any = true;
            next = before.i ? tn_node_next(g, before) : tn_region_first(g, r);
        } else if (size_known(g, n, &size)) {
            if (!tn_pass_may_rewrite(ctx, "size_const")) return;
            take_size(g, n, size);
            f->any = true;
        } else if (!tn_op_is(tn_node_op(g, n), TN_T_DYNAMIC) && foldable(g, n)) {
            if (!tn_pass_may_rewrite(ctx, "fold")) return;
            f->read += bytes_at(g, n);
            fold_node(g, f->folder, n);
            f->any = true;
            if (f->read > DROP_BYTES) tn_graph_drop_blobs(g), f->read = 0;
        } else if (tn_node_op(g, n) != TN_OP_KERNEL) {
            for (size_t k = 0; k < tn_node_subregion_count(g, n); k++)
                fold_region(g, ctx, f, tn_node_subregion(g, n, k));
        }
    }
}

tn_status tn_pass_fold(tn_graph *g, tn_pass_ctx *ctx) {
    tn_env quiet = tn_graph_env(g) ? *tn_graph_env(g) : (tn_env){0};
    quiet.diag = NULL; /* what cannot be evaluated is left, and reported when it runs */
    folding f = {.folder = tn_folder_new(&quiet, g)};
    if (f.folder)
        fold_region(g, ctx, &f, tn_graph_body(g));
    else
        tn_graph_fail(g, TN_E_MEMORY, (tn_node){0}, "", "out of memory while folding constants");
    tn_folder_free(f.folder);
    if (f.any) tn_graph_drop_blobs(g);
    return f.any ? tn_graph_collect_conditions(g) : tn_graph_status(g); /* indices may be known now; branches, taken */
}
