// gemv.cu: C[b, m, n] = epilogue(sum over k of A[b, m, k] * B[b, n, k]) for few rows m: streams B once at memory speed.
//
// B is stored along k, or made by the generated tn_load_b of a packed constant that is.  A warp owns ROWS consecutive n and walks k in 16-byte chunks, one a lane, DEPTH chunks in flight; KSPLIT warps
// share the same rows and take every KSPLIT-th chunk group.  Sums run over lanes by shuffles, then over the KSPLIT warps in
// shared memory, in a fixed order.  PACK: B is a constant whose tiles of ROWS x 32 chunks lie one behind the other, so that any N, K
// and order of theirs will do and a warp's loads are one piece of memory.  Where B is constant its first DEPTH chunks are requested before TN_WAIT().
//
//! kernel  gemv    small-M matrix product, weights streamed
//! knob    ROWS    1 2 4
//! knob    WARPS   2 4 8
//! knob    KSPLIT  1 2 4 8
//! knob    DEPTH   1 2 4
//! switch  PACK    0 1
//! require PACK ? B_PACKS : B_STREAMS || B_UNPACKS
//! require KSPLIT <= WARPS && WARPS / KSPLIT * ROWS % N_VEC == 0
//! require ROWS * DEPTH <= 8 && M_MAX * ROWS <= 32
//! require DEPTH == 1 || (DEPTH / 2) * KSPLIT * 512 < hint(K) * ELT
#include "tn_mma.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"
#include "tn_finish.cuh"

constexpr int ROWS = TN_ROWS, WARPS = TN_WARPS, KSPLIT = TN_KSPLIT, DEPTH = TN_DEPTH, M_MAX = TN_M_MAX;
constexpr int THREADS = WARPS * 32, CHUNK = 16 / (int)sizeof(tn_elem);
constexpr int BLOCK_N = WARPS / KSPLIT * ROWS, VEC = TN_N_VEC; // columns that the epilogue wants together

typedef tn_pack<tn_elem, CHUNK> chunk;

// Elements k ... k + CHUNK - 1 of row n of B; `row`: among the warp's.
TN_DEV chunk weight(const tn_args &args, int b, int n, int row, int k) {
#if TN_B_UNPACKS
    chunk w;
    float x[CHUNK];
    tn_load_b(args, tn_batch_b(args, b), n + row, k, x);
    TN_UNROLL
    for (int j = 0; j < CHUNK; j++) tn_put(&w.v[j], x[j]);
    return w;
#else
#if TN_PACK
    const tn_index tile = (tn_batch_b(args, b) * TN_B_BANDS + n / ROWS) * TN_B_TILES + k / (32 * CHUNK);
    const tn_elem *p = tn_b(args) + ((long long)tile * ROWS + row) * (32 * CHUNK) + k % (32 * CHUNK);
#else
    const tn_elem *p = tn_b(args) + tn_offset_b(args, tn_batch_b(args, b), n + row, k);
#endif
    if (!TN_B_CONST) return tn_load<CHUNK, CHUNK>(p);
    chunk w;
    *(tn_bits16 *)w.v = tn_ld_early16(p);
    return w;
#endif
}

// B's chunks i ... i+DEPTH-1 of this lane for the warp's rows; zero outside.
struct weights {
    chunk w[DEPTH][ROWS];
    TN_MEMBER void load(const tn_args &args, int b, int n, int first, int step) {
        TN_UNROLL
        for (int u = 0; u < DEPTH; u++) {
            const int k = (first + u * step) * CHUNK;
            TN_UNROLL
            for (int r = 0; r < ROWS; r++) {
                if (k < (int)TN_K && n + r < (int)TN_N) {
                    w[u][r] = weight(args, b, n, r, k);
                } else {
                    const tn_bits16 zero = {0, 0, 0, 0};
                    *(tn_bits16 *)w[u][r].v = zero;
                }
            }
        }
    }
};

// What a lane sums up: products, and behind them, for a norm, the row of A and its squares.
constexpr int SUMS = ROWS + (TN_NORM ? 2 : 0);

