/* test_build.c: sources to machine code: what the assembler's log says, what the cache is asked for, what becomes of
 * candidates that do not compile. */
#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/tune/build.h"
#include "tenon/compiler.h"
#include "tests/unit/compile_env.h"
#include "tests/unit/mock_nvrtc.h"
#include "tests/unit/suite.h"

static mock_nvrtc *use_mock(void) {
    mock_nvrtc_get_fn get;
    void *lib = dlopen(TENON_MOCK_NVRTC, RTLD_NOW);
    ck_assert_msg(lib != NULL, "%s", dlerror());
    *(void **)&get = dlsym(lib, "mock_nvrtc_get");
    setenv("TENON_LIBNVRTC", TENON_MOCK_NVRTC, 1);
    return get();
}

/* Compiles `source` through the cache. */
static tn_kernel_bin build(const char *name, const char *source) {
    tn_nvrtc *rtc;
    tn_kernel_bin b;
    ck_assert_int_eq(tn_nvrtc_open(NULL, &rtc), TN_OK);
    tn_cache *c = tn_cache_open(NULL, cache);
    tn_build_source(NULL, rtc, c, "sm_90a", name, source, strlen(source), &b);
    tn_cache_close(c);
    tn_nvrtc_close(rtc);
    return b;
}

/* ---- the log ---- */

/* Registers by the machine code's own table (EIATTR_REGCOUNT: 04 2f, size 8, symbol, count). */
static uint32_t registers_in(const tn_kernel_bin *b) {
    static const unsigned char mark[] = {0x04, 0x2f, 0x08, 0x00};
    const unsigned char *p = memmem(b->cubin, b->size, mark, sizeof mark);
    uint32_t n = 0;
    if (p) memcpy(&n, p + 8, sizeof n);
    return n;
}

/* Accumulators that are touched between fence and product: the assembler says much about registers before it says how
 * many there are. */
static const char serialized[] =
    "extern \"C\" __global__ void k(float *out, unsigned long long a, unsigned long long b, int n) {\n"
    "    __shared__ float s[64];\n"
    "    float d[4] = {0};\n"
    "    s[threadIdx.x % 64] = out[threadIdx.x];\n"
    "    __syncthreads();\n"
    "    for (int i = 0; i < n; i++) {\n"
    "        asm volatile(\"wgmma.fence.sync.aligned;\\n\" ::: \"memory\");\n"
    "        asm volatile(\"wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 \"\n"
    "                     \"{%0,%1,%2,%3}, %4, %5, 1, 1, 1, 0, 0;\\n\"\n"
    "                     : \"+f\"(d[0]), \"+f\"(d[1]), \"+f\"(d[2]), \"+f\"(d[3]) : \"l\"(a), \"l\"(b));\n"
    "        d[0] += 1;\n"
    "        asm volatile(\"wgmma.commit_group.sync.aligned;\\n\" ::: \"memory\");\n"
    "        asm volatile(\"wgmma.wait_group.sync.aligned 0;\\n\" ::: \"memory\");\n"
    "    }\n"
    "    out[threadIdx.x] = d[0] + d[1] + d[2] + d[3] + s[63 - threadIdx.x % 64];\n"
    "}\n";

START_TEST(registers_beside_advisories) {
    if (no_nvrtc()) return;
    for (int pass = 0; pass < 2; pass++) { /* compiled, then from the cache */
        tn_kernel_bin b = build("k", serialized);
        ck_assert_msg(b.status == TN_OK, "%s", b.error);
        ck_assert_int_eq(b.ms > 0, pass == 0);
        ck_assert_uint_ge(b.registers, 8);
        ck_assert_uint_eq(b.registers, registers_in(&b));
        ck_assert_uint_eq(b.static_smem, 256);
        ck_assert_uint_eq(b.local_bytes + b.spill_bytes, 0);
        ck_assert_msg(strstr(b.advice, "serialized") && !strchr(b.advice, '\n'), "%s", b.advice);
        tn_kernel_bin_free(NULL, &b);
    }
}
END_TEST

