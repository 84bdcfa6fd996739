/* made.c: symbols that a node makes: how many positions `nonzero` found, how long a range is.
 *
 * Nobody knows such a size when shapes are bound.  What is known is the most that it can be, a size that the inputs tell:
 * memory is made for that, and launches are as large as that.  Its value is data, which the `size` node has. */
#include "ir/internal.h"

bool tn_dim_is_made(const tn_graph *g, tn_dim d) {
    return tn_dim_rec_of(g, d)->made;
}

bool tn_type_is_made(const tn_graph *g, tn_type t) {
    bool made = false;
    for (size_t k = 0; k < tn_type_rank(g, t); k++) made |= tn_dim_is_made(g, tn_type_dims(g, t)[k]);
    return made;
}

bool tn_graph_makes_sizes(const tn_graph *g) {
    bool any = false;
    for (size_t k = 0; k < tn_sym_count(g); k++) any |= tn_dim_is_made(g, tn_sym_at(g, k));
    return any;
}

/* ---- the most and the least -------------------------------------------------------------------------------------- */

/* only: where one symbol alone is replaced, by what it is under; else none. */
static tn_dim end_of(tn_graph *g, tn_dim d, bool most, tn_dim only);

static bool never_negative(const tn_graph *g, tn_dim d) {
    int64_t lo, hi;
    tn_dim_bounds(g, d, &lo, &hi);
    return lo >= 0;
}

static tn_dim end_of_product(tn_graph *g, tn_dim a, tn_dim b, bool most, tn_dim only) {
    int64_t factor;
    if (tn_dim_is_const(g, a, &factor)) return end_of_product(g, b, a, most, only);
    if (tn_dim_is_const(g, b, &factor)) {
        const tn_dim x = end_of(g, a, factor < 0 ? !most : most, only);
        return x.i ? tn_dim_mul(g, x, b) : x;
    }
    const tn_dim x = end_of(g, a, most, only), y = end_of(g, b, most, only);
    if (!x.i || !y.i || !never_negative(g, a) || !never_negative(g, b)) return (tn_dim){0};
    return tn_dim_mul(g, x, y);
}

/* Of what is not negative: a larger divisor gives less, and 0 gives 0. */
static tn_dim end_of_quotient(tn_graph *g, tn_dim_kind k, tn_dim a, tn_dim b, bool most, tn_dim only) {
    if (!never_negative(g, a) || !never_negative(g, b)) return (tn_dim){0};
    if (!most && tn_dim_is_made(g, b)) return tn_dim_const(g, 0);
    const tn_dim x = end_of(g, a, most, only), y = end_of(g, b, !most, only);
    if (!x.i || !y.i) return (tn_dim){0};
    return tn_dim_binary(g, k, x, tn_dim_is_made(g, b) ? tn_dim_max(g, y, tn_dim_const(g, 1)) : y);
}

static tn_dim end_of_remainder(tn_graph *g, tn_dim a, tn_dim b, bool most, tn_dim only) {
    const tn_dim zero = tn_dim_const(g, 0), one = tn_dim_const(g, 1);
    if (!never_negative(g, a) || !never_negative(g, b)) return (tn_dim){0};
    const tn_dim x = end_of(g, a, true, only), y = end_of(g, b, true, only);
    if (!most || !x.i || !y.i) return most ? (tn_dim){0} : zero;
    return tn_dim_min(g, x, tn_dim_max(g, tn_dim_sub(g, y, one), zero));
}

static tn_dim end_of(tn_graph *g, tn_dim d, bool most, tn_dim only) {
    const tn_dim_rec r = *tn_dim_rec_of(g, d);
    if (!r.made || (only.i && !tn_dim_mentions(g, d, only))) return d;
    if (r.kind == TN_DIM_SYM) return !most ? tn_dim_const(g, 0) : only.i ? r.under : r.most;
    if (r.kind == TN_DIM_MUL) return end_of_product(g, r.lhs, r.rhs, most, only);
    if (r.kind == TN_DIM_FLOORDIV || r.kind == TN_DIM_CEILDIV)
        return end_of_quotient(g, r.kind, r.lhs, r.rhs, most, only);
    if (r.kind == TN_DIM_MOD) return end_of_remainder(g, r.lhs, r.rhs, most, only);
    const tn_dim x = end_of(g, r.lhs, most, only), y = end_of(g, r.rhs, most, only);
    if (!x.i || !y.i) return (tn_dim){0};
    if (r.kind == TN_DIM_BCAST) return most ? tn_dim_max(g, x, y) : tn_dim_min(g, x, y);
    return tn_dim_binary(g, r.kind, x, y);
}

