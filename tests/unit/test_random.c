/* test_random.c: random numbers by counting: the generator against its authors' known answers, its numbers in the reference
 * and in kernels, and what ONNX ops make of them: moments, seeds, loops. */
#include "ir/eval/elements/random.h"

#include "tests/onnx/imported.h"
#include "tests/unit/graph_gen.h"
#include "tests/unit/run_graph.h"

static gen_log log_;
static const tn_env env_ = {.diag = gen_diag, .diag_user = &log_};

/* Of Random123's kat_vectors, philox4x32 with 10 rounds: counter, key, what they give. */
static const uint32_t known[][10] = {
    {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
    {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d, 0x41c83b0e, 0xa20bc7c6,
     0x6d5451fd},
    {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb, 0x5001e420,
     0x24126ea1},
};

START_TEST(known_answers) {
    uint32_t out[4];
    tn_philox(known[_i], known[_i] + 4, out);
    for (int k = 0; k < 4; k++) ck_assert_uint_eq(out[k], known[_i][6 + k]);
}
END_TEST

/* ---- the op ------------------------------------------------------------------------------------------------------ */

static double number(uint64_t i, bool is_f64, uint64_t row, uint32_t seed, uint32_t stream) {
    const uint64_t block = i / (is_f64 ? 2 : 4);
    const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)row, (uint32_t)(row >> 32)},
                   key[2] = {seed, stream};
    uint32_t w[4];
    tn_philox(counter, key, w);
    const size_t k = i % 2 * 2;
    return is_f64 ? ldexp((double)((uint64_t)(w[k] >> 5) << 26 | w[k + 1] >> 6), -53) : ldexp(w[i % 4] >> 8, -24);
}

/* Straight, moved, in a region of an anchor, in f64, and of a row that an input says. */
static const char text[] = "func @main(%r: i64[]) -> (f32[3,7], f32[5,11], f64[13], f32[4,4], f32[6], i64[6]) {\n"
                           "  %0 = random {dtype=f32, dims=[3,7], seed=5, stream=9}\n"
                           "  %1 = random {dtype=f32, dims=[11,5], seed=4294967295}\n  %2 = transpose %1 {perm=[1,0]}\n"
                           "  %3 = random {dtype=f64, dims=[13], stream=7}\n"
                           "  %4 = random %r {dtype=f32, dims=[4,4], seed=5}\n"
                           "  %5 = random {dtype=f32, dims=[6,100], seed=3}\n  %6 = reduce_max %5 {axes=[1]}\n"
                           "  %7 = arg_max %5 {axis=1}\n  return %0, %2, %3, %4, %6, %7\n}\n";

static void check_numbers(void *const out[6], int64_t row) {
    const float *a = out[0], *b = out[1], *d = out[3], *e = out[4];
    const double *c = out[2];
    const int64_t *f = out[5];
    for (uint64_t i = 0; i < 21; i++) ck_assert((double)a[i] == number(i, false, 0, 5, 9));
    for (uint64_t i = 0; i < 55; i++) ck_assert((double)b[i] == number(i % 11 * 5 + i / 11, false, 0, UINT32_MAX, 0));
    for (uint64_t i = 0; i < 13; i++) ck_assert(c[i] == number(i, true, 0, 0, 7));
    for (uint64_t i = 0; i < 16; i++) ck_assert((double)d[i] == number(i, false, (uint64_t)row, 5, 0));
    for (uint64_t i = 0; i < 6; i++) {
        uint64_t best = 0;
        for (uint64_t k = 1; k < 100; k++)
            if (number(i * 100 + k, false, 0, 3, 0) > number(i * 100 + best, false, 0, 3, 0)) best = k;
        ck_assert((double)e[i] == number(i * 100 + best, false, 0, 3, 0));
        ck_assert_int_eq(f[i], (int64_t)best);
    }
}

