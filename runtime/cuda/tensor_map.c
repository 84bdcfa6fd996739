/* tensor_map.c: see tensor_map.h. */
#include "runtime/cuda/tensor_map.h"

#include <string.h>

#include "runtime/cuda/cuda.h"

_Static_assert(sizeof(CUtensorMap) == TN_MAP_WORDS * sizeof(uint64_t), "a tensor map has 128 bytes");

enum { ALIGN = 16, MOST_STEP = 8, MOST_BOX = 256, MOST_PIXELS = 1024, LAST_TO_MEND = 13010 };
#define MOST_STRIDE (INT64_C(1) << 40)
#define MOST_DIM (INT64_C(1) << 32)

static const struct {
    CUtensorMapDataType type;
    uint32_t bytes; /* 0: TMA does not copy it */
} types[TN_DTYPE_COUNT] = {
    [TN_F64] = {CU_TENSOR_MAP_DATA_TYPE_FLOAT64, 8},      [TN_F32] = {CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 4},
    [TN_F16] = {CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2},      [TN_BF16] = {CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2},
    [TN_F8E4M3] = {CU_TENSOR_MAP_DATA_TYPE_UINT8, 1},     [TN_F8E5M2] = {CU_TENSOR_MAP_DATA_TYPE_UINT8, 1},
    [TN_I64] = {CU_TENSOR_MAP_DATA_TYPE_INT64, 8},        [TN_I32] = {CU_TENSOR_MAP_DATA_TYPE_INT32, 4},
    [TN_I16] = {CU_TENSOR_MAP_DATA_TYPE_UINT16, 2},       [TN_I8] = {CU_TENSOR_MAP_DATA_TYPE_UINT8, 1},
    [TN_U64] = {CU_TENSOR_MAP_DATA_TYPE_UINT64, 8},       [TN_U32] = {CU_TENSOR_MAP_DATA_TYPE_UINT32, 4},
    [TN_U16] = {CU_TENSOR_MAP_DATA_TYPE_UINT16, 2},       [TN_U8] = {CU_TENSOR_MAP_DATA_TYPE_UINT8, 1},
    [TN_BOOL] = {CU_TENSOR_MAP_DATA_TYPE_UINT8, 1},       [TN_F8E8M0] = {CU_TENSOR_MAP_DATA_TYPE_UINT8, 1},
    [TN_F8E4M3FNUZ] = {CU_TENSOR_MAP_DATA_TYPE_UINT8, 1}, [TN_F8E5M2FNUZ] = {CU_TENSOR_MAP_DATA_TYPE_UINT8, 1},
};

static const char *corner_error(const tn_map_box *b) {
    static const int32_t range[TN_MAP_RANK + 1] = {[3] = 1 << 15, [4] = 1 << 7, [5] = 1 << 4};
    if (b->rank < 3) return "an im2col map has at least three dimensions";
    for (uint32_t k = 0; k + 2 < b->rank; k++)
        if (b->lower[k] < -range[b->rank] || b->lower[k] >= range[b->rank] || b->upper[k] < -range[b->rank] ||
            b->upper[k] >= range[b->rank])
            return "a corner is out of range";
    return b->box[0] < 1 || b->box[0] > MOST_BOX || b->box[1] < 1 || b->box[1] > MOST_PIXELS
               ? "impossible channels or pixels"
               : NULL;
}

const char *tn_map_box_error(const tn_map_box *b) {
    if ((unsigned)b->dtype >= TN_DTYPE_COUNT || !types[b->dtype].bytes) return "elements that TMA does not copy";
    if (b->rank < 1 || b->rank > TN_MAP_RANK) return "impossible rank";
    if (b->swizzle != 0 && b->swizzle != 32 && b->swizzle != 64 && b->swizzle != 128) return "unknown swizzle";
    for (uint32_t k = 0; k < b->rank; k++) {
        if (b->steps[k] < 1 || b->steps[k] > MOST_STEP) return "impossible steps";
        if (!b->im2col && (b->box[k] < 1 || b->box[k] > MOST_BOX)) return "impossible box";
    }
    const char *corner = b->im2col ? corner_error(b) : NULL;
    const uint64_t row = (uint64_t)b->box[0] * types[b->dtype].bytes;
    if (corner) return corner;
    return row % ALIGN || (b->swizzle && row > b->swizzle) ? "rows that do not fit the swizzle" : NULL;
}

