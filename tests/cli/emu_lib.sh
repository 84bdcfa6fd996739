# emu_lib.sh: what tests of whole models on the emulated device share.  A test is NAME.sh TENON ... and begins with
#     . "$(dirname "$0")/emu_lib.sh"
# and ends with `exit $failed`.  In between: $tenon, and $work, a folder that is gone afterwards.  Exit code 77: there is no C++
# compiler.
set -uo pipefail
tenon=$1
if ! ${TENON_CXX:-c++} --version >/dev/null 2>&1; then
    echo "skipped: there is no C++ compiler"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TENON_CACHE=$work/cache
failed=0

expect() { # name, command...
    local name=$1; shift
    if "$@" >"$work/out" 2>&1; then echo "ok    $name"; else echo "WRONG $name"; sed 's/^/      /' "$work/out"; failed=1; fi
}
