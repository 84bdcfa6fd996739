/* context.h: what the files of a tn_context share.  context.c is the public face; cuda/state.c prepares a shape,
 * cuda/scratch.c finds memory, cuda/run.c enqueues, cuda/bench.c times; host.h has the devices that an application lends. */
#ifndef TENON_RUNTIME_CONTEXT_H
#define TENON_RUNTIME_CONTEXT_H

#include "runtime/cuda/device.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/lt.h"
#include "runtime/cuda/pool.h"
#include "runtime/host.h"
#include "runtime/plan/format.h"
#include "runtime/plan/shape.h"

enum { TN_MAX_STATES = 64 };

/* One step at one shape. */
typedef struct tn_step_state {
    const TnPlan__Step *step;  /* what runs: the plan's step, or its alternative for a bucket that holds */
    const TnPlan__Step *order; /* the plan's step: what it follows, on which stream */
    const char *text;          /* for messages */
    bool is_lt;
    bool is_builtin;
    bool fresh;  /* what ran before it is no kernel, or not known: it begins what another owns, or comes after that */
    bool runs;   /* false: an empty grid, or absent */
    bool absent; /* in a branch that the sizes do not choose, or that is wrong at them: nothing of it need fit */
    bool known;  /* it owns others, and the sizes say which run: ... */
    size_t first, last; /* these, [first, last) */
    bool wrong[2];      /* it owns others: its first ones, its second ones may not run at these sizes: ... */
    uint32_t broken[2]; /* this condition does not hold */
    bool io;            /* touches an input or output of the caller */
    tn_launch launch;
    uint64_t *args; /* the argument block (launch.h); lt: addresses of A, B, C, D, bias */
    tn_lt_op lt;
    size_t bytes;                   /* copy, fill */
    CUgraphNode end;                /* the step's last node while a graph on several streams is captured */
    uint32_t seen[TN_PLAN_STREAMS]; /* then: on each stream the last step that ran before or is it, index + 1 */
} tn_step_state;

/* A CUDA graph of a state, and what it holds: scratch memory, inputs then outputs.  It is made when these come the second
 * time, since many shapes are seen once (a cache that grows).  Those of its nodes that can be are patched. */
typedef struct tn_state_graph {
    bool is_used; /* has been launched with these, with or without graph */
    uint64_t last_use;
    CUgraph graph;
    CUgraphExec exec;   /* NULL: not made yet */
    CUgraphNode *nodes; /* of the steps; NULL where one cannot be patched */
    CUdeviceptr memory;
    const void **io;
} tn_state_graph;

/* Callers that take turns with a few buffers: as many graphs where these cannot be patched. */
enum { TN_STATE_GRAPHS = 4 };

/* Everything that depends on the inputs' shapes. */
typedef struct tn_cuda_state {
    struct tn_cuda_state *next;               /* most recently used first */
    tn_shape *shapes;                         /* the key */
    int64_t *table;                           /* values of the plan's dims */
    size_t lt_workspace, arena_offset, total; /* bytes of scratch memory */
    size_t lt_stride;                         /* from one stream's workspace of cuBLASLt to the next one's */
    size_t n_steps;
    bool by_host; /* some of it may not be chosen: no graph can say so */
    bool serial;  /* step after step, whatever streams they name */
    tn_step_state *steps;
    uint64_t *args; /* n_args words, in which steps' blocks are aligned */
    size_t n_args;
    bool fixed_runs, fixed_io; /* some step whose graph node cannot be patched (cuBLASLt's, a builtin, what another step
                                  owns) is not empty; touches an input or output */
    /* What args hold: scratch memory, inputs then outputs. */
    bool is_pointed;
    CUdeviceptr memory;
    const void **io;
    tn_state_graph graphs[TN_STATE_GRAPHS];
    uint64_t uses;
} tn_cuda_state;

typedef struct tn_cuda_context {
    tn_plan_device *dev;
    const tn_cuda *cu;
    cublasLtHandle_t lt; /* NULL: not needed */
    CUstream stream;     /* for capture, tn_context_run and timing */
    bool graphs, pdl;
    const struct tn_attempt *trial; /* what is done and how it is launched, whatever the plan says; NULL: as it says */
    bool conditional; /* the driver has conditional graph nodes; else the host decides, which cannot be captured */
    uint64_t trips, most_trips; /* of loops that the host decides, while they are counted; 0: any number */
    tn_cuda_state *states;
    size_t n_states;
    CUdeviceptr memory; /* scratch: workspace of cuBLASLt, arena */
    size_t memory_size;
    bool memory_is_callers;
    bool captured;        /* the caller captured an enqueue: memory may be used by graphs that we do not know */
    CUdeviceptr *retired; /* former memory that such graphs may use; freed with the context */
    size_t n_retired;
    tn_scratch_pool *pool;   /* where memory comes from; NULL: it is the context's own, or the caller's */
    tn_scratch_block *block; /* during an enqueue */
    const tn_scratch_block *last_block;
    tn_scratch_block *kept; /* the blocks that such graphs may use, newest first: the largest */
    CUdeviceptr io_memory;  /* of tn_context_run and the benchmark */
    size_t io_size;
} tn_cuda_context;

struct tn_context {
    tn_plan *plan;
    const tn_env *env;
    tn_context_options opts;
    tn_shape *shapes; /* parallel to the inputs; -1: not given */
    int64_t *table;   /* under the current shapes, if bound */
    bool *known;
    bool bound;
    void **pointers;         /* scratch: inputs then outputs */
    void **outputs;          /* scratch: the caller's memory for outputs */
    struct tn_told *told;    /* NULL: no data makes sizes of outputs */
    struct tn_outputs *late; /* NULL: memory for all outputs comes with the call */
    tn_cuda_context *cuda;
    tn_cpu *cpu;
    tn_kernel_time *times; /* of the last benchmark */
    size_t n_times;
};