int64_t tn_map_span(const tn_map_box *b, const int64_t *dims, const int64_t *strides) {
    int64_t span = types[b->dtype].bytes;
    bool empty = false;
    for (uint32_t k = 0; k < b->rank; k++) {
        const int64_t stride = k ? strides[k] : (int64_t)types[b->dtype].bytes;
        int64_t step;
        if (dims[k] < 0 || dims[k] > MOST_DIM || (k && (stride < 0 || stride % ALIGN || stride >= MOST_STRIDE)))
            return -1;
        empty |= dims[k] == 0;
        if (!empty && (__builtin_mul_overflow(dims[k] - 1, stride, &step) || __builtin_add_overflow(span, step, &span)))
            return -1;
    }
    return empty ? 0 : span;
}

static CUtensorMapSwizzle swizzle_of(uint32_t bytes) {
    return bytes == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
           : bytes == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
           : bytes == 32 ? CU_TENSOR_MAP_SWIZZLE_32B
                         : CU_TENSOR_MAP_SWIZZLE_NONE;
}

static tn_status encode(const tn_cuda *cu, const tn_map_box *b, const cuuint64_t *dims, const cuuint64_t *strides,
                        uint64_t address, CUtensorMap *map, const char *loc) {
    const CUtensorMapDataType type = types[b->dtype].type;
    const CUtensorMapSwizzle swizzle = swizzle_of(b->swizzle);
    void *at = (void *)(uintptr_t)address;
    if (b->im2col)
        return TN_CU(cu,
                     cuTensorMapEncodeIm2col(map, type, b->rank, at, dims, strides, b->lower, b->upper, b->box[0],
                                             b->box[1], b->steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
                                             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
                     loc);
    return TN_CU(cu,
                 cuTensorMapEncodeTiled(map, type, b->rank, at, dims, strides, b->box, b->steps,
                                        CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                        CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
                 loc);
}

/* Drivers up to LAST_TO_MEND set a bit for tensors below 128 KiB that must not be set (CUTLASS clears it, too). */
static void mend(const tn_cuda *cu, int64_t span, CUtensorMap *map) {
    enum { SMALL = 128 << 10, BIT = 21 };
    if (!cu->emulated && cu->driver_version <= LAST_TO_MEND && span < SMALL) map->opaque[1] &= ~(UINT64_C(1) << BIT);
}

tn_status tn_tensor_map_encode(const tn_cuda *cu, const tn_map_box *b, const int64_t *dims, const int64_t *strides,
                               uint64_t address, uint64_t *words, const char *loc) {
    cuuint64_t d[TN_MAP_RANK], by[TN_MAP_RANK] = {0};
    CUtensorMap map;
    const int64_t span = tn_map_span(b, dims, strides);
    memset(words, 0, TN_MAP_WORDS * sizeof *words);
    if (span == 0) return TN_OK;
    if (span < 0)
        return tn_fail(cu->env, TN_E_UNSUPPORTED, loc, "give smaller shapes", "a tensor is more than TMA can address");
    if (!cu->cuTensorMapEncodeTiled || !cu->cuTensorMapEncodeIm2col)
        return tn_fail(cu->env, TN_E_UNSUPPORTED, loc, "update the driver", "the CUDA driver has no tensor maps");
    if (address % ALIGN)
        return tn_fail(cu->env, TN_E_ARGUMENT, loc, "give memory that is aligned to 16 bytes",
                       "a tensor at 0x%llx is not aligned for TMA", (unsigned long long)address);
    for (uint32_t k = 0; k < b->rank; k++) {
        d[k] = (cuuint64_t)dims[k];
        if (k) by[k - 1] = (cuuint64_t)strides[k];
    }
    tn_status st = encode(cu, b, d, by, address, &map, loc);
    if (st != TN_OK) return st;
    mend(cu, span, &map);
    memcpy(words, &map, sizeof map);
    return TN_OK;
}
