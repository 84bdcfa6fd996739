/* test_tune.c: tuning without a GPU (which candidates are built: test_search.c): whole tuned compilations on the mock driver, where every kernel does nothing and is found right unless the test says otherwise. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/text/side.h"
#include "tenon/plugin.h"
#include "codegen/program/program.h"
#include "codegen/tune/internal.h"
#include "passes/pass.h"
#include "tenon/compiler.h"
#include "tests/unit/compile_env.h"
#include "tests/unit/failing.h"
#include "tests/unit/mock_nvrtc.h"
#include "tests/unit/mock_runtime.h"

/* ---- whole compilations on the mock ---- */

static mock_nvrtc *rtc;
static failing heap;
static char errors[2000], notes[600];
static int steps_left;
static bool no_gpu;

static void keep_errors(void *user, const tn_diag *d) {
    (void)user;
    const size_t used = strlen(errors);
    if (d->severity == TN_ERROR) snprintf(errors + used, sizeof errors - used, "%s: %s\n", d->loc, d->message);
    if (d->severity == TN_NOTE && strstr(d->message, "former compilation"))
        snprintf(notes, sizeof notes, "%s", d->message);
}

static bool count_steps(void *user, const tn_progress *p) {
    (void)user, (void)p;
    return --steps_left != 0;
}

static const tn_env env = {.alloc = fail_alloc, .alloc_user = &heap, .diag = keep_errors, .progress = count_steps};

/* Machine code comes from a compiler that takes no time. */
static void setup_all(void) {
    mock_nvrtc_get_fn get;
    void *lib = dlopen(TENON_MOCK_NVRTC, RTLD_NOW);
    ck_assert_msg(lib != NULL, "%s", dlerror());
    *(void **)&get = dlsym(lib, "mock_nvrtc_get");
    rtc = get();
    setenv("TENON_LIBNVRTC", TENON_MOCK_NVRTC, 1);
    setup();
}

/* How the plan that was compiled last has kernels launched: "plain/carveout" by bucket. */
static char policies[200];

static void read_policies(const tn_plan *plan) {
    const TnPlan__Arch *a = tn_plan_manifest(plan)->archs[0];
    size_t n = 0;
    *policies = 0;
    for (size_t k = 0; k < a->n_policies; k++)
        n += (size_t)snprintf(policies + n, sizeof policies - n, "%s%d/%d/%u", k ? " " : "", a->policies[k]->plain,
                              a->policies[k]->serial, a->policies[k]->carveout);
}

/* Of that plan: how many kernels it has, the threads of its first step's, and what is said of that. */
static char winner_note[300];
static uint32_t first_block;
static size_t n_kernels, n_hopeless;

static void read_winner_of(const TnPlan__Arch *a) {
    const TnPlan__Step *s = a->steps[0];
    n_kernels = a->n_kernels;
    first_block = a->kernels[s->kernel]->block[0];
    *winner_note = 0;
    n_hopeless = 0;
    for (size_t k = 0; k < s->n_candidates; k++) n_hopeless += strstr(s->candidates[k]->note, "first run") != NULL;
    for (size_t k = 0; k < s->n_candidates; k++)
        if (!strncmp(s->candidates[k]->note, "winner", 6))
            snprintf(winner_note, sizeof winner_note, "%s", s->candidates[k]->note);
}

/* Of that plan: the kernel of its first step, and how many steps have one for exactly the sizes of a bucket. */
static char first_kernel[100];
static size_t exact;

static void read_cases(const tn_plan *plan) {
    const TnPlan__Plan *pb = tn_plan_manifest(plan);
    const TnPlan__Arch *a = pb->archs[0];
    snprintf(first_kernel, sizeof first_kernel, "%s", a->kernels[a->steps[0]->kernel]->name);
    read_winner_of(a);
    exact = 0;
    for (size_t k = 0; k < a->n_alternatives; k++) {
        const TnPlan__Bucket *b = pb->buckets[a->alternatives[k]->bucket];
        exact += b->n_ranges == 1 && b->ranges[0]->lo == b->ranges[0]->hi;
    }
}

/* Inferences at N = 64: the last is a graph. */
static void run_as_graph(tn_plan *plan) {
    static char buffers[4][64 * 64 * 4] __attribute__((aligned(64)));
    const void *in[] = {buffers[0], buffers[1]};
    void *out[] = {buffers[2], buffers[3]};
    tn_status s;
    tn_context *c = tn_context_new(plan, NULL, &s);
    ck_assert_int_eq(s, TN_OK);
    ck_assert_int_eq(tn_context_set_shape(c, 0, 2, (const int64_t[]){64, 64}), TN_OK);
    for (int k = 0; k < 3; k++) ck_assert_msg(tn_context_enqueue(c, in, out, NULL) == TN_OK, "%s", errors);
    tn_context_free(c);
}

