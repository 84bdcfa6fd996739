#!/usr/bin/env bash
# Sizes and options that are given are used or refused; sizes that nobody gave are errors.
# usage: sizes.sh TENON SOURCE_DIR
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
make_model() { python3 "$src/tests/cli/make_model.py" "$1" "$1.onnx"; }
make_model shared # x: f32[n,3], y: f32[n,3]
cat >both.tn <<'TN'
func @main(%x: f32[n,3], %y: f32[2*n + 1]) -> (%z: f32[n,3], %w: f32[2*n + 1]) {
  %z = neg %x
  %w = neg %y
  return %z, %w
}
TN
python3 - <<'PY'
def npy(name, shape):
    n = 1
    for d in shape: n *= d
    head = "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }" % (tuple(shape),)
    head += " " * (118 - len(head) - 1) + "\n"
    open(name, "wb").write(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + b"\0" * 4 * n)
npy("x4.npy", [4, 3]); npy("y9.npy", [9]); npy("y8.npy", [8]); npy("flat.npy", [12])
open("x4.bin", "wb").write(b"\0" * 48)
PY
run() { "$tenon" run "$@" --device cpu; }

# models: a symbol told by one input holds for all, through files and through expressions
expect "nobody says how large" 2 'nobody says how large n is.*x: f32\[n,3\], y: f32\[n,3\]' run shared.onnx
expect "the hint names the option" 2 '--shape x=nx3, with numbers' run shared.onnx
{ # a decoder's caches are many
    echo "func @main(%ids: f32[n]$(printf ', %%past_%s: f32[1,2,p,16]' {0..47})) -> (%y: f32[n]) {"
    printf '  %%y = neg %%ids\n  return %%y\n}\n'
} >many.tn
expect "of many inputs some are named, and it says of how many" 2 'the inputs are ids: f32.n., past_0: .*, past_[0-9]+: f32.1,2,p,16., \.\.\. \(\+[0-9]+\)$' run many.tn
expect "so do shapes that no input takes" 2 "for 'pasts', but the inputs are ids: .*, \.\.\. \(\+[0-9]+\)" "$tenon" opt many.tn -s pasts=1x2x3x16
expect "one shape is enough" 0 'z: f32 5x3' run shared.onnx -s x=5x3
expect "one file is enough" 0 'z: f32 4x3' run shared.onnx -i y=x4.npy
expect "raw bytes need a size" 2 'nobody says how large n is' run shared.onnx -i x=x4.bin
expect "raw bytes of a known size" 0 'z: f32 4x3' run shared.onnx -i x=x4.bin -s y=4x3
expect "through an expression" 0 'w: f32 11' run both.tn -s x=5x3
expect "and back" 0 'z: f32 4x3' run both.tn -i y=y9.npy
expect "no such size" 7 'y' run both.tn -i y=y8.npy -s x=4x3
expect "files that disagree" 7 'x4.npy: dim 0 of input x is given as 4, but is 5' run shared.onnx -i x=x4.npy -s y=5x3
expect "a file of another rank" 7 'flat.npy: 1 dims for input x, which has 2' run shared.onnx -i x=flat.npy
expect "a shape for nothing" 2 "a shape is given for 'nosuch', but the inputs are x: f32\[n,3\]" run shared.onnx -s nosuch=1
expect "a shape of another rank" 2 'rank' run shared.onnx -s x=5
expect "a fixed dim of text" 2 "dim 1 of input 'x' is 3" run both.tn -s x=5x4
expect "shapes that disagree" 2 "dim 0 of input 'y' is 5; the shape given for it says 6" run shared.onnx -s x=5x3 -s y=6x3
expect "-1 keeps a model's dim" 2 'nobody says how large n' run shared.onnx -s x=-1x3
expect "shapes of text compile" 0 'f32\[5,3\].*f32\[11\]' "$tenon" opt both.tn -s x=5x3 --passes=
# sequences and optionals
lists=$src/tests/fuzz/corpus/onnx/sequence.onnx # s: a sequence, o: an optional sequence, x: f32[2], at: i64, q: bool
expect "nobody says how long a sequence is" 6 'say how many tensors it holds: --sequence s=3' "$tenon" opt "$lists" --passes=
expect "a sequence of two" 0 'func @sequence\(%s_0: f32\[s_0\], %s_1: f32\[s_1\], %x: f32\[2\], .*%g_1: f32\[2\], %z_0' "$tenon" opt "$lists" --passes= --sequence s=2 --sequence o=none
expect "an optional of a sequence" 0 '%o_0: f32\[o_[0-9]+\]' "$tenon" opt "$lists" --passes= --sequence s=2 --sequence o=1
expect "run with a sequence" 0 'z_1: f32 2' run "$lists" --sequence s=2 --sequence o=none -s s_0=2 -s s_1=2
expect "a sequence that is none" 2 "'nosuch', which is no input" "$tenon" opt "$lists" --sequence nosuch=1
expect "no sequence has no length" 2 "input 'x' is no sequence" "$tenon" opt "$lists" --sequence s=2 --sequence o=none --sequence x=1
for bad in s s= s=-1 s=2x s=nothing =2; do
    expect "not a length: $bad" 2 "sequence $bad: a name and a number of tensors" "$tenon" opt "$lists" --sequence $bad
