#!/usr/bin/env bash
# Ctrl-C and its like leave nothing behind: no outputs, no temporary files, no processes.
# usage: interrupt.sh TENON SOURCE_DIR MOCK_NVRTC
# Exit code 77: there is no C++ compiler.
. "$(dirname "$0")/lib.sh"
mock=$(realpath "$3") || exit 1
cd "$work" || exit 1
${TENON_CXX:-c++} --version >/dev/null 2>&1 || { echo "skipped: there is no C++ compiler"; exit 77; }
mkdir tmp
export TMPDIR=$work/tmp TENON_CACHE=
model=$digits/digits.onnx

# A shell's background job begins with SIGINT ignored: the signal counts once the command waits for it.
listens() { # PID
    grep -q '^tenon' "/proc/$1/comm" 2>/dev/null && grep -q 'SigBlk:.*[2367abef]$' "/proc/$1/status" 2>/dev/null
}
# stop SIGNAL SECONDS COMMAND...: its exit code; the compilers that it started are given time to end too.  SIGTERM comes twice, as
# from timeout(1)
stop() {
    local signal=$1 after=$2 pid
    shift 2
    "$@" >out 2>&1 &
    pid=$!
    while kill -0 $pid 2>/dev/null && ! listens $pid; do sleep 0.01; done
    sleep "$after"
    kill -"$signal" $pid 2>/dev/null
    [ "$signal" != TERM ] || { sleep 0.02; kill -TERM $pid 2>/dev/null; }
    wait $pid
}
empty() { # NAME: nothing in the temporary folder, soon
    local k
    count=$((count + 1))
    for k in 1 2 3 4 5 6 7 8; do
        [ -z "$(ls -A tmp)" ] && return
        sleep 0.25
    done
    failed "$1: left in the temporary folder: $(ls -A tmp | tr '\n' ' ')"
}

for signal in INT TERM HUP; do
    for after in 0.1 0.4 0.9; do
        [ $signal = INT ] || [ $after = 0.4 ] || continue
        stop $signal $after "$tenon" check "$model" --device emu
        rc=$?
        count=$((count + 1))
        [ $rc = 130 ] || [ $rc = 0 ] || failed "SIG$signal after $after s: exit code $rc: $(cat out)"
        grep -q '^tenon: error' out && failed "SIG$signal after $after s: complains about what it caused: $(cat out)"
        empty "SIG$signal after $after s"
    done
done
# NVRTC has a handler of its own while it compiles: at its worst moments, and at some
for when in before within; do
    for k in 1 2 3 4 5 6 7 8; do
        expect "a signal $when the handler's time, $k" 130 'interrupted' env MOCK_NVRTC_INTERRUPT=$when TENON_LIBNVRTC="$mock" \
            "$tenon" compile "$model" -o i.plan --target sm_90a --no-gpu
    done
done
rm -f i.plan # of one that was done when the signal was taken
if have_nvrtc; then
    for after in 0.1 0.15 0.2 0.25 0.3 0.4; do
        stop INT $after "$tenon" compile "$model" -o i.plan --target sm_80,sm_86,sm_89,sm_90a,sm_100,sm_120 --no-gpu
        rc=$?
        count=$((count + 1))
        [ $rc = 130 ] && grep -q interrupted out || failed "compiling, after $after s: exit code $rc: $(cat out)"
        absent "compiling, after $after s" i.plan
        empty "compiling, after $after s"
    done
fi
mkdir -p suite/test_a suite/test_b
for t in a b; do cp "$model" suite/test_$t/model.onnx; cp -r "$digits/test_data_set_0" suite/test_$t/; done
for signal in INT TERM; do
    stop $signal 0.4 "$tenon" check --suite suite --device emu --jobs 2
    holds "SIG$signal: a suite says how far it was" grep -Eq '^[0-9] passed, 0 failed, 0 skipped(, [0-9] not reached)?$' out
    empty "a suite"
done

# what was killed is removed by whoever comes next, and what is in use is not
stop KILL 0.3 "$tenon" check "$model" --device emu
"$tenon" check "$model" --device emu >first 2>&1 &
first=$!
"$tenon" check "$model" --device emu >second 2>&1
rc=$?
wait $first || rc=$?
holds "two at a time do not disturb each other" test $rc = 0
empty "killed"
finish
