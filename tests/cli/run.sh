#!/usr/bin/env bash
# The tenon command from outside: what it prints, its exit codes, and that errors leave nothing behind.
# usage: run.sh TENON SOURCE_DIR
. "$(dirname "$0")/lib.sh"
nvrtc=1
have_nvrtc || nvrtc=0

# ---- usage
expect "no command" 2 'usage: tenon COMMAND' "$tenon"
expect "help" 0 'exit codes' "$tenon" --help
expect "version" 0 '^tenon [0-9]' "$tenon" --version
expect "unknown command" 2 'no command "frobnicate"' "$tenon" frobnicate
for c in compile run bench inspect opt tune check; do
    expect "$c --help" 0 'examples:' "$tenon" $c --help
    expect "$c with a bad option" 2 'nonsense' "$tenon" $c --nonsense
    expect "$c without arguments" 2 'takes|needs' "$tenon" $c
done
expect "bad shape" 2 'write NAME=' "$tenon" opt "$digits/digits.onnx" --shape 1x3
expect "bad precision" 2 'use fp32' "$tenon" opt "$digits/digits.onnx" --precision fp7
expect "unknown target" 2 'unknown architecture' "$tenon" compile "$digits/digits.onnx" -o "$work/x.plan" --no-gpu --target sm_1
mkdir "$work/gone"
expect "a working directory that is gone" 4 'has been removed' bash -c 'cd "$1" && rmdir "$1" && shift && "$@"' - "$work/gone" "$(realpath "$tenon")" compile "$(realpath "$digits/digits.onnx")" -o "$work/x.plan" --no-gpu --target sm_90a --cache ""
absent "a working directory that is gone" "$work/x.plan"
absent "unknown target" "$work/x.plan"

# ---- the reference, without a GPU
expect "check on the cpu" 0 'passed on cpu' "$tenon" check "$digits/digits.onnx" --device cpu
expect "check fp16 on the cpu" 0 'passed on cpu' "$tenon" check "$digits/digits.onnx" --device cpu --precision fp16 --atol 0.1
expect "check json" 0 '"passed":.*true' "$tenon" check "$digits/digits.onnx" --device cpu --json
expect "tolerances matter" 1 'WRONG' "$tenon" check "$digits/digits.onnx" --device cpu --precision fp16 --rtol 0 --atol 1e-9
expect "check on random inputs" 0 'passed on cpu' "$tenon" check "$digits/digits.onnx" --device cpu --random --at image=3x1x20x20 --at image=1x1x20x20
expect "check at a shape that does not fit" 7 'image' "$tenon" check "$digits/digits.onnx" --device cpu --random --at image=3x1x20
mkdir -p "$work/suite/test_digits_a" "$work/suite/test_digits_broken"
for t in a broken; do cp -r "$digits/digits.onnx" "$work/suite/test_digits_$t/model.onnx"; cp -r "$digits/test_data_set_0" "$work/suite/test_digits_$t/"; done
cp "$digits/test_data_set_0/input_0.pb" "$work/suite/test_digits_broken/test_data_set_0/output_0.pb"
expect "suite" 1 '^1 passed, 1 failed, 0 skipped$' "$tenon" check --suite "$work/suite" --device cpu
expect "suite names failures" 1 'FAILED +test_digits_broken: output logits' "$tenon" check --suite "$work/suite" --device cpu
cp "$digits/digits.onnx" "$work/suite/beside.onnx"
cp "$digits/digits.onnx" "$work/suite/without_data.onnx"
mkdir "$work/suite/beside"
cp -r "$digits/test_data_set_0" "$work/suite/beside/"
expect "suite of models beside their data" 0 '^1 passed, 0 failed, 0 skipped$' "$tenon" check --suite "$work/suite" --device cpu --filter de
expect "suite filter" 0 '^1 passed, 0 failed, 0 skipped$' "$tenon" check --suite "$work/suite" --device cpu --filter digits_a
expect "run a model" 0 'logits: f32 1x10' "$tenon" run "$digits/digits.onnx" --device cpu --input "image=$digits/digit_3.npy"
expect "run json" 0 '"first_values"' "$tenon" run "$digits/digits.onnx" --device cpu --json --shape image=1x1x20x20
expect "opt prints text" 0 'func @' "$tenon" opt "$digits/digits.onnx" --passes=canon,dce
expect "opt lists passes" 0 'canon' "$tenon" opt --list
expect "opt leaves passes out" 0 'func @' "$tenon" opt "$digits/digits.onnx" --passes=-normed,-fuse
expect "opt does not leave unknown passes out" 2 'frob' "$tenon" opt "$digits/digits.onnx" --passes=-normed,-frob
expect "opt runs passes, or leaves them out" 2 "unknown pass 'canon'" "$tenon" opt "$digits/digits.onnx" --passes=-normed,canon
expect "opt names unknown passes" 2 'frob' "$tenon" opt "$digits/digits.onnx" --passes=frob
expect "opt writes a file" 0 '' "$tenon" opt "$digits/digits.onnx" -o "$work/d.tn"
expect "opt reads it back" 0 'kernel' "$tenon" opt "$work/d.tn" --passes=

