/* plan_gen.h: small plans for tests of the runtime.  Header-only: each test program is one file.
 *
 * The model: y = x * w + 1 with x, y: f32[N,32] and w: f32[32] = 1 2 3 4 1 2 3 4 ...; for sm_90a two kernels that the
 * mock driver knows (mock_cuda.h), through the arena: k_mul, k_inc. */
#ifndef TENON_TEST_PLAN_GEN_H
#define TENON_TEST_PLAN_GEN_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/ir.h"
#include "runtime/plan/plan.h"
#include "tenon/host.h"

enum { SAMPLE_COLS = 32, SAMPLE_STEPS = 24 };

/* Counts and fails allocations, keeps the last error. */
typedef struct sample_log {
    long fail_at; /* the n-th allocation from now fails (1: the next); 0: none */
    long calls, live;
    bool failed;
    int errors;
    tn_status code;
    char text[1024], note[512]; /* the last error, the last note */
} sample_log;

static inline void *sample_alloc(void *user, void *p, size_t old_size, size_t size) {
    sample_log *log = user;
    (void)old_size;
    if (!size) {
        __atomic_sub_fetch(&log->live, p != NULL, __ATOMIC_RELAXED);
        free(p);
        return NULL;
    }
    __atomic_add_fetch(&log->calls, 1, __ATOMIC_RELAXED);
    if (log->fail_at && __atomic_sub_fetch(&log->fail_at, 1, __ATOMIC_RELAXED) == 0) {
        log->failed = true;
        return NULL;
    }
    void *q = realloc(p, size);
    if (q && !p) __atomic_add_fetch(&log->live, 1, __ATOMIC_RELAXED);
    return q;
}

static inline void sample_diag(void *user, const tn_diag *d) {
    sample_log *log = user;
    if (d->severity == TN_NOTE) snprintf(log->note, sizeof log->note, "%s", d->message);
    if (d->severity != TN_ERROR) return;
    log->errors++;
    log->code = d->code;
    snprintf(log->text, sizeof log->text, "%s: %s [%s]", d->loc, d->message, d->hint);
}

static inline tn_env sample_env(sample_log *log) {
    memset(log, 0, sizeof *log);
    return (tn_env){.alloc = sample_alloc, .alloc_user = log, .diag = sample_diag, .diag_user = log};
}

/* ---- IR ---------------------------------------------------------------------------------------------------------- */

typedef struct sample_bytes {
    char *p;
    size_t n;
} sample_bytes;

static inline tn_status sample_collect(void *user, const void *p, size_t n) {
    sample_bytes *b = user;
    b->p = realloc(b->p, b->n + n + 1);
    memcpy(b->p + b->n, p, n);
    b->n += n;
    return TN_OK;
}

static inline void sample_ir(sample_bytes *text, sample_bytes *weights) {
    tn_env env = {0};
    float w[SAMPLE_COLS], one = 1;
    for (int k = 0; k < SAMPLE_COLS; k++) w[k] = (float)(k % 4 + 1);
    tn_graph *g = tn_graph_new(&env);
    tn_dim dims[] = {tn_dim_sym(g, "N"), tn_dim_const(g, SAMPLE_COLS)};
    tn_val x = tn_graph_add_input(g, "x", tn_type_make(g, TN_F32, 2, dims));
    tn_val c = tn_const(g, tn_type_make(g, TN_F32, 1, dims + 1), tn_blob_copy(g, w, sizeof w), "w");
    tn_val y = tn_binary(g, TN_OP_ADD, tn_binary(g, TN_OP_MUL, x, c), tn_const_num(g, TN_F32, (double)one));
    const char *name = "y";
    ck_assert_int_eq(tn_graph_set_outputs(g, 1, &y, &name), TN_OK);
    char *p;
    size_t n;
    ck_assert_int_eq(tn_print(g, "weights", &p, &n), TN_OK);
    sample_collect(text, p, n);
    tn_free(&env, p, n + 1);
    ck_assert_int_eq(tn_print_weights(g, sample_collect, weights), TN_OK);
    ck_assert(weights->n >= sizeof w);
    tn_graph_free(g);
}

