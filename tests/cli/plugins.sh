#!/usr/bin/env bash
# Ops of plugins from outside: plugins.sh TENON SOURCE_DIR.  The numbers are NumPy's (tests/plugins/make_models.py).
. "$(dirname "$0")/emu_lib.sh"
here=$2/tests/plugins region=$2/examples/plugin/region.cu
all=(--plugin "$region" --plugin "$here/pool.cu" --plugin "$here/affine.plugin")
cd "$work" || exit 2

# what the messages say: says NAME PATTERN COMMAND...
says() {
    local name=$1 pattern=$2
    shift 2
    "$@" >out 2>&1
    grep -Eq -- "$pattern" out || { echo "FAILED $name: lacks /$pattern/"; cat out; failed=1; }
}
for model in region affine pool; do
    for device in cpu emu; do
        expect "$model on $device" "$tenon" check "$here/$model/model.onnx" "${all[@]}" --device $device
    done
done
expect "a plugin's kernel between ops in fp16" "$tenon" check "$here/region/model.onnx" "${all[@]}" --device emu --precision fp16

sed 's/classes:/class_count:/' "$here/caffe/region.prototxt" >net.prototxt
sed 's/plugin yolo::region/plugin caffe::Region/' "$region" >caffe.cu
for device in cpu emu; do
    expect "a layer of a Caffe net on $device" "$tenon" check "$here/caffe/region.prototxt" --plugin caffe.cu --device $device
done

# the plugin of the page that says how one is written
awk '/^# y = x/ { on = 1 } /^```/ { on = 0 } on' "$2/examples/plugin/README.md" >mish.plugin
cat >mish.tn <<'TN'
func @main(%x: f32[N,7]) -> (%difference: f32[N,7]) {
  %a = acme::mish %x
  %b = mish %x
  %difference = sub %a, %b
  return %difference
}
TN
says "the page's plugin computes what the op does" 'difference: f32 3x7  min (0|-?[0-9.]*e-0[78])  max (0|[0-9.]*e-0[78]) ' \
    "$tenon" run mish.tn --plugin mish.plugin --device emu -s x=3x7

says "what a plugin declares" \
    '^test::pool since 2: x, shift -> y, count; attributes mode .required., window; a kernel with BLOCK 4096 64$' \
    "$tenon" ops --plugin "$here/pool.cu" --plugin "$here/affine.plugin"
says "as JSON" '"op": ?"yolo::region"' "$tenon" ops --plugin "$region" --json
says "an op that no plugin declares" 'head/region: yolo.region .opset 1.: no importer for this op of domain .yolo.' \
    "$tenon" opt "$here/region/model.onnx"
says "and what to do" 'hint: declare it as a plugin .--plugin FILE.' "$tenon" opt "$here/region/model.onnx"
says "a wrong kernel" 'y .*WRONG: .* elements differ' \
    "$tenon" check "$here/region/model.onnx" --device emu --plugin <(sed 's/squash(v.1.)/-&/' "$region")

says "a layer that no plugin declares" 'types that have no importer: Region .*hint: .*as plugins caffe::TYPE' \
    bash -c "'$tenon' opt '$here/caffe/region.prototxt' 2>&1 | tr '\n' ' '"
says "a field that the plugin does not declare" 'detect: plugin caffe::Region: it has no attribute class_count' \
    "$tenon" opt --plugin caffe.cu net.prototxt

# ---- beside other ops: behind a product, on a part of a tensor and as one, in a branch, on sizes that data makes
cat >beside.tn <<'TN'
func @main(%x: f32[N,16,3,4], %b: f32[N,5,8], %c: bool[], %m: bool[9], %t: f32[9,16,1,2]) {
  %w = iota {dtype=f32, dims=[16,16,1,1], axis=0}
  %p = conv %x, %w {strides=[1,1], pads=[0,0,0,0], dilations=[1,1], groups=1, layout="nchw"}
  %k = const splat(0.01) : f32[]
  %q = mul %p, %k
  %s = slice %q {starts=[0,0,0,1], sizes=[N,16,3,2], steps=[1,1,1,1]}
  %r = yolo::region %s {biases=[1,2,3,4], classes=3} loc("part")
  %joined = concat %r, %b {axis=1}
  %branch = if %c {
    ^():
    %u = yolo::region %q {biases=[1,2,3,4], classes=3} loc("inner")
    yield %u
  } {
    ^():
    %v = yolo::region %x {biases=[4,3,2,1], classes=3} loc("other")
    yield %v
  }
  %at = nonzero %m {count=K}
  %some = gather %t, %at {axis=0}
  %found = yolo::region %some {biases=[1,2,3,4], classes=3} loc("made")
  return %joined, %branch, %found
}
TN
for p in fp32 fp16; do
    expect "beside other ops in $p" "$tenon" check beside.tn "${all[@]}" --random --device emu --precision $p --at x=2x16x3x4
