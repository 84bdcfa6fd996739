/* Dims: canonical forms, simplification, bounds, text and binding.  The randomised tests compare what the library makes
 * of an expression with a direct evaluation of the expression as it was written. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/ir.h"
#include "tests/unit/suite.h"

enum { N_SYMS = 4, N_BINDINGS = 40 };
static const char *const names[N_SYMS] = {"N", "H", "W", "K"};

typedef struct written {
    tn_dim_kind kind;
    int sym;
    int64_t value;
    struct written *a, *b;
} written;

static uint64_t seed = 1;

static uint64_t rnd(void) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return seed >> 33;
}

static int64_t pick(int64_t lo, int64_t hi) {
    return lo + (int64_t)(rnd() % (uint64_t)(hi - lo + 1));
}

static written *random_expression(int depth) {
    static const tn_dim_kind kinds[] = {TN_DIM_ADD,     TN_DIM_ADD, TN_DIM_MUL, TN_DIM_FLOORDIV,
                                        TN_DIM_CEILDIV, TN_DIM_MOD, TN_DIM_MIN, TN_DIM_MAX};
    written *w = calloc(1, sizeof *w);
    if (depth == 0 || rnd() % 5 == 0) {
        w->kind = rnd() % 2 ? TN_DIM_SYM : TN_DIM_CONST;
        w->sym = (int)(rnd() % N_SYMS);
        w->value = rnd() % 4 ? pick(1, 8) : pick(-7, 12);
        return w;
    }
    w->kind = kinds[rnd() % (sizeof kinds / sizeof *kinds)];
    w->a = random_expression(depth - 1);
    w->b = random_expression(
        w->kind == TN_DIM_FLOORDIV || w->kind == TN_DIM_MOD || w->kind == TN_DIM_CEILDIV ? depth / 2 : depth - 1);
    return w;
}

static void free_expression(written *w) {
    if (!w) return;
    free_expression(w->a);
    free_expression(w->b);
    free(w);
}

static tn_dim build(tn_graph *g, const written *w) {
    if (w->kind == TN_DIM_CONST) return tn_dim_const(g, w->value);
    if (w->kind == TN_DIM_SYM) return tn_dim_sym(g, names[w->sym]);
    tn_dim a = build(g, w->a);
    return tn_dim_binary(g, w->kind, a, build(g, w->b));
}

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

/* False where a divisor is 0. */
static bool value_of(const written *w, const int64_t *syms, int64_t *out) {
    int64_t a = 0, b = 0;
    if (w->kind == TN_DIM_CONST) return *out = w->value, true;
    if (w->kind == TN_DIM_SYM) return *out = syms[w->sym], true;
    if (!value_of(w->a, syms, &a) || !value_of(w->b, syms, &b)) return false;
    switch (w->kind) {
    case TN_DIM_ADD: *out = a + b; return true;
    case TN_DIM_MUL: *out = a * b; return true;
    case TN_DIM_MIN: *out = a < b ? a : b; return true;
    case TN_DIM_MAX: *out = a > b ? a : b; return true;
    default: break;
    }
    if (b == 0) return false;
    if (w->kind == TN_DIM_FLOORDIV)
        *out = floor_div(a, b);
    else if (w->kind == TN_DIM_CEILDIV)
        *out = -floor_div(-a, b);
    else
        *out = a - floor_div(a, b) * b;
    return true;
}

