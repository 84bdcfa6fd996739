#!/usr/bin/env python3
"""Train the byte-level decoder of examples/generate.c and write it as ONNX.

usage: train.py [--steps N] [--out decoder.onnx]         trains (PyTorch on the CPU, a few minutes) and writes
       train.py --from decoder.onnx --out gqa.onnx [--buffer]      writes the same weights with GroupQueryAttention

A decoder as Llama's, with two layers, 32 wide, four heads of queries and two of keys, over ASCII.  It learns TEXT by heart, and
so writes words.  The file has the names and shapes of a Hugging Face export:

    input_ids i64[batch, sequence], attention_mask i64[batch, past + sequence], position_ids i64[batch, sequence],
    past_key_values.N.key, .value f32[batch, 2, past, 8]  ->  logits f32[batch, sequence, 128], present.N.key, .value

With GroupQueryAttention of com.microsoft, as ONNX Runtime's model builder writes it, attention_mask and position_ids are not there, and
seqlens_k i32[batch] and total_sequence_length i32[1] are.  Where past and present have one name for their rows (--buffer), caches are
buffers of as many rows as there may ever be.
Needs numpy and onnx, and torch to train."""
import argparse

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VOCAB, WIDTH, LAYERS, HEADS, KV_HEADS, HEAD, HIDDEN, LONGEST, EPS = 128, 32, 2, 4, 2, 8, 64, 512, 1e-5

TEXT = """the kettle sings before the tea is made. the small boat waits at the river for the morning tide. a cat sleeps on the
warm stone near the garden wall, and the old clock in the hall counts every hour of the night. when the rain comes down on the
roof the children read their books by the fire. in winter the mountain is white and the road to the village is long. the baker
opens his door at five and the smell of bread goes down the street. two crows watch the field from the top of a bare tree. the
letter came from the sea on a grey day, and nobody knew the hand that wrote it. we walked as far as the bridge and turned for
home. """.replace("\n", " ")

# ---- the weights -----------------------------------------------------------------------------------------------------


def shapes():
    of = {"embed": (VOCAB, WIDTH), "norm": (WIDTH,)}
    for k in range(LAYERS):
        of |= {f"{k}.norm1": (WIDTH,), f"{k}.norm2": (WIDTH,), f"{k}.q": (WIDTH, HEADS * HEAD), f"{k}.k": (WIDTH, KV_HEADS * HEAD),
               f"{k}.v": (WIDTH, KV_HEADS * HEAD), f"{k}.o": (HEADS * HEAD, WIDTH), f"{k}.gate": (WIDTH, HIDDEN),
               f"{k}.up": (WIDTH, HIDDEN), f"{k}.down": (HIDDEN, WIDTH)}
    return of


def frequencies():
    return (10000.0 ** (-np.arange(0, HEAD, 2) / HEAD)).astype(np.float32)