done
says "no pass changes the expansion of a kernel" 'softmax .* : f32.*loc."part".' "$tenon" opt beside.tn "${all[@]}" --precision fp16

# ---- a plan needs no plugin, and the text that is printed holds it
cp "$region" own.cu
data=$here/region/test_data_set_0/input_0.pb
expect "the kernel is in the plan" "$tenon" compile "$here/region/model.onnx" --plugin own.cu -o region.plan --depfile region.d \
    --no-gpu --target sm_90a -q
says "a build knows of the plugin" 'own\.cu' cat region.d
"$tenon" opt "$here/region/model.onnx" --plugin own.cu -o region.tn
"$tenon" run "$here/region/model.onnx" --plugin own.cu --device emu -i x="$data" -o before >/dev/null
rm own.cu
expect "which is not read again" "$tenon" run region.plan --device emu -i x="$data" -o after
cmp before/y.npy after/y.npy || failed=1
expect "nor by the reference" "$tenon" run region.plan --device cpu -i x="$data"
expect "the text form is read again" "$tenon" run region.tn --device emu -i x="$data" -o text
cmp before/y.npy text/y.npy || failed=1

# ---- ops of plugins in the text form
cat >text.tn <<'TN'
func @main(%x: f32[N,C], %b: f32[N,C]) -> f32[N,C] {
  %1 = test::affine %x, %b {alpha=3} loc("first")
  %2 = test::affine %1, _ : f32[N,C] loc("second")
  return %2
}
TN
expect "in text" "$tenon" check text.tn "${all[@]}" --random --device emu --at x=2x3 --at x=1x1
says "the expansion stands in their place" 'add .* loc."first".' "$tenon" opt text.tn "${all[@]}" --passes=
says "a text names a plugin that is not given" 'text.tn:2:8: there is no plugin .test::affine.: give its file with --plugin' "$tenon" opt text.tn
sed 's/%x: f32.N,C./%x: f32[N,3]/; s/%b: f32.N,C./%b: f32[N,4]/' text.tn >differ.tn
says "sizes that differ" 'differ.tn:2:3 first: .*test::affine: s .3. and axis 1 of bias .4. differ' "$tenon" opt differ.tn "${all[@]}"

# ---- a kernel alone: its source, on the emulated device, is its own reference
sed '/expansion/,/^...  *yield/d; /^... }/d' "$here/pool.cu" >alone.cu
for device in cpu emu; do
    expect "a kernel alone on $device" "$tenon" check "$here/pool/model.onnx" --plugin alone.cu --device $device
done
says "what it is compared with" 'warning: largest: plugin test::pool has no expansion: its kernels are compared with its own source' \
    "$tenon" compile "$here/pool/model.onnx" --plugin alone.cu --no-gpu --target sm_90a -o alone.plan
expect "a plan with a kernel alone" "$tenon" check alone.plan --data "$here/pool" --device cpu
says "that it is one" 'count; attributes .*; a kernel alone with BLOCK' "$tenon" ops --plugin alone.cu
sed 's/TN_WAIT();//' alone.cu >early.cu
says "what the emulated device finds" 'early.cu: the kernel of plugin test::pool, on the emulated device: ' \
    "$tenon" check "$here/pool/model.onnx" --plugin early.cu --device cpu

# ---- faults of a plugin, at their places: SED-SCRIPT~PATTERN
while IFS='~' read -r script pattern; do
    sed "$script" "$here/pool.cu" >bad.cu
    says "$script" "$pattern" "$tenon" opt "$here/pool/model.onnx" --plugin bad.cu