START_TEST(random_expressions_keep_their_value) {
    static const int64_t ranges[N_SYMS][2] = {{1, 64}, {1, INT64_MAX}, {0, 9}, {-5, 5}};
    for (int round = 0; round < 3000; round++) {
        tn_graph *g = tn_graph_new(NULL);
        for (int s = 0; s < N_SYMS; s++) tn_dim_set_range(g, tn_dim_sym(g, names[s]), ranges[s][0], ranges[s][1]);
        seed = (uint64_t)round + 17;
        written *w = random_expression((int)(rnd() % 5));
        tn_dim d = build(g, w);
        ck_assert_int_eq(tn_graph_status(g), TN_OK);
        char text[4096];
        ck_assert(tn_dim_print(g, d, text, sizeof text) < sizeof text);
        int64_t lo = 0, hi = 0, divisor = tn_dim_divisor(g, d);
        tn_dim_bounds(g, d, &lo, &hi);
        for (int k = 0; k < N_BINDINGS; k++) {
            int64_t syms[N_SYMS], want = 0, got = 0;
            tn_binding b[N_SYMS];
            for (int s = 0; s < N_SYMS; s++) {
                syms[s] = pick(ranges[s][0], ranges[s][1] < 64 ? ranges[s][1] : 64);
                b[s] = (tn_binding){names[s], syms[s]};
            }
            if (!value_of(w, syms, &want)) continue; /* undefined as written */
            bool ok = tn_dim_eval(g, d, b, N_SYMS, &got);
            ck_assert_msg(ok && got == want, "round %d: %s is %lld, should be %lld", round, text, (long long)got,
                          (long long)want);
            ck_assert_msg(lo <= want && want <= hi, "round %d: %s = %lld is outside [%lld, %lld]", round, text,
                          (long long)want, (long long)lo, (long long)hi);
            ck_assert_msg(divisor == 0 ? want == 0 : want % divisor == 0, "round %d: %lld does not divide %s", round,
                          (long long)divisor, text);
        }
        const char *end = NULL;
        tn_dim again = tn_dim_parse(g, text, &end);
        ck_assert_msg(again.i == d.i && *end == 0, "round %d: %s does not parse to itself", round, text);
        free_expression(w);
        tn_graph_free(g);
    }
}
END_TEST

/* A binding by tn_dim_bind agrees with evaluation. */
START_TEST(binding_agrees_with_evaluation) {
    for (int round = 0; round < 500; round++) {
        tn_graph *g = tn_graph_new(NULL);
        seed = (uint64_t)round + 99991;
        written *w = random_expression(4);
        int64_t syms[N_SYMS], want = 0;
        for (int s = 0; s < N_SYMS; s++) syms[s] = pick(1, 30);
        tn_dim d = build(g, w);
        int64_t lo, hi;
        tn_dim_bounds(g, d, &lo, &hi);
        if (hi >= 0 && value_of(w, syms, &want)) { /* a size of an input, which cannot be negative */
            const tn_type t = tn_type_make(g, TN_F32, 1, &d);
            tn_val x = tn_graph_add_input(g, "x", t);
            for (int s = 0; s < N_SYMS; s++)
                ck_assert_int_eq(tn_dim_bind(g, tn_dim_sym(g, names[s]), tn_dim_const(g, syms[s])), TN_OK);
            ck_assert(tn_dim_equal_const(g, tn_val_dim(g, x, 0), want));
        }
        free_expression(w);
        tn_graph_free(g);
    }
}
END_TEST

