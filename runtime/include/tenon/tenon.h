/* tenon.h: load a plan and run it.  This is all that an application which only runs models needs (libtenon_rt).
 *
 * Threads: a tn_plan is immutable and may be shared; a tn_context belongs to one thread at a time; contexts of one plan
 * share its weights and kernels.  No call here compiles a kernel, but for tn_context_new where it is given libtenon's host and
 * the plan has no code for the GPU.
 *
 * The driver (libcuda.so.1) and cuBLASLt are opened when a CUDA context first needs them; $TENON_LIBCUDA and
 * $TENON_LIBCUBLASLT name other files. */
#ifndef TENON_TENON_H
#define TENON_TENON_H

#include "tenon/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_plan tn_plan;
typedef struct tn_context tn_context;
typedef struct tn_host tn_host;
typedef struct tn_scratch_pool tn_scratch_pool;

/* TN_CPU evaluates the plan's graph by the reference.  TN_EMU executes the plan's kernels on the CPU, as a GPU would
 * and with checks that a GPU does not make (slowly; it takes a C++ compiler): for tests and debugging.  Both are parts
 * of libtenon: see tn_context_options.host. */
typedef enum tn_device { TN_CUDA, TN_CPU, TN_EMU } tn_device;

/* A tensor's description.  dims: -1 where the plan's dim is symbolic; dim_text holds every dim as text: "N", "2*N +
 * 1". */
typedef struct tn_tensor_desc {
    const char *name;
    tn_dtype dtype;
    uint32_t rank;
    int64_t dims[TN_MAX_RANK];
    const char *dim_text[TN_MAX_RANK];
} tn_tensor_desc;

/* Maps a plan file and checks its version, its manifest and the manifest's checksum; the bytes of weights and kernels
 * are checked against theirs when a context first uses them.  The file must not be changed while it is loaded.  NULL on
 * failure with *status set (status may be NULL).
 * Errors: E_IO, E_FORMAT (damaged or of another version: the message
 * names both), E_MEMORY. */
tn_plan *tn_plan_load(const tn_env *env, const char *path, tn_status *status);
/* The same from memory; the bytes must be 16-byte aligned and outlive the plan. */
tn_plan *tn_plan_load_memory(const tn_env *env, const void *data, size_t size, tn_status *status);
/* Frees the plan once its last context is gone. NULL allowed. */
void tn_plan_free(tn_plan *p);
size_t tn_plan_input_count(const tn_plan *p);
size_t tn_plan_output_count(const tn_plan *p);
const tn_tensor_desc *tn_plan_input(const tn_plan *p, size_t k);
const tn_tensor_desc *tn_plan_output(const tn_plan *p, size_t k);
/* The place of the input or output of this name; TN_NOT_FOUND if there is none. */
#define TN_NOT_FOUND SIZE_MAX
size_t tn_plan_find_input(const tn_plan *p, const char *name);
size_t tn_plan_find_output(const tn_plan *p, const char *name);
/* Architectures that the plan holds machine code for: "sm_90a", ...; NULL past the end. */
const char *tn_plan_arch(const tn_plan *p, size_t k);

typedef struct tn_context_options {
    tn_device device;
    int cuda_device;    /* ordinal; its primary context is retained */
    bool no_cuda_graph; /* launch kernel by kernel */
    bool no_pdl;        /* never use programmatic dependent launch */
    /* tn_host_devices() of <tenon/host.h>, which is in libtenon.  TN_CPU and TN_EMU need it; with TN_CUDA, a plan without
     * code for the GPU has its kernels compiled from the sources that it holds, or chosen anew from its graph.  Outlives the context. */
    const tn_host *host;
    tn_scratch_pool *scratch; /* where scratch memory comes from, of the same device; NULL: it is the context's own */
} tn_context_options;

/* Scratch memory that contexts share, of one plan or of several, on one device: each inference has a block of it for as
 * long as it runs, so that contexts which are not busy at the same time need memory for those alone that are.
 *
 * The pool grows with the inferences that are under way at once, to at most `cap` bytes (0: no limit).  Then an enqueue
 * is given a block that is in use, and its stream, not the host, waits for the work there.  The host waits only for
 * enqueues of other threads that are in progress (so callbacks of a tn_env may not enqueue), and for work to end whose
 * memory must be freed for a larger block.  A block that fits no more: E_MEMORY from tn_context_enqueue.  A context
 * whose enqueue the caller captures into a CUDA graph keeps its block until it is freed.  The inputs and outputs of
 * tn_context_run are not in the pool.
 *
 * `of`: device, cuda_device and host say where (NULL: CUDA device 0; TN_CPU has no scratch memory: E_ARGUMENT).  A pool
 * may be used by many threads at once. Errors: E_NO_DEVICE, E_ARGUMENT, E_CUDA, E_MEMORY. */
