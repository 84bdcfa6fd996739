/* build.c: turns groups into kernel nodes.
 *
 * Kernels stand where their group's last member stood, in that order; a group's members are copied into the kernel's
 * region in body order and then erased.  Constants of one element and duplicated nodes are copied into every region
 * that uses them; everything else from outside becomes an operand.  The kernel's first result is the last member's. */
#include <stdio.h>
#include <string.h>
#include "passes/fuse/fuse.h"
#include "passes/util.h"

typedef struct builder {
    tn_fusion *f;
    tn_graph *g;
    uint32_t n_vals; /* values when building began */
    tn_val *local;   /* by value: what stands for it in the region being built */
    uint32_t *stamp; /* by value: the group that local is of */
    uint32_t group;
    tn_region region;
    tn_val in[TN_FUSE_MAX_VALUES * 2], arg[TN_FUSE_MAX_VALUES * 2];
    uint32_t n_in;
    tn_loc loc;
    char name[64];
    uint32_t n_named;
} builder;

static tn_val copy_node(builder *b, tn_node n);

/* What stands for v inside the region. */
static tn_val inner(builder *b, tn_val v) {
    if (!v.i) return v;
    if (v.i < b->n_vals && b->stamp[v.i] == b->group) return b->local[v.i];
    tn_node def = tn_val_def(b->g, v);
    bool is_dup = def.i && def.i < b->f->n_nodes && b->f->node[def.i].dup;
    if (is_dup || tn_fuse_is_immediate(b->g, v)) return copy_node(b, def);
    for (uint32_t k = 0; k < b->n_in; k++)
        if (b->in[k].i == v.i) return b->arg[k];
    if (b->n_in == sizeof b->in / sizeof b->in[0]) {
        tn_graph_fail(b->g, TN_E_INTERNAL, def, "", "a fused kernel has too many operands");
        return (tn_val){0};
    }
    b->in[b->n_in] = v;
    b->arg[b->n_in] = tn_region_add_arg(b->g, b->region, tn_val_type(b->g, v), "");
    return b->arg[b->n_in++];
}

static void add_name(builder *b, tn_op op) {
    if (op == TN_OP_CONST || b->n_named >= 4) return;
    size_t len = strlen(b->name);
    int n = snprintf(b->name + len, sizeof b->name - len, "_%s", tn_op_text(op));
    if (n > 0 && len + (size_t)n < sizeof b->name)
        b->n_named++;
    else
        b->name[len] = 0;
}

static tn_val copy_node(builder *b, tn_node n) {
    tn_graph *g = b->g;
    size_t count = tn_node_input_count(g, n);
    tn_val few[8], *in = count <= 8 ? few : tn_alloc(tn_graph_env(g), count * sizeof *in);
    if (!in) {
        tn_graph_fail(g, TN_E_MEMORY, n, "", "out of memory");
        return (tn_val){0};
    }
    for (size_t k = 0; k < count; k++) in[k] = inner(b, tn_node_input(g, n, k));
    tn_set_cursor(g, (tn_cursor){.region = b->region, .loc = tn_node_loc(g, n)});
    tn_val v = tn_emit1(g, tn_node_op(g, n), tn_node_attrs(g, n), count, in);
    if (in != few) tn_free(tn_graph_env(g), in, count * sizeof *in);
    tn_val old = tn_node_result(g, n, 0);
    if (old.i < b->n_vals) {
        b->local[old.i] = v;
        b->stamp[old.i] = b->group;
    }
    if (tn_node_op(g, n) != TN_OP_CONST) b->loc = tn_loc_join(g, b->loc, tn_node_loc(g, n));
    return v;
}

static bool used_outside(const tn_fusion *f, tn_val v, uint32_t group) {
    for (tn_use u = tn_val_first_use(f->g, v); u.i; u = tn_use_next(f->g, u)) {
        tn_node n = tn_use_node(f->g, u);
        if (n.i >= f->n_nodes || f->node[n.i].group != group) return true;
    }
    return false;
}

/* Members in body order: the next after position `pos`, none past the group's place.  Members are few and near each
 * other. */
static tn_node next_member(const tn_fusion *f, uint32_t group, uint32_t pos) {
    uint32_t best = 0;
    for (uint32_t m = f->group[group].first; m; m = f->node[m].next)
        if (f->node[m].pos > pos && (!best || f->node[m].pos < f->node[best].pos)) best = m;
    return (tn_node){best};
}

/* "conv_add_relu", "map_mul_add". */
static void name_kernel(builder *b) {
    tn_node anchor = b->f->group[b->group].anchor;
    b->n_named = 0;
    snprintf(b->name, sizeof b->name, "%s", anchor.i ? tn_op_text(tn_node_op(b->g, anchor)) : "map");
    uint32_t after = anchor.i ? b->f->node[anchor.i].pos : 0;
    for (tn_node m = next_member(b->f, b->group, after); m.i; m = next_member(b->f, b->group, b->f->node[m.i].pos))
        add_name(b, tn_node_op(b->g, m));
}

