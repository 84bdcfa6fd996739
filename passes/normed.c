/* normed.c: norms of the rows that products read.
 *
 *     n = layer_norm(x, gain, shift)                        y = matmul(x, gain * w - means) {norm="layer"} + shift w
 *     y = matmul(n, w)                          becomes
 *
 * The norm multiplies a row with one number, which a product may do behind its sums, and takes the row's mean away, for which the means
 * of the weight's columns may be taken away: then what is the same for all of a row comes to nothing.  That number follows from sums
 * over the row, all of which passes through the kernel anyhow: so the norm is no kernel of its own, and what it made is nowhere in
 * memory.  Gain and shift are constants and go into the weight and behind the product.
 *
 * For products on tensor cores, where all that reads the norm is such products (a norm before attention and before the two products
 * behind it, as in ViT, GPT and Llama), and perhaps one sum that has the norm as its residual (a norm behind these, as in BERT): that
 * computes the elements of the norm where it reads x, with what the norm does to rows, which a product writes down (row_norm).
 *
 * Where a product made x, its epilogue has the rows in registers and adds up each 32 neighbours (row_sums), which the products that read x
 * finish.  Else every tile of columns adds the rows up again, so that a wide product of many rows would rather read what a kernel made
 * once (pays). */
#include <math.h>

#include "ir/eval/eval.h"
#include "passes/pass.h"
#include "passes/rule.h"
#include "passes/rules/filter.h"
#include "passes/util.h"

tn_status tn_pass_normed(tn_graph *g, tn_pass_ctx *ctx);

static const char rule[] = "normed";
enum {
    READERS = 8,
    FAR = 8,
    MAX_BYTES = 256 << 20,
    PART = 32, /* neighbours of a row that an epilogue adds up */
    MANY = 48  /* rows: products of fewer are for kernels that stream the weights, and have no such epilogue */
};

typedef struct normed {
    tn_graph *g;
    tn_node node;
    bool layer;
    double eps;
    tn_val x, gain, shift; /* gain, shift: none, or a constant a column */
    int64_t cols;
    tn_val sums; /* of x's rows, where the product that makes x adds them up; or none */
    size_t n;    /* products that read it */
    tn_filter f[READERS];
    tn_node sum;  /* that has it as its residual, or none */
    size_t slot;  /* there */
    size_t first; /* of the products */
} normed;

/* ---- what is looked for ------------------------------------------------------------------------------------------ */

static bool is_narrow(tn_dtype t) {
    return t == TN_F16 || t == TN_BF16;
}

/* One number a column, or none. */
static bool is_column(const tn_graph *g, tn_val c, int64_t cols) {
    return !c.i || tn_per_channel(g, c, 1, 0, cols);
}

static bool is_norm(tn_graph *g, tn_node n, normed *p) {
    const tn_op op = tn_node_op(g, n);
    if (op != TN_OP_LAYER_NORM && op != TN_OP_RMS_NORM) return false;
    const tn_attrs_norm *a = TN_ATTRS_OF(g, n, norm);
    *p = (normed){.g = g,
                  .node = n,
                  .layer = op == TN_OP_LAYER_NORM,
                  .eps = a->eps,
                  .x = tn_node_input(g, n, 0),
                  .gain = tn_node_input(g, n, 1),
                  .shift = tn_node_input(g, n, 2)};
    const size_t rank = tn_val_rank(g, p->x);
    return rank >= 2 && a->axis + 1 == (int64_t)rank && is_narrow(tn_val_dtype(g, p->x)) &&
           tn_static_dim(g, p->x, rank - 1, &p->cols) && is_column(g, p->gain, p->cols) &&
           is_column(g, p->shift, p->cols);
}

