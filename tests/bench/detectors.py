#!/usr/bin/env python3
"""torchvision's detectors, non-maximum suppression included, beside PyTorch on this machine's GPU.

usage: detectors.py [--tenon build/tenon] [--models fasterrcnn_resnet50_fpn,ssd300_vgg16] [--size 320] [--precision fp32]
                    [--tune-seconds 30] [--seconds 1] [--out FILE.json]

Random weights (fixed seed), the classifier's enlarged so that scores differ, every score a detection.  The model is exported
with torch.onnx.export and compiled by `tenon compile`; detections are compared with PyTorch's in float32 on the GPU: how many of PyTorch's have one
of the same class within half a pixel and 0.01 of the score.  Times are medians: CUDA-graph replays (tenon bench) and PyTorch eager
between events, inputs on the device.  Needs torch, torchvision, onnx, numpy."""
import argparse
import json
import os
import pathlib
import tempfile
import time

import numpy as np
import torch
import torchvision

from gpu_time import time_calls
from process import output_of


def build(name, size):
    torch.manual_seed(0)
    options = {"weights": None, "weights_backbone": None}
    if "ssd" in name:
        size = 300 if "300" in name else 320
        options.update(score_thresh=0.0)
    else:
        options.update(min_size=size, max_size=size, box_score_thresh=0.0)
    model = getattr(torchvision.models.detection, name)(**options).eval()
    for p in model.named_parameters():
        if "cls_score.weight" in p[0] or "classification_head" in p[0] and p[0].endswith("weight"):
            p[1].data *= 8
    return model, torch.rand(3, size, size)


def matched(want, got):
    boxes, labels, scores = got
    hits = 0
    for b, l, s in zip(*want):
        near = (np.abs(boxes - b).max(axis=1) < .5) & (labels == l) & (np.abs(scores - s) < .01)
        hits += bool(near.any())
    return hits


def measure(a, name, folder):
    model, image = build(name, a.size)
    onnx, plan, out = folder / f"{name}.onnx", folder / f"{name}.plan", folder / f"{name}.out"
    names = ["boxes", "scores", "labels"] if "ssd" in name or "retina" in name else ["boxes", "labels", "scores"]
    torch.onnx.export(model, ([image],), str(onnx), input_names=["image"], output_names=names, opset_version=17, dynamo=False)
    model, image = model.cuda(), image.cuda()
    with torch.no_grad():
        want = model([image])[0]
        torch_ms = time_calls(lambda: model([image]), a.seconds)
    start = time.time()
    output_of([a.tenon, "compile", onnx, "-o", plan, "--precision", a.precision, "--tune-seconds", a.tune_seconds, "-q"],
        env=dict(os.environ, TENON_CACHE=str(folder / "cache")))
    compile_s = time.time() - start
    np.save(folder / "image.npy", image.cpu().numpy())
    output_of([a.tenon, "run", plan, "-i", f"image={folder}/image.npy", "-o", out])
    got = {n: np.load(out / f"{n}.npy") for n in names}
    keys = ("boxes", "labels", "scores")
    want = [want[k].cpu().numpy() for k in keys]
    return {"model": name, "torch_ms": torch_ms, "compile_s": compile_s, "detections": len(want[2]), "found": len(got["scores"]),
            "matched": matched(want, [got[k] for k in keys]),
            "tenon_ms": json.loads(output_of([a.tenon, "bench", plan, "--seconds", a.seconds, "--json"]))["median_us"] / 1000}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--tenon", default="build/tenon")
    ap.add_argument("--models", default="fasterrcnn_resnet50_fpn,ssd300_vgg16")
    ap.add_argument("--size", type=int, default=320)
    ap.add_argument("--precision", default="fp32")
    ap.add_argument("--seconds", type=float, default=1)
    ap.add_argument("--tune-seconds", type=float, default=30)
    ap.add_argument("--out", type=pathlib.Path)
    a = ap.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    print(f"{torch.cuda.get_device_name()}, {a.precision}, {time.strftime('%Y-%m-%d')}; milliseconds")
    print(f"{'model':<34}{'torch':>9}{'tenon':>9}{'ratio':>7}{'compile s':>11}{'detections':>12}{'found':>7}{'matched':>9}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in a.models.split(","):
            try:
                r = measure(a, name, pathlib.Path(folder))
            except Exception as e:
                print(f"{name}: failed: {e}", flush=True)
                continue
            rows.append(r)
            print(f"{name:<34}{r['torch_ms']:>9.3f}{r['tenon_ms']:>9.3f}{r['torch_ms'] / r['tenon_ms']:>7.2f}{r['compile_s']:>11.1f}"
                  f"{r['detections']:>12}{r['found']:>7}{r['matched']:>9}", flush=True)
    if a.out:
        a.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
