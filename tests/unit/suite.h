/* suite.h: how a test program ends. */
#ifndef TENON_TEST_SUITE_H
#define TENON_TEST_SUITE_H

#include <check.h>

/* Runs the tests of a suite and frees it; an exit code.  CK_VERBOSITY says how much is printed. */
static inline int run_suite(Suite *s) {
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}

#endif
