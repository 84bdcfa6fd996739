#!/usr/bin/env bash
# Fuzzes one target with libFuzzer, ASan and UBSan.
#
# usage: tests/fuzz/run.sh TARGET SECONDS [BUILD]
#   TARGET   onnx, caffe, plan, program, text, plugin, tensors or dims
#   BUILD    build folder (default: build-fuzz); what is found is kept in BUILD/fuzz/TARGET for the next run
# Ends at the first finding, with its file and stack.  An input that takes 5 seconds of processor time, or 2 GB, is a
# finding too.  Otherwise prints a summary: executions, findings, and the corpus, minimised.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# -ge 2 ] || { sed -n '4,9s/^# \{0,1\}//p' "$0"; exit 2; }
target=$1 seconds=$2 build=${3:-build-fuzz}

[ ! -d .cache/cuda ] || export CUDA_HOME=$PWD/.cache/cuda
[ -f "$build/build.ninja" ] || cmake -S . -B "$build" -G Ninja -DCMAKE_C_COMPILER=clang -DTENON_FUZZ=ON \
    -DTENON_SANITIZE=address,undefined -DCMAKE_BUILD_TYPE=RelWithDebInfo >/dev/null
ninja -C "$build" "fuzz_$target" mock_cuda >/dev/null

work=$build/fuzz/$target
mkdir -p "$work/corpus" "$work/findings"
log=$work/log
seeds=(tests/fuzz/corpus/"$target")
case $target in
text) # the functions of all cases of passes and kernels
    mkdir -p "$work/seeds"
    python3 - "$work/seeds" tests/ir/*/*.tn tests/kernels/*.tn <<'PY'
import re, sys
for path in sys.argv[2:]:
    for k, part in enumerate(re.split(r"(?m)^// -----.*\n", open(path).read())):
        text = re.sub(r"(?m)^\s*//.*\n", "", part).strip()
        if text:
            open(f"{sys.argv[1]}/{path.replace('/', '_')}_{k}", "w").write(text + "\n")
PY
    seeds+=("$work/seeds") ;;
onnx) seeds+=(tests/onnx/reports tests/onnx/contrib) ;; # small models
esac
case $target in dims) longest=128 ;; text | plugin | tensors | program) longest=4096 ;; *) longest=16384 ;; esac

export ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=0
fuzzer=("$build/tests/fuzz/fuzz_$target" -max_len=$longest -rss_limit_mb=2048 -timeout=120)
start=$(date +%s)
status=0
"${fuzzer[@]}" -max_total_time="$seconds" -artifact_prefix="$work/findings/" -print_final_stats=1 "$work/corpus" "${seeds[@]}" \
    >"$log" 2>&1 &
fuzz=$!
trap 'kill $fuzz 2>/dev/null || true' EXIT
while kill -0 $fuzz 2>/dev/null; do
    sleep 2
    line=$(grep -aE '^#[0-9]+' "$log" | tail -n 1 | sed -E 's/^#([0-9]+).*cov: ([0-9]+) .*corp: ([0-9]+).*exec\/s: ([0-9]+).*/\1 executions, \4 a second, \2 edges, corpus \3/' || true)
    printf '\r%s: %4d of %d s: %s   ' "$target" $(($(date +%s) - start)) "$seconds" "$line" >&2
done
wait $fuzz || status=$?
echo >&2
if [ $status != 0 ]; then
    grep -avE '^#[0-9]+|NEW_FUNC|^INFO|^Base64|^artifact_prefix' "$log" | head -n 40
    ls -t "$work/findings" | head -n 1 | sed "s|^|finding: $work/findings/|"
fi
mkdir -p "$work/minimised"
"${fuzzer[@]}" -merge=1 "$work/minimised" "$work/corpus" >"$work/merge.log" 2>&1 || true
runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
printf '%s: %s executions in %d s, %d findings, corpus minimised to %d files, %s\n' "$target" "${runs:-?}" \
    $(($(date +%s) - start)) $((status != 0)) "$(ls "$work/minimised" | wc -l)" "$(du -sh "$work/minimised" | cut -f1)"
exit $status
