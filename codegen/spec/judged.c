/* judged.c: the shapes that a kernel with symbolic sizes is judged at.
 *
 * Speed is judged at the typical shape only, but a kernel must be right at every one that its plan takes.  So each
 * candidate is also compared with the reference at shapes of other kinds: those of other buckets, all sizes 1, odd ones,
 * one more than a tile, as large as is cheap, and nothing at all along one axis.  These are small: references are made
 * on the host, and a deadline is to be kept. */
#include <string.h>

#include "codegen/codegen.h"

/* What a shape may cost, or half of what the typical one does. */
static const double MAX_ELEMENTS = 1 << 20, MAX_FLOPS = 1e8;

/* Ways to give sizes: symbol k has of[k % n].  Of each row the first that can be bound and is cheap is taken. */
enum { WAYS = 4 };
typedef struct way {
    uint32_t n;
    int64_t of[6];
} way;

static const way kinds[][WAYS] = {
    {{1, {1}}},
    {{6, {7, 5, 3, 11, 9, 13}},
     {1, {7}},
     {1, {24}}}, /* odd; where symbols must be equal; where something divides one */
    {{2, {129, 33}}, {1, {129}}, {1, {65}}, {2, {65, 17}}}, /* one more than a tile */
    {{2, {1, 31}}},                                         /* broadcasts between symbols */
    {{2, {31, 1}}},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };
static const int64_t LARGE = 1 << 20;

/* The range of symbol k at the shape; one that data makes is no more than the most that is known of it. */
static void range_of(const tn_spec *s, const tn_shape *shape, size_t k, int64_t *lo, int64_t *hi) {
    int64_t most = 0;
    tn_dim_bounds(s->g, s->sym[k], lo, hi);
    const tn_dim d = tn_dim_is_made(s->g, s->sym[k]) ? tn_dim_most(s->g, s->sym[k]) : (tn_dim){0};
    if (d.i && tn_dim_eval(s->g, d, shape->b, shape->n, &most) && most < *hi) *hi = most;
}

static bool in_range(const tn_spec *s, const tn_shape *shape) {
    for (size_t k = 0; k < shape->n; ++k) {
        int64_t lo, hi;
        range_of(s, shape, k, &lo, &hi);
        if (shape->b[k].value < (lo > 0 ? lo : 0) || shape->b[k].value > hi) return false;
    }
    return true;
}

/* Sizes of a type; false if one is negative or has no value.  *symbolic is set if one is. */
static bool sizes_exist(const tn_spec *s, const tn_shape *shape, uint32_t rank, const tn_dim *dims, bool *symbolic) {
    for (uint32_t k = 0; k < rank; ++k) {
        int64_t v;
        *symbolic |= !tn_dim_is_const(s->g, dims[k], NULL);
        if (!tn_dim_eval(s->g, dims[k], shape->b, shape->n, &v) || v < 0) return false;
    }
    return true;
}

/* What a tensor lies in, in elements: a part of a larger one spans all that is between its first and its last. */
static double span_of(const tn_spec *s, const tn_shape *shape, const tn_spec_tensor *t) {
    double last = 0;
    for (uint32_t k = 0; k < t->rank; ++k) {
        const double size = (double)tn_shape_value(s, shape, t->dims[k]);
        if (size < 1) return 0;
        last += (size - 1) * (double)tn_shape_value(s, shape, t->strides[k]);
    }
    return last + 1;
}

/* Can the shape be bound, by all that is known of the spec's sizes?  Adds up the elements that tensors lie in which it
 * sizes. */
static bool is_bindable(const tn_spec *s, const tn_shape *shape, double *elements) {
    *elements = 0;
    if (!in_range(s, shape) || !tn_conditions_hold_in(s->g, s->region, shape->b, shape->n, true)) return false;
    for (uint32_t k = 0; k < s->n_in + s->n_out; ++k) {
        const tn_spec_tensor *t = k < s->n_in ? &s->in[k] : &s->out[k - s->n_in];
        bool symbolic = false;
        if (!sizes_exist(s, shape, t->rank, t->dims, &symbolic) ||
            !sizes_exist(s, shape, t->rank, t->strides, &symbolic))
            return false;
        if (symbolic) *elements += span_of(s, shape, t);
    }
    TN_FOR_NODES(s->g, s->region, node) {
        for (size_t k = 0; k < tn_node_result_count(s->g, node); ++k) {
            const tn_type t = tn_val_type(s->g, tn_node_result(s->g, node, k));
            bool any = false;
            if (!sizes_exist(s, shape, (uint32_t)tn_type_rank(s->g, t), tn_type_dims(s->g, t), &any)) return false;
        }
    }
    return true;
}