/* The products that read v, or a reshape of it that keeps its rows, and a sum; false if anything else does. */
static bool find_readers(normed *p, tn_val v) {
    tn_graph *g = p->g;
    for (tn_use u = tn_val_first_use(g, v); u.i; u = tn_use_next(g, u)) {
        const tn_node n = tn_use_node(g, u);
        const tn_val y = tn_node_result(g, n, 0);
        int64_t cols;
        if (tn_node_op(g, n) == TN_OP_RESHAPE) {
            const size_t rank = tn_val_rank(g, y);
            if (rank < 2 || !tn_static_dim(g, y, rank - 1, &cols) || cols != p->cols || !find_readers(p, y))
                return false;
            continue;
        }
        if (tn_node_op(g, n) == TN_OP_ADD && !p->sum.i && tn_same_dims(g, v, y)) {
            p->sum = n;
            p->slot = tn_use_slot(g, u);
            continue;
        }
        if (p->n == READERS || tn_node_op(g, n) != TN_OP_MATMUL || tn_use_slot(g, u) != 0 ||
            !tn_filter_of(g, n, &p->f[p->n]))
            return false;
        p->n++;
    }
    return p->n > 0;
}

/* ---- whether it pays --------------------------------------------------------------------------------------------- */

static double columns_of(const normed *p) {
    double columns = 0;
    for (size_t k = 0; k < p->n; k++) columns += (double)p->f[k].outs;
    return columns;
}

/* Microseconds: a launch and the bytes of a norm of its own. */
static double own_cost(double elements) {
    static const double LAUNCH = 0.85, BYTES = 4e6; /* of a microsecond */
    return LAUNCH + elements * 4 / BYTES;
}

/* That, against what adding up the rows takes of the products.  On an H200 GPT-2's 512 tokens take 579 us so and 513 with norms of their own,
 * ViT-B/16 353 and 340 for one image, BERT-base 2412 and 1536 for 32 x 128 tokens; at 1 x 128 it takes 272 so. */
static bool pays_at(const normed *p, double elements) {
    static const double SUMS = 3.25e8; /* of a microsecond */
    return elements * columns_of(p) / SUMS < own_cost(elements);
}

/* The same where sums are given.  While the first tile of a multiprocessor comes, its rows' sums come too; before each further tile the
 * tensor cores wait for them.  On an H200, us of a product with sums and without: 7.4 and 7.1 of 512 x 768 with 3072 columns, where a norm
 * takes 1.9; 13.7 and 10.4 of 1500 x 768 with 2304, where it takes 2.4; 107 and 87 of 512 x 768 with 50257. */
static bool pays_with_sums(const normed *p, double elements) {
    static const double TILE = 128 * 128 * 132.0, FIRST = 0.3,
                        FURTHER = 3; /* TILE: results of one on each multiprocessor */
    const double rows = elements / (double)p->cols, tiles = ceil(rows * columns_of(p) / TILE);
    return rows >= MANY && FIRST + (tiles - 1) * FURTHER < own_cost(elements);
}

/* In every bucket: the graph is the same in all. */
static bool in_all(const normed *p, bool (*holds)(const normed *, double)) {
    const size_t n = tn_bucket_count(p->g);
    bool all = n || holds(p, tn_typical_numel(p->g, p->x));
    for (size_t k = 0; all && k < n; k++) all = holds(p, tn_bucket_numel(p->g, k, p->x));
    return all;
}

/* v is what elementwise ops, at most so many, make of a product of its dims, or of a reshape of one that keeps its rows. */
static bool is_from_product(const tn_graph *g, tn_val v, int steps) {
    const tn_node n = tn_val_def(g, v);
    if (!n.i || steps == 0) return false;
    if (tn_node_op(g, n) == TN_OP_MATMUL) return is_narrow(tn_val_dtype(g, v));
    if (tn_node_op(g, n) == TN_OP_RESHAPE) {
        const tn_val w = tn_node_input(g, n, 0);
        const size_t rank = tn_val_rank(g, v), own = tn_val_rank(g, w);
        return rank && own && tn_val_dim(g, w, own - 1).i == tn_val_dim(g, v, rank - 1).i &&
               is_from_product(g, w, steps - 1);
    }
    bool from = false;
    for (size_t k = 0; !from && tn_op_is(tn_node_op(g, n), TN_T_ELEMENTWISE) && k < tn_node_input_count(g, n); k++) {
        const tn_val w = tn_node_input(g, n, k);
        from = w.i && tn_same_dims(g, w, v) && is_from_product(g, w, steps - 1);
    }
    return from;
}

