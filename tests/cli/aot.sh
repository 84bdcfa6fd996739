#!/usr/bin/env bash
# Models compiled by a CMake build (tenon_add_plan): examples/aot, and a project of C++ alone with two plans in one program,
# in folders with spaces; plans are made again when weights change.
# usage: aot.sh CMAKE BUILD_DIR SOURCE_DIR C_COMPILER installed|subdirectory
#   installed: Tenon by find_package; subdirectory: by add_subdirectory, which builds it once more
set -euo pipefail
cmake=$1 build=$2 src=$3 cc=$4 how=$5
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TENON_CACHE=$work/cache
fail() { echo "FAILED: $*"; exit 1; }
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }; }

"$build/tenon" compile "$src/examples/digits/digits.onnx" -o "$work/probe.plan" --target sm_90a --no-gpu -q || {
    rc=$?
    [ $rc = 10 ] && echo "skipped: NVRTC is not there" && exit 77
    exit $rc
}
options=()
if [ "$how" = installed ]; then
    "$cmake" --install "$build" --prefix "$work/the prefix" >/dev/null
    options+=("-DCMAKE_PREFIX_PATH=$work/the prefix")

    quietly "$cmake" -S "$src/examples/aot" -B "$work/an example" "${options[@]}" "-DCMAKE_C_COMPILER=$cc"
    quietly "$cmake" --build "$work/an example"
    for d in 0 4 9; do
        "$work/an example/classify" "$src/examples/digits/digit_$d.npy" | tee "$work/out"
        grep -qx "the digit is a $d" "$work/out"
    done
else
    options+=("-DTENON_SOURCE=$src" "-DCMAKE_C_COMPILER=$cc")
fi

app="$work/an app"
mkdir -p "$app/models"
cat >"$app/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.21)
project(App LANGUAGES CXX)
if(TENON_SOURCE)
  add_subdirectory("${TENON_SOURCE}" tenon)
else()
  find_package(Tenon REQUIRED)
endif()
add_custom_command(OUTPUT made/negate.tn
  COMMAND ${CMAKE_COMMAND} -E copy "${CMAKE_CURRENT_SOURCE_DIR}/models/negate.tn" made/negate.tn
  DEPENDS models/negate.tn VERBATIM)
tenon_add_plan(sum models/sum.onnx TARGETS sm_80 sm_90a)
tenon_add_plan(old models/old.prototxt WEIGHTS "models/its weights.caffemodel" TARGETS sm_90a)
tenon_add_plan(negate "${CMAKE_CURRENT_BINARY_DIR}/made/negate.tn" TARGETS sm_90a PLUGINS "models/the op.plugin")
add_executable(app app.cpp)
target_link_libraries(app PRIVATE sum negate old Tenon::tenon)
CMAKE
cat >"$app/app.cpp" <<'CPP'
#include <cstdio>
#include <tenon/host.h>

#include "negate.h"
#include "sum.h"

int main() {
    const float x[] = {1, 2, 3, 4};
    float y[4] = {}, z[4] = {};
    tn_context_options options = {};
    options.device = TN_CPU, options.host = tn_host_devices();
    tn_plan *plans[] = {sum_plan(nullptr, nullptr), negate_plan(nullptr, nullptr)};
    tn_context *first = tn_context_new(plans[0], &options, nullptr), *second = tn_context_new(plans[1], &options, nullptr);
    if (sum_run(first, x, y) == TN_OK && negate_run(second, 4, y, z) == TN_OK) std::printf("%g %g\n", double(y[3]), double(z[0]));
    tn_context_free(first);
    tn_context_free(second);
    for (tn_plan *p : plans) tn_plan_free(p);
}
CPP
printf 'func @main(%%x: f32[N]) -> (%%z: f32[N]) {\n  %%n = neg %%x\n  %%z = app::times %%n\n  return %%z\n}\n' >"$app/models/negate.tn"
cat >"$app/models/the op.plugin" <<'PLUGIN'
plugin app::times
input x: f32[s...]
output y: f32[s...]
expansion {
  %by = const splat(1) : f32[]
  %y = mul %x, %by
  yield %y
}
PLUGIN
cp "$src/tests/caffe/v0.prototxt" "$app/models/old.prototxt"
cp "$src/tests/caffe/v0.caffemodel" "$app/models/its weights.caffemodel"
# y = x + w, with w in a file of its own
python3 - "$app/models/sum.onnx" <<'PY'
import sys
def varint(v): return bytes([v]) if v < 128 else bytes([v & 127 | 128]) + varint(v >> 7)
def num(field, v): return varint(field << 3) + varint(v)
def sub(field, *parts):
    data = b"".join(p.encode() if isinstance(p, str) else p for p in parts)
    return varint(field << 3 | 2) + varint(len(data)) + data