START_TEST(same_numbers_everywhere) {
    tn_status s = TN_OK;
    log_.text[0] = 0;
    tn_graph *g = tn_parse(&env_, "graph", text, sizeof text - 1, NULL, 0, true, &s);
    ck_assert_msg(g != NULL, "%s", log_.text);
    for (int64_t row = -1; row < 2; row++) {
        tn_tensor in = {.dtype = TN_I64, .data = &row, .bytes = 8}, want[6] = {{0}};
        ck_assert_msg(tn_eval_graph(&env_, g, &in, 1, want, 6, NULL) == TN_OK, "%s", log_.text);
        void *out[6];
        for (int k = 0; k < 6; k++) out[k] = want[k].data;
        check_numbers(out, row);
        for (int k = 0; k < 6; k++) {
            out[k] = calloc(1, want[k].bytes);
            tn_tensor_free(&env_, &want[k]);
        }
        const void *pi = &row;
        if (run_graph(&env_, "emu", log_.text, g, NULL, false, TN_EMU, &pi, out)) check_numbers(out, row);
        for (int k = 0; k < 6; k++) free(out[k]);
    }
    tn_graph_free(g);
}
END_TEST

/* ---- of ONNX ----------------------------------------------------------------------------------------------------- */

enum { MANY = 40000 };

static pb *shaped(pb *n) {
    return at_ints(n, "shape", "200,200");
}

/* The outputs of a model without inputs; the caller frees them. */
static void outputs(pb *graph, int64_t opset, size_t n, tn_tensor *out) {
    imported *i = import_with(mk_model(graph, opset), NULL);
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    memset(out, 0, n * sizeof *out);
    ck_assert_msg(tn_eval_graph(&i->env, i->g, NULL, 0, out, n, NULL) == TN_OK, "%s", i->r.message);
    done(i);
}

static void moments(const tn_tensor *t, double *mean, double *sigma, double *skew) {
    const int64_t n = tn_tensor_numel(t);
    double a = 0, b = 0, c = 0;
    for (int64_t i = 0; i < n; i++) a += tn_load_num(t->dtype, t->data, (uint64_t)i) / (double)n;
    for (int64_t i = 0; i < n; i++) {
        const double d = tn_load_num(t->dtype, t->data, (uint64_t)i) - a;
        b += d * d / (double)n;
        c += d * d * d / (double)n;
    }
    *mean = a;
    *sigma = sqrt(b);
    *skew = c / (b * sqrt(b));
}

/* dtype, whether normal, the two parameters, and what mean and deviation must be. */
static const struct distribution {
    const char *op;
    int dtype;
    tn_dtype t;
    float a, b;
    double mean, sigma;
} distributions[] = {
    {"RandomUniform", 1, TN_F32, -2, 4, 1, 1.7320508},
    {"RandomUniform", 11, TN_F64, 0, 1, 0.5, 0.28867513},
    {"RandomUniform", 10, TN_F16, -1, 1, 0, 0.57735027},
    {"RandomNormal", 1, TN_F32, 3, 2, 3, 2},
    {"RandomNormal", 11, TN_F64, 0, 1, 0, 1},
    {"RandomNormal", 16, TN_BF16, -1, 0.5f, -1, 0.5},
};

START_TEST(distributions_have_their_moments) {
    const struct distribution *d = &distributions[_i];
    const bool is_normal = !strcmp(d->op, "RandomNormal");
    pb *n = at_int(shaped(mk_node(d->op, "", "y")), "dtype", d->dtype);
    n = at_float(at_float(n, is_normal ? "mean" : "low", d->a), is_normal ? "scale" : "high", d->b);
    tn_tensor y;
    outputs(g_out(g_node(pb_new(), n), "y"), 22, 1, &y);
    ck_assert_int_eq((int)y.dtype, (int)d->t);
    ck_assert_int_eq(tn_tensor_numel(&y), MANY);
    double mean, sigma, skew;
    moments(&y, &mean, &sigma, &skew);
    const double error = d->sigma / sqrt(MANY); /* of the mean; four of them */
    ck_assert_msg(fabs(mean - d->mean) < 4 * error + 1e-3, "mean %g", mean);
    ck_assert_msg(fabs(sigma - d->sigma) < 4 * error, "deviation %g", sigma);
    ck_assert_msg(fabs(skew) < 0.06, "skew %g", skew);
    uint64_t beyond = 0; /* a normal distribution has 4.55% behind two deviations, a uniform one none */
    for (int64_t i = 0; i < MANY; i++)
        beyond += fabs(tn_load_num(y.dtype, y.data, (uint64_t)i) - d->mean) > 2 * d->sigma;
    ck_assert_msg(is_normal ? beyond > 1600 && beyond < 2040 : !beyond, "%llu", (unsigned long long)beyond);
    tn_tensor_free(NULL, &y);
}
END_TEST

