/* test_made.c: sizes that data makes: what is known of them, what the verifier refuses, and plans whose kernels are told
 * them: shapes and elements after a run, on the CPU and on the emulated device, where nothing and where all is found. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/eval/eval.h"
#include "ir/ir.h"
#include "tenon/compiler.h"
#include "tenon/host.h"
#include "tenon/tenon.h"
#include "tests/unit/suite.h"

static char message[2048];

static void keep(void *user, const tn_diag *d) {
    (void)user;
    if (d->severity == TN_ERROR) snprintf(message, sizeof message, "%s", d->message);
}

static const tn_env env = {.diag = keep};

static tn_graph *parsed(const char *text) {
    tn_status st;
    message[0] = 0;
    tn_graph *g = tn_parse(&env, "text", text, strlen(text), NULL, 0, true, &st);
    ck_assert_msg(g != NULL, "%s", message);
    return g;
}

/* ---- how large they can be --------------------------------------------------------------------------------------- */

static const char counts[] = "func @main(%x: f32[N], %y: f32[M]) {\n  %k = nonzero %x {count=K} : i64[K]\n"
                             "  %l = nonzero %y {count=L} : i64[L]\n  return %k, %l\n}\n";

static const struct {
    const char *size, *most, *least; /* NULL: not known */
} ends[] = {
    {"N*3 + 1", "N*3 + 1", "N*3 + 1"}, /* no data in it */
    {"K", "N", "0"},
    {"K*64 + L", "N*64 + M", "0"},
    {"K*L", "N*M", "0"},
    {"9 - K", "9", "9 - N"},
    {"(K + 7)//8", "(N + 7)//8", "0"},
    {"N//(K + 1)", "N", "0"},
    {"K % 8", "min(N, 7)", "0"},
    {"min(K, 5)", "min(N, 5)", "0"},
    {"max(K, 5)", "max(N, 5)", "5"},
    {"max(K, L)", "max(N, M)", "0"},
    {"(K - L)*(K - L)", "N*N + M*M", "-2*N*M"},
    {"(K - L)*min(K - L, 5)", NULL, NULL},
    {"(K - 5)//2", "(N + 1)//2 - 3", "-3"},
};

static void expect_end(tn_graph *g, tn_dim is, const char *want, const char *of) {
    const char *end;
    char text[128] = "unknown";
    if (is.i) tn_dim_print(g, is, text, sizeof text);
    const tn_dim should = want ? tn_dim_parse(g, want, &end) : (tn_dim){0};
    ck_assert_msg(is.i == should.i, "of %s: %s, not %s", of, text, want ? want : "unknown");
}

START_TEST(what_they_can_be) {
    tn_graph *g = parsed(counts);
    const char *end;
    for (size_t k = 0; k < sizeof ends / sizeof *ends; k++) {
        const tn_dim d = tn_dim_parse(g, ends[k].size, &end);
        expect_end(g, tn_dim_most(g, d), ends[k].most, ends[k].size);
        expect_end(g, tn_dim_least(g, d), ends[k].least, ends[k].size);
    }
    /* what is known of the input's size is known of these */
    ck_assert_int_eq(tn_dim_bind(g, tn_dim_sym(g, "N"), tn_dim_const(g, 12)), TN_OK);
    expect_end(g, tn_dim_most(g, tn_dim_sym(g, "K")), "12", "K");
    tn_graph *copy = tn_graph_clone(g);
    expect_end(copy, tn_dim_most(copy, tn_dim_sym(copy, "L")), "M", "L");
    ck_assert(!tn_dim_is_made(copy, tn_dim_sym(copy, "M")));
    tn_graph_free(copy);
    tn_graph_free(g);
}
END_TEST

/* ---- what is refused --------------------------------------------------------------------------------------------- */