/* left and right denote the same dim. */
static const char *const equal[][2] = {
    {"N + H", "H + N"},
    {"(N + 1)*(N - 1)", "N*N - 1"},
    {"N*2 + N*3", "5*N"},
    {"N - N", "0"},
    {"(N*4 + 3)//4", "N"},
    {"(N*4 + 4)//4", "N + 1"},
    {"(N*8 + 6)//4", "N*2 + 1"},
    {"(N//2)//3", "N//6"},
    {"((N + 1)//2 + 1)//2", "(N + 3)//4"},
    {"(N//5 + N)//2", "N*3//5"},
    {"(32*N//5)//2//2", "32*N//20"},
    {"((N + H)//3 + N*2 - 1)//4", "(7*N + H - 3)//12"},
    {"(N//3 + H//3)//4", "(N//3 + H//3)//4"},
    {"(N//3*3 + H)//4", "(N//3*3 + H)//4"},
    {"N*6//4", "N*3//2"},
    {"ceildiv(N, 4)", "(N + 3)//4"},
    {"ceildiv(N, H)", "(N + H - 1)//H"},
    {"N*4 % 4", "0"},
    {"(N*4 + 5) % 4", "1"},
    {"(N*5) % 4", "N % 4"},
    {"(N % 8) % 4", "N % 4"},
    {"N*H//H", "N"},
    {"N*H*6//(H*3)", "N*2"},
    {"(N*H + H)//(N + 1)", "H"},
    {"(N*H + H) % (N + 1)", "0"},
    {"N*H % H", "0"},
    {"N//N", "1"},
    {"N*H//(H*2)", "N//2"},
    {"max(N, 0)", "N"},
    {"min(N, N + 1)", "N"},
    {"max(N, N + 1)", "N + 1"},
    {"min(min(H, N), H)", "min(N, H)"},
    {"min(3, min(N, 5))", "min(N, 3)"},
    {"max(-1, 0 - N)", "-min(N, 1)"},
    {"N - min(N, 1)", "max(N - 1, 0)"},
    {"N - max(N - 1, 0)", "min(N, 1)"},
    {"max(N - min(N, max(N - 1, 0)), 0)", "min(N, 1)"},
    {"max(N - 1, 0) + 1", "max(N, 1)"},
    {"H + max(N - 1, 0) + 1", "H + max(N, 1)"},
    {"2*min(N, H) - min(N, H)*2", "0"},
    {"min(N, 5) + min(H + 3, 10)", "min(N, 5) + min(H, 7) + 3"},
    {"min(N, 5) + min(H + 3, 10)", "min(N + 3, 8) + min(H, 7)"},
    {"max(N - 2, 0) - min(H + 1, W)", "max(N, 2) - min(H + 3, W + 2)"},
    {"3*min(N + 1, 5) + min(H, 7)", "3*min(N, 4) + min(H + 3, 10)"},
    {"min(max(N - 1, 0), 4) + min(H, 3)", "min(max(N, 1), 5) + min(H - 1, 2)"},
    {"min(N*4, 100) + min(N*2 + 7, 50) + min(H, 9)", "min(N*4 + 3, 103) + min(N*2, 43) + min(H + 4, 13)"},
    {"N//0", "0"},
    {"N % 0", "0"},
    {"bcast(N, 1)", "N"},
    {"bcast(1, N)", "N"},
    {"bcast(N, 7)", "7"},
    {"bcast(N, 0)", "0"},
    {"bcast(H, N)", "bcast(N, H)"},
    {"bcast(bcast(N, H), N)", "bcast(H, N)"},
    {"bcast(N, bcast(H, N))", "bcast(H, N)"},
    {"bcast(N, 2*H)", "2*H"},
    {"bcast(N, H + 2)", "H + 2"},
    {"(N % 4)//4", "0"},
    {"-(-N)", "N"},
    {"-7//2", "-4"},
    {"-7%2", "1"},
    {"7%-2", "-1"},
    {"floordiv(N + 4, 4)", "N//4 + 1"},
    {"(H*W*64)//(H*W)", "64"},
    {"\"N\"", "N"},
};

START_TEST(equal_expressions_are_one_handle) {
    tn_graph *g = tn_graph_new(NULL);
    const char *end = NULL;
    tn_dim a = tn_dim_parse(g, equal[_i][0], &end);
    ck_assert_int_eq(*end, 0);
    tn_dim b = tn_dim_parse(g, equal[_i][1], &end);
    char text[2][128];
    tn_dim_print(g, a, text[0], sizeof text[0]);
    tn_dim_print(g, b, text[1], sizeof text[1]);
    ck_assert_msg(a.i && a.i == b.i, "%s is %s but %s is %s", equal[_i][0], text[0], equal[_i][1], text[1]);
    tn_graph_free(g);
}
END_TEST