static bool is_cheap(const tn_spec *s, const tn_shape *shape, double elements) {
    double typical;
    is_bindable(s, &s->typical, &typical);
    return (elements <= MAX_ELEMENTS || elements <= typical / 2) &&
           (tn_spec_flops(s, shape) <= MAX_FLOPS || tn_spec_flops(s, shape) <= s->flops / 2);
}

bool tn_shape_binds(const tn_spec *s, const tn_shape *shape) {
    double elements;
    return is_bindable(s, shape, &elements);
}

double tn_shape_elements(const tn_spec *s, const tn_shape *shape) {
    double elements;
    is_bindable(s, shape, &elements);
    return elements;
}

bool tn_same_shape(const tn_shape *a, const tn_shape *b) {
    for (size_t k = 0; k < a->n; ++k)
        if (a->b[k].value != b->b[k].value) return false;
    return true;
}

/* Appends the shape if it can be bound, is cheap and is new; true if it is there then. */
static bool add(const tn_spec *s, const tn_shape *shape, tn_shape *out, size_t *n) {
    double elements;
    for (size_t k = 0; k < *n; ++k)
        if (tn_same_shape(&out[k], shape)) return true;
    if (*n == TN_MAX_SHAPES || !is_bindable(s, shape, &elements) || !is_cheap(s, shape, elements)) return false;
    out[(*n)++] = *shape;
    return true;
}

/* As large as is cheap: a power of two times the typical shape, less one. */
static void add_largest(const tn_spec *s, tn_shape *out, size_t *n) {
    tn_shape shape = s->typical;
    for (int64_t scale = LARGE; scale > 1; scale /= 2) {
        for (size_t k = 0; k < shape.n; ++k) {
            const int64_t v = scale * (s->typical.b[k].value < LARGE ? s->typical.b[k].value : LARGE);
            shape.b[k].value = v > LARGE ? LARGE - 1 : v - 1;
        }
        for (size_t k = 0; k < shape.n; ++k) {
            int64_t lo, hi;
            range_of(s, &shape, k, &lo, &hi);
            if (shape.b[k].value > hi) shape.b[k].value = hi;
        }
        if (add(s, &shape, out, n)) return;
    }
}

/* The first of some ways that will do; nothing along the axis of symbol `empty`, if there is one of that number. */
static void add_first(const tn_spec *s, const way w[WAYS], size_t empty, tn_shape *out, size_t *n) {
    tn_shape shape = s->typical;
    for (size_t j = 0; j < WAYS && w[j].n; ++j) {
        for (size_t k = 0; k < shape.n; ++k) shape.b[k].value = k == empty ? 0 : w[j].of[k % w[j].n];
        if (add(s, &shape, out, n)) return;
    }
}

/* Where conditions leave few shapes: the first few of small sizes. */
static void search(const tn_spec *s, tn_shape *out, size_t *n) {
    static const int64_t sizes[] = {1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 64};
    enum { N_SIZES = sizeof sizes / sizeof *sizes, MOST_TRIES = 20000, ENOUGH = 3 };
    tn_shape shape = s->typical;
    for (size_t t = 1; t < MOST_TRIES && *n < ENOUGH; ++t) {
        size_t rest = t;
        for (size_t k = 0; k < shape.n; ++k, rest /= N_SIZES) shape.b[k].value = sizes[rest % N_SIZES];
        if (rest) return;
        add(s, &shape, out, n);
    }
}

size_t tn_judged_shapes(const tn_spec *s, tn_shape out[TN_MAX_SHAPES]) {
    double elements;
    size_t n = is_bindable(s, &s->typical, &elements) ? 1 : 0;
    out[0] = s->typical;
    if (!s->typical.n) return 1;
    for (size_t b = 0; b < tn_bucket_count(s->g); ++b) {
        const tn_shape shape = tn_spec_shape(s, b);
        add(s, &shape, out, &n);
    }
    for (size_t k = 0; k < N_KINDS; ++k) add_first(s, kinds[k], SIZE_MAX, out, &n);
    add_largest(s, out, &n);
    for (size_t empty = 0; empty < s->typical.n; ++empty) add_first(s, kinds[1], empty, out, &n);
    if (n == 0) search(s, out, &n);
    if (n == 0) out[n++] = s->typical;
    return n;
}