static bool equal(const tn_tensor *a, const tn_tensor *b) {
    ck_assert_uint_eq(a->bytes, b->bytes);
    return !memcmp(a->data, b->data, a->bytes);
}

START_TEST(seeds) {
    tn_tensor y[5], again[5];
    for (int k = 0; k < 2; k++) {
        pb *g = pb_new();
        g_node(g, at_float(shaped(mk_node("RandomUniform", "", "a")), "seed", 0));
        g_node(g, at_float(shaped(mk_node("RandomUniform", "", "b")), "seed", 0));
        g_node(g, at_float(shaped(mk_node("RandomUniform", "", "c")), "seed", 1.5f));
        g_node(g, shaped(mk_node("RandomUniform", "", "d")));
        g_node(g, shaped(mk_node("RandomUniform", "", "e")));
        for (const char *name = "abcde"; *name; name++) g_out(g, (char[]){*name, 0});
        outputs(g, 22, 5, k ? again : y);
    }
    for (size_t i = 0; i < 5; i++) {
        ck_assert(equal(&y[i], &again[i])); /* a model draws what it drew */
        for (size_t k = 0; k < i; k++) ck_assert_int_eq(equal(&y[i], &y[k]), i == 1 && k == 0);
    }
    for (size_t i = 0; i < 5; i++) tn_tensor_free(NULL, &y[i]), tn_tensor_free(NULL, &again[i]);
}
END_TEST

/* Two loops, one in the other, of three iterations each: nine rows, all of them different, and the same ones whether a loop runs or
 * is written down (bits of `known`: the outer one's length, the inner one's). */
static void draw_in_loops(int known, float numbers[36]) {
    const int64_t trips = 3;
    const uint8_t yes = 1;
    pb *inner = pb_new(), *outer = pb_new(), *g = pb_new();
    g_in(g_in(inner, "j", 7, ""), "d", 9, "");
    g_node(inner, mk_node("Identity", "d", "d2"));
    g_node(inner, at_float(at_ints(mk_node("RandomUniform", "", "u"), "shape", "4"), "seed", 3));
    g_out(g_out(inner, "d2"), "u");
    g_in(g_in(outer, "i", 7, ""), "c", 9, "");
    g_node(outer, mk_node("Identity", "c", "c2"));
    g_node(outer, at_graph(mk_node("Loop", "n,t", "us"), "body", inner));
    g_out(g_out(outer, "c2"), "us");
    g_node(g, at_graph(mk_node("Loop", "m,t", "y"), "body", outer));
    g_init(g, mk_tensor("t", 9, "", &yes, 1));
    for (int k = 0; k < 2; k++) {
        const char *name = k ? "n" : "m";
        known & 1 << k ? g_init(g, mk_i64(name, "", 1, &trips)) : g_in(g, name, 7, "");
    }
    imported *i = import_with(mk_model(g_out(g, "y"), 17), NULL);
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    ck_assert_uint_eq(nodes_of(i, TN_OP_LOOP), known == 3 ? 0 : known == 1 ? 3 : 1);
    tn_tensor in[2] = {{.dtype = TN_I64, .data = (void *)(uintptr_t)&trips, .bytes = 8}}, y = {0};
    in[1] = in[0];
    ck_assert_msg(tn_eval_graph(&i->env, i->g, in, tn_graph_input_count(i->g), &y, 1, NULL) == TN_OK, "%s",
                  i->r.message);
    ck_assert_int_eq(tn_tensor_numel(&y), 36);
    memcpy(numbers, y.data, 36 * sizeof *numbers);
    tn_tensor_free(NULL, &y);
    done(i);
}

