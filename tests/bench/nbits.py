#!/usr/bin/env python3
"""Products with weights of few bits (MatMulNBits) beside PyTorch's of the same weight in float16, on this machine's GPU.

usage: nbits.py [--tenon build/tenon] [--bits 4,8] [--rows 1,8,64,512] [--n 4096] [--k 4096] [--block 32] [--groups]
                [--seconds 0.3] [--tune-seconds 20] [--kernels]

The weight is random, with a scale for each block of its K, and PyTorch multiplies what it stands for, dense, in float16 (cuBLAS).
--groups: columns belong to blocks in random order (g_idx, as GPTQ gives).  Times are medians of CUDA-graph replays in microseconds,
inputs on the device, all in one run; the cosine is of Tenon's output with the product in float64.  Needs torch, onnx, numpy."""
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


def run(cmd, env):
    r = subprocess.run([str(c) for c in cmd], capture_output=True, text=True, env=env)
    if r.returncode:
        raise SystemExit(f"{' '.join(map(str, cmd))}: exit code {r.returncode}\n{r.stderr[-2000:]}")
    return json.loads(r.stdout)


def weight(a, bits, rng):
    """The packed bytes, scales and groups, and what they stand for: [N, K]."""
    blocks = -(-a.k // a.block)
    packed = rng.integers(0, 256, (a.n, blocks, a.block * bits // 8), dtype=np.uint8)
    scale = rng.uniform(.5, 1.5, (a.n, blocks)).astype(np.float16) / np.float16(1 << bits)
    of = np.repeat(np.arange(blocks, dtype=np.int32), a.block)[:a.k]
    of = rng.permutation(of) if a.groups else of
    parts = [packed.reshape(a.n, -1, 1) >> s & (1 << bits) - 1 for s in range(0, 8, bits)]
    numbers = np.concatenate(parts, 2).reshape(a.n, -1)[:, :a.k].astype(np.float32)
    return packed, scale, of, (numbers - (1 << bits - 1)) * scale[:, of].astype(np.float32)


def write(a, bits, rows, packed, scale, of, path):
    node = helper.make_node("MatMulNBits", ["x", "w", "s", "", "g"] if a.groups else ["x", "w", "s"], ["y"], "product",
                            domain="com.microsoft", bits=bits, block_size=a.block, N=a.n, K=a.k)
    named = {"w": packed, "s": scale, **({"g": of} if a.groups else {})}
    g = helper.make_graph([node], "product", [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [rows, a.k])],
                          [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [rows, a.n])],
                          [numpy_helper.from_array(v, k) for k, v in named.items()])
    onnx.save(helper.make_model(g, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)],
                                ir_version=8), path)


def tenon(a, model, x, want, folder):
    plan, env = folder / "p.plan", dict(os.environ, TENON_CACHE=str(folder / "cache"))
    np.save(folder / "x.npy", x)
    run([a.tenon, "compile", model, "-o", plan, "--precision", "fp16", "--json", "-q", "--tune-seconds", a.tune_seconds], env)
    run([a.tenon, "run", plan, "--input", f"x={folder / 'x.npy'}", "--output", folder / "out", "--json"], env)
    y = np.load(folder / "out" / "y.npy").astype(np.float64)
    bench = run([a.tenon, "bench", plan, "--seconds", a.seconds, "--json"], env)
    return bench["median_us"], float((y * want).sum() / np.sqrt((y**2).sum() * (want**2).sum())), bench["kernels"]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--tenon", default="build/tenon")
    ap.add_argument("--bits", default="4,8")
    ap.add_argument("--rows", default="1,8,64,512")
    ap.add_argument("--n", type=int, default=4096)
    ap.add_argument("--k", type=int, default=4096)
    ap.add_argument("--block", type=int, default=32)
    ap.add_argument("--groups", action="store_true")
    ap.add_argument("--seconds", type=float, default=.3)
    ap.add_argument("--tune-seconds", type=float, default=20)
    ap.add_argument("--kernels", action="store_true")
    a = ap.parse_args()
    rng = np.random.default_rng(0)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, N {a.n}, K {a.k}, blocks of {a.block}"
          f"{', in groups' if a.groups else ''}, {time.strftime('%Y-%m-%d')}")
    print(f"{'bits':>4}{'rows':>6}{'torch fp16 us':>15}{'Tenon us':>10}{'ratio':>7}  cosine", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for bits in map(int, a.bits.split(",")):
            packed, scale, of, dense = weight(a, bits, rng)
            w = torch.from_numpy(dense.astype(np.float16)).cuda()
            for rows in map(int, a.rows.split(",")):
                x = (rng.standard_normal((rows, a.k)) / 8).astype(np.float16)
                write(a, bits, rows, packed, scale, of, folder / "m.onnx")
                us, cosine, kernels = tenon(a, folder / "m.onnx", x, x.astype(np.float64) @ dense.T, folder)
                given = torch.from_numpy(x).cuda()
                other = time_graph(lambda: torch.nn.functional.linear(given, w), a.seconds) * 1000
                print(f"{bits:>4}{rows:>6}{other:>15.1f}{us:>10.1f}{other / us:>7.2f}  {cosine:.6f}", flush=True)
                for k in kernels if a.kernels else []:
                    print(f"        {k}", flush=True)


if __name__ == "__main__":
    main()
