/* 16-bit storage stays within its rounding of the f32 results; what would overflow or vanish stays f32. */
#include "passes/precision/ranges.h"
#include "tests/unit/failing.h"
#include "tests/unit/graph_gen.h"
#include "tests/unit/suite.h"

static gen_log log_;
static const tn_env env_ = {.diag = gen_diag, .diag_user = &log_};

static void random_graphs(tn_dtype compute, double tolerance, uint64_t first, uint64_t count) {
    tn_pass_options o = {.compute = compute};
    for (uint64_t seed = first; seed < first + count; seed++) {
        log_.text[0] = 0;
        tn_graph *g = gen_graph(&env_, seed, 10, true);
        ck_assert_msg(g != NULL, "%s", log_.text);
        gen_io before, after;
        ck_assert_msg(gen_eval(&env_, g, seed, 2, 1, &before) == TN_OK, "%s", log_.text);
        ck_assert_msg(gen_run(&env_, g, "precision", &o) == TN_OK, "seed %u: %s", (unsigned)seed, log_.text);
        for (size_t k = 0; k < tn_graph_output_count(g); k++)
            ck_assert_int_eq(tn_val_dtype(g, tn_graph_output(g, k)), TN_F32);
        TN_FOR_NODES(g, tn_graph_body(g), n) {
            tn_op op = tn_node_op(g, n);
            if (op == TN_OP_CONV || op == TN_OP_MATMUL)
                ck_assert_int_eq(tn_val_dtype(g, tn_node_result(g, n, 0)), compute);
        }
        ck_assert_msg(gen_eval(&env_, g, seed, 2, 1, &after) == TN_OK, "seed %u: %s", (unsigned)seed, log_.text);
        double d = gen_difference(&before, &after);
        ck_assert_msg(d <= tolerance, "seed %u: results differ by %g", (unsigned)seed, d);
        gen_io_free(&env_, &before);
        gen_io_free(&env_, &after);
        tn_graph_free(g);
    }
}

START_TEST(half) {
    random_graphs(TN_F16, 0.06, 1, 80);
}
END_TEST
START_TEST(bfloat) {
    random_graphs(TN_BF16, 0.5, 1, 80);
}
END_TEST

static tn_graph *lowered(const char *text, const tn_pass_options *o, gen_io *before) {
    tn_status s;
    log_.text[0] = 0;
    tn_graph *g = tn_parse(&env_, "test", text, strlen(text), NULL, 0, true, &s);
    ck_assert_msg(g != NULL, "%s", log_.text);
    if (before) ck_assert_msg(gen_eval(&env_, g, 3, 2, 1, before) == TN_OK, "%s", log_.text);
    ck_assert_msg(gen_run(&env_, g, "precision", o) == TN_OK, "%s", log_.text);
    return g;
}

static const tn_pass_options half_ = {.compute = TN_F16};

/* A mask of -3e38 would be -inf in f16, and -inf * 0 a NaN. */
START_TEST(large_constant_stays) {
    gen_io before, after;
    tn_graph *g = lowered("func @main(%x: f32[4,4], %m: f32[4,4]) -> f32[4,4] {\n"
                          "  %c = const [-3e38] : f32[]\n  %z = sub %m, %m : f32[4,4]\n  %n = mul %z, %c : f32[4,4]\n"
                          "  %s = add %x, %n : f32[4,4]\n  %y = softmax %s {axis=1} : f32[4,4]\n  return %y\n}\n",
                          &half_, &before);
    ck_assert_msg(gen_eval(&env_, g, 3, 2, 1, &after) == TN_OK, "%s", log_.text);
    ck_assert_double_le(gen_difference(&before, &after), 2e-3);
    gen_io_free(&env_, &before);
    gen_io_free(&env_, &after);
    tn_graph_free(g);
}
END_TEST

/* The variance of values around 300 overflows f16 when squared. */
START_TEST(norms_stay) {
    gen_io before, after;
    tn_graph *g =
        lowered("func @main(%x: f32[4,64]) -> f32[4,64] {\n  %k = const [600.0] : f32[]\n"
                "  %b = mul %x, %k : f32[4,64]\n  %two = const [2.0] : f32[]\n"
                "  %m = reduce_mean %b {axes=[1], keepdims=true} : f32[4,1]\n  %d = sub %b, %m : f32[4,64]\n"
                "  %p = pow %d, %two : f32[4,64]\n  %v = reduce_mean %p {axes=[1], keepdims=true} : f32[4,1]\n"
                "  %e = const [1e-12] : f32[]\n  %f = add %v, %e : f32[4,1]\n  %r = sqrt %f : f32[4,1]\n"
                "  %y = div %d, %r : f32[4,64]\n  return %y\n}\n",
                &half_, &before);
    ck_assert_msg(gen_eval(&env_, g, 3, 2, 1, &after) == TN_OK, "%s", log_.text);
    ck_assert_double_le(gen_difference(&before, &after), 4e-3);
    gen_io_free(&env_, &before);
    gen_io_free(&env_, &after);
    tn_graph_free(g);
}
END_TEST

