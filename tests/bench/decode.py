#!/usr/bin/env python3
"""A Llama-shaped decoder with KV caches beside PyTorch on this machine's GPU: a prompt, then one token behind short and long caches.

usage: decode.py [--tenon build/tenon] [--batches 1,8] [--pasts 512,4096] [--prompt 512] [--modes eager,compile,autotune]
                 [--layers 16 --width 2048 --heads 32 --kv-heads 8 --hidden 8192 --vocab 128256] [--tune-seconds 60] [--seconds 1]
                 [--keep FOLDER] [--out FILE.json] [--compile-only sm_90a]

The model is made here with random weights, exported by PyTorch as Optimum exports (past_key_values.N.key, present.N.key; 16-bit caches; one
layer, which is repeated) and compiled by `tenon compile` into one plan a batch size, with a bucket for each length of cache and one for the
prompt; caches grow in place.
PyTorch writes into static caches, reads as much of them as counts, and shares heads in scaled_dot_product_attention; compile and autotune are
torch.compile's default and max-autotune-no-cudagraphs.  Logits of all tokens, everywhere.  Outputs are compared with PyTorch's in float32
first.  Times are medians of CUDA-graph replays, in one run with the bandwidth of a copy, of which the last columns say the share: bytes of
weights and caches that a token must read, over time.  --compile-only exports and compiles, without a GPU.  Needs torch, onnx, onnxscript, numpy."""
import argparse
import copy
import functools
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


def norm(x, gain):
    y = x.float()
    return gain * (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-5)).to(x.dtype)


def parameter(x):
    return torch.nn.Parameter(x.half(), requires_grad=False)


def random_weight(*size, scale=None, make=torch.randn):
    return parameter(make(size) * (scale or size[-1] ** -0.5))


class Layer(torch.nn.Module):
    def __init__(self, a, make=torch.randn):
        super().__init__()
        self.a, self.head = a, a.width // a.heads
        kv, weight = a.kv_heads * self.head, functools.partial(random_weight, make=make)
        self.norm1, self.norm2 = (parameter(torch.ones(a.width)) for _ in range(2))
        self.q, self.k, self.v, self.o = weight(a.width, a.width), weight(kv, a.width), weight(kv, a.width), weight(a.width, a.width)
        self.gate, self.up, self.down = weight(a.hidden, a.width), weight(a.hidden, a.width), weight(a.width, a.hidden)

    def heads(self, x, n):
        return x.view(x.shape[0], x.shape[1], n, self.head).transpose(1, 2)

    def forward(self, x, cos, sin, attend):
        def turn(x):
            half = self.head // 2
            return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin
        y = norm(x, self.norm1)
        q, k, v = self.heads(F.linear(y, self.q), self.a.heads), self.heads(F.linear(y, self.k), self.a.kv_heads), F.linear(y, self.v)
        y = attend(turn(q), turn(k), self.heads(v, self.a.kv_heads))
        x = x + F.linear(y.transpose(1, 2).reshape(x.shape), self.o)
        y = norm(x, self.norm2)
        return x + F.linear(F.silu(F.linear(y, self.gate)) * F.linear(y, self.up), self.down)


class Llama(torch.nn.Module):
    def __init__(self, a, make=torch.randn):
        super().__init__()
        self.head = a.width // a.heads
        self.embed = random_weight(a.vocab, a.width, scale=0.02, make=make)  # and the product at the end
        self.last = parameter(torch.ones(a.width))
        self.layers = torch.nn.ModuleList(Layer(a, make) for _ in range(a.layers))

    def first(self, ids, positions):
        x, d = F.embedding(ids, self.embed), self.head
        frequency = 500000.0 ** (-torch.arange(0, d, 2, device=x.device).float() / d)
        angle = positions[:, None, :, None].float() * frequency
        angle = torch.cat([angle, angle], -1)
        return x, angle.cos().to(x.dtype), angle.sin().to(x.dtype)

    def logits(self, x):
        return F.linear(norm(x, self.last), self.embed)

    def forward(self, ids, positions, attend):
        """attend(layer, q, k, v): queries, new keys and values, each [batch, heads, tokens, head], to results as q."""
        x, cos, sin = self.first(ids, positions)
        for k, w in enumerate(self.layers):
            x = w(x, cos, sin, functools.partial(attend, k))
        return self.logits(x)


# ---- the ONNX model ----

def repeated(x, n):
    b, h, t, d = x.shape
    return x[:, :, None].expand(b, h, n, t, d).reshape(b, h * n, t, d)


class First(torch.nn.Module):
    def __init__(self, llama):
        super().__init__()
        self.llama = llama

    def forward(self, input_ids, attention_mask, position_ids):
        keys = torch.arange(attention_mask.shape[1], device=input_ids.device)
        seen = (keys <= position_ids[:, None, :, None]) & (attention_mask[:, None, None, :] > 0)
        return (*self.llama.first(input_ids, position_ids), seen)


