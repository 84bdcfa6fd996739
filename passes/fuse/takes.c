/* takes.c: what a kernel may compute of an operand instead of reading it: index arithmetic of movement, weights of few bits, and what an
 * anchor's load or an epilogue has room for.  See fuse.c, whose third walk asks. */
#include "passes/fuse/fuse.h"
#include "passes/memory/views.h"
#include "passes/util.h"

/* What lies behind the axis, or where it starts, depends on data: where its elements lie only the device knows. */
static bool starts_by_data(const tn_graph *g, tn_val x, size_t axis, tn_dim start) {
    if (tn_dim_equal_const(g, start, 0)) return false;
    bool made = tn_dim_is_made(g, start);
    for (size_t k = axis + 1; k < tn_val_rank(g, x); k++) made |= tn_dim_is_made(g, tn_val_dim(g, x, k));
    return made;
}

/* A slice that can be a view. */
bool tn_fuse_unit_slice(const tn_graph *g, tn_node n) {
    if (tn_node_op(g, n) != TN_OP_SLICE || tn_fuse_shares_bytes(g, tn_node_result(g, n, 0))) return false;
    const tn_attrs_slice *a = TN_ATTRS_OF(g, n, slice);
    for (uint32_t k = 0; k < a->starts.n; k++)
        if (starts_by_data(g, tn_node_input(g, n, 0), k, a->starts.p[k])) return false;
    tn_ints steps = TN_ATTRS_OF(g, n, slice)->steps;
    for (uint32_t k = 0; k < steps.n; k++)
        if (steps.p[k] != 1) return false;
    return true;
}

/* True for Fourier transforms, which read and write an axis wherever it lies, for attention, and for matmuls that the tensor-core kernel
 * computes: these copy 16-byte chunks from wherever index arithmetic says. Plain float32 goes to a library that wants its operands as they stand. */
bool tn_fuse_addresses_freely(const tn_graph *g, tn_node n) {
    if (tn_node_op(g, n) == TN_OP_ATTENTION || tn_node_op(g, n) == TN_OP_DFT) return true;
    if (tn_node_op(g, n) != TN_OP_MATMUL) return false;
    tn_dtype t = tn_val_dtype(g, tn_node_input(g, n, 0));
    const char *math = TN_ATTRS_OF(g, n, matmul)->math;
    return t == TN_F16 || t == TN_BF16 || (t == TN_F32 && tn_str_is(math, "tf32")) || tn_str_is(math, "i32");
}

/* A transpose after which rows are still contiguous: the last axis stays one of the last `among`. */
bool tn_fuse_keeps_rows(const tn_graph *g, tn_node n, uint32_t among) {
    if (tn_node_op(g, n) != TN_OP_TRANSPOSE) return false;
    tn_perm p = tn_perm_of(g, n);
    for (uint32_t k = p.n > among ? p.n - among : 0; k < p.n; k++)
        if (p.p[k] == (int64_t)p.n - 1) return true;
    return false;
}

/* True if v is in memory whatever this walk decides: views of such values will be views. */
bool tn_fuse_is_stored(const tn_fusion *f, tn_val v) {
    tn_node def = tn_val_def(f->g, v);
    while (def.i && tn_fuse_info(f, def)->kind == TN_FUSE_PULL && !tn_fuse_info(f, def)->group &&
           (tn_fuse_op(f, def) == TN_OP_RESHAPE || tn_fuse_unit_slice(f->g, def)))
        def = tn_val_def(f->g, tn_node_input(f->g, def, 0));
    return !def.i || tn_fuse_info(f, def)->kind != TN_FUSE_PULL || tn_fuse_info(f, def)->group;
}

bool tn_fuse_operands_stored(const tn_fusion *f, tn_node n) {
    for (size_t k = 0; k < tn_node_input_count(f->g, n); k++)
        if (tn_node_input(f->g, n, k).i && !tn_fuse_is_stored(f, tn_node_input(f->g, n, k))) return false;
    return true;
}

/* ---- what loads and epilogues compute ---- */

/* A convolution of 8-bit integers pads with any number as with zeros, if only rows and columns are padded. */
static bool pads_window(const tn_fusion *f, tn_node y, tn_node u, size_t slot) {
    const tn_graph *g = f->g;
    if (slot || tn_fuse_op(f, y) != TN_OP_PAD || tn_fuse_op(f, u) != TN_OP_CONV) return false;
    const tn_attrs_pad *a = TN_ATTRS_OF(g, y, pad);
    return tn_str_is(TN_ATTRS_OF(g, u, conv)->math, "i32") && tn_str_is(a->mode, "constant");
}

/* Made of constants alone, by what a load computes; *bytes is theirs. */
static bool is_of_constants(const tn_graph *g, tn_val v, int depth, double *bytes) {
    const tn_node n = v.i ? tn_val_def(g, v) : (tn_node){0};
    if (!n.i || depth < 0) return false;
    if (tn_node_op(g, n) == TN_OP_CONST) return *bytes += tn_typical_bytes(g, v), true;
    bool all = tn_op_is(tn_node_op(g, n), TN_T_INLINE) && tn_node_input_count(g, n);
    for (size_t k = 0; all && k < tn_node_input_count(g, n); k++)
        all = is_of_constants(g, tn_node_input(g, n, k), depth - 1, bytes);
    return all;
}

/* A weight of fewer bytes than what is computed of it (8 bits with a scale for 16 of them, or more, for 16), which a product's load
 * makes numbers of (frontend/onnx/quant/nbits.c): not for so many rows that each tile's doing it again costs more than to write them
 * down once, for kernels that copy what they multiply (an H200 at 4096 x 4096, 4 bits: 64 rows took 48 us in the load, 512 rows
 * written down first 45). */
