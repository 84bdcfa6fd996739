/* integer.c: products of int32 whose operands are 8-bit integers with something added to them, as products of those: what
 * quantised models come down to, where zero points are subtracted first.
 *
 *     (a + s) (b + t) = a b + s sum(b + t) + sum(a) t          sums along k, where s and t do not vary
 *
 * int32 wraps alike on both sides, so all of this is exact.  Of a constant b + t the second term is a constant; a constant's own
 * t is the lowest number that brings it into 8 bits, mostly 0.  A convolution pads with what stands for 0, which is -s. */
#include "passes/util.h"
#include "passes/rule.h"

/* An operand: numbers of 8 bits, which an int32 is cast from or a constant can be written in, and what is added to them. */
typedef struct bytes {
    tn_val v;      /* int32, all of it */
    tn_dtype t;    /* i8 or u8 */
    tn_val zero;   /* int32, added; none: nothing */
    bool minus;    /* it is subtracted */
    int64_t low;   /* added to a constant's */
    bool is_const; /* then nothing else is */
} bytes;

enum { MAX_MOVES = 8 };

static bool is_one_number(const tn_graph *g, tn_val v) {
    int64_t n;
    return tn_static_numel(g, v, &n) && n == 1;
}

/* Does v, which broadcasts to x, not vary along the axis of x? */
static bool same_along(const tn_graph *g, tn_val v, tn_val x, size_t axis) {
    const size_t rank = tn_val_rank(g, v), more = tn_val_rank(g, x) - rank;
    return axis < more || tn_dim_equal_const(g, tn_val_dim(g, v, axis - more), 1);
}

static bool const_bytes(const tn_graph *g, tn_val v, bytes *out) {
    int64_t n, lo = 0, hi = 0;
    if (!tn_static_numel(g, v, &n)) return false;
    for (int64_t k = 0; k < n; k++) {
        const int64_t x = tn_const_get_int(g, v, (uint64_t)k);
        if (!k || x < lo) lo = x;
        if (!k || x > hi) hi = x;
    }
    out->is_const = true;
    out->t = lo >= -128 && hi <= 127 ? TN_I8 : TN_U8;
    out->low = (lo >= 0 && hi <= 255) || out->t == TN_I8 ? 0 : lo;
    return hi - out->low <= 255;
}

/* v = w + zero where w is widened. */
static bool shifted(const tn_graph *g, tn_val v, tn_val w, tn_val zero, bytes *out) {
    if (!tn_is_widened_byte(g, w) || !tn_same_dims(g, v, w)) return false;
    out->t = tn_val_dtype(g, tn_node_input(g, tn_val_def(g, w), 0));
    out->zero = zero;
    return true;
}

/* What a pad of all of it is one of its 8-bit numbers with; false if that is none of 8 bits. */
static bool fill_of(const tn_graph *g, const bytes *b, double value, int64_t *fill) {
    const int64_t lo = b->t == TN_I8 ? -128 : 0, hi = b->t == TN_I8 ? 127 : 255;
    if (b->zero.i && !tn_is_const(g, b->zero)) return false;
    const int64_t zero = b->zero.i ? tn_const_get_int(g, b->zero, 0) : 0;
    *fill = (int64_t)value - (b->minus ? -zero : zero);
    return *fill >= lo && *fill <= hi;
}

/* Transposes, reshapes and pads may stand behind one number's addition. */
static bool moves(tn_op op) {
    return op == TN_OP_TRANSPOSE || op == TN_OP_RESHAPE || op == TN_OP_PAD;
}

static bool pads_fit(const tn_graph *g, tn_val v, const bytes *b) {
    int64_t fill;
    for (tn_node n = tn_val_def(g, v); n.i && moves(tn_node_op(g, n)); n = tn_val_def(g, tn_node_input(g, n, 0))) {
        if (tn_node_op(g, n) != TN_OP_PAD) continue;
        const tn_attrs_pad *a = TN_ATTRS_OF(g, n, pad);
        const bool constant = tn_str_is(a->mode, "") || tn_str_is(a->mode, "constant");
        if (!constant || b->is_const || !fill_of(g, b, a->value, &fill)) return false;
    }
    return true;
}

static bool find_bytes(const tn_graph *g, tn_val v, bytes *out) {
    for (int moved = 0; moved < MAX_MOVES; moved++) {
        const tn_node n = tn_val_def(g, v);
        const tn_op op = n.i ? tn_node_op(g, n) : TN_OP_NONE;
        if (op == TN_OP_CONST) return const_bytes(g, v, out);
        if (op == TN_OP_CAST) return shifted(g, v, v, (tn_val){0}, out);
        if (op == TN_OP_ADD || op == TN_OP_SUB) {
            const tn_val a = tn_node_input(g, n, 0), b = tn_node_input(g, n, 1);
            out->minus = op == TN_OP_SUB;
            return (shifted(g, v, a, b, out) || (!out->minus && shifted(g, v, b, a, out))) &&
                   (!moved || is_one_number(g, out->zero));
        }
        if (!moves(op)) return false;
        v = tn_node_input(g, n, 0);
    }
    return false;
}

