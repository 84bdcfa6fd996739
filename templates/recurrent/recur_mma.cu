// recur_mma.cu: recurrent layers in 16 bits on tensor cores, with the recurrent weight in registers over all steps.
//
// A cluster of BLOCKS blocks computes COLS sequences in one direction.  A block owns the gates of UNITS hidden units: rows of the weight,
// gate after gate, in tiles of 16 that WARPS / SPLIT groups of warps share, while SPLIT warps of a group share the sum.  A step multiplies
// the state, which every block has in shared memory, adds up the warps' shares there, and writes what its units become into the next
// state of every block.  GRID: blocks that all run at the same time, as many as there are multiprocessors, take the place of a cluster.  What
// they give each other is the result itself: it was filled with ones, bit by bit, which no element is, so that whoever reads a word sees
// whether it is there.  A grid also fits GPUs with a few multiprocessors less than most of their kind; small blocks share one.  Elements of 32 of the sum are taken in an order of their own, so that a lane reads 16 bytes of them.
//! kernel  recur_mma  recurrent layer, weights in registers
//! knob    WARPS   4 8 16
//! knob    BLOCKS  1 2 4 8 16 32 64 128
//! knob    SPLIT   1 2 4 8 16
//! knob    COLS    8 16 32
//! switch  GRID    0 1
//! require GRID ? SHOWS && BLOCKS > 1 && BLOCKS * DIRECTIONS <= SMS * 4 / 5 * (WARPS == 4 ? 2 : 1) : BLOCKS == 1 || CLUSTERS && BLOCKS <= MAX_CLUSTER
//! require (BLOCKS - 1) * ((H + BLOCKS * 8 - 1) / (BLOCKS * 8) * 8) < H
//! require SPLIT <= WARPS && SPLIT <= (H + 31) / 32
//! require WARPS / SPLIT <= (GATES * ((H + BLOCKS * 8 - 1) / (BLOCKS * 8) * 8) + 15) / 16
//! require (((GATES * ((H + BLOCKS * 8 - 1) / (BLOCKS * 8) * 8) + 15) / 16 + WARPS / SPLIT - 1) / (WARPS / SPLIT)) * (((H + 31) / 32 + SPLIT - 1) / SPLIT * 8 + COLS / 2) <= (WARPS == 16 ? 72 : 160)
//! require 4 * COLS * ((H + 31) / 32 * 32 + 32) + SPLIT * (GATES * ((H + BLOCKS * 8 - 1) / (BLOCKS * 8) * 8) + 15) * (COLS + 2) * 4 <= SMEM_MAX / (GRID && WARPS == 4 ? 2 : 1)
#include "tn_mma.cuh"
#include "tn_shown.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"
#define TN_FAST_CELL
#include "tn_cell.cuh"
#undef TN_FAST_CELL

enum {
    THREADS = TN_WARPS * 32,
    COLS = TN_COLS,
    UNITS = (TN_H + TN_BLOCKS * 8 - 1) / (TN_BLOCKS * 8) * 8,
    M_TILES = (TN_GATES * UNITS + 15) / 16,
    GROUPS = TN_WARPS / TN_SPLIT,
    TM = (M_TILES + GROUPS - 1) / GROUPS, // tiles of rows of a warp
    K_PAIRS = (TN_H + 31) / 32,
    TK = (K_PAIRS + TN_SPLIT - 1) / TN_SPLIT, // pairs of tiles of the sum of a warp
    N_TILES = COLS / 8,
    CHAINS = TM * N_TILES < 4 ? 2 : 1, // sums side by side
    STRIDE = K_PAIRS * 32 + (K_PAIRS % 2 ? 0 : 32), // of a sequence's state: 64 bytes more than a multiple of 128
    SUMS = COLS + 2,
    ITEMS = (UNITS * COLS + THREADS - 1) / THREADS
};

enum { CLUSTERED = TN_BLOCKS > 1 && !TN_GRID, CHUNKS = UNITS / 8, ALL_CHUNKS = TN_H / 8 };

TN_DEV void sync_all() {
    if (CLUSTERED) tn_cluster_sync();
    else __syncthreads();
}

#if TN_GRID
TN_DEV tn_elem *row_at(const tn_args &args, tn_index t, tn_index d, tn_index b) {
    return tn_y(args) + ((t * TN_DIRECTIONS + d) * TN_SEQUENCES + b) * TN_H;
}

// This block's units of step t.
TN_DEV void show(const tn_args &args, tn_index t, tn_index d, tn_index b0, int cols, int first, const tn_elem *state) {
    for (int i = (int)threadIdx.x; i < CHUNKS * cols; i += THREADS) {
        const int u = first + i % CHUNKS * 8, b = i / CHUNKS;
        tn_bits16 v = {0, 0, 0, 0};
        if (u >= TN_H) continue;
        if (tn_goes_on(args, b0 + b, t)) v = tn_lds16(tn_smem_addr(state + b * STRIDE + u));
        tn_st_shown16(row_at(args, t, d, b0 + b) + u, v);
    }
}

