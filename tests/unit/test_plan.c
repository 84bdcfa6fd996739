/* Plan files: what is written is read back; damage of any kind is refused with words, never with a crash; a failed
 * write leaves nothing behind.  The plan that is damaged also runs (on the CPU) whenever it still loads. */
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include "ir/text/output.h"
#include "runtime/plan/dims.h"
#include "runtime/plan/format.h"
#include "tests/unit/plan_gen.h"
#include "tests/unit/suite.h"

/* ---- loading what is damaged ------------------------------------------------------------------------------------- */

/* A copy of exactly `size` bytes, so that reading past the end is seen by the sanitizer. */
static void *exact_copy(const void *data, size_t size) {
    void *p = NULL;
    ck_assert_int_eq(posix_memalign(&p, 16, size ? size : 1), 0);
    memcpy(p, data, size);
    return p;
}

/* Loads, makes a CPU context and runs N = 3.  Returns the first failure; *right tells whether the results are. */
static tn_status load_and_run(const tn_env *env, const void *data, size_t size, bool *right) {
    float x[3 * SAMPLE_COLS], y[3 * SAMPLE_COLS] = {0};
    int64_t dims[] = {3, SAMPLE_COLS};
    const void *in[] = {x};
    void *out[] = {y};
    tn_status st = TN_E_INTERNAL;
    tn_context_options cpu = {.device = TN_CPU, .host = tn_host_devices()};
    sample_fill(x, 3 * SAMPLE_COLS);
    *right = false;
    tn_plan *p = tn_plan_load_memory(env, data, size, &st);
    tn_context *c = p ? tn_context_new(p, &cpu, &st) : NULL;
    tn_plan_free(p); /* the context keeps it */
    if (!c) return st;
    size_t n_in = c ? 1 : 0;
    st = tn_context_set_shape(c, 0, 2, dims);
    int64_t shape[TN_MAX_RANK];
    uint32_t rank = 0;
    if (st == TN_OK) st = tn_context_output_shape(c, 0, &rank, shape);
    bool fits = st == TN_OK && rank == 2 && shape[0] == 3 && shape[1] == SAMPLE_COLS && n_in == 1;
    if (fits) st = tn_context_run(c, in, out);
    *right = fits && st == TN_OK && sample_right(x, y, 3 * SAMPLE_COLS);
    tn_context_free(c);
    return st;
}

static void check_refused(const sample_log *log, tn_status st, const char *what, size_t at) {
    ck_assert_msg(st != TN_OK && st != TN_E_INTERNAL, "%s %zu: status %d", what, at, (int)st);
    ck_assert_msg(log->errors > 0 && log->text[0], "%s %zu: nothing was said", what, at);
}

START_TEST(runs) {
    size_t size;
    sample_log log;
    tn_env env = sample_env(&log);
    void *data = sample_model(&size);
    bool right;
    ck_assert_msg(load_and_run(&env, data, size, &right) == TN_OK, "%s", log.text);
    ck_assert(right);
    ck_assert_int_eq(log.live, 0);
    free(data);
}
END_TEST