done
# ranges and buckets
expect "a range" 0 'symbol n in \[1, 32\]$' "$tenon" opt both.tn -s x=1..32x3 --passes=
expect "a range without an end" 0 'symbol n in \[2, inf\]$' "$tenon" opt both.tn -s x=2..x3 --passes=
expect "a typical size" 0 'bucket n in \[1, 32\] hint 8' "$tenon" opt both.tn -s x=1..32x3:8x3 --passes=
expect "two shapes are two buckets" 0 'bucket n in \[8, 16\] hint 9' "$tenon" opt both.tn -s x=1x3 -s x=8..16x?:9x? --passes=
expect "and the range spans both" 0 'symbol n in \[1, 16\] hint 1' "$tenon" opt both.tn -s x=1x3 -s x=8..16x3:9x3 --passes=
expect "a range upside down" 2 '--shape x=5..1x3: the lower bound 5 is above the upper bound 1' "$tenon" opt both.tn -s x=5..1x3
expect "a typical size outside" 2 "dim 0 of input 'x' is given as 1..8: the typical size 9 is outside" "$tenon" opt both.tn -s x=1..8x3:9x3
expect "too few typical sizes" 2 '--shape x=1..8x3:9: 2 dims, but 1 typical sizes' "$tenon" opt both.tn -s x=1..8x3:9
expect "a range of a fixed dim" 2 "dim 1 of input 'x' is 3 in the model; the shape given for it says 1..3" "$tenon" opt both.tn -s x=1..8x1..3
expect "ranges that disagree" 2 "dim 0 of input 'y' is n, which is 1..8 by dim 0 of input 'x'; .* says 1..9" "$tenon" opt shared.onnx -s x=1..8x3 -s y=1..9x3
for bad in x=1...8x3 x=1..8x3: x=1..8x3:4x3:4x3 x=1..8x3:1..4x3 x=-2..3x3 x=..3x3 x=1..8x3y x=1..8x3:4x-2; do
    expect "not a shape: $bad" 2 "shape $bad: write NAME=1x3x224x224, or NAME=1..32x128 for a range|typical sizes" "$tenon" opt both.tn -s $bad
done
expect "outside the range on cpu" 2 "'x' takes f32.n,3.: axis 0 is given as 4, but n is from 1 to 3" run both.tn -s x=1..3x3 -i x=x4.npy
expect "at least" 2 "'x' takes f32.n,3.: axis 0 is given as 4, but n is at least 5" run both.tn -s x=5..x3 -i x=x4.npy
expect "check: --at takes no range" 2 'a range of sizes is for compiling, not for one run' "$tenon" check shared.onnx --random --device cpu --at x=1..2x3

expect "check: nothing but ones" 0 'passed' "$tenon" check shared.onnx --random --device cpu
expect "check: --at for one input" 0 'passed' "$tenon" check shared.onnx --random --device cpu --at y=7x3
expect "check: --at for nothing" 2 'no input' "$tenon" check shared.onnx --random --device cpu --at nosuch=7x3
expect "check --suite of nothing" 4 'no tests' "$tenon" check --suite "$work" --device cpu
expect "check --suite of no such name" 4 'no tests with a name like zebra' bash -c "mkdir -p s/test_a && cp shared.onnx s/test_a/model.onnx && '$tenon' check --suite s --filter zebra --device cpu"

if have_nvrtc; then
    expect "a map with symbolic height and width compiles" 0 '^$' "$tenon" compile -q --no-gpu --target sm_80,sm_89,sm_90a,sm_100 \
        "$src/tests/onnx/reports/attention_over_symbolic_image.tn" -o image.plan
    "$tenon" compile shared.onnx -o p.plan --target sm_90a --no-gpu -q
    expect "plan: nobody says how large" 2 'nobody says how large n is.*x: f32\[n,3\], y: f32\[n,3\]' run p.plan
    expect "plan: one shape" 0 'z: f32 5x3' run p.plan -s x=5x3
    expect "plan: one file" 0 'z: f32 4x3' run p.plan -i y=x4.npy
    expect "plan: a shape for nothing" 2 'nosuch.*the inputs are x' run p.plan -s nosuch=1
    expect "plan: a shape of another rank" 7 '1 dims for input x, which has 2' run p.plan -s x=5
    expect "plan: -1" 2 'no size' run p.plan -s x=-1x3
    expect "plan: a dim that is fixed" 7 'given as 4, but is 3' run p.plan -s x=5x4
    expect "plan: shapes that disagree" 7 'given as 6, but is 5' run p.plan -s x=5x3 -s y=6x3
    expect "plan: no range" 2 'a range of sizes is for compiling' run p.plan -s x=1..5x3
    expect "a plan for a range" 0 'ranges.plan: ' "$tenon" compile shared.onnx -o ranges.plan --target sm_90a --no-gpu -s x=1..3x3
    expect "which holds in it" 0 'z: f32 3x3' run ranges.plan -s x=3x3
    expect "and is checked" 2 "'x' takes f32.n,3.: axis 0 is given as 4, but n is from 1 to 3" run ranges.plan -s x=4x3
    for o in --precision=fp16 --target=sm_80 --exact --passes=canon --lockfile=l; do
        expect "plan: $o" 2 "${o%%=*}: .*compiled already.*tenon compile" run p.plan $o -s x=5x3
        expect "plan: check $o" 2 "${o%%=*}: .*compiled already" "$tenon" check p.plan $o --data "$digits" --device cpu
    done
fi
finish
