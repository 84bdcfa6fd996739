/* verify.c: checks every invariant of a graph and reports each violation with its layer.
 *
 * Inference interns types and dims, which changes nothing that can be observed: that is why a const graph is verified
 * by way of a non-const pointer. */
#include <stdio.h>
#include <string.h>

#include "ir/internal.h"
#include "ir/plugin/plugin.h"

enum { MAX_REPORTS = 20 };
static const uint32_t ENDED = UINT32_MAX;

typedef struct checker {
    tn_graph *g;
    uint32_t *seen; /* by value handle: 0 before its definition, `kernel` + 1 of its region while visible, then ENDED */
    uint32_t kernel; /* innermost kernel around the node being checked; 0: none */
    bool *made;      /* by dim handle: a symbol that some node before makes; NULL: no node makes any */
    size_t n_bad;
} checker;

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static void
bad(checker *c, tn_node n, const char *fmt, ...) {
    char message[512], loc[512];
    va_list args;
    if (c->n_bad++ >= MAX_REPORTS) return;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    tn_fail(c->g->env, TN_E_VERIFY, tn_loc_text(c->g, tn_node_loc(c->g, n), loc, sizeof loc), "", "%s (node %u): %s",
            tn_op_text(tn_node_op(c->g, n)), n.i, message);
}

/* ---- use lists and links ----------------------------------------------------------------------------------------- */

static void check_operand_link(checker *c, tn_node n, uint32_t slot, size_t k) {
    const tn_graph *g = c->g;
    const tn_slot_rec *s = &g->slots.p[slot];
    if (s->node.i != n.i) bad(c, n, "operand %zu belongs to another node", k);
    if (!s->val.i) return;
    if (s->val.i >= g->vals.n) {
        bad(c, n, "operand %zu is no value", k);
        return;
    }
    const tn_val_rec *v = &g->vals.p[s->val.i];
    bool back = s->prev ? s->prev < g->slots.n && g->slots.p[s->prev].next == slot : v->first_use == slot;
    bool forth = s->next ? s->next < g->slots.n && g->slots.p[s->next].prev == slot : v->last_use == slot;
    if (!back || !forth) bad(c, n, "operand %zu is not linked into its value's uses", k);
}

/* Every use of a value is an operand of a live node: counts both ways. */
static void check_use_counts(checker *c) {
    const tn_graph *g = c->g;
    size_t operands = 0, uses = 0;
    for (uint32_t i = 1; i < g->nodes.n; i++)
        for (uint32_t k = 0; g->nodes.p[i].op != TN_OP_NONE && k < g->nodes.p[i].n_in; k++)
            operands += g->slots.p[g->nodes.p[i].slot + k].val.i != 0;
    for (uint32_t i = 1; i < g->vals.n; i++) {
        for (uint32_t s = g->vals.p[i].first_use; s && uses <= operands; s = g->slots.p[s].next) {
            uses++;
            if (g->slots.p[s].val.i != i) {
                bad(c, g->vals.p[i].def, "a use of value %u is an operand of another value", i);
                break;
            }
        }
    }
    if (uses != operands) bad(c, (tn_node){0}, "%zu uses are listed but there are %zu operands", uses, operands);
}

/* ---- types ------------------------------------------------------------------------------------------------------- */

/* Equal handles, or dims that are known to be equal under what is known now. */
static bool same_type(tn_graph *g, tn_type a, tn_type b) {
    if (a.i == b.i) return true;
    if (tn_type_dtype(g, a) != tn_type_dtype(g, b) || tn_type_rank(g, a) != tn_type_rank(g, b)) return false;
    for (size_t k = 0; k < tn_type_rank(g, a); k++) {
        tn_dim x = tn_type_dims(g, a)[k], y = tn_type_dims(g, b)[k];
        if (x.i != y.i && !tn_dim_equal_const(g, tn_dim_sub(g, x, y), 0)) return false;
    }
    return true;
}

