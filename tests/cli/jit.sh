#!/usr/bin/env bash
# examples/jit.c: on the CPU, and on a mock of a GPU, where it is tuned in steps.
# usage: jit.sh JIT SOURCE_DIR MOCK_CUDA TENON     Exit code 77: NVRTC is not there.
jit=$(realpath "$1") mock=$(realpath "$3")
set -- "$4" "$2"
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
cp "$digits/digits.onnx" m.onnx
cpu() { "$jit" m.onnx --cpu --cache cache 2>/dev/null; }
value() { sed -n 's/^tuned: //p' "$1"; }

cpu >first && cpu >second
same "the same numbers" <(value first) <(value second)
plans() { find cache -name 'plan-*.plan' -printf '%f %i\n' | sort; }
plans >before
cpu >third
same "and the same plan" <(plans) before
holds "a plan that is there takes a fraction of the time" awk -F'[ ]' 'NR == FNR { a = $3; next } FNR == 1 { exit !($3 < a / 2) }' <(head -n 1 first) <(head -n 1 third)
rm -r cache
for k in 1 2 3; do cpu >"at_once$k" & done
wait
holds "of three at once one compiles" test "$(find cache -name 'plan-*.plan' | wc -l)" = 1
for k in 1 2 3; do same "process $k" <(value at_once$k) <(value first); done

# Sizes that only a run knows, as the plan names them
cp "$src/examples/decoder/decoder.onnx" d.onnx
of() { "$jit" d.onnx --cpu --cache cache "$@" 2>/dev/null; }
of --size 'past + sequence=2' >one && of --size sequence=1 --size past=1 --size 'past + sequence=2' >as_one && of --size sequence=3 --size 'past + sequence=4' >three
same "a size is 1 unless it is given" <(value one) <(value as_one)
holds "or what is given" test "$(value three)" != "$(value one)"
expect "sizes that do not fit" 7 'hint: give inputs whose sizes fit together' "$jit" d.onnx --cpu --cache cache --size sequence=3
expect "an option that is none" 2 '^usage: jit' "$jit" m.onnx --cpuu

have_nvrtc || { echo "skipped: NVRTC is not there"; exit 77; }
gpu() { MOCK_CUDA_CC=90 TENON_LIBCUDA=$mock TENON_LIBCUBLASLT=$mock "$jit" m.onnx --cache gpu --idle "$1" 2>&1; }
expect "no time to tune" 0 'not yet tuned' gpu 0
holds "tuned in steps" grep '^tuned' <(gpu 200)
expect "later starts have that at once" 0 '^tuned' gpu 0
expect "no GPU" 9 libcuda env TENON_LIBCUDA=/nowhere/libcuda.so "$jit" m.onnx --cache gpu
expect "no model" 4 'nothing.onnx' "$jit" nothing.onnx --cpu --cache cache
finish