START_TEST(round_trip) {
    size_t size;
    sample_log log;
    tn_env env = sample_env(&log);
    void *data = sample_model(&size);
    tn_status st;
    tn_plan *p = tn_plan_load_memory(&env, data, size, &st);
    ck_assert_msg(p != NULL, "%s", log.text);
    ck_assert_uint_eq(tn_plan_input_count(p), 1);
    ck_assert_uint_eq(tn_plan_output_count(p), 1);
    ck_assert_ptr_null(tn_plan_input(p, 1));
    const tn_tensor_desc *x = tn_plan_input(p, 0);
    ck_assert_str_eq(x->name, "x");
    ck_assert_int_eq(x->dtype, TN_F32);
    ck_assert_uint_eq(x->rank, 2);
    ck_assert_int_eq(x->dims[0], -1);
    ck_assert_int_eq(x->dims[1], SAMPLE_COLS);
    ck_assert_str_eq(x->dim_text[0], "N");
    ck_assert_str_eq(x->dim_text[1], "32");
    ck_assert_str_eq(tn_plan_arch(p, 0), "sm_90a");
    ck_assert_ptr_null(tn_plan_arch(p, 1));
    const TnPlan__Plan *pb = tn_plan_manifest(p);
    ck_assert_uint_eq(pb->n_blobs, 3);
    ck_assert_uint_eq(pb->archs[0]->n_steps, 2);
    ck_assert_str_eq(pb->archs[0]->steps[1]->name, "shift");
    ck_assert_uint_eq(pb->blobs[0]->offset % TN_BLOB_PAGE, 0);
    for (uint32_t k = 0; k < 3; k++) ck_assert_uint_eq(pb->blobs[k]->offset % TN_BLOB_ALIGN, 0);
    const void *blob;
    ck_assert_int_eq(tn_plan_blob(p, 0, &blob, &size), TN_OK);
    ck_assert_uint_eq(size, strlen(sample_cubin()));
    ck_assert_int_eq(memcmp(blob, sample_cubin(), size), 0);
    ck_assert_int_eq(tn_plan_blob(p, 3, &blob, &size), TN_E_ARGUMENT);
    tn_plan_free(p);
    ck_assert_int_eq(log.live, 0);
    free(data);
}
END_TEST

START_TEST(equal_blobs_are_stored_once) {
    tn_plan_writer *w = tn_plan_writer_new(NULL);
    char bytes[100] = {1, 2, 3};
    tn_piece pieces[] = {{.data = bytes, .size = 3}, {.size = 97}}; /* the same bytes, zeros made by padding */
    ck_assert_uint_eq(tn_plan_add_blob(w, bytes, 100, 64), 0);
    ck_assert_uint_eq(tn_plan_add_pieces(w, pieces, 2, 64), 0);
    ck_assert_uint_eq(tn_plan_add_copy(w, bytes, 100, 4096), 0);
    ck_assert_uint_eq(tn_plan_add_copy(w, bytes, 99, 64), 1);
    ck_assert_uint_eq(tn_plan_add_blob(w, NULL, 0, 64), 2);
    tn_plan_writer_free(w);
}
END_TEST

START_TEST(truncated) {
    size_t size;
    char *data = sample_model(&size);
    for (size_t n = 0; n < size; n++) {
        sample_log log;
        tn_env env = sample_env(&log);
        bool right;
        void *cut = exact_copy(data, n);
        check_refused(&log, load_and_run(&env, cut, n, &right), "cut to", n);
        ck_assert_int_eq(log.live, 0);
        free(cut);
    }
    free(data);
}
END_TEST

/* Every byte is flipped.  Header and manifest are refused at load; a damaged blob is refused when it is used; what lies
 * between blobs, and the cubin, which the CPU does not use, do no harm. */
START_TEST(flipped) {
    size_t size;
    uint8_t *data = sample_model(&size);
    tn_plan_header h;
    memcpy(&h, data, sizeof h);
    size_t harmless = 0;
    for (size_t k = 0; k < size; k++) {
        sample_log log;
        tn_env env = sample_env(&log);
        bool right;
        data[k] ^= (uint8_t)(1u << (k % 8));
        tn_status st = load_and_run(&env, data, size, &right);
        data[k] ^= (uint8_t)(1u << (k % 8));
        if (st == TN_OK) {
            harmless++;
            ck_assert_msg(right, "a flip at %zu changed the results unseen", k);
            ck_assert_msg(k >= sizeof h && k < h.manifest_offset, "a flip at %zu was not seen", k);
        } else {
            check_refused(&log, st, "flip at", k);
            ck_assert_msg(st == TN_E_FORMAT, "flip at %zu: %s", k, log.text);
        }
        ck_assert_int_eq(log.live, 0);
    }
    ck_assert_uint_lt(harmless, size);
    free(data);
}
END_TEST

