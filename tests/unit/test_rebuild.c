/* A GPU that a plan has no code for: its sources are compiled when it is loaded, where libtenon is there to do it. */
#include <dirent.h>
#include <unistd.h>

#include "tests/unit/mock_nvrtc.h"
#include "tests/unit/mock_runtime.h"

size_t tn_arch_to_rebuild(const TnPlan__Plan *pb, int cc,
                          int smem_block); /* runtime/cuda/device.h, which needs <cuda.h> */

static mock_nvrtc *nvrtc;
static char cache[64];
static int shown, cancel_at; /* calls of progress; the one that cancels, 0: none */
static uint64_t last_done, last_total;

static bool progress(void *user, const tn_progress *p) {
    (void)user;
    if (strcmp(p->phase, "compile") != 0) return true;
    shown++;
    last_done = p->done, last_total = p->total;
    return shown != cancel_at;
}

static void begin(int cc) {
    mock_nvrtc_get_fn get;
    void *lib = dlopen(TENON_MOCK_NVRTC, RTLD_NOW);
    ck_assert_msg(lib != NULL, "%s", dlerror());
    *(void **)&get = dlsym(lib, "mock_nvrtc_get");
    nvrtc = get();
    setenv("TENON_LIBNVRTC", TENON_MOCK_NVRTC, 1);
    snprintf(cache, sizeof cache, "/tmp/tenon-rebuild-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(cache));
    setenv("TENON_CACHE", cache, 1);
    env_.progress = progress;
    mock->cc = cc;
}

/* Calls fn with the path of every cache entry; returns how many there are. */
static int each_entry(void (*fn)(const char *path)) {
    DIR *d = opendir(cache);
    int n = 0;
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e; (e = readdir(d));) {
        char path[400];
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", cache, e->d_name);
        n++;
        if (fn) fn(path);
    }
    closedir(d);
    return n;
}

static void drop(const char *path) {
    ck_assert_int_eq(unlink(path), 0);
}

static void damage(const char *path) {
    ck_assert_int_eq(truncate(path, 40), 0);
}

static void end(tn_plan *p) {
    tn_plan_free(p);
    check_all_freed();
    each_entry(drop);
    ck_assert_int_eq(rmdir(cache), 0);
}

/* The model with a source for each of its kernels, and without a graph (test_recompile.c has those); without code where
 * `stripped`. */
static tn_plan *make(const char *arch, bool stripped, uint32_t smem, bool has_sources) {
    static const char *const sources[] = {"// k_mul, as compiled", "// k_inc, as compiled"};
    sample s;
    tn_plan_writer *w = tn_plan_writer_new(NULL);
    size_t size;
    void *data;
    sample_init(&s);
    sample_two_steps(&s);
    s.arch.name = (char *)(uintptr_t)arch;
    s.kernel[1].smem = smem;
    ck_assert_int_eq(sample_blobs(&s, w), TN_OK);
    for (size_t k = 0; has_sources && k < 2; k++)
        s.kernel[k].source = tn_plan_add_blob(w, sources[k], strlen(sources[k]), TN_BLOB_ALIGN);
    s.plan.ir = TN_NO_BLOB;
    const uint32_t none = tn_plan_add_blob(w, "", 1, TN_BLOB_PAGE);
    for (size_t k = 0; stripped && k < 2; k++) s.kernel[k].cubin = none;
    ck_assert_int_eq(tn_plan_write_memory(w, &s.plan, &data, &size), TN_OK);
    tn_plan_writer_free(w);
    sample_free(&s);
    plan_bytes[n_plan_bytes++] = data;
    tn_plan *p = tn_plan_load_memory(&env_, data, size, NULL);
    ck_assert_msg(p != NULL, "%s", log_.text);
    return p;
}

static tn_plan *with_sources(const char *arch, bool stripped, uint32_t smem) {
    return make(arch, stripped, smem, true);
}

static const tn_context_options no_host = {.device = TN_CUDA};

static tn_context_options with_host(void) {
    return (tn_context_options){.device = TN_CUDA, .host = tn_host_devices()};
}

static void run_right(tn_plan *p, const char *ran) {
    tn_context *c = open_context(p, with_host());
    buffers b = make_buffers(3);
    ck_assert_int_eq(set_rows(c, 3), TN_OK);
    enqueue_right(c, &b);
    ck_assert_str_eq(mock->ran, ran);
    free_buffers(&b);
    tn_context_free(c);
}

