#!/usr/bin/env python3
"""Writes the nets of this folder: NAME.prototxt, NAME.caffemodel and NAME/test_data_set_0 with inputs and right outputs.

    python3 tests/caffe/make_nets.py        (needs numpy and onnx; the results are committed)

The right outputs are computed here, from what Caffe's layers are defined to do; nothing is shared with Tenon."""
import math
import pathlib

import numpy as np
from onnx import numpy_helper

HERE = pathlib.Path(__file__).parent
rng = np.random.default_rng(11)


def noise(*shape, lo=-1.0, hi=1.0):
    return (rng.random(shape) * (hi - lo) + lo).astype(np.float32)


# ---- the wire format ----

def varint(v):
    out = b""
    while v >= 0x80:
        out, v = out + bytes([v & 0x7F | 0x80]), v >> 7
    return out + bytes([v])


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def blob(a, old):
    a = np.asarray(a, np.float32)
    data = field(5, a.tobytes())
    if not old:
        return field(7, field(1, b"".join(varint(d) for d in a.shape))) + data
    four = (1,) * (4 - a.ndim) + a.shape
    return b"".join(varint(k + 1 << 3) + varint(d) for k, d in enumerate(four)) + data


# ---- a net: text, weights and values, layer by layer ----

class Net:
    def __init__(self, form="layer"):
        self.form, self.text, self.weights, self.val, self.inputs = form, [], b"", {}, []

    def input(self, name, a):
        self.inputs.append(name)
        self.val[name] = a
        if self.form == "layer":
            dims = " ".join(f"dim: {d}" for d in a.shape)
            self.text.append(f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}')
        else:
            self.text.append(f'input: "{name}"\n' + "\n".join(f"input_dim: {d}" for d in a.shape))

    def add(self, type, name, bottoms, tops, results, params="", blobs=()):
        bottoms, tops = [[b] if isinstance(b, str) else b for b in (bottoms, tops)]
        if not isinstance(results, (list, tuple)):
            results = [results]
        ends = "".join(f'  bottom: "{b}"\n' for b in bottoms) + "".join(f'  top: "{t}"\n' for t in tops)
        old = self.form != "layer"
        packed = [blob(b, old) for b in blobs]
        if self.form == "layer":
            self.text.append(f'layer {{\n  name: "{name}"\n  type: "{type}"\n{ends}  {params}\n}}')
            self.weights += field(100, field(1, name.encode()) + field(2, type.encode()) + b"".join(field(7, b) for b in packed))
        elif self.form == "v1":
            self.text.append(f'layers {{\n  name: "{name}"\n  type: {type}\n{ends}  {params}\n}}')
            self.weights += field(2, field(4, name.encode()) + b"".join(field(6, b) for b in packed))
        else:
            self.text.append(f'layers {{\n  layer {{ name: "{name}" type: "{type}" {params} }}\n{ends}}}')
            self.weights += field(2, field(1, field(1, name.encode()) + b"".join(field(50, b) for b in packed)))
        for t, r in zip(tops, results):
            self.val[t] = np.asarray(r, np.float32)

    def raw(self, text):
        self.text.append(text)

    def save(self, name, outputs, about):
        (HERE / f"{name}.prototxt").write_text(f"# {about}\nname: \"{name}\"\n" + "\n".join(self.text) + "\n")
        (HERE / f"{name}.caffemodel").write_bytes(field(1, name.encode()) + self.weights)
        data = HERE / name / "test_data_set_0"
        data.mkdir(parents=True, exist_ok=True)
        for kind, names in ("input", self.inputs), ("output", outputs):
            for k, n in enumerate(names):
                (data / f"{kind}_{k}.pb").write_bytes(numpy_helper.from_array(self.val[n], n).SerializeToString())


# ---- what layers compute, in float64 ----

def windows(h, k, s, p, d=1):
    return (h + 2 * p - (d * (k - 1) + 1)) // s + 1


