/* early.c: operators of ai.onnx that exporters wrote before opset 10. */
#include "frontend/onnx/import.h"

/* scale x + bias, one bias a channel */
void tn_oi_op_image_scaler(tn_oi *x) {
    tn_graph *g = x->g;
    const float *bias;
    const size_t n = tn_oi_nums(x, "bias", &bias);
    tn_val v = tn_oi_need(x, 0);
    if (tn_oi_failed(x)) return;
    if (tn_val_rank(g, v) != 4) {
        tn_oi_fail(x, TN_E_FORMAT, "", "an input of rank %zu; it must be 4", tn_val_rank(g, v));
        return;
    }
    const double scale = tn_oi_num(x, "scale", 1);
    if (scale != 1) v = tn_build_scalar(g, TN_OP_MUL, v, scale);
    if (n) {
        const int64_t dims[] = {1, (int64_t)n, 1, 1};
        tn_oi_fits(x, TN_REL_EQUAL, v, 1, "the input", tn_dim_const(g, (int64_t)n), "the biases");
        v = tn_build_add(g, v, tn_build_cast_to(g, tn_build_const(g, NULL, TN_F32, 4, dims, bias), tn_val_dtype(g, v)));
    }
    tn_oi_out(x, 0, v);
}

/* border: left, top, right, bottom; scale: the height and width that are left, from the left and top border on. */
void tn_oi_op_crop(tn_oi *x) {
    tn_graph *g = x->g;
    const int64_t *border, *scale;
    const size_t n = tn_oi_ints(x, "border", &border), m = tn_oi_ints(x, "scale", &scale);
    tn_val v = tn_oi_need(x, 0);
    if (tn_oi_failed(x)) return;
    if (tn_val_rank(g, v) != 4 || n != 4 || (m && m != 2)) {
        tn_oi_fail(x, TN_E_FORMAT, "", "an input of rank %zu (it must be 4), %zu borders (4), %zu sizes (0 or 2)",
                   tn_val_rank(g, v), n, m);
        return;
    }
    for (size_t k = 0; k < 2; k++) { /* height, width */
        const int64_t before = border[1 - k], after = border[3 - k];
        if (before < 0 || after < 0 || before > INT32_MAX || after > INT32_MAX ||
            (m && (scale[k] < 1 || scale[k] > INT32_MAX))) {
            tn_oi_fail(x, TN_E_FORMAT, "", "borders of %lld and %lld%s", (long long)before, (long long)after,
                       m ? ", or a size that is not positive" : "");
            return;
        }
        const int64_t kept = before + (m ? scale[k] : after);
        tn_oi_fits(x, TN_REL_AT_LEAST, v, 2 + k, "the input", tn_dim_const(g, kept), "what is cut");
        const tn_dim size =
            m ? tn_dim_const(g, scale[k]) : tn_dim_sub(g, tn_val_dim(g, v, 2 + k), tn_dim_const(g, kept));
        v = tn_build_slice_axis(g, v, (int64_t)(2 + k), tn_dim_const(g, before), size);
    }
    tn_oi_out(x, 0, v);
}
