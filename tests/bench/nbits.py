#!/usr/bin/env python3
"""Products with weights of few bits (MatMulNBits) beside PyTorch's of the same weight in float16, on this machine's GPU.

usage: nbits.py [--tenon build/tenon] [--bits 4,8] [--rows 1,8,64,512] [--n 4096] [--k 4096] [--block 32] [--groups]
                [--seconds 0.3] [--tune-seconds 20] [--kernels] [--filter TEXT] [--out FILE.json]

The weight is random, with a scale for each block of its K, and PyTorch multiplies what it stands for, dense, in float16 (cuBLAS).
--groups: columns belong to blocks in random order (g_idx, as GPTQ gives).  Times are medians of CUDA-graph replays in microseconds,
inputs on the device, all in one run; the cosine is of Tenon's output with the product in float64.  Needs torch, onnx, numpy."""
import json
import os
import time

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from gpu_time import time_graph
from process import measure_rows, options, output_of


def weight(a, bits):
    """The packed bytes, scales and groups, and what they stand for: [N, K]."""
    rng = np.random.default_rng(bits)
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
    output_of([a.tenon, "compile", model, "-o", plan, "--precision", "fp16", "-q", "--tune-seconds", a.tune_seconds], env)
    output_of([a.tenon, "run", plan, "--input", f"x={folder / 'x.npy'}", "--output", folder / "out"], env)
    y = np.load(folder / "out" / "y.npy").astype(np.float64)
    bench = json.loads(output_of([a.tenon, "bench", plan, "--seconds", a.seconds, "--json"], env))
    return bench["median_us"], float((y * want).sum() / np.sqrt((y**2).sum() * (want**2).sum())), bench["kernels"]


def measure(a, row, folder):
    bits, rows = row
    packed, scale, of, dense = weight(a, bits)
    x = (np.random.default_rng(rows).standard_normal((rows, a.k)) / 8).astype(np.float16)
    write(a, bits, rows, packed, scale, of, folder / "m.onnx")
    us, cosine, kernels = tenon(a, folder / "m.onnx", x, x.astype(np.float64) @ dense.T, folder)
    given, w = torch.from_numpy(x).cuda(), torch.from_numpy(dense.astype(np.float16)).cuda()
    other = time_graph(lambda: torch.nn.functional.linear(given, w), a.seconds) * 1000
    return {"bits": bits, "rows": rows, "torch_us": other, "tenon_us": us, "cosine": cosine, "kernels": kernels}


def line(a, r):
    said = f"{r['bits']:>4}{r['rows']:>6}{r['torch_us']:>15.1f}{r['tenon_us']:>10.1f}{r['torch_us'] / r['tenon_us']:>7.2f}  {r['cosine']:.6f}"
    return "\n        ".join([said, *map(str, r["kernels"] if a.kernels else [])])


def main():
    a = options(__doc__, bits="4,8", rows="1,8,64,512", n=4096, k=4096, block=32, groups=False, kernels=False)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, N {a.n}, K {a.k}, blocks of {a.block}"
          f"{', in groups' if a.groups else ''}, {time.strftime('%Y-%m-%d')}")
    print(f"{'bits':>4}{'rows':>6}{'torch fp16 us':>15}{'Tenon us':>10}{'ratio':>7}  cosine", flush=True)
    rows = [(int(bits), int(n)) for bits in a.bits.split(",") for n in a.rows.split(",")]
    measure_rows(a, rows, lambda row: f"{row[0]} bits, {row[1]} rows", measure, lambda r: line(a, r))


if __name__ == "__main__":
    main()
