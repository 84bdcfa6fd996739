/* Every template over its knobs: the kernels of tests/kernels/ (all .tn files there) are fused, specified, enumerated,
 * and their variants compiled and run.
 *
 * NVRTC compiles each chosen variant for one of sm_80, sm_89, sm_90a and sm_100 in turn.  The emulated device executes
 * it, and results are compared with the reference.  What is missing, NVRTC or the compiler, is skipped with a line that
 * says so.
 *
 * By default a variant is chosen while it shows a knob value not yet seen of its template.  TENON_KERNELS_ALL=1: all
 * variants and architectures; TENON_KERNELS=NAME: only files with NAME in their name.  `test_kernels print FILE.tn`
 * prints the headers of the best variants. */
#include <check.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/build.h"
#include "codegen/emit.h"
#include "ir/eval/eval.h"
#include "runtime/emu/emu.h"
#include "runtime/nvrtc_loader.h"
#include "kernel_cases.h"

static unsigned n_run;

/* ---- which variants
 * -------------------------------------------------------------------------------------------------------- */

typedef struct seen {
    char what[96];
} seen;
static seen *covered;
static size_t n_covered;

static bool cover(const char *tpl, const char *knob, int64_t v, const char *kind) {
    char what[96];
    snprintf(what, sizeof what, "%s %s=%lld %s", tpl, knob, (long long)v, kind);
    for (size_t k = 0; k < n_covered; ++k)
        if (!strcmp(covered[k].what, what)) return false;
    covered = realloc(covered, (n_covered + 1) * sizeof *covered);
    memcpy(covered[n_covered++].what, what, sizeof what);
    return true;
}

static bool choose(const tn_variant *v, const char *file, bool first) {
    bool news = first;
    for (uint32_t k = 0; k < v->tpl->n_knobs; ++k) news |= cover(v->tpl->name, v->tpl->knobs[k].name, v->knob[k], file);
    return news || getenv("TENON_KERNELS_ALL");
}

/* Those of the tensor cores have tests of their own (test_mma_variants). */
static bool elsewhere(const char *tpl) {
    static const char *const names[] = {"gemm_mma", "conv_mma",       "gemm_wgmma", "conv_wgmma",
                                        "gemv",     "conv_depthwise", "gemm_simt",  "conv_simt"};
    for (size_t k = 0; k < sizeof names / sizeof *names; ++k)
        if (!strcmp(names[k], tpl)) return true;
    return false;
}

/* ---- buffers
 * ------------------------------------------------------------------------------------------------------------------ */

enum { GUARD = 256 };

typedef struct buffer {
    char *block, *p; /* p: element 0 */
    size_t bytes;
    int64_t dims[TN_MAX_RANK], strides[TN_MAX_RANK];
    tn_tensor dense;
} buffer;

static int64_t value_of(const fused *f, tn_dim d) {
    int64_t v = 0;
    ck_assert(tn_dim_eval(f->g, d, f->b, f->n_b, &v));
    return v;
}

static unsigned next_random(void) {
    static unsigned s = 12345;
    s = s * 1664525u + 1013904223u;
    return s >> 8;
}

static void fill_random(tn_tensor *t) {
    const int64_t n = tn_tensor_numel(t);
    for (int64_t i = 0; i < n; ++i) {
        const int r = (int)(next_random() % 65) - 32;
        if (t->dtype == TN_BOOL)
            tn_store_int(t->dtype, t->data, (uint64_t)i, r & 1);
        else if (tn_dtype_is_float(t->dtype))
            tn_store_num(t->dtype, t->data, (uint64_t)i, r / 16.0);
        else
            tn_store_int(t->dtype, t->data, (uint64_t)i,
                         t->dtype == TN_U8 || t->dtype == TN_U4 || t->dtype >= TN_U64 ? (r + 32) % 4 : r % 4);
    }
}

/* Element i of a strided buffer (row-major index i). */
static int64_t element(const buffer *b, int64_t i) {
    int64_t at = 0;
    for (uint32_t k = b->dense.rank; k-- > 0; i /= b->dims[k]) at += i % b->dims[k] * b->strides[k];
    return at;
}

