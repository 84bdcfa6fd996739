#!/usr/bin/env python3
"""Tenon's backend in a Triton server: answers are held against NumPy.

usage: test_backend.py TRITONSERVER BACKENDS INSTALLED TENON SOURCE_DIR MOCK_CUDA [--gpu] [--seconds S] [--only TEXT]

Without --gpu on the CPU, kernels emulated for one model, and a mock of a GPU, also where there is one.

BACKENDS: the folder that has tenon/libtriton_tenon.so. INSTALLED: one that has no libtenon. MOCK_CUDA: a driver that moves data and computes nothing.
--seconds: how long models are reloaded under load.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import numpy as np

from server import Client, Refused, Server

F = np.float32


def config(text="", **parameters):
    out = 'backend: "tenon"\n' + text
    for key, value in parameters.items():
        out += f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}\n'
    return out


class Bench:
    """A repository, and the server that has it."""

    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.repository = os.path.join(folder, "models")
        os.makedirs(self.repository)
        shutil.copytree(os.path.join(args.source, "examples/serving"), self.repository, dirs_exist_ok=True)

    def compile(self, source, *options):
        """The plan of a model in Tenon's text; plans of one text are compiled once."""
        known = self.__dict__.setdefault("plans", {})
        key = (source, *options)
        if key not in known:
            path = os.path.join(self.folder, f"{len(known)}.tn")
            with open(path, "w") as f:
                f.write(source)
            known[key] = path.replace(".tn", ".plan")
            subprocess.run([self.args.tenon, "compile", path, "-o", known[key], "-q", "--no-gpu", "--target", "sm_90a",
                            *(o for shape in options for o in ("--shape", shape))], check=True)
        return known[key]

    def model(self, name, source, *options, text="", file="model.plan", **parameters):
        plan = self.compile(source, *options)
        os.makedirs(os.path.join(self.repository, name, "1"), exist_ok=True)
        shutil.copyfile(plan, os.path.join(self.repository, name, "1", file))
        with open(os.path.join(self.repository, name, "config.pbtxt"), "w") as f:
            f.write(config(text, **parameters))

    def serve(self, **options):
        return Server(self.args.server, self.repository, options.pop("backends", self.args.backends),
                      os.path.join(self.folder, "log"), **options)


def refused(call, *texts):
    try:
        call()
    except Refused as e:
        missing = [t for t in texts if t not in str(e)]
        assert not missing, f"it says {e!s}, not {missing}"
        return
    raise AssertionError(f"nothing was refused that should say {texts}")


