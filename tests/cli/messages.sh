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
holds "a plugin may be given" grep -q 'hint: declare it as a plugin (--plugin FILE)' unknown

# ---- ifs
expect "an if runs on the cpu" 0 'y: f32 2x3' "$tenon" run if.onnx --device cpu -s x=2x3
expect "and is checked there" 0 'passed' "$tenon" check if.onnx --device cpu --random --at x=4x3
expect "and in kernels, which compute both branches" 0 'y: f32 2x3' "$tenon" run if.onnx --device emu -s x=2x3
expect "branches of two types" 7 "/choose: .*output 'y' is f32\[2,3\] if the condition holds and f32\[3,2\] if not" "$tenon" run if_shapes.onnx --device cpu -s x=2x3
expect "branches that fit" 0 'y: f32 3x3' "$tenon" run if_shapes.onnx --device cpu -s x=3x3
expect "sizes that decide" 0 'passed on cpu \(2 data sets\)' "$tenon" check "$reports/if_rank_dynamic.onnx" --device cpu
expect "two data sets" 0 'passed' "$tenon" check "$reports/if_runtime_same_shape.onnx" --device cpu

# ---- sizes that do not fit: the tensors as the model calls them, their axes, both dims and both sizes, on both devices alike
zeros() { # FILE AxBxC
    python3 - "$@" <<'PY'
import sys
dims = [int(d) for d in sys.argv[2].split("x")]
n = 1
for d in dims: n *= d
head = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s,), }" % ", ".join(map(str, dims))
open(sys.argv[1], "wb").write(b"\x93NUMPY\x01\x00\x76\x00" + head.ljust(117).encode() + b"\n" + b"\0" * 4 * n)
PY
}
while IFS='|' read -r what sizes args body says; do
    printf 'func @main(%s) {\n  %s loc("/net/layer")\n  return %%y\n}\n' "$args" "$body" >sizes.tn
    given=() shapes=()
    for size in $sizes; do
        zeros "${size%=*}.npy" "${size#*=}"
        given+=(-i "${size%=*}=${size%=*}.npy") shapes+=(-s "$size")
    done
    for device in cpu emu; do
        expect "sizes: $what on $device" 7 "^tenon: error: ${says//[()+*]/.}\$" "$tenon" run sizes.tn --device $device "${given[@]}"
    done
    expect "sizes: $what, compiled for them" 7 "^tenon: error: /net/layer: .* \\(operands " "$tenon" run sizes.tn --device cpu "${shapes[@]}"
