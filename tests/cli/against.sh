#!/usr/bin/env bash
# Arrays in .npz files, seeds, plans against recorded data, and ONNX Runtime as what is right.
# usage: against.sh TENON SOURCE_DIR     Exit code 77: NVRTC is not there.
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
run() { "$tenon" run "$digits/digits.onnx" --device cpu "$@"; }

# ---- .npz, as Python's zipfile makes and reads it
python3 - "$digits" <<'PY'
import sys, zipfile
digit = open(sys.argv[1] + "/digit_7.npy", "rb").read()
for name, how in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED), ("odd", zipfile.ZIP_BZIP2)):
    with zipfile.ZipFile(name + ".npz", "w", how) as z:
        z.writestr("other.npy", digit[:200])
        z.writestr("image.npy", digit)
with zipfile.ZipFile("alone.npz", "w") as z:
    z.writestr("arr_0.npy", digit)
with zipfile.ZipFile("two.npz", "w") as z:
    z.writestr("a.npy", digit)
    z.writestr("b.npy", digit)
whole = open("deflated.npz", "rb").read()
for cut in (0, 10, 100, len(whole) - 30):
    open(f"cut{cut}.npz", "wb").write(whole[:cut])
at = whole.find(b"image.npy") + 200
open("flipped.npz", "wb").write(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1:])
PY
run -i "image=$digits/digit_7.npy" -o want -q
for kind in stored deflated; do
    run -i $kind.npz -o $kind -q
    same "$kind" $kind/logits.npy want/logits.npy
done
run -i image=alone.npz -o alone -q
same "the only array" alone/logits.npy want/logits.npy
run -i stored.npz -o out.npz -q
python3 -c 'import zipfile; z = zipfile.ZipFile("out.npz"); assert z.testzip() is None; open("back.npy", "wb").write(z.read("logits.npy"))' ||
    failed "out.npz"
same "all outputs in one file" back.npy want/logits.npy
cp out.npz first.npz
run -i stored.npz -o out.npz -q
same "the same bytes each time" out.npz first.npz
expect "a way of compression that is not NumPy's" 6 'other than deflate' run -i odd.npz
for cut in 0 10 100 flipped; do
    f=cut$cut.npz
    [ $cut != flipped ] || f=flipped.npz
    expect "$f" 5 'damaged, or no .npz file' run -i $f
done
expect "no input's array" 2 'an array of no input; the inputs are image' run -i alone.npz
expect "no such array" 2 "has no array 'image'" run -i image=two.npz
expect "no such file" 4 'cannot be read' run -i nothing.npz

# ---- seeds
draw() { run --shape image=1x1x20x20 -o "$1" -q "${@:2}"; }
draw a; draw b --seed 0; draw c --seed 5; draw d --seed 5
same "the usual seed is 0" a/logits.npy b/logits.npy
same "equal seeds" c/logits.npy d/logits.npy
expect "other seeds" 1 '' cmp -s a/logits.npy c/logits.npy

# ---- a plan against recorded data, and references that are written
have_nvrtc || { echo "skipped: NVRTC is not there"; exit 77; }
"$tenon" compile "$digits/digits.onnx" -o p.plan --target sm_90a --no-gpu -q
expect "a plan" 0 'p.plan: passed on cpu' "$tenon" check p.plan --data "$digits" --device cpu
expect "references" 0 'wrote refs/test_data_set_1' "$tenon" check "$digits/digits.onnx" --device cpu --at image=1x1x20x20 \
    --at image=3x1x20x20 --write-references refs
expect "the plan against them" 0 'passed on cpu \(2 data sets\)' "$tenon" check p.plan --data refs --device cpu
python3 -c 'import struct; f = open("refs/test_data_set_1/output_0.pb", "r+b"); f.seek(-4, 2); f.write(struct.pack("<f", 123))'
expect "one that is wrong" 1 'WRONG: 1 of 30 elements' "$tenon" check p.plan --data refs --device cpu
expect "a plan of random inputs" 2 'with --data' "$tenon" check p.plan --random --device cpu
expect "what is none" 2 'use reference or onnxruntime' "$tenon" check "$digits/digits.onnx" --against tensorflow

# ---- ONNX Runtime
expect "there is none" 11 'ONNX Runtime is not installed' env TENON_PYTHON=/nowhere/python "$tenon" check "$digits/digits.onnx" \
    --against onnxruntime --device cpu
for python in "$src/.cache/python/bin/python" python3 none; do
    "$python" -c 'import numpy, onnxruntime' 2>/dev/null && break
done
if [ $python = none ]; then
    echo "not compared with ONNX Runtime: no Python has it (.ci/install-deps makes one)"
    [ -z "${CI:-}" ] || failed "there is no ONNX Runtime"
else
    export TENON_PYTHON=$python
    expect "random inputs" 0 'passed on cpu' "$tenon" check "$digits/digits.onnx" --against onnxruntime --device cpu \
        --at image=1x1x20x20 --at image=5x1x20x20 --write-references theirs
    expect "what it made" 0 'passed on cpu \(2 data sets\)' "$tenon" check p.plan --data theirs --device cpu
    expect "given inputs, as a document" 0 '"against": "onnxruntime"' "$tenon" check "$digits/digits.onnx" --against onnxruntime \
        --device cpu --input stored.npz --json
fi
finish
