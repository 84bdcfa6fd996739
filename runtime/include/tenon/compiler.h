/* compiler.h: build or import a graph and compile it into a plan (libtenon).
 *
 * Threads: a graph belongs to one thread at a time; tn_compile uses threads of its own and returns when they are
 * gone. */
#ifndef TENON_COMPILER_H
#define TENON_COMPILER_H

#include "ir/ir.h"
#include "tenon/plugin.h"
#include "tenon/tenon.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- import ------------------------------------------------------------------------------------------------------ */

/* Fixes an input's value: it becomes a constant and is no input of the graph any more.  For models that take sizes,
 * axes or paddings as inputs, which must be known when compiling.  dims and dtype must fit the model's; data is
 * copied. */
typedef struct tn_const_input {
    const char *input;
    tn_dtype dtype;
    uint32_t rank;
    int64_t dims[TN_MAX_RANK];
    const void *data;
} tn_const_input;

/* How long a tensor can be whose length depends on data in no way that says so: what Range, OneHot or a Loop makes of sizes that
 * are no constants and no functions of input shapes.  Memory is made for that; an inference that wants more is refused. */
typedef struct tn_length_limit {
    const char *output; /* of the node */
    int64_t most;
} tn_length_limit;

/* How many tensors an input that is a sequence holds: they become the inputs NAME_0, NAME_1, ... (an output that is a
 * sequence becomes such outputs).  -1, of an optional: it has no element, and is no input of the graph; else it is what is
 * in it. */
typedef struct tn_sequence_input {
    const char *input;
    int64_t length;
} tn_sequence_input;

typedef struct tn_import_options {
    const tn_shape_override *shapes; /* of inputs: sizes, ranges, buckets (tn_graph_give_shapes in ir/ir.h) */
    size_t n_shapes;
    const tn_const_input *constants;
    size_t n_constants;
    const tn_length_limit *limits;
    size_t n_limits;
    const tn_sequence_input *sequences;
    size_t n_sequences;
    /* GroupQueryAttention's past and present are one buffer with all rows there may be, which does not grow, whatever the model says of its
     * sizes: ONNX Runtime's past_present_share_buffer. */
    bool share_buffer;
    const char *weights; /* tn_import_file: the .caffemodel of a .prototxt */
    /* Ops of the user's own, by domain and name ("ai.onnx" of ONNX's own, "caffe" of Caffe's layers): they go before the
     * importer's and the model's functions.  NULL: none. */
    const tn_plugins *plugins;
} tn_import_options;

/* Reads an ONNX model (opsets 6 to 27; external data is found beside the file and mapped).  Errors name node, op,
 * domain and opset.  NULL on failure with *status set. */
tn_graph *tn_import_onnx(const tn_env *env, const char *path, const tn_import_options *opts, tn_status *status);
/* The same from memory; base_dir is where external data is looked for (NULL: external data is an error). */
tn_graph *tn_import_onnx_memory(const tn_env *env, const void *data, size_t size, const char *base_dir,
                                const tn_import_options *opts, tn_status *status);

/* Reads a Caffe net: a deploy.prototxt (`layer`, or the older `layers`) and the .caffemodel with its weights, which is mapped
 * (NULL: there are none, which is an error where a layer needs them).  Layers are those of the phase TEST.  Shapes in opts
 * replace the net's, also by ranges; nothing else in opts concerns a net.  Outputs are the tops that no layer reads.  Errors
 * name layer and type, or line and column; layers without an importer are named in one error.  NULL on failure with
 * *status set. */
tn_graph *tn_import_caffe(const tn_env *env, const char *prototxt, const char *caffemodel,
                          const tn_import_options *opts, tn_status *status);
/* The same from memory: the text, `size` bytes of it, and the weights (NULL: none), which are copied. */
tn_graph *tn_import_caffe_memory(const tn_env *env, const char *text, size_t size, const void *weights,
                                 size_t weights_size, const tn_import_options *opts, tn_status *status);

