/* pool.c: see pool.h. */
#include "runtime/cuda/pool.h"
#include "tenon/internal/arith.h"

#include <pthread.h>
#include <stdio.h>

#include "runtime/host.h"

struct tn_scratch_pool {
    const tn_env *env;
    tn_cuda *cu;
    CUdevice device;
    CUcontext ctx; /* the primary one; NULL: not retained */
    int ordinal;
    size_t cap; /* 0: none */
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* a block was given back, or another's turn has come */
    /* under mutex */
    unsigned refs;
    tn_scratch_block *blocks;
    size_t bytes;         /* of all blocks */
    uint64_t turn, turns; /* served next; given out */
    uint64_t order;
};

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void destroy(tn_scratch_pool *p) {
    const bool entered = p->ctx && tn_cuda_enter(p->cu, p->ctx) == TN_OK;
    for (tn_scratch_block *b = p->blocks, *next; b; b = next) {
        next = b->next;
        p->cu->cuMemFree(b->at);
        p->cu->cuEventDestroy(b->done);
        tn_free(p->env, b, sizeof *b);
    }
    if (entered) tn_cuda_leave(p->cu);
    if (p->ctx) p->cu->cuDevicePrimaryCtxRelease(p->device);
    tn_cuda_close(p->cu);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->mutex);
    tn_free(p->env, p, sizeof *p);
}

static tn_status open_device(tn_scratch_pool *p, const tn_context_options *of) {
    tn_device_info info;
    tn_status st = TN_OK;
    if (of->device == TN_CUDA)
        st = tn_cuda_open(p->env, &p->cu);
    else if (of->device == TN_EMU && of->host)
        st = of->host->emulator_open(p->env, &p->cu);
    else
        return tn_fail(p->env, TN_E_ARGUMENT, "", "give the options of the contexts that are to share it",
                       "scratch memory is of a GPU, or of an emulated one with its host");
    if (st == TN_OK) st = tn_cuda_device_info(p->cu, of->cuda_device, &info);
    if (st != TN_OK) return st;
    p->ordinal = of->cuda_device;
    p->device = info.device;
    return TN_CU(p->cu, cuDevicePrimaryCtxRetain(&p->ctx, p->device), "");
}

tn_scratch_pool *tn_scratch_pool_new(const tn_env *env, const tn_context_options *of, size_t cap, tn_status *status) {
    static const tn_context_options first_gpu = {.device = TN_CUDA};
    tn_status unused;
    if (!status) status = &unused;
    tn_scratch_pool *p = tn_alloc(env, sizeof *p);
    if (!p) {
        *status = tn_fail(env, TN_E_MEMORY, "", "", "out of memory");
        return NULL;
    }
    p->env = env;
    p->cap = cap;
    p->refs = 1;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->changed, NULL);
    *status = open_device(p, of ? of : &first_gpu);
    if (*status == TN_OK) return p;
    destroy(p);
    return NULL;
}

void tn_scratch_pool_retain(tn_scratch_pool *p) {
    pthread_mutex_lock(&p->mutex);
    p->refs++;
    pthread_mutex_unlock(&p->mutex);
}

void tn_scratch_pool_free(tn_scratch_pool *p) {
    if (!p) return;
    pthread_mutex_lock(&p->mutex);
    const bool last = --p->refs == 0;
    pthread_mutex_unlock(&p->mutex);
    if (last) destroy(p);
}

size_t tn_scratch_pool_bytes(tn_scratch_pool *p) {
    pthread_mutex_lock(&p->mutex);
    const size_t bytes = p->bytes;
    pthread_mutex_unlock(&p->mutex);
    return bytes;
}

bool tn_scratch_pool_is_of(const tn_scratch_pool *p, bool emulated, int ordinal) {
    return p->cu->emulated == emulated && p->ordinal == ordinal;
}

/* ---- blocks ------------------------------------------------------------------------------------------------------ */