START_TEST(others_untouched) {
    const char *text =
        "func @main(%x: f64[4], %i: i64[4], %h: f16[4]) -> (f64[4], i64[4], f16[4]) {\n"
        "  %a = relu %x : f64[4]\n  %b = add %i, %i : i64[4]\n  %c = relu %h : f16[4]\n  return %a, %b, %c\n}\n";
    tn_status s;
    tn_graph *g = tn_parse(&env_, "test", text, strlen(text), NULL, 0, true, &s);
    ck_assert_msg(g != NULL, "%s", log_.text);
    uint64_t hash = tn_graph_hash(g);
    ck_assert_int_eq(gen_run(&env_, g, "precision", &half_), TN_OK);
    ck_assert_uint_eq(hash, tn_graph_hash(g));
    tn_pass_options f32 = {.compute = TN_F32};
    ck_assert_int_eq(gen_run(&env_, g, "precision", &f32), TN_OK);
    ck_assert_uint_eq(hash, tn_graph_hash(g));
    tn_graph_free(g);
}
END_TEST

START_TEST(tf32_is_a_tag) {
    tn_pass_options o = {.compute = TN_F32, .tf32 = true};
    tn_graph *g = lowered(
        "func @main(%x: f32[4,8], %w: f32[8,2]) -> f32[4,2] {\n  %y = matmul %x, %w : f32[4,2]\n  return %y\n}\n", &o,
        NULL);
    tn_node n = tn_region_first(g, tn_graph_body(g));
    ck_assert_int_eq(tn_node_op(g, n), TN_OP_MATMUL);
    ck_assert_str_eq(TN_ATTRS_OF(g, n, matmul)->math, "tf32");
    ck_assert_uint_eq(gen_count(g, TN_OP_CAST), 0);
    tn_graph_free(g);
}
END_TEST

START_TEST(out_of_memory) {
    bool done = false;
    for (int n = 0; n < 6000 && !done; n += n < 100 ? 1 : 17) {
        failing f = {.for_good = true};
        tn_env env = {.alloc = fail_alloc, .alloc_user = &f};
        tn_graph *g = gen_graph(&env, 11, 30, true);
        ck_assert(g != NULL);
        fail_at(&f, n + 1);
        tn_status s = gen_run(&env, g, "precision", &half_);
        ck_assert(s == TN_OK || s == TN_E_MEMORY);
        done = s == TN_OK;
        tn_graph_free(g);
        ck_assert_int_eq(f.live, 0);
    }
    ck_assert(done);
}
END_TEST

/* Magnitudes are measured at the typical sizes, or where that is too much work at smaller ones of which all conditions
 * hold. */
START_TEST(ranges_are_measured_at_some_size) {
    static const char text[] = "symbol N in [0, inf] hint 1000000000\nsymbol M in [1, inf] hint 3000\n"
                               "require multiple(M, 3) \"test\"\n"
                               "func @main(%x: f32[N,64], %z: f32[M]) -> (%y: f32[N,64], %v: f32[M]) {\n"
                               "  %w = const splat(100) : f32[64,64]\n  %y = matmul %x, %w\n  %v = neg %z\n"
                               "  return %y, %v\n}\n";
    for (int large = 0; large < 2; large++) {
        tn_status s;
        tn_graph *g = tn_parse(&env_, "test", text, strlen(text), NULL, 0, true, &s);
        ck_assert_msg(g != NULL, "%s", log_.text);
        double most[64] = {0};
        ck_assert_uint_lt(tn_graph_val_limit(g), 64);
        const bool measured = tn_measure_ranges(g, large ? 100 : 1e9, NULL, most, tn_graph_val_limit(g));
        ck_assert_int_eq(measured, !large); /* one row is 8192 */
        if (measured) {
            ck_assert_double_gt(most[tn_graph_output(g, 0).i], 500);
            ck_assert_double_gt(most[tn_graph_output(g, 1).i], 0);
        }
        tn_graph_free(g);
    }
}
END_TEST

/* One record. */
typedef struct notebook {
    char key[512];
    double data[64];
    size_t size;
    int gets, hits, puts;
} notebook;

static bool read_note(void *user, const char *key, void **data, size_t *size) {
    notebook *b = user;
    b->gets++;
    if (strcmp(key, b->key) != 0) return false;
    b->hits++;
    *size = b->size + 1;
    *data = tn_alloc(&env_, *size);
    ck_assert_ptr_nonnull(*data);
    memcpy(*data, b->data, b->size);
    return true;
}