START_TEST(iterations_draw_other_numbers) {
    float v[36], same[36];
    draw_in_loops(0, v);
    for (int a = 0; a < 36; a++)
        for (int b = 0; b < a; b++) ck_assert_msg(v[a] != v[b], "numbers %d and %d", a, b);
    for (int known = 1; known < 4; known++) {
        draw_in_loops(known, same);
        ck_assert_msg(!memcmp(v, same, sizeof v), "lengths that are known: %d", known);
    }
}
END_TEST

START_TEST(bernoulli_and_multinomial) {
    pb *g = pb_new();
    float p[MANY], weights[] = {-1, 0, -INFINITY, 2, 1};
    for (size_t k = 0; k < MANY; k++) p[k] = k % 4 == 3 ? 1 : (float)(k % 4) / 4;
    g_init(g, mk_tensor("p", 1, "40000", p, sizeof p));
    g_init(g, mk_tensor("w", 1, "1,5", weights, sizeof weights));
    g_node(g, at_int(mk_node("Bernoulli", "p", "b"), "dtype", 6));
    g_node(g, at_int(at_int(mk_node("Multinomial", "w", "m"), "sample_size", MANY), "dtype", 7));
    g_node(g, mk_node("Bernoulli", "p", "f"));
    tn_tensor y[3];
    outputs(g_out(g_out(g_out(g, "b"), "m"), "f"), 22, 3, y);
    ck_assert(y[0].dtype == TN_I32 && y[1].dtype == TN_I64 && y[2].dtype == TN_F32);
    ck_assert(y[1].rank == 2 && y[1].dims[0] == 1 && y[1].dims[1] == MANY);
    double hits[4] = {0}, count[5] = {0}, sum = 0;
    for (size_t k = 0; k < MANY; k++) {
        const int32_t b = ((int32_t *)y[0].data)[k];
        const int64_t m = ((int64_t *)y[1].data)[k];
        ck_assert(b == 0 || b == 1);
        ck_assert(m >= 0 && m < 5);
        hits[k % 4] += b, count[m]++;
    }
    ck_assert(hits[0] == 0 && hits[3] == MANY / 4);
    ck_assert(fabs(hits[1] - 2500) < 175 && fabs(hits[2] - 5000) < 200); /* four deviations */
    for (int k = 0; k < 5; k++) sum += exp((double)weights[k]);
    for (int k = 0; k < 5; k++) {
        const double q = exp((double)weights[k]) / sum;
        ck_assert_msg(fabs(count[k] - q * MANY) <= 4 * sqrt(q * MANY), "class %d: %g of %g", k, count[k], q * MANY);
    }
    for (int k = 0; k < 3; k++) tn_tensor_free(NULL, &y[k]);
}
END_TEST

/* Whether it trains, and the ratio, are inputs. */
static void dropout(float ratio, bool train, bool train_known, int64_t seed, tn_tensor out[2]) {
    static float x[MANY];
    for (int k = 0; k < MANY; k++) x[k] = (float)(k + 1);
    pb *g = pb_new();
    g_init(g, mk_tensor("x", 1, "40000", x, sizeof x));
    g_node(g, at_int(mk_node("Dropout", "x,r,t", "y,z"), "seed", seed));
    g_in(g, "r", 1, "");
    if (train_known)
        g_init(g, mk_tensor("t", 9, "", &train, 1));
    else
        g_in(g, "t", 9, "");
    imported *i = import_with(mk_model(g_out(g_out(g, "y"), "z"), 22), NULL);
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    const tn_tensor in[2] = {{.dtype = TN_F32, .data = &ratio, .bytes = 4},
                             {.dtype = TN_BOOL, .data = &train, .bytes = 1}};
    memset(out, 0, 2 * sizeof *out);
    ck_assert_msg(tn_eval_graph(&i->env, i->g, in, train_known ? 1 : 2, out, 2, NULL) == TN_OK, "%s", i->r.message);
    ck_assert(out[0].dtype == TN_F32 && out[1].dtype == TN_BOOL);
    done(i);
}

