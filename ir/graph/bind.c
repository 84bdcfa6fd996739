/* bind.c: giving a symbol a value, an expression or a narrower range, throughout the graph.
 *
 * Every dim that depends on the symbol is built again from its operands, so that it is canonical under what is now
 * known; then come the inputs' types and the conditions, which say what sizes are equal now; then types and attributes
 * are mapped, and the types of all nodes are inferred again in order, because a rule may say more about sizes that it
 * now knows (and refuse what it could not refuse before). */
#include <string.h>

#include "ir/internal.h"

typedef struct rebinding {
    tn_graph *g;
    uint32_t n_dims, n_types;
    tn_dim *dims; /* by old handle */
    tn_type *types;
} rebinding;

static tn_dim mapped(const rebinding *m, tn_dim d) {
    return d.i < m->n_dims && m->dims ? m->dims[d.i] : d;
}

/* As types and attributes have it. */
static tn_dim written(const rebinding *m, tn_dim d) {
    return tn_dim_reduced(m->g, mapped(m, d));
}

/* Its factors are multiplied at once, as they were. */
static tn_dim map_product(const rebinding *m, tn_dim d) {
    tn_dim factors[TN_MONO_DEGREE + 1];
    size_t n = tn_mono_atoms(m->g, d, factors, TN_MONO_DEGREE + 1);
    if (n > TN_MONO_DEGREE + 1) return tn_dim_overflow(m->g);
    for (size_t k = 0; k < n; k++) factors[k] = m->dims[factors[k].i];
    return tn_dim_product(m->g, factors, n);
}

/* Operands come before the expressions that use them.  True if any dim changed. */
static bool map_dims(rebinding *m, tn_dim sym, tn_dim with) {
    tn_graph *g = m->g;
    bool changed = false;
    for (uint32_t i = 1; i < m->n_dims && tn_graph_ok(g); i++) {
        const tn_dim_rec r = g->dims.recs.p[i];
        m->dims[i] = (tn_dim){i};
        if (i == sym.i)
            m->dims[i] = with;
        else if (r.kind > TN_DIM_SYM &&
                 (g->dims.recs.p[i].touched = g->dims.recs.p[r.lhs.i].touched || g->dims.recs.p[r.rhs.i].touched))
            m->dims[i] = r.kind == TN_DIM_MUL ? map_product(m, (tn_dim){i})
                                              : tn_dim_binary(g, r.kind, m->dims[r.lhs.i], m->dims[r.rhs.i]);
        changed = changed || m->dims[i].i != i;
    }
    return changed;
}

static tn_type map_type(const rebinding *m, tn_type t) {
    const tn_type_rec r = m->g->types.p[t.i];
    tn_dim dims[TN_MAX_RANK];
    for (uint32_t k = 0; k < r.rank; k++) dims[k] = mapped(m, r.dims[k]);
    return t.i ? tn_type_make(m->g, r.dtype, r.rank, dims) : t;
}

/* Conditions leave these as they are, and are used by what they say. */
static void map_inputs(rebinding *m) {
    for (size_t k = 0; k < tn_graph_input_count(m->g); k++) {
        tn_type *t = &m->g->vals.p[tn_graph_input(m->g, k).i].type;
        *t = map_type(m, *t);
    }
}

static void map_types(rebinding *m) {
    tn_graph *g = m->g;
    for (uint32_t i = 1; i < m->n_types && tn_graph_ok(g); i++) m->types[i] = map_type(m, (tn_type){i});
    for (uint32_t i = 1; i < g->vals.n && tn_graph_ok(g); i++)
        if (g->vals.p[i].arg_of.i != g->body.i) g->vals.p[i].type = m->types[g->vals.p[i].type.i];
}

