/* narrow.c: see narrow.h. */
#include "passes/rules/narrow.h"
#include "passes/util.h"

enum { MAX_MOVES = 8 };

bool tn_is_one_number(const tn_graph *g, tn_val v) {
    int64_t n;
    return tn_static_numel(g, v, &n) && n == 1;
}

/* ---- constants --------------------------------------------------------------------------------------------------- */

/* The lowest and highest number of index k of an axis of size `size`. */
static void range_at(const tn_graph *g, tn_val v, int64_t n, int64_t inner, int64_t size, int64_t k, int64_t *lo,
                     int64_t *hi) {
    *lo = *hi = 0;
    for (int64_t from = k * inner; from < n; from += size * inner)
        for (int64_t e = from; e < from + inner; e++) {
            const int64_t x = tn_const_get_int(g, v, (uint64_t)e);
            if (e == k * inner || x < *lo) *lo = x;
            if (e == k * inner || x > *hi) *hi = x;
        }
}

static bool const_bytes(const tn_graph *g, tn_val v, tn_narrow *out) {
    int64_t n, lo, hi, size = 1;
    if (!tn_static_numel(g, v, &n)) return false;
    range_at(g, v, n, n ? n : 1, 1, 0, &lo, &hi);
    out->t = lo >= -128 && hi <= 127 ? TN_I8 : TN_U8;
    if (out->t == TN_I8 || (lo >= 0 && hi <= 255)) return true;
    out->lows = 1, out->inner = n;
    if (hi - lo <= 255) return true;
    if (!tn_static_dim(g, v, out->axis, &size)) return false;
    out->lows = size, out->inner = 1;
    for (size_t k = out->axis + 1; k < tn_val_rank(g, v); k++) {
        tn_static_dim(g, v, k, &size);
        out->inner *= size;
    }
    for (int64_t k = 0; k < out->lows; k++) {
        range_at(g, v, n, out->inner, out->lows, k, &lo, &hi);
        if (hi - lo > 255) return false;
    }
    return true;
}

static int64_t low_at(const tn_graph *g, const tn_narrow *b, int64_t n, int64_t k) {
    int64_t lo, hi;
    range_at(g, b->base, n, b->inner, b->lows, k, &lo, &hi);
    return lo;
}

/* ---- recognition ------------------------------------------------------------------------------------------------- */

static bool base_of(const tn_graph *g, tn_val v, tn_narrow *out) {
    out->base = v;
    if (tn_is_const(g, v)) return const_bytes(g, v, out);
    if (!tn_is_widened_byte(g, v)) return false;
    out->t = tn_val_dtype(g, tn_node_input(g, tn_val_def(g, v), 0));
    return true;
}

/* v = w + zero, where w is a base that needs nothing else. */
static bool added_to(const tn_graph *g, tn_val v, tn_val w, tn_val zero, tn_narrow *out) {
    out->zero = zero;
    return tn_same_dims(g, v, w) && base_of(g, w, out) && !out->lows;
}

static bool moves(tn_op op) {
    return op == TN_OP_TRANSPOSE || op == TN_OP_RESHAPE || op == TN_OP_PAD;
}

static bool find_base(const tn_graph *g, tn_val v, tn_narrow *out) {
    for (int moved = 0; moved < MAX_MOVES; moved++) {
        const tn_node n = tn_val_def(g, v);
        const tn_op op = n.i ? tn_node_op(g, n) : TN_OP_NONE;
        if (op == TN_OP_ADD || op == TN_OP_SUB) {
            const tn_val a = tn_node_input(g, n, 0), b = tn_node_input(g, n, 1);
            out->minus = op == TN_OP_SUB;
            return (added_to(g, v, a, b, out) || (!out->minus && added_to(g, v, b, a, out))) &&
                   (!moved || tn_is_one_number(g, out->zero));
        }
        if (!moves(op)) return base_of(g, v, out) && (!moved || out->lows < 2);
        v = tn_node_input(g, n, 0);
    }
    return false;
}

bool tn_narrow_fill(const tn_graph *g, const tn_narrow *b, double value, int64_t *fill) {
    const int64_t lo = b->t == TN_I8 ? -128 : 0, hi = b->t == TN_I8 ? 127 : 255;
    if (b->lows || (b->zero.i && !(tn_is_const(g, b->zero) && tn_is_one_number(g, b->zero)))) return false;
    const int64_t zero = b->zero.i ? tn_const_get_int(g, b->zero, 0) : 0;
    *fill = (int64_t)value - (b->minus ? -zero : zero);
    return *fill >= lo && *fill <= hi;
}

/* Every pad on the way is one with a number of 8 bits. */
static bool pads_fit(const tn_graph *g, const tn_narrow *b) {
    int64_t fill;
    for (tn_node n = tn_val_def(g, b->v); moves(tn_node_op(g, n)); n = tn_val_def(g, tn_node_input(g, n, 0))) {
        if (tn_node_op(g, n) != TN_OP_PAD) continue;
        const tn_attrs_pad *a = TN_ATTRS_OF(g, n, pad);
        const bool constant = tn_str_is(a->mode, "") || tn_str_is(a->mode, "constant");
        if (!constant || !tn_narrow_fill(g, b, a->value, &fill)) return false;
    }
    return true;
}

