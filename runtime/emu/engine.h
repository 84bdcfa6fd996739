/* engine.h: what the files of the emulator share.  engine.c schedules threads; memory.c checks accesses; sync.c has
 * barriers, warps and mbarriers; space.c the memory of all this; async.c copies in the background; matrix.c the matrix
 * instructions; module.c builds kernels; driver.c is a CUDA driver made of all this.
 *
 * Order of events.  Every thread has a vector clock: seen[u] is the newest time of thread u whose events this thread
 * knows to be over, and `own` its own time, which advances whenever it publishes (at barriers).  Shared memory keeps,
 * for every four bytes, the last write and a few reads with their times; an access that conflicts with an event that
 * it has not seen is a race (FastTrack's rule, Flanagan and Freund 2009).  Background copies are agents with clocks of
 * their own. */
#ifndef TENON_EMU_ENGINE_H
#define TENON_EMU_ENGINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <ucontext.h>

#include "runtime/emu/emu.h"
#include "templates/shared/tn_emu.h"

#if defined(__SANITIZE_ADDRESS__) && !defined(EMU_SWAPCONTEXT)
#define EMU_SWAPCONTEXT 1
#elif defined(__has_feature) && !defined(EMU_SWAPCONTEXT)
#if __has_feature(address_sanitizer)
#define EMU_SWAPCONTEXT 1
#endif
#endif

#if defined(__clang__) && !defined(__x86_64__) && !defined(EMU_SWAPCONTEXT)
#define EMU_SWAPCONTEXT 1 /* it has no __builtin_longjmp there */
#endif

/* Where a fiber goes on.  libc's setjmp would do, but sanitizers watch it, and that takes longer than all the rest. */
#ifdef EMU_SWAPCONTEXT
typedef sigjmp_buf emu_place;
#define EMU_SET(place) sigsetjmp(place, 0)
#define EMU_GO(place) siglongjmp(place, 1)
#else
typedef void *emu_place[5];
#define EMU_SET(place) __builtin_setjmp(place)
#define EMU_GO(place) __builtin_longjmp(place, 1)
#endif

enum {
    EMU_WARP = 32,
    EMU_MAX_THREADS = 1024,
    EMU_MAX_CLUSTER = 16,
    EMU_MAX_TOGETHER = 128,   /* blocks that run at the same time */
    EMU_MAX_EVENTS = 1 << 16, /* threads of these, and agents */
    EMU_SMEM_MAX = 227 << 10,
    EMU_SMEM_SPACE = 260 << 10, /* dynamic part, then static variables with gaps */
    EMU_GAP = 64,
    EMU_STACK = 192 << 10,
    EMU_BARRIERS = 16,
    EMU_VARIABLES = 64,
    EMU_AGENTS = 64,       /* of bulk copies */
    EMU_TENSOR_CORES = 64, /* of warpgroups */
    EMU_SLOTS = 4,         /* warp-wide instructions under way in one warp, under different masks */
};

typedef struct emu_run emu_run;
typedef struct emu_block emu_block;
typedef struct emu_thread emu_thread;

typedef struct emu_clock {
    uint32_t refs;
    struct emu_clock *next_free;
    uint32_t at[]; /* threads of the cluster, then agents */
} emu_clock;

typedef struct emu_event {
    uint32_t time, pc;
    uint16_t who;
    uint8_t bytes; /* a bit for each of the four; 0: no event */
} emu_event;
enum { EMU_READERS = 3 };
typedef struct emu_cell {
    emu_event write, read[EMU_READERS];
} emu_cell;

/* Shared memory of a block, a state for each byte, a cell for each word. */
typedef struct emu_room {
    unsigned char *smem, *state;
    emu_cell *cells;
    uint32_t used; /* bytes that a launch had */
} emu_room;
typedef struct emu_space {
    char *stacks;
    size_t stacks_size;
    emu_room rooms[EMU_MAX_TOGETHER];
} emu_space;

/* The last write of four bytes of global memory. */
typedef struct emu_written {
    emu_event event;
    uint32_t cluster;
} emu_written;

