/* test_shapes.c: what is said of inputs' sizes: single sizes, ranges, and several shapes as buckets; what contradicts
 * the model or itself is refused; what a plan takes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/ir.h"
#include "tenon/compiler.h"
#include "tenon/host.h"
#include "tenon/tenon.h"
#include "tests/unit/parsed.h"
#include "tests/unit/suite.h"

static const char model[] = "symbol T in [2, 64]\n"
                            "func @main(%x: f32[N,S,4], %m: f32[N,S], %w: f32[4,S*2], %t: f32[T]) -> (%y: f32[N,S,4], "
                            "%z: f32[N,S], %u: f32[4,S*2], %v: f32[T]) {\n  %y = neg %x\n  %z = neg %m\n  %u = neg %w\n"
                            "  %v = neg %t\n  return %y, %z, %u, %v\n}\n";

/* The lines before the function: symbols and buckets. */
static char *header_of(const tn_graph *g) {
    char *text, *out;
    size_t size;
    ck_assert_int_eq(tn_print(g, NULL, &text, &size), TN_OK);
    out = malloc(size + 1);
    const size_t n = (size_t)(strstr(text, "func ") - text);
    memcpy(out, text, n);
    out[n] = 0;
    tn_free(&env, text, size + 1);
    return out;
}

#define ANY -1

typedef struct row {
    size_t n;
    tn_shape_override shapes[4];
    const char *want; /* the header; or, after "!", what the message says */
} row;

#define X(lo0, lo1, hi0, hi1, t0, t1)                                                                                  \
    {                                                                                                                  \
        .input = "x", .rank = 3, .dims = {lo0, lo1, ANY}, .most = {hi0, hi1}, .typical = { t0, t1 }                    \
    }
#define M(lo0, lo1, hi0, hi1, t0, t1)                                                                                  \
    {                                                                                                                  \
        .input = "m", .rank = 2, .dims = {lo0, lo1}, .most = {hi0, hi1}, .typical = { t0, t1 }                         \
    }