/* Damage that the checksums do not show: someone made it.  Random bytes of manifest or blobs are changed and all
 * checksums put right.  Anything may come of it but a crash or silence. */
static void seal(uint8_t *data, size_t size, const TnPlan__Plan *pb) {
    tn_plan_header h;
    memcpy(&h, data, sizeof h);
    for (size_t k = 0; pb && k < pb->n_blobs; k++) {
        /* fixed64 in the manifest: found by its old value */
        uint64_t hash = XXH3_64bits(data + pb->blobs[k]->offset, (size_t)pb->blobs[k]->size);
        for (size_t at = h.manifest_offset; at + 8 <= size; at++)
            if (!memcmp(data + at, &pb->blobs[k]->xxh3, 8)) memcpy(data + at, &hash, 8);
    }
    h.manifest_xxh3 = XXH3_64bits(data + h.manifest_offset, (size_t)h.manifest_size);
    h.header_xxh3 = XXH3_64bits(&h, offsetof(tn_plan_header, header_xxh3));
    memcpy(data, &h, sizeof h);
}

START_TEST(hostile) {
    size_t size;
    uint8_t *data = sample_model(&size), *bad = malloc(size);
    tn_plan *original = tn_plan_load_memory(NULL, data, size, NULL);
    const TnPlan__Plan *pb = tn_plan_manifest(original);
    tn_plan_header h;
    memcpy(&h, data, sizeof h);
    uint64_t state = 88172645463325252u;
    int loaded = 0;
    for (int round = 0; round < 20000; round++) {
        sample_log log;
        tn_env env = sample_env(&log);
        memcpy(bad, data, size);
        bool in_ir = round % 4 == 0;
        size_t from = in_ir ? (size_t)pb->blobs[pb->ir]->offset : (size_t)h.manifest_offset;
        size_t length = in_ir ? (size_t)pb->blobs[pb->ir]->size : (size_t)h.manifest_size;
        for (int k = 0; k < 1 + round % 3; k++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            bad[from + state % length] = (uint8_t)(state >> 32);
        }
        seal(bad, size, pb);
        bool right;
        tn_status st = load_and_run(&env, bad, size, &right);
        if (st == TN_OK)
            loaded++;
        else
            check_refused(&log, st, "round", (size_t)round);
        ck_assert_msg(log.live == 0, "round %d leaks: %s", round, log.text);
    }
    ck_assert_int_gt(loaded, 100); /* names and the like may change */
    tn_plan_free(original);
    free(bad);
    free(data);
}
END_TEST

/* ---- manifests that contradict themselves ------------------------------------------------------------------------ */

static char refusal[1024];

/* Packs the sample as it is now and loads it; returns what was said, or "" if it loaded. */
static const char *refused(sample *s) {
    size_t size;
    sample_log log;
    tn_env env = sample_env(&log);
    tn_plan_writer *w = tn_plan_writer_new(NULL);
    tn_plan_add_blob(w, sample_cubin(), strlen(sample_cubin()), TN_BLOB_PAGE);
    tn_plan_add_blob(w, s->weights.p, s->weights.n, 64);
    tn_plan_add_blob(w, s->ir.p, s->ir.n, 64);
    void *data;
    ck_assert_int_eq(tn_plan_write_memory(w, &s->plan, &data, &size), TN_OK);
    tn_plan_writer_free(w);
    tn_status st;
    tn_plan *p = tn_plan_load_memory(&env, data, size, &st);
    ck_assert(p ? st == TN_OK : st == TN_E_FORMAT);
    snprintf(refusal, sizeof refusal, "%s", p ? "" : log.text);
    tn_plan_free(p);
    ck_assert_int_eq(log.live, 0);
    free(data);
    return refusal;
}

