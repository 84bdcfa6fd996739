/* execute.c: requests become batches, results become responses.
 *
 * Triton hands over requests that may be run together.  Those whose inputs agree in all sizes but the batch's are one batch,
 * as long as it is no larger than the model allows; each batch is one inference.  Every request is answered once, with
 * its part of the results or with an error, reported in the statistics, and released. */
#include "frontend/triton/backend.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

/* A request under way.  Arrays are parallel to the plan's inputs or outputs. */
typedef struct job {
    struct job *next; /* of the batch */
    triton_request *request;
    triton_response *response;
    triton_error *error; /* that it is answered with */
    bool taken;          /* into a batch */
    int64_t rows;        /* 1 where there is no batch axis */
    const int64_t **dims;
    part *parts;
    bool *wanted;
    triton_output **output; /* of the response */
    triton_state **state;
    piece *answer, *kept; /* their memory */
} job;

typedef struct batch {
    instance *i;
    tn_arena *a;
    job *first;
    size_t n;
    int64_t rows, padded;
    const void **in;
    void **out;
    uint32_t *rank; /* of outputs */
    int64_t (*dims)[TN_MAX_RANK];
    size_t *bytes;
    uint64_t start, compute, computed, end; /* nanoseconds */
} batch;

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static triton_error *no_memory(const instance *i) {
    return error_new(i->m->f, TRITON_UNAVAILABLE, "tenon: %s: out of memory", i->name);
}

/* ---- reading a request ------------------------------------------------------------------------------------------- */

static size_t row_bytes(const model *m, size_t k, const int64_t *dims) {
    uint64_t n = 1;
    for (uint32_t d = m->max_batch > 0; d < m->in[k].d->rank; d++) n *= (uint64_t)dims[d];
    return tn_dtype_bytes(m->in[k].d->dtype, n);
}

static triton_error *read_pieces(instance *i, tn_arena *a, triton_input *in, uint32_t n, part *out, size_t *bytes) {
    piece *p = tn_arena_alloc(a, (n + 1) * sizeof *p);
    if (!p) return no_memory(i);
    *out = (part){p, n};
    *bytes = 0;
    for (uint32_t k = 0; k < n; k++) {
        const void *at;
        uint64_t size;
        p[k].memory = liked_memory(i);
        p[k].id = i->gpu;
        TRY(i->m->f->InputBuffer(in, k, &at, &size, &p[k].memory, &p[k].id));
        p[k].p = (void *)(uintptr_t)at;
        p[k].size = (size_t)size;
        *bytes += p[k].size;
    }
    return NULL;
}

static triton_error *read_input(instance *i, tn_arena *a, job *j, size_t k) {
    const model *m = i->m;
    const tensor *t = &m->in[k];
    triton_input *in;
    triton_type type;
    const int64_t *dims;
    uint32_t rank, n;
    size_t bytes = 0;
    TRY(m->f->RequestInput(j->request, t->d->name, &in));
    TRY(m->f->InputProperties(in, NULL, &type, &dims, &rank, NULL, &n));
    bool fits = type == t->type && rank == t->d->rank;
    for (uint32_t d = 0; fits && d < rank; d++) fits = dims[d] >= 0;
    if (!fits)
        return error_new(m->f, TRITON_INVALID_ARGUMENT, "tenon: %s: input '%s' is not of the type and rank %s rank %u",
                         m->name, t->d->name, tn_dtype_text(t->d->dtype), t->d->rank);
    j->dims[k] = dims;
    TRY(read_pieces(i, a, in, n, &j->parts[k], &bytes));
    if (m->max_batch && k && dims[0] != j->rows)
        return error_new(m->f, TRITON_INVALID_ARGUMENT,
                         "tenon: %s: input '%s' has %" PRId64 " rows, but '%s' has %" PRId64, m->name, t->d->name,
                         dims[0], m->in[0].d->name, j->rows);
    if (m->max_batch) j->rows = dims[0];
    const size_t want = row_bytes(m, k, dims) * (size_t)j->rows;
    if (bytes == want) return NULL;
    return error_new(m->f, TRITON_INVALID_ARGUMENT, "tenon: %s: input '%s' has %zu bytes, but its shape %zu", m->name,
                     t->d->name, bytes, want);
}

static triton_error *read_wanted(instance *i, job *j) {
    const model *m = i->m;
    uint32_t n;
    TRY(m->f->RequestOutputCount(j->request, &n));
    for (uint32_t k = 0; k < n; k++) {
        const char *name;
        TRY(m->f->RequestOutputName(j->request, k, &name));
        for (size_t o = 0; o < m->n_out; o++) j->wanted[o] |= m->out[o].answers && !strcmp(name, m->out[o].d->name);
    }
    return NULL;
}