static tn_status map_attrs(rebinding *m, tn_node n) {
    tn_graph *g = m->g;
    const tn_node_rec *r = &g->nodes.p[n.i];
    tn_op_info info = tn_op_info_of(r->op);
    tn_any_attrs flat;
    bool changed = false;
    memcpy(&flat, r->attrs, info.attrs.size);
    for (size_t k = 0; k < info.attrs.n_fields; k++) {
        const tn_field *f = &info.attrs.fields[k];
        void *p = (char *)&flat + f->offset;
        if (f->kind == TN_FIELD_dim) {
            tn_dim *d = p;
            changed = changed || written(m, *d).i != d->i;
            *d = written(m, *d);
        } else if (f->kind == TN_FIELD_dims && ((tn_dims *)p)->n) {
            tn_dims *list = p;
            tn_dim *copy = tn_graph_alloc(g, list->n * sizeof *copy);
            if (!copy) return g->status;
            for (uint32_t j = 0; j < list->n; j++) {
                copy[j] = written(m, list->p[j]);
                changed = changed || copy[j].i != list->p[j].i;
            }
            list->p = copy;
        }
    }
    if (!changed) return TN_OK;
    void *copy = tn_graph_alloc(g, info.attrs.size);
    if (!copy) return g->status;
    memcpy(copy, &flat, info.attrs.size);
    g->nodes.p[n.i].attrs = copy;
    return TN_OK;
}

/* A fused kernel's arguments have its operands' types. */
static void retype_kernel_args(tn_graph *g, tn_node n) {
    for (size_t s = 0; s < tn_node_subregion_count(g, n); s++) {
        tn_region r = tn_node_subregion(g, n, s);
        for (size_t k = 0; k < tn_region_arg_count(g, r) && k < tn_node_input_count(g, n); k++) {
            tn_type t = tn_val_type(g, tn_node_input(g, n, k));
            if (t.i) g->vals.p[tn_region_arg(g, r, k).i].type = t;
        }
    }
}

/* Nesting is bounded by TN_MAX_NESTING. */
static tn_status infer_region(rebinding *m, tn_region r) {
    tn_graph *g = m->g;
    TN_FOR_NODES(g, r, n) {
        tn_status st = map_attrs(m, n);
        if (st == TN_OK && tn_node_op(g, n) == TN_OP_KERNEL) retype_kernel_args(g, n);
        for (size_t k = 0; st == TN_OK && k < tn_node_subregion_count(g, n); k++)
            st = infer_region(m, tn_node_subregion(g, n, k));
        if (st == TN_OK) st = tn_node_retype(g, n, true);
        if (st != TN_OK) return st;
    }
    return TN_OK;
}

/* Where sizes that are known now choose a branch: the other one has sizes that cannot be. */
static void take_branches(rebinding *m, tn_region r) {
    tn_graph *g = m->g;
    tn_node next;
    for (tn_node n = tn_region_first(g, r); n.i && tn_graph_ok(g); n = next) {
        int64_t first = 0;
        const tn_node before = tn_node_prev(g, n);
        const tn_dim sizes = tn_node_op(g, n) == TN_OP_IF ? TN_ATTRS_OF(g, n, branch)->sizes : (tn_dim){0};
        if (sizes.i && tn_dim_is_const(g, written(m, sizes), &first)) {
            tn_take_region(g, n, first ? 0 : 1);
            next = before.i ? tn_node_next(g, before) : tn_region_first(g, r);
            continue;
        }
        for (size_t k = 0; k < tn_node_subregion_count(g, n); k++) take_branches(m, tn_node_subregion(g, n, k));
        next = tn_node_next(g, n);
    }
}

static void unlist(tn_graph *g, tn_dim sym) {
    for (uint32_t k = 0; k < g->dims.syms.n; k++)
        if (g->dims.syms.p[k].i == sym.i) {
            memmove(&g->dims.syms.p[k], &g->dims.syms.p[k + 1], (g->dims.syms.n - k - 1) * sizeof *g->dims.syms.p);
            g->dims.syms.n--;
            g->dims.recs.p[sym.i].listed = false;
            return;
        }
}

static tn_dim map_one(const void *user, tn_dim d) {
    return mapped(user, d);
}

/* Under what the conditions say now. */
static void retype(rebinding *m) {
    m->g->edits++;
    m->n_types = m->g->types.n;
    m->types = tn_alloc(m->g->env, m->n_types * sizeof *m->types);
    if (!m->types) tn_graph_oom(m->g);
    if (tn_graph_ok(m->g)) map_types(m);
    if (tn_graph_ok(m->g)) infer_region(m, m->g->body);
    tn_free(m->g->env, m->types, m->n_types * sizeof *m->types);
}