static const char *const printed[][2] = {
    {"1 + 64*N", "N*64 + 1"},
    {"0 - N", "-N"},
    {"N - H*2 - 3", "-H*2 + N - 3"},
    {"0 - N%W*2", "-(N%W)*2"},
    {"1 - N//3", "-(N//3) + 1"},
    {"N//2*2", "N//2*2"},
    {"2*(N//(H + 1))", "N//(H + 1)*2"},
    {"H*(N%2)", "H*(N%2)"},
    {"min(N, max(H, W))", "min(N, max(H, W))"},
    {"\"batch size\" + 1", "\"batch size\" + 1"},
    {"\"min\" + 1", "\"min\" + 1"},
    {"-9223372036854775808", "-9223372036854775808"},
};

START_TEST(dims_print_in_canonical_order) {
    tn_graph *g = tn_graph_new(NULL);
    if (_i % 2) tn_dim_mul(g, tn_dim_sym(g, "W"), tn_dim_sym(g, "N")); /* handles in another order change nothing */
    char text[128], small[4];
    tn_dim d = tn_dim_parse(g, printed[_i][0], NULL);
    size_t n = tn_dim_print(g, d, text, sizeof text);
    ck_assert_str_eq(text, printed[_i][1]);
    ck_assert_uint_eq(n, strlen(text));
    ck_assert_uint_eq(tn_dim_print(g, d, small, sizeof small), n);
    ck_assert_uint_le(strlen(small), 3);
    tn_graph_free(g);
}
END_TEST

static const char *const wrong[] = {"",         "+",
                                    "N +",      "(N",
                                    "min(N",    "min(N,",
                                    "min(N H)", "99999999999999999999",
                                    "\"",       "\"abc",
                                    "N*",       "3 //",
                                    ")",        "9223372036854775807 + 1",
                                    "\"\\q\""};

START_TEST(bad_text_is_refused_and_not_sticky) {
    tn_graph *g = tn_graph_new(NULL);
    ck_assert_uint_eq(tn_dim_parse(g, wrong[_i], NULL).i, 0);
    ck_assert_int_eq(tn_graph_status(g), TN_OK);
    tn_graph_free(g);
}
END_TEST

START_TEST(nesting_of_text_is_bounded) {
    char text[100001];
    memset(text, '(', sizeof text - 1);
    text[sizeof text - 1] = 0;
    tn_graph *g = tn_graph_new(NULL);
    ck_assert_uint_eq(tn_dim_parse(g, text, NULL).i, 0);
    ck_assert_int_eq(tn_graph_status(g), TN_OK);
    tn_graph_free(g);
}
END_TEST

START_TEST(arithmetic_that_overflows_is_an_error) {
    tn_graph *g = tn_graph_new(NULL);
    tn_dim big = tn_dim_mul(g, tn_dim_sym(g, "N"), tn_dim_const(g, INT64_MAX));
    ck_assert_int_eq(tn_graph_status(g), TN_OK);
    ck_assert_uint_eq(tn_dim_mul(g, big, tn_dim_const(g, 2)).i, 0);
    ck_assert_int_eq(tn_graph_status(g), TN_E_TYPE);
    ck_assert_uint_eq(tn_dim_add(g, big, tn_dim_const(g, 1)).i, 0); /* sticky */
    tn_graph_free(g);
}
END_TEST

START_TEST(ranges_narrow_and_settle) {
    tn_graph *g = tn_graph_new(NULL);
    tn_dim n = tn_dim_sym(g, "N"), e = tn_dim_min(g, n, tn_dim_const(g, 100));
    tn_val x = tn_graph_add_input(g, "x", tn_type_make(g, TN_F32, 1, &e));
    int64_t lo = 0, hi = 0;
    ck_assert_int_eq(tn_dim_kind_of(g, tn_val_dim(g, x, 0)), TN_DIM_MIN);
    tn_dim_bounds(g, e, &lo, &hi);
    ck_assert_int_eq(lo, 0);
    ck_assert_int_eq(hi, 100);
    tn_dim_set_range(g, n, 1, 64);
    ck_assert_uint_eq(tn_val_dim(g, x, 0).i, n.i);
    tn_dim_bounds(g, tn_dim_mul(g, n, n), &lo, &hi);
    ck_assert_int_eq(hi, 4096);
    tn_dim_set_hint(g, n, 8);
    ck_assert_int_eq(tn_dim_hint(g, n), 8);
    tn_graph_free(g);
}
END_TEST