tn_scratch_pool *tn_scratch_pool_new(const tn_env *env, const tn_context_options *of, size_t cap, tn_status *status);
/* Frees it once its last context is gone.  NULL allowed. */
void tn_scratch_pool_free(tn_scratch_pool *p);
/* Bytes of device memory that the pool has now. */
size_t tn_scratch_pool_bytes(tn_scratch_pool *p);

/* opts NULL: CUDA device 0.  TN_EMU takes the plan's sm_90a kernels, or its first architecture's.  Uploads the weights
 * and loads the kernels on the plan's first context of a device. 
 *
 * A GPU that the plan has no code for: with a host, the sources of the plan's nearest older architecture are compiled for
 * it (NVRTC, seconds; kept in the cache of tn_compile, from where later processes take them in milliseconds), with progress
 * and a note; a plan of sources alone is compiled in the same way.  `tenon tune` makes a plan that needs none of this.
 *
 * Errors: E_NO_DEVICE (no driver or GPU), E_ARCH (names the GPU's and the plan's architectures), E_NO_COMPILER,
 * E_COMPILE, E_CANCELLED (while sources are compiled), E_NO_LIBRARY (cuBLASLt is needed and missing), E_ARGUMENT (the
 * device needs a host), E_CUDA, E_MEMORY. */
tn_context *tn_context_new(tn_plan *p, const tn_context_options *opts, tn_status *status);
void tn_context_free(tn_context *c); /* waits for work that it enqueued */

/* Gives input k its shape; needed only where dims are symbolic.  Errors: E_TYPE (names the input, both shapes). */
tn_status tn_context_set_shape(tn_context *c, size_t input, uint32_t rank, const int64_t *dims);
/* The largest shape that output k can have for the current input shapes: for memory of that size.  It is the shape itself
 * but where data makes a size (how many positions NonZero finds).  Errors: E_ARGUMENT (no such output, a shape not given). */
tn_status tn_context_output_most(tn_context *c, size_t output, uint32_t *rank, int64_t *dims);
/* The shape of output k, to dims[TN_MAX_RANK].  Where data makes a size of it, the shape after the inference that was
 * enqueued last (or the last tn_context_run): that work must have ended (with a stream, the caller has waited for it).
 * Else it follows from the current input shapes, and nothing need have run.  The elements lie densely packed at the
 * beginning of the output's memory.  Errors: E_ARGUMENT (no such output, nothing has run, a size is more than the plan has
 * memory for), E_TYPE (the sizes break a condition of the model: results are not right), E_CUDA. */
tn_status tn_context_output_shape(tn_context *c, size_t output, uint32_t *rank, int64_t *dims);

/* Memory for an output that the caller gives when it is asked, instead of a pointer in `outputs`.
 *
 * `allocate` returns at least `bytes` bytes (of device memory, 16-byte aligned; of the host's with tn_context_run and on
 * TN_CPU), which may be uninitialised, are the caller's, and must stay as long as memory in `outputs` would.  It is called
 * on the thread that made the call and within it, with the device's CUDA context current, once for each inference and
 * output, in the order of the outputs, and may not call anything with this context.  `name` is the plan's, `stream` the one
 * that the memory is first used on (NULL with tn_context_run): cuMemAllocAsync is at home there.
 *
 *  * An output whose shape follows from the inputs' shapes: in tn_context_enqueue or tn_context_run, after all other arguments
 *    were found right and before anything runs.  Kernels write there.
 *  * An output of which data makes a size, if `most`: likewise, with the bytes of tn_context_output_most.
 *  * Else, with the bytes that it has: in tn_context_hand_over, or in tn_context_run when the inference has ended.  Kernels
 *    write into memory of the context's own, which has room for the most (and is kept until the context is freed), and
 *    from there it is copied.
 * An output that grows in an input's buffer (tn_context_alias) is there, and not asked for, but with tn_context_run.
 *
 * `bytes` may be 0: then NULL is right.  Else NULL fails the call with E_MEMORY and the output's name: before the inference
 * nothing has run; in tn_context_hand_over the results are kept, and it may be called again, which asks for all of them
 * again; what other outputs were given stays the caller's.  To the context's own CUDA graphs it is memory like any other, so that
 * an allocator which returns the same few pointers is the faster one where these cannot be patched (tn_context_enqueue).  What
 * is asked for while the caller captures the call is what the captured graph writes. */
typedef struct tn_output_allocator {
    void *(*allocate)(void *user, size_t output, const char *name, size_t bytes, void *stream);
    void *user;
    bool most; /* ask before the inference, for the most bytes, and copy nothing */
} tn_output_allocator;
/* From the next inference on, for this context alone.  The struct is copied; NULL: a pointer in `outputs` again (where all
 * outputs have allocators, `outputs` may be NULL).  Errors: E_ARGUMENT (no such output), E_MEMORY. */
