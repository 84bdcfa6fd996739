/* Several steps in one translation unit: whatever a generated header declares stands in a namespace of its step, and no
 * macro of one step reaches another. */
#include <math.h>

#include "codegen/tune/build.h"
#include "codegen/tune/nvrtc_loader.h"
#include "kernel_cases.h"
#include "runtime/emu/emu.h"
#include "tests/unit/suite.h"

enum { MAX_STEPS = 64 };

/* One variant of each template, of the kernels of all cases. */
static struct {
    const tn_template *tpl[MAX_STEPS];
    tn_variant v[MAX_STEPS];
    const tn_variant *all[MAX_STEPS];
    size_t n;
} steps;

static bool has_step(const tn_template *t, const char *symbol) {
    for (size_t k = 0; k < steps.n; k++)
        if (steps.tpl[k] == t || (symbol && !strcmp(steps.v[k].symbol, symbol))) return true;
    return false;
}

static void take_step(tn_variant *v) {
    steps.tpl[steps.n] = v->tpl;
    steps.v[steps.n] = *v;
    steps.all[steps.n] = &steps.v[steps.n];
    steps.n++;
}

static void collect(const fused *f, tn_node kernel, const char *file) {
    tn_spec *s;
    (void)file;
    ck_assert_msg(tn_spec_make(f->g, kernel, &f->m, &s) == TN_OK, "%s", messages);
    for (size_t k = 0; k < tn_template_count(); k++) {
        const tn_template *t = tn_template_at(k);
        tn_variant *v;
        size_t n;
        if (has_step(t, s->name) || tn_enumerate(s, tn_arch_find("sm_90a"), t, 1, &v, &n) != TN_OK) continue;
        for (size_t i = 0; i < n; i++)
            if (has_step(t, v[i].symbol))
                tn_variant_free(&env, &v[i]);
            else
                take_step(&v[i]);
        tn_free(&env, v, n * sizeof *v);
    }
    tn_spec_free(s);
}

static void release_steps(void) {
    while (steps.n) tn_variant_free(&env, &steps.v[--steps.n]);
}

/* The source with a line behind it for each macro that some step defines: an error where it is defined still. */
static char *no_macro_left(const char *text) {
    char *all = NULL;
    size_t size;
    FILE *f = open_memstream(&all, &size);
    fputs(text, f);
    for (size_t k = 0; k < steps.n; k++)
        for (const char *p = steps.v[k].header; (p = strstr(p, "\n#define ")); p++) {
            const int n = (int)strcspn(p + 9, " (\n");
            fprintf(f, "#ifdef %.*s\n#error %.*s is left\n#endif\n", n, p + 9, n, p + 9);
        }
    fclose(f);
    return all;
}

START_TEST(a_step_of_every_template) {
    static const char *const files[] = {"elementwise", "movement", "index", "reduce", "rows",    "windows",
                                        "matmul",      "recur",    "sort",  "edges",  "symbolic"};
    tn_nvrtc *rtc;
    char *text, arch[] = "--gpu-architecture=sm_90a", path[512];
    size_t size;
    if (tn_nvrtc_open(&env, &rtc) != TN_OK) {
        printf("skipped: there is no NVRTC\n");
        return;
    }
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        snprintf(path, sizeof path, DIR_KERNELS "/%s.tn", files[k]);
        for_cases(path, collect);
    }
    ck_assert_uint_ge(steps.n, 25);
    ck_assert_int_eq(tn_variants_source(&env, steps.all, steps.n, &text, &size), TN_OK);
    const char *options[] = {arch, "--std=c++17", "-minimal"};
    nvrtcProgram program;
    char *source = no_macro_left(text);
    ck_assert_int_eq(rtc->nvrtcCreateProgram(&program, source, "steps.cu", 0, NULL, NULL), NVRTC_SUCCESS);
    const nvrtcResult r = rtc->nvrtcCompileProgram(program, 3, options);
    size_t log = 0;
    rtc->nvrtcGetProgramLogSize(program, &log);
    char *said = calloc(1, log + 1);
    rtc->nvrtcGetProgramLog(program, said);
    ck_assert_msg(r == NVRTC_SUCCESS, "%.4000s", said);
    rtc->nvrtcDestroyProgram(&program);
    free(said);
    free(source);
    tn_free(&env, text, size + 1);
    release_steps();
    tn_nvrtc_close(rtc);
}
END_TEST

/* ---- two that run ------------------------------------------------------------------------------------------------ */

enum { ROWS = 8, COLS = 12, N = ROWS * COLS };

static const char *const small[] = {"func @clipped(%x: f32[8,12], %n: f32[8,12]) -> f32[8,12] {\n"
                                    "  %0 = add %x, %n : f32[8,12]\n"
                                    "  %1 = relu %0 : f32[8,12]\n"
                                    "  return %1\n"
                                    "}\n",
                                    "func @shares(%x: f32[8,12]) -> f32[8,12] {\n"
                                    "  %0 = softmax %x {axis=1} : f32[8,12]\n"
                                    "  return %0\n"
                                    "}\n",
                                    "func @sums(%x: f32[8,12]) -> f32[8] {\n"
                                    "  %0 = reduce_sum %x {axes=[1]} : f32[8]\n"
                                    "  return %0\n"
                                    "}\n"};
