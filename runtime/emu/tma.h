/* tma.h: tensor maps of the emulated driver. */
#ifndef TENON_EMU_TMA_H
#define TENON_EMU_TMA_H

#include <cuda.h>

/* As cuTensorMapEncodeTiled and cuTensorMapEncodeIm2col; the 128 bytes hold the emulator's own description. */
CUresult emu_encode_tiled(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank, void *address,
                          const cuuint64_t *dims, const cuuint64_t *strides, const cuuint32_t *box,
                          const cuuint32_t *element_strides, CUtensorMapInterleave interleave,
                          CUtensorMapSwizzle swizzle, CUtensorMapL2promotion l2, CUtensorMapFloatOOBfill fill);
CUresult emu_encode_im2col(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank, void *address,
                           const cuuint64_t *dims, const cuuint64_t *strides, const int *lower, const int *upper,
                           cuuint32_t channels, cuuint32_t pixels, const cuuint32_t *element_strides,
                           CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion l2,
                           CUtensorMapFloatOOBfill fill);

#endif
