#!/usr/bin/env python3
"""torch.compile(backend="tenon") on public models beside PyTorch eager and inductor: outputs, times, what runs in Tenon.

usage: torch_models.py [--device cuda] [--precision fp32|fp16|bf16] [--models resnet18,bert,...] [--batch 8] [--size 224]
                       [--no-inductor] [--tune-seconds 20] [--part 1/4] [--dynamic] [--explain] [--out FILE.json]

The models are all of torchvision's that classify images, and encoders of transformers (BERT, RoBERTa, DistilBERT, MPNet, ELECTRA, ViT),
made from their configurations with random weights (fixed seed; statistics of batch norms drawn at random).  fp16 and bf16: the
module is of that type.  The reference is eager in float32; "error" is the largest difference over the root mean square of the reference, of Tenon and of
eager in the same precision.  Times are medians of CUDA-event times of calls from Python (--device cuda), or of the wall clock.  Prints one table;
the exit code is 1 where a model fails or Tenon's error is above --tolerance and three times eager's own.
Needs torch, torchvision, transformers, tenon.
"""

import argparse
import json
import sys
import time
import warnings

import torch
import torchvision

import tenon.torch

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
TOLERANCE = {"fp32": 2e-3, "fp16": 3e-2, "bf16": 2e-1}
ENCODERS = ("bert", "roberta", "distilbert", "mpnet", "electra", "vit")


def encoder(name):
    import transformers as t
    text = {"bert": (t.BertConfig, t.BertModel), "roberta": (t.RobertaConfig, t.RobertaModel),
            "distilbert": (t.DistilBertConfig, t.DistilBertModel), "mpnet": (t.MPNetConfig, t.MPNetModel),
            "electra": (t.ElectraConfig, t.ElectraModel), "vit": (t.ViTConfig, t.ViTModel)}
    config, model = text[name]
    return model(config())


def randomise(model):
    for b in model.modules():
        if isinstance(b, torch.nn.modules.batchnorm._BatchNorm):
            b.running_mean.normal_(0, .1)
            b.running_var.uniform_(.5, 1.5)
            b.weight.data.uniform_(.5, 1.5)
            b.bias.data.normal_(0, .1)
    for p in model.parameters():  # heads that begin as nothing would answer 0 to everything
        if not p.any():
            p.data.normal_(0, .02)
    return model


