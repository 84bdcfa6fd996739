/* bind.c: what bindings share; see bind.h. */
#include "codegen/bind/bind.h"

void tn_launch_1d(const tn_spec *s, tn_variant *v, tn_dim n, int64_t per_block, uint32_t block) {
    v->grid[0] = tn_dim_ceildiv(s->g, n, tn_dim_const(s->g, per_block));
    v->grid[1] = v->grid[2] = tn_dim_const(s->g, 1);
    v->block[0] = block;
    v->block[1] = v->block[2] = 1;
}

bool tn_anchor_is(const tn_spec *s, tn_op op) {
    return s->anchor.i && tn_node_op(s->g, s->anchor) == op;
}

double tn_knob_of(const char *tpl, const int64_t *knobs, const char *name) {
    const tn_template *t = tn_template_find(tpl);
    return t ? (double)tn_knob_get(t, knobs, name) : 0;
}

const char *tn_acc_type(tn_dtype t) {
    if (tn_dtype_is_float(t)) return tn_register_type(t);
    const bool u = tn_dtype_is_unsigned(t);
    return u ? "unsigned long long" : "long long";
}
