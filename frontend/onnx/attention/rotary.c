/* rotary.c: rotary embedding, of ONNX and of com.microsoft. */
#include "frontend/onnx/attention/attention.h"

static tn_val cut(tn_oi *x, tn_val v, int64_t from, int64_t size, int64_t step) {
    tn_graph *g = x->g;
    tn_dim starts[4], sizes[4];
    int64_t steps[4];
    for (size_t k = 0; k < 4; k++) {
        starts[k] = tn_dim_const(g, k == 3 ? from : 0);
        sizes[k] = k == 3 ? tn_dim_const(g, size) : tn_val_dim(g, v, k);
        steps[k] = k == 3 ? step : 1;
    }
    return tn_build_slice(g, v, (tn_attrs_slice){.starts = {starts, 4}, .sizes = {sizes, 4}, .steps = {steps, 4}});
}

tn_val tn_oi_angles(tn_oi *x, tn_val table, tn_val positions, tn_dim batch, tn_dim steps, int64_t angles,
                    size_t head_axis) {
    tn_graph *g = x->g;
    const tn_dim sizes[] = {batch, steps, tn_dim_const(g, angles)};
    if (tn_oi_failed(x)) return table;
    if (tn_val_rank(g, table) != (positions.i ? 2 : 3)) {
        tn_oi_fail(x, TN_E_FORMAT, "", "a table of rank %zu; it must be %d", tn_val_rank(g, table),
                   positions.i ? 2 : 3);
        return table;
    }
    if (positions.i) table = tn_build_gather(g, table, positions, (tn_attrs_axis){.axis = 0});
    for (size_t i = 0; i < 3; i++)
        tn_oi_fits(x, i < 2 ? TN_REL_BCAST_TO : TN_REL_EQUAL, table, i, "a table of angles", sizes[i], "what it turns");
    return tn_build_unsqueeze(g, table, (int64_t)head_axis);
}

tn_val tn_oi_rotate(tn_oi *x, tn_val v, tn_val cosine, tn_val sine, int64_t rotated, bool pairs) {
    tn_graph *g = x->g;
    int64_t half = rotated / 2, size = 0;
    if (tn_oi_failed(x)) return v;
    tn_dim_is_const(g, tn_val_dim(g, v, 3), &size);
    if (size < 2 || rotated < 2 || rotated > size || rotated % 2) {
        tn_oi_fail(x, TN_E_FORMAT, "", "%lld elements turn in heads of %lld", (long long)rotated, (long long)size);
        return v;
    }
    tn_val a = cut(x, v, 0, half, pairs ? 2 : 1), b = cut(x, v, pairs ? 1 : half, half, pairs ? 2 : 1), r;
    tn_val re = tn_build_sub(g, tn_build_mul(g, cosine, a), tn_build_mul(g, sine, b));
    tn_val im = tn_build_add(g, tn_build_mul(g, sine, a), tn_build_mul(g, cosine, b));
    if (pairs) {
        tn_dim dims[] = {tn_val_dim(g, v, 0), tn_val_dim(g, v, 1), tn_val_dim(g, v, 2), tn_dim_const(g, rotated)};
        tn_val both[] = {tn_build_unsqueeze(g, re, 4), tn_build_unsqueeze(g, im, 4)};
        r = tn_build_reshape_to(g, tn_build_concat(g, 2, both, 4), 4, dims);
    } else {
        r = tn_build_concat(g, 2, (const tn_val[]){re, im}, 3);
    }
    if (rotated < size) r = tn_build_concat(g, 2, (const tn_val[]){r, cut(x, v, rotated, size - rotated, 1)}, 3);
    return r;
}

/* What is turned: [B, S, H, D] where heads are merged, so that nothing is transposed; else [B, H, S, D]. */
typedef struct heads {
    tn_val v;
    bool merged;
    tn_dim batch, steps;
    size_t axis;
} heads;

static heads with_heads(tn_oi *x, tn_val v, int64_t n) {
    tn_graph *g = x->g;
    heads h = {.merged = v.i && tn_val_rank(g, v) == 3, .axis = 1};
    if (h.merged && n >= 1) {
        const tn_dim d = tn_dim_const(g, n),
                     dims[] = {tn_val_dim(g, v, 0), tn_val_dim(g, v, 1), d, tn_dim_floordiv(g, tn_val_dim(g, v, 2), d)};
        h.v = tn_build_reshape_to(g, v, 4, dims);
        h.axis = 2;
    } else {
        h.v = tn_oi_split_heads(x, v, n);
    }
    if (tn_oi_failed(x)) return h;
    h.batch = tn_val_dim(g, h.v, 0);
    h.steps = tn_val_dim(g, h.v, 3 - h.axis);
    return h;
}