/* ---- the manifest ------------------------------------------------------------------------------------------------ */

/* Room for a manifest's messages; field names as in plan.proto. */
typedef struct sample {
    sample_bytes ir, weights;
    TnPlan__Plan plan;
    TnPlan__Dim dim[40], *dims[40];
    TnPlan__Tensor in[2], out[3], *ins[2], *outs[3];
    uint32_t io_dims[2];
    TnPlan__Const konst, *consts[1];
    TnPlan__Arch arch, *archs[2];
    TnPlan__Kernel kernel[4], *kernels[4];
    uint32_t block[3], cluster[3], grid[3];
    TnPlan__Step step[SAMPLE_STEPS], *steps[SAMPLE_STEPS];
    TnPlan__Place place[SAMPLE_STEPS][5];
    TnPlan__Arg arg[SAMPLE_STEPS][5], *args[SAMPLE_STEPS][5];
    TnPlan__Builtin builtin[SAMPLE_STEPS];
    TnPlan__Lt lt;
    char *layer[1];
    /* the program of the two steps */
    TnPlan__Buffer buffer, *buffers[1];
    TnPlan__Extent extent[2][3], *reads[2][2], *writes[2][1];
    uint32_t after[1], in_place[2];
    TnPlan__Bucket bucket, *buckets[1];
    TnPlan__Bucket__Range range, *ranges[1];
    TnPlan__Step way, *ways[1];
    uint32_t which[1];
    TnPlan__Alias alias, *aliases[2];
    TnPlan__Extent kept;
    TnPlan__TensorMap map;
    uint32_t map_dims[2], map_strides[1], map_box[2], map_steps[2];
} sample;

enum { D_ZERO, D_N, D_COLS, D_NUMEL, D_FOUR, D_BYTES, D_ONE, D_BLOCK, D_GRID, D_BYTES2, D_ROW };

static inline uint32_t sample_dim(sample *s, TnPlan__Dim__Kind kind, int64_t value, uint32_t a, uint32_t b) {
    uint32_t k = (uint32_t)s->plan.n_dims++;
    tn_plan__dim__init(&s->dim[k]);
    s->dims[k] = &s->dim[k];
    s->dim[k].kind = kind;
    s->dim[k].value = value;
    s->dim[k].a = a;
    s->dim[k].b = b;
    return k;
}

static inline void sample_dims(sample *s) {
    const TnPlan__Dim__Kind num = TN_PLAN__DIM__KIND__CONST, mul = TN_PLAN__DIM__KIND__MUL;
    s->plan.dims = s->dims;
    sample_dim(s, num, 0, 0, 0);                                                /* D_ZERO */
    s->dim[sample_dim(s, TN_PLAN__DIM__KIND__SYM, 0, 0, 0)].name = (char *)"N"; /* D_N */
    s->dim[D_N].lo = 1, s->dim[D_N].hi = 1000, s->dim[D_N].hint = 8;
    sample_dim(s, num, SAMPLE_COLS, 0, 0);                           /* D_COLS */
    sample_dim(s, mul, 0, D_N, D_COLS);                              /* D_NUMEL */
    sample_dim(s, num, 4, 0, 0);                                     /* D_FOUR */
    sample_dim(s, mul, 0, D_NUMEL, D_FOUR);                          /* D_BYTES */
    sample_dim(s, num, 1, 0, 0);                                     /* D_ONE */
    sample_dim(s, num, 256, 0, 0);                                   /* D_BLOCK */
    sample_dim(s, TN_PLAN__DIM__KIND__CEILDIV, 0, D_NUMEL, D_BLOCK); /* D_GRID */
    sample_dim(s, TN_PLAN__DIM__KIND__ADD, 0, D_BYTES, D_BYTES);     /* D_BYTES2 */
    sample_dim(s, num, SAMPLE_COLS * 4, 0, 0);                       /* D_ROW */
}

