/* codegen.h: from a fused kernel to candidates: specs, templates, variants.
 *
 *     kernel node + placements --> tn_spec (canonical text; equal specs are tuned once)
 *     spec x template x knobs  --> tn_variant (generated header, launch, argument list)
 *     variant + NVRTC          --> cubin, checked and timed by the tuner (tune.h)
 *
 * A template is a real CUDA file in a folder of templates/.  It includes the one generated header "tn_variant.cuh", which defines
 *   - its knobs and problem constants as TN_<NAME>: constexpr, or a macro where the template's preprocessor reads it (a
 *     dynamic size is a macro that reads a field of `args`),
 *   - `struct tn_args` (fields of 8 bytes: tensor pointers, then dims as long long; then tensor maps; in the order of
 *     tn_variant.args; dims that depend on data follow, which the kernel computes from the operands that tell it sizes before
 *     the template's code runs),
 *   - the element types, and the region's functions (tn_load_*, tn_epilogue, tn_map), which the template calls.
 * all in a namespace of the step, which "tn_variant_end.cuh", the template's last line, closes; it also undefines the macros.
 * A constant may come in another order than the graph has it in (tn_emit_packed): whoever runs the variant packs it.
 * The kernel's entry point is `extern "C" __global__ void TN_KERNEL(const __grid_constant__ tn_args args)`.
 *
 * To add a kernel: a template file, one row in templates.def and one binding (accepts, emit, cost). */
#ifndef TENON_CODEGEN_H
#define TENON_CODEGEN_H

#include "codegen/bind/require.h"
#include "ir/ir.h"
#include "ir/plugin/plugin.h"
#include "passes/memory/memory.h"
#include "runtime/cuda/launch.h"
#include "runtime/plan/packing.h"

enum { TN_MAX_KNOBS = 12, TN_MAX_KNOB_VALUES = 16, TN_MAX_CONSTS = 64, TN_MAX_ARGS = 96, TN_MAX_SYMS = 64 };
enum { TN_MAX_MAPS = 4, TN_MAX_ARG_WORDS = TN_MAX_ARGS + TN_ARGS_ALIGN + TN_MAX_MAPS * TN_MAP_WORDS };

/* ---- the device as codegen sees it ------------------------------------------------------------------------------- */

typedef struct tn_arch {
    const char *name; /* "sm_90a" */
    int cc;           /* 90 */
    int sms;
    int smem_block; /* bytes a block may use after opting in */
    int smem_sm;
    int regs_sm;
    double dram_gbs, l2_gbs, l2_mb;
    double f32_tflops, f16_tflops; /* dense: FMA pipes; tensor cores */
    bool pdl, clusters, wgmma;     /* kernels that start early; blocks that read each other's shared memory */
} tn_arch;
/* The table in codegen/bind/arch.c: sm_80 sm_86 sm_89 sm_90a sm_100 sm_120. */
size_t tn_arch_count(void);
const tn_arch *tn_arch_at(size_t k);
const tn_arch *tn_arch_find(const char *name); /* NULL if it is not in the table */
/* The one whose code is nearest to a compute capability (103) and runs there; NULL if there is none. */
const tn_arch *tn_arch_for(int cc);
/* All names, for messages. */
void tn_arch_names(char *buf, size_t size);

/* ---- specs ------------------------------------------------------------------------------------------------------- */

typedef struct tn_spec_tensor {
    tn_val arg; /* the region's argument, or the yielded value */
    tn_dtype dtype;
    uint32_t rank;
    tn_dim dims[TN_MAX_RANK], strides[TN_MAX_RANK]; /* strides in elements */
    uint32_t align;                                 /* bytes */
    bool is_const; /* weights: no predecessor writes it, so it may be loaded before TN_WAIT() */
    tn_dim tells;  /* the symbol that it is the value of; else none */
} tn_spec_tensor;