/* Binds the current shapes if that has not been done. */
tn_status tn_context_bind(tn_context *c);
/* In a context that has no device yet: another plan, which was made of its own, takes over. */
tn_status tn_context_serve(tn_context *c, tn_plan *made);

enum { TN_IO_ALIGN = 16 }; /* of inputs and outputs on a device, in bytes */

/* told.c: memory for outputs that are no caller's, but tell the sizes of others. */
tn_status tn_told_new(tn_context *c);
void tn_told_free(tn_context *c);
void tn_told_point(tn_context *c);      /* their places in c->pointers */
void tn_told_begin(tn_context *c);      /* one is about to be */
void tn_told_ran(tn_context *c);        /* an inference at the current shapes was enqueued */
tn_status tn_told_check(tn_context *c); /* it has ended: its sizes fit the memory and the plan's conditions */
/* Bytes of an output after it, once that was checked. */
tn_status tn_told_bytes(const tn_context *c, size_t output, size_t *bytes);

/* outputs.c: outputs whose memory the caller is asked for.  An inference stages (where late outputs are written to `needed`
 * memory of the context's own), asks, and takes the pointers of tn_outputs_at; a run with host pointers then fetches. */
tn_status tn_outputs_stage(tn_context *c, bool needed);
tn_status tn_outputs_ask(tn_context *c, bool in_place,
                         void *stream);               /* for c->outputs[k] that are known now; NULL: later */
bool tn_outputs_given(const tn_context *c, size_t k); /* memory comes with the call */
void *tn_outputs_at(const tn_context *c, size_t k);   /* where kernels write it */
tn_status tn_outputs_fetch(tn_context *c);            /* asks for what is late, and copies it there */
void tn_outputs_free(tn_context *c);

/* cuda/state.c */
tn_status tn_cuda_context_new(tn_context *c);
void tn_cuda_context_free(tn_context *c);
void tn_cuda_drop_states(tn_context *c); /* all of them, once nothing runs */
/* The state of the current shapes, with memory and arguments ready for work with `io` (inputs then outputs) on `stream`.
 * capturing: that stream is being captured, so nothing may synchronise.  tn_cuda_scratch_end comes after the work, or
 * where this fails. */
tn_status tn_cuda_state_get(tn_context *c, bool capturing, const void *const *io, CUstream stream, tn_cuda_state **out);
/* Sets args for these pointers. */
tn_status tn_cuda_state_point(tn_context *c, tn_cuda_state *s, const void *const *io);
tn_status tn_cuda_scratch_size(tn_context *c, size_t *bytes);
/* Device buffers for all inputs and outputs of the current shapes, in c->pointers. */
tn_status tn_cuda_io_buffers(tn_context *c);
/* a rounded up to TN_MEMORY_ALIGN plus b; false on overflow. */
bool tn_add_aligned(size_t a, size_t b, size_t *out);

/* cuda/graph.c: the state's graph for what the args hold, or an unused one in which all that cannot be patched may be put. */
tn_state_graph *tn_cuda_graph_find(const tn_context *c, tn_cuda_state *s);
/* Makes it; makes it hold what the args hold, if it does not (launches under way keep theirs). */
tn_status tn_cuda_graph_build(tn_context *c, tn_cuda_state *s, tn_state_graph *h);
tn_status tn_cuda_graph_patch(tn_context *c, tn_cuda_state *s, tn_state_graph *h);
bool tn_cuda_graphs_new(tn_context *c, tn_cuda_state *s); /* room for them; false when out of memory */
void tn_cuda_graphs_free(tn_context *c, tn_cuda_state *s);

/* cuda/scratch.c */
tn_status tn_cuda_set_scratch(tn_context *c, void *memory, size_t bytes);
/* Memory of at least `size` bytes in c->cuda->memory for work on `stream`, which ends with tn_cuda_scratch_end. */
tn_status tn_cuda_scratch_begin(tn_context *c, size_t size, bool capturing, CUstream stream);
void tn_cuda_scratch_end(tn_context *c, CUstream stream);
/* Frees device memory of the context's own, once nothing runs, or with the context where a captured graph may use it. */
tn_status tn_cuda_let_go(tn_context *c, CUdeviceptr memory, const char *what);
void tn_cuda_scratch_free(tn_context *c); /* once nothing runs any more */

/* cuda/run.c */
tn_status tn_cuda_capture_status(const tn_cuda_context *x, CUstream stream, bool *capturing);
tn_status tn_cuda_enqueue(tn_context *c, const void *const *io, bool capturing, CUstream stream);
/* Launches one step that owns no others. */
tn_status tn_cuda_launch_step(tn_context *c, tn_cuda_state *s, size_t k, CUstream stream);
/* Steps [first, end) in order, or some step, with what they own.  capturing: the stream is being captured. */
tn_status tn_cuda_launch_steps(tn_context *c, tn_cuda_state *s, size_t first, size_t end, bool capturing,
                               CUstream stream);
tn_status tn_cuda_run_step(tn_context *c, tn_cuda_state *s, size_t k, bool capturing, CUstream stream);
/* cuda/decide.c: a step that owns others, which the host decides, or into a capture. */
tn_status tn_cuda_decide(tn_context *c, tn_cuda_state *s, size_t k, CUstream stream);
tn_status tn_cuda_capture_decision(tn_context *c, tn_cuda_state *s, size_t k, CUstream stream);
tn_status tn_cuda_run(tn_context *c, const void *const *inputs, void *const *outputs);

/* bench.c */
tn_status tn_cuda_bench(tn_context *c, double seconds, tn_bench_result *out);

#endif
