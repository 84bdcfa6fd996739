#!/bin/bash
# reports.sh TENON DEVICE [PRECISION...]: checks every model of $TENON_TEST_DATA/reports (default ../shared/data/reports).
#
# A model fails if it gives a wrong result, or if it must be refused and is not.  reports_rounding.txt lists what 16 bits (or
# float32) cannot give, each with its reason: those must be wrong, or the line is out of date.  A model that is refused
# though it is legal is counted, and a failure with STRICT=1.
here=$(cd "$(dirname "$0")" && pwd)
tenon=$1 device=$2
shift 2
[ $# -gt 0 ] || set -- fp32 fp16 bf16
data=${TENON_TEST_DATA:-$here/../../../shared/data}/reports
[ -d "$data" ] || { echo "skipped: no $data"; exit 77; }

reason() { # NAME PRECISION
    awk -v name="$1" -v here="$2" -v there="$device/$2" '$1 == name {
        n = split($2, at, ",")
        for (k = 1; k <= n; k++) if (at[k] == here || at[k] == there) { $1 = $2 = ""; print substr($0, 3) }
    }' "$here/reports_rounding.txt"
}

bad=0
for precision; do
    passed=0 listed=0 refused=0
    for model in "$data"/*.onnx; do
        name=$(basename "$model" .onnx)
        why=$(reason "$name" "$precision")
        out=$("$tenon" check "$model" --device "$device" --precision "$precision" 2>&1 </dev/null)
        rc=$?
        case $name in illegal_*) legal=0 ;; *) legal=1 ;; esac
        if [ $legal = 0 ]; then
            if [ $rc = 0 ] || [ $rc -ge 124 ]; then
                echo "$precision $name: must be refused (exit code $rc)"; bad=$((bad + 1))
            else passed=$((passed + 1)); fi
        elif [ -n "$why" ] && [ $rc = 1 ]; then
            echo "$precision $name: wrong as listed: $why"; listed=$((listed + 1))
        elif [ -n "$why" ]; then
            echo "$precision $name: reports_rounding.txt lists it, but its exit code is $rc"; bad=$((bad + 1))
        elif [ $rc = 0 ]; then
            passed=$((passed + 1))
        elif [ $rc = 1 ] || [ $rc -ge 124 ] || [ "${STRICT:-0}" = 1 ]; then
            echo "$precision $name: exit code $rc"; echo "$out" | grep -E 'WRONG|error' | head -3; bad=$((bad + 1))
        else
            refused=$((refused + 1))
        fi
    done
    echo "$device $precision: $passed passed, $listed wrong as listed, $refused not supported"
done
[ $bad = 0 ] || { echo "$bad failures"; exit 1; }
