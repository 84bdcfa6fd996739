#!/usr/bin/env bash
# Whole models with every kernel executed on the CPU: emu.sh TENON SOURCE_DIR TN_STRESS
. "$(dirname "$0")/emu_lib.sh"
source=$2

digit() { # device options...
    "$tenon" run "$source/examples/digits/digits.onnx" --input image="$source/examples/digits/digit_7.npy" "$@" |
        tee "$work/digit" | grep 'at 7)' >/dev/null || { cat "$work/digit"; return 1; }
}
expect "the digit model" digit --device emu
expect "the digit model in fp16, without NVRTC" env TENON_LIBNVRTC=/nonexistent \
    "$tenon" check "$source/examples/digits/digits.onnx" --device emu --precision fp16

# One plan with a kernel for each bucket of sizes, at sizes of each and at their borders, against the reference.
cat >"$work/buckets.tn" <<'TN'
func @main(%x: f32[N,96]) -> f32[N,64] {
  %w = iota {dtype=f32, dims=[96,64], axis=1} : f32[96,64]
  %y = matmul %x, %w : f32[N,64]
  %z = softmax %y {axis=1} : f32[N,64]
  return %z
}
TN
expect "buckets of sizes" "$tenon" check "$work/buckets.tn" --random --device emu --shape x=0..2x96:1x96 --shape x=3..40x96:32x96 \
    --shape x=41..300x96:256x96 --at x=1x96 --at x=2x96 --at x=3x96 --at x=40x96 --at x=41x96 --at x=300x96 --at x=0x96
# Products at exactly typical sizes, at other multiples of 8, and at sizes that nothing is assumed of.
cat >"$work/cases.tn" <<'TN'
func @main(%x: f32[B,S,32]) {
  %t = transpose %x {perm=[0,2,1]}
  %s = matmul %x, %t
  %r = relu %s
  %p = softmax %r {axis=2}
  %y = matmul %p, %x
  return %y
}
TN
cases=(--shape x=1..8x1..64x32:1x16x32 --shape x=1..8x1..64x32:4x24x32)
expect "special cases" "$tenon" check "$work/cases.tn" --random --device emu --precision fp16 "${cases[@]}" --at x=1x16x32 \
    --at x=4x24x32 --at x=1x24x32 --at x=3x16x32 --at x=4x40x32 --at x=1x17x32 --at x=4x23x32 --at x=8x64x32 --at x=2x1x32

"$tenon" compile "$work/buckets.tn" -o "$work/buckets.plan" --no-gpu --target sm_90a -q --shape x=0..2x96:1x96 --shape x=3..12x96:8x96
expect "eight threads at random sizes, memory from one pool" "$3" "$work/buckets.plan" --device emu --threads 8 --seconds 3 N=0..12

# Rotary positions in the epilogue of a projection, or of a norm behind it, in each of the ways that models write them.
rotary() { # TARGET FILE SECTIONS
    local k
    for k in $(seq "$3"); do
        awk -v RS='// -----\n' -v k="$k" 'NR == k' "$source/tests/ir/rotary/$2.tn" >"$work/rotary.tn"
        "$tenon" check "$work/rotary.tn" --random --device emu --precision fp16 --target "$1" || return 1
    done
}
expect "rotary positions" rotary sm_90a ways 4
expect "rotary positions by mma" rotary sm_80 ways 4
expect "rotary positions of normed heads" rotary sm_90a normed 3

# Kernels that load by TMA, as a lockfile has it.
cat >"$work/tma.tn" <<'TN'
func @main(%x: f16[N,7,7,64], %w: f16[64,3,3,64], %b: f16[64], %v: f16[96,64]) -> f16[N,7,7,96] {
  %0 = conv %x, %w, %b {pads=[1,1,1,1], layout="nhwc"} : f16[N,7,7,64]
  %1 = relu %0 : f16[N,7,7,64]
  %2 = matmul %1, %v {trans_b=true} : f16[N,7,7,96]
  return %2
}
TN
tma=(--target sm_90a --no-gpu --precision fp16 --shape x=32..64x7x7x64:40x7x7x64 --lockfile "$work/tma.lock")
by_tma() {
    "$tenon" compile "$work/tma.tn" -o "$work/tma.plan" -q "${tma[@]}" && sed -i 's/LOAD=0/LOAD=1/' "$work/tma.lock" &&
        "$tenon" compile "$work/tma.tn" -o "$work/tma.plan" -q "${tma[@]}" &&
        [ "$("$tenon" inspect "$work/tma.plan" | grep -c 'wgmma .*LOAD=1')" = 2 ] &&
        "$tenon" check "$work/tma.tn" --random --device emu "${tma[@]}" --at x=32x7x7x64 --at x=35x7x7x64
}
expect "tensor maps" by_tma