tn_status tn_graph_retype(tn_graph *g) {
    rebinding m = {.g = g};
    if (tn_graph_ok(g)) retype(&m);
    return g->status;
}

/* What m maps a dim to becomes what that is with the symbol replaced.  True if any did. */
static bool map_symbol(rebinding *m, tn_dim sym, tn_dim with) {
    tn_graph *g = m->g;
    rebinding one = {.g = g, .n_dims = g->dims.recs.n};
    one.dims = tn_alloc(g->env, one.n_dims * sizeof *one.dims);
    if (!one.dims) return tn_graph_oom(g), false;
    for (uint32_t i = 0; i < one.n_dims; i++) g->dims.recs.p[i].touched = i == sym.i;
    const bool changed = map_dims(&one, sym, with);
    for (uint32_t i = 1; i < m->n_dims; i++) m->dims[i] = mapped(&one, m->dims[i]);
    tn_free(g->env, one.dims, one.n_dims * sizeof *one.dims);
    return changed;
}

/* Everything that has been mapped, in the graph and in what is held. */
static void replace(rebinding *m, tn_dim *held, size_t n) {
    tn_graph *g = m->g;
    tn_equals_forget(g);
    take_branches(m, g->body);
    map_inputs(m);
    tn_conditions_map(g, map_one, m);
    tn_equals_find(g);
    if (tn_graph_ok(g)) retype(m);
    for (size_t k = 0; tn_graph_ok(g) && k < n; k++) held[k] = written(m, held[k]);
}

/* False if nothing has to be mapped: it is said already, or cannot be. */
static bool take(tn_graph *g, const tn_size_said *x) {
    const tn_dim_rec *r = &g->dims.recs.p[x->sym.i];
    if (x->with.i == x->sym.i) {
        if (r->lo == x->lo && r->hi == x->hi) return false;
        tn_dims_set_range(g, x->sym, x->lo, x->hi);
    } else if (!tn_dim_mentions(g, x->with, x->sym)) {
        unlist(g, x->sym);
        tn_buckets_bind(g, x->sym, x->with);
    }
    return true;
}

static tn_status check_said(tn_graph *g, const tn_size_said *x) {
    if (tn_dim_kind_of(g, x->sym) != TN_DIM_SYM || tn_dim_kind_of(g, x->with) == TN_DIM_NONE)
        return tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "", "only a symbol can be bound, and only to a size");
    if (x->with.i == x->sym.i && x->lo > x->hi)
        return tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "",
                             "a range needs a symbol and a lower bound that is not above the upper");
    return TN_OK;
}

tn_status tn_dims_say(tn_graph *g, const tn_size_said *said, size_t n_said, tn_dim *held, size_t n) {
    if (!tn_graph_ok(g) || !tn_graph_is_whole(g)) return g->status;
    for (size_t k = 0; k < n_said; k++)
        if (check_said(g, &said[k]) != TN_OK) return g->status;
    rebinding m = {.g = g, .n_dims = g->dims.recs.n};
    m.dims = tn_alloc(g->env, m.n_dims * sizeof *m.dims);
    if (!m.dims) return tn_graph_oom(g);
    for (uint32_t i = 1; i < m.n_dims; i++) m.dims[i] = (tn_dim){i};
    bool changed = false;
    for (size_t k = 0; k < n_said && tn_graph_ok(g); k++)
        if (take(g, &said[k])) changed |= map_symbol(&m, said[k].sym, said[k].with);
    if (changed && tn_graph_ok(g)) replace(&m, held, n);
    tn_free(g->env, m.dims, m.n_dims * sizeof *m.dims);
    return g->status;
}

tn_status tn_dim_bind(tn_graph *g, tn_dim sym, tn_dim with) {
    const tn_size_said x = {.sym = sym, .with = with};
    if (sym.i == with.i && tn_dim_kind_of(g, sym) == TN_DIM_SYM) return g->status;
    return tn_dims_say(g, &x, 1, NULL, 0);
}

void tn_dim_set_range(tn_graph *g, tn_dim sym, int64_t lo, int64_t hi) {
    const tn_size_said x = {.sym = sym, .with = sym, .lo = lo, .hi = hi};
    tn_dims_say(g, &x, 1, NULL, 0);
}
