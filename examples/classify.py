#!/usr/bin/env python3
"""Compiles the digit classifier from Python and classifies a digit (pip install ./frontend/python; no GPU needed)."""

import os

import numpy as np
import tenon

digits = os.path.join(os.path.dirname(os.path.abspath(__file__)), "digits")

# On a machine with a GPU: device="cuda" (the default), and precision="fp16"
plan = tenon.compile(os.path.join(digits, "digits.onnx"), device="cpu", progress=True)
print(plan)
for row in plan.kernel_rows():
    print(f"  {row['template']:12} {', '.join(row['layers'])}")

logits = plan(np.load(os.path.join(digits, "digit_7.npy")))
print("the digit is a", logits.argmax())
print(plan.check())  # beside the float64 reference, on random inputs