static void check_types(checker *c, tn_node n) {
    tn_graph *g = c->g;
    const tn_node_rec r = g->nodes.p[n.i];
    size_t count = 0, cap = r.n_results + 1;
    tn_type *types = tn_alloc(g->env, cap * sizeof *types);
    if (!types) tn_graph_oom(g);
    if (tn_graph_ok(g)) {
        if (tn_node_infer(g, n, types, cap, &count) != TN_OK)
            bad(c, n, "its operands or attributes do not fit");
        else if (count != r.n_results)
            bad(c, n, "has %u results but should have %zu", r.n_results, count);
        for (uint32_t k = 0; k < r.n_results && k < count; k++) {
            char is[256], should[256];
            if (same_type(g, g->vals.p[r.result + k].type, types[k])) continue;
            tn_type_print(g, g->vals.p[r.result + k].type, is, sizeof is);
            tn_type_print(g, types[k], should, sizeof should);
            bad(c, n, "result %u has type %s but should have %s", k, is, should);
        }
    }
    tn_free(g->env, types, cap * sizeof *types);
}

/* ---- sizes that nodes make --------------------------------------------------------------------------------------- */

static bool tells(const tn_graph *g, tn_node kernel, tn_dim sym) {
    const tn_dims told = kernel.i ? TN_ATTRS_OF(g, kernel, kernel)->sizes : (tn_dims){0};
    for (uint32_t k = 0; k < told.n; k++)
        if (told.p[k].i == sym.i) return true;
    return !kernel.i;
}

static void check_made(checker *c, tn_node n, tn_dim d) {
    const tn_graph *g = c->g;
    const tn_dim_rec *r = tn_dim_rec_of(g, d);
    if (!r->made) return;
    if (r->kind != TN_DIM_SYM) {
        check_made(c, n, r->lhs);
        check_made(c, n, r->rhs);
    } else if (!c->made[d.i]) {
        bad(c, n, "the size %s is used before a node makes it", r->name);
    } else if (!tells(g, (tn_node){c->kernel}, d)) {
        bad(c, n, "no operand of the kernel tells the size %s", r->name);
    }
}

static void check_made_type(checker *c, tn_node n, tn_type t) {
    for (size_t k = 0; c->made && k < tn_type_rank(c->g, t); k++) check_made(c, n, tn_type_dims(c->g, t)[k]);
}

static void check_made_attrs(checker *c, tn_node n) {
    const tn_node_rec *r = &c->g->nodes.p[n.i];
    const tn_op_info info = tn_op_info_of(r->op);
    for (size_t k = 0; k < info.attrs.n_fields; k++) {
        const void *p = (const char *)r->attrs + info.attrs.fields[k].offset;
        if (info.attrs.fields[k].kind == TN_FIELD_dim) check_made(c, n, *(const tn_dim *)p);
        const tn_dims *list = info.attrs.fields[k].kind == TN_FIELD_dims ? p : NULL;
        for (uint32_t i = 0; list && i < list->n; i++) check_made(c, n, list->p[i]);
    }
}

/* What n makes can be used from here on. */
static void make(checker *c, tn_node n) {
    const tn_dim sym = tn_node_makes(c->g, n);
    if (!sym.i) return;
    if (c->made[sym.i] || !tn_dim_is_made(c->g, sym))
        bad(c, n, "makes the size %s, which another node makes, too", tn_dim_name(c->g, sym));
    c->made[sym.i] = true;
}

static void check_makes(checker *c, tn_node n) {
    if (!c->made) return;
    make(c, n);
    check_made_attrs(c, n);
    for (size_t k = 0; k < tn_node_result_count(c->g, n); k++)
        check_made_type(c, n, tn_val_type(c->g, tn_node_result(c->g, n, k)));
}

/* The last operands of a kernel are the values of the sizes that it needs. */
static void check_told(checker *c, tn_node n) {
    const tn_graph *g = c->g;
    const tn_dims told = TN_ATTRS_OF(g, n, kernel)->sizes;
    const size_t n_in = tn_node_input_count(g, n);
    for (uint32_t k = 0; k < told.n; k++) {
        const tn_val v = k < n_in ? tn_node_input(g, n, n_in - 1 - k) : (tn_val){0};
        if (!v.i || tn_val_dtype(g, v) != TN_I64 || tn_val_rank(g, v))
            bad(c, n, "needs the values of %u sizes as its last operands", told.n);
        if (tn_dim_kind_of(g, told.p[k]) != TN_DIM_SYM || !tn_dim_is_made(g, told.p[k]))
            bad(c, n, "is told a size that no node makes");
    }
}

/* ---- regions ----------------------------------------------------------------------------------------------------- */

