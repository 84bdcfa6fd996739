// tma.cu: boxes of tensors, loaded and stored by TMA.
#include "tn_async.cuh"
#include "tn_wgmma.cuh"

// Shared memory that a copy may leave as it is.
TN_DEV void fill(unsigned char *s, int bytes, unsigned with) {
    for (int j = (int)threadIdx.x; j < bytes / 4; j += (int)blockDim.x) ((unsigned *)s)[j] = (unsigned)j * 2654435761u + with;
    tn_fence_async();
    __syncthreads();
}

// coords: for each of n boxes RANK coordinates and RANK - 2 offsets (im2col).  Boxes of `bytes` take `span` of shared
// memory, which goes to `out`, one after another.
template <int RANK, bool IM2COL>
TN_DEV void load_boxes(const tn_tensor_map *map, const int *coords, unsigned char *out, int n, int bytes, int span) {
    TN_SWIZZLED_SMEM(s);
    TN_SHARED(unsigned long long, bar, [1]);
    const int i = (int)threadIdx.x;
    const unsigned b = tn_smem_addr(bar);
    enum { STEP = IM2COL ? 2 * RANK - 2 : RANK };
    if (i == 0) {
        tn_tma_prefetch(map);
        tn_mbarrier_init(b, 1);
        tn_fence_mbarrier_init();
    }
    __syncthreads();
    for (int k = 0; k < n; k++) {
        fill(s, span, (unsigned)k);
        if (i == 0) {
            int c[RANK];
            for (int a = 0; a < RANK; a++) c[a] = coords[k * STEP + a];
            tn_mbarrier_arrive_expect(b, (unsigned)bytes);
            if constexpr (IM2COL) {
                unsigned short o[RANK - 2];
                for (int a = 0; a < RANK - 2; a++) o[a] = (unsigned short)coords[k * STEP + RANK + a];
                tn_tma_load_im2col(tn_smem_addr(s), map, c, o, b);
            } else
                tn_tma_load(tn_smem_addr(s), map, c, b);
        }
        tn_mbarrier_wait(b, (unsigned)k & 1);
        for (int j = i; j < span / 4; j += (int)blockDim.x)
            ((unsigned *)out)[k * (span / 4) + j] = ((const unsigned *)s)[j];
        __syncthreads();
    }
}
extern "C" __global__ void tma_load1(const __grid_constant__ tn_tensor_map map, const int *coords, unsigned char *out,
                                  int n, int bytes, int span) {
    load_boxes<1, false>(&map, coords, out, n, bytes, span);
}
extern "C" __global__ void tma_load2(const __grid_constant__ tn_tensor_map map, const int *coords, unsigned char *out,
                                  int n, int bytes, int span) {
    load_boxes<2, false>(&map, coords, out, n, bytes, span);
}
extern "C" __global__ void tma_load3(const __grid_constant__ tn_tensor_map map, const int *coords, unsigned char *out,
                                  int n, int bytes, int span) {
    load_boxes<3, false>(&map, coords, out, n, bytes, span);
}
extern "C" __global__ void tma_load4(const __grid_constant__ tn_tensor_map map, const int *coords, unsigned char *out,
                                  int n, int bytes, int span) {
    load_boxes<4, false>(&map, coords, out, n, bytes, span);
}
extern "C" __global__ void tma_load5(const __grid_constant__ tn_tensor_map map, const int *coords, unsigned char *out,
                                  int n, int bytes, int span) {
    load_boxes<5, false>(&map, coords, out, n, bytes, span);
}
extern "C" __global__ void tma_im2col3(const __grid_constant__ tn_tensor_map map, const int *coords, unsigned char *out,
                                  int n, int bytes, int span) {
    load_boxes<3, true>(&map, coords, out, n, bytes, span);
}
extern "C" __global__ void tma_im2col4(const __grid_constant__ tn_tensor_map map, const int *coords, unsigned char *out,
                                  int n, int bytes, int span) {
    load_boxes<4, true>(&map, coords, out, n, bytes, span);
}
extern "C" __global__ void tma_im2col5(const __grid_constant__ tn_tensor_map map, const int *coords, unsigned char *out,
                                  int n, int bytes, int span) {
    load_boxes<5, true>(&map, coords, out, n, bytes, span);
}

// Each of four blocks loads one box into all blocks of the cluster of its parity.
extern "C" __global__ void tma_multicast(const __grid_constant__ tn_tensor_map map, const int *coords,
                                         unsigned char *out, int n, int bytes, int span) {
    TN_SWIZZLED_SMEM(s);
    TN_SHARED(unsigned long long, bar, [1]);
    const int i = (int)threadIdx.x, rank = tn_cluster_rank();
    const unsigned b = tn_smem_addr(bar), slot = (unsigned)((span + 1023) / 1024 * 1024);
    if (i == 0) {
        tn_mbarrier_init(b, 1);
        tn_fence_mbarrier_init();
        tn_mbarrier_arrive_expect(b, (unsigned)bytes * 2);
    }
    tn_cluster_sync();
    if (i == 0) {
        const int c[2] = {coords[rank * 2], coords[rank * 2 + 1]};
        tn_tma_load_multicast(tn_smem_addr(s) + slot * (unsigned)(rank / 2), &map, c, b,
                              (unsigned short)(rank & 1 ? 0xa : 0x5));
    }
    tn_mbarrier_wait(b, 0);
    for (int k = 0; k < 2; k++)
        for (int j = i; j < span / 4; j += (int)blockDim.x)
            ((unsigned *)out)[(rank * 2 + k) * (span / 4) + j] = ((const unsigned *)(s + slot * (unsigned)k))[j];
    tn_cluster_sync();
    (void)n;
}

// Boxes of numbers that tell where they come from, stored into a tensor of zeros.
template <int RANK> TN_DEV void store_boxes(const tn_tensor_map *map, const int *coords, int n, int span) {
    TN_SWIZZLED_SMEM(s);
    const int i = (int)threadIdx.x;
    for (int k = 0; k < n; k++) {
        fill(s, span, (unsigned)k);
        if (i == 0) {
            int c[RANK];
            for (int a = 0; a < RANK; a++) c[a] = coords[k * RANK + a];
            tn_tma_store(map, c, tn_smem_addr(s));
            tn_bulk_commit();
            tn_bulk_wait<0>();
        }
        __syncthreads();
    }
}
extern "C" __global__ void tma_store1(const __grid_constant__ tn_tensor_map map, const int *coords, unsigned char *,
                                  int n, int bytes, int span) {
    store_boxes<1>(&map, coords, n, span);
    (void)bytes;
}
extern "C" __global__ void tma_store2(const __grid_constant__ tn_tensor_map map, const int *coords, unsigned char *,
                                  int n, int bytes, int span) {
    store_boxes<2>(&map, coords, n, span);
    (void)bytes;
}
extern "C" __global__ void tma_store3(const __grid_constant__ tn_tensor_map map, const int *coords, unsigned char *,
                                  int n, int bytes, int span) {
    store_boxes<3>(&map, coords, n, span);
    (void)bytes;
}
extern "C" __global__ void tma_store4(const __grid_constant__ tn_tensor_map map, const int *coords, unsigned char *,
                                  int n, int bytes, int span) {
    store_boxes<4>(&map, coords, n, span);
    (void)bytes;
}
extern "C" __global__ void tma_store5(const __grid_constant__ tn_tensor_map map, const int *coords, unsigned char *,
                                  int n, int bytes, int span) {
    store_boxes<5>(&map, coords, n, span);
    (void)bytes;
}
