/* tma.c: bulk copies and tensor maps: not emulated yet; launches that need them fail. */
#include "runtime/emu/engine.h"
#include "runtime/emu/tma.h"
void __attribute__((weak))
emu_bulk_load(tn_emu_view *v, unsigned dst, const void *src, unsigned bytes, unsigned mbarrier) {
    (void)v;
    (void)dst;
    (void)src;
    (void)bytes;
    (void)mbarrier;
}
void __attribute__((weak)) emu_bulk_store(tn_emu_view *v, void *dst, unsigned src, unsigned bytes) {
    (void)v;
    (void)dst;
    (void)src;
    (void)bytes;
}
void __attribute__((weak)) emu_tma_load(tn_emu_view *v, unsigned dst, const void *map, const int *coords, int rank,
                                        const unsigned short *offsets, unsigned mbarrier, unsigned multicast) {}
void __attribute__((weak)) emu_tma_store(tn_emu_view *v, const void *map, const int *coords, int rank, unsigned src) {}
void __attribute__((weak)) emu_bulk_commit(tn_emu_view *v) {}
void __attribute__((weak)) emu_bulk_wait(tn_emu_view *v, unsigned newest, int read_only) {}
CUresult __attribute__((weak))
emu_encode_tiled(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank, void *address, const cuuint64_t *dims,
                 const cuuint64_t *strides, const cuuint32_t *box, const cuuint32_t *element_strides,
                 CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion l2,
                 CUtensorMapFloatOOBfill fill) {
    return CUDA_ERROR_NOT_SUPPORTED;
}
CUresult __attribute__((weak))
emu_encode_im2col(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank, void *address, const cuuint64_t *dims,
                  const cuuint64_t *strides, const int *lower, const int *upper, cuuint32_t channels, cuuint32_t pixels,
                  const cuuint32_t *element_strides, CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                  CUtensorMapL2promotion l2, CUtensorMapFloatOOBfill fill) {
    return CUDA_ERROR_NOT_SUPPORTED;
}
