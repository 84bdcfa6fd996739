#!/usr/bin/env python3
"""A Llama-shaped decoder with KV caches beside PyTorch on this machine's GPU: a prompt, then one token behind short and long caches.

usage: decode.py [--tenon build/tenon] [--batches 1,8] [--pasts 512,4096] [--prompt 512] [--modes eager,compile,autotune]
                 [--layers 16 --width 2048 --heads 32 --kv-heads 8 --hidden 8192 --vocab 128256] [--tune-seconds 120] [--seconds 1]
                 [--keep FOLDER] [--out FILE.json] [--compile-only sm_90a]

The model is made here with random weights, exported by PyTorch as Optimum exports (past_key_values.N.key, present.N.key; 16-bit caches) and
compiled by `tenon compile` into one plan a batch size, with a bucket for each length of cache and one for the prompt; caches grow in place.
PyTorch writes into static caches, reads as much of them as counts, and shares heads in scaled_dot_product_attention; compile and autotune are
torch.compile's default and max-autotune-no-cudagraphs.  Logits of all tokens, everywhere.  Outputs are compared with PyTorch's in float32
first.  Times are medians of CUDA-graph replays, in one run with the bandwidth of a copy, of which the last columns say the share: bytes of
weights and caches that a token must read, over time.  --compile-only exports and compiles, without a GPU.  Needs torch, onnx, onnxscript, numpy."""
import argparse
import copy
import json
import os
import pathlib
import sys
import tempfile
import time
import warnings

import numpy as np
import torch
import torch.nn.functional as F

from process import output_of


class Llama(torch.nn.Module):
    def __init__(self, a):
        super().__init__()
        self.a, self.head = a, a.width // a.heads
        kv = a.kv_heads * self.head

        def weight(*size, scale=None):
            return torch.nn.Parameter(torch.randn(size) * (scale or size[-1] ** -0.5), requires_grad=False)
        self.embed = weight(a.vocab, a.width, scale=0.02)  # and the product at the end
        self.last = torch.nn.Parameter(torch.ones(a.width), requires_grad=False)
        self.layers = torch.nn.ModuleList()
        for _ in range(a.layers):
            w = torch.nn.Module()
            w.norm1, w.norm2 = (torch.nn.Parameter(torch.ones(a.width), requires_grad=False) for _ in range(2))
            w.q, w.k, w.v, w.o = weight(a.width, a.width), weight(kv, a.width), weight(kv, a.width), weight(a.width, a.width)
            w.gate, w.up, w.down = weight(a.hidden, a.width), weight(a.hidden, a.width), weight(a.width, a.hidden)
            self.layers.append(w)
        self.set_frequency()

    def set_frequency(self):
        """In float32, whatever the weights are."""
        d = self.head
        self.register_buffer("frequency", 500000.0 ** (-torch.arange(0, d, 2).float() / d).to(self.embed.device), persistent=False)

    def norm(self, x, gain):
        y = x.float()
        return gain * (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-5)).to(x.dtype)

    def heads(self, x, n):
        return x.view(x.shape[0], x.shape[1], n, self.head).transpose(1, 2)

    def forward(self, ids, positions, attend):
        """attend(layer, q, k, v): queries, new keys and values, each [batch, heads, tokens, head], to results as q."""
        x = F.embedding(ids, self.embed)
        angle = positions[:, None, :, None].float() * self.frequency
        angle = torch.cat([angle, angle], -1)
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)

        def turn(x):
            half = self.head // 2
            return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin
        for k, w in enumerate(self.layers):
            y = self.norm(x, w.norm1)
            q, key, v = self.heads(F.linear(y, w.q), self.a.heads), self.heads(F.linear(y, w.k), self.a.kv_heads), F.linear(y, w.v)
            y = attend(k, turn(q), turn(key), self.heads(v, self.a.kv_heads))
            x = x + F.linear(y.transpose(1, 2).reshape(x.shape), w.o)
            y = self.norm(x, w.norm2)
            x = x + F.linear(F.silu(F.linear(y, w.gate)) * F.linear(y, w.up), w.down)
        return F.linear(self.norm(x, self.last), self.embed)


def repeated(x, n):
    b, h, t, d = x.shape
    return x[:, :, None].expand(b, h, n, t, d).reshape(b, h * n, t, d)


