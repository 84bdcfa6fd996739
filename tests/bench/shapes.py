#!/usr/bin/env python3
"""One plan for all shapes beside one plan a shape, on this machine's GPU.

usage: shapes.py [--tenon build/tenon] [--models bert,resnet50,detector] [--precision fp16] [--tune-seconds 60] [--out FILE.json]

Each model (random weights, fixed seed) is exported once with symbolic sizes and compiled with an empty cache: for each shape
by itself, and once with ranges whose buckets have these shapes as typical sizes; `unhinted` is the same without any hint.
Prints the medians of CUDA-graph replays on random data, the ratio of the dynamic to the static plan, the seconds of the
cold compilations, and the host's microseconds in an enqueue: once the shape was seen, and the first time (state and graph made).  Needs torch, torchvision, onnx; transformers for bert."""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import torch


class Detector(torch.nn.Module):
    """ResNet-18, a feature pyramid, and RetinaNet's heads: what runs before boxes are decoded."""

    def __init__(self):
        super().__init__()
        from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
        from torchvision.models.detection.retinanet import RetinaNetHead
        self.backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None)
        self.head = RetinaNetHead(256, 9, 20)

    def forward(self, x):
        out = self.head(list(self.backbone(x).values()))
        return out["cls_logits"], out["bbox_regression"]


class Bert(torch.nn.Module):
    def __init__(self):
        super().__init__()
        import transformers
        self.m = transformers.BertModel(transformers.BertConfig(attn_implementation="eager"))

    def forward(self, ids, mask):
        bias = (1 - mask[:, None, None, :].to(torch.float32)) * torch.finfo(torch.float32).min
        x = self.m.embeddings(input_ids=ids)
        for layer in self.m.encoder.layer:
            r = layer(x, attention_mask=bias)
            x = r[0] if isinstance(r, tuple) else r
        return x, self.m.pooler(x)


def resnet50():
    import torchvision
    return torchvision.models.resnet50(weights=None)


def token_inputs(b, s):
    return torch.randint(0, 30000, (b, s)), torch.ones(b, s, dtype=torch.int64)


def image_inputs(b, h, w):
    return (torch.randn(b, 3, h, w),)


# What is exported, its inputs' names and symbolic axes, the shapes and, for each, the range around it.
MODELS = {
    "bert": (Bert, token_inputs, {"ids": {0: "batch", 1: "sequence"}, "mask": {0: "batch", 1: "sequence"}},
             [(1, 128), (8, 128), (32, 128), (8, 384)],
             lambda n, s: [f"{n}=1x1..512:1x128", f"{n}=2..8x1..256:8x128", f"{n}=9..32x1..256:32x128",
                           f"{n}=2..32x257..512:8x384"]),
    "resnet50": (resnet50, image_inputs, {"input": {0: "batch"}},
                 [(1, 224, 224), (8, 224, 224), (32, 224, 224), (128, 224, 224)],
                 lambda n, s: [f"{n}=1x3x224x224", f"{n}=2..15x3x224x224:8x3x224x224",
                               f"{n}=16..63x3x224x224:32x3x224x224", f"{n}=64..128x3x224x224:128x3x224x224"]),
    "detector": (Detector, image_inputs, {"input": {2: "height", 3: "width"}},
                 [(1, 320, 320), (1, 480, 640), (1, 736, 1280)],
                 lambda n, s: [f"{n}=1x3x32..400x32..500:1x3x320x320", f"{n}=1x3x32..600x32..900:1x3x480x640",
                               f"{n}=1x3x32..1440x32..2560:1x3x736x1280"]),
}


def export(name, path):
    make, inputs, axes, shapes, _ = MODELS[name]
    torch.manual_seed(0)
    model = make().eval()
    torch.onnx.export(model, inputs(*shapes[0]), str(path), input_names=list(axes), opset_version=17, dynamo=False,
                      dynamic_axes=axes)


def run(cmd, env):
    start = time.time()
    r = subprocess.run([str(c) for c in cmd], capture_output=True, text=True, env=env)
    if r.returncode:
        raise RuntimeError(f"{' '.join(map(str, cmd))}: exit code {r.returncode}\n{r.stderr[-1500:]}")
    return json.loads(r.stdout), time.time() - start


