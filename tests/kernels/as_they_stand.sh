#!/usr/bin/env bash
# Does every template's file compile as it stands, with the header of one variant (kernel_matrix --headers)?
#
# usage: tests/kernels/as_they_stand.sh c++|nvcc [KERNEL_MATRIX]
# c++: as a C++ compiler and editors see it; nvcc: both passes of it, for sm_90a, without ptxas.  nvcc takes one file in
# four where TENON_MATRIX_TURN is set, others from turn to turn.  Exit code 77 if the compiler is not there.
set -uo pipefail
cd "$(dirname "$0")/../.."
matrix=${2:-build/tests/kernel_matrix}

case "${1:-}" in
c++)
    compiler=${TENON_CXX:-$(command -v c++ g++ clang++ | head -1)}
    flags=(-x c++ -std=c++17 -fsyntax-only -DTN_HOST -include templates/shared/tn_emu.h)
    ;;
nvcc)
    compiler=$(PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin command -v nvcc)
    flags=(-std=c++17 -c -gencode "arch=compute_90a,code=compute_90a" -Xcicc -O0 -o /dev/null)
    ;;
*) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
[ -n "$compiler" ] || { echo "skipped: there is no $1"; exit 77; }

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$matrix" --headers "$out" || exit 1
failed=0 taken=0 number=0
for file in templates/*.cu templates/*/*.cu; do
    number=$((number + 1))
    [ "$1" = c++ ] || [ -z "${TENON_MATRIX_TURN:-}" ] || [ $(((number + TENON_MATRIX_TURN) % 4)) = 0 ] || continue
    taken=$((taken + 1))
    "$compiler" "${flags[@]}" -Itemplates/shared "-I$out/$(basename "$file" .cu)" "$file" >"$out/log" 2>&1 && continue
    echo "FAILED $file:"
    head -5 "$out/log"
    failed=$((failed + 1))
done
echo "$taken of $number templates compiled by $compiler, $failed failed"
[ $failed = 0 ] && [ $taken -gt 0 ]
