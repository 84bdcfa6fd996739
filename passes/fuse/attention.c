/* attention.c: finds attention in what exporters write: a product with the softmax of a product,
 *
 *     matmul(softmax(f(matmul(q, k^T))), v)
 *
 * where f is any of: casts, reshapes that leave queries and keys alone, a factor (or constant ones of each head), soft capping, one or several
 * additions (masks that are added, relative positions), and outermost a mask that selects.  Weights may be 0 where they are NaN, or where a row
 * sees nothing; and softmax may run over one column more than there are keys, the same for all (a sink), whose weights are dropped.  It becomes an `attention` node, whose kernel keeps the scores on
 * chip.  Late, when dtypes are settled: q, k and v are in 16 bits, or the queries are few, and a head is no larger than a kernel's registers hold.  With more
 * than one use a score must be in memory anyway, and nothing is changed.  What is almost attention says why it is not. */
#include "passes/fuse/fuse.h"

#include <math.h>

#include "passes/util.h"

static const char rule[] = "attention";
enum { MAX_STEPS = 16 };      /* between softmax and the first product */
enum { FEW_QUERIES = 16 };    /* in float32, which has a kernel for these only */
enum { MOST_FACTORS = 1024 }; /* of heads, or queries */

/* Of queries, or results, v: in 16 bits, or in float32 few. */
static bool has_kernel(const tn_graph *g, tn_val v) {
    const tn_dtype t = tn_val_dtype(g, v);
    int64_t least, most;
    if (t == TN_F16 || t == TN_BF16) return true;
    if (t != TN_F32 || tn_val_rank(g, v) < 2) return false;
    tn_dim_bounds(g, tn_val_dim(g, v, tn_val_rank(g, v) - 2), &least, &most);
    return most <= FEW_QUERIES;
}

bool tn_fuse_has_attention(const tn_graph *g, tn_node n) {
    int64_t d = 0, e = 0;
    const tn_val q = tn_node_input(g, n, 0), v = tn_node_input(g, n, 2);
    const size_t last = tn_val_rank(g, q) - 1;
    return has_kernel(g, q) && tn_dim_is_const(g, tn_val_dim(g, q, last), &d) &&
           tn_dim_is_const(g, tn_val_dim(g, v, last), &e) && d >= 1 && e >= 1 && d <= TN_HEAD_MAX && e <= TN_HEAD_MAX;
}

/* What is found, from the softmax inwards. */
typedef struct attention {
    tn_graph *g;
    tn_val q, k, v, bias, mask; /* q, k: of the first product, in its order */
    tn_attrs_attention a;
    tn_val factors; /* of the queries of each head, up to 1, beside a.scale; f32 [..., 1 or S, 1] */
    tn_val scores;  /* what softmax reads, but for the sink */
    tn_val weights; /* what it gives, likewise */
    tn_val sink;    /* [..., 1 or S, 1]; may be none */
    tn_val added;   /* to them, last, as the model has it */
    tn_val
        asked; /* weights are 0 where this, of the row, is -inf throughout; none: where they are NaN, or nothing is asked */
    const char *why; /* it is none */
} attention;

static tn_node def_of(const attention *x, tn_val v) {
    return tn_val_def(x->g, v);
}

static tn_val input(const attention *x, tn_val v, size_t k) {
    return tn_node_input(x->g, def_of(x, v), k);
}

/* Does v come from the product of queries and keys, through what may stand between?  `steps`: how far to look, which bounds the
 * recursion and, where sums have two ways to go, the time. */
static bool is_score(const attention *x, tn_val v, int steps) {
    const tn_node n = def_of(x, v);
    if (!n.i || steps <= 0) return false;
    switch (tn_node_op(x->g, n)) {
    case TN_OP_MATMUL: return true;
    case TN_OP_SELECT:
        return is_score(x, input(x, v, tn_const_splat(x->g, input(x, v, 2), &(double){0}) ? 1 : 2), steps - 1);
    case TN_OP_ADD:
    case TN_OP_MUL: return is_score(x, input(x, v, 0), steps - 1) || is_score(x, input(x, v, 1), steps - 1);
    case TN_OP_CAST:
    case TN_OP_RESHAPE:
    case TN_OP_DIV:
    case TN_OP_TANH: return is_score(x, input(x, v, 0), steps - 1);
    default: return false;
    }
}

