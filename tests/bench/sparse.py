#!/usr/bin/env python3
"""Products in float16 with a 2:4 weight beside a dense one, and beside PyTorch's (cuBLASLt; cuSPARSELt or CUTLASS), on this machine's GPU.

usage: sparse.py [--tenon build/tenon] [--filter TEXT] [--tune-seconds 20] [--seconds 0.3] [--out FILE.json]

Each row is a model of one MatMul with a constant weight, of which two of each four along k are zero, compiled by `tenon compile`,
and a model of the same sizes with a dense weight.  Both results are compared with float64 first.  `kernel`: the fastest
gemm_sparse that was timed alone, whether or not it won.  `torch 2:4`: torch.sparse.to_sparse_semi_structured of the
same weight (0: PyTorch refuses).  Medians of CUDA-graph replays in microseconds; `won`: the template of Tenon's kernel for the 2:4 weight.
Needs torch, onnx, numpy."""
import json
import os
import time

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper

from gpu_time import time_graph
from process import measure_rows, options, output_of

SIZES = (4096, 4096, 4096), (4096, 3072, 768), (128, 768, 3072), (128, 3072, 768), (128, 4096, 4096), (16, 4096, 4096)
COLUMNS = "tenon_us", "kernel_us", "dense_us", "torch_us", "torch_sparse_us"
random = np.random.default_rng(1)


def pruned(w):
    """The two of each four along k (rows) that are largest."""
    groups = w.reshape(-1, 4, w.shape[1])
    kept = np.argsort(np.abs(groups), axis=1)[:, 2:]
    out = np.zeros_like(groups)
    np.put_along_axis(out, kept, np.take_along_axis(groups, kept, axis=1), axis=1)
    return out.reshape(w.shape)


def compiled(a, folder, x, w):
    """The plan of x w; its results are right."""
    model, plan, out = folder / "m.onnx", folder / "m.plan", folder / "out"
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
                              [helper.make_tensor_value_info("x", TensorProto.FLOAT16, x.shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [x.shape[0], w.shape[1]])],
                              [numpy_helper.from_array(w, "w")])
    model.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9).SerializeToString())
    output_of([a.tenon, "compile", model, "-o", plan, "-p", "fp16", "--tune-seconds", a.tune_seconds, "-q"],
              env=dict(os.environ, TENON_CACHE=str(folder / "cache")))
    np.save(folder / "x.npy", x)
    output_of([a.tenon, "run", plan, "-i", f"x={folder / 'x.npy'}", "-o", out])
    got, want = np.load(out / "y.npy").astype(np.float64), x.astype(np.float64) @ w.astype(np.float64)
    worst = np.max(np.abs(got - want) / (np.abs(want) + np.sqrt(np.mean(want * want))))
    if not worst < 2e-3:
        raise RuntimeError(f"wrong by {worst:.2g} of |y| + rms")
    return plan


def median_us(a, plan):
    return json.loads(output_of([a.tenon, "bench", plan, "--seconds", a.seconds, "--json"]))["median_us"]


def kernel_of(a, plan):
    """The template that won, and the microseconds of the best gemm_sparse (0: none was timed)."""
    kernel = json.loads(output_of([a.tenon, "inspect", plan, "--kernel", "matmul", "--json"]))
    times = [c["us"] for c in kernel["candidates"] if c["text"].startswith("gemm_sparse ") and c["us"]]
    return kernel["choice"].split()[0], min(times, default=0)


def torch_sparse_us(x, w, seconds):
    try:
        sparse = torch.sparse.to_sparse_semi_structured(w.t().contiguous())
        with torch.inference_mode():
            error = (torch.nn.functional.linear(x, sparse) - x @ w).abs().max()
        if not error < 2e-2 * w.shape[0] ** .5:
            raise RuntimeError(f"PyTorch's 2:4 product is wrong by {error:.2g}")
        return time_graph(lambda: torch.nn.functional.linear(x, sparse), seconds) * 1000
    except (RuntimeError, NotImplementedError) as e:
        print(f"torch 2:4: {str(e).splitlines()[0]}", flush=True)
        return 0


def name_of(size):
    return "x".join(map(str, size))


def measure(a, size, folder):
    m, n, k = size
    x, dense = (random.standard_normal(s).astype(np.float16) for s in ((m, k), (k, n)))
    w = pruned(dense)
    plan = compiled(a, folder, x, w)
    won, best = kernel_of(a, plan)
    r = {"name": name_of(size), "won": won, "tenon_us": median_us(a, plan), "kernel_us": best}
    r["dense_us"] = median_us(a, compiled(a, folder, x, dense))
    x, w = torch.from_numpy(x).cuda(), torch.from_numpy(w).cuda()
    r["torch_us"] = time_graph(lambda: x @ w, a.seconds) * 1000
    r["torch_sparse_us"] = torch_sparse_us(x, w, a.seconds)
    return r


def main():
    a = options(__doc__)
    print(f"{torch.cuda.get_device_name()}, {time.strftime('%Y-%m-%d')}; microseconds")
    print(f"{'m x n x k':<18}{'tenon 2:4':>11}{'kernel':>11}{'dense':>11}{'torch':>11}{'torch 2:4':>11}  won")
    measure_rows(a, SIZES, name_of, measure,
                 lambda r: f"{r['name']:<18}" + "".join(f"{r[c]:>11.1f}" for c in COLUMNS) + f"  {r['won']}")


if __name__ == "__main__":
    main()