static const struct {
    const char *text, *why;
} refused[] = {
    {"func @main(%x: f32[N]) {\n  %i = iota {dtype=i64, dims=[K], axis=0} : i64[K]\n"
     "  %k = nonzero %x {count=K} : i64[K]\n  return %i, %k\n}\n",
     "the size K is used before a node makes it"},
    {"func @main(%x: f32[N], %y: f32[K]) {\n  %k = nonzero %x {count=K} : i64[K]\n  return %k, %y\n}\n",
     "the size K is used before a node makes it"},
    {"func @main(%x: f32[N], %y: f32[N]) {\n  %k = nonzero %x {count=K} : i64[K]\n"
     "  %l = nonzero %y {count=K} : i64[K]\n  return %k, %l\n}\n",
     "makes the size K, which another node makes, too"},
    {"func @main(%n: i64[]) {\n  %k = size %n {count=K, most=8} : i64[]\n"
     "  %y = kernel(%k) {anchor=\"map\"} : i64[K] {\n    ^(%a: i64[]):\n"
     "    %i = iota {dtype=i64, dims=[K], axis=0} : i64[K]\n    yield %i\n  }\n  return %y\n}\n",
     "no operand of the kernel tells the size K"},
    {"func @main(%n: i64[], %x: f32[4]) {\n  %k = size %n {count=K, most=8} : i64[]\n"
     "  %y = kernel(%x) {anchor=\"map\", sizes=[K]} : f32[4] {\n    ^(%a: f32[4]):\n    yield %a\n  }\n  return "
     "%y\n}\n",
     "needs the values of 1 sizes as its last operands"},
};

START_TEST(the_verifier_refuses) {
    for (size_t k = 0; k < sizeof refused / sizeof *refused; k++) {
        tn_status st = TN_OK;
        const char *text = refused[k].text;
        ck_assert_ptr_null(tn_parse(&env, "text", text, strlen(text), NULL, 0, true, &st));
        ck_assert_int_eq(st, TN_E_VERIFY);
        ck_assert_msg(strstr(message, refused[k].why) != NULL, "%zu: %s", k, message);
    }
}
END_TEST

/* The value becomes the symbol's, and must be one that there is room for. */
START_TEST(a_scalar_is_a_size) {
    tn_graph *g = parsed("func @main(%n: i64[]) {\n  %k = size %n {count=K, most=8} : i64[]\n"
                         "  %i = iota {dtype=i64, dims=[K], axis=0} : i64[K]\n  return %i\n}\n");
    ck_assert_int_eq(tn_verify(g), TN_OK);
    static const int64_t sizes[] = {0, 3, 8, 9, -1};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        int64_t n = sizes[k];
        const tn_tensor in = {.dtype = TN_I64, .data = &n, .bytes = sizeof n};
        tn_tensor out = {0};
        const bool fits = n >= 0 && n <= 8;
        ck_assert_int_eq(tn_eval_graph(&env, g, &in, 1, &out, 1, NULL), fits ? TN_OK : TN_E_ARGUMENT);
        if (!fits) ck_assert_msg(strstr(message, "must be from 0 to 8") != NULL, "%s", message);
        if (!fits) continue;
        ck_assert_int_eq(out.dims[0], n);
        for (int64_t i = 0; i < n; i++) ck_assert_int_eq(((int64_t *)out.data)[i], i);
        tn_tensor_free(&env, &out);
    }
    tn_graph_free(g);
}
END_TEST

/* ---- plans ------------------------------------------------------------------------------------------------------- */

static tn_status compile(const char *text, tn_plan **plan, void **data, size_t *size) {
    static const char *const target = "sm_90a";
    const tn_compile_options opts = {
        .targets = &target, .n_targets = 1, .no_gpu = true, .sources_only = true, .tune_seconds = -1, .cache_dir = ""};
    tn_graph *g = parsed(text);
    tn_status st = tn_compile_memory(g, &opts, data, size);
    tn_graph_free(g);
    if (st == TN_OK && !(*plan = tn_plan_load_memory(&env, *data, *size, &st))) ck_abort_msg("%s", message);
    return st;
}

/* What needs the size may be gone before kernels are made, but its conditions are not. */
START_TEST(a_size_that_nothing_needs) {
    void *data = NULL;
    size_t size = 0;
    tn_plan *p = NULL;
    ck_assert_int_eq(compile("func @main(%x: f32[2]) {\n  %i = nonzero %x {count=K} : i64[K]\n"
                             "  %s = slice %x {starts=[0], sizes=[K]}\n  %b = barrier %s\n  %y = relu %x\n"
                             "  return %y\n}\n",
                             &p, &data, &size),
                     TN_OK);
    ck_assert_uint_eq(tn_plan_output_count(p), 1);
    tn_plan_free(p);
    tn_free(&env, data, size);
}
END_TEST

