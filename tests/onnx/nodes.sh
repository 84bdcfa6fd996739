#!/usr/bin/env bash
# The ONNX backend's node tests on the reference (cpu) or with every kernel executed (emu): nodes.sh TENON cpu|emu
# Reads TENON_TEST_DATA/conformance/onnx-*-node.tar.zst.  Exit code 77: it is not there.
set -euo pipefail
tenon=$1 device=$2
archive=$(ls "${TENON_TEST_DATA:-/nonexistent}"/conformance/onnx-*-node.tar.zst 2>/dev/null | tail -1 || true)
if [ -z "$archive" ] || { [ "$device" = emu ] && ! ${TENON_CXX:-c++} --version >/dev/null 2>&1; }; then
    echo "skipped: no ONNX node tests in TENON_TEST_DATA, or no C++ compiler"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
zstd -dqc "$archive" | tar -x -C "$work"
suite=$(dirname "$(dirname "$(find "$work" -name model.onnx | head -1)")")
TENON_CACHE=$work/cache "$tenon" check --suite "$suite" --device "$device" --jobs 2 --most output=100 | grep -v -E '^[a-z0-9_]+ +[0-9]+ +[0-9]+ +[0-9]+$' |
    grep -v '^skipped' | tee "$work/out"
grep -qE '^1[0-9]{3} passed, 0 failed' "$work/out"