enum { MAX_RESULTS = 8 };

static uint32_t results_of(const tn_fusion *f, uint32_t group, tn_val *old) {
    uint32_t n = 0;
    for (tn_node m = next_member(f, group, 0); m.i && n < MAX_RESULTS; m = next_member(f, group, f->node[m.i].pos))
        if (used_outside(f, tn_node_result(f->g, m, 0), group)) old[n++] = tn_node_result(f->g, m, 0);
    if (n > 1) { /* the last first */
        tn_val last = old[n - 1];
        memmove(old + 1, old, (n - 1) * sizeof *old);
        old[0] = last;
    }
    return n;
}

static void erase_members(tn_fusion *f, uint32_t group) {
    for (;;) { /* last in body order first */
        uint32_t best = 0;
        for (uint32_t m = f->group[group].first; m; m = f->node[m].next)
            if (tn_node_op(f->g, (tn_node){m}) != TN_OP_NONE && (!best || f->node[m].pos > f->node[best].pos)) best = m;
        if (!best || tn_erase(f->g, (tn_node){best}) != TN_OK) return;
    }
}

static tn_status build_group(builder *b, uint32_t group) {
    tn_fusion *f = b->f;
    tn_graph *g = b->g;
    tn_val old[MAX_RESULTS], now[MAX_RESULTS];
    uint32_t n_out = results_of(f, group, old);
    b->group = group;
    b->n_in = 0;
    b->loc = (tn_loc){0};
    b->region = tn_region_new(g);
    name_kernel(b);
    for (tn_node m = next_member(f, group, 0); m.i && tn_graph_status(g) == TN_OK;
         m = next_member(f, group, f->node[m.i].pos))
        copy_node(b, m);
    for (uint32_t k = 0; k < n_out; k++) now[k] = b->local[old[k].i];
    tn_set_cursor(g, (tn_cursor){.region = b->region, .loc = b->loc});
    tn_emit(g, TN_OP_YIELD, NULL, n_out, now);
    tn_node last = {f->order[f->group[group].place]};
    tn_cursor at = tn_cursor_before(g, last);
    at.loc = b->loc;
    tn_set_cursor(g, at);
    tn_node anchor = f->group[group].anchor;
    tn_attrs_kernel a = {.anchor = tn_intern(g, anchor.i ? tn_op_text(tn_node_op(g, anchor)) : "map"),
                         .name = tn_intern(g, b->name),
                         .loose = f->loose};
    tn_node kernel = tn_emit_kernel(g, &a, b->n_in, b->in, b->region);
    if (tn_graph_status(g) != TN_OK) return tn_graph_status(g);
    for (uint32_t k = 0; k < n_out; k++) {
        tn_val_set_name(g, tn_node_result(g, kernel, k), tn_val_name(g, old[k]));
        tn_replace(g, old[k], tn_node_result(g, kernel, k));
    }
    erase_members(f, group);
    return tn_graph_status(g);
}

static tn_status build_all(builder *b) {
    tn_fusion *f = b->f;
    tn_status s = TN_OK;
    for (uint32_t p = 1; s == TN_OK && p <= f->n_order; p++) {
        uint32_t group = f->node[f->order[p]].group;
        if (group && f->group[group].place == p) s = build_group(b, group);
    }
    /* Duplicated nodes and constants have no uses left. */
    for (tn_node n = tn_region_last(b->g, f->region), prev; s == TN_OK && n.i; n = prev) {
        prev = tn_node_prev(b->g, n);
        tn_fuse_erase_dead(b->g, n);
    }
    return s == TN_OK ? tn_graph_status(b->g) : s;
}

tn_status tn_fuse_build(tn_fusion *f) {
    const tn_env *env = tn_graph_env(f->g);
    uint32_t n = tn_graph_val_limit(f->g);
    builder *b = tn_alloc(env, sizeof *b);
    tn_status s = TN_E_MEMORY;
    if (b) {
        *b = (builder){.f = f, .g = f->g, .n_vals = n};
        b->local = tn_alloc(env, n * sizeof *b->local);
        b->stamp = tn_alloc(env, n * sizeof *b->stamp);
        if (b->local && b->stamp) s = build_all(b);
        tn_free(env, b->local, n * sizeof *b->local);
        tn_free(env, b->stamp, n * sizeof *b->stamp);
        tn_free(env, b, sizeof *b);
    }
    return s == TN_E_MEMORY ? tn_graph_fail(f->g, s, (tn_node){0}, "", "out of memory") : s;
}