/* Rows of a table that a mask chooses, their product with a matrix, sums over and along them, and their transpose. */
static const char chosen[] =
    "func @main(%mask: f32[N], %t: f32[N,4], %w: f32[4,3]) {\n"
    "  %at = nonzero %mask {count=K} : i64[K]\n  %rows = gather %t, %at {axis=0} : f32[K,4]\n"
    "  %p = matmul %rows, %w : f32[K,3]\n  %r = relu %p : f32[K,3]\n"
    "  %sum = reduce_sum %r {axes=[0]} : f32[3]\n  %turned = transpose %r {perm=[1,0]} : f32[3,K]\n"
    "  %run = cumsum %turned {axis=1} : f32[3,K]\n  %both = concat %turned, %run {axis=1} : f32[3,K*2]\n"
    "  return %at, %sum, %turned, %both {names=[\"at\", \"sum\", \"turned\", \"both\"]}\n}\n";

enum { MOST = 2100, OUTPUTS = 4 };

typedef struct outputs {
    int64_t at[MOST];
    float sum[3], turned[3 * MOST], both[6 * MOST];
} outputs;

/* As the model says it, one element after the other. */
static int64_t expect_chosen(const float *mask, const float *t, const float *w, int64_t n, outputs *out) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        if (mask[i] != 0) out->at[count++] = i;
    for (int c = 0; c < 3; c++) {
        float sum = 0;
        for (int64_t k = 0; k < count; k++) {
            float p = 0;
            for (int i = 0; i < 4; i++) p += t[out->at[k] * 4 + i] * w[i * 3 + c];
            p = p > 0 ? p : 0;
            sum += p;
            out->turned[c * count + k] = out->both[c * 2 * count + k] = p;
            out->both[c * 2 * count + count + k] = sum;
        }
        out->sum[c] = sum;
    }
    return count;
}

static void expect_floats(const float *is, const float *want, int64_t n, const char *what) {
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(is[i] == want[i], "%s[%lld] of %lld is %g, not %g", what, (long long)i, (long long)n,
                      (double)is[i], (double)want[i]);
}

/* Memory of the size that an output turns out to have. */
typedef struct given {
    void *memory[OUTPUTS];
    size_t bytes[OUTPUTS];
} given;

static void *give(void *user, size_t output, const char *name, size_t bytes, void *stream) {
    given *g = user;
    (void)name, (void)stream;
    g->bytes[output] = bytes;
    return g->memory[output] = malloc(bytes);
}

/* The same inference, which asks for its outputs' memory: the same bytes, and no more. */
static void expect_given(tn_context *c, const void *const *in, void *const *out, const size_t *bytes) {
    given g = {{NULL}, {0}};
    const tn_output_allocator a = {.allocate = give, .user = &g};
    for (size_t i = 0; i < OUTPUTS; i++) ck_assert_int_eq(tn_context_set_output_allocator(c, i, &a), TN_OK);
    ck_assert_msg(tn_context_run(c, in, NULL) == TN_OK, "%s", message);
    for (size_t i = 0; i < OUTPUTS; i++) {
        ck_assert_msg(g.bytes[i] == bytes[i] && !memcmp(g.memory[i], out[i], bytes[i]), "output %zu", i);
        free(g.memory[i]);
        ck_assert_int_eq(tn_context_set_output_allocator(c, i, NULL), TN_OK);
    }
}

