#!/usr/bin/env python3
"""Operators with kernels of their own (sorts, scans, scatters, selections, random numbers) beside PyTorch on this machine's GPU.

usage: operators.py [--tenon build/tenon] [--filter TEXT] [--tune-seconds 10] [--seconds 0.3] [--out FILE.json]

Each row is a model of one operator on a large input, compiled by `tenon compile`, beside what PyTorch (CUB, Thrust) takes for the same.
Tenon's results do not depend on timing; rows named `deterministic` hold PyTorch to the same (torch.use_deterministic_algorithms).
Times are medians in microseconds: CUDA-graph replays (tenon bench) and PyTorch between events, whose launches of some
microseconds are in its times; random inputs on the device.  Needs torch, torchvision, onnx, numpy."""
import json
import os
import time

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper

from gpu_time import time_calls
from process import measure_rows, options, output_of

F, I = TensorProto.FLOAT, TensorProto.INT64
M = 1 << 20


def node(op, ins, outs, **attributes):
    return helper.make_node(op, ins, outs, **attributes)


def const(name, values, dtype=np.int64):
    return numpy_helper.from_array(np.array(values, dtype), name)


def floats(*shape):
    return torch.randn(*shape, device="cuda")


def indices(n, *shape):
    return torch.randint(0, n, shape, device="cuda")


def nms_inputs(n):
    at = torch.rand(n, 2, device="cuda") * 1000
    return torch.cat([at, at + 10 + 90 * torch.rand(n, 2, device="cuda")], 1), torch.rand(n, device="cuda")


def held_to(fixed, f):
    def call(*args):
        torch.use_deterministic_algorithms(fixed)
        try:
            return f(*args)
        finally:
            torch.use_deterministic_algorithms(False)
    return call