/* State of a byte of shared memory. */
enum { EMU_NONE, EMU_UNWRITTEN, EMU_IN_FLIGHT, EMU_READY }; /* EMU_NONE: 0 */

typedef struct emu_copy { /* a cp.async that has not landed */
    uint32_t dst, bytes, src_bytes, pc;
    const char *src;
} emu_copy;

struct emu_thread {
    tn_emu_view view; /* first: the kernel holds a pointer to it */
    emu_run *run;
    emu_block *block;
    emu_place jump;
    ucontext_t context;
    char *stack;
    bool registers_fenced;    /* wgmma.fence since it was last given accumulators back */
    bool made, done, depends; /* depends: has passed griddepcontrol.wait */
    const uint32_t *wait;     /* blocked while *wait == wait_value; NULL: runnable */
    uint32_t wait_value;
    const char *wait_for;
    const void *wait_pc;
    const char *file; /* of the last __syncthreads */
    int line;
    uint32_t warp; /* of the block */
    bool cluster_arrived;
    uint32_t cluster_round;
    emu_clock *cluster_seen; /* what it knew when it arrived */
    uint32_t id, own;        /* in the cluster */
    emu_clock *seen;
    uint32_t fenced;       /* own time of the last proxy fence */
    emu_clock *fence_seen; /* what was known then; NULL: none */
    emu_copy *copies;
    size_t n_copies, cap_copies;
    size_t *groups; /* ends of committed groups in copies */
    size_t n_groups, cap_groups;
    uint32_t bulk_group;     /* the open group of bulk stores */
    struct emu_bulk *stores; /* its bulk stores that are done and that it has not waited for */
};

typedef struct emu_barrier {
    uint32_t round, expected, n;
    uint16_t *who; /* threads that have arrived, ids in the cluster */
    emu_clock *released;
} emu_barrier;

typedef struct emu_slot { /* a warp-wide instruction that lanes arrive at */
    uint32_t round, mask, arrived;
    tn_emu_warp_op *op;
    const void *pc;
    void *lane[EMU_WARP];
} emu_slot;

typedef struct emu_mbarrier {
    struct emu_mbarrier *next;
    uint32_t address, count, pending, phase;
    int64_t bytes; /* still expected */
    uint32_t by;   /* the thread that initialised it */
    bool fenced;   /* it has said so to copies in the background and to other blocks */
    emu_clock *gathered, *released;
} emu_mbarrier;

typedef struct emu_variable {
    const char *name;
    uint32_t at, bytes;
} emu_variable;

/* Products that wgmma has started. */
typedef struct emu_product {
    struct emu_product *next;
    tn_emu_elem a_type, b_type;
    int n, k, trans_a, trans_b, scale_d;
    unsigned long long a, b;
    unsigned *d[128]; /* each thread's accumulators */
    emu_thread *thread[128];
    uint32_t *a_regs;                  /* 64 x k elements as bits, or NULL */
    emu_clock *issued[4], *issued_all; /* what each warp knew, and what every one of them did */
    uint32_t group, time, pc;
} emu_product;
typedef struct emu_accumulator { /* registers that products under way own: d holds NaN until they are waited for */
    struct emu_accumulator *next;
    unsigned *d;
    int n;
    unsigned value[128];
} emu_accumulator;
typedef struct emu_warpgroup {
    uint32_t round, n;
    void (*op)(emu_run *, struct emu_warpgroup *); /* what they arrive for */
    void *thread[128];
    emu_product *first, **last;
    uint32_t group; /* the open one */
    emu_accumulator *accumulators;
} emu_warpgroup;

struct emu_block {
    tn_emu_uint3 index;
    uint32_t rank;
    emu_thread *threads; /* n_threads of the run */
    unsigned char *smem, *state;
    emu_cell *cells;
    emu_variable variables[EMU_VARIABLES];
    uint32_t used; /* bytes of the space in use */
    emu_barrier barriers[EMU_BARRIERS];
    emu_slot slots[EMU_MAX_THREADS / EMU_WARP][EMU_SLOTS];
    uint32_t living[EMU_MAX_THREADS / EMU_WARP]; /* lanes that have not ended */
    emu_warpgroup groups[EMU_MAX_THREADS / 128];
    emu_mbarrier *mbarriers;
};

