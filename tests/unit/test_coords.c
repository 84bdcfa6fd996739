/* Coordinates: variables of a view, and what becomes of index arithmetic with them.  The randomised test compares what
 * C computes of an expression, whose division truncates, with a direct evaluation of the arithmetic as it was asked for. */
#include <stdio.h>
#include <string.h>

#include "ir/ir.h"
#include "tests/unit/suite.h"

static const tn_env env;

enum { N_SYMS = 3, N_VARS = 3, SAMPLES = 30, ITEMS = 14, MAX_NAMES = N_SYMS + N_VARS, LARGE = 1000000 };
static const char *const syms[N_SYMS] = {"N", "H", "W"};
static const char *const vars[N_VARS] = {"i", "j", "lane"};

static uint64_t seed;

static int64_t pick(int64_t lo, int64_t hi) {
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return lo + (int64_t)((seed >> 33) % (uint64_t)(hi - lo + 1));
}

/* ---- what a view is ---------------------------------------------------------------------------------------------- */

START_TEST(a_view_adds_nothing_to_its_graph) {
    tn_graph *g = tn_graph_new(&env);
    const tn_dim n = tn_dim_sym(g, "N"), n4 = tn_dim_mul(g, n, tn_dim_const(g, 4));
    tn_graph *view = tn_graph_view(g);
    ck_assert(tn_graph_is_view(view) && !tn_graph_is_view(g));
    ck_assert_uint_eq(tn_dim_mul(view, tn_dim_sym(view, "N"), tn_dim_const(view, 4)).i,
                      n4.i); /* what g has is shared */
    const tn_dim odd = tn_dim_add(view, tn_dim_mul(view, n4, n), tn_dim_const(view, 7));
    const tn_dim taken = tn_dim_take(g, view, odd), same = tn_dim_take(g, view, n4);
    ck_assert_uint_eq(same.i, n4.i);
    ck_assert_uint_eq(taken.i, tn_dim_parse(g, "N*N*4 + 7", NULL).i);
    ck_assert_uint_eq(tn_sym_count(view), 1);
    const tn_dim i = tn_dim_var(view, "i", n4, 4, false);
    int64_t lo = -1, hi = -1;
    tn_dim_bounds(view, i, &lo, &hi);
    ck_assert(lo == 0 && hi == INT64_MAX && tn_dim_divisor(view, i) == 4);
    ck_assert_uint_ne(i.i, tn_dim_var(view, "i", n4, 4, false).i);
    ck_assert(tn_dim_is_coord(view, i) && !tn_dim_is_coord(view, odd));
    ck_assert_int_eq(tn_graph_status(view), TN_OK);
    ck_assert_uint_eq(tn_dim_sym(view, "new").i, 0); /* a view's symbols are the graph's */
    ck_assert_int_eq(tn_graph_status(view), TN_E_INTERNAL);
    ck_assert_int_eq(tn_graph_status(g), TN_OK);
    tn_graph_free(view);
    tn_graph_free(g);
}
END_TEST

START_TEST(no_coordinate_becomes_a_size) {
    tn_graph *g = tn_graph_new(&env);
    tn_graph *view = tn_graph_view(g);
    const tn_dim i = tn_dim_var(view, "i", tn_dim_const(view, 8), 1, false);
    ck_assert_uint_eq(tn_dim_take(g, view, tn_dim_add(view, i, tn_dim_const(view, 1))).i, 0);
    ck_assert_int_eq(tn_graph_status(g), TN_E_INTERNAL);
    tn_graph_free(view);
    tn_graph_free(g);
}
END_TEST

/* ---- identities -------------------------------------------------------------------------------------------------- */

