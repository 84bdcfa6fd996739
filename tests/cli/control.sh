#!/usr/bin/env bash
# Branches and loops that only a run decides, in kernels on the emulated device against the reference: control.sh TENON
. "$(dirname "$0")/emu_lib.sh"
# the standard pipeline, but that branches stay branches
keep=canon,fold,cse,dce,recognise,affine,fold,cancel,layout,fold,cancel,precision,canon,fold,cse,dce,expand,canon,fold,cse,dce,fuse

model() { # NAME: a model from standard input, in kernels
    local name=$1 p
    cat >"$work/$name.tn"
    for p in fp32 fp16; do
        expect "$name in $p" "$tenon" check "$work/$name.tn" --random --device emu --passes $keep --precision $p
    done
}

# Each model decides twice, by a condition and by its opposite, so that both branches run.
model branches <<'TN'
func @main(%x: f32[5,8], %w: f32[8,8]) -> (f32[5,16], f32[5,8], f32[5,8]) {
  %y = exp %x
  %s = reduce_sum %x {axes=[0,1]}
  %k = const [0] : f32[]
  %c = gt %s, %k
  %d = not %c
  %a, %b = if %c { ^(): %p = matmul %y, %w %q = relu %p yield %q, %y } { ^(): %r = softmax %y {axis=1} %t = neg %y yield %r, %t }
  %e, %f = if %d { ^(): %p = matmul %y, %w %q = relu %p yield %q, %y } { ^(): %r = softmax %y {axis=1} %t = neg %y yield %r, %t }
  %g = add %a, %f
  %h = concat %g, %e {axis=1}
  return %h, %b, %f
}
TN
# What is yielded is a constant, an outer value, a view of a block, twice the same; a result that goes into a concat.
model yields <<'TN'
func @main(%x: f32[4,6], %c: bool[]) -> (f32[4,12], f32[4,3], f32[4,6], f32[4,6]) {
  %d = not %c
  %k = const [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] : f32[4,3]
  %z = const [0.5] : f32[1]
  %a, %b, %e, %f = if %c {
    ^():
    %h = slice %x {starts=[0,1], sizes=[4,3], steps=[1,1]}
    %n = neg %x
    yield %x, %h, %n, %n
  } {
    ^():
    %s = broadcast %z {dims=[4,6]}
    %t = transpose %x {perm=[1,0]}
    %u = reshape %t {dims=[4,6]}
    yield %s, %k, %u, %x
  }
  %g, %i = if %d { ^(): %h = slice %x {starts=[0,1], sizes=[4,3], steps=[1,1]} yield %x, %h } { ^(): %n = exp %x yield %n, %k }
  %l = concat %a, %g {axis=1}
  %m = add %b, %i
  return %l, %m, %e, %f
}
TN
# A branch in a branch; a loop in a branch; a branch in a loop in a loop, by the iteration's number.
model nested <<'TN'
func @main(%x: f32[7], %c: bool[], %n: i64[]) -> (f32[7], f32[7]) {
  %d = not %c
  %one = const [1] : i64[]
  %two = const [2] : i64[]
  %zero = const [0] : i64[]
  %trips = add %n, %two
  %a = if %c {
    ^():
    %l = loop %trips, _, %x {carried=1} {
      ^(%i: i64[], %go: bool[], %v: f32[7]):
      %m = loop %i, _, %v {carried=1} {
        ^(%j: i64[], %on: bool[], %w: f32[7]):
        %r = mod %j, %two
        %odd = eq %r, %zero
        %u = if %odd { ^(): %p = add %w, %x yield %p } { ^(): %p = mul %w, %x yield %p }
        yield %on, %u
      }
      %q = neg %m
      yield %go, %q
    }
    yield %l
  } {
    ^():
    %e = if %d { ^(): %p = abs %x yield %p } { ^(): yield %x }
    yield %e
  }
  %b = if %d {
    ^():
    %l = loop %trips, _, %a {carried=1} { ^(%i: i64[], %go: bool[], %v: f32[7]): %f = cast %i {to=f32} %q = add %v, %f yield %go, %q }
    yield %l
  } {
    ^():
    %e = if %c { ^(): %p = abs %x yield %p } { ^(): yield %x }
    yield %e
  }
  return %a, %b
}
TN
# Carried values that change places, one that never changes, one that nobody reads, a loop that ends by what it computes.
model carried <<'TN'
func @main(%x: f32[3,4], %y: f32[3,4], %n: i64[]) -> (f32[3,4], f32[3,4], f32[3,4], f32[], f32[3,4]) {
  %k = const [3] : i64[]
  %t = add %n, %k
  %start = const [1] : f32[]
  %a, %b, %c, %s = loop %t, _, %x, %y, %x, %start {carried=4} {
    ^(%i: i64[], %go: bool[], %p: f32[3,4], %q: f32[3,4], %r: f32[3,4], %u: f32[]):
    %two = const [2] : f32[]
    %lim = const [5] : f32[]
    %v = mul %u, %two
    %on = lt %v, %lim
    yield %on, %q, %p, %r, %v
  }
  %z = sub %a, %b
  return %a, %b, %c, %s, %z
}
TN
# What each iteration adds, behind what it reads the number of.
model scans <<'TN'
func @main(%x: f32[3], %c: bool[]) -> (f32[3], f32[300,3], i64[300]) {
  %n = const [300] : i64[]
  %a, %s, %t = loop %n, _, %x {carried=1, trips=300} {
    ^(%i: i64[], %go: bool[], %p: f32[3]):
    %k = const [0.5] : f32[]
    %q = mul %p, %k
    %f = cast %i {to=f32}
    %r = add %q, %f
    yield %go, %r, %q, %i
  }
  return %a, %s, %t
}
TN
model symbolic <<'TN'
func @main(%x: f32[N,8], %w: f32[8,8]) -> f32[N,8] {
  %m = reduce_max %x {axes=[0,1]}
  %k = const [100] : f32[]
  %c = lt %m, %k
  %r = loop _, %c, %x {carried=1} {
    ^(%i: i64[], %go: bool[], %v: f32[N,8]):
    %p = matmul %v, %w
    %q = abs %p
    %one = const [1] : f32[]
    %u = add %q, %one
    %z = add %u, %v
    %y = abs %z
    %h = add %y, %one
    %t = reduce_max %h {axes=[0,1]}
    %lim = const [100] : f32[]
    %on = lt %t, %lim
    yield %on, %h
  }
  return %r
}
TN

# The program of such a model is in its plan.
program() {
    "$tenon" compile "$work/nested.tn" -o "$work/nested.plan" --no-gpu --target sm_90a &&
        "$tenon" inspect "$work/nested.plan" --program | tee "$work/program" && grep -q '^      #[0-9]* while ' "$work/program" &&
        grep -q '^  #[0-9]* if ' "$work/program"
}
expect "the plan's program" program
exit $failed