static uint32_t streams; /* as the compilation's option */
static bool runs_plan;   /* compile_graph runs what it has compiled */

/* Compiles, tunes and frees g; NULL: *s says why there is none. */
static tn_status compile_graph(tn_graph *g, double seconds, const char *lockfile, size_t *size) {
    tn_status s;
    void *data = NULL;
    mock->other_kernels = 1;
    static const char *const target[] = {"sm_90a"};
    const tn_compile_options o = {.precision = TN_FP16,
                                  .cache_dir = cache,
                                  .threads = 8,
                                  .tune_seconds = seconds,
                                  .lockfile = lockfile,
                                  .streams = streams,
                                  .no_gpu = no_gpu,
                                  .targets = target,
                                  .n_targets = no_gpu};
    s = tn_compile_memory(g, &o, &data, size);
    if (s == TN_OK) {
        tn_status loaded;
        tn_plan *plan = tn_plan_load_memory(&env, data, *size, &loaded);
        ck_assert_int_eq(loaded, TN_OK);
        read_policies(plan);
        read_cases(plan);
        if (runs_plan) run_as_graph(plan);
        tn_plan_free(plan);
        tn_free(&env, data, *size);
    }
    tn_graph_free(g);
    ck_assert_int_eq(atomic_load(&heap.live), 0);
    check_all_freed();
    return s;
}

/* The digit classifier; winners are looked for each time, machine code comes from the cache. */
static tn_status compile(double seconds, size_t *size) {
    tn_status s;
    remove_from_cache("tune-*");
    *errors = 0;
    tn_graph *g = tn_import_onnx(&env, TENON_SOURCE_DIR "/examples/digits/digits.onnx", NULL, &s);
    return g ? compile_graph(g, seconds, NULL, size) : s;
}

static tn_status compile_text(const char *text, const char *lockfile) {
    tn_status s;
    size_t size;
    *errors = *notes = 0;
    tn_graph *g = tn_parse(&env, "test", text, strlen(text), NULL, 0, true, &s);
    ck_assert_msg(g != NULL, "%s", errors);
    return compile_graph(g, 60, lockfile, &size);
}

START_TEST(tunes_every_spec) {
    size_t size;
    ck_assert_msg(compile(60, &size) == TN_OK, "%s", errors);
    ck_assert_int_gt(mock->graph_launches, 100);
    const int loads = mock->module_loads;
    mock->wrong = 8; /* more than are built at first: the search goes on */
    ck_assert_msg(compile(60, &size) == TN_OK, "%s", errors);
    ck_assert_int_gt(mock->module_loads, loads);
    ck_assert_int_eq(mock->wrong, 0);
}
END_TEST

/* One kernel a step is built, and nothing else of the GPU is touched: many small compilations are quick. */
START_TEST(untimed_asks_a_gpu_for_its_name_only) {
    static const char text[] = "func @main(%x: f16[64,64], %w: f16[64,32]) -> (%y: f16[64,64], %z: f16[64,32]) {\n"
                               "  %y = softmax %x {axis=1}\n  %z = matmul %y, %w\n  return %y, %z\n}\n";
    size_t size;
    tn_status s;
    remove_from_cache("cubin-*");
    const int before = atomic_load(&rtc->compiled);
    tn_graph *g = tn_parse(&env, "test", text, strlen(text), NULL, 0, true, &s);
    ck_assert_msg(g && compile_graph(g, -1, NULL, &size) == TN_OK, "%s", errors);
    ck_assert_uint_eq(n_kernels, 2);
    ck_assert_int_eq(atomic_load(&rtc->compiled) - before, (int)n_kernels);
    ck_assert_int_eq(mock->allocs + mock->module_loads + mock->heuristics + mock->syncs, 0);
    mock->device_count = 0;
    ck_assert_int_eq(compile(-1, &size), TN_E_NO_DEVICE);
}
END_TEST

START_TEST(names_the_layer_where_nothing_is_right) {
    size_t size;
    mock->wrong = 1 << 30;
    ck_assert_int_eq(compile(60, &size), TN_E_COMPILE);
    /* whichever was ready first */
    ck_assert_msg(*errors == '/' && strstr(errors, ": no kernel works for ") != NULL, "%s", errors);
}
END_TEST

