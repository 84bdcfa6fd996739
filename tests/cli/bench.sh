#!/usr/bin/env bash
# tenon bench: on the CPU, and on a mock of a GPU, which runs nothing: what is told and written, not how fast it is.
# usage: bench.sh TENON SOURCE_DIR MOCK_CUDA     Exit code 77: NVRTC is not there.
. "$(dirname "$0")/lib.sh"
mock=$(realpath "$3")
cd "$work" || exit 1
have_nvrtc || { echo "skipped: NVRTC is not there"; exit 77; }
"$tenon" compile "$digits/digits.onnx" -o p.plan --target sm_90a --no-gpu -q --shape image=1..8x1x20x20:2x1x20x20
cpu() { "$tenon" bench p.plan --device cpu --seconds 0.05 --warm-up 0 "$@"; }
gpu() { MOCK_CUDA_CC=90 TENON_LIBCUDA=$mock TENON_LIBCUBLASLT=$mock "$tenon" bench p.plan --seconds 0.02 --warm-up 0.01 "$@"; }
# told FILE EXPRESSION: of the document `d`
told() {
    count=$((count + 1))
    python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); sys.exit(not eval(sys.argv[2]))' "$1" "$2" ||
        failed "$1: not $2: $(head -c 600 "$1")"
}

expect "a size must be said" 2 'nobody says how large N is' cpu
expect "all of them" 0 'min: image=1x1x20x20.*' cpu --sizes min,typical,max
cpu --sizes min,typical,max --json >sizes.json
told sizes.json '[s["sizes"] for s in d["sizes"]] == ["min", "typical", "max"]'
told sizes.json '[s["shapes"] for s in d["sizes"]] == ["image=%dx1x20x20" % n for n in (1, 2, 8)]'
told sizes.json 'all(s["inferences"] >= 10 and 0 < s["latency_ms"]["min"] <= s["latency_ms"]["p50"] <= s["latency_ms"]["p90"]
    <= s["latency_ms"]["p95"] <= s["latency_ms"]["p99"] <= s["latency_ms"]["max"] for s in d["sizes"])'
# more inputs than a decoder of 16 layers has
python3 - >many.tn <<'PY'
n = range(40)
types = [f"f32[n{k},4]" for k in n]
print("func @m(" + ", ".join(f"%x{k}: {types[k]}" for k in n) + ") -> (" + ", ".join(types) + ") {")
for k in n:
    print(f"  %{k} = neg %x{k} : {types[k]}")
print("  return " + ", ".join(f"%{k}" for k in n) + "\n}")
PY
expect "40 shapes" 0 '' "$tenon" bench many.tn --device cpu --seconds 0 --iterations 1 $(printf -- '--shape x%d=3x4 ' $(seq 0 39))
cpu --shape image=4x1x20x20 --seconds 0 --iterations 7 --export-times t.json --export-trace tr.json --json >one.json
told one.json 'd["inferences"] == 7 and abs(d["throughput"] * d["wall_s"] - 7) < 1e-6'
told t.json 'len(d) == 7 and all(abs(s["latency_ms"] - s["compute_ms"]) < 1e-9 for s in d)'
told t.json 'sorted(s["begin_ms"] for s in d) == [s["begin_ms"] for s in d]'
told tr.json '[e["ph"] for e in d["traceEvents"]] == ["X"] * 7'
# the percentiles are those of the times that were written
python3 - one.json t.json <<'PY' || failed "percentiles"
import json, math, sys
d, t = (json.load(open(p)) for p in sys.argv[1:])
v = sorted(x["latency_ms"] for x in t)
for p in (50, 90, 95, 99):
    assert abs(v[math.ceil(p / 100 * len(v)) - 1] - d["latency_ms"][f"p{p}"]) < 1e-9
assert abs(sum(v) / len(v) - d["latency_ms"]["mean"]) < 1e-9
PY
expect "a model" 0 'throughput' "$tenon" bench "$digits/digits.onnx" --device cpu --seconds 0.01 --shape image=1x1x20x20
expect "an input from a file" 0 'image=1x1x20x20' cpu --input "image=$digits/digit_3.npy"

gpu --shape image=2x1x20x20 --infer-streams 3 --export-trace g.json --export-profile k.json --json >g.out
told g.out 'd["infer_streams"] == 3 and d["transfers"] and d["inferences"] >= 10 and len(d["kernels"]) == 6'
told k.json 'len(d) == 6 and abs(sum(k["percent"] for k in d) - 100) < 1e-6'
told g.json '{e["tid"] for e in d["traceEvents"]} == {0, 1, 2} and {e["pid"] for e in d["traceEvents"]} == {"host", "GPU"}'
expect "spinning, no copies" 0 'inputs and outputs on the device' gpu --shape image=1x1x20x20 --no-transfers --spin --no-profile
lacks "then kernels are not timed" 'replayed alone' gpu --shape image=1x1x20x20 --no-profile
expect "launch by launch" 0 'throughput' gpu --shape image=1x1x20x20 --no-graph --no-pdl

expect "several streams of the CPU" 2 'several are for --device cuda' cpu --infer-streams 2
expect "no such size" 2 'write min, typical and max' cpu --sizes huge
expect "kernels on the CPU" 2 'timed with --device cuda' cpu --export-profile p.json
expect "a file that cannot be written" 4 'cannot be written' cpu --shape image=1x1x20x20 --export-times /nowhere/t.json
expect "no GPU" 9 'libcuda' env TENON_LIBCUDA=/nowhere/libcuda.so "$tenon" bench p.plan --shape image=1x1x20x20
finish
