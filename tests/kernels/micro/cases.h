/* cases.h: the micro-kernels and their inputs, read by micro.c. */
#ifndef TENON_MICRO_CASES_H
#define TENON_MICRO_CASES_H

#include <cuda.h>
#include <stdbool.h>
#include <stdint.h>

/* What a part of an input holds. */
typedef enum gen_kind {
    G_NONE,
    G_BITS,    /* any bits */
    G_UNIT,    /* numbers of similar size */
    G_WIDE,    /* exponents far apart, denormals, zeros */
    G_SPECIAL, /* the same, with infinities and NaNs */
} gen_kind;
typedef enum gen_type { T_U32, T_F32, T_F16, T_BF16, T_E4M3, T_E5M2, T_S8 } gen_type;
typedef struct gen {
    gen_kind kind;
    gen_type type;
    uint32_t bytes;
} gen;

/* A tensor map, and the boxes that the kernel moves. */
typedef struct box_case {
    CUtensorMapDataType type;
    int rank;
    uint32_t dims[5], padding; /* bytes between rows, before they are rounded to 16 */
    uint32_t box[5], steps[5];
    CUtensorMapSwizzle swizzle;
    bool nan;
    bool im2col;
    int lower[3], upper[3];
    uint32_t channels, pixels;
    bool store;
    int n, coords[8 * 8]; /* n boxes */
} box_case;

typedef struct micro_case {
    const char *name, *file, *kernel;
    uint32_t grid, block, cluster, smem;
    gen in[2];
    uint32_t out_bytes;
    const box_case *box;
} micro_case;