#define T "symbol T in [2, 64]\n"
static const row rows[] = {
    /* one shape: sizes, ranges, typical sizes */
    {1, {X(8, 16, 0, 0, 0, 0)}, T},
    {1, {X(1, 1, 32, 512, 0, 0)}, T "symbol N in [1, 32]\nsymbol S in [1, 512]\n"},
    {1, {X(ANY, 16, 0, 0, 0, 0)}, T},
    {1,
     {X(1, 16, 32, 0, 8, 0)},
     T "symbol N in [1, 32] hint 8\n"
       "bucket T in [2, 64], N in [1, 32] hint 8\n"},
    {1,
     {X(ANY, ANY, 0, 0, 8, 0)},
     T "symbol N in [0, inf] hint 8\nsymbol S in [0, inf]\n"
       "bucket T in [2, 64], N in [0, inf] hint 8, S in [0, inf]\n"},
    {2,
     {X(1, ANY, 32, 0, 0, 0), M(1, ANY, 32, 0, 4, 0)},
     T "symbol N in [1, 32] hint 4\nsymbol S in [0, inf]\n"
       "bucket T in [2, 64], N in [1, 32] hint 4, S in [0, inf]\n"},
    /* several */
    {2,
     {X(1, 128, 0, 0, 0, 0), X(8, 384, 0, 0, 0, 0)},
     T "symbol N in [1, 8] hint 1\nsymbol S in [128, 384] hint 128\nbucket T in [2, 64], N in [1, 1] hint 1, S in "
       "[128, 128] hint 128\nbucket T in [2, 64], N in [8, 8] hint 8, S in [384, 384] hint 384\n"},
    {2,
     {X(1, 128, 4, 0, 0, 0), X(5, 128, 32, 0, 8, 0)},
     T "symbol N in [1, 32]\n"
       "bucket T in [2, 64], N in [1, 4]\nbucket T in [2, 64], N in [5, 32] hint 8\n"},
    {3,
     {X(1, 128, 0, 0, 0, 0), M(ANY, ANY, 0, 0, 0, 0), X(8, 128, 0, 0, 0, 0)},
     T "symbol N in [1, 8] hint 1\n"
       "bucket T in [2, 64], N in [1, 1] hint 1\nbucket T in [2, 64], N in [8, 8] hint 8\n"},
    {4,
     {X(1, 128, 0, 0, 0, 0), M(1, 128, 0, 0, 0, 0), M(8, 128, 0, 0, 0, 0), X(8, 128, 0, 0, 0, 0)},
     T "symbol N in [1, 8] hint 1\n"
       "bucket T in [2, 64], N in [1, 1] hint 1\nbucket T in [2, 64], N in [8, 8] hint 8\n"},
    {2, {X(8, 16, 0, 0, 0, 0), X(8, 16, 0, 0, 0, 0)}, T}, /* the same twice is one size */
    {2, {X(1, 16, 9, 0, 0, 0), X(1, 16, 9, 0, 0, 0)}, T "symbol N in [1, 9]\n"},
    {2, {X(3, 4, 0, 0, 0, 0), {.input = "w", .rank = 2, .dims = {4, 8}}}, T}, /* what 2 S is then */
    {1, {{.input = "t", .rank = 1, .dims = {8}, .most = {16}}}, "symbol T in [8, 16]\n"},
    /* a name for several */
    {1, {{.input = "*", .rank = 1, .dims = {7}}}, "!input 'x' has rank 3; the shape given for it has 1"},
    {1, {{.input = "*z", .rank = 1, .dims = {7}}}, "!a shape is given for '*z', but the inputs are x: f32[N,S,4], m: "},
    /* refused */
    {1, {X(5, 1, 3, 0, 0, 0)}, "!dim 0 of input 'x' is given from 5 to 3: the lower bound is above the upper"},
    {1, {X(1, 1, 8, 0, 9, 0)}, "!dim 0 of input 'x' is given as 1..8: the typical size 9 is outside"},
    {1, {X(4, 1, 0, 0, 9, 0)}, "!dim 0 of input 'x' is given as 4: the typical size 9 is outside"},
    {1, {{.input = "x", .rank = 2, .dims = {1, 1}}}, "!input 'x' has rank 3; the shape given for it has 2"},
    {1,
     {{.input = "q", .rank = 2, .dims = {1, 1}}},
     "!a shape is given for 'q', but the inputs are x: f32[N,S,4], m: "},
    {1,
     {{.input = "x", .rank = 3, .dims = {1, 1, 2}, .most = {0, 0, 8}}},
     "!dim 2 of input 'x' is 4 in the model; the shape given for it says 2..8"},
    {1,
     {{.input = "w", .rank = 2, .dims = {4, 2}, .most = {0, 8}}},
     "!dim 1 of input 'w' is S*2 in the model; the shape given for it says 2..8"},
    {1,
     {{.input = "t", .rank = 1, .dims = {1}, .most = {64}}},
     "!dim 0 of input 't' is T, which is 2..64 in the model; the shape given for it says 1..64"},
    {1, {{.input = "t", .rank = 1, .dims = {65}}}, "!which is 2..64 in the model; the shape given for it says 65"},
    {2, {X(5, ANY, 0, 0, 0, 0), M(6, ANY, 0, 0, 0, 0)}, "!dim 0 of input 'm' is 5; the shape given for it says 6"},
    {2,
     {X(1, ANY, 8, 0, 0, 0), M(1, ANY, 9, 0, 0, 0)},
     "!dim 0 of input 'm' is N, which is 1..8 by dim 0 of input 'x'; the shape given for it says 1..9"},
    {2,
     {X(1, ANY, 8, 0, 2, 0), M(1, ANY, 8, 0, 3, 0)},
     "!which is 1..8:2 by dim 0 of input 'x'; the shape given for it says 1..8:3"},
    {3,
     {X(1, ANY, 0, 0, 0, 0), X(8, ANY, 0, 0, 0, 0), M(8, ANY, 0, 0, 0, 0)},
     "!dim 0 of input 'm' is 1; the shape given for it says 8"},
    {2,
     {X(3, 4, 0, 0, 0, 0), {.input = "w", .rank = 2, .dims = {4, 9}}},
     "!dim 1 of input 'w' is 8; the shape given for it says 9"},
};