static void check_dropout(const tn_tensor out[2], double ratio) {
    const float *y = out[0].data;
    const uint8_t *z = out[1].data;
    double stay = 0;
    for (int k = 0; k < MANY; k++) {
        const double want = z[k] ? (double)(k + 1) / (1 - ratio) : 0;
        ck_assert_msg(fabs((double)y[k] - want) <= 1e-6 * want, "element %d is %g, not %g", k, (double)y[k], want);
        stay += z[k];
    }
    ck_assert_msg(fabs(stay / MANY - (1 - ratio)) <= 4 * sqrt(ratio * (1 - ratio) / MANY), "%g stay", stay);
}

START_TEST(dropout_trains) {
    tn_tensor a[2], b[2];
    dropout(0.25f, true, false, 7, a);
    check_dropout(a, 0.25);
    dropout(0.25f, true, true, 7, b);
    ck_assert(equal(&a[0], &b[0]) && equal(&a[1], &b[1]));
    for (int k = 0; k < 2; k++) tn_tensor_free(NULL, &a[k]), tn_tensor_free(NULL, &b[k]);
    dropout(0.25f, true, true, 7, a);
    dropout(0.25f, true, true, 8, b);
    ck_assert(!equal(&a[1], &b[1]));
    for (int k = 0; k < 2; k++) tn_tensor_free(NULL, &a[k]), tn_tensor_free(NULL, &b[k]);
    dropout(0.25f, false, false, 7, a); /* the identity */
    check_dropout(a, 0);
    dropout(0, true, false, 7, b);
    check_dropout(b, 0);
    for (int k = 0; k < 2; k++) tn_tensor_free(NULL, &a[k]), tn_tensor_free(NULL, &b[k]);
    dropout(1, true, false, 7, a);
    for (int k = 0; k < MANY; k++) ck_assert(((float *)a[0].data)[k] == 0 && !((uint8_t *)a[1].data)[k]);
    for (int k = 0; k < 2; k++) tn_tensor_free(NULL, &a[k]);
}
END_TEST

START_TEST(what_is_refused) {
    static const struct {
        const char *op, *shape;
        int dtype;
        const char *want;
    } rows[] = {{"RandomNormal", "2,3", 6, "random numbers of type i32"},
                {"RandomUniform", "2,3", 8, "element type STRING"},
                {"RandomUniform", "2,-3", 1, "size on axis 1 is -3"}};
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        pb *n = at_int(at_ints(mk_node(rows[k].op, "", "y"), "shape", rows[k].shape), "dtype", rows[k].dtype);
        imported *i = import_with(mk_model(g_out(g_node(pb_new(), n), "y"), 22), NULL);
        ck_assert(i->g == NULL);
        ck_assert_msg(strstr(i->r.message, rows[k].want), "%s", i->r.message);
        done(i);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("random");
    TCase *tc = tcase_create("random");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, known_answers, 0, (int)(sizeof known / sizeof known[0]));
    tcase_add_test(tc, same_numbers_everywhere);
    tcase_add_loop_test(tc, distributions_have_their_moments, 0, (int)(sizeof distributions / sizeof distributions[0]));
    tcase_add_test(tc, seeds);
    tcase_add_test(tc, iterations_draw_other_numbers);
    tcase_add_test(tc, bernoulli_and_multinomial);
    tcase_add_test(tc, dropout_trains);
    tcase_add_test(tc, what_is_refused);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
