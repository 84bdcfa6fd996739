/* compile_env.h: what tests of whole compilations share: a cache folder of their own, and whether NVRTC is there. */
#ifndef TENON_TEST_COMPILE_ENV_H
#define TENON_TEST_COMPILE_ENV_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codegen/tune/nvrtc_loader.h"

static char cache[64];

/* `what` of the cache is removed: "" for the folder itself, else a pattern of entries in it. */
static inline void remove_from_cache(const char *what) {
    char command[160];
    snprintf(command, sizeof command, "rm -rf %s%s%s", cache, *what ? "/" : "", what);
    ck_assert_int_eq(system(command), 0);
}

static inline void make_cache(void) {
    strcpy(cache, "/tmp/tenon-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(cache));
}

static inline void remove_cache(void) {
    remove_from_cache("");
}

static inline bool no_nvrtc(void) {
    tn_nvrtc *rtc = NULL;
    const bool missing = tn_nvrtc_open(NULL, &rtc) != TN_OK;
    tn_nvrtc_close(rtc);
    if (missing) printf("skipped: NVRTC is not there\n");
    return missing;
}

#endif
