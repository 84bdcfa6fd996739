/* views.c: places values as views of blocks.
 *
 * Appends are placed first: where they are, the caller says.  Then two walks.  Backward: concats claim their operands,
 * outermost first, so that a claimed concat knows its place before it hands places to its own operands, and results of a
 * branch claim what its regions yield.  Forward: what nobody claimed is a root, or a view of its operand.  A chain of
 * views therefore goes forward to earlier values and then back to a later concat, never forward again: no cycles. */
#include <string.h>
#include "passes/fuse/fuse.h"
#include "passes/util.h"
#include "passes/memory/views.h"

/* ---- strides --------------------------------------------------------------------------------------------------- */

void tn_dense_strides(tn_graph *g, size_t rank, const tn_dim *dims, tn_dim *out) {
    tn_dim s = tn_dim_const(g, 1);
    for (size_t k = rank; k-- > 0;) {
        out[k] = s;
        s = tn_dim_mul(g, s, dims[k]);
    }
}

bool tn_is_dense(tn_graph *g, size_t rank, const tn_dim *dims, const tn_dim *strides) {
    tn_dim s = tn_dim_const(g, 1);
    for (size_t k = rank; k-- > 0;) {
        if (tn_dim_equal_const(g, dims[k], 1)) continue;
        if (strides[k].i != s.i) return false;
        s = tn_dim_mul(g, s, dims[k]);
    }
    return true;
}

/* Axes whose size is not 1. */
typedef struct axes {
    size_t n;
    tn_dim dims[TN_MAX_RANK], strides[TN_MAX_RANK];
    size_t axis[TN_MAX_RANK];
} axes;

static axes squeeze(const tn_graph *g, size_t rank, const tn_dim *dims, const tn_dim *strides) {
    axes a = {.n = 0};
    for (size_t k = 0; k < rank; k++) {
        if (tn_dim_equal_const(g, dims[k], 1)) continue;
        a.dims[a.n] = dims[k];
        if (strides) a.strides[a.n] = strides[k];
        a.axis[a.n++] = k;
    }
    return a;
}

/* The shortest runs a[0..*na), b[0..*nb) with equal products. */
static bool next_group(tn_graph *g, const tn_dim *a, size_t n_a, const tn_dim *b, size_t n_b, size_t *na, size_t *nb) {
    for (size_t total = 2; total <= n_a + n_b; total++)
        for (size_t x = 1; x < total && x <= n_a; x++) {
            size_t y = total - x;
            if (y > n_b) continue;
            tn_dim pa = a[0], pb = b[0];
            for (size_t k = 1; k < x; k++) pa = tn_dim_mul(g, pa, a[k]);
            for (size_t k = 1; k < y; k++) pb = tn_dim_mul(g, pb, b[k]);
            if (pa.i != pb.i) continue;
            *na = x;
            *nb = y;
            return true;
        }
    return false;
}

bool tn_reshape_strides(tn_graph *g, size_t from_rank, const tn_dim *from, const tn_dim *strides, size_t to_rank,
                        const tn_dim *to, tn_dim *out) {
    tn_dense_strides(g, to_rank, to, out);
    if (tn_is_dense(g, from_rank, from, strides)) return true;
    axes a = squeeze(g, from_rank, from, strides), b = squeeze(g, to_rank, to, NULL);
    size_t i = 0, j = 0;
    while (i < a.n && j < b.n) {
        size_t na, nb;
        if (!next_group(g, a.dims + i, a.n - i, b.dims + j, b.n - j, &na, &nb)) return false;
        for (size_t k = i; k + 1 < i + na; k++)
            if (a.strides[k].i != tn_dim_mul(g, a.strides[k + 1], a.dims[k + 1]).i) return false;
        tn_dim s = a.strides[i + na - 1];
        for (size_t k = j + nb; k-- > j;) {
            out[b.axis[k]] = s;
            s = tn_dim_mul(g, s, b.dims[k]);
        }
        i += na;
        j += nb;
    }
    return i == a.n && j == b.n;
}

