/* devices.h: what an imported model gives, by the reference and in kernels on the emulated device. */
#ifndef TENON_TESTS_DEVICES_H
#define TENON_TESTS_DEVICES_H

#include "tenon/host.h"
#include "tenon/tenon.h"
#include "tests/onnx/imported.h"

#define NUMS(...)                                                                                                      \
    (const double[]) {                                                                                                 \
        __VA_ARGS__                                                                                                    \
    }
#define DIMS(...)                                                                                                      \
    (const int64_t[]) {                                                                                                \
        __VA_ARGS__                                                                                                    \
    }

/* A tensor, its elements as doubles. */
typedef struct tensor {
    tn_dtype dtype;
    uint32_t rank;
    const int64_t *dims;
    const double *v;
} tensor;

enum { DEVICES_MAX = 8 };

static inline uint64_t tensor_numel(const tensor *t) {
    uint64_t n = 1;
    for (uint32_t k = 0; k < t->rank; k++) n *= (uint64_t)t->dims[k];
    return n;
}

static inline void *tensor_bytes(const tensor *t) {
    const uint64_t n = tensor_numel(t);
    void *p = calloc(n + 1, 8);
    for (uint64_t k = 0; k < n; k++)
        if (tn_dtype_is_float(t->dtype))
            tn_store_num(t->dtype, p, k, t->v[k]);
        else
            tn_store_int(t->dtype, p, k, (int64_t)t->v[k]);
    return p;
}

static inline void expect_tensor(const char *where, size_t output, tn_dtype dtype, uint32_t rank, const int64_t *dims,
                                 const void *data, const tensor *want) {
    ck_assert_msg(dtype == want->dtype && rank == want->rank, "%s: output %zu is %s of rank %u", where, output,
                  tn_dtype_text(dtype), rank);
    for (uint32_t k = 0; k < rank; k++)
        ck_assert_msg(dims[k] == want->dims[k], "%s: output %zu: axis %u is %lld, not %lld", where, output, k,
                      (long long)dims[k], (long long)want->dims[k]);
    for (uint64_t k = 0; k < tensor_numel(want); k++) {
        const double is = tn_load_num(dtype, data, k), should = want->v[k];
        ck_assert_msg(fabs(is - should) <= 1e-5 * (1 + fabs(should)), "%s: output %zu, element %llu: %g, wanted %g",
                      where, output, (unsigned long long)k, is, should);
    }
}

static inline void expect_by_reference(imported *i, const tensor *in, size_t n_in, const tensor *want, size_t n_out) {
    tn_tensor t[DEVICES_MAX], out[DEVICES_MAX] = {{.dtype = TN_DTYPE_NONE}};
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    ck_assert_msg(tn_verify(i->g) == TN_OK, "%s", i->r.message);
    ck_assert_uint_eq(tn_graph_output_count(i->g), n_out);
    ck_assert_uint_eq(tn_graph_input_count(i->g), n_in);
    for (size_t k = 0; k < n_in; k++) {
        t[k] = (tn_tensor){.dtype = in[k].dtype, .rank = in[k].rank, .data = tensor_bytes(&in[k])};
        for (uint32_t d = 0; d < in[k].rank; d++) t[k].dims[d] = in[k].dims[d];
        t[k].bytes = tn_dtype_bytes(in[k].dtype, tensor_numel(&in[k]));
    }
    ck_assert_msg(tn_eval_graph(&i->env, i->g, t, n_in, out, n_out, NULL) == TN_OK, "%s", i->r.message);
    for (size_t k = 0; k < n_out; k++) {
        expect_tensor("reference", k, out[k].dtype, out[k].rank, out[k].dims, out[k].data, &want[k]);
        tn_tensor_free(&i->env, &out[k]);
    }
    for (size_t k = 0; k < n_in; k++) free(t[k].data);
}