#define PLAIN(FILE, NAME, GRID, BLOCK, SMEM, IN, TYPE, IN_BYTES, OUT_BYTES)                                            \
    { #NAME, FILE, #NAME, GRID, BLOCK, 0, SMEM, {{IN, TYPE, IN_BYTES } }, OUT_BYTES, NULL }
#define CONVERT(NAME, SIZE)                                                                                            \
    { #NAME, "values", #NAME, 80, 128, 0, 0, {{G_SPECIAL, T_F32, 4 * (655360 - 524288) } }, 655360 * (SIZE), NULL }
#define MMA1(TYPE, T, KIND, SUFFIX, ACC)                                                                               \
    {                                                                                                                  \
        "mma_" #TYPE SUFFIX, "mma", "mma_" #TYPE, 64, 32, 0, 0, {{KIND, T, 64 * 768}, {KIND, ACC, 64 * 512}},          \
            64 * 1024, NULL                                                                                            \
    }
#define MMA_SP1(TYPE, T, KIND, SUFFIX)                                                                                 \
    {                                                                                                                  \
        "mma_sp_" #TYPE SUFFIX, "mma", "mma_sp_" #TYPE, 64, 32, 0, 0, {{KIND, T, 64 * 1024}, {KIND, T_F32, 64 * 512}}, \
            64 * 1024, NULL                                                                                            \
    }
#define MMA_SP(TYPE, T)                                                                                                \
    MMA_SP1(TYPE, T, G_UNIT, ""), MMA_SP1(TYPE, T, G_WIDE, "_wide"), MMA_SP1(TYPE, T, G_SPECIAL, "_special")
#define MMA(TYPE, T)                                                                                                   \
    MMA1(TYPE, T, G_UNIT, "", T_F32), MMA1(TYPE, T, G_WIDE, "_wide", T_F32), MMA1(TYPE, T, G_SPECIAL, "_special", T_F32)
#define WG1(TYPE, T, N, FORM, KIND, SUFFIX)                                                                            \
    {                                                                                                                  \
        "wgmma_" #TYPE "_" #N FORM SUFFIX, "wgmma", "wgmma_" #TYPE "_" #N FORM, 2, 128, 0, 320 * 128,                  \
            {{KIND, T, 2 * 320 * 128}, {KIND, T_F32, 2 * 64 * 256 * 4}}, 2 * 64 * N * 4, NULL                          \
    }
#define WG(TYPE, T, N, FORM) WG1(TYPE, T, N, FORM, G_UNIT, ""), WG1(TYPE, T, N, FORM, G_WIDE, "_wide")
#define BOX(NAME, KERNEL, ...)                                                                                         \
    {                                                                                                                  \
        NAME, "tma", KERNEL, 1, 64, 0, 65536, {{G_NONE, T_U32, 0}}, 0, &(const box_case) {                             \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }

#define U8 CU_TENSOR_MAP_DATA_TYPE_UINT8
#define U16 CU_TENSOR_MAP_DATA_TYPE_UINT16
#define U32 CU_TENSOR_MAP_DATA_TYPE_UINT32
#define F16 CU_TENSOR_MAP_DATA_TYPE_FLOAT16
#define BF16 CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
#define F32 CU_TENSOR_MAP_DATA_TYPE_FLOAT32
#define F64 CU_TENSOR_MAP_DATA_TYPE_FLOAT64
#define F32_FTZ CU_TENSOR_MAP_DATA_TYPE_FLOAT32_FTZ
#define TF32 CU_TENSOR_MAP_DATA_TYPE_TFLOAT32
#define TF32_FTZ CU_TENSOR_MAP_DATA_TYPE_TFLOAT32_FTZ
#define SW32 CU_TENSOR_MAP_SWIZZLE_32B
#define SW64 CU_TENSOR_MAP_SWIZZLE_64B
#define SW128 CU_TENSOR_MAP_SWIZZLE_128B

/* 40 x 37 elements: inside, over each edge and corner, far outside.  The innermost coordinate is a multiple of 16
 * bytes, and stores have none below 0: an H200 takes no other ("illegal instruction"). */
#define BOXES2 .n = 6, .coords = {0, 0, 16, 5, 32, 30, -16, -3, 32, 36, 112, -50}
#define TILE2(TYPE, W, H, ...)                                                                                         \
    .type = TYPE, .rank = 2, .dims = {40, 37}, .box = {W, H}, .steps = {1, 1}, BOXES2, __VA_ARGS__
#define STORE2(TYPE, COLUMNS, W, H, ...)                                                                               \
    .type = TYPE, .rank = 2, .dims = {COLUMNS, 37}, .box = {W, H}, .steps = {1, 1}, .store = true, .n = 4,             \
    .coords = {0, 0, 16, 5, 32, 30, 112, 50}, __VA_ARGS__

static const micro_case cases[] = {
    PLAIN("values", half_to_float, 8, 128, 0, G_NONE, T_U32, 0, 65536 * 4),
    PLAIN("values", e4m3_to_float, 1, 256, 0, G_NONE, T_U32, 0, 1024),
    PLAIN("values", e5m2_to_float, 1, 256, 0, G_NONE, T_U32, 0, 1024),
    CONVERT(float_to_half, 2),
    CONVERT(float_to_bf16, 2),
    CONVERT(float_to_half2, 4),
    CONVERT(float_to_bf16x2, 4),
    CONVERT(float_to_e4m3, 1),
    CONVERT(float_to_e5m2, 1),
    CONVERT(float_to_tf32, 4),
    PLAIN("values", max_min_nan, 16, 128, 0, G_SPECIAL, T_F32, 8192, 32768),
    PLAIN("values", loads, 1, 128, 0, G_BITS, T_U32, 2048, 128 * 36),
    PLAIN("warps", shuffles, 1, 64, 0, G_BITS, T_U32, 256, 64 * 96),
    PLAIN("warps", votes, 1, 64, 0, G_BITS, T_U32, 256, 64 * 64),
    PLAIN("warps", atomics, 4, 256, 0, G_BITS, T_U32, 4096, 80 * 4),
    PLAIN("warps", named_barriers, 1, 128, 0, G_BITS, T_U32, 512, 512),
    {"clusters", "warps", "clusters", 8, 64, 4, 0, {{G_BITS, T_U32, 8192}}, 2048, NULL},
    PLAIN("warps", mbarrier_phases, 1, 128, 0, G_BITS, T_U32, 1280, 256),
    PLAIN("warps", grid_dependency, 4, 64, 0, G_BITS, T_U32, 1024, 1024),
    PLAIN("copies", async_copies, 1, 256, 8192, G_BITS, T_U32, 8192, 8192),
    PLAIN("copies", async_arrive, 1, 64, 1024, G_BITS, T_U32, 1024, 256),
    PLAIN("copies", bulk_copies, 1, 128, 4096, G_BITS, T_U32, 4096, 4096),
    PLAIN("copies", matrix_moves, 1, 32, 1024, G_BITS, T_U32, 1024, 38 * 128),
    MMA(f16, T_F16),
    MMA(bf16, T_BF16),
    MMA(tf32, T_F32),
    MMA(e4m3, T_E4M3),
    MMA(e5m2, T_E5M2),
    MMA1(s8, T_S8, G_BITS, "", T_U32),
    MMA1(u8, T_S8, G_BITS, "", T_U32),
    MMA_SP(f16, T_F16),
    MMA_SP(bf16, T_BF16),
    WG(f16, T_F16, 32, ""),
    WG(f16, T_F16, 32, "_tb"),
    WG(f16, T_F16, 64, ""),
    WG(f16, T_F16, 64, "_ta"),
    WG(f16, T_F16, 96, ""),
    WG(f16, T_F16, 128, ""),
    WG(f16, T_F16, 128, "_tb"),
    WG(f16, T_F16, 128, "_ta_tb"),
    WG(f16, T_F16, 256, ""),
    WG(f16, T_F16, 256, "_tb"),
    WG1(f16, T_F16, 64, "", G_SPECIAL, "_special"),
    WG(bf16, T_BF16, 32, "_ta_tb"),
    WG(bf16, T_BF16, 64, ""),
    WG(bf16, T_BF16, 64, "_tb"),
    WG(bf16, T_BF16, 96, "_ta_tb"),
    WG(bf16, T_BF16, 128, ""),
    WG(bf16, T_BF16, 128, "_ta"),
    WG(bf16, T_BF16, 256, ""),
    WG(bf16, T_BF16, 256, "_ta_tb"),
    WG1(bf16, T_BF16, 64, "", G_SPECIAL, "_special"),
    BOX("tma_1d", "tma_load1", .type = U16, .rank = 1, .dims = {1000}, .box = {64}, .steps = {1}, .n = 5,
        .coords = {0, 16, 960, -8, 2000}),
    BOX("tma_2d_u8", "tma_load2", TILE2(U8, 32, 8, .nan = false)),
    BOX("tma_2d_u16", "tma_load2", TILE2(U16, 24, 9, .nan = false)),
    BOX("tma_2d_u32", "tma_load2", TILE2(U32, 12, 7, .nan = false)),
    BOX("tma_2d_f64", "tma_load2", TILE2(F64, 6, 5, .nan = false)),
    BOX("tma_2d_padded", "tma_load2", TILE2(U16, 16, 16, .padding = 24)),
    BOX("tma_swizzle32", "tma_load2", TILE2(U16, 16, 32, .swizzle = SW32)),
    BOX("tma_swizzle64", "tma_load2", TILE2(U16, 32, 32, .swizzle = SW64)),
    BOX("tma_swizzle128", "tma_load2", TILE2(U16, 64, 32, .swizzle = SW128)),
    BOX("tma_swizzle128_u8", "tma_load2", TILE2(U8, 128, 19, .swizzle = SW128)),
    BOX("tma_swizzle128_f32", "tma_load2", TILE2(F32, 32, 24, .swizzle = SW128)),
    BOX("tma_swizzle128_narrow", "tma_load2", TILE2(U16, 32, 32, .swizzle = SW128)),
    BOX("tma_swizzle64_narrow", "tma_load2", TILE2(U16, 16, 32, .swizzle = SW64)),
    BOX("tma_nan_f16", "tma_load2", TILE2(F16, 16, 8, .nan = true)),
    BOX("tma_nan_bf16", "tma_load2", TILE2(BF16, 16, 8, .nan = true)),
    BOX("tma_nan_f32", "tma_load2", TILE2(F32, 16, 8, .nan = true)),
    BOX("tma_nan_f64", "tma_load2", TILE2(F64, 16, 8, .nan = true)),
    BOX("tma_f16", "tma_load2", TILE2(F16, 16, 8, .nan = false)),
    BOX("tma_f32", "tma_load2", TILE2(F32, 16, 8, .nan = false)),
    BOX("tma_f32_ftz", "tma_load2", TILE2(F32_FTZ, 16, 8, .nan = false)),
    BOX("tma_tf32", "tma_load2", TILE2(TF32, 16, 8, .nan = false)),
    BOX("tma_tf32_ftz", "tma_load2", TILE2(TF32_FTZ, 16, 8, .nan = false)),
    BOX("tma_steps", "tma_load2", .type = U16, .rank = 2, .dims = {40, 37}, .box = {16, 15}, .steps = {1, 2}, BOXES2),
    BOX("tma_steps_swizzle", "tma_load3", .type = U16, .rank = 3, .dims = {64, 11, 9}, .box = {64, 7, 8},
        .steps = {1, 3, 4}, .swizzle = SW128, .n = 4, .coords = {0, 0, 0, 0, 5, 3, 32, -2, -1, -16, 8, 4}),
    BOX("tma_3d", "tma_load3", .type = U16, .rank = 3, .dims = {24, 9, 7}, .box = {16, 4, 3}, .steps = {1, 1, 1},
        .n = 4, .coords = {0, 0, 0, 8, 5, 4, 16, 7, 6, -8, -2, -1}),
    BOX("tma_4d", "tma_load4", .type = U32, .rank = 4, .dims = {12, 5, 4, 3}, .box = {8, 3, 2, 2},
        .steps = {1, 1, 1, 1}, .n = 3, .coords = {0, 0, 0, 0, 4, 2, 3, 1, -4, -1, -1, -1}),
    BOX("tma_5d", "tma_load5", .type = U8, .rank = 5, .dims = {32, 5, 4, 3, 3}, .box = {16, 3, 2, 2, 2},
        .steps = {1, 1, 1, 1, 1}, .n = 3, .coords = {0, 0, 0, 0, 0, 16, 3, 2, 2, 2, -16, -1, 0, -1, 1}),
    BOX("tma_im2col3", "tma_im2col3", .type = U16, .rank = 3, .dims = {24, 13, 3}, .steps = {1, 1, 1}, .im2col = true,
        .lower = {-1}, .upper = {-1}, .channels = 16, .pixels = 20, .n = 4,
        .coords = {0, -1, 0, 0, 8, 3, 1, 2, 0, 5, 2, 1, 16, 0, 0, 1}),
    BOX("tma_im2col4", "tma_im2col4", .type = U16, .rank = 4, .dims = {32, 9, 7, 2}, .steps = {1, 1, 1, 1},
        .im2col = true, .lower = {-1, -1}, .upper = {-1, -1}, .channels = 32, .pixels = 32, .swizzle = SW64, .n = 5,
        .coords = {0,  -1, -1, 0, 0, 0, /**/ 0, 3,  2, 0, 2, 1, /**/ 0, 6, 5, 1, 1, 2, /**/
                   16, 2,  4,  0, 2, 2, /**/ 0, -1, 4, 1, 0, 2}),
    BOX("tma_im2col4_stride", "tma_im2col4", .type = U16, .rank = 4, .dims = {64, 11, 9, 2}, .steps = {1, 2, 2, 1},
        .im2col = true, .lower = {-1, -1}, .upper = {-1, -1}, .channels = 64, .pixels = 64, .swizzle = SW128, .n = 3,
        .coords = {0, -1, -1, 0, 0, 0, /**/ 0, 3, 1, 0, 2, 1, /**/ 0, 5, 7, 1, 1, 2}),
    BOX("tma_im2col5", "tma_im2col5", .type = F16, .rank = 5, .dims = {16, 6, 5, 4, 2}, .steps = {1, 1, 1, 1, 1},
        .im2col = true, .lower = {-1, 0, -1}, .upper = {-1, -2, -1}, .channels = 16, .pixels = 48, .n = 3,
        .coords = {0, -1, 0, -1, 0, 0, 0, 0, /**/ 0, 2, 1, 1, 0, 2, 1, 2, /**/ 0, 4, 2, 2, 1, 1, 2, 0}),
    {"tma_multicast",
     "tma",
     "tma_multicast",
     4,
     64,
     4,
     65536,
     {{G_NONE, T_U32, 0}},
     0,
     &(const box_case){.type = U16,
                       .rank = 2,
                       .dims = {64, 37},
                       .box = {64, 16},
                       .steps = {1, 1},
                       .swizzle = SW128,
                       .n = 8,
                       .coords = {0, 0, 0, 16, 0, 24, 32, -4}}},
    BOX("tma_store1", "tma_store1", .type = U16, .rank = 1, .dims = {1000}, .box = {64}, .steps = {1}, .store = true,
        .n = 4, .coords = {0, 72, 960, 1008}),
    BOX("tma_store1_edge", "tma_store1", .type = U16, .rank = 1, .dims = {1003}, .box = {64}, .steps = {1},
        .store = true, .n = 2, .coords = {984, 1000}),
    BOX("tma_store2", "tma_store2", STORE2(U16, 40, 64, 12, .swizzle = SW128)),
    BOX("tma_store2_narrow", "tma_store2", STORE2(U16, 40, 32, 12, .swizzle = SW128)),
    BOX("tma_store2_narrow64", "tma_store2", STORE2(U16, 40, 16, 12, .swizzle = SW64)),
    BOX("tma_store2_steps", "tma_store2", .type = U16, .rank = 2, .dims = {40, 37}, .box = {32, 11}, .steps = {1, 2},
        .store = true, .n = 3, .coords = {0, 0, 16, 5, 32, 30}),
    BOX("tma_store2_u8", "tma_store2", STORE2(U8, 33, 16, 12, .padding = 30)),
    BOX("tma_store2_u16", "tma_store2", STORE2(U16, 37, 16, 12, .padding = 30)),
    BOX("tma_store2_f32", "tma_store2", STORE2(F32, 34, 8, 12, .padding = 30)),
    BOX("tma_store2_f64", "tma_store2", STORE2(F64, 33, 4, 12, .padding = 30)),
    BOX("tma_store3", "tma_store3", .type = F32, .rank = 3, .dims = {24, 9, 7}, .box = {16, 4, 3}, .steps = {1, 1, 1},
        .swizzle = SW64, .store = true, .n = 3, .coords = {0, 0, 0, 8, 5, 4, 16, 7, 6}),
    BOX("tma_store4", "tma_store4", .type = U32, .rank = 4, .dims = {12, 5, 4, 3}, .box = {8, 3, 2, 2},
        .steps = {1, 1, 1, 1}, .store = true, .n = 2, .coords = {0, 0, 0, 0, 4, 2, 3, 1}),
    BOX("tma_store5", "tma_store5", .type = U8, .rank = 5, .dims = {32, 5, 4, 3, 3}, .box = {16, 3, 2, 2, 2},
        .steps = {1, 1, 1, 1, 1}, .store = true, .n = 2, .coords = {0, 0, 0, 0, 0, 16, 3, 2, 2, 2}),
};

#endif