/* Whether the product that makes x may add its rows up. */
static bool may_sum(const normed *p) {
    return p->cols % PART == 0 && tn_val_rank(p->g, p->x) < TN_MAX_RANK && in_all(p, pays_with_sums) &&
           is_from_product(p->g, p->x, FAR);
}

/* Whether what the first product knows of the rows is there for the sum. */
static bool precedes_sum(normed *p, const uint32_t *place) {
    for (size_t k = 1; k < p->n; k++)
        if (place[p->f[k].node.i] < place[p->f[p->first].node.i]) p->first = k;
    const tn_node n = p->f[p->first].node;
    return tn_node_region(p->g, n).i == tn_node_region(p->g, p->sum).i && place[n.i] < place[p->sum.i];
}

/* Why it stays; NULL if it goes. */
static const char *stays(normed *p, const uint32_t *place) {
    for (size_t k = 0; k < p->n; k++) {
        const tn_filter *f = &p->f[k];
        int64_t numel;
        if (tn_val_dtype(p->g, f->w) != tn_val_dtype(p->g, p->x)) return "a product is of another dtype";
        if (!tn_static_numel(p->g, f->w, &numel) ||
            tn_dtype_bytes(tn_val_dtype(p->g, f->w), (uint64_t)numel) > MAX_BYTES)
            return "the weights are too large to be multiplied by the gain";
    }
    if (p->sum.i && !precedes_sum(p, place)) return "the sum that has it as its residual runs before the products";
    return may_sum(p) || in_all(p, pays_at)
               ? NULL
               : "the products are so wide that what each does for it takes longer than a norm";
}

/* ---- the rewriting ----------------------------------------------------------------------------------------------- */

/* By column: sums of w over its rows, of which row i counts `of[i]` times. */
typedef struct column_sums {
    const tn_filter *f;
    tn_dtype dtype;
    const void *w;
    const double *of;
    double *sums;
} column_sums;

/* Of the columns that are as far along as these elements. */
static void sum_part(void *arg, unsigned part, size_t from, size_t n) {
    enum { AT_ONCE = 512 };
    const column_sums *s = arg;
    const int64_t ins = s->f->ins, outs = s->f->outs;
    const int64_t first = (int64_t)from / ins, last = (int64_t)(from + n) / ins; /* columns */
    const int64_t rows = s->f->first_is_in ? ins : last - first, cols = s->f->first_is_in ? last - first : ins;
    double v[AT_ONCE];
    (void)part;
    for (int64_t o = first; o < last; o++) s->sums[o] = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0, some; c < cols; c += some) {
            const int64_t at = s->f->first_is_in ? r * outs + first + c : (first + r) * ins + c;
            some = cols - c < AT_ONCE ? cols - c : AT_ONCE;
            tn_load_floats(s->dtype, s->w, (uint64_t)at, (size_t)some, v);
            if (s->f->first_is_in)
                for (int64_t k = 0; k < some; k++) s->sums[first + c + k] += v[k] * s->of[r];
            else
                for (int64_t k = 0; k < some; k++) s->sums[first + r] += v[k] * s->of[c + k];
        }
}

/* n numbers, of c (none: 1) where it is given; NULL: out of memory, which the graph says. */
static double *numbers(const normed *p, const tn_val *c, int64_t n) {
    double *v = tn_alloc(tn_graph_env(p->g), (size_t)n * sizeof *v);
    if (!v) return tn_graph_fail(p->g, TN_E_MEMORY, p->node, "", "out of memory"), NULL;
    for (int64_t i = 0; i < n; i++) v[i] = c ? tn_channel_num(p->g, *c, i) : 1;
    return v;
}

