/* shape.c: see shape.h. */
#include "runtime/plan/shape.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "runtime/plan/dims.h"
#include "tenon/internal/list.h"

_Static_assert((int)TN_PLAN__CONDITION__REL__MULTIPLE == TN_REL_MULTIPLE, "plan.proto numbers relations as tn_rel");

enum { TEXT = 512 };

/* "[N,3,224]" of a description. */
static void expected_text(const tn_tensor_desc *d, char *buf, size_t size) {
    size_t used = (size_t)snprintf(buf, size, "[");
    for (uint32_t k = 0; k < d->rank && used < size; k++)
        used += (size_t)snprintf(buf + used, size - used, "%s%s", k ? "," : "", d->dim_text[k]);
    if (used < size) snprintf(buf + used, size - used, "]");
}

static void given_text(uint32_t rank, const int64_t *dims, char *buf, size_t size) {
    size_t used = (size_t)snprintf(buf, size, "[");
    for (uint32_t k = 0; k < rank && used < size; k++)
        used += (size_t)snprintf(buf + used, size - used, "%s%" PRId64, k ? "," : "", dims[k]);
    if (used < size) snprintf(buf + used, size - used, "]");
}

static tn_status mismatch(const tn_plan *p, size_t input, uint32_t rank, const int64_t *dims) {
    char want[TEXT], got[TEXT];
    expected_text(&p->inputs[input], want, sizeof want);
    given_text(rank, dims, got, sizeof got);
    return tn_fail(p->env, TN_E_TYPE, "", "give an input of the shape that the plan was compiled for",
                   "input '%s' takes %s%s, but %s is given", p->inputs[input].name,
                   tn_dtype_text(p->inputs[input].dtype), want, got);
}

/* An axis whose size the other inputs tell otherwise. */
static tn_status contradicts(const tn_plan *p, size_t input, size_t axis, int64_t given, int64_t is) {
    const tn_tensor_desc *d = &p->inputs[input];
    char want[TEXT];
    expected_text(d, want, sizeof want);
    return tn_fail(p->env, TN_E_TYPE, "", "give inputs whose sizes fit together",
                   "input '%s' takes %s%s: axis %zu is given as %" PRId64 ", but %s is %" PRId64, d->name,
                   tn_dtype_text(d->dtype), want, axis, given, d->dim_text[axis], is);
}

/* An axis whose size is outside the range of its symbol. */
static tn_status outside(const tn_plan *p, size_t input, size_t axis, int64_t given, int64_t lo, int64_t hi) {
    const tn_tensor_desc *d = &p->inputs[input];
    char want[TEXT], range[TN_RANGE_TEXT];
    expected_text(d, want, sizeof want);
    tn_dims_range_text(lo, hi, range);
    return tn_fail(p->env, TN_E_ARGUMENT, "", "give shapes within the range that the plan was compiled for",
                   "input '%s' takes %s%s: axis %zu is given as %" PRId64 ", but %s is %s", d->name,
                   tn_dtype_text(d->dtype), want, axis, given, d->dim_text[axis], range);
}

static tn_status check_ranges(const tn_plan *p, const tn_shape *inputs) {
    for (size_t i = 0; i < p->pb->n_inputs; i++)
        for (size_t k = 0; k < p->pb->inputs[i]->n_dims; k++) {
            const TnPlan__Dim *d = p->pb->dims[p->pb->inputs[i]->dims[k]];
            const int64_t v = inputs[i].d[k];
            int64_t lo, hi;
            if (d->kind != TN_PLAN__DIM__KIND__SYM || v < 0) continue; /* others are checked when they are solved */
            tn_dims_range(d, &lo, &hi);
            if (v < lo || v > hi) return outside(p, i, k, v, lo, hi);
        }
    return TN_OK;
}

tn_status tn_shape_check(const tn_plan *p, size_t input, uint32_t rank, const int64_t *dims) {
    const tn_tensor_desc *d = &p->inputs[input];
    bool fits = rank == d->rank;
    for (uint32_t k = 0; fits && k < rank; k++) fits = dims[k] >= 0 && (d->dims[k] < 0 || d->dims[k] == dims[k]);
    return fits ? TN_OK : mismatch(p, input, rank > TN_MAX_RANK ? TN_MAX_RANK : rank, dims);
}

size_t tn_shape_bytes(const TnPlan__Tensor *t, const int64_t *table) {
    uint64_t n = 1;
    bool overflow = false;
    for (size_t k = 0; k < t->n_dims; k++) {
        int64_t d = table[t->n_most ? t->most[k] : t->dims[k]];
        if (d < 0) return SIZE_MAX;
        overflow |= __builtin_mul_overflow(n, (uint64_t)d, &n);
    }
    return overflow ? SIZE_MAX : tn_dtype_bytes((tn_dtype)t->dtype, n);
}

static tn_status not_told(const tn_plan *p, const TnPlan__Dim *sym) {
    return tn_fail(p->env, TN_E_ARGUMENT, sym->name,
                   "call tn_context_set_shape for the inputs whose shape has names in it",
                   "the size %s is not known from the inputs' shapes", sym->name);
}

