#!/usr/bin/env python3
"""Tenon's execution provider in ONNX Runtime, against ONNX Runtime's own CPU provider.

usage: test_provider.py libtenon_ort.so SOURCE_DIR [--device cpu|emu|cuda] [--resident] [--mock] [--only TEXT]

--resident: tensors stay on the GPU (a session on a GPU's device); else they are the host's, whatever computes.
--mock: the GPU's driver is a mock that moves data and computes nothing: how tensors come and go is tested alone.
"""
import argparse
import os
import sys
import tempfile
import threading
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper as h

NAME = "TenonExecutionProvider"


def model(nodes, inputs, outputs, constants=(), domains=(), name="g"):
    opsets = [h.make_opsetid("", 17)] + [h.make_opsetid(d, 1) for d in domains]
    graph = h.make_graph(nodes, name, inputs, outputs, [onnx.numpy_helper.from_array(v, k) for k, v in constants])
    return h.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def value(name, dtype, shape):
    return h.make_tensor_value_info(name, dtype, shape)


class Provider:
    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        devices = [d for d in ort.get_ep_devices() if d.ep_name == NAME]
        self.device = [d for d in devices if d.ep_metadata["memory"] == ("gpu" if args.resident else "host")][0]

    def options(self, config=(), **more):
        options = {"device": self.args.device, "cache": os.path.join(self.folder, "cache"), **more}
        if self.args.device == "cuda":
            options.setdefault("tune_seconds", "2")
        so = ort.SessionOptions()
        so.log_severity_level = 3
        for key, text in dict(config).items():
            so.add_session_config_entry(key, text)
        so.add_provider_for_devices([self.device], options)
        return so

    def session(self, m, config=(), **more):
        return ort.InferenceSession(m, self.options(config, **more), enable_fallback=0)


def reference(m):
    return ort.InferenceSession(m, providers=["CPUExecutionProvider"])


def placed(session, run):
    """The providers of the nodes that a profile of one run names: {provider: [op, ...]}."""
    import json
    run()
    path = session.end_profiling()
    with open(path) as f:
        events = json.load(f)
    os.remove(path)
    out = {}
    for e in events:
        args = e.get("args", {})
        if e.get("cat") == "Node" and "provider" in args and e["name"].endswith("_kernel_time"):
            out.setdefault(args["provider"], []).append(args.get("op_name", ""))
    return out


def close(a, b, tolerance=2e-3):
    assert len(a) == len(b)
    for x, y in zip(a, b):
        assert x.dtype == y.dtype and x.shape == y.shape, (x.dtype, y.dtype, x.shape, y.shape)
        if x.dtype.kind == "f":
            np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(x, y)


rng = np.random.default_rng(0)