# ---- a Caffe net
net=$src/tests/caffe/ssd
expect "a net" 0 'detection_out: f32 1x1x50x7' "$tenon" run "$net.prototxt" --weights "$net.caffemodel" --device cpu \
    --input "data=$net/test_data_set_0/input_0.pb"
expect "opt of a net" 0 'loc\("conv0"' "$tenon" opt "$net.prototxt" --weights "$net.caffemodel"
expect "a net without weights" 2 'conv0: Convolution: no weights are given.*|--weights' "$tenon" opt "$net.prototxt"
expect "weights that are not there" 4 'nowhere.caffemodel' "$tenon" opt "$net.prototxt" --weights "$work/nowhere.caffemodel"
expect "weights alone" 2 'deploy.prototxt --weights' "$tenon" run "$net.caffemodel" --device cpu
expect "weights of another net" 5 'conv0: Convolution: the weights have no layer' "$tenon" opt "$net.prototxt" \
    --weights "$src/tests/caffe/yolo.caffemodel"
expect "weights of an ONNX model" 2 'has its own' "$tenon" opt "$digits/digits.onnx" --weights "$net.caffemodel"
echo 'layer { name: "x" type: "Frob" top: "y" }' >"$work/frob.prototxt"
expect "a layer that is not known" 6 'Frob \(.x.\)' "$tenon" opt "$work/frob.prototxt"
echo 'layer { name: "x" type: 3 }' >"$work/frob.prototxt"
expect "a prototxt that is wrong" 5 'frob.prototxt: line 1, column 25' "$tenon" opt "$work/frob.prototxt"
if [ $nvrtc = 1 ]; then
    expect "compile a net" 0 '' "$tenon" compile "$net.prototxt" --weights "$net.caffemodel" -o "$work/net.plan" --no-gpu \
        --target sm_80 --depfile "$work/net.d"
    expect "its weights are a dependency" 0 'ssd.caffemodel' cat "$work/net.d"
    expect "its plan names layers" 0 'detection_out' "$tenon" inspect "$work/net.plan"
    expect "a plan has its weights" 2 'compiled already' "$tenon" run "$work/net.plan" --weights "$net.caffemodel" --device cpu
fi