static const struct {
    const char *a, *is;
} equal[] = {
    {"i//12*12 + i%12", "i"},
    {"(i//12*3 + i//4%3)*4 + i%4", "i"},
    {"i//4%3*4 + i%4", "i%12"},
    {"(i//4%3*4 + i%4)//4", "i//4%3"},
    {"(j*4 + lane)//4", "j"},
    {"(j*4 + lane)%4", "lane"},
    {"(j*8 + lane)%16", "j%2*8 + lane"},
    {"(j*8 + lane)//16", "j//2"},
    {"(j*N + k)//N", "j"},
    {"(j*N + k)%N", "k"},
    {"(j*N*4 + lane)//(N*4)", "j"},
    {"(j*4 + lane)//(N*4)", "j//N"},
    {"i//4//3", "i//12"},
    {"i//N//4", "i//(N*4)"},
    {"i%(N*4)//4", "i//4%N"},
    {"i%(N*4)%4", "i%4"},
    {"i//(N*H)*N*H + i//H%N*H + i%H", "i"},
};

/* A graph cannot have variables, so the text's are symbols that become variables. */
typedef struct names {
    tn_graph *g;
    const char *const *name;
    const tn_dim *dim;
    size_t n;
} names;

static tn_dim replaced(const names *s, tn_dim d) {
    const tn_dim_kind kind = tn_dim_kind_of(s->g, d);
    for (size_t k = 0; kind == TN_DIM_SYM && k < s->n; k++)
        if (!strcmp(tn_dim_name(s->g, d), s->name[k])) return s->dim[k];
    if (kind <= TN_DIM_SYM) return d;
    const tn_dim a = replaced(s, tn_dim_lhs(s->g, d));
    return tn_dim_binary(s->g, kind, a, replaced(s, tn_dim_rhs(s->g, d)));
}

START_TEST(index_arithmetic_folds) {
    static const char *const name[] = {"i", "j", "k", "lane"};
    tn_graph *g = tn_graph_new(&env);
    const tn_dim a = tn_dim_parse(g, equal[_i].a, NULL), is = tn_dim_parse(g, equal[_i].is, NULL);
    const tn_dim n = tn_dim_sym(g, "N"), h = tn_dim_sym(g, "H");
    tn_graph *v = tn_graph_view(g);
    const tn_dim dim[] = {tn_dim_var(v, "i", tn_dim_mul(v, tn_dim_const(v, 12), tn_dim_mul(v, n, h)), 1, false),
                          tn_dim_var(v, "j", h, 1, false), tn_dim_var(v, "k", n, 1, false),
                          tn_dim_var(v, "lane", tn_dim_const(v, 4), 1, true)};
    const names s = {v, name, dim, sizeof dim / sizeof *dim};
    const tn_dim x = replaced(&s, a), y = replaced(&s, is);
    char text[300] = "";
    tn_dim_print(v, x, text, sizeof text);
    ck_assert_msg(x.i && x.i == y.i, "%s is %s", equal[_i].a, text);
    tn_graph_free(v);
    tn_graph_free(g);
}
END_TEST

START_TEST(comparisons_are_proved) {
    tn_graph *g = tn_graph_new(&env);
    const tn_dim n = tn_dim_sym(g, "N"), one = tn_dim_const(g, 1), four = tn_dim_const(g, 4);
    tn_graph *v = tn_graph_view(g);
    const tn_dim n4 = tn_dim_mul(v, n, four), i = tn_dim_var(v, "i", n4, 4, false);
    const tn_dim lane = tn_dim_var(v, "lane", four, 1, true), at = tn_dim_add(v, i, lane);
    ck_assert_int_eq(tn_dim_less(v, i, n4), 1);
    ck_assert_int_eq(tn_dim_less(v, tn_dim_add(v, i, one), n4), 0);
    ck_assert_int_eq(tn_dim_less(v, n4, i), -1);
    ck_assert_int_eq(tn_dim_less(v, tn_dim_floordiv(v, i, four), n), 1);
    ck_assert_int_eq(tn_dim_less(v, tn_dim_mod(v, i, n), n), 1);
    ck_assert_int_eq(tn_dim_less(v, i, n), 0);
    ck_assert_int_eq(tn_dim_less(v, at, tn_dim_add(v, n4, four)), 1);
    tn_dim a = at;
    tn_dim_simplify_less(v, &a, n4); /* the lane does not matter */
    ck_assert_uint_eq(a.i, i.i);
    ck_assert(tn_dim_is_per_lane(v, at) && !tn_dim_is_per_lane(v, i));
    tn_graph_free(v);
    tn_graph_free(g);
}
END_TEST

