/* recognise.c: composites that a model spells out in core ops.  The rules are in rules/activations.c and
 * rules/composites.c; they expect canonical spelling (run canon and cse first) and none is exact: a composite rounds
 * differently from its expansion. */
#include "passes/rule.h"

tn_status tn_pass_recognise(tn_graph *g, tn_pass_ctx *ctx);

tn_status tn_pass_recognise(tn_graph *g, tn_pass_ctx *ctx) {
    static const tn_rules *const sets[] = {&tn_rules_activations, &tn_rules_norms};
    return tn_rewrite(g, ctx, sizeof sets / sizeof sets[0], sets);
}
