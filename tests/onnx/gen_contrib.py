#!/usr/bin/env python3
"""Writes contrib/NAME/: one-node models of ONNX Runtime's domain com.microsoft, of early exports, and of what ONNX's own node tests leave untried, inputs, and what comes out.

    python3 tests/onnx/gen_contrib.py [NAME...]

What comes out is recorded with ONNX Runtime on its CPU, one thread, without optimisations; for what that cannot run (`reference`),
from the documentation with NumPy.  Sizes that a name stands for differ between the data sets of a model."""
import os
import shutil
import sys
import zlib
import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "contrib")
rng = np.random.default_rng(11)
only = sys.argv[1:]
written = []


def noise(*shape, dtype=np.float32):
    return (rng.standard_normal(shape)).astype(dtype)


def ints(lo, hi, *shape, dtype=np.int32):
    return rng.integers(lo, hi, shape).astype(dtype)


def i32(*v):
    return np.array(v, np.int32)


def scalar(v, dtype=np.int32):
    return np.array(v, dtype)


def node(op, inputs, outputs, domain="com.microsoft", **attributes):
    return helper.make_node(op, inputs.split() if isinstance(inputs, str) else inputs, outputs.split() if isinstance(outputs, str) else outputs, name=op.lower(), domain=domain, **attributes)


def run(model, feeds):
    o = ort.SessionOptions()
    o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    o.intra_op_num_threads = 1
    o.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), o, providers=["CPUExecutionProvider"]).run(None, feeds)


def case(name, n, sets, shapes=None, weights=None, reference=None, opset=17, last=None):
    """n: the node; '_' among its inputs is absent; last: one that makes its first output what can be compared.  sets: inputs of each data set; shapes: their sizes, as names where they differ."""
    global rng
    rng = np.random.default_rng(zlib.crc32(name.encode()))  # for the next case: one more changes few of the others
    if only and name not in only:
        return
    ins = ["" if i == "_" else i for i in n.input]
    del n.input[:]
    n.input.extend(ins)
    shapes, weights = shapes or {}, weights or {}
    info = [helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), shapes.get(k, v.shape)) for k, v in sets[0].items()]
    outputs = [o for o in n.output if o]
    if last:
        outputs[0] = last.output[0]
    g = helper.make_graph([n] + ([last] if last else []), name, info, [helper.make_tensor_value_info(o, 1, None) if o == "qk" else helper.make_empty_tensor_value_info(o) for o in outputs],
                          [numpy_helper.from_array(v, k) for k, v in weights.items()])
    m = helper.make_model(g, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(n.domain or "com.microsoft", 5 if n.domain == "ai.onnx.ml" else 1)], producer_name="gen_contrib.py")
    m.ir_version = 8
    at = os.path.join(HERE, name)
    shutil.rmtree(at, ignore_errors=True)
    os.makedirs(at)
    onnx.save(m, os.path.join(at, "model.onnx"))
    for k, feeds in enumerate(sets):
        want = reference(**feeds, **weights) if reference else run(m, feeds)
        want = list(want) if isinstance(want, (tuple, list)) else [want]
        assert len(want) == len(outputs), name
        data = os.path.join(at, f"test_data_set_{k}")
        os.makedirs(data)
        for kind, names, tensors in (("input", feeds, feeds.values()), ("output", outputs, want)):
            for j, (what, t) in enumerate(zip(names, tensors)):
                assert kind == "input" or not np.isnan(np.asarray(t, np.float64)).any(), (name, what)
                with open(os.path.join(data, f"{kind}_{j}.pb"), "wb") as f:
                    f.write(numpy_helper.from_array(np.asarray(t), what).SerializeToString())
    written.append(name)


# ---- Attention ----------------------------------------------------------------------------------------------------------
def attention(b, s, d=8, **more):
    return {"x": noise(b, s, d), **more}


W3 = {"w": noise(8, 24), "bias": noise(24)}
X = {"x": ["B", "S", 8]}
case("attention_plain", node("Attention", "x w bias", "y", num_heads=2), [attention(2, 3), attention(1, 5)], X, W3)
case("attention_no_bias_scale", node("Attention", "x w", "y", num_heads=2, scale=0.3, unidirectional=1), [attention(2, 3), attention(1, 1)], X, {"w": W3["w"]})
case("attention_v_size", node("Attention", "x w bias", "y", num_heads=2, qkv_hidden_sizes=[8, 8, 4]), [attention(2, 3), attention(1, 5)], X,
     {"w": noise(8, 20), "bias": noise(20)})
for causal in (0, 1):
    case(f"attention_lengths_{causal}", node("Attention", "x w bias m", "y", num_heads=2, unidirectional=causal),
         [attention(2, 4, m=i32(4, 2)), attention(1, 5, m=i32(3))], {**X, "m": ["B"]}, W3)
    case(f"attention_raw_mask_{causal}", node("Attention", "x w bias m", "y", num_heads=2, unidirectional=causal, mask_filter_value=-50.0),
         [attention(2, 4, m=np.array([[0, 0, 1, 1], [1, 1, 1, 0]], np.int32)), attention(1, 2, m=np.array([[1, 1]], np.int32))], {**X, "m": ["B", "S"]}, W3)
    case(f"attention_mask_3d_{causal}", node("Attention", "x w bias m", "y", num_heads=2, unidirectional=causal),
         [attention(2, 3, m=ints(0, 2, 2, 3, 3)), attention(1, 4, m=ints(0, 2, 1, 4, 4))], {**X, "m": ["B", "S", "S"]}, W3)
case("attention_ends_and_starts", node("Attention", "x w bias m", "y", num_heads=2), [attention(2, 4, m=i32(4, 3, 1, 0))], {"x": [2, "S", 8]}, W3)
case("attention_bias_given", node("Attention", "x w bias _ _ a", "y", num_heads=2), [attention(2, 3, a=noise(1, 2, 3, 3)), attention(1, 4, a=noise(1, 2, 4, 4))],
     {**X, "a": [1, 2, "S", "S"]}, W3)
P = {**X, "past": [2, "B", 2, "P", 4]}


def with_past(b, s, p, **more):
    return {**attention(b, s), "past": noise(2, b, 2, p, 4), **more}


case("attention_past", node("Attention", "x w bias _ past", "y present", num_heads=2, unidirectional=1), [with_past(2, 1, 3), with_past(1, 3, 2), with_past(1, 3, 0)], P, W3)
case("attention_past_mask", node("Attention", "x w bias m past", "y present", num_heads=2, unidirectional=1),
     [with_past(2, 2, 2, m=np.array([[1, 1, 1, 1], [0, 1, 1, 1]], np.int32)), with_past(1, 1, 3, m=np.array([[0, 1, 1, 1]], np.int32))], {**P, "m": ["B", "T"]}, W3)
case("attention_present_only", node("Attention", "x w bias", "y present", num_heads=2, unidirectional=1), [attention(2, 3)], X, W3)


