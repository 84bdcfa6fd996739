// gemv_mma.cu: C[b, m, n] = epilogue(sum over k of A[b, m, k] * B[b, n, k]) for up to 16 rows m of 16 bits: streams B once at memory speed,
// whatever the number of rows, since tensor cores multiply.
//
// B is stored along k.  A warp owns TILES times 16 consecutive n, which are the rows of m16n8k16, and rows of A its columns.  It walks k in
// units of 128 bytes, DEPTH of them in flight, in registers from where they come: of each 64 bytes of a row a lane has 16, and what these
// are called along k is the same for A, so that nothing has to be moved.  KSPLIT warps share the same n and take every KSPLIT-th unit; their
// sums are added up in shared memory, in a fixed order.  PACK: B is a constant whose tiles of 16 rows x 128 bytes lie one behind the other.
// Where B is constant its first DEPTH units are requested before TN_WAIT().
//
//! kernel  gemv_mma  small-M matrix product on tensor cores, weights streamed
//! knob    TILES   1 2
//! knob    WARPS   2 4 8 16
//! knob    KSPLIT  1 2 4 8 16
//! knob    DEPTH   1 2 4
//! switch  PACK    0 1
//! require PACK ? B_PACKS : B_STREAMS
//! require KSPLIT <= WARPS && WARPS <= 4 * KSPLIT
//! require TILES * DEPTH <= 4
//! require (DEPTH * KSPLIT == 1) || (DEPTH * KSPLIT / 2) * 128 < hint(K) * ELT
#include "tn_mma.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"
#include "tn_finish.cuh"

constexpr int TILES = TN_TILES, WARPS = TN_WARPS, KSPLIT = TN_KSPLIT, DEPTH = TN_DEPTH, HALVES = (TN_M_MAX + 7) / 8;
constexpr int THREADS = WARPS * 32, WARP_N = TILES * 16, BLOCK_N = WARPS / KSPLIT * WARP_N;
constexpr int VEC = TN_N_VEC; // columns that the epilogue wants together
constexpr int CHUNK = 8, UNIT = 64;
constexpr int ROW = WARP_N + 4; // of partial sums: all lanes of a store meet different banks

typedef tn_pack<tn_elem, CHUNK> chunk;

// Of the two elements 2i and 2i + 1.
TN_DEV unsigned pair(const chunk &c, int i) { return (unsigned)c.v[2 * i].bits | (unsigned)c.v[2 * i + 1].bits << 16; }

struct place {
    int b, n, g, t; // the warp's first n; where the lane stands
    TN_MEMBER int k(int unit, int half) const { return unit * UNIT + half * 32 + t * CHUNK; }
};

TN_DEV chunk weight(const tn_args &args, int b, int n, int k) {
#if TN_PACK
    const tn_index tile = (tn_batch_b(args, b) * TN_B_BANDS + n / 16) * TN_B_TILES + k / UNIT;
    const tn_elem *p = tn_b(args) + ((long long)tile * 16 + n % 16) * UNIT + k % UNIT;
#else
    const tn_elem *p = tn_b(args) + tn_offset_b(args, tn_batch_b(args, b), n, k);
#endif
    if (!TN_B_CONST) return tn_load<CHUNK, CHUNK>(p);
    chunk w;
    *(tn_bits16 *)w.v = tn_ld_early16(p);
    return w;
}

// A lane's part of a unit of the warp's rows of B; zero outside.
struct weights {
    chunk w[TILES][2][2]; // rows g and g + 8 of each tile, halves of the unit
    TN_MEMBER void load(const tn_args &args, const place &at, int unit) {
        TN_UNROLL
        for (int i = 0; i < TILES * 4; i++) {
            const int n = at.n + i / 4 * 16 + i / 2 % 2 * 8 + at.g, k = at.k(unit, i % 2);
            chunk &c = w[i / 4][i / 2 % 2][i % 2];
            if (k < (int)TN_K && n < (int)TN_N) {
                c = weight(args, at.b, n, k);
            } else {
                const tn_bits16 zero = {0, 0, 0, 0};
                *(tn_bits16 *)c.v = zero;
            }
        }
    }
};

// Elements k ... k + CHUNK - 1 of row m of A, which are counted for a norm; zero outside.
TN_DEV chunk row_of_a(const tn_args &args, int b, int m, int k, tn_row_sums &sums) {
    chunk c;
    TN_UNROLL
    for (int j = 0; j < CHUNK; j += TN_A_VEC) {
        float x[TN_A_VEC];
        TN_UNROLL
        for (int i = 0; i < TN_A_VEC; i++) x[i] = 0.0f;
        if (m < (int)TN_M && k + j < (int)TN_K) tn_load_a(args, tn_batch_a(args, b), m, k + j, x);
        TN_UNROLL
        for (int i = 0; i < TN_A_VEC; i++) {
            tn_put(&c.v[j + i], x[i]);
            if (TN_NORM) sums.add(x[i]);
        }
    }
    return c;
}

