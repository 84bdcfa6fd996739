/* fuzz_plan.c: the plan reader and the runtime behind it: any bytes are a plan or are refused, and a plan runs on the
 * CPU and on the mock of a GPU or says why not.
 *
 * Checksums, and what the header says of sizes, are put right before a plan is loaded a second time, so that they are
 * no wall in front of the rest.  An input of one byte stands for one of the sample plans of tests/unit/plan_gen.h. */
#include <check.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "codegen/host/ir.h"
#include "ir/eval/eval.h"
#include "runtime/plan/format.h"
#include "tenon/tenon.h"
#include "tests/fuzz/wire.h"
#include "tests/unit/mock_cuda.h"
/* Check's assertions work in its test programs only. */
#undef ck_assert
#undef ck_assert_int_eq
#define ck_assert(x) ((x) ? (void)0 : fuzz_die("not so: %s", #x))
#define ck_assert_int_eq(a, b) ck_assert((a) == (b))
#include "tests/unit/plan_gen.h"

enum { HEADER = TN_PLAN_HEADER_SIZE, MAX_BYTES = 1 << 20 };

/* ---- samples ----------------------------------------------------------------------------------------------------- */

/* A kernel with clusters, and a product. */
static void add_product(sample *s) {
    const size_t kernel = sample_kernel(s, "scale", 0), a = sample_launch(s, "scale", kernel),
                 k = sample_step(s, "product");
    s->kernel[kernel].cluster = s->cluster;
    s->kernel[kernel].n_cluster = 3;
    SAMPLE_PLACE(s, a, INPUT, 0, D_ZERO);
    SAMPLE_PLACE(s, a, ARENA, 0, D_ZERO);
    tn_plan__lt__init(&s->lt);
    s->lt.m = s->lt.k = s->lt.lda = s->lt.ldb = s->lt.ldc = s->lt.ldd = D_FOUR;
    s->lt.n = sample_dim(s, TN_PLAN__DIM__KIND__FLOORDIV, 0, D_NUMEL, D_FOUR);
    s->lt.batch = D_ONE;
    s->lt.type_a = s->lt.type_b = s->lt.type_c = s->lt.type_d = TN_F32;
    s->lt.epilogue = 1;
    s->step[k].what_case = TN_PLAN__STEP__WHAT_LT;
    s->step[k].lt = &s->lt;
    SAMPLE_PLACE(s, k, CONST, 0, D_ZERO);
    SAMPLE_PLACE(s, k, ARENA, 0, D_ZERO);
    SAMPLE_PLACE(s, k, OUTPUT, 0, D_ZERO);
    SAMPLE_PLACE(s, k, OUTPUT, 0, D_ZERO);
    s->plan.arena_size = D_BYTES2;
}

static size_t add_builtin(sample *s, TnPlan__Builtin__Kind kind, uint32_t first, uint32_t second) {
    const size_t k = sample_builtin(s, "builtin", kind, first, second);
    if (kind == TN_PLAN__BUILTIN__KIND__COPY) SAMPLE_BYTES(s, k, INPUT, 0, D_ZERO, D_BYTES);
    if (kind == TN_PLAN__BUILTIN__KIND__COPY || kind == TN_PLAN__BUILTIN__KIND__FILL)
        SAMPLE_BYTES(s, k, OUTPUT, 0, D_ZERO, D_BYTES);
    else
        SAMPLE_BYTES(s, k, ARENA, 0, D_ZERO, D_ONE);
    return k;
}

/* A loop in a branch, beside a copy. */
static void add_control(sample *s) {
    add_builtin(s, TN_PLAN__BUILTIN__KIND__IF, 3, 1);
    add_builtin(s, TN_PLAN__BUILTIN__KIND__WHILE, 1, 0);
    add_builtin(s, TN_PLAN__BUILTIN__KIND__FILL, 0, 0);
    add_builtin(s, TN_PLAN__BUILTIN__KIND__COPY, 0, 0);
    add_builtin(s, TN_PLAN__BUILTIN__KIND__FILL, 0, 0);
}

/* The constant's 32 floats in tiles of 4 x 4, of which the IR's are made. */
static void pack_const(sample *s, TnPlan__Packing *how) {
    tn_plan__packing__init(how);
    how->element = 4, how->batch = 1, how->rows = 8, how->cols = 4, how->tile_rows = how->tile_cols = 4;
    s->konst.packing = how;
    s->konst.elsewhere = 64;
}

static size_t make_sample(uint8_t which, uint8_t *out, size_t max) {
    sample s;
    size_t size;
    sample_init(&s);
    if (which % 3 == 2)
        add_control(&s);
    else if (which & 1)
        add_product(&s);
    else
        sample_two_steps(&s);
    if (which & 2) sample_alias(&s);
    if (which & 4 && s.kernel[1].name) sample_map(&s);
    TnPlan__Packing how;
    if (which & 8) pack_const(&s, &how);
    void *data = sample_pack(&s, &size);
    sample_free(&s);
    size = size <= max ? size : 0;
    memcpy(out, data, size);
    free(data);
    return size;
}

