#!/usr/bin/env bash
# nets.sh TENON DEVICE: checks every net of this folder against its recorded outputs (make_nets.py says where these come
# from), and symbolic batch sizes.  Exit code 77: `emu` has no C++ compiler.
set -uo pipefail
tenon=$1 device=$2 here=$(cd "$(dirname "$0")" && pwd)
if [ "$device" = emu ] && ! ${TENON_CXX:-c++} --version >/dev/null 2>&1; then
    echo "skipped: there is no C++ compiler"
    exit 77
fi
export TENON_CACHE=
fails=0 checked=0
check() { # NET [OPTIONS...]
    local net=$1 out
    shift
    checked=$((checked + 1))
    out=$("$tenon" check "$here/$net.prototxt" --weights "$here/$net.caffemodel" --device "$device" "$@" 2>&1) && return
    printf '%s %s:\n%s\n' "$net" "$*" "$(grep -vE ' ok$' <<<"$out")"
    fails=$((fails + 1))
}
for net in "$here"/*.prototxt; do check "$(basename "$net" .prototxt)"; done
check classic --shape data=1..4x4x13x11
check ssd --shape data=1..4x3x16x20
check yolo --precision fp16
echo "$checked checked on $device, $fails failed"
[ "$checked" -ge 16 ] && [ "$fails" = 0 ]