/* Sums of w by column of the product, of which row i counts `of[i]` times; NULL: out of memory, which the graph says. */
static double *sums_of_columns(const normed *p, const tn_filter *f, const tn_val *of) {
    const tn_graph *g = p->g;
    double *sums = numbers(p, NULL, f->outs), *each = numbers(p, of, f->ins);
    column_sums s = {f, tn_val_dtype(g, f->w), tn_const_data(g, f->w), each, sums};
    if (sums && each) tn_ev_parallel((size_t)(f->ins * f->outs), sum_part, &s);
    if (!each) tn_free(tn_graph_env(g), sums, (size_t)f->outs * sizeof *sums);
    tn_free(tn_graph_env(g), each, (size_t)f->ins * sizeof *each);
    return each ? sums : NULL;
}

/* The weight times the gain, less the means of columns where the norm takes means away, rounded: the weight itself where neither is. */
static tn_val moved(const normed *p, const tn_filter *f) {
    const tn_env *env = tn_graph_env(p->g);
    const tn_val *of = p->gain.i ? &p->gain : NULL;
    if (!of && !p->layer) return tn_emit1(p->g, TN_OP_CONST, tn_node_attrs(p->g, tn_val_def(p->g, f->w)), 0, NULL);
    double *gain = numbers(p, of, p->cols), *less = p->layer ? sums_of_columns(p, f, of) : NULL;
    for (int64_t o = 0; less && o < f->outs; o++) less[o] /= (double)f->ins;
    const tn_val w = gain && (less || !p->layer) ? tn_filter_moved(f, NULL, gain, less) : (tn_val){0};
    tn_free(env, gain, (size_t)p->cols * sizeof *gain);
    tn_free(env, less, (size_t)f->outs * sizeof *less);
    return w;
}

/* What the norm's shift comes to, by column of the product, in dtype t; none if that cannot hold it. */
static tn_val shift_of(const normed *p, const tn_filter *f, tn_dtype t) {
    double *sums = sums_of_columns(p, f, &p->shift);
    const tn_val c = sums ? tn_emit_const_f64(p->g, t, 1, &f->outs, sums, NULL) : (tn_val){0};
    tn_free(tn_graph_env(p->g), sums, (size_t)f->outs * sizeof *sums);
    return c;
}

/* The sums of the rows of an operand of such a type, which are x's; none if nobody has them. */
static tn_val sums_of_rows(const normed *p, tn_type type) {
    tn_graph *g = p->g;
    const size_t rank = tn_type_rank(g, type);
    tn_dim dims[TN_MAX_RANK];
    if (!p->sums.i || rank == TN_MAX_RANK) return (tn_val){0};
    dims[0] = tn_dim_const(g, p->cols / PART);
    for (size_t k = 0; k + 1 < rank; k++) dims[k + 1] = tn_type_dims(g, type)[k];
    dims[rank] = tn_dim_const(g, 2);
    return tn_emit_reshape(g, p->sums, rank + 1, dims);
}

/* They stand behind the node that makes x: the fusion gives them to the same kernel. */
static void sum_rows(normed *p) {
    tn_graph *g = p->g;
    const tn_node def = tn_val_def(g, p->x);
    tn_cursor at = tn_cursor_before(g, tn_node_next(g, def));
    at.loc = tn_node_loc(g, p->node);
    const tn_cursor saved = tn_set_cursor(g, at);
    p->sums = tn_emit1(g, TN_OP_ROW_SUMS, &(tn_attrs_row_sums){.of = PART}, 1, &p->x);
    tn_set_cursor(g, saved);
}

/* One product of the rows as they stand, and what is to be added to it (none: nothing); none if a constant would not be finite.  *rows
 * (NULL: unwanted): what the norm does to rows. */