/* So that requests of about the same size fit the same block: up to an eighth more. */
static size_t rounded(size_t bytes) {
    size_t step = 256;
    while (step < SIZE_MAX / 16 && step * 16 <= bytes) step *= 2;
    uint64_t up;
    return tn_round_up_bytes(bytes, step, &up) ? (size_t)up : bytes;
}

static bool fits(const tn_scratch_pool *p, size_t others, size_t bytes) {
    return !p->cap || (others <= p->cap && bytes <= p->cap - others);
}

static bool is_free(const tn_scratch_block *b) {
    return !b->held && !b->kept;
}

static bool is_done(const tn_scratch_pool *p, tn_scratch_block *b) {
    if (b->pending) b->pending = p->cu->cuEventQuery(b->done) == CUDA_ERROR_NOT_READY;
    return !b->pending;
}

static tn_status add(tn_scratch_pool *p, size_t bytes, tn_scratch_block **out) {
    tn_scratch_block *b = tn_alloc(p->env, sizeof *b);
    if (!b) return tn_fail(p->env, TN_E_MEMORY, "", "", "out of memory");
    tn_status st = TN_CU(p->cu, cuEventCreate(&b->done, CU_EVENT_DISABLE_TIMING), "");
    if (st == TN_OK) st = TN_CU(p->cu, cuMemAlloc(&b->at, bytes), "scratch memory");
    if (st != TN_OK) {
        if (b->done) p->cu->cuEventDestroy(b->done);
        tn_free(p->env, b, sizeof *b);
        return st;
    }
    b->size = bytes;
    b->next = p->blocks;
    p->blocks = b;
    p->bytes += bytes;
    *out = b;
    return TN_OK;
}

static void drop(tn_scratch_pool *p, tn_scratch_block *b) {
    tn_scratch_block **at = &p->blocks;
    while (*at != b) at = &(*at)->next;
    *at = b->next;
    p->bytes -= b->size;
    p->cu->cuMemFree(b->at);
    p->cu->cuEventDestroy(b->done);
    tn_free(p->env, b, sizeof *b);
}

/* ---- taking ------------------------------------------------------------------------------------------------------ */

typedef struct request {
    const tn_env *env;
    size_t bytes;
    const tn_scratch_block *last;
    CUstream stream;
    bool keep, capturing;
} request;

static size_t bytes_kept(const tn_scratch_pool *p) {
    size_t n = 0;
    for (const tn_scratch_block *b = p->blocks; b; b = b->next) n += b->kept ? b->size : 0;
    return n;
}

/* The caller's last block if its work is done, or comes before in the same stream; else the smallest that is done. */
static tn_scratch_block *find_done(const tn_scratch_pool *p, const request *r) {
    tn_scratch_block *best = NULL;
    for (tn_scratch_block *b = p->blocks; b; b = b->next)
        if (b == r->last && is_free(b) && b->size >= r->bytes &&
            (is_done(p, b) || (b->stream == r->stream && !r->capturing)))
            return b;
    for (tn_scratch_block *b = p->blocks; b; b = b->next)
        if (is_free(b) && b->size >= r->bytes && (!best || b->size < best->size) && is_done(p, b)) best = b;
    return best;
}

/* The free block of at least so many bytes whose work was enqueued first. */
static tn_scratch_block *find_oldest(const tn_scratch_pool *p, size_t bytes) {
    tn_scratch_block *best = NULL;
    for (tn_scratch_block *b = p->blocks; b; b = b->next)
        if (is_free(b) && b->size >= bytes && (!best || b->order < best->order)) best = b;
    return best;
}

/* Frees blocks without work, all of which are too small, if that makes room. */
static bool make_room(tn_scratch_pool *p, size_t bytes) {
    size_t idle = 0;
    for (tn_scratch_block *b = p->blocks; b; b = b->next) idle += is_free(b) && is_done(p, b) ? b->size : 0;
    if (!fits(p, p->bytes - idle, bytes)) return false;
    for (tn_scratch_block *b = p->blocks, *next; b && !fits(p, p->bytes, bytes); b = next) {
        next = b->next;
        if (is_free(b) && !b->pending) drop(p, b);
    }
    return true;
}