bool tn_split_rows(tn_graph *g, size_t rank, const tn_dim *dims, const tn_dim *strides, tn_dim *run, tn_dim *pitch) {
    const axes a = squeeze(g, rank, dims, strides);
    const tn_dim one = tn_dim_const(g, 1);
    for (size_t k = a.n; k > 0; k--) { /* axes from k on are in a row */
        bool even = !tn_dim_equal_const(g, a.strides[k - 1], 0);
        for (size_t i = 0; even && i + 1 < k; i++)
            even = a.strides[i].i == tn_dim_mul(g, a.strides[i + 1], a.dims[i + 1]).i;
        if (!even) continue;
        *run = one;
        for (size_t i = k; i < a.n; i++)
            *run = tn_dim_add(g, *run, tn_dim_mul(g, tn_dim_sub(g, a.dims[i], one), a.strides[i]));
        *run = tn_dim_max(g, *run, tn_dim_const(g, 0));
        *pitch = a.strides[k - 1];
        return true;
    }
    return false;
}

/* ---- placing --------------------------------------------------------------------------------------------------- */

static bool grow(const tn_graph *g, tn_views *v) {
    uint32_t want = tn_graph_val_limit(g);
    if (want <= v->n) return true;
    uint32_t room = want + want / 4 + 16;
    tn_view *p = tn_realloc(tn_graph_env(g), v->of, v->n * sizeof *p, room * sizeof *p);
    if (!p) return false;
    memset(p + v->n, 0, (room - v->n) * sizeof *p);
    v->of = p;
    v->n = room;
    return true;
}

void tn_views_free(const tn_graph *g, tn_views *v) {
    tn_free(tn_graph_env(g), v->of, v->n * sizeof *v->of);
    *v = (tn_views){0};
}

static size_t rank_of(const tn_graph *g, tn_val v) {
    return tn_type_rank(g, tn_val_type(g, v));
}
static const tn_dim *dims_of(const tn_graph *g, tn_val v) {
    return tn_type_dims(g, tn_val_type(g, v));
}

static void place_root(tn_graph *g, tn_views *v, tn_val x) {
    tn_view *w = &v->of[x.i];
    w->root = x;
    w->offset = tn_dim_const(g, 0);
    w->output = -1;
    tn_dense_strides(g, rank_of(g, x), dims_of(g, x), w->strides);
}

tn_val tn_emit_copy(tn_graph *g, tn_val x) {
    tn_region r = tn_region_new(g);
    tn_val arg = tn_region_add_arg(g, r, tn_val_type(g, x), "");
    tn_cursor saved = tn_get_cursor(g);
    tn_set_cursor(g, (tn_cursor){.region = r, .loc = saved.loc});
    tn_emit(g, TN_OP_YIELD, NULL, 1, &arg);
    tn_set_cursor(g, saved);
    tn_attrs_kernel a = {.anchor = tn_intern(g, "map"), .name = tn_intern(g, "copy")};
    return tn_node_result(g, tn_emit_kernel(g, &a, 1, &x, r), 0);
}

/* Puts a copy between operand k of n and n; the copy is placed as a root. */
static tn_status copy_operand(tn_graph *g, tn_views *v, tn_node n, size_t k) {
    tn_set_cursor(g, tn_cursor_before(g, n));
    tn_val copy = tn_emit_copy(g, tn_node_input(g, n, k));
    tn_set_input(g, n, k, copy);
    if (tn_graph_status(g) != TN_OK) return tn_graph_status(g);
    if (!grow(g, v)) return tn_graph_fail(g, TN_E_MEMORY, n, "", "out of memory");
    place_root(g, v, copy);
    return TN_OK;
}

/* Whether what is written there stays in what is appended of each row of the caller's buffer, and can be said to. */
static bool lies_in_rows(tn_graph *g, tn_val x, const tn_view *where) {
    const tn_node append = tn_val_def(g, where->root);
    if (!append.i || tn_node_op(g, append) != TN_OP_APPEND) return true;
    const tn_attrs_append *a = TN_ATTRS_OF(g, append, append);
    tn_dim strides[TN_MAX_RANK], run, pitch;
    if (!a->capacity) return true;
    tn_shared_strides(g, where->root, strides);
    return tn_split_rows(g, rank_of(g, x), dims_of(g, x), where->strides, &run, &pitch) &&
           pitch.i == tn_dim_mul(g, strides[a->axis], tn_dim_const(g, a->capacity)).i;
}

