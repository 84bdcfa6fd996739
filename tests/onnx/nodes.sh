#!/usr/bin/env bash
# The ONNX backend's node tests on the reference (cpu) or with every kernel executed (emu, cuda): nodes.sh TENON cpu|emu|cuda [JOBS]
# Reads TENON_TEST_DATA/conformance/onnx-*-node.tar.zst.  Exit code 77: it is not there.  With TENON_MATRIX_TURN=N only every fifth
# is executed, so that five runs with N, N+1, ... take all.
set -euo pipefail
tenon=$1 device=$2 jobs=${3:-2}
archive=$(ls "${TENON_TEST_DATA:-/nonexistent}"/conformance/onnx-*-node.tar.zst 2>/dev/null | tail -1 || true)
if [ -z "$archive" ] || { [ "$device" = emu ] && ! ${TENON_CXX:-c++} --version >/dev/null 2>&1; }; then
    echo "skipped: no ONNX node tests in TENON_TEST_DATA, or no C++ compiler"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
zstd -dqc "$archive" | tar -x -C "$work"
all=$(dirname "$(dirname "$(find "$work" -name model.onnx | head -1)")") suite=$work/suite
step=1 turn=0 options=()
[ "$device" != cuda ] || options=(--tune-seconds 0)
[ "$device" = cpu ] || [ -z "${TENON_MATRIX_TURN:-}" ] || { step=5 turn=$TENON_MATRIX_TURN; }
mkdir "$suite"
for test in "$all"/*/; do
    [ $((turn++ % step)) != 0 ] || ln -s "$test" "$suite/"
done
TENON_CACHE=$work/cache "$tenon" check --suite "$suite" --device "$device" --jobs "$jobs" --most output=100 "${options[@]}" | grep -v -E '^[a-z0-9_]+ +[0-9]+ +[0-9]+ +[0-9]+$' |
    grep -v '^skipped' | tee "$work/out"
passed=$(sed -nE 's/^([0-9]+) passed, 0 failed.*/\1/p' "$work/out")
# those that are skipped (35) are not spread evenly
[ "${passed:-0}" -ge $((step == 1 ? 1725 : 1700 / step)) ]
