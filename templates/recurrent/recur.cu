// recur.cu: recurrent layers of any dtype and size.  A cluster of blocks holds the state of BATCH sequences in one direction over all
// steps: each block computes its share of the units, and gives every block of the cluster the new state.
//
// GRID: blocks that all run at the same time take the place of a cluster; they give each other the state through the result, which was
// filled with ones (recur_mma.cu).  A warp sums up a row of the recurrent weight after the other; KEEP: rows lie in shared memory.  HOLD: they
// are in registers for all steps, each thread a part of so many rows; 16 bytes of state serve all of them, and lanes share out the sums.
// What the input gives to a step is read while the step before it is computed.
//! kernel  recur   y[t, d, b, :] = cell(x[t, b, d, :], r[d] * y[t - 1, d, b, :]), weights through shared memory
//! knob    BLOCK   128 512
//! knob    BLOCKS  1 4 8 32 64 128
//! knob    BATCH   1 2 4 16
//! knob    HOLD    0 2 4
//! switch  KEEP    0 1
//! switch  GRID    0 1
//! require GRID ? SHOWS && BLOCKS > 1 && H % (4 * BLOCKS) == 0 && BLOCKS * DIRECTIONS <= SMS * 4 / 5 * (BLOCK == 128 ? 2 : 1) : BLOCKS == 1 || CLUSTERS && BLOCKS <= 8
//! require BATCH <= 4 || hint(SEQUENCES) > 4
//! require HOLD == 0 || KEEP == 0 && PHASES == 1 && ACC == 4 && R_VEC <= 4 && H % (4 * BLOCKS) == 0 && GATES * H * H <= (96 - HOLD * BATCH) * BLOCK * BLOCKS
//! require HOLD == 0 || BLOCK * HOLD * BLOCKS == 4 * GATES * H && H % 16 == 0 || BLOCK * HOLD * BLOCKS == 8 * GATES * H && H % 32 == 0 || BLOCK * HOLD * BLOCKS == 16 * GATES * H && H % 64 == 0 || BLOCK * HOLD * BLOCKS == 32 * GATES * H && H % 128 == 0
//! require (BLOCKS - 1) * ((H + BLOCKS - 1) / BLOCKS) < H
//! require ((2 + PHASES - 1) * BATCH * H + (GATES + 1) * BATCH * ((H + BLOCKS - 1) / BLOCKS)) * ACC + KEEP * GATES * ((H + BLOCKS - 1) / BLOCKS) * H * ELT <= SMEM_MAX / (GRID && BLOCK == 128 ? 2 : 1)
#include "tn_mma.cuh"
#include "tn_shown.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"
#include "tn_cell.cuh"

enum { UNITS = (TN_H + TN_BLOCKS - 1) / TN_BLOCKS, WARPS = TN_BLOCK / 32, BATCH = TN_BATCH };

TN_DEV void sync() {
    if (TN_BLOCKS > 1 && !TN_GRID) tn_cluster_sync();
    else __syncthreads();
}

#if TN_GRID
TN_DEV tn_elem *row_at(const tn_args &args, tn_index t, tn_index d, tn_index b) {
    return tn_y(args) + ((t * TN_DIRECTIONS + d) * TN_SEQUENCES + b) * TN_H;
}

// The other blocks' units of step t, as soon as they are there.  A sequence that does not go on keeps what it has.
TN_DEV void look(const tn_args &args, tn_index t, tn_index d, tn_index b0, int first, tn_acc *state) {
    for (int i = (int)threadIdx.x; i < BATCH * (TN_H / 4); i += TN_BLOCK) {
        const int u = i % (TN_H / 4) * 4, b = i / (TN_H / 4);
        if (b0 + b >= TN_SEQUENCES || (u >= first && u < first + UNITS) || !tn_goes_on(args, b0 + b, t)) continue;
        tn_bits16 v = {~0u, 0, 0, 0};
        while (!tn_is_shown(v)) v = tn_ld_shown16(row_at(args, t, d, b0 + b) + u);
        tn_acc *const to = state + b * TN_H + u;
        to[0] = tn_bits_float(v.x), to[1] = tn_bits_float(v.y), to[2] = tn_bits_float(v.z), to[3] = tn_bits_float(v.w);
    }
}
#endif