START_TEST(shapes_that_are_given) {
    const row *r = &rows[_i];
    tn_graph *g = parsed(model);
    const tn_status st = tn_graph_give_shapes(g, r->shapes, r->n);
    if (*r->want == '!') {
        ck_assert_int_eq(st, TN_E_ARGUMENT);
        ck_assert_msg(strstr(message, r->want + 1), "got %s", message);
        ck_assert_int_eq(tn_graph_status(g), TN_E_ARGUMENT);
    } else {
        ck_assert_msg(st == TN_OK, "%s", message);
        char *got = header_of(g);
        ck_assert_str_eq(got, r->want);
        free(got);
        ck_assert_int_eq(tn_verify(g), TN_OK);
    }
    tn_graph_free(g);
}
END_TEST

START_TEST(shapes_must_pair_up) {
    const tn_shape_override shapes[] = {X(1, ANY, 0, 0, 0, 0), X(2, ANY, 0, 0, 0, 0), X(3, ANY, 0, 0, 0, 0),
                                        M(1, ANY, 0, 0, 0, 0), M(2, ANY, 0, 0, 0, 0)};
    tn_graph *g = parsed(model);
    ck_assert_int_eq(tn_graph_give_shapes(g, shapes, 5), TN_E_ARGUMENT);
    ck_assert_msg(strstr(message, "input 'x' is given 3 shapes and input 'm' 2"), "%s", message);
    tn_graph_free(g);
    tn_shape_override many[TN_MAX_GIVEN_BUCKETS + 1];
    for (int k = 0; k <= TN_MAX_GIVEN_BUCKETS; k++) many[k] = (tn_shape_override)X(k + 1, ANY, 0, 0, 0, 0);
    g = parsed(model);
    ck_assert_int_eq(tn_graph_give_shapes(g, many, TN_MAX_GIVEN_BUCKETS + 1), TN_E_ARGUMENT);
    ck_assert_msg(strstr(message, "input 'x' is given 9 shapes, the most are 8"), "%s", message);
    tn_graph_free(g);
    g = parsed(model);
    ck_assert_int_eq(tn_graph_give_shapes(g, many, TN_MAX_GIVEN_BUCKETS), TN_OK);
    ck_assert_uint_eq(tn_bucket_count(g), TN_MAX_GIVEN_BUCKETS);
    tn_graph_free(g);
}
END_TEST

/* ---- buckets ----------------------------------------------------------------------------------------------------- */

static const tn_shape_override two[] = {X(1, 16, 4, 128, 1, 128), X(5, 16, 32, 512, 8, 384)};

static void check_two(tn_graph *g) {
    const tn_dim n = tn_dim_sym(g, "N"), s = tn_dim_sym(g, "S"), t = tn_dim_sym(g, "T");
    const struct {
        size_t bucket;
        tn_dim sym;
        tn_size_range r;
    } want[] = {{0, n, {1, 4, 1, 0}},  {0, s, {16, 128, 128, 0}}, {0, t, {2, 64, 0, 0}},
                {1, n, {5, 32, 8, 0}}, {1, s, {16, 512, 384, 0}}, {7, n, {1, 32, 1, 0}}};
    char text[64];
    ck_assert_uint_eq(tn_bucket_count(g), 2);
    for (size_t k = 0; k < sizeof want / sizeof *want; k++) {
        const tn_size_range r = tn_bucket_range(g, want[k].bucket, want[k].sym);
        ck_assert_msg(r.lo == want[k].r.lo && r.hi == want[k].r.hi && r.typical == want[k].r.typical, "row %zu", k);
    }
    ck_assert_uint_eq(tn_bucket_print(g, 1, text, sizeof text), strlen(text));
    ck_assert_str_eq(text, "N=5..32:8, S=16..512:384");
}

START_TEST(buckets_are_in_copies_and_in_the_text) {
    tn_graph *g = parsed(model), *plain = parsed(model), *copy, *again;
    char *text;
    size_t size;
    tn_status st;
    ck_assert_int_eq(tn_graph_give_shapes(g, two, 2), TN_OK);
    check_two(g);
    copy = tn_graph_clone(g);
    check_two(copy);
    ck_assert(tn_graph_hash(copy) == tn_graph_hash(g) && tn_graph_hash(g) != tn_graph_hash(plain));
    ck_assert_int_eq(tn_print(g, NULL, &text, &size), TN_OK);
    again = tn_parse(&env, "again", text, size, NULL, 0, true, &st);
    ck_assert_msg(again != NULL, "%s", message);
    ck_assert_uint_eq(tn_bucket_count(again), 2);
    const tn_size_range r = tn_bucket_range(again, 1, tn_dim_sym(again, "S"));
    ck_assert(r.lo == 16 && r.hi == 512 && r.typical == 384);
    tn_graph_clear_buckets(copy);
    ck_assert_uint_eq(tn_bucket_count(copy), 0);
    ck_assert(tn_graph_hash(copy) != tn_graph_hash(g));
    tn_free(&env, text, size + 1);
    tn_graph_free(again);
    tn_graph_free(copy);
    tn_graph_free(plain);
    tn_graph_free(g);
}
END_TEST

