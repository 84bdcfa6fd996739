/* abi.h: what the provider needs of ONNX Runtime's binary interface, in words of its own: no header of ONNX Runtime is used.
 *
 * Objects of ONNX Runtime are opaque; its functions are slots of tables (slots.def); what it calls are the structures of
 * functions below, whose order is that of version 1.23.  Each says so in its first field, and ONNX Runtime reads no
 * field that came later. */
#ifndef TENON_ORT_ABI_H
#define TENON_ORT_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ORT_VERSION = 23 /* of the interface */ };

typedef enum ort_error { ORT_FAIL = 1, ORT_INVALID_ARGUMENT = 2, ORT_NOT_IMPLEMENTED = 9, ORT_EP_FAIL = 11 } ort_error;
enum { ORT_LOG_VERBOSE, ORT_LOG_INFO, ORT_LOG_WARNING, ORT_LOG_ERROR };
enum {
    ORT_ATTR_INT = 1,
    ORT_ATTR_INTS,
    ORT_ATTR_FLOAT,
    ORT_ATTR_FLOATS,
    ORT_ATTR_STRING,
    ORT_ATTR_STRINGS,
    ORT_ATTR_GRAPH,
    ORT_ATTR_TENSOR
};
enum { ORT_HARDWARE_CPU, ORT_HARDWARE_GPU };
enum { ORT_MEMORY_CPU, ORT_MEMORY_GPU };              /* where memory is */
enum { ORT_MEMORY_DEFAULT = 0, ORT_MEMORY_HOST = 5 }; /* of which kind: the device's; pinned */
enum { ORT_DEVICE_ALLOCATOR = 0, ORT_NVIDIA = 0x10de };

typedef struct OrtApiBase {
    const void *(*GetApi)(uint32_t version);
    const char *(*GetVersionString)(void);
} ort_base;

typedef struct OrtStatus ort_status; /* NULL: success */
typedef struct OrtValue ort_value;
typedef struct OrtTypeInfo ort_type_info;
typedef struct OrtTensorTypeAndShapeInfo ort_tensor_info;
typedef struct OrtKernelContext ort_kernel_context;
typedef struct OrtMemoryInfo ort_memory_info;
typedef struct OrtMemoryDevice ort_memory_device;
typedef struct OrtSessionOptions ort_session_options;
typedef struct OrtRunOptions ort_run_options;
typedef struct OrtLogger ort_logger;
typedef struct OrtOpAttr ort_attr;
typedef struct OrtValueInfo ort_value_info;
typedef struct OrtNode ort_node;
typedef struct OrtGraph ort_graph;
typedef struct OrtHardwareDevice ort_hardware;
typedef struct OrtEpDevice ort_device;
typedef struct OrtKeyValuePairs ort_pairs;
typedef struct OrtEpGraphSupportInfo ort_support;
typedef struct OrtNodeComputeContext ort_compute_context;
typedef struct OrtSyncStream ort_sync_stream;

typedef struct ort_allocator ort_allocator;
struct ort_allocator {
    uint32_t version;
    void *(*Alloc)(ort_allocator *self, size_t size);
    void (*Free)(ort_allocator *self, void *p);
    const ort_memory_info *(*Info)(const ort_allocator *self);
    void *(*Reserve)(ort_allocator *self, size_t size); /* NULL: as Alloc */
    ort_status *(*GetStats)(const ort_allocator *self, ort_pairs **out);
    void *(*AllocOnStream)(ort_allocator *self, size_t size, ort_sync_stream *stream);
};

typedef struct ort_fusion_options {
    uint32_t version;
    bool drop_constants; /* constants are no inputs of the fused node */
} ort_fusion_options;

typedef struct ort_compute ort_compute; /* what runs a fused node */
struct ort_compute {
    uint32_t version;
    ort_status *(*CreateState)(ort_compute *self, ort_compute_context *c, void **state);
    ort_status *(*Compute)(ort_compute *self, void *state, ort_kernel_context *c);
    void (*ReleaseState)(ort_compute *self, void *state);
};

typedef struct ort_transfer ort_transfer; /* copies between memories */
struct ort_transfer {
    uint32_t version;
    void (*Release)(ort_transfer *self);
    bool (*CanCopy)(const ort_transfer *self, const ort_memory_device *from, const ort_memory_device *to);
    ort_status *(*CopyTensors)(ort_transfer *self, const ort_value **from, ort_value **to, ort_sync_stream **streams,
                               size_t n);
};

