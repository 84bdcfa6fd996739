#!/usr/bin/env python3
"""Products and convolutions of 8-bit integers beside torch._int_mm (cuBLASLt) on this machine's GPU.

usage: integers.py [--tenon build/tenon] [--filter TEXT] [--tune-seconds 20] [--seconds 0.3] [--out FILE.json]

Each row is a model of one operator with constant weights, compiled by `tenon compile`: MatMulInteger makes int32,
QLinearMatMul and QLinearConv make 8 bits, of operands with zero points.  torch._int_mm multiplies matrices of the same sizes
and makes int32; for a convolution those that it is as a product, without gathering its windows.  `fp16` is what PyTorch takes for
the operator in float16 (cuBLAS; cuDNN in channels_last).  Medians of CUDA-graph replays in microseconds, and 10^12 operations a second (two a product).
Needs torch, onnx, numpy."""
import json
import os
import time

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper

from gpu_time import time_graph
from process import measure_rows, options, output_of

random = np.random.default_rng(1)


def const(name, value, dtype):
    return numpy_helper.from_array(np.array(value, dtype), name)


def int8(*shape):
    return random.integers(-127, 128, shape).astype(np.int8)


def scales(channels):
    return [const("xs", .02, np.float32), const("xz", 3, np.int8), const("ws", random.random(channels) * .01 + .001, np.float32),
            const("wz", np.zeros(channels), np.int8), const("ys", .5, np.float32), const("yz", -4, np.int8)]


def integer(m, n, k):
    return [helper.make_node("MatMulInteger", ["x", "w"], ["y"])], [const("w", int8(k, n), np.int8)], [m, k]


def linear(m, n, k):
    node = helper.make_node("QLinearMatMul", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["y"])
    return [node], [const("w", int8(k, n), np.int8), *scales(n)], [m, k]


def conv(batch, c, o, size, kernel, stride):
    node = helper.make_node("QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"], ["y"], kernel_shape=[kernel] * 2,
                            strides=[stride] * 2, pads=[kernel // 2] * 4)
    bias = const("b", random.integers(-1000, 1000, o), np.int32)
    return [node], [const("w", int8(o, c, kernel, kernel), np.int8), bias, *scales(o)], [batch, c, size, size]


def gemms():
    for m, n, k in (4096, 4096, 4096), (128, 768, 3072), (128, 3072, 768), (4096, 3072, 768), (16, 4096, 4096):
        half = torch.randn(m, k, device="cuda", dtype=torch.half), torch.randn(k, n, device="cuda", dtype=torch.half)
        yield f"MatMulInteger {m}x{n}x{k}", integer(m, n, k), (m, n, k), (lambda h=half: h[0] @ h[1])
        yield f"QLinearMatMul {m}x{n}x{k}", linear(m, n, k), (m, n, k), (lambda h=half: h[0] @ h[1])


def convs():
    for batch in 1, 32:
        for c, o, size, kernel, stride in ((64, 64, 56, 3, 1), (256, 64, 56, 1, 1), (128, 128, 28, 3, 1), (256, 256, 14, 3, 1),
                                           (512, 2048, 7, 1, 1), (512, 512, 7, 3, 1)):
            out = size // stride
            x = torch.randn(batch, c, size, size, device="cuda", dtype=torch.half).to(memory_format=torch.channels_last)
            w = torch.randn(o, c, kernel, kernel, device="cuda", dtype=torch.half).to(memory_format=torch.channels_last)
            call = (lambda x=x, w=w, s=stride, k=kernel: torch.nn.functional.conv2d(x, w, stride=s, padding=k // 2))
            yield (f"QLinearConv {batch}x{c}x{size}, {o} of {kernel}x{kernel}", conv(batch, c, o, size, kernel, stride),
                   (batch * out * out, o, c * kernel * kernel), call)


def int_mm(m, n, k, seconds):
    """Microseconds; 0: PyTorch refuses (m of 16 and less)."""
    a = torch.randint(-127, 128, (m, k), device="cuda", dtype=torch.int8)
    b = torch.randint(-127, 128, (n, k), device="cuda", dtype=torch.int8).t()
    try:
        return time_graph(lambda: torch._int_mm(a, b), seconds) * 1000
    except RuntimeError:
        return 0


def measure(a, row, folder):
    name, (nodes, constants, shape), (m, n, k), half = row
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.INT8, shape)],
                              [helper.make_tensor_value_info("y", 0, None)], constants)
    graph.output[0].ClearField("type")
    model, plan = folder / "m.onnx", folder / "m.plan"
    model.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString())
    output_of([a.tenon, "compile", model, "-o", plan, "--tune-seconds", a.tune_seconds, "-q"],
              env=dict(os.environ, TENON_CACHE=str(folder / "cache")))
    bench = json.loads(output_of([a.tenon, "bench", plan, "--seconds", a.seconds, "--json"]))
    torch.backends.cudnn.benchmark = True
    return {"name": name, "operations": 2 * m * n * k, "tenon_us": bench["median_us"], "int_mm_us": int_mm(m, n, k, a.seconds),
            "fp16_us": time_graph(half, a.seconds) * 1000}


def tops(r, who):
    return r["operations"] / r[who] / 1e6 if r[who] else 0


def main():
    a = options(__doc__)
    print(f"{torch.cuda.get_device_name()}, {time.strftime('%Y-%m-%d')}; microseconds, then TOP/s")
    print(f"{'operator':<44}{'tenon':>9}{'int_mm':>9}{'fp16':>9}{'tenon':>9}{'int_mm':>9}{'fp16':>9}")
    who = ("tenon_us", "int_mm_us", "fp16_us")
    measure_rows(a, (*gemms(), *convs()), lambda row: row[0], measure,
                 lambda r: f"{r['name']:<44}" + "".join(f"{r[w]:>9.1f}" for w in who) + "".join(f"{tops(r, w):>9.1f}" for w in who))


if __name__ == "__main__":
    main()