def conv(x, w, b=None, stride=(1, 1), pad=(0, 0), dil=(1, 1), group=1):
    x, w = x.astype(np.float64), w.astype(np.float64)
    n, c, h, wd = x.shape
    o, ci, kh, kw = w.shape
    oh, ow = windows(h, kh, stride[0], pad[0], dil[0]), windows(wd, kw, stride[1], pad[1], dil[1])
    xp = np.pad(x, ((0, 0), (0, 0), (pad[0],) * 2, (pad[1],) * 2))
    y = np.zeros((n, o, oh, ow))
    for g in range(group):
        for i in range(kh):
            for j in range(kw):
                part = xp[:, g * ci:(g + 1) * ci, i * dil[0]:i * dil[0] + (oh - 1) * stride[0] + 1:stride[0],
                          j * dil[1]:j * dil[1] + (ow - 1) * stride[1] + 1:stride[1]]
                y[:, g * o // group:(g + 1) * o // group] += np.einsum("nchw,oc->nohw", part, w[g * o // group:(g + 1) * o // group, :, i, j])
    return y if b is None else y + b.reshape(1, -1, 1, 1)


def deconv(x, w, b=None, stride=1, pad=0, group=1):
    x, w = x.astype(np.float64), w.astype(np.float64)
    n, c, h, wd = x.shape
    ci, o, k, _ = w.shape
    y = np.zeros((n, o * group, (h - 1) * stride + k, (wd - 1) * stride + k))
    for g in range(group):
        for q in range(c // group):
            for i in range(h):
                for j in range(wd):
                    y[:, g * o:(g + 1) * o, i * stride:i * stride + k, j * stride:j * stride + k] += \
                        x[:, g * c // group + q, i, j].reshape(n, 1, 1, 1) * w[g * c // group + q][None]
    y = y[:, :, pad:y.shape[2] - pad, pad:y.shape[3] - pad]
    return y if b is None else y + b.reshape(1, -1, 1, 1)


def pool(x, k, s, p, kind, up=True):
    n, c, h, w = x.shape

    def count(size, k, s, p):
        if not up:
            return (size + 2 * p - k) // s + 1
        out = math.ceil((size + 2 * p - k) / s) + 1
        return out - 1 if p and (out - 1) * s >= size + p else out
    oh, ow = count(h, k[0], s[0], p[0]), count(w, k[1], s[1], p[1])
    y = np.zeros((n, c, oh, ow))
    for i in range(oh):
        for j in range(ow):
            a, b = i * s[0] - p[0], j * s[1] - p[1]
            a1, b1 = min(a + k[0], h + p[0]), min(b + k[1], w + p[1])
            area = (a1 - a) * (b1 - b)
            part = x[:, :, max(a, 0):min(a1, h), max(b, 0):min(b1, w)].astype(np.float64)
            y[:, :, i, j] = part.max((2, 3)) if kind == "MAX" else part.sum((2, 3)) / area
    return y


def lrn_across(x, n, alpha, beta, k):
    sq, c = x.astype(np.float64) ** 2, x.shape[1]
    s = np.stack([sq[:, max(0, i - n // 2):i + n // 2 + 1].sum(1) for i in range(c)], 1)
    return x / (k + alpha / n * s) ** beta


def lrn_within(x, n, alpha, beta):
    return x / (1 + alpha * pool(x.astype(np.float64) ** 2, (n, n), (1, 1), (n // 2, n // 2), "AVE")) ** beta


def softmax(x, axis):
    e = np.exp(x.astype(np.float64) - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def leaky(x, slope=0.0):
    return np.where(x > 0, x, slope * x)


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def reorg(x, s, reverse=False):
    n, c, h, w = x.shape
    oc = c // (s * s)
    y = np.zeros(x.size if not reverse else x.size, np.float32)
    flat = x.reshape(-1)
    for b in range(n):
        for k in range(c):
            for j in range(h):
                for i in range(w):
                    here = i + w * (j + h * (k + c * b))
                    off = k // oc
                    there = i * s + off % s + w * s * (j * s + off // s + h * s * (k % oc + oc * b))
                    if reverse:
                        y[there] = flat[here]
                    else:
                        y[here] = flat[there]
    return y.reshape((n, oc, h * s, w * s) if reverse else (n, c * s * s, h // s, w // s))


def interp(x, oh, ow):
    n, c, h, w = x.shape
    y = np.zeros((n, c, oh, ow))
    for i in range(oh):
        for j in range(ow):
            fy, fx = (i * (h - 1) / (oh - 1) if oh > 1 else 0), (j * (w - 1) / (ow - 1) if ow > 1 else 0)
            a, b = int(fy), int(fx)
            a1, b1 = min(a + 1, h - 1), min(b + 1, w - 1)
            ly, lx = fy - a, fx - b
            y[:, :, i, j] = (1 - ly) * ((1 - lx) * x[:, :, a, b] + lx * x[:, :, a, b1]) + ly * ((1 - lx) * x[:, :, a1, b] + lx * x[:, :, a1, b1])
    return y


def prior_box(h, w, img_h, img_w, mins, maxs, ratios, flip, clip, variance, step=None, offset=0.5):
    all_ratios = [1.0]
    for r in ratios:
        if min(abs(r - q) for q in all_ratios) >= 1e-6:
            all_ratios += [r] + ([1 / r] if flip else [])
    sh, sw = (step, step) if step else (img_h / h, img_w / w)
    mins, maxs = [int(m) for m in mins], [int(m) for m in maxs]  # as Caffe does
    boxes = []
    for i in range(h):
        for j in range(w):
            cx, cy = (j + offset) * sw, (i + offset) * sh
            for k, m in enumerate(mins):
                sizes = [(m, m)] + ([(math.sqrt(m * maxs[k]),) * 2] if maxs else [])
                sizes += [(m * math.sqrt(r), m / math.sqrt(r)) for r in all_ratios[1:]]
                boxes += [[(cx - a / 2) / img_w, (cy - b / 2) / img_h, (cx + a / 2) / img_w, (cy + b / 2) / img_h] for a, b in sizes]
    boxes = np.array(boxes)
    if clip:
        boxes = boxes.clip(0, 1)
    return np.stack([boxes.reshape(-1), np.tile(variance if len(variance) == 4 else variance * 4, len(boxes))])[None].astype(np.float32)


def overlap(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def detection_output(loc, conf, prior, classes, background, code, nms, top_k, keep, least, share=True, encoded=False):
    n, p = loc.shape[0], prior.shape[2] // 4
    sets = 1 if share else classes
    loc, conf = loc.reshape(n, p, sets, 4).astype(np.float64), conf.reshape(n, p, classes)
    box, var = prior.astype(np.float64).reshape(2, p, 1, 4)
    size = box[..., 2:] - box[..., :2]
    out = []
    for i in range(n):
        v = loc[i] if encoded else loc[i] * var
        if code == "CORNER":
            b = box + v
        elif code == "CORNER_SIZE":
            b = box + v * np.concatenate([size, size], -1)
        else:
            mid, half = v[..., :2] * size + (box[..., :2] + box[..., 2:]) / 2, np.exp(v[..., 2:]) * size / 2
            b = np.concatenate([mid - half, mid + half], -1)
        found = []
        for c in range(classes):
            if c == background:
                continue
            order = sorted((q for q in range(p) if conf[i, q, c] > least), key=lambda q: -conf[i, q, c])
            kept = []
            for q in order[:top_k if top_k >= 0 else None]:
                if all(overlap(b[q, 0 if share else c], b[r, 0 if share else c]) <= nms for r in kept):
                    kept.append(q)
            found += [(conf[i, q, c], c, q) for q in kept]
        if 0 <= keep < len(found):
            found = sorted(found, key=lambda f: -f[0])[:keep]
            found = sorted(found, key=lambda f: (f[1], -f[0]))
        out += [[i, c, s, *b[q, 0 if share else c]] for s, c, q in found]
    if not out:
        out = [[i] + [-1] * 6 for i in range(n)]
    return np.array(out, np.float32)[None, None]


# ---- nets ----

def filled(v):
    return f"weight_filler {{ type: 'xavier' }} bias_filler {{ type: \"constant\" value: {v} }}"


def classic():
    t = Net()
    t.input("data", noise(2, 4, 13, 11))
    w, b = noise(8, 2, 3, 2), noise(8)
    t.add("Convolution", "conv1", "data", "conv1", conv(t.val["data"], w, b, (2, 1), (1, 2), (1, 2), 2),
          "param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }\n  convolution_param { num_output: 8 group: 2 kernel_h: 3 kernel_w: 2 "
          f"stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 2 dilation: 1 dilation: 2 {filled(0.1)} }}", [w, b])
    m, v, f = noise(8) * 3, noise(8, lo=0.5, hi=2) * 3, np.array([3.0])
    x = (t.val["conv1"] - (m / 3).reshape(1, 8, 1, 1)) / np.sqrt(v.reshape(1, 8, 1, 1) / 3 + 1e-5)
    t.add("BatchNorm", "bn1", "conv1", "conv1", x, "batch_norm_param { use_global_stats: true }", [m, v, f])
    s, b = noise(8, lo=0.5, hi=1.5), noise(8)
    t.add("Scale", "scale1", "conv1", "conv1", x * s.reshape(1, 8, 1, 1) + b.reshape(1, 8, 1, 1), "scale_param { bias_term: true }", [s, b])
    t.add("ReLU", "relu1", "conv1", "conv1", leaky(t.val["conv1"]), "relu_param { engine: CAFFE }")
    t.add("Pooling", "pool1", "conv1", "pool1", pool(t.val["conv1"], (3, 3), (2, 2), (1, 1), "MAX"), "pooling_param { pool: MAX kernel_size: 3 stride: 2 pad: 1 }")
    t.add("LRN", "norm1", "pool1", "norm1", lrn_across(t.val["pool1"], 5, 0.5, 0.75, 2.0), "lrn_param { local_size: 5 alpha: 0.5 beta: .75 k: 2 }")
    t.add("Pooling", "pool2", "norm1", "pool2", pool(t.val["norm1"], (3, 2), (2, 2), (1, 0), "AVE"),
          "pooling_param { pool: AVE kernel_h: 3 kernel_w: 2 stride: 2 pad_h: 1 pad_w: 0 }")
    a = t.val["pool2"]
    w, b = noise(6, a[0].size), noise(6)
    t.add("InnerProduct", "fc", "pool2", "fc", a.reshape(2, -1).astype(np.float64) @ w.T + b, f"inner_product_param {{ num_output: 6 {filled(0)} }}", [w, b])
    t.add("Dropout", "drop", "fc", "fc", t.val["fc"], "dropout_param { dropout_ratio: 0.4 }")
    t.add("Softmax", "prob", "fc", "prob", softmax(t.val["fc"], 1))
    t.raw('layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" include { phase: TRAIN } loss_param { ignore_label: 1 } }\n'
          'layer { name: "acc" type: "Accuracy" bottom: "fc" top: "acc" exclude { stage: "deploy" } include_not { } exclude { phase: TEST } }'.replace(" include_not { }", ""))
    t.add("Pooling", "global", "norm1", "global", t.val["norm1"].mean((2, 3), keepdims=True), "pooling_param { pool: AVE global_pooling: true }")
    t.save("classic", ["prob", "global"], "a classifier: groups, rectangles, dilation, rounding up, layers in place, phases")


def v1():
    t = Net("v1")
    t.input("data", noise(1, 4, 9, 9))
    t.raw('layers { name: "train" type: DATA top: "data" data_param { source: "x" batch_size: 3 backend: LMDB } include: { phase: TRAIN } }')
    w, b = noise(6, 4, 3, 3), noise(6)
    t.add("CONVOLUTION", "conv", "data", "conv", conv(t.val["data"], w, b, (2, 2), (1, 1)),
          "blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0 convolution_param { num_output: 6 kernel_size: 3 stride: 2 pad: 1 }", [w, b])
    t.add("RELU", "relu", "conv", "conv", leaky(t.val["conv"], 0.125), "relu_param { negative_slope: 0.125 }")
    t.add("LRN", "norm", "conv", "norm", lrn_within(t.val["conv"], 3, 0.6, 0.75), "lrn_param { local_size: 3 alpha: 0.6 beta: 0.75 norm_region: WITHIN_CHANNEL }")
    t.add("SLICE", "cut", "norm", ["a", "b", "c"], [t.val["norm"][:, :1], t.val["norm"][:, 1:4], t.val["norm"][:, 4:]], "slice_param { slice_point: 1 slice_point: 4 }")
    t.add("TANH", "tanh", "a", "a1", np.tanh(t.val["a"]))
    t.add("SIGMOID", "sig", "b", "b1", sigmoid(t.val["b"]))
    t.add("ABSVAL", "abs", "c", "c1", np.abs(t.val["c"]))
    t.add("CONCAT", "join", ["c1", "a1", "b1"], "joined", np.concatenate([t.val[k] for k in ("c1", "a1", "b1")], 1), "concat_param { concat_dim: 1 }")
    t.add("ELTWISE", "sum", ["joined", "norm", "conv"], "sum", 0.5 * t.val["joined"] - t.val["norm"] + 2 * t.val["conv"], "eltwise_param { operation: SUM coeff: 0.5 coeff: -1 coeff: 2 }")
    t.add("POWER", "pow", "sum", "pow", (2 + 0.25 * t.val["sum"].astype(np.float64)) ** 3, "power_param { power: 3 scale: 0.25 shift: 2 }")
    t.add("MVN", "mvn", "pow", "mvn", (lambda x: (x - x.mean((2, 3), keepdims=True)) / (x.std((2, 3), keepdims=True) + 1e-9))(t.val["pow"].astype(np.float64)))
    t.add("BNLL", "bnll", "mvn", "bnll", np.log1p(np.exp(t.val["mvn"].astype(np.float64))))
    t.add("POOLING", "pool", "bnll", "pool", pool(t.val["bnll"], (2, 2), (2, 2), (0, 0), "AVE"), "pooling_param { pool: AVE kernel_size: 2 stride: 2 }")
    t.add("SPLIT", "split", "pool", ["p1", "p2"], [t.val["pool"]] * 2)
    t.add("SILENCE", "silence", "p2", [], [])
    t.add("FLATTEN", "flat", "p1", "flat", t.val["pool"].reshape(1, -1))
    w, b = noise(5, t.val["flat"].shape[1]), noise(5)
    t.add("INNER_PRODUCT", "fc", "flat", "fc", t.val["flat"].astype(np.float64) @ w.T + b, "inner_product_param { num_output: 5 }", [w, b])
    t.add("SOFTMAX", "prob", "fc", "prob", softmax(t.val["fc"], 1))
    t.add("THRESHOLD", "over", "fc", "over", t.val["fc"] > 0.25, "threshold_param { threshold: 0.25 }")
    t.add("EXP", "exp", "fc", "exp", 2.0 ** (0.5 * t.val["fc"].astype(np.float64) - 1), "exp_param { base: 2 scale: 0.5 shift: -1 }")
    t.add("ARGMAX", "best", "fc", "best", t.val["fc"].argmax(1).reshape(1, 1, 1))
    t.save("v1", ["prob", "over", "exp", "best"], "layers with enumerators as types, and blobs of four axes")


def v0():
    t = Net("v0")
    t.input("data", noise(1, 3, 10, 10))
    t.add("padding", "pad", "data", "padded", np.pad(t.val["data"], ((0, 0), (0, 0), (1, 1), (1, 1))), "pad: 1")
    w, b = noise(4, 3, 3, 3), noise(4)
    t.add("conv", "conv1", "padded", "conv1", conv(t.val["padded"], w, b), "num_output: 4 kernelsize: 3 blobs_lr: 1. blobs_lr: 2. weight_decay: 1. weight_filler { type: \"gaussian\" std: 0.01 }", [w, b])
    t.add("relu", "relu1", "conv1", "conv1", leaky(t.val["conv1"]))
    t.add("pool", "pool1", "conv1", "pool1", pool(t.val["conv1"], (3, 3), (2, 2), (0, 0), "MAX"), "pool: MAX kernelsize: 3 stride: 2")
    t.add("lrn", "norm1", "pool1", "norm1", lrn_across(t.val["pool1"], 3, 0.5, 0.75, 1.0), "local_size: 3 alpha: 0.5 beta: 0.75")
    w, b = noise(4, 2, 3, 3), noise(4)
    t.add("conv", "conv2", "norm1", "conv2", conv(t.val["norm1"], w, b, pad=(1, 1), group=2), "num_output: 4 group: 2 pad: 1 kernelsize: 3", [w, b])
    t.add("concat", "join", ["conv2", "norm1"], "join", np.concatenate([t.val["conv2"], t.val["norm1"]], 1))
    w, b = noise(5, t.val["join"].size), noise(5)
    t.add("innerproduct", "fc", "join", "fc", t.val["join"].reshape(1, -1).astype(np.float64) @ w.T + b, "num_output: 5 biasterm: true", [w, b])
    t.add("dropout", "drop", "fc", "fc", t.val["fc"], "dropout_ratio: 0.5")
    t.add("softmax", "prob", "fc", "prob", softmax(t.val["fc"], 1))
    t.save("v0", ["prob"], "the oldest form: all parameters side by side")


def activations():
    t = Net()
    t.input("x", noise(2, 3, 4, 5, lo=-3, hi=8))
    t.input("y", noise(2, 3, 4, 5))
    x, y = t.val["x"].astype(np.float64), t.val["y"].astype(np.float64)
    a = noise(3)
    t.add("PReLU", "prelu", "x", "prelu", leaky(x, a.reshape(1, 3, 1, 1)), "prelu_param { filler { type: \"constant\" value: 0.25 } }", [a])
    a = noise(1)
    t.add("PReLU", "shared", "x", "shared", leaky(x, float(a[0])), "prelu_param { channel_shared: true }", [a])
    t.add("ELU", "elu", "y", "elu", np.where(y > 0, y, 0.5 * (np.exp(y) - 1)), "elu_param { alpha: 0.5 }")
    t.add("ReLU6", "relu6", "x", "relu6", x.clip(0, 6))
    t.add("Log", "log", "x", "log", np.log(3.5 + 0.5 * x) / np.log(10), "log_param { base: 10 scale: 0.5 shift: 3.5 }")
    t.add("Exp", "exp", "y", "exp", np.exp(y))
    t.add("Power", "power", "x", "power", x * -2 + 1, "power_param { scale: -2 shift: 1 }")
    t.add("Eltwise", "prod", ["x", "y", "elu"], "prod", x * y * t.val["elu"], "eltwise_param { operation: PROD }")
    t.add("Eltwise", "max", ["x", "y"], "max", np.maximum(x, y), "eltwise_param { operation: MAX }")
    t.add("Eltwise", "sum", ["x", "y"], "sum", x + y)
    b = noise(4, 5)
    t.add("Bias", "bias", "x", "bias", x + b, "bias_param { axis: -2 num_axes: -1 }", [b])
    t.input("w", noise(2, 3))
    b = noise(2, 3)
    t.add("Scale", "scale", ["x", "w"], "scale", x * t.val["w"].reshape(2, 3, 1, 1) + b.reshape(2, 3, 1, 1), "scale_param { axis: 0 bias_term: true }", [b])
    b = noise()
    t.add("Scale", "by", "y", "by", y * b, "scale_param { num_axes: 0 }", [b])
    t.add("MVN", "mvn", "y", "mvn", (lambda v: v - v.mean((1, 2, 3), keepdims=True))(y), "mvn_param { across_channels: true normalize_variance: false }")
    s = noise(3, lo=10, hi=20)
    t.add("Normalize", "norm", "y", "norm", y / np.sqrt((y * y).sum(1, keepdims=True) + 1e-10) * s.reshape(1, 3, 1, 1),
          "norm_param { across_spatial: false channel_shared: false scale_filler { type: \"constant\" value: 20 } }", [s])
    s = noise(1)
    t.add("Normalize", "norm_all", "y", "norm_all", y / np.sqrt((y * y).sum((1, 2, 3), keepdims=True) + 1e-10) * s, "", [s])
    t.add("BatchNorm", "batch", "x", "batch", (x - x.mean((0, 2, 3), keepdims=True)) / np.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-3), "batch_norm_param { use_global_stats: false eps: 1e-3 }")
    t.add("Softmax", "soft", "x", "soft", softmax(x, 3), "softmax_param { axis: -1 }")
    t.save("activations", ["prelu", "shared", "relu6", "log", "exp", "power", "prod", "max", "sum", "bias", "scale", "by", "mvn", "norm", "norm_all", "batch", "soft"],
           "elementwise layers and normalisations")


def shapes():
    t = Net()
    t.input("x", noise(2, 6, 4, 3))
    x = t.val["x"].astype(np.float64)

    def reshape(name, dims, shape, rest=""):
        t.add("Reshape", name, "x", name, x.reshape(shape), f"reshape_param {{ shape {{ {' '.join(f'dim: {d}' for d in dims)} }} {rest} }}")
    reshape("r0", (0, -1), (2, 72))
    reshape("r1", (3, 2), (2, 3, 2, 4, 3), "axis: 1 num_axes: 1")
    reshape("r2", (1,), (2, 6, 4, 3, 1), "axis: -1")
    reshape("r3", (1,), (1, 2, 6, 4, 3), "num_axes: 0")
    reshape("r4", (0, 2, -1), (2, 6, 2, 6), "axis: 1")
    t.add("Flatten", "f0", "x", "f0", x.reshape(2, 72))
    t.add("Flatten", "f1", "x", "f1", x.reshape(2, 24, 3), "flatten_param { axis: 1 end_axis: -2 }")
    t.add("Permute", "p0", "x", "p0", x.transpose(0, 2, 3, 1), "permute_param { order: 0 order: 2 order: 3 order: 1 }")
    t.add("Permute", "p1", "x", "p1", x.transpose(3, 0, 1, 2), "permute_param { order: [3] }")
    t.input("small", noise(2, 6, 2, 2))
    t.add("Crop", "crop", ["x", "small"], "crop", x[:, :, 2:4, 1:3], "crop_param { axis: 2 offset: 2 offset: 1 }")
    t.add("Tile", "tile", "x", "tile", np.tile(x, (1, 1, 3, 1)), "tile_param { axis: 2 tiles: 3 }")
    t.add("Slice", "halves", "x", ["h0", "h1"], [x[:, :, :2], x[:, :, 2:]], "slice_param { axis: -2 }")
    t.add("Concat", "join", ["h1", "h0"], "join", np.concatenate([x[:, :, 2:], x[:, :, :2]], 2), "concat_param { axis: -2 }")
    t.add("Reduction", "sum", "x", "sum_", x.sum((1, 2, 3)), "reduction_param { axis: 1 }")
    t.add("Reduction", "asum", "x", "asum", 0.5 * np.abs(x).sum((2, 3)), "reduction_param { operation: ASUM axis: 2 coeff: 0.5 }")
    t.add("Reduction", "sumsq", "x", "sumsq", (x * x).sum(3), "reduction_param { operation: SUMSQ axis: -1 }")
    t.add("Reduction", "mean", "x", "mean", x.mean(), "reduction_param { operation: MEAN }")
    tied = np.round(noise(2, 5, 3), 1)
    tied[:, 1] = tied[:, 4]
    t.input("tied", tied)

    def best(a, axis, k):  # of equal ones the later first
        n = a.shape[axis]
        order = np.flip(np.argsort(a, axis=axis, kind="stable"), axis)
        return np.take(order, range(k), axis)
    t.add("ArgMax", "arg0", "tied", "arg0", best(tied, 1, 1), "argmax_param { axis: 1 }")
    t.add("ArgMax", "arg1", "tied", "arg1", np.take_along_axis(tied, best(tied, 1, 3), 1), "argmax_param { axis: 1 top_k: 3 out_max_val: true }")
    flat = tied.reshape(2, 15)
    at = best(flat, 1, 2)
    t.add("ArgMax", "arg2", "tied", "arg2", np.stack([at, np.take_along_axis(flat, at, 1)], 1).reshape(2, 2, 2), "argmax_param { top_k: 2 out_max_val: true }")
    t.input("words", np.array([[3, 0, 1], [2, 2, 4]], np.float32))
    w, b = noise(5, 4), noise(4)
    t.add("Embed", "embed", "words", "embed", w[t.val["words"].astype(int)] + b, "embed_param { num_output: 4 input_dim: 5 }", [w, b])
    w = noise(12, 7)
    t.add("InnerProduct", "ip", "x", "ip", x.reshape(2, 6, 12) @ w, "inner_product_param { num_output: 7 axis: 2 transpose: true bias_term: false }", [w])
    t.add("DummyData", "dummy", [], ["d0", "d1"], [np.full((2, 2), 0.5), np.zeros((3,))], 'dummy_data_param { shape { dim: 2 dim: 2 } shape { dim: 3 } data_filler { type: "constant" value: 0.5 } data_filler { } }')
    t.save("shapes", ["r0", "r1", "r2", "r3", "r4", "f0", "f1", "p0", "p1", "crop", "tile", "join", "sum_", "asum", "sumsq", "mean", "arg0", "arg1", "arg2", "embed", "ip", "d0", "d1"],
           "layers that move elements or reduce")


def upsampling():
    t = Net()
    t.input("x", noise(1, 6, 5, 4))
    x = t.val["x"].astype(np.float64)
    w, b = noise(6, 2, 4, 4), noise(4)
    t.add("Deconvolution", "deconv", "x", "deconv", deconv(x, w, b, 2, 1, 2), "convolution_param { num_output: 4 group: 2 kernel_size: 4 stride: 2 pad: 1 }", [w, b])
    w = noise(6, 1, 3, 3)
    t.add("ConvolutionDepthwise", "depthwise", "x", "depthwise", conv(x, w, None, pad=(1, 1), group=6), "convolution_param { num_output: 6 bias_term: false kernel_size: 3 pad: 1 }", [w])
    t.add("Upsample", "up", "x", "up", x.repeat(2, 2).repeat(3, 3), "upsample_param { scale_h: 2 scale_w: 3 }")
    t.add("ShuffleChannel", "shuffle", "x", "shuffle", x.reshape(1, 3, 2, 5, 4).transpose(0, 2, 1, 3, 4).reshape(x.shape), "shuffle_channel_param { group: 3 }")
    t.add("Interp", "zoom", "x", "zoom", interp(x, 9, 7), "interp_param { zoom_factor: 2 }")
    t.add("Interp", "size", "x", "size", interp(x[:, :, 1:-1, 1:-1], 6, 5), "interp_param { height: 6 width: 5 pad_beg: -1 pad_end: -1 }")
    t.add("Interp", "shrink", "x", "shrink", interp(x, 3, 2), "interp_param { shrink_factor: 2 }")
    t.add("Pooling", "floor", "x", "floor", pool(x, (2, 2), (2, 2), (0, 0), "MAX", up=False), "pooling_param { kernel_size: 2 stride: 2 round_mode: FLOOR }")
    t.save("upsampling", ["deconv", "depthwise", "up", "shuffle", "zoom", "size", "shrink", "floor"], "what forks added: resizing, shuffling, depthwise convolutions")


def yolo():
    t = Net()
    t.input("data", noise(1, 3, 16, 16))
    w, m, v, s, b = noise(8, 3, 3, 3), noise(8) * .1, noise(8, lo=.5, hi=1.5), noise(8, lo=.5, hi=1.5), noise(8)
    t.add("Convolution", "conv1", "data", "conv1", conv(t.val["data"], w, None, pad=(1, 1)), "convolution_param { num_output: 8 kernel_size: 3 pad: 1 bias_term: false }", [w])
    c = (lambda a: a.reshape(1, -1, 1, 1))
    x = (t.val["conv1"] - c(m)) / np.sqrt(c(v) + 1e-5)
    t.add("BatchNorm", "bn1", "conv1", "bn1", x, "", [m, v, np.array([1.0])])
    t.add("Scale", "scale1", "bn1", "scale1", x * c(s) + c(b), "scale_param { bias_term: true }", [s, b])
    t.add("ReLU", "relu1", "scale1", "scale1", leaky(t.val["scale1"], 0.1), "relu_param { negative_slope: 0.1 }")
    t.add("Pooling", "pool1", "scale1", "pool1", pool(t.val["scale1"], (2, 2), (2, 2), (0, 0), "MAX"), "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
    t.add("Reorg", "reorg", "pool1", "reorg", reorg(t.val["pool1"], 2), "reorg_param { stride: 2 }")
    t.add("Pooling", "pool2", "pool1", "pool2", pool(t.val["pool1"], (2, 2), (2, 2), (0, 0), "MAX"), "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
    t.add("Concat", "join", ["reorg", "pool2"], "join", np.concatenate([t.val["reorg"], t.val["pool2"]], 1))
    w, b = noise(14, 40, 1, 1), noise(14)
    t.add("Convolution", "region", "join", "region", conv(t.val["join"], w, b), "convolution_param { num_output: 14 kernel_size: 1 }", [w, b])
    t.add("Reorg", "back", "join", "back", reorg(t.val["join"], 2, True), "reorg_param { stride: 2 reverse: true }")
    t.save("yolo", ["region", "back"], "a passthrough as YOLOv2 has it")


def segnet():
    t = Net()
    t.input("data", np.round(noise(2, 3, 9, 8), 1))  # with equal neighbours
    x = t.val["data"]
    y, at = np.zeros((2, 3, 5, 4), np.float32), np.zeros((2, 3, 5, 4), np.float32)
    for i in range(5):
        for j in range(4):
            part = x[:, :, 2 * i:2 * i + 2, 2 * j:2 * j + 2]
            best = part.reshape(2, 3, -1).argmax(2)
            y[:, :, i, j], at[:, :, i, j] = part.max((2, 3)), (2 * i + best // 2) * 8 + 2 * j + best % 2
    t.add("Pooling", "pool", "data", ["pool", "mask"], [y, at], "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
    w, b = noise(3, 3, 1, 1), noise(3)
    t.add("Convolution", "conv", "pool", "conv", conv(y, w, b), "convolution_param { num_output: 3 kernel_size: 1 }", [w, b])

    def unpool(v, h, w):
        out = np.zeros((2, 3, h * w), np.float32)
        np.put_along_axis(out, at.reshape(2, 3, -1).astype(int), v.reshape(2, 3, -1), 2)
        return out.reshape(2, 3, h, w)
    t.add("Upsample", "up", ["conv", "mask"], "up", unpool(t.val["conv"], 9, 8), "upsample_param { scale: 2 upsample_h: 9 upsample_w: 8 }")
    t.add("Upsample", "scaled", ["conv", "mask"], "scaled", unpool(t.val["conv"], 9, 8), "upsample_param { scale: 2 pad_out_h: true }")
    p = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    t.add("Pooling", "padded", "data", ["padded", "places"], [pool(x, (3, 3), (2, 2), (1, 1), "MAX"), 0],
          "pooling_param { pool: MAX kernel_size: 3 stride: 2 pad: 1 }")
    places = np.zeros_like(t.val["padded"])
    for i in range(places.shape[2]):
        for j in range(places.shape[3]):
            best = p[:, :, 2 * i:2 * i + 3, 2 * j:2 * j + 3]
            width = best.shape[3]
            best = best.reshape(2, 3, -1).argmax(2)
            places[:, :, i, j] = (2 * i - 1 + best // width) * 8 + 2 * j - 1 + best % width
    t.val["places"] = places
    t.save("segnet", ["up", "scaled", "padded", "places"], "maxima that are put back where they were")


def modern():
    t = Net()
    t.input("x", noise(2, 3, 4, 5, lo=-4, hi=4))
    t.input("a", noise(2, 3, 1, 1))
    x = t.val["x"].astype(np.float64)
    t.add("Swish", "swish", "x", "swish", x * sigmoid(x))
    t.add("Swish", "swish2", "x", "swish2", x * sigmoid(0.5 * x), "swish_param { beta: 0.5 }")
    t.add("Mish", "mish", "x", "mish", x * np.tanh(np.log1p(np.exp(x))))
    t.add("Clip", "clip", "x", "clip", x.clip(-0.5, 2), "clip_param { min: -0.5 max: 2 }")
    t.add("Axpy", "axpy", ["a", "x", "clip"], "axpy", t.val["a"] * x + t.val["clip"])
    w = noise(3, 4)
    t.add("Parameter", "param", [], "param", w, "parameter_param { shape { dim: 3 dim: 4 } }", [w])
    t.add("Scale", "by", ["x", "param"], "by", x * w.reshape(3, 4, 1), "scale_param { axis: 1 }")
    s, b, m, v = noise(1, 3, 1, 1), noise(1, 3, 1, 1), noise(1, 3, 1, 1), noise(1, 3, 1, 1, lo=0.5, hi=2)
    t.add("BN", "bn2", "x", "bn2", x * s + b, "bn_param { bn_mode: INFERENCE scale_filler { type: \"constant\" value: 1 } }", [s, b])
    t.add("BN", "bn4", "x", "bn4", (x - m) / np.sqrt(v + 1e-3) * s + b, "bn_param { frozen: true momentum: 0.95 eps: 1e-3 }", [s, b, m, v])
    t.save("modern", ["swish", "swish2", "mish", "axpy", "by", "bn2", "bn4"], "what came last")


def ssd(name, about, classes, background, keep, top_k, least, code="CENTER_SIZE", share=True, batch=2, encoded=False):
    t = Net()
    t.input("data", noise(batch, 3, 16, 20))
    sets = 1 if share else classes
    c = (lambda a: a.reshape(1, -1, 1, 1))
    locs, confs, priors = [], [], []
    bottom = "data"
    for k, (mins, maxs, step) in enumerate([([5.9], [8.7], None), ([9.0, 12.0], [], 8.0)]):
        w, b = noise(6, t.val[bottom].shape[1], 3, 3), noise(6)
        t.add("Convolution", f"conv{k}", bottom, f"conv{k}", conv(t.val[bottom], w, b, (2, 2) if k else (4, 4), (1, 1)),
              f"convolution_param {{ num_output: 6 kernel_size: 3 pad: 1 stride: {2 if k else 4} }}", [w, b])
        t.add("ReLU", f"relu{k}", f"conv{k}", f"conv{k}", leaky(t.val[f"conv{k}"]))
        bottom = f"conv{k}"
        x = t.val[bottom]
        variance = [0.1, 0.1, 0.2, 0.2] if k == 0 else [0.15]
        extra = "max_size: 8.7 variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 clip: true" if k == 0 else "min_size: 12 variance: 0.15 step: 8 flip: false offset: 0.4"
        box = prior_box(x.shape[2], x.shape[3], 16, 20, mins, maxs, [2.0] if k == 0 else [2.0, 0.5], k == 0, k == 0, variance, step, 0.5 if k == 0 else 0.4)
        per = box.shape[2] // 4 // (x.shape[2] * x.shape[3])
        for kind, n, into in ("loc", per * sets * 4, locs), ("conf", per * classes, confs):
            w, b = noise(n, 6, 1, 1), noise(n)
            top = f"{kind}{k}"
            t.add("Convolution", top, bottom, top, conv(x, w, b), f"convolution_param {{ num_output: {n} kernel_size: 1 }}", [w, b])
            p = t.val[top].transpose(0, 2, 3, 1)
            t.add("Permute", f"{top}_perm", top, f"{top}_perm", p, "permute_param { order: 0 order: 2 order: 3 order: 1 }")
            t.add("Flatten", f"{top}_flat", f"{top}_perm", f"{top}_flat", p.reshape(batch, -1), "flatten_param { axis: 1 }")
            into.append(f"{top}_flat")
        ratios = "aspect_ratio: 2" + (" aspect_ratio: 0.5" if k else "")
        t.add("PriorBox", f"prior{k}", [bottom, "data"], f"prior{k}", box, f"prior_box_param {{ min_size: {mins[0]} {extra} {ratios} }}")
        priors.append(f"prior{k}")
    for kind, parts, axis in ("loc", locs, 1), ("conf", confs, 1), ("prior", priors, 2):
        t.add("Concat", kind, parts, kind, np.concatenate([t.val[p] for p in parts], axis), f"concat_param {{ axis: {axis} }}")
    p = t.val["prior"].shape[2] // 4
    t.add("Reshape", "conf_reshape", "conf", "conf_reshape", t.val["conf"].reshape(batch, p, classes), f"reshape_param {{ shape {{ dim: 0 dim: -1 dim: {classes} }} }}")
    t.add("Softmax", "conf_softmax", "conf_reshape", "conf_softmax", softmax(t.val["conf_reshape"], 2), "softmax_param { axis: 2 }")
    t.add("Flatten", "conf_flat", "conf_softmax", "conf_flat", t.val["conf_softmax"].reshape(batch, -1), "flatten_param { axis: 1 }")
    found = detection_output(t.val["loc"], t.val["conf_flat"], t.val["prior"], classes, background, code, 0.45, top_k, keep, least, share, encoded)
    t.add("DetectionOutput", "detection_out", ["loc", "conf_flat", "prior"], "detection_out", found,
          f"include {{ phase: TEST }}\n  detection_output_param {{ num_classes: {classes} share_location: {str(share).lower()} background_label_id: {background} "
          f"nms_param {{ nms_threshold: 0.45 top_k: {top_k} }} save_output_param {{ output_directory: \"\" }} code_type: {code} keep_top_k: {keep} "
          f"confidence_threshold: {least} variance_encoded_in_target: {str(encoded).lower()} }}")
    print(f"{name}: {p} boxes, {found.shape[2]} found")
    t.save(name, ["detection_out"], about)


classic()
v1()
v0()
activations()
shapes()
upsampling()
yolo()
ssd("ssd", "an SSD: boxes laid out before, detections by class and score", 4, 0, 25, 20, 0.2)
ssd("ssd_corners", "boxes of their own for each class, the background in the middle, no limit on what is kept", 3, 1, -1, -1, 0.3, "CORNER", False, 1)
ssd("ssd_sizes", "no background, variances in the predictions", 2, -1, 7, 30, 0.01, "CORNER_SIZE", True, 2, True)
ssd("ssd_nothing", "nothing above the threshold: a row of -1 for each image", 3, 0, 10, 10, 1.0)
segnet()
modern()
