/* limit.c: the parts of a mask that compare numbers of keys with one number of each query: "j <= position of i", "j < length",
 * "j > position of i - window".
 *
 * Exporters write them of tensors that a run brings (positions, lengths of a cache), so that nothing is known of them but that a query sees
 * the first so many keys, or those from one on.  As operands of their own (limit, from) they let a kernel skip the keys that nobody sees, and
 * what is left of the mask is often nothing, or one number a key.
 *
 * Where the mask adds a number that is only very low, a query that sees no key weighs all of them: it has no limit; and of a mask with
 * other parts these stay as they are, since such a query weighs by them.  Beside a sink that is known to be
 * far above, it weighs none, as with -inf; beside one that may be as low, nothing is changed. */
#include "passes/fuse/fuse.h"
#include "passes/util.h"

#include <math.h>

typedef struct finder {
    tn_graph *g;
    tn_val scores; /* of whose dims all but the last are theirs */
    tn_dim keys;
    size_t rank;
    bool exact;
    enum { NO_SINK, FAR_ABOVE, ANY_SINK } sink;
    bool causal, weighs; /* a query that sees no key weighs all; but for later ones where it is causal */
    tn_val limit, from;  /* [..., 1]; none: not found yet */
} finder;

static bool has_found(const finder *f) {
    return f->limit.i || f->from.i;
}

/* Nothing is left of a key's weight by x; a finite number leaves something where all keys have it. */
static bool is_unseen(const finder *f, double x) {
    return x == -INFINITY || (!f->exact && x <= TN_FUSE_UNSEEN);
}

static bool spreads(const finder *f, tn_val v) {
    return tn_fuse_spreads(f->g, v, f->scores, f->keys);
}

/* One number a query, whole, that broadcasts to the scores. */
static bool is_of_queries(const finder *f, tn_val v) {
    const tn_dtype t = tn_val_dtype(f->g, v);
    const size_t r = tn_val_rank(f->g, v);
    return (t == TN_I64 || t == TN_I32) && spreads(f, v) &&
           (!r || tn_dim_equal_const(f->g, tn_val_dim(f->g, v, r - 1), 1));
}

/* from + j, of all keys j? */
static bool is_of_keys(const finder *f, tn_val v, tn_dim *from) {
    const size_t r = tn_val_rank(f->g, v);
    return r && tn_val_dim(f->g, v, r - 1).i == f->keys.i && tn_fuse_counts(f->g, v, from);
}

/* A dim as a value. */
static tn_val number(const finder *f, tn_dim d, tn_dtype t) {
    int64_t c;
    if (tn_dim_is_const(f->g, d, &c)) return tn_emit_const_f64(f->g, t, 0, NULL, &(double){(double)c}, NULL);
    return tn_emit_cast(f->g, tn_size_value(f->g, d), t);
}

/* v + by - from */
static tn_val shifted(const finder *f, tn_val v, int64_t by, tn_dim from) {
    const tn_dtype t = tn_val_dtype(f->g, v);
    if (by) v = tn_binary(f->g, TN_OP_ADD, v, number(f, tn_dim_const(f->g, by), t));
    return tn_dim_equal_const(f->g, from, 0) ? v : tn_binary(f->g, TN_OP_SUB, v, number(f, from, t));
}

/* The comparison n, or its opposite, as a limit, or as the first key.  False: it is neither, or another was found before. */
static bool take(finder *f, tn_node n, bool opposite) {
    tn_graph *g = f->g;
    tn_op op = tn_node_op(g, n);
    const bool turned = op == TN_OP_GE || op == TN_OP_GT; /* a >= b is b <= a */
    tn_val low = tn_node_input(g, n, turned ? 1 : 0), high = tn_node_input(g, n, turned ? 0 : 1);
    bool less = op == TN_OP_LT || op == TN_OP_GT;
    if (opposite) { /* not a <= b is b < a */
        const tn_val was = low;
        low = high, high = was, less = !less;
    }
    tn_dim start;
    int64_t least, most;
    const bool is_limit = is_of_queries(f, high) && is_of_keys(f, low, &start);
    if (!is_limit && !(is_of_queries(f, low) && is_of_keys(f, high, &start))) return false;
    tn_dim_bounds(g, start, &least, &most);
    if (least < 0 || (is_limit ? f->limit : f->from).i) return false;
    if (!is_limit && f->causal && f->weighs) return false; /* the first key may be a later one */
    if (is_limit)
        f->limit = shifted(f, high, !less, start); /* keys start + j <= high, or < */
    else
        f->from = shifted(f, low, less, start); /* low <= start + j, or < */
    return true;
}

