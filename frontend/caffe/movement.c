/* movement.c: layers that move elements, and those that resize. */
#include "frontend/caffe/caffe.h"

/* ---- joining and cutting ----------------------------------------------------------------------------------------- */

void tn_ci_layer_concat(tn_ci *x) {
    const TnCaffe__ConcatParameter *p = x->layer->concat_param;
    const size_t n = x->layer->n_bottom;
    tn_val *vals = tn_ci_alloc(x, n * sizeof *vals);
    if (!vals) return;
    for (size_t k = 0; k < n; k++) vals[k] = tn_ci_in(x, k);
    if (tn_ci_failed(x)) return;
    const size_t axis = tn_ci_axis(x,
                                   !p                  ? 1
                                   : p->has_concat_dim ? (int64_t)p->concat_dim
                                                       : p->axis,
                                   tn_val_rank(x->g, vals[0]));
    if (!tn_ci_failed(x)) tn_ci_out(x, 0, tn_build_concat(x->g, n, vals, (int64_t)axis));
}

/* At given points, or into equal parts. */
void tn_ci_layer_slice(tn_ci *x) {
    const TnCaffe__SliceParameter *p = x->layer->slice_param;
    const size_t n = x->layer->n_top, points = p ? p->n_slice_point : 0;
    const tn_val v = tn_ci_in(x, 0);
    if (tn_ci_failed(x)) return;
    const size_t axis = tn_ci_axis(x,
                                   !p                 ? 1
                                   : p->has_slice_dim ? (int64_t)p->slice_dim
                                                      : p->axis,
                                   tn_val_rank(x->g, v));
    const int64_t all = tn_ci_size(x, v, axis, "the bottom");
    if (tn_ci_failed(x)) return;
    if ((points && points != n - 1) || (!points && all % (int64_t)n)) {
        tn_ci_fail(x, TN_E_FORMAT, "give a slice_point between each two tops, or as many tops as divide the axis",
                   "%zu slice_point and %zu tops, of an axis of %lld", points, n, (long long)all);
        return;
    }
    int64_t from = 0;
    for (size_t k = 0; k < n && !tn_ci_failed(x); k++) {
        const int64_t to = !points      ? (int64_t)(k + 1) * (all / (int64_t)n)
                           : k < points ? (int64_t)p->slice_point[k]
                                        : all;
        if (to <= from || to > all)
            tn_ci_fail(x, TN_E_FORMAT, "", "slice_point must grow, and stay below %lld: %lld after %lld",
                       (long long)all, (long long)to, (long long)from);
        else
            tn_ci_out(
                x, k,
                tn_build_slice_axis(x->g, v, (int64_t)axis, tn_dim_const(x->g, from), tn_dim_const(x->g, to - from)));
        from = to;
    }
}

/* The first bottom from an offset on, as large as the second on all axes from `axis`. */
void tn_ci_layer_crop(tn_ci *x) {
    const TnCaffe__CropParameter *p = TN_CI_PARAM(x, crop_param, crop_parameter);
    const tn_val v = tn_ci_in(x, 0), like = tn_ci_in(x, 1);
    tn_dim starts[TN_MAX_RANK], sizes[TN_MAX_RANK];
    int64_t steps[TN_MAX_RANK];
    if (tn_ci_failed(x)) return;
    const size_t rank = tn_val_rank(x->g, v), axis = tn_ci_axis(x, p->axis, rank);
    if (tn_val_rank(x->g, like) != rank)
        tn_ci_fail(x, TN_E_TYPE, "", "bottoms of ranks %zu and %zu", rank, tn_val_rank(x->g, like));
    else if (p->n_offset > 1 && p->n_offset != rank - axis)
        tn_ci_fail(x, TN_E_FORMAT, "give one offset, or one for each axis", "%zu offsets for %zu axes", p->n_offset,
                   rank - axis);
    if (tn_ci_failed(x)) return;
    for (size_t k = 0; k < rank; k++) {
        const bool cut = k >= axis;
        starts[k] = tn_dim_const(x->g, cut && p->n_offset ? p->offset[p->n_offset == 1 ? 0 : k - axis] : 0);
        sizes[k] = tn_val_dim(x->g, cut ? like : v, k);
        steps[k] = 1;
    }
    const uint32_t n = (uint32_t)rank;
    tn_ci_out(
        x, 0,
        tn_build_slice(x->g, v, (tn_attrs_slice){.starts = {starts, n}, .sizes = {sizes, n}, .steps = {steps, n}}));
}