done <<'LINES'
matmul|x=2x3 w=4x5|%x: f32[N,K], %w: f32[L,M]|%y = matmul %x, %w|/net/layer: matmul: axis 1 of x (K = 3) and axis 0 of w (L = 4) differ
a matmul's batch|x=2x4x3 w=5x3x4|%x: f32[B,N,3], %w: f32[C,3,M]|%y = matmul %x, %w|/net/layer: matmul: axis 0 of x (B = 2) and axis 0 of w (C = 5) do not broadcast
concat|a=2x3 b=2x4|%a: f32[2,K], %b: f32[2,L]|%y = concat %a, %b {axis=0}|/net/layer: concat: axis 1 of a (K = 3) and axis 1 of b (L = 4) differ
concat with a constant size|a=2x3 b=2x4|%a: f32[2,K], %b: f32[2,4]|%y = concat %a, %b {axis=0}|/net/layer: concat: axis 1 of a (K = 3) and axis 1 of b (4) differ
add|a=5x3 b=7x3|%a: f32[N,3], %b: f32[M,3]|%y = add %a, %b|/net/layer: add: axis 0 of b (M = 7) and axis 0 of a (N = 5) do not broadcast
add, another rank|a=2x5 b=3|%a: f32[2,N], %b: f32[M]|%y = add %a, %b|/net/layer: add: axis 0 of b (M = 3) and axis 1 of a (N = 5) do not broadcast
reshape|x=3x6|%x: f32[N,6]|%y = reshape %x {dims=[2,6]}|/net/layer: reshape: the elements of x (N*6 = 18) and those of the result (12) differ
gather|t=3x2|%t: f32[T,2]|%i = const [0, 4] : i64[2] %y = gather %t, %i {axis=0}|/net/layer: gather: axis 0 of t (T = 3) is below what index 4 needs (5)
conv, channels|x=1x4x8x8|%x: f32[1,C,8,8], %w: f32[4,3,3,3]|%y = conv %x, %w|/net/layer: conv: axis 1 of x (C = 4) and axis 1 of w (3) differ
conv, window|x=1x3x2x8|%x: f32[1,3,H,8], %w: f32[4,3,3,3]|%y = conv %x, %w|/net/layer: conv: axis 2 of x (H = 2) is below what the kernel spans (3)
conv, padded window|x=1x3x0x8|%x: f32[1,3,H,8], %w: f32[4,3,3,3]|%y = conv %x, %w {pads=[1,0,0,0]}|/net/layer: conv: axis 2 of x with its padding (H + 1 = 1) is below what the kernel spans (3)
conv, groups|x=1x8x3x3 w=3x4x3x3|%x: f32[1,8,3,3], %w: f32[O,4,3,3]|%y = conv %x, %w {groups=2}|/net/layer: conv: axis 0 of w (O = 3) is not divisible by the number of groups (2)
a mask|s=2x5x5 m=1x3|%s: f32[B,T,T], %m: f32[1,S]|%y = add %s, %m|/net/layer: add: axis 1 of m (S = 3) and axis 2 of s (T = 5) do not broadcast
split|x=6|%x: f32[N]|%y, %w = split %x {axis=0, sizes=[3,4]}|/net/layer: split: axis 0 of x (N = 6) and the sum of the sizes (7) differ
LINES
for device in cpu emu; do
    expect "one name, two sizes, on $device" 7 "error: input 'b' takes f32.n,3.: axis 0 is given as 7, but n is 5\$" \
        "$tenon" check "$reports/illegal_same_symbol.onnx" --device $device
done

# ---- hints
lacks "no tenon inspect MODEL" 'inspect' "$tenon" run shared.onnx -s nosuch=1 --device cpu
lacks "no options of compile for run" 'no-gpu --target|name the target' env TENON_LIBCUDA=/nonexistent/libcuda.so "$tenon" run if.onnx -s x=2x3
lacks "a --device cpu that was given" 'device cpu' "$tenon" run if_shapes.onnx --device cpu -s x=2x3
lacks "no prefix twice" '([a-z_]+): \1: ' "$tenon" run if_shapes.onnx --device cpu -s x=2x3

expect "but for compile" 9 'name the target: --no-gpu --target' env TENON_LIBCUDA=/nonexistent/libcuda.so "$tenon" compile shared.onnx -o x.plan

expect "a model that is not there" 4 'nowhere.onnx: cannot be read: No such file' "$tenon" check nowhere.onnx --device cpu
lacks "the input is named once" 'input "?y"?.*input "?y' "$tenon" check shared.onnx --random --device cpu --at x=2x4

expect "no such input, though a file is given" 2 "there is no input 'z'; the inputs are x, y" "$tenon" run shared.onnx -i z=a.npy --device cpu
expect "a size that no memory holds" 7 'shape 9999999999999x3 cannot be held' "$tenon" run shared.onnx -s x=9999999999999x3 --device cpu
expect "a result without elements" 0 'z: f32 0x3  no elements' "$tenon" run shared.onnx -s x=0x3 --device cpu
expect "the usage is what one types" 0 '^Usage: tenon run PLAN' "$tenon" run --help
expect "an output that is read" 2 '^tenon: error: shared.onnx: the model is read from it' "$tenon" opt shared.onnx -o shared.onnx
expect "a compiler that is not there" 14 "takes a C.. compiler, and '/nonexistent' does not start: No such file" env TENON_CXX=/nonexistent "$tenon" run shared.onnx -s x=2x3 --device emu
for option in --threads=-3 --gpu=-1 --tune-seconds=-0.5 --tune-seconds=nan; do
    expect "$option" 2 "error: ${option%=*}: the number must not be negative" "$tenon" run shared.onnx -s x=2x3 --device cpu $option