def f32(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def small():
    """A network with attributes of every type that nodes have: ints, floats, strings, a tensor."""
    nodes = [
        h.make_node("Conv", ["x", "w", "b"], ["a"], name="/conv", pads=[1, 1, 1, 1]),
        h.make_node("LeakyRelu", ["a"], ["r"], name="/relu", alpha=0.125),
        h.make_node("Einsum", ["r", "r"], ["e"], name="/einsum", equation="nchw,nchw->nc"),
        h.make_node("Shape", ["e"], ["s"]),
        h.make_node("ConstantOfShape", ["s"], ["k"], value=h.make_tensor("v", T.FLOAT, [1], [0.5])),
        h.make_node("Add", ["e", "k"], ["f"]),
        h.make_node("Softmax", ["f"], ["y"], axis=-1),
    ]
    return model(nodes, [value("x", T.FLOAT, ["N", 3, 8, 8])], [value("y", T.FLOAT, ["N", 8])],
                 [("w", f32(8, 3, 3, 3)), ("b", f32(8))])


def test_shapes(p):
    """Symbolic sizes: one session serves several, and all nodes are one fused node of ours."""
    m = small()
    so = p.options()
    so.enable_profiling = True
    so.profile_file_prefix = os.path.join(p.folder, "profile")
    s, r = ort.InferenceSession(m, so), reference(m)
    x = {n: f32(n, 3, 8, 8) for n in (1, 4, 7)}
    where = placed(s, lambda: [close(s.run(None, {"x": x[n]}), r.run(None, {"x": x[n]})) for n in x])
    assert list(where) == [NAME] and len(set(where[NAME])) == 1, where
    return s


def with_theirs():
    """Strings, and an operator of ONNX Runtime's own domain between two of ours; and data for it."""
    nodes = [
        h.make_node("MatMul", ["x", "w"], ["a"], name="/first"),
        h.make_node("Relu", ["a"], ["b"], name="/second"),
        h.make_node("Inverse", ["b"], ["c"], name="/theirs", domain="com.microsoft"),
        h.make_node("MatMul", ["c", "w"], ["d"], name="/third"),
        h.make_node("Tanh", ["d"], ["y"], name="/fourth"),
        h.make_node("StringNormalizer", ["t"], ["u"], name="/words", case_change_action="UPPER", locale="C"),
    ]
    m = model(nodes, [value("x", T.FLOAT, ["N", 4, 4]), value("t", T.STRING, ["K"])],
              [value("y", T.FLOAT, ["N", 4, 4]), value("u", T.STRING, ["K"])], [("w", f32(4, 4))], ["com.microsoft"])
    x = (np.eye(4, dtype=np.float32) + 0.1 * rng.random((3, 4, 4))).astype(np.float32)
    return m, {"x": x, "t": np.array(["tenon", "mortise"])}


def test_others_keep_theirs(p):
    """What Tenon has not stays with ONNX Runtime."""
    m, feed = with_theirs()
    so = p.options()
    so.enable_profiling = True
    so.profile_file_prefix = os.path.join(p.folder, "profile")
    s, r = ort.InferenceSession(m, so), reference(m)
    got = []
    where = placed(s, lambda: got.extend(s.run(None, feed)))
    want = r.run(None, feed)
    close(got[:1], want[:1], 2e-2)
    assert list(got[1]) == list(want[1]) == ["TENON", "MORTISE"]
    ours = set(where[NAME])
    assert {"Inverse", "StringNormalizer"} <= set(where["CPUExecutionProvider"]), where
    assert len(ours) == 2 and not ours & {"MatMul", "Relu", "Tanh"}, where  # two fused nodes, of two each


def test_groups_are_maximal(p):
    """A node that only a later group needs is in that group, and none is split."""
    nodes = [
        h.make_node("Inverse", ["x"], ["a"], name="/theirs", domain="com.microsoft"),
        h.make_node("Exp", ["z"], ["b"], name="/early"),
        h.make_node("Add", ["a", "b"], ["c"], name="/late"),
        h.make_node("Relu", ["c"], ["y"], name="/last"),
    ]
    m = model(nodes, [value("x", T.FLOAT, [4, 4]), value("z", T.FLOAT, [4, 4])], [value("y", T.FLOAT, [4, 4])],
              domains=["com.microsoft"])
    so = p.options()
    so.enable_profiling = True
    so.profile_file_prefix = os.path.join(p.folder, "profile")
    s, r = ort.InferenceSession(m, so), reference(m)
    feed = {"x": (np.eye(4) * 2).astype(np.float32), "z": f32(4, 4)}
    where = placed(s, lambda: close(s.run(None, feed), r.run(None, feed)))
    assert len(set(where[NAME])) == 1 and where["CPUExecutionProvider"].count("Inverse") == 1, where


def test_control_flow(p):
    """A branch is taken with its bodies, and what they read from outside."""
    bodies = [h.make_graph([h.make_node(op, ["a", "w"], [op])], op, [], [value(op, T.FLOAT, None)])
              for op in ("Add", "Mul")]
    nodes = [h.make_node("Relu", ["x"], ["a"]),
             h.make_node("If", ["c"], ["y"], name="/if", then_branch=bodies[0], else_branch=bodies[1])]
    m = model(nodes, [value("x", T.FLOAT, ["N", 4]), value("c", T.BOOL, [])], [value("y", T.FLOAT, ["N", 4])],
              [("w", f32(1, 4))])
    s, r = p.session(m), reference(m)
    for c in (True, False):
        feed = {"x": f32(3, 4), "c": np.array(c)}
        close(s.run(None, feed), r.run(None, feed))


def test_loops(p):
    """A loop whose trips the caller gives, and one that gathers as many values as data says, which stays with ONNX Runtime."""
    body = h.make_graph([h.make_node("Add", ["a", "w"], ["b"]), h.make_node("Identity", ["go"], ["on"])], "body",
                        [value("i", T.INT64, []), value("go", T.BOOL, []), value("a", T.FLOAT, ["N", 4])],
                        [value("on", T.BOOL, []), value("b", T.FLOAT, ["N", 4])])
    gather = h.make_graph([h.make_node("Add", ["a", "w"], ["b"]), h.make_node("Identity", ["go"], ["on"]),
                           h.make_node("ReduceSum", ["b"], ["s"], keepdims=0)], "gather",
                          [value("i", T.INT64, []), value("go", T.BOOL, []), value("a", T.FLOAT, ["N", 4])],
                          [value("on", T.BOOL, []), value("b", T.FLOAT, ["N", 4]), value("s", T.FLOAT, [])])
    for graph, outputs in ((body, ["y"]), (gather, ["y", "z"])):
        nodes = [h.make_node("Relu", ["x"], ["r"]),
                 h.make_node("Loop", ["n", "", "r"], outputs, name="/loop", body=graph)]
        m = model(nodes, [value("x", T.FLOAT, ["N", 4]), value("n", T.INT64, [])],
                  [value(o, T.FLOAT, ["N", 4] if o == "y" else [None]) for o in outputs], [("w", f32(1, 4))])
        s, r = p.session(m), reference(m)
        for trips in (3, 1):
            feed = {"x": f32(2, 4), "n": np.array(trips, np.int64)}
            close(s.run(None, feed), r.run(None, feed))


def test_sizes_of_data(p):
    """NonZero: the size of the output is known when it has run."""
    m = model([h.make_node("NonZero", ["x"], ["i"]), h.make_node("Abs", ["x"], ["a"])],
              [value("x", T.FLOAT, ["N", 5])], [value("i", T.INT64, [2, None]), value("a", T.FLOAT, ["N", 5])])
    s, r = p.session(m), reference(m)
    for n in (1, 6, 3):
        feed = {"x": np.where(rng.random((n, 5)) < 0.5, 0, f32(n, 5)).astype(np.float32)}
        close(s.run(None, feed), r.run(None, feed))
    feed = {"x": np.zeros((2, 5), np.float32)}
    close(s.run(None, feed), r.run(None, feed))


def test_no_elements(p):
    m = model([h.make_node("Relu", ["x"], ["y"])], [value("x", T.FLOAT, ["N", 4])], [value("y", T.FLOAT, ["N", 4])])
    close(p.session(m).run(None, {"x": f32(0, 4)}), [np.zeros((0, 4), np.float32)])


def test_types(p):
    """Elements of every kind cross the border as they are."""
    for dtype, onnx_type in ((np.float16, T.FLOAT16), (np.float64, T.DOUBLE), (np.int64, T.INT64), (np.int8, T.INT8),
                             (np.uint8, T.UINT8), (np.int32, T.INT32)):
        m = model([h.make_node("Add", ["x", "x"], ["y"])], [value("x", onnx_type, [2, 3])],
                  [value("y", onnx_type, [2, 3])])
        close(p.session(m).run(None, {"x": np.arange(6).reshape(2, 3).astype(dtype)}),
              [(2 * np.arange(6).reshape(2, 3)).astype(dtype)])
    m = model([h.make_node("Not", ["x"], ["y"])], [value("x", T.BOOL, [3])], [value("y", T.BOOL, [3])])
    close(p.session(m).run(None, {"x": np.array([True, False, True])}), [np.array([False, True, False])])


def test_binding(p):
    """Inputs and outputs in the caller's memory."""
    m = small()
    s, r = p.session(m), reference(m)
    x = f32(2, 3, 8, 8)
    b = s.io_binding()
    if p.args.resident:
        info = p.device.memory_info(ort.OrtDeviceMemoryType.DEFAULT)
        b.bind_cpu_input("x", x)
        b.bind_output("y", "cuda", 0)
        assert info is not None
    else:
        y = np.full((2, 8), -1, np.float32)
        b.bind_cpu_input("x", x)
        b.bind_output("y", "cpu", 0, np.float32, y.shape, y.ctypes.data)
    for _ in range(3):  # the first run at a shape, the one that makes a CUDA graph, and one that replays it
        s.run_with_iobinding(b)
        close(b.copy_outputs_to_cpu(), r.run(None, {"x": x}))
    if not p.args.resident:
        close([y], r.run(None, {"x": x}))


def test_caches(p):
    """A KV cache that is a concatenation goes round as outputs that become inputs; past and present in one buffer are refused, whole or in part."""
    m = model([h.make_node("Mul", ["x", "two"], ["new"]), h.make_node("Concat", ["past_key_values.0.key", "new"], ["present.0.key"], axis=2),
               h.make_node("ReduceSum", ["present.0.key"], ["y"], keepdims=0)],
              [value("past_key_values.0.key", T.FLOAT, [1, 2, "P", 4]), value("x", T.FLOAT, [1, 2, "S", 4])],
              [value("y", T.FLOAT, []), value("present.0.key", T.FLOAT, [1, 2, "T", 4])], [("two", np.float32(2))])
    s, rows = p.session(m), [f32(1, 2, n, 4) for n in (3, 1, 1, 2)]
    device = "cuda" if p.args.resident else "cpu"
    past = ort.OrtValue.ortvalue_from_numpy(np.zeros((1, 2, 0, 4), np.float32))
    for k, x in enumerate(rows):
        b = s.io_binding()
        b.bind_ortvalue_input("past_key_values.0.key", past)
        b.bind_cpu_input("x", x)
        for name in ("y", "present.0.key"):
            b.bind_output(name, device, 0)
        s.run_with_iobinding(b)
        want = 2 * np.concatenate(rows[:k + 1], 2)
        close(b.copy_outputs_to_cpu(), [want.sum(dtype=np.float32), want])
        past = b.get_outputs()[1]
    if p.args.resident:
        return  # an address of the device's memory is not to be had here
    for rows_before in (0, 1):  # of the buffer
        whole = np.full((1, 2, 9, 4), 7, np.float32)
        at = whole.ctypes.data + rows_before * 16
        b = s.io_binding()
        b.bind_input("past_key_values.0.key", "cpu", 0, np.float32, (1, 2, 4, 4), whole.ctypes.data)
        b.bind_cpu_input("x", rows[1])
        b.bind_output("y", "cpu", 0)
        b.bind_output("present.0.key", "cpu", 0, np.float32, (1, 2, 5, 4), at)
        refused(lambda: s.run_with_iobinding(b), "'present.0.key'", "'past_key_values.0.key'", "memory of its own")
        assert (whole == 7).all()


ROWS = 8  # of a cache that does not grow


def grouped(before, after):
    """GroupQueryAttention, of two heads of 8 that share keys and values, with caches of so many rows."""
    node = h.make_node("GroupQueryAttention", ["q", "k", "v", "in.k", "in.v", "last", "total"], ["y", "out.k", "out.v"], name="/attend",
                       domain="com.microsoft", num_heads=2, kv_num_heads=1)
    fresh = [value(name, T.FLOAT, ["B", "S", width]) for name, width in (("q", 16), ("k", 8), ("v", 8))]
    caches = [value("in." + name, T.FLOAT, ["B", 1, before, 8]) for name in "kv"]
    counts = [value("last", T.INT32, ["B"]), value("total", T.INT32, [1])]
    made = [value("y", T.FLOAT, ["B", "S", 16])] + [value("out." + name, T.FLOAT, ["B", 1, after, 8]) for name in "kv"]
    return model([node], fresh + caches + counts, made, domains=["com.microsoft"])


def steps(s, device, shared):
    """What a session gives for a prompt of three tokens and two more, and the caches then, bound as inputs and outputs: one OrtValue for both, or
    outputs of their own, which are the next run's inputs."""
    draw, n, ys = np.random.default_rng(5), 0, []
    start = [np.zeros((2, 1, ROWS, 8), np.float32) for _ in range(2)]  # whose memory the OrtValues are
    caches = [ort.OrtValue.ortvalue_from_numpy(c) for c in start]
    for t, new in enumerate((3, 1, 1)):
        b = s.io_binding()
        for name, width in (("q", 16), ("k", 8), ("v", 8)):
            b.bind_cpu_input(name, draw.standard_normal((2, new, width)).astype(np.float32))
        n += new
        b.bind_cpu_input("last", np.full(2, n - 1, np.int32))
        b.bind_cpu_input("total", np.array([n], np.int32))
        b.bind_output("y", device, 0)
        for name, cache in zip("kv", caches):
            b.bind_ortvalue_input("in." + name, cache)
            if shared and (t or device == "cpu"):
                b.bind_ortvalue_output("out." + name, cache)
            else:  # the first run makes those on the device
                b.bind_output("out." + name, device, 0)
        s.run_with_iobinding(b)
        y, *now = b.copy_outputs_to_cpu()
        ys.append(y)
        caches = b.get_outputs()[1:]
    return ys + now


def test_shared_caches(p):
    """Past and present of GroupQueryAttention in one buffer, of which a run writes the new rows: what ONNX Runtime gives so, and what buffers of their own
    give. A model whose sizes say that the cache grows is told by an option that it does not."""
    device = "cuda" if p.args.resident else "cpu"
    want = steps(reference(grouped("M", "M")), "cpu", True)
    for m, more in ((grouped("M", "M"), {}), (grouped(ROWS, ROWS), {}), (grouped("M", "T"), {"past_present_share_buffer": "1"})):
        s = p.session(m, **more)
        close(steps(s, device, True), want)
        close(steps(s, device, False), want)
    if p.args.resident:
        return
    whole = np.zeros((2, 1, 2 * ROWS, 8), np.float32)  # the output begins somewhere else in the input
    b = s.io_binding()
    for name, width in (("q", 16), ("k", 8), ("v", 8)):
        b.bind_cpu_input(name, np.zeros((2, 1, width), np.float32))
    b.bind_cpu_input("last", np.zeros(2, np.int32))
    b.bind_cpu_input("total", np.ones(1, np.int32))
    b.bind_cpu_input("in.v", np.zeros((2, 1, ROWS, 8), np.float32))
    b.bind_input("in.k", "cpu", 0, np.float32, (2, 1, ROWS, 8), whole.ctypes.data)
    b.bind_output("out.k", "cpu", 0, np.float32, (2, 1, ROWS, 8), whole.ctypes.data + 32)
    for name in ("y", "out.v"):
        b.bind_output(name, "cpu", 0)
    refused(lambda: s.run_with_iobinding(b), "'out.k'", "'in.k'", "memory of its own", "past_present_share_buffer")


def test_threads(p):
    """Several sessions, each of which several threads run at once at sizes of their own."""
    m = small()
    sessions, r = [p.session(m), p.session(m)], reference(m)
    cases = [(f32(n, 3, 8, 8)) for n in (1, 2, 3, 5)]
    wants = [r.run(None, {"x": x}) for x in cases]
    failures = []

    def work(k):
        try:
            for _ in range(10):
                close(sessions[k % 2].run(None, {"x": cases[k % 4]}), wants[k % 4])
        except Exception as e:  # noqa: BLE001: told by the main thread
            failures.append(e)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures


def test_cache(p):
    """A second session finds the plan; a damaged one is made again."""
    folder = os.path.join(p.folder, "again")
    m, x = small(), f32(1, 3, 8, 8)
    want = p.session(m, cache=folder).run(None, {"x": x})
    plans = [f for f in os.listdir(folder) if f.startswith("plan-") and f.endswith(".plan")]
    assert len(plans) == 1, plans
    path = os.path.join(folder, plans[0])
    before = os.stat(path)
    time.sleep(0.01)
    close(p.session(m, cache=folder).run(None, {"x": x}), want)
    after = os.stat(path)
    assert after.st_ino == before.st_ino and after.st_mtime_ns > before.st_mtime_ns  # the same file, used once more
    with open(path, "wb") as f:
        f.write(b"not a plan")
    close(p.session(m, cache=folder).run(None, {"x": x}), want)
    p.session(m, cache="none").run(None, {"x": x})
    assert len([f for f in os.listdir(folder) if f.endswith(".plan") and f.startswith("plan-")]) == 1


def test_contexts(p):
    """EPContext models: plans within the model, and beside it."""
    nodes = [
        h.make_node("MatMul", ["x", "w"], ["a"], name="/first"),
        h.make_node("Inverse", ["a"], ["c"], name="/theirs", domain="com.microsoft"),
        h.make_node("Add", ["c", "z"], ["y"], name="/second"),
    ]
    m = model(nodes, [value("z", T.FLOAT, ["N", 4, 4]), value("x", T.FLOAT, ["N", 4, 4])],
              [value("y", T.FLOAT, ["N", 4, 4])], [("w", np.eye(4, dtype=np.float32) * 2)], ["com.microsoft"])
    feed = {"x": (np.eye(4) + 0.1 * rng.random((2, 4, 4))).astype(np.float32), "z": f32(2, 4, 4)}
    want = reference(m).run(None, feed)
    for embed in "10":
        path = os.path.join(p.folder, f"context{embed}.onnx")
        config = {"ep.context_enable": "1", "ep.context_file_path": path, "ep.context_embed_mode": embed}
        close(p.session(m, config, cache="none").run(None, feed), want, 2e-2)
        made = onnx.load(path)
        ours = [n for n in made.graph.node if n.op_type == "EPContext"]
        assert len(ours) == 2 and all(n.domain == "com.microsoft" for n in ours)
        assert not [n for n in made.graph.node if n.op_type in ("MatMul", "Add")]
        close(p.session(path).run(None, feed), want, 2e-2)
    plan = [f for f in os.listdir(p.folder) if f.endswith(".plan")]
    assert len(plan) == 2, plan
    os.remove(os.path.join(p.folder, plan[0]))
    refused(lambda: p.session(path), "plan")  # which is not there any more


def mocked_memory(p):
    """Allocation, copies, streams and binding of tensors in device memory; numbers are not looked at."""
    m, x = small(), f32(2, 3, 8, 8)
    s = p.session(m, tune_seconds="-1")
    on_device = ort.OrtValue.ortvalue_from_numpy(x, "gpu", 0, 0x10DE)
    assert on_device.device_name() == "cuda"
    np.testing.assert_array_equal(on_device.numpy(), x)  # there and back
    for bind in (lambda b: b.bind_cpu_input("x", x), lambda b: b.bind_ortvalue_input("x", on_device)):
        b = s.io_binding()
        bind(b)
        b.bind_output("y", "cuda", 0)
        for _ in range(3):  # launches, a CUDA graph, its replay
            s.run_with_iobinding(b)
        y = b.get_outputs()[0]
        assert y.device_name() == "cuda" and y.numpy().shape == (2, 8)
    failures = []

    def work():
        try:
            for n in range(1, 9):
                assert s.run(None, {"x": f32(n, 3, 8, 8)})[0].shape == (n, 8)
        except Exception as e:  # noqa: BLE001: told by the main thread
            failures.append(e)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures


def mocked_brought(p):
    """What ONNX Runtime has computed on the host comes to the GPU: 192 bytes, that a mock told to fault at them sees."""
    nodes = [h.make_node("MatMul", ["x", "w"], ["a"]), h.make_node("Inverse", ["a"], ["b"], domain="com.microsoft"), h.make_node("Abs", ["b"], ["y"])]
    s = p.session(model(nodes, [value("x", T.FLOAT, ["N", 4, 8])], [value("y", T.FLOAT, ["N", 4, 4])], [("w", f32(8, 4))], ["com.microsoft"]),
                  tune_seconds="-1")
    if os.environ.get("MOCK_CUDA_FAULT"):
        refused(lambda: s.run(None, {"x": f32(3, 4, 8)}), "Tenon", "ILLEGAL_ADDRESS")
    else:
        assert s.run(None, {"x": f32(3, 4, 8)})[0].shape == (3, 4, 4)


def mocked_caches(p):
    """A cache in one buffer stays there; one whose present is elsewhere is there before kernels put new rows in, which a mock does not."""
    s, start = p.session(grouped("M", "M"), tune_seconds="-1"), f32(2, 1, ROWS, 8)
    for shared in (True, False):
        caches = [ort.OrtValue.ortvalue_from_numpy(start, "gpu", 0, 0x10DE) for _ in range(4)]
        b = s.io_binding()
        for name, width in (("q", 16), ("k", 8), ("v", 8)):
            b.bind_cpu_input(name, f32(2, 1, width))
        b.bind_cpu_input("last", np.full(2, 3, np.int32))
        b.bind_cpu_input("total", np.array([4], np.int32))
        b.bind_output("y", "cuda", 0)
        for name, before, after in zip("kv", caches, caches[:2] if shared else caches[2:]):
            if not shared:
                after.update_inplace(np.zeros_like(start))
            b.bind_ortvalue_input("in." + name, before)
            b.bind_ortvalue_output("out." + name, after)
        for _ in range(3):  # launches, a CUDA graph, its replay
            s.run_with_iobinding(b)
        for cache in b.get_outputs()[1:]:
            np.testing.assert_array_equal(cache.numpy(), start)


def refused(call, *words):
    try:
        call()
    except Exception as e:  # noqa: BLE001: ONNX Runtime has many classes
        missing = [w for w in words if w not in str(e)]
        assert not missing, (missing, str(e))
    else:
        raise AssertionError(f"not refused: {words}")


def test_errors(p):
    m = small()
    refused(lambda: p.session(m, device="gpu"), "device", "'gpu'", "cuda, cpu or emu")
    refused(lambda: p.session(m, precision="fp8"), "precision", "fp16")
    refused(lambda: p.session(m, past_present_share_buffer="yes"), "past_present_share_buffer", "0 or 1")
    refused(lambda: p.session(m, tune_seconds="soon"), "tune_seconds", "number")
    s = p.session(model([h.make_node("Add", ["a", "b"], ["y"], name="/sum")],
                        [value("a", T.FLOAT, ["N", 4]), value("b", T.FLOAT, ["M", 4])], [value("y", T.FLOAT, None)]))
    close(s.run(None, {"a": np.ones((2, 4), np.float32), "b": np.ones((1, 4), np.float32)}),
          [2 * np.ones((2, 4), np.float32)])
    refused(lambda: s.run(None, {"a": f32(2, 4), "b": f32(3, 4)}), "/sum")


def test_models(p):
    """Whole models with the data that was recorded for them."""
    folder = os.path.join(p.args.source, "examples", "digits")
    s = p.session(os.path.join(folder, "digits.onnx"))
    r = reference(os.path.join(folder, "digits.onnx"))
    for k in range(10):
        feed = {s.get_inputs()[0].name: np.load(os.path.join(folder, f"digit_{k}.npy"))}
        close(s.run(None, feed), r.run(None, feed))


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("library")
    a.add_argument("source")
    a.add_argument("--device", default="cpu")
    a.add_argument("--resident", action="store_true")
    a.add_argument("--mock", action="store_true")
    a.add_argument("--only", default="")
    args = a.parse_args()
    ort.set_default_logger_severity(3)
    ort.register_execution_provider_library("tenon", os.path.abspath(args.library))
    failed = 0
    kind = "mocked_" if args.mock else "test_"
    tests = [(k, f) for k, f in globals().items() if k.startswith(kind) and args.only in k]
    with tempfile.TemporaryDirectory() as folder:
        p = Provider(args, folder)
        for name, test in tests:
            start = time.time()
            try:
                test(p)
                print(f"ok      {name} ({time.time() - start:.1f} s)", flush=True)
            except Exception:  # noqa: BLE001: all are told
                import traceback
                failed += 1
                print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
    print(f"ONNX Runtime {ort.__version__}: {len(tests) - failed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