static tn_val product(const normed *p, const tn_filter *f, tn_val *shift, tn_val *rows) {
    tn_graph *g = p->g;
    const tn_val w = moved(p, f);
    if (!w.i) return w;
    *shift = p->shift.i ? shift_of(p, f, tn_val_dtype(g, w)) : (tn_val){0};
    if (p->shift.i && !shift->i) return (tn_val){0};
    tn_attrs_matmul a = *TN_ATTRS_OF(g, f->node, matmul);
    a.norm = p->layer ? "layer" : "rms";
    a.eps = p->eps;
    const tn_type type = tn_val_type(g, f->x);
    const tn_val x = tn_emit_reshape(g, p->x, tn_type_rank(g, type), tn_type_dims(g, type)),
                 sums = sums_of_rows(p, type);
    const tn_val y = tn_emit1(g, TN_OP_MATMUL, &a, sums.i ? 3 : 2, (tn_val[]){x, w, sums});
    const tn_attrs_row_norm of_rows = {.norm = a.norm, .eps = a.eps};
    if (rows) *rows = tn_emit1(g, TN_OP_ROW_NORM, &of_rows, sums.i ? 2 : 1, (tn_val[]){x, sums});
    return y;
}

/* y + shift for the product of n.  Where that is read by pairs of columns, which only a product's own kernel does: for each half. */
static void replace(tn_graph *g, tn_node n, tn_val y, tn_val shift) {
    const tn_val old = tn_node_result(g, n, 0);
    const tn_cursor saved = tn_get_cursor(g);
    for (tn_use u = tn_val_first_use(g, old), next; shift.i && u.i; u = next) {
        const tn_node half = tn_use_node(g, u);
        next = tn_use_next(g, u);
        if (!tn_is_pair_half(g, half)) continue;
        const bool odd = tn_dim_equal_const(g, TN_ATTRS_OF(g, half, slice)->starts.p[tn_val_rank(g, old) - 1], 1);
        tn_set_cursor(g, tn_cursor_before(g, half));
        const tn_val v = tn_binary(g, TN_OP_ADD, tn_emit_pair_half(g, y, odd), tn_emit_pair_half(g, shift, odd));
        if (!v.i) break;
        tn_replace(g, tn_node_result(g, half, 0), v);
        tn_erase(g, half);
    }
    tn_set_cursor(g, tn_cursor_before(g, n));
    if (tn_val_first_use(g, old).i) tn_replace(g, old, shift.i ? tn_binary(g, TN_OP_ADD, y, shift) : y);
    tn_set_cursor(g, saved);
}

/* What v, which comes from it through elementwise ops of v's dims, reshapes; v if there is no reshape. */
static tn_val before_reshape(const tn_graph *g, tn_val v) {
    tn_val from = v;
    for (int step = 0; step < FAR; step++) {
        if (tn_is_op(g, from, TN_OP_RESHAPE)) return tn_behind_reshapes(g, from);
        const tn_node n = tn_val_def(g, from);
        if (!n.i || !tn_op_is(tn_node_op(g, n), TN_T_ELEMENTWISE)) return v;
        tn_val next = {0};
        for (size_t k = 0; k < tn_node_input_count(g, n); k++) {
            const tn_val w = tn_node_input(g, n, k);
            if (w.i && !tn_is_const(g, w) && tn_same_dims(g, w, v)) next = w;
        }
        if (!next.i) return v;
        from = next;
    }
    return v;
}

