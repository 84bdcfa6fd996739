/* backend.h: Tenon as a backend of Triton Inference Server: what its files share.
 *
 *     backend.c   the functions that Triton calls; errors
 *     load.c      Triton's functions, by name
 *     model.c     a model: its options, its plan, libtenon where a device needs it
 *     config.c    a model's configuration, completed from the plan and held against it
 *     batch.c     which sizes of batches the plan takes
 *     instance.c  an instance: a context on a device, and its memory
 *     execute.c   requests become batches, results become responses
 *     move.c      gathering inputs, scattering outputs
 *
 * A model has one plan, whose weights and kernels its instances share; an instance has one context, which Triton uses from
 * one thread at a time.  Tenon's errors become Triton's with the whole message, notes and warnings go to the server's log. */
#ifndef TENON_TRITON_BACKEND_H
#define TENON_TRITON_BACKEND_H

#include <json-c/json.h>
#include <pthread.h>

#include "frontend/triton/abi.h"
#include "runtime/cuda/cuda.h"
#include "runtime/plan/plan.h"
#include "tenon/host.h"
#include "tenon/internal/memory.h"
#include "tenon/tenon.h"

typedef struct backend {
    triton_functions f;
    int64_t default_max_batch; /* for plans that take any number of rows */
    pthread_mutex_t lock;
    void *libtenon; /* guarded by it; NULL: no device has needed it */
    const tn_host *host;
} backend;

/* Of the configuration's `parameters`. */
typedef struct options {
    tn_device device; /* of instances that are not KIND_GPU */
    int gpu;          /* of KIND_MODEL with device cuda */
    bool recompile, no_cuda_graph, map;
    size_t scratch_bytes;
} options;

/* An input or output of the plan. */
typedef struct tensor {
    const tn_tensor_desc *d;
    triton_type type;
    bool made;    /* data makes a size of it */
    bool answers; /* output: part of responses */
    bool state;   /* output: kept by Triton for the sequence's next request */
} tensor;

typedef struct model {
    backend *b;
    const triton_functions *f;
    triton_model *handle;
    char name[200];
    tn_env env; /* diagnostics: errors are kept for error_of, the rest goes to the log */
    options o;
    char path[4096];
    void *bytes; /* that the plan lies in; NULL: it is mapped */
    size_t size;
    tn_plan *plan;
    size_t n_in, n_out;
    tensor *in, *out;
    int64_t max_batch; /* 0: requests are not put together, and axis 0 is like any other */
    int64_t *padded;   /* by rows, up to max_batch: the least number from there on that the plan takes */
    pthread_mutex_t lock;
    struct pool *pools; /* guarded by it: scratch memory that the instances on a GPU share */
} model;

/* ---- backend.c ---- */

__attribute__((format(printf, 3, 4))) triton_error *error_new(const triton_functions *f, triton_code code,
                                                              const char *fmt, ...);
/* What Tenon reported last on this thread, as an error of the model. */
triton_error *error_of(const model *m, tn_status s);
triton_error *error_at(const model *m, tn_status s, const char *where); /* ... which says where */
void error_forget(void);                                                /* what was tried may fail */
void log_text(const triton_functions *f, triton_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The diag of a model's env. */
void model_diag(void *user, const tn_diag *d);
/* A call whose failure is the function's. */
#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        triton_error *failed_ = (call);                                                                                \
        if (failed_) return failed_;                                                                                   \
    } while (0)

/* ---- model.c ---- */

triton_error *model_new(backend *b, triton_model *handle, model **out);
void model_free(model *m); /* NULL allowed */
/* Libtenon's devices and compiler.  An error says where it was looked for. */
triton_error *model_host(model *m, const char *what_for, const tn_host **out);
/* The pool of a device's instances; it lives as long as the model. */
triton_error *model_pool(model *m, const tn_context_options *of, tn_scratch_pool **out);

/* ---- config.c ---- */

triton_error *config_read(const model *m, json_object **out);   /* freed with json_object_put */
const char *config_text(const json_object *o, const char *key); /* "" if there is none */
/* Fills in what the configuration leaves out (inputs, outputs, the largest batch, dynamic batching), where Triton wants it,
 * and checks that it fits the plan. */
triton_error *config_settle(model *m);

/* ---- batch.c ---- */

/* The largest batch where axis 0 of all inputs and outputs is one free size: INT64_MAX: no limit; 0: it is none. */
int64_t batch_most(const model *m);
/* What the plan says against batches of max_batch; else fills in m->padded. */
triton_error *batch_settle(model *m);

/* ---- instance.c ---- */

typedef struct buffer {
    void *p;
    size_t size;
} buffer;

/* Memory of one input or output. */
typedef struct lane {
    buffer host, device; /* host: pinned where there is a GPU */
} lane;

typedef struct instance {
    model *m;
    triton_instance *handle;
    char name[200];
    tn_device device;
    int gpu;
    tn_context *x;
    tn_cuda *cu; /* NULL: it runs on the host */
    CUdevice cu_device;
    CUcontext ctx;
    CUstream stream;
    CUevent begun, computed, done; /* of a batch */
    bool staged;                   /* inputs and outputs are in device memory of ours; else tn_context_run moves them */
    lane *in, *out;
} instance;

triton_error *instance_new(model *m, triton_instance *handle, instance **out);
void instance_free(instance *i); /* NULL allowed */
/* Makes room, without keeping what was there.  Nothing under way may use it. */
triton_error *buffer_reserve(instance *i, buffer *b, bool device, size_t size);

/* ---- execute.c ---- */

/* Answers all requests and releases them. */
void execute(instance *i, triton_request **requests, uint32_t n);

/* ---- move.c ---- */

/* Bytes in one place. */
typedef struct piece {
    void *p;
    size_t size;
    triton_memory memory;
    int64_t id;
} piece;

/* A tensor's part of one request. */
typedef struct part {
    const piece *pieces;
    size_t n;
} part;

/* Where memory that the instance can use at once is. */
triton_memory liked_memory(const instance *i);
bool is_liked(const instance *i, const piece *p);

/* An input of a batch: `rows` rows, then the last one again until there are `padded`.  *out is where it is, in device memory or
 * (where nothing is staged) the host's: without a copy where it is that already. */
triton_error *move_in(instance *i, size_t k, const part *parts, size_t n, size_t row_bytes, size_t rows, size_t padded,
                      const void **out);

/* Where bytes of a batch's output go. */
typedef struct target {
    piece to;
    size_t offset;
} target;

/* Begins to copy the output (of `bytes`, where move_in would have put it) to all targets; move_out_end ends it when the stream
 * was waited for. */
triton_error *move_out(instance *i, size_t k, const void *from, size_t bytes, const target *targets, size_t n);
void move_out_end(instance *i, size_t k, const void *from, const target *targets, size_t n);

#endif
