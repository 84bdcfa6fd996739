#!/usr/bin/env python3
"""Attention alone beside PyTorch's scaled_dot_product_attention (flash, cuDNN) on this machine's GPU.

usage: attention.py [--tenon build/tenon] [--precision fp16] [--sizes 64x512,128x4096] [--tune-seconds 6] [--seconds 0.3] [--sink] [--out FILE.json]

A size is head size x tokens; batch and heads are such that there are 16,384 tokens or so of 2,048 features.  The model is one `attention`
of the text form.  Times are medians of CUDA-graph replays in microseconds on random data, inputs on the device, all in one run, and each
with the GPU kept busy by one replay behind the other: what rests between them may run at a higher clock.  TFLOP/s count two products of all
scores, or of half of them where a query sees earlier keys only.  The outputs of the first and the last head are compared with PyTorch's in
float32.  With --sink each head has one more score that takes its share (gpt-oss), which the peers have not.  A line ends with the kernel that was chosen.  Needs torch, numpy."""
import argparse
import json
import os
import pathlib
import tempfile
import time

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from gpu_time import time_graph
from process import output_of


def model(dims, causal, dtype, sink):
    t = f"{ {'fp16': 'f16', 'bf16': 'bf16'}[dtype] }[{','.join(map(str, dims))}]"
    n = f"  %n = const [{','.join(map(repr, sink.tolist()))}] : f32[{dims[1]},1,1]\n" if sink is not None else ""
    return (f"func @attention(%q: {t}, %k: {t}, %v: {t}) -> {t} {{\n{n}"
            f"  %0 = attention %q, %k, %v{', _, _, _, %n' if n else ''} {{scale={dims[3] ** -.5!r}{', causal=true' if causal else ''}}} : {t}\n"
            f"  return %0\n}}\n")


def peer(q, k, v, causal, backend, seconds):
    def call():
        with sdpa_kernel(backend):
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    try:
        return time_graph(call, seconds, ahead=32) * 1000
    except RuntimeError:
        return None


def reference(q, k, v, at, causal, sink):
    """The output of one head, in float32."""
    q, k, v = (x[at].float() for x in (q, k, v))
    if sink is None:
        return torch.nn.functional.scaled_dot_product_attention(q[None, None], k[None, None], v[None, None], is_causal=causal)[0, 0].cpu().numpy()
    scores = q @ k.T * q.shape[1] ** -.5
    if causal:
        scores.masked_fill_(torch.ones_like(scores, dtype=torch.bool).triu_(1), float("-inf"))
    column = torch.full_like(scores[:, :1], sink[at[1]].item())
    return (torch.cat([scores, column], 1).softmax(1)[:, :-1] @ v).cpu().numpy()


def measure(a, dims, causal, folder):
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[a.precision]
    q, k, v = (torch.randn(dims, device="cuda").to(dtype) for _ in range(3))
    sink = torch.randn(dims[1]) if a.sink else None
    (folder / "m.tn").write_text(model(dims, causal, a.precision, sink))
    output_of([a.tenon, "compile", folder / "m.tn", "-o", folder / "m.plan", "-p", a.precision, "--tune-seconds", a.tune_seconds, "-q"],
              env=dict(os.environ, TENON_CACHE=str(folder / "cache")))
    bench = json.loads(output_of([a.tenon, "bench", folder / "m.plan", "--no-transfers", "--seconds", a.seconds, "--json"]))
    kernels = json.loads(output_of([a.tenon, "inspect", folder / "m.plan", "--json"]))["kernels"]
    row = {"tenon_us": bench["median_us"], "kernels": [k["choice"] for k in kernels]}
    if a.precision == "fp16":
        for name, x in zip("qkv", (q, k, v)):
            np.save(folder / f"{name}.npy", x.cpu().numpy())
        output_of([a.tenon, "run", folder / "m.plan", *[f"--input={n}={folder / n}.npy" for n in "qkv"], "--output", folder / "out"])
        got = np.load(next((folder / "out").glob("*.npy")), mmap_mode="r")
        row["error"] = max(float(np.abs(got[at].astype(np.float32) - reference(q, k, v, at, causal, sink)).max()) for at in ((0, 0), (-1, -1)))
    row["flash_us"] = peer(q, k, v, causal, SDPBackend.FLASH_ATTENTION, a.seconds)
    row["cudnn_us"] = peer(q, k, v, causal, SDPBackend.CUDNN_ATTENTION, a.seconds)
    return row


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--tenon", default="build/tenon")
    ap.add_argument("--precision", default="fp16")
    ap.add_argument("--sizes", default="64x512,64x4096,128x4096,128x16384")
    ap.add_argument("--seconds", type=float, default=.3)
    ap.add_argument("--tune-seconds", type=float, default=6)
    ap.add_argument("--sink", action="store_true")
    ap.add_argument("--out", type=pathlib.Path)
    a = ap.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {a.precision}, {time.strftime('%Y-%m-%d')}; microseconds (TFLOP/s)")
    print(f"{'batch x heads x tokens x size':<34}{'flash':>17}{'cuDNN':>17}{'tenon':>17}   error     kernel")
    done = []
    for size in a.sizes.split(","):
        d, s = map(int, size.split("x"))
        dims = (max(1, 16384 // s), 2048 // d, s, d)
        for causal in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                row = {"dims": dims, "causal": causal, **measure(a, dims, causal, pathlib.Path(folder))}
            done.append(row)
            flops = 4 * dims[0] * dims[1] * s * s * d / (2 if causal else 1)
            times = [f"{row[k]:.1f} ({flops / row[k] / 1e6:.0f})" if row[k] else "-" for k in ("flash_us", "cudnn_us", "tenon_us")]
            name = "x".join(map(str, dims)) + (" causal" if causal else "")
            print(f"{name:<34}{times[0]:>17}{times[1]:>17}{times[2]:>17}   {row.get('error', float('nan')):.1e}   "
                  + ", ".join(row["kernels"]), flush=True)
    if a.out:
        a.out.write_text(json.dumps(done, indent=1))


if __name__ == "__main__":
    main()
