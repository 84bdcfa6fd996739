/* integer.c: products of int32 that are products of 8-bit integers become those, which tensor cores compute, with what zero points add
 * beside them (rules/integer.c).
 *
 * Behind layout, so that padding stands where the convolution will have it, and behind fold, which makes int32 constants of
 * quantised weights: here they get 8 bits again. */
#include "passes/rule.h"

tn_status tn_pass_integer(tn_graph *g, tn_pass_ctx *ctx);

tn_status tn_pass_integer(tn_graph *g, tn_pass_ctx *ctx) {
    static const tn_rules *const sets[] = {&tn_rules_integer};
    return tn_rewrite(g, ctx, sizeof sets / sizeof sets[0], sets);
}
