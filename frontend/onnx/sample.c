/* sample.c: GridSample, RoiAlign and NonMaxSuppression. */
#include "frontend/onnx/import.h"

#include <string.h>

/* Opset 20 renamed the modes: bilinear became linear, bicubic cubic. */
void tn_oi_op_grid_sample(tn_oi *x) {
    const char *mode = tn_oi_str(x, "mode", x->opset < 20 ? "bilinear" : "linear");
    if (!strncmp(mode, "bi", 2)) mode += 2;
    tn_val v = tn_oi_need(x, 0), grid = tn_oi_need(x, 1);
    tn_attrs_grid_sample a = {.mode = mode,
                              .padding = tn_oi_str(x, "padding_mode", "zeros"),
                              .align_corners = tn_oi_int(x, "align_corners", 0)};
    tn_oi_out(x, 0, tn_build_grid_sample(x->g, v, grid, a));
}

void tn_oi_op_roi_align(tn_oi *x) {
    const char *coords =
        x->opset < 16 ? "output_half_pixel" : tn_oi_str(x, "coordinate_transformation_mode", "half_pixel");
    if (strcmp(coords, "half_pixel") && strcmp(coords, "output_half_pixel")) {
        tn_oi_fail(x, TN_E_FORMAT, "", "coordinate_transformation_mode '%s'", coords);
        return;
    }
    tn_val v = tn_oi_need(x, 0), rois = tn_oi_need(x, 1), batch = tn_oi_need(x, 2);
    tn_attrs_roi_align a = {.height = tn_oi_int(x, "output_height", 1),
                            .width = tn_oi_int(x, "output_width", 1),
                            .sampling = tn_oi_int(x, "sampling_ratio", 0),
                            .scale = tn_oi_num(x, "spatial_scale", 1),
                            .mode = tn_oi_str(x, "mode", "avg"),
                            .half_pixel = !strcmp(coords, "half_pixel")};
    tn_oi_out(x, 0, tn_build_roi_align(x->g, v, rois, batch, a));
}

/* Input k as a scalar, or `otherwise`. */
static tn_val scalar(tn_oi *x, size_t k, tn_val otherwise) {
    return tn_oi_has(x, k) ? tn_build_reshape_to(x->g, tn_oi_in(x, k), 0, NULL) : otherwise;
}

/* Without a limit for a class nothing is kept. */
void tn_oi_op_nms(tn_oi *x) {
    tn_graph *g = x->g;
    const int64_t zero = 0;
    tn_val none = tn_build_reshape_to(g, tn_const_ints(g, TN_I64, 1, &zero), 0, NULL);
    tn_val boxes = tn_oi_need(x, 0), scores = tn_oi_need(x, 1), most = scalar(x, 2, none),
           iou = scalar(x, 3, tn_const_num(g, TN_F32, 0)), score = scalar(x, 4, (tn_val){0});
    tn_attrs_nms a = {.center = tn_oi_int(x, "center_point_box", 0), .count = tn_dim_fresh(g, "count")};
    tn_oi_out(x, 0, tn_build_nms(g, boxes, scores, most, iou, score, a));
}
