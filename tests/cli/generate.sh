#!/usr/bin/env bash
# examples/generate.c: text from a decoder with a KV cache, in each form that a cache has, on the CPU, as kernels, and on a mock of a GPU;
# the same without a cache, and the tokens that PyTorch and ONNX Runtime generate.
# usage: generate.sh GENERATE SOURCE_DIR MOCK_CUDA TENON     Exit code 77: NVRTC is not there.
generate=$(realpath "$1") mock=$(realpath "$3")
set -- "$4" "$2"
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
have_nvrtc || { echo "skipped: NVRTC is not there"; exit 77; }
decoder=$src/examples/decoder exports=$src/tests/onnx/decoders
compile() { # MODEL PLAN ROWS [options]
    "$tenon" compile "$1" -o "$2" --no-gpu --target sm_90a --shape "past_key_values.*=1x2x$3x8" --shape input_ids=1x1..128 "${@:4}"
}
write() { "$generate" "$@" 2>/dev/null; } # PLAN ...

# ---- words
expect "caches grow in place" 0 '4 outputs grow' compile "$decoder/decoder.onnx" decoder.plan 0..191
expect "the mask is as long as what is cached and what is new" 0 'attention_mask: i64.1,past \+ sequence' "$tenon" inspect decoder.plan
expect "sizes of all caches at once" 0 'logits: f32 1x1x128' "$tenon" run decoder.plan --device cpu --shape input_ids=1x1 --shape 'past_*=1x2x20x8'
lacks "or not" 'outputs grow' compile "$decoder/decoder.onnx" apart.plan 0..191 --no-alias
expect "it says what it took" 0 '^prompt of 9 tokens: .* ms, [1-9][0-9.]* tokens a second; then [1-9][0-9.]* tokens a second' "$generate" decoder.plan --prompt "the small" --tokens 8 --device cpu
write decoder.plan --prompt "the small" --device cpu >words
printf " boat waits at the river for the morning tide. a cat sleeps on t\n" >expected
same "it writes what it has learnt" words expected
write decoder.plan --prompt "the small" --device cpu --no-cache >anew
same "without a cache" words anew
write apart.plan --prompt "the small" --device cpu >apart
same "with caches that come and go" words apart
write decoder.plan --prompt "the small" --tokens 12 --device emu >kernels
same "as kernels" kernels <(cut -c 1-12 words)
gpu() { MOCK_CUDA_CC=90 TENON_LIBCUDA=$mock TENON_LIBCUBLASLT=$mock "$generate" "$@" --device cuda; }
expect "buffers on a GPU" 0 'tokens a second' gpu decoder.plan --prompt "the small" --tokens 5
expect "two of each" 0 'tokens a second' gpu apart.plan --prompt "the small" --tokens 5

# ---- what a plan has no room for is said before a token is written, though a cache's buffer might hold it
refused() { # NAME PATTERN PLAN...
    expect "$1" 2 "$2" "$generate" "${@:3}" --device cpu
    write "${@:3}" --device cpu >refused
    same "$1: nothing is written" refused /dev/null
}
holds "as many as there is room for" "$generate" decoder.plan --prompt "the small" --tokens 184 --device cpu
refused "one more" 'axis 2 is given as 192, but past is from 0 to 191' decoder.plan --prompt "the small" --tokens 185
refused "which tokens" 'a prompt of 9 tokens and 185 behind it' decoder.plan --prompt "the small" --tokens 185
refused "a prompt that is too long" 'axis 1 is given as 130, but sequence is from 1 to 128' decoder.plan --prompt "$(printf 'a%.0s' {1..130})" --tokens 1
refused "no cache" 'axis 1 is given as 129, but sequence is from 1 to 128' decoder.plan --prompt "the small" --tokens 121 --no-cache
expect "a plan of one length" 0 'one.plan' "$tenon" compile "$decoder/decoder.onnx" -o one.plan --no-gpu --target sm_90a --shape 'past_key_values.*=1x2x16x8' --shape input_ids=1x1
refused "has room for no other" 'a prompt of 1 tokens and 2 behind it' one.plan --prompt t --tokens 2
refused "nor for a prompt" 'i64.1,1., but .1,9. is given' one.plan --prompt "the small" --tokens 2
refused "what is no token" 'no number: x,3' decoder.plan --ids 1,x,3

# ---- the exports of PyTorch, token by token
for how in script dynamo; do
    expect "$how: caches grow in place" 0 '4 outputs grow' compile "$exports/$how.onnx" $how.plan 0..63
    write $how.plan --ids "$(head -n 1 "$exports/tokens.txt")" --tokens 24 --device cpu >$how.tokens
    same "$how: PyTorch's tokens" $how.tokens <(tail -n 1 "$exports/tokens.txt")
done
write dynamo.plan --ids "$(head -n 1 "$exports/tokens.txt")" --tokens 4 --device emu >kernels
same "as kernels" kernels <(tail -n 1 "$exports/tokens.txt" | cut -d ' ' -f 1-5)
expect "a prefill and a step of its own" 0 'grow' compile "$exports/script.onnx" half.plan 0..63 --precision fp16 --shape input_ids=1x1..64:1x1 --shape input_ids=1x1..64:1x16
write half.plan --ids "$(head -n 1 "$exports/tokens.txt")" --tokens 6 --device emu >kernels
same "in 16 bits" kernels <(tail -n 1 "$exports/tokens.txt" | cut -d ' ' -f 1-7)

# ---- GroupQueryAttention, and ONNX Runtime
for python in python3 "${TENON_PYTHON:-}"; do
    [ -n "$python" ] && "$python" -c 'import numpy, onnx' 2>/dev/null && break
    python=
done
[ -n "$python" ] || { echo "not tested: GroupQueryAttention (no Python with numpy and onnx)"; finish; }
group_query() { "$python" "$decoder/train.py" --from "$decoder/decoder.onnx" "$@"; }
holds "the same weights with GroupQueryAttention" group_query --out gqa.onnx
expect "whose caches grow, too" 0 '4 outputs grow' compile gqa.onnx gqa.plan 0..191
holds "or are buffers" group_query --out buffer.onnx --buffer
expect "of all rows, in place" 0 '4 outputs grow' compile buffer.onnx buffer.plan 1..192
lacks "or apart" 'outputs grow' compile buffer.onnx rounds.plan 1..192 --no-alias
for form in gqa buffer rounds; do
    write $form.plan --prompt "the small" --device cpu >$form.words
    same "GroupQueryAttention, $form: the same words" words $form.words
done
holds "as many rows as there are" "$generate" buffer.plan --prompt "the small" --tokens 184 --device cpu
refused "rows that are not there" 'from 1 to 192' buffer.plan --prompt "the small" --tokens 185
if "$python" -c 'import onnxruntime' 2>/dev/null; then # its GroupQueryAttention takes heads of 16, 32, ... only
    "$python" "$src/tests/cli/greedy.py" "$decoder/decoder.onnx" "the small" 64 >peer.words
    same "ONNX Runtime: the same words" words peer.words
fi
for form in gqa buffer; do
    write $form.plan --prompt "the small" --tokens 5 --device emu >kernels
    same "$form: as kernels" kernels <(cut -c 1-5 words)
done
finish
