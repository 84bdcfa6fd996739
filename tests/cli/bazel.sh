#!/usr/bin/env bash
# A model compiled by a Bazel build: examples/bazel, and a model that changes.  What Bazel would fetch comes from Debian's packages: its
# Bazel (4.2) reads no MODULE.bazel, which later ones do, and those need the network.
# usage: bazel.sh CMAKE BUILD_DIR SOURCE_DIR
set -euo pipefail
cmake=$1 build=$(realpath "$2") src=$(realpath "$3")
rules=/usr/share/bazel/rules
command -v bazel >/dev/null && [ -d $rules/java ] && [ -d $rules/proto ] || {
    echo "skipped: no Bazel (apt-get install bazel-bootstrap bazel-rules-java bazel-rules-proto)"
    exit 77
}
work=$(mktemp -d)
trap 'bazel --output_user_root="$work/root" shutdown >/dev/null 2>&1 || true; chmod -R u+w "$work"; rm -rf "$work"' EXIT
fail() { echo "FAILED: $*"; exit 1; }
"$cmake" --install "$build" --prefix "$work/prefix" >/dev/null
cp -rL "$src/examples/bazel" "$work/app"
cd "$work/app"
cat >WORKSPACE <<'BZL'
load("//:repository.bzl", "tenon_repository")
tenon_repository(name = "tenon")
BZL
mkdir -p rules_cc/cc
: >rules_cc/WORKSPACE
: >rules_cc/cc/BUILD
for rule in cc_library cc_binary cc_import cc_test cc_toolchain cc_toolchain_suite cc_proto_library; do echo "$rule = native.$rule"; done >rules_cc/cc/defs.bzl

TENON_CACHE=$work/cache
[ -z "${CUDA_HOME:-}" ] || export CUDA_HOME
export TENON_PREFIX=$work/prefix TENON_CACHE
options=(--override_repository=rules_cc="$PWD/rules_cc" --override_repository=rules_java=$rules/java
    --override_repository=rules_proto=$rules/proto --action_env=CUDA_HOME --action_env=TENON_CACHE)
make() { bazel --output_user_root="$work/root" build :classify "${options[@]}" >"$work/log" 2>&1; }
make || {
    grep 'NVRTC cannot be opened' "$work/log" >/dev/null && echo "skipped: NVRTC is not there" && exit 77
    tail -n 40 "$work/log"
    fail "examples/bazel"
}
for d in 0 4 9; do
    [ "$(bazel-bin/classify "$src/examples/digits/digit_$d.npy")" = "the digit is a $d" ] || fail "it takes a $d for another digit"
done
before=$(stat -c %Y bazel-bin/digits_plan/digits.plan)
sleep 1
printf '\0' >digits.onnx
make && fail "a model that is none is compiled"
grep 'digits.onnx' "$work/log" >/dev/null || { cat "$work/log"; fail "it does not say which model"; }
cp -L "$src/examples/digits/digits.onnx" digits.onnx
make || fail "after a model that was none"
[ "$(stat -c %Y bazel-bin/digits_plan/digits.plan)" -ge "$before" ]
TENON_PREFIX=$work/nothing make && fail "there is a Tenon in no folder"
grep "there is no Tenon in $work/nothing" "$work/log" >/dev/null || { cat "$work/log"; fail "it does not say that there is no Tenon"; }
echo "examples/bazel: $(bazel --output_user_root="$work/root" version 2>/dev/null | grep -i 'build label' || echo 'Bazel of Debian')"
