/* derived.c: operands that cannot be drawn element by element: those that say of the first one how many of a mask are set up to the
 * end of each block, or where the digits of each block go; permutations; rows to sort, all of whose digits matter, and rows that were. */
#include "codegen/spec/derived.h"
#include "codegen/emit/emit.h"

#include <math.h>
#include <stdlib.h>

static uint64_t element(const tn_drawn_from *t, int64_t i) {
    int64_t at = 0;
    for (uint32_t a = t->rank; a-- > 0; i /= t->dims[a]) at += i % t->dims[a] * t->strides[a];
    return (uint64_t)tn_load_int(t->dtype, t->data, (uint64_t)at);
}

/* The ends that go with the mask of a `compact`. */
static void ends_of_blocks(const tn_spec *s, const tn_drawn_from *x, const int64_t *dims, int64_t *ends,
                           uint64_t *seed) {
    const int64_t n = dims[0];
    int64_t count = 0;
    (void)s;
    (void)seed;
    for (int64_t b = 0; b < n; b++) {
        for (int64_t k = b * TN_COMPACT_BLOCK; k < (b + 1) * TN_COMPACT_BLOCK && k < x->dims[0]; k++)
            count += element(x, k) != 0;
        ends[b] = count;
    }
}

/* [rows, digits, blocks]: what sums of `sort_count` say. */
static void starts_of_digits(const tn_spec *s, const tn_drawn_from *x, const int64_t *dims, int64_t *starts,
                             uint64_t *seed) {
    const int64_t rows = dims[0], blocks = dims[2], cols = x->dims[1], per_row = TN_SORT_DIGITS * blocks;
    const int64_t shift = TN_ATTRS_OF(s->g, s->anchor, sort)->shift;
    (void)seed;
    for (int64_t k = 0; k < rows * per_row; k++) starts[k] = 0;
    for (int64_t k = 0; k < rows * cols; k++) {
        const int64_t digit = (int64_t)(element(x, k) >> shift & (TN_SORT_DIGITS - 1));
        starts[k / cols * per_row + digit * blocks + k % cols / TN_SORT_BLOCK]++;
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0, sum = 0; k < per_row; k++) {
            const int64_t here = starts[r * per_row + k];
            starts[r * per_row + k] = sum;
            sum += here;
        }
}

static uint64_t next(uint64_t *seed) {
    return tn_draw_bits(seed) >> 16;
}

static void permutation(const tn_spec *s, const tn_drawn_from *x, const int64_t *dims, int64_t *at, uint64_t *seed) {
    (void)s;
    (void)x;
    for (int64_t k = 0; k < dims[0]; k++) {
        const int64_t j = (int64_t)(next(seed) % (uint64_t)(k + 1));
        at[k] = at[j];
        at[j] = k;
    }
}

static int by_value(const void *a, const void *b) {
    const uint64_t p = *(const uint64_t *)a, q = *(const uint64_t *)b;
    return p < q ? -1 : p > q;
}

/* Rows that updates go to, some none and one many, with the updates, in order; some are no update. */
static void sorted_rows(const tn_spec *s, const tn_drawn_from *x, const int64_t *dims, int64_t *order, uint64_t *seed) {
    const uint64_t rows = (uint64_t)x->dims[0];
    (void)s;
    for (int64_t k = 0; k < dims[0]; k++) {
        const uint64_t r = next(seed) % (2 * rows + 1), row = r < rows ? r : r == 2 * rows ? UINT32_MAX : rows / 2;
        order[k] = (int64_t)((next(seed) % 8 && rows ? row : UINT32_MAX) << 32 | (uint64_t)k);
    }
    if (dims[0]) qsort(order, (size_t)dims[0], sizeof *order, by_value);
    for (int64_t k = 0; k < dims[0]; k++)
        if (next(seed) % 8 == 0) order[k] |= UINT32_MAX;
}

/* [batches, classes, boxes]: each row a permutation. */
static void orders(const tn_spec *s, const tn_drawn_from *x, const int64_t *dims, int64_t *at, uint64_t *seed) {
    for (int64_t r = 0; r < dims[0] * dims[1]; r++) permutation(s, x, dims + 2, at + r * dims[2], seed);
}