static void run_chosen(tn_context *c, int64_t n, unsigned share) {
    static float mask[MOST], t[4 * MOST], w[12];
    static outputs want, is;
    static const size_t ranks[OUTPUTS] = {1, 1, 2, 2};
    for (int64_t i = 0; i < n; i++) mask[i] = (unsigned)rand() % 100 < share ? (float)(rand() % 7 - 8) : 0;
    for (int64_t i = 0; i < 4 * n; i++) t[i] = (float)(rand() % 9 - 4); /* whose sums are exact */
    for (int i = 0; i < 12; i++) w[i] = (float)(rand() % 5 - 2);
    const int64_t k = expect_chosen(mask, t, w, n, &want);
    const int64_t shapes[OUTPUTS][2] = {{k}, {3}, {3, k}, {3, 2 * k}},
                  room[OUTPUTS][2] = {{n}, {3}, {3, n}, {3, 2 * n}};
    int64_t dims[TN_MAX_RANK];
    uint32_t rank;
    ck_assert_int_eq(tn_context_set_shape(c, 0, 1, &n), TN_OK);
    ck_assert_int_eq(tn_context_set_shape(c, 1, 2, (int64_t[]){n, 4}), TN_OK);
    for (size_t i = 0; i < OUTPUTS; i++) {
        ck_assert_msg(tn_context_output_most(c, i, &rank, dims) == TN_OK, "%s", message);
        ck_assert_msg(rank == ranks[i] && !memcmp(dims, room[i], rank * sizeof *dims), "room of output %zu", i);
    }
    const void *in[] = {mask, t, w};
    void *out[] = {is.at, is.sum, is.turned, is.both};
    memset(&is, 0xee, sizeof is);
    ck_assert_msg(tn_context_run(c, in, out) == TN_OK, "%s", message);
    for (size_t i = 0; i < OUTPUTS; i++) {
        ck_assert_msg(tn_context_output_shape(c, i, &rank, dims) == TN_OK, "%s", message);
        ck_assert_msg(rank == ranks[i] && !memcmp(dims, shapes[i], rank * sizeof *dims), "shape of output %zu", i);
    }
    for (int64_t i = 0; i < k; i++) ck_assert_int_eq(is.at[i], want.at[i]);
    expect_floats(is.sum, want.sum, 3, "sum");
    expect_floats(is.turned, want.turned, 3 * k, "turned");
    expect_floats(is.both, want.both, 6 * k, "both");
    expect_given(c, in, out, (size_t[]){8 * (size_t)k, 12, 12 * (size_t)k, 24 * (size_t)k});
}

START_TEST(kernels_are_told) {
    static const int64_t sizes[] = {1, 7, 1024, 1025, MOST, 0, 33};
    static const unsigned shares[] = {0, 100, 50, 3};
    tn_plan *p = NULL;
    void *data = NULL;
    size_t size;
    tn_status st;
    ck_assert_msg(compile(chosen, &p, &data, &size) == TN_OK, "%s", message);
    ck_assert_uint_eq(tn_plan_output_count(p), OUTPUTS); /* what tells the sizes is nobody's */
    for (tn_device device = TN_CPU; device <= TN_EMU; device++) {
        tn_context *c = tn_context_new(p, &(tn_context_options){.device = device, .host = tn_host_devices()}, &st);
        if (!c) { /* no C++ compiler */
            ck_assert(device == TN_EMU && st == TN_E_NO_LIBRARY);
            continue;
        }
        int64_t dims[TN_MAX_RANK];
        uint32_t rank;
        tn_context_set_shape(c, 0, 1, &sizes[0]);
        tn_context_set_shape(c, 1, 2, (int64_t[]){1, 4});
        ck_assert_int_eq(tn_context_output_shape(c, 0, &rank, dims), TN_E_ARGUMENT);
        ck_assert_msg(strstr(message, "nothing has run") != NULL, "%s", message);
        ck_assert_int_eq(tn_context_output_shape(c, 1, &rank, dims), TN_OK); /* which data does not make */
        srand(5);
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
            for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) run_chosen(c, sizes[k], shares[i]);
        tn_context_free(c);
    }
    tn_plan_free(p);
    tn_free(&env, data, size);
}
END_TEST

/* Sizes that must be equal, and are only by chance, are not compiled; those that must be large enough are looked at after
 * the run. */
