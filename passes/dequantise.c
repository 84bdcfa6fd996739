/* dequantise.c: products of dequantised 8-bit integers become products of integers (rules/dequantise.c): first of all, as the
 * importers leave them, while weights are what the model stores. */
#include "passes/rule.h"

tn_status tn_pass_dequantise(tn_graph *g, tn_pass_ctx *ctx);

tn_status tn_pass_dequantise(tn_graph *g, tn_pass_ctx *ctx) {
    static const tn_rules *const sets[] = {&tn_rules_dequantise};
    return tn_rewrite(g, ctx, sizeof sets / sizeof sets[0], sets);
}
