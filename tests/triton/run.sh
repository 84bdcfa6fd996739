#!/usr/bin/env bash
# The backend in a Triton server: .cache/triton (made by .ci/install-deps), or what $TRITONSERVER names, on this machine's loopback.
#
# usage: run.sh CMAKE BUILD_DIR SOURCE_DIR [--OPTION... (of test_backend.py)]
# Exits 77 where there is no server, or no Python with NumPy and ONNX; in CI ($CI) that is a failure.
set -euo pipefail
cmake=$1 build=$(realpath "$2") src=$(realpath "$3")
shift 3
skip() {
    echo "skipped: $*"
    [ -z "${CI:-}" ] || exit 1
    exit 77
}
server=${TRITONSERVER:-$src/.cache/triton/pytriton/tritonserver/bin/tritonserver}
[ -x "$server" ] || skip "there is no $server (.ci/install-deps fetches one; \$TRITONSERVER names another)"
ldd "$server" >/dev/null 2>&1 && [ -z "$(ldd "$server" | grep 'not found')" ] || skip "$server does not run here: it needs glibc 2.35"
for python in "$src/.cache/python/bin/python" python3 none; do
    "$python" -c 'import numpy, onnx' 2>/dev/null && break
done
[ $python != none ] || skip "no Python with numpy and onnx (.ci/install-deps makes one)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TENON_CACHE=$work/cache
"$build/tenon" compile "$src/examples/digits/digits.onnx" -o "$work/probe.plan" --target sm_90a --no-gpu -q || {
    rc=$?
    [ $rc = 10 ] && skip "NVRTC is not there"
    exit $rc
}
for component in rt triton; do "$cmake" --install "$build" --prefix "$work/prefix" --component $component >/dev/null; done
installed=$(dirname "$(dirname "$(find "$work/prefix" -name libtriton_tenon.so)")")
"$python" "$src/tests/triton/test_backend.py" "$server" "$build/triton" "$installed" "$build/tenon" "$src" "$build/tests/mock_cuda.so" "$@"