done <<'LINES'
s/plugin test::pool/plugin test/~bad.cu:3:[0-9]*: expected '::'
s/attr mode/attribute mode/~bad.cu:5:5: expected type, attr, input, output, let, require
s/type T in f32, f16/type T in f31/~bad.cu:4:15: expected a dtype, found 'f31'
s/let oh = h/let oh = q/~bad.cu:9:14: expected a whole number, an attribute or a size that is named before, found 'q'
s/let ow/let OH/~bad.cu:10:9: the name 'OH' is taken already
s/"max" . "mean"/max/~bad.cu:5:16: expected int, float, ints, floats or words in quotes
s/output y: T/output y: U/~expected a dtype, found 'U'
s/ grid .*//~bad.cu:.*: expected grid
s/block .BLOCK./block []/~grid and block have one to three sizes
s/TN_KERNEL(/other(/~the kernel is .extern "C" __global__ void TN_KERNEL
/kernel grid/d~knobs are a kernel's, but no kernel is declared
/kernel grid/d; /knob/d~there is CUDA source, but no line .kernel grid
/kernel grid/d; /knob/d; /TN_KERNEL/,$d; /expansion/,/^...  *yield/d; /^... }/d~the plugin has no expansion and no kernel: one of them says
s/yield %y, %count/yield %y/~plugin test::pool: the expansion yields 1 results, 2 are declared
s/reduce_max/reduce_most/~bad.cu:[0-9]*:12: there is no op 'reduce_most', for layer largest
s/%y = reduce_mean %parts {axes=.3, 5.}/%y = test::pool %parts/~bad.cu:[0-9]*:[0-9]*: an expansion is of Tenon's own ops, not of plugins'
s/axes=.3, 5./axes=[3, 9]/~bad.cu:[0-9]*:[0-9]* largest: reduce_max
s/plugin test::pool since 2/plugin test::pool since 4/~no importer for this op of domain 'test'
s/type T in f32, f16/type T in f16/~largest: plugin test::pool: x is f32, which T may not be
s/attr window: ints = .2, 2./attr window: ints = [4, 2, 1]/~test::pool: a window has two sizes: 2 .2. and window.len .3. differ
s/attr window: ints = .2, 2./attr window: ints/~largest: plugin test::pool: it needs the attribute window
s/attr mode: "max" . "mean"/attr mode: "most" | "mean"/~another value is given for the attribute mode, which is "most" or "mean"
s/expansion when mode == "max"/expansion when h == 4/~whether that holds must be known when compiling
s/h % window.0 == 0/h % window.0 == 1/~windows do not overlap
LINES
expect "bytes that are no text" bash -c "! '$tenon' opt '$here/pool/model.onnx' --plugin '$here/pool/model.onnx'"
says "one plugin twice" 'test::pool .since 2. is also declared in' "$tenon" opt text.tn "${all[@]}" --plugin "$here/pool.cu"

# ---- faults that only a kernel shows
while IFS='~' read -r script pattern; do
    sed "$script" "$here/pool.cu" >bad.cu
    says "$script" "$pattern" "$tenon" compile "$here/pool/model.onnx" --plugin bad.cu -o bad.plan --no-gpu --target sm_90a
    if [ -e bad.plan ]; then echo "FAILED $script: a plan was written"; failed=1; fi
done <<'LINES'
s/(double)x/(double)xx/~largest.*: the kernel of plugin test::pool .bad.cu. is refused on sm_90a: .*bad.cu:60: error: identifier "xx" is undefined
s/knob BLOCK 4096 64/knob BLOCK 4096 2048/~plugin test::pool .bad.cu.: a block of sm_90a has 1 to 1024 threads
s/"tn_mma.cuh"/"mine.cuh"/~bad.cu: line 44 includes "mine.cuh", which Tenon does not carry
s/let oh =/let wait =/; s/c, oh, ow/c, wait, ow/; s/, oh, window/, wait, window/; s/oh \* ow/wait * ow/; s/TN_OH/TN_WAIT/~the plugin's name 'wait' would be the macro TN_WAIT, which is Tenon's own
LINES
exit $failed
