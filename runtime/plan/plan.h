/* plan.h: a loaded plan as the rest of the runtime (and `tenon inspect`) sees it: a mapped file and a manifest that has
 * been checked through and through, so that every index, dim and offset in it may be used without another look. */
#ifndef TENON_RUNTIME_PLAN_H
#define TENON_RUNTIME_PLAN_H

#include <pthread.h>

#include "runtime/cuda/tensor_map.h"
#include "runtime/plan/packing.h"
#include "runtime/plan/plan.pb-c.h"
#include "runtime/plan/write.h"
#include "tenon/internal/memory.h"
#include "tenon/tenon.h"

struct tn_plan_device; /* weights and kernels on one GPU: device.h */

struct tn_plan {
    const tn_env *env;
    const uint8_t *data;
    size_t size;
    bool mapped;
    tn_arena arena;
    const TnPlan__Plan *pb;
    tn_tensor_desc *inputs, *outputs; /* in arena */
    uint8_t *blob_ok;                 /* per blob: its checksum was verified; under mutex */
    pthread_mutex_t mutex;
    unsigned refs; /* the plan itself and its contexts; under mutex */
    pthread_mutex_t device_mutex;
    struct tn_plan_device *devices; /* under device_mutex */
    /* Plans that were made of this one for GPUs that it does not serve, one a compute capability; under device_mutex, but
     * for the last three, which never change. */
    tn_plan *made, *next_made;
    int made_for;
    /* What a host keeps for all contexts of the plan, and how it is freed; under device_mutex. */
    void *lent;
    void (*free_lent)(void *lent);
    void *owned; /* the bytes at `data`, of owned_size; NULL: the caller's */
    size_t owned_size;
};

/* As tn_plan_load_memory, which borrows: the plan frees the bytes, with tn_free; here also if it fails. */
tn_plan *tn_plan_load_owned(const tn_env *env, void *data, size_t size, tn_status *status);
/* The manifest; never NULL. */
const TnPlan__Plan *tn_plan_manifest(const tn_plan *p);
/* A blob's bytes, its checksum verified on first use.  E_FORMAT names the blob if it is damaged; E_ARGUMENT if there is
 * none. */
tn_status tn_plan_blob(tn_plan *p, uint32_t index, const void **data, size_t *size);

/* How a constant's bytes are ordered. */
tn_packing tn_const_packing(const TnPlan__Const *c);

void tn_plan_retain(tn_plan *p);
void tn_plan_release(tn_plan *p);

/* How many of a step's arguments are 8-byte fields: all before its tensor maps. */
static inline size_t tn_step_plain_args(const TnPlan__Step *s) {
    size_t n = s->n_args;
    while (n && s->args[n - 1]->kind == TN_PLAN__ARG__KIND__MAP) n--;
    return n;
}
/* A tensor map, its sizes left out. */
tn_map_box tn_plan_map_box(const TnPlan__TensorMap *m);

/* A step's ways: itself, then its alternatives. */
static inline size_t tn_step_ways(const TnPlan__Step *s) {
    return 1 + s->n_alternatives;
}
static inline const TnPlan__Step *tn_step_way(const TnPlan__Arch *a, const TnPlan__Step *s, size_t k) {
    return k ? a->alternatives[s->alternatives[k - 1]] : s;
}

/* An if or a while, which owns steps behind it. */
static inline bool tn_step_is_control(const TnPlan__Step *s) {
    return s->what_case == TN_PLAN__STEP__WHAT_BUILTIN &&
           (s->builtin->kind == TN_PLAN__BUILTIN__KIND__IF || s->builtin->kind == TN_PLAN__BUILTIN__KIND__WHILE);
}
/* Behind the last step that step k owns; k + 1 if it owns none. */
static inline size_t tn_step_end(const TnPlan__Arch *a, size_t k) {
    const TnPlan__Step *s = a->steps[k];
    return k + 1 + (tn_step_is_control(s) ? (size_t)s->builtin->first + s->builtin->second : 0);
}

/* check.c: bounds of everything in a manifest.  file_size: what blobs must lie in. */
tn_status tn_plan_check(const tn_env *env, const TnPlan__Plan *pb, uint64_t file_size);

/* alias.c: outputs that grow in inputs' buffers.  The alias of an input or output; NULL: it has a buffer of its own. */
const TnPlan__Alias *tn_alias_of(const TnPlan__Plan *pb, bool output, size_t k);
/* How the caller's buffer of an input or output holds its elements, under a table that was bound: `n` pieces of `run`
 * bytes, each `pitch` behind the one before.  Packed, these pieces are the tensor. */
typedef struct tn_rows {
    size_t n, run, pitch;
    size_t bytes; /* of the buffer */
} tn_rows;
tn_rows tn_rows_of(const TnPlan__Plan *pb, bool output, size_t k, const int64_t *table);
/* Whether they all fit, under a table that is being bound.  E_ARGUMENT names output and input. */
tn_status tn_aliases_check(const tn_plan *p, const int64_t *table);

/* How a step is named in messages: "conv_relu_1a2b (layers /conv1/Conv, /relu1/Relu)". */
void tn_step_text(const TnPlan__Step *s, char *buf, size_t size);

#endif