static inline TnPlan__Arg *sample_arg(sample *s, size_t step, TnPlan__Arg__Kind kind, TnPlan__Place__Space space,
                                      uint32_t index, uint32_t dim) {
    size_t k = s->step[step].n_args++;
    TnPlan__Arg *a = s->args[step][k] = &s->arg[step][k];
    tn_plan__arg__init(a);
    tn_plan__place__init(&s->place[step][k]);
    a->kind = kind;
    a->dim = kind == TN_PLAN__ARG__KIND__DIM ? dim : 0;
    if (kind == TN_PLAN__ARG__KIND__PLACE) {
        a->place = &s->place[step][k];
        a->place->space = space;
        a->place->index = index;
        a->place->offset = dim;
    }
    return a;
}
#define SAMPLE_PLACE(s, step, space, index, offset)                                                                    \
    sample_arg(s, step, TN_PLAN__ARG__KIND__PLACE, TN_PLAN__PLACE__SPACE__##space, index, offset)
#define SAMPLE_DIM(s, step, dim) sample_arg(s, step, TN_PLAN__ARG__KIND__DIM, TN_PLAN__PLACE__SPACE__INPUT, 0, dim)

static inline size_t sample_kernel(sample *s, const char *name, uint32_t cubin) {
    size_t k = s->arch.n_kernels++;
    s->kernels[k] = &s->kernel[k];
    tn_plan__kernel__init(&s->kernel[k]);
    s->kernel[k].name = (char *)name;
    s->kernel[k].cubin = cubin;
    s->kernel[k].source = TN_NO_BLOB;
    s->kernel[k].block = s->block;
    s->kernel[k].n_block = 3;
    return k;
}

static inline size_t sample_step(sample *s, const char *name) {
    size_t k = s->arch.n_steps++;
    s->steps[k] = &s->step[k];
    tn_plan__step__init(&s->step[k]);
    s->step[k].name = (char *)name;
    s->step[k].args = s->args[k];
    s->step[k].n_layers = 1;
    s->step[k].layers = s->layer;
    return k;
}

static inline size_t sample_launch(sample *s, const char *name, size_t kernel) {
    size_t k = sample_step(s, name);
    s->step[k].what_case = TN_PLAN__STEP__WHAT_KERNEL;
    s->step[k].kernel = (uint32_t)kernel;
    s->step[k].grid = s->grid;
    s->step[k].n_grid = 3;
    return k;
}

static inline size_t sample_builtin(sample *s, const char *name, TnPlan__Builtin__Kind kind, uint32_t first,
                                    uint32_t second) {
    size_t k = sample_step(s, name);
    tn_plan__builtin__init(&s->builtin[k]);
    s->builtin[k].kind = kind;
    s->builtin[k].first = first;
    s->builtin[k].second = second;
    s->step[k].what_case = TN_PLAN__STEP__WHAT_BUILTIN;
    s->step[k].builtin = &s->builtin[k];
    return k;
}
/* A place that says how many bytes it has, as builtins need. */
#define SAMPLE_BYTES(s, step, space, index, offset, size)                                                              \
    (SAMPLE_PLACE(s, step, space, index, offset)->place->bytes = (size))

static inline void sample_init(sample *s) {
    memset(s, 0, sizeof *s);
    tn_plan__plan__init(&s->plan);
    sample_ir(&s->ir, &s->weights);
    sample_dims(s);
    s->layer[0] = (char *)"/block/Mul";
    s->block[0] = 256, s->block[1] = s->block[2] = 1;
    s->cluster[0] = 2, s->cluster[1] = s->cluster[2] = 1;
    s->grid[0] = D_GRID, s->grid[1] = s->grid[2] = D_ONE;
    s->io_dims[0] = D_N, s->io_dims[1] = D_COLS;
    tn_plan__tensor__init(&s->in[0]);
    tn_plan__tensor__init(&s->out[0]);
    s->in[0].name = (char *)"x", s->out[0].name = (char *)"y";
    s->in[0].dtype = s->out[0].dtype = TN_F32;
    s->in[0].dims = s->out[0].dims = s->io_dims;
    s->in[0].n_dims = s->out[0].n_dims = 2;
    s->ins[0] = &s->in[0], s->outs[0] = &s->out[0];
    s->plan.inputs = s->ins, s->plan.outputs = s->outs;
    s->plan.n_inputs = s->plan.n_outputs = 1;
    tn_plan__const__init(&s->konst);
    s->konst.name = (char *)"w";
    s->konst.dtype = TN_F32;
    s->konst.size = SAMPLE_COLS * sizeof(float);
    s->consts[0] = &s->konst;
    s->plan.consts = s->consts;
    s->plan.n_consts = 1;
    s->plan.arena_size = D_BYTES;
    tn_plan__arch__init(&s->arch);
    s->arch.name = (char *)"sm_90a";
    s->arch.kernels = s->kernels;
    s->arch.steps = s->steps;
    s->archs[0] = &s->arch;
    s->plan.archs = s->archs;
    s->plan.n_archs = 1;
}

static inline void sample_free(sample *s) {
    free(s->ir.p);
    free(s->weights.p);
}

static inline TnPlan__Extent *sample_extent(sample *s, size_t step, size_t k, TnPlan__Place__Space space,
                                            uint32_t bytes) {
    TnPlan__Extent *e = &s->extent[step][k];
    tn_plan__extent__init(e);
    e->space = space;
    e->bytes = bytes;
    return e;
}

/* What the two steps touch and follow, and for N of 1 to 4 the second one's own launch as an alternative to itself. */
static inline void sample_program(sample *s) {
    static const uint32_t weights = D_FOUR; /* the first of them: enough for a checker */
    tn_plan__buffer__init(&s->buffer);
    s->buffer.bytes = D_BYTES;
    s->buffers[0] = &s->buffer;
    s->arch.buffers = s->buffers;
    s->arch.n_buffers = s->arch.streams = 1;
    s->reads[0][0] = sample_extent(s, 0, 0, TN_PLAN__PLACE__SPACE__INPUT, D_BYTES);
    s->reads[0][1] = sample_extent(s, 0, 1, TN_PLAN__PLACE__SPACE__CONST, weights);
    s->writes[0][0] = sample_extent(s, 0, 2, TN_PLAN__PLACE__SPACE__ARENA, D_BYTES);
    s->reads[1][0] = sample_extent(s, 1, 0, TN_PLAN__PLACE__SPACE__ARENA, D_BYTES);
    s->writes[1][0] = sample_extent(s, 1, 1, TN_PLAN__PLACE__SPACE__OUTPUT, D_BYTES);
    for (size_t k = 0; k < 2; k++) {
        s->step[k].reads = s->reads[k];
        s->step[k].writes = s->writes[k];
        s->step[k].n_reads = 2 - k;
        s->step[k].n_writes = 1;
    }
    s->step[1].after = s->after;
    s->step[1].n_after = 1;
    s->step[1].in_place = s->in_place;
    s->step[1].n_in_place = 2;
    tn_plan__bucket__init(&s->bucket);
    tn_plan__bucket__range__init(&s->range);
    s->range.symbol = D_N;
    s->range.lo = 1, s->range.hi = 4, s->range.typical = 2;
    s->ranges[0] = &s->range;
    s->bucket.ranges = s->ranges;
    s->bucket.n_ranges = 1;
    s->buckets[0] = &s->bucket;
    s->plan.buckets = s->buckets;
    s->plan.n_buckets = 1;
    s->way = s->step[1];
    s->ways[0] = &s->way;
    s->arch.alternatives = s->ways;
    s->arch.n_alternatives = 1;
    s->step[1].alternatives = s->which;
    s->step[1].n_alternatives = 1;
}

/* The two kernels of the model. */
static inline void sample_two_steps(sample *s) {
    size_t a = sample_launch(s, "scale", sample_kernel(s, "k_mul", 0));
    SAMPLE_PLACE(s, a, INPUT, 0, D_ZERO);
    SAMPLE_PLACE(s, a, CONST, 0, D_ZERO);
    SAMPLE_PLACE(s, a, ARENA, 0, D_ZERO);
    SAMPLE_DIM(s, a, D_NUMEL);
    size_t b = sample_launch(s, "shift", sample_kernel(s, "k_inc", 0));
    SAMPLE_PLACE(s, b, ARENA, 0, D_ZERO);
    SAMPLE_PLACE(s, b, OUTPUT, 0, D_ZERO);
    SAMPLE_DIM(s, b, D_NUMEL);
    if (a == 0 && b == 1) sample_program(s);
}

/* The second of the two kernels sees what it reads through a tensor map: k_map in place of k_inc. */
static inline void sample_map(sample *s) {
    TnPlan__Arg *a = sample_arg(s, 1, TN_PLAN__ARG__KIND__MAP, TN_PLAN__PLACE__SPACE__INPUT, 0, 0);
    TnPlan__TensorMap *m = a->map = &s->map;
    tn_plan__tensor_map__init(m);
    m->dtype = TN_F32;
    s->map_dims[0] = D_COLS, s->map_dims[1] = D_N;
    s->map_strides[0] = D_ROW;
    s->map_box[0] = 16, s->map_box[1] = 4;
    s->map_steps[0] = s->map_steps[1] = 1;
    m->dims = s->map_dims, m->strides = s->map_strides, m->box = s->map_box, m->steps = s->map_steps;
    m->n_dims = m->n_box = m->n_steps = 2;
    m->n_strides = 1;
    s->place[1][0].bytes = D_BYTES;
    s->kernel[1].name = (char *)"k_map";
    s->way = s->step[1];
    s->way.n_alternatives = 0;
}

/* y in the buffer of x, to which nothing is added. */
static inline void sample_alias(sample *s) {
    tn_plan__alias__init(&s->alias);
    tn_plan__extent__init(&s->kept);
    s->kept.space = TN_PLAN__PLACE__SPACE__INPUT;
    s->kept.bytes = D_BYTES;
    s->alias.bytes = D_BYTES;
    s->alias.kept = &s->kept;
    s->aliases[0] = s->aliases[1] = &s->alias;
    s->plan.aliases = s->aliases;
    s->plan.n_aliases = 1;
}

/* Bytes that stand for a cubin. */
static inline const char *sample_cubin(void) {
    return "a cubin in name only, long enough to pass for one: ................................";
}

/* Adds the blobs; index 0 is the cubin. */
static inline tn_status sample_blobs(sample *s, tn_plan_writer *w) {
    if (tn_plan_add_blob(w, sample_cubin(), strlen(sample_cubin()), TN_BLOB_PAGE) == TN_NO_BLOB) return TN_E_MEMORY;
    s->plan.weights = tn_plan_add_blob(w, s->weights.p, s->weights.n, TN_BLOB_ALIGN);
    s->plan.ir = tn_plan_add_blob(w, s->ir.p, s->ir.n, TN_BLOB_ALIGN);
    return s->plan.weights == TN_NO_BLOB || s->plan.ir == TN_NO_BLOB ? TN_E_MEMORY : TN_OK;
}

/* The plan in memory from malloc; the caller frees it with free. */
static inline void *sample_pack(sample *s, size_t *size) {
    tn_plan_writer *w = tn_plan_writer_new(NULL);
    void *data;
    ck_assert_int_eq(sample_blobs(s, w), TN_OK);
    ck_assert_int_eq(tn_plan_write_memory(w, &s->plan, &data, size), TN_OK);
    tn_plan_writer_free(w);
    return data;
}

static inline void *sample_model(size_t *size) {
    sample s;
    sample_init(&s);
    sample_two_steps(&s);
    void *data = sample_pack(&s, size);
    sample_free(&s);
    return data;
}

static inline void sample_fill(float *x, size_t n) {
    for (size_t k = 0; k < n; k++) x[k] = (float)k * 0.5f - 3;
}

/* Whether y is the model of x. */
static inline bool sample_right(const float *x, const float *y, size_t n) {
    for (size_t k = 0; k < n; k++)
        if (y[k] != x[k] * (float)(k % 4 + 1) + 1) return false;
    return true;
}

#endif
