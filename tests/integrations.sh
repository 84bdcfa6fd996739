#!/usr/bin/env bash
# Tenon where people already work, on a machine without a GPU: installs what it takes, builds, and tests each integration against
# the real other side: Python, ONNX Runtime, Triton, C and C++ builds, packages, applications that compile when they start, the command's
# benchmarks and comparisons.  What cannot be installed is skipped with its reason.
#
# usage: tests/integrations.sh [--build DIR]
# tests/run.sh runs these too, and in CI none of them may be skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
build=build
while [ $# -gt 0 ]; do
    case "$1" in
    --build) build=$2; shift ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "integrations.sh: unknown option $1 (see --help)" >&2; exit 2 ;;
    esac
    shift
done
./.ci/install-deps || echo "not all that is needed could be installed: what lacks it is skipped"
[ ! -d .cache/cuda ] || export CUDA_HOME=$PWD/.cache/cuda
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo >/dev/null
ninja -C "$build" | tail -n 1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
rc=0
ctest --test-dir "$build" -L integration --verbose >"$log" 2>&1 || rc=$?
# every test's verdict, and why what was skipped was
grep -E '^[0-9]+: (skipped|without|not compared)|^ *[0-9]+/[0-9]+ Test|tests passed|FAILED' "$log" | sed -E 's/^[0-9]+: /    /'
exit $rc