// The other blocks' units, as soon as they are there.  A sequence that does not go on keeps what it has.
TN_DEV void look(const tn_args &args, tn_index t, tn_index d, tn_index b0, int cols, int first, tn_elem *state) {
    enum { DEPTH = COLS * ALL_CHUNKS > 2 * THREADS ? 4 : COLS * ALL_CHUNKS > THREADS ? 2 : 1 };
    for (int from = (int)threadIdx.x; from < cols * ALL_CHUNKS; from += DEPTH * THREADS) {
        tn_bits16 v[DEPTH];
        bool wanted[DEPTH], waits = true;
        TN_UNROLL
        for (int j = 0; j < DEPTH; j++) {
            const int i = from + j * THREADS, u = i % ALL_CHUNKS * 8, b = i / ALL_CHUNKS;
            wanted[j] = i < cols * ALL_CHUNKS && (u < first || u >= first + UNITS) && tn_goes_on(args, b0 + b, t);
        }
        while (waits) {
            waits = false;
            TN_UNROLL
            for (int j = 0; j < DEPTH; j++) {
                const int i = from + j * THREADS;
                if (wanted[j]) v[j] = tn_ld_shown16(row_at(args, t, d, b0 + i / ALL_CHUNKS) + i % ALL_CHUNKS * 8);
            }
            TN_UNROLL
            for (int j = 0; j < DEPTH; j++) waits |= wanted[j] && !tn_is_shown(v[j]);
        }
        TN_UNROLL
        for (int j = 0; j < DEPTH; j++) {
            const int i = from + j * THREADS;
            if (wanted[j]) *(tn_word16 *)(state + i / ALL_CHUNKS * STRIDE + i % ALL_CHUNKS * 8) = *(const tn_word16 *)&v[j];
        }
    }
}
#endif