def together(n, call):
    """call(k) on n threads that begin at the same time; its results."""
    out, barrier = [None] * n, threading.Barrier(n)

    def one(k):
        barrier.wait()
        try:
            out[k] = call(k)
        except Exception as e:
            out[k] = e
    threads = [threading.Thread(target=one, args=(k,)) for k in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for x in out:
        if isinstance(x, Exception):
            raise x
    return out


# Both outputs of it tell which model and which row it was
TWICE = """func @main(%x: f32[N,4]) -> (%y: f32[N,4], %s: f32[N]) {
  %w = const [2] : f32[]
  %y = mul %x, %w
  %s = reduce_sum %y {axes=[1]}
  return %y, %s
}
"""
# y of a row of 4 tells whether softmax ran over the row that was sent; L differs between requests
ROWS = """func @main(%x: f32[N,L]) -> (%y: f32[N,L]) {
  %y = softmax %x {axis=1}
  return %y
}
"""
FIXED = """func @main(%x: f32[4,3]) -> (%y: f32[4,3]) {
  %y = neg %x
  return %y
}
"""
RUNNING = """func @main(%x: f32[N,2], %sum: f32[N,2], %past: f32[N,L,2]) -> (%total: f32[N,2], %mean: f32[N,2], %present: f32[N,M,2]) {
  %total = add %sum, %x
  %u = reshape %x {dims=[N,1,2]}
  %present = concat %past, %u {axis=1}
  %mean = reduce_mean %present {axes=[1]}
  return %total, %mean, %present
}
""".replace("f32[N,M,2]", "f32[N,L + 1,2]")
FOUND = """func @main(%x: f32[A]) -> (%at: i64[K]) {
  %at = nonzero %x {count=K}
  return %at
}
"""
def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert a.dtype == b.dtype and a.shape == b.shape, (a.dtype, b.dtype, a.shape, b.shape)


CPU, EMU, CUDA = ("instance_group [ { kind: KIND_%s } ]\n" % k for k in ("CPU", "MODEL", "MODEL"))
BATCHER = "dynamic_batching { max_queue_delay_microseconds: 20000 }\n"
WARM = """model_warmup [ {{ name: "first" batch_size: 2 inputs {{ key: "x" value: {{ data_type: TYPE_FP32 dims: [ {} ] zero_data: true }} }} }} ]
"""


def tensor(kind, name, dims, type="FP32", more=""):
    return f'{kind} [ {{ name: "{name}" data_type: TYPE_{type} dims: [ {dims} ] {more} }} ]\n'


def sequences(batcher):
    states = "\n".join(
        f'{{ input_name: "{i}" output_name: "{o}" data_type: TYPE_FP32 dims: [ {d} ] initial_state: '
        f'{{ name: "none" data_type: TYPE_FP32 dims: [ {first} ] zero_data: true }} }}{comma}'
        for i, o, d, first, comma in (("sum", "total", "2", "2", ","), ("past", "present", "-1, 2", "1, 2", "")))
    return f"sequence_batching {{ {batcher} state [ {states} ] }}\n"


def fill(b):
    """The repository."""
    b.model("twice", TWICE, "x=1..8x4")
    b.model("slow", TWICE, "x=1..8x4", text="max_batch_size: 8\n" + BATCHER)
    b.model("rows", ROWS)
    b.model("short", ROWS, "x=1..4x1..8")
    b.model("found", FOUND)
    b.model("fixed", FIXED, text="max_batch_size: 4\n" + BATCHER)
    b.model("three", TWICE, "x=3..8x4", text="max_batch_size: 8\n")
    b.model("ragged", ROWS, text="max_batch_size: 16\n" + BATCHER + tensor("input", "x", "-1", more="allow_ragged_batch: true"))
    answers = "max_batch_size: 4\n" + tensor("output", "total", "2") + tensor("output", "mean", "2")
    b.model("running", RUNNING, text=answers + sequences("oldest { max_candidate_sequences: 4 }"))
    b.model("slots", RUNNING, text=answers + sequences("direct { }"))
    b.model("emulated", TWICE, "x=1..8x4", text=EMU + "max_batch_size: 8\n" + BATCHER, device="emu", scratch_bytes=1 << 20)
    b.model("mock", TWICE, "x=1..8x4", text=CUDA + "max_batch_size: 8\n" + BATCHER, device="cuda", gpu=0, cuda_graph=0)
    b.model("warm", TWICE, "x=1..8x4", text="max_batch_size: 8\n" + WARM.format(4))
    b.model("cold", TWICE, "x=1..8x4", text="max_batch_size: 8\n" + WARM.format(5))
    b.model("renamed", TWICE, "x=1..8x4", text='default_model_filename: "other.plan"\n', file="other.plan", map=1)
    b.model("damaged", TWICE, "x=1..8x4")
    weights(b)
    for model, (options, _) in BROKEN.items():
        b.model(model, *options.pop("source", (TWICE, "x=1..8x4")), **options)


# Models that do not load: how they are made, and what the error says
BROKEN = {
    "absent": ({"file": "elsewhere.plan"}, ["1/model.plan: No such file", "tenon compile", "default_model_filename"]),
    "stranger": ({"text": tensor("input", "z", "4")}, ["has input 'z', which the plan has not (it has x)"]),
    "type": ({"text": "max_batch_size: 8\n" + tensor("input", "x", "4", "INT32")},
             ["input 'x' is TYPE_INT32[ 4 ], but the plan's is FP32[4] behind the batch"]),
    "sizes": ({"text": "max_batch_size: 8\n" + tensor("output", "y", "5")}, ["output 'y'", "but the plan's is FP32[4]"]),
    "large": ({"text": "max_batch_size: 9\n"}, ["max_batch_size is 9, but the plan takes at most 8", "--shape x=1..9x..."]),
    "unlike": ({"text": "max_batch_size: 2\n", "source": (FOUND,)}, ["a size of 'at' is made by data", "max_batch_size: 0"]),
    "option": ({"devise": "cpu"}, ["there is no parameter 'devise'; there are device, gpu"]),
    "value": ({"device": "tpu"}, ["parameter device is 'tpu'; write cpu, emu"]),
    "kind": ({"device": "cuda", "text": CPU}, ["parameter device is cuda, but the instance group is KIND_CPU"]),
    "decoupled": ({"text": "model_transaction_policy { decoupled: true }\n"}, ["answers each request once"]),
}


def weights(b):
    """A product with 64 MiB of weights."""
    import onnx
    from onnx import helper as h
    path = os.path.join(b.folder, "heavy.onnx")
    value = [h.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["N", 4096]) for n in "xy"]
    onnx.save(h.make_model(h.make_graph([h.make_node("MatMul", ["x", "w"], ["y"])], "g", value[:1], value[1:],
                                        [onnx.numpy_helper.from_array(WEIGHTS(), "w")]),
                           opset_imports=[h.make_opsetid("", 17)], ir_version=8), path)
    os.makedirs(os.path.join(b.repository, "heavy/1"))
    subprocess.run([b.args.tenon, "compile", path, "-o", os.path.join(b.repository, "heavy/1/model.plan"), "-q", "--no-gpu",
                    "--target", "sm_90a", "--shape", "x=1..8x4096"], check=True)
    with open(os.path.join(b.repository, "heavy/config.pbtxt"), "w") as f:
        f.write(config())