static void check_region(checker *c, tn_region r, tn_node owner);

/* A kernel's arguments stand for its operands, one by one. */
static void check_kernel(checker *c, tn_node n) {
    tn_graph *g = c->g;
    tn_region r = tn_node_subregion(g, n, 0);
    check_told(c, n);
    if (tn_region_arg_count(g, r) != tn_node_input_count(g, n)) {
        bad(c, n, "has %zu operands but its region takes %zu", tn_node_input_count(g, n), tn_region_arg_count(g, r));
        return;
    }
    for (size_t k = 0; k < tn_region_arg_count(g, r); k++) {
        tn_val v = tn_node_input(g, n, k);
        if (v.i && !same_type(g, tn_val_type(g, v), tn_val_type(g, tn_region_arg(g, r, k))))
            bad(c, n, "operand %zu and its region's argument differ in type", k);
    }
}

/* An append is an output in the buffer of an input. */
static void check_append(checker *c, tn_node n, tn_region r) {
    const tn_graph *g = c->g;
    tn_shared s;
    size_t appends = 0;
    if (r.i != g->body.i || !tn_shared_of(g, tn_node_result(g, n, 0), &s)) {
        bad(c, n, "is not an output of the function that begins with one of its inputs");
        return;
    }
    for (tn_use u = tn_val_first_use(g, tn_node_input(g, n, 0)); u.i; u = tn_use_next(g, u))
        appends += tn_node_op(g, tn_use_node(g, u)) == TN_OP_APPEND && tn_use_slot(g, u) == 0;
    if (appends != 1) bad(c, n, "is not the only one in its input's buffer");
}

/* The kernel's result that is y, a value of its region; y where there is none. */
static tn_val yielded_as(const tn_graph *g, tn_node kernel, tn_val y) {
    const tn_node yield = tn_region_last(g, tn_node_subregion(g, kernel, 0));
    for (size_t k = 0; yield.i && k < tn_node_input_count(g, yield) && k < tn_node_result_count(g, kernel); k++)
        if (tn_node_input(g, yield, k).i == y.i) return tn_node_result(g, kernel, k);
    return y;
}

/* Rows that are put in place are an output in the buffer of an input that nobody else reads: of it they overwrite something. */
static void check_put(checker *c, tn_node n, tn_region r) {
    const tn_graph *g = c->g;
    const tn_node owner = tn_region_owner(g, r);
    tn_shared s;
    if (!TN_ATTRS_OF(g, n, put_rows)->shared) return;
    tn_val y = tn_node_result(g, n, 0);
    if (owner.i && tn_node_op(g, owner) == TN_OP_KERNEL) y = yielded_as(g, owner, y);
    if ((tn_val_def(g, y).i == n.i && r.i != g->body.i) || !tn_shared_of(g, y, &s))
        bad(c, n, "is not an output of the function that has the rows of one of its inputs");
    else if (!tn_val_has_one_use(g, tn_graph_input(g, s.input)))
        bad(c, n, "is not the only one that reads its input's buffer");
}

static void check_results(checker *c, tn_node n) {
    const tn_graph *g = c->g;
    const tn_node_rec *r = &g->nodes.p[n.i];
    for (uint32_t k = 0; k < r->n_results; k++) {
        const tn_val_rec *v = &g->vals.p[r->result + k];
        if (v->def.i != n.i || v->index != k || v->arg_of.i) bad(c, n, "result %u does not know its node", k);
        c->seen[r->result + k] = c->kernel + 1;
    }
}

