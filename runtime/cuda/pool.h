/* pool.h: scratch memory that contexts share, as blocks of device memory.
 *
 * An enqueue holds a block while it enqueues, and then gives it back with an event after its work.  Whoever takes a
 * block next finds the event done, or lets its own stream wait for it: the host does not wait.  Blocks are made until
 * the cap is reached; then those that are too small make room for larger ones.  A host thread waits only for other
 * threads that are enqueueing, or for work on blocks that must make room; who waits is served in turn, so that the
 * large are not overtaken for ever by the small.
 *
 * A block that a captured graph knows is kept: it is nobody else's until its context gives it back. */
#ifndef TENON_RUNTIME_POOL_H
#define TENON_RUNTIME_POOL_H

#include "runtime/cuda/cuda.h"
#include "tenon/tenon.h"

typedef struct tn_scratch_block {
    struct tn_scratch_block *next;
    struct tn_scratch_block *next_kept; /* of its context */
    CUdeviceptr at;
    size_t size;
    CUevent done;    /* after the last work on it */
    bool pending;    /* `done` was recorded and not yet seen to have happened */
    bool held, kept; /* by an enqueue in progress; by a context for good */
    CUstream stream; /* of that work, as a hint: a stream may be gone and its handle another's */
    uint64_t order;  /* of that work */
} tn_scratch_block;

/* Of an emulated device or of GPU `ordinal`? */
bool tn_scratch_pool_is_of(const tn_scratch_pool *p, bool emulated, int ordinal);
void tn_scratch_pool_retain(tn_scratch_pool *p);

/* Takes a block of at least `bytes` for work that is to be enqueued on `stream`; `last` is the one that the caller had
 * before (it may be gone; NULL: none), which it gets again where that costs nothing, as graphs know its address.  keep:
 * for good.  capturing: `stream` is being captured, so nothing may be waited for nor freed.  The device's context is
 * current.  E_MEMORY says how much is needed, kept and allowed. */
tn_status tn_scratch_take(tn_scratch_pool *p, const tn_env *env, size_t bytes, const tn_scratch_block *last,
                          CUstream stream, bool keep, bool capturing, tn_scratch_block **out);
/* Gives back a block that was not taken for good, after work on `stream`. */
void tn_scratch_give(tn_scratch_pool *p, tn_scratch_block *b, CUstream stream);
/* Gives back blocks that were kept, linked by next_kept; nothing may be under way on them. */
void tn_scratch_give_kept(tn_scratch_pool *p, tn_scratch_block *first);

#endif
