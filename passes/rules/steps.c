/* steps.c: see steps.h. */
#include "passes/rules/steps.h"

static bool is_step(const tn_graph *g, tn_node n) {
    const tn_op op = tn_node_op(g, n);
    if (op != TN_OP_CAST) return tn_op_is(op, TN_T_STEP);
    const tn_dtype to = TN_ATTRS_OF(g, n, cast)->to;
    return !tn_dtype_is_float(to) || tn_dtype_bits(to) <= 8;
}

static bool reaches(const tn_steps *s, tn_val v) {
    return v.i < s->reach.n && s->reach.p[v.i];
}

static void mark(tn_steps *s, tn_val v) {
    const tn_env *env = tn_graph_env(s->g);
    if (!v.i || reaches(s, v)) return;
    if (!TN_VEC_HAS(env, &s->reach, v.i) || !TN_VEC_ROOM(env, &s->todo, 1)) {
        s->oom = true;
        return;
    }
    s->reach.p[v.i] = true;
    s->todo.p[s->todo.n++] = v;
}

static void mark_operands(tn_steps *s, tn_node n) {
    for (size_t k = 0; k < tn_node_input_count(s->g, n); k++) mark(s, tn_node_input(s->g, n, k));
}

/* What reaches a marked value through smooth ops is marked, too. */
static void spread(tn_steps *s) {
    while (s->todo.n) {
        const tn_node def = tn_val_def(s->g, s->todo.p[--s->todo.n]);
        if (def.i && tn_op_is(tn_node_op(s->g, def), TN_T_SMOOTH)) mark_operands(s, def);
    }
}

void tn_steps_replace(tn_steps *s, tn_val a, tn_val b) {
    if (s->known && reaches(s, a)) mark(s, b);
    spread(s);
}

void tn_steps_add(tn_steps *s, uint32_t first_new) {
    for (uint32_t k = first_new; s->known && k < tn_graph_node_limit(s->g); k++)
        if (is_step(s->g, (tn_node){k})) mark_operands(s, (tn_node){k});
    spread(s);
}

static void find(tn_steps *s) {
    for (uint32_t k = 0; k < s->reach.n; k++) s->reach.p[k] = false;
    s->known = true;
    tn_steps_add(s, 1);
}

bool tn_reaches_step(tn_steps *s, tn_val v) {
    if (!s->known) find(s);
    return s->oom || reaches(s, v);
}

void tn_steps_free(tn_steps *s) {
    const tn_env *env = tn_graph_env(s->g);
    TN_VEC_FREE(env, &s->reach);
    TN_VEC_FREE(env, &s->todo);
}