def WEIGHTS():
    return (np.arange(4096 * 4096, dtype=np.int64) % 7 - 3).astype(F).reshape(4096, 4096)


# ---- tests: each takes the server's bench, a client and the server ---------------------------------------------------------

def test_configuration(b, c, s):
    """What config.pbtxt leaves out is completed from the plan."""
    c.load("twice")
    got = c.get("/v2/models/twice/config")
    assert got["max_batch_size"] == 8 and "dynamic_batching" in got, got
    assert got["input"][0]["dims"] == [4] and got["input"][0]["data_type"] == "TYPE_FP32", got
    # a row's only number: Triton has no tensor without sizes
    assert got["output"][1]["dims"] == [1] and got["output"][1]["reshape"] == {"shape": []}, got
    c.load("rows")
    got = c.get("/v2/models/rows/config")
    assert got["max_batch_size"] == 6 and got["input"][0]["dims"] == [-1], got # --backend-config's default-max-batch-size
    c.load("found")
    got = c.get("/v2/models/found/config")
    assert got["max_batch_size"] == 0 and got["input"][0]["dims"] == [-1] and got["output"][0]["dims"] == [-1], got


def test_answers(b, c, s):
    rng = np.random.default_rng(1)
    c.load("twice")
    for rows in (1, 3, 8):
        x = rng.standard_normal((rows, 4), F)
        out = c.infer("twice", {"x": x})
        close(out["y"], 2 * x)
        close(out["s"], (2 * x).sum(axis=1, keepdims=True))
        assert list(c.infer("twice", {"x": x}, ["s"])) == ["s"]
    c.load("found")
    for n in (15, 1, 40):
        x = (rng.random(n) < 0.4).astype(F)
        close(c.infer("found", {"x": x})["at"], np.flatnonzero(x))
    close(c.infer("found", {"x": np.zeros(4, F)})["at"], np.zeros(0, np.int64))


def test_batches(b, c, s):
    """Requests that come together are one inference each as large as may be, and each gets its own rows."""
    c.load("slow")
    before = c.get("/v2/models/slow/stats")["model_stats"][0]

    def client(k):
        mine = Client(s.port)
        for turn in range(20):
            x = np.full((1 + (k + turn) % 3, 4), k * 100 + turn, F)
            out = mine.infer("slow", {"x": x})
            close(out["y"], 2 * x)
            close(out["s"], (2 * x).sum(axis=1, keepdims=True))
    together(8, client)
    after = c.get("/v2/models/slow/stats")["model_stats"][0]
    requests = after["inference_stats"]["success"]["count"] - before["inference_stats"]["success"]["count"]
    rows = after["inference_count"] - before["inference_count"]
    runs = after["execution_count"] - before["execution_count"]
    assert requests == 160 and rows == sum(1 + (k + t) % 3 for k in range(8) for t in range(20)), (requests, rows)
    assert runs < requests / 2, f"{runs} inferences for {requests} requests"
    sizes = {x["batch_size"]: x for x in after["batch_stats"]}
    assert max(sizes) > 3 and max(sizes) <= 8 and sum(x["compute_infer"]["count"] for x in sizes.values()) >= runs, sizes


