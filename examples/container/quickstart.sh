#!/bin/sh
# In the compiler image: a model becomes a plan, which classifies a digit on the CPU; and a program that needs libtenon_rt alone.
# usage: quickstart.sh DIGITS_FOLDER RUN_PLAN_C OUT_FOLDER
set -eu
tenon compile "$1/digits.onnx" -o "$3/model.plan" --target sm_90a --no-gpu --precision fp16 --shape image=1..16x1x20x20
tenon inspect "$3/model.plan"
tenon run "$3/model.plan" --device cpu --input "image=$1/digit_7.npy" --output "$3"
cc -std=c11 -O2 "$2" $(pkg-config --cflags --libs tenon_rt) -o "$3/run_plan"