/* Made sizes are few and small, so that asking again costs little. */
static tn_dim end_if_known(tn_graph *g, tn_dim d, bool most) {
    if (!tn_dim_is_made(g, d)) return d;
    const tn_asking ask = tn_ask_begin(g);
    const tn_dim e = end_of(g, d, most, (tn_dim){0});
    return tn_ask_failed(g, ask) ? (tn_dim){0} : e;
}

tn_dim tn_dim_most(tn_graph *g, tn_dim d) {
    return end_if_known(g, d, true);
}

tn_dim tn_dim_least(tn_graph *g, tn_dim d) {
    return end_if_known(g, d, false);
}

static tn_dim last_made(const tn_graph *g, tn_dim d) {
    const tn_dim_rec *r = tn_dim_rec_of(g, d);
    if (!r->made) return (tn_dim){0};
    if (r->kind == TN_DIM_SYM) return d;
    const tn_dim a = last_made(g, r->lhs), b = last_made(g, r->rhs);
    return a.i > b.i ? a : b;
}

tn_dim tn_dim_without_last_made(tn_graph *g, tn_dim d) {
    const tn_dim sym = last_made(g, d);
    const tn_asking ask = tn_ask_begin(g);
    const tn_dim e = sym.i ? end_of(g, d, true, sym) : sym;
    return tn_ask_failed(g, ask) ? (tn_dim){0} : e;
}

tn_dim tn_type_most(tn_graph *g, tn_type t) {
    tn_dim n = tn_dim_const(g, 1);
    for (size_t k = 0; k < tn_type_rank(g, t) && n.i; k++) {
        const tn_dim most = tn_dim_most(g, tn_type_dims(g, t)[k]);
        n = most.i ? tn_dim_mul(g, n, most) : most;
    }
    return n;
}

/* ---- what makes them --------------------------------------------------------------------------------------------- */

/* Operands come before the expressions that use them. */
static void mark(tn_graph *g) {
    for (uint32_t i = 1; i < g->dims.recs.n; i++) {
        tn_dim_rec *r = &g->dims.recs.p[i];
        r->made =
            r->kind == TN_DIM_SYM ? r->most.i != 0 : tn_dim_rec_of(g, r->lhs)->made || tn_dim_rec_of(g, r->rhs)->made;
    }
}

tn_status tn_dim_set_most(tn_graph *g, tn_dim sym, tn_dim most) {
    if (!tn_graph_ok(g) || !tn_graph_is_whole(g)) return g->status;
    const tn_dim given = most;
    most = tn_dim_most(g, most);
    if (tn_dim_kind_of(g, sym) != TN_DIM_SYM || !most.i || tn_dim_mentions(g, most, sym))
        return tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "",
                             "a size that data makes is a symbol, and has a largest value that is none");
    const bool known = g->dims.recs.p[sym.i].made;
    g->dims.recs.p[sym.i].most = most;
    g->dims.recs.p[sym.i].under = tn_dim_mentions(g, given, sym) ? most : given;
    if (!known) mark(g);
    return g->status;
}

tn_dim tn_node_makes(const tn_graph *g, tn_node n) {
    switch (tn_node_op(g, n)) {
    case TN_OP_NONZERO: return TN_ATTRS_OF(g, n, nonzero)->count;
    case TN_OP_NMS: return TN_ATTRS_OF(g, n, nms)->count;
    case TN_OP_SIZE: return TN_ATTRS_OF(g, n, size)->count;
    default: return (tn_dim){0};
    }
}

tn_status tn_note_made(tn_graph *g, tn_node n) {
    const tn_val x = tn_node_input(g, n, 0), scores = tn_node_input(g, n, 1);
    tn_dim most = {0};
    if (!tn_graph_ok(g)) return g->status;
    switch (tn_node_op(g, n)) {
    case TN_OP_NONZERO: most = tn_val_dim(g, x, 0); break;
    case TN_OP_NMS: most = tn_type_numel(g, tn_val_type(g, scores)); break;
    case TN_OP_SIZE: most = TN_ATTRS_OF(g, n, size)->most; break;
    default: return TN_OK;
    }
    return tn_dim_set_most(g, tn_node_makes(g, n), most);
}
