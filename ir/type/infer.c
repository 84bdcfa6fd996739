/* infer.c: result types of an op: arity and presence of operands are checked here, the rest by the op's type rule. */
#include <stdio.h>
#include <string.h>

#include "ir/internal.h"

static void operand_text(const tn_infer_ctx *c, char *buf, size_t size) {
    tn_out o = tn_out_fixed(buf, size);
    for (size_t k = 0; k < c->n_in && o.n < size; k++) {
        tn_out_str(&o, k ? ", " : "");
        if (c->in[k].i)
            tn_out_type(&o, c->g, tn_val_type(c->g, c->in[k]));
        else
            tn_out_str(&o, "absent");
    }
}

tn_status tn_infer_error(tn_infer_ctx *c, const char *fmt, ...) {
    char message[768], operands[512], loc[512];
    if (c->g->on_trial) return TN_E_TYPE;
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    operand_text(c, operands, sizeof operands);
    return tn_fail(c->g->env, TN_E_TYPE, tn_loc_text(c->g, c->g->infer_loc, loc, sizeof loc), "", "%s: %s%s%s%s",
                   tn_op_text(c->op), message, c->n_in ? " (operands " : "", operands, c->n_in ? ")" : "");
}

/* Of an op that takes any number of operands, only a loop's trip count and condition may be absent. */
static bool may_be_absent(const tn_infer_ctx *c, const tn_op_info *info, size_t k) {
    return info->hi >= 0 ? k >= (size_t)info->lo : c->op == TN_OP_LOOP && k < 2;
}

static tn_status check_operands(tn_infer_ctx *c) {
    const tn_op_info info = tn_op_info_of(c->op);
    if (c->n_in < (size_t)info.lo) return tn_infer_error(c, "takes at least %d operands, has %zu", info.lo, c->n_in);
    if (info.hi >= 0 && c->n_in > (size_t)info.hi)
        return tn_infer_error(c, "takes at most %d operands, has %zu", info.hi, c->n_in);
    for (size_t k = 0; k < c->n_in; k++) {
        if (!c->in[k].i && !may_be_absent(c, &info, k)) return tn_infer_error(c, "operand %zu is absent", k);
        if (c->in[k].i && !tn_val_type(c->g, c->in[k]).i) return tn_infer_error(c, "operand %zu is no value", k);
    }
    if (c->n_regions && !tn_op_is(c->op, TN_T_REGIONS)) return tn_infer_error(c, "takes no regions");
    return TN_OK;
}

tn_status tn_infer(tn_graph *g, tn_op op, const void *attrs, size_t n_inputs, const tn_val *inputs, size_t n_regions,
                   const tn_region *regions, tn_type *types, size_t cap, size_t *n_results) {
    if (n_results) *n_results = 0;
    if (!tn_graph_ok(g)) return g->status;
    if ((int)op <= TN_OP_NONE || op >= TN_OP_COUNT)
        return tn_fail(g->env, TN_E_ARGUMENT, "", "", "%d is not an op", (int)op);
    tn_any_attrs flat;
    tn_attrs_flat(op, attrs, &flat);
    tn_infer_ctx c = {g, op, &flat, n_inputs, inputs, n_regions, regions, types, cap, 0};
    tn_status st = check_operands(&c);
    if (st == TN_OK) st = tn_op_rule(op)(&c);
    int want = tn_op_info_of(op).results;
    if (st == TN_OK && g->status == TN_OK && want >= 0 && c.n_out != (size_t)want)
        st = tn_infer_error(&c, "has %zu results instead of %d", c.n_out, want);
    if (g->status == TN_E_MEMORY) return TN_E_MEMORY;
    if (g->status != TN_OK) { /* arithmetic on dims overflowed: refuses this op, not the graph */
        st = g->status;
        g->status = TN_OK;
    }
    if (st == TN_OK && n_results) *n_results = c.n_out;
    return st;
}