/* ---- checksums --------------------------------------------------------------------------------------------------- */

typedef struct file {
    uint8_t *data;
    size_t size;
} file;

static void fix_blob(void *user, uint8_t *body, size_t n) {
    const file *f = user;
    TnPlan__Blob *b = tn_plan__blob__unpack(NULL, n, body);
    if (!b) return;
    uint8_t *sum = n >= 9 ? body + n - 8 : NULL; /* field 3, written last by every serialiser */
    if (sum && sum[-1] == (3 << 3 | 1) && b->offset <= f->size && b->size <= f->size - b->offset) {
        const uint64_t x = XXH3_64bits(f->data + b->offset, (size_t)b->size);
        memcpy(sum, &x, sizeof x);
    }
    tn_plan__blob__free_unpacked(b, NULL);
}

static bool read_header(const uint8_t *data, size_t size, tn_plan_header *h) {
    if (size < HEADER) return false;
    memcpy(h, data, sizeof *h);
    if (h->manifest_offset < HEADER || h->manifest_offset > size) h->manifest_offset = HEADER;
    h->manifest_size = size - h->manifest_offset;
    return true;
}

/* A header and checksums that fit the bytes; the manifest is everything from where the header says it begins. */
static void put_right(uint8_t *data, size_t size) {
    tn_plan_header h;
    file f = {data, size};
    if (!read_header(data, size, &h)) return;
    wire_each(data + h.manifest_offset, (size_t)h.manifest_size, 11, fix_blob, &f);
    memcpy(h.magic, TN_PLAN_MAGIC, sizeof h.magic);
    h.version = TN_PLAN_VERSION;
    h.header_size = HEADER;
    h.file_size = size;
    h.manifest_xxh3 = XXH3_64bits(data + h.manifest_offset, (size_t)h.manifest_size);
    h.header_xxh3 = XXH3_64bits(&h, offsetof(tn_plan_header, header_xxh3));
    memcpy(data, &h, sizeof h);
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static mock_cuda *mock;

static void open_mock(void) {
    mock_cuda_get_fn get;
    void *lib = dlopen(TENON_MOCK_CUDA, RTLD_NOW);
    if (!lib) fuzz_die("the mock driver cannot be opened");
    *(void **)&get = dlsym(lib, "mock_cuda_get");
    mock = get();
    mock->idle = mock->other_kernels = 1;
    mock->memory = MAX_BYTES * 16;
    mock->most_syncs = 100; /* of one input: a loop that never ends is no bug of the runtime */
    setenv("TENON_LIBCUDA", TENON_MOCK_CUDA, 1);
    setenv("TENON_LIBCUBLASLT", TENON_MOCK_CUDA, 1);
}

/* A buffer of exactly the tensor's size; false where it is too large. */
static bool make_buffer(tn_dtype t, uint32_t rank, const int64_t *dims, void **out) {
    uint64_t n = 1;
    for (uint32_t k = 0; k < rank; k++) {
        if (dims[k] < 0 || (dims[k] && n > MAX_BYTES / (uint64_t)dims[k])) return false;
        n *= (uint64_t)dims[k];
    }
    return (*out = calloc(1, tn_dtype_bytes(t, n))) != NULL;
}

static bool prepare(tn_context *c, const tn_plan *p, int64_t size, void **in, void **out) {
    int64_t dims[TN_MAX_RANK];
    uint32_t rank = 0;
    for (size_t k = 0; k < tn_plan_input_count(p); k++) {
        const tn_tensor_desc *d = tn_plan_input(p, k);
        for (uint32_t i = 0; i < d->rank; i++) dims[i] = d->dims[i] < 0 ? size : d->dims[i];
        if (tn_context_set_shape(c, k, d->rank, dims) != TN_OK || !make_buffer(d->dtype, d->rank, dims, &in[k]))
            return false;
    }
    for (size_t k = 0; k < tn_plan_output_count(p); k++)
        if (tn_context_output_most(c, k, &rank, dims) != TN_OK ||
            !make_buffer(tn_plan_output(p, k)->dtype, rank, dims, &out[k]))
            return false;
    return true;
}

static void run(tn_plan *p, tn_device device, int64_t size) {
    enum { MAX_IO = 64 };
    void *in[MAX_IO] = {NULL}, *out[MAX_IO] = {NULL};
    tn_context_options opts = {.device = device, .host = tn_host_devices()};
    tn_status st = TN_OK;
    if (tn_plan_input_count(p) > MAX_IO || tn_plan_output_count(p) > MAX_IO) return;
    if (device == TN_CUDA && size % 2) opts.scratch = tn_scratch_pool_new(p->env, &opts, 1 << 20, NULL);
    tn_context *c = tn_context_new(p, &opts, &st);
    tn_scratch_pool_free(opts.scratch); /* the context has it */
    if ((c == NULL) == (st == TN_OK)) fuzz_die("no context and no error, or both");
    if (c && prepare(c, p, size, in, out)) {
        size_t scratch;
        tn_context_scratch_size(c, &scratch);
        for (int k = 0; k < 2; k++) tn_context_run(c, (const void *const *)in, out);
        if (device == TN_CUDA) tn_context_enqueue(c, (const void *const *)in, out, NULL);
    }
    tn_context_free(c);
    for (size_t k = 0; k < MAX_IO; k++) {
        free(in[k]);
        free(out[k]);
    }
}

/* Evaluating takes as long as the plan's graph says. */
static bool is_small(const tn_env *env, tn_plan *p) {
    tn_graph *g;
    if (tn_plan_graph(env, p, "", &g) != TN_OK) return true;
    const bool small = !g || fuzz_is_small(g);
    tn_graph_free(g);
    return small;
}

static void load(const tn_env *env, const uint8_t *data, size_t size, bool right) {
    tn_status st = TN_OK;
    uint8_t *copy = aligned_alloc(16, (size + 15) / 16 * 16 + 16);
    if (!copy) return;
    memcpy(copy, data, size);
    if (right) put_right(copy, size);
    tn_plan *p = tn_plan_load_memory(env, copy, size, &st);
    if ((p == NULL) == (st == TN_OK)) fuzz_die("no plan and no error, or both");
    if (!p && st != TN_E_MEMORY && !fuzz_error()[0]) fuzz_die("a plan is refused without a message");
    if (p) {
        const int64_t size_of_symbols = 2 + (int64_t)(size % 3);
        if (is_small(env, p)) run(p, TN_CPU, 2);
        run(p, TN_CUDA, size_of_symbols);
        run(p, TN_CUDA, 0);
    }
    tn_plan_free(p);
    free(copy);
    if (mock->live_allocs || mock->live_modules || mock->live_graphs || mock->live_execs || mock->retained ||
        mock->live_lt)
        fuzz_die("something of the device is not given back");
    mock->ran[0] = 0;
    mock->syncs = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t made[1 << 16];
    if (!mock) open_mock();
    if (size == 1) size = make_sample(data[0], made, sizeof made), data = made;
    const tn_env *env = fuzz_begin();
    load(env, data, size, false);
    load(env, data, size, true);
    fuzz_end();
    return 0;
}

/* ---- mutation ---------------------------------------------------------------------------------------------------- */

static size_t edit_manifest(uint8_t *data, size_t size, size_t max, const uint8_t *other, size_t n_other,
                            uint64_t seed) {
    tn_plan_header h, o;
    if (!read_header(data, size, &h)) return size;
    if (n_other && !read_header(other, n_other, &o)) n_other = 0;
    uint8_t *manifest = data + h.manifest_offset;
    size = (size_t)h.manifest_offset +
           wire_mutate(&tn_plan__plan__descriptor, manifest, (size_t)h.manifest_size, max - (size_t)h.manifest_offset,
                       n_other ? other + o.manifest_offset : NULL, n_other ? (size_t)o.manifest_size : 0, NULL, seed);
    return size;
}

/* Some bytes of the blobs, which stay as long as they are: the IR is text. */
static void edit_blobs(uint8_t *data, size_t size, uint64_t *seed) {
    tn_plan_header h;
    if (!read_header(data, size, &h) || h.manifest_offset == HEADER) return;
    const size_t room = (size_t)h.manifest_offset - HEADER, at = HEADER + fuzz_below(seed, room),
                 from = HEADER + fuzz_below(seed, room);
    size_t n = 1 + fuzz_below(seed, 8);
    if (n > h.manifest_offset - at) n = (size_t)h.manifest_offset - at;
    if (n > h.manifest_offset - from) n = (size_t)h.manifest_offset - from;
    if (fuzz_below(seed, 2))
        memmove(data + at, data + from, n);
    else
        data[at] = (uint8_t)("0123456789[]{}%,:fNiu \\n="[fuzz_below(seed, 24)]);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
    uint64_t s = seed;
    if (size <= 1) size = make_sample(size ? data[0] : 0, data, max);
    if (fuzz_below(&s, 20) == 0) return LLVMFuzzerMutate(data, size, max);
    for (size_t edits = 1 + fuzz_below(&s, 3); edits; edits--) {
        if (fuzz_below(&s, 4) == 0)
            edit_blobs(data, size, &s);
        else
            size = edit_manifest(data, size, max, NULL, 0, fuzz_random(&s));
    }
    return size;
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t n_a, const uint8_t *b, size_t n_b, uint8_t *out, size_t max,
                                 unsigned seed) {
    if (n_a > max) return 0;
    memcpy(out, a, n_a);
    return edit_manifest(out, n_a, max, b, n_b, seed);
}
