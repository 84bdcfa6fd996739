#!/usr/bin/env python3
"""Recurrent layers beside cuDNN through PyTorch on this machine's GPU.

usage: recurrent.py [--tenon build/tenon] [--cells lstm,gru,rnn] [--hidden 128,512,1024] [--batches 1,32] [--steps 100]
                    [--precision fp16] [--bidirectional] [--seconds 0.3] [--tune-seconds 6] [--kernels] [--filter TEXT]
                    [--out FILE.json]

A layer has as many inputs as hidden units, and PyTorch's own random weights (fixed seed).  The model is written as ONNX in
float16 or else float32 and compiled by `tenon compile`; PyTorch runs the same weights in the precision given (cuDNN).  Times are
medians of CUDA-graph replays in microseconds, inputs on the device, all in one run; the cosine is of Tenon's outputs with PyTorch's on the
CPU in float32.  --kernels: also the knobs and microseconds of each kernel.  Needs torch, onnx, numpy."""
import json
import os
import time

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from gpu_time import time_graph
from process import measure_rows, options, output_of

GATES = {"lstm": [0, 3, 1, 2], "gru": [1, 0, 2], "rnn": [0]}  # ONNX's order, of PyTorch's
CLASSES = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}


def layer(cell, hidden, both):
    torch.manual_seed(0)
    return CLASSES[cell](hidden, hidden, bidirectional=both).eval()


def write(cell, hidden, both, half, m, steps, batch, path):
    def rows(name):  # gates in ONNX's order, direction by direction
        parts = []
        for suffix in ["", "_reverse"][:2 if both else 1]:
            p = getattr(m, f"{name}_l0{suffix}").detach().numpy()
            gates = np.split(p, len(GATES[cell]))
            parts.append(np.concatenate([gates[k] for k in GATES[cell]]))
        return np.stack(parts)

    bias = np.concatenate([rows("bias_ih"), rows("bias_hh")], 1)
    arrays = {"w": rows("weight_ih"), "r": rows("weight_hh"), "b": bias}
    weights = [numpy_helper.from_array(a.astype(np.float16) if half else a, n) for n, a in arrays.items()]
    node = helper.make_node(cell.upper(), ["x", "w", "r", "b"], ["y"], "layer", hidden_size=hidden,
                            direction="bidirectional" if both else "forward",
                            **({"linear_before_reset": 1} if cell == "gru" else {}))
    t = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    x = helper.make_tensor_value_info("x", t, [steps, batch, hidden])
    y = helper.make_tensor_value_info("y", t, [steps, 2 if both else 1, batch, hidden])
    g = helper.make_graph([node], cell, [x], [y], weights)
    onnx.save(helper.make_model(g, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), path)


def peer(m, x, precision, seconds):
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision, torch.float32)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    m, x = m.to("cuda", dtype), x.to("cuda", dtype)
    m.flatten_parameters()
    return time_graph(lambda: m(x), seconds) * 1000


def tenon(a, name, model, x, want, folder):
    plan, env = folder / f"{name}.plan", dict(os.environ, TENON_CACHE=str(folder / "cache"))
    np.save(folder / "x.npy", x.numpy().astype(np.float16 if a.precision == "fp16" else np.float32))
    output_of([a.tenon, "compile", model, "-o", plan, "--precision", a.precision, "-q", "--tune-seconds", a.tune_seconds], env)
    output_of([a.tenon, "run", plan, "--input", f"x={folder / 'x.npy'}", "--output", folder / "out"], env)
    got = np.load(folder / "out" / "y.npy").astype(np.float64)
    cosine = float((got * want).sum() / np.sqrt((got**2).sum() * (want**2).sum()))
    bench = json.loads(output_of([a.tenon, "bench", plan, "--seconds", a.seconds, "--json"], env))
    return bench["median_us"], cosine, bench["kernels"]


def measure(a, row, folder):
    cell, hidden, batch = row
    name, m = "-".join(map(str, row)), layer(cell, hidden, a.bidirectional)
    write(cell, hidden, a.bidirectional, a.precision == "fp16", m, a.steps, batch, folder / f"{name}.onnx")
    x = torch.randn(a.steps, batch, hidden)
    with torch.inference_mode():
        y = m(x)[0].double().numpy()
    want = y.reshape(a.steps, batch, -1, hidden).transpose(0, 2, 1, 3)
    us, cosine, kernels = tenon(a, name, folder / f"{name}.onnx", x, want, folder)
    return {"cell": cell, "hidden": hidden, "batch": batch, "cudnn_us": peer(m, x, a.precision, a.seconds), "tenon_us": us,
            "cosine": cosine, "kernels": kernels}


def line(a, r):
    said = (f"{r['cell']:<6}{r['hidden']:>7}{r['batch']:>6}{r['cudnn_us']:>11.1f}{r['tenon_us']:>11.1f}"
            f"{r['cudnn_us'] / r['tenon_us']:>7.2f}  {r['cosine']:.7f}")
    return "\n        ".join([said, *map(str, r["kernels"] if a.kernels else [])])


def main():
    a = options(__doc__, 6, cells="lstm,gru,rnn", hidden="128,512,1024", batches="1,32", steps=100, precision="fp16", bidirectional=False, kernels=False)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}, {a.precision}, "
          f"{a.steps} steps, {time.strftime('%Y-%m-%d')}")
    print(f"{'cell':<6}{'hidden':>7}{'batch':>6}{'cuDNN us':>11}{'Tenon us':>11}{'ratio':>7}  cosine", flush=True)
    rows = [(cell, int(hidden), int(batch)) for cell in a.cells.split(",") for hidden in a.hidden.split(",") for batch in a.batches.split(",")]
    measure_rows(a, rows, lambda row: "-".join(map(str, row)), measure, lambda r: line(a, r))


if __name__ == "__main__":
    main()