START_TEST(typical_sizes_are_hints_or_near_the_default) {
    tn_graph *g = tn_graph_new(NULL);
    tn_dim n = tn_dim_sym(g, "N"), m = tn_dim_sym(g, "M"), k = tn_dim_sym(g, "K"), two = tn_dim_const(g, 2);
    tn_dim_set_range(g, m, 1, 8);
    tn_dim_set_range(g, k, 100, INT64_MAX);
    ck_assert_int_eq(tn_dim_typical(g, two), 2);
    ck_assert_int_eq(tn_dim_typical(g, n), TN_TYPICAL);
    ck_assert_int_eq(tn_dim_typical(g, m), 8);
    ck_assert_int_eq(tn_dim_typical(g, k), 100);
    ck_assert_int_eq(tn_dim_typical(g, tn_dim_add(g, tn_dim_mul(g, n, two), m)), 2 * TN_TYPICAL + 8);
    tn_dim_set_hint(g, n, 5);
    ck_assert_int_eq(tn_dim_typical(g, tn_dim_mul(g, n, m)), 40);
    ck_assert_int_eq(tn_dim_typical(g, tn_dim_sub(g, n, k)), 1); /* never less */
    tn_graph_free(g);
}
END_TEST

START_TEST(symbols_are_listed_once_and_leave_when_bound) {
    tn_graph *g = tn_graph_new(NULL);
    tn_dim n = tn_dim_sym(g, "N"), fresh = tn_dim_fresh(g, "s");
    tn_dim_sym(g, "N");
    ck_assert_uint_eq(tn_sym_count(g), 2);
    ck_assert_uint_eq(tn_sym_at(g, 0).i, n.i);
    ck_assert_uint_ne(tn_dim_fresh(g, "s").i, fresh.i);
    ck_assert_uint_eq(tn_sym_count(g), 3);
    ck_assert_int_eq(tn_dim_bind(g, n, tn_dim_mul(g, fresh, tn_dim_const(g, 2))), TN_OK);
    ck_assert_uint_eq(tn_sym_count(g), 2);
    ck_assert_int_eq(tn_dim_bind(g, tn_dim_const(g, 3), fresh), TN_E_ARGUMENT);
    tn_graph_free(g);
}
END_TEST

START_TEST(operands_of_sums_are_left_nested) {
    tn_graph *g = tn_graph_new(NULL);
    tn_dim d = tn_dim_parse(g, "A + B + C*3 + 5", NULL);
    ck_assert_int_eq(tn_dim_kind_of(g, d), TN_DIM_ADD);
    ck_assert(tn_dim_equal_const(g, tn_dim_rhs(g, d), 5));
    d = tn_dim_rhs(g, tn_dim_lhs(g, d));
    ck_assert_int_eq(tn_dim_kind_of(g, d), TN_DIM_MUL);
    ck_assert_str_eq(tn_dim_name(g, tn_dim_lhs(g, d)), "C");
    ck_assert_int_eq(tn_dim_divisor(g, tn_dim_parse(g, "A*6 + 9", NULL)), 3);
    tn_graph_free(g);
}
END_TEST

