/* contraction.h: what the bindings of GEMM-like templates share: the anchor seen as C[b, m, n] = sum_k A[b, m, k] *
 * B[b, n, k], how each operand can be loaded, and the cost model of tiled tensor-core kernels. */
#ifndef TENON_CODEGEN_CONTRACTION_H
#define TENON_CODEGEN_CONTRACTION_H

#include "codegen/emit/emit.h"

/* Which batch element of an operand belongs to batch element b of the result. */
typedef enum tn_batch_map { TN_BATCH_ZERO, TN_BATCH_SAME, TN_BATCH_MIXED } tn_batch_map;

typedef struct tn_contraction {
    tn_val a, b, out;
    tn_val bias;     /* none if absent */
    bool norm;       /* of a's rows: for templates that add them up (tn_finish.cuh) */
    tn_val row_sums; /* ... or that read these sums of theirs; none: they are not given */
    tn_dtype dtype;  /* of a and b */
    bool tf32;       /* float32 operands may be rounded to tf32 */
    bool i32;        /* integers of 8 bits, b's of b_dtype, summed in int32 */
    tn_dtype b_dtype;
    bool trans_a, trans_b; /* a is stored (k, m); b is stored (n, k) */
    tn_coord a_batch, a_m, a_k, b_batch, b_n, b_k, o_batch, o_m, o_n;
    tn_dim batch, m, n, k;
    tn_batch_map a_map, b_map;
} tn_contraction;

/* True if the anchor is a matmul; its batch axes are not looked at, and stay what they are. */
bool tn_matmul_of(const tn_spec *s, tn_contraction *c);
/* True if the anchor is a matmul whose batches are known to match, or a pointwise NHWC convolution (1x1, stride 1, no
 * padding, one group).  One matrix for all of A's batch makes one tall matrix of A. */
bool tn_contraction_of(const tn_spec *s, tn_contraction *c);
/* Looks at the weight of such a product (sparse.c): s->sparsity. */
void tn_find_sparsity(tn_spec *s);
/* Whether the anchor may round float32 operands to tf32; multiplies integers of 8 bits and sums them in int32. */
bool tn_spec_tf32(const tn_spec *s);
bool tn_spec_i32(const tn_spec *s);
/* Whether tn_tile.cuh multiplies such elements. */
bool tn_tile_multiplies(tn_dtype t, bool tf32, bool i32);
/* Generates tn_batch_a(args, b) and tn_batch_b(args, b): the operand's batch index. */
void tn_emit_batch_maps(tn_emitter *e, const tn_spec *s, const tn_contraction *c);

/* How one operand is brought in. */
typedef struct tn_operand {
    bool kmajor;   /* rows of the shared-memory tile run along k */
    bool async;    /* whole 16-byte chunks at an offset: cp.async; else through the generated load */
    uint32_t vec;  /* elements a generated load brings (async: a chunk) */
    uint32_t in;   /* region input, if async */
    bool is_const; /* no predecessor writes it */
    bool packs;    /* it may come packed: */
    uint32_t packed_in;
    tn_packing how; /* without tiles */
} tn_operand;

/* side: the coordinate m or n.  kmajor: the layout to fall back to.  False if the operand cannot be loaded at all. */
bool tn_operand_plan(const tn_spec *s, tn_val val, tn_coord batch, tn_coord side, tn_coord k, bool kmajor,
                     tn_operand *out);
/* Adds <L>_ASYNC, _KMAJOR, _VEC, _CONST, _PACKS to the problem (L: "A" or "B"). */
void tn_operand_constants(const tn_operand *o, char letter, tn_problem *p);
/* How much of m or n a tile has, which is copied in so many parts. */
typedef struct tn_tile_parts {
    uint32_t side, parts;
    bool dealt; /* rows come in the order of tn_dealt (tn_wgmma_tile.cuh), */
} tn_tile_parts;
enum { TN_DEALT = 32 }; /* in groups of so many */
/* The operand in slots of 128 bytes of k as wgmma reads them, brought in by TMA: boxes of 128 bytes of k and a part of the
 * tile's side (kmajor), or of 64 elements and a part of 64 k; coordinates are the operand's two axes, the innermost first,
 * and its batch.  Dealt rows, of a single matrix: k, the number of a row of two, of four such places, of four such pairs, of 32 rows.
 * False where TMA cannot. */
