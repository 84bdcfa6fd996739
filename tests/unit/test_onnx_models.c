/* Whole models: import, verify, and compare the reference's results with recorded outputs. */
#include "tests/onnx/case.h"
#include "tests/unit/suite.h"

typedef struct model_row {
    const char *name;
    double rtol, atol;
    case_fix fix;
} model_row;

/* Half precision models compute in f16 between layers, hence wider tolerances. */
static const model_row models[] = {
    {"cnn_mnist8", 1e-3, 1e-3, CASE_FIX_NONE},
    {"cnn_squeezenet_fp16", 2e-2, 2e-3, CASE_FIX_NONE},
    {"cnn_super_resolution_10", 1e-3, 1e-4, CASE_FIX_NONE},
    {"det_ultraface_rfb320", 1e-3, 1e-4, CASE_FIX_NONE},
    {"det_yunet_n_640", 1e-3, 1e-3, CASE_FIX_NONE},
    {"det_yunet_n_dynamic", 1e-3, 1e-3, CASE_FIX_NONE},
    {"det_fastestdet", 1e-3, 1e-4, CASE_FIX_NONE},
    {"policy_go1", 1e-3, 1e-4, CASE_FIX_NONE},
    {"attn_mnist_pgd_medium", 1e-3, 1e-4, CASE_FIX_NONE},
    {"deeploy_tinyvit", 1e-3, 1e-4, CASE_FIX_NONE},
    {"light_resnet50", 1e-3, 1e-5, CASE_FIX_NONE},
    {"light_squeezenet", 1e-3, 1e-5, CASE_FIX_NONE},
    {"light_inception_v1", 1e-3, 1e-5, CASE_FIX_NONE},
    {"light_densenet121", 1e-3, 1e-4, CASE_FIX_NONE},
    {"audio_basic_pitch_nmp", 1e-3, 1e-3, CASE_FIX_NONE},
    {"bert_tf_qa", 1e-3, 1e-3, CASE_FIX_NONE},
    {"deeploy_cct_2_op20", 1e-3, 1e-3, CASE_FIX_NONE},
    {"gpt2_past_fusiontest", 1e-3, 1e-3, CASE_FIX_NONE},
    {"text_magika_standard_v1", 1e-3, 1e-3, CASE_FIX_NONE},
    {"audio_dtln_1", 1e-3, 1e-4, CASE_FIX_NONE},
    {"audio_silero_vad_16k_op15", 1e-3, 1e-4, CASE_FIX_NONE},
    {"cnn_shufflenet_v2_int8", 1e-3, 1e-2, CASE_FIX_NONE},
    {"text_byte_bilstm", 1e-3, 1e-4, CASE_FIX_NONE},
};

START_TEST(model_matches_recorded_outputs) {
    const model_row *m = &models[_i];
    char root[1024], model[2048], dir[2048];
    if (!case_data_dir(root, sizeof root)) return;
    snprintf(model, sizeof model, "%s/models/%s.onnx", root, m->name);
    snprintf(dir, sizeof dir, "%s/models/%s/test_data_set_0", root, m->name);
    if (access(model, R_OK) != 0) {
        printf("skipped: no %s\n", model);
        return;
    }
    case_report r = case_run(model, dir, m->fix, m->rtol, m->atol);
    printf("%-28s %-9s error %.3g of tolerance  %s\n", m->name, r.stage, r.max_error, r.message);
    fflush(stdout);
    ck_assert_msg(r.status == TN_OK, "%s: %s: %s", m->name, r.stage, r.message);
}
END_TEST

int main(void) {
    Suite *s = suite_create("onnx_models");
    TCase *t = tcase_create("models");
    tcase_set_timeout(t, 250);
    tcase_add_loop_test(t, model_matches_recorded_outputs, 0, (int)(sizeof models / sizeof *models));
    suite_add_tcase(s, t);
    return run_suite(s);
}