class Middle(torch.nn.Module):
    """In and out as Optimum has it: keys and values behind those of the past."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, cos, sin, seen, past_key, past_value):
        group, present = self.layer.a.heads // self.layer.a.kv_heads, []

        def attend(q, k, v):
            present.extend([torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)])
            return F.scaled_dot_product_attention(q, *(repeated(x, group) for x in present), attn_mask=seen)
        return (self.layer(x, cos, sin, attend), *present)


class Last(torch.nn.Module):
    def __init__(self, llama):
        super().__init__()
        self.llama = llama

    def forward(self, x):
        return self.llama.logits(x)


def cache_names(a):
    return [f"{k}.{n}" for k in range(a.layers) for n in ("key", "value")]


def exported(module, given, sizes, names):
    """The part as PyTorch exports it, without its parameters' values: the graph, and which parameter an initializer is."""
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)  # exporters talk
    try:
        model = torch.onnx.export(module.eval(), given, dynamic_shapes=sizes, dynamo=True, optimize=False, verbose=False, **names).model
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
    import onnx_ir
    own = {k for k, _ in module.named_parameters()}
    for name in own & set(model.graph.initializers):
        model.graph.initializers[name].const_value = onnx_ir.tensor(np.zeros(1, np.float16), name=name)
    return onnx_ir.to_proto(model), own


class Whole:
    """A model of parts, with its parameters in a file beside it."""

    def __init__(self, path):
        import onnx
        self.onnx, self.path, self.at, self.graph, self.opset = onnx, path, {}, onnx.GraphProto(name="llama"), None
        self.data = open(f"{path}.data", "wb")

    def parameter(self, name, x):
        """The name of the initializer that x is."""
        if x.data_ptr() not in self.at:
            t = self.graph.initializer.add(name=name, dims=x.shape, data_type=self.onnx.TensorProto.FLOAT16, data_location=self.onnx.TensorProto.EXTERNAL)
            self.data.seek(-self.data.tell() % 4096, os.SEEK_CUR)
            for k, v in dict(location=self.path.name + ".data", offset=self.data.tell(), length=x.nbytes).items():
                t.external_data.add(key=k, value=str(v))
            x.detach().cpu().numpy().tofile(self.data)
            self.at[x.data_ptr()] = name
        return self.at[x.data_ptr()]

    def add(self, part, module, prefix, names):
        """The part's nodes for this module; names: what its inputs and outputs are called here."""
        (proto, own), names = part, dict(names)
        used = {x for node in proto.graph.node for x in node.input}
        for name, x in module.named_parameters():
            if name in own & used:
                names[name] = self.parameter(prefix + name, x)

        def here(name):
            return names.get(name, prefix + name) if name else ""
        for t in proto.graph.initializer:
            if t.name not in own:
                self.graph.initializer.add().CopyFrom(t)
                self.graph.initializer[-1].name = here(t.name)
        for node in proto.graph.node:
            n = self.graph.node.add()
            n.CopyFrom(node)
            n.name = prefix + node.name
            n.input[:], n.output[:] = [here(x) for x in node.input], [here(x) for x in node.output]
        self.opset, self.functions = proto.opset_import, proto.functions

    def save(self, inputs, outputs):
        o = self.onnx
        value = o.helper.make_tensor_value_info
        self.graph.input.extend(value(n, t, shape) for n, (t, shape) in inputs.items())
        self.graph.output.extend(value(n, t, shape) for n, (t, shape) in outputs.items())
        self.data.close()
        o.save(o.helper.make_model(self.graph, opset_imports=self.opset, functions=self.functions, ir_version=10), self.path)