/* ---- at random --------------------------------------------------------------------------------------------------- */

typedef struct item {
    tn_dim d;
    int64_t at[SAMPLES];
    bool has[SAMPLES]; /* no division of a negative number, or by 0, and no large number */
    bool size;         /* has no variable */
} item;

typedef struct sampling {
    tn_graph *v;
    const char *name[MAX_NAMES];
    tn_dim dim[MAX_NAMES];
    int64_t value[SAMPLES][MAX_NAMES];
} sampling;

/* As C does it. */
static int64_t computed(const sampling *s, size_t k, tn_dim d) {
    int64_t v = 0;
    const tn_dim_kind kind = tn_dim_kind_of(s->v, d);
    if (tn_dim_is_const(s->v, d, &v)) return v;
    for (size_t n = 0; n < MAX_NAMES; n++)
        if (s->dim[n].i == d.i) return s->value[k][n];
    const int64_t a = computed(s, k, tn_dim_lhs(s->v, d)), b = computed(s, k, tn_dim_rhs(s->v, d));
    if (!tn_dim_is_coord(s->v, d) && (kind == TN_DIM_FLOORDIV || kind == TN_DIM_MOD)) { /* the host's */
        const int64_t q = b ? a / b - (a % b && (a < 0) != (b < 0)) : 0;
        return kind == TN_DIM_FLOORDIV ? q : b ? a - q * b : 0;
    }
    switch (kind) {
    case TN_DIM_ADD: return a + b;
    case TN_DIM_MUL: return a * b;
    case TN_DIM_FLOORDIV: return b ? a / b : 0;
    case TN_DIM_MOD: return b ? a % b : 0;
    case TN_DIM_MIN: return a < b ? a : b;
    case TN_DIM_MAX: return a > b ? a : b;
    default: ck_abort_msg("an unknown kind"); return 0;
    }
}

static item binary(const sampling *s, tn_dim_kind kind, const item *a, const item *b) {
    item r = {tn_dim_binary(s->v, kind, a->d, b->d), {0}, {0}, a->size && b->size};
    for (size_t k = 0; k < SAMPLES; k++) {
        const int64_t x = a->at[k], y = b->at[k];
        const bool divides = kind == TN_DIM_FLOORDIV || kind == TN_DIM_MOD;
        r.has[k] = a->has[k] && b->has[k] && (!divides || (x >= 0 && y > 0));
        if (!r.has[k]) continue;
        r.at[k] = kind == TN_DIM_ADD ? x + y : kind == TN_DIM_MUL ? x * y : kind == TN_DIM_FLOORDIV ? x / y : x % y;
        r.has[k] = r.at[k] < LARGE && r.at[k] > -LARGE;
    }
    return r;
}

static item named(sampling *s, size_t n, tn_dim d, const item *below, int64_t divisor) {
    item r = {.d = d, .size = !below};
    s->dim[n] = d;
    for (size_t k = 0; k < SAMPLES; k++) {
        const int64_t v = below ? pick(0, below->at[k] - 1) : pick(1, 6);
        r.at[k] = s->value[k][n] = v / divisor * divisor;
        r.has[k] = true;
    }
    return r;
}

static item constant(const sampling *s, int64_t v) {
    item r = {.d = tn_dim_const(s->v, v), .size = true};
    for (size_t k = 0; k < SAMPLES; k++) r.at[k] = v, r.has[k] = true;
    return r;
}

