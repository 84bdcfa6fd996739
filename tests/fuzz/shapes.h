/* shapes.h: random graphs with symbolic sizes, and what running one at many shapes says. */
#ifndef TENON_FUZZ_SHAPES_H
#define TENON_FUZZ_SHAPES_H

#include "ir/ir.h"

enum { SHAPES_SYMBOLS = 3, SHAPES_BINDINGS = 10, SHAPES_IN_BUCKETS = 6, SHAPES_ALL = -1 };
enum { SHAPES_ELEMENTS = 20000 }; /* of a value, at most */
extern const char *const shapes_symbols[SHAPES_SYMBOLS];

/* The sizes at which a graph runs; every other time in the ranges of its symbols. */
typedef int64_t shapes_binding[SHAPES_SYMBOLS];
void shapes_draw(tn_graph *g, uint64_t seed, shapes_binding at[SHAPES_BINDINGS]);
/* The elements of a type, SHAPES_ELEMENTS + 1 if there are more; 0 where a size is not told or below 0. */
int64_t shapes_elements(const tn_graph *g, tn_type t, const shapes_binding at);

/* shapes_gen.c: the graph of a seed.  output: the value that it returns, of *n_values (SHAPES_ALL: the last ones); what
 * is not needed for it is left out.  No value is larger than SHAPES_ELEMENTS at the sizes at which it runs.  NULL when out of
 * memory. */
tn_graph *shapes_graph(const tn_env *env, uint64_t seed, int output, int *n_values);

/* shapes_run.c */
typedef struct shapes_fault {
    char what[400];             /* "" for none; "kind: detail" */
    int64_t at[SHAPES_SYMBOLS]; /* the symbols' values; -1: at none in particular */
} shapes_fault;

typedef struct shapes_result {
    int compiled, kernels, ways /* more for some sizes */, streams /* more than one */, legal, illegal, large,
        unsure;         /* runs: at shapes that the static rules accept, refuse; left out; without a verdict */
    shapes_fault fault; /* the first */
} shapes_result;

/* Compiles the graph of a text once and runs it at SHAPES_BINDINGS shapes, and at SHAPES_IN_BUCKETS that its plan's
 * buckets are about, on the reference and on the emulated device.
 * The verdict on a shape is that of the type rules on the text with numbers in place of its symbols, and the right
 * results are the reference's of that. */
void shapes_run(const char *text, uint64_t seed, shapes_result *r);
/* The graph's text without the types of its results; freed with free(). */
char *shapes_text(tn_graph *g);

#endif