static void make_buffer(const fused *f, const tn_spec_tensor *t, buffer *b) {
    int64_t span = 1;
    for (uint32_t k = 0; k < t->rank; ++k) {
        b->dims[k] = value_of(f, t->dims[k]);
        b->strides[k] = value_of(f, t->strides[k]);
        if (b->dims[k] > 1) span += (b->dims[k] - 1) * b->strides[k];
    }
    ck_assert(tn_tensor_new(&env, t->dtype, t->rank, b->dims, &b->dense) == TN_OK);
    b->bytes = tn_dtype_bytes(t->dtype, (uint64_t)span);
    b->block = malloc(b->bytes + 3 * GUARD);
    ck_assert_ptr_nonnull(b->block);
    memset(b->block, 0xa5, b->bytes + 3 * GUARD);
    b->p = b->block + GUARD;
    b->p += (256 - (uintptr_t)b->p % 256) % 256;
    if (t->align < 256) b->p += t->align; /* aligned as promised and no better */
}

static void scatter(buffer *b) {
    const int64_t n = tn_tensor_numel(&b->dense);
    const tn_dtype t = b->dense.dtype;
    for (int64_t i = 0; i < n; ++i) {
        const uint64_t at = (uint64_t)element(b, i);
        if (tn_dtype_bits(t) == 4)
            tn_store_int(t, b->p, at, tn_load_int(t, b->dense.data, (uint64_t)i));
        else
            memcpy(b->p + at * tn_dtype_size(t), (char *)b->dense.data + (uint64_t)i * tn_dtype_size(t),
                   tn_dtype_size(t));
    }
}

/* How far the result is from the reference: in units of what its dtype may lose. */
static double tolerance(tn_dtype t) {
    switch (t) {
    case TN_F64: return 1e-9;
    case TN_F32: return 1e-4;
    case TN_F16: return 4e-3;
    case TN_BF16: return 3e-2;
    case TN_F8E4M3: return 0.1;
    case TN_F8E5M2: return 0.2;
    default: return 0;
    }
}

static void compare(const fused *f, const tn_variant *v, const buffer *b, const tn_tensor *want, uint32_t k) {
    (void)f;
    const tn_dtype t = b->dense.dtype;
    const int64_t n = tn_tensor_numel(&b->dense);
    for (int64_t i = 0; i < n; ++i) {
        const uint64_t at = (uint64_t)element(b, i);
        if (!tn_dtype_is_float(t)) {
            const int64_t got = tn_load_int(t, b->p, at), w = tn_load_int(want->dtype, want->data, (uint64_t)i);
            ck_assert_msg(got == w, "%s: output %u[%lld] is %lld, not %lld", v->text, k, (long long)i, (long long)got,
                          (long long)w);
            continue;
        }
        const double got = tn_load_num(t, b->p, at), w = tn_load_num(want->dtype, want->data, (uint64_t)i);
        const bool same = got == w || (isnan(got) && isnan(w)) || fabs(got - w) <= tolerance(t) * (1 + fabs(w));
        ck_assert_msg(same, "%s: output %u[%lld] is %.9g, not %.9g", v->text, k, (long long)i, got, w);
    }
}

/* ---- the CPU
 * ---------------------------------------------------------------------------------------------------------------------
 */

static bool has_compiler;

static void open_host(void) {
    has_compiler = system("c++ --version > /dev/null 2>&1") == 0;
    if (!has_compiler) printf("skipped: no C++ compiler, so kernels are not run on the CPU\n");
}

