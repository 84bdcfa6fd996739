/* test_require.c: requirements: their text to code, as the build does it, and what the code says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/codegen.h"
#include "codegen/tools/expression.h"
#include "tests/unit/suite.h"

enum { N_NAMES = 4 };
static const char *const name_of[N_NAMES] = {"BM", "N", "VEC", "K_MAX"};

static int number_of(void *user, const char *name) {
    (void)user;
    for (int k = 0; k < N_NAMES; k++)
        if (!strcmp(name_of[k], name)) return k;
    return -1;
}

static tn_known fixed(int64_t v) {
    return (tn_known){v, v, v, v < 0 ? -v : v};
}

/* The error, else NULL and the result. */
static const char *eval(const char *text, const tn_known *names, bool *result) {
    expression e;
    expression_compile(text, number_of, NULL, &e);
    if (e.error) return e.error;
    const tn_requirement r = {text, e.code, (uint32_t)e.n, 0};
    return tn_require(&r, names, result);
}

/* ---- what is written ---- */

START_TEST(fixed_values) {
    static const struct {
        const char *text;
        bool want;
    } cases[] = {
        {"1 + 2 * 3 == 7", true},
        {"(1 + 2) * 3 == 9", true},
        {"7 - 2 - 1 == 4", true},
        {"64 / 4 / 2 == 8", true},
        {"7 % 4 * 2 == 6", true},
        {"BM % VEC == 0 && N > 3", true},
        {"BM % 5 == 0 || N > 3", true},
        {"1 || 0 && 0", true},
        {"!(N == 4)", false},
        {"!N + 1 == 1", true},
        {"-N + 5 == 1", true},
        {"- -N == 4", true},
        {"min(BM, 3) == 3", true},
        {"max(BM, min(N, 2)) == 64", true},
        {"N <= 4 && N >= 4", true},
        {"N < 4 || N > 4", false},
        {"N != 4", false},
        {"BM == (N == 4 ? 64 : 1)", true},
        {"N == 5 ? 0 : VEC == 8", true},
        {"N == 5 ? 1 : N == 4 ? 2 : 0", true},
        {"hint(N) * 2 == 8", true},
        {"1 < 2 < 2", true},
        {"K_MAX", true},
        {"0", false},
        {"-1", true},
        {"9000000000 > 8999999999", true},
    };
    const tn_known names[N_NAMES] = {fixed(64), fixed(4), fixed(8), fixed(512)};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        bool got = !cases[k].want;
        const char *error = eval(cases[k].text, names, &got);
        ck_assert_msg(!error, "%s: %s", cases[k].text, error);
        ck_assert_msg(got == cases[k].want, "%s", cases[k].text);
    }
}
END_TEST

START_TEST(malformed) {
    static const char *const text[] = {"",
                                       "1 +",
                                       "(1",
                                       "1)",
                                       "min(1)",
                                       "min(1, 2",
                                       "hint 1",
                                       "NONE == 1",
                                       "1 ? 2",
                                       "1 = 2",
                                       "1 & 2",
                                       "N 4",
                                       "== 1",
                                       "!",
                                       "a.b",
                                       "1..2",
                                       "N ?: 1",
                                       "max()",
                                       "1 + * 2",
                                       "&& 1",
                                       "hint(1, 2)",
                                       "N <> 1",
                                       "99999999999999999999"};
    const tn_known names[N_NAMES] = {fixed(64), fixed(4), fixed(8), fixed(512)};
    bool got;
    for (size_t k = 0; k < sizeof text / sizeof *text; k++)
        ck_assert_msg(eval(text[k], names, &got) != NULL, "\"%s\" is taken", text[k]);
    char deep[1000] = "";
    for (int k = 0; k < 200; k++) strcat(deep, "(");
    ck_assert_ptr_nonnull(eval(deep, names, &got));
    for (int k = 0; k < 100; k++) strcpy(deep + 4 * k, "1+1-");
    strcat(deep, "1");
    ck_assert_ptr_nonnull(eval(deep, names, &got)); /* more code than there is room for */
    ck_assert_ptr_nonnull(eval("N / 0 == 1", names, &got));
    ck_assert_ptr_nonnull(eval("1 || N % 0", names, &got)); /* nothing is left out */
}
END_TEST

/* ---- random expressions against C's rules ---- */

static unsigned seed = 1;
static int draw(int n) {
    seed = seed * 1664525u + 1013904223u;
    return (int)(seed >> 8) % n;
}

