/* spec_of_text.h: the kernels of a graph that is given as text, and the spec of the first. */
#ifndef TENON_TEST_SPEC_OF_TEXT_H
#define TENON_TEST_SPEC_OF_TEXT_H

#include <string.h>

#include "codegen/tune/internal.h"
#include "passes/pass.h"
#include "tests/unit/suite.h"

typedef struct kernels {
    tn_graph *g;
    tn_memory mem;
    tn_spec *s; /* of the first kernel */
} kernels;

static inline void fuse(kernels *k) {
    const tn_pass_options o = {.compute = TN_F32, .nhwc = true};
    tn_pass_ctx *ctx = tn_pass_ctx_new(NULL, &o);
    ck_assert_int_eq(tn_run_passes(k->g, "fuse", ctx), TN_OK);
    ck_assert_int_eq(tn_plan_memory(k->g, &k->mem), TN_OK);
    tn_pass_ctx_free(ctx);
}

static inline kernels open_text(const char *text) {
    tn_status st;
    kernels k = {.g = tn_parse(NULL, "test", text, strlen(text), NULL, 0, true, &st)};
    ck_assert_msg(k.g != NULL, "%s: %s", tn_status_text(st), text);
    fuse(&k);
    TN_FOR_NODES(k.g, tn_graph_body(k.g), n) {
        if (tn_node_op(k.g, n) == TN_OP_KERNEL && !k.s) ck_assert_int_eq(tn_spec_make(k.g, n, &k.mem, &k.s), TN_OK);
    }
    ck_assert_ptr_nonnull(k.s);
    return k;
}

static inline void close_kernels(kernels *k) {
    tn_spec_free(k->s);
    tn_memory_free(k->g, &k->mem);
    tn_graph_free(k->g);
}

#define FUNC(args, outs, body) "func @main(" args ") -> (" outs ") {\n" body "}\n"

#endif
