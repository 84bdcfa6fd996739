/* builder.h: build a graph op by op in C (libtenon).
 *
 * Each op of ir/ops.def has a typed function here; the conveniences below them cover what user code writes most.  All
 * functions append at the graph's cursor (the end of the function unless moved) and return the result, or the none
 * handle on failure. Errors are sticky in the graph, and every function accepts none operands once the graph has
 * failed, so a model is written without checks and tn_graph_status is asked once at the end.
 *
 *     tn_graph *g = tn_graph_new(NULL);
 *     tn_dim dims[] = {tn_dim_sym(g, "N"), tn_dim_const(g, 784)};
 *     tn_val x = tn_graph_add_input(g, "x", tn_type_make(g, TN_F32, 2, dims));
 *     tn_build_layer(g, "fc1");                        // names what follows in diagnostics and profiles
 *     tn_val w = tn_build_const(g, "fc1.weight", TN_F32, 2, (int64_t[]){128, 784}, weights);
 *     tn_val b = tn_build_const(g, "fc1.bias", TN_F32, 1, (int64_t[]){128}, bias);
 *     tn_val y = tn_build_relu(g, tn_build_linear(g, x, w, b));                 // f32[N,128]
 *     tn_build_outputs(g, 1, &y, (const char *[]){"y"});
 *     if (tn_graph_status(g) == TN_OK) tn_compile(g, NULL, "model.plan");
 *     tn_graph_free(g);
 *
 * Threads: as for tn_graph.  Attribute structs are those of ir/ir.h, copied by the call. */
#ifndef TENON_BUILDER_H
#define TENON_BUILDER_H

#include "ir/ir.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- one function an op ---------------------------------------------------------------------------------------------
 * Lists of (name, ID) or (name, ID, attribute struct); tests check that they cover ops.def. */

/* tn_val tn_build_NAME(g, x): elementwise, result type as x's. */
/* clang-format off */
#define TN_BUILD_UNARY(B)                                                                                              \
    B(barrier, BARRIER) B(neg, NEG) B(abs, ABS) B(sign, SIGN) B(floor, FLOOR) B(ceil, CEIL) B(round, ROUND)            \
    B(sqrt, SQRT) B(rsqrt, RSQRT) B(recip, RECIP) B(exp, EXP) B(log, LOG) B(sin, SIN) B(cos, COS) B(tan, TAN)          \
    B(asin, ASIN) B(acos, ACOS) B(atan, ATAN) B(sinh, SINH) B(cosh, COSH) B(tanh, TANH) B(asinh, ASINH)                \
    B(acosh, ACOSH) B(atanh, ATANH) B(erf, ERF) B(sigmoid, SIGMOID) B(softplus, SOFTPLUS) B(relu, RELU) B(not, NOT)    \
    B(bit_not, BIT_NOT) B(is_nan, IS_NAN) B(det, DET) B(silu, SILU) B(hard_swish, HARD_SWISH) B(mish, MISH)                        \
    B(softsign, SOFTSIGN)

/* tn_val tn_build_NAME(g, a, b): elementwise with NumPy broadcasting; dtypes must be equal.  (gather's and place's b are
 * indices.) */
#define TN_BUILD_BINARY(B)                                                                                             \
    B(add, ADD) B(sub, SUB) B(mul, MUL) B(div, DIV) B(mod, MOD) B(fmod, FMOD) B(pow, POW) B(min, MIN) B(max, MAX)      \
    B(prelu, PRELU) B(and, AND) B(or, OR) B(xor, XOR) B(shl, SHL) B(shr, SHR) B(eq, EQ) B(ne, NE) B(lt, LT)            \
    B(le, LE) B(gt, GT) B(ge, GE) B(place, PLACE)

/* tn_val tn_build_NAME(g, x, tn_attrs_ATTRS) */
#define TN_BUILD_UNARY_ATTRS(B)                                                                                        \
    B(cast, CAST, cast) B(bitcast, BITCAST, cast) B(nonzero, NONZERO, nonzero) B(size, SIZE, size)                     \
    B(top_k, TOP_K, top_k) B(sort_count, SORT_COUNT, sort)                                                              \
    B(clamp, CLAMP, clamp) B(is_inf, IS_INF, activation) B(reshape, RESHAPE, shape) B(transpose, TRANSPOSE, perm)      \
    B(broadcast, BROADCAST, shape) B(slice, SLICE, slice) B(pad, PAD, pad) B(resize, RESIZE, resize)                   \
    B(reduce_sum, REDUCE_SUM, reduce) B(reduce_mean, REDUCE_MEAN, reduce) B(reduce_max, REDUCE_MAX, reduce)            \
    B(reduce_min, REDUCE_MIN, reduce) B(reduce_prod, REDUCE_PROD, reduce) B(arg_max, ARG_MAX, arg)                     \
    B(arg_min, ARG_MIN, arg) B(cumsum, CUMSUM, cumsum) B(cumprod, CUMPROD, cumsum) B(max_pool, MAX_POOL, pool) B(avg_pool, AVG_POOL, pool)         \
    B(softmax, SOFTMAX, axis) B(log_softmax, LOG_SOFTMAX, axis) B(lrn, LRN, lrn) B(gelu, GELU, activation)             \
    B(elu, ELU, activation) B(selu, SELU, activation) B(celu, CELU, activation)                                        \
    B(leaky_relu, LEAKY_RELU, activation) B(hard_sigmoid, HARD_SIGMOID, activation)                                    \
    B(thresholded_relu, THRESHOLDED_RELU, activation) B(space_to_depth, SPACE_TO_DEPTH, depth)                         \
    B(depth_to_space, DEPTH_TO_SPACE, depth) B(dft, DFT, dft) B(row_sums, ROW_SUMS, row_sums)