// To every block of the cluster.
TN_DEV void give(tn_acc *to, tn_acc v) {
    *to = v;
    const int me = tn_cluster_rank();
    for (int k = 1; k < TN_BLOCKS && !TN_GRID; k++) tn_cluster_sts(tn_smem_addr(to), (me + k) % TN_BLOCKS, v);
}

// sums[row][b] for the gates from .. to - 1 of this block's units.
TN_DEV void multiply(const tn_args &args, tn_index d, int first, int from, int to, const tn_elem *kept, const tn_acc *v,
                     tn_acc *sums) {
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    for (int row = from * UNITS + warp; row < to * UNITS; row += WARPS) {
        const int u = first + row % UNITS;
        if (u >= TN_H) continue;
        const tn_index j = (tn_index)(row / UNITS) * TN_H + u;
        tn_acc acc[BATCH];
        TN_UNROLL
        for (int b = 0; b < BATCH; b++) acc[b] = (tn_acc)0;
        for (int k = lane * TN_R_VEC; k < TN_H; k += 32 * TN_R_VEC) {
            tn_acc w[TN_R_VEC];
            if (TN_KEEP) {
                TN_UNROLL
                for (int i = 0; i < TN_R_VEC; i++) w[i] = tn_to_reg(kept[(long long)row * TN_H + k + i]);
            } else {
                tn_load_r(args, d, j, k, w);
            }
            TN_UNROLL
            for (int b = 0; b < BATCH; b++)
                TN_UNROLL
                for (int i = 0; i < TN_R_VEC; i++) acc[b] = tn_mad(w[i], v[b * TN_H + k + i], acc[b]);
        }
        TN_UNROLL
        for (int b = 0; b < BATCH; b++) {
            const tn_acc sum = tn_warp_reduce<tn_sum_op, 32>(acc[b]);
            if (lane == 0) sums[row * BATCH + b] = sum;
        }
    }
}

#if TN_HOLD
enum { LANES = TN_BLOCK * TN_HOLD / (TN_GATES * UNITS), PART = TN_H / LANES, SUMS = TN_HOLD * BATCH };

// This thread's part of its rows: every LANES-th four.
TN_DEV void hold(const tn_args &args, tn_index d, int first, tn_acc (&w)[TN_HOLD][PART]) {
    const int group = (int)threadIdx.x / LANES, lane = (int)threadIdx.x % LANES;
    TN_UNROLL
    for (int r = 0; r < TN_HOLD; r++) {
        const int row = group * TN_HOLD + r;
        const tn_index j = (tn_index)(row / UNITS) * TN_H + first + row % UNITS;
        TN_UNROLL
        for (int k = 0; k < PART; k += TN_R_VEC) {
            tn_acc v[TN_R_VEC];
            tn_load_r(args, d, j, (k / 4 * LANES + lane) * 4 + k % 4, v);
            TN_UNROLL
            for (int i = 0; i < TN_R_VEC; i++) w[r][k + i] = v[i];
        }
    }
}

// N sums over 2 D lanes, of which each lane gets an equal part, from `first` on; of fewer sums than lanes several get the same.
template <int N, int D> TN_DEV void share_out(tn_acc (&v)[SUMS], int lane, int &first) {
    if constexpr (D > 0 && N > 1) {
        const bool upper = (lane & D) != 0;
        TN_UNROLL
        for (int i = 0; i < N / 2; i++) {
            const tn_acc mine = upper ? v[N / 2 + i] : v[i], other = upper ? v[i] : v[N / 2 + i];
            v[i] = mine + tn_shuffle_xor(other, D);
        }
        if (upper) first += N / 2;
        share_out<N / 2, D / 2>(v, lane, first);
    } else if constexpr (D > 0) {
        v[0] += tn_shuffle_xor(v[0], D);
        share_out<N, D / 2>(v, lane, first);
    }
}

