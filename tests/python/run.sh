#!/usr/bin/env bash
# The Python package: builds its wheel (from a build's static libraries, so that nothing is compiled again), looks at what is in it,
# installs it into an environment of its own, and runs the tests and the example there.
#
# usage: run.sh SOURCE_DIR BUILD_DIR
# The environment is SOURCE_DIR/.cache/python-VERSION, made with python3 (TENON_PYTHON names another) from PyPI.
set -euo pipefail
src=$(cd "$1" && pwd) build=$(cd "$2" && pwd)
python=${TENON_PYTHON:-python3}
fail() { echo "FAILED: $*"; exit 1; }

packages=("scikit-build-core>=0.10" numpy onnx ml_dtypes auditwheel tqdm)
venv=$src/.cache/python-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
stamp="${packages[*]}"
if [ "$(cat "$venv/packages" 2>/dev/null)" != "$stamp" ]; then
    rm -rf "$venv"
    mkdir -p "$src/.cache"
    "$python" -m venv "$venv" || fail "python3 has no venv: install python3-venv"
    "$venv/bin/pip" install -q --disable-pip-version-check "${packages[@]}" || fail "PyPI does not have ${packages[*]} for us"
    echo "$stamp" >"$venv/packages"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$venv/bin/pip" wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w "$work" "$src/frontend/python" \
    -C build-dir="$build/wheel" -C cmake.define.TENON_LIBRARIES_FROM="$build" ||
    fail "the wheel does not build"
wheel=$(echo "$work"/*.whl)
case "$wheel" in *-cp39-abi3-*) ;; *) fail "$wheel is not for the stable ABI" ;; esac
size=$(stat -c %s "$wheel")
[ "$size" -lt 10000000 ] || fail "the wheel has $size bytes"
"$venv/bin/auditwheel" show "$wheel" >"$work/audit" 2>&1 || fail "auditwheel: $(cat "$work/audit")"
tr '\n' ' ' <"$work/audit" | grep 'following platform tag: "manylinux_' >/dev/null || fail "auditwheel: $(cat "$work/audit")"
"$venv/bin/python" -m zipfile -e "$wheel" "$work/wheel"
for f in libtenon.so _tenon.abi3.so; do
    shown=$(nm -D --defined-only "$work/wheel/tenon/$f" | awk '$2 != "A" && $3 !~ /^(tn_|PyInit_)/ { print $3 }')
    [ -z "$shown" ] || fail "$f shows $shown"
done
echo "wheel: $size bytes, $(grep -o 'manylinux_[a-z0-9_]*' "$work/audit" | head -n 1)"

"$venv/bin/pip" install -q --disable-pip-version-check --no-deps --force-reinstall "$wheel"
export TENON_SOURCE=$src PYTHONPATH=
cd "$src/tests/python"
"$venv/bin/python" -m unittest test_package 2>&1
"$venv/bin/python" on_mock.py "$src" "$build/tests"
"$venv/bin/python" "$src/examples/classify.py" | tee "$work/example"
grep '^the digit is a 7$' "$work/example" >/dev/null || fail "the example does not know a 7"
"$venv/bin/python" "$src/examples/generate.py" | grep '^the small boat waits at the river for the morning' >/dev/null || fail "the decoder writes something else"

# PyTorch: in .cache/torch (.ci/install-deps), or where TENON_TORCH_PYTHON or python3 has one; in CI it may not be left out
for torch in "${TENON_TORCH_PYTHON:-$src/.cache/torch/python}" "$python" none; do
    "$torch" -c 'import torch, numpy' 2>/dev/null && break
done
if [ "$torch" != none ]; then
    export PYTHONPATH=$work/wheel
    "$torch" -W ignore -m unittest test_torch 2>&1
    "$torch" -W ignore "$src/examples/torch_compile.py"
else
    echo "PyTorch's tests are left out: there is none in .cache/torch (.ci/install-deps) nor in $python (TENON_TORCH_PYTHON names another Python)"
    [ -z "${CI:-}" ] || exit 1
fi
