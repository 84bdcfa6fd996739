#!/usr/bin/env python3
"""Recurrent layers beside cuDNN through PyTorch on this machine's GPU.

usage: recurrent.py [--tenon build/tenon] [--cells lstm,gru,rnn] [--hidden 128,512,1024] [--batches 1,32] [--steps 100]
                    [--precision fp16] [--bidirectional] [--seconds 0.3] [--tune-seconds 6] [--kernels] [--out FILE.json]

A layer has as many inputs as hidden units, and PyTorch's own random weights (fixed seed).  The model is written as ONNX in
float16 or else float32 and compiled by `tenon compile`; PyTorch runs the same weights in the precision given (cuDNN).  Times are
medians of CUDA-graph replays in microseconds, inputs on the device, all in one run; the cosine is of Tenon's outputs with PyTorch's on the
CPU in float32.  --kernels: also the knobs and microseconds of each kernel.  Needs torch, onnx, numpy."""
import argparse
import json
import os
import pathlib
import subprocess
import tempfile
import time

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from gpu_time import time_graph

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


def run(cmd, env):
    r = subprocess.run([str(c) for c in cmd], capture_output=True, text=True, env=env)
    if r.returncode:
        raise SystemExit(f"{' '.join(map(str, cmd))}: exit code {r.returncode}\n{r.stderr[-2000:]}")
    return json.loads(r.stdout)


def tenon(a, name, model, x, want, folder):
    plan, env = folder / f"{name}.plan", dict(os.environ, TENON_CACHE=str(folder / "cache"))
    np.save(folder / "x.npy", x.numpy().astype(np.float16 if a.precision == "fp16" else np.float32))
    run([a.tenon, "compile", model, "-o", plan, "--precision", a.precision, "--json", "-q", "--tune-seconds",
         a.tune_seconds], env)
    run([a.tenon, "run", plan, "--input", f"x={folder / 'x.npy'}", "--output", folder / "out", "--json"], env)
    got = np.load(folder / "out" / "y.npy").astype(np.float64)
    cosine = float((got * want).sum() / np.sqrt((got**2).sum() * (want**2).sum()))
    bench = run([a.tenon, "bench", plan, "--seconds", a.seconds, "--json"], env)
    return bench["median_us"], cosine, bench["kernels"]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--tenon", default="build/tenon")
    ap.add_argument("--cells", default="lstm,gru,rnn")
    ap.add_argument("--hidden", default="128,512,1024")
    ap.add_argument("--batches", default="1,32")
    ap.add_argument("--steps", type=int, default=100)
    ap.add_argument("--precision", default="fp16")
    ap.add_argument("--bidirectional", action="store_true")
    ap.add_argument("--seconds", type=float, default=.3)
    ap.add_argument("--tune-seconds", type=float, default=6)
    ap.add_argument("--kernels", action="store_true")
    ap.add_argument("--out", type=pathlib.Path)
    a = ap.parse_args()
    rows = []
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}, {a.precision}, "
          f"{a.steps} steps, {time.strftime('%Y-%m-%d')}")
    print(f"{'cell':<6}{'hidden':>7}{'batch':>6}{'cuDNN us':>11}{'Tenon us':>11}{'ratio':>7}  cosine", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for cell in a.cells.split(","):
            for hidden in map(int, a.hidden.split(",")):
                for batch in map(int, a.batches.split(",")):
                    name, m = f"{cell}-{hidden}-{batch}", layer(cell, hidden, a.bidirectional)
                    write(cell, hidden, a.bidirectional, a.precision == "fp16", m, a.steps, batch, folder / f"{name}.onnx")
                    x = torch.randn(a.steps, batch, hidden)
                    with torch.inference_mode():
                        y = m(x)[0].double().numpy()
                    want = y.reshape(a.steps, batch, -1, hidden).transpose(0, 2, 1, 3)
                    us, cosine, kernels = tenon(a, name, folder / f"{name}.onnx", x, want, folder)
                    other = peer(m, x, a.precision, a.seconds)
                    print(f"{cell:<6}{hidden:>7}{batch:>6}{other:>11.1f}{us:>11.1f}{other / us:>7.2f}  {cosine:.7f}", flush=True)
                    if a.kernels:
                        for k in kernels:
                            print(f"        {k}", flush=True)
                    rows.append({"cell": cell, "hidden": hidden, "batch": batch, "cudnn_us": other, "tenon_us": us,
                                 "cosine": cosine, "kernels": kernels})
    if a.out:
        a.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