/* The same of all that a concat would be written in. */
static bool stays_in_rows(tn_graph *g, tn_val x, const tn_view *where) {
    const tn_node def = tn_val_def(g, x);
    bool all = lies_in_rows(g, x, where);
    for (size_t k = 0; all && tn_node_op(g, def) == TN_OP_CONCAT && k < tn_node_input_count(g, def); k++)
        all = lies_in_rows(g, tn_node_input(g, def, k), where);
    return all;
}

/* Places x, and through reshapes what x is a reshape of, where a concat of region r, or what r yields to, wants it; false
 * if that cannot be. */
static bool claim(tn_graph *g, tn_views *v, tn_region r, tn_val x, const tn_view *where) {
    tn_view place[64];
    tn_val chain[64];
    size_t n = 0;
    chain[0] = x;
    place[0] = *where;
    for (;;) {
        tn_node def = tn_val_def(g, chain[n]);
        if (!def.i || tn_node_region(g, def).i != r.i || v->of[chain[n].i].root.i) return false;
        tn_op op = tn_node_op(g, def);
        if (op == TN_OP_KERNEL || op == TN_OP_CONCAT || op == TN_OP_IF) break;
        if (op != TN_OP_RESHAPE || n + 1 == sizeof chain / sizeof chain[0]) return false;
        tn_val in = tn_node_input(g, def, 0);
        place[n + 1] = place[n];
        if (!tn_reshape_strides(g, rank_of(g, chain[n]), dims_of(g, chain[n]), place[n].strides, rank_of(g, in),
                                dims_of(g, in), place[n + 1].strides))
            return false;
        chain[++n] = in;
    }
    if (!stays_in_rows(g, chain[n], &place[n])) return false;
    for (size_t k = 0; k <= n; k++) v->of[chain[k].i] = place[k];
    return true;
}

/* Puts operand k of n where n's result has it, from `at` on along the axis. */
static tn_status place_part(tn_graph *g, tn_views *v, tn_node n, size_t k, size_t axis, tn_dim at) {
    tn_view where = v->of[tn_node_result(g, n, 0).i];
    where.output = -1;
    where.offset = tn_dim_add(g, where.offset, tn_dim_mul(g, at, where.strides[axis]));
    if (claim(g, v, tn_node_region(g, n), tn_node_input(g, n, k), &where)) return TN_OK;
    tn_status s = copy_operand(g, v, n, k);
    if (s == TN_OK) v->of[tn_node_input(g, n, k).i] = where;
    return s;
}

static tn_status place_concat(tn_graph *g, tn_views *v, tn_node n) {
    tn_val out = tn_node_result(g, n, 0);
    size_t axis = (size_t)TN_ATTRS_OF(g, n, axis)->axis;
    if (!v->of[out.i].root.i) place_root(g, v, out);
    tn_dim at = tn_dim_const(g, 0);
    for (size_t k = 0; k < tn_node_input_count(g, n); k++) {
        tn_status s = place_part(g, v, n, k, axis, at);
        if (s != TN_OK) return s;
        at = tn_dim_add(g, at, tn_val_dim(g, tn_node_input(g, n, k), axis));
    }
    return tn_graph_status(g);
}

/* Input and output are two values in one buffer, each its own root; what is appended is written behind the input. */
static tn_status place_append(tn_graph *g, tn_views *v, tn_node n) {
    const tn_val x = tn_node_input(g, n, 0), y = tn_node_result(g, n, 0);
    tn_shared s;
    if (!tn_shared_of(g, y, &s)) return tn_graph_fail(g, TN_E_INTERNAL, n, "", "it appends to what is no input");
    place_root(g, v, x);
    place_root(g, v, y);
    tn_shared_strides(g, y, v->of[x.i].strides);
    tn_shared_strides(g, y, v->of[y.i].strides);
    v->of[y.i].output = (int32_t)s.output;
    return place_part(g, v, n, 1, s.axis, tn_val_dim(g, x, s.axis));
}