# ---- an output in its input's buffer
echo 'symbol P in [0, 7]
func @main(%past: f32[2,P,4], %x: f32[2,1,4]) { %n = neg %x %y = concat %past, %n {axis=1} return %y {names=["now"]} }' >"$work/grow.tn"
expect "an alias on the cpu" 0 'passed on cpu' "$tenon" check "$work/grow.tn" --device cpu --random --alias past=now --at past=2x3x4
expect "an alias of no input" 2 "the alias 'w\*=now\*' names no input" "$tenon" check "$work/grow.tn" --device cpu --random --alias 'w*=now*'
expect "an alias of another output" 2 "output 'now' cannot grow in the buffer of input 'x': .* begins with something else" "$tenon" run "$work/grow.tn" --device cpu --alias x=now
if [ $nvrtc = 1 ]; then
    expect "compile with an alias" 0 '' "$tenon" compile "$work/grow.tn" -o "$work/grow.plan" --no-gpu --target sm_90a --alias past=now
    expect "inspect names the alias" 0 "output  now: f32\[2,P \+ 1,4\], grows in the buffer of 'past' along axis 1 \(room for 8\)" "$tenon" inspect "$work/grow.plan"
    expect "inspect --program shows it" 0 'output %2 "now" : 256 over %0\[0, P\*16 \+ 128, P\*16, 128\]' "$tenon" inspect "$work/grow.plan" --program
    expect "inspect --json has it" 0 '"capacity": ?8' "$tenon" inspect "$work/grow.plan" --json
    expect "an aliased plan runs packed" 0 'now: f32 2x4x4' "$tenon" run "$work/grow.plan" --device cpu --shape past=2x3x4
    sed 's/%past/%past_key_values.0.key/g; s/"now"/"present.0.key"/' "$work/grow.tn" >"$work/cache.tn"
    expect "a KV cache grows by its name" 0 '1 output grows in the buffers of inputs' "$tenon" compile "$work/cache.tn" -o "$work/cache.plan" --no-gpu --target sm_90a
    expect "in the buffer of its input" 0 "present.0.key: .* grows in the buffer of 'past_key_values.0.key'" "$tenon" inspect "$work/cache.plan"
    expect "or not" 0 '' "$tenon" compile "$work/cache.tn" -o "$work/cache.plan" --no-gpu --target sm_90a --no-alias
    lacks "then it does not" 'grows in' "$tenon" inspect "$work/cache.plan"
    sed '/^symbol/d' "$work/cache.tn" >"$work/endless.tn"
    expect "a cache without a largest size says why it does not grow" 0 "past_key_values.0.key: output 'present.0.key' does not grow in it: axis 1, along which it grows, has no largest size" \
        "$tenon" compile "$work/endless.tn" -o "$work/endless.plan" --no-gpu --target sm_90a -v
    cat >"$work/decode.tn" <<'END'
symbol P in [0, 63]
symbol S in [1, 32]
func @main(%past_key_values.0.key: f16[1,2,P,8], %x: f16[1,S,256], %w: f16[16,256]) {
  %k = matmul %x, %w {trans_b=true}
  %r = reshape %k {dims=[1,S,2,8]}
  %t = transpose %r {perm=[0,2,1,3]}
  %y = concat %past_key_values.0.key, %t {axis=2}
  return %y {names=["present.0.key"]}
}
END
    expect "one plan to begin and to go on" 0 'grows in the buffers' "$tenon" compile "$work/decode.tn" -o "$work/decode.plan" --no-gpu --target sm_90a \
        --shape x=1x1..32x256:1x1x256 --shape x=1x1..32x256:1x32x256 --shape 'past_*.key=1x2x0..63x8:1x2x40x8'
    expect "a product of one row, however long the cache is" 0 '^ +S=1: gemv' "$tenon" inspect "$work/decode.plan"
    expect "beyond its room" 2 'P is from 0 to 7' "$tenon" run "$work/grow.plan" --device cpu --shape past=2x8x4
fi

# ---- lengths and sizes that depend on data
trip='%t = cast %n {to=i64} : i64[]'
loop='loop %t, _, %x {carried=1, trips=T} : f32[5] loc("/body/Loop") { ^(%i: i64[], %m: bool[], %p: f32[5]): %q = add %p, %x yield %m, %q }'
echo "func @main(%x: f32[5], %n: u8[], %c: bool[]) -> (f32[5], i64[K]) { $trip
  %0 = if %c : f32[5] loc(\"/If\") { ^(): %a = $loop yield %a } { ^(): yield %x }
  %1 = nonzero %0 {count=K} : i64[K]
  return %0, %1 }" >"$work/dynamic.tn"
echo "func @main(%x: f32[5], %n: u8[]) -> f32[5] { $trip
  %0 = $loop
  return %0 }" >"$work/loop.tn"
