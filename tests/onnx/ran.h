/* ran.h: an ONNX model in make.h's terms, run by the reference and, compiled, by the kernels on the emulated device, beside
 * numbers that the test computed by itself. */
#ifndef TENON_TESTS_RAN_H
#define TENON_TESTS_RAN_H

#include <math.h>

#include "tenon/compiler.h"
#include "tests/onnx/devices.h"

enum { RAN_MAX = 8 };

/* A tensor that is given, or wanted. */
typedef struct ran_tensor {
    tn_dtype dtype;
    uint32_t rank;
    int64_t dims[TN_MAX_RANK];
    const void *data;
} ran_tensor;

static inline size_t ran_count(const ran_tensor *t) {
    size_t n = 1;
    for (uint32_t k = 0; k < t->rank; k++) n *= (size_t)t->dims[k];
    return n;
}

static inline void ran_compare(const char *device, size_t k, const ran_tensor *want, uint32_t rank, const int64_t *dims,
                               tn_dtype t, const void *data, double tolerance) {
    ck_assert_msg(t == want->dtype && rank == want->rank, "%s: output %zu is %s of rank %u", device, k,
                  tn_dtype_text(t), rank);
    for (uint32_t i = 0; i < rank; i++)
        ck_assert_msg(dims[i] == want->dims[i], "%s: axis %u of output %zu is %lld, not %lld", device, i, k,
                      (long long)dims[i], (long long)want->dims[i]);
    for (size_t i = 0; i < ran_count(want); i++) {
        const double is = tn_load_num(t, data, i), should = tn_load_num(t, want->data, i);
        const bool same = is == should || (isnan(is) && isnan(should)) || fabs(is - should) <= tolerance;
        ck_assert_msg(same, "%s: output %zu[%zu] is %.9g, not %.9g", device, k, i, is, should);
    }
}

static inline void ran_on_reference(imported *i, size_t n_in, const ran_tensor *in, size_t n_out,
                                    const ran_tensor *want, double tolerance) {
    tn_tensor tin[RAN_MAX] = {{0}}, out[RAN_MAX] = {{0}};
    for (size_t k = 0; k < n_in; k++) {
        tin[k] = (tn_tensor){.dtype = in[k].dtype,
                             .rank = in[k].rank,
                             .data = (void *)(uintptr_t)in[k].data,
                             .bytes = tn_dtype_bytes(in[k].dtype, ran_count(&in[k]))};
        memcpy(tin[k].dims, in[k].dims, sizeof tin[k].dims);
    }
    ck_assert_msg(tn_eval_graph(&i->env, i->g, tin, n_in, out, n_out, NULL) == TN_OK, "%s", i->r.message);
    for (size_t k = 0; k < n_out; k++) {
        ran_compare("reference", k, &want[k], out[k].rank, out[k].dims, out[k].dtype, out[k].data, tolerance);
        tn_tensor_free(&i->env, &out[k]);
    }
}

static inline void ran_on_kernels_in(imported *i, tn_precision precision, size_t n_in, const ran_tensor *in,
                                     size_t n_out, const ran_tensor *want, double tolerance) {
    void *bytes = NULL, *out[RAN_MAX] = {NULL};
    size_t size = 0;
    tn_plan *p = NULL;
    tn_context *c = kernels_in(i, precision, &p, &bytes, &size);
    const void *from[RAN_MAX];
    uint32_t rank;
    int64_t dims[TN_MAX_RANK];
    for (size_t k = 0; c && k < n_in; k++) {
        from[k] = in[k].data;
        ck_assert_msg(tn_context_set_shape(c, k, in[k].rank, in[k].dims) == TN_OK, "%s", i->r.message);
    }
    for (size_t k = 0; c && k < n_out; k++) {
        ran_tensor room = want[k];
        ck_assert_msg(tn_context_output_most(c, k, &room.rank, room.dims) == TN_OK, "%s", i->r.message);
        out[k] = calloc(1, tn_dtype_bytes(room.dtype, ran_count(&room)) + 1);
    }
    if (c) ck_assert_msg(tn_context_run(c, from, out) == TN_OK, "%s", i->r.message);
    for (size_t k = 0; c && k < n_out; k++) {
        ck_assert_msg(tn_context_output_shape(c, k, &rank, dims) == TN_OK, "%s", i->r.message);
        ran_compare("kernels", k, &want[k], rank, dims, want[k].dtype, out[k], tolerance);
        free(out[k]);
    }
    tn_context_free(c);
    tn_plan_free(p);
    tn_free(&i->env, bytes, size);
}

static inline void ran_on_kernels(imported *i, size_t n_in, const ran_tensor *in, size_t n_out, const ran_tensor *want,
                                  double tolerance) {
    ran_on_kernels_in(i, TN_FP32, n_in, in, n_out, want, tolerance);
}

static inline void ran_with(pb *model, const tn_import_options *opts, size_t n_in, const ran_tensor *in, size_t n_out,
                            const ran_tensor *want, double tolerance) {
    imported *i = import_with(model, opts);
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    ran_on_reference(i, n_in, in, n_out, want, tolerance);
    ran_on_kernels(i, n_in, in, n_out, want, tolerance);
    done(i);
}

/* A simple, well mixed sequence. */
static inline double ran_number(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (double)(*state >> 8) / (double)(1 << 23) - 1;
}

#endif