static tn_status no_room(const tn_scratch_pool *p, const request *r, size_t kept) {
    char held[96] = "";
    if (kept) snprintf(held, sizeof held, ", of which captured graphs keep %zu", kept);
    return tn_fail(r->env, TN_E_MEMORY, "", "give the pool a larger cap, or the context memory of its own",
                   "%zu bytes of scratch memory are needed at these shapes%s; the pool may have %zu%s", r->bytes,
                   r->capturing ? " while a stream is captured" : "", p->cap, held);
}

/* The oldest work must end for its block to make room.  The mutex is open meanwhile. */
static void wait_and_drop(tn_scratch_pool *p, tn_scratch_block *b) {
    b->held = true;
    pthread_mutex_unlock(&p->mutex);
    p->cu->cuEventSynchronize(b->done);
    pthread_mutex_lock(&p->mutex);
    drop(p, b);
}

/* One step towards a block: *out, or NULL where something has changed and it must be tried again. */
static tn_status try_take(tn_scratch_pool *p, const request *r, tn_scratch_block **out) {
    const size_t kept = bytes_kept(p);
    const size_t size = fits(p, kept, rounded(r->bytes)) ? rounded(r->bytes) : r->bytes;
    *out = find_done(p, r);
    if (*out) return TN_OK;
    if (!fits(p, kept, size)) return no_room(p, r, kept);
    if (fits(p, p->bytes, size) || (!r->capturing && make_room(p, size))) return add(p, size, out);
    if (r->capturing) return no_room(p, r, kept);
    *out = find_oldest(p, r->bytes);
    if (*out) return TN_OK;
    tn_scratch_block *small = find_oldest(p, 0);
    if (small)
        wait_and_drop(p, small);
    else
        pthread_cond_wait(&p->changed, &p->mutex);
    return TN_OK;
}

tn_status tn_scratch_take(tn_scratch_pool *p, const tn_env *env, size_t bytes, const tn_scratch_block *last,
                          CUstream stream, bool keep, bool capturing, tn_scratch_block **out) {
    const request r = {env, bytes, last, stream, keep, capturing};
    tn_status st = TN_OK;
    tn_scratch_block *b = NULL;
    pthread_mutex_lock(&p->mutex);
    const uint64_t turn = p->turns++;
    while (turn != p->turn) pthread_cond_wait(&p->changed, &p->mutex);
    while (st == TN_OK && !b) st = try_take(p, &r, &b);
    if (st == TN_OK) {
        if (b->pending) st = TN_CU(p->cu, cuStreamWaitEvent(stream, b->done, CU_EVENT_WAIT_DEFAULT), "scratch memory");
        b->held = st == TN_OK && !keep;
        b->kept = st == TN_OK && keep;
    }
    p->turn++;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
    *out = st == TN_OK ? b : NULL;
    return st;
}

/* ---- giving back ------------------------------------------------------------------------------------------------- */

void tn_scratch_give(tn_scratch_pool *p, tn_scratch_block *b, CUstream stream) {
    const bool recorded = p->cu->cuEventRecord(b->done, stream) == CUDA_SUCCESS;
    if (!recorded) p->cu->cuCtxSynchronize();
    pthread_mutex_lock(&p->mutex);
    b->pending = recorded;
    b->held = false;
    b->stream = stream;
    b->order = ++p->order;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
}

void tn_scratch_give_kept(tn_scratch_pool *p, tn_scratch_block *first) {
    pthread_mutex_lock(&p->mutex);
    for (tn_scratch_block *b = first, *next; b; b = next) {
        next = b->next_kept;
        b->next_kept = NULL;
        b->kept = b->pending = false;
    }
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
}
