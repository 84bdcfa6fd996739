#!/usr/bin/env python3
"""Tenon beside PyTorch on this machine's GPU: output, time of one inference, time to be ready.

usage: compare.py [--tenon build/tenon] [--models resnet50,bert_large_384:1+8] [--batches 1,32] [--precision fp16]
                  [--modes eager,compile] [--tune-seconds 60] [--passes=-normed] [--out FILE.json]

Every model of zoo.py (torchvision's, and transformers; name:1+32 for batches of its own) is exported to ONNX, compiled by `tenon compile` with an empty cache (cold), and run on the same input as PyTorch in float32:
the cosine of the two outputs is reported.  Times are medians of CUDA-graph replays on random data, inputs on the device,
all in one run of this script; PyTorch runs images channels-last, with cuDNN benchmarking.  Needs torch, onnx, numpy, and
torchvision or transformers.
"""
import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

import zoo
from gpu_time import time_graph

torch.backends.cudnn.benchmark = True


@contextlib.contextmanager
def silent():
    """What is printed meanwhile, by C++ too, goes nowhere."""
    sys.stdout.flush()
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nothing)


def export(model, x, path):
    names = {"input_names": ["input"], "output_names": ["output"]}
    with silent():  # exporters talk
        try:
            torch.onnx.export(model, (x,), str(path), opset_version=17, dynamo=False, **names)
        except Exception as e:  # ... and change between versions
            print(f"legacy exporter failed ({str(e)[:200]}); using dynamo", file=sys.stderr)
            torch.onnx.export(model, (x,), str(path), dynamo=True, external_data=False, **names)


def peer(name, mode, batch, precision, seconds):
    torch._dynamo.reset()
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision, torch.float32)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    m, x = zoo.to_device(*zoo.make(name, batch), dtype)
    t0 = time.time()
    f = torch.compile(m, mode="max-autotune-no-cudagraphs" if mode == "autotune" else None) if mode != "eager" else m
    with torch.inference_mode():
        f(x)
    torch.cuda.synchronize()
    ready = time.time() - t0
    return {"ms": time_graph(lambda: f(x), seconds), "ready_s": ready}


def run(cmd, env=None):
    r = subprocess.run(cmd, capture_output=True, text=True, env=env)
    if r.returncode:
        raise RuntimeError(f"{' '.join(map(str, cmd))}: exit code {r.returncode}\n{r.stderr[-2000:]}")
    return json.loads(r.stdout)


def tenon(a, name, batch, folder):
    model, x = zoo.make(name, batch)
    onnx_path, plan = folder / f"{name}.onnx", folder / f"{name}-{batch}.plan"
    export(model, x, onnx_path)
    with torch.inference_mode():
        want = model.cuda()(x.cuda()).float().cpu().numpy()
    np.save(folder / "input.npy", x.numpy())
    cache = folder / f"cache-{name}-{batch}"
    env = dict(os.environ, TENON_CACHE=str(cache))
    t0 = time.time()
    compile = [a.tenon, "compile", onnx_path, "-o", plan, "--precision", a.precision, "--json", "-q"]
    if a.passes:
        compile.append(f"--passes={a.passes}")
    c = run(compile + ["--tune-seconds", str(a.tune_seconds)], env)
    cold = time.time() - t0
    t0 = time.time()
    run(compile, env)
    warm = time.time() - t0
    run([a.tenon, "run", plan, "--input", f"input={folder / 'input.npy'}", "--output", folder / "out", "--json"], env)
    got = np.load(folder / "out" / "output.npy").astype(np.float64)
    cosine = float((got * want).sum() / np.sqrt((got ** 2).sum() * (want.astype(np.float64) ** 2).sum()))
    b = run([a.tenon, "bench", plan, "--seconds", str(a.seconds), "--json"], env)
    return {"ms": b["median_us"] / 1e3, "p10_ms": b["p10_us"] / 1e3, "p90_ms": b["p90_us"] / 1e3, "cosine": cosine,
            "max_abs_error": float(np.abs(got - want).max()), "ready_s": cold, "compile_cached_s": warm,
            "plan_mb": c["bytes"] / 1e6, "load_ms": b.get("load_ms"), "context_ms": b.get("context_ms"),
            "kernels": len(b["kernels"]), "top": b["kernels"]}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--tenon", default="build/tenon")
    ap.add_argument("--models", default="resnet50")
    ap.add_argument("--batches", default="1,32")
    ap.add_argument("--precision", default="fp16")
    ap.add_argument("--modes", default="eager,compile")
    ap.add_argument("--seconds", type=float, default=1)
    ap.add_argument("--tune-seconds", type=float, default=60)
    ap.add_argument("--passes", help="of tenon compile: -a,-b: without these")
    ap.add_argument("--keep", type=pathlib.Path, help="keep models and plans in this folder")
    ap.add_argument("--out", type=pathlib.Path)
    a = ap.parse_args()
    rows = []
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {a.precision}, {time.strftime('%Y-%m-%d')}")
    print(f"{'model':<18}{'batch':>6} {'what':<10}{'ms':>9}{'ready s':>9}{'cosine':>11}  notes")
    with tempfile.TemporaryDirectory() as folder:
        folder = a.keep or folder
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        for model in a.models.split(","):
            name, _, batches = model.partition(":")
            for batch in map(int, batches.split("+") if batches else a.batches.split(",")):
                jobs = [(m, lambda m=m: peer(name, m, batch, a.precision, a.seconds)) for m in a.modes.split(",") if m]
                for what, job in [("tenon", lambda: tenon(a, name, batch, pathlib.Path(folder)))] + jobs:
                    try:
                        r = job()
                    except Exception as e:
                        print(f"{name:<18}{batch:>6} {what:<10} failed: {str(e)[-1500:]}", flush=True)
                        rows.append({"model": name, "batch": batch, "what": what, "error": str(e)})
                        continue
                    rows.append({"model": name, "batch": batch, "what": what, **r})
                    note = ""
                    if what == "tenon":
                        note = (f"{r['kernels']} kernels, plan {r['plan_mb']:.0f} MB, load {r['load_ms']:.1f} ms + context "
                                f"{r['context_ms']:.1f} ms, compile from cache {r['compile_cached_s']:.1f} s")
                    cos = f"{r['cosine']:.7f}" if "cosine" in r else ""
                    print(f"{name:<18}{batch:>6} {what:<10}{r['ms']:>9.4f}{r['ready_s']:>9.1f}{cos:>11}  {note}", flush=True)
                    torch.cuda.empty_cache()
    if a.out:
        a.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
