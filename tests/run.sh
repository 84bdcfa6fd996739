#!/usr/bin/env bash
# Builds Tenon and runs all its tests, on a machine with or without a GPU.
#
# usage: tests/run.sh [--quick] [--jobs N] [--build DIR]
#   --quick   one build (no sanitizers, no clang)
# Installs missing Debian packages first (set TENON_NO_INSTALL=1 to forbid).  TENON_TEST_DATA names a folder with test
# models and the ONNX suite; tests that need it are skipped with a printed reason where it is absent.
set -euo pipefail
cd "$(dirname "$0")/.."

quick=0 jobs=$(nproc) build=build
while [ $# -gt 0 ]; do
    case "$1" in
    --quick) quick=1 ;;
    --jobs) jobs=$2; shift ;;
    --build) build=$2; shift ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "run.sh: unknown option $1 (see --help)" >&2; exit 2 ;;
    esac
    shift
done

./.ci/install-deps
[ ! -d .cache/cuda ] || export CUDA_HOME=$PWD/.cache/cuda
if [ -z "${TENON_TEST_DATA:-}" ] && [ -d ../shared/data ]; then
    TENON_TEST_DATA=$(cd ../shared/data && pwd)
    export TENON_TEST_DATA
fi
# Which dtypes the kernels' assignments of knobs are compiled with by NVRTC (tests/kernels/matrix.c), and which seeds the random
# graphs and the rules' soundness test draw from (tests/ir)
TENON_MATRIX_TURN=${TENON_MATRIX_TURN:-$(git rev-list --count HEAD 2>/dev/null || echo 0)}
export TENON_MATRIX_TURN
echo "test data: ${TENON_TEST_DATA:-none (model tests are skipped)}"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0

# configure_and_build DIR [cmake options]: everything, or what $targets names
configure_and_build() {
    local dir=$1; shift
    echo "== build $dir: $*"
    cmake -S . -B "$dir" -G Ninja -DTENON_WERROR=ON "$@" >"$log" || { cat "$log"; exit 1; }
    ninja -C "$dir" -j "$jobs" ${targets:-} >"$log" 2>&1 || { grep -E -A8 'error|FAILED|warning' "$log" | head -80; exit 1; }
}

# run_tests DIR [ctest options]: prints the closing lines, and the whole log of what failed
run_tests() {
    local dir=$1; shift
    echo "== test $dir"
    if ! ctest --test-dir "$dir" -j "$jobs" --output-on-failure "$@" >"$log" 2>&1; then failed=1; fi
    grep -E 'Failed|Timeout|\*\*\*|skipped|SKIP|Assertion|ERROR|:[EF]:' "$log" | head -60 || true
    tail -n 12 "$log"
}

configure_and_build "$build" -DCMAKE_BUILD_TYPE=RelWithDebInfo
run_tests "$build"
if [ $quick = 0 ]; then
    configure_and_build "$build-asan" -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=RelWithDebInfo \
        -DTENON_SANITIZE=address,undefined
    run_tests "$build-asan" -LE slow
    targets="tests/test_threads tests/test_cache" configure_and_build "$build-tsan" -DCMAKE_C_COMPILER=gcc \
        -DCMAKE_BUILD_TYPE=RelWithDebInfo -DTENON_SANITIZE=thread
    run_tests "$build-tsan" -R '^test_(threads|cache)$'
    configure_and_build "$build-clang" -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=Debug
fi
if command -v clang-format >/dev/null; then
    echo "== clang-format"
    git ls-files '*.c' '*.h' | xargs clang-format --dry-run -Werror 2>"$log" || { head -20 "$log"; failed=1; }
fi
if [ $failed != 0 ]; then
    echo "tests failed"
    exit 1
fi
echo "all tests passed"