/* A bulk copy that has not been done. */
typedef struct emu_bulk {
    struct emu_bulk *next;
    emu_thread *thread; /* that issued it */
    emu_clock *seen;    /* what it knew */
    uint32_t who, time; /* the agent that does it */
    uint32_t pc;
    /* what to copy */
    bool is_store, is_tensor, im2col;
    uint32_t group;                      /* of stores: the thread's bulk group */
    uint32_t shared, span;               /* of shared memory; a box's rows may have gaps between them */
    uint32_t bytes, mbarrier, multicast; /* multicast: blocks of the cluster that get a load */
    char *global;                        /* of plain copies */
    uint64_t map[16];                    /* of tensor copies: emu_tensor_map */
    int coords[5], offsets[3];
} emu_bulk;

struct emu_run {
    const tn_env *env;
    tn_emu_kernel *kernel;
    const tn_emu_launch *launch;
    tn_emu_report *report;
    emu_block *blocks;                               /* of one cluster */
    uint32_t n_blocks, n_threads, n_warps, n_events; /* threads of a block; clock entries */
    emu_thread *threads;                             /* of the cluster */
    emu_thread *current;                             /* NULL: the scheduler runs */
    emu_barrier cluster_barrier;
    emu_bulk *bulk, **bulk_last;
    uint32_t landings; /* counts bulk copies done */
    uint32_t agent_time[EMU_AGENTS + EMU_TENSOR_CORES], next_agent;
    emu_clock *free_clocks;
    uint32_t base;    /* times of earlier clusters are below */
    uint32_t cluster; /* which of the grid's is running */
    const tn_emu_range *last_range;
    emu_written **written; /* of each range; NULL: nothing */
    bool orders;           /* has used atomics on global memory, which may order its blocks */
    uint64_t steps, max_steps, random;
    uint32_t bank_conflicts, turn; /* turn: of the scheduler */
    bool failed, out_of_memory;
    emu_place home;
    ucontext_t home_context;
    emu_space *space;
    const char *stacks;
    size_t stacks_size;
};

/* True if `who`, knowing `seen`, knows nothing of an event in any of these bytes. */
static inline bool emu_unordered(const emu_event *e, uint8_t bytes, uint32_t who, const emu_clock *seen) {
    return (e->bytes & bytes) && e->who != who && e->time > seen->at[e->who];
}

/* The thread of a view. */
static inline emu_thread *emu_of(tn_emu_view *v) {
    return (emu_thread *)(void *)v;
}

/* engine.c */
const tn_emu_api *emu_api(void);
void emu_grid_wait(tn_emu_view *);
void emu_branches(tn_emu_view *, unsigned n, const void *pc);
void emu_misuse(tn_emu_view *, const char *what);
void emu_bad_index(tn_emu_view *, long long i, long long n);
void emu_yield(emu_thread *t);
/* Blocks until *word is no longer value. */
void emu_wait(emu_thread *t, const uint32_t *word, uint32_t value, const char *for_what, const void *pc);
/* Lets all others go on first: for instructions that are called until something has happened. */
void emu_wait_a_turn(emu_thread *t);
/* Ends the launch: reports and does not return to the kernel.  pc NULL: the current instruction is unknown. */
_Noreturn void emu_fault(emu_run *r, tn_emu_fault f, const void *pc, const char *format, ...);
void emu_step(emu_run *r);
uint64_t emu_random(emu_run *r);
/* "thread (3,0,0) of block (0,0,0)" */
const char *emu_who(const emu_run *r, uint32_t who, char *buf, size_t size);
/* The same of any cluster. */
const char *emu_who_of(const emu_run *r, uint32_t cluster, uint32_t who, char *buf, size_t size);

/* space.c */
/* For so many threads and blocks; no cell has an event.  NULL: no memory. */
emu_space *emu_space_take(uint32_t n_threads, uint32_t n_blocks);
void emu_space_give(emu_space *s); /* NULL allowed */

