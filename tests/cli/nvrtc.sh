#!/usr/bin/env bash
# NVRTC in a folder that the loader does not search: its builtins are found beside it, or where its link points.
# usage: nvrtc.sh TENON SOURCE_DIR
set -euo pipefail
tenon=$1 src=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*"; exit 1; }

# Where NVRTC is now: the loader says which files it initialises
loaded() { # PATTERN, from the loader's log
    sed -n "s/.*calling init: \(.*$1.*\)/\1/p" "$work/log" | head -n 1
}
compile() { # [NAME=VALUE...]
    env "$@" LD_DEBUG=files LD_DEBUG_OUTPUT="$work/ld" TENON_CACHE="$work/cache" "$tenon" compile "$src/examples/digits/digits.onnx" \
        -o "$work/digits.plan" --target sm_90a --no-gpu -q || return
    cat "$work"/ld.* >"$work/log"
    rm -rf "$work"/ld.* "$work/cache"
}
compile || {
    rc=$?
    [ $rc = 10 ] && echo "skipped: NVRTC is not there" && exit 77
    exit $rc
}
nvrtc=$(realpath "$(loaded 'libnvrtc\.so')")
builtins=$(realpath "$(loaded 'libnvrtc-builtins\.so')")
name=$(basename "$(loaded 'libnvrtc-builtins\.so')")

mkdir -p "$work/a toolkit/lib" "$work/elsewhere"
ln -s "$nvrtc" "$work/a toolkit/lib/libnvrtc.so.13"
ln -s "$builtins" "$work/a toolkit/lib/$name"
ln -s "$work/a toolkit/lib/libnvrtc.so.13" "$work/elsewhere/nvrtc"
compile TENON_LIBNVRTC="$work/a toolkit/lib/libnvrtc.so.13"
[ "$(loaded 'libnvrtc-builtins\.so')" = "$work/a toolkit/lib/$name" ] || fail "not beside it: $(loaded builtins)"
# the folder of the link has none, the folder of the library has
[ "$(dirname "$nvrtc")" != "$(dirname "$builtins")" ] || {
    compile TENON_LIBNVRTC="$work/elsewhere/nvrtc"
    [ "$(loaded 'libnvrtc-builtins\.so')" = "$(dirname "$nvrtc")/$name" ] || fail "not where the link points: $(loaded builtins)"
}