def make(name, args):
    """The model and its inputs, both by a fixed seed."""
    torch.manual_seed(0)
    if name in ENCODERS:
        model = encoder(name)
        if name == "vit":
            inputs = {"pixel_values": torch.randn(args.batch, 3, 224, 224)}
        else:
            ids = torch.randint(5, 1000, (args.batch, args.tokens))
            mask = torch.ones_like(ids)
            if args.batch > 1:
                mask[1, args.tokens // 2:] = 0  # a shorter text
            inputs = {"input_ids": ids, "attention_mask": mask}
    else:
        extra = {"init_weights": True, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
        model = torchvision.models.get_model(name, weights=None, **extra)
        size = max(args.size, 299) if name == "inception_v3" else 224 if name.startswith(("vit", "maxvit")) else args.size
        inputs = {"x": torch.randn(args.batch, 3, size, size)}
    return randomise(model.eval()), inputs


def call(model, inputs):
    y = model(inputs["x"]) if "x" in inputs else model(**inputs)
    return y if isinstance(y, torch.Tensor) else y.last_hidden_state


def error(got, want):
    return ((got.float().cpu() - want).abs().max() / want.square().mean().sqrt()).item()


def timed(model, inputs, device, seconds=1.0):
    call(model, inputs)
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or (time.perf_counter() < end and len(times) < 500):
        if device == "cuda":
            begin, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            call(model, inputs)
            stop.record()
            torch.cuda.synchronize()
            times.append(begin.elapsed_time(stop))
        else:
            start = time.perf_counter()
            call(model, inputs)
            times.append((time.perf_counter() - start) * 1e3)
    return sorted(times)[len(times) // 2]


def measure(name, args):
    model, inputs = make(name, args)
    model = model.to(args.device)
    inputs = {k: v.to(args.device) for k, v in inputs.items()}
    want = call(model, inputs).float().cpu()
    dtype = DTYPES[args.precision]
    model = model.to(dtype)
    inputs = {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs.items()}
    row = {"model": name, "eager_error": error(call(model, inputs), want)}
    torch._dynamo.reset()
    report = []
    options = {"tune_seconds": args.tune_seconds, "report": report}
    compiled = torch.compile(model, backend="tenon", options=options, dynamic=args.dynamic)
    start = time.perf_counter()
    row["error"] = error(call(compiled, inputs), want)
    row["ready_s"] = time.perf_counter() - start
    told = tenon.torch.Explanation(report)
    row["in_tenon"], row["in_pytorch"] = told.in_tenon, told.in_pytorch
    if args.explain:
        print(told, flush=True)
    row["boundaries"] = sorted({f"{op}: {why}" for g in report for op, _, why in g.boundaries}
                               | {p.left for g in report for p in g.pieces if p.left})
    if args.times:
        row["tenon_ms"] = timed(compiled, inputs, args.device)
        row["eager_ms"] = timed(model, inputs, args.device)
    if args.times and args.inductor:
        torch._dynamo.reset()
        peer = torch.compile(model, dynamic=False)
        start = time.perf_counter()
        call(peer, inputs)
        row["inductor_ready_s"] = time.perf_counter() - start
        row["inductor_ms"] = timed(peer, inputs, args.device)
    row["ok"] = row["error"] <= max(TOLERANCE[args.precision] if args.tolerance is None else args.tolerance, 3 * row["eager_error"])
    return row


def text(v):
    return "-" if v is None else f"{v:.3g}" if isinstance(v, float) else str(v)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--precision", default="fp32", choices=DTYPES)
    p.add_argument("--models", default="")
    p.add_argument("--part", help="K/N: of the models every N-th, from the K-th on")
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--size", type=int, default=224)
    p.add_argument("--tokens", type=int, default=128)
    p.add_argument("--tune-seconds", type=float, default=20)
    p.add_argument("--tolerance", type=float)
    p.add_argument("--no-inductor", dest="inductor", action="store_false")
    p.add_argument("--no-times", dest="times", action="store_false")
    p.add_argument("--dynamic", action="store_true", help="with symbolic sizes")
    p.add_argument("--explain", action="store_true")
    p.add_argument("--out")
    args = p.parse_args()
    warnings.simplefilter("ignore")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    names = args.models.split(",") if args.models else torchvision.models.list_models(module=torchvision.models) + list(ENCODERS)
    if args.part:
        k, n = (int(v) for v in args.part.split("/"))
        names = names[k - 1::n]
    columns = ("model", "ok", "error", "eager_error", "tenon_ms", "eager_ms", "inductor_ms", "ready_s", "inductor_ready_s", "in_tenon",
               "in_pytorch")
    print("  ".join(f"{c:>16}" for c in columns), flush=True)
    rows = []
    for name in names:
        try:
            with torch.no_grad():
                row = measure(name, args)
        except Exception as e:  # one model must not end the table
            row = {"model": name, "ok": False, "failed": f"{type(e).__name__}: {e}"}
        rows.append(row)
        print("  ".join(f"{text(row.get(c)):>16}" for c in columns), flush=True)
        for line in [row["failed"][:300]] if "failed" in row else [b[:300] for b in row["boundaries"]]:
            print("    ", line, flush=True)
        if args.out:
            with open(args.out, "w") as f:
                json.dump(rows, f, indent=1)
    wrong = [r["model"] for r in rows if not r["ok"]]
    print(f"{len(rows) - len(wrong)} of {len(rows)} models are right" + (": not " + ", ".join(wrong) if wrong else ""))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