/* Each element of an axis `times` times: side by side, or (whole) the axis again and again. */
static tn_val repeat(tn_ci *x, tn_val v, size_t axis, int64_t times, bool whole) {
    tn_dim dims[TN_MAX_RANK + 1], out[TN_MAX_RANK];
    if (tn_ci_failed(x) || times == 1) return v;
    const size_t rank = tn_val_rank(x->g, v), at = whole ? axis : axis + 1;
    if (rank >= TN_MAX_RANK) {
        tn_ci_fail(x, TN_E_UNSUPPORTED, "", "a bottom of rank %zu", rank);
        return v;
    }
    for (size_t k = 0; k < rank; k++) out[k] = dims[k + (k >= at)] = tn_val_dim(x->g, v, k);
    dims[at] = tn_dim_const(x->g, times);
    out[axis] = tn_dim_mul(x->g, out[axis], dims[at]);
    const tn_val more = tn_build_broadcast_to(x->g, tn_build_unsqueeze(x->g, v, (int64_t)at), rank + 1, dims);
    return tn_build_reshape_to(x->g, more, rank, out);
}

void tn_ci_layer_tile(tn_ci *x) {
    const TnCaffe__TileParameter *p = x->layer->tile_param;
    const tn_val v = tn_ci_in(x, 0);
    if (!p || p->tiles < 1) tn_ci_fail(x, TN_E_FORMAT, "", "tile_param with tiles, at least 1, is missing");
    if (tn_ci_failed(x)) return;
    const size_t axis = tn_ci_axis(x, p->axis, tn_val_rank(x->g, v));
    tn_ci_out(x, 0, repeat(x, v, axis, p->tiles, true));
}

/* ---- shapes ------------------------------------------------------------------------------------------------------ */

void tn_ci_layer_flatten(tn_ci *x) {
    const TnCaffe__FlattenParameter *p = TN_CI_PARAM(x, flatten_param, flatten_parameter);
    const tn_val v = tn_ci_in(x, 0);
    tn_dim dims[TN_MAX_RANK];
    size_t n = 0;
    if (tn_ci_failed(x)) return;
    const size_t rank = tn_val_rank(x->g, v), from = tn_ci_axis(x, p->axis, rank),
                 to = tn_ci_axis(x, p->end_axis, rank);
    if (!tn_ci_failed(x) && to < from) tn_ci_fail(x, TN_E_FORMAT, "", "axes %zu to %zu", from, to);
    if (tn_ci_failed(x)) return;
    for (size_t k = 0; k < from; k++) dims[n++] = tn_val_dim(x->g, v, k);
    dims[n++] = tn_val_extent(x->g, v, from, to + 1);
    for (size_t k = to + 1; k < rank; k++) dims[n++] = tn_val_dim(x->g, v, k);
    tn_ci_out(x, 0, tn_build_reshape_to(x->g, v, n, dims));
}

/* The sizes that a Reshape gives, from axis n of `dims` on: 0 is the size that stands there, -1 what `all` leaves over. */
static void given_sizes(tn_ci *x, tn_val v, const TnCaffe__BlobShape *s, tn_dim all, size_t n, tn_dim *dims) {
    tn_dim known = tn_dim_const(x->g, 1), *open = NULL;
    for (size_t k = 0; k < s->n_dim && !tn_ci_failed(x); k++, n++) {
        const int64_t d = s->dim[k];
        if (d == -1 && !open) {
            open = &dims[n];
        } else if (d < 0 || d > INT32_MAX || (d == 0 && n >= tn_val_rank(x->g, v))) {
            tn_ci_fail(x, TN_E_FORMAT, "0 is the size that stands there, -1 (once) what is left over",
                       "dim %zu of the shape is %lld", k, (long long)d);
        } else {
            dims[n] = d ? tn_dim_const(x->g, d) : tn_val_dim(x->g, v, n);
            known = tn_dim_mul(x->g, known, dims[n]);
        }
    }
    if (open) *open = tn_dim_floordiv(x->g, all, known);
}