def value(field, name): return sub(field, sub(1, name), sub(2, sub(1, num(1, 1), sub(2, sub(1, num(1, 4))))))
weights = sub(5, num(1, 4), num(2, 1), sub(8, "w"), sub(13, sub(1, "location"), sub(2, "the weights.bin")), num(14, 1))
graph = sub(7, sub(1, sub(1, "x"), sub(1, "w"), sub(2, "y"), sub(4, "Add")), sub(2, "g"), weights, value(11, "x"), value(12, "y"))
open(sys.argv[1], "wb").write(num(1, 8) + graph + sub(8, num(2, 17)))
PY
weights() { python3 -c 'import struct, sys; sys.stdout.buffer.write(struct.pack("<4f", *map(float, sys.argv[1:])))' "$@" >"$app/models/the weights.bin"; }

generators=("Unix Makefiles")
! command -v ninja >/dev/null || generators=(Ninja)
[ "$how" = subdirectory ] || generators=("Unix Makefiles" "${generators[@]}")
for generator in "${generators[@]}"; do
    echo "== $generator"
    tree="$work/build by $generator"
    expect() { # OUTPUT COMPILATIONS
        "$cmake" --build "$tree" --verbose >"$work/log" 2>&1 || { tail -n 60 "$work/log"; exit 1; }
        "$tree/app" | tee "$work/out"
        [ "$(cat "$work/out")" = "$1" ] || fail "the program says $(cat "$work/out"), not $1"
        local n
        n=$(grep -cE '(^|[ "/])tenon"? compile ' "$work/log" || true)
        [ "$n" = "$2" ] || { cat "$work/log"; fail "$n plans are compiled, not $2"; }
    }
    weights 10 20 30 40
    quietly "$cmake" -S "$app" -B "$tree" -G "$generator" "${options[@]}" -DCMAKE_BUILD_TYPE=Debug
    expect "44 -11" 3
    expect "44 -11" 0
    sleep 1
    weights 5 5 5 6
    expect "10 -6" 1
    sed -i 's/= neg/= abs/' "$app/models/negate.tn"
    expect "10 6" 1
    sed -i 's/splat(1)/splat(2)/' "$app/models/the op.plugin"
    expect "10 12" 1
    sed -i 's/splat(2)/splat(1)/' "$app/models/the op.plugin"
    expect "10 6" 1
    touch "$app/models/its weights.caffemodel"
    expect "10 6" 1
    expect "10 6" 0
    sed -i 's/= abs/= neg/' "$app/models/negate.tn"
done

refuse() { # CALL MESSAGE: is an error when configuring
    printf 'cmake_minimum_required(VERSION 3.21)\nproject(App LANGUAGES C)\nfind_package(Tenon REQUIRED)\n%s\n' "$1" >"$work/refused/CMakeLists.txt"
    if "$cmake" -S "$work/refused" -B "$work/refused/build" "${options[@]}" >"$work/log" 2>&1; then fail "$1 is accepted"; fi
    tr -s ' \n' '  ' <"$work/log" | grep -F "$2" >/dev/null || { cat "$work/log"; fail "$1 does not say: $2"; }
}
if [ "$how" = installed ]; then
    mkdir "$work/refused"
    refuse 'tenon_add_plan(m nosuch.onnx TARGETS sm_80)' "tenon_add_plan(m): there is no model $work/refused/nosuch.onnx"
    refuse 'tenon_add_plan(a-b m.onnx TARGETS sm_80)' "tenon_add_plan(a-b): the name must be a C identifier"
    refuse 'tenon_add_plan(m m.onnx TARGET sm_80)' "tenon_add_plan(m): unknown arguments TARGET;sm_80"
fi