typedef struct ort_notification ort_notification; /* an event of a stream */
struct ort_notification {
    uint32_t version;
    void (*Release)(ort_notification *self);
    ort_status *(*Activate)(ort_notification *self);
    ort_status *(*WaitOnDevice)(ort_notification *self, ort_sync_stream *consumer);
    ort_status *(*WaitOnHost)(ort_notification *self);
};

typedef struct ort_stream ort_stream;
struct ort_stream {
    uint32_t version;
    void (*Release)(ort_stream *self);
    void *(*GetHandle)(ort_stream *self);
    ort_status *(*CreateNotification)(ort_stream *self, ort_notification **out);
    ort_status *(*Flush)(ort_stream *self);
    ort_status *(*OnSessionRunEnd)(ort_stream *self);
};

typedef struct ort_ep ort_ep; /* the provider of one session */
struct ort_ep {
    uint32_t version;
    const char *(*GetName)(const ort_ep *self);
    ort_status *(*GetCapability)(ort_ep *self, const ort_graph *g, ort_support *out);
    ort_status *(*Compile)(ort_ep *self, const ort_graph **graphs, const ort_node **fused, size_t n, ort_compute **out,
                           ort_node **contexts);
    void (*ReleaseNodeComputeInfos)(ort_ep *self, ort_compute **c, size_t n);
    /* optional: NULL */
    ort_status *(*GetPreferredDataLayout)(ort_ep *self, int *out);
    ort_status *(*ShouldConvertDataLayoutForOp)(ort_ep *self, const char *domain, const char *op, int layout, int *out);
    ort_status *(*SetDynamicOptions)(ort_ep *self, const char *const *keys, const char *const *values, size_t n);
    ort_status *(*OnRunStart)(ort_ep *self, const ort_run_options *o);
    ort_status *(*OnRunEnd)(ort_ep *self, const ort_run_options *o, bool synchronise);
    ort_status *(*CreateAllocator)(ort_ep *self, const ort_memory_info *m, ort_allocator **out);
    ort_status *(*CreateSyncStreamForDevice)(ort_ep *self, const ort_memory_device *d, ort_stream **out);
    const char *(*GetCompiledModelCompatibilityInfo)(ort_ep *self, const ort_graph *g);
};

typedef struct ort_factory ort_factory;
struct ort_factory {
    uint32_t version;
    const char *(*GetName)(const ort_factory *self);
    const char *(*GetVendor)(const ort_factory *self);
    ort_status *(*GetSupportedDevices)(ort_factory *self, const ort_hardware *const *hardware, size_t n,
                                       ort_device **out, size_t most, size_t *n_out);
    ort_status *(*CreateEp)(ort_factory *self, const ort_hardware *const *hardware, const ort_pairs *const *metadata,
                            size_t n, const ort_session_options *o, const ort_logger *logger, ort_ep **out);
    void (*ReleaseEp)(ort_factory *self, ort_ep *ep);
    uint32_t (*GetVendorId)(const ort_factory *self);
    const char *(*GetVersion)(const ort_factory *self);
    ort_status *(*ValidateCompiledModelCompatibilityInfo)(ort_factory *self, const ort_hardware *const *hardware,
                                                          size_t n, const char *info, int *out);
    ort_status *(*CreateAllocator)(ort_factory *self, const ort_memory_info *m, const ort_pairs *o,
                                   ort_allocator **out);
    void (*ReleaseAllocator)(ort_factory *self, ort_allocator *a);
    ort_status *(*CreateDataTransfer)(ort_factory *self, ort_transfer **out);
    bool (*IsStreamAware)(const ort_factory *self);
    ort_status *(*CreateSyncStreamForDevice)(ort_factory *self, const ort_memory_device *d, const ort_pairs *o,
                                             ort_stream **out);
};

/* The functions of slots.def, under their names. */
typedef struct ort_functions {
#define SLOT(table, slot, name, result, args) result(*name) args;
#define SLOT24 SLOT
#include "frontend/onnxruntime/slots.def"
#undef SLOT
#undef SLOT24
} ort_functions;

/* Fills in *f; an error where this ONNX Runtime is older than 1.23, or of another generation. */
ort_status *ort_load(const ort_base *base, ort_functions *f);

#endif