static void any_bits(const tn_spec *s, const tn_drawn_from *x, const int64_t *dims, int64_t *rows, uint64_t *seed) {
    (void)s;
    (void)x;
    for (int64_t k = 0; k < dims[0] * dims[1]; k++) {
        rows[k] = (int64_t)(next(seed) << 16 ^ next(seed));
        if (k && next(seed) % 4 == 0) rows[k] = rows[k - 1]; /* equal ones stay in order */
    }
}

static const struct {
    tn_op op;
    uint32_t operand;
    tn_dtype dtype;
    void (*fill)(const tn_spec *s, const tn_drawn_from *x, const int64_t *dims, int64_t *data, uint64_t *seed);
} rows[] = {
    {TN_OP_COMPACT, 1, TN_I64, ends_of_blocks}, {TN_OP_SORT_MOVE, 1, TN_I64, starts_of_digits},
    {TN_OP_PLACE, 1, TN_I64, permutation},      {TN_OP_SORT_COUNT, 0, TN_U64, any_bits},
    {TN_OP_SORT_MOVE, 0, TN_U64, any_bits},     {TN_OP_SCATTER_SORTED, 1, TN_U64, sorted_rows},
    {TN_OP_NMS_KEEP, 1, TN_I64, orders},
};

bool tn_derives(const tn_spec *s, uint32_t k, const tn_drawn_from *first, const int64_t *dims, void *data,
                uint64_t seed) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!s->anchor.i || tn_node_op(s->g, s->anchor) != rows[i].op || rows[i].operand != k) continue;
        if (s->in[0].arg.i != tn_spec_anchor_input(s, 0).i || s->in[k].arg.i != tn_spec_anchor_input(s, k).i ||
            s->in[k].dtype != rows[i].dtype)
            continue;
        rows[i].fill(s, first, dims, data, &seed);
        return true;
    }
    return false;
}

/* Is v the argument, cast or moved? */
static bool is_as_given(const tn_spec *s, tn_val v, tn_val arg) {
    for (tn_node n; v.i != arg.i && (n = v.i ? tn_val_def(s->g, v) : (tn_node){0}).i; v = tn_node_input(s->g, n, 0))
        if (tn_node_op(s->g, n) != TN_OP_CAST && !tn_op_is(tn_node_op(s->g, n), TN_T_MOVEMENT)) return false;
    return v.i && v.i == arg.i;
}

tn_dim tn_drawn_keys(const tn_spec *s, tn_val arg, bool *first) {
    *first = false;
    if (!s->anchor.i || tn_node_op(s->g, s->anchor) != TN_OP_ATTENTION) return (tn_dim){0};
    *first = is_as_given(s, tn_spec_anchor_input(s, 7), arg);
    if (!*first && !is_as_given(s, tn_spec_anchor_input(s, 5), arg)) return (tn_dim){0};
    const tn_val keys = tn_spec_anchor_input(s, 1);
    return tn_val_dim(s->g, keys, tn_val_rank(s->g, keys) - 2);
}

bool tn_drawn_sums(const tn_spec *s, tn_val arg) {
    if (!s->anchor.i || tn_node_op(s->g, s->anchor) != TN_OP_MATMUL) return false;
    tn_val v = tn_spec_anchor_input(s, 2);
    for (tn_node n; v.i != arg.i && (n = v.i ? tn_val_def(s->g, v) : (tn_node){0}).i; v = tn_node_input(s->g, n, 0))
        if (!tn_op_is(tn_node_op(s->g, n), TN_T_MOVEMENT)) return false;
    return v.i && v.i == arg.i;
}

double tn_drawn_scale(const tn_spec *s, const tn_spec_tensor *t, int64_t last) {
    const bool fed_back =
        s->anchor.i && tn_node_op(s->g, s->anchor) == TN_OP_RECUR && tn_spec_anchor_input(s, 1).i == t->arg.i;
    return fed_back && last > 1 ? 1 / sqrt((double)last) : 1;
}