/* tn_val tn_build_NAME(g, a, b, tn_attrs_ATTRS); trilu's, rms_norm's and row_norm's b may be none.  append's a is an input, and its
 * result an output, which grows in the input's buffer (tn_graph_alias). */
#define TN_BUILD_BINARY_ATTRS(B)                                                                                       \
    B(gather, GATHER, axis) B(gather_elements, GATHER_ELEMENTS, axis) B(grid_sample, GRID_SAMPLE, grid_sample)         \
    B(gather_nd, GATHER_ND, gather_nd) B(trilu, TRILU, trilu) B(matmul, MATMUL, matmul) B(rms_norm, RMS_NORM, norm)   \
    B(row_norm, ROW_NORM, row_norm)                                                                                    \
    B(append, APPEND, append) B(compact, COMPACT, compact) B(sort_move, SORT_MOVE, sort)

/* tn_val tn_build_NAME(g, a, b, c, tn_attrs_ATTRS); c (and layer_norm's and group_norm's b) may be none. */
#define TN_BUILD_TERNARY_ATTRS(B)                                                                                      \
    B(scatter_elements, SCATTER_ELEMENTS, scatter) B(scatter_nd, SCATTER_ND, scatter)                                  \
    B(scatter_sorted, SCATTER_SORTED, scatter) B(roi_align, ROI_ALIGN, roi_align) B(conv, CONV, conv) B(conv_transpose, CONV_TRANSPOSE, conv_transpose)           \
    B(layer_norm, LAYER_NORM, norm) B(group_norm, GROUP_NORM, norm)
/* clang-format on */

#define TN_B(name, ID) tn_val tn_build_##name(tn_graph *g, tn_val x);
TN_BUILD_UNARY(TN_B)
#undef TN_B
#define TN_B(name, ID) tn_val tn_build_##name(tn_graph *g, tn_val a, tn_val b);
TN_BUILD_BINARY(TN_B)
#undef TN_B
#define TN_B(name, ID, attrs) tn_val tn_build_##name(tn_graph *g, tn_val x, tn_attrs_##attrs a);
TN_BUILD_UNARY_ATTRS(TN_B)
#undef TN_B
#define TN_B(name, ID, attrs) tn_val tn_build_##name(tn_graph *g, tn_val a, tn_val b, tn_attrs_##attrs at);
TN_BUILD_BINARY_ATTRS(TN_B)
#undef TN_B
#define TN_B(name, ID, attrs) tn_val tn_build_##name(tn_graph *g, tn_val a, tn_val b, tn_val c, tn_attrs_##attrs at);
TN_BUILD_TERNARY_ATTRS(TN_B)
#undef TN_B

/* cond ? a : b, elementwise; cond is bool. */
tn_val tn_build_select(tn_graph *g, tn_val cond, tn_val a, tn_val b);
/* Joins n values along axis (negative counts from the end). */
tn_val tn_build_concat(tn_graph *g, size_t n, const tn_val *vals, int64_t axis);
/* The index along axis of every element of a tensor of this shape. */
tn_val tn_build_iota(tn_graph *g, tn_dtype t, size_t rank, const tn_dim *dims, int64_t axis);
/* Random numbers, uniform in [0, 1); row (an i64 scalar, may be none) makes others of each of its values. */
tn_val tn_build_random(tn_graph *g, tn_val row, tn_attrs_random at);
/* Cuts x along axis into n parts of the given sizes; parts has room for n values. */
tn_status tn_build_split(tn_graph *g, tn_val x, int64_t axis, size_t n, const tn_dim *sizes, tn_val *parts);
/* Normalises x with statistics that are given (inference): all of shape [C] where C = x's dim `axis`. */
tn_val tn_build_batch_norm(tn_graph *g, tn_val x, tn_val scale, tn_val bias, tn_val mean, tn_val var, tn_attrs_norm at);

/* Non-maximum suppression; most (i64), iou and score (f32, may be none) are scalars. */
tn_val tn_build_nms(tn_graph *g, tn_val boxes, tn_val scores, tn_val most, tn_val iou, tn_val score, tn_attrs_nms at);

/* x [B,N,M,D] with rows of [B,N,S,D] in place of its own: of batch b count[b] of them, from first[b] on (i64 [B] both); what would lie
 * outside is left out.  An output that is such, of an input, may be in the input's buffer (tn_graph_alias). */