/* A float32 that stays what it is when a score of 16 bits is added; two of them make another, or -inf, as ever. */
#define FAR -1e30

/* What an element of a mask, or of what is added to scores, says of its key: 1 it is seen, 0 it is not (unseen: the largest number that
 * says so), -1 something else. */
static int says_seen(tn_dtype t, double x, double unseen) {
    if (t == TN_BOOL) return x != 0;
    return x == 0 ? 1 : x <= unseen ? 0 : -1;
}

/* A lower triangle of a constant: query i of s sees keys up to i + t - s. */
static bool is_triangle(const attention *x, tn_val v, double unseen) {
    const tn_graph *g = x->g;
    int64_t s, t, numel;
    const size_t r = v.i ? tn_val_rank(g, v) : 0;
    const void *data = r >= 2 && tn_is_const(g, v) ? tn_const_data(g, v) : NULL;
    if (!data || !tn_static_dim(g, v, r - 2, &s) || !tn_static_dim(g, v, r - 1, &t) || s > t ||
        !tn_static_numel(g, v, &numel) || numel != s * t || (double)s * (double)t > 1 << 26)
        return false;
    const tn_dtype type = tn_val_dtype(g, v);
    for (int64_t i = 0; i < s; i++)
        for (int64_t j = 0; j < t; j++)
            if (says_seen(type, tn_load_num(type, data, (uint64_t)(i * t + j)), unseen) != (j <= i + t - s))
                return false;
    return true;
}

/* more, which broadcasts to v, with axes that are 1 or v's: what no one knows to be one or the other is written down. */
static tn_val spread(const attention *x, tn_val more, tn_val v) {
    tn_graph *g = x->g;
    tn_dim dims[TN_MAX_RANK];
    const size_t r = tn_val_rank(g, more), rv = tn_val_rank(g, v);
    for (size_t k = 0; k < r; k++)
        dims[k] =
            tn_dim_equal_const(g, tn_val_dim(g, more, k), 1) ? tn_val_dim(g, more, k) : tn_val_dim(g, v, rv - r + k);
    return tn_emit_broadcast(g, more, r, dims);
}

/* more, which broadcasts to v, for the scores: where a reshape leads from v to them, all of it. */
static tn_val for_scores(attention *x, tn_val more, tn_val v) {
    tn_graph *g = x->g;
    if (tn_same_dims(g, v, x->scores)) return spread(x, more, v);
    const tn_type inner = tn_val_type(g, v), outer = tn_val_type(g, x->scores);
    more = tn_emit_broadcast(g, more, tn_type_rank(g, inner), tn_type_dims(g, inner));
    return tn_emit_reshape(g, more, tn_type_rank(g, outer), tn_type_dims(g, outer));
}

static void add_bias(attention *x, tn_val more) {
    x->bias = x->bias.i
                  ? tn_binary(x->g, TN_OP_ADD, tn_emit_cast(x->g, x->bias, TN_F32), tn_emit_cast(x->g, more, TN_F32))
                  : more;
}

/* Where a mask is false, a number.  Behind another mask or a sum, one so far from any score that it is the same to add it. */
static tn_val through_mask(attention *x, tn_val v) {
    tn_graph *g = x->g;
    double fill;
    if (x->a.scale != 0 || x->a.cap > 0) return x->why = "a mask is not what softmax reads", v;
    const bool kept = tn_const_splat(g, input(x, v, 2), &fill);
    if (!kept && !tn_const_splat(g, input(x, v, 1), &fill)) return x->why = "a mask chooses no number", v;
    if (isnan(fill)) return x->why = "a mask chooses NaN", v;
    tn_val mask = for_scores(x, input(x, v, 0), v);
    if (!kept) mask = tn_unary(g, TN_OP_NOT, mask);
    if (!x->mask.i && !x->bias.i) {
        x->mask = mask;
        x->a.fill = fill;
    } else {
        if (!(fill <= FAR) || tn_val_dtype(g, v) != TN_F32) return x->why = "a mask is not what softmax reads", v;
        const tn_val far = input(x, v, kept ? 2 : 1),
                     nothing = tn_emit_const_f64(g, TN_F32, 0, NULL, &(double){0}, NULL);
        add_bias(x, tn_emit_select(g, mask, nothing, far));
    }
    return input(x, v, kept ? 1 : 2);
}

