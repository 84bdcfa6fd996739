#!/usr/bin/env bash
# The models of contrib/ against what was recorded: contrib.sh TENON cpu|emu
# With emu, also every ninth of them compiled for all architectures.  Exit code 77: there is no C++ compiler.
set -euo pipefail
tenon=$1 device=$2
here=$(cd "$(dirname "$0")" && pwd)
if [ "$device" = emu ] && ! ${TENON_CXX:-c++} --version >/dev/null 2>&1; then
    echo "skipped: there is no C++ compiler"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TENON_CACHE=$work/cache
"$tenon" check --suite "$here/contrib" --device "$device" --jobs 2 | tee "$work/out"
models=$(find "$here/contrib" -name model.onnx | wc -l)
grep -q "^$models passed, 0 failed, 0 skipped" "$work/out"
[ "$device" = emu ] || exit 0
find "$here/contrib" -name model.onnx | sort | awk 'NR % 9 == 1' | while read -r model; do
    echo "compile $model" && "$tenon" compile "$model" -o "$work/plan" --no-gpu --target sm_80,sm_89,sm_90a,sm_100 >"$work/log" 2>&1 ||
        { cat "$work/log" && exit 1; }
done
