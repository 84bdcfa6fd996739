/* provider.h: Tenon as an execution provider of ONNX Runtime: what its files share.
 *
 *     factory.c   the library's two functions, devices, options of a session
 *     memory.c    a GPU's memory, copies and streams, for sessions whose tensors stay there
 *     claim.c     which nodes it takes: maximal groups that Tenon imports
 *     model.c     a group of nodes as an ONNX model
 *     compile.c   a group becomes a plan, from the cache or as an EPContext node
 *     run.c       a plan runs a fused node
 *
 * Errors of Tenon become statuses of ONNX Runtime with the whole message; notes and warnings go to the session's log. */
#ifndef TENON_ORT_PROVIDER_H
#define TENON_ORT_PROVIDER_H

#include <pthread.h>

#include "frontend/onnx/file/reader.h"
#include "frontend/onnxruntime/abi.h"
#include "tenon/host.h"
#include "tenon/internal/memory.h"
#include "tenon/plan_cache.h"

#define ORT_PROVIDER "TenonExecutionProvider"

typedef struct factory {
    ort_factory base; /* first: ONNX Runtime's pointer is ours */
    ort_functions f;
    struct gpu_memory *gpu; /* NULL: no driver or no GPU */
} factory;

typedef struct options {
    tn_device device;
    int cuda_device;
    tn_precision precision;
    bool exact, no_cuda_graph, context; /* context: the session writes an EPContext model */
    bool embed;                         /* ... that holds the plans */
    bool resident;                      /* tensors are in the GPU's memory */
    bool share_buffer;                  /* caches do not grow, whatever the model says */
    double tune_seconds;
    uint64_t cache_bytes;
    size_t min_nodes;
    char cache_dir[1024]; /* "": the usual one */
    bool no_cache;
    char context_path[1024]; /* of the model that is written; "": beside the model */
} options;

/* The provider of a session. */
typedef struct provider {
    ort_ep base;
    const ort_functions *f;
    struct gpu_memory *gpu;
    const ort_logger *logger;
    options o;
    tn_env env;
    pthread_mutex_t lock;       /* guards what follows */
    char loc[256], error[1024]; /* of the last error */
} provider;

/* A status of ONNX Runtime that says what Tenon reported last. */
ort_status *ort_of(provider *p, tn_status s);
__attribute__((format(printf, 3, 4))) ort_status *ort_error_of(const ort_functions *f, ort_error code, const char *fmt,
                                                               ...);
__attribute__((format(printf, 3, 4))) void ort_log(const provider *p, int severity, const char *fmt, ...);

/* ---- model.c ---- */

/* The nodes of a graph, in its order, with their names as they are in messages. */
typedef struct node_list {
    const ort_node **node;
    size_t n;
} node_list;

/* A model being built; all of it is in the arena. */
typedef struct model {
    const ort_functions *f;
    tn_arena arena;
    TnOnnx__ModelProto *proto;
    ort_value **held; /* tensors of attributes, to be released */
    size_t n_held, cap_held;
    const char **label; /* what an import calls each node, with the node of the group that it is in */
    size_t *label_of;
    size_t n_labels, cap_labels, cap_label_of;
    size_t current;
    ort_status *error;
    bool out_of_memory;
} model;

/* Builds the model of nodes of g, whose inputs and outputs are given.  False: m->error, or out of memory. */
bool model_build(model *m, const tn_env *env, const ort_functions *f, const ort_graph *g, const ort_node *const *nodes,
                 size_t n, const ort_value_info *const *inputs, size_t n_in, const ort_value_info *const *outputs,
                 size_t n_out);
void model_free(model *m);
/* XXH3-128 of all of it, as 32 digits. */
void model_hash(const model *m, char out[33]);
/* The place in the group of the node that an import calls so; SIZE_MAX: none. */
size_t model_find(const model *m, const char *label);

typedef struct value_type {
    bool tensor, ranked;
    int dtype; /* of ONNX */
    size_t rank;
    int64_t dims[TN_MAX_RANK];
    const char *names[TN_MAX_RANK];
} value_type;
ort_status *value_type_of(const ort_functions *f, const ort_value_info *v, value_type *out);

/* ---- the ABI's functions ---- */

ort_status *provider_claim(ort_ep *self, const ort_graph *g, ort_support *out);
ort_status *provider_compile(ort_ep *self, const ort_graph **graphs, const ort_node **fused, size_t n,
                             ort_compute **out, ort_node **contexts);
void provider_release(ort_ep *self, ort_compute **c, size_t n);

/* A node that holds a plan of ours (EPContext). */
bool is_context_node(const ort_functions *f, const ort_node *n);
ort_status *read_text(const tn_env *env, const ort_functions *f, const ort_node *n, const char *attribute, char **out,
                      size_t *size, size_t *cap);

/* ---- run.c ---- */

/* A plan in a session; takes the plan and `bytes`, which it may be loaded from. */
ort_status *runner_new(provider *p, tn_plan *plan, void *bytes, size_t size, ort_compute **out);
/* Finds the plan's inputs and outputs among the fused node's. */
ort_status *runner_bind(ort_compute *c, const ort_value_info *const *in, size_t n_in, const ort_value_info *const *out,
                        size_t n_out);
const tn_plan *runner_plan(const ort_compute *c);
void runner_free(ort_compute *c); /* NULL allowed */

/* ---- memory.c ---- */

typedef struct gpu_memory gpu_memory;
gpu_memory *gpu_memory_new(const ort_functions *f); /* NULL: none */
void gpu_memory_free(gpu_memory *g);
const ort_memory_info *gpu_memory_info(const gpu_memory *g);
/* On the thread that calls: the GPU's context, until gpu_leave.  False: it cannot be. */
bool gpu_enter(gpu_memory *g);
void gpu_leave(gpu_memory *g);
void *gpu_alloc(gpu_memory *g, size_t size);
void gpu_free(gpu_memory *g, void *p);
ort_status *gpu_copy(gpu_memory *g, void *to, const void *from, size_t bytes, void *stream); /* within the device */
ort_status *gpu_upload(gpu_memory *g, void *to, const void *from, size_t bytes,
                       void *stream); /* `from` may be freed at once */
bool gpu_has(const gpu_memory *g, const ort_value *v);
ort_status *gpu_allocator(ort_factory *self, const ort_memory_info *m, const ort_pairs *o, ort_allocator **out);
void gpu_allocator_free(ort_factory *self, ort_allocator *a);
ort_status *gpu_transfer(ort_factory *self, ort_transfer **out);
ort_status *gpu_stream(ort_factory *self, const ort_memory_device *d, const ort_pairs *o, ort_stream **out);

/* A call whose failure is the function's. */
#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        ort_status *failed_ = (call);                                                                                  \
        if (failed_) return failed_;                                                                                   \
    } while (0)

#endif
