/* reader.h: bytes of an ONNX file -> protobuf-c messages and tensors.
 *
 * Files are mapped and reference-counted; large weights are never copied: wire.c takes them out of the message before
 * it is unpacked and notes where in the file they lie.  Everything here treats its input as hostile. */
#ifndef TENON_ONNX_READER_H
#define TENON_ONNX_READER_H

#include "frontend/onnx/onnx.pb-c.h"
#include "ir/ir.h"

/* Element types of TensorProto.data_type. */
enum {
    TN_ONNX_UNDEFINED,
    TN_ONNX_FLOAT,
    TN_ONNX_UINT8,
    TN_ONNX_INT8,
    TN_ONNX_UINT16,
    TN_ONNX_INT16,
    TN_ONNX_INT32,
    TN_ONNX_INT64,
    TN_ONNX_STRING,
    TN_ONNX_BOOL,
    TN_ONNX_FLOAT16,
    TN_ONNX_DOUBLE,
    TN_ONNX_UINT32,
    TN_ONNX_UINT64,
    TN_ONNX_COMPLEX64,
    TN_ONNX_COMPLEX128,
    TN_ONNX_BFLOAT16,
    TN_ONNX_FLOAT8E4M3FN,
    TN_ONNX_FLOAT8E4M3FNUZ,
    TN_ONNX_FLOAT8E5M2,
    TN_ONNX_FLOAT8E5M2FNUZ,
    TN_ONNX_UINT4,
    TN_ONNX_INT4,
    TN_ONNX_FLOAT4E2M1,
    TN_ONNX_FLOAT8E8M0,
    TN_ONNX_UINT2,
    TN_ONNX_INT2
};

tn_dtype tn_onnx_dtype(int32_t data_type);         /* TN_DTYPE_NONE where Tenon has no such type */
const char *tn_onnx_dtype_name(int32_t data_type); /* "FLOAT16"; "unknown" */

/* ---- files ------------------------------------------------------------------------------------------------------- */

/* The bytes of a mapped file (or the caller's memory, which is not shared).  Counted atomically, since blobs of clones
 * may be released from any thread. */
typedef struct tn_onnx_file tn_onnx_file;
/* Maps path read-only.  NULL with *status set and reported on failure; an empty file is a file of 0 bytes. */
tn_onnx_file *tn_onnx_file_map(const tn_env *env, const char *path, tn_status *status);
void tn_onnx_file_ref(tn_onnx_file *f);
void tn_onnx_file_unref(void *f);
const uint8_t *tn_onnx_file_data(const tn_onnx_file *f);
size_t tn_onnx_file_size(const tn_onnx_file *f);

/* ---- messages ---------------------------------------------------------------------------------------------------- */

/* What a kind of file has: its name in messages, and which bytes of which messages are large: these have fields 536870000
 * and 536870001 for the place and size of such bytes in the file. */
typedef struct tn_wire_format {
    const char *file;    /* "an ONNX file" */
    const char *message; /* of the schema: "TensorProto" */
    uint32_t bytes[2];   /* fields of it; 0: none */
} tn_wire_format;
extern const tn_wire_format tn_onnx_format;

/* Rewrites a serialised message of type `desc`, checking nesting depth, bounds and wire types, dropping fields that the
 * schema does not know, and replacing long bytes by their place in `data`.  The caller frees *out (capacity *cap). */
tn_status tn_onnx_strip(const tn_env *env, const char *source, const tn_wire_format *format,
                        const ProtobufCMessageDescriptor *desc, const uint8_t *data, size_t size, uint8_t **out,
                        size_t *n, size_t *cap);

/* An unpacked message and the bytes its tensors refer to. */
typedef struct tn_onnx_message {
    ProtobufCMessage *msg;
    ProtobufCAllocator allocator;
    const tn_env *env;
    tn_onnx_file *file;  /* owns data, or NULL when data is the caller's */
    const uint8_t *data; /* what mapped_offset counts from */
    size_t size;
    char *base_dir; /* where external data is looked for; NULL: nowhere */
    size_t base_dir_size;
    struct tn_onnx_external *externals; /* external files opened so far */
    bool out_of_memory;
} tn_onnx_message;

/* Unpacks into *m (zero it first); on failure reports and leaves nothing to close. */
tn_status tn_onnx_open(tn_onnx_message *m, const tn_env *env, const char *source,
                       const ProtobufCMessageDescriptor *desc, const uint8_t *data, size_t size);
/* The same of another kind of file. */
tn_status tn_wire_open(tn_onnx_message *m, const tn_env *env, const char *source, const tn_wire_format *format,
                       const ProtobufCMessageDescriptor *desc, const uint8_t *data, size_t size);
/* Unpacks bytes as they are: what comes from no file, and is well-formed. */
tn_status tn_onnx_unpack(tn_onnx_message *m, const tn_env *env, const char *source, const tn_wire_format *format,
                         const ProtobufCMessageDescriptor *desc, size_t n, const uint8_t *bytes);
void tn_onnx_close(tn_onnx_message *m);

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

/* A decoded tensor.  `data` points into `file` (borrowed; take a reference to keep it), into the caller's memory or the
 * message, or to `owned` (freed by tn_onnx_tensor_release).  Types of 2 and 4 bits are packed, the low bits of a byte first. */
typedef struct tn_onnx_tensor {
    tn_dtype dtype;
    uint32_t rank;
    int64_t dims[TN_MAX_RANK];
    uint64_t count;
    const void *data;
    size_t bytes;
    tn_onnx_file *file;
    void *owned;
} tn_onnx_tensor;

/* Decodes t, every encoding of the format.  `where` names it in messages. */
tn_status tn_onnx_decode(tn_onnx_message *m, const TnOnnx__TensorProto *t, const char *where, tn_onnx_tensor *out);
void tn_onnx_tensor_release(const tn_env *env, tn_onnx_tensor *t);
/* The tensor's bytes as a blob of g: borrowed from the mapping when aligned, else copied. */
tn_blob tn_onnx_tensor_blob(tn_graph *g, const tn_onnx_tensor *t);

#endif
