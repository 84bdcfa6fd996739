#!/usr/bin/env python3
"""Writes the models and recorded numbers of this folder: make_models.py (needs numpy and onnx).

The numbers come from NumPy, written after the papers' and darknet's definitions and not after the plugins."""
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent
ANCHORS = [1.3221, 1.73145, 3.19275, 4.00944, 5.05587, 8.09892]
rng = np.random.default_rng(7)


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def region(x, anchors, classes):
    """What darknet's region layer and get_region_boxes give, box by box (relative to the image)."""
    n, _, h, w = x.shape
    a = len(anchors) // 2
    boxes = np.zeros((n, h, w, a, 5 + classes))
    for b in range(n):
        for row in range(h):
            for col in range(w):
                for k in range(a):
                    t = x[b, k * (5 + classes) : (k + 1) * (5 + classes), row, col].astype(np.float64)
                    scores = np.exp(t[5:] - t[5:].max())
                    objectness = sigmoid(t[4])
                    boxes[b, row, col, k, :5] = [
                        (col + sigmoid(t[0])) / w,
                        (row + sigmoid(t[1])) / h,
                        np.exp(t[2]) * anchors[2 * k] / w,
                        np.exp(t[3]) * anchors[2 * k + 1] / h,
                        objectness,
                    ]
                    boxes[b, row, col, k, 5:] = objectness * scores / scores.sum()
    return boxes.reshape(n, h * w * a, 5 + classes)


def save(name, nodes, inputs, outputs, cases, opsets=(("", 17), ("yolo", 1), ("test", 3))):
    """inputs, outputs: name -> (type, dims).  cases: one {name: array} each, of inputs and outputs."""
    info = lambda d: [helper.make_tensor_value_info(k, t, s) for k, (t, s) in d.items()]
    graph = helper.make_graph(nodes, name, info(inputs), info(outputs))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(d, v) for d, v in opsets], ir_version=8)
    (HERE / name).mkdir(exist_ok=True)
    onnx.save(model, HERE / name / "model.onnx")
    for i, case in enumerate(cases):
        folder = HERE / name / f"test_data_set_{i}"
        folder.mkdir(exist_ok=True)
        for kind, names in (("input", inputs), ("output", outputs)):
            for k, io in enumerate(names):
                (folder / f"{kind}_{k}.pb").write_bytes(numpy_helper.from_array(case[io], io).SerializeToString())


def make_region():
    classes, a = 4, 3
    node = helper.make_node("region", ["t"], ["boxes"], "head/region", domain="yolo", biases=ANCHORS, classes=classes)
    # an op before and after it, which fuse among themselves and not with it
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"], "square"),
        helper.make_node("Sub", ["x", "square"], ["t"], "difference"),
        node,
        helper.make_node("Relu", ["boxes"], ["y"], "after"),
    ]
    cases = []
    for n, h, w in ((1, 3, 4), (2, 1, 5)):
        x = rng.standard_normal((n, a * (5 + classes), h, w)).astype(np.float32)
        cases.append({"x": x, "y": np.maximum(region(x - x * x, ANCHORS, classes), 0).astype(np.float32)})
    f = TensorProto.FLOAT
    save("region", nodes, {"x": (f, ["N", a * (5 + classes), "H", "W"])}, {"y": (f, ["N", "B", 5 + classes])}, cases)


def make_affine():
    nodes = [
        helper.make_node("affine", ["x", "b"], ["p"], "with", domain="test", alpha=-1.5),
        helper.make_node("affine", ["p"], ["y"], "without", domain="test"),
    ]
    x, b = (rng.standard_normal((3, 5)).astype(np.float32) for _ in range(2))
    f = TensorProto.FLOAT
    both = ["N", "M"]
    save("affine", nodes, {"x": (f, both), "b": (f, both)}, {"y": (f, both)}, [{"x": x, "b": b, "y": 2 * (x * np.float32(-1.5) + b)}])


def make_pool():
    nodes = [
        helper.make_node("pool", ["x", "s"], ["big", "count"], "largest", domain="test", mode="max"),
        helper.make_node("pool", ["x"], ["mean"], "mean", domain="test", mode="mean", window=[1, 3]),
    ]
    x, s = rng.standard_normal((2, 3, 4, 6)).astype(np.float32), rng.standard_normal(3).astype(np.float32)
    big = x.reshape(2, 3, 2, 2, 3, 2).max((3, 5)) + s[:, None, None]
    f, i = TensorProto.FLOAT, TensorProto.INT64
    save(
        "pool",
        nodes,
        {"x": (f, ["N", 3, "H", "W"]), "s": (f, [3])},
        {"big": (f, ["N", 3, "h", "w"]), "count": (i, ["N", 3, "h", "w"]), "mean": (f, ["N", 3, "H", "v"])},
        [{"x": x, "s": s, "big": big, "count": np.full((2, 3, 2, 3), 4), "mean": x.reshape(2, 3, 4, 2, 3).mean(4)}],
    )


def make_caffe():
    classes, a, h, w = 3, 2, 2, 3
    biases = " ".join(f"biases: {v}" for v in ANCHORS[: 2 * a])
    folder = HERE / "caffe"
    (folder / "test_data_set_0").mkdir(parents=True, exist_ok=True)
    (folder / "region.prototxt").write_text(
        f'''input: "x" input_shape {{ dim: 1 dim: {a * (5 + classes)} dim: {h} dim: {w} }}
layer {{ name: "act" type: "ReLU" bottom: "x" top: "a" relu_param {{ negative_slope: 0.1 }} }}
layer {{
  name: "detect" type: "Region" bottom: "a" top: "boxes"
  # what the schema does not know
  region_param {{ classes: {classes} {biases} }}
}}
'''
    )
    x = rng.standard_normal((1, a * (5 + classes), h, w)).astype(np.float32)
    y = region(np.where(x < 0, np.float32(0.1) * x, x), ANCHORS[: 2 * a], classes).astype(np.float32)
    for kind, io, v in (("input", "x", x), ("output", "boxes", y)):
        (folder / "test_data_set_0" / f"{kind}_0.pb").write_bytes(numpy_helper.from_array(v, io).SerializeToString())


make_region()
make_affine()
make_pool()
make_caffe()