def test_statistics(b, c, s):
    """The parts of a request's time are counted for each, and are no more than it took."""
    c.load("short")
    begun = time.monotonic_ns()
    for _ in range(5):
        c.infer("short", {"x": np.ones((2, 4), F)})
    took = time.monotonic_ns() - begun
    x = c.get("/v2/models/short/stats")["model_stats"][0]["inference_stats"]
    parts = [x[k] for k in ("queue", "compute_input", "compute_infer", "compute_output")]
    assert all(p["count"] == x["success"]["count"] == 5 for p in parts), x
    assert sum(p["ns"] for p in parts) <= x["success"]["ns"] <= took and all(p["ns"] > 0 for p in parts), (x, took)


def test_bad_requests(b, c, s):
    c.load("twice")
    x = np.ones((1, 4), F)
    refused(lambda: c.infer("twice", {"x": np.ones((1, 5), F)}), "unexpected shape", "x")
    refused(lambda: c.infer("twice", {"x": np.ones((9, 4), F)}), "batch", "8")
    refused(lambda: c.infer("twice", {"x": np.ones((1, 4), np.int32)}), "data-type")
    refused(lambda: c.infer("twice", {"y": x}), "y")
    refused(lambda: c.infer("twice", {}), "")
    refused(lambda: c.infer("twice", {"x": x}, ["z"]), "z")
    refused(lambda: c.infer("nobody", {"x": x}), "nobody")
    # what only the plan knows: its range of a size
    c.load("short")
    refused(lambda: c.infer("short", {"x": np.ones((1, 9), F)}), "input 'x'", "axis 1 is given as 9", "L is from 1 to 8")
    close(c.infer("short", {"x": np.ones((1, 8), F)})["y"], np.full((1, 8), 1 / 8, F))
    before = c.get("/v2/models/short/stats")["model_stats"][0]["inference_stats"]
    assert before["fail"]["count"] == 1 and before["success"]["count"] == 6, before
    # the server still answers
    close(c.infer("twice", {"x": x})["y"], 2 * x)


def test_padding(b, c, s):
    """A plan of a fixed batch, and one that takes 3 to 8 rows, serve smaller ones."""
    rng = np.random.default_rng(2)
    for model, most in (("fixed", 4), ("three", 8)):
        c.load(model)
        for rows in range(1, most + 1):
            x = rng.standard_normal((rows, 3 if model == "fixed" else 4), F)
            close(c.infer(model, {"x": x})["y"], -x if model == "fixed" else 2 * x)


def test_groups(b, c, s):
    """Of requests that Triton puts together, those of a length are a batch."""
    rng = np.random.default_rng(3)
    c.load("ragged")
    xs = [rng.standard_normal((1, 1 + k % 3), F) for k in range(12)]
    for turn in range(4):
        for x, out in zip(xs, together(12, lambda k: Client(s.port).infer("ragged", {"x": xs[k]}))):
            close(out["y"], softmax(x))
    x = c.get("/v2/models/ragged/stats")["model_stats"][0]
    assert x["inference_count"] == 48 and x["execution_count"] < 48, x


def test_sequences(b, c, s):
    """States of sequences that run at the same time: one of a fixed size, and a cache that grows."""
    rng = np.random.default_rng(4)
    for model in ("running", "slots"):
        c.load(model)

        def sequence(k):
            mine, x = Client(s.port), xs[k]
            for t in range(len(x)):
                out = mine.infer(model, {"x": x[t:t + 1]}, sequence_id=k + 1, sequence_start=t == 0,
                                 sequence_end=t == len(x) - 1)
                close(out["total"], x[:t + 1].sum(axis=0, keepdims=True))
                if "mean" in out: # of what the cache holds: the first row of zeros is the initial state
                    close(out["mean"], (x[:t + 1].sum(axis=0, keepdims=True) / F(t + 2)).astype(F))
        xs = [rng.standard_normal((3 + k, 2), F) for k in range(4)]
        together(4, sequence)
        together(4, sequence) # begins anew


