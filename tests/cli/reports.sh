#!/usr/bin/env bash
# reports.sh TENON DEVICE [PRECISION...]: checks the models of tests/onnx/reports, and those of $TENON_TEST_DATA/reports
# (default ../shared/data/reports) that are not among them, against their recorded outputs.
#
# tests/onnx/reports/expected.txt lists what may come out otherwise, each with its reason: that must come out, or the line
# is out of date.  REPORTS_JOBS models run at a time.  With TENON_MATRIX_TURN=N on the device `emu` each model is checked in
# one of the precisions, which moves on with N.  Exit code 77: `emu` has no C++ compiler.
set -uo pipefail

# "PRECISION NAME VERDICT: why" of one model; VERDICT is passed, FAILED or a kind of expected.txt
check_one() { # PRECISION MODEL
    local precision=$1 name kind= why= out rc verdict
    name=$(basename "$2" .onnx)
    read -r kind why < <(awk -v name="$name" -v device="$device" -v precision="$precision" '$1 == name {
        n = split($2, at, ",")
        for (k = 1; k <= n; k++)
            if (at[k] == "*" || at[k] == device || at[k] == precision || at[k] == device "/" precision) {
                $1 = $2 = ""; print substr($0, 3); exit
            }
    }' "$expected")
    out=$("$tenon" check "$2" --device "$device" --precision "$precision" 2>&1 </dev/null)
    rc=$?
    case ${kind:-right}/$rc in
    right/0) verdict=passed ;;
    illegal/[27] | illegal/14 | values/[01] | refused/6 | wrong/1) verdict=$kind ;;
    *) verdict=FAILED why="${kind:+listed as $kind, but }exit code $rc: $(grep -E 'WRONG|error' <<<"$out" | head -3 | tr '\n' ' ' | cut -c1-600)" ;;
    esac
    printf '%s %s %s: %s\n' "$precision" "$name" "$verdict" "$why"
}
if [ "$1" = --one ]; then
    shift
    check_one "$@"
    exit
fi

here=$(cd "$(dirname "$0")" && pwd)
copy=$here/../onnx/reports full=${TENON_TEST_DATA:-$here/../../../shared/data}/reports
export tenon=$1 device=$2 expected=$copy/expected.txt
shift 2
[ $# -gt 0 ] || set -- fp32 fp16 bf16
if [ "$device" = emu ] && ! ${TENON_CXX:-c++} --version >/dev/null 2>&1; then
    echo "skipped: there is no C++ compiler"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

models=("$copy"/*.onnx)
for model in "$full"/*.onnx; do
    [ ! -e "$model" ] || [ -e "$copy/$(basename "$model")" ] || models+=("$model")
done
for ((k = 0; k < ${#models[@]}; k++)); do
    if [ "$device" = emu ] && [ -n "${TENON_MATRIX_TURN:-}" ]; then
        turn=$(((k + TENON_MATRIX_TURN) % $# + 1))
        printf '%s\0%s\0' "${!turn}" "${models[k]}"
    else
        for precision; do printf '%s\0%s\0' "$precision" "${models[k]}"; done
    fi
done >"$work/todo"
TENON_CACHE= xargs -0 -n 2 -P "${REPORTS_JOBS:-$(nproc)}" "$0" --one <"$work/todo" | sort >"$work/done"

bad=$(grep -c ' FAILED: ' "$work/done")
grep -vE ' (passed|illegal): ' "$work/done"
for name in $(sed '/^#/d' "$expected" | awk 'NF { print $1 }' | sort -u); do
    [ -e "$copy/$name.onnx" ] || { echo "expected.txt lists $name, which is not there"; bad=$((bad + 1)); }
done
for precision; do
    printf '%s %s:' "$device" "$precision"
    awk -v p="$precision" '$1 == p { sub(":", "", $3); n[$3]++ } END {
        k = split("passed illegal values refused wrong FAILED", kinds)
        for (i = 1; i <= k; i++) if (n[kinds[i]]) printf " %d %s", n[kinds[i]], kinds[i]; print "" }' "$work/done"
done
pairs=$(tr -cd '\0' <"$work/todo" | wc -c)
[ "$(wc -l <"$work/done")" = $((pairs / 2)) ] || { echo "some models left no verdict"; bad=$((bad + 1)); }
[ "$bad" = 0 ] || { echo "$bad failures"; exit 1; }