tn_status tn_context_set_output_allocator(tn_context *c, size_t output, const tn_output_allocator *a);
/* Waits on `stream` for the inference that was enqueued there last, checks the sizes that data made as
 * tn_context_output_shape does, asks for memory for each output whose allocator that inference did not ask, and enqueues
 * copies there, for which it does not wait.  Needed where an allocator of such an output is not for the most; without one
 * it waits and checks.  After launches of a graph into which tn_context_enqueue was captured, it hands over what the last
 * launch made.  Several contexts may be enqueued before the first is handed over.
 * Errors: E_MEMORY (NULL was returned), E_ARGUMENT (nothing has run, the stream is being captured, memory is misaligned, a
 * size is more than the plan has memory for), E_TYPE (as tn_context_output_shape: nobody is asked), E_CUDA. */
tn_status tn_context_hand_over(tn_context *c, void *stream);
/* An output that grows in the buffer of an input, such as a KV cache (tn_compile_options.aliases): the input's elements
 * are the output's first ones along an axis, and what an inference adds is written behind them.  The caller gives one
 * buffer for both, and for the next inference the same again, with an input that is longer by what was added.
 *
 * Whether an output is such, the plan says and not the caller: its kernels write what is added and no more, at the
 * strides of the buffer.
 *
 * Where an axis before it is not 1, the buffer is as large as the axis may ever be: `capacity`, the largest size of the
 * range that the model was compiled for, takes the place of its size, so that elements stay where they are while it
 * grows.  Else capacity is 0 and the elements are dense: the buffer may be of any size from `bytes` on.
 * An output that has the input's size along `axis` does not grow: it is the input with some rows replaced (a cache that has all rows from the
 * beginning, of which other inputs tell how many count).  What does not count must be finite. */
typedef struct tn_alias {
    size_t input, output;
    uint32_t axis;
    int64_t capacity; /* elements along the axis that there is room for */
    size_t bytes;     /* that the buffer must have for the current shapes */
    size_t pitch;     /* bytes between rows, of which each holds an element of the axes before, and all behind it */
} tn_alias;
size_t tn_plan_alias_count(const tn_plan *p);
/* The k-th without what depends on shapes: bytes and pitch are 0.  False: there is none. */
bool tn_plan_alias(const tn_plan *p, size_t k, tn_alias *out);
/* The k-th, for the current shapes. */
tn_status tn_context_alias(tn_context *c, size_t k, tn_alias *out);

/* Bytes of scratch memory for the current shapes, and the caller's own memory for it (256-byte aligned device memory
 * that stays valid until replaced; NULL returns to the context's own allocation, or its pool's). */
tn_status tn_context_scratch_size(tn_context *c, size_t *bytes);
tn_status tn_context_set_scratch(tn_context *c, void *memory, size_t bytes);

/* Enqueues one inference on `stream` (a CUstream; NULL: the default stream).  inputs and outputs are device pointers (of an
 * output with a tn_output_allocator nothing is read), densely packed (but for tn_context_alias), 16-byte aligned, in the plan's order.  After the first call at a shape nothing is allocated or
 * synchronised (until a shape that needs more scratch memory moves it) but for CUDA graphs: the second call makes one, and so
 * does the second with other buffers where a graph cannot take these (four are kept).  The call may be captured into a CUDA graph,
 * which stays valid as long as the context and scratch memory given to it.  All inferences of a context use one scratch
 * memory (also with a pool, once one was captured): enqueue them on one stream, or order them. CPU contexts take host pointers, ignore stream and return when
 * done. Errors: E_ARGUMENT (a NULL or misaligned pointer, an output elsewhere than the input that it grows in, a shape not
 * given, scratch memory too small), E_MEMORY,
 * E_CUDA (names kernel and layers; a failure while a kernel runs may be reported by any later call). */
tn_status tn_context_enqueue(tn_context *c, const void *const *inputs, void *const *outputs, void *stream);
/* Convenience: host pointers in and out, copies, runs and waits.  All inputs and outputs are densely packed and have
 * buffers of their own, whatever tn_context_alias says. */
tn_status tn_context_run(tn_context *c, const void *const *inputs, void *const *outputs);

/* Timing of the current shapes, on data the call makes itself (CUDA only). */
typedef struct tn_kernel_time {
    const char *name;
    double us;
} tn_kernel_time;
typedef struct tn_bench_result {
    double median_us, p10_us, p90_us; /* one inference */
    uint32_t runs;
    size_t kernel_count;           /* entries of kernels, owned by the context until the next call */
    const tn_kernel_time *kernels; /* each kernel replayed alone, microseconds */
    /* The host's time in tn_context_enqueue: the first call at these shapes, which makes their state and launches
     * step by step, and the mean of those that replay its CUDA graph while the device is busy.  TN_E_UNSUPPORTED where a loop
     * that the data ends has not ended after 10000 iterations on random inputs. */
    double first_enqueue_us, enqueue_us;
} tn_bench_result;
tn_status tn_context_bench(tn_context *c, double seconds, tn_bench_result *out);

#ifdef __cplusplus
}
#endif
#endif