static void refuse(tn_plan *p, tn_context_options opts, tn_status want, const char *words, const char *hint) {
    tn_status st;
    log_.text[0] = '\0';
    ck_assert_ptr_null(tn_context_new(p, &opts, &st));
    ck_assert_msg(st == want, "status %d: %s", (int)st, log_.text);
    ck_assert_msg(strstr(log_.text, words) && strstr(log_.text, hint), "%s", log_.text);
}

/* Compiled once, then found: by later contexts, and by other processes through the cache. */
START_TEST(from_sources) {
    begin(100);
    tn_plan *p = with_sources("sm_90a", false, 0);
    run_right(p, "k_mul k_inc+p");
    ck_assert_int_eq(nvrtc->compiled, 2);
    ck_assert_str_eq(nvrtc->target, "sm_100");
    ck_assert_int_ge(shown, 1);
    ck_assert_uint_eq(last_done, 2);
    ck_assert_uint_eq(last_total, 2);
    ck_assert_str_eq(log_.note,
                     "GPU 0 (Mock GPU) is sm_100: the plan's kernels for sm_90a are compiled for it (`tenon tune` "
                     "would choose better ones)");
    ck_assert_int_eq(each_entry(NULL), 2);
    tn_plan *again = with_sources("sm_90a", false, 0);
    run_right(again, "k_mul k_inc+p");
    ck_assert_int_eq(nvrtc->compiled, 2);
    tn_plan_free(again);
    end(p);
}
END_TEST

/* A compute capability that no code is generated for is named to NVRTC as it is; one that is served, by its server. */
START_TEST(targets) {
    static const struct {
        int cc;
        const char *target;
    } cases[] = {{130, "sm_130"}, {90, "sm_90a"}, {103, "sm_100"}, {89, "sm_89"}};
    begin(0);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        tn_plan *p = with_sources(k == 3 ? "sm_89" : "sm_80", k == 3, 0);
        mock->cc = cases[k].cc;
        run_right(p, cases[k].cc >= 90 ? "k_mul k_inc+p" : "k_mul k_inc");
        ck_assert_str_eq(nvrtc->target, cases[k].target);
        tn_plan_free(p);
    }
    end(NULL);
}
END_TEST

/* Nothing is compiled where the plan has code that runs. */
START_TEST(not_needed) {
    begin(90);
    tn_plan *p = with_sources("sm_90a", false, 0);
    run_right(p, "k_mul k_inc+p");
    ck_assert_int_eq(nvrtc->compiled, 0);
    ck_assert_int_eq(each_entry(NULL), 0);
    end(p);
}
END_TEST

/* A plan of sources alone needs libtenon on every GPU. */
START_TEST(no_code) {
    begin(90);
    tn_plan *p = with_sources("sm_90a", true, 0);
    refuse(p, no_host, TN_E_FORMAT, "the kernel's machine code is missing", "libtenon");
    run_right(p, "k_mul k_inc+p");
    ck_assert_int_eq(nvrtc->compiled, 2);
    end(p);
}
END_TEST

START_TEST(without_libtenon) {
    begin(100);
    tn_plan *p = with_sources("sm_90a", false, 0);
    refuse(p, no_host, TN_E_ARCH, "the plan holds code for sm_90a; GPU 0 (Mock GPU) is sm_100",
           "`tenon tune` here; or link libtenon and set tn_context_options.host");
    ck_assert_int_eq(nvrtc->compiled, 0);
    end(p);
}
END_TEST

/* Sources use what their architecture has, so none goes to an older GPU; nor where shared memory is too small. */
START_TEST(no_suitable_sources) {
    begin(80);
    tn_plan *p = with_sources("sm_90a", false, 0);
    refuse(p, with_host(), TN_E_ARCH, "the plan holds code for sm_90a; GPU 0 (Mock GPU) is sm_80", "`tenon tune` here");
    ck_assert_ptr_null(strstr(log_.text, "libtenon"));
    tn_plan_free(p);
    mock->cc = 120;
    mock->smem_block = 99 << 10;
    p = with_sources("sm_90a", false, 160 << 10);
    refuse(p, with_host(), TN_E_ARCH, "the plan holds code for sm_90a; GPU 0 (Mock GPU) is sm_120",
           "`tenon tune` here");
    tn_plan_free(p);
    p = make("sm_90a", false, 0, false);
    refuse(p, with_host(), TN_E_ARCH, "k_mul: the plan holds no source that could be compiled for sm_120", "--target");
    end(p);
}
END_TEST

