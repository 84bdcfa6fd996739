/* rotary.h: rotations by positions, as exporters write them, of columns of a product (columns.c, rotation.c), for the pass that
 * computes them in the product's epilogue (rotary.c). */
#ifndef TENON_PASS_ROTARY_H
#define TENON_PASS_ROTARY_H

#include "ir/ir.h"

/* What a value holds of y [B, S, N]: element (b, s, h, d) is y[b, s, base + h * stride + d * step]. */
typedef struct tn_columns {
    tn_val of;    /* y: a product, or a product and a constant a column */
    tn_node norm; /* an RMS norm of rows of them (Qwen 3: of each head; OLMo 2: of all) on the way; none: as they are */
    int64_t base, heads, stride, n, step;
    bool flat;     /* [B, S, n], of one head; else of rank 4 */
    bool by_heads; /* [B, heads, S, n]; else [B, S, heads, n] */
} tn_columns;

/* True if v is a product's columns, behind slices, reshapes, transposes, casts and one norm alone. */
bool tn_columns_of(tn_graph *g, tn_val v, tn_columns *c);
/* The next n elements of each head that x has the first of. */
bool tn_columns_follow(const tn_columns *x, const tn_columns *next);

enum { TN_ROTATION_NODES = 24 };

/* The first `turns` features of each head of x turn, a of a pair to a * c - b * s and b to b * c + a * s; the others stay. */
typedef struct tn_rotation {
    tn_val y;     /* what the rest of the graph sees; neighbours may be an axis of their own */
    tn_columns x; /* of the product: whole pairs, those that stay included */
    int64_t turns;
    bool pairs;  /* neighbours turn together (GPT-J, GLM, Cohere); else the halves of what turns (Llama, GPT-NeoX) */
    tn_val rest; /* internal: what stands beside both halves */
    tn_val c, s; /* broadcast to y's dims but the last one, which is `turns`, or half of it: an angle a pair */
    tn_node node[TN_ROTATION_NODES]; /* what computes y of slices of the product, y's own included */
    uint32_t n_nodes;
    bool closed; /* nobody else reads what these make on the way */
} tn_rotation;

/* v is a rotation of columns of a product. */
bool tn_rotation_of(tn_graph *g, tn_val v, tn_rotation *r);
bool tn_rotation_has(const tn_rotation *r, tn_node n);

#endif