tn_val tn_build_put_rows(tn_graph *g, tn_val x, tn_val rows, tn_val first, tn_val count, tn_attrs_put_rows at);

/* Which of the candidates [B,C,N], in that order of boxes [B,N,4], non-maximum suppression keeps. */
tn_val tn_build_nms_keep(tn_graph *g, tn_val boxes, tn_val order, tn_val candidates, tn_val most, tn_val iou,
                         tn_attrs_nms_keep at);

/* A recurrent layer over the input's share of its gates: x [T,B,D*G*H] (D directions side by side), the recurrent weight r
 * [D,G*H,H], the first state h [D,B,H]; the rest may be none: an LSTM's first cell state c [D,B,H], gru_linear's bias of the
 * recurrent share of the candidate [D,H], an LSTM's peepholes [D,3*H], i64 lengths [B].  Gates stand in ONNX's order.  The
 * result [T+1,D,B,H] (lstm: T+2) is the output of each step, then the last h, then the last c. */
tn_val tn_build_recur(tn_graph *g, tn_val x, tn_val r, tn_val h, tn_val c, tn_val bias, tn_val peepholes,
                      tn_val lengths, tn_attrs_recur at);

/* softmax(scale * q k^T + bias) v: q [...,S,D], k [...,T,D], v [...,T,E]; bias (a float) and mask (bool), which broadcast to [...,S,T],
 * may be none, and so may limit (i64 or i32), which broadcasts to [...,S,1]: of how many keys, from the first on, a query sees no more;
 * sink (a float), which does, too: the score of one more key, which has no value and takes its share of a query's weights; and from (as
 * limit): the first key that a query sees, of a sliding window.
 * Attributes: scale (0: 1), cap (cap * tanh(scores / cap)), fill (the score where the mask is false), causal (a query sees
 * no later key; the last query sees all). */
tn_val tn_build_attention(tn_graph *g, tn_val q, tn_val k, tn_val v, tn_val bias, tn_val mask, tn_val limit,
                          tn_val sink, tn_val from, tn_attrs_attention at);

/* ---- conveniences ------------------------------------------------------------------------------------------------ */

/* From here on, nodes carry this layer name in diagnostics, profiles and generated sources. */
void tn_build_layer(tn_graph *g, const char *name);
/* A constant; data (row-major, types of 2 and 4 bits packed) is copied.  name may be NULL. */
tn_val tn_build_const(tn_graph *g, const char *name, tn_dtype t, size_t rank, const int64_t *dims, const void *data);
/* A constant of dtype t whose elements are all v, rounded to t. */
tn_val tn_build_full(tn_graph *g, tn_dtype t, size_t rank, const tn_dim *dims, double v);
/* op(x, v) and op(v, x) for a binary op and a scalar of x's dtype. */
tn_val tn_build_scalar(tn_graph *g, tn_op op, tn_val x, double v);
tn_val tn_build_scalar_left(tn_graph *g, tn_op op, double v, tn_val x);
/* Value-preserving shortcuts: x itself when nothing would change. */
tn_val tn_build_cast_to(tn_graph *g, tn_val x, tn_dtype t);
tn_val tn_build_reshape_to(tn_graph *g, tn_val x, size_t rank, const tn_dim *dims);
tn_val tn_build_broadcast_to(tn_graph *g, tn_val x, size_t rank, const tn_dim *dims);
/* Result axis k is x's axis perm[k]. */
tn_val tn_build_permute(tn_graph *g, tn_val x, size_t rank, const int64_t *perm);
tn_val tn_build_swap_axes(tn_graph *g, tn_val x, int64_t a, int64_t b);
/* Inserts (removes) an axis of size 1 at `axis` of the result (of x). */
tn_val tn_build_unsqueeze(tn_graph *g, tn_val x, int64_t axis);
tn_val tn_build_squeeze(tn_graph *g, tn_val x, int64_t axis);
/* Elements start .. start + size - 1 along axis. */
tn_val tn_build_slice_axis(tn_graph *g, tn_val x, int64_t axis, tn_dim start, tn_dim size);
/* A reduction (TN_OP_REDUCE_*) over axes, any order, negative allowed; n 0 reduces nothing. */
tn_val tn_build_reduce(tn_graph *g, tn_op op, tn_val x, size_t n, const int64_t *axes, bool keepdims);
/* x [.., K] times w [M, K] transposed, plus bias [M] (none: no bias): [.., M]. */
tn_val tn_build_linear(tn_graph *g, tn_val x, tn_val w, tn_val bias);
/* 2-D convolution of x [N, C, H, W] with w [M, C/groups, kh, kw]; one stride and one padding for all sides. */
tn_val tn_build_conv2d(tn_graph *g, tn_val x, tn_val w, tn_val bias, int64_t stride, int64_t pad, int64_t groups);
/* Ends the function with these results. */
tn_status tn_build_outputs(tn_graph *g, size_t n, const tn_val *vals, const char *const *names);

#ifdef __cplusplus
}
#endif
#endif