extern "C" __global__ void __launch_bounds__(THREADS) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_DYNAMIC_SMEM(memory);
    tn_elem *const state = (tn_elem *)memory;                    // [2][COLS][STRIDE]
    float *const partial = (float *)(state + 2 * COLS * STRIDE); // [SPLIT][M_TILES * 16][SUMS]
    const int tid = (int)threadIdx.x, warp = tid / 32, lane = tid % 32, g = lane / 4, q = lane % 4;
    const int group = warp / TN_SPLIT, part = warp % TN_SPLIT, rank = TN_GRID ? (int)blockIdx.x : tn_cluster_rank(),
              first = rank * UNITS;
    const tn_index d = (tn_index)blockIdx.z, steps = TN_STEPS;
    const bool reverse = TN_REVERSE || d == 1;

    if (!TN_R_CONST) TN_WAIT();
    unsigned a[TM][TK][2][4];
    TN_UNROLL
    for (int m = 0; m < TM; m++)
        TN_UNROLL
        for (int p = 0; p < TK; p++)
            TN_UNROLL
            for (int half = 0; half < 2; half++) {
                const int row = (group * TM + m) * 16 + half * 8 + g, u = first + row % UNITS, k = (part * TK + p) * 32 + q * 8;
                tn_bits16 w = {0, 0, 0, 0};
                if (row < TN_GATES * UNITS && u < TN_H && k < TN_H) {
                    float v[8];
                    tn_load_r(args, d, (tn_index)(row / UNITS) * TN_H + u, k, v);
                    tn_pack16(v, w, tn_elem());
                }
                a[m][p][0][half] = w.x;
                a[m][p][0][2 + half] = w.y;
                a[m][p][1][half] = w.z;
                a[m][p][1][2 + half] = w.w;
            }
    if (TN_R_CONST) TN_WAIT();

    for (tn_index b0 = (tn_index)blockIdx.y * COLS; b0 < TN_SEQUENCES; b0 += (tn_index)gridDim.y * COLS) {
        const int cols = TN_SEQUENCES - b0 < COLS ? (int)(TN_SEQUENCES - b0) : COLS;
        for (int i = tid; i < 2 * COLS * STRIDE; i += THREADS) {
            const int b = i / STRIDE % COLS, k = i % STRIDE;
            float h[1] = {0};
            if (b < cols && k < TN_H) tn_load_h(args, d, b0 + b, k, h);
            tn_from_reg(state[i], h[0]);
        }
        float h[ITEMS], c[ITEMS], x[ITEMS][TN_GATES];
        tn_unit<float> unit[ITEMS];
        bool mine[ITEMS];
        TN_UNROLL
        for (int i = 0; i < ITEMS; i++) {
            const int at = tid + i * THREADS, u = at % UNITS, b = at / UNITS;
            float v[1] = {0};
            mine[i] = b < cols && first + u < TN_H;
            h[i] = c[i] = 0;
            if (!mine[i]) continue;
            tn_load_h(args, d, b0 + b, first + u, v);
            h[i] = v[0];
#if TN_HAS_CELL
            tn_load_c(args, d, b0 + b, first + u, v);
            c[i] = v[0];
#endif
            tn_load_unit(args, d, first + u, unit[i]);
            TN_UNROLL
            for (int k = 0; k < TN_GATES && steps > 0; k++) {
                tn_load_x(args, reverse ? steps - 1 : 0, b0 + b, (d * TN_GATES + k) * TN_H + first + u, v);
                x[i][k] = v[0];
            }
        }
        sync_all(); // every block of the cluster is there
        for (tn_index s = 0; s < steps; s++) {
            const tn_index t = reverse ? steps - 1 - s : s, next = reverse ? t - 1 : t + 1;
            const tn_elem *const old = state + (s & 1) * COLS * STRIDE;
            tn_elem *const now = state + (~s & 1) * COLS * STRIDE;
            float acc[TM][N_TILES][CHAINS][4];
            TN_UNROLL
            for (int m = 0; m < TM; m++)
                TN_UNROLL
                for (int n = 0; n < N_TILES; n++)
                    TN_UNROLL
                    for (int j = 0; j < CHAINS; j++)
                        TN_UNROLL
                        for (int i = 0; i < 4; i++) acc[m][n][j][i] = 0;
            TN_UNROLL
            for (int p = 0; p < TK; p++) {
                if (part * TK + p >= K_PAIRS) continue;
                TN_UNROLL
                for (int n = 0; n < N_TILES; n++) {
                    const tn_bits16 w = tn_lds16(tn_smem_addr(old + (n * 8 + g) * STRIDE + (part * TK + p) * 32 + q * 8));
                    TN_UNROLL
                    for (int m = 0; m < TM; m++) {
                        tn_mma(acc[m][n][0], a[m][p][0], w.x, w.y, tn_elem());
                        tn_mma(acc[m][n][CHAINS - 1], a[m][p][1], w.z, w.w, tn_elem());
                    }
                }
            }
            TN_UNROLL
            for (int m = 0; m < TM; m++) {
                if (group * TM + m >= M_TILES) continue;
                float *const to = partial + (part * M_TILES * 16 + (group * TM + m) * 16 + g) * SUMS + q * 2;
                TN_UNROLL
                for (int n = 0; n < N_TILES; n++)
                    TN_UNROLL
                    for (int i = 0; i < 4; i++)
                        to[i / 2 * 8 * SUMS + n * 8 + i % 2] =
                            CHAINS == 2 ? acc[m][n][0][i] + acc[m][n][CHAINS - 1][i] : acc[m][n][0][i];
            }
            __syncthreads();
            float y[ITEMS];
            TN_UNROLL
            for (int i = 0; i < ITEMS; i++) {
                const int at = tid + i * THREADS, u = at % UNITS, b = at / UNITS;
                y[i] = 0;
                if (!mine[i]) continue;
                if (tn_goes_on(args, b0 + b, t)) {
                    float r[TN_GATES];
                    TN_UNROLL
                    for (int k = 0; k < TN_GATES; k++) {
                        r[k] = 0;
                        TN_UNROLL
                        for (int j = 0; j < TN_SPLIT; j++) r[k] += partial[(j * M_TILES * 16 + k * UNITS + u) * SUMS + b];
                    }
                    tn_cell_step(x[i], r, unit[i], h[i], c[i]);
                    y[i] = h[i] = tn_as_stored<tn_elem>(h[i]);
                }
                tn_from_reg(now[b * STRIDE + first + u], h[i]);
            }
            __syncthreads();
            if (CLUSTERED) {
                for (int i = tid; i < CHUNKS * (TN_BLOCKS - 1) * cols; i += THREADS) {
                    const int chunk = i % CHUNKS, b = i / CHUNKS % cols, to = (rank + 1 + i / CHUNKS / cols) % TN_BLOCKS;
                    if (first + chunk * 8 >= TN_H) continue;
                    const unsigned from = tn_smem_addr(now + b * STRIDE + first + chunk * 8);
                    tn_cluster_sts16(from, to, tn_lds16(from));
                }
                tn_cluster_arrive();
            }
#if TN_GRID
            show(args, t, d, b0, cols, first, now);
#endif
            TN_UNROLL
            for (int i = 0; i < ITEMS; i++) {
                const int at = tid + i * THREADS, u = at % UNITS, b = at / UNITS;
                if (!mine[i]) continue;
                TN_UNROLL
                for (int k = 0; k < TN_GATES && s + 1 < steps; k++) {
                    float v[1];
                    tn_load_x(args, next, b0 + b, (d * TN_GATES + k) * TN_H + first + u, v);
                    x[i][k] = v[0];
                }
                const float v[1] = {y[i]};
                if (!TN_GRID) tn_epilogue(args, t, d, b0 + b, first + u, v);
            }
            if (CLUSTERED) tn_cluster_wait();
#if TN_GRID
            if (s + 1 < steps) look(args, t, d, b0, cols, first, now);
            __syncthreads();
#endif
        }
        TN_UNROLL
        for (int i = 0; i < ITEMS; i++) {
            const int at = tid + i * THREADS, u = at % UNITS, b = at / UNITS;
            if (!mine[i]) continue;
            const float last[1] = {h[i]}, cell[1] = {c[i]};
            tn_epilogue(args, steps, d, b0 + b, first + u, last);
            if (TN_HAS_CELL) tn_epilogue(args, steps + 1, d, b0 + b, first + u, cell);
        }
    }
}
#include "tn_variant_end.cuh"