/* A plugin's kernel has nothing beside it: the plugin, the layer and how far it is off are named. */
START_TEST(names_the_plugin_whose_kernel_is_wrong) {
    static const char net[] =
        "func @main(%x: f32[2,16,3,4]) {\n"
        "  %y = yolo::region %x {biases=[1, 2, 3, 4], classes=3} loc(\"/head\")\n  return %y\n}\n";
    for (int wrong = 1; wrong >= 0; wrong--) {
        tn_status s;
        size_t size;
        tn_plugins *set = tn_plugins_new(&env);
        *errors = 0;
        ck_assert_int_eq(tn_plugins_load(set, TENON_SOURCE_DIR "/examples/plugin/region.cu"), TN_OK);
        const tn_side side = {.copy = true, .plugins = set};
        tn_graph *g = tn_parse_side(&env, "net", net, strlen(net), &side, &s);
        ck_assert_msg(g != NULL, "%s", errors);
        tn_plugins_free(set);
        mock->wrong = wrong ? 1 << 30 : 0;
        remove_from_cache("tune-*");
        ck_assert_int_eq(compile_graph(g, 60, NULL, &size), wrong ? TN_E_COMPILE : TN_OK);
        const bool said = strstr(errors, "/head: the kernel of plugin yolo::region (") && strstr(errors, "max error");
        ck_assert_msg(said == wrong, "%s", errors);
    }
}
END_TEST

static const char symbolic[] = "symbol N in [0, 5000] hint 64\n"
                               "func @main(%x: f32[N,8]) -> (%y: f32[N,8]) {\n"
                               "  %0 = relu %x loc(\"/act\")\n  %y = neg %0\n  return %y\n}\n";

/* Each candidate is compared at every shape before it may win; one that is wrong at any of them loses. */
START_TEST(judges_every_shape) {
    static const long rows[] = {64, 1, 7, 129, 31}; /* the typical shape, and others */
    ck_assert_msg(compile_text(symbolic, NULL) == TN_OK, "%s", errors);
    const int checks = mock->checks, candidates = mock->module_loads; /* loaded to be checked, then to be timed */
    ck_assert_int_gt(candidates, 0);
    ck_assert_int_ge(checks, 5 * 5); /* five candidates at least, at five shapes */
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        char where[40];
        remove_from_cache("tune-*");
        mock->wrong_size = rows[k] * 8;
        ck_assert_int_eq(compile_text(symbolic, NULL), TN_E_COMPILE);
        snprintf(where, sizeof where, "at N=%ld: wrong", rows[k]);
        ck_assert_msg(strstr(errors, where) && strstr(errors, "/act"), "%s", errors);
    }
    remove_from_cache("tune-*");
    mock->wrong_size = 12345;
    ck_assert_msg(compile_text(symbolic, NULL) == TN_OK, "%s", errors);
}
END_TEST

/* Of large results some rows are compared: a kernel that is wrong in these sizes alone is found, too. */
START_TEST(judges_large_sizes) {
    static const char large[] = "symbol N in [1, 100000] hint 4096\n"
                                "func @main(%x: f32[N,1024]) -> (%y: f32[N,1024]) {\n"
                                "  %0 = relu %x loc(\"/act\")\n  %y = neg %0\n  return %y\n}\n";
    remove_from_cache("tune-*");
    mock->wrong_size = 4096 * 1024;
    ck_assert_int_eq(compile_text(large, NULL), TN_E_COMPILE);
    ck_assert_msg(strstr(errors, "at N=4096: wrong") && strstr(errors, "of 4096 elements"), "%s",
                  errors); /* four rows */
    mock->wrong_size = 0;
    ck_assert_msg(compile_text(large, NULL) == TN_OK, "%s", errors);
}
END_TEST

/* A winner by the same versions is taken as it is; by others it is judged again, and tuned afresh where it is wrong. */
START_TEST(judges_winners_by_other_versions) {
    remove_from_cache("tune-*");
    ck_assert_msg(compile_text(symbolic, NULL) == TN_OK, "%s", errors);
    const int tuned = mock->checks, launched = mock->graph_launches;
    ck_assert_msg(compile_text(symbolic, NULL) == TN_OK, "%s", errors);
    ck_assert_int_eq(mock->checks, tuned);
    ck_assert_int_eq(mock->graph_launches, launched);
    rtc->minor = 9;
    ck_assert_msg(compile_text(symbolic, NULL) == TN_OK, "%s", errors);
    const int judged = mock->checks - tuned;
    ck_assert_int_ge(judged, 5); /* at every shape */
    ck_assert_int_lt(judged, tuned);
    ck_assert_str_eq(notes, "");
    ck_assert_msg(compile_text(symbolic, NULL) == TN_OK, "%s", errors); /* now it is by these versions */
    ck_assert_int_eq(mock->checks, tuned + judged);
    mock->driver_version += 1000;
    const int timed = mock->graph_launches;
    mock->wrong = 1;
    ck_assert_msg(compile_text(symbolic, NULL) == TN_OK, "%s", errors);
    ck_assert_int_eq(mock->wrong, 0);
    ck_assert_msg(strstr(notes, "is not taken: at N=64: wrong") != NULL, "%s", notes);
    ck_assert_int_ge(mock->checks, 2 * tuned); /* but for the winner, of which this is known */
    ck_assert_int_gt(mock->graph_launches, timed);
}
END_TEST

