#!/usr/bin/env bash
# tenon check --suite: a test that crashes, hangs, breaks the GPU or is interrupted fails alone, and nothing is left behind.
# usage: suite.sh TENON SOURCE_DIR MOCK_CUDA MOCK_NVRTC
. "$(dirname "$0")/lib.sh"
mock=$(realpath "$3") nvrtc=$(realpath "$4") || exit 1
cd "$work" || exit 1
export TENON_CACHE=

# test_of NAME N M RESULT: a model from f32[N] to f32[M], with what the reference makes of it
test_of() {
    mkdir -p "suite/$1"
    printf 'func @main(%%x: f32[%s]) -> (%%y: f32[%s]) {\n  %%y = %s\n  return %%y\n}\n' "$2" "$3" "$4" >"suite/$1.tn"
    "$tenon" check "suite/$1.tn" --random --device cpu --write-references "suite/$1" >made || failed "$1: $(cat made)"
}
for k in 1 2 4 5 6; do test_of same_$k 8 2,4 'reshape %x {dims=[2,4]}'; done
test_of same_3 16 2,8 'reshape %x {dims=[2,8]}'
test_of part_3 8 5 'slice %x {starts=[0], sizes=[5], steps=[1]}'

# ---- a GPU: kernels of the mock do nothing, which is near enough to numbers between -1 and 1
on_gpu() {
    rm -f contexts
    MOCK_CUDA_CC=90 TENON_LIBCUDA=$mock TENON_LIBCUBLASLT=$mock TENON_LIBNVRTC=$nvrtc MOCK_CUDA_CONTEXTS=contexts "$tenon" check \
        --suite suite --tune-seconds 0 --atol 10 "$@"
}
contexts() { # NAME N: so many were made
    count=$((count + 1))
    [ "$(wc -l <contexts)" = "$2" ] || failed "$1: $(wc -l <contexts) contexts, not $2"
}
expect "on a GPU" 0 '^7 passed, 0 failed, 0 skipped$' on_gpu
contexts "all tests have one" 1
expect "on a GPU, three at a time" 0 '^7 passed, 0 failed, 0 skipped$' on_gpu --jobs 3
contexts "a process has one" 3
export MOCK_CUDA_FAULT=64 # what same_3 takes
expect "an illegal address" 1 '^6 passed, 1 failed, 0 skipped$' on_gpu
contexts "the next test has a fresh one" 2
expect "is told of the test that did it" 1 '^FAILED  same_3: .*CUDA_ERROR_ILLEGAL_ADDRESS' on_gpu
MOCK_CUDA_FAULT=20 # what part_3 makes
expect "one that is seen late" 1 '^6 passed, 1 failed, 0 skipped$' on_gpu
contexts "and then" 2
expect "is told of the test too" 1 '^FAILED  part_3: .*CUDA_ERROR_ILLEGAL_ADDRESS' on_gpu
unset MOCK_CUDA_FAULT

# ---- a crash, and a test that does not end; lines stand in the order of names, whatever ends first
cp suite/same_4/test_data_set_0/input_0.pb suite/same_6/test_data_set_0/output_0.pb
rm suite/same_2.tn
mkfifo suite/same_2.tn
start() { # OPTION...: the suite, until all but same_2 have ended
    local k
    "$tenon" check --suite suite --device cpu "$@" >out 2>&1 </dev/null &
    suite=$!
    for ((k = 0; k < 100; k++)); do
        children=$(cat /proc/$suite/task/$suite/children 2>/dev/null)
        [ "$(wc -w <<<"$children")" = 1 ] && [ -e /proc/$suite/fd ] && [ $k -gt 2 ] && break
        sleep 0.1
    done
}
nobody() { # NAME: no process of a suite is there any more
    local p
    count=$((count + 1))
    for p in /proc/[0-9]*; do
        [ "$(readlink "$p/cwd")" != "$work" ] || ! grep -qs '^tenon' "$p/comm" || failed "$1: ${p##*/} is left"
    done
}
start --jobs 3
kill -ABRT $children # sanitizers catch others
wait $suite
holds "a crash is a failure of the suite" test $? = 1
holds "a crash and what follows it" grep -Pzoq '^FAILED  same_2: crashed: Aborted \(signal 6\)\nFAILED  same_6: output y.*\n(.*\n)*5 passed, 2 failed, 0 skipped\n' out
start --jobs 1 # the rest is for another process
holds "one process at a time" test "$(wc -w <<<"$children")" = 1
kill -KILL $children
wait $suite
holds "the suite goes on" grep -Pzoq '\nFAILED  same_2: crashed: Killed \(signal 9\)\nFAILED  same_6: .*\n(.*\n)*5 passed, 2 failed, 0 skipped\n' <(echo; cat out)
for jobs in 1 3; do
    "$tenon" check --suite suite --device cpu --jobs $jobs --test-seconds 1 >out 2>&1
    holds "a test that hangs" grep -Pzoq '\nFAILED  same_2: did not end in 1 s\nFAILED  same_6: .*\n(.*\n)*5 passed, 2 failed, 0 skipped\n' <(echo; cat out)
done

# ---- interrupted, while same_2 does not end: what has ended is told, also of tests behind it
start --jobs 2
kill -TERM $suite
sleep 0.7
kill -TERM $suite
begun=$SECONDS
wait $suite
holds "interrupted twice" test $? = 130
holds "nobody waits" test $((SECONDS - begun)) -le 2
holds "what was found" grep -Pzoq '\nFAILED  same_6: .*\n(.*\n)*5 passed, 1 failed, 0 skipped, 1 not reached\n' <(echo; cat out)
nobody "interrupted twice"
timeout 1 "$tenon" check --suite suite --device cpu >out 2>&1 # two signals at once; a worker that does not hear is killed
holds "as by timeout(1)" test $? = 124
holds "one at a time" grep -Pzoq '\n2 passed, 0 failed, 0 skipped, 5 not reached\n' <(echo; cat out)
nobody "as by timeout(1)"
expect "in JSON" 124 '"not_reached": *5' timeout 1 "$tenon" check --suite suite --device cpu --json
finish
