/* mutate.c: the four mutators (emit, replace, set_input, erase), trials, moving, and the cursor.
 *
 * They keep three structures in step: the doubly linked list of a region's nodes, the use lists (operand slots linked
 * per value, in order of creation), and the result types. */
#include <string.h>

#include "ir/internal.h"

enum { FEW = 32 };

static void traced(tn_graph *g, char what, tn_node n, tn_val from, tn_val to) {
    if (g->trace) g->trace(g->trace_user, g, what, n, from, to);
}

void tn_graph_set_trace(tn_graph *g, tn_trace_fn fn, void *user) {
    g->trace = fn;
    g->trace_user = user;
}

/* ---- links ------------------------------------------------------------------------------------------------------- */

static void link_use(tn_graph *g, uint32_t slot, tn_val v) {
    g->edits++;
    tn_slot_rec *s = &g->slots.p[slot];
    s->val = v;
    s->prev = s->next = 0;
    if (!v.i) return;
    tn_val_rec *rec = &g->vals.p[v.i];
    s->prev = rec->last_use;
    if (rec->last_use)
        g->slots.p[rec->last_use].next = slot;
    else
        rec->first_use = slot;
    rec->last_use = slot;
}

static void unlink_use(tn_graph *g, uint32_t slot) {
    tn_slot_rec *s = &g->slots.p[slot];
    if (!s->val.i) return;
    g->edits++;
    tn_val_rec *rec = &g->vals.p[s->val.i];
    if (s->prev)
        g->slots.p[s->prev].next = s->next;
    else
        rec->first_use = s->next;
    if (s->next)
        g->slots.p[s->next].prev = s->prev;
    else
        rec->last_use = s->prev;
    s->val = (tn_val){0};
    s->prev = s->next = 0;
}

static void link_node(tn_graph *g, tn_node n, tn_region r, tn_node before) {
    g->edits++;
    tn_node_rec *rec = &g->nodes.p[n.i];
    tn_region_rec *reg = &g->regions.p[r.i];
    rec->region = r;
    rec->next = before;
    rec->prev = before.i ? g->nodes.p[before.i].prev : reg->last;
    if (rec->prev.i)
        g->nodes.p[rec->prev.i].next = n;
    else
        reg->first = n;
    if (before.i)
        g->nodes.p[before.i].prev = n;
    else
        reg->last = n;
}

static void unlink_node(tn_graph *g, tn_node n) {
    g->edits++;
    tn_node_rec *rec = &g->nodes.p[n.i];
    tn_region_rec *reg = &g->regions.p[rec->region.i];
    if (rec->prev.i)
        g->nodes.p[rec->prev.i].next = rec->next;
    else
        reg->first = rec->next;
    if (rec->next.i)
        g->nodes.p[rec->next.i].prev = rec->prev;
    else
        reg->last = rec->prev;
    if (g->cursor.before.i == n.i) g->cursor.before = rec->next;
    rec->prev = rec->next = (tn_node){0};
}

/* ---- cursor ------------------------------------------------------------------------------------------------------ */

tn_cursor tn_get_cursor(const tn_graph *g) {
    return g->cursor;
}

tn_cursor tn_set_cursor(tn_graph *g, tn_cursor c) {
    tn_cursor old = g->cursor;
    g->cursor = c;
    return old;
}

tn_cursor tn_cursor_before(const tn_graph *g, tn_node n) {
    return (tn_cursor){tn_node_region(g, n), n, tn_node_loc(g, n)};
}

tn_cursor tn_cursor_end(const tn_graph *g, tn_region r) {
    return (tn_cursor){r, {0}, g->cursor.loc};
}

/* The node to insert before: none means at the end. */
static tn_node insertion_point(const tn_graph *g, tn_cursor c) {
    if (c.before.i) return c.before;
    tn_node last = tn_region_last(g, c.region);
    return tn_op_is(tn_node_op(g, last), TN_T_TERMINATOR) ? last : (tn_node){0};
}

static bool cursor_is_valid(const tn_graph *g, tn_cursor c) {
    if (!c.region.i || c.region.i >= g->regions.n) return false;
    return !c.before.i || (tn_node_op(g, c.before) != TN_OP_NONE && tn_node_region(g, c.before).i == c.region.i);
}

/* ---- emit -------------------------------------------------------------------------------------------------------- */

