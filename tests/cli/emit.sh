#!/usr/bin/env bash
# `tenon compile --emit-c`: what is written is valid C and C++ whatever the inputs, outputs, dims and folders are called,
# and calls the plan rightly; --depfile lists what was read.
# usage: emit.sh TENON INCLUDE_DIR LIBRARY_DIR
set -euo pipefail
tenon=$1 include=$2 libs=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TENON_CACHE=$work/cache
fail() { echo "FAILED: $*"; exit 1; }
compile() { "$tenon" compile "$@" --target sm_90a --no-gpu -q; }

cat >"$work/names.tn" <<'TN'
func @main(%class: f32["int"], %context: f32[context], %"a.b": f32["a.b"], %"a:b": f32["a:b"], %"1st": f32["2nd"],
    %"入力": f32["入"], %in: f32["in"], %"*/ int x; /*": f32["*/ # ??/"], %a_b: f32[a_b], %a_b_2: f32[a_b_2],
    %"\\": f32["\""], %_: f32[3], %s: f32[context, "n + 1"], %flag: bool["int"])
    -> (%default: f32["int"], %out: f32[context], %"out:1": f32["a.b"], %"out.1": f32["a:b"], %TN_OK: f32[3]) {
  %default = neg %class
  %out = neg %context
  %"out:1" = neg %"a.b"
  %"out.1" = neg %"a:b"
  %TN_OK = neg %_
  return %default, %out, %"out:1", %"out.1", %TN_OK
}
TN
cat >"$work/names_main.c" <<'C'
#include "names.h"
#include <stdio.h>
#include <tenon/host.h>

int main(void) {
    const float one[] = {1}, two[] = {1, 2}, three[] = {3, 4, 5}, four[] = {6, 7, 8, 9}, five[] = {1, 2, 3, 4, 5};
    const bool flags[] = {true, false};
    float d[2], o[3], o1[4], o2[5], ok[3];
    tn_status s = TN_OK;
    static tn_context_options options;
    options.device = TN_CPU, options.host = tn_host_devices();
    tn_plan *plan = names_plan(NULL, &s);
    tn_context *c = plan ? tn_context_new(plan, &options, &s) : NULL;
    if (c)
        s = names_run(c, 2, 3, 4, 5, 1, 1, 1, 1, 1, 1, 1, 1, two, three, four, five, one, one, one, one, one, one, one, three,
                      three, flags, d, o, o1, o2, ok);
    printf("%s: %g %g %g %g %g; %d %d %d %d\n", tn_status_text(s), (double)d[1], (double)o[2], (double)o1[3], (double)o2[4],
           (double)ok[0], names_INPUTS, names_OUTPUTS, names_IN_a_b_3, names_OUT_out_1_2);
    tn_context_free(c);
    tn_plan_free(plan);
    return 0;
}
C
odd="$work/it's \"5 %d\" \$HOME ä #1\\"
mkdir "$odd"
compile "$work/names.tn" -o "$odd/names.plan" --emit-c "$work/names" --depfile "$work/names.d" || {
    rc=$?
    [ $rc = 10 ] && echo "skipped: NVRTC is not there" && exit 77
    exit $rc
}
cd "$work"
warnings="-Wall -Wextra -Wconversion -Wsign-conversion -pedantic -Werror"
run() { # COMPILER...
    "$@" $warnings -I"$include" names.c names_main.c -L"$libs" -ltenon -ltenon_rt -Wl,-rpath,"$libs" -o names_main
    ./names_main | tee out
    grep -qx 'ok: -2 -5 -9 -5 -3; 14 5 2 3' out || fail "$*"
}
run gcc -std=c11
run gcc -std=gnu17 -O2 -flto
run g++ -x c++ -std=c++17
if command -v clang >/dev/null; then
    run clang -std=c11
    run clang++ -x c++ -std=c++17
fi

# No inputs, element types that C does not have, dims that are expressions
cat >"$work/types.tn" <<'TN'
func @main(%a: f16[N], %b: bf16[N], %c: f8e4m3[N], %d: u4[4], %h: f4e2m1[3], %i: i2[5], %e: bool[N], %f: u64[N], %g: i16[2*N])
    -> (%y: f16[N], %z: i16[2*N]) {
  %y = neg %a
  %z = neg %g
  return %y, %z
}
TN
printf 'func @main() -> (%%y: f32[2]) {\n  %%y = const "w" [1, 2] : f32[2]\n  return %%y\n}\n' >"$work/none.tn"
for name in types none; do
    compile $name.tn -o $name.plan --emit-c $name
    for cc in "gcc -std=c11" "g++ -x c++ -std=c++17"; do $cc $warnings -I"$include" -c $name.c -o $name.o || fail "$name: $cc"; done
done
# Names at random
python3 - <<'PY'
import random
random.seed(9)
words = ["int", "class", "_", "__", ".", ":", "/", "*", "//", "/*", "*/", "?", "??/", "\\\\", '\\"', "#", "%s", "$", "a", "b", "a_b", "2", "10",
         "in", "out", "dim", "shape_0", "context", "TN_OK", "é", "入", "\\n", "\\x7f", " ", "template", "N", "x" * 90]
def name():
    return '"%s"' % "".join(random.choices(words, k=random.randint(1, 4)))
inputs = {"%" + name(): name() for _ in range(300)}
first = next(iter(inputs))
with open("random.tn", "w") as f:
    f.write("func @main(%s)\n" % ",\n    ".join("%s: f32[%s]" % i for i in inputs.items()))
    f.write('    -> (%%"the result": f32[%s]) {\n  %%"the result" = neg %s\n  return %%"the result"\n}\n' % (inputs[first], first))
PY
compile random.tn -o random.plan --emit-c random
grep -q "random_run(" random.h || fail "random names: no typed call"
for cc in "gcc -std=c11" "g++ -x c++ -std=c++17"; do $cc $warnings -I"$include" -c random.c -o random.o || fail "random names: $cc"; done

for name in tn tn_context 2nd a-b ''; do
    if compile none.tn -o none.plan --emit-c "$work/$name" 2>err; then fail "--emit-c $name is accepted"; fi
    grep -q -- --emit-c err || fail "--emit-c $name: $(cat err)"
done

# The depfile: the model and its side file, as make reads them
grep -q "names\.tn" names.d || fail "the depfile lacks the model: $(cat names.d)"
side="$work/a b#c\$d"
mkdir "$side"
cp none.tn "$side/m.tn"
: >"$side/m.tnw"
compile "$side/m.tn" -o m.plan --depfile m.d
printf '\n\t@$(info $^)true\n' >rule
cat m.d rule >m.mk
echo made >m.plan
touch -d '1 hour ago' m.plan
make -f m.mk m.plan >out || fail "make does not read the depfile: $(cat m.d)"
[ "$(cat out)" = "$side/m.tn $side/m.tnw" ] || fail "the depfile says: $(cat out)"