static bool bytes_of(const tn_graph *g, tn_val v, bytes *out) {
    *out = (bytes){.v = v};
    return find_bytes(g, v, out) && pads_fit(g, v, out);
}

/* ---- the operand in bytes ---------------------------------------------------------------------------------------- */

/* turn: with its last two axes the other way round. */
static tn_val emit_const(tn_graph *g, tn_val v, const bytes *b, bool turn) {
    const size_t rank = tn_val_rank(g, v);
    tn_dim dims[TN_MAX_RANK];
    int64_t n = 0, rows = 1, cols = 1;
    void *data = NULL;
    tn_static_numel(g, v, &n);
    for (size_t k = 0; k < rank; k++) dims[k] = tn_val_dim(g, v, k);
    if (turn) {
        tn_static_dim(g, v, rank - 2, &rows);
        tn_static_dim(g, v, rank - 1, &cols);
        dims[rank - 2] = tn_val_dim(g, v, rank - 1), dims[rank - 1] = tn_val_dim(g, v, rank - 2);
    }
    const tn_blob blob = tn_blob_new(g, (size_t)n, &data);
    if (tn_graph_status(g) != TN_OK) return (tn_val){0};
    for (int64_t k = 0; k < n; k++) {
        const int64_t row = k / cols % rows, col = k % cols, matrix = k / cols / rows;
        const int64_t at = (matrix * cols + col) * rows + row; /* k, unless turned */
        tn_store_int(b->t, data, (uint64_t)at, tn_const_get_int(g, v, (uint64_t)k) - b->low);
    }
    return tn_const(g, tn_type_make(g, b->t, rank, dims), blob, TN_ATTRS_OF(g, tn_val_def(g, v), const)->name);
}

static tn_val emit_moved(tn_graph *g, tn_node n, tn_val v, const bytes *b) {
    if (tn_node_op(g, n) != TN_OP_PAD) return tn_emit_like(g, n, 1, &v);
    tn_attrs_pad a = *TN_ATTRS_OF(g, n, pad);
    int64_t fill = 0;
    fill_of(g, b, a.value, &fill);
    a.value = (double)fill;
    return tn_emit1(g, TN_OP_PAD, &a, 1, &v);
}

static tn_val emit_bytes(tn_graph *g, tn_val v, const bytes *b, bool turn) {
    tn_node moved[MAX_MOVES], n = tn_val_def(g, v);
    int count = 0;
    while (count < MAX_MOVES && moves(tn_node_op(g, n))) {
        moved[count++] = n;
        v = tn_node_input(g, n, 0);
        n = tn_val_def(g, v);
    }
    if (b->is_const) {
        v = emit_const(g, v, b, turn);
    } else {
        if (tn_node_op(g, n) != TN_OP_CAST)
            for (size_t k = 0; k < 2; k++)
                if (tn_is_widened_byte(g, tn_node_input(g, n, k)) && tn_node_input(g, n, !k).i == b->zero.i)
                    v = tn_node_input(g, n, k);
        v = tn_node_input(g, tn_val_def(g, v), 0);
    }
    while (count-- && tn_graph_status(g) == TN_OK) v = emit_moved(g, moved[count], v, b);
    return v;
}

static tn_val emit_i32(tn_graph *g, tn_val v) {
    return tn_emit_cast(g, v, TN_I32);
}

/* y plus what is added to b's numbers, times `by`; turned: b's last two axes are the result's the other way round. */
static tn_val plus_shift(tn_graph *g, tn_val y, const bytes *b, tn_val by, bool turned) {
    tn_val z = b->zero;
    if (b->low) return tn_binary(g, TN_OP_ADD, y, tn_binary(g, TN_OP_MUL, by, tn_emit_int(g, TN_I32, b->low)));
    if (is_one_number(g, z))
        z = tn_emit_reshape(g, z, 0, NULL);
    else if (turned)
        z = tn_emit_transpose(g, z, tn_perm_swap((uint32_t)tn_val_rank(g, z)));
    return tn_binary(g, b->minus ? TN_OP_SUB : TN_OP_ADD, y, tn_binary(g, TN_OP_MUL, by, z));
}

static bool is_shifted(const bytes *b) {
    return b->zero.i || b->low;
}

/* ---- matmul ------------------------------------------------------------------------------------------------------ */

/* Both operands and their k axes. */
typedef struct product {
    bytes a, b;
    size_t ka, kb;
    bool trans_a, trans_b;
} product;

