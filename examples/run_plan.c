/* run_plan.c: load a plan and run it once; print the five largest elements of its first output.
 *
 * usage: run_plan PLAN [INPUT ...]
 *
 * An INPUT is a .npy file, or a file of raw elements, of exactly one input tensor, in the plan's order; an input
 * without a file is zeros.  Symbolic dims are taken as 1.  Links with libtenon_rt only, and needs a GPU. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/tenon.h>

enum { MAX_TENSORS = 32, TOP = 5 };

static void on_diag(void *user, const tn_diag *d) {
    static const char *const names[] = {"note", "warning", "error"};
    (void)user;
    fprintf(stderr, "%s: %s%s%s\n", names[d->severity], d->loc, *d->loc ? ": " : "", d->message);
    if (*d->hint) fprintf(stderr, "  hint: %s\n", d->hint);
}

static uint64_t elements(uint32_t rank, const int64_t *dims) {
    uint64_t n = 1;
    for (uint32_t k = 0; k < rank; k++) n *= (uint64_t)dims[k];
    return n;
}

/* Reads a tensor's bytes: the end of the file, so that a .npy file's header is skipped. */
static bool read_tensor(const char *path, void *data, size_t bytes) {
    FILE *f = fopen(path, "rb");
    bool ok = f && fseek(f, -(long)bytes, SEEK_END) == 0 && fread(data, 1, bytes, f) == bytes;
    if (!ok) fprintf(stderr, "error: %s does not hold a tensor of %zu bytes\n", path, bytes);
    if (f) fclose(f);
    return ok;
}

static tn_status prepare_inputs(tn_plan *plan, tn_context *context, char **files, int n_files, void **in) {
    for (size_t k = 0; k < tn_plan_input_count(plan); k++) {
        const tn_tensor_desc *d = tn_plan_input(plan, k);
        int64_t dims[TN_MAX_RANK];
        for (uint32_t j = 0; j < d->rank; j++) dims[j] = d->dims[j] < 0 ? 1 : d->dims[j];
        tn_status status = tn_context_set_shape(context, k, d->rank, dims);
        if (status != TN_OK) return status;
        size_t bytes = tn_dtype_bytes(d->dtype, elements(d->rank, dims));
        in[k] = calloc(1, bytes + 1);
        if (!in[k]) return TN_E_MEMORY;
        if ((int)k < n_files && !read_tensor(files[k], in[k], bytes)) return TN_E_IO;
    }
    return TN_OK;
}

/* Memory for an output, once its size is known: before the inference, or after it where data decides. */
static void *give_memory(void *user, size_t output, const char *name, size_t bytes, void *stream) {
    void **out = user;
    (void)name, (void)stream;
    return out[output] = malloc(bytes + 1);
}

static tn_status prepare_outputs(tn_plan *plan, tn_context *context, void **out) {
    const tn_output_allocator memory = {.allocate = give_memory, .user = out};
    tn_status status = TN_OK;
    for (size_t k = 0; status == TN_OK && k < tn_plan_output_count(plan); k++)
        status = tn_context_set_output_allocator(context, k, &memory);
    return status;
}

static void print_top(const char *name, float *x, uint64_t n) {
    printf("%s, largest of %llu:\n", name, (unsigned long long)n);
    for (int place = 0; place < TOP && (uint64_t)place < n; place++) {
        uint64_t best = 0;
        for (uint64_t k = 1; k < n; k++)
            if (x[k] > x[best]) best = k;
        printf("%8llu  %g\n", (unsigned long long)best, (double)x[best]);
        x[best] = -3e38f; /* taken */
    }
}

static tn_status run(tn_plan *plan, tn_context *context, char **files, int n_files) {
    void *in[MAX_TENSORS] = {NULL}, *out[MAX_TENSORS] = {NULL};
    int64_t dims[TN_MAX_RANK];
    uint32_t rank;
    tn_status status = TN_E_UNSUPPORTED;
    if (tn_plan_input_count(plan) <= MAX_TENSORS && tn_plan_output_count(plan) <= MAX_TENSORS)
        status = prepare_inputs(plan, context, files, n_files, in);
    if (status == TN_OK) status = prepare_outputs(plan, context, out);
    if (status == TN_OK) status = tn_context_run(context, (const void *const *)in, NULL);
    if (status == TN_OK) status = tn_context_output_shape(context, 0, &rank, dims);
    if (status == TN_OK && tn_plan_output(plan, 0)->dtype == TN_F32)
        print_top(tn_plan_output(plan, 0)->name, out[0], elements(rank, dims));
    for (int k = 0; k < MAX_TENSORS; k++) free(in[k]), free(out[k]);
    return status;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: run_plan PLAN [INPUT ...]\n");
        return tn_status_exit_code(TN_E_ARGUMENT);
    }
    tn_env env = {.diag = on_diag};
    tn_status status;
    tn_plan *plan = tn_plan_load(&env, argv[1], &status);
    tn_context *context = plan ? tn_context_new(plan, NULL, &status) : NULL;
    if (context) status = run(plan, context, argv + 2, argc - 2);
    tn_context_free(context);
    tn_plan_free(plan);
    return tn_status_exit_code(status);
}
