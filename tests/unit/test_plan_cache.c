/* test_plan_cache.c: plans that processes share in a folder: made once, found, waited for, evicted. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "runtime/plan/plan.h"
#include "tenon/host.h"
#include "tenon/plan_cache.h"
#include "tests/unit/suite.h"

static char dir[256];

static void make_dir(void) {
    snprintf(dir, sizeof dir, "%s/tenon-plans-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

/* Calls fn(path) for every file whose name ends so; how many there are. */
static int each_file(const char *suffix, void (*fn)(const char *path)) {
    int n = 0;
    DIR *d = opendir(dir);
    for (const struct dirent *e; d && (e = readdir(d));) {
        char path[600];
        const size_t len = strlen(e->d_name), end = strlen(suffix);
        if (*e->d_name == '.' || len < end || strcmp(e->d_name + len - end, suffix) != 0) continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (fn) fn(path);
        n++;
    }
    if (d) closedir(d);
    return n;
}

static void remove_file(const char *path) {
    unlink(path);
}

static void remove_dir(void) {
    each_file("", remove_file);
    rmdir(dir);
}

/* A byte of the graph, a kernel or a weight is another. */
static void damage(const char *path) {
    tn_plan *p = tn_plan_load(NULL, path, NULL);
    const TnPlan__Plan *pb = tn_plan_manifest(p);
    const long at = (long)pb->blobs[pb->n_blobs - 1]->offset;
    tn_plan_free(p);
    FILE *f = fopen(path, "r+b");
    fseek(f, at, SEEK_SET);
    const int c = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(c ^ 1, f);
    fclose(f);
}

static void cut(const char *path) {
    struct stat st;
    ck_assert(stat(path, &st) == 0 && truncate(path, st.st_size / 2) == 0);
}

static const char *const targets[] = {"sm_90a"};
static const tn_compile_options sources = {
    .targets = targets, .n_targets = 1, .no_gpu = true, .sources_only = true, .cache_dir = ""};

/* What makes a plan. */
typedef struct maker {
    const char *model; /* a file of text */
    double seconds;    /* that it sleeps first */
    bool dies;
    int calls;
} maker;

static void nap(double seconds) {
    const struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
}

static tn_status make(void *user, const char *path) {
    maker *m = user;
    tn_status st;
    char note[300];
    m->calls++;
    snprintf(note, sizeof note, "%s/made.txt", dir);
    FILE *f = fopen(note, "a");
    fputc('x', f);
    fclose(f);
    nap(m->seconds);
    if (m->dies) raise(SIGKILL);
    tn_graph *g = tn_import_file(NULL, m->model, NULL, &st);
    if (!g) return st;
    st = tn_compile(g, &sources, path);
    tn_graph_free(g);
    return st;
}

/* How often all processes together called make(). */
static long made(void) {
    struct stat st;
    char note[300];
    snprintf(note, sizeof note, "%s/made.txt", dir);
    return stat(note, &st) ? 0 : (long)st.st_size;
}

static void write_model(const char *path, double add) {
    FILE *f = fopen(path, "w");
    fprintf(f,
            "func @main(%%x: f32[4]) -> (%%y: f32[4]) {\n  %%a = const [%g] : f32[1]\n  %%y = add %%x, %%a\n"
            "  return %%y\n}\n",
            add);
    fclose(f);
}

static const char *model_path(void) {
    static char path[300];
    snprintf(path, sizeof path, "%s/model.tn", dir);
    return path;
}

static float result_of(tn_plan *p) {
    const tn_context_options cpu = {.device = TN_CPU, .host = tn_host_devices()};
    const float x[4] = {1, 2, 3, 4};
    float y[4] = {0};
    const void *in[] = {x};
    void *out[] = {y};
    tn_context *c = tn_context_new(p, &cpu, NULL);
    ck_assert_ptr_nonnull(c);
    ck_assert_int_eq(tn_context_run(c, in, out), TN_OK);
    tn_context_free(c);
    return y[2];
}

static tn_plan_cache cache;
static maker m;

static void begin(void) {
    make_dir();
    cache = (tn_plan_cache){.dir = dir};
    m = (maker){.model = model_path()};
    write_model(m.model, 10);
}

