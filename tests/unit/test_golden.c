/* Generated headers are kept in tests/golden/: a change of code generation shows as a difference there.
 * TENON_UPDATE_GOLDEN=1 writes them anew. */
#include <pthread.h>
#include <unistd.h>

#include "kernel_cases.h"
#include "tests/unit/failing.h"
#include "tests/unit/suite.h"

typedef struct golden {
    const char *file, *func, *tpl, *knobs;
} golden;

static const golden cases[] = {
    {"elementwise.tn", "relu_add", "map", "BLOCK=256 VEC=4 ITEMS=1"},
    {"elementwise.tn", "half", "map", "BLOCK=256 VEC=8 ITEMS=1"},
    {"elementwise.tn", "constants", "map", "BLOCK=128 VEC=1 ITEMS=1"},
    {"movement.tn", "from_nhwc", "transpose", "TILE=32 ROWS=8"},
    {"movement.tn", "pad_direct", "map", "BLOCK=128 VEC=8 ITEMS=1"},
    {"movement.tn", "concat_wide", "map", "BLOCK=128 VEC=8 ITEMS=1"},
    {"movement.tn", "gather_inner", "map", "BLOCK=128 VEC=2 ITEMS=1"},
    {"movement.tn", "upsample_add", "map", "BLOCK=128 VEC=8 ITEMS=1"},
    {"movement.tn", "space_to_depth", "map", "BLOCK=128 VEC=1 ITEMS=1"},
    {"reduce.tn", "norm2", "row_reduce", "BLOCK=128 TPR=32 VEC=1"},
    {"reduce.tn", "pool_all", "col_reduce", "BX=32 BY=4 VEC=2"},
    {"rows.tn", "masked", "softmax", "BLOCK=128 TPR=8 VEC=1 REGS=1"},
    {"rows.tn", "plain_norm", "norm", "BLOCK=128 TPR=8 VEC=4 REGS=1"},
    {"windows.tn", "max_pool_nhwc", "pool", "BLOCK=128 VEC=8"},
    {"windows.tn", "conv", "conv_direct", "BLOCK=128 OC=4"},
    {"index.tn", "scatter_nd", "scatter", "BLOCK=128 ITEMS=1"},
    {"index.tn", "grid_cubic", "map", "BLOCK=128 VEC=1 ITEMS=1"},
    {"matmul.tn", "heads", "matmul_direct", "BM=16 BN=16 T=1"},
    {"symbolic.tn", "image", "map", "BLOCK=256 VEC=1 ITEMS=1"},
    {"symbolic.tn", "flatten", "map", "BLOCK=256 VEC=4 ITEMS=1"},
};
enum { N_CASES = sizeof cases / sizeof *cases };

static const golden *wanted;
static bool found;

static void check_case(const fused *f, tn_node kernel, const char *file) {
    (void)file;
    if (found || strcmp(tn_graph_name(f->g), wanted->func) != 0) return;
    tn_spec *s;
    tn_variant v;
    ck_assert_msg(tn_spec_make(f->g, kernel, &f->m, &s) == TN_OK, "%s", messages);
    ck_assert_msg(tn_variant_make(s, tn_arch_find("sm_90a"), wanted->tpl, wanted->knobs, &v) == TN_OK, "%s: %s",
                  wanted->func, messages);
    char path[512];
    snprintf(path, sizeof path, TENON_SOURCE_DIR "/tests/golden/%s_%s.cuh", wanted->func, wanted->tpl);
    if (getenv("TENON_UPDATE_GOLDEN")) {
        FILE *out = fopen(path, "w");
        ck_assert_msg(out != NULL, "%s cannot be written", path);
        fputs(v.header, out);
        fclose(out);
    }
    char *kept = read_text(path);
    ck_assert_msg(!strcmp(kept, v.header), "%s differs (TENON_UPDATE_GOLDEN=1 accepts it); now:\n%s", path, v.header);
    free(kept);
    found = true;
    tn_variant_free(&env, &v);
    tn_spec_free(s);
}

