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
//! knob   BLOCK 128 64 256
//! kernel grid [ceildiv(n * h * w * a, BLOCK)] block [BLOCK]
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
#include "tn_variant.cuh"

TN_DEV float squash(float v) {
    return 1.0f / (1.0f + tn_exp(-v));
}

// A thread has one anchor of one cell; neighbours have neighbouring cells, which lie side by side in x.
extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_WAIT();
    tn_index i = (tn_index)blockIdx.x * TN_BLOCK + (tn_index)threadIdx.x;
    if (i >= (tn_index)TN_N * TN_A * TN_H * TN_W) return;
    const tn_index column = i % TN_W, row = i / TN_W % TN_H;
    i /= TN_H * TN_W;
    const int a = (int)(i % TN_A);
    const tn_index n = i / TN_A, first = (tn_index)a * (5 + TN_CLASSES), box = (row * TN_W + column) * TN_A + a;
    float v[5 + TN_CLASSES], most = -TN_INF, sum = 0;
    TN_UNROLL
    for (int k = 0; k < 5 + TN_CLASSES; ++k) v[k] = tn_load_x(args, n, first + k, row, column);
    TN_UNROLL
    for (int k = 5; k < 5 + TN_CLASSES; ++k) most = tn_max(most, v[k]);
    TN_UNROLL
    for (int k = 5; k < 5 + TN_CLASSES; ++k) sum += v[k] = tn_exp(v[k] - most);
    const float object = squash(v[4]);
    tn_store_y(args, n, box, 0, ((float)column + squash(v[0])) / (float)TN_W);
    tn_store_y(args, n, box, 1, ((float)row + squash(v[1])) / (float)TN_H);
    tn_store_y(args, n, box, 2, tn_exp(v[2]) * (float)TN_BIASES[2 * a] / (float)TN_W);
    tn_store_y(args, n, box, 3, tn_exp(v[3]) * (float)TN_BIASES[2 * a + 1] / (float)TN_H);
    tn_store_y(args, n, box, 4, object);
    TN_UNROLL
    for (int k = 5; k < 5 + TN_CLASSES; ++k) tn_store_y(args, n, box, k, object * v[k] / sum);
}