/* Reads .onnx, .tn or .prototxt (with opts->weights) by the file's ending. */
tn_graph *tn_import_file(const tn_env *env, const char *path, const tn_import_options *opts, tn_status *status);

/* One tensor from an ONNX TensorProto file (.pb), for test data.  data is freed with tn_free(env, data, bytes). */
typedef struct tn_host_tensor {
    char name[128];
    tn_dtype dtype;
    uint32_t rank;
    int64_t dims[TN_MAX_RANK];
    void *data;
    size_t bytes;
} tn_host_tensor;
tn_status tn_read_tensor_pb(const tn_env *env, const char *path, tn_host_tensor *out);

/* What a model declares of an input or output: a tensor, a sequence of tensors, an optional of one of these. */
typedef struct tn_onnx_io {
    char name[128];
    bool output, sequence, optional;
    bool ranked; /* the type of its tensors says their rank */
} tn_onnx_io;
/* Of an ONNX model, inputs first; those with an initialiser are none.  *list is freed with
 * tn_free(env, *list, (*n + 1) * sizeof **list). */
tn_status tn_list_onnx_io(const tn_env *env, const char *path, tn_onnx_io **list, size_t *n);
/* Its value from a TensorProto, SequenceProto or OptionalProto file: at most cap tensors, named as the graph's inputs and
 * outputs are (NAME_0, ... of a sequence).  *length as in tn_sequence_input. */
tn_status tn_read_value_pb(const tn_env *env, const char *path, const tn_onnx_io *io, size_t cap, tn_host_tensor *out,
                           int64_t *length);

/* ---- compile ----------------------------------------------------------------------------------------------------- */

typedef enum tn_precision { TN_FP32, TN_PREC_TF32, TN_FP16, TN_PREC_BF16 } tn_precision;

typedef struct tn_compile_options {
    const char *const *targets; /* "sm_90a", ...; NULL: the GPU of this machine */
    size_t n_targets;
    tn_precision precision;
    bool exact;        /* only rewrites that keep results bit for bit */
    bool no_gpu;       /* choose by the cost model, do not look for a GPU */
    bool sources_only; /* no machine code, only sources: for TN_EMU; takes no NVRTC.  With no_gpu */
    int cuda_device;
    double tune_seconds; /* deadline for tuning; 0: 60 s; < 0: nothing is timed, and no context made */
    uint32_t threads;    /* compile threads; 0: all cores */
    uint32_t
        streams; /* branches run side by side on so many CUDA streams at most (8); 0: on a few where tuning finds that they are faster so */
    const char *cache_dir; /* NULL: $TENON_CACHE, else $XDG_CACHE_HOME/tenon, else ~/.cache/tenon; "": no cache */
    const char *lockfile;  /* winners to use (and to write if absent); NULL: none */
    const char *passes;    /* comma-separated pass names instead of the standard pipeline; NULL: standard */
    /* Shapes of inputs where they were not given to the import: sizes, ranges with typical sizes, and buckets, which are
     * several shapes of one input (tn_graph_give_shapes). */
    const tn_shape_override *shapes;
    size_t n_shapes;
    /* Outputs that grow in inputs' buffers, such as KV caches: "past_key_values.*=present.*" (tn_graph_alias in ir/ir.h;
     * tn_context_alias says what the caller's buffers look like then). */
    const char *const *aliases;
    size_t n_aliases;
    bool caches; /* and what is named as KV caches are ("past_key_values.0.key" and "present.0.key"), where it can be */
} tn_compile_options;

/* Compiles g (consumed: changed by the passes, still owned by the caller) and writes the plan to path atomically. */
tn_status tn_compile(tn_graph *g, const tn_compile_options *opts, const char *path);
/* The same into memory; the caller frees *data with tn_free(env, *data, *size). */
tn_status tn_compile_memory(tn_graph *g, const tn_compile_options *opts, void **data, size_t *size);

#ifdef __cplusplus
}
#endif
#endif
