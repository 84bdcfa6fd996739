"""Small ONNX models that the tests of the Python package compile, made with the package `onnx`."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def model(nodes, inputs, outputs, weights=None, opset=18):
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(*i) for i in inputs], [helper.make_tensor_value_info(*o) for o in outputs],
        [numpy_helper.from_array(w, name) for name, w in (weights or {}).items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def mlp(hidden=16):
    """y = softmax(relu(x a + b) c), x f32[N, 8]."""
    rng = np.random.default_rng(7)
    weights = {"a": rng.standard_normal((8, hidden)).astype(np.float32), "b": rng.standard_normal(hidden).astype(np.float32),
               "c": rng.standard_normal((hidden, 4)).astype(np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "a"], ["xa"], name="/first/MatMul"),
             helper.make_node("Add", ["xa", "b"], ["h"], name="/first/Add"),
             helper.make_node("Relu", ["h"], ["r"], name="/relu/Relu"),
             helper.make_node("MatMul", ["r", "c"], ["l"], name="/second/MatMul"),
             helper.make_node("Softmax", ["l"], ["y"], name="/softmax/Softmax", axis=-1)]
    return model(nodes, [("x", TensorProto.FLOAT, ["N", 8])], [("y", TensorProto.FLOAT, ["N", 4])], weights), weights


def mlp_numpy(x, w):
    logits = np.maximum(x.astype(np.float64) @ w["a"] + w["b"], 0) @ w["c"]
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sums():
    """Two inputs that must be alike, two outputs: the sum and the difference."""
    nodes = [helper.make_node("Add", ["p", "q"], ["sum"], name="/add"), helper.make_node("Sub", ["p", "q"], ["difference"], name="/sub")]
    return model(nodes, [("p", TensorProto.FLOAT, ["N", 3]), ("q", TensorProto.FLOAT, ["M", 3])],
                 [("sum", TensorProto.FLOAT, None), ("difference", TensorProto.FLOAT, None)])


def total(n):
    """n inputs, added up."""
    names = [f"x{k}" for k in range(n)]
    return model([helper.make_node("Sum", names, ["y"])], [(x, TensorProto.FLOAT, [3]) for x in names],
                 [("y", TensorProto.FLOAT, [3])])


def cast_to(dtype):
    """y = x + x in a type."""
    return model([helper.make_node("Add", ["x", "x"], ["y"])], [("x", dtype, [4, 5])], [("y", dtype, [4, 5])])


def nonzero():
    """Where x is not zero, and how often."""
    return model([helper.make_node("NonZero", ["x"], ["at"], name="/where/NonZero")], [("x", TensorProto.FLOAT, ["N", 5])],
                 [("at", TensorProto.INT64, [2, None])])


def deep(layers=60):
    """Many unlike products, whose compilation takes a while."""
    rng = np.random.default_rng(3)
    weights, nodes, size = {}, [], 8
    for k in range(layers):
        weights[f"w{k}"] = rng.standard_normal((size, 8 + k)).astype(np.float32)
        nodes += [helper.make_node("MatMul", [f"x{k}" if k else "x", f"w{k}"], [f"m{k}"], name=f"/layer{k}/MatMul"),
                  helper.make_node("Softmax", [f"m{k}"], [f"x{k + 1}"], name=f"/layer{k}/Softmax")]
        size = 8 + k
    return model(nodes, [("x", TensorProto.FLOAT, ["N", 8])], [(f"x{layers}", TensorProto.FLOAT, ["N", size])], weights)


def broken():
    """A layer that Tenon refuses: a product of sizes that do not fit."""
    w = {"w": np.zeros((5, 3), np.float32)}
    return model([helper.make_node("MatMul", ["x", "w"], ["y"], name="/encoder/layer.3/MatMul")], [("x", TensorProto.FLOAT, [2, 4])],
                 [("y", TensorProto.FLOAT, [2, 3])], w)

