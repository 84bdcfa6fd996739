#!/usr/bin/env bash
# .ci/install-deps on machines of several kinds, with the system's commands replaced by stand-ins that note their calls.
# usage: deps.sh SOURCE_DIR
set -euo pipefail
src=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*"; cat "$work/out"; exit 1; }

mkdir -p "$work/repo/.ci" "$work/bin" "$work/toolkit/lib64" "$work/toolkit/include/crt" "$work/toolkit/include/nv"
cp "$src/.ci/install-deps" "$work/repo/.ci"
for f in nvrtc.h cuda_fp16.h cublasLt.h crt/host_defines.h nv/target; do : >"$work/toolkit/include/$f"; done
echo '#define CUDA_VERSION 13000' >"$work/toolkit/include/cuda.h"
: >"$work/toolkit/lib64/libnvrtc.so.13"
for tool in bash dirname grep cat rm mkdir ln mv env; do ln -s "$(command -v $tool)" "$work/bin/$tool"; done
stand_in() { # NAME BODY
    printf '#!/bin/bash\n%s\n' "$2" >"$work/bin/$1"
    chmod +x "$work/bin/$1"
}
run() { # EXIT_CODE [NAME=VALUE...]
    local want=$1 rc=0
    shift
    : >"$work/calls"
    env -i PATH="$work/bin" CALLS="$work/calls" CUDA_HOME="$work/toolkit" "$@" "$work/repo/.ci/install-deps" build >"$work/out" 2>&1 || rc=$?
    [ $rc = "$want" ] || fail "exit code $rc, not $want, with $*"
}
says() { grep -qF -- "$1" "$work/out" || fail "does not say: $1"; }
calls() { grep -qE -- "$1" "$work/calls" || { cat "$work/calls"; fail "does not call: $1"; }; }

stand_in id 'echo 1000'
stand_in ldconfig 'exit 0'
stand_in apt-get 'echo "apt-get $*" >>"$CALLS"'
stand_in sudo 'echo "sudo $*" >>"$CALLS"; "$@"'

stand_in dpkg-query 'echo "install ok installed"'
run 0
[ ! -s "$work/calls" ] || fail "calls something where everything is there"

stand_in dpkg-query '[ "${!#}" != cmake ] && echo "install ok installed"'
run 0
says 'installing cmake'
calls '^sudo apt-get update'
calls '^apt-get install .* cmake$'
run 1 TENON_NO_INSTALL=1
says 'missing packages: cmake (TENON_NO_INSTALL is set)'
rm "$work/bin/sudo"
run 1
says 'missing packages: cmake; install them as root (there is no sudo)'
stand_in id 'echo 0'
run 0
calls '^apt-get install .* cmake$'

rm "$work/bin/dpkg-query"
run 0
says 'this is neither Debian nor Ubuntu; needed are: gcc'

# A toolkit that lacks one of the headers or NVRTC, or is older, is none; python3 has no venv until its package is installed
stand_in dpkg-query '[ "${!#}" != python3-venv ] && echo "install ok installed"'
stand_in python3 'echo "python3 $*" >>"$CALLS"; exit 1'
echo '#define CUDA_VERSION 11080' >"$work/old.h"
for part in include/nv/target lib64/libnvrtc.so.13 include/cuda.h; do
    mv "$work/toolkit/$part" "$work/part"
    [ $part != include/cuda.h ] || cp "$work/old.h" "$work/toolkit/$part"
    run 1 TENON_NO_INSTALL=1
    says "no CUDA 12 or 13 with NVRTC and cuBLAS in $work/toolkit"
    mv "$work/part" "$work/toolkit/$part"
done
rm "$work/toolkit/include/nv/target"
stand_in apt-get 'echo "apt-get $*" >>"$CALLS"; exit 100'
run 100
says 'fetching headers and NVRTC'
calls '^python3 -c import ensurepip, venv'
says 'installing python3-venv'
[ ! -e "$work/repo/.cache/cuda" ] || fail "leaves a folder of headers behind"