START_TEST(made_once) {
    tn_status st;
    begin();
    tn_plan *a = tn_cached_plan(NULL, &cache, "a", make, &m, &st),
            *b = tn_cached_plan(NULL, &cache, "a", make, &m, &st);
    ck_assert_int_eq(m.calls, 1);
    ck_assert(result_of(a) == 13 && result_of(b) == 13);
    tn_plan *c = tn_cached_plan(NULL, &cache, "another", make, &m, &st);
    ck_assert_int_eq(m.calls, 2);
    ck_assert_int_eq(each_file(".plan", NULL), 2);
    tn_plan_free(a), tn_plan_free(b), tn_plan_free(c);
    remove_dir();
}
END_TEST

START_TEST(damaged_is_made_again) {
    tn_status st;
    begin();
    tn_plan_free(tn_cached_plan(NULL, &cache, "a", make, &m, &st));
    each_file(".plan", damage);
    tn_plan *p = tn_cached_plan(NULL, &cache, "a", make, &m, &st);
    ck_assert_int_eq(m.calls, 2);
    ck_assert(result_of(p) == 13);
    tn_plan_free(p);
    each_file(".plan", cut);
    p = tn_cached_plan(NULL, &cache, "a", make, &m, &st);
    ck_assert_int_eq(m.calls, 3);
    ck_assert(result_of(p) == 13);
    tn_plan_free(p);
    remove_dir();
}
END_TEST

START_TEST(processes_make_it_once) {
    begin();
    m.seconds = 0.2;
    for (int k = 0; k < 4; k++)
        if (fork() == 0) {
            tn_plan *p = tn_cached_plan(NULL, &cache, "a", make, &m, NULL);
            _exit(!p || result_of(p) != 13);
        }
    for (int k = 0, status; k < 4; k++) {
        ck_assert_int_gt(wait(&status), 0);
        ck_assert_int_eq(status, 0);
    }
    ck_assert_int_eq(made(), 1);
    remove_dir();
}
END_TEST

START_TEST(who_dies_holds_nobody_up) {
    tn_status st;
    int status;
    begin();
    const pid_t pid = fork();
    if (pid == 0) {
        m.dies = true;
        tn_cached_plan(NULL, &cache, "a", make, &m, NULL);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status));
    tn_plan *p = tn_cached_plan(NULL, &cache, "a", make, &m, &st);
    ck_assert(result_of(p) == 13);
    ck_assert_int_eq(made(), 2);
    ck_assert_int_eq(each_file(".plan", NULL), 1);
    tn_plan_free(p);
    remove_dir();
}
END_TEST

static bool stop(void *user, const tn_progress *p) {
    *(bool *)user = !strcmp(p->phase, "wait");
    return false;
}

START_TEST(waiting_may_be_cancelled) {
    tn_status st = TN_OK;
    bool waited = false;
    const tn_env env = {.progress = stop, .progress_user = &waited};
    begin();
    const pid_t pid = fork();
    if (pid == 0) {
        m.seconds = 30;
        tn_cached_plan(NULL, &cache, "a", make, &m, NULL);
        _exit(0);
    }
    while (!made()) nap(0.01); /* until it holds the lock */
    ck_assert_ptr_null(tn_cached_plan(&env, &cache, "a", make, &m, &st));
    ck_assert_int_eq(st, TN_E_CANCELLED);
    ck_assert(waited);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    remove_dir();
}
END_TEST

static off_t plan_size;
static void note_size(const char *path) {
    struct stat st;
    plan_size = stat(path, &st) ? 0 : st.st_size;
}

START_TEST(oldest_go_first) {
    tn_status st;
    begin();
    tn_plan *a = tn_cached_plan(NULL, &cache, "a", make, &m, &st);
    each_file(".plan", note_size);
    cache.max_bytes = (uint64_t)plan_size * 5 / 2; /* two of them */
    nap(0.02);
    tn_plan_free(tn_cached_plan(NULL, &cache, "b", make, &m, &st));
    nap(0.02);
    tn_plan_free(tn_cached_plan(NULL, &cache, "a", make, &m, &st)); /* used again: b is the oldest */
    nap(0.02);
    tn_plan_free(tn_cached_plan(NULL, &cache, "c", make, &m, &st));
    ck_assert_int_eq(m.calls, 3);
    ck_assert_int_eq(each_file(".plan", NULL), 2);
    tn_plan_free(tn_cached_plan(NULL, &cache, "a", make, &m, &st));
    ck_assert_int_eq(m.calls, 3);
    tn_plan_free(tn_cached_plan(NULL, &cache, "b", make, &m, &st));
    ck_assert_int_eq(m.calls, 4);
    cache.max_bytes = 1; /* the one asked for stays, whatever its size; the others go, but for those who have them */
    tn_plan_free(tn_cached_plan(NULL, &cache, "d", make, &m, &st));
    ck_assert_int_eq(each_file(".plan", NULL), 1);
    ck_assert(result_of(a) == 13);
    tn_plan_free(a);
    remove_dir();
}
END_TEST

