/* imported.h: a model that was imported, and what its graph gives, for the tests of the ONNX importer. */
#ifndef TENON_TESTS_IMPORTED_H
#define TENON_TESTS_IMPORTED_H

#include "tests/onnx/case.h"
#include "tests/onnx/make.h"
#include "tests/unit/suite.h"

typedef struct imported {
    tn_env env;
    case_report r;
    tn_graph *g;
} imported;

static inline imported *import_with(pb *m, const tn_import_options *opts) {
    imported *i = calloc(1, sizeof *i);
    i->env = (tn_env){.diag = case_diag, .diag_user = &i->r};
    i->g = tn_import_onnx_memory(&i->env, m->p, m->n, NULL, opts, &i->r.status);
    pb_free(m);
    return i;
}

static inline void done(imported *i) {
    tn_graph_free(i->g);
    free(i);
}

/* The type of output k as text. */
static inline const char *type_of(const imported *i, size_t k) {
    static char buf[2][256];
    static int n;
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    ck_assert_int_eq((int)tn_verify(i->g), TN_OK);
    n = !n;
    tn_type_print(i->g, tn_val_type(i->g, tn_graph_output(i->g, k)), buf[n], sizeof buf[n]);
    return buf[n];
}

static inline size_t nodes_of(const imported *i, tn_op op) {
    size_t n = 0;
    TN_FOR_NODES(i->g, tn_graph_body(i->g), node)
    n += tn_node_op(i->g, node) == op;
    return n;
}

/* Evaluates a graph with one f32 input; the caller frees nothing: `want` gets output 0. */
static inline size_t outcome(imported *i, size_t rank, const int64_t *dims, float *x, float *want, size_t cap) {
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    tn_tensor in = {.dtype = TN_F32, .rank = (uint32_t)rank, .data = x, .bytes = 4}, out = {.dtype = TN_DTYPE_NONE};
    for (size_t k = 0; k < rank; k++) {
        in.dims[k] = dims[k];
        in.bytes *= (size_t)dims[k];
    }
    ck_assert_msg(tn_eval_graph(&i->env, i->g, &in, 1, &out, 1, NULL) == TN_OK, "%s", i->r.message);
    size_t n = (size_t)tn_tensor_numel(&out);
    ck_assert_uint_le(n, cap);
    memcpy(want, out.data, n * sizeof *want);
    tn_tensor_free(NULL, &out);
    return n;
}

/* Evaluates a graph with one f32 input of the given shape; checks output 0. */
static inline void expect(imported *i, size_t rank, const int64_t *dims, const float *x, size_t n, const float *want) {
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    tn_tensor in = {.dtype = TN_F32, .rank = (uint32_t)rank, .data = (void *)(uintptr_t)x, .bytes = 4},
              out = {.dtype = TN_DTYPE_NONE};
    for (size_t k = 0; k < rank; k++) {
        in.dims[k] = dims[k];
        in.bytes *= (size_t)dims[k];
    }
    ck_assert_msg(tn_eval_graph(&i->env, i->g, &in, 1, &out, 1, NULL) == TN_OK, "%s", i->r.message);
    ck_assert_uint_eq((size_t)tn_tensor_numel(&out), n);
    for (size_t k = 0; k < n; k++) {
        double got = tn_load_num(out.dtype, out.data, k);
        ck_assert_msg(fabs(got - (double)want[k]) <= 1e-5, "element %zu: %g, wanted %g", k, got, (double)want[k]);
    }
    tn_tensor_free(NULL, &out);
    done(i);
}

static inline pb *model1(pb *node, const char *dims, pb *init, int64_t opset) {
    pb *g = g_node(pb_new(), node);
    if (init) g_init(g, init);
    g_in(g, "x", 1, dims);
    return mk_model(g_out(g, "y"), opset);
}

#endif