/* Some axes, from `axis` on, become others. */
void tn_ci_layer_reshape(tn_ci *x) {
    const TnCaffe__ReshapeParameter *p = x->layer->reshape_param;
    const tn_val v = tn_ci_in(x, 0);
    tn_dim dims[TN_MAX_RANK];
    if (!p || !p->shape) tn_ci_fail(x, TN_E_FORMAT, "", "reshape_param with a shape is missing");
    if (tn_ci_failed(x)) return;
    const size_t rank = tn_val_rank(x->g, v), given = p->shape->n_dim;
    const int64_t at = p->axis < 0 ? p->axis + (int64_t)rank + 1 : p->axis;
    if (at < 0 || at > (int64_t)rank || p->num_axes < -1 || (p->num_axes >= 0 && at + p->num_axes > (int64_t)rank)) {
        tn_ci_fail(x, TN_E_FORMAT, "", "axis %d and num_axes %d of a bottom of rank %zu", p->axis, p->num_axes, rank);
        return;
    }
    const size_t from = (size_t)at, to = p->num_axes < 0 ? rank : from + (size_t)p->num_axes;
    const size_t n = from + given + (rank - to);
    if (given > TN_MAX_RANK || n > TN_MAX_RANK) {
        tn_ci_fail(x, TN_E_UNSUPPORTED, "", "a top of rank %zu; the most is %d", n, TN_MAX_RANK);
        return;
    }
    for (size_t k = 0; k < from; k++) dims[k] = tn_val_dim(x->g, v, k);
    given_sizes(x, v, p->shape, tn_val_extent(x->g, v, from, to), from, dims);
    for (size_t k = to; k < rank; k++) dims[n - rank + k] = tn_val_dim(x->g, v, k);
    if (!tn_ci_failed(x)) tn_ci_out(x, 0, tn_build_reshape_to(x->g, v, n, dims));
}

/* Axes that are not named stay in order behind those that are. */
void tn_ci_layer_permute(tn_ci *x) {
    const TnCaffe__PermuteParameter *p = x->layer->permute_param;
    const tn_val v = tn_ci_in(x, 0);
    int64_t perm[TN_MAX_RANK];
    bool named[TN_MAX_RANK] = {false};
    size_t n = 0;
    if (tn_ci_failed(x)) return;
    const size_t rank = tn_val_rank(x->g, v);
    for (size_t k = 0; p && k < p->n_order && !tn_ci_failed(x); k++) {
        const uint32_t axis = p->order[k];
        if (axis >= rank || named[axis])
            tn_ci_fail(x, TN_E_FORMAT, "", "axis %u is %s", axis,
                       axis >= rank ? "none of the bottom's" : "named twice");
        else
            named[perm[n++] = axis] = true;
    }
    for (size_t k = 0; k < rank; k++)
        if (!named[k] && n < rank) perm[n++] = (int64_t)k;
    if (!tn_ci_failed(x)) tn_ci_out(x, 0, tn_build_permute(x->g, v, rank, perm));
}

static bool is_image(tn_ci *x, tn_val v) {
    if (tn_ci_failed(x)) return false;
    if (tn_val_rank(x->g, v) != 4)
        tn_ci_fail(x, TN_E_TYPE, "", "a bottom of rank %zu; it takes 4", tn_val_rank(x->g, v));
    return !tn_ci_failed(x);
}