static void put_out(tn_oi *x, const heads *h, tn_val turned) {
    tn_graph *g = x->g;
    if (tn_oi_failed(x)) return;
    const tn_dim dims[] = {h->batch, h->steps, tn_dim_mul(g, tn_val_dim(g, turned, 2), tn_val_dim(g, turned, 3))};
    tn_oi_out(x, 0, h->merged ? tn_build_reshape_to(g, turned, 3, dims) : turned);
}

/* The head size of v, of rank 4, which must be known; 0 (an error) otherwise. */
static int64_t head_size(tn_oi *x, tn_val v) {
    int64_t size = 0;
    if (tn_oi_failed(x) || (tn_dim_is_const(x->g, tn_val_dim(x->g, v, 3), &size) && size >= 2)) return size;
    tn_oi_fail(x, TN_E_UNSUPPORTED, "", "the head size is not known");
    return 0;
}

void tn_oi_op_rotary(tn_oi *x) {
    tn_val v = tn_oi_need(x, 0), cosine = tn_oi_need(x, 1), sine = tn_oi_need(x, 2), positions = tn_oi_in(x, 3);
    const heads h = with_heads(x, v, tn_oi_int(x, "num_heads", 0));
    int64_t size = head_size(x, h.v), rotated = tn_oi_int(x, "rotary_embedding_dim", 0);
    if (tn_oi_failed(x)) return;
    if (rotated <= 0) rotated = size;
    cosine = tn_oi_angles(x, cosine, positions, h.batch, h.steps, rotated / 2, h.axis);
    sine = tn_oi_angles(x, sine, positions, h.batch, h.steps, rotated / 2, h.axis);
    put_out(x, &h, tn_oi_rotate(x, h.v, cosine, sine, rotated, tn_oi_int(x, "interleaved", 0)));
}

/* com.microsoft.  Positions are [B, S], or one number: that of the first element.  Without the number of heads, a head is
 * as large as what is turned. */
void tn_oi_op_contrib_rotary(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0), positions = tn_oi_need(x, 1), cosine = tn_oi_need(x, 2), sine = tn_oi_need(x, 3);
    int64_t n = tn_oi_int(x, "num_heads", 0), rotated = tn_oi_int(x, "rotary_embedding_dim", 0), half = 0, width = 0;
    if (tn_oi_failed(x)) return;
    bool merged = tn_val_rank(g, v) == 3;
    if ((!merged && tn_val_rank(g, v) != 4) || tn_val_rank(g, cosine) != 2 || tn_val_rank(g, sine) != 2) {
        tn_oi_fail(x, TN_E_FORMAT, "", "the input has rank %zu (it must be 3 or 4), the tables %zu and %zu (2)",
                   tn_val_rank(g, v), tn_val_rank(g, cosine), tn_val_rank(g, sine));
        return;
    }
    if (!tn_dim_is_const(g, tn_val_dim(g, cosine, 1), &half) || half < 1 || (rotated > 0 && rotated != 2 * half)) {
        tn_oi_fail(x, TN_E_FORMAT, "", "rotary_embedding_dim is %lld, and the tables have %lld angles",
                   (long long)rotated, (long long)half);
        return;
    }
    if (merged && n <= 0) {
        if (rotated > 0 || !tn_dim_is_const(g, tn_val_dim(g, v, 2), &width) || width % (2 * half)) {
            tn_oi_fail(x, TN_E_FORMAT, "give num_heads", "the size of a head is not known");
            return;
        }
        n = width / (2 * half);
    }
    const heads h = with_heads(x, v, n);
    if (!head_size(x, h.v)) return;
    const tn_dim one = tn_dim_const(g, 1);
    positions = tn_build_cast_to(g, positions, TN_I64);
    if (tn_val_rank(g, positions) < 2) {
        tn_val first = tn_build_reshape_to(g, positions, 2, (const tn_dim[]){one, one});
        positions = tn_build_add(g, tn_build_iota(g, TN_I64, 2, (const tn_dim[]){one, h.steps}, 1), first);
    }
    cosine = tn_oi_angles(x, cosine, positions, h.batch, h.steps, half, h.axis);
    sine = tn_oi_angles(x, sine, positions, h.batch, h.steps, half, h.axis);
    put_out(x, &h, tn_oi_rotate(x, h.v, cosine, sine, 2 * half, tn_oi_int(x, "interleaved", 0)));
}