/* Of several kernels the one that is asked for; a function of its own has a stack that is not the kernel's. */
START_TEST(registers_of_the_right_kernel) {
    static const char source[] =
        "extern \"C\" __device__ __noinline__ float f(float x, int n) {\n"
        "    float a[64];\n"
        "    for (int i = 0; i < 64; i++) a[i] = x * i;\n"
        "    for (int i = 0; i < n; i++) a[(i * 7) % 64] += a[(n + i) % 64];\n"
        "    return a[n % 64];\n"
        "}\n"
        "extern \"C\" __global__ void other(float *p, int n) { p[0] = f(p[1], n) + f(p[2], n + 1); }\n"
        "extern \"C\" __global__ void k(float *p) { *p = 1; }\n";
    if (no_nvrtc()) return;
    tn_kernel_bin k = build("k", source), other = build("other", source), none = build("none", source);
    ck_assert_msg(k.status == TN_OK, "%s", k.error);
    ck_assert_uint_gt(k.registers, 0);
    ck_assert_uint_lt(k.registers, 16);
    ck_assert_uint_eq(k.local_bytes, 0);
    ck_assert_uint_gt(other.registers, 0);
    ck_assert_uint_ge(other.local_bytes, k.local_bytes);
    ck_assert_uint_eq(none.registers, 0);
    ck_assert_str_eq(k.advice, "");
    tn_kernel_bin_free(NULL, &k);
    tn_kernel_bin_free(NULL, &other);
    tn_kernel_bin_free(NULL, &none);
}
END_TEST

START_TEST(every_figure_of_the_log) {
    mock_nvrtc *m = use_mock();
    tn_kernel_bin b = build("k", "code");
    ck_assert_uint_eq(b.registers, 42);
    ck_assert_uint_eq(b.static_smem, 1024);
    ck_assert_uint_eq(b.local_bytes, 16);
    ck_assert_uint_eq(b.spill_bytes, 4 + 8);
    ck_assert_str_eq(b.advice, "");
    tn_kernel_bin_free(NULL, &b);
    m->broken = "bad";
    b = build("k", "bad code");
    ck_assert_int_eq(b.status, TN_E_COMPILE);
    ck_assert_str_eq(b.error, "k.cu(7): error: as the test asked"); /* not the warning, nor the lines that follow */
    tn_kernel_bin_free(NULL, &b);
}
END_TEST

/* ---- the cache ---- */

/* Sources with the same letter are the same to the compiler. */
START_TEST(comments_do_not_matter) {
    static const struct {
        char same;
        const char *source;
    } cases[] = {
        {'a', "// layers: conv1\nvoid k(float *p) { *p = 1; } // N*64\n"},
        {'a', "// layers: a much longer name\nvoid k(float *p) { *p = 1; } // batch*64\n"},
        {'a', "//\nvoid k(float *p) { *p = 1; } /**/\n"},
        {'b', "// layers: conv1\nvoid k(float *p) { *p = 2; }\n"},
        {'b', "/* one / * line **/\nvoid k(float *p) { *p = 2; }\n"},
        {'c', "/* two\nlines */ void k(float *p) { *p = 2; }\n"}, /* its code is on another line than b's */
        {'d', "const char *s = \"// a\";\n"},
        {'e', "const char *s = \"// b\";\n"},
        {'f', "const char *s = \"\\\"// b\";\n"},
        {'g', "int a = 6 / 3;\n"},
        {'h', "int a = 6 /\n3;\n"},
        {'i', "/"},
        {'j', "char c = '\"'; // x\n"},
        {'j', "char c = '\"'; // y\n"},
    };
    enum { N = sizeof cases / sizeof *cases };
    mock_nvrtc *m = use_mock();
    for (size_t k = 0; k < N; k++) {
        const int before = atomic_load(&m->compiled);
        bool known = false;
        for (size_t j = 0; j < k; j++) known |= cases[j].same == cases[k].same;
        tn_kernel_bin b = build("k", cases[k].source);
        ck_assert_int_eq(b.status, TN_OK);
        ck_assert_msg((atomic_load(&m->compiled) == before) == known, "source %zu %s", k,
                      known ? "was compiled" : "came from the cache");
        tn_kernel_bin_free(NULL, &b);
    }
    /* a comment that a backslash carries on hides the code after it */
    const int before = atomic_load(&m->compiled);
    tn_kernel_bin one = build("k", "// a \\\nvoid k() {}\n"), two = build("k", "// a \\\nvoid j() {}\n");
    ck_assert_int_eq(atomic_load(&m->compiled), before + 1);
    tn_kernel_bin_free(NULL, &one);
    tn_kernel_bin_free(NULL, &two);
}
END_TEST