static void place_slice(tn_graph *g, tn_views *v, tn_node n) {
    tn_val in = tn_node_input(g, n, 0);
    const tn_attrs_slice *a = TN_ATTRS_OF(g, n, slice);
    tn_view w = v->of[in.i];
    w.output = -1;
    for (size_t k = 0; k < rank_of(g, in); k++)
        w.offset = tn_dim_add(g, w.offset, tn_dim_mul(g, a->starts.p[k], w.strides[k]));
    v->of[tn_node_result(g, n, 0).i] = w;
}

static tn_status place_reshape(tn_graph *g, tn_views *v, tn_node n) {
    tn_val out = tn_node_result(g, n, 0);
    if (v->of[out.i].root.i) return TN_OK; /* claimed */
    tn_val in = tn_node_input(g, n, 0);
    tn_view w = v->of[in.i];
    if (!tn_reshape_strides(g, rank_of(g, in), dims_of(g, in), w.strides, rank_of(g, out), dims_of(g, out),
                            v->of[out.i].strides)) {
        tn_status s = copy_operand(g, v, n, 0);
        if (s != TN_OK) return s;
        w = v->of[tn_node_input(g, n, 0).i];
        tn_dense_strides(g, rank_of(g, out), dims_of(g, out), v->of[out.i].strides);
    }
    v->of[out.i].root = w.root;
    v->of[out.i].offset = w.offset;
    v->of[out.i].output = -1;
    return TN_OK;
}

/* ---- operands of tensor-core kernels --------------------------------------------------------------------------- */

enum { COPY_BYTES = 1 << 18 }; /* smaller operands are cheaper to load slowly than to copy first */

/* Asynchronous copies move 16 bytes: the first element, and every step but the innermost, must be a multiple of
 * that. */
static bool aligned(tn_graph *g, tn_val x, tn_dim offset, const tn_dim *strides) {
    const tn_dim *dims = dims_of(g, x);
    int64_t bits = (int64_t)tn_dtype_bits(tn_val_dtype(g, x));
    if ((tn_dim_divisor(g, offset) * bits) % 128) return false;
    bool inner = true;
    for (size_t k = rank_of(g, x); k-- > 0;) {
        if (tn_dim_equal_const(g, dims[k], 1)) continue;
        if (inner ? !tn_dim_equal_const(g, strides[k], 1) : (tn_dim_divisor(g, strides[k]) * bits) % 128) return false;
        inner = false;
    }
    return true;
}

/* True if x is off its alignment, a copy would not be, and x is large enough for that to matter. */
static bool wants_copy(tn_graph *g, const tn_views *v, tn_val x) {
    const tn_view *w = &v->of[x.i];
    tn_dim dense[TN_MAX_RANK];
    if (tn_typical_bytes(g, x) < COPY_BYTES || aligned(g, x, w->offset, w->strides)) return false;
    tn_dense_strides(g, rank_of(g, x), dims_of(g, x), dense);
    return aligned(g, x, tn_dim_const(g, 0), dense);
}

static tn_status align_operands(tn_graph *g, tn_views *v, tn_node n) {
    const char *anchor = TN_ATTRS_OF(g, n, kernel)->anchor;
    if (!tn_str_is(anchor, "matmul") && !tn_str_is(anchor, "conv")) return TN_OK;
    tn_region r = tn_node_subregion(g, n, 0);
    TN_FOR_NODES(g, r, inner) {
        tn_op op = tn_node_op(g, inner);
        if (op != TN_OP_MATMUL && op != TN_OP_CONV) continue;
        for (size_t k = 0; k < 2; k++) {
            tn_val arg = tn_node_input(g, inner, k);
            if (tn_val_arg_of(g, arg).i != r.i) continue;
            size_t slot = tn_val_index(g, arg);
            if (!wants_copy(g, v, tn_node_input(g, n, slot))) continue;
            tn_status s = copy_operand(g, v, n, slot);
            if (s != TN_OK) return s;
        }
    }
    return TN_OK;
}

