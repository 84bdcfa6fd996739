#!/usr/bin/env bash
# tenon ops: the table of operators, and the page that is made of it.
# usage: ops.sh TENON SOURCE_DIR
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1

"$tenon" ops --markdown >page.md || failed "tenon ops --markdown"
cmp -s page.md "$src/frontend/onnx/operators.md" ||
    failed "frontend/onnx/operators.md differs from tenon ops --markdown: $(diff page.md "$src/frontend/onnx/operators.md" | head -5)"
count=$((count + 1))

# document NAME EXPRESSION ARGUMENT...: a Python expression over the document `d`
document() {
    local name=$1 expression=$2
    shift 2
    count=$((count + 1))
    "$tenon" ops --json "$@" >ops.json && python3 -c "
import json, re, sys
d = json.load(open('ops.json'))
rows = set(re.findall(r'^ONNX_OP\(\"([^\"]*)\", (\w+),', open('$src/frontend/onnx/onnx_ops.def').read(), re.M))
sys.exit(0 if ($expression) else 1)" || failed "$name: not $expression"
}
document "every row" "{('' if o['domain'] == 'ai.onnx' else o['domain'], o['name']) for o in d if 'refused' not in o} == rows"
document "types and versions" "all(o['types'] and o['versions'] and o['since'] <= o['until'] and o['cpu'] and o['gpu'] for o in d if 'refused' not in o)"
document "reasons" "all(o['refused'] and not o['gpu'] for o in d if 'refused' in o) and any(o['name'] == 'ImageDecoder' for o in d)"
document "one operator" "[o['domain'] for o in d] == ['com.microsoft'] and d[0]['types'] == ['u8', 'i8']" qlinearsigmoid
document "decisions" "[o['name'] for o in d if 'host' in o] == ['If', 'Loop', 'Scan']"
expect "by part of a name" 0 'com.microsoft +GroupQueryAttention +1 +cpu gpu +f32 f16 bf16' "$tenon" ops queryatt
expect "refused" 0 'StringSplit +not imported: tensors of strings' "$tenon" ops StringSplit
expect "no such name" 2 'no operator has such a name' "$tenon" ops nonsense
finish