static item size_at_random(const sampling *s, const item *x) {
    const item c = constant(s, pick(1, 8)), *n = &x[pick(0, N_SYMS - 1)];
    const int64_t form = pick(0, 3);
    return form == 0 ? c : form == 1 ? *n : binary(s, form == 2 ? TN_DIM_MUL : TN_DIM_ADD, n, &c);
}

static void check(const sampling *s, const item *x) {
    int64_t lo = 0, hi = 0;
    const int64_t divisor = tn_dim_divisor(s->v, x->d);
    char text[1000];
    tn_dim_print(s->v, x->d, text, sizeof text);
    tn_dim_bounds(s->v, x->d, &lo, &hi);
    for (size_t k = 0; k < SAMPLES; k++) {
        if (!x->has[k]) continue;
        const int64_t v = computed(s, k, x->d);
        often_assert_msg(v == x->at[k], "%s is %lld, not %lld", text, (long long)v, (long long)x->at[k]);
        often_assert_msg(lo <= v && v <= hi, "%s is %lld, not in [%lld, %lld]", text, (long long)v, (long long)lo,
                         (long long)hi);
        often_assert_msg(divisor ? v % divisor == 0 : v == 0, "%s is no multiple of %lld", text, (long long)divisor);
    }
}

static void check_order(const sampling *s, const item *a, const item *b) {
    const int less = tn_dim_less(s->v, a->d, b->d);
    for (size_t k = 0; k < SAMPLES; k++)
        if (less && a->has[k] && b->has[k]) often_assert_msg((a->at[k] < b->at[k]) == (less > 0), "an order is wrong");
}

START_TEST(coordinates_keep_their_value) {
    for (uint64_t first = 1; first < 1500; first++) {
        seed = first;
        tn_graph *g = tn_graph_new(&env);
        item x[MAX_NAMES + ITEMS];
        sampling s = {.v = g};
        size_t n = 0;
        for (; n < N_SYMS; n++) x[n] = named(&s, n, tn_dim_sym(g, syms[n]), NULL, 1);
        s.v = tn_graph_view(g);
        for (; n < MAX_NAMES; n++) {
            const int64_t divisor = pick(0, 2) ? 1 : 4;
            const item a = size_at_random(&s, x), b = size_at_random(&s, x), below = binary(&s, TN_DIM_MUL, &a, &b);
            x[n] = named(&s, n, tn_dim_var(s.v, vars[n - N_SYMS], below.d, divisor, false), &below, divisor);
        }
        for (; n < MAX_NAMES + ITEMS; n++) {
            static const tn_dim_kind kinds[] = {TN_DIM_ADD,      TN_DIM_ADD, TN_DIM_MUL,
                                                TN_DIM_FLOORDIV, TN_DIM_MOD, TN_DIM_FLOORDIV};
            const tn_dim_kind kind = kinds[pick(0, 5)];
            const item *a = &x[pick(N_SYMS, (int64_t)n - 1)], other = x[pick(N_SYMS, (int64_t)n - 1)];
            const item c = pick(0, 9) ? size_at_random(&s, x) : constant(&s, -pick(1, 9));
            x[n] = binary(&s, kind, a, kind == TN_DIM_ADD && pick(0, 3) ? &other : &c);
            check(&s, &x[n]);
            check_order(&s, &x[n], a);
            check_order(&s, &x[n], &c);
        }
        ck_assert_int_eq(tn_graph_status(s.v), TN_OK);
        tn_graph_free(s.v);
        tn_graph_free(g);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("coords");
    TCase *t = tcase_create("coords");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_view_adds_nothing_to_its_graph);
    tcase_add_test(t, no_coordinate_becomes_a_size);
    tcase_add_loop_test(t, index_arithmetic_folds, 0, sizeof equal / sizeof *equal);
    tcase_add_test(t, comparisons_are_proved);
    tcase_add_test(t, coordinates_keep_their_value);
    suite_add_tcase(s, t);
    return run_suite(s);
}