START_TEST(conditions_on_data) {
    tn_plan *p = NULL;
    void *data = NULL;
    size_t size;
    tn_status st;
    ck_assert_int_eq(compile("func @main(%x: f32[N], %y: f32[N]) {\n  %k = nonzero %x {count=K} : i64[K]\n"
                             "  %l = nonzero %y {count=L} : i64[L]\n  %s = add %k, %l\n  return %s\n}\n",
                             &p, &data, &size),
                     TN_E_UNSUPPORTED);
    ck_assert_msg(strstr(message, "sizes that depend on data must fit in a way that cannot be proved") != NULL, "%s",
                  message);
    ck_assert_msg(compile("func @main(%x: f32[5]) {\n  %k = nonzero %x {count=K} : i64[K]\n"
                          "  %s = slice %k {starts=[0], sizes=[2]} : i64[2]\n  return %s {names=[\"s\"]}\n}\n",
                          &p, &data, &size) == TN_OK,
                  "%s", message);
    static const float x[2][5] = {{0, 3, 0, 4, 5}, {0, 0, 0, 1, 0}};
    for (tn_device device = TN_CPU; device <= TN_EMU; device++) {
        tn_context *c = tn_context_new(p, &(tn_context_options){.device = device, .host = tn_host_devices()}, &st);
        if (!c) continue;
        int64_t s[2] = {9, 9};
        ck_assert_msg(tn_context_run(c, (const void *[]){x[0]}, (void *[]){s}) == TN_OK, "%s", message);
        ck_assert(s[0] == 1 && s[1] == 3);
        ck_assert_int_ne(tn_context_run(c, (const void *[]){x[1]}, (void *[]){s}), TN_OK);
        ck_assert_msg(strstr(message, "1") != NULL, "%s", message);
        tn_context_free(c);
    }
    tn_plan_free(p);
    tn_free(&env, data, size);
}
END_TEST

/* A length that a scalar says is cut to what there is memory for, and the run is refused. */
START_TEST(a_length_beyond_the_memory) {
    tn_plan *p = NULL;
    void *data = NULL;
    size_t size;
    tn_status st;
    ck_assert_msg(compile("func @main(%n: i64[]) {\n  %k = size %n {count=K, most=8} : i64[]\n"
                          "  %i = iota {dtype=i64, dims=[K], axis=0} : i64[K]\n  %y = mul %i, %n\n"
                          "  return %y {names=[\"y\"]}\n}\n",
                          &p, &data, &size) == TN_OK,
                  "%s", message);
    for (tn_device device = TN_CPU; device <= TN_EMU; device++) {
        tn_context *c = tn_context_new(p, &(tn_context_options){.device = device, .host = tn_host_devices()}, &st);
        if (!c) continue;
        for (int64_t n = -1; n <= 10; n++) {
            struct {
                int64_t y[8], guard;
            } out = {{0}, 77};
            const bool fits = n >= 0 && n <= 8;
            int64_t dims[TN_MAX_RANK];
            uint32_t rank;
            st = tn_context_run(c, (const void *[]){&n}, (void *[]){out.y});
            ck_assert_int_eq(st, fits ? TN_OK : TN_E_ARGUMENT);
            ck_assert_int_eq(out.guard, 77);
            if (!fits)
                ck_assert_msg(strstr(message, n < 0    ? "K is -1"
                                              : n < 10 ? "K is 9"
                                                       : "K is 10") != NULL,
                              "%s", message);
            if (!fits) continue;
            ck_assert_int_eq(tn_context_output_shape(c, 0, &rank, dims), TN_OK);
            ck_assert(rank == 1 && dims[0] == n);
            for (int64_t i = 0; i < n; i++) ck_assert_int_eq(out.y[i], i * n);
        }
        tn_context_free(c);
    }
    tn_plan_free(p);
    tn_free(&env, data, size);
}
END_TEST

int main(void) {
    Suite *s = suite_create("made");
    TCase *t = tcase_create("made");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, what_they_can_be);
    tcase_add_test(t, the_verifier_refuses);
    tcase_add_test(t, a_scalar_is_a_size);
    tcase_add_test(t, kernels_are_told);
    tcase_add_test(t, a_size_that_nothing_needs);
    tcase_add_test(t, conditions_on_data);
    tcase_add_test(t, a_length_beyond_the_memory);
    suite_add_tcase(s, t);
    return run_suite(s);
}