enum { N_SMALL = sizeof small / sizeof *small };

static _Alignas(64) float x[N], y[N], z[N];
static uint32_t blocks[MAX_STEPS];

static void collect_small(const char *text) {
    fused f;
    tn_spec *s;
    tn_variant *v;
    size_t n;
    int64_t count = 1;
    fuse("small", text, strlen(text), &f);
    TN_FOR_NODES(f.g, tn_graph_body(f.g), kernel) {
        if (tn_node_op(f.g, kernel) != TN_OP_KERNEL) continue;
        ck_assert_int_eq(tn_spec_make(f.g, kernel, &f.m, &s), TN_OK);
        ck_assert_int_eq(tn_enumerate(s, tn_arch_find("sm_90a"), NULL, 1, &v, &n), TN_OK);
        ck_assert_msg(!v->grid[0].i || tn_dim_is_const(f.g, v->grid[0], &count), "a grid of any size");
        blocks[steps.n] = (uint32_t)count;
        take_step(v);
        tn_free(&env, v, n * sizeof *v);
        tn_spec_free(s);
    }
    unfuse(&f);
}

/* Step k of the module on the buffers, in the order of its arguments. */
static void run_step(tn_emu_module *m, size_t k, float *const *buffers) {
    const tn_variant *v = &steps.v[k];
    uint64_t args[TN_MAX_ARGS];
    tn_emu_range ranges[8];
    const void *params[] = {args};
    tn_emu_launch l = {.grid = {blocks[k], 1, 1},
                       .block = {v->block[0], v->block[1] ? v->block[1] : 1, 1},
                       .smem = v->smem,
                       .params = params,
                       .ranges = ranges,
                       .n_ranges = v->n_args};
    tn_emu_kernel *kernel;
    tn_emu_report rep;
    ck_assert_uint_le(v->n_args, 8);
    for (uint32_t a = 0; a < v->n_args; a++) {
        const bool is_in = v->args[a].kind == TN_ARG_IN;
        args[a] = (uint64_t)(uintptr_t)buffers[a];
        ranges[a] = (tn_emu_range){buffers[a], sizeof x, !is_in, true, is_in ? "an input" : "an output"};
    }
    ck_assert_msg(tn_emu_get(m, v->symbol, &kernel) == TN_OK, "%s", messages);
    ck_assert_msg(tn_emu_run(kernel, &l, &rep) == TN_OK, "%s", messages);
    ck_assert_msg(rep.fault == TN_EMU_OK, "%s: %s", v->symbol, rep.text);
}

static bool no_compiler(void) {
    if (system("${TENON_CXX:-${CXX:-c++}} --version > /dev/null 2>&1") == 0) return false;
    printf("skipped: there is no C++ compiler\n");
    return true;
}

START_TEST(steps_that_run) {
    char *text;
    size_t size;
    tn_emu_module *m;
    if (no_compiler()) return;
    for (size_t k = 0; k < N_SMALL; k++) collect_small(small[k]);
    ck_assert_uint_eq(steps.n, N_SMALL);
    ck_assert_int_eq(tn_variants_source(&env, steps.all, steps.n, &text, &size), TN_OK);
    ck_assert_msg(tn_emu_load(&env, "steps", text, size, &m) == TN_OK, "%s", messages);
    for (int k = 0; k < N; k++) x[k] = (float)(k % 7) - 3, y[k] = 0.25f * (float)(k % 5);
    run_step(m, 0, (float *[]){x, y, z});
    for (int k = 0; k < N; k++) ck_assert_float_eq(z[k], fmaxf(x[k] + y[k], 0));
    run_step(m, 1, (float *[]){x, z});
    run_step(m, 2, (float *[]){x, y});
    for (int r = 0; r < ROWS; r++) {
        double sum = 0, of = 0;
        for (int c = 0; c < COLS; c++) sum += x[r * COLS + c], of += exp(x[r * COLS + c]);
        ck_assert_float_eq_tol(y[r], (float)sum, 1e-5f);
        for (int c = 0; c < COLS; c++)
            ck_assert_float_eq_tol(z[r * COLS + c], (float)(exp(x[r * COLS + c]) / of), 1e-6f);
    }
    tn_emu_unload(m);
    tn_free(&env, text, size + 1);
    release_steps();
}
END_TEST

int main(void) {
    TCase *t = tcase_create("steps_source");
    tcase_add_test(t, a_step_of_every_template);
    tcase_add_test(t, steps_that_run);
    tcase_set_timeout(t, 240);
    Suite *s = suite_create("steps_source");
    suite_add_tcase(s, t);
    return run_suite(s);
}