static void check_node(checker *c, tn_node n, tn_region r) {
    const tn_graph *g = c->g;
    const tn_node_rec rec = g->nodes.p[n.i];
    if (rec.region.i != r.i) bad(c, n, "stands in a region that does not list it");
    for (uint32_t k = 0; k < rec.n_in; k++) {
        check_operand_link(c, n, rec.slot + k, k);
        tn_val v = g->slots.p[rec.slot + k].val;
        if (v.i && v.i < g->vals.n && c->seen[v.i] != c->kernel + 1)
            bad(c, n, "operand %u (value %u, \"%s\") is %s", k, v.i, tn_val_name(g, v),
                !c->seen[v.i]           ? "used before it is defined"
                : c->seen[v.i] == ENDED ? "defined in a region that has ended"
                                        : "not defined within the kernel that uses it");
    }
    if (tn_op_is(rec.op, TN_T_TERMINATOR) && rec.next.i) bad(c, n, "ends a region but is not its last node");
    if (rec.op == TN_OP_RETURN && r.i != g->body.i) bad(c, n, "return stands outside the function's body");
    uint32_t outer = c->kernel;
    check_makes(c, n);
    if (rec.op == TN_OP_KERNEL) c->kernel = n.i;
    for (uint32_t k = 0; k < rec.n_sub; k++) check_region(c, g->owned.p[rec.sub + k], n);
    c->kernel = outer;
    if (rec.op == TN_OP_KERNEL) check_kernel(c, n);
    if (rec.op == TN_OP_APPEND) check_append(c, n, r);
    if (rec.op == TN_OP_PUT_ROWS) check_put(c, n, r);
    const tn_node owner = tn_region_owner(g, r);
    if (rec.op == TN_OP_OPAQUE && (!owner.i || !tn_node_plugin(g, owner)))
        bad(c, n, "stands outside the kernel of a plugin, which computes it");
    check_types(c, n);
    check_results(c, n);
}

/* Values of a region are visible until it ends.  Nesting is bounded by TN_MAX_NESTING. */
static void set_visible(checker *c, tn_region r, uint32_t mark) {
    const tn_graph *g = c->g;
    for (size_t k = 0; k < tn_region_arg_count(g, r); k++) c->seen[tn_region_arg(g, r, k).i] = mark;
    if (mark != ENDED) return;
    TN_FOR_NODES(g, r, n)
    for (size_t k = 0; k < tn_node_result_count(g, n); k++) c->seen[tn_node_result(g, n, k).i] = mark;
}

static void check_region(checker *c, tn_region r, tn_node owner) {
    const tn_graph *g = c->g;
    tn_node last = {0};
    if (tn_region_owner(g, r).i != owner.i) bad(c, owner, "owns a region that belongs to another node");
    for (size_t k = 0; k < tn_region_arg_count(g, r); k++) {
        tn_val v = tn_region_arg(g, r, k);
        if (tn_val_arg_of(g, v).i != r.i || tn_val_index(g, v) != k)
            bad(c, owner, "argument %zu of a region does not know its region", k);
        check_made_type(c, owner, tn_val_type(g, v));
    }
    set_visible(c, r, c->kernel + 1);
    TN_FOR_NODES(g, r, n) {
        if (tn_node_op(g, n) == TN_OP_NONE || tn_node_prev(g, n).i != last.i) {
            bad(c, n, "a region's list of nodes is broken");
            return;
        }
        check_node(c, n, r);
        last = n;
    }
    if (tn_region_last(g, r).i != last.i) bad(c, last, "is not its region's last node");
    tn_op end = tn_node_op(g, last);
    if (end != (owner.i ? TN_OP_YIELD : TN_OP_RETURN))
        bad(c, last.i ? last : owner, "the %s must end with %s", owner.i ? "region" : "function",
            owner.i ? "yield" : "return");
    set_visible(c, r, ENDED);
}

uint64_t tn_graph_edits(const tn_graph *g) {
    return g->edits;
}

tn_status tn_verify(const tn_graph *graph) {
    tn_graph *g = (tn_graph *)(uintptr_t)graph;
    if (!tn_graph_ok(g)) return g->status;
    const size_t size = g->vals.n * sizeof(uint32_t), made = g->dims.recs.n * sizeof(bool);
    const bool makes = tn_graph_makes_sizes(g);
    checker c = {.g = g, .seen = tn_alloc(g->env, size), .made = makes ? tn_alloc(g->env, made) : NULL};
    if (!c.seen || (makes && !c.made)) tn_graph_oom(g);
    if (tn_graph_ok(g)) check_region(&c, g->body, (tn_node){0});
    if (tn_graph_ok(g)) check_use_counts(&c);
    tn_free(g->env, c.seen, size);
    tn_free(g->env, c.made, made);
    if (!tn_graph_ok(g)) return g->status;
    if (c.n_bad > MAX_REPORTS)
        tn_report(g->env, TN_NOTE, TN_E_VERIFY, "", "%zu more violations are not shown", c.n_bad - MAX_REPORTS);
    return c.n_bad ? TN_E_VERIFY : TN_OK;
}