static void write_note(void *user, const char *key, const void *data, size_t size) {
    notebook *b = user;
    ck_assert_uint_le(size, sizeof b->data);
    ck_assert_int_lt(snprintf(b->key, sizeof b->key, "%s", key), (int)sizeof b->key);
    memcpy(b->data, data, size);
    b->size = size;
    b->puts++;
}

/* The largest number of a chain of n products with a weight, with batch as the symbol's typical size; 0: not measured.
 * `bad` divides by an integer zero at the end. */
static double largest_of(notebook *b, int n, double weight, int batch, bool bad) {
    const tn_pass_memo memo = {read_note, write_note, b};
    char text[1024];
    size_t at = (size_t)snprintf(text, sizeof text,
                                 "symbol N in [1, inf] hint %d\nfunc @main(%%x: f32[N,64], %%i: i32[N]) -> (f32[N,64], "
                                 "i32[N]) {\n  %%w = const splat(%g) : f32[64,64]\n  %%y0 = relu %%x\n",
                                 batch, weight);
    for (int k = 0; k < n; k++)
        at += (size_t)snprintf(text + at, sizeof text - at, "  %%y%d = matmul %%y%d, %%w\n", k + 1, k);
    snprintf(text + at, sizeof text - at, "  %%zero = sub %%i, %%i\n  %%d = %s %%i, %%zero\n  return %%y%d, %%d\n}\n",
             bad ? "div" : "add", n);
    tn_status s;
    log_.text[0] = 0;
    tn_graph *g = tn_parse(&env_, "test", text, strlen(text), NULL, 0, true, &s);
    ck_assert_msg(g != NULL, "%s", log_.text);
    double most[64] = {0}, found = 0;
    ck_assert_uint_lt(tn_graph_val_limit(g), 64);
    ck_assert_int_eq(tn_measure_ranges(g, 1e9, &memo, most, tn_graph_val_limit(g)), !bad);
    for (int k = 0; k < 64; k++) found = most[k] > found ? most[k] : found;
    tn_graph_free(g);
    return found;
}

START_TEST(an_equal_graph_is_measured_once) {
    notebook b = {.key = ""};
    const double first = largest_of(&b, 2, 10, 2, false);
    ck_assert_double_gt(first, 1000);
    ck_assert_int_eq(b.puts, 1);
    ck_assert(largest_of(&b, 2, 10, 2, false) == first);
    ck_assert_int_eq(b.hits, 1);
    for (size_t k = 1; k < b.size / sizeof *b.data; k++) b.data[k] *= 3;
    ck_assert(largest_of(&b, 2, 10, 2, false) == 3 * first); /* what the record says is believed */
    ck_assert_int_eq(b.puts, 1);
    b.size -= sizeof *b.data;
    ck_assert(largest_of(&b, 2, 10, 2, false) == first); /* but for one that is too short */
    ck_assert_int_eq(b.puts, 2);
}
END_TEST

START_TEST(another_graph_is_measured_anew) {
    static const struct {
        int n;
        double weight;
        int batch;
    } others[] = {{3, 10, 2}, {2, 11, 2}, {2, 10, 3}};
    for (size_t k = 0; k < sizeof others / sizeof *others; k++) {
        notebook b = {.key = ""}, fresh = {.key = ""};
        largest_of(&b, 2, 10, 2, false);
        const double found = largest_of(&b, others[k].n, others[k].weight, others[k].batch, false);
        ck_assert(found == largest_of(&fresh, others[k].n, others[k].weight, others[k].batch, false));
        ck_assert_int_eq(b.hits, 0);
        ck_assert_int_eq(b.puts, 2);
    }
}
END_TEST

/* Up to where it refused, every time. */
START_TEST(a_graph_that_refuses_is_asked_once) {
    notebook b = {.key = ""};
    const double first = largest_of(&b, 2, 10, 2, true);
    ck_assert_double_gt(first, 1000);
    ck_assert(largest_of(&b, 2, 10, 2, true) == first);
    ck_assert_int_eq(b.puts, 1);
    ck_assert_int_eq(b.hits, 1);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("precision");
    TCase *tc = tcase_create("precision");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, half);
    tcase_add_test(tc, bfloat);
    tcase_add_test(tc, large_constant_stays);
    tcase_add_test(tc, ranges_are_measured_at_some_size);
    tcase_add_test(tc, an_equal_graph_is_measured_once);
    tcase_add_test(tc, another_graph_is_measured_anew);
    tcase_add_test(tc, a_graph_that_refuses_is_asked_once);
    tcase_add_test(tc, norms_stay);
    tcase_add_test(tc, out_of_memory);
    tcase_add_test(tc, others_untouched);
    tcase_add_test(tc, tf32_is_a_tag);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
