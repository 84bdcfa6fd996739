/* tensor_map.h: tensor maps, which tell TMA how a tensor lies in memory and which boxes of it are copied. */
#ifndef TENON_RUNTIME_TENSOR_MAP_H
#define TENON_RUNTIME_TENSOR_MAP_H

#include "tenon/base.h"

struct tn_cuda;

enum { TN_MAP_RANK = 5, TN_MAP_WORDS = 16 /* of 8 bytes */ };

/* What does not depend on sizes; dimensions are counted from the innermost. */
typedef struct tn_map_box {
    tn_dtype dtype;
    uint32_t rank;
    uint32_t swizzle;            /* bytes: 0, 32, 64, 128 */
    bool im2col;                 /* dimensions are channels, one to three of space, images */
    uint32_t box[TN_MAP_RANK];   /* elements along each; im2col: channels, pixels */
    uint32_t steps[TN_MAP_RANK]; /* from one element that is copied to the next */
    int32_t lower[3], upper[3];  /* im2col: the corners, from those of the image, between which windows begin */
} tn_map_box;

/* NULL, or what no driver would take. */
const char *tn_map_box_error(const tn_map_box *b);
/* Bytes from the first element to behind the last of a tensor of these dims; strides in bytes, [0] is not looked at.
 * 0 for an empty one; -1 where TMA cannot have such sizes. */
int64_t tn_map_span(const tn_map_box *b, const int64_t *dims, const int64_t *strides);
/* Writes the map's words, zeros where the tensor is empty.  E_UNSUPPORTED where the driver has no tensor maps; E_ARGUMENT
 * for an address that is not a multiple of 16. */
tn_status tn_tensor_map_encode(const struct tn_cuda *cu, const tn_map_box *b, const int64_t *dims,
                               const int64_t *strides, uint64_t address, uint64_t *words, const char *loc);

#endif