/* What the axes tell, or only those whose size is a symbol.  False: nothing new. */
static bool solve_round(const tn_plan *p, const tn_shape *inputs, bool symbols, int64_t *table, bool *known) {
    bool found = false;
    for (size_t i = 0; i < p->pb->n_inputs; i++)
        for (size_t k = 0; k < p->pb->inputs[i]->n_dims; k++) {
            const uint32_t d = p->pb->inputs[i]->dims[k];
            if (inputs[i].d[k] >= 0 && (!symbols || p->pb->dims[d]->kind == TN_PLAN__DIM__KIND__SYM))
                found |= tn_dims_solve(p->pb->n_dims, p->pb->dims, d, inputs[i].d[k], table, known);
        }
    return found;
}

/* Solves until nothing new is found: each round binds at least one symbol, so there are at most n_dims rounds.  Symbols first: what
 * contradicts them is the sum in which they stand, and not the other way round. */
static void solve(const tn_plan *p, const tn_shape *inputs, int64_t *table, bool *known) {
    solve_round(p, inputs, true, table, known);
    while (solve_round(p, inputs, false, table, known)) {
    }
}

/* "axis 1 of x (N = 5)", with "5" of a constant. */
static void size_text(const tn_plan *p, const char *of, uint32_t d, const int64_t *table, char *buf, size_t size) {
    char text[160] = "";
    if (p->pb->dims[d]->kind != TN_PLAN__DIM__KIND__CONST)
        tn_dims_print(p->pb->n_dims, p->pb->dims, d, text, sizeof text);
    snprintf(buf, size, "%s%s%s%s%" PRId64 "%s", of, *of ? " (" : "", text, *text ? " = " : "", table[d],
             *of ? ")" : "");
}

static void layers_text(const TnPlan__Condition *c, char *buf, size_t size) {
    tn_list list = tn_list_of(buf, size, c->n_layers);
    for (size_t k = 0; k < c->n_layers; k++) tn_list_put(&list, c->layers[k]);
}

static bool holds(const TnPlan__Condition *c, const int64_t *table) {
    return tn_rel_holds((tn_rel)c->rel, table[c->a], table[c->b]);
}

tn_status tn_condition_violated(const tn_plan *p, uint32_t condition, const int64_t *table, const char *hint) {
    const TnPlan__Condition *c = p->pb->conditions[condition];
    char a[TEXT], b[TEXT], loc[TEXT], text[2 * TEXT];
    size_text(p, c->of_a, c->a, table, a, sizeof a);
    size_text(p, c->of_b, c->b, table, b, sizeof b);
    layers_text(c, loc, sizeof loc);
    tn_rel_print_broken((tn_rel)c->rel, a, b, text, sizeof text);
    return tn_fail(p->env, TN_E_TYPE, loc, hint ? hint : "give inputs whose sizes fit together", "%s: %s", c->what,
                   text);
}

tn_status tn_conditions_check(const tn_plan *p, const int64_t *table) {
    for (uint32_t k = 0; k < p->pb->n_conditions; k++)
        if (!p->pb->conditions[k]->chosen && !holds(p->pb->conditions[k], table))
            return tn_condition_violated(p, k, table, NULL);
    return TN_OK;
}

bool tn_conditions_fail(const tn_plan *p, size_t n, const uint32_t *conditions, const int64_t *table, uint32_t *first) {
    size_t k = 0;
    while (k < n && holds(p->pb->conditions[conditions[k]], table)) k++;
    if (k < n) *first = conditions[k];
    return k < n;
}

tn_status tn_shapes_bind(const tn_plan *p, const tn_shape *inputs, int64_t *table, bool *known) {
    const TnPlan__Plan *pb = p->pb;
    memset(known, 0, pb->n_dims * sizeof *known);
    solve(p, inputs, table, known);
    for (size_t k = 0; k < pb->n_dims; k++)
        if (pb->dims[k]->kind == TN_PLAN__DIM__KIND__SYM && !known[k]) return not_told(p, pb->dims[k]);
    tn_status st = check_ranges(p, inputs);
    if (st == TN_OK) st = tn_dims_eval(p->env, pb->n_dims, pb->dims, table);
    for (size_t i = 0; st == TN_OK && i < pb->n_inputs; i++) {
        const TnPlan__Tensor *t = pb->inputs[i];
        for (size_t k = 0; k < t->n_dims; k++)
            if (table[t->dims[k]] != inputs[i].d[k]) return contradicts(p, i, k, inputs[i].d[k], table[t->dims[k]]);
        if (tn_shape_bytes(t, table) > PTRDIFF_MAX) return mismatch(p, i, (uint32_t)t->n_dims, inputs[i].d);
    }
    if (st == TN_OK) st = tn_conditions_check(p, table);
    for (size_t i = 0; st == TN_OK && i < pb->n_outputs; i++)
        if (tn_shape_bytes(pb->outputs[i], table) > PTRDIFF_MAX)
            return tn_fail(p->env, TN_E_ARGUMENT, pb->outputs[i]->name, "give smaller shapes",
                           "output '%s' has an impossible size at these shapes", pb->outputs[i]->name);
    return st == TN_OK ? tn_aliases_check(p, table) : st;
}