START_TEST(choice) {
    static const struct {
        const char *names[3];
        int cc;
        size_t want;
    } cases[] = {{{"sm_80", "sm_89", "sm_90a"}, 100, 2},
                 {{"sm_90a", "sm_80", "sm_89"}, 75, 3},
                 {{"sm_120", "sm_89", "sm_80"}, 110, 1},
                 {{"sm_120", "nonsense", "sm_80"}, 130, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TnPlan__Plan plan;
        TnPlan__Arch arch[3], *archs[3];
        tn_plan__plan__init(&plan);
        for (size_t k = 0; k < 3; k++) {
            tn_plan__arch__init(&arch[k]);
            arch[k].name = (char *)(uintptr_t)cases[i].names[k];
            archs[k] = &arch[k];
        }
        plan.archs = archs;
        plan.n_archs = 3;
        ck_assert_uint_eq(tn_arch_to_rebuild(&plan, cases[i].cc, 0), cases[i].want);
    }
}
END_TEST

START_TEST(nvrtc_missing) {
    begin(100);
    tn_plan *p = with_sources("sm_90a", false, 0);
    setenv("TENON_LIBNVRTC", "/nonexistent/libnvrtc.so.13", 1);
    refuse(p, with_host(), TN_E_NO_COMPILER, "NVRTC cannot be opened", "TENON_LIBNVRTC");
    end(p);
}
END_TEST

START_TEST(does_not_compile) {
    begin(100);
    tn_plan *p = with_sources("sm_90a", false, 0);
    nvrtc->broken = "k_inc,";
    refuse(p, with_host(), TN_E_COMPILE,
           "k_inc: the kernel's source for sm_90a does not compile for sm_100: k_inc.cu(7): error: as the test asked",
           "`tenon tune`");
    nvrtc->broken = NULL;
    run_right(p, "k_mul k_inc+p");
    end(p);
}
END_TEST

/* Leaves a context that can be opened the next time. */
START_TEST(cancelled) {
    begin(100);
    tn_plan *p = with_sources("sm_90a", false, 0);
    cancel_at = 1;
    refuse(p, with_host(), TN_E_CANCELLED, "cancelled after compiling", "");
    run_right(p, "k_mul k_inc+p");
    end(p);
}
END_TEST

START_TEST(damaged_cache) {
    begin(100);
    tn_plan *p = with_sources("sm_90a", false, 0);
    run_right(p, "k_mul k_inc+p");
    ck_assert_int_eq(each_entry(damage), 2);
    log_.note[0] = 0;
    run_right(p, "k_mul k_inc+p");
    ck_assert_int_eq(nvrtc->compiled, 4);
    ck_assert_str_eq(log_.note, "damaged or foreign cache entry ignored");
    ck_assert_int_eq(log_.errors, 0);
    run_right(p, "k_mul k_inc+p"); /* they were written again */
    ck_assert_int_eq(nvrtc->compiled, 4);
    end(p);
}
END_TEST

START_TEST(no_memory) {
    begin(100);
    tn_plan *p = with_sources("sm_90a", false, 0);
    const long live = log_.live;
    const tn_context_options opts = with_host();
    tn_context *c = NULL;
    int failures = 0;
    for (long k = 1; !c; k++) {
        tn_status st;
        log_.fail_at = k;
        log_.failed = false;
        c = tn_context_new(p, &opts, &st);
        log_.fail_at = 0;
        if (c && log_.failed) { /* a cache that cannot be used costs time only */
            tn_context_free(c);
            c = NULL;
        } else if (!c) {
            ck_assert_int_eq(st, TN_E_MEMORY);
            failures++;
            ck_assert_int_eq(log_.live, live);
        }
    }
    ck_assert_int_gt(failures, 10);
    tn_context_free(c);
    end(p);
}
END_TEST

int main(void) {
    const TTest *const tests[] = {from_sources,        targets,  not_needed,    no_code,          without_libtenon,
                                  no_suitable_sources, choice,   nvrtc_missing, does_not_compile, cancelled,
                                  damaged_cache,       no_memory};
    return run_all("rebuild", tests, sizeof tests / sizeof *tests);
}