/* ---- outputs --------------------------------------------------------------------------------------------------- */

/* Gives the root of x the buffer of output k, if x is all of a block that some kernel writes. */
static bool own_output(tn_graph *g, tn_views *v, tn_val x, int32_t k) {
    tn_view *w = &v->of[x.i], *root = &v->of[w->root.i];
    tn_node def = tn_val_def(g, w->root);
    const tn_op op = def.i ? tn_node_op(g, def) : TN_OP_NONE;
    if ((op != TN_OP_KERNEL && op != TN_OP_CONCAT && !tn_is_control(op)) || root->output >= 0) return false;
    if (!tn_dim_equal_const(g, w->offset, 0) || !tn_is_dense(g, rank_of(g, x), dims_of(g, x), w->strides)) return false;
    if (tn_type_numel(g, tn_val_type(g, x)).i != tn_type_numel(g, tn_val_type(g, w->root)).i) return false;
    root->output = k;
    return true;
}

static tn_status place_outputs(tn_graph *g, tn_views *v, tn_node ret) {
    for (size_t k = 0; k < tn_node_input_count(g, ret); k++) {
        const tn_val x = tn_node_input(g, ret, k);
        const bool is_there = v->of[x.i].root.i == x.i && v->of[x.i].output == (int32_t)k; /* appended */
        if (is_there || own_output(g, v, x, (int32_t)k)) continue;
        tn_status s = copy_operand(g, v, ret, k);
        if (s != TN_OK) return s;
        v->of[tn_node_input(g, ret, k).i].output = (int32_t)k;
    }
    return TN_OK;
}

/* ---- branches and loops ---------------------------------------------------------------------------------------- */

static bool same_place(const tn_views *v, tn_val a, tn_val b) {
    return v->of[a.i].root.i == v->of[b.i].root.i && v->of[a.i].offset.i == v->of[b.i].offset.i;
}

static bool is_copyable(tn_graph *g, const tn_views *v, tn_val x) {
    const tn_view *w = &v->of[x.i];
    return tn_is_dense(g, rank_of(g, x), dims_of(g, x), w->strides) &&
           (tn_dtype_bits(tn_val_dtype(g, x)) % 8 == 0 || tn_dim_equal_const(g, w->offset, 0));
}

/* What a branch yields is written straight into the result where it may be. */
static void claim_branch(tn_graph *g, tn_views *v, tn_node n) {
    for (size_t k = 0; k < tn_node_result_count(g, n); k++) {
        const tn_val out = tn_node_result(g, n, k);
        if (!v->of[out.i].root.i) place_root(g, v, out);
        for (size_t i = 0; i < tn_node_subregion_count(g, n); i++) {
            const tn_region r = tn_node_subregion(g, n, i);
            claim(g, v, r, tn_node_input(g, tn_region_last(g, r), k), &v->of[out.i]);
        }
    }
}

/* n, or its owner in region r, stands before `at`. */
static bool stands_before(const tn_graph *g, tn_region r, tn_node n, tn_node at) {
    while (n.i && tn_node_region(g, n).i != r.i) n = tn_region_owner(g, tn_node_region(g, n));
    for (n = n.i ? tn_node_next(g, n) : n; n.i; n = tn_node_next(g, n))
        if (n.i == at.i) return true;
    return false;
}

/* Who reads v, or a view of it, stands before the kernel, or is it and may write x over v itself. */
static bool dies_at(const tn_graph *g, tn_region r, tn_val v, tn_node kernel, tn_val x, bool is_view) {
    bool ok = true;
    for (tn_use u = tn_val_first_use(g, v); ok && u.i; u = tn_use_next(g, u)) {
        const tn_node n = tn_use_node(g, u);
        const tn_op op = tn_node_op(g, n);
        if (n.i == kernel.i)
            ok = !is_view && tn_may_overwrite(g, kernel, tn_use_slot(g, u), x);
        else
            ok = stands_before(g, r, n, kernel);
        if (ok && (op == TN_OP_RESHAPE || op == TN_OP_SLICE))
            ok = dies_at(g, r, tn_node_result(g, n, 0), kernel, x, true);
    }
    return ok;
}