def square_mask(x, m, w, bias, past=None):
    """4-D masks, which ONNX Runtime's CPU lacks: rows past .. past + S of what is [B, 1, M, M]."""
    b, s, _ = x.shape
    q, k, v = [t.reshape(b, s, 2, 4).transpose(0, 2, 1, 3) for t in np.split(x.astype(np.float64) @ w + bias, 3, -1)]
    p = 0
    if past is not None:
        p = past.shape[3]
        k, v = np.concatenate([past[0], k], 2), np.concatenate([past[1], v], 2)
    scores = q @ k.transpose(0, 1, 3, 2) / 2 + np.where(m[:, :, p:p + s, :p + s] > 0, 0, -10000)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    y = (e / e.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(b, s, 8)
    return y.astype(np.float32)


square = np.tril(np.ones((1, 1, 6, 6), np.int32))
case("attention_square_mask", node("Attention", "x w bias m past", "y", num_heads=2), [with_past(1, 3, 2, m=square), with_past(1, 1, 0, m=square)],
     {**P, "x": [1, "S", 8], "past": [2, 1, 2, "P", 4]}, W3, square_mask)


def shared_buffer(x, past, used, w, bias):
    """past_present_share_buffer, which ONNX Runtime's CPU lacks."""
    b, s, _ = x.shape
    n = int(used[0])
    q, k, v = [t.reshape(b, s, 2, 4).transpose(0, 2, 1, 3) for t in np.split(x.astype(np.float64) @ w + bias, 3, -1)]
    present = past.astype(np.float64)
    present[0, :, :, n:n + s], present[1, :, :, n:n + s] = k, v
    scores = q @ present[0, :, :, :n + s].transpose(0, 1, 3, 2) / 2
    scores = np.where(np.arange(n + s)[None] <= n + np.arange(s)[:, None], scores, -np.inf)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    y = (e / e.sum(-1, keepdims=True) @ present[1, :, :, :n + s]).transpose(0, 2, 1, 3).reshape(b, s, 8)
    return y.astype(np.float32), present.astype(np.float32)


case("attention_shared_buffer", node("Attention", "x w bias _ past _ used", "y present", num_heads=2, unidirectional=1, past_present_share_buffer=1),
     [with_past(2, 1, 6, used=i32(3)), with_past(1, 2, 5, used=i32(3)), with_past(1, 2, 5, used=i32(0))], P, W3, shared_buffer)


def rotary_attention(x, past, w, bias, used=None):
    """do_rotary, which ONNX Runtime's CPU lacks: the rotary embedding of GPT-NeoX, of as many elements as a head has."""
    b, s, _ = x.shape
    n = past.shape[3] if used is None else int(used[0])
    q, k, v = [t.reshape(b, s, 2, 4).transpose(0, 2, 1, 3) for t in np.split(x.astype(np.float64) @ w + bias, 3, -1)]
    angles = np.outer(n + np.arange(s), 10000.0 ** (-np.arange(2) / 2))
    c, i = np.cos(angles), np.sin(angles)
    q, k = [np.concatenate([t[..., :2] * c - t[..., 2:] * i, t[..., 2:] * c + t[..., :2] * i], -1) for t in (q, k)]
    present = past.astype(np.float64) if used is not None else np.concatenate([past, np.zeros((2, b, 2, s, 4))], 3)
    present[0, :, :, n:n + s], present[1, :, :, n:n + s] = k, v
    scores = q @ present[0, :, :, :n + s].transpose(0, 1, 3, 2) / 2
    scores = np.where(np.arange(n + s)[None] <= n + np.arange(s)[:, None], scores, -np.inf)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    y = (e / e.sum(-1, keepdims=True) @ present[1, :, :, :n + s]).transpose(0, 2, 1, 3).reshape(b, s, 8)
    return y.astype(np.float32), present.astype(np.float32)


case("attention_rotary", node("Attention", "x w bias _ past", "y present", num_heads=2, unidirectional=1, do_rotary=1), [with_past(2, 1, 3), with_past(1, 3, 2)], P, W3, rotary_attention)
case("attention_rotary_buffer", node("Attention", "x w bias _ past _ used", "y present", num_heads=2, unidirectional=1, do_rotary=1, past_present_share_buffer=1),
     [with_past(1, 2, 6, used=i32(3))], P, W3, rotary_attention)


# ---- MultiHeadAttention -------------------------------------------------------------------------------------------------
def qkv(b, s, t, h=8, hv=8, **more):
    return {"q": noise(b, s, h), "k": noise(b, t, h), "v": noise(b, t, hv), **more}


Q3 = {"q": ["B", "S", 8], "k": ["B", "T", 8], "v": ["B", "T", 8]}
MHA = "MultiHeadAttention"
case("mha_plain", node(MHA, "q k v", "y", num_heads=2), [qkv(2, 3, 3), qkv(1, 2, 5)], Q3)
case("mha_v_size_bias", node(MHA, "q k v bias", "y", num_heads=2, scale=0.4), [qkv(2, 3, 4, hv=4), qkv(1, 2, 5, hv=4)], {**Q3, "v": ["B", "T", 4]}, {"bias": noise(20)})
case("mha_causal", node(MHA, "q k v bias", "y", num_heads=4, unidirectional=1), [qkv(2, 3, 3), qkv(1, 4, 4)], {**Q3, "k": ["B", "S", 8], "v": ["B", "S", 8]}, {"bias": noise(24)})
case("mha_lengths", node(MHA, "q k v _ m", "y", num_heads=2), [qkv(2, 3, 4, m=i32(4, 2)), qkv(1, 2, 3, m=i32(1))], {**Q3, "m": ["B"]})
case("mha_padding_mask", node(MHA, "q k v _ m", "y", num_heads=2), [qkv(2, 3, 4, m=np.array([[1, 1, 1, 0], [0, 0, 1, 1]], np.int32)), qkv(1, 2, 3, m=ints(0, 2, 1, 3))],
     {**Q3, "m": ["B", "T"]})
case("mha_mask_3d", node(MHA, "q k v _ m", "y", num_heads=2), [qkv(2, 3, 4, m=ints(0, 2, 2, 3, 4))], {**Q3, "m": ["B", "S", "T"]})
case("mha_attention_bias", node(MHA, "q k v _ _ a", "y", num_heads=2), [qkv(2, 3, 4, a=noise(1, 2, 3, 4)), qkv(1, 2, 2, a=noise(1, 2, 2, 2))], {**Q3, "a": [1, 2, "S", "T"]})


def unpacked(q, k=None):
    """Packed operands, which ONNX Runtime's CPU lacks."""
    q, k, v = [q[:, :, :, i] for i in range(3)] if k is None else [q.reshape(*q.shape[:2], 2, 4), k[:, :, :, 0], k[:, :, :, 1]]
    q, k, v = [t.transpose(0, 2, 1, 3).astype(np.float64) for t in (q, k, v)]
    e = np.exp(q @ k.transpose(0, 1, 3, 2) / 2)
    y = (e / e.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3)
    return y.reshape(*y.shape[:2], 8).astype(np.float32)


case("mha_packed_qkv", node(MHA, "q", "y", num_heads=2), [{"q": noise(2, 3, 2, 3, 4)}, {"q": noise(1, 5, 2, 3, 4)}], {"q": ["B", "S", 2, 3, 4]}, None, unpacked)
case("mha_packed_kv", node(MHA, "q k", "y", num_heads=2), [{"q": noise(2, 3, 8), "k": noise(2, 4, 2, 2, 4)}], {"q": ["B", "S", 8], "k": ["B", "T", 2, 2, 4]}, None, unpacked)
case("mha_cross_heads", node(MHA, "q k v bias", "y", num_heads=2), [{"q": noise(2, 3, 8), "k": noise(2, 2, 5, 4), "v": noise(2, 2, 5, 4)}],
     {"q": ["B", "S", 8], "k": ["B", 2, "T", 4], "v": ["B", 2, "T", 4]}, {"bias": noise(24)})


def mha_past(b, s, p, **more):
    return qkv(b, s, s, pk=noise(b, 2, p, 4), pv=noise(b, 2, p, 4), **more)


QP = {"q": ["B", "S", 8], "k": ["B", "S", 8], "v": ["B", "S", 8], "pk": ["B", 2, "P", 4], "pv": ["B", 2, "P", 4]}
case("mha_past", node(MHA, "q k v bias _ _ pk pv", "y nk nv", num_heads=2), [mha_past(2, 1, 3), mha_past(1, 3, 2), mha_past(1, 2, 0)], QP, {"bias": noise(24)})
case("mha_past_causal_mask", node(MHA, "q k v _ m a pk pv", "y nk nv qk", num_heads=2, unidirectional=1),
     [mha_past(2, 2, 2, m=np.array([[1, 1, 1, 1], [0, 1, 1, 1]], np.int32), a=noise(1, 1, 2, 4)), mha_past(1, 1, 3, m=np.array([[0, 1, 1, 1]], np.int32), a=noise(1, 1, 1, 4))],
     {**QP, "m": ["B", "T"], "a": [1, 1, "S", "T"]})


def mha_buffer(q, k, v, pk, pv, used):
    b, s, _ = q.shape
    n = int(used[0])
    q, k, v = [t.reshape(b, s, 2, 4).transpose(0, 2, 1, 3).astype(np.float64) for t in (q, k, v)]
    nk, nv = pk.astype(np.float64), pv.astype(np.float64)
    nk[:, :, n:n + s], nv[:, :, n:n + s] = k, v
    scores = q @ nk[:, :, :n + s].transpose(0, 1, 3, 2) / 2
    e = np.exp(scores - scores.max(-1, keepdims=True))
    y = (e / e.sum(-1, keepdims=True) @ nv[:, :, :n + s]).transpose(0, 2, 1, 3).reshape(b, s, 8)
    return y.astype(np.float32), nk.astype(np.float32), nv.astype(np.float32)


case("mha_shared_buffer", node(MHA, "q k v _ _ _ pk pv used", "y nk nv", num_heads=2), [mha_past(2, 1, 6, used=i32(3)), mha_past(1, 2, 4, used=i32(2))], QP, None, mha_buffer)


# ---- GroupQueryAttention ------------------------------------------------------------------------------------------------
def gqa(b, s, p, lengths=None, n=4, nk=2, d=8, packed=False, **more):
    """p: rows of the cache; lengths: tokens of each batch when done."""
    lengths = lengths or [p + s] * b
    x = {"q": noise(b, s, (n + 2 * nk) * d)} if packed else {"q": noise(b, s, n * d), "k": noise(b, s, nk * d), "v": noise(b, s, nk * d)}
    cache = {"pk": noise(b, nk, p, d), "pv": noise(b, nk, p, d)}
    for t in cache.values():  # ONNX Runtime leaves 0 behind the last token, where what is there is not specified
        for i, used in enumerate(lengths):
            t[i, :, used - s if used > s else 0:] = 0
    return {**x, **cache, "len": np.array(lengths, np.int32) - 1, **more}


GQA, KEEP = "GroupQueryAttention", "q k v pk pv len total"
G = {"q": ["B", "S", 32], "k": ["B", "S", 16], "v": ["B", "S", 16], "pk": ["B", 2, "P", 8], "pv": ["B", 2, "P", 8], "len": ["B"]}
GA = {"num_heads": 4, "kv_num_heads": 2}
angle = np.outer(np.arange(16), 1 / 100 ** (np.arange(8) / 8))
CS = {"cos": np.cos(angle).astype(np.float32), "sin": np.sin(angle).astype(np.float32)}
GR = {"q": ["B", "S", 64], "k": ["B", "S", 32], "v": ["B", "S", 32], "pk": ["B", 2, "P", 16], "pv": ["B", 2, "P", 16], "len": ["B"]}
case("gqa_prompt", node(GQA, KEEP, "y nk nv", **GA), [gqa(2, 3, 0), gqa(1, 3, 0)], {**G, "q": ["B", 3, 32], "k": ["B", 3, 16], "v": ["B", 3, 16]}, {"total": scalar(3)})
case("gqa_concat", node(GQA, KEEP, "y nk nv", **GA), [gqa(1, 3, 5)], {**G, "pk": [1, 2, "P", 8], "pv": [1, 2, "P", 8]}, {"total": scalar(8)})
case("gqa_concat_static", node(GQA, KEEP, "y nk nv", **GA), [gqa(1, 1, 5)], {}, {"total": scalar(6)})
case("gqa_buffer", node(GQA, KEEP, "y nk nv", **GA), [gqa(2, 1, 8, [5, 7]), gqa(2, 1, 9, [2, 7])], G, {"total": scalar(7)})
case("gqa_buffer_prompt", node(GQA, KEEP, "y nk nv", **GA), [gqa(1, 4, 8, [4])], G, {"total": scalar(4)})
case("gqa_buffer_any_total", node(GQA, KEEP, "y nk nv", **GA), [gqa(2, 1, 8, [5, 7], total=scalar(7)), gqa(1, 3, 6, [4], total=scalar(4))], G)
case("gqa_packed_rotary", node(GQA, "q _ _ pk pv len total cos sin", "y nk nv", do_rotary=1, **GA), [gqa(2, 1, 8, [5, 7], d=16, packed=True), gqa(1, 2, 9, [7], d=16, packed=True)],
     {**GR, "q": ["B", "S", 128]}, {"total": scalar(7), **CS})
case("gqa_rotary_interleaved", node(GQA, KEEP + " cos sin", "y nk nv", do_rotary=1, rotary_interleaved=1, **GA), [gqa(2, 1, 8, [5, 7], d=16)], GR, {"total": scalar(7), **CS})
case("gqa_positions", node(GQA, KEEP + " cos sin pos", "y nk nv", do_rotary=1, **GA), [gqa(2, 1, 8, [5, 7], d=16, pos=np.array([[4], [1]], np.int64))], {**GR, "pos": ["B", "S"]},
     {"total": scalar(7), **CS})
case("gqa_window_softcap", node(GQA, KEEP, "y nk nv", local_window_size=3, softcap=0.8, scale=0.5, **GA), [gqa(1, 3, 5), gqa(1, 1, 7)], {**G, "pk": [1, 2, "P", 8], "pv": [1, 2, "P", 8]},
     {"total": scalar(8)})
case("gqa_attention_bias", node(GQA, KEEP + " _ _ _ a", "y nk nv", **GA), [gqa(2, 1, 8, [5, 7], a=noise(1, 4, 1, 7))], {**G, "a": [1, 4, "S", 7]}, {"total": scalar(7)})
case("gqa_smooth", node(GQA, KEEP, "y nk nv", smooth_softmax=1, **GA), [gqa(1, 2, 5)], G, {"total": scalar(7)})
case("gqa_sink", node(GQA, KEEP + " _ _ _ _ sink", "y nk nv", **GA), [gqa(1, 2, 5)], G, {"total": scalar(7), "sink": noise(4)})
# of known sizes, which a kernel takes in float32, too
case("gqa_smooth_static", node(GQA, KEEP, "y nk nv", smooth_softmax=1, local_window_size=4, **GA), [gqa(1, 1, 6)], {}, {"total": scalar(7)})
case("gqa_sink_static", node(GQA, KEEP + " _ _ _ _ sink", "y nk nv", softcap=2.0, **GA), [gqa(1, 3, 5)], {}, {"total": scalar(8), "sink": noise(4)})
for which in (1, 2):
    case(f"gqa_products_{which}", node(GQA, KEEP, "y nk nv qk", qk_output=which, softcap=0.7, **GA), [gqa(1, 3, 5)], G, {"total": scalar(8)})
case("gqa_bidirectional", node(GQA, KEEP, "y nk nv", causal=0, **GA), [gqa(1, 3, 5)], G, {"total": scalar(8)})

GN = ["q", "k", "v", "pk", "pv", "len", "total"] + [""] * 9
case("gqa_query_lengths", node(GQA, GN + ["count"], "y0 nk nv", **GA),
     [gqa(2, 3, 8, [5, 3], count=i32(2, 1), real=np.array([1, 1, 0, 1, 0, 0], bool).reshape(2, 3, 1)), gqa(2, 1, 8, [7, 3], count=i32(1, 1), real=np.ones((2, 1, 1), bool))],
     {**G, "count": ["B"], "real": ["B", "S", 1]}, {"total": scalar(8), "none": np.zeros((), np.float32)}, last=node("Where", "real y0 none", "y", domain=""))


def quantised(b, s, p, lengths, t, width, **more):
    x = gqa(b, s, p, lengths, d=16, **more)
    for k in ("pk", "pv"):
        x[k] = ints(-120 if t == np.int8 else 0, 121 if t == np.int8 else 256, b, 2, p, width, dtype=t)
        for i, used in enumerate(lengths):
            x[k][i, :, used - s:] = 0
    return x


QUANT = {"k_quant_type": "PER_TENSOR", "v_quant_type": "PER_TENSOR", **GA}
GS = ["q", "k", "v", "pk", "pv", "len", "total"] + [""] * 5 + ["ks", "vs"]
ONE = {"ks": np.float32([0.02]), "vs": np.float32([0.03])}
EACH = {"ks": np.abs(noise(1, 2, 1, 16)) * 0.02 + 0.01, "vs": np.abs(noise(1, 2, 1, 16)) * 0.02 + 0.01}
case("gqa_int8", node(GQA, GS, "y nk nv", kv_cache_bit_width=8, **QUANT), [quantised(2, 1, 8, [5, 7], np.int8, 16), quantised(1, 2, 7, [7], np.int8, 16)], GR, {"total": scalar(7), **ONE})
case("gqa_int8_channels", node(GQA, GS, "y nk nv", kv_cache_bit_width=8, **{**QUANT, "k_quant_type": "PER_CHANNEL", "v_quant_type": "PER_CHANNEL"}), [quantised(2, 1, 8, [5, 7], np.int8, 16)], GR,
     {"total": scalar(7), **EACH})
case("gqa_int4", node(GQA, GS, "y nk nv", kv_cache_bit_width=4, **QUANT), [quantised(2, 1, 8, [8, 8], np.uint8, 8)], {**GR, "pk": ["B", 2, "P", 8], "pv": ["B", 2, "P", 8]},
     {"total": scalar(8), "ks": np.float32([0.3]), "vs": np.float32([0.4])})


def recent(b, s, capacity, lengths, window, **more):
    """The cache holds the last tokens; how many follows from how many there were."""
    x = gqa(b, s, capacity, [10**6] * b, **more)
    group = capacity - window + 1
    for k in ("pk", "pv"):
        for i, n in enumerate(lengths):
            old = n - s
            x[k][i, :, old if old <= capacity else old - group * -(-(old - capacity) // group):] = 0
    x["len"] = np.array(lengths, np.int32) - 1
    return x


SLIDE = {"sliding_window_cache": 1, **GA}
case("gqa_recent", node(GQA, KEEP, "y nk nv", local_window_size=3, **SLIDE), [recent(2, 1, 4, [8, 6], 3), recent(1, 3, 4, [10], 3), recent(2, 1, 4, [4, 4], 3)], {**G, "pk": ["B", 2, 4, 8], "pv": ["B", 2, 4, 8]},
     {"total": scalar(10)})
case("gqa_recent_tight", node(GQA, KEEP + " _ _ _ a", "y nk nv", local_window_size=4, **SLIDE), [recent(2, 1, 4, [9, 6], 4, a=noise(1, 4, 1, 9)), recent(1, 6, 4, [9], 4, a=noise(1, 4, 6, 9))],
     {**G, "pk": ["B", 2, 4, 8], "pv": ["B", 2, 4, 8], "a": [1, 4, "S", 9]}, {"total": scalar(9)})


def normed(q, k, v, pk, pv, len, total, qn, kn):
    """Norms of queries and keys, which ONNX Runtime's CPU lacks: over [B, S, N, D]."""
    b, s, _ = q.shape
    q, k, v = [t.reshape(b, s, -1, 8).transpose(0, 2, 1, 3).astype(np.float64) for t in (q, k, v)]
    q, k = [t / np.sqrt((t * t).mean(-1, keepdims=True) + eps) * w for t, w, eps in ((q, qn, 1e-3), (k, kn, 1e-6))]
    nk, nv = np.concatenate([pk, k], 2), np.concatenate([pv, v], 2)
    scores = q @ nk.repeat(2, 1).transpose(0, 1, 3, 2) / np.sqrt(8)
    p = pk.shape[2]
    scores = np.where(np.arange(p + s)[None] <= p + np.arange(s)[:, None], scores, -np.inf)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    y = (e / e.sum(-1, keepdims=True) @ nv.repeat(2, 1)).transpose(0, 2, 1, 3).reshape(b, s, 32)
    return y.astype(np.float32), nk.astype(np.float32), nv.astype(np.float32)


case("gqa_norms", node(GQA, GN[:7] + [""] * 7 + ["qn", "kn"], "y nk nv", q_norm_epsilon=1e-3, **GA), [gqa(1, 2, 5)], {**G, "pk": [1, 2, "P", 8], "pv": [1, 2, "P", 8]},
     {"total": scalar(7), "qn": noise(8), "kn": noise(8)}, normed)


# ---- PackedMultiHeadAttention (no CPU kernel in ONNX Runtime) ------------------------------------------------------------
def packed_attention(q, offset, ends, k=None, v=None, bias=None, a=None, n=2, scale=0.5):
    if k is None:
        q, k, v = [q[:, :, i].reshape(len(q), -1) for i in range(3)]
    q, k, v = [t.astype(np.float64) for t in (q, k, v)]
    if bias is not None:
        q, k, v = q + bias[:q.shape[1]], k + bias[q.shape[1]:2 * q.shape[1]], v + bias[2 * q.shape[1]:]
    out = np.zeros((len(q), v.shape[1]))
    for b in range(len(ends) - 1):
        at = slice(ends[b], ends[b + 1])
        size = ends[b + 1] - ends[b]
        for h in range(n):
            part = [t[at].reshape(size, n, t.shape[1] // n)[:, h] for t in (q, k, v)]
            s = part[0] @ part[1].T * scale
            if a is not None:
                s = s + a[b % a.shape[0], h % a.shape[1], :size, :size]
            e = np.exp(s)
            width = v.shape[1] // n
            out[at, h * width:(h + 1) * width] = e / e.sum(-1, keepdims=True) @ part[2]
    return out.astype(np.float32)


def packed(lengths, longest, **more):
    places = [b * longest + s for b, n in enumerate(lengths) for s in range(n)]
    rest = [p for p in range(len(lengths) * longest) if p not in places]
    return {**more, "offset": np.array(places + rest, np.int32).reshape(len(lengths), longest), "ends": np.cumsum([0] + lengths).astype(np.int32)}


def packed_rows(lengths, longest, hv=8, **more):
    n = sum(lengths)
    return packed(lengths, longest, q=noise(n, 8), k=noise(n, 8), v=noise(n, hv), **more)


PK = {"q": ["tokens", 8], "k": ["tokens", 8], "v": ["tokens", 8], "offset": ["B", "S"], "ends": ["B1"]}
PMHA = "PackedMultiHeadAttention"
case("packed_mha", node(PMHA, "q k v bias offset ends", "y", num_heads=2), [packed_rows([1, 2, 4], 4), packed_rows([3, 0], 3)], PK, {"bias": noise(24)}, packed_attention)
case("packed_mha_qkv", node(PMHA, "q _ _ _ offset ends", "y", num_heads=2), [packed([1, 2, 4], 4, q=noise(7, 2, 3, 4)), packed([2, 2], 2, q=noise(4, 2, 3, 4))],
     {"q": ["tokens", 2, 3, 4], "offset": ["B", "S"], "ends": ["B1"]}, None, packed_attention)
case("packed_mha_attention_bias", node(PMHA, "q k v _ offset ends a", "y", num_heads=2, scale=0.25),
     [packed_rows([1, 3], 3, a=noise(1, 2, 3, 3)), packed_rows([2, 4], 4, a=noise(1, 2, 4, 4))], {**PK, "a": [1, 2, "S", "S"]}, None,
     lambda **k: packed_attention(scale=0.25, **k))

# ---- RotaryEmbedding ----------------------------------------------------------------------------------------------------
T4 = {k: v[:, :4].copy() for k, v in CS.items()}
T2 = {k: v[:, :2].copy() for k, v in CS.items()}


def turn(b, s, wide=True, pos=None):
    return {"x": noise(b, s, 16) if wide else noise(b, 2, s, 8), "pos": np.array([0] if pos is None else pos, np.int64)}


RX = {"x": ["B", "S", 16], "pos": ["B", "S"]}
case("rotary_offset", node("RotaryEmbedding", "x pos cos sin", "y"), [turn(2, 3, pos=[4]), turn(1, 5)], {"x": ["B", "S", 16], "pos": [1]}, T4)
case("rotary_positions", node("RotaryEmbedding", "x pos cos sin", "y", interleaved=1), [turn(2, 3, pos=[[0, 1, 2], [5, 6, 7]]), turn(1, 1, pos=[[9]])], RX, T4)
case("rotary_part", node("RotaryEmbedding", "x pos cos sin", "y", num_heads=2, rotary_embedding_dim=4), [turn(2, 3, pos=[[0, 1, 2], [5, 6, 7]])], RX, T2)
case("rotary_4d", node("RotaryEmbedding", "x pos cos sin", "y"), [turn(2, 3, False, [[0, 1, 2], [5, 6, 7]])], {"x": ["B", 2, "S", 8], "pos": ["B", "S"]}, T4)
case("rotary_scale", node("RotaryEmbedding", "x pos cos sin", "y", scale=2.0), [turn(1, 3, pos=[[2, 1, 0]])], RX, T4)

# ---- normalisations -----------------------------------------------------------------------------------------------------
SX = {"x": ["B", "S", 8], "skip": ["B", "S", 8]}
GB = {"gamma": noise(8), "beta": noise(8), "bias": noise(8)}


def skip(b, s, **more):
    return {"x": noise(b, s, 8), "skip": noise(b, s, 8), **more}


case("skip_layer_norm", node("SkipLayerNormalization", "x skip gamma beta bias", ["y", "", "", "sum"]), [skip(2, 3), skip(1, 1)], SX, GB)
case("skip_layer_norm_plain", node("SkipLayerNormalization", "x skip gamma", "y", epsilon=0.01), [skip(2, 3)], SX, {"gamma": GB["gamma"]})
case("skip_layer_norm_row", node("SkipLayerNormalization", "x skip gamma beta", "y"), [{"x": noise(2, 3, 8), "skip": noise(3, 8)}], {"x": ["B", "S", 8], "skip": ["S", 8]},
     {"gamma": GB["gamma"], "beta": GB["beta"]})
case("skip_rms_norm", node("SkipSimplifiedLayerNormalization", "x skip gamma bias", ["y", "", "", "sum"]), [skip(2, 3), skip(1, 1)], SX, {"gamma": GB["gamma"], "bias": GB["bias"]})
case("skip_rms_norm_2d", node("SkipSimplifiedLayerNormalization", "x skip gamma", "y"), [{"x": noise(3, 8), "skip": noise(3, 8)}], {"x": ["S", 8], "skip": ["S", 8]}, {"gamma": GB["gamma"]})
case("simplified_layer_norm", node("SimplifiedLayerNormalization", "x gamma", "y inv", domain="", axis=-1, epsilon=0.001), [{"x": noise(2, 3, 8)}], {"x": ["B", "S", 8]},
     {"gamma": GB["gamma"]})
EMB = {"words": noise(10, 8), "places": noise(6, 8), "kinds": noise(2, 8), "gamma": GB["gamma"], "beta": GB["beta"]}
ID = {"ids": ["B", "S"], "seg": ["B", "S"], "m": ["B", "S"], "pos": ["B", "S"]}


def embed(b, s, **more):
    return {"ids": ints(0, 10, b, s), **more}


case("embed_layer_norm", node("EmbedLayerNormalization", "ids seg words places kinds gamma beta m", "y index sum"),
     [embed(2, 3, seg=ints(0, 2, 2, 3), m=np.array([[1, 1, 0], [1, 1, 1]], np.int32)), embed(1, 5, seg=ints(0, 2, 1, 5), m=np.ones((1, 5), np.int32))], ID, EMB)
case("embed_layer_norm_plain", node("EmbedLayerNormalization", "ids _ words places _ gamma beta _ pos", "y index", epsilon=0.01), [embed(2, 3, pos=ints(0, 6, 2, 3)), embed(1, 1, pos=ints(0, 6, 1, 1))],
     ID, {k: v for k, v in EMB.items() if k != "kinds"})

# ---- activations --------------------------------------------------------------------------------------------------------
V = {"x": ["B", 8]}
VX = [{"x": noise(3, 8) * 2}, {"x": noise(1, 8)}]
case("gelu", node("Gelu", "x", "y"), VX, V)
case("fast_gelu", node("FastGelu", "x", "y"), VX, V)
case("fast_gelu_bias", node("FastGelu", "x b", "y"), VX, V, {"b": noise(8)})
case("bias_gelu", node("BiasGelu", "x b", "y"), VX, V, {"b": noise(8)})
case("quick_gelu", node("QuickGelu", "x", "y"), VX, V)
case("quick_gelu_alpha", node("QuickGelu", "x", "y", alpha=0.5), VX, V)
case("affine", node("Affine", "x", "y", domain="", alpha=1.5, beta=-0.25), VX, V, opset=8)
case("scaled_tanh", node("ScaledTanh", "x", "y", domain="", alpha=1.5, beta=0.5), VX, V, opset=8)
case("parametric_softplus", node("ParametricSoftplus", "x", "y", domain="", alpha=1.5, beta=0.5), VX, V, opset=8)
case("thresholded_relu", node("ThresholdedRelu", "x", "y", domain="", alpha=0.5), VX, V, opset=8)
IMAGE = {"x": ["N", 3, "H", "W"]}
case("image_scaler", node("ImageScaler", "x", "y", domain="", scale=0.5, bias=[1.0, -2.0, 0.25]), [{"x": noise(2, 3, 4, 5)}, {"x": noise(1, 3, 2, 2)}], IMAGE, opset=8)
case("crop", node("Crop", "x", "y", domain="", border=[1, 2, 3, 0]), [{"x": noise(2, 3, 4, 5)}, {"x": noise(1, 3, 6, 7)}], IMAGE, opset=8)
case("crop_to", node("Crop", "x", "y", domain="", border=[1, 2, 0, 0], scale=[2, 3]), [{"x": noise(2, 3, 4, 5)}, {"x": noise(1, 3, 6, 7)}], IMAGE, opset=8)

# ---- products and convolutions ------------------------------------------------------------------------------------------
case("fused_matmul", node("FusedMatMul", "a b", "y", transA=1, transB=1, alpha=0.5), [{"a": noise(2, 4, 3), "b": noise(2, 5, 4)}], {"a": ["B", "K", 3], "b": ["B", 5, "K"]})
case("fused_matmul_batch", node("FusedMatMul", "a b", "y", transBatchA=1, transBatchB=1), [{"a": noise(3, 2, 4), "b": noise(4, 2, 5)}], {"a": ["M", "B", 4], "b": [4, "B", 5]})
case("fused_matmul_batch_trans", node("FusedMatMul", "a b", "y", transBatchA=1, transA=1), [{"a": noise(4, 2, 2, 3), "b": noise(2, 2, 4, 5)}], {"a": [4, "B", "C", 3], "b": ["B", "C", 4, 5]})
for act, more in [("Relu", {}), ("Tanh", {}), ("Sigmoid", {}), ("LeakyRelu", {"activation_alpha": 0.2}), ("Elu", {"activation_alpha": 0.7}), ("Softplus", {}), ("Softsign", {}),
                  ("HardSigmoid", {"activation_alpha": 0.3, "activation_beta": 0.4}), ("ThresholdedRelu", {"activation_alpha": 0.3}), ("Celu", {"activation_alpha": 0.7}), ("Selu", {"activation_alpha": 1.5, "activation_gamma": 1.1})]:
    case(f"fused_gemm_{act.lower()}", node("FusedGemm", "a b c", "y", activation=act, transB=1, alpha=0.5, beta=2.0, **more), [{"a": noise(3, 4)}], {"a": ["M", 4]}, {"b": noise(5, 4), "c": noise(5)})
for act, more in [("Relu", {}), ("Tanh", {}), ("LeakyRelu", {"activation_params": [0.2]}), ("Clip", {"activation_params": [-0.5, 0.75]}), ("HardSigmoid", {"activation_params": [0.3, 0.4]})]:
    case(f"fused_conv_{act.lower()}", node("FusedConv", "x w b", "y", activation=act, pads=[1, 1, 1, 1], **more), [{"x": noise(2, 3, 5, 4)}], IMAGE, {"w": noise(4, 3, 3, 3), "b": noise(4)})
case("fused_conv_sum", node("FusedConv", "x w b z", "y", activation="Relu", group=2, strides=[2, 2]), [{"x": noise(1, 4, 5, 5), "z": noise(1, 4, 2, 2)}], {"x": ["N", 4, 5, 5], "z": ["N", 4, 2, 2]},
     {"w": noise(4, 2, 3, 3), "b": noise(4)})


def nhwc(x, w, b, **attributes):
    """NhwcConv has no CPU kernel in ONNX Runtime: Conv between transpositions."""
    g = helper.make_graph([helper.make_node("Conv", ["x", "w", "b"], ["y"], **attributes)], "g",
                          [helper.make_tensor_value_info(n, 1, None) for n in "xwb"], [helper.make_tensor_value_info("y", 1, None)])
    m = helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)])
    m.ir_version = 8
    return run(m, {"x": x.transpose(0, 3, 1, 2), "w": w.transpose(0, 3, 1, 2), "b": b})[0].transpose(0, 2, 3, 1)


case("nhwc_conv", node("NhwcConv", "x w b", "y", pads=[1, 0, 1, 2], strides=[1, 2], group=2), [{"x": noise(2, 4, 5, 4)}, {"x": noise(1, 6, 3, 4)}], {"x": ["N", "H", "W", 4]},
     {"w": noise(6, 3, 2, 2), "b": noise(6)}, lambda **k: nhwc(pads=[1, 0, 1, 2], strides=[1, 2], group=2, **k))
case("nhwc_conv_same", node("NhwcConv", "x w b", "y", auto_pad="SAME_UPPER", strides=[2, 2]), [{"x": noise(2, 5, 6, 3)}, {"x": noise(1, 4, 3, 3)}], {"x": ["N", "H", "W", 3]},
     {"w": noise(4, 3, 3, 3), "b": noise(4)}, lambda **k: nhwc(auto_pad="SAME_UPPER", strides=[2, 2], **k))


# ---- MatMulNBits --------------------------------------------------------------------------------------------------------
def blocks(n, k, size, bits):
    b = (k + size - 1) // size
    return {"w": rng.integers(0, 256, (n, b, size * bits // 8)).astype(np.uint8), "scale": noise(n, b) * 0.1}, b


for bits in (2, 4, 8):
    w, b = blocks(5, 40, 16, bits)
    case(f"nbits_{bits}", node("MatMulNBits", "a w scale", "y", bits=bits, block_size=16, N=5, K=40), [{"a": noise(2, 3, 40)}, {"a": noise(1, 1, 40)}], {"a": ["B", "S", 40]}, w)
    w["zero"] = rng.integers(0, 256, (5, (b * bits + 7) // 8)).astype(np.uint8)
    case(f"nbits_{bits}_zero_bias", node("MatMulNBits", "a w scale zero _ bias", "y", bits=bits, block_size=16, N=5, K=40), [{"a": noise(3, 40)}], {"a": ["M", 40]}, {**w, "bias": noise(5)})
w, b = blocks(4, 64, 32, 4)
case("nbits_float_zero", node("MatMulNBits", "a w scale zero", "y", bits=4, block_size=32, N=4, K=64), [{"a": noise(3, 64)}], {"a": ["M", 64]}, {**w, "zero": noise(4, b) * 4 + 8})
case("nbits_weight_given", node("MatMulNBits", "a w scale", "y", bits=4, block_size=32, N=4, K=64), [{"a": noise(3, 64), "w": w["w"]}], {"a": ["M", 64]}, {"scale": w["scale"]})
case("nbits_groups", node("MatMulNBits", "a w scale _ g", "y", bits=4, block_size=32, N=4, K=64), [{"a": noise(3, 64)}], {"a": ["M", 64]}, {**w, "g": ints(0, 2, 64)})
case("nbits_groups_equal", node("MatMulNBits", "a w scale _ g", "y", bits=4, block_size=32, N=4, K=64), [{"a": noise(3, 64)}], {"a": ["M", 64]}, {**w, "g": rng.permutation(np.repeat(i32(0, 1), 32))})
w, b = blocks(4, 40, 16, 8)
case("nbits_groups_short", node("MatMulNBits", "a w scale zero g", "y", bits=8, block_size=16, N=4, K=40), [{"a": noise(3, 40)}, {"a": noise(1, 40)}], {"a": ["M", 40]},
     {**w, "zero": rng.integers(0, 256, (4, b)).astype(np.uint8), "g": rng.permutation(np.repeat(i32(0, 1, 2), 16)[:40])},
     lambda a, w, scale, zero, g: (a @ ((w.reshape(4, -1)[:, :40].astype(np.float64) - zero[:, g]) * scale[:, g]).T).astype(np.float32))  # ONNX Runtime has no groups of 8 bits
case("nbits_omitted", node("MatMulNBits", "a w scale _ _ bias", "y", bits=4, block_size=32, N=4, K=64), [{"a": noise(3, 64)}], {"a": ["M", 64]},
     {"w": np.zeros((0, 2, 16), np.uint8), "scale": noise(4, 2), "bias": noise(4)}, lambda a, w, scale, bias: np.broadcast_to(bias, (len(a), 4)).copy())


# ---- quantised operators ------------------------------------------------------------------------------------------------
def q8(*shape, signed=False, most=128):
    return ints(-most, most, *shape, dtype=np.int8) if signed else ints(0, 256, *shape, dtype=np.uint8)


def qp(name, scale, zero, signed=False):
    return {f"{name}s": scalar(scale, np.float32), f"{name}z": scalar(zero, np.int8 if signed else np.uint8)}


for op in ("Add", "Mul"):
    for signed in (False, True):
        z = 3 if signed else 120
        case(f"qlinear_{op.lower()}_{'s8' if signed else 'u8'}", node(f"QLinear{op}", "a as az b bs bz cs cz", "y"), [{"a": q8(2, 8, signed=signed), "b": q8(8, signed=signed)}], {"a": ["M", 8]},
             {**qp("a", 0.02, z, signed), **qp("b", 0.03, z + 2, signed), **qp("c", 0.05, z - 4, signed)})
case("qlinear_add_no_zero", node("QLinearAdd", "a as _ b bs _ cs _", "y"), [{"a": q8(2, 8), "b": q8(2, 8)}], {"a": ["M", 8], "b": ["M", 8]},
     {"as": scalar(0.02, np.float32), "bs": scalar(0.03, np.float32), "cs": scalar(0.05, np.float32)},  # ONNX Runtime wants them, though it documents defaults
     lambda a, b, **k: np.clip(np.rint((a * np.float64(k["as"]) + b * np.float64(k["bs"])) / np.float64(k["cs"])), 0, 255).astype(np.uint8))
case("qlinear_concat", node("QLinearConcat", "cs cz a as az b bs bz", "y", axis=1), [{"a": q8(2, 3), "b": q8(2, 4)}], {"a": ["M", 3], "b": ["M", 4]},
     {**qp("a", 0.02, 120), **qp("b", 0.05, 100), **qp("c", 0.04, 110)})
QX = {**qp("x", 0.05, 120), **qp("y", 0.004, 3)}
SQX = {**qp("x", 0.05, 10, True), **qp("y", 0.008, -100, True)}
case("qlinear_sigmoid", node("QLinearSigmoid", "x xs xz ys yz", "y"), [{"x": q8(3, 8)}], {"x": ["M", 8]}, QX)
case("qlinear_sigmoid_s8", node("QLinearSigmoid", "x xs xz ys yz", "y"), [{"x": q8(3, 8, signed=True)}], {"x": ["M", 8]}, SQX)
case("qlinear_leaky_relu", node("QLinearLeakyRelu", "x xs xz ys yz", "y", alpha=0.2), [{"x": q8(3, 8)}], {"x": ["M", 8]}, {**qp("x", 0.05, 120), **qp("y", 0.04, 100)})


def softmax(x, xs, xz, ys, yz, axes=(-1,)):
    """As documented; ONNX Runtime's table of exponentials is a step off at places."""
    v = (x.astype(np.float64) - xz) * xs
    e = np.exp(v - v.max(axes, keepdims=True))
    return np.clip(np.rint(e / e.sum(axes, keepdims=True) / ys + yz), 0, 255).astype(np.uint8)


case("qlinear_softmax", node("QLinearSoftmax", "x xs xz ys yz", "y", axis=-1, opset=13), [{"x": q8(3, 8)}], {"x": ["M", 8]}, QX, softmax)
case("qlinear_softmax_12", node("QLinearSoftmax", "x xs xz ys yz", "y", axis=1, opset=12), [{"x": q8(2, 3, 4)}], {"x": ["M", 3, 4]}, QX, lambda **k: softmax(axes=(1, 2), **k))
QP = {**qp("x", 0.0513, 120), **qp("y", 0.0607, 110)}  # no mean lies halfway between two steps
case("qlinear_average_pool", node("QLinearAveragePool", "x xs xz ys yz", "y", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]), [{"x": q8(2, 3, 6, 5)}, {"x": q8(1, 3, 4, 4)}], IMAGE, QP)
case("qlinear_average_pool_last", node("QLinearAveragePool", "x xs xz ys yz", "y", kernel_shape=[2, 2], channels_last=1, ceil_mode=1, count_include_pad=1, pads=[0, 0, 1, 1], strides=[2, 2]), [{"x": q8(2, 5, 5, 3)}],
     {"x": ["N", "H", "W", 3]}, QP)
for last in (0, 1):
    case(f"qlinear_global_average_pool_{last}", node("QLinearGlobalAveragePool", "x xs xz ys yz", "y", channels_last=last), [{"x": q8(2, 3, 4, 5)}], {"x": ["N", 3, "H", 5]}, QP)
case("dynamic_quantize_matmul", node("DynamicQuantizeMatMul", "a b bs bz bias", "y"), [{"a": noise(2, 3, 8)}, {"a": noise(1, 1, 8)}], {"a": ["B", "M", 8]},
     {"b": q8(8, 4), **qp("b", 0.02, 120), "bias": noise(4)})
# int8 weights of 7 bits: without VNNI ONNX Runtime's products of uint8 and int8 saturate
case("dynamic_quantize_matmul_columns", node("DynamicQuantizeMatMul", "a b bs bz", "y"), [{"a": noise(3, 8)}], {"a": ["M", 8]},
     {"b": q8(8, 4, signed=True, most=64), "bs": np.abs(noise(4)) * 0.02 + 0.01, "bz": q8(4, signed=True)})
case("matmul_integer_to_float", node("MatMulIntegerToFloat", "a b as bs az bz bias", "y"), [{"a": q8(2, 3, 8)}, {"a": q8(1, 1, 8)}], {"a": ["B", "M", 8]},
     {"b": q8(8, 4, signed=True, most=64), **qp("a", 0.03, 100), "bs": np.abs(noise(4)) * 0.02 + 0.01, "bz": q8(4, signed=True), "bias": noise(4)})
case("matmul_integer_to_float_columns", node("MatMulIntegerToFloat", "a b as bs az", "y"), [{"a": q8(3, 8)}], {"a": ["M", 8]},
     {"b": q8(8, 4), "as": np.abs(noise(8)) * 0.02 + 0.01, "bs": scalar(0.03, np.float32), "az": q8(8)},
     lambda a, b, bs, az, **k: ((a.astype(np.float64) - az) * k["as"] @ b * bs).astype(np.float32))
# likewise
G8 = {**qp("a", 0.03, 100), "ys": scalar(0.11, np.float32), "yz": scalar(90, np.uint8)}
case("qgemm", node("QGemm", "a as az b bs bz c ys yz", "y", transB=1), [{"a": q8(3, 8)}, {"a": q8(1, 8)}], {"a": ["M", 8]},
     {**G8, "b": q8(4, 8, signed=True, most=64), "bs": np.abs(noise(4)) * 0.02 + 0.01, "bz": np.zeros(4, np.int8), "c": ints(-500, 500, 4)})
case("qgemm_float", node("QGemm", "a as az b bs bz", "y", transA=1, alpha=0.5), [{"a": q8(8, 3)}], {"a": [8, "M"]},
     {**qp("a", 0.03, 100), "b": q8(8, 4), **qp("b", 0.02, 120)})
W_LSTM = {"w": q8(1, 3, 16), "r": q8(1, 4, 16), "bias": noise(1, 32) * 0.2, "ws": np.float32([0.01]), "wz": np.uint8([120]), "rs": np.float32([0.008]), "rz": np.uint8([130])}
W_BOTH = {"w": q8(2, 3, 16, signed=True, most=64), "r": q8(2, 4, 16, signed=True, most=64), "bias": noise(2, 32) * 0.2, "peep": noise(2, 12) * 0.3, "ws": np.abs(noise(2, 16)) * 0.004 + 0.004,
          "wz": np.zeros((2, 16), np.int8), "rs": np.abs(noise(2, 16)) * 0.004 + 0.004, "rz": np.zeros((2, 16), np.int8)}
case("dynamic_quantize_lstm", node("DynamicQuantizeLSTM", "x w r bias _ h0 c0 _ ws wz rs rz", "y yh yc", hidden_size=4), [{"x": noise(3, 1, 3), "h0": noise(1, 1, 4) * 0.3, "c0": noise(1, 1, 4)}],
     {"x": [3, "B", 3], "h0": [1, "B", 4], "c0": [1, "B", 4]}, W_LSTM)
case("dynamic_quantize_lstm_long", node("DynamicQuantizeLSTM", "x w r bias _ _ _ _ ws wz rs rz", "y yh yc", hidden_size=4), [{"x": noise(5, 1, 3)}, {"x": noise(2, 1, 3)}], {"x": ["T", 1, 3]}, W_LSTM)
case("dynamic_quantize_lstm_both", node("DynamicQuantizeLSTM", "x w r bias _ _ _ peep ws wz rs rz", "y yh yc", hidden_size=4, direction="bidirectional"), [{"x": noise(4, 1, 3)}], {"x": [4, 1, 3]}, W_BOTH)



# ---- features, trees ----------------------------------------------------------------------------------------------------
def n_grams(mode, **more):
    """Unigrams 2, 3, 5; bigrams 5 4, 5 6, 7 7; trigrams 2 3 5, 9 9 9; column 3 is no n-gram's."""
    return node("TfIdfVectorizer", "x", "y", domain="", mode=mode, min_gram_length=1, max_gram_length=3, max_skip_count=2, ngram_counts=[0, 3, 9], ngram_indexes=[0, 1, 2, 8, 5, 4, 7, 6],
                pool_int64s=[2, 3, 5, 5, 4, 5, 6, 7, 7, 2, 3, 5, 9, 9, 9], **more)


GRAMS = [{"x": ints(1, 10, 3, 40)}, {"x": ints(1, 10, 1, 2)}]
case("tf_idf_skips", n_grams("TF"), GRAMS, {"x": ["B", "L"]})
case("tf_idf_present", n_grams("IDF"), GRAMS, {"x": ["B", "L"]})
case("tf_idf_weights", n_grams("TFIDF", weights=[0.5, 2, 1.5, 3, 0.25, 4, 1, 7]), GRAMS, {"x": ["B", "L"]})
case("binarizer_integers", node("Binarizer", "x", "y", domain="ai.onnx.ml", threshold=-1.5), [{"x": ints(-4, 4, 3, 5)}], {"x": ["M", 5]}, reference=lambda x: (x > -1.5).astype(np.int32))


def trees(count, depth, features, targets, modes, dtype=np.float32, missing=False, **more):
    """Random trees, not all of one depth; numbers and splits are small integers, so that some are equal."""
    draw = np.random.default_rng(5)
    nodes, leaves, members, roots = [], [], {}, []

    def grow(left):
        if left == 0 or (left < depth - 1 and draw.random() < 0.3):
            leaves.append((draw.integers(-8, 9) / 4, draw.integers(targets)))
            return len(leaves) - 1, 1
        at, mode = len(nodes), int(draw.choice(modes))
        nodes.append(None)
        if mode == 6:
            members[at] = [*draw.choice(7, draw.integers(1, 5), replace=False) - 3.0, np.nan]
        yes, no = grow(left - 1), grow(left - 1)
        nodes[at] = (draw.integers(features), mode, draw.integers(-3, 4), *yes, *no, int(missing and draw.random() < 0.5))
        return at, 0

    for _ in range(count):
        roots.append(grow(depth)[0])
    feature, mode, split, yes, yes_leaf, no, no_leaf, nan = map(list, zip(*nodes))
    weight, target = zip(*leaves)
    if members:
        more["membership_values"] = numpy_helper.from_array(np.array(sum((members[k] for k in sorted(members)), []), dtype), "m")
    if missing:
        more["nodes_missing_value_tracks_true"] = nan
    return node("TreeEnsemble", "x", "y", domain="ai.onnx.ml", n_targets=targets, tree_roots=roots, nodes_featureids=feature, nodes_truenodeids=yes, nodes_trueleafs=yes_leaf, nodes_falsenodeids=no,
                nodes_falseleafs=no_leaf, leaf_targetids=[int(t) for t in target], nodes_modes=numpy_helper.from_array(np.array(mode, np.uint8), "o"),
                nodes_splits=numpy_helper.from_array(np.array(split, dtype), "s"), leaf_weights=numpy_helper.from_array(np.array(weight, dtype), "w"), **more)


def rows(*shape, dtype=np.float32, nan=0.0):
    v = ints(-3, 4, *shape).astype(dtype)
    v[rng.random(shape) < nan] = np.nan
    return {"x": v}


def transformed(n, how):
    """ONNX Runtime reads post_transform in another order than ONNX documents."""
    plain = onnx.NodeProto()
    plain.CopyFrom(n)
    next(a for a in plain.attribute if a.name == "post_transform").i = 0

    def reference(x):
        g = helper.make_graph([plain], "g", [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)], [helper.make_empty_tensor_value_info("y")])
        m = helper.make_model(g, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 5)])
        m.ir_version = 8
        return how(run(m, {"x": x})[0])

    return n, reference


F = {"x": ["N", 4]}
for k, name in enumerate(("less_equal", "less", "greater_equal", "greater", "equal", "unequal", "member")):
    case(f"trees_{name}", trees(3, 4, 4, 2, [k]), [rows(9, 4, nan=0.1), rows(1, 4)], F)
case("trees_missing", trees(3, 4, 4, 1, [0], missing=True), [rows(9, 4, nan=0.4)], F)
case("trees_average", trees(5, 5, 4, 3, [0], aggregate_function=0), [rows(9, 4)], F)
case("trees_least", trees(6, 3, 4, 2, [0], aggregate_function=2), [rows(9, 4)], F)
case("trees_most_double", trees(6, 3, 4, 5, [0, 6], np.float64, aggregate_function=3), [rows(9, 4, dtype=np.float64)], F)
for number, (name, how) in enumerate((("softmax", lambda v: np.exp(v) / np.exp(v).sum(1, keepdims=True)), ("logistic", lambda v: 1 / (1 + np.exp(-v)))), 1):
    n, reference = transformed(trees(4, 3, 4, 3, [1], post_transform=number), how)
    case(f"trees_{name}", n, [rows(5, 4)], F, reference=reference)


# ---- steps of training --------------------------------------------------------------------------------------------------
def learns(t, moments=1, dtype=np.float32):
    """The rate, t steps before, two weights, gradients, and moments, which are not below 0."""
    many = {f"{kind}{k}": noise(*s, dtype=dtype) for kind in ("x", "g") for k, s in enumerate(((3,), (2, 4)))}
    return {"r": scalar(0.1, np.float32), "t": scalar(t, np.int64), **many, **{f"m{i}{k}": np.abs(noise(*s, dtype=dtype)) for i in range(moments) for k, s in enumerate(((3,), (2, 4)))}}


def adam(r, t, x0, x1, g0, g1, m00, m01, m10, m11, a=np.float32(0.8), b=np.float32(0.9), e=np.float32(0.01), norm=np.float32(0.1), post=np.float32(0.05)):
    out = []
    for x, g, v, h in ((x0, g0, m00, m10), (x1, g1, m01, m11)):
        g = norm * x + g
        v, h = a * v + (1 - a) * g, b * h + (1 - b) * g * g
        rate = r * np.sqrt(1 - b**t) / (1 - a**t) if t > 0 else r
        out.append(((1 - post) * (x - rate * v / (np.sqrt(h) + e)), v, h))
    return [o[k].astype(x0.dtype) for k in range(3) for o in out]


def momentum(r, t, x0, x1, g0, g1, m00, m01, a=np.float32(0.8), b=np.float32(0.9), norm=np.float32(0.1)):
    out = []
    for x, g, v in ((x0, g0, m00), (x1, g1, m01)):
        g = norm * x + g
        v = a * v + (b if t > 0 else 1) * g
        out.append((x - r * v, v))
    return [o[k].astype(x0.dtype) for k in range(2) for o in out]


TRAINING = {"domain": "ai.onnx.preview.training", "norm_coefficient": 0.1}
case("adam", node("Adam", "r t x0 x1 g0 g1 m00 m01 m10 m11", "y0 y1 v0 v1 h0 h1", alpha=0.8, beta=0.9, epsilon=0.01, norm_coefficient_post=0.05, **TRAINING), [learns(0, 2), learns(3, 2)], reference=adam)
case("momentum_double", node("Momentum", "r t x0 x1 g0 g1 m00 m01", "y0 y1 v0 v1", alpha=0.8, beta=0.9, mode="standard", **TRAINING), [learns(0, dtype=np.float64), learns(2, dtype=np.float64)],
     reference=momentum)

if not only:
    for name in os.listdir(HERE):
        if name not in written:
            shutil.rmtree(os.path.join(HERE, name))
print(len(written), "models")