/* The last two axes are the operand's. */
static bool keeps_matrix(const tn_graph *g, tn_val v, tn_val y) {
    const size_t r = tn_val_rank(g, v), ry = tn_val_rank(g, y);
    for (size_t k = 1; k <= 2; k++)
        if (r < 2 || ry < 2 || tn_val_dim(g, v, r - k).i != tn_val_dim(g, y, ry - k).i) return false;
    return true;
}

/* What is added chooses between nothing, where a key is seen, and so little that nothing is left of it. */
static bool adds_triangle(const attention *x, tn_val v, double unseen) {
    double seen, left_out;
    for (int step = 0; step < MAX_STEPS && v.i; step++) {
        const bool moved = tn_is_op(x->g, v, TN_OP_RESHAPE) || tn_is_op(x->g, v, TN_OP_BROADCAST);
        if (!tn_is_op(x->g, v, TN_OP_CAST) && !(moved && keeps_matrix(x->g, v, input(x, v, 0)))) break;
        v = input(x, v, 0);
    }
    return v.i && tn_is_op(x->g, v, TN_OP_SELECT) && tn_const_splat(x->g, input(x, v, 1), &seen) && seen == 0 &&
           tn_const_splat(x->g, input(x, v, 2), &left_out) && left_out <= unseen &&
           tn_same_dims(x->g, v, input(x, v, 0)) && tn_fuse_is_causal(x->g, input(x, v, 0));
}

static bool says_causal(const attention *x, tn_val v, double unseen) {
    return is_triangle(x, v, unseen) || adds_triangle(x, v, unseen);
}

/* Without the triangles that are part of the sum, which say what `causal` does: by -inf, whatever else is added. */
static tn_val without_triangles(attention *x, tn_val v) {
    for (int step = 0; step < MAX_STEPS && tn_is_op(x->g, v, TN_OP_ADD); step++) {
        const bool first = says_causal(x, input(x, v, 0), -INFINITY);
        if (!first && !says_causal(x, input(x, v, 1), -INFINITY)) break;
        x->a.causal = true;
        v = input(x, v, first ? 1 : 0);
    }
    return v;
}

/* What is added before a factor is multiplied by it, too (Falcon's positions). */
static tn_val through_sum(attention *x, tn_val v) {
    tn_graph *g = x->g;
    const size_t score = is_score(x, input(x, v, 0), MAX_STEPS) ? 0 : 1;
    tn_val more = input(x, v, 1 - score);
    x->added = x->added.i ? v : more; /* of several, the sum: nobody asks of it */
    if (x->a.cap > 0) return x->why = "what is added is capped", v;
    if (x->a.scale == 0) more = without_triangles(x, more);
    if (x->a.scale != 0)
        more = tn_binary(g, TN_OP_MUL, tn_emit_cast(g, more, TN_F32),
                         tn_emit_const_f64(g, TN_F32, 0, NULL, &x->a.scale, NULL));
    if (x->factors.i) more = tn_binary(g, TN_OP_MUL, more, x->factors);
    add_bias(x, for_scores(x, more, v));
    return input(x, v, score);
}

static void scale_by(attention *x, double c) {
    x->a.scale = (x->a.scale != 0 ? x->a.scale : 1) * c;
}

/* v * f, f constant and one number for all keys: the largest is the scale, so that the queries that are multiplied by what is left
 * (cosine attention, of a temperature for each head) overflow no more than they did. */