class Exported(torch.nn.Module):
    """In and out as Optimum has it; keys and values of a layer side by side."""

    def __init__(self, llama):
        super().__init__()
        self.llama = llama

    def forward(self, input_ids, attention_mask, position_ids, *past):
        present, group = [], self.llama.a.heads // self.llama.a.kv_heads
        keys = torch.arange(attention_mask.shape[1], device=input_ids.device)
        seen = (keys <= position_ids[:, None, :, None]) & (attention_mask[:, None, None, :] > 0)

        def attend(layer, q, k, v):
            k, v = torch.cat([past[2 * layer], k], 2), torch.cat([past[2 * layer + 1], v], 2)
            present.extend([k, v])
            return F.scaled_dot_product_attention(q, repeated(k, group), repeated(v, group), attn_mask=seen)
        return (self.llama(input_ids, position_ids, attend), *present)


def cache_names(a):
    return [f"{k}.{n}" for k in range(a.layers) for n in ("key", "value")]


def export(a, llama, path):
    rows = dict(batch=torch.export.Dim("batch", max=64), sequence=torch.export.Dim("sequence", max=4096), past=torch.export.Dim("past", max=131071))
    past = [torch.zeros(2, a.kv_heads, 5, llama.head, dtype=llama.embed.dtype) for _ in cache_names(a)]
    given = (torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 8, dtype=torch.int64), torch.arange(5, 8).repeat(2, 1), *past)
    tokens = {0: rows["batch"], 1: rows["sequence"]}
    sizes = (tokens, {0: rows["batch"], 1: torch.export.Dim.DYNAMIC}, tokens, tuple({0: rows["batch"], 2: rows["past"]} for _ in past))
    names = dict(input_names=["input_ids", "attention_mask", "position_ids"] + ["past_key_values." + c for c in cache_names(a)],
                 output_names=["logits"] + ["present." + c for c in cache_names(a)])
    import onnx
    warnings.filterwarnings("ignore")
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)  # exporters talk
    try:
        torch.onnx.export(Exported(llama), given, str(path), dynamic_shapes=sizes, dynamo=True, external_data=True, verbose=False, **names)
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
    model = onnx.load(path, load_external_data=False)
    for v in model.graph.input:  # as Optimum names it
        if v.name == "attention_mask":
            v.type.tensor_type.shape.dim[1].dim_param = "past + sequence"
    onnx.save(model, path)


def compile_plan(a, onnx, plan, batch):
    d = a.width // a.heads
    longest, shapes = max(a.pasts) + 256, []
    for tokens, past in [(1, p) for p in a.pasts] + [(a.prompt, 0)]:
        shapes += ["--shape", f"input_ids={batch}x1..{a.prompt}:{batch}x{tokens}",
                   "--shape", f"past_key_values.*={batch}x{a.kv_heads}x0..{longest}x{d}:{batch}x{a.kv_heads}x{past}x{d}"]
    where = ["--no-gpu", "--target", a.compile_only] if a.compile_only else ["--tune-seconds", a.tune_seconds]
    said = output_of([a.tenon, "compile", onnx, "-o", plan, "--precision", "fp16", *shapes, *where])
    if f"{2 * a.layers} outputs grow" not in said:
        raise RuntimeError(f"caches do not grow in place: {said}")


def copy_rate(seconds):
    """Bytes a second that a copy reads and writes."""
    from gpu_time import time_graph
    x = torch.empty(1 << 30, dtype=torch.int32, device="cuda")
    y = torch.empty_like(x)
    return 2 * x.numel() * 4 / (time_graph(lambda: y.copy_(x), seconds) * 1e-3)


