// region.cu: the region layer of YOLOv2 as a plugin: what its last convolution gives becomes boxes and scores of classes.
//
//! plugin yolo::region since 1
//!
//! type T in f32, f16, bf16
//! attr biases:  floats            # width and height of each anchor, in cells
//! attr classes: int = 20
//!
//! let a = biases.len // 2
//! require biases.len % 2 == 0, "an anchor has a width and a height"
//! require classes >= 1
//!
//! input  x: T[n, a * (5 + classes), h, w]       # of an anchor: x, y, width, height, object, classes
//! output y: T[n, h * w * a, 5 + classes]        # boxes by their centre, in parts of the image
//! tolerance 4e-3
//!
//! knob   CELLS 32 16 64
//! kernel grid [ceildiv(h * w, CELLS), n] block [CELLS, a] shared 4 * CELLS * a * (5 + classes)
//!
//! expansion {
//!   %wide   = cast %x {to=f32}
//!   %parts  = reshape %wide {dims=[n, a, 5 + classes, h, w]}
//!   %cells  = transpose %parts {perm=[0, 3, 4, 1, 2]}                              # n, h, w, a, 5 + classes
//!   %row    = iota {dtype=f32, dims=[1, h, w, 1, 1], axis=1}
//!   %column = iota {dtype=f32, dims=[1, h, w, 1, 1], axis=2}
//!   %corner = concat %column, %row {axis=4}
//!   %widths = iota {dtype=f32, dims=[w + 1], axis=0}
//!   %heights = iota {dtype=f32, dims=[h + 1], axis=0}
//!   %width  = slice %widths {starts=[w], sizes=[1], steps=[1]}                     # sizes as numbers
//!   %height = slice %heights {starts=[h], sizes=[1], steps=[1]}
//!   %grid   = concat %width, %height {axis=0}
//!
//!   %offset = slice %cells {starts=[0, 0, 0, 0, 0], sizes=[n, h, w, a, 2], steps=[1, 1, 1, 1, 1]}
//!   %in     = sigmoid %offset
//!   %at     = add %in, %corner
//!   %centre = div %at, %grid
//!
//!   %size   = slice %cells {starts=[0, 0, 0, 0, 2], sizes=[n, h, w, a, 2], steps=[1, 1, 1, 1, 1]}
//!   %anchor = const biases : f32[a, 2]
//!   %grown  = exp %size
//!   %cellwise = mul %grown, %anchor
//!   %extent = div %cellwise, %grid
//!
//!   %some   = slice %cells {starts=[0, 0, 0, 0, 4], sizes=[n, h, w, a, 1], steps=[1, 1, 1, 1, 1]}
//!   %object = sigmoid %some
//!   %each   = slice %cells {starts=[0, 0, 0, 0, 5], sizes=[n, h, w, a, classes], steps=[1, 1, 1, 1, 1]}
//!   %class  = softmax %each {axis=4}
//!   %score  = mul %class, %object
//!   %all    = concat %centre, %extent, %object, %score {axis=4}
//!   %rows   = reshape %all {dims=[n, h * w * a, 5 + classes]}
//!   %y      = cast %rows {to=T}
//!   yield %y
//! }
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_mma.cuh" // TN_DYNAMIC_SMEM
#include "tn_variant.cuh"

TN_DEV float squash(float v) {
    return 1.0f / (1.0f + tn_exp(-v));
}

// A block has some cells with all their anchors, a thread one anchor of one cell.  Neighbours read neighbouring cells, which lie side
// by side in x; the boxes of the cells lie side by side in y, and are written from shared memory.
extern "C" __global__ void __launch_bounds__(TN_CELLS *TN_A) TN_KERNEL(const __grid_constant__ tn_args args) {
    enum { FIELDS = 5 + TN_CLASSES };
    TN_DYNAMIC_SMEM(memory);
    float *const boxes = (float *)memory; // [CELLS][A][FIELDS]
    const tn_index n = (tn_index)blockIdx.y, first = (tn_index)blockIdx.x * TN_CELLS, cell = first + (tn_index)threadIdx.x;
    const int a = (int)threadIdx.y, thread = a * TN_CELLS + (int)threadIdx.x;
    TN_WAIT();
    if (cell < TN_H * TN_W) {
        const tn_index row = cell / TN_W, column = cell % TN_W;
        float v[FIELDS], most = -TN_INF, sum = 0;
        TN_UNROLL
        for (int k = 0; k < FIELDS; ++k) v[k] = tn_load_x(args, n, (tn_index)(a * FIELDS + k), row, column);
        TN_UNROLL
        for (int k = 5; k < FIELDS; ++k) most = tn_max(most, v[k]);
        TN_UNROLL
        for (int k = 5; k < FIELDS; ++k) sum += v[k] = tn_exp(v[k] - most);
        float *const box = boxes + ((int)threadIdx.x * TN_A + a) * FIELDS;
        box[0] = ((float)column + squash(v[0])) / (float)TN_W;
        box[1] = ((float)row + squash(v[1])) / (float)TN_H;
        box[2] = tn_exp(v[2]) * (float)TN_BIASES[2 * a] / (float)TN_W;
        box[3] = tn_exp(v[3]) * (float)TN_BIASES[2 * a + 1] / (float)TN_H;
        box[4] = squash(v[4]);
        TN_UNROLL
        for (int k = 5; k < FIELDS; ++k) box[k] = box[4] * v[k] / sum;
    }
    __syncthreads();
    const tn_index left = (tn_index)TN_H * TN_W - first;
    const int all = (int)(left < TN_CELLS ? left : TN_CELLS) * TN_A * FIELDS;
    for (int k = thread; k < all; k += TN_CELLS * TN_A)
        tn_store_y(args, n, first * TN_A + k / FIELDS, k % FIELDS, boxes[k]);
}