static bool takes_factors(attention *x, tn_val v, tn_val f, tn_val of) {
    tn_graph *g = x->g;
    const size_t r = tn_val_rank(g, f);
    int64_t n, dims[TN_MAX_RANK];
    double each[MOST_FACTORS], most = 0;
    if (x->factors.i || !r || !tn_is_const(g, f) || !tn_const_data(g, f) || !tn_static_numel(g, f, &n) ||
        n > MOST_FACTORS || !tn_dim_equal_const(g, tn_val_dim(g, f, r - 1), 1) || !tn_same_dims(g, v, of))
        return false;
    for (size_t k = 0; k < r; k++) tn_static_dim(g, f, k, &dims[k]);
    for (int64_t k = 0; k < n; k++) {
        each[k] = tn_load_num(tn_val_dtype(g, f), tn_const_data(g, f), (uint64_t)k);
        most = fmax(most, fabs(each[k]));
    }
    for (int64_t k = 0; k < n; k++) each[k] /= most;
    x->factors = tn_emit_const_f64(g, TN_F32, r, dims, each, NULL);
    if (x->factors.i) scale_by(x, most);
    return x->factors.i != 0;
}

/* A factor, or the one behind a soft cap. */
static tn_val through_factor(attention *x, tn_val v) {
    const bool is_div = tn_is_op(x->g, v, TN_OP_DIV);
    const tn_val a = input(x, v, 0), b = input(x, v, 1);
    double c;
    const size_t at = tn_const_splat(x->g, b, &c) ? 0 : 1;
    if ((!at || (!is_div && tn_const_splat(x->g, a, &c))) && c != 0 && isfinite(c))
        return scale_by(x, is_div ? 1 / c : c), at ? b : a;
    if (!is_div && takes_factors(x, v, b, a)) return a;
    if (!is_div && takes_factors(x, v, a, b)) return b;
    return x->why = "the scores are multiplied by no number", v;
}

/* Outwards a factor was the cap c: c * tanh(f x) is c * tanh(c f x / c). */
static tn_val through_cap(attention *x, tn_val v) {
    if (x->a.cap > 0 || !(x->a.scale > 0) || x->factors.i) return x->why = "a tanh of the scores is no soft cap", v;
    x->a.cap = x->a.scale;
    return input(x, v, 0);
}

/* A reshape of the axes before queries and keys. */
static tn_val through_reshape(attention *x, tn_val v) {
    const tn_val y = input(x, v, 0);
    if (!keeps_matrix(x->g, v, y)) return x->why = "a reshape mixes queries and keys", v;
    if (x->factors.i) return x->why = "a reshape stands between the product and its factors", v;
    return y;
}

/* Follows what softmax reads to the first product, which it returns; none with x->why. */
static tn_val scores_of(attention *x, tn_val v) {
    for (int depth = 0; depth < MAX_STEPS && !x->why; depth++) {
        if (!tn_val_has_one_use(x->g, v)) return x->why = "scores have a second use", (tn_val){0};
        switch (def_of(x, v).i ? tn_node_op(x->g, def_of(x, v)) : TN_OP_NONE) {
        case TN_OP_MATMUL: return v;
        case TN_OP_CAST: v = input(x, v, 0); break;
        case TN_OP_RESHAPE: v = through_reshape(x, v); break;
        case TN_OP_SELECT: v = through_mask(x, v); break;
        case TN_OP_ADD: v = through_sum(x, v); break;
        case TN_OP_MUL:
        case TN_OP_DIV: v = through_factor(x, v); break;
        case TN_OP_TANH: v = through_cap(x, v); break;
        default: return x->why = "something stands between the product and softmax", (tn_val){0};
        }
    }
    return (tn_val){0};
}