static void run_host(const fused *f, const tn_spec *s, const tn_variant *v, buffer *in, buffer *out,
                     const tn_tensor *want) {
    uint64_t args[TN_MAX_ARGS];
    tn_emu_range ranges[TN_MAX_ARGS];
    const void *params[] = {args};
    tn_emu_launch l = {.smem = v->smem, .params = params, .ranges = ranges, .seed = n_run};
    for (uint32_t k = 0; k < s->n_out; ++k) memset(out[k].block, 0xa5, out[k].bytes + 3 * GUARD);
    for (uint32_t k = 0; k < v->n_args; ++k) {
        const tn_arg *a = &v->args[k];
        if (a->kind == TN_ARG_DIM) {
            args[k] = (uint64_t)value_of(f, a->dim);
            continue;
        }
        ck_assert_msg(a->kind != TN_ARG_WORKSPACE, "%s wants a workspace", v->text);
        const bool is_in = a->kind == TN_ARG_IN;
        const buffer *b = is_in ? &in[a->index] : &out[a->index];
        args[k] = (uint64_t)(uintptr_t)b->p;
        ranges[l.n_ranges++] = (tn_emu_range){b->p, b->bytes, !is_in, !is_in || !s->in[a->index].is_const,
                                              is_in ? "an input" : "an output"};
    }
    for (int k = 0; k < 3; ++k) {
        l.grid[k] = (uint32_t)value_of(f, v->grid[k]);
        l.block[k] = v->block[k] ? v->block[k] : 1;
        l.cluster[k] = v->cluster[k];
    }
    char *text;
    size_t size;
    tn_emu_module *module;
    tn_emu_kernel *kernel;
    tn_emu_report rep;
    ck_assert(tn_variant_source(&env, v, &text, &size) == TN_OK);
    ck_assert_msg(tn_emu_load(&env, v->text, text, size, &module) == TN_OK, "%s", messages);
    tn_free(&env, text, size + 1);
    ck_assert_msg(tn_emu_get(module, v->symbol, &kernel) == TN_OK, "%s: %s\n%s", v->text, messages, v->header);
    ck_assert_msg(tn_emu_run(kernel, &l, &rep) == TN_OK && !rep.fault, "%s: %s%s", v->text, rep.text, messages);
    tn_emu_unload(module);
    for (uint32_t k = 0; k < s->n_out; ++k) compare(f, v, &out[k], &want[k], k);
}

/* ---- NVRTC
 * ---------------------------------------------------------------------------------------------------------------------------
 */

static tn_nvrtc *rtc;
static tn_cache *no_cache;

static void compile(const tn_variant *v, const char *arch) {
    char *text;
    size_t size;
    tn_kernel_bin bin = {0};
    ck_assert(tn_variant_source(&env, v, &text, &size) == TN_OK);
    tn_build_source(&env, rtc, no_cache, arch, v->symbol, text, size, &bin);
    ck_assert_msg(bin.status == TN_OK, "%s does not compile for %s: %s\n%s", v->text, arch, bin.error, v->header);
    ck_assert_msg(bin.size > 0, "%s: no code", v->text);
    tn_kernel_bin_free(&env, &bin);
    tn_free(&env, text, size + 1);
}

/* ---- one kernel
 * ------------------------------------------------------------------------------------------------------------------------
 */

static const char *const archs[] = {"sm_80", "sm_89", "sm_90a", "sm_100"};
static unsigned turn, n_compiled;