/* Values of a spec's symbols, in the order in which its text numbers them. */
typedef struct tn_shape {
    size_t n;
    tn_binding b[TN_MAX_SYMS];
} tn_shape;

/* Of a product's constant weight of 16-bit floats: its groups of four elements along k, and how many of them are crowded: have
 * more than two that are not zero.  Sparse tensor cores skip half of a weight without such groups (2:4). */
typedef struct tn_sparsity {
    uint32_t in;      /* the operand */
    const char *name; /* the constant's */
    uint64_t groups;  /* 0: there is no such weight, or a dense one */
    uint64_t crowded;
} tn_sparsity;

typedef struct tn_spec {
    tn_graph *g;
    tn_node kernel;
    tn_region region;
    const tn_plugin *plugin;      /* whose kernel computes it; NULL: templates do */
    tn_node anchor;               /* the region's anchor node; none for a map kernel, and a plugin's */
    tn_dtype loose;               /* values of this dtype may be held in f32 between loads and stores */
    uint32_t n_in, n_out, n_told; /* told: the last operands, which are sizes */
    tn_spec_tensor *in, *out;
    char *text;       /* canonical: region with values renumbered, dtypes, dims, strides, alignment, const-ness */
    uint64_t hash[2]; /* XXH3-128 of text */
    char name[64];    /* readable and unique: anchor + first ops + hash prefix; the kernel's symbol */
    tn_dim sym[TN_MAX_SYMS];
    tn_sparsity sparsity;
    tn_shape typical;    /* of its symbols, in the first bucket (tn_spec_at): what speed is judged at */
    double flops, bytes; /* at the typical shape; for roofline and cost */
    bool one_of_many;    /* the model has other sizes than this spec's, so that it need not work at these */
} tn_spec;

tn_status tn_spec_make(tn_graph *g, tn_node kernel, const tn_memory *m, tn_spec **out);
void tn_spec_free(tn_spec *s);
/* Operand `in` is a weight of which at most two of each four elements along k are not zero. */
static inline bool tn_spec_two_of_four(const tn_spec *s, uint32_t in) {
    return s->sparsity.groups && !s->sparsity.crowded && s->sparsity.in == in;
}
/* "weight 'w' is 2:4 along k", or why it is not. */
void tn_sparsity_text(const char *name, uint64_t groups, uint64_t crowded, char *buf, size_t size);
/* Its symbols' typical sizes in a bucket of the graph. */
tn_shape tn_spec_shape(const tn_spec *s, size_t bucket);
bool tn_same_shape(const tn_shape *a, const tn_shape *b); /* sizes of the same symbols */
/* The spec as another bucket sees it: typical, flops and bytes differ.  It shares the rest with s, which outlives it, and
 * is not freed. */
tn_spec tn_spec_at(const tn_spec *s, size_t bucket);
/* "@8,128": the typical sizes, for keys; "" where there are no buckets or no symbols. */
void tn_spec_sizes_text(const tn_spec *s, char buf[96]);
/* True if v must be rounded to its dtype in a register before the region computes on it. */
bool tn_spec_rounds(const tn_spec *s, tn_val v);
/* True if the region turns floats into something by steps: rounds them to a narrower dtype or to integers, or compares
 * them.  Where a float32 sum falls to the other side of an edge than the exact one, the result is a step away. */
bool tn_spec_steps(const tn_spec *s);
/* A dim at a shape; 1 where it has no value. */
int64_t tn_shape_value(const tn_spec *s, const tn_shape *shape, tn_dim d);
double tn_spec_flops(const tn_spec *s, const tn_shape *shape);
/* Can it be bound, by all that is known of the spec's sizes? */
bool tn_shape_binds(const tn_spec *s, const tn_shape *shape);
double tn_shape_elements(const tn_spec *s, const tn_shape *shape); /* of the tensors that it sizes */
/* Shapes that a kernel of s must be right at (judged.c): the typical one, then those of the other buckets that cost less
 * and others that differ in kind and are small.  Returns how many; 1 for a spec without symbols. */