done
expect "and of a command's own" 2 'error: --jobs: the number must not' "$tenon" check --suite . --jobs=-1
python3 - <<'PY'
head = "{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }"
open("object.npy", "wb").write(b"\x93NUMPY\x01\x00\x76\x00" + head.ljust(117).encode() + b"\n" + b"\0" * 48)
PY
expect "a type that is not supported" 6 "object.npy: element type '\|O' is not supported\$" "$tenon" run shared.onnx -i x=object.npy --device cpu
if [ -w /dev/full ]; then
    for command in 'opt shared.onnx' 'run shared.onnx -s x=2x3 --device cpu' 'opt shared.onnx --json' 'run --help'; do
        expect "a full standard output: $command" 4 'the standard output cannot be written: No space' bash -c "'$tenon' $command >/dev/full"
    done
fi
if have_nvrtc; then
    "$tenon" compile shared.onnx -o p.plan --target sm_90a --no-gpu -q
    for k in 0 1 2 3 4 5 6 7 8 9; do # one of them is in the hash that a kernel's name ends with
        expect "kernel $k of one" $((k ? 2 : 0)) "$([ $k = 0 ] && echo 'kernel  0' || echo "$k: the plan has kernels 0 to 0")" "$tenon" inspect p.plan --kernel $k
    done
fi

# ---- no rewrites
python3 - "$tenon" "$digits/digits.onnx" <<'PY'
import json, subprocess, sys
def fired(*o):
    d = json.loads(subprocess.run([sys.argv[1], "opt", sys.argv[2], "--json", *o], capture_output=True).stdout)
    return sum(r["fired"] for r in d["rules"])
sys.exit(0 if fired("--stop-after-rewrite=0") == 0 and fired("--stop-after-rewrite=3") == 3 and fired() > 3 else 1)
PY
holds "--stop-after-rewrite=0 means none" test $? = 0
# Random numbers may differ from recorded ones; what does not depend on them may not, and they must be of that size and range.
mkdir -p "$work/drawn/test_data_set_0"
cat >"$work/drawn.tn" <<'TN'
func @main(%x: f32[4]) -> (%u: f32[64], %y: f32[4]) {
  %u = random {dtype=f32, dims=[64], seed=7, stream=0}
  %y = neg %x
  return %u, %y
}
TN
recorded() { # SIZE-OF-U FACTOR-OF-U SIGN-OF-Y
    python3 - "$work/drawn/test_data_set_0" "$@" <<'PY'
import struct, sys
folder, n, factor, sign = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
def tensor(path, values):
    raw = struct.pack("<%df" % len(values), *values)
    def size(v):
        return bytes([v]) if v < 128 else bytes([v & 127 | 128, v >> 7])
    with open(folder + "/" + path, "wb") as f:
        f.write(b"\x08" + size(len(values)) + b"\x10\x01" + b"\x4a" + size(len(raw)) + raw)
tensor("input_0.pb", [1, 2, 3, 4])
tensor("output_0.pb", [factor * (k * 37 % n) / n for k in range(n)])
tensor("output_1.pb", [sign * k for k in (1, 2, 3, 4)])
PY
}
recorded 64 1 -1
expect "random numbers that differ" 0 'u +random numbers: shape, type and distribution ok' "$tenon" check "$work/drawn.tn" --device cpu
recorded 64 1 1
expect "what is not random beside them" 1 'y .*WRONG: 4 of 4 elements differ' "$tenon" check "$work/drawn.tn" --device cpu
recorded 32 1 -1
expect "random numbers of another shape" 1 'u .*WRONG' "$tenon" check "$work/drawn.tn" --device cpu
recorded 64 0.5 -1
expect "random numbers of another mean" 1 'u .*WRONG: random numbers of another distribution: the sum of what those recorded are is 15\.75, and from .* in 64 draws' "$tenon" check "$work/drawn.tn" --device cpu
sed -i 's/%u = random.*/%r = random {dtype=f32, dims=[64], seed=7, stream=0}\n  %u = round %r/' "$work/drawn.tn"
recorded 64 1 -1
expect "numbers between those that can be drawn" 1 'u .*WRONG: random numbers of another distribution: the number of values that are in no draw of what those recorded are is 6[0-9],' "$tenon" check "$work/drawn.tn" --device cpu
finish