/* What the iteration yields as x may be written over what it was given as arg. */
static bool may_replace(const tn_graph *g, tn_region r, tn_val arg, tn_val x) {
    const tn_node def = tn_val_def(g, x);
    if (!tn_val_first_use(g, arg).i) return true;
    return def.i && tn_node_op(g, def) == TN_OP_KERNEL && tn_node_region(g, def).i == r.i &&
           dies_at(g, r, arg, def, x, false);
}

/* A carried value has one block, before, in and after the loop.  What it begins with is written there where nothing else
 * uses that; what an iteration yields, where what the one before gave is no longer needed. */
static void claim_loop(tn_graph *g, tn_views *v, tn_node n) {
    const tn_region r = tn_node_subregion(g, n, 0);
    const tn_node yield = tn_region_last(g, r);
    place_root(g, v, tn_region_arg(g, r, 0)); /* which nobody reads: fuse/loop.c */
    for (size_t k = 1; k < tn_node_input_count(g, n); k++) {
        const tn_val arg = tn_region_arg(g, r, k), in = tn_node_input(g, n, k);
        const tn_val block = k < 2 ? arg : tn_node_result(g, n, k - 2);
        place_root(g, v, block);
        v->of[arg.i] = v->of[block.i];
        const tn_val x = tn_node_input(g, yield, k - 1);
        if (may_replace(g, r, arg, x)) claim(g, v, r, x, &v->of[block.i]);
        if (in.i && tn_val_has_one_use(g, in) && !tn_is_op(g, in, TN_OP_RESHAPE))
            claim(g, v, tn_node_region(g, n), in, &v->of[block.i]);
    }
}

/* Operand k of n in a form that can be copied to where `to` lies, which a step of the program does, or there already. */
static tn_status bring(tn_graph *g, tn_views *v, tn_node n, size_t k, tn_val to) {
    const tn_val x = tn_node_input(g, n, k);
    if (same_place(v, x, to) || (is_copyable(g, v, x) && is_copyable(g, v, to))) return TN_OK;
    tn_status s = copy_operand(g, v, n, k);
    if (s == TN_OK) v->of[tn_node_input(g, n, k).i] = v->of[to.i];
    return s;
}

static tn_status end_branch(tn_graph *g, tn_views *v, tn_node owner, tn_node yield) {
    tn_status s = TN_OK;
    for (size_t k = 0; s == TN_OK && k < tn_node_result_count(g, owner); k++)
        s = bring(g, v, yield, k, tn_node_result(g, owner, k));
    return s;
}

static tn_status begin_loop(tn_graph *g, tn_views *v, tn_node n) {
    tn_status s = TN_OK;
    for (size_t k = 1; s == TN_OK && k < tn_node_input_count(g, n); k++)
        if (tn_node_input(g, n, k).i) s = bring(g, v, n, k, tn_region_arg(g, tn_node_subregion(g, n, 0), k));
    return s;
}

/* x lies in a block that the end of an iteration overwrites. */
static bool is_carried(const tn_graph *g, const tn_views *v, tn_region r, tn_val x) {
    for (size_t k = 1; k < tn_region_arg_count(g, r); k++)
        if (v->of[x.i].root.i == v->of[tn_region_arg(g, r, k).i].root.i) return true;
    return false;
}

/* What is yielded is copied into the carried values' blocks at the end of an iteration, one after the other: none of it
 * may lie in one of them, but what is there already. */
static tn_status end_loop(tn_graph *g, tn_views *v, tn_region r, tn_node yield) {
    tn_status s = TN_OK;
    for (size_t k = 0; s == TN_OK && k < tn_node_input_count(g, yield); k++) {
        const tn_val x = tn_node_input(g, yield, k), arg = tn_region_arg(g, r, k + 1);
        if (same_place(v, x, arg) || (!is_carried(g, v, r, x) && is_copyable(g, v, x))) continue;
        s = copy_operand(g, v, yield, k);
    }
    return s;
}