static bool check_regions(tn_graph *g, tn_op op, size_t n, const tn_region *regions, uint32_t *height) {
    *height = 0;
    for (size_t k = 0; k < n; k++) {
        bool fits = regions[k].i && regions[k].i < g->regions.n && regions[k].i != g->body.i &&
                    !g->regions.p[regions[k].i].owner.i && regions[k].i != g->cursor.region.i;
        for (size_t j = 0; fits && j < k; j++) fits = regions[j].i != regions[k].i;
        if (!fits) {
            tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "", "%s: region %zu is not a detached region", tn_op_text(op),
                          k);
            return false;
        }
        uint32_t h = g->regions.p[regions[k].i].height + 1;
        if (h > *height) *height = h;
    }
    return true;
}

/* Records that `height` levels of regions now hang below r; refuses what is nested too deeply. */
static bool raise_height(tn_graph *g, tn_region r, uint32_t height) {
    uint32_t depth = 0;
    for (tn_region up = r; up.i; depth++) up = tn_node_region(g, tn_region_owner(g, up));
    if (height && depth + height > TN_MAX_NESTING) {
        tn_graph_fail(g, TN_E_UNSUPPORTED, (tn_node){0}, "", "regions are nested more than %d deep", TN_MAX_NESTING);
        return false;
    }
    for (; r.i && g->regions.p[r.i].height < height; height++) {
        g->regions.p[r.i].height = height;
        r = tn_node_region(g, tn_region_owner(g, r));
    }
    return true;
}

static bool reserve_node(tn_graph *g, size_t n_in, size_t n_results, size_t n_regions) {
    return TN_RESERVE(g, nodes, 1) && TN_RESERVE(g, slots, n_in) && TN_RESERVE(g, vals, n_results) &&
           TN_RESERVE(g, owned, n_regions);
}

/* All checks are done and all room is made: only links remain. */
static tn_node place(tn_graph *g, tn_op op, const void *attrs, size_t n_in, const tn_val *in, size_t n_regions,
                     const tn_region *regions, size_t n_results, const tn_type *types) {
    tn_node n = {g->nodes.n++};
    tn_node_rec *rec = &g->nodes.p[n.i];
    *rec = (tn_node_rec){.op = op,
                         .loc = g->cursor.loc,
                         .slot = g->slots.n,
                         .n_in = (uint32_t)n_in,
                         .result = g->vals.n,
                         .n_results = (uint32_t)n_results,
                         .sub = g->owned.n,
                         .n_sub = (uint32_t)n_regions,
                         .attrs = attrs};
    for (size_t k = 0; k < n_in; k++) {
        g->slots.p[g->slots.n].node = n;
        link_use(g, g->slots.n++, in[k]);
    }
    for (size_t k = 0; k < n_results; k++)
        g->vals.p[g->vals.n++] = (tn_val_rec){.type = types[k], .def = n, .index = (uint32_t)k, .name = ""};
    for (size_t k = 0; k < n_regions; k++) {
        g->owned.p[g->owned.n++] = regions[k];
        g->regions.p[regions[k].i].owner = n;
    }
    link_node(g, n, g->cursor.region, insertion_point(g, g->cursor));
    return n;
}

/* More results than an op of these operands can have. */
static size_t result_bound(const tn_graph *g, tn_op op, const void *attrs, size_t n_in, size_t n_regions,
                           const tn_region *regions) {
    int fixed = tn_op_info_of(op).results;
    if (fixed >= 0) return (size_t)fixed + 1;
    size_t n = n_in + 1;
    for (size_t k = 0; k < n_regions; k++) n += tn_node_input_count(g, tn_region_last(g, regions[k]));
    if (op == TN_OP_SPLIT && attrs) n += ((const tn_attrs_split *)attrs)->sizes.n;
    return n;
}

/* The values live in g's arrays, which move: a caller may have passed a pointer into them only by mistake, but the
 * operand list is short, so it is checked before anything else happens. */
static bool check_emit(tn_graph *g, tn_op op, size_t n_in, const tn_val *in) {
    if ((int)op <= TN_OP_NONE || op >= TN_OP_COUNT) {
        tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "", "%d is not an op", (int)op);
        return false;
    }
    if (!cursor_is_valid(g, g->cursor)) {
        tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "", "%s: the cursor is in no region", tn_op_text(op));
        return false;
    }
    for (size_t k = 0; k < n_in; k++) {
        const tn_val_rec *v = &g->vals.p[in[k].i < g->vals.n ? in[k].i : 0];
        if (in[k].i && !v->def.i && !v->arg_of.i) {
            tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "", "%s: operand %zu does not exist", tn_op_text(op), k);
            return false;
        }
    }
    if (tn_op_is(op, TN_T_TERMINATOR) &&
        tn_op_is(tn_node_op(g, tn_region_last(g, g->cursor.region)), TN_T_TERMINATOR)) {
        tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "", "%s: the region already has a terminator", tn_op_text(op));
        return false;
    }
    return true;
}

