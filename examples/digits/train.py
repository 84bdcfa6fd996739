#!/usr/bin/env python3
"""Train the digit classifier of the examples and write it as ONNX.

usage: train.py [--steps N] [--out DIR]

The data set is rendered here: each digit is a set of strokes (polylines and arcs in the unit square) drawn with a random
affine map, pen width and noise on a 20x20 grid, so nothing is downloaded.  The network is a small CNN trained by plain
NumPy (im2col convolutions, Adam) in about a minute; needs numpy and onnx.  Writes digits.onnx (input f32[N,1,20,20] with N
symbolic, output f32[N,10] logits), digit_<d>.npy (one held-out glyph a class) and test_data_set_0 for `tenon check`.
"""
import argparse
import pathlib
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 20


def arc(cx, cy, rx, ry, a0, a1, n=14):
    t = np.linspace(np.radians(a0), np.radians(a1), n)
    return np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], 1)


def line(*points):
    return np.array(points, float)


# Strokes in the unit square, x to the right, y down.
GLYPHS = {
    0: [arc(.5, .5, .26, .38, 0, 360, 28)],
    1: [line((.36, .28), (.54, .12), (.54, .88))],
    2: [np.concatenate([arc(.5, .34, .24, .22, 190, 385), line((.27, .87), (.77, .87))])],
    3: [arc(.47, .31, .24, .19, 200, 450), arc(.47, .69, .27, .20, 270, 520)],
    4: [line((.62, .88), (.62, .12), (.24, .64), (.80, .64))],
    5: [np.concatenate([line((.72, .13), (.34, .13), (.30, .48)), arc(.47, .64, .27, .24, 235, 500)])],
    6: [np.concatenate([arc(.62, .52, .36, .42, 275, 180, 10), arc(.5, .66, .24, .22, 180, 540, 24)])],
    7: [line((.25, .13), (.76, .13), (.42, .88))],
    8: [arc(.5, .31, .20, .19, 0, 360, 22), arc(.5, .69, .25, .20, 0, 360, 24)],
    9: [np.concatenate([arc(.5, .34, .24, .22, 0, 360, 24), arc(.38, .46, .36, .42, 0, 85, 10)])],
}


def render(digit, rng):
    """One glyph as float32 [SIZE, SIZE] in [0, 1]."""
    angle, shear = rng.normal(0, .13), rng.normal(0, .15)
    sx, sy = rng.uniform(.75, 1.1, 2)
    m = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.array([[sx, shear], [0, sy]])
    shift = rng.uniform(-.07, .07, 2)
    ys, xs = np.mgrid[0:SIZE, 0:SIZE]
    p = np.stack([(xs.ravel() + .5) / SIZE, (ys.ravel() + .5) / SIZE], 1)
    dist = np.full(len(p), 9.)
    for stroke in GLYPHS[digit]:
        s = (stroke - .5 + rng.normal(0, .008, stroke.shape)) @ m.T + .5 + shift
        a, d = s[:-1], s[1:] - s[:-1]
        t = np.clip(((p[:, None] - a) * d).sum(2) / ((d * d).sum(1) + 1e-9), 0, 1)
        dist = np.minimum(dist, np.sqrt((((p[:, None] - a) - t[..., None] * d) ** 2).sum(2)).min(1))
    pen = rng.uniform(.035, .06)
    ink = 1 / (1 + np.exp((dist - pen) / .012))
    return np.clip(ink * rng.uniform(.8, 1) + rng.normal(0, .05, ink.shape), 0, 1).reshape(SIZE, SIZE).astype(np.float32)


def data_set(n, rng):
    y = rng.integers(0, 10, n)
    return np.stack([render(d, rng) for d in y])[:, None], y


def columns(x):
    """3x3 neighbourhoods with zero padding: [N, C, H, W] -> [N*H*W, C*9]."""
    n, c, h, w = x.shape
    p = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    v = np.lib.stride_tricks.sliding_window_view(p, (3, 3), axis=(2, 3))
    return v.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * w, c * 9)


def scatter(g, shape):
    n, c, h, w = shape
    out = np.zeros((n, c, h + 2, w + 2), np.float32)
    g = g.reshape(n, h, w, c, 3, 3)
    for i in range(3):
        for j in range(3):
            out[:, :, i:i + h, j:j + w] += g[..., i, j].transpose(0, 3, 1, 2)
    return out[:, :, 1:-1, 1:-1]