static bool compares(tn_op op) {
    return op == TN_OP_LE || op == TN_OP_LT || op == TN_OP_GE || op == TN_OP_GT;
}

/* v without what it has of a limit or a first key; none if nothing is left. */
static tn_val without(finder *f, tn_val v) {
    tn_graph *g = f->g;
    const tn_node n = tn_val_def(g, v);
    const tn_op op = n.i ? tn_node_op(g, n) : TN_OP_NONE;
    const tn_node inner = op == TN_OP_NOT ? tn_val_def(g, tn_node_input(g, n, 0)) : (tn_node){0};
    if (op == TN_OP_AND) {
        const tn_val a = tn_node_input(g, n, 0), b = tn_node_input(g, n, 1), of_a = without(f, a), of_b = without(f, b);
        if (of_a.i == a.i && of_b.i == b.i) return v;
        return !of_a.i ? of_b : !of_b.i ? of_a : tn_binary(g, TN_OP_AND, of_a, of_b);
    }
    const bool taken =
        compares(op) ? take(f, n, false) : inner.i && compares(tn_node_op(g, inner)) && take(f, inner, true);
    return taken ? (tn_val){0} : v;
}

/* Queries of which `seen` is false weigh all keys. */
static void some_or_all(finder *f, tn_val seen) {
    tn_graph *g = f->g;
    const double all[] = {INT32_MAX, 0};
    tn_val *const numbers[] = {&f->limit, &f->from};
    for (size_t k = 0; k < 2; k++)
        if (numbers[k]->i) {
            const tn_val any = tn_emit_const_f64(g, tn_val_dtype(g, *numbers[k]), 0, NULL, &all[k], NULL);
            *numbers[k] = tn_emit_select(g, seen, *numbers[k], any);
        }
}

/* v is the result plus by. */
static tn_val without_number(const tn_graph *g, tn_val v, double *by) {
    double c;
    *by = 0;
    while (tn_is_op(g, v, TN_OP_ADD) || tn_is_op(g, v, TN_OP_SUB)) {
        const tn_node n = tn_val_def(g, v);
        if (!tn_const_splat(g, tn_node_input(g, n, 1), &c)) break;
        *by += tn_node_op(g, n) == TN_OP_ADD ? c : -c;
        v = tn_node_input(g, n, 0);
    }
    return v;
}

/* Is a < b, whatever the sizes and the data? */
static bool is_less(tn_graph *g, tn_val a, tn_val b, tn_val asked) {
    double of_a, of_b;
    return tn_fuse_is_always(g, asked) ||
           (without_number(g, a, &of_a).i == without_number(g, b, &of_b).i && of_a < of_b);
}

/* By query: is there a key that is not before the first, nor behind the limit?  None: there is. */
static tn_val any_between(const finder *f) {
    tn_graph *g = f->g;
    const tn_val pairs[][2] = {
        {number(f, tn_dim_const(g, 0), TN_I64), f->limit}, {f->from, number(f, f->keys, TN_I64)}, {f->from, f->limit}};
    tn_val seen = {0};
    for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++) {
        const tn_val a = pairs[k][0], b = pairs[k][1];
        if (!a.i || !b.i) continue;
        const tn_val less = tn_binary(g, TN_OP_LT, tn_emit_cast(g, a, TN_I64), tn_emit_cast(g, b, TN_I64));
        if (!is_less(g, a, b, less)) seen = seen.i ? tn_binary(g, TN_OP_AND, seen, less) : less;
    }
    return seen;
}