/* Whatever a text says of symbols and buckets, in whichever order: it is printed as it is read back. */
START_TEST(the_text_of_buckets_is_stable) {
    static const char *const headers[] = {
        "bucket T in [1, 9] hint 3\nsymbol T in [0, 70] hint 5\n",
        "symbol N in [3, 4]\nbucket N in [5, 9] hint 7\nbucket N in [1, 2]\n",
        "bucket S in [1, 2], N in [0, inf] hint 4\nbucket T in [1, 2] hint 1\n",
    };
    for (size_t k = 0; k < sizeof headers / sizeof *headers; k++) {
        char text[1024];
        char *once, *twice;
        size_t size;
        snprintf(text, sizeof text, "%s%s", headers[k], strstr(model, "func"));
        tn_graph *g = parsed(text), *again;
        ck_assert_int_eq(tn_print(g, NULL, &once, &size), TN_OK);
        again = parsed(once);
        ck_assert(tn_graph_hash(g) == tn_graph_hash(again));
        tn_free(&env, once, size + 1);
        once = header_of(g), twice = header_of(again);
        ck_assert_str_eq(once, twice);
        free(once), free(twice);
        tn_graph_free(again);
        tn_graph_free(g);
    }
}
END_TEST

/* A symbol that is bound takes what was said of it along, or away. */
START_TEST(buckets_follow_their_symbols) {
    tn_graph *g = parsed(model);
    ck_assert_int_eq(tn_graph_give_shapes(g, two, 2), TN_OK);
    const tn_dim n = tn_dim_sym(g, "N"), s = tn_dim_sym(g, "S"), b = tn_dim_sym(g, "B");
    ck_assert_int_eq(tn_dim_bind(g, n, b), TN_OK);
    ck_assert_int_eq(tn_bucket_range(g, 1, b).typical, 8);
    ck_assert_int_eq(tn_dim_bind(g, s, tn_dim_const(g, 20)), TN_OK);
    ck_assert_uint_eq(tn_bucket_count(g), 2);
    ck_assert_int_eq(tn_dim_bind(g, b, tn_dim_const(g, 20)), TN_OK);
    ck_assert_uint_eq(tn_bucket_count(g), 0);
    tn_graph_free(g);
}
END_TEST

START_TEST(buckets_that_are_no_text) {
    static const struct {
        const char *line, *says;
    } bad[] = {{"bucket N\n", "a bucket gives a symbol a range"},
               {"bucket N in [2, 1]\n", "above its upper"},
               {"bucket N in [1, 2] hint -1\n", "a bucket gives a symbol a range"},
               {"bucket 2 in [1, 2]\n", "a symbol's name is expected"},
               {"bucket N in [1, 1]\nbucket N in [1, 1]\nbucket N in [1, 1]\nbucket N in [1, 1]\nbucket N in [1, 1]\n"
                "bucket N in [1, 1]\nbucket N in [1, 1]\nbucket N in [1, 1]\nbucket N in [1, 1]\n",
                "more than 8 buckets"}};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        tn_status st;
        message[0] = 0;
        ck_assert_ptr_null(tn_parse(&env, "text", bad[k].line, strlen(bad[k].line), NULL, 0, true, &st));
        ck_assert_msg(strstr(message, bad[k].says), "%s", message);
    }
}
END_TEST

/* ---- in a plan --------------------------------------------------------------------------------------------------- */