/* With the leading axes of `like`: a broadcast of its own, or a reshape where there are as many elements. */
static tn_val led_like(attention *x, tn_val v, tn_val product, tn_val like) {
    tn_graph *g = x->g;
    tn_dim dims[TN_MAX_RANK];
    const size_t r = tn_val_rank(g, v), rp = tn_val_rank(g, product), rl = tn_val_rank(g, like);
    for (size_t k = 0; k < rp; k++) dims[k] = k + 2 < rp ? tn_val_dim(g, product, k) : tn_val_dim(g, v, r - rp + k);
    v = tn_emit_broadcast(g, v, rp, dims);
    for (size_t k = 0; k < rl; k++) dims[k] = k + 2 < rl ? tn_val_dim(g, like, k) : tn_val_dim(g, v, rp - rl + k);
    return tn_emit_reshape(g, v, rl, dims);
}

/* v with its last two axes swapped: below what repeats heads for groups, so that rows lie as they did. */
static tn_val swapped(attention *x, tn_val v) {
    tn_graph *g = x->g;
    const size_t r = tn_val_rank(g, v);
    tn_perm p = tn_perm_identity((uint32_t)r);
    p.p[r - 1] = (int64_t)r - 2;
    p.p[r - 2] = (int64_t)r - 1;
    if (tn_is_op(g, v, TN_OP_TRANSPOSE))
        return tn_emit_transpose(g, input(x, v, 0), tn_perm_then(tn_perm_of(g, def_of(x, v)), p));
    const bool repeats = tn_is_op(g, v, TN_OP_BROADCAST) || tn_is_op(g, v, TN_OP_RESHAPE);
    if (!repeats || !keeps_matrix(g, v, input(x, v, 0))) return tn_emit_transpose(g, v, p);
    const tn_val y = swapped(x, input(x, v, 0));
    tn_dim dims[TN_MAX_RANK];
    for (size_t k = 0; k < r; k++) dims[k] = tn_val_dim(g, v, (size_t)p.p[k]);
    return tn_is_op(g, v, TN_OP_BROADCAST) ? tn_emit_broadcast(g, y, r, dims) : tn_emit_reshape(g, y, r, dims);
}

static tn_val flipped(attention *x, tn_val v, bool flip) {
    return flip ? swapped(x, v) : v;
}

bool tn_fuse_spreads(const tn_graph *g, tn_val v, tn_val scores, tn_dim keys) {
    const size_t r = v.i ? tn_val_rank(g, v) : 0, rs = tn_val_rank(g, scores);
    if (r > rs) return false;
    for (size_t k = 0; k < r; k++) {
        const tn_dim d = tn_val_dim(g, v, k), own = k + 1 == r ? keys : tn_val_dim(g, scores, rs - r + k);
        if (!tn_dim_equal_const(g, d, 1) && d.i != own.i) return false;
    }
    return true;
}

static tn_val behind_casts(const attention *x, tn_val v) {
    while (tn_is_op(x->g, v, TN_OP_CAST)) v = input(x, v, 0);
    return v;
}

/* Behind casts, and reshapes of the axes before queries and keys, which nobody else reads. */
static tn_val behind_moves(const attention *x, tn_val v) {
    for (tn_val y = behind_casts(x, v);
         tn_is_op(x->g, y, TN_OP_RESHAPE) && tn_val_has_one_use(x->g, y) && keeps_matrix(x->g, y, input(x, y, 0));
         y = behind_casts(x, v))
        v = input(x, y, 0);
    return behind_casts(x, v);
}

static size_t count_uses(const tn_graph *g, tn_val v) {
    size_t n = 0;
    for (tn_use u = tn_val_first_use(g, v); u.i; u = tn_use_next(g, u)) n++;
    return n;
}

/* "The largest number of each row of this is -inf"; none if `asks` asks something else. */
static tn_val rows_of_nothing(const attention *x, tn_val asks) {
    double least = 0;
    if (!tn_is_op(x->g, asks, TN_OP_EQ) || !tn_const_splat(x->g, input(x, asks, 1), &least) || least != -INFINITY)
        return (tn_val){0};
    const tn_val most = behind_casts(x, input(x, asks, 0));
    if (!tn_is_op(x->g, most, TN_OP_REDUCE_MAX)) return (tn_val){0};
    const tn_attrs_reduce *a = TN_ATTRS_OF(x->g, def_of(x, most), reduce);
    const tn_val of = input(x, most, 0);
    const bool rows = a->keepdims && a->axes.n == 1 && a->axes.p[0] + 1 == (int64_t)tn_val_rank(x->g, of);
    return rows ? behind_casts(x, of) : (tn_val){0};
}