def conv_relu_pool(x, w, b):
    n, _, h, wd = x.shape
    col = columns(x)
    z = (col @ w.reshape(len(w), -1).T + b).reshape(n, h, wd, -1).transpose(0, 3, 1, 2)
    r = np.maximum(z, 0)
    q = r.reshape(n, len(w), h // 2, 2, wd // 2, 2)
    y = q.max((3, 5))
    return y, (x.shape, col, r, y)


def conv_relu_pool_grad(g, w, saved):
    shape, col, r, y = saved
    up = np.repeat(np.repeat(y, 2, 2), 2, 3)
    gz = np.repeat(np.repeat(g, 2, 2), 2, 3) * (r == up) * (r > 0)
    gz = gz.transpose(0, 2, 3, 1).reshape(-1, len(w))
    return scatter(gz @ w.reshape(len(w), -1), shape), (gz.T @ col).reshape(w.shape), gz.sum(0)


def forward(p, x):
    a, s1 = conv_relu_pool(x, p["conv1.weight"], p["conv1.bias"])
    b, s2 = conv_relu_pool(a, p["conv2.weight"], p["conv2.bias"])
    f = b.reshape(len(x), -1)
    h = np.maximum(f @ p["fc1.weight"].T + p["fc1.bias"], 0)
    return h @ p["fc2.weight"].T + p["fc2.bias"], (s1, s2, b.shape, f, h)


def gradients(p, x, y):
    logits, (s1, s2, shape, f, h) = forward(p, x)
    e = np.exp(logits - logits.max(1, keepdims=True))
    prob = e / e.sum(1, keepdims=True)
    loss = -np.log(prob[np.arange(len(y)), y] + 1e-9).mean()
    g = prob
    g[np.arange(len(y)), y] -= 1
    g = (g / len(y)).astype(np.float32)
    d = {"fc2.weight": g.T @ h, "fc2.bias": g.sum(0)}
    gh = g @ p["fc2.weight"] * (h > 0)
    d["fc1.weight"], d["fc1.bias"] = gh.T @ f, gh.sum(0)
    gb = (gh @ p["fc1.weight"]).reshape(shape)
    ga, d["conv2.weight"], d["conv2.bias"] = conv_relu_pool_grad(gb, p["conv2.weight"], s2)
    _, d["conv1.weight"], d["conv1.bias"] = conv_relu_pool_grad(ga, p["conv1.weight"], s1)
    return loss, d


def train(steps, rng):
    def init(*shape):
        return (rng.normal(0, 1, shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
    p = {"conv1.weight": init(8, 1, 3, 3), "conv1.bias": np.zeros(8, np.float32),
         "conv2.weight": init(16, 8, 3, 3), "conv2.bias": np.zeros(16, np.float32),
         "fc1.weight": init(24, 400), "fc1.bias": np.zeros(24, np.float32),
         "fc2.weight": init(10, 24), "fc2.bias": np.zeros(10, np.float32)}
    m = {k: np.zeros_like(v) for k, v in p.items()}
    s = {k: np.zeros_like(v) for k, v in p.items()}
    x, y = data_set(6000, rng)
    for t in range(1, steps + 1):
        pick = rng.integers(0, len(x), 64)
        loss, d = gradients(p, x[pick], y[pick])
        lr = 3e-3 * (1 - t / (steps + 1)) + 1e-5
        for k in p:
            m[k] = .9 * m[k] + .1 * d[k]
            s[k] = .999 * s[k] + .001 * d[k] ** 2
            p[k] -= (lr * (m[k] / (1 - .9 ** t)) / (np.sqrt(s[k] / (1 - .999 ** t)) + 1e-8)).astype(np.float32)
        if t % 100 == 0:
            print(f"step {t}/{steps}  loss {loss:.4f}", flush=True)
    return p


def to_onnx(p):
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "conv1.weight", "conv1.bias"], ["c1"], "/conv1/Conv", pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"], "/conv1/Relu"),
        node("MaxPool", ["r1"], ["p1"], "/pool1/MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p1", "conv2.weight", "conv2.bias"], ["c2"], "/conv2/Conv", pads=[1, 1, 1, 1]),
        node("Relu", ["c2"], ["r2"], "/conv2/Relu"),
        node("MaxPool", ["r2"], ["p2"], "/pool2/MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["p2"], ["f"], "/Flatten", axis=1),
        node("Gemm", ["f", "fc1.weight", "fc1.bias"], ["g1"], "/fc1/Gemm", transB=1),
        node("Relu", ["g1"], ["h"], "/fc1/Relu"),
        node("Gemm", ["h", "fc2.weight", "fc2.bias"], ["logits"], "/fc2/Gemm", transB=1),
    ]
    graph = helper.make_graph(
        nodes, "digits", [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(v, k) for k, v in p.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="tenon examples")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--steps", type=int, default=1500)
    ap.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    a = ap.parse_args()
    rng = np.random.default_rng(7)
    p = train(a.steps, rng)
    x, y = data_set(2000, rng)
    print(f"accuracy on 2000 fresh glyphs: {(forward(p, x)[0].argmax(1) == y).mean():.4f}")
    onnx.save(to_onnx(p), a.out / "digits.onnx")
    first = [int(np.flatnonzero(y == d)[0]) for d in range(10)]
    for d, i in enumerate(first):
        np.save(a.out / f"digit_{d}.npy", x[i:i + 1])
    data = a.out / "test_data_set_0"
    data.mkdir(exist_ok=True)
    batch = x[first]
    (data / "input_0.pb").write_bytes(numpy_helper.from_array(batch, "image").SerializeToString())
    (data / "output_0.pb").write_bytes(numpy_helper.from_array(forward(p, batch)[0], "logits").SerializeToString())


if __name__ == "__main__":
    main()