void tn_ci_layer_shuffle(tn_ci *x) {
    const TnCaffe__ShuffleChannelParameter *p = TN_CI_PARAM(x, shuffle_channel_param, shuffle_channel_parameter);
    const tn_val v = tn_ci_in(x, 0);
    if (!is_image(x, v)) return;
    const int64_t group = p->group, channels = tn_ci_size(x, v, 1, "the bottom");
    if (tn_ci_failed(x)) return;
    if (group < 1 || channels % group) {
        tn_ci_fail(x, TN_E_TYPE, "", "%lld groups of %lld channels", (long long)group, (long long)channels);
        return;
    }
    const tn_dim own[] = {tn_val_dim(x->g, v, 0), tn_val_dim(x->g, v, 1), tn_val_dim(x->g, v, 2),
                          tn_val_dim(x->g, v, 3)};
    const tn_dim apart[] = {own[0], tn_dim_const(x->g, group), tn_dim_const(x->g, channels / group), own[2], own[3]};
    const tn_val swapped = tn_build_swap_axes(x->g, tn_build_reshape_to(x->g, v, 5, apart), 1, 2);
    tn_ci_out(x, 0, tn_build_reshape_to(x->g, swapped, 4, own));
}

/* YOLOv2's: the bytes of an image, seen as one that is `stride` times as large in both directions and has fewer channels,
 * are moved from space to depth; the result is then seen as one that is smaller and has more channels.  Reversed, it is
 * moved from depth to space. */
void tn_ci_layer_reorg(tn_ci *x) {
    const TnCaffe__ReorgParameter *p = TN_CI_PARAM(x, reorg_param, reorg_parameter);
    const tn_val v = tn_ci_in(x, 0);
    if (!is_image(x, v)) return;
    const int64_t s = p->stride;
    if (s < 1 || s > 1 << 10) tn_ci_fail(x, TN_E_FORMAT, "", "a stride of %lld", (long long)s);
    const int64_t channels = tn_ci_size(x, v, 1, "the bottom");
    if (!tn_ci_failed(x) && channels % (s * s))
        tn_ci_fail(x, TN_E_TYPE, "", "%lld channels with a stride of %lld", (long long)channels, (long long)s);
    if (tn_ci_failed(x)) return;
    const tn_dim n = tn_val_dim(x->g, v, 0), h = tn_val_dim(x->g, v, 2), w = tn_val_dim(x->g, v, 3),
                 by = tn_dim_const(x->g, s);
    if (p->reverse) {
        tn_ci_out(x, 0, tn_build_depth_to_space(x->g, v, (tn_attrs_depth){.block = s, .mode = "DCR"}));
        return;
    }
    const tn_dim large[] = {n, tn_dim_const(x->g, channels / (s * s)), tn_dim_mul(x->g, h, by),
                            tn_dim_mul(x->g, w, by)},
                 small[] = {n, tn_dim_const(x->g, channels * s * s), tn_dim_floordiv(x->g, h, by),
                            tn_dim_floordiv(x->g, w, by)};
    const tn_val seen = tn_build_reshape_to(x->g, v, 4, large),
                 moved = tn_build_space_to_depth(x->g, seen, (tn_attrs_depth){.block = s});
    tn_ci_out(x, 0, tn_build_reshape_to(x->g, moved, 4, small));
}

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