static void check_kernel(const fused *f, tn_node kernel, const char *file) {
    tn_spec *s;
    messages[0] = 0;
    ck_assert_msg(tn_spec_make(f->g, kernel, &f->m, &s) == TN_OK, "no spec: %s", messages);
    tn_variant *v;
    size_t n;
    const tn_status st = tn_enumerate(s, tn_arch_find("sm_90a"), 0, &v, &n);
    ck_assert_msg(st == TN_OK && !messages[0], "%s: %s\n%s", s->name, messages, s->text);
    buffer in[TN_MAX_ARGS], out[TN_MAX_ARGS];
    tn_tensor tin[TN_MAX_ARGS], want[TN_MAX_ARGS];
    memset(want, 0, sizeof want);
    for (uint32_t k = 0; k < s->n_in; ++k) {
        make_buffer(f, &s->in[k], &in[k]);
        const void *data = tn_const_data(f->g, tn_node_input(f->g, kernel, k));
        if (data)
            memcpy(in[k].dense.data, data, in[k].dense.bytes);
        else
            fill_random(&in[k].dense);
        scatter(&in[k]);
        tin[k] = in[k].dense;
    }
    for (uint32_t k = 0; k < s->n_out; ++k) make_buffer(f, &s->out[k], &out[k]);
    const tn_eval_opts opts = {.wide = true, .symbols = f->b, .n_symbols = f->n_b};
    ck_assert_msg(tn_eval_region(&env, f->g, s->region, tin, s->n_in, want, s->n_out, &opts) == TN_OK, "%s: %s",
                  s->name, messages);
    const char *last = "";
    for (size_t k = 0; k < n; ++k) {
        const bool first = strcmp(last, v[k].tpl->name) != 0 && !elsewhere(v[k].tpl->name);
        if (first) last = v[k].tpl->name;
        if (elsewhere(v[k].tpl->name) || !choose(&v[k], file, first && k == 0)) continue;
        if (rtc) {
            for (unsigned a = 0; a < 4; ++a)
                if (getenv("TENON_KERNELS_ALL") || a == turn % 4) compile(&v[k], archs[a]);
            ++turn;
            ++n_compiled;
        }
        if (has_compiler) {
            run_host(f, s, &v[k], in, out, want);
            ++n_run;
        }
    }
    for (size_t k = 0; k < n; ++k) tn_variant_free(&env, &v[k]);
    tn_free(&env, v, n * sizeof *v);
    for (uint32_t k = 0; k < s->n_in; ++k) {
        tn_tensor_free(&env, &in[k].dense);
        free(in[k].block);
    }
    for (uint32_t k = 0; k < s->n_out; ++k) {
        tn_tensor_free(&env, &out[k].dense);
        tn_tensor_free(&env, &want[k]);
        free(out[k].block);
    }
    tn_spec_free(s);
}

/* ---- files
 * ------------------------------------------------------------------------------------------------------------------------------
 */

static char *files[64];
static int n_files;

static void find_files(void) {
    DIR *d = opendir(DIR_KERNELS);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d)) && n_files < 64;) {
        const char *dot = strrchr(e->d_name, '.');
        if (!dot || strcmp(dot, ".tn") != 0) continue;
        if (getenv("TENON_KERNELS") && !strstr(e->d_name, getenv("TENON_KERNELS"))) continue;
        char path[512];
        snprintf(path, sizeof path, "%s/%s", DIR_KERNELS, e->d_name);
        files[n_files++] = strdup(path);
    }
    closedir(d);
}

START_TEST(kernels_of_a_file) {
    no_cache = tn_cache_open(&env, "");
    if (tn_nvrtc_open(&env, &rtc) != TN_OK)
        printf("skipped: NVRTC cannot be opened, so kernels are not compiled for GPUs\n");
    messages[0] = 0;
    open_host();
    for_cases(files[_i], check_kernel);
    printf("%s: %u variants compiled, %u run on the CPU\n", strrchr(files[_i], '/') + 1, n_compiled, n_run);
    tn_nvrtc_close(rtc);
    tn_cache_close(no_cache);
}
END_TEST

static void print_kernel(const fused *f, tn_node kernel, const char *file) {
    (void)file;
    tn_spec *s;
    tn_variant *v;
    size_t n;
    if (tn_spec_make(f->g, kernel, &f->m, &s) != TN_OK) {
        printf("no spec: %s\n", messages);
        return;
    }
    if (tn_enumerate(s, tn_arch_find("sm_90a"), 0, &v, &n) == TN_OK) {
        printf("%s", v[0].header);
        for (size_t k = 0; k < n && k < 12; ++k) printf("// %8.2f us  %s\n", v[k].cost_us, v[k].text);
        printf("// %zu variants\n\n", n);
        for (size_t k = 0; k < n; ++k) tn_variant_free(&env, &v[k]);
        tn_free(&env, v, n * sizeof *v);
    } else
        printf("// %s: %s\n%s\n", s->name, messages, s->text);
    tn_spec_free(s);
}

int main(int argc, char **argv) {
    if (argc > 2 && !strcmp(argv[1], "print")) {
        printing = true;
        for_cases(argv[2], print_kernel);
        return 0;
    }
    find_files();
    TCase *t = tcase_create("kernels");
    tcase_set_timeout(t, 280);
    tcase_add_loop_test(t, kernels_of_a_file, 0, n_files);
    Suite *s = suite_create("kernels");
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    const int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? 1 : 0;
}
