/* test_cache.c: the cache folder and the thread pool of the compile driver. */
#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codegen/tune/cache.h"
#include "codegen/tune/pool.h"
#include "tests/unit/suite.h"

static char dir[256];

static void make_dir(void) {
    snprintf(dir, sizeof dir, "%s/tenon-cache-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

/* Calls fn(path) for every entry, returns how many there are. */
static int each_entry(void (*fn)(const char *path)) {
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[600];
        if (*e->d_name == '.') continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (fn) fn(path);
        n++;
    }
    if (d) closedir(d);
    return n;
}

static void remove_entry(const char *path) {
    unlink(path);
}

static void remove_dir(void) {
    each_entry(remove_entry);
    rmdir(dir);
}

static void flip_last_byte(const char *path) {
    FILE *f = fopen(path, "r+b");
    fseek(f, -1, SEEK_END);
    int c = fgetc(f);
    fseek(f, -1, SEEK_END);
    fputc(c ^ 1, f);
    fclose(f);
}

static void halve(const char *path) {
    FILE *f = fopen(path, "rb");
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    fclose(f);
    ck_assert_int_eq(truncate(path, n / 2), 0);
}

static int notes;
static void count_notes(void *user, const tn_diag *d) {
    (void)user;
    ck_assert_int_eq(d->severity, TN_NOTE);
    notes++;
}

START_TEST(put_then_get) {
    tn_cache *c = tn_cache_open(NULL, dir);
    void *data;
    size_t size;
    ck_assert(!tn_cache_get(c, "cubin", "key", &data, &size));
    tn_cache_put(c, "cubin", "key", "payload", 7);
    ck_assert(tn_cache_get(c, "cubin", "key", &data, &size));
    ck_assert_uint_eq(size, 8);
    ck_assert_str_eq(data, "payload");
    tn_free(NULL, data, size);
    ck_assert(!tn_cache_get(c, "tune", "key", &data, &size));
    ck_assert(!tn_cache_get(c, "cubin", "other", &data, &size));
    tn_cache_put(c, "cubin", "key", "newer", 5);
    ck_assert(tn_cache_get(c, "cubin", "key", &data, &size));
    ck_assert_str_eq(data, "newer");
    tn_free(NULL, data, size);
    ck_assert_int_eq(each_entry(NULL), 1);
    tn_cache_close(c);
}
END_TEST

START_TEST(damaged_entries_are_misses) {
    void (*const damage[])(const char *) = {flip_last_byte, halve};
    tn_env env = {.diag = count_notes};
    for (size_t k = 0; k < 2; k++) {
        tn_cache *c = tn_cache_open(&env, dir);
        void *data;
        size_t size;
        notes = 0;
        tn_cache_put(c, "cubin", "key", "payload", 7);
        each_entry(damage[k]);
        ck_assert(!tn_cache_get(c, "cubin", "key", &data, &size));
        ck_assert_int_eq(notes, 1);
        tn_cache_put(c, "cubin", "key", "payload", 7);
        ck_assert(tn_cache_get(c, "cubin", "key", &data, &size));
        tn_free(&env, data, size);
        tn_cache_close(c);
    }
}
END_TEST

START_TEST(a_foreign_file_is_a_miss) {
    tn_cache *c = tn_cache_open(NULL, dir);
    void *data;
    size_t size;
    tn_cache_put(c, "cubin", "key", "payload", 7);
    char other[600], mine[600] = "";
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));)
        if (*e->d_name != '.') snprintf(mine, sizeof mine, "%s/%s", dir, e->d_name);
    closedir(d);
    tn_cache_put(c, "cubin", "key2", "payload2", 8);
    d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));) {
        snprintf(other, sizeof other, "%s/%s", dir, e->d_name);
        if (*e->d_name != '.' && strcmp(other, mine)) break;
    }
    ck_assert_int_eq(rename(mine, other), 0); /* key's entry under key2's name */
    closedir(d);
    ck_assert(!tn_cache_get(c, "cubin", "key2", &data, &size));
    tn_cache_close(c);
}
END_TEST

START_TEST(the_empty_cache) {
    tn_cache *c = tn_cache_open(NULL, "");
    void *data;
    size_t size;
    tn_cache_put(c, "cubin", "key", "payload", 7);
    ck_assert(!tn_cache_get(c, "cubin", "key", &data, &size));
    tn_cache_close(c);
}
END_TEST

static void add_one(void *arg) {
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void slow(void *arg) {
    usleep(2000);
    add_one(arg);
}

START_TEST(pool_runs_every_job_once) {
    atomic_int n = 0;
    tn_pool *p = tn_pool_new(NULL, 4);
    for (int k = 0; k < 1000; k++) ck_assert_int_eq(tn_pool_add(p, add_one, &n), TN_OK);
    ck_assert(tn_pool_wait(p, -1));
    ck_assert_int_eq(atomic_load(&n), 1000);
    tn_pool_free(p);
}
END_TEST

typedef struct mark {
    atomic_int *turn;
    int seen;
} mark;

static void take_turn(void *arg) {
    mark *m = arg;
    m->seen = atomic_fetch_add(m->turn, 1);
}

START_TEST(pool_takes_first_jobs_first) {
    atomic_int turn = 0, slept = 0;
    mark m[200];
    tn_pool *p = tn_pool_new(NULL, 1);
    tn_pool_add(p, slow, &slept); /* keeps the thread busy while the others queue up, around the end of the ring */
    for (int k = 0; k < 200; k++) {
        m[k] = (mark){.turn = &turn};
        ck_assert_int_eq((k % 2 ? tn_pool_add_first : tn_pool_add)(p, take_turn, &m[k]), TN_OK);
    }
    ck_assert(tn_pool_wait(p, -1));
    tn_pool_free(p);
    for (int k = 0; k < 200; k += 2) ck_assert_int_gt(m[k].seen, k < 2 ? -1 : m[k - 2].seen); /* in order */
    ck_assert_int_lt(m[199].seen, m[198].seen);
}
END_TEST

START_TEST(pool_cancels_what_has_not_started) {
    atomic_int n = 0;
    tn_pool *p = tn_pool_new(NULL, 2);
    for (int k = 0; k < 500; k++) tn_pool_add(p, slow, &n);
    ck_assert(!tn_pool_wait(p, 0.001));
    tn_pool_cancel(p);
    ck_assert(tn_pool_wait(p, -1));
    ck_assert_int_lt(atomic_load(&n), 500);
    tn_pool_free(p);
}
END_TEST

int main(void) {
    Suite *s = suite_create("cache");
    TCase *t = tcase_create("folder");
    tcase_add_checked_fixture(t, make_dir, remove_dir);
    tcase_add_test(t, put_then_get);
    tcase_add_test(t, damaged_entries_are_misses);
    tcase_add_test(t, a_foreign_file_is_a_miss);
    tcase_add_test(t, the_empty_cache);
    suite_add_tcase(s, t);
    t = tcase_create("pool");
    tcase_add_test(t, pool_runs_every_job_once);
    tcase_add_test(t, pool_takes_first_jobs_first);
    tcase_add_test(t, pool_cancels_what_has_not_started);
    suite_add_tcase(s, t);
    return run_suite(s);
}