def rows():
    import torchvision
    boxes, scores = nms_inputs(10000)
    many, some = indices(65536, M), indices(65536, 65536)
    # name, nodes, constants, inputs (name, type, shape), output, PyTorch, options
    yield ("topk 64x65536, k 100", [node("TopK", ["x", "k"], ["y", "i"])], [const("k", [100])], [("x", F, [64, 65536])], ["y", "i"],
           (lambda x: torch.topk(x, 100)), [floats(64, 65536)], [])
    yield ("topk 1M, k 100", [node("TopK", ["x", "k"], ["y", "i"])], [const("k", [100])], [("x", F, [M])], ["y", "i"],
           (lambda x: torch.topk(x, 100)), [floats(M)], [])
    yield ("sort 1M", [node("TopK", ["x", "k"], ["y", "i"])], [const("k", [M])], [("x", F, [M])], ["y", "i"],
           (lambda x: torch.sort(x, descending=True)), [floats(M)], [])
    yield ("sort 64x65536", [node("TopK", ["x", "k"], ["y", "i"])], [const("k", [65536])], [("x", F, [64, 65536])], ["y", "i"],
           (lambda x: torch.sort(x, descending=True)), [floats(64, 65536)], [])
    yield ("cumsum 16M", [node("CumSum", ["x", "a"], ["y"])], [const("a", 0)], [("x", F, [16 * M])], ["y"],
           (lambda x: torch.cumsum(x, 0)), [floats(16 * M)], [])
    yield ("cumsum 4096x4096", [node("CumSum", ["x", "a"], ["y"])], [const("a", 1)], [("x", F, [4096, 4096])], ["y"],
           (lambda x: torch.cumsum(x, 1)), [floats(4096, 4096)], [])
    yield ("nonzero 16M", [node("Greater", ["x", "z"], ["b"]), node("NonZero", ["b"], ["y"])], [const("z", 0, np.float32)],
           [("x", F, [16 * M])], ["y"], (lambda x: torch.nonzero(x > 0)), [floats(16 * M)], [])
    yield ("unique 1M", [node("Unique", ["x"], ["y"], sorted=1)], [], [("x", I, [M])], ["y"],
           (lambda x: torch.unique(x)), [indices(1000, M)], [])
    # indices that only a run tells: constant ones are sorted when compiling
    told = [node("Add", ["i", "o"], ["j"]), node("Mod", ["j", "n"], ["k"])]
    yield ("scatter add 1M into 64K, indices told", [*told, node("ScatterElements", ["d", "k", "u"], ["y"], axis=0, reduction="add")],
           [const("i", many.cpu().numpy()), const("n", 65536)], [("d", F, [65536]), ("u", F, [M]), ("o", I, [1])], ["y"],
           (lambda d, u: d.scatter_add(0, many, u)), [floats(65536), floats(M)], [])
    yield ("scatter rows add 64Kx64, indices told", [*told, node("ScatterND", ["d", "k", "u"], ["y"], reduction="add")],
           [const("i", some.cpu().numpy()[:, None]), const("n", 65536)], [("d", F, [65536, 64]), ("u", F, [65536, 64]), ("o", I, [1])],
           ["y"], (lambda d, u: d.index_add(0, some, u)), [floats(65536, 64), floats(65536, 64)], [])
    for kind, fixed in (("", False), (", deterministic", True)):
        yield ("scatter add 1M into 64K" + kind, [node("ScatterElements", ["d", "i", "u"], ["y"], axis=0, reduction="add")],
               [const("i", many.cpu().numpy())], [("d", F, [65536]), ("u", F, [M])], ["y"],
               held_to(fixed, lambda d, u: d.scatter_add(0, many, u)), [floats(65536), floats(M)], [])
        yield ("scatter rows add 64Kx64" + kind, [node("ScatterND", ["d", "i", "u"], ["y"], reduction="add")],
               [const("i", some.cpu().numpy()[:, None])], [("d", F, [65536, 64]), ("u", F, [65536, 64])], ["y"],
               held_to(fixed, lambda d, u: d.index_add(0, some, u)), [floats(65536, 64), floats(65536, 64)], [])
    yield ("random normal 16M", [node("RandomNormal", [], ["r"], shape=[16 * M]), node("Add", ["x", "r"], ["y"])], [],
           [("x", F, [1])], ["y"], (lambda x: x + torch.randn(16 * M, device="cuda")), [floats(1)], [])
    yield ("nms 10000", [node("NonMaxSuppression", ["b", "s", "m", "o"], ["y"])],
           [const("m", [10000]), const("o", [.5], np.float32)], [("b", F, [1, 10000, 4]), ("s", F, [1, 1, 10000])], ["y"],
           (lambda b, s: torchvision.ops.nms(b[0], s[0, 0], .5)), [boxes[None], scores[None, None]], [])
    yield ("dft 256x4096", [node("DFT", ["x", "", "a"], ["y"])], [const("a", 1)], [("x", F, [256, 4096, 2])], ["y"],
           (lambda x: torch.fft.fft(torch.view_as_complex(x))), [floats(256, 4096, 2)], [])
    yield ("dft 256x4096, real", [node("DFT", ["x", "", "a"], ["y"], onesided=1)], [const("a", 1)], [("x", F, [256, 4096, 1])], ["y"],
           (lambda x: torch.fft.rfft(x[..., 0])), [floats(256, 4096, 1)], [])
    yield ("dft 16x65536", [node("DFT", ["x", "", "a"], ["y"])], [const("a", 1)], [("x", F, [16, 65536, 2])], ["y"],
           (lambda x: torch.fft.fft(torch.view_as_complex(x))), [floats(16, 65536, 2)], [])
    yield ("dft 256x4099", [node("DFT", ["x", "", "a"], ["y"])], [const("a", 1)], [("x", F, [256, 4099, 2])], ["y"],
           (lambda x: torch.fft.fft(torch.view_as_complex(x))), [floats(256, 4099, 2)], [])
    hann = torch.hann_window(400, device="cuda")
    yield ("stft 8x480000, frames of 400", [node("STFT", ["x", "s", "w", "l"], ["y"])],
           [const("s", 160), const("l", 400), const("w", hann.cpu().numpy(), np.float32)], [("x", F, [8, 480000, 1])], ["y"],
           (lambda x: torch.stft(x[..., 0], 400, 160, window=hann, center=False, return_complex=True)), [floats(8, 480000, 1)], [])


def measure(a, row, folder):
    name, nodes, constants, ins, outs, f, args, options = row
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(*x) for x in ins],
                              [helper.make_tensor_value_info(o, 0, None) for o in outs], constants)
    for o in graph.output:
        o.ClearField("type")
    model, plan = folder / "m.onnx", folder / "m.plan"
    model.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString())
    output_of([a.tenon, "compile", model, "-o", plan, "--tune-seconds", a.tune_seconds, "-q", *options],
        env=dict(os.environ, TENON_CACHE=str(folder / "cache")))
    bench = json.loads(output_of([a.tenon, "bench", plan, "--seconds", a.seconds, "--json"]))
    return {"name": name, "tenon_us": bench["median_us"], "torch_us": time_calls(lambda: f(*args), a.seconds) * 1000}


def main():
    a = options(__doc__, tune_seconds=10)
    print(f"{torch.cuda.get_device_name()}, {time.strftime('%Y-%m-%d')}; microseconds")
    print(f"{'operator':<40}{'torch':>10}{'tenon':>10}{'ratio':>7}")
    measure_rows(a, rows(), lambda row: row[0], measure,
                 lambda r: f"{r['name']:<40}{r['torch_us']:>10.1f}{r['tenon_us']:>10.1f}{r['torch_us'] / r['tenon_us']:>7.2f}")


if __name__ == "__main__":
    main()
