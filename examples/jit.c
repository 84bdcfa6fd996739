/* jit.c: compile a model when the application starts, run it at once, and tune it while there is nothing else to do.
 *
 * usage: jit MODEL.onnx [--cache DIR] [--cpu] [--idle SECONDS] [--size NAME=N]...
 *
 * The first start takes kernels that a cost model chooses, which is quick; idle time is spent on tuning, in steps of a second
 * (--idle: so much of it in this run, default 20), and each better plan is taken as soon as it is there.  Plans are in a cache that
 * processes share: later starts find them and compile nothing, and of several that start together one compiles.  --cpu: the
 * reference device, for machines without a GPU.  --size says how large a size is in this run that the model leaves
 * open, as tenon inspect writes it (of a decoder, say, --size sequence=3 --size 'past + sequence=4'); others are 1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/host.h>
#include <tenon/plan_cache.h>
#include <time.h>

enum { MAX_TENSORS = 512, MAX_SIZES = 16 };

typedef struct request {
    const char *model, *cache_dir;
    double idle;
    bool cpu;
    int n_sizes;
    const char *size[MAX_SIZES]; /* NAME=N */
} request;

static void on_diag(void *user, const tn_diag *d) {
    (void)user;
    static const char *const names[] = {"note", "warning", "error"};
    if (d->severity == TN_NOTE) return;
    fprintf(stderr, "%s: %s%s%s\n", names[d->severity], d->loc, *d->loc ? ": " : "", d->message);
    if (*d->hint) fprintf(stderr, "  hint: %s\n", d->hint);
}

/* Called all along, on the thread that compiles: a place for the application's own progress bar. */
static bool on_progress(void *user, const tn_progress *p) {
    (void)user;
    fprintf(stderr, "\r%-8s %3d %%  %.1f s, about %.0f s left   ", p->phase,
            p->total ? (int)(100 * p->done / p->total) : 0, p->elapsed_s, p->eta_s < 0 ? 0 : p->eta_s);
    return true; /* false cancels */
}

