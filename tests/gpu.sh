#!/usr/bin/env bash
# What only a GPU can show: the model zoo on the device in float32 and float16, and compute-sanitizer on two models.
#
# usage: tests/gpu.sh [--tenon build/tenon] [--tune-seconds S] [--no-sanitizer] [MODEL ...]
# Needs a GPU, NVRTC and TENON_TEST_DATA (default ../shared/data).  Prints a table; exit code 1 if a row failed.
# Nothing here falls back to the CPU: `tenon check --device cuda` fails where there is no GPU.
set -uo pipefail
cd "$(dirname "$0")/.."

tenon=build/tenon seconds=20 sanitizer=1 data=${TENON_TEST_DATA:-../shared/data}
models=()
while [ $# -gt 0 ]; do
    case "$1" in
    --tenon) tenon=$2; shift ;;
    --tune-seconds) seconds=$2; shift ;;
    --no-sanitizer) sanitizer=0 ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) models+=("$1") ;;
    esac
    shift
done

# name, options, rtol and atol for fp32, rtol and atol for fp16 (outputs of detectors reach hundreds; probabilities stay below 1)
zoo() {
    cat <<'ROWS'
cnn_mnist8              - 1e-3 1e-3 2e-2 2e-1
cnn_squeezenet_fp16     - 2e-2 2e-3 2e-2 2e-3
cnn_super_resolution_10 - 1e-3 1e-4 2e-2 5e-3
det_ultraface_rfb320    - 1e-3 1e-4 2e-2 5e-3
det_yunet_n_640         - 1e-3 1e-3 2e-2 2e-2
det_yunet_n_dynamic     - 1e-3 1e-3 2e-2 2e-2
det_fastestdet          - 1e-3 1e-3 2e-2 2.5e-1
policy_go1              - 1e-3 1e-4 2e-2 1e-2
attn_mnist_pgd_medium   - 1e-3 1e-3 2e-2 1e-1
deeploy_tinyvit         - 1e-3 1e-4 2e-2 1e-2
light_resnet50          - 1e-3 1e-5 2e-2 2e-3
light_squeezenet        - 1e-3 1e-5 2e-2 2e-3
light_inception_v1      - 1e-3 1e-5 2e-2 2e-3
light_densenet121       - 1e-3 1e-4 2e-2 2e-2
ROWS
}

failed=0
row() { # name precision device options...
    local name=$1 precision=$2 start=$(date +%s.%N) text rc
    shift 2
    text=$("$tenon" check "$@" --device cuda --precision "$precision" --tune-seconds "$seconds" 2>&1)
    rc=$?
    local took worst
    took=$(awk -v a="$start" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }')
    worst=$(grep -o 'max error [^ ]*' <<<"$text" | awk '{ if ($3 + 0 > m) m = $3 + 0 } END { printf "%.3g", m }')
    printf '%-26s %-5s %-7s max error %-9s %6s s\n' "$name" "$precision" "$([ $rc = 0 ] && echo passed || echo FAILED)" "$worst" "$took"
    [ $rc = 0 ] || { failed=1; grep -E 'WRONG|error|hint' <<<"$text" | head -6; }
}

"$tenon" check --device cuda --precision fp32 --tune-seconds "$seconds" examples/digits/digits.onnx || failed=1
while read -r name _ rtol atol rtol16 atol16; do
    if [ ${#models[@]} -gt 0 ] && ! grep -qx "$name" < <(printf '%s\n' "${models[@]}"); then continue; fi
    if [ ! -e "$data/models/$name.onnx" ]; then
        echo "$name skipped: not in $data/models"
        continue
    fi
    row "$name" fp32 "$data/models/$name.onnx" --rtol "$rtol" --atol "$atol"
    row "$name" fp16 "$data/models/$name.onnx" --rtol "$rtol16" --atol "$atol16"
done < <(zoo)

# symbolic height and width: one compilation, two shapes, against the reference evaluation
yunet=$data/models/det_yunet_n_dynamic.onnx
if [ -e "$yunet" ] && [ ${#models[@]} = 0 ]; then
    for precision in fp32 fp16; do
        tol=(--rtol 1e-3 --atol 1e-3)
        [ $precision = fp16 ] && tol=(--rtol 2e-2 --atol 3e-2)
        if text=$("$tenon" check "$yunet" --random --at input=1x3x320x320 --at input=1x3x256x448 --device cuda --precision $precision \
            --tune-seconds "$seconds" "${tol[@]}" 2>&1); then
            echo "det_yunet_n_dynamic at 320x320 and 256x448, $precision: passed"
        else
            echo "det_yunet_n_dynamic at 320x320 and 256x448, $precision: FAILED"
            grep -E 'WRONG|error' <<<"$text" | head -6
            failed=1
        fi
    done
fi

if [ $sanitizer = 1 ] && command -v compute-sanitizer >/dev/null; then
    plans=$(mktemp -d)
    trap 'rm -rf "$plans"' EXIT
    "$tenon" compile examples/digits/digits.onnx -o "$plans/digits.plan" --precision fp16 --tune-seconds "$seconds" -q
    sanitize=("$plans/digits.plan")
    if [ -e "$data/models/cnn_squeezenet_fp16.onnx" ]; then
        "$tenon" compile "$data/models/cnn_squeezenet_fp16.onnx" -o "$plans/squeezenet.plan" --precision fp16 --tune-seconds "$seconds" -q
        sanitize+=("$plans/squeezenet.plan")
    fi
    for plan in "${sanitize[@]}"; do
        sizes=()
        [ "$(basename "$plan")" = digits.plan ] && sizes=(--shape image=3x1x20x20)
        for tool in memcheck racecheck; do
            if text=$(compute-sanitizer --tool $tool --error-exitcode 9 "$tenon" run "$plan" "${sizes[@]}" -q 2>&1); then
                echo "compute-sanitizer $tool $(basename "$plan"): clean: $(tail -n 1 <<<"$text")"
            else
                echo "compute-sanitizer $tool $(basename "$plan"): FAILED"
                tail -n 30 <<<"$text"
                failed=1
            fi
        done
    done
elif [ $sanitizer = 1 ]; then
    echo "compute-sanitizer skipped: not on the PATH"
fi
exit $failed