# A convolution of an image of three channels, whose sizes vary.
cat >"$work/image.tn" <<'TN'
func @main(%x: f32[N,3,H,W]) {
  %i = iota {dtype=f32, dims=[8,3,3,3], axis=0}
  %j = iota {dtype=f32, dims=[8,3,3,3], axis=3}
  %k = iota {dtype=f32, dims=[8,3,3,3], axis=1}
  %s = sub %j, %k
  %w = sub %s, %i
  %c = conv %x, %w {strides=[2,2], pads=[1,1,1,1], dilations=[1,1], groups=1}
  %y = relu %c
  return %y
}
TN
expect "images of any size" "$tenon" check "$work/image.tn" --random --device emu --precision fp16 --shape x=1..2x3x1..64x1..64:1x3x32x64 \
    --at x=1x3x32x64 --at x=2x3x17x33 --at x=1x3x8x1 --at x=1x3x5x2 --at x=2x3x64x64 --at x=1x3x7x40

# A plan made for a GPU runs here too, and in any order of blocks and warps.
plan() {
    "$tenon" compile "$source/examples/digits/digits.onnx" -o "$work/digits.plan" --no-gpu --target sm_80 -q &&
        TENON_EMU_SEED=$1 "$tenon" run "$work/digits.plan" --device emu \
            --input image="$source/examples/digits/digit_7.npy" | grep 'at 7)' >/dev/null
}
if "$tenon" compile "$source/examples/digits/digits.onnx" -o "$work/x.plan" --no-gpu --target sm_80 -q 2>/dev/null; then
    "$tenon" compile "$work/cases.tn" -o "$work/cases.plan" --no-gpu --target sm_90a --precision fp16 "${cases[@]}" -q
    expect "their guards" sh -c "'$tenon' inspect '$work/cases.plan' | grep -q 'B=1, S=1..64 by 8: '"
    expect "a plan for sm_80" plan 0
    expect "shuffled" plan 12345
else
    echo "skipped: NVRTC is not there, so no plan for a GPU is made"
fi

# A broken kernel is reported with its line and its layer.
broken() {
    local line
    line=$(grep -n '__syncthreads();' "$source/templates/shared/tn_device.cuh" | head -1 | cut -d: -f1)
    ! TENON_EMU_PATCH="tn_device.cuh:$line:" "$tenon" run "$work/softmax.tn" --device emu >"$work/report" 2>&1 &&
        grep -q 'softmax.cu:[0-9]* > tn_device.cuh:' "$work/report" && grep -Eq 'race|uninitialised' "$work/report" ||
        { cat "$work/report"; return 1; }
}
cat >"$work/softmax.tn" <<'TN'
func @main(%x: f32[3,3000]) -> (%y: f32[3,3000]) {
  %y = softmax %x {axis=1}
  return %y
}
TN
expect "a missing barrier is reported" broken

# An index that leaves its axis is an error on both devices, whatever op it is for.
refused() { # device, operator with operands %x f32[3,4], %i, %u and attributes
    echo "func @main(%x: f32[3,4], %u: f32[2,4]) -> f32[3,4] { %i = const [0, 3] : i64[2,1]
        %j = broadcast %i {dims=[2,4]} %y = $2 loc(\"/decoder/Scatter\") return %y }" >"$work/index.tn"
    ! "$tenon" run "$work/index.tn" --device "$1" >"$work/report" 2>&1 && grep -q '/decoder/Scatter' "$work/report" &&
        grep -Eq 'index 3 .*(3|out of range)' "$work/report" || { cat "$work/report"; return 1; }
}
for device in cpu emu; do
    expect "scatter_elements out of range on $device" refused $device 'scatter_elements %x, %j, %u {axis=0, reduction="add"} : f32[3,4]'
    expect "scatter_nd out of range on $device" refused $device 'scatter_nd %x, %i, %u : f32[3,4]'
done

# Tensors without elements: kernels that have nothing to do, and a sum of nothing.
cat >"$work/empty.tn" <<'TN'
func @main(%x: f32[3,0,5]) -> (%y: f32[3,5,0], %z: f32[3,5]) {
  %y = transpose %x {perm=[0,2,1]}
  %z = reduce_sum %x {axes=[1], keepdims=false}
  return %y, %z
}
TN
empty() {
    "$tenon" run "$work/empty.tn" --device emu >"$work/empty" 2>&1 && ! grep -q error "$work/empty" &&
        grep -q 'z: f32 3x5  min 0  max 0' "$work/empty" || { cat "$work/empty"; return 1; }
}
expect "tensors without elements" empty

data=${TENON_TEST_DATA:-}
for model in cnn_mnist8 policy_go1 attn_mnist_pgd_medium deeploy_tinyvit cnn_squeezenet_fp16; do
    if [ ! -f "$data/models/$model.onnx" ]; then
        echo "skipped: $model: no test data"
        continue
    fi
    for precision in fp32 fp16; do
        expect "$model in $precision" "$tenon" check "$data/models/$model.onnx" --device emu --precision $precision
    done
done
exit $failed