/* ---- buckets ---- */

static const char in_buckets[] =
    "symbol N in [0, 5000] hint 4\nbucket N in [0, 15] hint 4\nbucket N in [16, 99] hint 64\n"
    "bucket N in [16, 5000] hint 64\nbucket N in [100, 5000] hint 1024\n"
    "func @main(%x: f32[N,64], %v: f32[7,3]) -> (%y: f32[N,64], %w: f32[7,3]) {\n"
    "  %y = relu %x loc(\"/act\")\n  %w = neg %v loc(\"/static\")\n  return %y, %w\n}\n";

/* How many lines of a file hold the text. */
static int lines_with(const char *path, const char *text) {
    char line[1500];
    int n = 0;
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f)) n += *line != '#' && strstr(line, text);
    fclose(f);
    return n;
}

/* The text of the winner at a typical size. */
static void winner_at(const char *path, long typical, char winner[200]) {
    char line[1500], where[40];
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    snprintf(where, sizeof where, " sm_90a@%ld @", typical);
    while (fgets(line, sizeof line, f)) {
        const char *text = strstr(line, where) ? strstr(line, " - ") : NULL;
        if (text) snprintf(winner, 200, "%.*s", (int)strcspn(text, "|"), text);
    }
    fclose(f);
}

/* A spec is tuned at the typical sizes of each bucket, once where these are equal; what has no symbols only once. */
START_TEST(tunes_in_each_bucket) {
    static const long typical[] = {4, 64, 1024};
    char path[100], where[40], first[200] = "", winner[200];
    snprintf(path, sizeof path, "%s/lock", cache);
    remove_from_cache("[tl]*"); /* records and lockfiles */
    ck_assert_msg(compile_text(in_buckets, path) == TN_OK, "%s", errors);
    ck_assert_int_eq(lines_with(path, ""), 8);
    ck_assert_int_eq(lines_with(path, " sm_90a:launches "), 1);
    ck_assert_int_eq(lines_with(path, " sm_90a @"), 4); /* without sizes: static, or all exactly typical */
    for (size_t k = 0; k < 3; k++) {
        snprintf(where, sizeof where, " sm_90a@%ld @", typical[k]);
        ck_assert_msg(lines_with(path, where) == 1, "%s", where);
    }
    winner_at(path, typical[0], first);
    ck_assert(*first);
    for (size_t k = 1; k < 3; k++) { /* all take the same time here: one kernel serves all buckets */
        winner_at(path, typical[k], winner);
        ck_assert_str_eq(winner, first);
    }
    const int tuned = mock->checks;
    ck_assert_msg(compile_text(in_buckets, path) == TN_OK, "%s", errors);
    ck_assert_msg(compile_text(in_buckets, NULL) == TN_OK, "%s", errors); /* by the records */
    ck_assert_int_eq(mock->checks, tuned);
    for (size_t k = 0; k < 3; k++) { /* right in each bucket, or out */
        remove_from_cache("tune-*");
        mock->wrong_size = typical[k] * 64;
        ck_assert_int_eq(compile_text(in_buckets, NULL), TN_E_COMPILE);
        snprintf(where, sizeof where, "at N=%ld: wrong", typical[k]);
        ck_assert_msg(strstr(errors, where) && strstr(errors, "/act"), "%s", errors);
    }
}
END_TEST

/* Buckets share what is known: each kernel is built once, and judged at a shape once in whichever buckets it competes; what
 * lost in one bucket does not race in the others. */
START_TEST(buckets_share_what_is_known) {
    static const char fixed[] = "func @main(%x: f32[64,64], %v: f32[7,3]) -> (%y: f32[64,64], %w: f32[7,3]) {\n"
                                "  %y = relu %x loc(\"/act\")\n  %w = neg %v loc(\"/static\")\n  return %y, %w\n}\n";
    remove_from_cache("[tlc]*");
    int built = rtc->compiled, raced = mock->instantiations;
    ck_assert_msg(compile_text(fixed, NULL) == TN_OK, "%s", errors);
    const int built_static = rtc->compiled - built, raced_static = mock->instantiations - raced;
    remove_from_cache("[tlc]*");
    built = rtc->compiled, raced = mock->instantiations;
    const int checks = mock->checks;
    ck_assert_msg(compile_text(in_buckets, NULL) == TN_OK, "%s", errors);
    ck_assert_int_le(rtc->compiled - built, built_static + 3); /* for exactly the sizes of three buckets, each winner */
    ck_assert_int_le(mock->instantiations - raced, 4 * raced_static);
    ck_assert_int_le(mock->checks - checks, 100);
}
END_TEST

