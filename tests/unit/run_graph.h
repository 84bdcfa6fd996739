/* run_graph.h: a graph compiled without a GPU and run once on the reference or on the emulated device. */
#ifndef TENON_TEST_RUN_GRAPH_H
#define TENON_TEST_RUN_GRAPH_H

#include <check.h>

#include "codegen/compile.h"
#include "ir/ir.h"
#include "tenon/compiler.h"
#include "tenon/host.h"
#include "tenon/tenon.h"

/* False where there is no C++ compiler for the emulated device; fails the test, with `what` and `said`, where something else is wrong.
 * `passes` as of tn_compile_options; the graph stays as it is. */
static inline bool run_graph(const tn_env *env, const char *what, const char *said, const tn_graph *g,
                             const char *passes, bool exact, tn_device device, const void *const *in,
                             void *const *out) {
    static const char *const target[] = {"sm_90a"};
    const tn_compile_options o = {.targets = target,
                                  .n_targets = 1,
                                  .exact = exact,
                                  .no_gpu = true,
                                  .sources_only = true,
                                  .cache_dir = "",
                                  .passes = passes,
                                  .threads = 1};
    void *bytes = NULL;
    size_t size = 0;
    tn_graph *own = tn_graph_clone(g);
    tn_status s = tn_compile_memory(own, &o, &bytes, &size);
    ck_assert_msg(s == TN_OK, "%s: %s", what, said);
    tn_plan *plan = tn_plan_load_memory(env, bytes, size, &s);
    ck_assert_msg(plan != NULL, "%s: %s", what, said);
    tn_context *ctx = tn_context_new(plan, &(tn_context_options){.device = device, .host = tn_host_devices()}, &s);
    ck_assert_msg(ctx || s == TN_E_NO_LIBRARY, "%s: %s", what, said);
    if (ctx) ck_assert_msg(tn_context_run(ctx, in, out) == TN_OK, "%s: %s", what, said);
    const bool ran = ctx != NULL;
    tn_context_free(ctx);
    tn_plan_free(plan);
    tn_free(env, bytes, size);
    tn_graph_free(own);
    return ran;
}

#endif