static triton_error *read_request(instance *i, tn_arena *a, job *j) {
    const model *m = i->m;
    j->rows = 1;
    j->dims = tn_arena_alloc(a, (m->n_in + 1) * sizeof *j->dims);
    j->parts = tn_arena_alloc(a, (m->n_in + 1) * sizeof *j->parts);
    j->wanted = tn_arena_alloc(a, (m->n_out + 1) * sizeof *j->wanted);
    j->output = tn_arena_alloc(a, (m->n_out + 1) * sizeof *j->output);
    j->answer = tn_arena_alloc(a, (m->n_out + 1) * sizeof *j->answer);
    j->kept = tn_arena_alloc(a, (m->n_out + 1) * sizeof *j->kept);
    j->state = tn_arena_alloc(a, (m->n_out + 1) * sizeof *j->state);
    if (!j->dims || !j->parts || !j->wanted || !j->output || !j->answer || !j->kept || !j->state) return no_memory(i);
    for (size_t k = 0; k < m->n_in; k++) TRY(read_input(i, a, j, k));
    TRY(read_wanted(i, j));
    if (j->rows >= 1 && (!m->max_batch || j->rows <= m->max_batch)) return NULL;
    return error_new(m->f, TRITON_INVALID_ARGUMENT, "tenon: %s: a request has %" PRId64 " rows, not 1 to %" PRId64,
                     m->name, j->rows, m->max_batch);
}

/* ---- batches ----------------------------------------------------------------------------------------------------- */

static bool agree(const model *m, const job *x, const job *y) {
    for (size_t k = 0; k < m->n_in; k++)
        for (uint32_t d = 1; d < m->in[k].d->rank; d++)
            if (x->dims[k][d] != y->dims[k][d]) return false;
    return true;
}

/* The first request that is in no batch yet, and all that go with it. */
static bool next_batch(instance *i, job *jobs, size_t n, batch *b) {
    const model *m = i->m;
    job **end = &b->first;
    *end = NULL;
    b->n = 0;
    b->rows = 0;
    for (size_t k = 0; k < n; k++) {
        job *j = &jobs[k];
        if (j->taken || j->error) continue;
        if (b->n && (!m->max_batch || b->rows + j->rows > m->max_batch || !agree(m, b->first, j))) continue;
        j->taken = true;
        *end = j;
        end = &j->next;
        b->n++;
        b->rows += j->rows;
    }
    b->padded = m->max_batch && b->n ? m->padded[b->rows] : b->rows;
    return b->n > 0;
}

/* All requests of the batch fail alike, but each wants an error of its own. */
static void fail(batch *b, triton_error *e) {
    const triton_functions *f = b->i->m->f;
    for (job *j = b->first; j; j = j->next)
        if (!j->error) j->error = f->ErrorNew(f->ErrorCode(e), f->ErrorMessage(e));
    f->ErrorDelete(e);
}

/* ---- outputs ----------------------------------------------------------------------------------------------------- */

/* Sizes of output k of a job, from the batch's. */
static size_t output_of(const batch *b, const job *j, size_t k, int64_t *dims) {
    const model *m = b->i->m;
    memcpy(dims, b->dims[k], b->rank[k] * sizeof *dims);
    if (m->max_batch) dims[0] = j->rows;
    return b->bytes[k] / (size_t)b->padded * (size_t)(m->max_batch ? j->rows : b->padded);
}

static triton_error *make_answer(const batch *b, job *j, size_t k) {
    const model *m = b->i->m;
    int64_t dims[TN_MAX_RANK];
    const size_t bytes = output_of(b, j, k, dims);
    piece *to = &j->answer[k];
    TRY(m->f->ResponseOutput(j->response, &j->output[k], m->out[k].d->name, m->out[k].type, dims, b->rank[k]));
    *to = (piece){NULL, bytes, liked_memory(b->i), b->i->gpu};
    return m->f->OutputBuffer(j->output[k], &to->p, bytes, &to->memory, &to->id);
}

static triton_error *make_state(const batch *b, job *j, size_t k) {
    const model *m = b->i->m;
    int64_t dims[TN_MAX_RANK];
    const size_t bytes = output_of(b, j, k, dims);
    piece *to = &j->kept[k];
    TRY(m->f->StateNew(&j->state[k], j->request, m->out[k].d->name, m->out[k].type, dims, b->rank[k]));
    *to = (piece){NULL, bytes, liked_memory(b->i), b->i->gpu};
    return m->f->StateBuffer(j->state[k], &to->p, bytes, &to->memory, &to->id);
}

/* Memory of output k for a job, as far as it has none yet. */
static triton_error *make_output(const batch *b, job *j, size_t k) {
    const tensor *t = &b->i->m->out[k];
    if (j->wanted[k] && !j->output[k]) TRY(make_answer(b, j, k));
    return t->state && !j->state[k] ? make_state(b, j, k) : NULL;
}