/* ... but what is known of sizes that are far apart is little: there as many are tried as where nothing is. */
START_TEST(far_buckets_show_little) {
    static const char far[] = "symbol N in [0, 5000] hint 4\nbucket N in [0, 15] hint 4\nbucket N in [16, %s] hint %s\n"
                              "func @main(%%x: f32[N,64]) -> f32[N,64] {\n  %%y = relu %%x\n  return %%y\n}\n";
    static const char *const sizes[][2] = {{"100", "64"}, {"5000", "4000"}};
    int built[2];
    for (size_t k = 0; k < 2; k++) {
        char text[400];
        snprintf(text, sizeof text, far, sizes[k][0], sizes[k][1]);
        remove_from_cache("[tlc]*");
        const int before = mock->checks;
        ck_assert_msg(compile_text(text, NULL) == TN_OK, "%s", errors);
        built[k] = mock->checks - before;
    }
    ck_assert_int_gt(built[1], built[0]);
}
END_TEST

/* ---- launch policies ---- */

typedef struct launch_case {
    int driver, fast;
    uint32_t streams;   /* that the user says */
    const char *policy; /* of every bucket */
} launch_case;

static const launch_case launch_cases[] = {{13000, 0, 0, "0/0/0"}, {13000, 26, 0, "0/0/26"}, {12040, 101, 0, "0/0/101"},
                                           {13000, 1, 0, "0/0/1"}, {13000, -1, 1, "1/0/0"},  {13000, -2, 0, "0/1/0"},
                                           {13000, -2, 2, "0/0/0"}};

/* What is fastest in the whole network is in the plan and in the lockfile, and is how the plan runs. */
START_TEST(launches_as_the_whole_network_likes) {
    const launch_case *x = &launch_cases[_i];
    char path[100], want[200];
    snprintf(path, sizeof path, "%s/lock", cache);
    snprintf(want, sizeof want, "%s %s %s %s %s", x->policy, x->policy, x->policy, x->policy, x->policy);
    remove_from_cache("[tl]*");
    mock->driver_version = x->driver;
    mock->fast_carveout = x->fast;
    streams = x->streams;
    runs_plan = true;
    ck_assert_msg(compile_text(in_buckets, path) == TN_OK, "%s", errors);
    ck_assert_str_eq(policies, want);
    ck_assert_int_eq(mock->fast, strcmp(x->policy, "0/0/0") != 0);
    ck_assert_int_eq(lines_with(path, want), 1);
    mock->fast_carveout =
        51; /* nobody looks again: neither with the cache nor with the lockfile, there without a GPU */
    ck_assert_msg(compile_text(in_buckets, NULL) == TN_OK, "%s", errors);
    ck_assert_str_eq(policies, want);
    remove_from_cache("tune-*");
    runs_plan = false;
    no_gpu = true;
    ck_assert_msg(compile_text(in_buckets, path) == TN_OK, "%s", errors);
    no_gpu = false;
    ck_assert_str_eq(policies, want);
    mock->fast_carveout = 0;
    mock->driver_version = 13000;
    streams = 0;
}
END_TEST

/* What the driver does when a kernel first runs is not held against it. */
START_TEST(a_slow_load_drops_nobody) {
    static const char fixed[] =
        "func @main(%x: f32[64,64]) -> (%y: f32[64,64]) {\n  %y = softmax %x {axis=1} loc(\"/soft\")\n  return %y\n}\n";
    char path[100];
    snprintf(path, sizeof path, "%s/lock", cache);
    for (int slow = 1; slow < 4; slow++) {
        remove_from_cache("[tl]*");
        mock->slow_loads = slow;
        ck_assert_msg(compile_text(fixed, path) == TN_OK, "%s", errors);
        ck_assert_uint_eq(n_hopeless, 0);
    }
}
END_TEST