// As multiply() does, of all gates.
TN_DEV void multiply_held(const tn_acc (&w)[TN_HOLD][PART], const tn_acc *v, tn_acc *sums) {
    const int group = (int)threadIdx.x / LANES, lane = (int)threadIdx.x % LANES;
    tn_acc acc[SUMS];
    TN_UNROLL
    for (int b = 0; b < BATCH; b++) {
        TN_UNROLL
        for (int r = 0; r < TN_HOLD; r++) acc[r * BATCH + b] = (tn_acc)0;
        TN_UNROLL
        for (int k = 0; k < PART; k += 4) {
            const tn_bits16 bits = tn_lds16(tn_smem_addr(v + b * TN_H + (k / 4 * LANES + lane) * 4));
            const tn_acc h[4] = {tn_bits_float(bits.x), tn_bits_float(bits.y), tn_bits_float(bits.z), tn_bits_float(bits.w)};
            TN_UNROLL
            for (int r = 0; r < TN_HOLD; r++)
                TN_UNROLL
                for (int i = 0; i < 4; i++) acc[r * BATCH + b] = tn_mad(w[r][k + i], h[i], acc[r * BATCH + b]);
        }
    }
    enum { EACH = SUMS > LANES ? SUMS / LANES : 1, SAME = LANES > SUMS ? LANES / SUMS : 1 };
    int first = 0;
    share_out<SUMS, LANES / 2>(acc, lane, first);
    TN_UNROLL
    for (int i = 0; i < EACH; i++)
        if (lane % SAME == 0) sums[group * SUMS + first + i] = acc[i];
}
#endif

// What the input gives to element i of step t.
TN_DEV void read_input(const tn_args &args, tn_index t, tn_index d, tn_index b0, int first, int i, tn_acc (&x)[TN_GATES]) {
    const int u = i % UNITS, b = i / UNITS;
    if (i >= BATCH * UNITS || first + u >= TN_H || b0 + b >= TN_SEQUENCES || !tn_goes_on(args, b0 + b, t)) return;
    TN_UNROLL
    for (int k = 0; k < TN_GATES; k++) {
        tn_acc v[1];
        tn_load_x(args, t, b0 + b, (d * TN_GATES + k) * TN_H + first + u, v);
        x[k] = v[0];
    }
}

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_DYNAMIC_SMEM(memory);
    tn_acc *const state = (tn_acc *)memory;             // [2][BATCH][H]: before and after a step
    tn_acc *const reset = state + 2 * BATCH * TN_H;     // gru: [BATCH][H]
    tn_acc *const sums = reset + (TN_PHASES - 1) * BATCH * TN_H; // [gates][UNITS][BATCH]
    tn_acc *const cells = sums + TN_GATES * UNITS * BATCH;       // [BATCH][UNITS]
    tn_elem *const kept = (tn_elem *)(cells + UNITS * BATCH);    // [gates][UNITS][H]
    const int tid = (int)threadIdx.x, rank = TN_GRID ? (int)blockIdx.x : tn_cluster_rank(), first = rank * UNITS;
    const tn_index d = (tn_index)blockIdx.z, steps = TN_STEPS;
    const bool reverse = TN_REVERSE || d == 1;
    if (!TN_R_CONST) TN_WAIT();
    for (int i = tid; TN_KEEP && i < TN_GATES * UNITS * (TN_H / TN_R_VEC); i += TN_BLOCK) {
        const int row = i / (TN_H / TN_R_VEC), k = i % (TN_H / TN_R_VEC) * TN_R_VEC, u = first + row % UNITS;
        tn_acc w[TN_R_VEC];
        if (u >= TN_H) continue;
        tn_load_r(args, d, (tn_index)(row / UNITS) * TN_H + u, k, w);
        TN_UNROLL
        for (int j = 0; j < TN_R_VEC; j++) tn_from_reg(kept[(long long)row * TN_H + k + j], w[j]);
    }
#if TN_HOLD
    tn_acc held[TN_HOLD][PART];
    hold(args, d, first, held);