tn_node tn_emit_regions(tn_graph *g, tn_op op, const void *attrs, size_t n_inputs, const tn_val *inputs,
                        size_t n_regions, const tn_region *regions) {
    const tn_node none = {0};
    uint32_t height = 0;
    if (!tn_graph_ok(g) || !check_emit(g, op, n_inputs, inputs) || !check_regions(g, op, n_regions, regions, &height))
        return none;
    tn_type few[FEW], *types = few;
    size_t cap = result_bound(g, op, attrs, n_inputs, n_regions, regions), n_results = 0;
    if (cap > FEW && !(types = tn_alloc(g->env, cap * sizeof *types))) {
        tn_graph_oom(g);
        return none;
    }
    g->infer_loc = g->cursor.loc;
    tn_status st = tn_infer(g, op, attrs, n_inputs, inputs, n_regions, regions, types, cap, &n_results);
    if (st != TN_OK && g->status == TN_OK) g->status = st; /* tn_infer has reported it */
    const void *copy = tn_graph_ok(g) ? tn_attrs_copy(g, op, attrs) : NULL;
    tn_node n = none;
    if (copy && reserve_node(g, n_inputs, n_results, n_regions) && raise_height(g, g->cursor.region, height))
        n = place(g, op, copy, n_inputs, inputs, n_regions, regions, n_results, types);
    if (types != few) tn_free(g->env, types, cap * sizeof *types);
    if (n.i && tn_op_is(op, TN_T_DYNAMIC) && tn_note_made(g, n) != TN_OK) return none;
    if (n.i) traced(g, 'e', n, (tn_val){0}, (tn_val){0});
    return n;
}

tn_node tn_emit(tn_graph *g, tn_op op, const void *attrs, size_t n_inputs, const tn_val *inputs) {
    return tn_emit_regions(g, op, attrs, n_inputs, inputs, 0, NULL);
}

tn_val tn_emit1(tn_graph *g, tn_op op, const void *attrs, size_t n_inputs, const tn_val *inputs) {
    return tn_node_result(g, tn_emit(g, op, attrs, n_inputs, inputs), 0);
}

tn_val tn_unary(tn_graph *g, tn_op op, tn_val a) {
    return tn_emit1(g, op, NULL, 1, &a);
}
tn_val tn_binary(tn_graph *g, tn_op op, tn_val a, tn_val b) {
    return tn_emit1(g, op, NULL, 2, (tn_val[]){a, b});
}

tn_val tn_fit(tn_graph *g, tn_val v, tn_type want) {
    const tn_type have = tn_val_type(g, v);
    const size_t rank = tn_type_rank(g, want);
    const tn_attrs_shape a = {.dims = {tn_type_dims(g, want), (uint32_t)rank}};
    if (have.i == want.i) return v;
    if (tn_type_dtype(g, have) != tn_type_dtype(g, want) || tn_type_rank(g, have) > rank) return (tn_val){0};
    return tn_emit1(g, TN_OP_BROADCAST, &a, 1, &v);
}

tn_val tn_size_value(tn_graph *g, tn_dim d) {
    const tn_dim one = tn_dim_const(g, 1), all = tn_dim_add(g, d, one);
    const tn_val upto = tn_emit1(g, TN_OP_IOTA, &(tn_attrs_iota){.dtype = TN_I64, .dims = {&all, 1}}, 0, NULL);
    return tn_emit1(g, TN_OP_SLICE, &(tn_attrs_slice){{&d, 1}, {&one, 1}, {&(int64_t){1}, 1}}, 1, &upto);
}

/* ---- trials ------------------------------------------------------------------------------------------------------ */

tn_trial tn_trial_begin(tn_graph *g) {
    g->on_trial = true;
    return (tn_trial){g->nodes.n};
}

bool tn_trial_end(tn_graph *g, tn_trial t, bool keep) {
    g->on_trial = false;
    if (g->status == TN_E_MEMORY) return false;
    if (g->status == TN_OK && keep) return true;
    g->status = TN_OK;
    for (uint32_t i = g->nodes.n; i-- > t.first_node;) /* users before what they use */
        if (tn_node_op(g, (tn_node){i}) != TN_OP_NONE) tn_erase(g, (tn_node){i});
    return false;
}

/* ---- replace, set_input ------------------------------------------------------------------------------------------ */