struct sums {
    float c[TILES][HALVES][4];
    tn_row_sums row[HALVES]; // over what the lane has of rows g and g + 8 of A
    TN_MEMBER void multiply(const tn_args &args, const place &at, int unit, const weights &x) {
        TN_UNROLL
        for (int h = 0; h < 2 * HALVES; h++) {
            const chunk a = row_of_a(args, at.b, h / 2 * 8 + at.g, at.k(unit, h % 2), row[h / 2]);
            TN_UNROLL
            for (int i = 0; i < TILES * 2; i++) {
                const chunk &lo = x.w[i / 2][0][h % 2], &hi = x.w[i / 2][1][h % 2];
                const int q = i % 2 * 2;
                const unsigned w[4] = {pair(lo, q), pair(hi, q), pair(lo, q + 1), pair(hi, q + 1)};
                tn_mma(c[i / 2][h / 2], w, pair(a, q), pair(a, q + 1), tn_elem());
            }
        }
    }
    // As rows of m; row sums behind a row's products.
    TN_MEMBER void store(float *partial, const place &at) const {
        TN_UNROLL
        for (int i = 0; i < TILES * HALVES * 4; i++) {
            const int m = i / 4 % HALVES * 8 + at.t * 2 + i % 2, n = i / 4 / HALVES * 16 + i / 2 % 2 * 8 + at.g;
            partial[m * ROW + n] = c[i / 4 / HALVES][i / 4 % HALVES][i % 4];
        }
        TN_UNROLL
        for (int h = 0; h < HALVES && TN_NORM; h++) {
            tn_row_sums all = row[h];
            all.join(1);
            all.join(2);
            if (at.t) continue;
            partial[(h * 8 + at.g) * ROW + WARP_N] = all.sum;
            partial[(h * 8 + at.g) * ROW + WARP_N + 1] = all.squares;
        }
    }
};

extern "C" __global__ void __launch_bounds__(THREADS) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_DYNAMIC_SMEM(memory);
    constexpr int ROWS = HALVES * 8;
    float *partial = (float *)memory; // [WARPS][ROWS][ROW]
    const int blocks_n = ((int)TN_N + BLOCK_N - 1) / BLOCK_N;
    const int b = (int)blockIdx.x / blocks_n, block_n = ((int)blockIdx.x - b * blocks_n) * BLOCK_N;
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    const place at = {b, block_n + warp / KSPLIT * WARP_N, lane / 4, lane % 4};
    const int units = ((int)TN_K + UNIT - 1) / UNIT, first = warp % KSPLIT;

    weights w[DEPTH];
    if (!TN_B_CONST) TN_WAIT();
    TN_UNROLL
    for (int u = 0; u < DEPTH; u++) w[u].load(args, at, first + u * KSPLIT);
    if (TN_B_CONST) TN_WAIT();

    sums acc = {};
    for (int unit = first; unit < units; unit += KSPLIT * DEPTH) {
        TN_UNROLL
        for (int u = 0; u < DEPTH; u++) {
            acc.multiply(args, at, unit + u * KSPLIT, w[u]);
            w[u].load(args, at, unit + (u + DEPTH) * KSPLIT);
        }
    }
    acc.store(partial + warp * ROWS * ROW, at);
    __syncthreads();

    for (int i = (int)threadIdx.x; i < TN_M_MAX * BLOCK_N / VEC; i += THREADS) {
        const int m = i / (BLOCK_N / VEC), column = i % (BLOCK_N / VEC) * VEC;
        const float *p = partial + (column / WARP_N * KSPLIT * ROWS + m) * ROW;
        float sum[VEC];
        tn_row_sums row = {0, 0};
        TN_UNROLL
        for (int v = 0; v < VEC; v++) {
            sum[v] = 0.0f;
            TN_UNROLL
            for (int s = 0; s < KSPLIT; s++) sum[v] += p[s * ROWS * ROW + column % WARP_N + v];
        }
        TN_UNROLL
        for (int s = 0; s < KSPLIT && TN_NORM; s++) {
            row.sum += p[s * ROWS * ROW + WARP_N];
            row.squares += p[s * ROWS * ROW + WARP_N + 1];
        }
        if (m < (int)TN_M && block_n + column < (int)TN_N) tn_finish(args, b, m, block_n + column, sum, tn_row_scale::of(row));
    }
}
#include "tn_variant_end.cuh"
