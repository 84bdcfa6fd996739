#!/usr/bin/env python3
"""Compiling a model whose weights are all that is large, beside plain reading and writing of the same bytes.

usage: big_weights.py [--gb 2] [--tenon build/tenon] [--precision fp16] [--target sm_90a] [--dir FOLDER]

Writes a chain of matrix products with --gb GB of f32 weights in an external file, compiles it without a GPU and with an
empty cache, and prints seconds and the peak of resident memory; `io` is how long dd takes to read the weights and to write as
many bytes as the plan has.  Files are flushed, and the page cache is dropped before each of the two where that is allowed
(root); where not, both read what is cached.  Resident memory counts mapped pages of the weights that are cached.  Needs onnx
and numpy, and room for three times --gb."""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import numpy as np
import onnx
from onnx import TensorProto, helper

import process

SIDE = 4096  # of a square matrix: 64 MiB in f32


def write_model(folder, gb):
    n = max(1, round(gb * 1e9 / (4 * SIDE * SIDE)))
    rng = np.random.default_rng(0)
    nodes, weights, x = [], [], "x"
    with open(folder / "weights.bin", "wb") as f:
        for k in range(n):
            w = (rng.random((SIDE, SIDE), dtype=np.float32) - np.float32(.5)) * np.float32(2 / SIDE**.5)
            t = TensorProto(name=f"w{k}", data_type=TensorProto.FLOAT, dims=w.shape, data_location=TensorProto.EXTERNAL)
            for key, value in (("location", "weights.bin"), ("offset", f.tell()), ("length", w.nbytes)):
                t.external_data.add(key=key, value=str(value))
            f.write(w.tobytes())
            weights.append(t)
            nodes.append(helper.make_node("MatMul", [x, f"w{k}"], [f"h{k}"], name=f"fc{k}"))
            nodes.append(helper.make_node("Tanh", [f"h{k}"], [f"y{k}"], name=f"act{k}"))
            x = f"y{k}"
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [8, SIDE])
    g = helper.make_graph(nodes, "big", [value("x")], [value(x)], weights)
    (folder / "big.onnx").write_bytes(helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())
    return n * 4 * SIDE * SIDE


def drop_caches():
    subprocess.run(["sync"], check=True)
    try:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("1")
        return True
    except OSError:
        return False


def run(cmd, env=None):
    """Seconds until what it wrote is on the disk, and the peak of its resident memory."""
    drop_caches()
    start = time.time()
    usage = process.run(cmd, env)
    os.sync()
    return time.time() - start, usage.ru_maxrss * 1024


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--gb", type=float, default=2)
    ap.add_argument("--tenon", type=pathlib.Path, default="build/tenon")
    ap.add_argument("--precision", default="fp16")
    ap.add_argument("--target", default="sm_90a")
    ap.add_argument("--dir", type=pathlib.Path, help="where files are made (default: a temporary folder)")
    ap.add_argument("--json", action="store_true")
    a = ap.parse_args()
    with tempfile.TemporaryDirectory(dir=a.dir) as folder:
        folder = pathlib.Path(folder)
        if shutil.disk_usage(folder).free < 3e9 * a.gb:
            raise SystemExit(f"{folder} has no room for {3 * a.gb:g} GB")
        size = write_model(folder, a.gb)
        compile = [a.tenon.resolve(), "compile", folder / "big.onnx", "-o", folder / "big.plan", "-q", "--precision", a.precision,
                   "--target", a.target, "--no-gpu"]
        seconds, peak = run(compile, dict(os.environ, TENON_CACHE=str(folder / "cache")))
        plan = (folder / "big.plan").stat().st_size
        read = run(["dd", f"if={folder / 'weights.bin'}", "of=/dev/null", "bs=16M"])[0]
        write = run(["dd", f"if={folder / 'big.plan'}", f"of={folder / 'copy'}", "bs=16M"])[0]
        r = {"weights_bytes": size, "plan_bytes": plan, "compile_s": seconds, "peak_bytes": peak, "io_s": read + write,
             "dropped_caches": drop_caches()}
    if a.json:
        print(json.dumps(r))
    else:
        print(f"weights {size / 1e9:.2f} GB, plan {plan / 1e9:.2f} GB ({a.precision})")
        print(f"compile {seconds:.1f} s, {seconds / (read + write):.2f} x dd's {read + write:.1f} s (read {read:.1f}, write {write:.1f})")
        print(f"peak {peak / 1e9:.2f} GB resident: the weights and {(peak - size) / 1e9:+.2f} GB")


if __name__ == "__main__":
    main()
