# lib.sh: what the tests of the command share.  A test is NAME.sh TENON SOURCE_DIR and begins with
#     . "$(dirname "$0")/lib.sh"
# and ends with `finish`.  In between: $tenon, $src, $digits, and $work, a folder that is gone afterwards.
set -uo pipefail
tenon=$(realpath "$1") src=$(realpath "$2")
digits=$src/examples/digits
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TENON_CACHE=$work/cache NO_COLOR=1
fails=0 count=0

failed() { # TEXT
    fails=$((fails + 1))
    printf 'FAILED %s\n' "$1"
}

# expect NAME CODE PATTERN COMMAND...: exit code and a pattern in the output (stdout and stderr)
expect() {
    local name=$1 code=$2 pattern=$3 out rc
    shift 3
    out=$("$@" 2>&1 </dev/null)
    rc=$?
    count=$((count + 1))
    if [ "$rc" != "$code" ] || ! grep -Eq -- "$pattern" <<<"$out"; then
        failed "$name: exit code $rc (want $code), output lacks /$pattern/:"$'\n'"$out"
    fi
}

# lacks NAME PATTERN COMMAND...: the output, whatever the exit code, must not hold the pattern
lacks() {
    local name=$1 pattern=$2 out
    shift 2
    out=$("$@" 2>&1 </dev/null)
    count=$((count + 1))
    if [ -z "$out" ] || grep -Eq -- "$pattern" <<<"$out"; then failed "$name: output holds /$pattern/, or nothing:"$'\n'"$out"; fi
}

# same NAME FILE FILE
same() {
    count=$((count + 1))
    cmp -s "$2" "$3" || failed "$1: $2 and $3 differ"
}

# holds NAME COMMAND...: the command succeeds
holds() {
    local name=$1
    shift
    count=$((count + 1))
    "$@" >"$work/holds" 2>&1 || failed "$name"$'\n'"$(cat "$work/holds")"
}

# absent NAME FILE...: no such files, nor any whose names begin so, nor temporary ones beside them
absent() {
    local name=$1 f left
    shift
    count=$((count + 1))
    for f in "$@"; do
        left=$(compgen -G "$f*"; compgen -G "$(dirname "$f")/.tenon-*")
        [ -z "$left" ] || failed "$name: $left was left behind"
    done
}

have_nvrtc() {
    "$tenon" compile "$src/tests/onnx/reports/concat_null_shape.onnx" -o "$work/probe.plan" --target sm_90a --no-gpu -q 2>/dev/null
}

finish() {
    echo "$((count - fails)) passed, $fails failed"
    [ $fails = 0 ]
    exit
}