/* Products of many sums grow exponentially when expanded: they must be refused or kept, not run away. */
START_TEST(large_products_stay_bounded) {
    tn_graph *g = tn_graph_new(NULL);
    tn_dim product = tn_dim_const(g, 1);
    int64_t want = 1, got = 0;
    tn_binding b[14];
    char name[14][16];
    for (int k = 0; k < 14; k++) {
        snprintf(name[k], sizeof name[k], "s%d", k);
        b[k] = (tn_binding){name[k], k % 3 + 1};
        product = tn_dim_mul(g, product, tn_dim_add(g, tn_dim_sym(g, name[k]), tn_dim_const(g, 1)));
        want *= k % 3 + 2;
    }
    ck_assert_int_eq(tn_graph_status(g), TN_OK);
    ck_assert(tn_dim_eval(g, product, b, 14, &got));
    ck_assert_int_eq(got, want);
    tn_graph_free(g);
}
END_TEST

static tn_dim random_sum(tn_graph *g) {
    char name[2] = "A";
    tn_dim sum = tn_dim_const(g, pick(-1, 2));
    for (int64_t k = pick(1, 12); k > 0; k--) {
        name[0] = (char)pick('A', 'P');
        sum = tn_dim_add(g, sum, tn_dim_mul(g, tn_dim_sym(g, name), tn_dim_const(g, pick(1, 3))));
    }
    return sum;
}

/* Products that are too large to be expanded, grouped in any way, with factors taken out again, are what their text
 * says: in the same graph and in another. */
START_TEST(products_of_sums_read_back_as_themselves) {
    enum { PARTS = 6 };
    static char text[1 << 19], again[1 << 19];
    int kept = 0;
    for (int round = 0; round < 400; round++) {
        tn_graph *g = tn_graph_new(NULL), *h = tn_graph_new(NULL);
        tn_dim part[PARTS];
        seed = (uint64_t)round + 3;
        for (int k = 0; k < PARTS; k++) part[k] = random_sum(g);
        for (int k = 0; k < 5; k++) {
            const int i = (int)pick(0, PARTS - 1), j = (int)pick(0, PARTS - 1);
            static const tn_dim_kind kinds[] = {TN_DIM_MUL, TN_DIM_MUL, TN_DIM_MUL, TN_DIM_FLOORDIV, TN_DIM_ADD};
            tn_dim d = tn_dim_binary(g, kinds[pick(0, 4)], part[i], part[j]);
            if (tn_graph_status(g) != TN_OK) break;
            part[i] = d;
            if (tn_dim_print(g, d, text, sizeof text) >= sizeof text) break;
            tn_dim same = tn_dim_parse(g, text, NULL), other = tn_dim_parse(h, text, NULL);
            ck_assert_msg(same.i == d.i, "round %d: %s does not read back as itself", round, text);
            ck_assert(tn_dim_print(h, other, again, sizeof again) < sizeof again);
            ck_assert_msg(!strcmp(again, text), "round %d: %s reads back as %s", round, text, again);
            kept += strstr(text, ")*(") != NULL;
        }
        tn_graph_free(g);
        tn_graph_free(h);
    }
    ck_assert_int_gt(kept, 100);
}
END_TEST

/* Anchors of a feature pyramid: as many of each level as there are, but no more than some. Sums of them are one handle wherever
 * their constants stand, in whatever order they are added, and keep their value. */