/* v, a part of what softmax p gives: p, where the part is what p gives of x->scores, and the rest one column, x->sink. */
static tn_val beside_sink(attention *x, tn_val v) {
    tn_graph *g = x->g;
    const tn_attrs_slice *a = TN_ATTRS_OF(g, def_of(x, v), slice);
    const tn_val p = behind_casts(x, input(x, v, 0)), none = {0};
    if (!tn_is_op(g, p, TN_OP_SOFTMAX)) return none;
    const tn_val both = behind_casts(x, input(x, p, 0));
    const tn_node concat = def_of(x, both);
    const size_t r = tn_val_rank(g, both);
    if (!tn_is_op(g, both, TN_OP_CONCAT)) return none;
    if (TN_ATTRS_OF(g, concat, axis)->axis + 1 != (int64_t)r || tn_node_input_count(g, concat) != 2)
        return x->why = "what is added beside the scores is no column", none;
    const size_t scores = tn_dim_equal_const(g, a->starts.p[r - 1], 0) ? 0 : 1;
    x->scores = tn_node_input(g, concat, scores);
    x->sink = tn_node_input(g, concat, 1 - scores);
    bool rest = tn_dim_equal_const(g, tn_val_dim(g, x->sink, r - 1), 1);
    for (size_t k = 0; k < r; k++)
        rest = rest && tn_dim_equal_const(g, a->starts.p[k], scores && k + 1 == r) && a->steps.p[k] == 1 &&
               a->sizes.p[k].i == tn_val_dim(g, x->scores, k).i;
    if (!rest) return x->why = "the weights that are dropped are not those of one column beside the scores", none;
    if (!tn_val_has_one_use(g, p) || !tn_val_has_one_use(g, both))
        return x->why = "the weights have a second use", none;
    return p;
}

/* Of the weights' product n: the softmax of which it is one, behind casts and reshapes, perhaps with 0 for what is NaN, or for a row that sees
 * nothing (the Attention of ONNX). */
static tn_val weights_of(attention *x, tn_node n) {
    double zero = 1;
    tn_val p = behind_moves(x, tn_node_input(x->g, n, 0));
    if (tn_is_op(x->g, p, TN_OP_SELECT) && tn_const_splat(x->g, input(x, p, 1), &zero) && zero == 0) {
        const tn_val asks = input(x, p, 0);
        const bool nan = tn_is_op(x->g, asks, TN_OP_IS_NAN);
        p = behind_casts(x, input(x, p, 2));
        if (!nan) x->asked = rows_of_nothing(x, asks);
        if (nan ? behind_casts(x, input(x, asks, 0)).i != p.i : !x->asked.i) return (tn_val){0};
        x->a.no_nan = true;
    }
    x->weights = p;
    if (tn_is_op(x->g, p, TN_OP_SLICE)) return beside_sink(x, p);
    if (!tn_is_op(x->g, p, TN_OP_SOFTMAX)) return (tn_val){0};
    x->scores = input(x, p, 0);
    return p;
}

/* v in dtype t without being cast as it is: where it is something in t that was widened and then moved about, that; where it is heads
 * repeated for groups, what is repeated is cast.  Else none. */
static tn_val narrowed(attention *x, tn_val v, tn_dtype t, bool repeated, int depth) {
    const tn_node n = def_of(x, v);
    const tn_op op = n.i ? tn_node_op(x->g, n) : TN_OP_NONE;
    const tn_val none = {0}, y = n.i ? tn_node_input(x->g, n, 0) : none;
    if (op == TN_OP_CAST && tn_val_dtype(x->g, y) == t && tn_is_float(x->g, v)) return y;
    if (depth > 8 || (op != TN_OP_RESHAPE && op != TN_OP_TRANSPOSE && op != TN_OP_BROADCAST))
        return repeated && tn_is_float(x->g, v) ? tn_emit_cast(x->g, v, t) : none;
    const tn_val z = narrowed(x, y, t, repeated || op == TN_OP_BROADCAST, depth + 1);
    return z.i ? tn_emit_like(x->g, n, 1, &z) : none;
}

