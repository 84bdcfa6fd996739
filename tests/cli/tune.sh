#!/usr/bin/env bash
# tenon tune keeps what a plan holds for other architectures, and its options.  The GPU is a mock that runs nothing, so nothing is timed.
# usage: tune.sh TENON SOURCE_DIR MOCK_CUDA     Exit code 77: NVRTC is not there.
. "$(dirname "$0")/lib.sh"
mock=$(realpath "$3")
cd "$work" || exit 1
have_nvrtc || { echo "skipped: NVRTC is not there"; exit 77; }
tune() { # CC ARGUMENT...
    MOCK_CUDA_CC=$1 TENON_LIBCUDA=$mock TENON_LIBCUBLASLT=$mock "$tenon" tune "${@:2}" --tune-seconds 0
}
ledger() { "$tenon" inspect "$1" --arch "$2" --json; }
digit() { "$tenon" run "$1" --device emu -i "image=$digits/digit_$2.npy"; }

"$tenon" compile "$digits/digits.onnx" -o p.plan --target sm_80,sm_90a --no-gpu --precision fp16 --exact -q
cp p.plan before.plan
expect "tune for an architecture that is there" 0 'tuned p.plan' tune 80 p.plan
for arch in sm_80 sm_90a; do same "the ledger of $arch" <(ledger p.plan $arch) <(ledger before.plan $arch); done
expect "the options stay" 0 'precision=fp16 exact' grep -ao 'precision=fp16 exact' p.plan
for n in 4 7; do same "a digit by the kernels for sm_90a" <(digit p.plan $n) <(digit before.plan $n); done
expect "tune for one that is not" 0 'tuned q.plan' tune 100 p.plan -o q.plan
expect "it is added" 0 'sm_100.*sm_80.*sm_90a|sm_100.*sm_90a.*sm_80' bash -c "'$tenon' inspect q.plan | grep ^arch | tr '\n' ' '"
same "and the others stay" <(ledger q.plan sm_90a) <(ledger p.plan sm_90a)
same "with their machine code" <("$tenon" inspect q.plan --arch sm_80 --kernel 1 --source --full) <("$tenon" inspect p.plan --arch sm_80 --kernel 1 --source --full)

# constants in the text, constants in the weights, and sizes that are expressions
cat >s.tn <<'TN'
func @main(%x: f32[n,40]) -> (%y: f32[n,2*n], %z: f32[n,40]) {
  %a = const [2] : f32[1]
  %w = const splat(0.5) : f32[40,40]
  %b = matmul %x, %w
  %z = mul %b, %a
  %t = transpose %z {perm=[1,0]}
  %m = matmul %x, %t
  %y = concat %m, %m {axis=1}
  return %y, %z
}
TN
# better and worse candidates, drawn from a seed: whatever wins, the plan is right
for seed in 1 2 3; do
    expect "times of seed $seed" 0 'tuned t.plan' env MOCK_CUDA_TIMES=$seed TENON_CACHE="$work/cache$seed" MOCK_CUDA_CC=90 \
        TENON_LIBCUDA="$mock" TENON_LIBCUBLASLT="$mock" "$tenon" tune p.plan -o t.plan --tune-seconds 2
    expect "a digit by what won" 0 . "$tenon" run t.plan --device emu -i "image=$digits/digit_4.npy"
done
# cuBLASLt is second to a kernel and not in the plan, yet is tried in its place in the whole network
cat >two.tn <<'TN'
func @main(%x: f16[128,256]) -> (%y: f16[128,64]) {
  %w = const splat(0.5) : f16[256,512]
  %v = const splat(0.25) : f16[512,64]
  %b = matmul %x, %w
  %y = matmul %b, %v
  return %y
}
TN
"$tenon" compile two.tn -o two.plan --target sm_90a --no-gpu --precision fp16 -q
for seed in 1 2 4; do
    expect "two products, times of seed $seed" 0 'tuned t.plan' env MOCK_CUDA_TIMES=$seed TENON_CACHE="$work/two$seed" \
        MOCK_CUDA_CC=90 TENON_LIBCUDA="$mock" TENON_LIBCUBLASLT="$mock" "$tenon" tune two.plan -o t.plan --tune-seconds 20