static bool is_live_val(const tn_graph *g, tn_val v) {
    return v.i && v.i < g->vals.n && (g->vals.p[v.i].def.i || g->vals.p[v.i].arg_of.i);
}

tn_status tn_replace(tn_graph *g, tn_val from, tn_val to) {
    if (!tn_graph_ok(g)) return g->status;
    tn_node at = tn_val_def(g, from);
    if (!is_live_val(g, from) || !is_live_val(g, to))
        return tn_graph_fail(g, TN_E_ARGUMENT, at, "", "replace: the value does not exist");
    if (from.i == to.i) return TN_OK;
    if (tn_val_type(g, from).i != tn_val_type(g, to).i) {
        char a[256], b[256];
        tn_type_print(g, tn_val_type(g, from), a, sizeof a);
        tn_type_print(g, tn_val_type(g, to), b, sizeof b);
        return tn_graph_fail(g, TN_E_TYPE, at, "", "replace: a value of type %s cannot stand for one of type %s", b, a);
    }
    g->edits++;
    tn_val_rec *f = &g->vals.p[from.i], *t = &g->vals.p[to.i];
    for (uint32_t s = f->first_use; s; s = g->slots.p[s].next) g->slots.p[s].val = to;
    if (f->first_use) {
        g->slots.p[f->first_use].prev = t->last_use;
        if (t->last_use)
            g->slots.p[t->last_use].next = f->first_use;
        else
            t->first_use = f->first_use;
        t->last_use = f->last_use;
        f->first_use = f->last_use = 0;
    }
    traced(g, 'r', (tn_node){0}, from, to);
    return TN_OK;
}

tn_status tn_node_infer(tn_graph *g, tn_node n, tn_type *types, size_t cap, size_t *count) {
    const tn_node_rec rec = g->nodes.p[n.i];
    const tn_region *subs = &g->owned.p[rec.n_sub ? rec.sub : 0];
    tn_val few[FEW] = {{0}}, *in = rec.n_in <= FEW ? few : tn_alloc(g->env, rec.n_in * sizeof *in);
    *count = 0;
    if (!in) return tn_graph_oom(g);
    for (uint32_t k = 0; k < rec.n_in; k++) in[k] = g->slots.p[rec.slot + k].val;
    g->infer_loc = rec.loc;
    tn_status st = tn_infer(g, rec.op, rec.attrs, rec.n_in, in, rec.n_sub, subs, types, cap, count);
    if (in != few) tn_free(g->env, in, rec.n_in * sizeof *in);
    return st;
}

tn_status tn_node_retype(tn_graph *g, tn_node n, bool force) {
    const tn_node_rec rec = g->nodes.p[n.i];
    size_t cap = rec.n_results + 1, count = 0;
    tn_type *types = tn_alloc(g->env, cap * sizeof *types);
    tn_status st = types ? tn_node_infer(g, n, types, cap, &count) : tn_graph_oom(g);
    if (st != TN_OK && g->status == TN_OK) g->status = st;
    for (uint32_t k = 0; st == TN_OK && k < rec.n_results; k++) {
        tn_val_rec *v = &g->vals.p[rec.result + k];
        if (count == rec.n_results && (force || v->type.i == types[k].i || !v->first_use)) continue;
        st = tn_graph_fail(g, TN_E_TYPE, n, "", "%s: a new operand would change the type of a result in use",
                           tn_op_text(rec.op));
    }
    g->edits++;
    for (uint32_t k = 0; st == TN_OK && k < rec.n_results; k++) g->vals.p[rec.result + k].type = types[k];
    tn_free(g->env, types, cap * sizeof *types);
    return st == TN_OK && tn_op_is(rec.op, TN_T_DYNAMIC) ? tn_note_made(g, n) : st;
}

tn_status tn_set_input(tn_graph *g, tn_node n, size_t k, tn_val v) {
    if (!tn_graph_ok(g)) return g->status;
    if (tn_node_op(g, n) == TN_OP_NONE || k >= tn_node_input_count(g, n) || (v.i && !is_live_val(g, v)))
        return tn_graph_fail(g, TN_E_ARGUMENT, n, "", "set_input: no such node, operand or value");
    uint32_t slot = g->nodes.p[n.i].slot + (uint32_t)k;
    tn_val old = g->slots.p[slot].val;
    if (old.i == v.i) return TN_OK;
    bool retype = !old.i || !v.i || tn_val_type(g, old).i != tn_val_type(g, v).i; /* types follow from types */
    unlink_use(g, slot);
    link_use(g, slot, v);
    tn_status st = retype ? tn_node_retype(g, n, false) : TN_OK;
    if (st != TN_OK) {
        unlink_use(g, slot);
        link_use(g, slot, old);
        return st;
    }
    traced(g, 's', n, old, v);
    return TN_OK;
}