def export(a, llama, path):
    """As PyTorch exports First, each layer and Last; a layer is exported once, since that takes seconds, with tensors that
    differ, since PyTorch makes equal ones one input."""
    warnings.filterwarnings("ignore")
    dim, anything, half = torch.export.Dim, torch.export.Dim.DYNAMIC, torch.float16
    batch, tokens, past = dim("batch", max=64), dim("sequence", max=4096), dim("past", max=131071)
    with torch.device("cpu"):
        empty = Llama(argparse.Namespace(**{**vars(a), "layers": 1}), torch.zeros)
        ids, positions, mask = torch.ones(2, 3, dtype=torch.int64), torch.arange(5, 8).repeat(2, 1), torch.ones(2, 8, dtype=torch.int64)
        x, angle = torch.zeros(2, 3, a.width, dtype=half), torch.zeros(2, 1, 3, llama.head, dtype=half)
        seen, cache = torch.ones(2, 1, 3, 8, dtype=torch.bool), torch.zeros(2, a.kv_heads, 5, llama.head, dtype=half)
    row, turned, kept = {0: batch, 1: tokens}, {0: batch, 2: tokens}, {0: batch, 2: past}
    given, state = ["input_ids", "attention_mask", "position_ids"], ["hidden", "cosine", "sine", "mask"]
    first = exported(First(empty), (ids, mask, positions), (row, {0: batch, 1: anything}, row), dict(input_names=given, output_names=state))
    middle = exported(Middle(empty.layers[0]), (x, angle, angle + 0, seen, cache, cache + 0), (row, turned, turned, {0: batch, 2: tokens, 3: anything}, kept, kept),
                      dict(input_names=[*state, "past_key", "past_value"], output_names=["result", "present_key", "present_value"]))
    last = exported(Last(empty), (x,), (row,), dict(input_names=state[:1], output_names=["logits"]))
    whole = Whole(path)
    shared = {n: n for n in given + state[1:]}
    whole.add(first, First(llama), "first.", shared | {"hidden": "hidden.0"})
    for k, layer in enumerate(llama.layers):
        caches = {f"{here}_{n}": f"{there}.{k}.{n}" for here, there in (("past", "past_key_values"), ("present", "present")) for n in ("key", "value")}
        whole.add(middle, Middle(layer), f"layers.{k}.", shared | caches | {"hidden": f"hidden.{k}", "result": f"hidden.{k + 1}"})
    whole.add(last, Last(llama), "last.", {"hidden": f"hidden.{a.layers}", "logits": "logits"})
    i64, f16, b, n, head = 7, 10, "batch", "sequence", llama.head
    inputs = {"input_ids": (i64, [b, n]), "attention_mask": (i64, [b, "past + sequence"]), "position_ids": (i64, [b, n])}
    inputs |= {"past_key_values." + c: (f16, [b, a.kv_heads, "past", head]) for c in cache_names(a)}
    whole.save(inputs, {"logits": (f16, [b, n, a.vocab])} | {"present." + c: (f16, [b, a.kv_heads, "past + sequence", head]) for c in cache_names(a)})


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
    def attend(layer, q, *new):
        k, v = (torch.cat([old.float(), x], 2) for old, x in zip(c.caches[2 * layer:], new))
        return F.scaled_dot_product_attention(q, k, v, is_causal=c.n > 1, enable_gqa=q.shape[1] != k.shape[1])
    with torch.inference_mode():
        return wide(c.ids, c.positions, attend)[:, -1].double().cpu().numpy()


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
    ap.add_argument("--tune-seconds", type=float, default=60)
    ap.add_argument("--seconds", type=float, default=1)
    ap.add_argument("--compile-only", metavar="TARGET", help="export and compile without a GPU")
    ap.add_argument("--keep", type=pathlib.Path, help="keep model and plans in this folder")
    ap.add_argument("--out", type=pathlib.Path)
    a = ap.parse_args()
    a.pasts, modes = [int(p) for p in a.pasts.split(",")], [m for m in a.modes.split(",") if m]
    begun, rows = time.monotonic(), []

    def say(what):
        print(f"{time.monotonic() - begun:6.1f} s  {what}", flush=True)
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as folder:
        folder = a.keep or pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with torch.device("cpu" if a.compile_only else "cuda"):
            llama = Llama(a)
        say("random weights are made")
        export(a, llama, folder / "llama.onnx")
        say("the model is exported")
        if not a.compile_only:
            wide = copy.deepcopy(llama).float()
            rate = copy_rate(a.seconds)
            print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, fp16, {time.strftime('%Y-%m-%d')}; a copy moves {rate / 1e12:.2f} TB/s")
            print(f"{'milliseconds':<22}{'batch':>6}{'tenon':>10}{'tokens/s':>10}{'of a copy':>11}{'cosine':>11}" + "".join(f"{m:>10}" for m in modes), flush=True)
        for batch in map(int, a.batches.split(",")):
            plan = folder / f"llama-{batch}.plan"
            compile_plan(a, folder / "llama.onnx", plan, batch)
            say(f"the plan of batch {batch} is compiled")
            for n, past in [] if a.compile_only else [(a.prompt, 0)] + [(1, p) for p in a.pasts]:
                c = Case(a, batch, n, past, torch.float16)
                r = tenon(a, plan, c, reference(wide, c), folder)
                torch.cuda.empty_cache()
                r |= {"case": c.name(), "batch": batch, "tokens_s": batch * n / r["ms"] * 1e3, "share": bytes_of(a, c) / (r["ms"] * 1e-3) / rate, "peers": {}}
                rows.append(r)
                share = f"{100 * r['share']:>10.0f}%" if past else " " * 11
                print(f"{r['case']:<22}{batch:>6}{r['ms']:>10.3f}{r['tokens_s']:>10.0f}{share}{r['cosine']:>11.7f}", end="", flush=True)
                for m in modes:
                    r["peers"][m] = peer(a, llama, c, m, a.seconds)
                    print(f"{r['peers'][m]:>10.3f}", end="", flush=True)
                print()
        say("done")
    if a.out:
        a.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
