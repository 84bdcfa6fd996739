#!/usr/bin/env bash
# Builds Tenon, compiles the digit classifier for sm_90a (no GPU needed), shows one generated kernel and classifies a digit on the
# CPU.  Installs missing Debian packages first.
set -euo pipefail
cd "$(dirname "$0")/.."

./.ci/install-deps build
[ ! -d .cache/cuda ] || export CUDA_HOME=$PWD/.cache/cuda
build=${TENON_BUILD:-build}
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo >/dev/null
ninja -C "$build" tenon_cli | tail -n 1
tenon=$build/tenon
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

say() { printf '\n$ %s\n' "$*"; "$@"; }
say "$tenon" compile examples/digits/digits.onnx -o "$out/digits.plan" --target sm_90a --no-gpu --precision fp16
say "$tenon" inspect "$out/digits.plan"
say "$tenon" inspect "$out/digits.plan" --kernel 1 --source
say "$tenon" run "$out/digits.plan" --device cpu --input image=examples/digits/digit_7.npy --output "$out"
python3 - "$out/logits.npy" <<'PY'
import struct, sys
raw = open(sys.argv[1], "rb").read()
logits = struct.unpack("<10f", raw[-40:])
print("\nthe digit is a", logits.index(max(logits)))
sys.exit(logits.index(max(logits)) != 7)
PY
[ ! -d .cache/cuda ] || printf '\nNVRTC is in .cache/cuda: export CUDA_HOME=%q before calling %s yourself\n' "$CUDA_HOME" "$tenon"