/* ---- erase, move ------------------------------------------------------------------------------------------------- */

static void erase_region(tn_graph *g, tn_region r);

/* Only a graph that the verifier would refuse still has uses of v here; they become absent operands. */
static void forget_val(tn_graph *g, tn_val v) {
    while (g->vals.p[v.i].first_use) unlink_use(g, g->vals.p[v.i].first_use);
    g->vals.p[v.i] = (tn_val_rec){.name = ""};
}

/* Results have no uses, or their users go too. */
static void erase_node(tn_graph *g, tn_node n) {
    traced(g, 'x', n, (tn_val){0}, (tn_val){0});
    tn_node_rec *rec = &g->nodes.p[n.i];
    for (uint32_t k = rec->n_sub; k-- > 0;) erase_region(g, g->owned.p[rec->sub + k]);
    for (uint32_t k = 0; k < rec->n_in; k++) {
        unlink_use(g, rec->slot + k);
        g->slots.p[rec->slot + k].node = (tn_node){0};
    }
    for (uint32_t k = 0; k < rec->n_results; k++) forget_val(g, (tn_val){rec->result + k});
    unlink_node(g, n);
    *rec = (tn_node_rec){0};
}

/* Nesting is bounded by TN_MAX_NESTING, and so is the recursion. */
static void erase_region(tn_graph *g, tn_region r) {
    for (tn_node n = tn_region_last(g, r); n.i; n = tn_region_last(g, r)) erase_node(g, n);
    tn_conditions_drop(g, r);
    tn_region_rec *rec = &g->regions.p[r.i];
    for (uint32_t k = 0; k < rec->n_args; k++) forget_val(g, rec->args[k]);
    *rec = (tn_region_rec){0};
    if (g->cursor.region.i == r.i) g->cursor = tn_cursor_end(g, g->body);
}

tn_status tn_erase(tn_graph *g, tn_node n) {
    if (!tn_graph_ok(g)) return g->status;
    if (tn_node_op(g, n) == TN_OP_NONE) return tn_graph_fail(g, TN_E_ARGUMENT, n, "", "erase: the node does not exist");
    for (size_t k = 0; k < tn_node_result_count(g, n); k++)
        if (tn_val_first_use(g, tn_node_result(g, n, k)).i)
            return tn_graph_fail(g, TN_E_ARGUMENT, n, "", "erase: result %zu of %s is still used", k,
                                 tn_op_text(tn_node_op(g, n)));
    erase_node(g, n);
    return TN_OK;
}

static bool stands_within(const tn_graph *g, tn_region r, tn_node n) {
    for (; r.i; r = tn_node_region(g, tn_region_owner(g, r)))
        if (tn_region_owner(g, r).i == n.i) return true;
    return false;
}

void tn_move_before(tn_graph *g, tn_node n, tn_cursor at) {
    if (!tn_graph_ok(g) || at.before.i == n.i) return;
    if (tn_node_op(g, n) == TN_OP_NONE || !cursor_is_valid(g, at) || stands_within(g, at.region, n)) {
        tn_graph_fail(g, TN_E_ARGUMENT, n, "", "move: no such node, or it would stand within itself");
        return;
    }
    uint32_t height = 0;
    for (size_t k = 0; k < tn_node_subregion_count(g, n); k++) {
        uint32_t h = g->regions.p[tn_node_subregion(g, n, k).i].height + 1;
        if (h > height) height = h;
    }
    tn_node before = insertion_point(g, at);
    if (before.i == n.i || !raise_height(g, at.region, height)) return;
    unlink_node(g, n);
    link_node(g, n, at.region, before);
}

void tn_take_region(tn_graph *g, tn_node n, size_t k) {
    const tn_region r = tn_node_subregion(g, n, k);
    const tn_node last = tn_region_last(g, r);
    tn_node next;
    tn_conditions_move(g, r, tn_node_region(g, n));
    for (tn_node i = tn_region_first(g, r); i.i && i.i != last.i; i = next) {
        next = tn_node_next(g, i);
        tn_move_before(g, i, tn_cursor_before(g, n));
    }
    for (size_t i = 0; i < tn_node_result_count(g, n); i++)
        tn_replace(g, tn_node_result(g, n, i), tn_node_input(g, last, i));
    tn_erase(g, n);
}
