#!/usr/bin/env python3
"""One token of a decoder with GroupQueryAttention behind caches of all rows there may be: in place, and with past and present apart.

usage: caches.py [--tenon build/tenon] [--filter TEXT] [--layers 16] [--heads 32] [--kv-heads 8] [--size 64] [--device cuda] [--tune-seconds 20]
                 [--seconds 0.3] [--out FILE.json]

Each row is a batch, the rows of a cache, and how many of them are filled.  The model is made here with random weights (projections, attention and residuals in
16 bits) and compiled by `tenon compile`.  In place, a layer's new keys and values are put into the caller's caches by one kernel; apart (--no-alias), whole
caches are written.  Milliseconds of the median inference by CUDA events, and microseconds of what puts rows, alone (0 where nothing does).  Needs onnx, numpy."""
import json

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from process import measure_rows, options, output_of

ROWS = [(batch, rows, filled) for batch in (1, 8) for rows, filled in ((512, 256), (4096, 512), (4096, 4000))]


def write_model(a, path, batch, rows):
    random, width, kv = np.random.default_rng(0), a.heads * a.size, a.kv_heads * a.size
    nodes, weights = [], []
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [batch, 1, width]),
              helper.make_tensor_value_info("seqlens_k", TensorProto.INT32, [batch]),
              helper.make_tensor_value_info("total", TensorProto.INT32, [1])]
    outputs = []

    def product(x, name, n):
        weights.append(numpy_helper.from_array((random.standard_normal((width, n)) * width ** -.5).astype(np.float16), name + ".w"))
        nodes.append(helper.make_node("MatMul", [x, name + ".w"], [name], name="/" + name))
        return name

    x = "x"
    for i in range(a.layers):
        operands = [product(x, f"{i}.q", width), product(x, f"{i}.k", kv), product(x, f"{i}.v", kv)]
        before, after = ([f"{stem}.{i}.{of}" for of in ("key", "value")] for stem in ("past_key_values", "present"))
        for names, list_ in (before, inputs), (after, outputs):
            list_ += [helper.make_tensor_value_info(n, TensorProto.FLOAT16, [batch, a.kv_heads, rows, a.size]) for n in names]
        nodes.append(helper.make_node("GroupQueryAttention", [*operands, *before, "seqlens_k", "total"], [f"{i}.a", *after], domain="com.microsoft",
                                      num_heads=a.heads, kv_num_heads=a.kv_heads, name=f"/{i}.attention"))
        nodes.append(helper.make_node("Add", [x, product(f"{i}.a", f"{i}.o", width)], [f"{i}.y"], name=f"/{i}.add"))
        x = f"{i}.y"
    outputs.append(helper.make_tensor_value_info(x, TensorProto.FLOAT16, [batch, 1, width]))
    graph = helper.make_graph(nodes, "decoder", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


def measure(a, row, folder):
    batch, rows, filled = row
    model, plan = folder / "m.onnx", folder / "m.plan"
    write_model(a, model, batch, rows)
    np.save(folder / "last.npy", np.full(batch, filled, np.int32))
    np.save(folder / "total.npy", np.array([filled + 1], np.int32))
    r = {"batch": batch, "rows": rows, "filled": filled}
    where = [] if a.device == "cuda" else ["--target", "sm_90a", "--no-gpu"]
    for name, how in ("in_place", []), ("apart", ["--no-alias"]):
        output_of([a.tenon, "compile", model, "-o", plan, "--precision", "fp16", "--tune-seconds", a.tune_seconds, "-q", *how, *where])
        said = json.loads(output_of([a.tenon, "bench", plan, "--device", a.device, "--no-transfers", "--seconds", a.seconds, "--json",
                                     "--input", f"seqlens_k={folder / 'last.npy'}", "--input", f"total={folder / 'total.npy'}"]))
        kernels = said.get("kernels", [])
        r[name] = {"ms": said["compute_ms"]["p50"], "kernels": len(kernels), "put_us": sum(k["us"] for k in kernels if "put_rows" in k["name"])}
    return r


def line(r):
    return f"{r['batch']:>5}{r['rows']:>7}{r['filled']:>8}" + "".join(f"{x['ms']:>10.4f}{x['put_us']:>9.1f}{x['kernels']:>9}" for x in (r["in_place"], r["apart"]))


def main():
    a = options(__doc__, layers=16, heads=32, kv_heads=8, size=64, device="cuda")
    print(f"{'batch':>5}{'rows':>7}{'filled':>8}" + "".join(f"{name:>10}{'put us':>9}{'kernels':>9}" for name in ("in place", "apart")))
    measure_rows(a, ROWS, lambda r: "x".join(map(str, r)), measure, line)


if __name__ == "__main__":
    main()