static double now(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Memory for an output, once its size is known. */
static void *give_memory(void *user, size_t output, const char *name, size_t bytes, void *stream) {
    void **out = user;
    (void)name, (void)stream;
    return out[output] = malloc(bytes + 1);
}

static int64_t size_of(const request *r, const tn_tensor_desc *d, uint32_t axis) {
    const size_t n = strlen(d->dim_text[axis]);
    if (d->dims[axis] >= 0) return d->dims[axis];
    for (int k = 0; k < r->n_sizes; k++)
        if (!strncmp(r->size[k], d->dim_text[axis], n) && r->size[k][n] == '=') return atoll(r->size[k] + n + 1);
    return 1;
}

/* Runs the plan once on zeros and adds up what comes out where that is float32. */
static tn_status run_once(const request *r, tn_context *context, tn_plan *plan, double *sum) {
    void *in[MAX_TENSORS] = {NULL}, *out[MAX_TENSORS] = {NULL};
    const tn_output_allocator memory = {.allocate = give_memory, .user = out};
    tn_status s = TN_OK;
    if (tn_plan_input_count(plan) > MAX_TENSORS || tn_plan_output_count(plan) > MAX_TENSORS) {
        fprintf(stderr, "error: more than %d inputs or outputs\n", MAX_TENSORS);
        return TN_E_UNSUPPORTED;
    }
    for (size_t k = 0; s == TN_OK && k < tn_plan_input_count(plan); k++) {
        const tn_tensor_desc *d = tn_plan_input(plan, k);
        int64_t dims[TN_MAX_RANK];
        uint64_t n = 1;
        for (uint32_t j = 0; j < d->rank; j++) n *= (uint64_t)(dims[j] = size_of(r, d, j));
        in[k] = calloc(1, tn_dtype_bytes(d->dtype, n) + 1);
        s = in[k] ? tn_context_set_shape(context, k, d->rank, dims) : TN_E_MEMORY;
    }
    for (size_t k = 0; s == TN_OK && k < tn_plan_output_count(plan); k++)
        s = tn_context_set_output_allocator(context, k, &memory);
    if (s == TN_OK) s = tn_context_run(context, (const void *const *)in, NULL);
    *sum = 0;
    for (size_t k = 0; s == TN_OK && k < tn_plan_output_count(plan); k++) {
        uint32_t rank;
        int64_t dims[TN_MAX_RANK];
        uint64_t n = tn_plan_output(plan, k)->dtype == TN_F32;
        s = tn_context_output_shape(context, k, &rank, dims);
        for (uint32_t j = 0; s == TN_OK && j < rank; j++) n *= (uint64_t)dims[j];
        for (uint64_t i = 0; s == TN_OK && i < n; i++) *sum += (double)((float *)out[k])[i];
    }
    for (int k = 0; k < MAX_TENSORS; k++) free(in[k]), free(out[k]);
    return s;
}

/* A second of tuning at a time, between which an application would look for work; contexts are made of each better plan. */
static tn_status tune_in_idle_time(tn_jit *jit, const tn_context_options *device, double seconds,
                                   tn_context **context) {
    tn_status s = TN_OK;
    for (const double until = now() + seconds; s == TN_OK && !tn_jit_tuned(jit) && now() < until;) {
        bool better;
        s = tn_tune_step(jit, 1, &better);
        if (s != TN_OK || !better) continue;
        tn_context *next = tn_context_new(tn_jit_plan(jit), device, &s);
        if (!next) break;
        tn_context_free(*context);
        *context = next;
    }
    return s;
}

static bool read_arguments(int argc, char **argv, request *r) {
    *r = (request){.idle = 20};
    for (int k = 1; k < argc; k++) {
        const char *next = k + 1 < argc ? argv[k + 1] : NULL;
        if (!strcmp(argv[k], "--cpu"))
            r->cpu = true;
        else if (argv[k][0] != '-' && !r->model)
            r->model = argv[k];
        else if (!next)
            return false;
        else if (!strcmp(argv[k], "--cache"))
            r->cache_dir = argv[++k];
        else if (!strcmp(argv[k], "--idle"))
            r->idle = atof(argv[++k]);
        else if (!strcmp(argv[k], "--size") && strchr(next, '=') && r->n_sizes < MAX_SIZES)
            r->size[r->n_sizes++] = argv[++k];
        else
            return false;
    }
    return r->model != NULL;
}

int main(int argc, char **argv) {
    request r;
    if (!read_arguments(argc, argv, &r)) {
        fprintf(stderr, "usage: jit MODEL.onnx [--cache DIR] [--cpu] [--idle SECONDS] [--size NAME=N]...\n");
        return tn_status_exit_code(TN_E_ARGUMENT);
    }
    static const char *const targets[] = {"sm_90a"};
    const tn_env env = {.diag = on_diag, .progress = on_progress};
    const tn_plan_cache cache = {.dir = r.cache_dir, .max_bytes = UINT64_C(4) << 30};
    tn_compile_options options = {.precision = r.cpu ? TN_FP32 : TN_FP16, .cache_dir = r.cache_dir};
    tn_context_options device = {.device = r.cpu ? TN_CPU : TN_CUDA, .host = tn_host_devices()};
    if (r.cpu) options.no_gpu = options.sources_only = true, options.targets = targets, options.n_targets = 1;

    tn_status status;
    double sum = 0;
    const double start = now();
    tn_jit *jit = tn_jit_new(&env, &cache, r.model, NULL, &options, &status);
    const double planned = now();
    tn_context *context = jit ? tn_context_new(tn_jit_plan(jit), &device, &status) : NULL;
    const double ready = now();
    if (context) status = run_once(&r, context, tn_jit_plan(jit), &sum);
    if (context && status == TN_OK)
        printf("plan after %.1f ms, ready after %.1f ms, first result after %.1f ms: %.6g\n", 1e3 * (planned - start),
               1e3 * (ready - start), 1e3 * (now() - start), sum);
    if (context && status == TN_OK) status = tune_in_idle_time(jit, &device, r.idle, &context);
    if (context && status == TN_OK) status = run_once(&r, context, tn_jit_plan(jit), &sum);
    if (context && status == TN_OK) printf("%s: %.6g\n", tn_jit_tuned(jit) ? "tuned" : "not yet tuned", sum);
    tn_context_free(context);
    tn_jit_free(jit);
    return tn_status_exit_code(status);
}
