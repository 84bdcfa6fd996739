#!/usr/bin/env python3
"""Compile time from a warm cache, without a GPU, as a network gets deeper.

usage: layers.py [--layers 24,96,384] [--hidden 64] [--symbolic] [--tenon build/tenon] [--precision fp16] [--target sm_90a]
                 [--dir FOLDER]

Writes BERT encoders as exporters write them (layer norm and GELU in primitive operators: 50 nodes a layer), each layer with
weights of its own, compiles each twice with one cache, and prints seconds of the second time (elapsed, of the CPU for the
program and for the system), seconds of the CPU for 1000 nodes and the peak of resident memory.  --hidden 768 has BERT's
weights, 14 MB a layer in fp16.  Needs onnx and numpy."""
import argparse
import json
import os
import pathlib
import tempfile
import time

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import process

HEADS, NODES = 4, 50  # NODES: of a layer


class Encoder:
    def __init__(self, batch, length, hidden):
        self.nodes, self.weights, self.batch, self.length, self.hidden = [], [], batch, length, hidden
        self.rng = np.random.default_rng(0)

    def op(self, kind, *inputs, **attributes):
        name = f"{self.at}/{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name + "_out"], name=name, **attributes))
        return name + "_out"

    def weight(self, value, dtype=np.float32):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def linear(self, x, n, m):
        w = self.weight((self.rng.random((n, m), np.float32) - np.float32(.5)) / np.float32(n**.5))
        return self.op("Add", self.op("MatMul", x, w), self.weight(self.rng.random(m, np.float32)))

    def heads(self, x, perm):
        shape = self.weight([0, -1, HEADS, self.hidden // HEADS], np.int64)
        return self.op("Transpose", self.op("Reshape", self.linear(x, self.hidden, self.hidden), shape), perm=perm)

    def norm(self, x):
        d = self.op("Sub", x, self.op("ReduceMean", x, axes=[-1]))
        v = self.op("ReduceMean", self.op("Pow", d, self.weight(2)), axes=[-1])
        y = self.op("Div", d, self.op("Sqrt", self.op("Add", v, self.weight(1e-5))))
        y = self.op("Mul", y, self.weight(1 + .1 * self.rng.random(self.hidden)))
        return self.op("Add", y, self.weight(self.rng.random(self.hidden) - .5))

    def gelu(self, x):
        y = self.op("Add", self.op("Erf", self.op("Div", x, self.weight(2**.5))), self.weight(1))
        return self.op("Mul", self.op("Mul", x, y), self.weight(.5))

    def layer(self, k, x):
        self.at = f"/encoder/layer.{k}"
        q, k, v = self.heads(x, [0, 2, 1, 3]), self.heads(x, [0, 2, 3, 1]), self.heads(x, [0, 2, 1, 3])
        scores = self.op("Div", self.op("MatMul", q, k), self.weight((self.hidden // HEADS)**.5))
        p = self.op("Softmax", self.op("Add", scores, "mask"), axis=-1)
        y = self.op("Transpose", self.op("MatMul", p, v), perm=[0, 2, 1, 3])
        y = self.op("Reshape", y, self.weight([0, -1, self.hidden], np.int64))
        x = self.norm(self.op("Add", self.linear(y, self.hidden, self.hidden), x))
        y = self.gelu(self.linear(x, self.hidden, 4 * self.hidden))
        return self.norm(self.op("Add", self.linear(y, 4 * self.hidden, self.hidden), x))

    def model(self, layers):
        x = "x"
        for k in range(layers):
            x = self.layer(k, x)
        assert len(self.nodes) == layers * NODES
        value = lambda name, *dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, [self.batch, *dims])
        inputs = [value("x", self.length, self.hidden), value("mask", 1, 1, self.length)]
        g = helper.make_graph(self.nodes, "encoder", inputs, [value(x, self.length, self.hidden)], self.weights)
        return helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(cmd, env):
    start = time.time()
    usage = process.run(cmd, env)
    return {"elapsed_s": time.time() - start, "user_s": usage.ru_utime, "system_s": usage.ru_stime, "peak_bytes": usage.ru_maxrss * 1024}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--layers", default="24,96,384")
    ap.add_argument("--hidden", type=int, default=64)
    ap.add_argument("--symbolic", action="store_true", help="batch and length are symbols")
    ap.add_argument("--tenon", type=pathlib.Path, default="build/tenon")
    ap.add_argument("--precision", default="fp16")
    ap.add_argument("--target", default="sm_90a")
    ap.add_argument("--dir", type=pathlib.Path, help="where files are made (default: a temporary folder)")
    ap.add_argument("--json", action="store_true")
    a = ap.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=a.dir) as folder:
        folder = pathlib.Path(folder)
        env = dict(os.environ, TENON_CACHE=str(folder / "cache"))
        for layers in map(int, a.layers.split(",")):
            size = ("batch", "length") if a.symbolic else (2, 128)
            onnx.save(Encoder(*size, a.hidden).model(layers), folder / "m.onnx", save_as_external_data=True, location="m.bin")
            compile = [a.tenon.resolve(), "compile", folder / "m.onnx", "-o", folder / "m.plan", "-q", "--precision", a.precision,
                       "--target", a.target, "--no-gpu"]
            run(compile, env)
            rows.append({"layers": layers, "nodes": layers * NODES, **run(compile, env)})
            (folder / "m.bin").unlink()
    if a.json:
        print(json.dumps(rows))
        return
    for r in rows:
        cpu = r["user_s"] + r["system_s"]
        print(f"{r['layers']:4} layers, {r['nodes']:6} nodes: {r['elapsed_s']:6.2f} s elapsed, {r['user_s']:6.2f} user, {r['system_s']:6.2f} system; "
              f"{1e6 * cpu / r['nodes']:6.1f} µs a node; {r['peak_bytes'] / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