static bool turns(const tn_graph *g, const bytes *b, bool trans) {
    return !trans || !b->zero.i || is_one_number(g, b->zero) || tn_val_rank(g, b->zero) >= 2;
}

static const char *product_of(const tn_match *m, product *p) {
    const tn_graph *g = m->g;
    const tn_attrs_matmul *at = tn_node_attrs(g, m->root);
    if (!bytes_of(g, m->v[TN_X], &p->a) || !bytes_of(g, m->v[TN_Y], &p->b) || (p->a.is_const && p->b.is_const))
        return "an operand is not of 8-bit integers";
    p->trans_a = at->trans_a, p->trans_b = at->trans_b;
    p->ka = tn_val_rank(g, p->a.v) - (p->trans_a ? 2 : 1);
    p->kb = tn_val_rank(g, p->b.v) - (p->trans_b ? 1 : 2);
    if ((p->a.zero.i && !same_along(g, p->a.zero, p->a.v, p->ka)) ||
        (p->b.zero.i && !same_along(g, p->b.zero, p->b.v, p->kb)))
        return "a zero point varies along the sums";
    return turns(g, &p->a, p->trans_a) && turns(g, &p->b, p->trans_b) ? NULL : "a zero point's axes are turned";
}

static const char *of_bytes(const tn_match *m) {
    product p;
    return product_of(m, &p);
}

/* Along k, which stays as an axis of size 1: the last but one (of b) or the last (of a) in the result. */
static tn_val sum_along(tn_graph *g, tn_val v, size_t axis, bool turned) {
    const int64_t k = (int64_t)axis;
    const tn_attrs_reduce a = {.axes = {&k, 1}, .keepdims = true};
    v = tn_emit1(g, TN_OP_REDUCE_SUM, &a, 1, &v);
    return turned && v.i ? tn_emit_transpose(g, v, tn_perm_swap((uint32_t)tn_val_rank(g, v))) : v;
}

static tn_val byte_matmul(tn_match *m) {
    tn_graph *g = m->g;
    product p;
    product_of(m, &p);
    tn_attrs_matmul at = *TN_ATTRS_OF(g, m->root, matmul);
    at.math = tn_intern(g, "i32");
    const bool turn = tn_is_const(g, p.b.v) && !at.trans_b; /* kernels read bytes best along k */
    at.trans_b |= turn;
    const tn_val in[2] = {emit_bytes(g, p.a.v, &p.a, false), emit_bytes(g, p.b.v, &p.b, turn)};
    if (!in[0].i || !in[1].i) return (tn_val){0};
    tn_val y = tn_emit1(g, TN_OP_MATMUL, &at, 2, in);
    if (y.i && is_shifted(&p.a)) y = plus_shift(g, y, &p.a, sum_along(g, p.b.v, p.kb, p.trans_b), p.trans_a);
    if (y.i && is_shifted(&p.b))
        y = plus_shift(g, y, &p.b, sum_along(g, emit_i32(g, in[0]), p.ka, p.trans_a), p.trans_b);
    return y;
}

/* ---- convolution ------------------------------------------------------------------------------------------------- */

typedef struct window {
    bytes x, w;
    size_t rank;
    bool nhwc, pads;
    int64_t fill; /* of the padding, for x */
    bool fills;   /* there is one, and it is a number of 8 bits */
} window;

static const char *window_of(const tn_match *m, window *p) {
    const tn_graph *g = m->g;
    const tn_attrs_conv *at = tn_node_attrs(g, m->root);
    if (!bytes_of(g, m->v[TN_X], &p->x) || !bytes_of(g, m->v[TN_W], &p->w) || p->x.is_const)
        return "an operand is not of 8-bit integers";
    if ((p->x.zero.i && !is_one_number(g, p->x.zero)) || (p->w.zero.i && !is_one_number(g, p->w.zero)))
        return "a zero point is not one number";
    if (is_shifted(&p->w) && at->groups > 1) return "the filters of groups are not of 8 bits";
    p->rank = tn_val_rank(g, p->x.v);
    p->nhwc = tn_str_is(at->layout, "nhwc");
    p->pads = false;
    for (uint32_t k = 0; k < at->pads.n; k++) p->pads |= at->pads.p[k] != 0;
    p->fills = p->pads && p->x.zero.i && fill_of(g, &p->x, 0, &p->fill);
    return NULL;
}

static const char *windows_of_bytes(const tn_match *m) {
    window p;
    return window_of(m, &p);
}

