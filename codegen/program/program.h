/* program.h: the level between the fused graph and the plan file: which steps run, after which others, and where their
 * bytes are.
 *
 * A program is a list of steps in an order that is always right, with the order that they really need beside it: each
 * step says which bytes of which buffers it reads and writes, `after` lists the earlier steps that it must follow, and
 * steps of one stream run in list order.  Nothing else orders steps: memory is planned, streams are used and graphs are
 * captured by what stands here, and tn_program_verify proves that every order which is allowed gives the same bytes.
 *
 *     program "resnet" {
 *       symbol N in [1, 32]
 *       bucket N in [1, 8] hint 1                              sizes that some kernels are for
 *       bucket N in [8, 32] hint 16 by 8                       ... only multiples of 8
 *       input %0 "x" : N*602112                                a buffer and its bytes
 *       const %1 "conv1.weight" : 37632
 *       const %5 "conv1.weight" : 49152 packed "tiles 64x32 swizzle 1 3 of 1x64x147x4"      (packing.h) as some kernels want it
 *       scratch %2 : N*1605632 at N*1024                       offset in the arena, once `memory` has run
 *       output %3 "y" : N*4000
 *       output %4 "grown" : 4096 over %0[0, 64*N]              in the memory of an input, whose bytes there it keeps
 *       #0 launch "0:conv" reads %0[0, N*602112], %1[0, 37632] writes %2[0, N*1605632] layers "/conv1/Conv"
 *         runs "conv_mma BM=64 PACK=1" from %5 in 0, "conv_mma BM=128"   its kernels: in the first bucket, where it reads that
 *                                                              in place of the same constant in `reads`; else
 *       #1 launch "1:relu" reads %2[0, N*1605632] writes %2[0, N*1605632] in_place 0 0 after #0 stream 1
 *       #2 if "2:if" body 1 2 reads %4[0, 1]                   a bool: step #3 runs where it is true, else #4 and #5
 *         require first equal(K, N) "add" of "axis 0 of x", "axis 0 of y" layers "/branch/Add"      before step #3 runs
 *       #3 copy "3:copy" reads %2[0, 400] writes %3[0, 400]
 *       #4 fill "4:fill" writes %3[0, 400] with 0              bytes of a repeated word
 *       #5 while "5:while" body 1 0 reads %4[0, 1]             #6, as long as it is true
 *       #6 launch "6:map" reads %3[0, 400] writes %3[0, 400], %4[0, 1] in_place 0 0
 *       arena N*1605632
 *     }
 *
 * Steps that others own stand behind these in the same list: an `if` owns so many steps for true and so many for false, a
 * `while` so many for an iteration.  What they own runs on their stream, in list order, and follows what they follow; from
 * outside, an owner and what it owns count as one step, and `after` leads from and to such ones alone.
 *
 * An extent is %buffer[offset, bytes]; %buffer[offset, bytes, run, pitch] touches only `run` bytes every `pitch`.
 *
 * Storage is the graph's: a program lives as long as its graph, dims are the graph's, errors are sticky in it.  One
 * thread at a time, as for tn_graph. */
#ifndef TENON_CODEGEN_PROGRAM_H
#define TENON_CODEGEN_PROGRAM_H

#include "passes/memory/memory.h"
#include "runtime/plan/format.h"
#include "runtime/plan/packing.h"

enum { TN_MAX_STREAMS = TN_PLAN_STREAMS };

typedef enum tn_buffer_kind {
    TN_BUFFER_INPUT,
    TN_BUFFER_OUTPUT,
    TN_BUFFER_CONST,
    TN_BUFFER_SCRATCH,
    TN_BUFFER_KINDS
} tn_buffer_kind;

/* Bytes of a buffer. */
typedef struct tn_extent {
    uint32_t buffer;
    tn_dim offset, bytes; /* of the first; from the first to behind the last */
    tn_dim run, pitch;    /* none: all of them; else `run` bytes from the first on, again every `pitch` */
} tn_extent;

