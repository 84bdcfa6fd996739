#!/usr/bin/env bash
# kill -9 at random moments of a compile: the plan that was there, the lockfile and the cache stay usable, and nothing else is left.
# usage: kill.sh TENON SOURCE_DIR [KILLS [SEED]]     Exit code 77: NVRTC is not there.
. "$(dirname "$0")/lib.sh"
kills=${3:-5} RANDOM=${4:-1}
cd "$work" || exit 1
have_nvrtc || { echo "skipped: NVRTC is not there"; exit 77; }
model=$src/tests/onnx/reports/layernorm_eps_underflow.onnx
compiling=("$tenon" compile "$model" --target sm_90a --no-gpu -q)
compile() { "${compiling[@]}" "$@"; }
now() { date +%s%N; }

compile -o right.plan --cache=
compile -o old.plan --cache= --precision fp16
for state in cold warm; do # the winners are in a cache the second time
    start=$(now)
    compile -o locked.plan --cache="$work/first" --lockfile first.lock
    declare $state=$((($(now) - start) / 1000000))
done
compile -o right_locked.plan --cache= --lockfile first.lock
killed=0 temporary=0
for ((k = 0; killed < kills && k < 4 * kills; k++)); do
    # a cold cache and no lockfile, or what the last round left
    took=$warm
    [ $((RANDOM % 2)) = 0 ] && rm -rf cache lock && took=$cold
    cp old.plan out.plan
    after=$((RANDOM % took))
    "${compiling[@]}" -o out.plan --cache="$work/cache" --lockfile lock >/dev/null 2>&1 & # no function: $! is the command
    pid=$!
    sleep "$(printf '%d.%03d' $((after / 1000)) $((after % 1000)))"
    kill -KILL $pid 2>/dev/null && killed=$((killed + 1))
    wait $pid 2>/dev/null
    count=$((count + 1))
    cmp -s out.plan old.plan || cmp -s out.plan right.plan || cmp -s out.plan right_locked.plan ||
        failed "round $k, after $after ms: the plan is neither the old one nor the new one"
    temporary=$((temporary + $(find . -name '.tenon-*' | wc -l)))
    find . -name '.tenon-*' -delete
    [ ! -e lock ] || same "round $k, after $after ms: the lockfile" lock first.lock
    expect "round $k, after $after ms: what is left is of use" 0 '^$' compile -o next.plan --cache="$work/cache" --lockfile lock
    count=$((count + 1))
    cmp -s next.plan right.plan || cmp -s next.plan right_locked.plan || failed "round $k, after $after ms: another plan comes out"
done
holds "$kills were killed before they were done" test $killed = "$kills"
echo "$k compiles of $cold ms ($warm ms with a cache), $killed of them killed; $temporary temporary files left"
finish