static int cubins(void) {
    int n = 0;
    DIR *d = opendir(cache);
    for (struct dirent *e; d && (e = readdir(d));) n += !strncmp(e->d_name, "cubin-", 6);
    if (d) closedir(d);
    return n;
}

static char said[8][600];
static size_t n_said;

static void keep(void *user, const tn_diag *d) {
    (void)user;
    if (d->severity == TN_NOTE || n_said == 8) return;
    snprintf(said[n_said++], sizeof *said, "%s|%s: %s", d->severity == TN_WARNING ? "warning" : "error", d->loc,
             d->message);
}

static tn_status compile_text(const char *text) {
    static const char *const target[] = {"sm_90a"};
    const tn_env env = {.diag = keep};
    const tn_compile_options o = {.targets = target, .n_targets = 1, .no_gpu = true, .cache_dir = cache, .threads = 2};
    tn_status s;
    void *data = NULL;
    size_t size;
    n_said = 0;
    tn_graph *g = tn_parse(&env, "test", text, strlen(text), NULL, 0, true, &s);
    ck_assert_msg(g != NULL, "%s", said[0]);
    s = tn_compile_memory(g, &o, &data, &size);
    if (s == TN_OK) tn_free(&env, data, size);
    tn_graph_free(g);
    return s;
}

/* The same network, exported with other names of symbols, values, weights and layers, needs no compiler.  (The names of
 * symbols may say what they are for, and so which sizes are typical; here these are given.) */
START_TEST(names_do_not_matter) {
    static const char one[] = "symbol batch in [0, inf] hint 8\nsymbol seq in [0, inf] hint 128\n"
                              "symbol heads in [0, inf] hint 12\n"
                              "func @main(%x: f32[batch,seq,64], %m: f32[seq,batch], %q: f32[batch,heads,seq,8]) -> "
                              "(%y: f32[batch,seq,32], %z: f32[seq,batch,heads*8]) {\n"
                              "  %w = const splat(0.5) : f32[64,32]\n"
                              "  %0 = matmul %x, %w loc(\"/encoder/fc1\")\n"
                              "  %1 = relu %0 loc(\"/encoder/act\")\n"
                              "  %2 = softmax %1 {axis=2} loc(\"/encoder/softmax\")\n"
                              "  %3 = transpose %m {perm=[1,0]} loc(\"/mask/T\")\n"
                              "  %4 = reshape %3 {dims=[batch,seq,1]}\n"
                              "  %y = mul %2, %4 loc(\"/out\")\n"
                              "  %5 = transpose %q {perm=[2,0,1,3]}\n  %6 = reshape %5 {dims=[seq,batch,heads*8]}\n"
                              "  %z = sigmoid %6\n  return %y, %z\n}\n";
    static const char two[] =
        "symbol a in [0, inf] hint 128\nsymbol z in [0, inf] hint 8\nsymbol m in [0, inf] hint 12\n"
        "func @other(%in: f32[z,a,64], %mask: f32[a,z], %q: f32[z,m,a,8]) -> (%out: f32[z,a,32], %z: f32[a,z,m*8]) {\n"
        "  %k = const splat(0.5) : f32[64,32]\n"
        "  %p = matmul %in, %k loc(\"layer 1\\nwith a line\")\n"
        "  %rl = relu %p\n"
        "  %r = softmax %rl {axis=2} loc(\"// softmax */ \\\"\")\n"
        "  %t = transpose %mask {perm=[1,0]}\n"
        "  %u = reshape %t {dims=[z,a,1]}\n"
        "  %out = mul %r, %u\n"
        "  %v = transpose %q {perm=[2,0,1,3]}\n  %w = reshape %v {dims=[a,z,m*8]}\n"
        "  %z = sigmoid %w\n  return %out, %z\n}\n";
    mock_nvrtc *m = use_mock();
    ck_assert_msg(compile_text(one) == TN_OK, "%s", said[0]);
    const int compiled = atomic_load(&m->compiled), kept = cubins();
    ck_assert_int_gt(compiled, 1);
    ck_assert_int_eq(kept, compiled);
    ck_assert_msg(compile_text(two) == TN_OK, "%s", said[0]);
    ck_assert_int_eq(atomic_load(&m->compiled), compiled);
}
END_TEST

