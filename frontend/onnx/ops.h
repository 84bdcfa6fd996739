/* ops.h: the operators that the importer knows: onnx_ops.def, and what onnx_facts.def says of each. */
#ifndef TENON_ONNX_OPS_H
#define TENON_ONNX_OPS_H

#include <stddef.h>

typedef struct tn_onnx_op {
    const char *domain, *name; /* domain "": ai.onnx; name "*" where all of a domain is refused */
    int since, until;          /* opset versions; 0 where it is refused */
    const char *versions;      /* where the operator changed, from the first version that is imported on */
    const char *types;   /* element types that it takes: of its result, or where this has one always, of input 0 */
    const char *without; /* those that ONNX allows besides */
    const char *decided; /* steps of a plan that decide what runs: "if", "while"; all others are kernels and copies */
    const char *refused; /* why it is not imported; NULL if it is */
} tn_onnx_op;

size_t tn_onnx_op_count(void); /* those refused come last */
tn_onnx_op tn_onnx_op_at(size_t k);

#endif