def test_devices(b, c, s):
    """Kernels on the emulated GPU: the way that inputs and outputs take to a GPU and back."""
    rng = np.random.default_rng(5)
    c.load("emulated")
    x = rng.standard_normal((8, 4), F)
    c.infer("emulated", {"x": x}) # compiles
    for turn in range(3):
        outs = together(4, lambda k: Client(s.port).infer("emulated", {"x": x[k:k + 1 + k % 2]}))
        for k, out in enumerate(outs):
            close(out["y"], 2 * x[k:k + 1 + k % 2])
            close(out["s"], (2 * x[k:k + 1 + k % 2]).sum(axis=1, keepdims=True))
    close(c.infer("emulated", {"x": x})["y"], 2 * x)
    stats = c.get("/v2/models/emulated/stats")["model_stats"][0]["inference_stats"]
    assert stats["compute_infer"]["ns"] > 0, stats
    if b.args.gpu:
        return
    c.load("mock")
    assert c.infer("mock", {"x": x})["y"].shape == (8, 4)
    outs = together(4, lambda k: Client(s.port).infer("mock", {"x": x[k:k + 1]}))
    assert [o["y"].shape for o in outs] == [(1, 4)] * 4


def test_warm_up(b, c, s):
    c.load("warm")
    assert "successfully loaded 'warm'" in s.said()
    close(c.infer("warm", {"x": np.ones((1, 4), F)})["y"], np.full((1, 4), 2, F))
    refused(lambda: c.load("cold"), "unexpected shape")


def test_instances(b, c, s):
    """Four instances have the weights once (in the host's memory)."""
    if b.args.gpu:
        return
    without = s.memory()

    def load(count): # in place of what there was
        c.load("heavy", {"backend": "tenon", "instance_group": [{"count": count, "kind": "KIND_CPU"}]})
        outs = together(4, lambda k: Client(s.port).infer("heavy", {"x": np.full((1, 4096), k, F)}))
        for k, out in enumerate(outs):
            close(out["y"], k * sums)
        return s.memory() - without
    sums = WEIGHTS().sum(axis=0, keepdims=True)
    one = load(1)
    four = [load(4)]
    while four[-1] > 1.5 * one and len(four) < 50: # what there was goes a little later
        time.sleep(0.1)
        four.append(s.memory() - without)
    assert one > 64 << 20 and four[-1] < 1.5 * one, (one, four)