echo 'func @main(%x: f32[5]) -> i64[K] { %0 = nonzero %x {count=K} : i64[K] loc("/NonZero") return %0 }' >"$work/size.tn"
expect "a loop in a branch on the cpu" 0 'passed on cpu' "$tenon" check "$work/dynamic.tn" --device cpu --random
expect "what a branch gives, and a size that data makes of it" 0 'x.plan' "$tenon" compile "$work/dynamic.tn" -o "$work/x.plan" --target sm_90a --no-gpu
expect "a loop for a GPU" 0 'loop.plan' "$tenon" compile "$work/loop.tn" -o "$work/loop.plan" --target sm_90a --no-gpu
expect "a size that data makes" 0 'size.plan' "$tenon" compile "$work/size.tn" -o "$work/size.plan" --target sm_90a --no-gpu
expect "a shape that depends on data" 0 'i64 [0-9]+ ' "$tenon" run "$work/size.plan" --device cpu
echo 'func @main(%x: f32[5], %c: bool[]) -> f32[] { %0 = if %c : f32[] { ^(): %i = nonzero %x {count=K} : i64[K] loc("/NonZero") %g = gather %x, %i {axis=0} %s = reduce_sum %g {axes=[0]} yield %s } { ^(): %s = reduce_sum %x {axes=[0]} yield %s } return %0 }' >"$work/size.tn"
rm -f "$work/x.plan"
expect "a size that no GPU knows" 6 '/NonZero.*depends on data' "$tenon" compile "$work/size.tn" -o "$work/x.plan" --target sm_90a --no-gpu
absent "what no GPU computes" "$work/x.plan"

# ---- bad input
head -c 20000 "$digits/digits.onnx" >"$work/short.onnx"
expect "truncated model" 5 'short.onnx|truncated|damaged|ends' "$tenon" opt "$work/short.onnx"
expect "no model" 4 'nowhere.onnx' "$tenon" opt "$work/nowhere.onnx"
python3 - "$work/wrong.npy" <<'PY'
import sys
head = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 20, 21), }"
head += " " * (118 - len(head) - 1) + "\n"
open(sys.argv[1], "wb").write(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + b"\0" * 1680)
PY
count=$((count + 1))
out=$("$tenon" run "$digits/digits.onnx" --device cpu --input "image=$work/wrong.npy" 2>&1)
rc=$?
if [ $rc = 0 ] || [ $rc -gt 17 ] || ! grep -q image <<<"$out"; then fails=$((fails + 1)); echo "FAILED wrong input shape: $rc $out"; fi
expect "an input that is not there" 2 'the inputs are image' "$tenon" run "$digits/digits.onnx" --device cpu --input "x=$digits/digit_3.npy"

# ---- no GPU, no NVRTC
if ! nvidia-smi >/dev/null 2>&1; then
    expect "no GPU to run on" 9 'libcuda|GPU|driver|device' "$tenon" run "$digits/digits.onnx" --device cuda
    expect "no GPU to tune on" 9 'libcuda|GPU|driver|device' "$tenon" compile "$digits/digits.onnx" -o "$work/g.plan"
    absent "no GPU to tune on" "$work/g.plan"
fi
expect "no NVRTC" 10 'NVRTC|nvrtc' env TENON_LIBNVRTC=/nonexistent/libnvrtc.so "$tenon" compile "$digits/digits.onnx" -o "$work/n.plan" --target sm_90a --no-gpu
absent "no NVRTC" "$work/n.plan"

# ---- plans
if [ $nvrtc = 0 ]; then
    echo "skipped: compiling plans (NVRTC is not there)"
else
    expect "compile" 0 'sm_90a' "$tenon" compile "$digits/digits.onnx" -o "$work/d.plan" --target sm_80,sm_90a --no-gpu --precision fp16 --emit-c "$work/digits"
    cat >"$work/fork.tn" <<'TN'