/* Writes an expression that binds at least as tightly as `level` and returns its value. */
static int64_t write(char *text, int level, int depth, const int64_t *v, bool divides) {
    static const char *const ops[][6] = {
        {"||"}, {"&&"}, {"==", "!=", "<", "<=", ">", ">="}, {"+", "-"}, {"*", "/", "%"}};
    static const int n_ops[] = {1, 1, 6, 2, 3};
    char *end = text + strlen(text);
    if (depth == 0 || level > 4) {
        const int which = draw(6), k = draw(N_NAMES);
        if (which == 0 && depth > 0) {
            strcat(text, "(");
            const int64_t x = write(text, 0, depth - 1, v, divides);
            return strcat(text, ")"), x;
        }
        if (which == 1) return strcat(text, "!"), !write(text, 5, depth - (depth > 0), v, divides);
        if (which == 2 && depth > 0) {
            strcat(text, "max(");
            const int64_t a = write(text, 0, depth - 1, v, divides);
            strcat(text, ", ");
            const int64_t b = write(text, 0, depth - 1, v, divides);
            return strcat(text, ")"), a > b ? a : b;
        }
        if (which < 4) {
            sprintf(end, "%d", k + 1);
            return k + 1;
        }
        return strcat(text, name_of[k]), v[k];
    }
    int64_t a = write(text, level + 1, depth - 1, v, divides);
    if (draw(2)) return a;
    const int op = draw(level == 4 && !divides ? 1 : n_ops[level]);
    sprintf(text + strlen(text), " %s ", ops[level][op]);
    if (level == 4 && op > 0) { /* divisors are numbers */
        const int64_t b = 1 + draw(9);
        sprintf(text + strlen(text), "%lld", (long long)b);
        return op == 1 ? a / b : a % b;
    }
    const int64_t b = write(text, level + 1, depth - 1, v, divides);
    switch (level) {
    case 0: return a || b;
    case 1: return a && b;
    case 2: return op == 0 ? a == b : op == 1 ? a != b : op == 2 ? a < b : op == 3 ? a <= b : op == 4 ? a > b : a >= b;
    case 3: return op ? a - b : a + b;
    default: return a * b;
    }
}

START_TEST(random_expressions) {
    for (int k = 0; k < 20000; k++) {
        char text[4000] = "";
        const int64_t v[N_NAMES] = {draw(200), draw(20) - 10, draw(9), draw(5)};
        const tn_known names[N_NAMES] = {fixed(v[0]), fixed(v[1]), fixed(v[2]), fixed(v[3])};
        const int64_t want = write(text, 0, 5, v, true);
        bool got;
        const char *error = eval(text, names, &got);
        if (error && strstr(error, "too long")) continue;
        ck_assert_msg(!error, "%s: %s", text, error);
        ck_assert_msg(got == (want != 0), "%s is %lld", text, (long long)want);
    }
}
END_TEST

/* What holds for names that vary holds for each of their values: a comparison at least; "!" and "?:" are not used. */
START_TEST(ranges_are_sound) {
    static const char *const compare[] = {"<", "<=", ">", ">=", "==", "!="};
    int held = 0;
    for (int k = 0; k < 20000; k++) {
        char text[300];
        tn_known names[N_NAMES];
        for (int j = 0; j < N_NAMES; j++) {
            const int64_t lo = draw(12) - 2, step = 1 + draw(4), n = draw(5);
            names[j] = (tn_known){lo * step, lo * step, (lo + n) * step, step};
        }
        const int op = draw(6), a = draw(N_NAMES), b = draw(N_NAMES), m = 2 + draw(3), c = draw(30) - 5;
        snprintf(text, sizeof text, draw(2) ? "%s * %d + %s %s %d" : "(%s * %d - %s) %% 4 %s %d", name_of[a], m,
                 name_of[b], compare[op], c);
        const bool mod = strchr(text, '%') != NULL;
        bool got;
        ck_assert_ptr_null(eval(text, names, &got));
        held += got;
        for (int64_t x = names[a].lo; got && x <= names[a].hi; x += names[a].divisor)
            for (int64_t y = names[b].lo; y <= names[b].hi; y += names[b].divisor) {
                if (a == b && x != y) continue;
                const int64_t v = mod ? (x * m - y) % 4 : x * m + y;
                const bool holds[] = {v<c, v <= c, v> c, v >= c, v == c, v != c};
                ck_assert_msg(holds[op], "%s with %lld and %lld", text, (long long)x, (long long)y);
            }
    }
    ck_assert_int_gt(held, 2000);
}
END_TEST

/* Every name that a template's requires use is a knob or one of its numbered names. */
START_TEST(templates_are_numbered) {
    for (size_t k = 0; k < tn_template_count(); k++) {
        const tn_template *t = tn_template_at(k);
        for (uint32_t i = 0; i < t->n_requires; i++) {
            const tn_requirement *r = &t->requires_[i];
            uint32_t first = TN_MAX_KNOBS;
            for (uint32_t j = 0; j < r->n_code; j++) {
                if (r->code[j].op != TN_RQ_NAME) continue;
                ck_assert_int_lt(r->code[j].v, t->n_knobs + t->n_names);
                if (r->code[j].v < t->n_knobs && r->code[j].v < first) first = (uint32_t)r->code[j].v;
                const char *name =
                    r->code[j].v < t->n_knobs ? t->knobs[r->code[j].v].name : t->names[r->code[j].v - t->n_knobs];
                ck_assert_msg(strstr(r->text, name) != NULL, "%s: %s has no %s", t->name, r->text, name);
            }
            ck_assert_uint_eq(r->first_knob, first);
        }
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("require");
    TCase *t = tcase_create("require");
    tcase_add_test(t, fixed_values);
    tcase_add_test(t, malformed);
    tcase_add_test(t, random_expressions);
    tcase_add_test(t, ranges_are_sound);
    tcase_add_test(t, templates_are_numbered);
    suite_add_tcase(s, t);
    return run_suite(s);
}