START_TEST(header_is_as_kept) {
    char path[512];
    wanted = &cases[_i];
    snprintf(path, sizeof path, "%s/%s", DIR_KERNELS, wanted->file);
    for_cases(path, check_case);
    ck_assert_msg(found, "%s has no function %s", wanted->file, wanted->func);
}
END_TEST

/* Layers, values and symbols may be called anything: equal kernels have equal specs, different ones do not. */
static char first_text[4096], first_name[64];
static uint32_t n_specs, n_equal;
static void collect(const fused *f, tn_node kernel, const char *file) {
    (void)file;
    tn_spec *s;
    ck_assert(tn_spec_make(f->g, kernel, &f->m, &s) == TN_OK);
    if (!n_specs++) {
        snprintf(first_text, sizeof first_text, "%s", s->text);
        snprintf(first_name, sizeof first_name, "%s", s->name);
    } else
        n_equal += !strcmp(first_text, s->text) && !strcmp(first_name, s->name);
    tn_spec_free(s);
}

START_TEST(specs_are_canonical) {
    char path[] = "/tmp/tenon_specs_XXXXXX";
    const int fd = mkstemp(path);
    FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
    ck_assert_ptr_nonnull(out);
    fputs("func @a(%x: f32[N,8], %y: f32[8]) -> f32[N,8] {\n %0 = add %x, %y : f32[N,8] loc(\"one\")\n return "
          "%0\n}\n// -----\n"
          "func @b(%p: f32[M,8], %q: f32[8]) -> f32[M,8] {\n %r = add %p, %q : f32[M,8] loc(\"two\")\n return "
          "%r\n}\n// -----\n"
          "func @c(%p: f32[M,4], %q: f32[4]) -> f32[M,4] {\n %r = add %p, %q : f32[M,4]\n return %r\n}\n",
          out);
    fclose(out);
    n_specs = n_equal = 0;
    for_cases(path, collect);
    unlink(path);
    ck_assert_uint_eq(n_specs, 3);
    ck_assert_uint_eq(n_equal, 1);
}
END_TEST

/* ---- out of memory ----------------------------------------------------------------------------------------------- */

static failing heap = {.for_good = true};
static const tn_env scarce = {.alloc = fail_alloc, .alloc_user = &heap, .diag = on_diag};

/* The n-th allocation of making a spec and a variant fails: an error comes back, nothing leaks, nothing crashes. */
START_TEST(memory_runs_out) {
    static const char text[] =
        "func @f(%x: f16[N,8,16], %s: f16[16], %r: f16[N,16,8]) -> f16[N,16,8] {\n"
        "  %0 = softmax %x {axis=2} : f16[N,8,16]\n  %1 = mul %0, %s : f16[N,8,16]\n"
        "  %2 = transpose %1 {perm=[0,2,1]} : f16[N,16,8]\n  %3 = add %2, %r : f16[N,16,8]\n  return %3\n}\n";
    bool done = false;
    for (long n = 0; !done; ++n) {
        ck_assert_int_lt(n, 5000);
        tn_status st;
        tn_graph *g = tn_parse(&scarce, "f", text, sizeof text - 1, NULL, 0, true, &st);
        ck_assert_ptr_nonnull(g);
        const tn_pass_options opts = {.compute = TN_F32};
        tn_pass_ctx *ctx = tn_pass_ctx_new(&scarce, &opts);
        ck_assert(tn_run_passes(g, "fuse", ctx) == TN_OK);
        tn_pass_ctx_free(ctx);
        TN_FOR_NODES(g, tn_graph_body(g), node) {
            if (tn_node_op(g, node) != TN_OP_KERNEL) continue;
            tn_spec *s;
            tn_variant v = {0};
            fail_at(&heap, n + 1);
            st = tn_spec_make(g, node, NULL, &s);
            if (st == TN_OK) {
                tn_variant *all;
                size_t count;
                st = tn_enumerate(s, tn_arch_find("sm_90a"), NULL, 2, &all, &count);
                if (st == TN_OK) {
                    for (size_t k = 0; k < count; ++k) tn_variant_free(&scarce, &all[k]);
                    tn_free(&scarce, all, count * sizeof *all);
                }
                tn_spec_free(s);
            }
            done = st == TN_OK && !heap.failed;
            tn_variant_free(&scarce, &v);
            break;
        }
        tn_graph_free(g);
        ck_assert_int_eq(heap.live, 0);
        fail_at(&heap, 0);
    }
}
END_TEST

