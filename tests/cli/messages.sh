#!/usr/bin/env bash
# What messages say, and that no hint names what does not exist or what the user has done already.
# usage: messages.sh TENON SOURCE_DIR
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
for m in unknown if if_shapes shared; do python3 "$src/tests/cli/make_model.py" $m $m.onnx; done
reports=$src/tests/onnx/reports

# ---- all unknown operators at once
"$tenon" opt unknown.onnx >unknown 2>&1
while IFS='|' read -r what pattern; do
    holds "unknown operators: $what" grep -Eq "$pattern" unknown
done <<'LINES'
twice, with the first|error: /first/frob: Frobnicate \(opset 17\): no importer for this op of domain 'ai.onnx'; 2 nodes
of a domain, without a name|error: Gadget\(s\): my.ops.Gadget \(opset 1\): no importer
in a branch|error: /inner/deep: my.ops.Deep
of another version|error: /old/upsample: Upsample .*up to 10
LINES
lacks "no plugins" 'plugin' cat unknown

# ---- ifs
expect "an if runs on the cpu" 0 'y: f32 2x3' "$tenon" run if.onnx --device cpu -s x=2x3
expect "and is checked there" 0 'passed' "$tenon" check if.onnx --device cpu --random --at x=4x3
expect "and in kernels, which compute both branches" 0 'y: f32 2x3' "$tenon" run if.onnx --device emu -s x=2x3
expect "branches of two types" 7 "/choose: .*output 'y' is f32\[2,3\] if the condition holds and f32\[3,2\] if not" "$tenon" run if_shapes.onnx --device cpu -s x=2x3
expect "branches that fit" 0 'y: f32 3x3' "$tenon" run if_shapes.onnx --device cpu -s x=3x3
expect "sizes that decide" 0 'passed on cpu \(2 data sets\)' "$tenon" check "$reports/if_rank_dynamic.onnx" --device cpu
expect "two data sets" 0 'passed' "$tenon" check "$reports/if_runtime_same_shape.onnx" --device cpu

# ---- hints
lacks "no tenon inspect MODEL" 'inspect' "$tenon" run shared.onnx -s nosuch=1 --device cpu
lacks "no options of compile for run" 'no-gpu --target|name the target' env TENON_LIBCUDA=/nonexistent/libcuda.so "$tenon" run if.onnx -s x=2x3
lacks "a --device cpu that was given" 'device cpu' "$tenon" run if_shapes.onnx --device cpu -s x=2x3
lacks "no prefix twice" '([a-z_]+): \1: ' "$tenon" run if_shapes.onnx --device cpu -s x=2x3

expect "but for compile" 9 'name the target: --no-gpu --target' env TENON_LIBCUDA=/nonexistent/libcuda.so "$tenon" compile shared.onnx -o x.plan

expect "a model that is not there" 4 'nowhere.onnx: cannot be read: No such file' "$tenon" check nowhere.onnx --device cpu
lacks "the input is named once" 'input "?y"?.*input "?y' "$tenon" check shared.onnx --random --device cpu --at x=2x4

# ---- no rewrites
python3 - "$tenon" "$digits/digits.onnx" <<'PY'
import json, subprocess, sys
def fired(*o):
    d = json.loads(subprocess.run([sys.argv[1], "opt", sys.argv[2], "--json", *o], capture_output=True).stdout)
    return sum(r["fired"] for r in d["rules"])
sys.exit(0 if fired("--stop-after-rewrite=0") == 0 and fired("--stop-after-rewrite=3") == 3 and fired() > 3 else 1)
PY
holds "--stop-after-rewrite=0 means none" test $? = 0
finish
