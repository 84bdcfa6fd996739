#!/usr/bin/env bash
# The execution provider in a Python that has ONNX Runtime: .cache/python (made by .ci/install-deps), or python3.
#
# usage: run.sh LIBRARY SOURCE_DIR MOCK_CUDA | run.sh LIBRARY SOURCE_DIR --OPTION... (of test_provider.py)
# Without options: all on the CPU, kernels emulated for one network, memory of a mock of a GPU, and the example.  Exits 77 where there is no ONNX Runtime,
# but in CI ($CI), which may not go without.
set -euo pipefail
library=$(realpath "$1") src=$(realpath "$2")
shift 2
needs='import sys, numpy, onnx, onnxruntime; sys.exit(tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 23))'
for python in "$src/.cache/python/bin/python" python3 none; do
    "$python" -c "$needs" 2>/dev/null && break
done
if [ $python = none ]; then
    echo "skipped: no Python with numpy, onnx and onnxruntime 1.23 or later (.ci/install-deps makes one)"
    [ -z "${CI:-}" ] || exit 1
    exit 77
fi
test="$src/tests/onnxruntime/test_provider.py"
if [[ "${1:-}" == --* ]]; then
    exec "$python" "$test" "$library" "$src" "$@"
fi
"$python" "$test" "$library" "$src"
for only in test_shapes test_shared; do
    "$python" "$test" "$library" "$src" --device emu --only $only
done
mock=$(realpath "$1")
if compgen -G "${CUDA_HOME:-/usr/local/cuda}/lib64/libnvrtc.so*" >/dev/null; then
    MOCK_CUDA_CC=90 TENON_LIBCUDA=$mock TENON_LIBCUBLASLT=$mock "$python" "$test" "$library" "$src" --device cuda --resident --mock
    MOCK_CUDA_FAULT=192 MOCK_CUDA_CC=90 TENON_LIBCUDA=$mock TENON_LIBCUBLASLT=$mock "$python" "$test" "$library" "$src" --device cuda --resident --mock \
        --only brought
else
    echo "without NVRTC: memory of a GPU not tested"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
TENON_CACHE=$work "$python" "$src/examples/onnxruntime.py" "$library"