/* A symbol that no input tells cannot choose a bucket. */
START_TEST(buckets_of_unknown_symbols) {
    static const char *const target = "sm_90a";
    const tn_compile_options opts = {
        .targets = &target, .n_targets = 1, .no_gpu = true, .sources_only = true, .tune_seconds = -1, .cache_dir = ""};
    char text[1024];
    void *data;
    size_t size;
    uint32_t rank;
    int64_t out[TN_MAX_RANK];
    tn_status st;
    for (int k = 0; k < 2; k++) {
        snprintf(text, sizeof text, "bucket %sQ in [1, 4] hint 2\nbucket Q in [5, 9]\n%s", k ? "N in [0, 5], " : "",
                 strstr(model, "func"));
        tn_graph *g = parsed(text);
        ck_assert_msg(tn_compile_memory(g, &opts, &data, &size) == TN_OK, "%s", message);
        tn_graph_free(g);
        tn_plan *p = tn_plan_load_memory(&env, data, size, &st);
        tn_context *c = tn_context_new(p, &(tn_context_options){.device = TN_CPU, .host = tn_host_devices()}, &st);
        ck_assert_ptr_nonnull(c);
        tn_context_set_shape(c, 2, 2, (int64_t[]){4, 200});
        tn_context_set_shape(c, 3, 1, (int64_t[]){2});
        tn_context_set_shape(c, 1, 2, (int64_t[]){4, 100});
        tn_context_set_shape(c, 0, 3, (int64_t[]){4, 100, 4});
        ck_assert_msg(tn_context_output_shape(c, 0, &rank, out) == TN_OK, "%s", message);
        tn_context_free(c);
        tn_plan_free(p);
        tn_free(&env, data, size);
    }
}
END_TEST

START_TEST(a_plan_refuses_what_is_outside) {
    static const char *const target = "sm_90a";
    const tn_compile_options opts = {.targets = &target,
                                     .n_targets = 1,
                                     .no_gpu = true,
                                     .sources_only = true,
                                     .tune_seconds = -1,
                                     .cache_dir = "",
                                     .shapes = two,
                                     .n_shapes = 2};
    tn_graph *g = parsed(model);
    void *data;
    size_t size;
    tn_status st;
    ck_assert_msg(tn_compile_memory(g, &opts, &data, &size) == TN_OK, "%s", message);
    tn_graph_free(g);
    tn_plan *p = tn_plan_load_memory(&env, data, size, &st);
    ck_assert_msg(p != NULL, "%s", message);
    for (tn_device device = TN_CPU; device <= TN_EMU; device++) {
        uint32_t rank;
        int64_t out[TN_MAX_RANK];
        tn_context *c = tn_context_new(p, &(tn_context_options){.device = device, .host = tn_host_devices()}, &st);
        if (!c) { /* no C++ compiler */
            ck_assert(device == TN_EMU && st == TN_E_NO_LIBRARY);
            continue;
        }
        tn_context_set_shape(c, 2, 2, (int64_t[]){4, 200});
        tn_context_set_shape(c, 3, 1, (int64_t[]){2});
        tn_context_set_shape(c, 1, 2, (int64_t[]){4, 100});
        ck_assert_int_eq(tn_context_set_shape(c, 0, 3, (int64_t[]){4, 100, 4}), TN_OK);
        ck_assert_msg(tn_context_output_shape(c, 0, &rank, out) == TN_OK, "%s", message);
        ck_assert_int_eq(tn_context_set_shape(c, 0, 3, (int64_t[]){33, 100, 4}), TN_OK);
        ck_assert_int_eq(tn_context_output_shape(c, 0, &rank, out), TN_E_ARGUMENT);
        ck_assert_msg(strstr(message, "input 'x' takes f32[N,S,4]: axis 0 is given as 33, but N is from 1 to 32"), "%s",
                      message);
        tn_context_free(c);
    }
    tn_plan_free(p);
    tn_free(&env, data, size);
}
END_TEST

int main(void) {
    Suite *s = suite_create("shapes");
    TCase *t = tcase_create("shapes");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, shapes_that_are_given, 0, (int)(sizeof rows / sizeof *rows));
    tcase_add_test(t, shapes_must_pair_up);
    tcase_add_test(t, buckets_are_in_copies_and_in_the_text);
    tcase_add_test(t, the_text_of_buckets_is_stable);
    tcase_add_test(t, buckets_follow_their_symbols);
    tcase_add_test(t, buckets_that_are_no_text);
    tcase_add_test(t, buckets_of_unknown_symbols);
    tcase_add_test(t, a_plan_refuses_what_is_outside);
    suite_add_tcase(s, t);
    return run_suite(s);
}