static tn_status place_yield(tn_graph *g, tn_views *v, tn_node n) {
    const tn_region r = tn_node_region(g, n);
    const tn_node owner = tn_region_owner(g, r);
    return tn_node_op(g, owner) == TN_OP_IF ? end_branch(g, v, owner, n) : end_loop(g, v, r, n);
}

/* ---- all of it ------------------------------------------------------------------------------------------------- */

static tn_status place_region(tn_graph *g, tn_views *v, tn_region r);

static tn_status place_owned(tn_graph *g, tn_views *v, tn_node n) {
    tn_status s = tn_node_op(g, n) == TN_OP_LOOP ? begin_loop(g, v, n) : TN_OK;
    for (size_t k = 0; s == TN_OK && k < tn_node_subregion_count(g, n); k++)
        s = place_region(g, v, tn_node_subregion(g, n, k));
    return s;
}

static tn_status place_forward(tn_graph *g, tn_views *v, tn_node n) {
    switch (tn_node_op(g, n)) {
    case TN_OP_SLICE: place_slice(g, v, n); return TN_OK;
    case TN_OP_RESHAPE: return place_reshape(g, v, n);
    case TN_OP_SIZE: v->of[tn_node_result(g, n, 0).i] = v->of[tn_node_input(g, n, 0).i]; return TN_OK;
    case TN_OP_CONCAT:
    case TN_OP_APPEND: return TN_OK;
    case TN_OP_IF:
    case TN_OP_LOOP: return place_owned(g, v, n);
    case TN_OP_YIELD: return place_yield(g, v, n);
    case TN_OP_RETURN: return place_outputs(g, v, n);
    case TN_OP_CONST:
    case TN_OP_KERNEL:
        for (size_t k = 0; k < tn_node_result_count(g, n); k++)
            if (!v->of[tn_node_result(g, n, k).i].root.i) place_root(g, v, tn_node_result(g, n, k));
        return tn_node_op(g, n) == TN_OP_KERNEL ? align_operands(g, v, n) : TN_OK;
    default:
        return tn_graph_fail(g, TN_E_INTERNAL, n, "run the fuse pass first", "%s stands outside a kernel",
                             tn_op_text(tn_node_op(g, n)));
    }
}

static tn_status place_region(tn_graph *g, tn_views *v, tn_region r) {
    tn_status s = TN_OK;
    for (tn_node n = tn_region_first(g, r); s == TN_OK && n.i; n = tn_node_next(g, n)) s = place_forward(g, v, n);
    return s;
}

static tn_status place_backward(tn_graph *g, tn_views *v, tn_region r) {
    tn_status s = TN_OK;
    for (tn_node n = tn_region_last(g, r); s == TN_OK && n.i; n = tn_node_prev(g, n)) {
        const tn_op op = tn_node_op(g, n);
        if (op == TN_OP_CONCAT) s = place_concat(g, v, n);
        if (op == TN_OP_IF) claim_branch(g, v, n);
        if (op == TN_OP_LOOP) claim_loop(g, v, n);
        for (size_t k = 0; s == TN_OK && tn_is_control(op) && k < tn_node_subregion_count(g, n); k++)
            s = place_backward(g, v, tn_node_subregion(g, n, k));
    }
    return s;
}

tn_status tn_views_make(tn_graph *g, tn_views *v) {
    *v = (tn_views){0};
    tn_region body = tn_graph_body(g);
    tn_cursor saved = tn_get_cursor(g);
    tn_status s = grow(g, v) ? TN_OK : tn_graph_fail(g, TN_E_MEMORY, (tn_node){0}, "", "out of memory");
    for (size_t k = 0; s == TN_OK && k < tn_graph_input_count(g); k++) place_root(g, v, tn_graph_input(g, k));
    for (tn_node n = tn_region_first(g, body); s == TN_OK && n.i; n = tn_node_next(g, n))
        if (tn_node_op(g, n) == TN_OP_APPEND) s = place_append(g, v, n);
    if (s == TN_OK) s = place_backward(g, v, body);
    if (s == TN_OK) s = place_region(g, v, body);
    tn_set_cursor(g, saved);
    if (s == TN_OK) s = tn_graph_status(g);
    if (s != TN_OK) tn_views_free(g, v);
    return s;
}