def train(steps, seed=1):
    import torch
    import torch.nn.functional as F
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    w = {n: torch.nn.Parameter(torch.ones(s) if len(s) == 1 else torch.randn(s) * (0.3 if n == "embed" else s[0] ** -0.5))
         for n, s in shapes().items()}
    text = torch.tensor(list(TEXT.encode()) * 2)
    length = 224
    angle = torch.arange(length)[:, None] * torch.tensor(frequencies())[None]
    cos, sin = torch.cat([angle.cos()] * 2, 1), torch.cat([angle.sin()] * 2, 1)

    def norm(x, g):
        return x * (x.pow(2).mean(-1, keepdim=True) + EPS).rsqrt() * g

    def turn(x):
        return x * cos + torch.cat([-x[..., HEAD // 2:], x[..., :HEAD // 2]], -1) * sin

    def heads(x, n):
        return x.view(x.shape[0], length, n, HEAD).transpose(1, 2)

    def logits(ids):
        x = w["embed"][ids]
        for k in range(LAYERS):
            y = norm(x, w[f"{k}.norm1"])
            q, key, v = turn(heads(y @ w[f"{k}.q"], HEADS)), turn(heads(y @ w[f"{k}.k"], KV_HEADS)), heads(y @ w[f"{k}.v"], KV_HEADS)
            key, v = (t.repeat_interleave(HEADS // KV_HEADS, 1) for t in (key, v))
            a = F.scaled_dot_product_attention(q, key, v, is_causal=True)
            x = x + a.transpose(1, 2).reshape(x.shape[0], length, -1) @ w[f"{k}.o"]
            y = norm(x, w[f"{k}.norm2"])
            x = x + (F.silu(y @ w[f"{k}.gate"]) * (y @ w[f"{k}.up"])) @ w[f"{k}.down"]
        return norm(x, w["norm"]) @ w["embed"].T

    rate = 6e-3
    best = torch.optim.AdamW(w.values(), lr=rate, weight_decay=0.0)
    for step in range(steps):
        for group in best.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 50) * (1 - step / steps) ** 0.7 + 1e-5
        at = torch.randint(0, len(TEXT), (12,))
        rows = torch.stack([text[a:a + length + 1] for a in at])
        loss = F.cross_entropy(logits(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        best.zero_grad()
        loss.backward()
        best.step()
        if step % 100 == 0 or step + 1 == steps:
            print(f"step {step}: {loss.item():.3f} nats a byte", flush=True)
    return {n: p.detach().numpy().astype(np.float16) for n, p in w.items()}


# ---- the model -------------------------------------------------------------------------------------------------------


class Builder:
    """Nodes and constants of a graph; an operator's result is its name."""

    def __init__(self):
        self.nodes, self.constants, self.known = [], [], {}

    def op(self, kind, *inputs, to=None, domain="", **attributes):
        names = to or [f"{kind.lower()}_{len(self.nodes)}"]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=f"{kind}_{len(self.nodes)}", domain=domain, **attributes))
        return names[0] if len(names) == 1 else names

    def const(self, value, dtype=np.int64):
        value = np.asarray(value, dtype)
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self.known:
            self.known[key] = f"c{len(self.known)}"
            self.constants.append(numpy_helper.from_array(value, self.known[key]))
        return self.known[key]

    def weight(self, name, value):
        """Stored in 16 bits, and float32 where it is used."""
        self.constants.append(numpy_helper.from_array(value, name))
        return self.as_float(name)

    def as_float(self, name):
        self.nodes.append(helper.make_node("Cast", [name], [name + ".f32"], name=name, to=TensorProto.FLOAT))
        return name + ".f32"

    def norm(self, x, gain):
        square = self.op("ReduceMean", self.op("Mul", x, x), axes=[-1])
        root = self.op("Sqrt", self.op("Add", square, self.const(EPS, np.float32)))
        return self.op("Mul", self.op("Div", x, root), gain)

    def heads(self, x, n):
        return self.op("Transpose", self.op("Reshape", x, self.const([0, 0, n, HEAD])), perm=[0, 2, 1, 3])

    def turn(self, x, cos, sin):
        first = self.op("Slice", x, self.const([0]), self.const([HEAD // 2]), self.const([3]))
        second = self.op("Slice", x, self.const([HEAD // 2]), self.const([HEAD]), self.const([3]))
        turned = self.op("Concat", self.op("Neg", second), first, axis=3)
        return self.op("Add", self.op("Mul", x, cos), self.op("Mul", turned, sin))


def attention_ops(b):
    """In plain operators, as exporters write it; angles and what is seen are the same in all layers."""
    positions = b.as_float("position_ids")
    angle = b.op("Mul", b.op("Unsqueeze", positions, b.const([1, 3])), b.const(frequencies(), np.float32))
    angle = b.op("Concat", angle, angle, axis=3)
    cos, sin = b.op("Cos", angle), b.op("Sin", angle)
    total = b.op("Squeeze", b.op("Slice", b.op("Shape", "attention_mask"), b.const([1]), b.const([2])), b.const([0]))
    keys = b.op("Range", b.const(0), total, b.const(1))
    seen = b.op("LessOrEqual", keys, b.op("Unsqueeze", "position_ids", b.const([1, 3])))
    given = b.op("Greater", b.op("Unsqueeze", "attention_mask", b.const([1, 2])), b.const(0))
    bias = b.op("Where", b.op("And", seen, given), b.const(0, np.float32), b.const(-3e38, np.float32))

    def repeat(x):
        shape = b.op("Shape", x)
        rows = b.op("Slice", shape, b.const([2]), b.const([3]))
        batch = b.op("Slice", shape, b.const([0]), b.const([1]))
        wide = b.op("Concat", batch, b.const([KV_HEADS, HEADS // KV_HEADS]), rows, b.const([HEAD]), axis=0)
        x = b.op("Expand", b.op("Unsqueeze", x, b.const([2])), wide)
        return b.op("Reshape", x, b.op("Concat", batch, b.const([HEADS]), rows, b.const([HEAD]), axis=0))

    def attend(k, q, key, v):
        q, key, v = b.turn(b.heads(q, HEADS), cos, sin), b.turn(b.heads(key, KV_HEADS), cos, sin), b.heads(v, KV_HEADS)
        key = b.op("Concat", f"past_key_values.{k}.key", key, axis=2, to=[f"present.{k}.key"])
        v = b.op("Concat", f"past_key_values.{k}.value", v, axis=2, to=[f"present.{k}.value"])
        scores = b.op("MatMul", q, b.op("Transpose", repeat(key), perm=[0, 1, 3, 2]))
        scores = b.op("Add", b.op("Mul", scores, b.const(HEAD ** -0.5, np.float32)), bias)
        y = b.op("MatMul", b.op("Softmax", scores, axis=-1), repeat(v))
        return b.op("Reshape", b.op("Transpose", y, perm=[0, 2, 1, 3]), b.const([0, 0, HEADS * HEAD]))

    return attend


def group_query_ops(b):
    angle = np.arange(LONGEST)[:, None] * frequencies()[None]
    cos, sin = b.const(np.cos(angle), np.float32), b.const(np.sin(angle), np.float32)

    def attend(k, q, key, v):
        return b.op("GroupQueryAttention", q, key, v, f"past_key_values.{k}.key", f"past_key_values.{k}.value", "seqlens_k",
                    "total_sequence_length", cos, sin, domain="com.microsoft", num_heads=HEADS, kv_num_heads=KV_HEADS, do_rotary=1,
                    to=[f"attention_{k}", f"present.{k}.key", f"present.{k}.value"])[0]

    return attend


def write(w, path, group_query, buffer=False):
    b = Builder()
    w = {n: b.weight(n, x) for n, x in w.items()}
    attend = group_query_ops(b) if group_query else attention_ops(b)
    x = b.op("Gather", w["embed"], "input_ids")
    for k in range(LAYERS):
        y = b.norm(x, w[f"{k}.norm1"])
        a = attend(k, *(b.op("MatMul", y, w[f"{k}.{n}"]) for n in ("q", "k", "v")))
        x = b.op("Add", x, b.op("MatMul", a, w[f"{k}.o"]))
        y = b.norm(x, w[f"{k}.norm2"])
        gate = b.op("MatMul", y, w[f"{k}.gate"])
        gate = b.op("Mul", gate, b.op("Sigmoid", gate))
        x = b.op("Add", x, b.op("MatMul", b.op("Mul", gate, b.op("MatMul", y, w[f"{k}.up"])), w[f"{k}.down"]))
    b.op("MatMul", b.norm(x, w["norm"]), b.op("Transpose", w["embed"], perm=[1, 0]), to=["logits"])

    def value(name, kind, *dims):
        return helper.make_tensor_value_info(name, kind, dims)

    past, present = ("longest", "longest") if buffer else ("past", "total") if group_query else ("past", "past + sequence")
    i64, i32, f32 = TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT
    inputs = [value("input_ids", i64, "batch", "sequence")]
    if group_query:
        inputs += [value("seqlens_k", i32, "batch"), value("total_sequence_length", i32, 1)]
    else:
        inputs += [value("attention_mask", i64, "batch", "past + sequence"), value("position_ids", i64, "batch", "sequence")]
    caches = [f"{k}.{n}" for k in range(LAYERS) for n in ("key", "value")]
    inputs += [value("past_key_values." + n, f32, "batch", KV_HEADS, past, HEAD) for n in caches]
    outputs = [value("logits", f32, "batch", "sequence", VOCAB)]
    outputs += [value("present." + n, f32, "batch", KV_HEADS, present, HEAD) for n in caches]
    graph = helper.make_graph(b.nodes, "decoder", inputs, outputs, b.constants)
    opsets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid("com.microsoft", 1)] if group_query else [])
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--steps", type=int, default=2500)
    p.add_argument("--out", default="decoder.onnx")
    p.add_argument("--from", dest="source", help="a model that this script wrote: nothing is trained")
    p.add_argument("--buffer", action="store_true", help="caches have all rows from the beginning")
    a = p.parse_args()
    if a.source:
        given = {t.name: numpy_helper.to_array(t) for t in onnx.load(a.source).graph.initializer}
        write({n: given[n] for n in shapes()}, a.out, group_query=True, buffer=a.buffer)
    else:
        write(train(a.steps), a.out, group_query=False)


main()
