/* pack.c: convolutions with few input channels, in NHWC.
 *
 * Tensor-core kernels copy 16-byte chunks of channels; an image has three channels.  A convolution of such a tensor is
 * the same as one whose pixels are groups of `stride` neighbours along the width, seen as channels: the width's stride
 * becomes 1, the filter's width S/stride.  What does not divide is filled with zeros: channels (so that a group has
 * whole chunks), the width on both sides (which takes the place of the padding) and the filter's last columns.
 *
 *     x [N, H, W, C] -> pad -> [N, H, W', C'] -> reshape -> [N, H, W'/G, G C']        w [O, R, S, C] alike
 *
 * Zero filter columns meet pixels of the image, so an infinite pixel may make NaN where it did not: of floats, relaxed
 * numerics. */
#include "passes/layout/pack.h"
#include "passes/util.h"
#include "tenon/internal/arith.h"

enum { RANK = 4, WIDTH = 2, CHANNELS = 3 };
static const double MOST_WASTE = 4; /* products after / products before */

typedef struct packing {
    int64_t group, channels; /* pixels of a group; channels of a pixel, padded */
    int64_t left;            /* columns added to the image before ... */
    tn_dim right;            /* ... and after it */
    tn_dim groups;           /* of the image then */
    int64_t columns;         /* of the filter, a multiple of group */
} packing;

/* 8-bit integers as int32, perhaps with a constant added: the pass integer makes a convolution of 8 bits of theirs. */
static bool is_shifted_byte(const tn_graph *g, tn_val v) {
    while (tn_is_op(g, v, TN_OP_TRANSPOSE)) v = tn_node_input(g, tn_val_def(g, v), 0);
    if (!tn_is_op(g, v, TN_OP_ADD) && !tn_is_op(g, v, TN_OP_SUB)) return tn_is_widened_byte(g, v);
    const tn_node n = tn_val_def(g, v);
    return tn_is_widened_byte(g, tn_node_input(g, n, 0)) && tn_is_const(g, tn_node_input(g, n, 1));
}

/* Channels in a 16-byte chunk of what the tensor cores will read (the casts are placed later); 0: they take no part. */
static int64_t chunk_of(const tn_graph *g, const tn_pass_options *o, tn_val x) {
    const tn_dtype t = tn_val_dtype(g, x);
    if (t == TN_F16 || t == TN_BF16) return 8;
    if (t == TN_I32) return is_shifted_byte(g, x) ? 16 : 0;
    return t != TN_F32 ? 0 : o->compute != TN_F32 ? 8 : o->tf32 ? 4 : 0;
}

/* What is added to the right of an image, of which the last window need not reach the end; false if it may have to be
 * cut there. */
static bool plan_right(tn_graph *g, tn_dim width, int64_t before_after, int64_t columns, packing *p) {
    const tn_dim room = tn_dim_add(g, width, tn_dim_const(g, before_after - columns)),
                 last = tn_dim_floordiv(g, room, tn_dim_const(g, p->group)); /* of the results */
    const tn_dim end = tn_dim_add(g, tn_dim_mul(g, last, tn_dim_const(g, p->group)), tn_dim_const(g, p->columns));
    const int64_t least = before_after - p->left - columns + p->columns - (p->group - 1);
    int64_t right = least;
    p->right = tn_dim_sub(g, end, tn_dim_add(g, width, tn_dim_const(g, p->left)));
    p->groups = tn_dim_add(g, last, tn_dim_const(g, p->columns / p->group));
    tn_dim_is_const(g, p->right, &right);
    return right >= 0;
}