static tn_val emit_padded(tn_graph *g, tn_val x, const window *p, tn_ints pads) {
    tn_dim before[TN_MAX_RANK], after[TN_MAX_RANK];
    const size_t spatial = p->rank - 2, first = p->nhwc ? 1 : 2;
    for (size_t k = 0; k < p->rank; k++) {
        const bool inside = k >= first && k < first + spatial;
        before[k] = tn_dim_const(g, inside ? tn_ints_at(pads, (uint32_t)(k - first), 0) : 0);
        after[k] = tn_dim_const(g, inside ? tn_ints_at(pads, (uint32_t)(k - first + spatial), 0) : 0);
    }
    const uint32_t n = (uint32_t)p->rank;
    const tn_attrs_pad a = {
        .before = {before, n}, .after = {after, n}, .mode = tn_intern(g, "constant"), .value = (double)p->fill};
    return tn_emit1(g, TN_OP_PAD, &a, 1, &x);
}

/* One an output channel. */
static tn_val sum_of_filters(tn_graph *g, const window *p) {
    int64_t axes[TN_MAX_RANK];
    for (size_t k = 1; k < p->rank; k++) axes[k - 1] = (int64_t)k;
    const tn_attrs_reduce a = {.axes = {axes, (uint32_t)p->rank - 1}};
    return tn_emit1(g, TN_OP_REDUCE_SUM, &a, 1, &p->w.v);
}

/* The same where padding counts as nothing: one a pixel and channel. */
static tn_val sum_of_taps(tn_graph *g, const window *p, const tn_attrs_conv *at) {
    tn_dim dims[TN_MAX_RANK];
    for (size_t k = 0; k < p->rank; k++) dims[k] = k ? tn_val_dim(g, p->x.v, k) : tn_dim_const(g, 1);
    const tn_val in[2] = {tn_emit_broadcast(g, tn_emit_int(g, TN_I32, 1), p->rank, dims), p->w.v};
    return tn_emit1(g, TN_OP_CONV, at, 2, in);
}

/* The bias with what x's zero point adds, or what that adds if there is none. */
static tn_val shifted_bias(tn_graph *g, tn_val bias, const window *p) {
    const tn_val zero = tn_emit_reshape(g, p->x.zero, 0, NULL), sum = sum_of_filters(g, p);
    if (!zero.i || !sum.i) return (tn_val){0};
    const tn_val more = tn_binary(g, TN_OP_MUL, sum, p->x.minus ? tn_unary(g, TN_OP_NEG, zero) : zero);
    return bias.i && more.i ? tn_binary(g, TN_OP_ADD, bias, more) : more;
}

/* The sum of each window: what a filter of ones makes. */
static tn_val sum_of_windows(tn_graph *g, tn_val x, const window *p, const tn_attrs_conv *at) {
    tn_dim dims[TN_MAX_RANK];
    for (size_t k = 0; k < p->rank; k++) dims[k] = k ? tn_val_dim(g, p->w.v, k) : tn_dim_const(g, 1);
    const tn_val in[2] = {x, tn_emit_broadcast(g, tn_const_num(g, TN_I8, 1), p->rank, dims)};
    return tn_emit1(g, TN_OP_CONV, at, 2, in);
}

static tn_val byte_conv(tn_match *m) {
    tn_graph *g = m->g;
    window p;
    window_of(m, &p);
    const tn_attrs_conv old = *TN_ATTRS_OF(g, m->root, conv);
    tn_attrs_conv at = old;
    at.math = tn_intern(g, "i32");
    tn_val in[3] = {emit_bytes(g, p.x.v, &p.x, false), emit_bytes(g, p.w.v, &p.w, false), m->v[TN_B]};
    if (!in[0].i || !in[1].i) return (tn_val){0};
    if (p.fills) {
        in[0] = emit_padded(g, in[0], &p, old.pads);
        at.pads = (tn_ints){0};
    }
    const bool plain = !p.pads || p.fills;
    if (p.x.zero.i && plain) in[2] = shifted_bias(g, in[2], &p);
    tn_val y = tn_emit1(g, TN_OP_CONV, &at, in[2].i ? 3 : 2, in);
    if (y.i && p.x.zero.i && !plain) y = plus_shift(g, y, &p.x, sum_of_taps(g, &p, &old), false);
    if (y.i && is_shifted(&p.w)) y = plus_shift(g, y, &p.w, sum_of_windows(g, in[0], &p, &at), false);
    return y;
}

/* clang-format off */
static const tn_rule integer[] = {
    /*   name         match                      becomes          dtypes          when              exactness */
    RULE(byte_matmul, OP(MATMUL, X, Y),          FN(byte_matmul), TN_SET(TN_I32), of_bytes,         EXACT),
    RULE(byte_conv,   OP(CONV, X, W, OPT(B)),    FN(byte_conv),   TN_SET(TN_I32), windows_of_bytes, EXACT),
};
/* clang-format on */

const tn_rules tn_rules_integer = TN_RULES(integer);