/* What loses alone and wins in the whole network is in the plan, in the cache and in the lockfile. */
START_TEST(winners_in_the_whole_network) {
    static const char fixed[] =
        "func @main(%x: f32[64,64]) -> (%y: f32[64,64]) {\n"
        "  %0 = relu %x loc(\"/act\")\n  %y = softmax %0 {axis=1} loc(\"/soft\")\n  return %y\n}\n";
    char path[100];
    snprintf(path, sizeof path, "%s/lock", cache);
    remove_from_cache("[tl]*");
    ck_assert_msg(compile_text(fixed, path) == TN_OK, "%s", errors);
    const uint32_t alone = first_block;
    const size_t kernels = n_kernels;
    ck_assert_int_eq(lines_with(path, ":winner"), 0); /* nothing is faster: all stays as it was */
    ck_assert_msg(strstr(winner_note, "whole network") == NULL, "%s", winner_note);
    uint32_t other = 0;
    for (uint32_t block = 32; block <= 1024 && !other; block *= 2) {
        if (block == alone) continue;
        remove_from_cache("[tl]*");
        mock->fast_block = (int)block;
        ck_assert_msg(compile_text(fixed, path) == TN_OK, "%s", errors);
        if (first_block == block) other = block;
    }
    ck_assert_uint_ne(other, 0); /* one of the runners-up has another block */
    ck_assert_uint_eq(n_kernels, kernels);
    ck_assert_msg(strstr(winner_note, "winner in the whole network") != NULL, "%s", winner_note);
    ck_assert_int_eq(lines_with(path, ":winner"), 1);
    mock->fast_block = 0; /* nobody looks again: neither with the cache nor with the lockfile, there without a GPU */
    ck_assert_msg(compile_text(fixed, NULL) == TN_OK, "%s", errors);
    ck_assert_uint_eq(first_block, other);
    remove_from_cache("tune-*");
    no_gpu = true;
    ck_assert_msg(compile_text(fixed, path) == TN_OK, "%s", errors);
    no_gpu = false;
    ck_assert_uint_eq(first_block, other);
    ck_assert_msg(compile_text(fixed, path) == TN_OK, "%s", errors);
    ck_assert_uint_eq(first_block, other);
    ck_assert_int_eq(lines_with(path, ":winner"), 1);
}
END_TEST

/* A rival's kernel is launched as its own candidate was: with all the shared memory that it takes. */
START_TEST(rivals_take_much_shared_memory) {
    static const char product[] = "func @main(%x: f16[512,512], %w: f16[512,512]) -> (%y: f16[512,512]) {\n"
                                  "  %y = matmul %x, %w\n  return %y\n}\n";
    remove_from_cache("[tl]*");
    ck_assert_msg(compile_text(product, NULL) == TN_OK, "%s", errors);
    ck_assert_str_eq(errors, "");
}
END_TEST

static const char with_loop[] =
    "func @main(%x: f32[64,64], %v: f32[7,3], %t: i64[]) -> (%y: f32[64,64], %w: f32[7,3]) {\n"
    "  %a = relu %x\n"
    "  %y = loop %t, _, %a {carried=1, trips=T} : f32[64,64] { ^(%i: i64[], %m: bool[], %p: f32[64,64]): "
    "%q = add %p, %x yield %m, %q }\n"
    "  %w = neg %v\n  return %y, %w\n}\n";

/* On random data a loop may not end, so nobody times the plan: its steps come one after the other. */
START_TEST(loops_are_not_timed) {
    remove_from_cache("tune-*");
    ck_assert_msg(compile_text(with_loop, NULL) == TN_OK, "%s", errors);
    ck_assert_str_eq(policies, "0/1/0");
    streams = 2; /* the user wants them */
    remove_from_cache("tune-*");
    ck_assert_msg(compile_text(with_loop, NULL) == TN_OK, "%s", errors);
    ck_assert_str_eq(policies, "");
    streams = 0;
}
END_TEST

/* A bucket's winner in a lockfile is that bucket's alone. */
START_TEST(locks_winners_by_bucket) {
    char path[100], command[400];
    snprintf(path, sizeof path, "%s/lock", cache);
    remove_from_cache("[tl]*");
    ck_assert_msg(compile_text(in_buckets, path) == TN_OK, "%s", errors);
    snprintf(command, sizeof command,
             "sed -i '/@64 /s/map BLOCK=[0-9]* VEC=[0-9]*/map BLOCK=64 VEC=1/; /@64 /!d' %s && cp %s %s.own", path,
             path, path);
    ck_assert_int_eq(system(command), 0);
    remove_from_cache("tune-*");
    ck_assert_msg(compile_text(in_buckets, path) == TN_OK, "%s", errors);
    ck_assert_int_eq(lines_with(path, ""), 8);
    snprintf(command, sizeof command, "grep -qxFf %s.own %s", path, path); /* taken, and kept as it was */
    ck_assert_int_eq(system(command), 0);
}
END_TEST

/* A kernel for exactly typical sizes is the static graph's; it is in the plan where it is faster, and what was tried of it
 * is no record of the static graph. */
