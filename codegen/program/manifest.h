/* manifest.h: turns a fused graph, its placements and the chosen kernels into a plan's protobuf messages.
 *
 * Messages live in an arena of the manifest's own and die with it.  Dims are entered once each, operands before
 * users. */
#ifndef TENON_MANIFEST_H
#define TENON_MANIFEST_H

#include "codegen/codegen.h"
#include "codegen/program/program.h"
#include "codegen/bind/lt_match.h"
#include "runtime/plan/plan.pb-c.h"

typedef struct tn_manifest tn_manifest;

tn_manifest *tn_manifest_new(tn_graph *g, const tn_memory *m); /* NULL when out of memory */
void tn_manifest_free(tn_manifest *mf);
/* Sticky: once an allocation failed, everything returns NULL or 0 and this returns TN_E_MEMORY. */
tn_status tn_manifest_status(const tn_manifest *mf);

/* Zeroed bytes and string copies in the manifest's arena. */
void *tn_manifest_alloc(tn_manifest *mf, size_t size);
char *tn_manifest_str(tn_manifest *mf, const char *s);

/* The index of a dim (entered with its operands on first use); of the constant 0 for handle 0. */
uint32_t tn_manifest_dim(tn_manifest *mf, tn_dim d);
/* The dims so far, for evaluation. */
size_t tn_manifest_dims(const tn_manifest *mf, TnPlan__Dim *const **dims);
/* Where a value lives; constants are entered on first use. */
TnPlan__Place *tn_manifest_place(tn_manifest *mf, tn_val v);
/* The dim of TnPlan__Step.reach. */
uint32_t tn_manifest_reach(tn_manifest *mf, tn_node kernel);
/* Where a constant lives that a kernel wants packed. */
TnPlan__Place *tn_manifest_packed(tn_manifest *mf, tn_val v, const tn_packing *how);
/* One argument of a kernel node's launch, packed (NULL: as the graph has it). */
TnPlan__Arg *tn_manifest_arg(tn_manifest *mf, tn_node kernel, const tn_arg *a, const tn_packing *how);
/* A tensor map of a launch. */
TnPlan__Arg *tn_manifest_map(tn_manifest *mf, const tn_map *m);
TnPlan__Lt *tn_manifest_lt(tn_manifest *mf, const tn_lt_call *c);
/* The same for any dim table: dim(user, d) returns d's index in it. */
void tn_lt_message(const tn_lt_call *c, uint32_t (*dim)(void *user, tn_dim d), void *user, TnPlan__Lt *m);
/* The outputs that grow in buffers of inputs. */
void tn_manifest_aliases(tn_manifest *mf, const tn_program *p, TnPlan__Plan *plan);
/* The program's buffers in the arena, and what its step touches and follows; v: the kernel that reads constants packed,
 * NULL: none does. */
void tn_manifest_buffers(tn_manifest *mf, const tn_program *p, TnPlan__Arch *arch);
void tn_manifest_order(tn_manifest *mf, const tn_program *p, const tn_prog_step *s, const tn_variant *v,
                       TnPlan__Step *out);
/* A plan's dims in a graph, by index: its symbols are found by name; new ones get the plan's ranges.  out: n_dims. */
void tn_dims_of_plan(tn_graph *g, const TnPlan__Plan *pb, tn_dim *out);
/* The program that a plan holds for one of its architectures (read.c), in a graph of its own: tn_program_free. */
tn_status tn_program_read(const tn_env *env, const TnPlan__Plan *pb, const TnPlan__Arch *arch, tn_program **out);
/* A step that is no kernel's: copy, fill, if, while, whole. */
TnPlan__Step *tn_manifest_builtin(tn_manifest *mf, const tn_program *p, uint32_t step);
/* The step's common part: name, layers, grid and args are filled by the caller's kind. */
TnPlan__Step *tn_manifest_step(tn_manifest *mf, const tn_spec *s, tn_node kernel);

/* The index of a bucket that says these ranges of symbols (entered on first use). */
uint32_t tn_manifest_bucket(tn_manifest *mf, size_t n, const tn_dim *syms, const tn_size_range *ranges);

/* A constant in one order: plain, or packed. */
typedef struct tn_manifest_entry {
    tn_node node;
    tn_packing how;
    uint32_t next; /* the same constant in another order: its index + 1; 0: none */
} tn_manifest_entry;
/* The index of a constant packed so (NULL: plain), entered on first use. */
uint32_t tn_manifest_const(tn_manifest *mf, tn_node n, const tn_packing *how);
/* The constants entered so far, in order. */
size_t tn_manifest_consts(const tn_manifest *mf, const tn_manifest_entry **entries);

/* Where a constant's bytes are among the weights, and where the IR says that they are if these are packed and there are no
 * others (TnPlan__Const.elsewhere). */
typedef struct tn_const_at {
    uint64_t offset, elsewhere;
} tn_const_at;
/* Fills inputs, outputs, dims, consts (parallel to tn_manifest_consts), buckets and arena size. */
tn_status tn_manifest_finish(tn_manifest *mf, const tn_const_at *consts, TnPlan__Plan *plan);

#endif