class Case:
    """n tokens behind `past` others, as inputs of the exported model, on the GPU."""

    def __init__(self, a, batch, n, past, dtype):
        g = torch.Generator(device="cuda").manual_seed(7)
        self.n, self.past, self.batch = n, past, batch
        self.ids = torch.randint(0, a.vocab, (batch, n), generator=g, device="cuda")
        self.positions = torch.arange(past, past + n, device="cuda").repeat(batch, 1)
        size = (batch, a.kv_heads, past, a.width // a.heads)
        self.caches = [torch.randn(size, generator=g, device="cuda").to(dtype) for _ in cache_names(a)]

    def name(self):
        return f"decode, {self.past} cached" if self.past else f"prompt of {self.n}"


def reference(wide, c):
    """Logits of the last tokens in float32."""
    mask = torch.ones(c.batch, c.past + c.n, dtype=torch.int64, device="cuda")
    with torch.inference_mode():
        return Exported(wide)(c.ids, mask, c.positions, *[x.float() for x in c.caches])[0][:, -1].double().cpu().numpy()


def peer(a, llama, c, mode, seconds):
    from gpu_time import time_graph
    group = a.heads != a.kv_heads
    room = [F.pad(x, (0, 0, 0, c.n)) for x in c.caches]

    def attend(layer, q, k, v):
        keys, values = room[2 * layer], room[2 * layer + 1]
        keys[:, :, c.past:] = k
        values[:, :, c.past:] = v
        return F.scaled_dot_product_attention(q, keys, values, is_causal=c.n > 1, enable_gqa=group)

    def call(ids, positions):
        return llama(ids, positions, attend)
    torch._dynamo.reset()
    f = call if mode == "eager" else torch.compile(call, mode="max-autotune-no-cudagraphs" if mode == "autotune" else None)
    return time_graph(lambda: f(c.ids, c.positions), seconds)


def tenon(a, plan, c, want, folder):
    arrays = {"input_ids": c.ids, "attention_mask": torch.ones(c.batch, c.past + c.n, dtype=torch.int64), "position_ids": c.positions}
    arrays |= {"past_key_values." + n: x for n, x in zip(cache_names(a), c.caches)}
    given, sizes = [], []
    for name, x in arrays.items():
        np.save(folder / f"{name}.npy", x.cpu().numpy())
        given.append(f"--input={name}={folder / name}.npy")
        sizes += ["--shape", f"{name}={'x'.join(map(str, x.shape))}"]
    output_of([a.tenon, "run", plan, *given, "--output", folder / "out"])
    got = np.load(folder / "out" / "logits.npy", mmap_mode="r")[:, -1].astype(np.float64)
    cosine = float((got * want).sum() / np.sqrt((got ** 2).sum() * (want ** 2).sum()))
    b = json.loads(output_of([a.tenon, "bench", plan, *sizes, "--seconds", a.seconds, "--json"]))
    return {"ms": b["median_us"] / 1e3, "cosine": cosine, "kernels": b["kernels"]}


def bytes_of(a, c):
    d, size = a.width // a.heads, 2
    layer = a.width * (2 * a.width + 2 * a.kv_heads * d + 3 * a.hidden)
    return size * (a.layers * layer + a.vocab * a.width + 2 * a.layers * c.batch * a.kv_heads * d * (c.past + c.n))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--tenon", default="build/tenon")
    for name, value in dict(batches="1,8", pasts="512,4096", modes="eager,compile,autotune").items():
        ap.add_argument(f"--{name}", default=value)
    for name, value in dict(prompt=512, layers=16, width=2048, heads=32, kv_heads=8, hidden=8192, vocab=128256).items():
        ap.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    ap.add_argument("--tune-seconds", type=float, default=120)
    ap.add_argument("--seconds", type=float, default=1)
    ap.add_argument("--compile-only", metavar="TARGET", help="export and compile without a GPU")
    ap.add_argument("--keep", type=pathlib.Path, help="keep model and plans in this folder")
    ap.add_argument("--out", type=pathlib.Path)
    a = ap.parse_args()
    a.pasts, modes = [int(p) for p in a.pasts.split(",")], [m for m in a.modes.split(",") if m]
    dtype = torch.float16
    torch.manual_seed(1)
    llama = Llama(a).to(dtype)
    llama.set_frequency()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = a.keep or pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        export(a, llama, folder / "llama.onnx")
        if not a.compile_only:
            wide = copy.deepcopy(llama).float().cuda()
            wide.set_frequency()
            llama.cuda()
            rate = copy_rate(a.seconds)
            print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, fp16, {time.strftime('%Y-%m-%d')}; a copy moves {rate / 1e12:.2f} TB/s")
            print(f"{'milliseconds':<22}{'batch':>6}" + "".join(f"{m:>10}" for m in modes) + f"{'tenon':>10}{'tokens/s':>10}{'of a copy':>11}{'cosine':>11}")
        for batch in map(int, a.batches.split(",")):
            plan = folder / f"llama-{batch}.plan"
            compile_plan(a, folder / "llama.onnx", plan, batch)
            for n, past in [] if a.compile_only else [(a.prompt, 0)] + [(1, p) for p in a.pasts]:
                c = Case(a, batch, n, past, dtype)
                r = tenon(a, plan, c, reference(wide, c), folder)
                torch.cuda.empty_cache()
                r |= {"case": c.name(), "batch": batch, "tokens_s": batch * n / r["ms"] * 1e3, "share": bytes_of(a, c) / (r["ms"] * 1e-3) / rate,
                      "peers": {m: peer(a, llama, c, m, a.seconds) for m in modes}}
                rows.append(r)
                share = f"{100 * r['share']:>10.0f}%" if past else " " * 11
                print(f"{r['case']:<22}{batch:>6}" + "".join(f"{r['peers'][m]:>10.3f}" for m in modes)
                      + f"{r['ms']:>10.3f}{r['tokens_s']:>10.0f}{share}{r['cosine']:>11.7f}", flush=True)
    if a.out:
        a.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
