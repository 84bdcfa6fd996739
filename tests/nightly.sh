#!/usr/bin/env bash
# What is too long for every commit: all that tests/run.sh takes a sample of from commit to commit, some hours of one core.
#
# usage: tests/nightly.sh [--build DIR] [--shapes N] [--fuzz SECONDS]
#   --build   where tests/run.sh has built (default: build)
#   --shapes  random graphs with symbolic sizes (default 2000), from a seed that the date gives
#   --fuzz    seconds for each fuzz target (default 600; 0: none)
# Goes on behind what fails and says at the end what did; exit code 1 then.  Reads TENON_TEST_DATA as tests/run.sh does.
set -uo pipefail
cd "$(dirname "$0")/.."

build=build shapes=2000 fuzz=600
while [ $# -gt 0 ]; do
    case "$1" in
    --build) build=$2; shift ;;
    --shapes) shapes=$2; shift ;;
    --fuzz) fuzz=$2; shift ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "nightly.sh: unknown option $1 (see --help)" >&2; exit 2 ;;
    esac
    shift
done
[ -x "$build/tenon" ] || { echo "nightly.sh: no $build/tenon: run tests/run.sh first" >&2; exit 2; }
[ ! -d .cache/cuda ] || export CUDA_HOME=$PWD/.cache/cuda
if [ -z "${TENON_TEST_DATA:-}" ] && [ -d ../shared/data ]; then
    TENON_TEST_DATA=$(cd ../shared/data && pwd)
    export TENON_TEST_DATA
fi
unset TENON_MATRIX_TURN # nothing rests

failed=()
stage() {
    local name=$1; shift
    echo "== $name: $*"
    "$@" || [ $? = 77 ] || failed+=("$name")
}

matrix=$build/tests/kernel_matrix
stage "kernels executed" "$matrix" --cover pairs
stage "kernels compiled" "$matrix" --device nvrtc --cover pairs
stage "mutants" python3 tests/kernels/mutate.py --matrix "$matrix" --program check="$build/tests/test_checker" \
    --program tn_device="$build/tests/test_device_functions" --program tn_math="$build/tests/test_device_functions"
for device in cpu emu; do
    stage "ONNX nodes on $device" tests/onnx/nodes.sh "$build/tenon" $device
    stage "contrib operators on $device" tests/onnx/contrib.sh "$build/tenon" $device
done
stage "families of transformers" "${TENON_PYTHON:-python3}" tests/bench/families.py --tenon "$build/tenon"
for test in test_fused_models test_mma_variants test_onnx_sorted test_onnx_recurrent; do stage $test "$build/tests/$test"; done
stage "random graphs" "$build/tests/ir/tn_random_graphs" 20000
stage "random shapes" "$build/tests/fuzz/tn_random_shapes" "$shapes" $(($(date +%Y%m%d) * 1000))
stage "containers" examples/container/build.sh --build "$build"
if [ "$fuzz" != 0 ]; then
    for target in onnx caffe plan program text tensors dims; do stage "fuzz $target" tests/fuzz/run.sh $target "$fuzz"; done
fi
[ ${#failed[@]} = 0 ] || { printf 'failed: %s\n' "${failed[@]}"; exit 1; }
echo "nothing failed"