/* v without a factor that was multiplied into it, which goes into the scale: models share it between queries and keys. */
static tn_val without_factor(attention *x, tn_val v, int depth) {
    tn_graph *g = x->g;
    const tn_node n = def_of(x, v);
    double c;
    if (!n.i || depth > 8) return v;
    switch (tn_node_op(g, n)) {
    case TN_OP_MUL:
    case TN_OP_DIV: {
        const tn_val y = input(x, v, 0);
        if (!tn_const_splat(g, input(x, v, 1), &c) || c == 0 || !isfinite(c) || !tn_same_type(g, v, y)) return v;
        scale_by(x, tn_node_op(g, n) == TN_OP_DIV ? 1 / c : c);
        return without_factor(x, y, depth + 1);
    }
    case TN_OP_CAST: {
        const tn_val y = input(x, v, 0), z = tn_is_float(g, y) ? without_factor(x, y, depth + 1) : y;
        const tn_val narrow = narrowed(x, z, tn_val_dtype(g, v), false, depth + 1);
        return narrow.i ? narrow : z.i == y.i ? v : tn_emit_cast(g, z, tn_val_dtype(g, v));
    }
    case TN_OP_RESHAPE:
    case TN_OP_TRANSPOSE: {
        const tn_val y = input(x, v, 0), z = without_factor(x, y, depth + 1);
        return z.i == y.i ? v : tn_emit_like(g, n, 1, &z);
    }
    default: return v;
    }
}

/* Queries, each multiplied by its head's factor. */
static tn_val by_factors(attention *x, tn_val q) {
    tn_graph *g = x->g;
    if (!x->factors.i) return q;
    const tn_val wide =
        tn_is_op(g, q, TN_OP_CAST) ? tn_emit_cast(g, input(x, q, 0), TN_F32) : tn_emit_cast(g, q, TN_F32);
    return tn_emit_cast(g, tn_binary(g, TN_OP_MUL, wide, x->factors), tn_val_dtype(g, q));
}

/* The product gives each matrix of weights one of results: values are not of more axes than these. */
static bool has_lead_of_weights(const tn_graph *g, tn_node n) {
    const tn_val w = tn_node_input(g, n, 0), out = tn_node_result(g, n, 0);
    const size_t r = tn_val_rank(g, w);
    if (tn_val_rank(g, out) != r) return false;
    for (size_t k = 0; k + 2 < r; k++)
        if (tn_val_dim(g, w, k).i != tn_val_dim(g, out, k).i) return false;
    return true;
}

/* A sink as small as it may be, and as exact as it was before a cast. */
static tn_val unrepeated(const attention *x, tn_val v) {
    while (v.i) {
        const bool repeats = tn_is_op(x->g, v, TN_OP_BROADCAST), cast = tn_is_op(x->g, v, TN_OP_CAST);
        if (!repeats && !cast) break;
        const tn_val y = input(x, v, 0);
        if (!tn_is_float(x->g, y) || !tn_fuse_spreads(x->g, y, x->scores, tn_dim_const(x->g, 1))) break;
        v = y;
    }
    return v;
}