/* The model's kernels; NULL where nothing can execute them (no C++ compiler).  Consumes the graph. */
static inline tn_context *kernels_in(imported *i, tn_precision precision, tn_plan **plan, void **data, size_t *size) {
    static const char *const target = "sm_90a";
    const tn_compile_options opts = {.precision = precision,
                                     .targets = &target,
                                     .n_targets = 1,
                                     .no_gpu = true,
                                     .sources_only = true,
                                     .tune_seconds = -1,
                                     .cache_dir = ""};
    tn_status st = tn_compile_memory(i->g, &opts, data, size);
    ck_assert_msg(st == TN_OK, "%s", i->r.message);
    *plan = tn_plan_load_memory(&i->env, *data, *size, &st);
    ck_assert_msg(*plan != NULL, "%s", i->r.message);
    tn_context *c = tn_context_new(*plan, &(tn_context_options){.device = TN_EMU, .host = tn_host_devices()}, &st);
    if (!c) ck_assert_msg(st == TN_E_NO_LIBRARY, "%s", i->r.message);
    return c;
}
static inline tn_context *kernels_of(imported *i, tn_plan **plan, void **data, size_t *size) {
    return kernels_in(i, TN_FP32, plan, data, size);
}

static inline void expect_in_kernels(imported *i, tn_context *c, const tensor *in, size_t n_in, const tensor *want,
                                     size_t n_out) {
    void *bytes[DEVICES_MAX], *out[DEVICES_MAX];
    const void *ins[DEVICES_MAX];
    int64_t dims[TN_MAX_RANK];
    uint32_t rank;
    for (size_t k = 0; k < n_in; k++) {
        ck_assert_msg(tn_context_set_shape(c, k, in[k].rank, in[k].dims) == TN_OK, "%s", i->r.message);
        ins[k] = bytes[k] = tensor_bytes(&in[k]);
    }
    for (size_t k = 0; k < n_out; k++) {
        uint64_t room = 1;
        ck_assert_msg(tn_context_output_most(c, k, &rank, dims) == TN_OK, "%s", i->r.message);
        for (uint32_t d = 0; d < rank; d++) room *= (uint64_t)dims[d];
        out[k] = calloc(room + 1, 8);
    }
    ck_assert_msg(tn_context_run(c, ins, out) == TN_OK, "%s", i->r.message);
    for (size_t k = 0; k < n_out; k++) {
        ck_assert_msg(tn_context_output_shape(c, k, &rank, dims) == TN_OK, "%s", i->r.message);
        expect_tensor("kernels", k, want[k].dtype, rank, dims, out[k], &want[k]);
        free(out[k]);
    }
    for (size_t k = 0; k < n_in; k++) free(bytes[k]);
}

/* The model in kernels at inputs that it must refuse, saying why. */
static inline void expect_refused_in_kernels(imported *i, tn_context *c, const tensor *in, size_t n_in,
                                             const char *why) {
    void *bytes[DEVICES_MAX], *out[DEVICES_MAX];
    const void *ins[DEVICES_MAX];
    for (size_t k = 0; k < n_in; k++) {
        ck_assert_msg(tn_context_set_shape(c, k, in[k].rank, in[k].dims) == TN_OK, "%s", i->r.message);
        ins[k] = bytes[k] = tensor_bytes(&in[k]);
    }
    for (size_t k = 0; k < DEVICES_MAX; k++) out[k] = calloc(4096, 8);
    *i->r.message = 0;
    ck_assert_int_ne(tn_context_run(c, ins, out), TN_OK);
    ck_assert_msg(strstr(i->r.message, why) != NULL, "%s", i->r.message);
    for (size_t k = 0; k < DEVICES_MAX; k++) free(out[k]);
    for (size_t k = 0; k < n_in; k++) free(bytes[k]);
}

/* The model by the reference, then in kernels, where both must give the same; frees it. */
static inline void expect_values(imported *i, const tensor *in, size_t n_in, const tensor *want, size_t n_out) {
    tn_plan *plan = NULL;
    void *data = NULL;
    size_t size = 0;
    expect_by_reference(i, in, n_in, want, n_out);
    tn_context *c = kernels_of(i, &plan, &data, &size);
    if (c) expect_in_kernels(i, c, in, n_in, want, n_out);
    tn_context_free(c);
    tn_plan_free(plan);
    tn_free(&i->env, data, size);
    done(i);
}

#endif