#define REFUSE(change, words)                                                                                          \
    do {                                                                                                               \
        sample s;                                                                                                      \
        sample_init(&s);                                                                                               \
        sample_two_steps(&s);                                                                                          \
        s.plan.weights = 1, s.plan.ir = 2;                                                                             \
        ck_assert_str_eq(refused(&s), "");                                                                             \
        change;                                                                                                        \
        ck_assert_msg(strstr(refused(&s), words), "%s: %s", #change, refusal);                                         \
        sample_free(&s);                                                                                               \
    } while (0)

START_TEST(aliases) {
    REFUSE((sample_alias(&s), s.alias.input = 1), "an alias is of nothing");
    REFUSE((sample_alias(&s), s.alias.output = 7), "an alias is of nothing");
    REFUSE((sample_alias(&s), s.alias.kept = NULL), "an alias is of nothing");
    REFUSE((sample_alias(&s), s.plan.n_aliases = 2), "a buffer has more than one alias");
    REFUSE((sample_alias(&s), s.alias.axis = 2), "an output and the input that it grows in do not fit");
    REFUSE((sample_alias(&s), s.alias.capacity = UINT64_C(1) << 31),
           "an output and the input that it grows in do not fit");
    REFUSE((sample_alias(&s), s.out[0].dtype = TN_F16), "an output and the input that it grows in do not fit");
    REFUSE((sample_alias(&s), s.alias.bytes = 99), "an alias names dim 99");
    REFUSE((sample_alias(&s), s.kept.pitch = 99), "an alias names dim 99");
    REFUSE((sample_alias(&s), s.kept.space = TN_PLAN__PLACE__SPACE__OUTPUT), "an alias keeps another input");
}
END_TEST

/* What a plan says of its buffers is held against the shapes: nothing is copied to where it does not fit. */
START_TEST(aliases_of_shapes) {
    static const struct {
        uint32_t axis, bytes;
        uint64_t capacity;
        bool fits;
    } cases[] = {{0, D_BYTES, 0, true},    {0, D_NUMEL, 0, false}, {0, D_BYTES, 3, true},   {0, D_BYTES, 2, false},
                 {0, D_BYTES, 4, false},   {0, D_BYTES2, 6, true}, {1, D_BYTES2, 64, true}, {1, D_BYTES2, 65, false},
                 {1, D_BYTES2, 31, false}, {1, D_ZERO, 32, false}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        sample s;
        sample_log log;
        tn_env env = sample_env(&log);
        size_t size;
        bool right;
        sample_init(&s);
        sample_two_steps(&s);
        sample_alias(&s);
        s.alias.axis = cases[k].axis, s.alias.bytes = cases[k].bytes, s.alias.capacity = cases[k].capacity;
        void *data = sample_pack(&s, &size);
        const tn_status st = load_and_run(&env, data, size, &right);
        ck_assert_msg(st == (cases[k].fits ? TN_OK : TN_E_ARGUMENT) && right == cases[k].fits, "%zu: %s", k, log.text);
        if (!cases[k].fits)
            ck_assert_msg(strstr(log.text, "output 'y' does not fit the buffer of input 'x' at these shapes"), "%s",
                          log.text);
        ck_assert_int_eq(log.live, 0);
        sample_free(&s);
        free(data);
    }
}
END_TEST

START_TEST(tensor_maps) {
    REFUSE((sample_map(&s), s.map.of = 9), "a tensor map is of no place");
    REFUSE((sample_map(&s), s.map.of = 2), "a tensor map is of no place");
    REFUSE((sample_map(&s), s.map.of = 3), "a tensor map is of no place");
    REFUSE((sample_map(&s), s.arg[1][3].map = NULL), "a tensor map is missing");
    REFUSE((sample_map(&s), s.map.n_dims = 0), "a tensor map of 0 dims is incomplete");
    REFUSE((sample_map(&s), s.map.n_strides = 0), "a tensor map of 2 dims is incomplete");
    REFUSE((sample_map(&s), s.map.n_box = 1), "a tensor map of 2 dims is incomplete");
    REFUSE((sample_map(&s), s.map.n_steps = 1), "a tensor map of 2 dims is incomplete");
    REFUSE((sample_map(&s), s.map.lower = (int32_t[]){0}, s.map.n_lower = 1), "a tensor map of 2 dims is incomplete");
    REFUSE((sample_map(&s), s.map.offset = 99), "a tensor map names dim 99");
    REFUSE((sample_map(&s), s.map_dims[1] = 99), "a tensor map names dim 99");
    REFUSE((sample_map(&s), s.map_strides[0] = 99), "a tensor map names dim 99");
    REFUSE((sample_map(&s), s.map.dtype = 99), "a tensor map has unknown data type 99");
    REFUSE((sample_map(&s), s.map.dtype = TN_I4), "a tensor map has elements that TMA does not copy");
    REFUSE((sample_map(&s), s.map.swizzle = 48), "a tensor map has unknown swizzle");
    REFUSE((sample_map(&s), s.map.swizzle = 32), "a tensor map has rows that do not fit the swizzle");
    REFUSE((sample_map(&s), s.map_box[0] = 3), "a tensor map has rows that do not fit the swizzle");
    REFUSE((sample_map(&s), s.map_box[1] = 257), "a tensor map has impossible box");
    REFUSE((sample_map(&s), s.map_steps[1] = 0), "a tensor map has impossible steps");
    REFUSE((sample_map(&s), s.map_steps[1] = 9), "a tensor map has impossible steps");
    REFUSE((sample_map(&s), SAMPLE_DIM(&s, 1, D_N)), "a tensor map stands before other arguments");
}
END_TEST

START_TEST(contradictions) {
    REFUSE(s.dim[D_NUMEL].a = D_NUMEL, "does not come before");
    REFUSE(s.dim[D_NUMEL].b = 1000, "does not come before");
    REFUSE(s.dim[D_NUMEL].kind = 99, "unknown kind");
    REFUSE(s.dim[0].value = 1, "dim 0");
    REFUSE(s.dim[D_N].name = (char *)"", "without a name");
    REFUSE(s.plan.n_dims = 2, "names dim");
    REFUSE(s.plan.weights = 3, "names blob");
    REFUSE(s.plan.ir = 77, "names blob");
    REFUSE(s.plan.arena_size = 99, "arena names dim");
    REFUSE(s.io_dims[0] = 50, "names dim");
    REFUSE(s.in[0].dtype = 200, "data type");
    REFUSE((s.in[0].most = s.in[0].dims, s.in[0].n_most = s.in[0].n_dims), "data cannot decide");
    REFUSE(s.in[0].dtype = 0, "data type");
    REFUSE(s.konst.size = 100000, "outside the weights");
    REFUSE(s.konst.offset = UINT64_MAX, "outside the weights");
    REFUSE(s.arch.name = (char *)"", "no name");
    REFUSE(s.kernel[0].cubin = 9, "names blob");
    REFUSE(s.kernel[0].n_block = 2, "block");
    REFUSE(s.block[0] = 2000, "block");
    REFUSE(s.block[1] = 0, "block");
    REFUSE((s.kernel[0].cluster = s.cluster, s.kernel[0].n_cluster = 1), "cluster");
    REFUSE(s.kernel[1].smem = 1 << 30, "shared memory");
    REFUSE(s.step[0].kernel = 2, "names kernel");
    REFUSE(s.step[0].n_grid = 1, "no grid");
    REFUSE(s.grid[2] = 40, "names dim");
    REFUSE(s.step[1].what_case = 0, "does nothing");
    REFUSE(s.arg[0][0].place = NULL, "no place");
    REFUSE(s.place[0][0].index = 1, "names buffer");
    REFUSE(s.place[0][1].index = 1, "names buffer");
    REFUSE(s.place[0][2].offset = 90, "names dim");
    REFUSE(s.place[0][2].space = 9, "memory space");
    REFUSE(s.arg[0][3].kind = 9, "argument kind");
    REFUSE(s.arg[0][3].dim = 90, "names dim");
    REFUSE(s.after[0] = 1, "does not follow earlier steps");
    REFUSE(s.step[1].stream = 1, "stream 1 of 1");
    REFUSE(s.arch.streams = 9, "9 streams");
    REFUSE(s.step[1].n_in_place = 1, "in place");
    REFUSE(s.in_place[1] = 1, "overwrites what it has not");
    REFUSE(s.extent[0][2].index = 1, "names buffer 1 of 1");
    REFUSE(s.extent[1][1].index = 1, "names buffer 1 of 1");
    REFUSE(s.extent[1][0].space = 9, "memory space");
    REFUSE(s.extent[0][0].pitch = 99, "names dim");
    REFUSE(s.buffer.offset = 99, "names dim");
    REFUSE(s.range.symbol = 99, "names dim");
    REFUSE(s.way.bucket = 1, "names bucket 1 of 1");
    REFUSE(s.way.kernel = 2, "names kernel 2");
    REFUSE(s.which[0] = 1, "names alternative 1 of 1");
    REFUSE(s.arg[0][3].dim = 90, "names dim");
    /* messages say which layer */
    ck_assert_ptr_nonnull(strstr(refusal, "/block/Mul"));
}
END_TEST

START_TEST(other_version) {
    size_t size;
    char *data = sample_model(&size);
    sample_log log;
    tn_env env = sample_env(&log);
    uint32_t version = 77;
    memcpy(data + offsetof(tn_plan_header, version), &version, sizeof version);
    tn_status st;
    ck_assert_ptr_null(tn_plan_load_memory(&env, data, size, &st));
    ck_assert_int_eq(st, TN_E_FORMAT);
    ck_assert_msg(strstr(log.text, "77") && strstr(log.text, "version 77, this library reads version 3"), "%s",
                  log.text);
    data[0] = 'x';
    ck_assert_ptr_null(tn_plan_load_memory(&env, data, size, &st));
    ck_assert_msg(strstr(log.text, "not a plan"), "%s", log.text);
    ck_assert_ptr_null(tn_plan_load_memory(&env, data + 1, size - 1, &st));
    ck_assert_int_eq(st, TN_E_ARGUMENT);
    ck_assert_ptr_null(tn_plan_load(&env, "/nonexistent/plan", &st));
    ck_assert_int_eq(st, TN_E_IO);
    ck_assert_ptr_null(tn_plan_load(&env, "/", &st));
    ck_assert_int_eq(st, TN_E_IO);
    ck_assert_ptr_null(tn_plan_load(&env, "/dev/null", NULL));
    free(data);
}
END_TEST

/* ---- files ------------------------------------------------------------------------------------------------------- */

static char folder[64];

static void make_folder(void) {
    snprintf(folder, sizeof folder, "/tmp/tenon_plan_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

/* Names in the folder. */
static int count_files(void) {
    int n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void remove_folder(void) {
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d));) unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    rmdir(folder);
}

static tn_status write_sample(const tn_env *env, const char *path) {
    sample s;
    sample_init(&s);
    sample_two_steps(&s);
    tn_plan_writer *w = tn_plan_writer_new(env);
    tn_status st = w ? sample_blobs(&s, w) : TN_E_MEMORY;
    tn_output o;
    tn_status wrote = w ? tn_output_begin(env, path, &o) : TN_E_MEMORY;
    if (wrote == TN_OK) wrote = tn_output_end(&o, tn_plan_write(w, &s.plan, o.f));
    ck_assert(st == TN_OK || wrote == TN_E_MEMORY); /* a failed add is not forgotten */
    ck_assert_uint_eq(s.plan.n_blobs, 0);           /* the caller's message is as it was */
    tn_plan_writer_free(w);
    sample_free(&s);
    return wrote;
}

static bool cancel(void *user, const tn_progress *p) {
    int *left = user;
    ck_assert_str_eq(p->phase, "write");
    return (*left)-- > 0;
}

START_TEST(files) {
    char path[128];
    make_folder();
    snprintf(path, sizeof path, "%s/a.plan", folder);
    sample_log log;
    tn_env env = sample_env(&log);
    ck_assert_int_eq(write_sample(&env, path), TN_OK);
    ck_assert_int_eq(count_files(), 1);
    ck_assert_int_eq(write_sample(&env, path), TN_OK); /* over the old one */
    ck_assert_int_eq(log.live, 0);
    tn_status st;
    tn_plan *p = tn_plan_load(&env, path, &st);
    ck_assert_msg(p != NULL, "%s", log.text);
    size_t size;
    void *memory = sample_model(&size);
    ck_assert_uint_eq(p->size, size); /* both forms are the same bytes */
    ck_assert_int_eq(memcmp(p->data, memory, size), 0);
    tn_plan_free(p);
    free(memory);
    ck_assert_int_eq(write_sample(&env, "/nonexistent/folder/a.plan"), TN_E_IO);
    remove_folder();
}
END_TEST

START_TEST(failed_writes_leave_nothing) {
    char path[128];
    make_folder();
    snprintf(path, sizeof path, "%s/a.plan", folder);
    sample_log log;
    tn_env env = sample_env(&log);
    ck_assert_int_eq(write_sample(&env, path), TN_OK);
    /* a full disk, simulated by a limit on file sizes */
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 4200;
    setrlimit(RLIMIT_FSIZE, &small);
    tn_status st = write_sample(&env, path);
    setrlimit(RLIMIT_FSIZE, &old);
    ck_assert_int_eq(st, TN_E_IO);
    ck_assert_msg(strstr(log.text, "cannot be written"), "%s", log.text);
    ck_assert_int_eq(count_files(), 1);
    /* cancelled at each of its points */
    for (int left = 0; left < 3; left++) {
        int n = left;
        env.progress = cancel;
        env.progress_user = &n;
        ck_assert_int_eq(write_sample(&env, path), TN_E_CANCELLED);
        ck_assert_int_eq(count_files(), 1);
    }
    env.progress = NULL;
    /* the former plan is untouched */
    tn_plan *p = tn_plan_load(&env, path, &st);
    ck_assert_msg(p != NULL, "%s", log.text);
    tn_plan_free(p);
    ck_assert_int_eq(log.live, 0);
    remove_folder();
}
END_TEST

START_TEST(out_of_memory) {
    char path[128];
    make_folder();
    snprintf(path, sizeof path, "%s/a.plan", folder);
    sample_log log;
    tn_env env = sample_env(&log);
    for (long n = 1;; n++) {
        log.fail_at = n;
        log.failed = false;
        tn_status st = write_sample(&env, path);
        ck_assert_int_eq(log.live, 0);
        ck_assert(st == (log.failed ? TN_E_MEMORY : TN_OK));
        ck_assert_int_eq(count_files(), log.failed ? 0 : 1);
        if (!log.failed) break;
        ck_assert_int_lt(n, 1000);
    }
    size_t size;
    void *data = sample_model(&size);
    int failures = 0;
    for (long n = 1;; n++) {
        log.fail_at = n;
        log.failed = false;
        log.errors = 0;
        bool right;
        tn_status st = load_and_run(&env, data, size, &right);
        ck_assert_msg(log.live == 0, "allocation %ld: %ld blocks leak", n, log.live);
        if (!log.failed) {
            ck_assert(st == TN_OK && right);
            break;
        }
        ck_assert_msg(st != TN_OK || right, "allocation %ld failed unseen", n);
        failures += st == TN_E_MEMORY;
        ck_assert_int_lt(n, 20000);
    }
    ck_assert_int_gt(failures, 10);
    free(data);
    remove_folder();
}
END_TEST

/* ---- dims -------------------------------------------------------------------------------------------------------- */

static int64_t eval(TnPlan__Dim__Kind kind, int64_t a, int64_t b, tn_status want) {
    TnPlan__Dim d[4], *p[4] = {&d[0], &d[1], &d[2], &d[3]};
    int64_t table[4] = {0};
    for (int k = 0; k < 4; k++) tn_plan__dim__init(&d[k]);
    d[1].value = a, d[2].value = b;
    d[3].kind = kind, d[3].a = 1, d[3].b = 2;
    ck_assert_int_eq(tn_dims_check(NULL, 4, p), TN_OK);
    ck_assert_int_eq(tn_dims_eval(NULL, 4, p, table), want);
    return table[3];
}

START_TEST(arithmetic) {
    const TnPlan__Dim__Kind ADD = TN_PLAN__DIM__KIND__ADD, MUL = TN_PLAN__DIM__KIND__MUL,
                            FD = TN_PLAN__DIM__KIND__FLOORDIV, CD = TN_PLAN__DIM__KIND__CEILDIV,
                            MOD = TN_PLAN__DIM__KIND__MOD, MIN = TN_PLAN__DIM__KIND__MIN, MAX = TN_PLAN__DIM__KIND__MAX;
    ck_assert_int_eq(eval(ADD, 5, -8, TN_OK), -3);
    ck_assert_int_eq(eval(MUL, -5, 8, TN_OK), -40);
    ck_assert_int_eq(eval(FD, 7, 2, TN_OK), 3);
    ck_assert_int_eq(eval(FD, -7, 2, TN_OK), -4);
    ck_assert_int_eq(eval(FD, 7, -2, TN_OK), -4);
    ck_assert_int_eq(eval(FD, -7, -2, TN_OK), 3);
    ck_assert_int_eq(eval(CD, 7, 2, TN_OK), 4);
    ck_assert_int_eq(eval(CD, -7, 2, TN_OK), -3);
    ck_assert_int_eq(eval(CD, 8, 2, TN_OK), 4);
    ck_assert_int_eq(eval(MOD, -7, 3, TN_OK), 2);
    ck_assert_int_eq(eval(MOD, 7, -3, TN_OK), -2);
    ck_assert_int_eq(eval(MOD, INT64_MIN, 3, TN_OK), 1);
    ck_assert_int_eq(eval(MIN, 3, -4, TN_OK), -4);
    ck_assert_int_eq(eval(MAX, 3, -4, TN_OK), 3);
    eval(ADD, INT64_MAX, 1, TN_E_ARGUMENT);
    eval(MUL, INT64_MAX, 2, TN_E_ARGUMENT);
    ck_assert_int_eq(eval(FD, 1, 0, TN_OK), 0); /* what is divided by an empty axis is empty */
    ck_assert_int_eq(eval(CD, 1, 0, TN_OK), 0);
    ck_assert_int_eq(eval(MOD, 1, 0, TN_OK), 0);
    ck_assert_int_eq(eval(TN_PLAN__DIM__KIND__BCAST, 1, 5, TN_OK), 5);
    ck_assert_int_eq(eval(TN_PLAN__DIM__KIND__BCAST, 5, 1, TN_OK), 5);
    ck_assert_int_eq(eval(TN_PLAN__DIM__KIND__BCAST, 0, 1, TN_OK), 0);
    eval(CD, INT64_MIN, -1, TN_E_ARGUMENT);
}
END_TEST

int main(void) {
    const TTest *const tests[] = {runs,
                                  round_trip,
                                  equal_blobs_are_stored_once,
                                  truncated,
                                  flipped,
                                  hostile,
                                  contradictions,
                                  files,
                                  other_version,
                                  failed_writes_leave_nothing,
                                  aliases,
                                  aliases_of_shapes,
                                  out_of_memory,
                                  arithmetic,
                                  tensor_maps};
    Suite *s = suite_create("plan");
    TCase *t = tcase_create("plan");
    tcase_set_timeout(t, 250);
    for (size_t k = 0; k < sizeof tests / sizeof *tests; k++) tcase_add_test(t, tests[k]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
