#!/usr/bin/env bash
# With --json a command prints one JSON document, whatever happens; what was not measured is null.
# usage: json.sh TENON SOURCE_DIR
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
model=$digits/digits.onnx

# json NAME CODE EXPRESSION COMMAND...: exit code, and a Python expression over the document `d` that must hold
json() {
    local name=$1 code=$2 expression=$3 rc
    shift 3
    "$@" >out.json 2>err </dev/null
    rc=$?
    count=$((count + 1))
    [ $rc = "$code" ] && python3 -c "
import json, sys
d = json.load(open('out.json'))
sys.exit(0 if ($expression) else 1)" 2>>err || failed "$name: exit code $rc (want $code), not $expression:"$'\n'"$(head -c 600 out.json err)"
}
error() { json "$1" "$2" "d['exit_code'] == $2 and '$3' in d['errors'][0]['where'] + d['errors'][0]['message']" "${@:4}"; }

cat >"$work/near.tn" <<'TN'
func @main(%y: f32[3,4], %v: f32[4,5]) -> f32[3,5] {
  %d = const [3] : f32[]
  %e = mul %y, %d loc("/scale")
  %2 = matmul %e, %v loc("/product")
  return %2
}
TN
expect "why a rule was refused" 0 'refused at /product: the weights are not constant' "$tenon" opt "$work/near.tn" --passes=affine --stats
json "why a rule was refused" 0 "[m for r in d['rules'] for m in r['misses']] == [{'layers': '/product', 'why': 'the weights are not constant'}]" "$tenon" opt "$work/near.tn" --passes=affine --json
json "opt" 0 "d['graph'].count('conv') and d['passes'][0]['pass'] and d['rules']" "$tenon" opt "$model" --json
json "opt to a file" 0 "d['output'] == 'x.tn' and 'graph' not in d" "$tenon" opt "$model" -o x.tn --json
json "opt --list" 0 "any(p['name'] == 'canon' for p in d)" "$tenon" opt --list --json
json "check" 0 "d['passed'] and d['cosine'] > 0.99" "$tenon" check "$model" --device cpu --json
json "check --random" 0 "d['passed'] and d['runs'][0]['output'] == 'logits'" "$tenon" check "$model" --random --device cpu --json
json "run" 0 "d['outputs'][0]['shape'] == [1, 10]" "$tenon" run "$model" -s image=1x1x20x20 --device cpu --json
cp -r "$digits/test_data_set_0" .
mkdir shape && cp -r test_data_set_0 shape/
cp shape/test_data_set_0/input_0.pb shape/test_data_set_0/output_0.pb
json "nothing to compare is null" 1 "d['max_abs_error'] is None and d['cosine'] is None and d['why']" "$tenon" check "$model" --data shape --device cpu --json

error "no such command" 2 frobnicate "$tenon" frobnicate --json
error "a bad option" 2 nonsense "$tenon" opt --nonsense --json
error "no argument" 2 'takes one' "$tenon" opt --json
error "no such file" 4 nowhere.onnx "$tenon" opt nowhere.onnx --json
error "no such plan" 4 nowhere.plan "$tenon" inspect nowhere.plan --json
error "a bad shape" 2 nosuch "$tenon" run "$model" -s nosuch=1 --device cpu --json
error "no data" 4 test_data_set_0 "$tenon" check "$model" --data nowhere --device cpu --json
error "an empty suite" 4 'no tests' "$tenon" check --suite . --json
error "no target" 2 target "$tenon" compile "$model" -o x.plan --no-gpu --json

if have_nvrtc; then
    json "compile" 0 "d['archs'] == ['sm_90a'] and d['bytes'] > 1000" "$tenon" compile "$model" -o p.plan --target sm_90a --no-gpu --json
    json "inspect" 0 "all(k['us'] is None and k['max_abs_error'] is None for k in d['kernels'])" "$tenon" inspect p.plan --json
    json "inspect a kernel" 0 "all(c['us'] is None for c in d['candidates'])" "$tenon" inspect p.plan --kernel 0 --json
    json "inspect a source" 0 "'__global__' in d['source']" "$tenon" inspect p.plan --kernel 0 --source --json
    json "inspect ptx" 0 "'.target sm_90a' in d['ptx']" "$tenon" inspect p.plan --kernel 0 --ptx --json
    error "no GPU" 9 libcuda env TENON_LIBCUDA=/nonexistent/libcuda.so "$tenon" bench p.plan --json
    error "no GPU to tune on" 9 libcuda env TENON_LIBCUDA=/nonexistent/libcuda.so "$tenon" tune p.plan --json
    error "no such kernel" 2 'kernels 0 to' "$tenon" inspect p.plan --kernel 999 --json
fi
finish