enum { TN_MAX_SHAPES = 12 };
size_t tn_judged_shapes(const tn_spec *s, tn_shape out[TN_MAX_SHAPES]);

/* ---- templates --------------------------------------------------------------------------------------------------- */

typedef struct tn_knob {
    const char *name;
    bool is_switch; /* its values are ways that have little in common */
    uint32_t n;
    int64_t values[TN_MAX_KNOB_VALUES];
} tn_knob;

/* Read from a template's //! lines at build time (codegen/tools/embed.c). */
typedef struct tn_template {
    const char *name; /* file stem */
    const char *summary;
    const char *source; /* the file's text */
    const char *file;   /* where that is not <name>.cu: a plugin's; else NULL */
    uint64_t hash;      /* of the file and of every header it includes */
    uint32_t n_knobs;
    tn_knob knobs[TN_MAX_KNOBS];
    uint32_t n_requires, n_names;
    const tn_requirement *requires_;
    const char *const
        *names; /* of problem constants, CLUSTERS, SMS and SMEM_MAX in requires, numbered after the knobs */
    const char *const *tested; /* NAME of each TN_<NAME> that the preprocessor reads, then NULL; NULL: any may be */
} tn_template;
size_t tn_template_count(void);
const tn_template *tn_template_at(size_t k);
const tn_template *tn_template_find(const char *name);
/* Headers that templates include (tn_device.cuh, ...), for NVRTC: parallel arrays. */
size_t tn_template_headers(const char *const **names, const char *const **texts);

/* Problem constants of a spec under a template: the names that `require` lines, knobs and the generated header share.
 * A dynamic constant has value = its hint and dim set. */
typedef struct tn_const_def {
    const char *name;
    int64_t value;
    tn_dim dim; /* none: static */
} tn_const_def;
typedef struct tn_problem {
    uint32_t n;
    tn_const_def c[TN_MAX_CONSTS];
} tn_problem;

typedef enum tn_arg_kind { TN_ARG_IN, TN_ARG_OUT, TN_ARG_DIM, TN_ARG_MAP } tn_arg_kind;
typedef struct tn_arg {
    tn_arg_kind kind;
    uint32_t index;
    tn_dim dim;
} tn_arg;

/* A tensor map, made when sizes and addresses are known (runtime/cuda/tensor_map.h). */
typedef struct tn_map {
    uint32_t of; /* the argument that is the tensor */
    tn_map_box box;
    tn_dim offset, dims[TN_MAP_RANK], strides[TN_MAP_RANK]; /* strides and offset in bytes; strides[0] none */
} tn_map;

/* An input that is a constant, which the kernel reads in an order of its own. */
enum { TN_MAX_PACKED = 2 };
typedef struct tn_packed_in {
    uint32_t in;
    tn_packing how;
} tn_packed_in;