TN_DEV void multiply(const tn_args &args, int b, const weights &x, int first, int step, float (&acc)[M_MAX][SUMS]) {
    TN_UNROLL
    for (int u = 0; u < DEPTH; u++) {
        const int k = (first + u * step) * CHUNK;
        if (k >= (int)TN_K) continue;
        TN_UNROLL
        for (int m = 0; m < M_MAX; m++) {
            if (m >= (int)TN_M) continue;
            float a[CHUNK];
            TN_UNROLL
            for (int j = 0; j < CHUNK; j += TN_A_VEC) {
                float part[TN_A_VEC];
                if (CHUNK > TN_A_VEC && k + j >= (int)TN_K) {
                    TN_UNROLL
                    for (int i = 0; i < TN_A_VEC; i++) part[i] = 0.0f;
                } else {
                    tn_load_a(args, tn_batch_a(args, b), m, k + j, part);
                }
                TN_UNROLL
                for (int i = 0; i < TN_A_VEC; i++) a[j + i] = part[i];
            }
            TN_UNROLL
            for (int r = 0; r < ROWS; r++) {
                TN_UNROLL
                for (int j = 0; j < CHUNK; j++) acc[m][r] += a[j] * tn_to_reg(x.w[u][r][j]);
            }
            TN_UNROLL
            for (int j = 0; j < CHUNK && TN_NORM; j++) {
                acc[m][SUMS - 2] += a[j];
                acc[m][SUMS - 1] += a[j] * a[j];
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_DYNAMIC_SMEM(memory);
    float *partial = (float *)memory; // [WARPS][M_MAX][SUMS]
    const int blocks_n = ((int)TN_N + BLOCK_N - 1) / BLOCK_N;
    const int b = (int)blockIdx.x / blocks_n, block_n = ((int)blockIdx.x - b * blocks_n) * BLOCK_N;
    const int warp = (int)threadIdx.x >> 5, lane = (int)threadIdx.x & 31;
    const int n = block_n + warp / KSPLIT * ROWS;
    constexpr int STEP = KSPLIT * 32;
    int first = warp % KSPLIT * 32 + lane;
    const int chunks = ((int)TN_K + CHUNK - 1) / CHUNK;

    weights now, next;
    if (!TN_B_CONST) TN_WAIT();
    now.load(args, b, n, first, STEP);
    if (TN_B_CONST) TN_WAIT();

    float acc[M_MAX][SUMS];
    TN_UNROLL
    for (int m = 0; m < M_MAX; m++)
        TN_UNROLL
        for (int r = 0; r < SUMS; r++) acc[m][r] = 0.0f;
    for (; first < chunks; first += STEP * DEPTH) {
        next.load(args, b, n, first + STEP * DEPTH, STEP);
        multiply(args, b, now, first, STEP, acc);
        now = next;
    }

    TN_UNROLL
    for (int m = 0; m < M_MAX; m++) {
        TN_UNROLL
        for (int r = 0; r < SUMS; r++) {
            const float sum = tn_warp_reduce<tn_sum_op, 32>(acc[m][r]);
            if (lane == 0) partial[(warp * M_MAX + m) * SUMS + r] = sum;
        }
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < M_MAX * BLOCK_N / VEC; i += THREADS) {
        const int m = i / (BLOCK_N / VEC), column = i % (BLOCK_N / VEC) * VEC;
        float sum[VEC];
        TN_UNROLL
        for (int v = 0; v < VEC; v++) {
            const int owner = (column + v) / ROWS * KSPLIT, r = (column + v) % ROWS;
            sum[v] = 0.0f;
            TN_UNROLL
            for (int s = 0; s < KSPLIT; s++) sum[v] += partial[((owner + s) * M_MAX + m) * SUMS + r];
        }
        tn_row_sums row = {0, 0};
        TN_UNROLL
        for (int s = 0; s < KSPLIT && TN_NORM; s++) {
            row.sum += partial[(s * M_MAX + m) * SUMS + SUMS - 2];
            row.squares += partial[(s * M_MAX + m) * SUMS + SUMS - 1];
        }
        if (m < (int)TN_M && block_n + column < (int)TN_N) tn_finish(args, b, m, block_n + column, sum, tn_row_scale::of(row));
    }
}
#include "tn_variant_end.cuh"