static tn_val find(attention *x, tn_node n, tn_val p) {
    tn_graph *g = x->g;
    const size_t r = tn_val_rank(g, p);
    if (count_uses(g, x->weights) > (x->a.no_nan && !x->asked.i ? 2 : 1))
        return x->why = "the weights have a second use", (tn_val){0};
    if (TN_ATTRS_OF(g, n, matmul)->trans_a || TN_ATTRS_OF(g, def_of(x, p), axis)->axis + 1 != (int64_t)r)
        return x->why = "softmax does not run over the keys", (tn_val){0};
    const tn_val scores = x->scores, product = scores_of(x, scores);
    if (x->why || !product.i) return (tn_val){0};
    if (x->asked.i && (x->mask.i || behind_casts(x, x->added).i != x->asked.i))
        return x->why = "weights are 0 for other rows than those in which nothing is seen", (tn_val){0};
    if (!keeps_matrix(g, product, scores)) return x->why = "what is added has more queries or keys", (tn_val){0};
    const tn_dim keys = tn_val_dim(g, scores, r - 1);
    if (!tn_fuse_spreads(g, x->bias, scores, keys) || !tn_fuse_spreads(g, x->mask, scores, keys))
        return x->why = "what is added has other axes", (tn_val){0};
    const tn_attrs_matmul *first = TN_ATTRS_OF(g, def_of(x, product), matmul), *second = TN_ATTRS_OF(g, n, matmul);
    const tn_val out = tn_node_result(g, n, 0);
    if (tn_val_dtype(g, product) != tn_val_dtype(g, out)) /* no kernel takes operands of several */
        return x->why = "the two products are of different dtypes", (tn_val){0};
    const tn_val q = without_factor(x, input(x, product, 0), 0), k = without_factor(x, input(x, product, 1), 0);
    x->q = led_like(x, by_factors(x, flipped(x, q, first->trans_a)), product, scores);
    x->k = led_like(x, flipped(x, k, !first->trans_b), product, scores);
    const tn_val v = tn_node_input(g, n, 1),
                 early = tn_is_op(g, v, TN_OP_CAST) ? narrowed(x, input(x, v, 0), tn_val_dtype(g, v), false, 0) : v;
    x->v = flipped(x, early.i ? early : v, second->trans_b);
    if (!has_lead_of_weights(g, n)) return x->why = "the values have more axes than the weights", (tn_val){0};
    x->v = led_like(x, x->v, out, scores);
    if (x->mask.i && x->a.fill <= TN_FUSE_UNSEEN && (is_triangle(x, x->mask, 0) || tn_fuse_is_causal(g, x->mask)))
        x->a.causal = true, x->mask = (tn_val){0};
    if (says_causal(x, x->bias, TN_FUSE_UNSEEN)) x->a.causal = true, x->bias = (tn_val){0};
    const tn_val in[] = {x->q, x->k, x->v, x->bias, x->mask, {0}, unrepeated(x, x->sink)};
    return tn_emit1(g, TN_OP_ATTENTION, &x->a, x->sink.i ? 7 : x->mask.i ? 5 : x->bias.i ? 4 : 3, in);
}

bool tn_fuse_attention(tn_graph *g, tn_pass_ctx *ctx, tn_node n) {
    attention x = {.g = g};
    const tn_val p = weights_of(&x, n), y = tn_node_result(g, n, 0);
    if ((!p.i && !x.why) || !has_kernel(g, y) || tn_pass_opts(ctx)->numerics == TN_NUMERICS_EXACT) return false;
    tn_set_cursor(g, tn_cursor_before(g, n));
    const tn_val whole = p.i ? find(&x, n, p) : p,
                 limited = whole.i ? tn_fuse_limited(g, tn_val_def(g, whole), false) : whole;
    tn_val now = limited.i ? limited : whole;
    if (now.i && !tn_fuse_has_attention(g, tn_val_def(g, now)))
        x.why = "a head is larger than a kernel holds, or of unknown size";
    else if (now.i && keeps_matrix(g, now, y))
        now = tn_emit_reshape(g, now, tn_val_rank(g, y), tn_type_dims(g, tn_val_type(g, y)));
    if (now.i && !tn_same_type(g, now, y)) x.why = "its dtype is not the product's";
    if (x.why || !now.i) {
        tn_pass_refused(ctx, rule, g, n, x.why ? x.why : "it is no product of queries and keys");
        return false; /* what was built is dead */
    }
    if (!tn_pass_may_rewrite(ctx, rule)) return false;
    tn_replace(g, y, now);
    tn_erase(g, n);
    return true;
}