/* By factors: each element several times or, with positions as a second bottom, once among zeros. */
void tn_ci_layer_upsample(tn_ci *x) {
    const TnCaffe__UpsampleParameter *p = TN_CI_PARAM(x, upsample_param, upsample_parameter);
    const tn_val v = tn_ci_in(x, 0);
    if (!is_image(x, v)) return;
    const bool puts_back = x->layer->n_bottom == 2, sized = puts_back && p->upsample_h && p->upsample_w;
    const int64_t h = p->has_scale_h ? p->scale_h : p->scale, w = p->has_scale_w ? p->scale_w : p->scale;
    if (h < 1 || w < 1 || h > 1 << 16 || w > 1 << 16 || p->upsample_h > 1 << 20 || p->upsample_w > 1 << 20) {
        tn_ci_fail(x, TN_E_FORMAT, "", "upsample_param with a scale of at least 1 is missing");
        return;
    }
    if (!puts_back) {
        tn_ci_out(x, 0, repeat(x, repeat(x, v, 3, w, false), 2, h, false));
        return;
    }
    const tn_dim out_h = sized ? tn_dim_const(x->g, p->upsample_h)
                               : tn_dim_sub(x->g, tn_dim_mul(x->g, tn_val_dim(x->g, v, 2), tn_dim_const(x->g, h)),
                                            tn_dim_const(x->g, p->pad_out_h ? 1 : 0)),
                 out_w = sized ? tn_dim_const(x->g, p->upsample_w)
                               : tn_dim_sub(x->g, tn_dim_mul(x->g, tn_val_dim(x->g, v, 3), tn_dim_const(x->g, w)),
                                            tn_dim_const(x->g, p->pad_out_w ? 1 : 0));
    tn_ci_out(x, 0, tn_ci_unpool(x, v, tn_ci_in(x, 1), out_h, out_w));
}

/* The size of an axis that has `size` elements, of which `cut` are left out. */
static tn_dim interpolated(tn_ci *x, const TnCaffe__InterpParameter *p, tn_dim size, int64_t given) {
    const tn_dim one = tn_dim_const(x->g, 1);
    if (given) return tn_dim_const(x->g, given);
    if (p->has_shrink_factor)
        size = tn_dim_add(
            x->g, tn_dim_floordiv(x->g, tn_dim_sub(x->g, size, one), tn_dim_const(x->g, p->shrink_factor)), one);
    if (p->has_zoom_factor)
        size = tn_dim_add(x->g, size,
                          tn_dim_mul(x->g, tn_dim_sub(x->g, size, one), tn_dim_const(x->g, p->zoom_factor - 1)));
    return size;
}

/* Bilinear, corners upon corners; to a size, by factors, or as large as the second bottom. */
void tn_ci_layer_interp(tn_ci *x) {
    const TnCaffe__InterpParameter *p = TN_CI_PARAM(x, interp_param, interp_parameter);
    tn_val v = tn_ci_in(x, 0);
    if (!is_image(x, v)) return;
    const bool sized = p->height || p->width, scaled = p->has_zoom_factor || p->has_shrink_factor,
               like = x->layer->n_bottom == 2;
    if (p->pad_beg > 0 || p->pad_end > 0 || p->pad_beg < -(1 << 20) || p->pad_end < -(1 << 20))
        tn_ci_fail(x, TN_E_FORMAT, "", "pad_beg and pad_end only cut: they are at most 0");
    else if (sized + scaled + like != 1 || (sized && (p->height < 1 || p->width < 1)) ||
             (p->has_zoom_factor && p->zoom_factor < 1) || (p->has_shrink_factor && p->shrink_factor < 1))
        tn_ci_fail(x, TN_E_FORMAT, "give height and width, or factors of at least 1, or a second bottom",
                   "no size, or several");
    const tn_val other = like ? tn_ci_in(x, 1) : v;
    if (!is_image(x, other)) return;
    tn_dim sizes[4] = {tn_val_dim(x->g, v, 0), tn_val_dim(x->g, v, 1)};
    for (size_t k = 2; k < 4; k++) {
        const tn_dim left = tn_dim_add(x->g, tn_val_dim(x->g, v, k), tn_dim_const(x->g, p->pad_beg + p->pad_end));
        if (p->pad_beg || p->pad_end)
            v = tn_build_slice_axis(x->g, v, (int64_t)k, tn_dim_const(x->g, -p->pad_beg), left);
        sizes[k] = like ? tn_val_dim(x->g, other, k) : interpolated(x, p, left, k == 2 ? p->height : p->width);
    }
    if (tn_ci_failed(x)) return;
    tn_ci_out(
        x, 0,
        tn_build_resize(x->g, v, (tn_attrs_resize){.sizes = {sizes, 4}, .mode = "linear", .coords = "align_corners"}));
}