/* What several buckets choose is compiled once, by however many threads. */
START_TEST(buckets_share_machine_code) {
    static const char text[] =
        "bucket N in [1, 4] hint 2\nbucket N in [5, 8] hint 6\nbucket N in [9, 16] hint 12\n"
        "func @main(%x: f32[N,64], %v: f16[N,64], %w: f16[64,64]) -> (%y: f32[N,64], %z: f16[N,64]) {\n"
        "  %y = softmax %x {axis=1}\n  %t = matmul %v, %w\n  %z = softmax %t {axis=1}\n"
        "  return %y, %z\n}\n";
    mock_nvrtc *m = use_mock();
    const int before = cubins();
    atomic_store(&m->compiled, 0);
    ck_assert_msg(compile_text(text) == TN_OK, "%s", said[0]);
    ck_assert_int_gt(atomic_load(&m->compiled), 0);
    ck_assert_int_lt(atomic_load(&m->compiled), 9); /* three kernels, in three buckets */
    ck_assert_int_eq(cubins() - before, atomic_load(&m->compiled));
}
END_TEST

/* ---- candidates ---- */

static const char matmul[] = "func @main(%x: f16[512,1024], %w: f16[1024,512]) -> (%y: f16[512,512]) {\n"
                             "  %0 = matmul %x, %w loc(\"/fc1\")\n  %y = relu %0 loc(\"/act\")\n  return %y\n}\n";

START_TEST(a_broken_template_is_a_warning) {
    mock_nvrtc *m = use_mock();
    m->broken = "tn_args"; /* everything */
    ck_assert_int_eq(compile_text(matmul), TN_E_COMPILE);
    ck_assert_uint_gt(n_said, 1);
    ck_assert_int_eq(cubins(), 0);
    m->broken = "//// gemm_wgmma.cu"; /* the first choice here */
    ck_assert_msg(compile_text(matmul) == TN_OK, "%s", said[0]);
    ck_assert_int_gt(atomic_load(&m->failed), 0);
    ck_assert_uint_eq(n_said, 1); /* once, however many variants fail */
    ck_assert_msg(!strncmp(said[0], "warning|", 8), "%s", said[0]);
    ck_assert_msg(strstr(said[0], "/fc1") != NULL, "%s", said[0]);
    ck_assert_msg(strstr(said[0], "gemm_wgmma BM=") != NULL, "%s", said[0]);
    ck_assert_msg(strstr(said[0], "error: as the test asked") != NULL, "%s", said[0]);
}
END_TEST

START_TEST(advice_reaches_the_user) {
    mock_nvrtc *m = use_mock();
    m->slow = "gemm_wgmma";
    for (int pass = 0; pass < 2; pass++) { /* compiled, then from the cache */
        ck_assert_msg(compile_text(matmul) == TN_OK, "%s", said[0]);
        ck_assert_uint_eq(n_said, 1);
        ck_assert_msg(!strncmp(said[0], "warning|", 8), "%s", said[0]);
        ck_assert_msg(strstr(said[0], "/fc1") && strstr(said[0], "matmul_relu") && strstr(said[0], "serialized"), "%s",
                      said[0]);
    }
    ck_assert_int_eq(atomic_load(&m->compiled), cubins());
}
END_TEST

int main(void) {
    Suite *s = suite_create("build");
    TCase *t = tcase_create("build");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, make_cache, remove_cache);
    tcase_add_test(t, registers_beside_advisories);
    tcase_add_test(t, registers_of_the_right_kernel);
    tcase_add_test(t, every_figure_of_the_log);
    tcase_add_test(t, comments_do_not_matter);
    tcase_add_test(t, names_do_not_matter);
    tcase_add_test(t, buckets_share_machine_code);
    tcase_add_test(t, a_broken_template_is_a_warning);
    tcase_add_test(t, advice_reaches_the_user);
    suite_add_tcase(s, t);
    return run_suite(s);
}