START_TEST(exact_sizes_where_that_pays) {
    static const char fixed[] = "func @main(%x: f32[64,64], %v: f32[7,3]) -> (%y: f32[64,64], %w: f32[7,3]) {\n"
                                "  %y = relu %x loc(\"/act\")\n  %w = neg %v loc(\"/static\")\n  return %y, %w\n}\n";
    char name[100];
    remove_from_cache("[tl]*");
    ck_assert_msg(compile_text(fixed, NULL) == TN_OK, "%s", errors);
    snprintf(name, sizeof name, "%s", first_kernel);
    const int all = mock->checks;
    remove_from_cache("tune-*");
    ck_assert_msg(compile_text(in_buckets, NULL) == TN_OK, "%s", errors);
    ck_assert_uint_eq(exact, 0);
    const int before = mock->checks;
    ck_assert_msg(compile_text(fixed, NULL) == TN_OK, "%s", errors); /* %w is known, %y is tuned as if it were new */
    ck_assert_int_gt(mock->checks - before, 1);
    ck_assert_int_lt(mock->checks - before, all);
    remove_from_cache("tune-*");
    mock->fast_name = name;
    ck_assert_msg(compile_text(in_buckets, NULL) == TN_OK, "%s", errors);
    ck_assert_uint_eq(exact, 1);
    mock->fast_name = NULL;
    const int tuned = mock->checks;
    ck_assert_msg(compile_text(in_buckets, NULL) == TN_OK, "%s", errors); /* by the records */
    ck_assert_uint_eq(exact, 1);
    ck_assert_int_eq(mock->checks, tuned);
}
END_TEST

/* Past the deadline all buckets have a kernel. */
START_TEST(buckets_share_the_deadline) {
    char path[100];
    tn_status s;
    size_t size;
    snprintf(path, sizeof path, "%s/lock", cache);
    remove_from_cache("[tlc]*");
    *errors = 0;
    tn_graph *g = tn_parse(&env, "test", in_buckets, strlen(in_buckets), NULL, 0, true, &s);
    ck_assert_ptr_nonnull(g);
    ck_assert_msg(compile_graph(g, 1e-6, path, &size) == TN_OK, "%s", errors);
    ck_assert_int_eq(mock->graph_launches, 0);
    ck_assert_int_eq(lines_with(path, ""), 4);
}
END_TEST

/* The same of lockfiles, also of one that was written without a GPU, and of lines without versions. */
START_TEST(judges_winners_of_lockfiles) {
    char path[100], command[300];
    snprintf(path, sizeof path, "%s/lock", cache);
    remove_from_cache("[tl]*"); /* records and lockfiles */
    ck_assert_msg(compile_text(symbolic, path) == TN_OK, "%s", errors);
    const int tuned = mock->checks;
    remove_from_cache("tune-*");
    ck_assert_msg(compile_text(symbolic, path) == TN_OK, "%s", errors);
    ck_assert_int_eq(mock->checks, tuned);
    snprintf(command, sizeof command, "sed -i 's/ @[^ ]* / /' %s && grep -q '^[0-9a-f]* sm_90a \\*0 ' %s", path, path);
    ck_assert_int_eq(system(command), 0); /* as they were written before */
    ck_assert_msg(compile_text(symbolic, path) == TN_OK, "%s", errors);
    const int judged = mock->checks - tuned;
    ck_assert_int_ge(judged, 5);
    ck_assert_int_lt(judged, tuned);
    mock->wrong = 1;
    ck_assert_msg(compile_text(symbolic, path) == TN_OK, "%s", errors);
    ck_assert_msg(strstr(notes, "is not taken") != NULL, "%s", notes);
    const int again = mock->checks;
    ck_assert_msg(compile_text(symbolic, path) == TN_OK, "%s", errors);
    ck_assert_int_eq(mock->checks, again); /* the new winner has taken the place of the wrong one */
}
END_TEST

/* The text of a lockfile's only winner, which its source has too. */
static void read_winner(const char *path, char winner[200]) {
    char line[1500];
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f)) {
        const char *text = strstr(line, " - ");
        if (*line != '#' && text) snprintf(winner, 200, "%.*s", (int)strcspn(text + 3, "|"), text + 3);
    }
    fclose(f);
}

/* A winner that does not compile any more is no error, with and without a GPU. */
START_TEST(winners_that_do_not_compile) {
    char path[100], winner[200] = "";
    snprintf(path, sizeof path, "%s/lock", cache);
    remove_from_cache("[tl]*"); /* records and lockfiles */
    ck_assert_msg(compile_text(symbolic, path) == TN_OK, "%s", errors);
    read_winner(path, winner);
    ck_assert_msg(!strncmp(winner, "map BLOCK=", 10), "%s", winner);
    remove_from_cache("cubin-*");
    rtc->broken = winner;
    ck_assert_msg(compile_text(symbolic, NULL) == TN_OK, "%s", errors);
    ck_assert_msg(strstr(notes, "is not taken: does not compile") != NULL, "%s", notes);
    remove_from_cache("cubin-*");
    no_gpu = true;
    ck_assert_msg(compile_text(symbolic, path) == TN_OK, "%s", errors);
    no_gpu = false;
    rtc->broken = "//// map.cu";                           /* no other template has this kernel */
    ck_assert_int_eq(compile_text(symbolic, path), TN_OK); /* the cache has it */
    remove_from_cache("cubin-*");
    ck_assert_int_eq(compile_text(symbolic, path), TN_E_COMPILE);
}
END_TEST

