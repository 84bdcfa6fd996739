/* jit.c: compile a model when the application starts, with a cache and a progress callback, and run it.
 *
 * usage: jit MODEL.onnx [CACHE_DIR]
 *
 * The first start compiles and tunes for the GPU of this machine; later starts find kernels and winners in the cache
 * and are ready in well under a second.  Compilation is an explicit call: running never compiles. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/compiler.h>

static void on_diag(void *user, const tn_diag *d) {
    (void)user;
    static const char *const names[] = {"note", "warning", "error"};
    fprintf(stderr, "%s: %s%s%s\n", names[d->severity], d->loc, *d->loc ? ": " : "", d->message);
}

static bool on_progress(void *user, const tn_progress *p) {
    (void)user;
    fprintf(stderr, "\r%-8s %3d %%  %.1f s, about %.0f s left   ", p->phase,
            p->total ? (int)(100 * p->done / p->total) : 0, p->elapsed_s, p->eta_s < 0 ? 0 : p->eta_s);
    return true; /* false cancels */
}

/* Runs the plan once on zeros and shows the shapes of its outputs. */
static tn_status run_once(tn_plan *plan, tn_context *context) {
    void *in[64] = {NULL}, *out[64] = {NULL};
    tn_status s = TN_OK;
    if (tn_plan_input_count(plan) > 64 || tn_plan_output_count(plan) > 64) return TN_E_UNSUPPORTED;
    for (size_t k = 0; s == TN_OK && k < tn_plan_input_count(plan); k++) {
        const tn_tensor_desc *d = tn_plan_input(plan, k);
        int64_t dims[TN_MAX_RANK];
        uint64_t n = 1;
        for (uint32_t j = 0; j < d->rank; j++) n *= (uint64_t)(dims[j] = d->dims[j] < 0 ? 1 : d->dims[j]);
        in[k] = calloc(1, tn_dtype_bytes(d->dtype, n) + 1);
        s = in[k] ? tn_context_set_shape(context, k, d->rank, dims) : TN_E_MEMORY;
    }
    for (size_t k = 0; s == TN_OK && k < tn_plan_output_count(plan); k++) {
        uint32_t rank;
        int64_t dims[TN_MAX_RANK];
        uint64_t n = 1;
        s = tn_context_output_most(context, k, &rank, dims);
        if (s != TN_OK) break;
        printf("%s:", tn_plan_output(plan, k)->name);
        for (uint32_t j = 0; j < rank; j++) printf(" %lld", (long long)dims[j]), n *= (uint64_t)dims[j];
        puts("");
        out[k] = malloc(tn_dtype_bytes(tn_plan_output(plan, k)->dtype, n) + 1);
        if (!out[k]) s = TN_E_MEMORY;
    }
    if (s == TN_OK) s = tn_context_run(context, (const void *const *)in, out);
    for (int k = 0; k < 64; k++) free(in[k]), free(out[k]);
    return s;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: jit MODEL.onnx [CACHE_DIR]\n");
        return 2;
    }
    tn_env env = {.diag = on_diag, .progress = on_progress};
    tn_compile_options options = {.precision = TN_FP16, .tune_seconds = 20, .cache_dir = argc > 2 ? argv[2] : NULL};
    tn_status status;
    void *bytes = NULL;
    size_t size = 0;

    tn_graph *graph = tn_import_file(&env, argv[1], NULL, &status);
    if (graph) status = tn_compile_memory(graph, &options, &bytes, &size);
    tn_graph_free(graph);
    fputs("\n", stderr);

    tn_plan *plan = status == TN_OK ? tn_plan_load_memory(&env, bytes, size, &status) : NULL;
    tn_context *context = plan ? tn_context_new(plan, NULL, &status) : NULL;
    if (context) status = run_once(plan, context);
    tn_context_free(context);
    tn_plan_free(plan);
    tn_free(&env, bytes, size);
    return tn_status_exit_code(status);
}