/* global.c */
typedef enum emu_how { EMU_READ, EMU_WRITE, EMU_ATOMIC } emu_how;
/* Checks an access of global memory. */
void emu_global(emu_thread *t, const void *p, unsigned bytes, emu_how how, const void *pc);
bool emu_written_new(emu_run *r); /* false: no memory */
void emu_written_free(emu_run *r);

/* memory.c */
void emu_access(tn_emu_view *, const void *p, unsigned bytes, int write, int aligned, const void *pc);
/* An event in shared memory by `who` at `time`, knowing `seen`; checks state and races. */
void emu_shared_event(emu_run *r, emu_block *b, uint32_t at, uint32_t bytes, bool write, uint32_t who, uint32_t time,
                      const emu_clock *seen, uint32_t pc);
/* An access of block b's shared memory by thread t; the bytes themselves. */
void *emu_shared_access(emu_thread *t, emu_block *b, uint32_t at, unsigned bytes, bool write, bool aligned,
                        const void *pc);
/* A block's memory is gone once it has ended. */
void emu_check_alive(emu_run *r, const emu_block *b, const void *pc);
void emu_set_state(emu_block *b, uint32_t at, uint32_t bytes, int state);
void *emu_shared_of(tn_emu_view *, unsigned address, unsigned rank);
void *emu_shared_variable(tn_emu_view *, const char *name, int id, unsigned bytes, unsigned align);
void *emu_shared_dynamic(tn_emu_view *, unsigned align);
unsigned emu_shared_address(tn_emu_view *, const void *p);
unsigned long long emu_atomic(tn_emu_view *, void *p, tn_emu_type, tn_emu_atomic_op, unsigned long long v,
                              unsigned long long compare);
/* "tile + 12 bytes" for a shared-memory address. */
const char *emu_shared_name(const emu_block *b, uint32_t at, char *buf, size_t size);
uint32_t emu_pc(const emu_run *r, const void *pc);

/* sync.c */
emu_clock *emu_clock_new(emu_run *r);
emu_clock *emu_clock_ref(emu_clock *c);
void emu_clock_drop(emu_run *r, emu_clock *c); /* NULL allowed */
/* into := max(into, from) with who at time; makes it own memory first if shared. NULL from: nothing. */
void emu_clock_join(emu_run *r, emu_clock **into, const emu_clock *from);
void emu_clock_set(emu_run *r, emu_clock **into, uint32_t who, uint32_t time);
void emu_sync_block(tn_emu_view *, const char *file, int line);
void emu_barrier_api(tn_emu_view *, unsigned id, unsigned threads, int arrive_only);
void emu_cluster_arrive(tn_emu_view *);
void emu_cluster_wait(tn_emu_view *);
void emu_sync_warp(tn_emu_view *, unsigned mask);
/* Runs op once all lanes of the mask are here. */
void emu_warp_at(emu_thread *t, uint32_t mask, void *mine, tn_emu_warp_op *op, const void *pc, const char *what);
void emu_warp(tn_emu_view *, unsigned mask, void *mine, tn_emu_warp_op *op);
/* After a thread has ended: others may have waited for it alone. */
void emu_thread_ended(emu_thread *t);
void emu_fence(tn_emu_view *, tn_emu_fence kind);
/* A use of an mbarrier: it must have been initialised, and the user must know. */
emu_mbarrier *emu_mbarrier_use(emu_thread *t, emu_block *b, uint32_t address, const void *pc);
/* By a copy in the background, or from another block. */
emu_mbarrier *emu_mbarrier_use_fenced(emu_thread *t, emu_block *b, uint32_t address, const void *pc);
/* One arrival that publishes what `seen` knows. */
void emu_mbarrier_count(emu_run *r, emu_mbarrier *m, unsigned count, const void *pc);
_Noreturn void emu_no_memory(emu_run *r);
void emu_mbarrier_init(tn_emu_view *, unsigned address, unsigned count);
void emu_mbarrier_invalidate(tn_emu_view *, unsigned address);
void emu_mbarrier_arrive(tn_emu_view *, unsigned address, unsigned rank, unsigned count, unsigned expect_bytes);
void emu_mbarrier_expect(tn_emu_view *, unsigned address, unsigned bytes);
int emu_mbarrier_test(tn_emu_view *, unsigned address, unsigned parity);
void emu_mbarrier_wait(tn_emu_view *, unsigned address, unsigned parity);
/* Bytes have landed: by an agent with this clock. */
void emu_mbarrier_landed(emu_run *r, emu_block *b, uint32_t address, uint32_t bytes, const emu_clock *seen,
                         uint32_t pc);