typedef struct tn_prog_buffer {
    tn_buffer_kind kind;
    uint32_t index;   /* of the input, output or constant; scratch: its number among them */
    const char *name; /* interned, the user's; "" */
    tn_dim bytes;
    tn_dim at;          /* scratch: where in the arena; none before `memory` */
    tn_packing packing; /* constants: how their bytes are ordered */
    tn_node node;       /* the constant; none in a program that was read */
    tn_extent kept;     /* an output in the memory of an input: that input's bytes; else without `bytes` */
} tn_prog_buffer;

typedef enum tn_step_kind {
    TN_STEP_LAUNCH,
    TN_STEP_LT,
    TN_STEP_COPY,  /* the one extent that it reads into the one that it writes, of as many bytes */
    TN_STEP_FILL,  /* the one extent that it writes with a word */
    TN_STEP_IF,    /* by sizes, or the bool in the one extent that it reads */
    TN_STEP_WHILE, /* the same; an iteration writes it */
    TN_STEP_KINDS
} tn_step_kind;

enum { TN_MAX_NESTING = TN_PLAN_NESTING };

/* A write that may replace a read: the step computes each element of it from the same element of what it reads. */
typedef struct tn_in_place {
    uint32_t write, read; /* indices into the step's writes and reads */
} tn_in_place;

enum { TN_MAX_FROM = 8 };

/* One way to do a step's work: the first counts whose bucket holds. */
typedef struct tn_prog_way {
    const char *text;                   /* interned: template and knobs, or cuBLASLt's configuration */
    uint32_t n_from, from[TN_MAX_FROM]; /* constants that it reads otherwise packed than the step's `reads` say */
    uint32_t bucket;                    /* of the graph; TN_MAX_BUCKETS: it holds for all sizes, and is the last */
} tn_prog_way;

typedef struct tn_prog_step {
    tn_step_kind kind;
    const char *name; /* interned */
    tn_node node;     /* the fused kernel that it carries out; none in a program that was read from text */
    uint32_t n_reads, n_writes, n_in_place, n_after, n_layers;
    tn_extent *reads, *writes;
    tn_in_place *in_place;
    uint32_t *after; /* earlier steps that it must follow beside its predecessor on its stream, ascending */
    const char **layers;
    uint32_t n_ways; /* 0 until kernels are chosen */
    tn_prog_way *ways;
    uint32_t stream;  /* 0: the caller's */
    uint32_t body[2]; /* if, while: how many of the steps behind it are its own, with all that these own */
    tn_region needs
        [2]; /* if, while: what is needed where each body runs: the graph's conditions of this region; none: nothing */
    tn_dim sizes;  /* if: 1 where its first steps run, 0 where its second ones do; none: the bool says that */
    uint32_t word; /* fill: four bytes; where they are unlike, the extent is a multiple of four */
    double us;     /* how long it takes, roughly; 0: unknown */
} tn_prog_step;

typedef struct tn_program {
    tn_graph *g;
    const char *name;
    tn_prog_buffer *buffers;
    tn_prog_step *steps;
    uint32_t n_buffers, n_steps, cap_buffers, cap_steps;
    uint32_t n_streams;
    tn_dim arena; /* bytes; none before `memory` */
} tn_program;

/* ---- making one (program.c) -------------------------------------------------------------------------------------- */

tn_program *tn_program_new(tn_graph *g, const char *name); /* NULL (sticky in g) when out of memory */
/* The new buffer's index. */
uint32_t tn_program_add_buffer(tn_program *p, tn_buffer_kind kind, uint32_t index, const char *name, tn_dim bytes);
/* A step with room for so many extents, in_place pairs and layers, which the caller fills; NULL when out of memory.
 * Valid until the next step is added. */
tn_prog_step *tn_program_add_step(tn_program *p, tn_step_kind kind, const char *name, uint32_t n_reads,
                                  uint32_t n_writes, uint32_t n_in_place, uint32_t n_layers);