static triton_error *output_size(batch *b, size_t k, bool ran) {
    instance *i = b->i;
    const tn_tensor_desc *d = i->m->out[k].d;
    uint64_t n = 1;
    TRY(error_of(i->m, ran ? tn_context_output_shape(i->x, k, &b->rank[k], b->dims[k])
                           : tn_context_output_most(i->x, k, &b->rank[k], b->dims[k])));
    for (uint32_t a = 0; a < b->rank[k]; a++) n *= (uint64_t)b->dims[k][a];
    b->bytes[k] = tn_dtype_bytes(d->dtype, n);
    return NULL;
}

/* Where the inference writes output k: the memory of the only request's answer if it may be, else the instance's own. */
static triton_error *place_output(batch *b, size_t k) {
    instance *i = b->i;
    job *j = b->first;
    lane *l = &i->out[k];
    b->out[k] = NULL;
    if (i->m->out[k].made) return NULL;
    TRY(output_size(b, k, false));
    if (b->n == 1 && b->rows == b->padded && j->wanted[k]) {
        TRY(make_answer(b, j, k));
        if (is_liked(i, &j->answer[k])) return b->out[k] = j->answer[k].p, NULL;
    }
    buffer *own = i->staged ? &l->device : &l->host;
    TRY(buffer_reserve(i, own, i->staged, b->bytes[k]));
    b->out[k] = own->p;
    return NULL;
}

/* ---- an inference ------------------------------------------------------------------------------------------------ */

static triton_error *set_inputs(batch *b) {
    instance *i = b->i;
    const model *m = i->m;
    part *parts = tn_arena_alloc(b->a, b->n * sizeof *parts);
    if (!parts) return no_memory(i);
    for (size_t k = 0; k < m->n_in; k++) {
        int64_t dims[TN_MAX_RANK];
        size_t n = 0;
        memcpy(dims, b->first->dims[k], m->in[k].d->rank * sizeof *dims);
        if (m->max_batch) dims[0] = b->padded;
        TRY(error_of(m, tn_context_set_shape(i->x, k, m->in[k].d->rank, dims)));
        for (job *j = b->first; j; j = j->next) parts[n++] = j->parts[k];
        TRY(move_in(i, k, parts, n, row_bytes(m, k, dims), (size_t)b->rows, (size_t)b->padded, &b->in[k]));
    }
    return NULL;
}

static triton_error *begin(batch *b) {
    instance *i = b->i;
    TRY(set_inputs(b));
    for (size_t k = 0; k < i->m->n_out; k++) TRY(place_output(b, k));
    b->compute = now();
    if (!i->staged) {
        TRY(error_of(i->m, tn_context_run(i->x, b->in, b->out)));
        b->computed = now();
        return NULL;
    }
    tn_status st = TN_CU(i->cu, cuEventRecord(i->begun, i->stream), "");
    if (st == TN_OK) st = tn_context_enqueue(i->x, b->in, b->out, i->stream);
    if (st == TN_OK) st = TN_CU(i->cu, cuEventRecord(i->computed, i->stream), "");
    return error_of(i->m, st);
}

/* Waits for the stream; when it computed is what the device's clock says. */
static triton_error *wait_for(batch *b) {
    instance *i = b->i;
    float copying = 0, computing = 0;
    if (!i->staged) return NULL;
    tn_status st = TN_CU(i->cu, cuEventRecord(i->done, i->stream), "");
    if (st == TN_OK) st = TN_CU(i->cu, cuStreamSynchronize(i->stream), "an inference");
    const uint64_t end = now();
    if (st == TN_OK) st = TN_CU(i->cu, cuEventElapsedTime(&computing, i->begun, i->computed), "");
    if (st == TN_OK) st = TN_CU(i->cu, cuEventElapsedTime(&copying, i->computed, i->done), "");
    const uint64_t since = end - b->start, copied = (uint64_t)((double)copying * 1e6);
    b->computed = end - (copied < since ? copied : since);
    const uint64_t computed = (uint64_t)((double)computing * 1e6), before = b->computed - b->start;
    b->compute = b->computed - (computed < before ? computed : before);
    return error_of(i->m, st);
}

/* Where all requests' parts of output k go. */
static size_t targets_of(const batch *b, size_t k, target *out) {
    size_t n = 0, offset = 0;
    for (job *j = b->first; j; j = j->next) {
        int64_t dims[TN_MAX_RANK];
        const size_t bytes = output_of(b, j, k, dims);
        if (!j->error && j->answer[k].p) out[n++] = (target){j->answer[k], offset};
        if (!j->error && j->kept[k].p) out[n++] = (target){j->kept[k], offset};
        offset += bytes;
    }
    return n;
}

