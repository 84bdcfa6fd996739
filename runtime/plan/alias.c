/* alias.c: outputs that grow in the buffers of inputs: where their elements are. */
#include "runtime/plan/shape.h"

const TnPlan__Alias *tn_alias_of(const TnPlan__Plan *pb, bool output, size_t k) {
    for (size_t i = 0; i < pb->n_aliases; i++)
        if ((output ? pb->aliases[i]->output : pb->aliases[i]->input) == k) return pb->aliases[i];
    return NULL;
}

tn_rows tn_rows_of(const TnPlan__Plan *pb, bool output, size_t k, const int64_t *table) {
    const TnPlan__Tensor *t = output ? pb->outputs[k] : pb->inputs[k];
    const TnPlan__Alias *a = tn_alias_of(pb, output, k);
    const size_t bytes = tn_shape_bytes(t, table);
    if (!a) return (tn_rows){1, bytes, bytes, bytes};
    tn_rows r = {1, bytes, bytes, (size_t)table[a->bytes]};
    size_t step = tn_dtype_bits((tn_dtype)t->dtype) / 8;
    if (!a->capacity) return r;
    for (size_t i = t->n_dims; i-- > a->axis + 1;) step *= (size_t)table[t->dims[i]];
    for (size_t i = 0; i < a->axis; i++) r.n *= (size_t)table[t->dims[i]];
    r.run = step * (size_t)table[t->dims[a->axis]];
    r.pitch = step * (size_t)a->capacity;
    return r;
}

/* What tn_rows_of says lies in the buffer. */
static bool alias_fits(const TnPlan__Plan *pb, const TnPlan__Alias *a, const int64_t *table) {
    const TnPlan__Tensor *x = pb->inputs[a->input], *y = pb->outputs[a->output];
    const int64_t from = table[x->dims[a->axis]], to = table[y->dims[a->axis]];
    uint64_t need = tn_dtype_bits((tn_dtype)y->dtype) / 8;
    bool bad = from > to || (a->capacity && to > (int64_t)a->capacity) || table[a->bytes] < 0;
    for (size_t k = 0; k < y->n_dims; k++) {
        const int64_t v = table[y->dims[k]];
        const uint64_t size = k == a->axis && a->capacity ? a->capacity : (uint64_t)v;
        bad |= v < 0 || (k != a->axis && v != table[x->dims[k]]) || __builtin_mul_overflow(need, size, &need);
    }
    return !bad && need <= (uint64_t)table[a->bytes];
}

tn_status tn_aliases_check(const tn_plan *p, const int64_t *table) {
    for (size_t k = 0; k < p->pb->n_aliases; k++) {
        const TnPlan__Alias *a = p->pb->aliases[k];
        const char *name = p->pb->outputs[a->output]->name;
        if (!alias_fits(p->pb, a, table))
            return tn_fail(p->env, TN_E_ARGUMENT, name, "give smaller shapes",
                           "output '%s' does not fit the buffer of input '%s' at these shapes", name,
                           p->pb->inputs[a->input]->name);
    }
    return TN_OK;
}