bool tn_narrow_of(const tn_graph *g, tn_val v, size_t axis, tn_narrow *out) {
    *out = (tn_narrow){.v = v, .axis = axis};
    return find_base(g, v, out) && pads_fit(g, out);
}

bool tn_narrow_shifted(const tn_narrow *b) {
    return b->zero.i || b->lows;
}

/* ---- what they become -------------------------------------------------------------------------------------------- */

static tn_val emit_const(tn_graph *g, const tn_narrow *b, bool turn) {
    const size_t rank = tn_val_rank(g, b->base);
    tn_dim dims[TN_MAX_RANK];
    int64_t n = 0, rows = 1, cols = 1;
    void *data = NULL;
    tn_static_numel(g, b->base, &n);
    for (size_t k = 0; k < rank; k++) dims[k] = tn_val_dim(g, b->base, k);
    if (turn) {
        tn_static_dim(g, b->base, rank - 2, &rows);
        tn_static_dim(g, b->base, rank - 1, &cols);
        dims[rank - 2] = tn_val_dim(g, b->base, rank - 1), dims[rank - 1] = tn_val_dim(g, b->base, rank - 2);
    }
    const tn_blob blob = tn_blob_new(g, (size_t)n, &data);
    if (tn_graph_status(g) != TN_OK) return (tn_val){0};
    const int64_t lows = b->lows ? b->lows : 1, inner = b->lows ? b->inner : n;
    for (int64_t low = 0; low < lows && n; low++) {
        const int64_t off = b->lows ? low_at(g, b, n, low) : 0;
        for (int64_t from = low * inner; from < n; from += lows * inner)
            for (int64_t e = from; e < from + inner; e++) {
                const int64_t row = e / cols % rows, col = e % cols, matrix = e / cols / rows;
                const int64_t at = (matrix * cols + col) * rows + row; /* e, unless turned */
                tn_store_int(b->t, data, (uint64_t)at, tn_const_get_int(g, b->base, (uint64_t)e) - off);
            }
    }
    return tn_const(g, tn_type_make(g, b->t, rank, dims), blob, TN_ATTRS_OF(g, tn_val_def(g, b->base), const)->name);
}

static tn_val emit_moved(tn_graph *g, tn_node n, tn_val v, const tn_narrow *b) {
    if (tn_node_op(g, n) != TN_OP_PAD) return tn_emit_like(g, n, 1, &v);
    tn_attrs_pad a = *TN_ATTRS_OF(g, n, pad);
    int64_t fill = 0;
    tn_narrow_fill(g, b, a.value, &fill);
    a.value = (double)fill;
    return tn_emit1(g, TN_OP_PAD, &a, 1, &v);
}

tn_val tn_narrow_emit(tn_graph *g, const tn_narrow *b, bool turn) {
    tn_node moved[MAX_MOVES];
    int count = 0;
    for (tn_node n = tn_val_def(g, b->v); count < MAX_MOVES && moves(tn_node_op(g, n));
         n = tn_val_def(g, tn_node_input(g, n, 0)))
        moved[count++] = n;
    tn_val v = tn_is_const(g, b->base) ? emit_const(g, b, turn) : tn_node_input(g, tn_val_def(g, b->base), 0);
    while (count-- && tn_graph_status(g) == TN_OK) v = emit_moved(g, moved[count], v, b);
    return v;
}

static tn_val emit_lows(tn_graph *g, const tn_narrow *b) {
    const size_t rank = tn_val_rank(g, b->base);
    tn_dim dims[TN_MAX_RANK];
    int64_t n = 0;
    void *data = NULL;
    tn_static_numel(g, b->base, &n);
    for (size_t k = 0; k < rank; k++) dims[k] = tn_dim_const(g, k == b->axis ? b->lows : 1);
    const tn_blob blob = tn_blob_new(g, tn_dtype_bytes(TN_I32, (uint64_t)b->lows), &data);
    if (tn_graph_status(g) != TN_OK) return (tn_val){0};
    for (int64_t k = 0; k < b->lows; k++) tn_store_int(TN_I32, data, (uint64_t)k, low_at(g, b, n, k));
    return tn_const(g, tn_type_make(g, TN_I32, b->lows == 1 ? 0 : rank, dims), blob, NULL);
}

tn_val tn_narrow_shift(tn_graph *g, const tn_narrow *b) {
    if (b->lows) return emit_lows(g, b);
    const tn_val z = tn_is_one_number(g, b->zero) ? tn_emit_reshape(g, b->zero, 0, NULL) : b->zero;
    return b->minus && z.i ? tn_unary(g, TN_OP_NEG, z) : z;
}
