/* ir.c: see ir.h. */
#include "codegen/host/ir.h"

#include <string.h>

#include "ir/text/side.h"

typedef struct reader {
    const TnPlan__Plan *pb;
    const char *weights;
} reader;

/* A constant that is only there packed. */
static bool unpack(void *user, uint64_t offset, size_t size, void *to) {
    const reader *r = user;
    uint64_t plain, packed;
    for (size_t k = 0; k < r->pb->n_consts; k++) {
        const TnPlan__Const *c = r->pb->consts[k];
        const tn_packing how = tn_const_packing(c);
        if (!c->elsewhere || c->elsewhere != offset || !tn_packing_sizes(&how, &plain, &packed) || plain != size)
            continue;
        if (to) tn_packing_unpack(&how, r->weights + c->offset, to);
        return true;
    }
    return false;
}

tn_status tn_plan_graph(const tn_env *env, tn_plan *p, const char *source, tn_graph **out) {
    const TnPlan__Plan *pb = p->pb;
    const void *text, *weights = NULL;
    size_t size, weights_size = 0;
    *out = NULL;
    if (pb->ir == TN_NO_BLOB)
        return tn_fail(env, TN_E_UNSUPPORTED, source, "compile the plan again", "the plan holds no IR");
    tn_status st = tn_plan_blob(p, pb->ir, &text, &size);
    if (st == TN_OK && pb->weights != TN_NO_BLOB) st = tn_plan_blob(p, pb->weights, &weights, &weights_size);
    if (st != TN_OK) return st;
    reader r = {pb, weights};
    const tn_side side = {.p = weights, .size = weights_size, .make = unpack, .user = &r};
    tn_graph *g = tn_parse_side(env, source, text, size, &side, &st);
    if (!g) return st == TN_OK ? TN_E_MEMORY : st;
    st = tn_verify(g);
    if (st == TN_OK)
        *out = g;
    else
        tn_graph_free(g);
    return st;
}

void tn_options_of_plan(const TnPlan__Plan *pb, tn_compile_options *o) {
    const char *precision = pb->precision;
    o->precision = !strcmp(precision, "fp16")   ? TN_FP16
                   : !strcmp(precision, "bf16") ? TN_PREC_BF16
                   : !strcmp(precision, "tf32") ? TN_PREC_TF32
                                                : TN_FP32;
    o->exact = strstr(pb->options, " exact") != NULL;
    o->passes = ""; /* the graph is fused already */
}
