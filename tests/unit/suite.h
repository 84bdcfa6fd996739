/* suite.h: how a test program ends. */
#ifndef TENON_TEST_SUITE_H
#define TENON_TEST_SUITE_H

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>

/* ck_assert_msg for what is asserted a million times: Check writes to a file each time, which would take longer than the test. */
#define often_assert_msg(holds, ...)                                                                                   \
    do {                                                                                                               \
        if (!(holds)) ck_abort_msg(__VA_ARGS__);                                                                       \
    } while (0)

/* Of cases that are many and alike, and take seconds, one in `of` is run at a time: TENON_MATRIX_TURN=N, which N moves on; without it,
 * all. */
static inline bool in_turn(size_t k, unsigned of) {
    const char *turn = getenv("TENON_MATRIX_TURN");
    return !turn || (strtoul(turn, NULL, 10) + k) % of == 0;
}

/* Runs the tests of a suite and frees it; an exit code.  CK_VERBOSITY says how much is printed. */
static inline int run_suite(Suite *s) {
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}

#endif