def dims_of(name, shape):
    return "x".join(map(str, shape if name == "bert" else (shape[0], 3, *shape[1:])))


def measure(a, name, folder):
    _, _, axes, shapes, buckets = MODELS[name]
    onnx, plan, cache = folder / f"{name}.onnx", folder / "plan", folder / "cache"
    export(name, onnx)
    env = dict(os.environ, TENON_CACHE=str(cache))

    def compile(options):
        shutil.rmtree(cache, ignore_errors=True)
        return run([a.tenon, "compile", onnx, "-o", plan, "--precision", a.precision, "--tune-seconds", a.tune_seconds, "--json",
                    "-q", *options], env)[1]

    def bench(options):
        r = run([a.tenon, "bench", plan, "--seconds", a.seconds, "--json", *options], env)[0]
        return r["median_us"], r["enqueue_us"], r["first_enqueue_us"]

    def at(shape):
        return [x for i in axes for x in ("--shape", f"{i}={dims_of(name, shape)}")]

    rows = {s: {"model": name, "shape": dims_of(name, s)} for s in shapes}
    for s in shapes:
        rows[s]["static_s"] = compile(at(s))
        rows[s]["static_us"] = bench([])[0]
    for what, options in (("dynamic", [x for i in axes for b in buckets(i, shapes) for x in ("--shape", b)]), ("unhinted", [])):
        if what == "unhinted" and not a.unhinted:
            continue
        seconds = compile(options)
        shutil.copy(plan, folder / f"{name}.{what}.plan")
        for s in shapes:
            rows[s][f"{what}_s"] = seconds
            rows[s][f"{what}_us"], rows[s]["enqueue_us"], rows[s]["first_enqueue_us"] = bench(at(s))
    return list(rows.values())


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--tenon", default="build/tenon")
    ap.add_argument("--models", default="bert,resnet50,detector")
    ap.add_argument("--precision", default="fp16")
    ap.add_argument("--seconds", type=float, default=.5)
    ap.add_argument("--tune-seconds", type=float, default=60)
    ap.add_argument("--unhinted", action="store_true", help="also a plan for which nobody says a size")
    ap.add_argument("--keep", type=pathlib.Path, help="keep models and plans in this folder")
    ap.add_argument("--out", type=pathlib.Path)
    a = ap.parse_args()
    print(f"{torch.cuda.get_device_name()}, {a.precision}, {time.strftime('%Y-%m-%d')}; microseconds, seconds to compile cold")
    print(f"{'model':<10}{'shape':<16}{'static':>9}{'dynamic':>9}{'ratio':>7}{'unhinted':>10}{'ratio':>7}"
          f"{'static s':>10}{'dynamic s':>10}{'enqueue':>9}{'first':>8}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = a.keep or pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in a.models.split(","):
            try:
                of = measure(a, name, folder)
            except Exception as e:
                print(f"{name}: failed: {e}", flush=True)
                continue
            for r in of:
                u = f"{r['unhinted_us']:>10.1f}{r['unhinted_us'] / r['static_us']:>7.2f}" if "unhinted_us" in r else " " * 17
                print(f"{r['model']:<10}{r['shape']:<16}{r['static_us']:>9.1f}{r['dynamic_us']:>9.1f}"
                      f"{r['dynamic_us'] / r['static_us']:>7.2f}{u}{r['static_s']:>10.1f}{r['dynamic_s']:>10.1f}"
                      f"{r['enqueue_us']:>9.1f}{r['first_enqueue_us']:>8.0f}", flush=True)
            cold, slowest = of[0]["dynamic_s"], max(r["static_s"] for r in of)
            print(f"{name:<10}cold: {cold:.1f} s for all shapes, {slowest:.1f} s for the slowest static one: "
                  f"{cold / slowest:.2f} x; worst ratio {max(r['dynamic_us'] / r['static_us'] for r in of):.2f}", flush=True)
            rows += of
    if a.out:
        a.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