static int cubins_in_cache(void) {
    int n = 0;
    DIR *d = opendir(cache);
    for (struct dirent *e; d && (e = readdir(d));) n += !strncmp(e->d_name, "cubin-", 6);
    if (d) closedir(d);
    return n;
}

/* Past the deadline one kernel of each spec is built, and nothing runs. */
START_TEST(keeps_its_deadline) {
    size_t size;
    remove_from_cache("*");
    ck_assert_msg(compile(1e-6, &size) == TN_OK, "%s", errors);
    const int late = cubins_in_cache();
    ck_assert_int_eq(mock->graph_launches, 0);
    ck_assert_msg(compile(60, &size) == TN_OK, "%s", errors);
    ck_assert_int_gt(late, 0);
    ck_assert_int_ge(cubins_in_cache(), 4 * late);
}
END_TEST

/* A device without room for one spec more finishes those that are there first. */
START_TEST(lives_with_a_full_device) {
    size_t size;
    int done = 0;
    for (int k = 0; k < 80; k += 1 + k / 12) { /* the first few are the device's own: nothing can be done */
        mock->fail_call = "cuMemAlloc";
        mock->fail_skip = k;
        mock->fail_code = CUDA_ERROR_OUT_OF_MEMORY;
        const tn_status s = compile(60, &size);
        ck_assert_msg((s == TN_OK) == !*errors, "allocation %d: %s, but told is \"%s\"", k, tn_status_text(s), errors);
        done += s == TN_OK && mock->fail_skip < 0;
    }
    ck_assert_int_gt(done, 0);
}
END_TEST

START_TEST(running_out_of_memory) {
    size_t size;
    ck_assert_int_eq(compile(60, &size), TN_OK);
    const long total = -atomic_load(&heap.left); /* nothing fails below 1 */
    for (long n = 1; n < total; n += 1 + total / 30) {
        atomic_store(&heap.left, n);
        const tn_status s = compile(60, &size);
        ck_assert_msg(s == TN_OK || s == TN_E_MEMORY, "allocation %ld of %ld: %s (%s)", n, total, tn_status_text(s),
                      errors);
    }
}
END_TEST

START_TEST(cancelling_leaves_nothing) {
    size_t size;
    for (int k = 1; k < 200; k += 1 + k / 8) {
        steps_left = k;
        const tn_status s = compile(60, &size);
        ck_assert_msg(s == TN_OK || s == TN_E_CANCELLED, "step %d: %s", k, tn_status_text(s));
        if (s == TN_OK) return;
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("tune");
    TCase *t = tcase_create("mock");
    tcase_set_timeout(t, 240);
    tcase_add_unchecked_fixture(t, make_cache, remove_cache);
    tcase_add_checked_fixture(t, setup_all, NULL);
    tcase_add_test(t, tunes_every_spec);
    tcase_add_test(t, untimed_asks_a_gpu_for_its_name_only);
    tcase_add_test(t, names_the_layer_where_nothing_is_right);
    tcase_add_test(t, names_the_plugin_whose_kernel_is_wrong);
    tcase_add_test(t, judges_every_shape);
    tcase_add_test(t, judges_large_sizes);
    tcase_add_test(t, judges_winners_by_other_versions);
    tcase_add_test(t, judges_winners_of_lockfiles);
    tcase_add_test(t, winners_that_do_not_compile);
    tcase_add_test(t, tunes_in_each_bucket);
    tcase_add_test(t, buckets_share_what_is_known);
    tcase_add_test(t, far_buckets_show_little);
    tcase_add_test(t, locks_winners_by_bucket);
    tcase_add_test(t, loops_are_not_timed);
    tcase_add_loop_test(t, launches_as_the_whole_network_likes, 0, sizeof launch_cases / sizeof *launch_cases);
    tcase_add_test(t, a_slow_load_drops_nobody);
    tcase_add_test(t, winners_in_the_whole_network);
    tcase_add_test(t, rivals_take_much_shared_memory);
    tcase_add_test(t, exact_sizes_where_that_pays);
    tcase_add_test(t, buckets_share_the_deadline);
    tcase_add_test(t, keeps_its_deadline);
    tcase_add_test(t, lives_with_a_full_device);
    tcase_add_test(t, cancelling_leaves_nothing);
    tcase_add_test(t, running_out_of_memory);
    suite_add_tcase(s, t);
    return run_suite(s);
}
