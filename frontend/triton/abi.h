/* abi.h: what the backend needs of Triton's binary interface, in words of its own: no header of Triton is used.
 *
 * Objects of Triton are opaque, its functions are those of calls.def, found by name in the server that loads the backend.
 * What Triton calls are the TRITONBACKEND_* functions of backend.c. */
#ifndef TENON_TRITON_ABI_H
#define TENON_TRITON_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TRITON_MAJOR = 1 /* of the interface; a later minor version only adds functions */ };

typedef enum triton_code {
    TRITON_UNKNOWN,
    TRITON_INTERNAL,
    TRITON_NOT_FOUND,
    TRITON_INVALID_ARGUMENT,
    TRITON_UNAVAILABLE,
    TRITON_UNSUPPORTED,
    TRITON_ALREADY_EXISTS,
    TRITON_CANCELLED
} triton_code;
typedef enum triton_log_level { TRITON_LOG_INFO, TRITON_LOG_WARN, TRITON_LOG_ERROR } triton_log_level;
typedef enum triton_memory { TRITON_CPU, TRITON_PINNED, TRITON_GPU } triton_memory;
typedef enum triton_kind { TRITON_KIND_AUTO, TRITON_KIND_CPU, TRITON_KIND_GPU, TRITON_KIND_MODEL } triton_kind;
enum { TRITON_RELEASE_ALL = 1, TRITON_FINAL = 1, TRITON_CONFIG_VERSION = 1 };

/* Element types by their numbers, with their names in a configuration ("TYPE_FP32") and Tenon's. */
#define TRITON_TYPES(X)                                                                                                \
    X(1, "BOOL", TN_BOOL)                                                                                              \
    X(2, "UINT8", TN_U8)                                                                                               \
    X(3, "UINT16", TN_U16)                                                                                             \
    X(4, "UINT32", TN_U32)                                                                                             \
    X(5, "UINT64", TN_U64)                                                                                             \
    X(6, "INT8", TN_I8)                                                                                                \
    X(7, "INT16", TN_I16)                                                                                              \
    X(8, "INT32", TN_I32)                                                                                              \
    X(9, "INT64", TN_I64)                                                                                              \
    X(10, "FP16", TN_F16)                                                                                              \
    X(11, "FP32", TN_F32)                                                                                              \
    X(12, "FP64", TN_F64)                                                                                              \
    X(14, "BF16", TN_BF16)
typedef unsigned triton_type;

typedef struct TRITONSERVER_Error triton_error; /* NULL: success */
typedef struct TRITONSERVER_Message triton_message;
typedef struct TRITONBACKEND_Backend triton_backend;
typedef struct TRITONBACKEND_BackendAttribute triton_attribute;
typedef struct TRITONBACKEND_Model triton_model;
typedef struct TRITONBACKEND_ModelInstance triton_instance;
typedef struct TRITONBACKEND_Request triton_request;
typedef struct TRITONBACKEND_Response triton_response;
typedef struct TRITONBACKEND_Input triton_input;
typedef struct TRITONBACKEND_Output triton_output;
typedef struct TRITONBACKEND_State triton_state;

/* The functions of calls.def, under their names. */
typedef struct triton_functions {
#define CALL(group, name, result, args) result(*name) args;
#include "frontend/triton/calls.def"
#undef CALL
} triton_functions;

/* Fills in *f from the object that `caller`, an address in Triton's code, belongs to.  False where ErrorNew itself is not
 * there; else *error is set where this Triton lacks one, or is of another generation. */
bool triton_load(const void *caller, triton_functions *f, triton_error **error);

#endif