static void count_read(void *user, const char *path) {
    (void)path;
    ++*(int *)user;
}

START_TEST(models) {
    tn_status st;
    int reads = 0;
    const tn_env env = {.reads = count_read, .reads_user = &reads};
    tn_compile_options o = sources;
    begin();
    tn_plan *a = tn_cached_model(&env, &cache, m.model, NULL, &o, &st);
    ck_assert_int_eq(st, TN_OK);
    ck_assert(result_of(a) == 13);
    ck_assert_int_gt(reads, 0);
    reads = 0;
    tn_plan *b = tn_cached_model(&env, &cache, m.model, NULL, &o, &st);
    ck_assert(result_of(b) == 13);
    ck_assert_int_eq(reads, 0); /* nothing was imported */
    o.precision = TN_FP16;
    tn_plan *c = tn_cached_model(&env, &cache, m.model, NULL, &o, &st);
    ck_assert_int_gt(reads, 0);
    ck_assert_int_eq(each_file(".plan", NULL), 2);
    write_model(m.model, 20);
    tn_plan *d = tn_cached_model(&env, &cache, m.model, NULL, &o, &st);
    ck_assert(result_of(d) == 23);
    ck_assert_ptr_null(tn_cached_model(NULL, &cache, "/nowhere/m.tn", NULL, &o, &st));
    ck_assert_int_eq(st, TN_E_IO);
    tn_plan_free(a), tn_plan_free(b), tn_plan_free(c), tn_plan_free(d);
    remove_dir();
}
END_TEST

START_TEST(nothing_to_tune) {
    tn_status st;
    bool better = true;
    begin();
    tn_jit *j = tn_jit_new(NULL, &cache, m.model, NULL, &sources, &st);
    ck_assert_int_eq(st, TN_OK);
    ck_assert(tn_jit_tuned(j));
    ck_assert_int_eq(tn_tune_step(j, 1, &better), TN_OK);
    ck_assert(!better);
    ck_assert(result_of(tn_jit_plan(j)) == 13);
    tn_jit_free(j);
    tn_jit_free(NULL);
    remove_dir();
}
END_TEST

START_TEST(folders) {
    tn_status st;
    begin();
    const tn_plan_cache nowhere = {.dir = "/proc/nowhere"}, none = {.dir = ""};
    ck_assert_ptr_null(tn_cached_plan(NULL, &nowhere, "a", make, &m, &st));
    ck_assert_int_eq(st, TN_E_IO);
    ck_assert_ptr_null(tn_cached_plan(NULL, &none, "a", make, &m, &st));
    ck_assert_int_eq(st, TN_E_IO);
    m.model = "/nowhere/m.tn";
    ck_assert_ptr_null(tn_cached_plan(NULL, &cache, "a", make, &m, &st));
    ck_assert_int_eq(st, TN_E_IO);
    ck_assert_int_eq(each_file(".plan", NULL), 0);
    remove_dir();
}
END_TEST

int main(void) {
    Suite *s = suite_create("plan cache");
    TCase *t = tcase_create("plans");
    tcase_add_test(t, made_once);
    tcase_add_test(t, damaged_is_made_again);
    tcase_add_test(t, processes_make_it_once);
    tcase_add_test(t, who_dies_holds_nobody_up);
    tcase_add_test(t, waiting_may_be_cancelled);
    tcase_add_test(t, oldest_go_first);
    tcase_add_test(t, models);
    tcase_add_test(t, nothing_to_tune);
    tcase_add_test(t, folders);
    suite_add_tcase(s, t);
    return run_suite(s);
}