bool tn_fuse_is_packed_weight(const tn_fusion *f, tn_node y, tn_node u, size_t slot) {
    enum { DEPTH = 16, MANY_ROWS = 64 };
    double bytes = 0;
    const tn_val v = tn_fuse_result(f, y), of = tn_node_input(f->g, u, 0);
    if (tn_fuse_info(f, u)->load) /* a part of one */
        return tn_val_has_one_use(f->g, v) && is_of_constants(f->g, v, DEPTH, &bytes);
    if (slot != 1 || tn_fuse_op(f, u) != TN_OP_MATMUL || !tn_val_rank(f->g, of)) return false;
    const double depth = (double)tn_dim_typical(f->g, tn_val_dim(f->g, of, tn_val_rank(f->g, of) - 1));
    return tn_typical_numel(f->g, of) < MANY_ROWS * depth && tn_val_has_one_use(f->g, v) && !tn_is_const(f->g, v) &&
           is_of_constants(f->g, v, DEPTH, &bytes) && 4 * bytes <= 3 * tn_typical_bytes(f->g, v);
}

/* The last axis of n's result is its operand's. */
static bool keeps_last(const tn_graph *g, tn_node n) {
    const tn_val x = tn_node_input(g, n, 0), y = tn_node_result(g, n, 0);
    const size_t rx = tn_val_rank(g, x), ry = tn_val_rank(g, y);
    return rx && ry && tn_val_dim(g, x, rx - 1).i == tn_val_dim(g, y, ry - 1).i;
}

/* Index arithmetic of attention's load, row by row: transposes, and heads that are repeated for a group.  What is repeated is
 * stored once, whoever computes it; else y's operand must be in memory anyway. */
static bool rows_of_stored(const tn_fusion *f, tn_node y) {
    enum { FAR = 8 };
    bool repeated = false;
    if (tn_fuse_op(f, y) == TN_OP_TRANSPOSE) return tn_fuse_keeps_rows(f->g, y, 1) && tn_fuse_operands_stored(f, y);
    for (int step = 0; step < FAR && (tn_fuse_op(f, y) == TN_OP_BROADCAST || tn_fuse_op(f, y) == TN_OP_RESHAPE);
         step++) {
        if (!keeps_last(f->g, y)) return false;
        repeated |= tn_fuse_op(f, y) == TN_OP_BROADCAST;
        if (repeated || tn_fuse_operands_stored(f, y)) return true;
        y = tn_val_def(f->g, tn_node_input(f->g, y, 0));
        if (!y.i) return true;
    }
    return tn_fuse_keeps_rows(f->g, y, 1) && tn_fuse_operands_stored(f, y);
}

/* Index arithmetic that a tensor-core matmul's load does: a transpose that keeps rows contiguous, or a reshape of one
 * that keeps them whole. */
bool tn_fuse_load_takes(const tn_fusion *f, tn_node y, tn_node u, size_t slot) {
    const tn_graph *g = f->g;
    if (tn_fuse_is_packed_weight(f, y, u, slot)) return true;
    if (tn_fuse_info(f, u)->load && f->group[tn_fuse_info(f, u)->group].anchor.i &&
        tn_fuse_op(f, f->group[tn_fuse_info(f, u)->group].anchor) == TN_OP_ATTENTION)
        return rows_of_stored(f, y);
    if (tn_fuse_info(f, u)->load)
        return tn_fuse_op(f, u) == TN_OP_RESHAPE && tn_fuse_keeps_rows(g, y, 1) && tn_fuse_operands_stored(f, y);
    if (pads_window(f, y, u, slot)) return tn_fuse_operands_stored(f, y);
    if (tn_fuse_op(f, u) == TN_OP_ATTENTION) return slot <= 2 && rows_of_stored(f, y);
    if (slot > 1 || tn_fuse_info(f, u)->kind != TN_FUSE_ANCHOR || !tn_fuse_addresses_freely(g, u)) return false;
    if (tn_fuse_keeps_rows(g, y, 2)) return tn_fuse_operands_stored(f, y);
    if (tn_fuse_op(f, y) != TN_OP_RESHAPE) return false;
    tn_val in = tn_node_input(g, y, 0);
    tn_node def = tn_val_def(g, in);
    return keeps_last(g, y) && def.i && tn_val_has_one_use(g, in) && tn_fuse_keeps_rows(g, def, 1) &&
           tn_fuse_operands_stored(f, def);
}

bool tn_fuse_slot_takes(const tn_fusion *f, tn_node y, tn_node u, size_t slot, const char **why) {
    const tn_fuse_group *gr = &f->group[tn_fuse_info(f, u)->group];
    tn_op op = tn_fuse_op(f, y);
    bool movement = tn_op_is(op, TN_T_MOVEMENT);
    if (tn_fuse_load_takes(f, y, u, slot)) return true;
    *why = "its operands are copied as they stand";
    if (tn_fuse_info(f, u)->load) return false;
    if (tn_fuse_info(f, u)->kind == TN_FUSE_ANCHOR) {
        tn_role role = tn_fuse_role(tn_fuse_op(f, u));
        if (role == TN_ROLE_bare || slot != 0) return false;
        *why = "the window would compute it many times";
        return role == TN_ROLE_any || (tn_fuse_cost(op) <= TN_COST_SIMPLE && op != TN_OP_CONCAT);
    }
    *why = "the epilogue of a contraction reads operands in its own order";
    return !gr->anchor.i || !tn_fuse_is_contraction(tn_fuse_op(f, gr->anchor)) ||
           (!movement && tn_fuse_cost(op) <= TN_COST_FUNCTION) || op == TN_OP_BROADCAST;
}
