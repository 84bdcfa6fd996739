#!/usr/bin/env python3
"""Tenon as an execution provider of ONNX Runtime: classify digits, and time it beside ONNX Runtime's own provider.

usage: onnxruntime.py [LIBRARY] [--device cpu|cuda]      (LIBRARY: build/libtenon_ort.so, or where it is installed)

The first session compiles; later ones, of any process, find the plan in the cache.
"""
import pathlib
import sys
import time

# this file's folder is searched first, and its name is that of the package
sys.path = [p for p in sys.path if pathlib.Path(p or ".").resolve() != pathlib.Path(__file__).resolve().parent]

import numpy as np
import onnxruntime as ort

here = pathlib.Path(__file__).resolve().parent
paths = [a for a in sys.argv[1:] if not a.startswith("--") and a not in ("cpu", "cuda")]
library = pathlib.Path(paths[0] if paths else here.parent / "build" / "libtenon_ort.so").resolve()
device = sys.argv[sys.argv.index("--device") + 1] if "--device" in sys.argv else "cpu"

ort.register_execution_provider_library("tenon", str(library))
cpu = next(d for d in ort.get_ep_devices()
           if d.ep_name == "TenonExecutionProvider" and d.ep_metadata["memory"] == "host")
options = ort.SessionOptions()
options.add_provider_for_devices([cpu], {"device": device})

model = str(here / "digits" / "digits.onnx")
start = time.perf_counter()
tenon = ort.InferenceSession(model, options, enable_fallback=0)
print(f"session ready in {1e3 * (time.perf_counter() - start):.0f} ms, providers {tenon.get_providers()}")
theirs = ort.InferenceSession(model, providers=["CPUExecutionProvider"])

right = 0
for digit in range(10):
    feed = {"image": np.load(here / "digits" / f"digit_{digit}.npy")}
    ours, want = tenon.run(None, feed)[0], theirs.run(None, feed)[0]
    np.testing.assert_allclose(ours, want, rtol=1e-3, atol=1e-3)
    right += int(ours.argmax()) == digit
print(f"{right} of 10 digits, the same numbers from both providers")
sys.exit(right != 10)