#endif
    if (TN_R_CONST) TN_WAIT();
    for (tn_index b0 = (tn_index)blockIdx.y * BATCH; b0 < TN_SEQUENCES; b0 += (tn_index)gridDim.y * BATCH) {
        for (int i = tid; i < BATCH * TN_H; i += TN_BLOCK) {
            tn_acc h[1] = {(tn_acc)0};
            if (b0 + i / TN_H < TN_SEQUENCES) tn_load_h(args, d, b0 + i / TN_H, i % TN_H, h);
            state[i] = state[BATCH * TN_H + i] = h[0];
            if (TN_PHASES == 2) reset[i] = (tn_acc)0;
        }
        for (int i = tid; i < BATCH * UNITS; i += TN_BLOCK) {
            tn_acc c[1] = {(tn_acc)0};
#if TN_HAS_CELL
            if (first + i % UNITS < TN_H && b0 + i / UNITS < TN_SEQUENCES) tn_load_c(args, d, b0 + i / UNITS, first + i % UNITS, c);
#endif
            cells[i] = c[0];
        }
        tn_acc next[TN_GATES] = {};
        if (TN_PHASES == 1 && steps > 0) read_input(args, reverse ? steps - 1 : 0, d, b0, first, tid, next);
        sync(); // every block of the cluster is there
        for (tn_index s = 0; s < steps; s++) {
            const tn_index t = reverse ? steps - 1 - s : s;
            const tn_acc *const old = state + (s & 1) * BATCH * TN_H;
            tn_acc *const now = state + (~s & 1) * BATCH * TN_H;
#if TN_HOLD
            multiply_held(held, old, sums);
#else
            multiply(args, d, first, 0, TN_PHASES == 2 ? 2 : TN_GATES, kept, old, sums);
#endif
            __syncthreads();
            if (TN_PHASES == 2) {
                for (int i = tid; i < BATCH * UNITS; i += TN_BLOCK) {
                    const int u = i % UNITS, b = i / UNITS;
                    if (first + u >= TN_H || b0 + b >= TN_SEQUENCES) continue;
                    tn_acc x[1];
                    tn_load_x(args, t, b0 + b, (d * TN_GATES + 0) * TN_H + first + u, x);
                    sums[u * BATCH + b] = tn_gate(x[0] + sums[u * BATCH + b]);
                    tn_load_x(args, t, b0 + b, (d * TN_GATES + 1) * TN_H + first + u, x);
                    const tn_acc r = tn_gate(x[0] + sums[(UNITS + u) * BATCH + b]);
                    give(&reset[b * TN_H + first + u], r * old[b * TN_H + first + u]);
                }
                sync();
                multiply(args, d, first, 2, 3, kept, reset, sums);
                __syncthreads();
            }
            for (int i = tid; i < BATCH * UNITS; i += TN_BLOCK) {
                const int u = i % UNITS, b = i / UNITS;
                if (first + u >= TN_H || b0 + b >= TN_SEQUENCES) continue;
                tn_acc y[1] = {(tn_acc)0}, h = old[b * TN_H + first + u];
                if (tn_goes_on(args, b0 + b, t)) {
                    tn_acc x[TN_GATES], r[TN_GATES];
                    TN_UNROLL
                    for (int k = 0; k < TN_GATES; k++) x[k] = next[k], r[k] = sums[(k * UNITS + u) * BATCH + b];
                    if (TN_PHASES == 2 || i != tid) read_input(args, t, d, b0, first, i, x);
                    if (TN_CELL == TN_GRU) {
                        const tn_acc n = tn_tanh(tn_clipped(x[TN_GATES - 1] + r[TN_GATES - 1]));
                        h = ((tn_acc)1 - r[0]) * n + r[0] * h;
                    } else {
                        tn_unit<tn_acc> unit;
                        tn_load_unit(args, d, first + u, unit);
                        tn_cell_step(x, r, unit, h, cells[i]);
                    }
                    h = y[0] = tn_as_stored<tn_elem>(h);
                }
                if (TN_PHASES == 1 && i == tid && s + 1 < steps) read_input(args, reverse ? t - 1 : t + 1, d, b0, first, i, next);
                give(&now[b * TN_H + first + u], h);
#if TN_GRID
                const unsigned bits = tn_float_bits(y[0]);
                tn_st_shown4(row_at(args, t, d, b0 + b) + first + u, bits == ~0u ? bits >> 1 : bits);
#else
                tn_epilogue(args, t, d, b0 + b, first + u, y);
#endif
            }
#if TN_GRID
            if (s + 1 < steps) look(args, t, d, b0, first, now);
#endif
            sync();
        }
        for (int i = tid; i < BATCH * UNITS; i += TN_BLOCK) {
            const int u = i % UNITS, b = i / UNITS;
            if (first + u >= TN_H || b0 + b >= TN_SEQUENCES) continue;
            const tn_acc h[1] = {state[((steps & 1) * BATCH + b) * TN_H + first + u]}, c[1] = {cells[i]};
            tn_epilogue(args, steps, d, b0 + b, first + u, h);
            if (TN_HAS_CELL) tn_epilogue(args, steps + 1, d, b0 + b, first + u, c);
        }
        __syncthreads(); // the next sequences' states may be written
    }
}
#include "tn_variant_end.cuh"
