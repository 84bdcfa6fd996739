#!/usr/bin/env bash
# Installs Tenon, builds examples/aot against it with find_package and tenon_add_plan, and classifies a digit.
# usage: aot.sh CMAKE BUILD_DIR SOURCE_DIR C_COMPILER
set -euo pipefail
cmake=$1 build=$2 src=$3 cc=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TENON_CACHE=$work/cache
"$build/tenon" compile "$src/examples/digits/digits.onnx" -o "$work/probe.plan" --target sm_90a --no-gpu -q || {
    rc=$?
    [ $rc = 10 ] && echo "skipped: NVRTC is not there" && exit 77
    exit $rc
}
"$cmake" --install "$build" --prefix "$work/prefix" >/dev/null
"$cmake" -S "$src/examples/aot" -B "$work/aot" -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_C_COMPILER="$cc" >"$work/log" || { cat "$work/log"; exit 1; }
"$cmake" --build "$work/aot" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
for d in 0 4 9; do
    "$work/aot/classify" "$src/examples/digits/digit_$d.npy" | tee "$work/out"
    grep -qx "the digit is a $d" "$work/out"
done
