#!/usr/bin/env bash
# Two images of Tenon's Debian packages, as the Dockerfile beside says: `runtime` (libtenon_rt, the Triton backend and what these need)
# and `compiler` (the command, the compiler, headers, a C compiler, NVRTC).  Runs the quickstart in them and says how large they are.
#
# usage: build.sh [--build DIR] [--out DIR] [--engine docker|podman|none]
#   --build DIR   a build of Tenon (default: build), whose packages these are
#   --out DIR     where tenon-runtime.tar and tenon-compiler.tar go (`docker import` reads them); default: nowhere
#   --engine E    what makes the images: by default Docker or Podman, where one works and has the base image; else `none`:
#                 the Dockerfile's steps in a minimal Debian that debootstrap makes (root), without a registry
# Exits 77 with the reason where this machine can do neither.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/debian_root.sh
skip() { echo "container skipped: $*"; exit 77; }
fail() { echo "FAILED: $*"; exit 1; }

build=build out='' engine='' arguments=("$@")
while [ $# -gt 0 ]; do
    case "$1" in
    --build) build=$2; shift ;;
    --out) out=$2; shift ;;
    --engine) engine=$2; shift ;;
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "build.sh: unknown option $1 (see --help)" >&2; exit 2 ;;
    esac
    shift
done
base=debian:bookworm-slim
if [ -z "$engine" ]; then
    engine=none
    for e in docker podman; do
        if command -v $e >/dev/null && timeout 60 $e pull -q $base >/dev/null 2>&1; then engine=$e; break; fi
    done
fi
[ "$engine" != none ] || debian_enter "${arguments[@]}"
echo "== images by $engine"
work=$(mktemp -d)
trap 'umount "$work"/*/proc "$work"/*/dev/pts 2>/dev/null || true; rm -rf --one-file-system "$work"' EXIT
chmod 755 "$work"

# ---- what the Dockerfile copies
mkdir -p "$work/context/nvrtc" "$work/out"
cpack --config "$build/CPackConfig.cmake" -G DEB -B "$work/context/debs" >"$work/log" 2>&1 || { cat "$work/log"; fail "cpack"; }
rm -rf "$work/context/debs/_CPack_Packages"
cuda=.cache/cuda
[ -d $cuda ] || cuda=${CUDA_HOME:-/usr/local/cuda}
compgen -G "$cuda/lib64/libnvrtc.so*" >/dev/null || skip "there is no NVRTC in $cuda (.ci/install-deps fetches it)"
for f in "$cuda"/lib64/libnvrtc.so.[0-9]* "$cuda"/lib64/libnvrtc-builtins.so.[0-9]*; do
    [ -L "$f" ] && continue
    cp "$f" "$work/context/nvrtc/$(readelf -d "$f" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')"
done
cp examples/container/Dockerfile "$work/context"

# ---- with neither engine nor registry: its steps, in copies of one minimal Debian
install_in() { # IMAGE PACKAGES: as the Dockerfile does
    cp -a "$work/base" "$work/$1"
    debian_connect "$work/$1"
    mkdir "$work/$1/debs"
    mount --bind "$work/context/debs" "$work/$1/debs"
    debian_in "$work/$1" root sh -c "apt-get update -qq && apt-get install -y -qq --no-install-recommends $2 &&
        rm -rf /var/lib/apt/lists/* /var/cache/apt/*" >"$work/log" 2>&1 || { tail -n 20 "$work/log"; fail "packages of $1"; }
    umount "$work/$1/debs"
    rmdir "$work/$1/debs"
}
size_of() { du -sm --one-file-system --exclude=proc --exclude=dev "$1" | cut -f1; }
packages_of() { # IMAGE: those of the Dockerfile's step
    sed -n "/AS $1\$/,/rm -rf/p" examples/container/Dockerfile | sed -n 's/.*--no-install-recommends \(.*\) && .*/\1/p'
}

if [ "$engine" = none ]; then
    debian_make "$work/base"
    rm -rf "$work"/base/var/cache/apt/archives/*.deb "$work"/base/var/lib/apt/lists/*
    for image in runtime compiler; do install_in $image "$(packages_of $image)"; done
    install -d "$work/compiler/usr/local/cuda/lib64"
    cp "$work"/context/nvrtc/* "$work/compiler/usr/local/cuda/lib64/"
    run() { # IMAGE COMMAND...: with the sources at /src and the results at /out
        local image=$1
        shift
        mkdir -p "$work/$image/src" "$work/$image/out"
        mount --bind . "$work/$image/src"
        mount --bind "$work/out" "$work/$image/out"
        debian_in "$work/$image" root "$@" || fail "$image: $*"
        umount "$work/$image/src" "$work/$image/out"
        rmdir "$work/$image/src" "$work/$image/out"
    }
    sizes="base $(size_of "$work/base") MB, runtime $(size_of "$work/runtime") MB, compiler $(size_of "$work/compiler") MB"
    save() { tar -C "$work/$1" --one-file-system --exclude=./proc/* --exclude=./dev/* -cf "$out/tenon-$1.tar" .; }
else
    for image in runtime compiler; do
        DOCKER_BUILDKIT=1 $engine build -q --build-arg "BASE=$base" --target $image -t "tenon-$image" "$work/context" >/dev/null
    done
    run() {
        local image=$1
        shift
        $engine run --rm -v "$PWD:/src:ro" -v "$work/out:/out" "tenon-$image" "$@" || fail "$image: $*"
    }
    sizes=$(for image in $base tenon-runtime tenon-compiler; do
        $engine image inspect --format "$image {{.Size}} bytes" $image
    done | tr '\n' ';')
    save() { $engine export "$($engine create "tenon-$1")" >"$out/tenon-$1.tar"; }
fi

# ---- the quickstart
run compiler sh /src/examples/container/quickstart.sh /src/examples/digits /src/examples/run_plan.c /out
[ "$(python3 -c 'import struct, sys; v = struct.unpack("<10f", open(sys.argv[1], "rb").read()[-40:]); print(v.index(max(v)))' \
    "$work/out/logits.npy")" = 7 ] || fail "the digit is not a 7"
# The runtime has what a plan takes, but for a driver, and says so; the backend finds all its libraries; no compiler is there
cat >"$work/out/check.sh" <<'CHECK'
set -eu
rc=0
/out/run_plan /out/model.plan 2>/out/said || rc=$?
cat /out/said
grep -q 'libcuda.so.1' /out/said
backend=$(find /usr/lib -name libtriton_tenon.so)
! ldd "$backend" | grep 'not found'
for file in tenon cc gcc nvcc; do ! command -v $file; done
[ -z "$(find / -xdev -path /src -prune -o -path /out -prune -o \( -name 'libtenon.so*' -o -name 'libopenblas*' -o -name 'libnvrtc*' \) -print)" ]
CHECK
run runtime sh /out/check.sh
if [ -n "$out" ]; then
    mkdir -p "$out"
    for image in runtime compiler; do save $image; done
fi
echo "== $sizes"
