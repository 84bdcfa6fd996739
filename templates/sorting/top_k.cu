// top_k.cu: the positions of the k best elements of a row, best first; ties go to the lower position.  A block a row: the key
// of the k-th best is found digit by digit (a histogram of 256 values each), what is as good or better is kept in the order of
// positions, and each of those counts how many of them stand before it.
//! kernel  top_k  y[row, 0..k) = positions of the k best of x[row, :]; k is at most 2048
//! knob    BLOCK  64 256 1024
//! require BLOCK == 64 || BLOCK < hint(COLS) * 2
//! require K_MAX <= 2048
#include "tn_device.cuh"
#include "tn_key.cuh"
#include "tn_variant.cuh"
#include "tn_before.cuh"

TN_DEV tn_key tn_key_at(const tn_args &args, tn_index row, tn_index col) {
    tn_val x[1];
    tn_load_x(args, row, col, x);
    return tn_key_of<TN_KEY_BYTES, TN_SMALLEST>(x[0]);
}

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_SHARED(int, histogram, [256]);
    TN_SHARED(int, counts, [TN_BLOCK / 32]);
    TN_SHARED(tn_key, keys, [TN_K_MAX]);
    TN_SHARED(tn_index, places, [TN_K_MAX]);
    TN_SHARED(int, found, [2]); // the digit, and how many of those that share it are wanted
    TN_WAIT();
    const int tid = (int)threadIdx.x;
    const tn_index row = (tn_index)blockIdx.x, k = TN_K < TN_COLS ? TN_K : TN_COLS;
    if (k <= 0) return;
    tn_key edge = 0; // the k-th best
    int wanted = (int)k;
    for (int shift = 8 * TN_KEY_BYTES - 8; shift >= 0; shift -= 8) {
        for (int i = tid; i < 256; i += TN_BLOCK) histogram[i] = 0;
        __syncthreads();
        for (tn_index col = tid; col < TN_COLS; col += TN_BLOCK) {
            const tn_key key = tn_key_at(args, row, col);
            if (((key ^ edge) >> shift) < 256) atomicAdd(&histogram[key >> shift & 255], 1);
        }
        __syncthreads();
        if (tid == 0) {
            int digit = 255, left = wanted;
            while (digit > 0 && histogram[digit] < left) left -= histogram[digit--];
            found[0] = digit;
            found[1] = left;
        }
        __syncthreads();
        edge |= (tn_key)found[0] << shift;
        wanted = found[1];
        __syncthreads();
    }

    tn_index kept = 0; // of all threads
    for (tn_index start = 0; start < TN_COLS; start += TN_BLOCK) {
        const tn_index col = start + tid;
        const tn_key key = col < TN_COLS ? tn_key_at(args, row, col) : 0;
        const bool better = col < TN_COLS && key > edge, equal = col < TN_COLS && key == edge;
        int equals, takes;
        const bool take = better | (equal & (tn_before(equal, counts, equals) < wanted));
        const tn_index to = kept + tn_before(take, counts, takes);
        if (take && to < k) {
            keys[to] = key;
            places[to] = col;
        }
        wanted = wanted > equals ? wanted - equals : 0;
        kept += takes;
    }
    __syncthreads();

    for (tn_index i = tid; i < k; i += TN_BLOCK) {
        const tn_key mine = keys[i];
        tn_index rank = 0;
        for (tn_index j = 0; j < k; ++j) rank += keys[j] > mine || (keys[j] == mine && j < i);
        const long long y[1] = {(long long)places[i]};
        tn_epilogue(args, row, rank, y);
    }
}
#include "tn_variant_end.cuh"
