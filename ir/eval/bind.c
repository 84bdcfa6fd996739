/* bind.c: the symbols' values, learnt from shapes. */
#include "ir/eval/run.h"
#include "tenon/internal/memory.h"

#include <stdio.h>

tn_status tn_run_bind(tn_run *r, const char *name, int64_t value) {
    tn_binding *p = tn_grow(r->env, r->bind, &r->cap_bind, r->n_bind + 1, sizeof *p);
    if (!p) return tn_fail(r->env, TN_E_MEMORY, "", "", "out of memory");
    r->bind = p;
    r->bind[r->n_bind++] = (tn_binding){name, value};
    return TN_OK;
}

bool tn_run_dim(const tn_run *r, tn_dim d, int64_t *out) {
    return tn_dim_eval(r->g, d, r->bind, r->n_bind, out);
}

const tn_eval_cut *tn_eval_cut_of(const tn_eval_opts *opts, tn_val v) {
    for (size_t k = 0; opts->rows && k < opts->rows->n_cut; k++)
        if (opts->rows->cut[k].v.i == v.i) return &opts->rows->cut[k];
    return NULL;
}

bool tn_run_size(const tn_run *r, tn_val v, size_t axis, int64_t *out) {
    const tn_eval_cut *cut = tn_eval_cut_of(&r->opts, v);
    if (!tn_run_dim(r, tn_type_dims(r->g, tn_val_type(r->g, v))[axis], out)) return false;
    if (cut && cut->axis == axis) *out = *out / r->opts.rows->of * r->opts.rows->n;
    return true;
}

/* The only symbol of d without a value; none if there are several or none.  *many is set in the first case. */
static tn_dim open_symbol(const tn_run *r, tn_dim d, bool *many, int depth) {
    tn_dim none = {0};
    tn_dim_kind k = tn_dim_kind_of(r->g, d);
    if (k == TN_DIM_NONE || k == TN_DIM_CONST) return none;
    if (k == TN_DIM_SYM) {
        int64_t v;
        return tn_run_dim(r, d, &v) ? none : d;
    }
    if (depth > 200) {
        *many = true;
        return none;
    }
    tn_dim a = open_symbol(r, tn_dim_lhs(r->g, d), many, depth + 1),
           b = open_symbol(r, tn_dim_rhs(r->g, d), many, depth + 1);
    if (a.i && b.i && a.i != b.i) *many = true;
    return a.i ? a : b;
}

/* d with sym = x. */
static bool probe(tn_run *r, tn_dim d, const char *sym, int64_t x, int64_t *out) {
    if (tn_run_bind(r, sym, x) != TN_OK) return false;
    bool ok = tn_run_dim(r, d, out);
    r->n_bind--;
    return ok;
}

/* Solves d = v for d's one open symbol, where d is affine in it. */
static bool solve(tn_run *r, tn_dim d, int64_t v, tn_dim *sym, int64_t *x) {
    bool many = false;
    int64_t f1 = 0, f2 = 0, f = 0;
    *sym = open_symbol(r, d, &many, 0);
    const char *name = sym->i && !many ? tn_dim_name(r->g, *sym) : NULL;
    if (!name || !probe(r, d, name, 1, &f1) || !probe(r, d, name, 2, &f2) || f1 == f2) return false;
    int64_t slope = 0, rise = 0, past = 0;
    if (__builtin_sub_overflow(f2, f1, &slope) || __builtin_sub_overflow(v, f1, &rise) || rise % slope != 0)
        return false;
    if (__builtin_add_overflow(rise / slope, (int64_t)1, &past)) return false;
    *x = past;
    return probe(r, d, name, past, &f) && f == v;
}

bool tn_run_unify(tn_run *r, tn_val v, const tn_tensor *t, size_t *axis, tn_status *status) {
    const tn_dim *dims = tn_type_dims(r->g, tn_val_type(r->g, v));
    *status = TN_OK;
    /* Plain symbols first: they make the expressions that follow computable. */
    for (int pass = 0; pass < 2; pass++) {
        for (size_t k = 0; k < t->rank; k++) {
            int64_t size = 0;
            tn_dim sym = dims[k];
            *axis = k;
            if (tn_run_size(r, v, k, &size)) {
                if (size != t->dims[k]) return false;
                continue;
            }
            bool plain = tn_dim_kind_of(r->g, dims[k]) == TN_DIM_SYM;
            size = t->dims[k];
            if (plain ? pass == 0 : pass == 1 && solve(r, dims[k], t->dims[k], &sym, &size)) {
                int64_t lo = INT64_MIN, hi = INT64_MAX;
                tn_dim_bounds(r->g, sym, &lo, &hi);
                if (size < lo || size > hi) return false;
                *status = tn_run_bind(r, tn_dim_name(r->g, sym), size);
                if (*status != TN_OK) return false;
            }
        }
    }
    return true;
}

/* "N = 5", or "5" of a constant. */
static void size_text(const tn_graph *g, tn_dim d, int64_t v, char *buf, size_t size) {
    char text[96] = "";
    if (!tn_dim_is_const(g, d, NULL)) tn_dim_print(g, d, text, sizeof text);
    snprintf(buf, size, "%s%s%lld", text, *text ? " = " : "", (long long)v);
}

/* Conditions on symbols that no input tells concern what only the data decides: the ops check those. */
tn_status tn_run_check_conditions(const tn_run *r, tn_region region) {
    for (size_t k = 0; k < tn_condition_count(r->g); k++) {
        tn_condition c = tn_condition_at(r->g, k);
        int64_t a = 0, b = 0;
        if (tn_condition_region(r->g, &c).i != region.i) continue;
        if (!tn_run_dim(r, c.a, &a) || !tn_run_dim(r, c.b, &b) || tn_rel_holds(c.rel, a, b)) continue;
        char loc[512], left[128], right[128], text[768];
        tn_loc_print(r->g, c.loc, loc, sizeof loc);
        size_text(r->g, c.a, a, left, sizeof left);
        size_text(r->g, c.b, b, right, sizeof right);
        tn_condition_print(&c, left, right, text, sizeof text);
        return tn_fail(r->env, TN_E_TYPE, loc, "give inputs whose sizes fit together", "%s: %s", c.what, text);
    }
    return TN_OK;
}