def test_load_errors(b, c, s):
    for model, (_, texts) in BROKEN.items():
        refused(lambda: c.load(model), "tenon: " + model, *texts)
    path = os.path.join(b.repository, "damaged", "1", "model.plan")
    with open(path, "r+b") as f:
        f.truncate(os.path.getsize(path) // 2)
    refused(lambda: c.load("damaged"), "tenon: damaged", "model.plan")
    assert s.process.poll() is None


def test_example(b, c, s):
    """examples/serving, as it stands."""
    digits = os.path.join(b.args.source, "examples/digits")
    os.makedirs(os.path.join(b.repository, "digits/1"), exist_ok=True)
    subprocess.run([b.args.tenon, "compile", f"{digits}/digits.onnx", "-o", os.path.join(b.repository, "digits/1/model.plan"), "-q",
                    "--no-gpu", "--target", "sm_90a", "--shape", "image=1..16x1x20x20"], check=True)
    c.load("digits")
    images = [np.load(f"{digits}/digit_{k}.npy").astype(F) for k in range(10)]
    outs = together(10, lambda k: Client(s.port).infer("digits", {"image": images[k].reshape(1, 1, 20, 20)}))
    assert [int(o["logits"].argmax()) for o in outs] == list(range(10)), outs


def test_grpc(b, c, s):
    try:
        import tritonclient.grpc as g
    except ImportError:
        print("without tritonclient: gRPC not tested")
        assert not os.environ.get("CI")
        return
    c.load("twice")
    client = g.InferenceServerClient(f"127.0.0.1:{s.grpc_port}")
    x = np.arange(8, dtype=F).reshape(2, 4)
    given = g.InferInput("x", [2, 4], "FP32")
    given.set_data_from_numpy(x)
    out = client.infer("twice", [given])
    close(out.as_numpy("y"), 2 * x)
    close(out.as_numpy("s"), (2 * x).sum(axis=1, keepdims=True))
    client.close()


def test_reload(b, c, s):
    """A plan is written over and loaded again, under the load of 8 clients: every request is answered, by one or the other."""
    plans = [b.compile(TWICE, "x=1..8x4"), b.compile(TWICE.replace("[2]", "[3]"), "x=1..8x4")]
    c.load("twice")
    end = time.monotonic() + b.args.seconds
    seen = [set() for _ in range(9)]

    def client(k):
        mine, n = Client(s.port), 0
        if k == 8:
            while time.monotonic() < end:
                n += 1
                shutil.copyfile(plans[n % 2], os.path.join(b.repository, "twice/1/model.plan"))
                mine.load("twice")
                time.sleep(0.1)
            return n
        while time.monotonic() < end:
            x = np.full((1, 4), k + 1 + n, F)
            n += 1
            y = mine.infer("twice", {"x": x})["y"]
            by = float(y[0, 0] / x[0, 0])
            assert by in (2, 3) and (y == by * x).all(), (x, y)
            seen[k].add(by)
        return n
    done = together(9, client)
    assert all(len(x) == 2 for x in seen[:8]), seen
    print(f"    {sum(done[:8])} requests, {done[8]} reloads in {b.args.seconds:g} s")
    shutil.copyfile(plans[0], os.path.join(b.repository, "twice/1/model.plan"))
    c.load("twice")


def test_renamed(b, c, s):
    """A plan of another name, which is mapped."""
    c.load("renamed")
    close(c.infer("renamed", {"x": np.ones((1, 4), F)})["y"], np.full((1, 4), 2, F))


def test_stops(b, c, s):
    assert s.stop() == 0, s.said()[-2000:]


def test_installed(args, folder):
    """Without libtenon, which only devices that are programs need, the error says what to do."""
    b = Bench(args, folder)
    b.model("twice", TWICE, "x=1..8x4")
    with b.serve(backends=args.installed, env={"CUDA_VISIBLE_DEVICES": ""}) as s:
        refused(lambda: Client(s.port).load("twice"), "tenon: twice", "libtenon.so", "install libtenon")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("server", "backends", "installed", "tenon", "source", "mock"):
        p.add_argument(name)
    p.add_argument("--gpu", action="store_true")
    p.add_argument("--seconds", type=float, default=30)
    p.add_argument("--only", default="")
    args = p.parse_args()
    tests = [(n, t) for n, t in globals().items() if n.startswith("test_") and n != "test_installed"
             and (args.only in n or n == "test_stops")]
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        b = Bench(args, folder)
        fill(b)
        env = {} if args.gpu else {"TENON_LIBCUDA": args.mock, "TENON_LIBCUBLASLT": args.mock, "MOCK_CUDA_CC": "90",
                                   "CUDA_VISIBLE_DEVICES": ""} # a GPU that there is would be Triton's choice
        with b.serve(env=env, arguments=["--backend-config=default-max-batch-size=6"]) as s:
            for name, test in tests:
                begun = time.monotonic()
                try:
                    test(b, Client(s.port), s)
                    print(f"{name}: passed in {time.monotonic() - begun:.1f} s", flush=True)
                except Exception:
                    traceback.print_exc()
                    failed.append(name)
                    if s.process.poll() is not None:
                        break
            said = s.said()
        if not args.only and not args.gpu:
            test_installed(args, os.path.join(folder, "installed"))
    if failed:
        print("".join(line for line in said.splitlines(True)[-40:] if line[:1] not in "|+"))
        sys.exit("FAILED: " + ", ".join(failed))


if __name__ == "__main__":
    main()
