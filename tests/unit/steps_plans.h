/* steps_plans.h: plans of steps that are no kernels, and of such that own others, for tests of the runtime.  Header-only. */
#ifndef TENON_TEST_STEPS_PLANS_H
#define TENON_TEST_STEPS_PLANS_H

#include "tests/unit/plan_gen.h"

typedef TnPlan__Builtin__Kind kind;
enum {
    IS_COPY = TN_PLAN__BUILTIN__KIND__COPY,
    IS_FILL = TN_PLAN__BUILTIN__KIND__FILL,
    IS_IF = TN_PLAN__BUILTIN__KIND__IF,
    IS_WHILE = TN_PLAN__BUILTIN__KIND__WHILE
};

/* The model's kernels; a bool beside its input. */
typedef struct step_kernels {
    size_t mul, inc, twice, less;
    uint32_t flag; /* where in the arena a bool lies: behind N*32 floats */
} step_kernels;

static inline step_kernels steps_begin(sample *s) {
    sample_init(s);
    tn_plan__tensor__init(&s->in[1]);
    s->in[1].name = (char *)"c";
    s->in[1].dtype = TN_BOOL;
    s->ins[1] = &s->in[1];
    s->plan.n_inputs = 2;
    s->plan.arena_size = sample_dim(s, TN_PLAN__DIM__KIND__ADD, 0, D_BYTES, D_BLOCK);
    return (step_kernels){sample_kernel(s, "k_mul", 0), sample_kernel(s, "k_inc", 0), sample_kernel(s, "k_twice", 0),
                          sample_kernel(s, "k_less", 0), D_BYTES};
}

static inline void copy(sample *s) { /* x to y */
    const size_t k = sample_builtin(s, "copy", (kind)IS_COPY, 0, 0);
    SAMPLE_BYTES(s, k, INPUT, 0, D_ZERO, D_BYTES);
    SAMPLE_BYTES(s, k, OUTPUT, 0, D_ZERO, D_BYTES);
}

static inline void fill(sample *s, uint32_t word) { /* y */
    const size_t k = sample_builtin(s, "fill", (kind)IS_FILL, 0, 0);
    s->builtin[k].word = word;
    SAMPLE_BYTES(s, k, OUTPUT, 0, D_ZERO, D_BYTES);
}

static inline void on_y(sample *s, const char *name, size_t kernel) { /* y in place */
    const size_t k = sample_launch(s, name, kernel);
    SAMPLE_PLACE(s, k, OUTPUT, 0, D_ZERO);
    SAMPLE_PLACE(s, k, OUTPUT, 0, D_ZERO);
    SAMPLE_DIM(s, k, D_NUMEL);
}

static inline void scale(sample *s, size_t mul) { /* y = x * w */
    const size_t k = sample_launch(s, "scale", mul);
    SAMPLE_PLACE(s, k, INPUT, 0, D_ZERO);
    SAMPLE_PLACE(s, k, CONST, 0, D_ZERO);
    SAMPLE_PLACE(s, k, OUTPUT, 0, D_ZERO);
    SAMPLE_DIM(s, k, D_NUMEL);
}

static inline void compare(sample *s, const step_kernels *k) { /* flag = y[0] < 32 */
    const size_t at = sample_launch(s, "less", k->less);
    SAMPLE_PLACE(s, at, OUTPUT, 0, D_ZERO);
    SAMPLE_PLACE(s, at, ARENA, 0, k->flag);
    SAMPLE_DIM(s, at, D_COLS);
}

static inline void branch(sample *s, uint32_t first, uint32_t second) { /* by the input */
    const size_t k = sample_builtin(s, "if", (kind)IS_IF, first, second);
    SAMPLE_BYTES(s, k, INPUT, 1, D_ZERO, D_ONE);
}

static inline void loop(sample *s, const step_kernels *k, uint32_t body) { /* by the flag */
    const size_t at = sample_builtin(s, "while", (kind)IS_WHILE, body, 0);
    SAMPLE_BYTES(s, at, ARENA, 0, k->flag, D_ONE);
}

/* y = x; while (y[0] < 32) { y = y + 1; if (c) y = 2 * y; } y = y + 1 */
static inline void steps_loops(sample *s) {
    const step_kernels k = steps_begin(s);
    copy(s);
    compare(s, &k);
    loop(s, &k, 4);
    on_y(s, "shift", k.inc);
    branch(s, 1, 0);
    on_y(s, "double", k.twice);
    compare(s, &k);
    on_y(s, "last", k.inc);
}

static inline bool steps_loops_right(const float *x, const float *y, size_t n, bool flag) {
    for (size_t k = 0; k < n; k++) {
        float first = x[0], want = x[k];
        while (first < SAMPLE_COLS) {
            first = (first + 1) * (flag ? 2 : 1);
            want = (want + 1) * (flag ? 2 : 1);
        }
        if (y[k] != want + 1) return false;
    }
    return true;
}

#endif