bool tn_operand_map(const tn_spec *s, const tn_operand *o, tn_val val, tn_coord batch, tn_coord side, tn_coord k,
                    tn_tile_parts tile, tn_map *out);
/* Generates tn_offset_<letter> and tn_<letter>(args), or tn_load_<letter>; the order of its coordinates follows
 * kmajor. */
void tn_emit_operand(tn_emitter *e, const tn_operand *o, char letter, tn_val val, tn_coord batch, tn_coord side,
                     tn_coord k);
/* Operand B, as tn_emit_operand, or where it comes packed (how, else NULL) in tiles of so many n and k: generates tn_b(args),
 * TN_B_TILES, of one n along k, and TN_B_BANDS, of a matrix. */
void tn_emit_weight(tn_emitter *e, const tn_operand *o, const tn_packing *how, tn_val val, tn_coord batch,
                    tn_coord side, tn_coord k);
/* Whether the variant's knob PACK asks for that: 1, in tiles as they lie in a slot; 2, of two of each four elements. */
bool tn_variant_packs(const tn_variant *v);
/* What tn_tile.cuh wants of operand B, with the knobs BN, KBYTES and PACK. */
tn_packing tn_tile_packing(const tn_variant *v, const tn_packing *matrix);
/* tn_emit_problem, with what it says of an operand B that comes packed where the variant packs it. */
void tn_emit_problem_of(tn_emitter *e, const tn_variant *v, const tn_problem *p);
/* True if val is one of the region's arguments; *in is its number. */
bool tn_spec_direct(const tn_spec *s, tn_val val, uint32_t *in);
/* The largest power of two up to max that always divides d. */
uint32_t tn_dim_pow2(const tn_spec *s, tn_dim d, uint32_t max);

/* Epilogue, bias, norm and their constants for one vector width: tn_epilogue_at(args, b, m, n, inside)(acc), tn_load_bias, TN_HAS_BIAS,
 * TN_NORM, TN_EPS, TN_EPI_VEC, and where a result is what the norm does to rows: TN_PUTS_ROWS, tn_put_row(args, b, m, 0, numbers).  TN_PUTS_SUMS: a result
 * is the sums of the results' rows, tn_put_part(args, part, b, m, 0, sums); TN_PARTS: how many parts a row of A has whose sums are given, or 0. */
void tn_emit_finish(tn_emitter *e, const tn_spec *s, tn_val out, tn_val bias, tn_coord batch, tn_coord m, tn_coord n,
                    uint32_t vec);
bool tn_finish_ok(const tn_spec *s, tn_val bias);
/* The same of a template that reads the sums of A's rows where they are given, and stores those of the results where they are wanted; and
 * generates tn_load_row_sums(args, part, b, m, 0, sums). */
bool tn_finish_sums_ok(const tn_spec *s, const tn_contraction *c);
void tn_emit_row_sums(tn_emitter *e, const tn_spec *s, const tn_contraction *c);

/* These belong to templates that use tn_tile.cuh (knobs BM BN KBYTES STAGES WARPS SPLITK EPI SLICES).
 * Vector width of the epilogue; block, grid, cluster and shared memory. */
uint32_t tn_tile_epilogue_vec(const tn_problem *p, const tn_variant *v);
void tn_tile_launch(const tn_spec *s, tn_variant *v, tn_dim m, tn_dim n, tn_dim batch);

/* Constants every GEMM-like problem has: SMEM_MAX, ELT. */
void tn_arch_constants(const tn_arch *arch, tn_dtype elem, tn_problem *p);

/* ---- cost (cost_gemm.c) ------------------------------------------------------------------------------------------ */

typedef struct tn_tile_model {
    double m, n, k, batch;                /* problem (k: of one group) */
    double bm, bn, kbytes, elt;           /* tile; bytes of an element */
    double stages, warps, splitk, slices; /* pipeline */
    bool shared_epilogue, packed;         /* packed: B comes as slots hold it */
    bool two_of_four;                     /* and that is two of each four elements */
    double gather_a, gather_b;            /* elements of a register-staged load; 0: cp.async */
    double unique_bytes;                  /* DRAM traffic of the whole kernel */
} tn_tile_model;
void tn_tile_knobs(const tn_problem *p, const tn_template *tpl, const int64_t *knobs, tn_tile_model *t);
/* Microseconds of a launch. */
double tn_tile_cost(const tn_arch *arch, const tn_tile_model *t);

#endif