typedef struct tn_variant {
    const tn_template *tpl;
    int64_t knob[TN_MAX_KNOBS]; /* values, parallel to tpl->knobs */
    char *header;               /* text of tn_variant.cuh */
    char symbol[80];            /* entry point: what TN_KERNEL expands to */
    uint32_t n_args, n_maps;
    tn_arg args[TN_MAX_ARGS]; /* maps are the last n_maps, in order */
    tn_map maps[TN_MAX_MAPS];
    uint32_t n_packed;
    tn_packed_in packed[TN_MAX_PACKED];
    tn_dim grid[3];
    uint32_t per_sm; /* takes tiles in turns: at most so many blocks a multiprocessor (tn_grid_turns); 0: grid */
    uint32_t block[3];
    uint32_t cluster[3]; /* 0: none */
    bool together;  /* its blocks wait for each other: all run at the same time, and its result was filled with ones */
    uint32_t smem;  /* dynamic shared memory, bytes */
    bool wide;      /* its indices have 64 bits */
    double cost_us; /* predicted at the hint shapes */
    char text[160]; /* "map BLOCK=256 VEC=8" */
} tn_variant;
void tn_variant_free(const tn_env *env, tn_variant *v);
/* A variant of a spec in a view of g becomes one of the spec in g. */
tn_status tn_variant_take(tn_graph *g, const tn_graph *view, tn_variant *v);
/* Fills a variant's argument block (TN_MAX_ARG_WORDS words at most) with sizes and addresses that the caller knows. */
typedef struct tn_arg_values {
    int64_t (*dim)(void *user, tn_dim d);
    uint64_t (*address)(void *user, const tn_arg *a); /* IN, OUT */
    void *user;
} tn_arg_values;
tn_status tn_variant_args(const tn_variant *v, const tn_cuda *cu, const tn_arg_values *x, uint64_t *words);
static inline size_t tn_variant_arg_bytes(const tn_variant *v) {
    return tn_args_words(v->n_args - v->n_maps, v->n_maps) * sizeof(uint64_t);
}
/* How the variant wants an argument packed; NULL: as the graph has it. */
const tn_packing *tn_variant_packing(const tn_variant *v, const tn_arg *a);

/* One template's C side; rows in templates.def. */
typedef struct tn_binding_ops {
    const char *name; /* the template's */
    /* True if the template can compute the spec (shape by shape constraints belong in `require`); fills the problem. */
    bool (*accepts)(const tn_spec *s, const tn_arch *arch, tn_problem *p);
    /* Writes header, args, launch of one knob assignment. */
    tn_status (*emit)(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v);
    /* Predicted microseconds at the hint shapes; ranks candidates. */
    double (*cost)(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs);
} tn_binding_ops;

/* A variant that is not generated yet. */
typedef struct tn_choice {
    const tn_template *tpl;
    int64_t knob[TN_MAX_KNOBS];
    double cost_us;
    uint32_t binding, order; /* enumerate.c's; order: as made, ties keep it */
} tn_choice;
typedef struct tn_choices tn_choices;

/* All variants of a spec for an arch, cheapest predicted cost first; at most `cap` (0: all), of which near-duplicates
 * are the last to be taken.  Every spec has at least one variant: otherwise TN_E_INTERNAL names the kernel's layers.
 * With `only`, the variants of that template (NULL: of all), of which there may be none.  Valid as long as the spec. */
tn_status tn_choices_new(const tn_spec *s, const tn_arch *arch, const tn_template *only, size_t cap, tn_choices **out);
void tn_choices_free(tn_choices *l); /* NULL allowed */
/* Others of all that there are; then the rest may be forgotten, but for a few. */
void tn_choices_select(tn_choices *l, size_t cap);
void tn_choices_trim(tn_choices *l);
/* Of templates and knobs: equal lists have equal ones. */
uint64_t tn_choices_hash(const tn_choices *l);
size_t tn_choices_count(const tn_choices *l);
const tn_choice *tn_choices_at(const tn_choices *l, size_t k);
/* Generates one; freed with tn_variant_free. */
tn_status tn_choice_make(const tn_choices *l, size_t k, tn_variant *out);
/* "map BLOCK=256 VEC=8" */
void tn_knobs_text(const tn_template *t, const int64_t *knob, char *buf, size_t size);
/* Generates all of them; one that cannot be was reported, and another takes its place.  Freed by the caller, each with
 * tn_variant_free, the array with tn_free. */
tn_status tn_choices_make(const tn_choices *l, tn_variant **out, size_t *n);
tn_status tn_enumerate(const tn_spec *s, const tn_arch *arch, const tn_template *only, size_t cap, tn_variant **out,
                       size_t *n);
/* One variant from a template and named knob values, for lockfiles and tests. */
tn_status tn_variant_make(const tn_spec *s, const tn_arch *arch, const char *tpl, const char *knobs, tn_variant *out);

#endif
