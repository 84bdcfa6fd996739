/* canon.c: one spelling for everything.  The rules are in rules/arith.c, rules/clamp.c, rules/shape.c, rules/slice.c,
 * rules/hoist.c, rules/reduce.c and rules/window.c. */
#include "passes/rule.h"

tn_status tn_pass_canon(tn_graph *g, tn_pass_ctx *ctx);

tn_status tn_pass_canon(tn_graph *g, tn_pass_ctx *ctx) {
    static const tn_rules *const sets[] = {&tn_rules_arith, &tn_rules_logic, &tn_rules_clamp,  &tn_rules_shape,
                                           &tn_rules_slice, &tn_rules_hoist, &tn_rules_reduce, &tn_rules_window};
    return tn_rewrite(g, ctx, sizeof sets / sizeof sets[0], sets);
}