void emu_block_forget(emu_run *r, emu_block *b); /* mbarriers and barriers of a finished block */

/* async.c */
void emu_cp_async(tn_emu_view *, unsigned dst, const void *src, unsigned bytes, unsigned src_bytes);
void emu_cp_async_commit(tn_emu_view *);
void emu_cp_async_wait(tn_emu_view *, unsigned newest);
void emu_cp_async_arrive(tn_emu_view *, unsigned mbarrier);
void emu_bulk_load(tn_emu_view *, unsigned dst, const void *src, unsigned bytes, unsigned mbarrier);
void emu_bulk_store(tn_emu_view *, void *dst, unsigned src, unsigned bytes);
void emu_tma_load(tn_emu_view *, unsigned dst, const void *map, const int *coords, int rank,
                  const unsigned short *offsets, unsigned mbarrier, unsigned multicast);
void emu_tma_store(tn_emu_view *, const void *map, const int *coords, int rank, unsigned src);
void emu_bulk_commit(tn_emu_view *);
void emu_bulk_wait(tn_emu_view *, unsigned newest, int read_only);
/* Does one copy that is under way; false: there is none. */
bool emu_bulk_land(emu_run *r);
/* Queues a copy; the copy's fields that tell what to copy are taken from `what`. */
emu_bulk *emu_bulk_start(emu_thread *t, const emu_bulk *what, const void *pc);
void emu_bulk_forget(emu_run *r, emu_thread *t); /* stores that nobody waited for */

/* tma.c */
/* What is done with each element of a box: `shared` of block b, `global` or NULL where the box leaves the tensor. */
typedef void emu_element_fn(emu_run *r, const emu_bulk *c, emu_block *b, uint32_t shared, char *global);
void emu_tensor_walk(emu_run *r, const emu_bulk *c, emu_block *b, emu_element_fn *each);
/* A copy between a box and shared memory, and the check of its addresses. */
emu_element_fn emu_element_load, emu_element_store, emu_element_check;

/* matrix.c */
void emu_ldmatrix(tn_emu_view *, unsigned address, int n, int trans, unsigned *regs);
void emu_stmatrix(tn_emu_view *, unsigned address, int n, int trans, const unsigned *regs);
void emu_mma(tn_emu_view *, tn_emu_elem a_type, tn_emu_elem b_type, int k, unsigned *c, const unsigned *a,
             const unsigned *b);
void emu_mma_sp(tn_emu_view *, tn_emu_elem type, unsigned *c, const unsigned *a, const unsigned *b, unsigned e);
void emu_wgmma(tn_emu_view *, tn_emu_elem a_type, tn_emu_elem b_type, int n, unsigned *d, const unsigned *a_regs,
               unsigned long long a, unsigned long long b, int scale_d, int trans_a, int trans_b);
void emu_wgmma_fence(tn_emu_view *);
void emu_wgmma_commit(tn_emu_view *);
void emu_wgmma_wait(tn_emu_view *, unsigned newest);
void emu_warpgroups_forget(emu_run *r, emu_block *b);

/* module.c */
struct tn_emu_kernel {
    tn_emu_module *module;
    const tn_emu_entry *entry;
    tn_emu_view **self; /* the library's variable */
    const char *image;  /* of the library, [image, image_end) */
    const char *image_end;
    char name[160];
};
const tn_env *tn_emu_module_env(const tn_emu_module *m);
/* "conv_mma.cu:80 > tn_tile.cuh:12": the source lines of an instruction, from the template inwards. */
const char *emu_line(const tn_emu_kernel *k, const void *pc, char *buf, size_t size);

#define EMU_PC() __builtin_return_address(0)

#endif