enum { THREADS = 4 };

typedef struct beside {
    tn_spec spec; /* in a view of its own */
    tn_variant *v;
    size_t n;
    tn_status st;
} beside;

static void *enumerate(void *arg) {
    beside *b = arg;
    b->st = tn_enumerate(&b->spec, tn_arch_find("sm_90a"), NULL, 12, &b->v, &b->n);
    return NULL;
}

/* Threads that enumerate in views of one graph find what one thread finds in the graph, which learns of it afterwards. */
static void check_beside(const fused *f, tn_node kernel, const char *file) {
    (void)file;
    tn_spec *s;
    beside b[THREADS];
    pthread_t threads[THREADS];
    tn_variant *v;
    size_t n;
    ck_assert_int_eq(tn_spec_make(f->g, kernel, &f->m, &s), TN_OK);
    for (size_t k = 0; k < THREADS; k++) {
        b[k] = (beside){.spec = *s};
        b[k].spec.g = tn_graph_view(s->g);
        ck_assert_ptr_nonnull(b[k].spec.g);
        ck_assert_int_eq(pthread_create(&threads[k], NULL, enumerate, &b[k]), 0);
    }
    for (size_t k = 0; k < THREADS; k++) pthread_join(threads[k], NULL);
    ck_assert_int_eq(tn_enumerate(s, tn_arch_find("sm_90a"), NULL, 12, &v, &n), TN_OK);
    for (size_t k = 0; k < THREADS; k++) {
        ck_assert_int_eq(b[k].st, TN_OK);
        ck_assert_uint_eq(b[k].n, n);
        for (size_t i = 0; i < n; i++) {
            ck_assert_int_eq(tn_variant_take(s->g, b[k].spec.g, &b[k].v[i]), TN_OK);
            ck_assert_str_eq(b[k].v[i].header, v[i].header);
            ck_assert_mem_eq(b[k].v[i].grid, v[i].grid, sizeof v->grid);
            for (size_t a = 0; a < v[i].n_args; a++) ck_assert_uint_eq(b[k].v[i].args[a].dim.i, v[i].args[a].dim.i);
            tn_variant_free(&env, &b[k].v[i]);
        }
        tn_free(&env, b[k].v, n * sizeof *v);
        tn_graph_free(b[k].spec.g);
    }
    for (size_t i = 0; i < n; i++) tn_variant_free(&env, &v[i]);
    tn_free(&env, v, n * sizeof *v);
    tn_spec_free(s);
}

START_TEST(candidates_are_enumerated_side_by_side) {
    static const char *const files[] = {"symbolic.tn", "matmul.tn"};
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        char path[512];
        snprintf(path, sizeof path, DIR_KERNELS "/%s", files[k]);
        for_cases(path, check_beside);
    }
}
END_TEST

int main(void) {
    TCase *t = tcase_create("golden");
    tcase_add_loop_test(t, header_is_as_kept, 0, N_CASES);
    tcase_add_test(t, specs_are_canonical);
    tcase_add_test(t, memory_runs_out);
    tcase_add_test(t, candidates_are_enumerated_side_by_side);
    tcase_set_timeout(t, 120);
    Suite *s = suite_create("golden");
    suite_add_tcase(s, t);
    return run_suite(s);
}
