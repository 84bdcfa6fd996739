/* pack.h: convolutions with few input channels, for the layout pass. */
#ifndef TENON_PASSES_PACK_H
#define TENON_PASSES_PACK_H

#include "passes/pass.h"

/* Memory of the attributes that tn_pack_width changes: they point into it. */
typedef struct tn_pack_ints {
    int64_t strides[2], pads[4];
} tn_pack_ints;

/* in: image and filter of a 2-D convolution in NHWC with attributes *a.  Where its channels do not fill the chunks that
 * tensor-core kernels copy, emits at the cursor an image and a filter whose convolution under the changed *a gives the
 * same values, and puts them in `in`. */
void tn_pack_width(tn_graph *g, tn_pass_ctx *ctx, tn_attrs_conv *a, tn_val in[2], tn_pack_ints *hold);

#endif
