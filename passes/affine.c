/* affine.c: batch norms, scales and shifts by constants disappear into the weights of the convolution or matmul next to
 * them.
 *
 * No rule is exact: they round other intermediate values than the model did.  Weights are computed in double and
 * rounded once.  The rules are in rules/norm.c (batch norms), rules/scale.c (scales and shifts) and rules/branch.c
 * (parallel branches). */
#include "passes/rule.h"

tn_status tn_pass_affine(tn_graph *g, tn_pass_ctx *ctx);

tn_status tn_pass_affine(tn_graph *g, tn_pass_ctx *ctx) {
    static const tn_rules *const sets[] = {&tn_rules_norm_fold, &tn_rules_scale_fold, &tn_rules_branch_fold};
    return tn_rewrite(g, ctx, sizeof sets / sizeof sets[0], sets);
}
