#!/usr/bin/env bash
# What the command does to files: links, devices, pipes, the standard output, inputs, folders it may not write.
# usage: files.sh TENON SOURCE_DIR
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
cp "$digits/digits.onnx" m.onnx
cp m.onnx m.orig
opt() { "$tenon" opt m.onnx --passes= "$@"; }
opt -o plain.tn

# ---- links: the target is written, the link stays; constants lie beside the target and are found through both names
mkdir there
ln -s there/target.tn link.tn
expect "a link to nothing yet" 0 '' opt -o link.tn
holds "the link stays" test -L link.tn
same "its target is written" there/target.tn <(sed 's/weights "plain.tnw"/weights "target.tnw"/' plain.tn)
same "and its constants" there/target.tnw plain.tnw
expect "read through the link" 0 'func @' "$tenon" opt link.tn --passes=
expect "read at the target" 0 'func @' "$tenon" opt there/target.tn --passes=
expect "a link to a file" 0 '' opt -o link.tn
holds "the link still stays" test -L link.tn
ln -s a b && ln -s b a
expect "links in a circle" 4 'cannot be written: Too many' opt -o a
chmod 600 plain.tn
opt -o plain.tn
holds "a private file stays private" test "$(stat -c %a plain.tn)" = 600

# ---- streams: devices and pipes are written to, never replaced, and have no side files
mkfifo pipe
cat pipe >from_pipe &
expect "a pipe" 0 '' opt -o pipe
wait $!
holds "the pipe stays" test -p pipe
holds "what came through it" grep -q 'func @' from_pipe
if mknod null c 1 3 2>/dev/null; then
    expect "a device" 0 '' opt -o null
    expect "a lockfile that is a device" 0 '' "$tenon" check m.onnx --device emu --data "$digits" --lockfile null
    holds "the device stays" test -c null
    absent "a device has no side file" nullw null.
fi
expect "/dev/null" 0 '' opt -o /dev/null
holds "/dev/null is a device" test -c /dev/null
absent "/dev/null has no side file" /dev/null.
opt -o - >minus
opt -o /dev/stdout >stdout
opt >none
same "-o - is the standard output" minus none
same "/dev/stdout too" stdout none
echo before >appended
opt -o /dev/stdout >>appended
holds "appending goes on behind what is there" test "$(head -1 appended)" = before
expect "-o - and --json" 2 'standard output' opt -o - --json
expect "a folder" 4 'cannot be written: Is a directory' opt -o there
expect "no folder" 4 'cannot be written: No such file' opt -o nowhere/x.tn
expect "run -o -" 0 '' bash -c "'$tenon' run m.onnx --device cpu -i image=$digits/digit_7.npy -o - >out.npy"
mkdir out
"$tenon" run m.onnx --device cpu -i "image=$digits/digit_7.npy" -o out -q
same "the output of run" out.npy out/logits.npy

cat >alike.tn <<'TN'
func @main(%x: f32[2]) -> (%"a/b": f32[2], %"a:b": f32[2]) {
  %"a/b" = neg %x
  %"a:b" = abs %x
  return %"a/b", %"a:b"
}
TN
"$tenon" run alike.tn --device cpu -o alike -q
holds "two outputs of one name as a file" test "$(ls alike | wc -l)" = 2

# ---- inputs are not overwritten
mkdir dump
ln m.onnx hard
cp plain.tn dump/01-canon.tn
cp plain.tnw dump/01-canon.tnw
expect "the model" 2 'not overwritten' opt -o m.onnx
expect "by another name" 2 'not overwritten' opt -o hard
expect "by a link" 2 'not overwritten' bash -c "ln -s m.onnx soft && '$tenon' opt m.onnx -o soft"
expect "by a reproducer" 2 'not overwritten' opt -o x.tn --reproducer m.onnx
expect "by a dump" 2 'not overwritten' "$tenon" opt dump/01-canon.tn --passes=canon --dump dump
expect "by a plan" 2 'not overwritten' "$tenon" compile m.onnx -o m.onnx --no-gpu --target sm_90a
expect "by a lockfile" 2 'not overwritten' "$tenon" compile m.onnx -o x.plan --lockfile m.onnx --no-gpu --target sm_90a
cp m.onnx header.h
expect "by a header" 2 'not overwritten' bash -c "ln -s header.h h.onnx; '$tenon' compile h.onnx -o x.plan --emit-c header --no-gpu --target sm_90a"
expect "two outputs in one place" 2 'one file' "$tenon" compile m.onnx -o x.plan --lockfile ./x.plan --no-gpu --target sm_90a
same "the model is what it was" m.onnx m.orig
same "the header too" header.h m.orig
absent "none of these leaves anything" x.plan x.tn

# ---- external data
python3 "$src/tests/cli/make_model.py" external external.onnx
cp external.bin data.orig
expect "the model's external data" 2 'not overwritten' "$tenon" opt external.onnx -o external.bin
ln external.bin external.tnw
expect "as the side file" 2 'not overwritten' "$tenon" opt external.onnx -o external.tn
same "the data is what it was" external.bin data.orig

# ---- a failure leaves what was there
echo old >full.tn
(ulimit -f 1; trap '' XFSZ; opt -o full.tn) >err 2>&1
holds "no room: an error" grep -q 'cannot be written' err
holds "no room: the old file stays" test "$(cat full.tn)" = old
absent "no room: nothing else stays" full.tnw full.tn.

if have_nvrtc; then
    plan() { "$tenon" compile m.onnx --no-gpu --target sm_90a -q "$@"; }
    plan -o p.plan
    ln -s there/q.plan q.plan
    expect "a plan through a link" 0 '' plan -o q.plan
    same "its target is the plan" there/q.plan p.plan
    plan -o - >s.plan
    same "a plan to the standard output" s.plan p.plan
    expect "a plan to /dev/null" 0 '' plan -o /dev/null
    expect "--emit-c with a stream" 2 'needs a plan in a file' plan -o - --emit-c x
    mkdir -p outputs
    cp p.plan outputs/logits.npy
    expect "an output of run over the plan" 2 'not overwritten' "$tenon" run outputs/logits.npy --device cpu -s image=1x1x20x20 -o outputs
    rm -rf cache && plan -o p.plan --cache=
    holds "--cache= uses no cache" test ! -e cache
fi
finish
