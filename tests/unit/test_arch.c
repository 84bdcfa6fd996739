/* GPU architectures: which code runs where, and that the table of codegen and the runtime agree about it. */
#include "codegen/codegen.h"
#include "runtime/cuda/arch.h"
#include "tests/unit/suite.h"

START_TEST(names) {
    static const struct {
        const char *name;
        int cc;
    } table[] = {{"sm_80", 80},
                 {"sm_90a", 90},
                 {"sm_100", 100},
                 {"sm_103a", 103},
                 {"sm_9", 0},
                 {"sm_", 0},
                 {"sm_90b", 0},
                 {"sm_90aa", 0},
                 {"sm_1000", 0},
                 {"sm_-80", 0},
                 {"sm_ 80", 0},
                 {"sm_080", 0},
                 {"", 0},
                 {"80", 0},
                 {NULL, 0},
                 {"SM_80", 0},
                 {"sm_99999999999999999999", 0}};
    for (size_t k = 0; k < sizeof table / sizeof *table; k++)
        ck_assert_msg(tn_arch_cc(table[k].name) == table[k].cc, "%s: %d", table[k].name, tn_arch_cc(table[k].name));
}
END_TEST

/* CUDA's rules of binary compatibility. */
START_TEST(where_code_runs) {
    static const struct {
        const char *name;
        int cc;
        bool runs;
    } table[] = {{"sm_80", 80, true},    {"sm_80", 86, true},     {"sm_80", 89, true},    {"sm_86", 80, false},
                 {"sm_89", 90, false},   {"sm_90", 90, true},     {"sm_90a", 90, true},   {"sm_90a", 100, false},
                 {"sm_100", 103, true},  {"sm_100a", 103, false}, {"sm_100", 120, false}, {"sm_120", 121, true},
                 {"sm_121", 120, false}, {"nonsense", 80, false}};
    for (size_t k = 0; k < sizeof table / sizeof *table; k++)
        ck_assert_msg((tn_arch_fit(table[k].name, table[k].cc) > 0) == table[k].runs, "%s on %d", table[k].name,
                      table[k].cc);
    ck_assert_int_gt(tn_arch_fit("sm_86", 89), tn_arch_fit("sm_80", 89));
    ck_assert_int_gt(tn_arch_fit("sm_90a", 90), tn_arch_fit("sm_90", 90));
}
END_TEST

START_TEST(nearest) {
    static const struct {
        int cc;
        const char *name;
    } table[] = {{80, "sm_80"},  {86, "sm_86"},   {87, "sm_86"},   {88, "sm_86"},   {89, "sm_89"},
                 {90, "sm_90a"}, {100, "sm_100"}, {103, "sm_100"}, {120, "sm_120"}, {121, "sm_120"},
                 {75, NULL},     {110, NULL},     {130, NULL},     {0, NULL},       {-1, NULL}};
    for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
        const tn_arch *a = tn_arch_for(table[k].cc);
        ck_assert_msg(a ? table[k].name && !strcmp(a->name, table[k].name) : !table[k].name, "%d: %s", table[k].cc,
                      a ? a->name : "none");
    }
}
END_TEST

/* What the runtime knows of a GPU by its number is what kernels are made for. */
START_TEST(properties) {
    for (size_t k = 0; k < tn_arch_count(); k++) {
        const tn_arch *a = tn_arch_at(k);
        ck_assert_int_eq(tn_arch_cc(a->name), a->cc);
        ck_assert_ptr_eq(tn_arch_for(a->cc), a);
        ck_assert_ptr_eq(tn_arch_find(a->name), a);
        ck_assert_msg(tn_cc_has_pdl(a->cc) == a->pdl, "%s", a->name);
    }
    char all[128];
    tn_arch_names(all, sizeof all);
    ck_assert_str_eq(all, "sm_80, sm_86, sm_89, sm_90a, sm_100, sm_120");
    char few[10];
    tn_arch_names(few, sizeof few);
    ck_assert_str_eq(few, "sm_80, sm");
}
END_TEST

int main(void) {
    Suite *s = suite_create("architectures");
    TCase *t = tcase_create("all");
    tcase_add_test(t, names);
    tcase_add_test(t, where_code_runs);
    tcase_add_test(t, nearest);
    tcase_add_test(t, properties);
    suite_add_tcase(s, t);
    return run_suite(s);
}