/* The layers as the graph knows them. */
tn_loc tn_program_layers(const tn_program *p, size_t n, const char *const *layers);
static inline bool tn_prog_is_control(const tn_prog_step *s) {
    return s->kind == TN_STEP_IF || s->kind == TN_STEP_WHILE;
}
/* Behind the last step that step k owns; k + 1 if it owns none. */
static inline uint32_t tn_prog_end(const tn_program *p, uint32_t k) {
    return k + 1 + p->steps[k].body[0] + p->steps[k].body[1];
}
/* The kernels of a fused graph with the placements that tn_place_values gave it (from_graph.c). */
tn_status tn_program_of_graph(tn_graph *g, const tn_memory *m, tn_program **out);
/* Adds what `memory` chose to the placements of values in the arena, and its size. */
void tn_program_place(const tn_program *p, tn_memory *m);

/* For those who only ask where values lie: tn_place_values, the program and its passes on one stream, tn_program_place.
 * *m is freed with tn_memory_free. */
tn_status tn_plan_memory(tn_graph *g, tn_memory *m);

/* ---- passes (passes.def) ----------------------------------------------------------------------------------------- */

typedef struct tn_program_options {
    uint32_t streams; /* most streams that `streams` may use; 0: 1 */
} tn_program_options;
typedef tn_status (*tn_program_pass_fn)(tn_program *p, const tn_program_options *o);

size_t tn_program_pass_count(void);
void tn_program_pass_at(size_t k, const char **name, const char **summary);
/* Runs passes by name, separated by commas (NULL: all, in the registry's order) and checks the structure after each.
 * TN_E_ARGUMENT names an unknown one. */
tn_status tn_program_run(tn_program *p, const char *passes, const tn_program_options *o);

/* ---- order (order.c) --------------------------------------------------------------------------------------------- */

/* Which steps have surely ended when another starts: for each step and stream, the last one there. */
typedef struct tn_order {
    const tn_program *p;
    uint32_t n_streams;
    uint32_t *last; /* [step * n_streams + stream]: a step's index + 1, 0: none */
} tn_order;

tn_status tn_order_make(const tn_program *p, tn_order *o); /* TN_E_MEMORY; freed with tn_order_free */
/* One in which nothing precedes anything yet, for so many streams; then: `other`, and what precedes it, precedes step. */
tn_status tn_order_begin(const tn_program *p, uint32_t n_streams, tn_order *o);
void tn_order_see(tn_order *o, uint32_t step, uint32_t other);
void tn_order_free(tn_order *o);
/* Step a has ended before b starts, whatever the device does. */
bool tn_order_before(const tn_order *o, uint32_t a, uint32_t b);

/* The buffer whose memory it is: an input where an output shares that, else itself. */
uint32_t tn_program_memory_of(const tn_program *p, uint32_t buffer);
/* False where it is proved, for all values of the symbols, that the extents have no byte in common (extent.c). */
bool tn_extents_meet(const tn_program *p, const tn_extent *a, const tn_extent *b);

bool tn_extent_is_whole(const tn_program *p, const tn_extent *e); /* all of its buffer */

/* ---- checking (verify.c) ----------------------------------------------------------------------------------------- */

/* Indices in range, steps within their owners, at most TN_MAX_NESTING deep, `after` earlier, ascending and without doubles, streams below n_streams. */
tn_status tn_program_check(const tn_program *p);
/* With the symbols bound to these values: every extent lies in its buffer; steps that touch the same bytes, one of them
 * writing, are ordered; a buffer's bytes are its own from its first write to its last use, but for what is declared in
 * place; what is read was written; what an output keeps of an input is not.  TN_E_VERIFY names the steps and buffers.  Time near linear in steps and in how many
 * buffers share bytes. */
tn_status tn_program_verify(const tn_program *p, const tn_binding *b, size_t n);

/* ---- text (text.c, parse.c) -------------------------------------------------------------------------------------- */

/* NUL-terminated, freed with tn_free(env, *text, *size + 1). */
tn_status tn_program_print(const tn_program *p, char **text, size_t *size);
/* Into a graph that holds only the dims.  TN_E_FORMAT names line and column. */
tn_status tn_program_parse(const tn_env *env, const char *source, const char *text, tn_program **out);
/* Frees a program that was parsed or read, with its graph. */
void tn_program_free(tn_program *p);

#endif