/* By query: is any key of the mask seen? */
static tn_val any_of(tn_graph *g, tn_val mask) {
    const int64_t last = (int64_t)tn_val_rank(g, mask) - 1;
    const tn_val ones = tn_emit_cast(g, mask, TN_I32);
    const tn_val most =
        tn_emit1(g, TN_OP_REDUCE_MAX, &(tn_attrs_reduce){.axes = {&last, 1}, .keepdims = true}, 1, &ones);
    return tn_binary(g, TN_OP_GT, most, tn_emit_const_f64(g, TN_I32, 0, NULL, &(double){0}, NULL));
}

/* What of a mask that is added is left; v itself if there is no limit. */
static tn_val added_without(finder *f, tn_val v) {
    tn_graph *g = f->g;
    double seen, unseen;
    tn_val x = v;
    while (tn_is_op(g, x, TN_OP_CAST) ||
           (tn_is_op(g, x, TN_OP_BROADCAST) && spreads(f, tn_node_input(g, tn_val_def(g, x), 0))))
        x = tn_node_input(g, tn_val_def(g, x), 0);
    if (!tn_is_op(g, x, TN_OP_SELECT)) return v;
    const tn_node n = tn_val_def(g, x);
    const tn_val kept = tn_node_input(g, n, 1), left_out = tn_node_input(g, n, 2);
    if (!tn_const_splat(g, kept, &seen) || seen != 0 || !tn_const_splat(g, left_out, &unseen) || !is_unseen(f, unseen))
        return v;
    if (isfinite(unseen) && f->sink == ANY_SINK) return v;
    f->weighs = isfinite(unseen) && f->sink != FAR_ABOVE;
    const tn_val mask = tn_node_input(g, n, 0), rest = without(f, mask);
    if (!has_found(f)) return v;
    if (!f->weighs) return rest.i ? tn_emit_cast(g, tn_emit_select(g, rest, kept, left_out), tn_val_dtype(g, v)) : rest;
    const tn_val some = rest.i ? any_of(g, mask) : any_between(f);
    if (some.i) some_or_all(f, some);
    return rest.i ? v : rest;
}

/* A constant beside which nothing is left of a score to which a mask adds its number. */
static bool is_far_above(const tn_graph *g, tn_val sink) {
    int64_t n;
    while (sink.i && (tn_is_op(g, sink, TN_OP_CAST) || tn_is_op(g, sink, TN_OP_RESHAPE)))
        sink = tn_node_input(g, tn_val_def(g, sink), 0);
    const void *data = sink.i && tn_is_const(g, sink) ? tn_const_data(g, sink) : NULL;
    if (!data || !tn_static_numel(g, sink, &n)) return false;
    for (int64_t k = 0; k < n; k++)
        if (!(tn_load_num(tn_val_dtype(g, sink), data, (uint64_t)k) > TN_FUSE_UNSEEN / 2)) return false;
    return true;
}

tn_val tn_fuse_limited(tn_graph *g, tn_node attention, bool exact) {
    const tn_val none = {0}, q = tn_node_input(g, attention, 0), k = tn_node_input(g, attention, 1);
    const tn_attrs_attention *a = TN_ATTRS_OF(g, attention, attention);
    const size_t rank = tn_val_rank(g, q);
    tn_val in[8] = {{0}};
    finder f = {
        .g = g, .scores = q, .rank = rank, .exact = exact, .causal = a->causal, .keys = tn_val_dim(g, k, rank - 2)};
    for (size_t i = 0; i < tn_node_input_count(g, attention); i++) in[i] = tn_node_input(g, attention, i);
    if (in[5].i || in[7].i) return none;
    f.sink = !in[6].i ? NO_SINK : is_far_above(g, in[6]) ? FAR_ABOVE : ANY_SINK;
    if (in[4].i && a->fill == -INFINITY) in[4] = without(&f, in[4]);
    if (in[3].i && !has_found(&f)) in[3] = added_without(&f, in[3]);
    if (!has_found(&f) || !spreads(&f, in[3]) || !spreads(&f, in[4])) return none;
    in[5] = f.limit, in[7] = f.from;
    return tn_emit1(g, TN_OP_ATTENTION, a, in[7].i ? 8 : in[6].i ? 7 : 6, in);
}