START_TEST(constants_of_extrema_stand_anywhere) {
    enum { TERMS = 4, ROUNDS = 300 };
    static const char *const names[] = {"N", "H", "W", "D"};
    srand(11);
    for (int round = 0; round < ROUNDS; round++) {
        tn_graph *g = tn_graph_new(NULL);
        int64_t factor[TERMS], most[TERMS], more[TERMS], coef[TERMS], sum = 0, value[2];
        bool is_max[TERMS];
        tn_dim made[2];
        for (int k = 0; k < TERMS; k++) {
            factor[k] = 1 + rand() % 3, most[k] = 1 + rand() % 50, more[k] = rand() % 9 - 4;
            coef[k] = rand() % 3 ? 1 : rand() % 2 ? -1 : 2;
            is_max[k] = rand() % 4 == 0;
            sum += coef[k] * more[k];
        }
        for (int way = 0; way < 2; way++) {
            tn_dim d = tn_dim_const(g, way ? 0 : sum);
            for (int k = 0; k < TERMS; k++) {
                const int t = way ? TERMS - 1 - k : k;
                const tn_dim x = tn_dim_mul(g, tn_dim_sym(g, names[t]), tn_dim_const(g, factor[t])),
                             by = tn_dim_const(g, way ? more[t] : 0), end = tn_dim_add(g, tn_dim_const(g, most[t]), by),
                             at = tn_dim_add(g, x, by), m = is_max[t] ? tn_dim_max(g, at, end) : tn_dim_min(g, at, end);
                d = tn_dim_add(g, d, tn_dim_mul(g, m, tn_dim_const(g, coef[t])));
            }
            made[way] = d;
        }
        char text[2][400];
        for (int way = 0; way < 2; way++) tn_dim_print(g, made[way], text[way], sizeof text[way]);
        ck_assert_msg(made[0].i == made[1].i, "round %d: %s and %s", round, text[0], text[1]);
        for (int trial = 0; trial < 5; trial++) {
            tn_binding b[TERMS];
            int64_t want = sum;
            for (int k = 0; k < TERMS; k++) {
                b[k] = (tn_binding){names[k], rand() % 40};
                const int64_t x = b[k].value * factor[k];
                want += coef[k] * ((x < most[k]) != is_max[k] ? x : most[k]);
            }
            ck_assert(tn_dim_eval(g, made[0], b, TERMS, &value[0]));
            ck_assert_msg(value[0] == want, "%s is %lld, not %lld", text[0], (long long)value[0], (long long)want);
        }
        tn_graph_free(g);
    }
}
END_TEST

/* Sharing lets a few operations make an expression that is exponentially long when written out. */
START_TEST(expressions_that_explode_are_refused) {
    tn_graph *g = tn_graph_new(NULL);
    tn_dim a = tn_dim_sym(g, "N"), b = tn_dim_sym(g, "H");
    for (int64_t k = 0; k < 60 && tn_graph_status(g) == TN_OK; k++) {
        tn_dim c = tn_dim_max(g, tn_dim_add(g, a, b), tn_dim_mul(g, b, tn_dim_const(g, k + 2)));
        b = tn_dim_min(g, tn_dim_add(g, b, tn_dim_const(g, k)), tn_dim_mul(g, a, tn_dim_const(g, 2)));
        a = c;
    }
    ck_assert_int_eq(tn_graph_status(g), TN_E_TYPE);
    tn_graph_free(g);
}
END_TEST

int main(void) {
    Suite *s = suite_create("dims");
    TCase *t = tcase_create("dims");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, random_expressions_keep_their_value);
    tcase_add_test(t, products_of_sums_read_back_as_themselves);
    tcase_add_test(t, binding_agrees_with_evaluation);
    tcase_add_loop_test(t, equal_expressions_are_one_handle, 0, sizeof equal / sizeof *equal);
    tcase_add_loop_test(t, dims_print_in_canonical_order, 0, sizeof printed / sizeof *printed);
    tcase_add_loop_test(t, bad_text_is_refused_and_not_sticky, 0, sizeof wrong / sizeof *wrong);
    tcase_add_test(t, nesting_of_text_is_bounded);
    tcase_add_test(t, arithmetic_that_overflows_is_an_error);
    tcase_add_test(t, ranges_narrow_and_settle);
    tcase_add_test(t, typical_sizes_are_hints_or_near_the_default);
    tcase_add_test(t, symbols_are_listed_once_and_leave_when_bound);
    tcase_add_test(t, operands_of_sums_are_left_nested);
    tcase_add_test(t, large_products_stay_bounded);
    tcase_add_test(t, constants_of_extrema_stand_anywhere);
    tcase_add_test(t, expressions_that_explode_are_refused);
    suite_add_tcase(s, t);
    return run_suite(s);
}