static triton_error *finish(batch *b) {
    instance *i = b->i;
    const size_t n_out = i->m->n_out;
    target **targets = tn_arena_alloc(b->a, (n_out + 1) * sizeof *targets);
    size_t *n = tn_arena_alloc(b->a, (n_out + 1) * sizeof *n);
    if (!targets || !n) return no_memory(i);
    for (size_t k = 0; k < n_out; k++) {
        targets[k] = tn_arena_alloc(b->a, 2 * b->n * sizeof **targets);
        if (!targets[k]) return no_memory(i);
        if (i->m->out[k].made) {
            TRY(output_size(b, k, true));
            b->out[k] = i->out[k].host.p;
        }
        for (job *j = b->first; j; j = j->next)
            if (!j->error) j->error = make_output(b, j, k);
        n[k] = targets_of(b, k, targets[k]);
        TRY(move_out(i, k, b->out[k], b->bytes[k], targets[k], n[k]));
    }
    TRY(wait_for(b));
    for (size_t k = 0; k < n_out; k++) move_out_end(i, k, b->out[k], targets[k], n[k]);
    for (job *j = b->first; j; j = j->next)
        for (size_t k = 0; k < n_out; k++)
            if (!j->error && j->state[k]) j->error = i->m->f->StateUpdate(j->state[k]);
    return NULL;
}

static triton_error *new_batch(instance *i, tn_arena *a, batch *b) {
    const size_t n = i->m->n_out + 1;
    *b = (batch){.i = i, .a = a};
    b->in = tn_arena_alloc(a, (i->m->n_in + 1) * sizeof *b->in);
    b->out = tn_arena_alloc(a, n * sizeof *b->out);
    b->rank = tn_arena_alloc(a, n * sizeof *b->rank);
    b->dims = tn_arena_alloc(a, n * sizeof *b->dims);
    b->bytes = tn_arena_alloc(a, n * sizeof *b->bytes);
    return b->in && b->out && b->rank && b->dims && b->bytes ? NULL : no_memory(i);
}

static void run(batch *b) {
    instance *i = b->i;
    b->start = b->compute = b->computed = now();
    triton_error *e = begin(b);
    if (!e) e = finish(b);
    /* What was enqueued may read requests that are given back now */
    if (e && i->staged) i->cu->cuStreamSynchronize(i->stream);
    if (e) fail(b, e);
    b->end = now();
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static void drop(const instance *i, triton_error *e) {
    if (!e) return;
    log_text(i->m->f, TRITON_LOG_ERROR, "tenon: %s: %s", i->name, i->m->f->ErrorMessage(e));
    i->m->f->ErrorDelete(e);
}

static void answer(const instance *i, job *j, const batch *b) {
    const triton_functions *f = i->m->f;
    const bool ok = !j->error;
    if (j->response)
        drop(i, f->ResponseSend(j->response, TRITON_FINAL, j->error)); /* the response is Triton's, the error ours */
    drop(i, f->ModelInstanceReportStatistics(i->handle, j->request, ok, b->start, b->compute, b->computed, b->end));
    if (j->error) f->ErrorDelete(j->error);
    drop(i, f->RequestRelease(j->request, TRITON_RELEASE_ALL));
}

static void answer_batch(const batch *b) {
    const instance *i = b->i;
    bool any = false;
    for (job *j = b->first; j; j = j->next) {
        any |= !j->error;
        answer(i, j, b);
    }
    if (any)
        drop(i, i->m->f->ModelInstanceReportBatchStatistics(i->handle, (uint64_t)b->rows, b->start, b->compute,
                                                            b->computed, b->end));
}

void execute(instance *i, triton_request **requests, uint32_t n) {
    const triton_functions *f = i->m->f;
    tn_arena a = {&i->m->env, NULL};
    batch b;
    job *jobs = tn_arena_alloc(&a, (n + 1) * sizeof *jobs);
    triton_error *e = new_batch(i, &a, &b);
    if (i->ctx && !e) e = error_of(i->m, tn_cuda_enter(i->cu, i->ctx));
    const bool entered = i->ctx && !e;
    b.start = now();
    for (uint32_t k = 0; k < n; k++) {
        job here = {.request = requests[k]}, *j = jobs ? &jobs[k] : &here;
        j->request = requests[k];
        drop(i, f->ResponseNew(&j->response, j->request));
        j->error = e ? f->ErrorNew(f->ErrorCode(e), f->ErrorMessage(e)) : jobs ? read_request(i, &a, j) : no_memory(i);
        if (j->error) answer(i, j, &b);
    }
    while (jobs && next_batch(i, jobs, n, &b)) {
        run(&b);
        answer_batch(&b);
    }
    if (entered) tn_cuda_leave(i->cu);
    if (e) f->ErrorDelete(e);
    tn_arena_free(&a);
}
