#!/usr/bin/env bash
# The models of contrib/ against what was recorded: contrib.sh TENON cpu|emu
# With emu, also every ninth of them compiled for all architectures; with TENON_MATRIX_TURN=N only every third is executed and
# every 27th compiled, which move on with N.  Exit code 77: there is no C++ compiler.
set -euo pipefail
tenon=$(realpath "$1") device=$2
here=$(cd "$(dirname "$0")" && pwd)
if [ "$device" = emu ] && ! ${TENON_CXX:-c++} --version >/dev/null 2>&1; then
    echo "skipped: there is no C++ compiler"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TENON_CACHE=$work/cache
step=1 turn=0
[ "$device" = cpu ] || [ -z "${TENON_MATRIX_TURN:-}" ] || { step=3 turn=$TENON_MATRIX_TURN; }
mkdir "$work/suite"
for model in "$here"/contrib/*; do
    [ $((turn++ % step)) != 0 ] || ln -s "$model" "$work/suite/"
done
"$tenon" check --suite "$work/suite" --device "$device" --jobs 2 | tee "$work/out"
models=$(find "$work/suite" -type l | wc -l)
[ "$models" -ge 40 ] && grep -q "^$models passed, 0 failed, 0 skipped" "$work/out"
[ "$device" = emu ] || exit 0
for model in "$work"/suite/*; do
    [ $((turn++ % 9)) = 0 ] || continue
    echo "compile $(basename "$model")"
    "$tenon" compile "$model/model.onnx" -o "$work/plan" --no-gpu --target sm_80,sm_89,sm_90a,sm_100 >"$work/log" 2>&1 || { cat "$work/log" && exit 1; }
done