func @main(%x: f32[64,64]) -> f32[64,1] {
  %a = softmax %x {axis=1} : f32[64,64]
  %b = log_softmax %a {axis=0} : f32[64,64]
  %c = softmax %a {axis=0} : f32[64,64]
  %d = log_softmax %b {axis=1} : f32[64,64]
  %e = softmax %c {axis=1} : f32[64,64]
  %f = mul %d, %e : f32[64,64]
  %g = reduce_sum %f {axes=[1], keepdims=true} : f32[64,1]
  return %g
}
TN
    expect "interrupted" 130 'interrupted' timeout --foreground --preserve-status -s INT 0.4 "$tenon" compile "$digits/digits.onnx" -o "$work/i.plan" --target sm_80,sm_86,sm_89,sm_90a,sm_100,sm_120 --no-gpu --cache ''
    absent "interrupted" "$work/i.plan"
    expect "inspect" 0 'untuned' "$tenon" inspect "$work/d.plan"
    expect "inspect json" 0 '"kernels"' "$tenon" inspect "$work/d.plan" --json
    expect "inspect a kernel" 0 'candidates:' "$tenon" inspect "$work/d.plan" --kernel 0
    expect "inspect a source" 0 '__global__' "$tenon" inspect "$work/d.plan" --kernel 0 --source
    expect "inspect the program" 0 'writes %1\[0, N\*40\] after #' "$tenon" inspect "$work/d.plan" --program
    expect "one kernel is no program" 2 'leave out --kernel' "$tenon" inspect "$work/d.plan" --program --kernel 0
    expect "too many streams" 2 'streams 9: 1 to 8' "$tenon" compile "$digits/digits.onnx" -o "$work/s.plan" --no-gpu --target sm_90a --streams 9
    expect "branches" 0 '' "$tenon" compile "$work/fork.tn" -o "$work/fork.plan" --no-gpu --target sm_90a --streams 3 -q
    expect "branches side by side" 0 'stream 1' "$tenon" inspect "$work/fork.plan" --program
    expect "branches one by one" 0 '' "$tenon" compile "$work/fork.tn" -o "$work/one.plan" --no-gpu --target sm_90a -q
    lacks "branches one by one" 'stream' "$tenon" inspect "$work/one.plan" --program
    expect "inspect ptx" 0 '\.target sm_90a' "$tenon" inspect "$work/d.plan" --kernel 0 --ptx --arch sm_90a
    if command -v nvdisasm cuobjdump >/dev/null; then # the assembler may move loads
        expect "one digit" 0 '' "$tenon" compile "$digits/digits.onnx" -o "$work/one.plan" --precision fp16 --shape image=1x1x20x20 --no-gpu --target sm_90a -q
        expect "weights are asked for before the wait" 0 '^LDG.*ACQBULK' bash -c '"$1" inspect "$2" --kernel 5 --sass | grep -oE "LDG|ACQBULK" | tr "\n" " "' - "$tenon" "$work/one.plan"
    fi
    expect "run the plan" 0 'logits' "$tenon" run "$work/d.plan" --device cpu --input "image=$digits/digit_5.npy"
    expect "lockfile" 0 '' "$tenon" compile "$digits/digits.onnx" -o "$work/l1.plan" --target sm_90a --no-gpu -q --lockfile "$work/lock"
    expect "the lockfile is used" 0 '' "$tenon" compile "$digits/digits.onnx" -o "$work/l2.plan" --target sm_90a --no-gpu -q --lockfile "$work/lock"
    expect "the lockfile is used again" 0 '' "$tenon" compile "$digits/digits.onnx" -o "$work/l3.plan" --target sm_90a --no-gpu -q --lockfile "$work/lock"
    count=$((count + 1))
    cmp -s "$work/l2.plan" "$work/l3.plan" || { fails=$((fails + 1)); echo "FAILED two builds with one lockfile differ"; }
    head -c 4000 "$work/d.plan" >"$work/short.plan"
    expect "truncated plan" 5 'short.plan|plan' "$tenon" inspect "$work/short.plan"
    cp "$work/d.plan" "$work/flip.plan"
    size=$(stat -c %s "$work/flip.plan")
    printf '\xff' | dd of="$work/flip.plan" bs=1 seek=$((size - 100)) conv=notrunc 2>/dev/null
    expect "bit-flipped plan" 5 'plan|checksum|damaged' "$tenon" inspect "$work/flip.plan"
    expect "not a plan" 5 'plan' "$tenon" run "$digits/digit_5.npy" --device cpu
    if ldd "$(dirname "$tenon")/libtenon_rt.so" >/dev/null 2>&1; then
        count=$((count + 1))
        ldd "$(dirname "$tenon")/libtenon_rt.so" | grep -qi -e cuda -e nvrtc -e cublas && { fails=$((fails + 1)); echo "FAILED libtenon_rt links CUDA"; }
    fi
fi

finish
