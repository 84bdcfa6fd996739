/* Whole models through the standard pipeline, in f32 and f16: how many kernels they become, memory plans checked on
 * tags, and the fused graph's results against the recorded outputs.  With TENON_MATRIX_TURN=N a model's results are computed in f32, in
 * f16 or not, which N moves on. */
#include "tests/onnx/case.h"
#include "tests/unit/suite.h"

#include "codegen/program/program.h"
#include "tests/unit/graph_gen.h"

typedef struct model_row {
    const char *name;
    size_t kernels;   /* at most, in f16 */
    double tolerance; /* of f16 results, |error| / (1 + |value|); 0: activations pass the range of f16, results not
                         compared */
} model_row;

/* det_fastestdet: 29 of 41140 box coordinates are off by more than 0.05; its small activations meet large weights. */
static const model_row models[] = {
    {"cnn_mnist8", 6, 5e-3},
    {"cnn_squeezenet_fp16", 32, 5e-3},
    {"cnn_super_resolution_10", 6, 5e-3},
    {"det_ultraface_rfb320", 57, 5e-3},
    {"det_yunet_n_640", 66, 2e-2},
    {"det_yunet_n_dynamic", 68, 2e-2},
    {"det_fastestdet", 89, 0.2},
    {"policy_go1", 6, 5e-3},
    {"attn_mnist_pgd_medium", 14, 5e-3},
    {"deeploy_tinyvit", 65, 5e-3},
    {"light_resnet50", 58, 5e-3},
    {"light_squeezenet", 33, 5e-3},
    {"light_inception_v1", 74, 5e-3},
    {"light_densenet121", 184, 5e-2},
};

typedef struct run {
    tn_env env;
    case_report report;
    tn_tensor in[CASE_MAX_IO];
    size_t n_in;
} run;

static void read_inputs(run *r, const tn_graph *g, const char *dir) {
    r->n_in = tn_graph_input_count(g);
    ck_assert_uint_le(r->n_in, CASE_MAX_IO);
    for (size_t k = 0; k < r->n_in; k++) {
        char path[2300];
        tn_host_tensor h;
        snprintf(path, sizeof path, "%s/input_%zu.pb", dir, k);
        ck_assert_msg(tn_read_tensor_pb(&r->env, path, &h) == TN_OK, "%s", path);
        r->in[k] = (tn_tensor){.dtype = h.dtype, .rank = h.rank, .data = h.data, .bytes = h.bytes};
        memcpy(r->in[k].dims, h.dims, sizeof h.dims);
    }
}

/* Values of symbols from the inputs' shapes. */
static size_t bind_symbols(const run *r, const tn_graph *g, tn_binding *b, size_t cap) {
    size_t n = 0;
    for (size_t k = 0; k < r->n_in; k++)
        for (size_t a = 0; a < r->in[k].rank; a++) {
            tn_dim d = tn_val_dim(g, tn_graph_input(g, k), a);
            if (tn_dim_kind_of(g, d) == TN_DIM_SYM && n < cap)
                b[n++] = (tn_binding){tn_dim_name(g, d), r->in[k].dims[a]};
        }
    return n;
}

static void check_outputs(run *r, tn_graph *g, const char *name, const char *dir, double tolerance) {
    tn_tensor out[64] = {{0}};
    size_t n = tn_graph_output_count(g);
    tn_eval_opts o = {.fast = true};
    ck_assert_uint_le(n, 64);
    ck_assert_msg(tn_eval_graph(&r->env, g, r->in, r->n_in, out, n, &o) == TN_OK, "%s: %s", name, r->report.message);
    for (size_t k = 0; k < n; k++) {
        char path[2300];
        tn_host_tensor want;
        double worst = 0;
        snprintf(path, sizeof path, "%s/output_%zu.pb", dir, k);
        ck_assert_msg(tn_read_tensor_pb(&r->env, path, &want) == TN_OK, "%s", path);
        for (int64_t i = 0; i < tn_tensor_numel(&out[k]); i++) {
            double x = tn_load_num(want.dtype, want.data, (uint64_t)i),
                   y = tn_load_num(out[k].dtype, out[k].data, (uint64_t)i);
            double d = fabs(x - y) / (1 + fabs(x));
            if (!(d <= worst)) worst = d;
        }
        ck_assert_msg(worst <= tolerance, "%s: output %zu is off by %g", name, k, worst);
        tn_free(&r->env, want.data, want.bytes);
        tn_tensor_free(&r->env, &out[k]);
    }
}

static void check_model(const model_row *m, tn_dtype compute, bool outputs) {
    char root[1024], model[2048], dir[2048];
    run r = {.env = {.diag = case_diag, .diag_user = &r.report}};
    if (!case_data_dir(root, sizeof root)) return;
    snprintf(model, sizeof model, "%s/models/%s.onnx", root, m->name);
    snprintf(dir, sizeof dir, "%s/models/%s/test_data_set_0", root, m->name);
    if (access(model, R_OK) != 0) {
        printf("skipped: no %s\n", model);
        return;
    }
    tn_status s;
    tn_graph *g = tn_import_onnx(&r.env, model, NULL, &s);
    ck_assert_msg(g != NULL, "%s: %s", m->name, r.report.message);
    tn_pass_options o = {.compute = compute, .nhwc = true, .check_ranges = compute == TN_F16};
    ck_assert_msg(gen_run(&r.env, g, NULL, &o) == TN_OK, "%s: %s", m->name, r.report.message);
    size_t kernels = gen_count(g, TN_OP_KERNEL);
    printf("%-26s %-5s %3zu kernels\n", m->name, tn_dtype_text(compute), kernels);
    fflush(stdout);
    ck_assert_msg(compute == TN_F32 || kernels <= m->kernels, "%s: %zu kernels, were %zu", m->name, kernels,
                  m->kernels);
    tn_memory plan;
    tn_binding b[16];
    ck_assert_msg(tn_plan_memory(g, &plan) == TN_OK, "%s: %s", m->name, r.report.message);
    read_inputs(&r, g, dir);
    ck_assert_msg(tn_check_memory(g, &plan, b, bind_symbols(&r, g, b, 16), 1u << 26) == TN_OK, "%s: %s", m->name,
                  r.report.message);
    double tolerance = compute == TN_F32 ? 1e-3 : m->tolerance;
    if (outputs) check_outputs(&r, g, m->name, dir, tolerance);
    for (size_t k = 0; k < r.n_in; k++) tn_free(&r.env, r.in[k].data, r.in[k].bytes);
    tn_memory_free(g, &plan);
    tn_graph_free(g);
}

START_TEST(f32) {
    check_model(&models[_i], TN_F32, in_turn((size_t)_i, 3));
}
END_TEST
START_TEST(f16) {
    check_model(&models[_i], TN_F16, in_turn((size_t)_i + 1, 3));
}
END_TEST
START_TEST(bf16) {
    check_model(&models[_i], TN_BF16, false);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("fused_models");
    TCase *tc = tcase_create("models");
    int n = (int)(sizeof models / sizeof *models);
    tcase_set_timeout(tc, 250);
    tcase_add_loop_test(tc, f32, 0, n);
    tcase_add_loop_test(tc, f16, 0, n);
    tcase_add_loop_test(tc, bf16, 0, n);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