done
# a bucket whose typical sizes no input has: no row of the table is there
cat >table.tn <<'TN'
func @main(%x: f32[n,8]) -> (%y: f32[n,8]) {
  %t = const splat(0.5) : f32[64,8]
  %i = iota {dtype=i64, dims=[n], axis=0}
  %r = gather %t, %i {axis=0}
  %y = add %x, %r
  return %y
}
TN
"$tenon" compile table.tn -o table.plan --target sm_90a --no-gpu --shape x=1..256x8:128x8 --shape x=1..64x8:16x8 -q
expect "a kernel that cannot be judged at typical sizes" 0 'tuned t.plan' env MOCK_CUDA_CC=90 TENON_LIBCUDA="$mock" TENON_LIBCUBLASLT="$mock" \
    TENON_CACHE= "$tenon" tune table.plan -o t.plan --tune-seconds 20
# GPUs that no code is made for
cp before.plan r.plan
expect "tune by the nearest" 0 'Mock GPU.*is sm_103: code for sm_100 serves it' tune 103 r.plan -v
expect "its code is added" 0 'arch    sm_100:' "$tenon" inspect r.plan
expect "tune where no code runs" 6 'runs on compute capability 7.5; it makes code for sm_80, .*sm_120' tune 75 r.plan
expect "compile for one" 0 'sm_103.*code for sm_100 serves it' "$tenon" compile s.tn -o v.plan --target sm_103,sm_100,sm_103 --no-gpu -v
expect "its code is there once" 0 '^arch +sm_100:[^@]*$' bash -c "'$tenon' inspect v.plan | grep ^arch | tr '\n' @ | sed 's/@$//'"
expect "compile where no code runs" 2 'sm_75.*unknown architecture; code can be made for sm_80' "$tenon" compile s.tn -o w.plan --target sm_75 --no-gpu

"$tenon" compile s.tn -o s.plan --target sm_80,sm_90a --no-gpu -q
cp s.plan t.plan
expect "tune a plan with symbols" 0 '' tune 80 t.plan -q
for n in 1 33; do
    same "at $n" <("$tenon" run t.plan --device emu -s x=${n}x40) <("$tenon" run s.plan --device emu -s x=${n}x40)
    expect "at $n it runs" 0 "y: f32 ${n}x$((2 * n)) " "$tenon" run t.plan --device emu -s x=${n}x40
done
"$tenon" compile s.tn -o b.plan --target sm_80 --no-gpu -q -s x=1x40 -s x=5..900x40:700x40
expect "tune a plan with buckets" 0 '' tune 80 b.plan -q --lockfile buckets.lock
for n in 1 700; do expect "it has winners at $n" 0 "sm_80@$n " cat buckets.lock; done
expect "and takes no more sizes" 2 'axis 0 is given as 901, but n is from 1 to 900' "$tenon" run b.plan --device emu -s x=901x40
# a plan whose kernel is a plugin's, which it holds
cp "$src/examples/plugin/region.cu" own.cu
"$tenon" compile "$src/tests/plugins/region/model.onnx" --plugin own.cu -o plugin.plan --target sm_90a --no-gpu -q
rm own.cu
expect "tune a plan of a plugin for an architecture that it lacks" 0 'tuned plugin.plan' tune 80 plugin.plan
expect "the plugin's kernel is made again" 0 'yolo::region CELLS=' "$tenon" inspect plugin.plan --arch sm_80

expect "a lockfile that is the plan" 2 'not overwritten' tune 80 t.plan --lockfile t.plan
expect "without a GPU" 9 'libcuda' env TENON_LIBCUDA=/nonexistent/libcuda.so "$tenon" tune t.plan
lacks "no hint at options that tune has not" 'no-gpu' env TENON_LIBCUDA=/nonexistent/libcuda.so "$tenon" tune t.plan
finish