static bool plan(tn_graph *g, const tn_pass_options *o, const tn_attrs_conv *a, tn_val x, tn_val w, packing *p) {
    int64_t chunk = chunk_of(g, o, x), width = 0, channels, depth, columns, rows;
    if (!chunk || a->groups > 1 || tn_val_rank(g, x) != RANK || tn_val_rank(g, w) != RANK) return false;
    const bool is_static = tn_static_dim(g, x, WIDTH, &width);
    if (!tn_static_dim(g, x, CHANNELS, &channels) || !tn_static_dim(g, w, WIDTH, &columns) ||
        !tn_static_dim(g, w, 1, &rows) || !tn_static_dim(g, w, CHANNELS, &depth) || channels % chunk == 0 ||
        channels > chunk || tn_ints_at(a->dilations, 1, 1) != 1)
        return false;
    p->group = tn_ints_at(a->strides, 1, 1);
    if (p->group < 1 || p->group > 64 || columns < 1 || rows < 1) return false;
    p->channels = channels;
    while (p->group * p->channels % chunk) p->channels++;
    p->columns = tn_round_up(columns, p->group);
    p->left = tn_ints_at(a->pads, 1, 0);
    const int64_t added = p->left + tn_ints_at(a->pads, 3, 0);
    if (p->left < 0 || added < 0 || added > (1 << 24) || width > (1 << 24)) return false;
    if (is_static && width + added < columns) return false;
    const double waste = (double)p->columns * (double)p->channels / ((double)columns * (double)channels);
    return plan_right(g, tn_val_dim(g, x, WIDTH), added, columns, p) && waste <= MOST_WASTE &&
           (o->numerics == TN_NUMERICS_RELAXED || p->columns == columns || !tn_is_float(g, x));
}

/* Zeros before and after along the width, after along the channels; then `group` columns in one. */
static tn_val pack(tn_graph *g, tn_val v, int64_t before, tn_dim after, tn_dim groups, int64_t channels,
                   int64_t group) {
    tn_dim zero = tn_dim_const(g, 0), b[RANK] = {zero, zero, zero, zero}, e[RANK] = {zero, zero, zero, zero};
    tn_dim dims[RANK];
    int64_t have = 0;
    if (!tn_static_dim(g, v, CHANNELS, &have)) return v;
    b[WIDTH] = tn_dim_const(g, before);
    e[WIDTH] = after;
    e[CHANNELS] = tn_dim_const(g, channels - have);
    if (before || !tn_dim_equal_const(g, after, 0) || channels != have) {
        const tn_attrs_pad a = {.before = {b, RANK}, .after = {e, RANK}, .mode = tn_intern(g, "constant")};
        v = tn_emit1(g, TN_OP_PAD, &a, 1, &v);
    }
    for (size_t k = 0; k < RANK; k++) dims[k] = tn_graph_status(g) == TN_OK ? tn_val_dim(g, v, k) : zero;
    dims[WIDTH] = groups;
    dims[CHANNELS] = tn_dim_const(g, channels * group);
    return tn_graph_status(g) == TN_OK ? tn_emit_reshape(g, v, RANK, dims) : v;
}

void tn_pack_width(tn_graph *g, tn_pass_ctx *ctx, tn_attrs_conv *a, tn_val in[2], tn_pack_ints *hold) {
    packing p;
    if (!plan(g, tn_pass_opts(ctx), a, in[0], in[1], &p) || !tn_pass_may_rewrite(ctx, "pack_width")) return;
    int64_t columns = 0;
    tn_static_dim(g, in[1], WIDTH, &columns);
    hold->strides[0] = tn_ints_at(a->strides, 0, 1);
    hold->strides[1] = 1;
    hold->pads[0] = tn_ints_at(a->pads, 0, 0);
    hold->pads[2] = tn_ints_at(a->pads, 2, 0);
    hold->pads[1] = hold->pads[3] = 0;
    in[0] = pack(g, in[0], p.left, p.right, p.groups, p.channels, p.group);
    in[1] = pack(g, in[1], 0, tn_dim_const(g, p.columns - columns), tn_dim_const(g, p.columns / p.group), p.channels,
                 p.group);
    a->strides = (tn_ints){hold->strides, 2};
    a->pads = (tn_ints){hold->pads, 4};
}