/* v as the norm leaves it, from x: in the dims of the product that it is added to, whose kernel computes it then. */
static tn_val elements(const normed *p, tn_val v, tn_val rows) {
    tn_graph *g = p->g;
    const tn_dim zero = tn_dim_const(g, 0), one = tn_dim_const(g, 1), two = tn_dim_const(g, 2);
    const tn_val other = before_reshape(g, tn_node_input(g, p->sum, 1 - p->slot));
    const size_t rank = tn_val_rank(g, other);
    int64_t cols;
    const bool fits = rank >= 2 && tn_static_dim(g, other, rank - 1, &cols) && cols == p->cols &&
                      tn_type_numel(g, tn_val_type(g, other)).i == tn_type_numel(g, tn_val_type(g, v)).i;
    const tn_val like = fits ? other : v;
    const size_t last = tn_val_rank(g, like) - 1;
    tn_dim dims[TN_MAX_RANK];
    for (size_t k = 0; k <= last; k++) dims[k] = tn_val_dim(g, like, k);
    tn_val y = tn_emit_cast(g, tn_emit_reshape(g, p->x, last + 1, dims), TN_F32);
    dims[last] = two;
    rows = tn_emit_reshape(g, rows, last + 1, dims);
    y = tn_binary(g, TN_OP_MUL, y, tn_emit_slice(g, rows, last, zero, one));
    if (p->layer) y = tn_binary(g, TN_OP_ADD, y, tn_emit_slice(g, rows, last, one, one));
    if (p->gain.i) y = tn_binary(g, TN_OP_MUL, y, tn_emit_cast(g, p->gain, TN_F32));
    if (p->shift.i) y = tn_binary(g, TN_OP_ADD, y, tn_emit_cast(g, p->shift, TN_F32));
    y = tn_emit1(g, TN_OP_CAST, &(tn_attrs_cast){.to = tn_val_dtype(g, v), .loose = true}, 1, &y);
    return tn_emit_reshape(g, y, tn_val_rank(g, v), tn_type_dims(g, tn_val_type(g, v)));
}

static void give_residual(const normed *p, tn_val rows) {
    tn_cursor at = tn_cursor_before(p->g, p->sum);
    at.loc = tn_node_loc(p->g, p->node);
    const tn_cursor saved = tn_set_cursor(p->g, at);
    const tn_val old = tn_node_input(p->g, p->sum, p->slot), v = elements(p, old, rows);
    tn_set_cursor(p->g, saved);
    if (!v.i) return;
    tn_set_input(p->g, p->sum, p->slot, v);
    tn_reap(p->g, old);
}

static void rewrite(normed *p, tn_pass_ctx *ctx) {
    tn_graph *g = p->g;
    if (may_sum(p)) sum_rows(p);
    tn_val y[READERS], shift[READERS], rows = {0};
    bool made = true;
    for (size_t k = 0; k < p->n; k++) {
        tn_cursor at = tn_cursor_before(g, p->f[k].node);
        at.loc = tn_loc_join(g, tn_node_loc(g, p->node), tn_node_loc(g, p->f[k].node));
        const tn_cursor saved = tn_set_cursor(g, at);
        y[k] = made ? product(p, &p->f[k], &shift[k], p->sum.i && k == p->first ? &rows : NULL) : (tn_val){0};
        tn_set_cursor(g, saved);
        made &= y[k].i != 0;
    }
    if (made && rows.i) give_residual(p, rows);
    for (size_t k = 0; k < p->n; k++) {
        const tn_val old = tn_node_result(g, p->f[k].node, 0);
        if (made) replace(g, p->f[k].node, y[k], shift[k]);
        tn_reap(g, made || !y[k].i ? old : y[k]);
    }
    if (!made) tn_pass_refused(ctx, rule, g, p->node, "the weights times the gain are not finite");
}

tn_status tn_pass_normed(tn_graph *g, tn_pass_ctx *ctx) {
    const uint32_t nodes = tn_graph_node_limit(g);
    if (tn_pass_opts(ctx)->numerics == TN_NUMERICS_EXACT) return TN_OK; /* weights are rounded once more */
    uint32_t *place = tn_place_nodes(g);
    if (!place) return tn_graph_status(g);
    for (tn_node n = {1}; n.i < nodes && tn_graph_status(g) == TN_OK; n.i++) {
        normed p;
        if (!is_norm(g, n, &p)) continue;
        const char *why =
            find_readers(&p, tn_node_result(g, n, 0)) ? stays(&p, place) : "something else reads its result";
        if (why)
            tn_pass_refused(ctx, rule, g, n, why);
        else if (tn_pass_may_rewrite(ctx, rule))
            rewrite(&p, ctx);
    }
    tn_free(tn_graph_env(g), place, nodes * sizeof *place);
    return tn_graph_status(g);
}
