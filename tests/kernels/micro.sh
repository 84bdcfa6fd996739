#!/usr/bin/env bash
# The micro-kernels on a GPU and on the emulated device, compared bit for bit.
#
# usage: tests/kernels/micro.sh [--micro build/tests/kernels/micro/micro_kernels] [--record] [--out DIR [--reuse]]
# Needs a GPU, NVRTC and a C++ compiler.  --record stores the GPU's table as tests/kernels/micro/h200.txt; --out keeps tables and
# outputs (cuda/NAME.bin, emu/NAME.bin) in DIR; --reuse takes the GPU's from there.  Where the GPU's machine has no C++ compiler:
# there `micro_kernels --device cuda --write DIR/cuda.txt --dump DIR/cuda`, then this script elsewhere with --reuse.
# Exit code 1 if a kernel differs, or fails on either device.
set -uo pipefail
cd "$(dirname "$0")/../.."

micro=build/tests/kernels/micro/micro_kernels record=0 out= reuse=0
while [ $# -gt 0 ]; do
    case "$1" in
    --micro) micro=$2; shift ;;
    --record) record=1 ;;
    --reuse) reuse=1 ;;
    --out) out=$2; shift ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
    shift
done
if [ -z "$out" ]; then
    out=$(mktemp -d)
    trap 'rm -rf "$out"' EXIT
fi
mkdir -p "$out/cuda" "$out/emu"

cuda=0
if [ $reuse = 0 ]; then
    "$micro" --device cuda --write "$out/cuda.txt" --dump "$out/cuda" >"$out/cuda.log" 2>&1
    cuda=$?
    grep -E 'FAILED|error|cannot|CUDA' "$out/cuda.log"
fi
[ -s "$out/cuda.txt" ] || { echo "the GPU gave no results"; exit 1; }
"$micro" --device emu --compare "$out/cuda.txt" --write "$out/emu.txt" --dump "$out/emu"
emu=$?
[ $record = 0 ] || cp "$out/cuda.txt" tests/kernels/micro/h200.txt

# how the outputs that differ do so: the bytes, and the first three (offset, GPU, emulator; octal)
for f in "$out"/cuda/*.bin; do
    other=$out/emu/$(basename "$f")
    [ -e "$other" ] && ! cmp -s "$f" "$other" || continue
    echo "$(basename "$f" .bin): $(cmp -l "$f" "$other" | wc -l) of $(wc -c <"$f") bytes differ: $(cmp -l "$f" "$other" | head -3 | tr -s ' \n' ' ;')"
done
exit $((cuda || emu))
