"""The package `tenon` from outside, on the devices that need no GPU, against NumPy and the reference evaluator of the package `onnx`.

usage: python -m unittest discover -s tests/python      (with tenon, numpy and onnx installed)
"""

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import warnings

import ml_dtypes
import numpy as np
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

import models
import tenon

SOURCE = os.environ.get("TENON_SOURCE", os.path.join(os.path.dirname(__file__), "..", ".."))
DIGITS = os.path.join(SOURCE, "examples", "digits")


def setUpModule():
    global folder
    folder = tempfile.TemporaryDirectory()
    os.environ["TENON_CACHE"] = os.path.join(folder.name, "cache")


def tearDownModule():
    folder.cleanup()


def path(name):
    return os.path.join(folder.name, name)


def compile(model, **options):
    return tenon.compile(model, **{"device": "cpu", **options})


class Caches(unittest.TestCase):
    """KV caches that grow in place, against the same decoder computed anew each time without any."""
    MODEL = os.path.join(SOURCE, "examples", "decoder", "decoder.onnx")
    PROMPT = list(b"the small boat")

    def decoder(self, **options):
        shapes = {"input_ids": (1, (1, 32, 1)), "past_key_values.*": (1, None, (0, 31, 8), None)}
        return compile(self.MODEL, **{"shapes": shapes, **options})

    def inputs(self, tokens, before):
        after = before + len(tokens)
        return {"input_ids": np.array([tokens]), "attention_mask": np.ones((1, after), np.int64),
                "position_ids": np.arange(before, after)[None]}

    def anew(self, plan, tokens):
        """The logits of all tokens, and the caches."""
        none = {i.name: np.zeros((1, 2, 0, 8), np.float32) for i in plan.inputs if i.name.startswith("past")}
        out = plan.run({**self.inputs(tokens, 0), **none})
        return out.pop("logits"), out

    def step(self, plan, cache, tokens):
        return plan.run(self.inputs(tokens, cache.length), cache=cache)["logits"]

    def test_tokens_one_by_one(self):
        plain = self.decoder(caches=False)
        want, caches = self.anew(plain, self.PROMPT)
        for device in ("cpu", "emu"):
            plan = self.decoder(device=device)
            cache = plan.cache()
            got = [self.step(plan, cache, self.PROMPT[:5])]
            room = cache["past_key_values.1.key"].__array_interface__["data"][0]
            got += [self.step(plan, cache, [t]) for t in self.PROMPT[5:]]
            np.testing.assert_allclose(np.concatenate(got, 1), want, rtol=1e-4, atol=1e-4)
            self.assertEqual((cache.length, cache.capacity), (len(self.PROMPT), 63))  # 31 before, 32 more
            for name in cache.names:
                np.testing.assert_allclose(cache[name], caches[name.replace("past_key_values", "present")], rtol=1e-4, atol=1e-4)
            self.assertEqual(cache["past_key_values.1.key"].__array_interface__["data"][0], room)  # nothing has moved

    def test_what_is_forgotten(self):
        plan = self.decoder()
        cache = plan.cache()
        self.step(plan, cache, self.PROMPT)
        cache.length = 4
        other = list(b"tree")
        want, _ = self.anew(plan, self.PROMPT[:4] + other)  # a plan whose caches grow runs without a cache, too
        np.testing.assert_allclose(self.step(plan, cache, other), want[:, 4:], rtol=1e-4, atol=1e-4)
        with self.assertRaisesRegex(tenon.ArgumentError, "the cache has 8 rows: its length cannot become 9"):
            cache.length = 9

    def test_two_sequences_of_one_plan(self):
        plan = self.decoder()
        texts = self.PROMPT[:6], list(b"a river")
        caches = [plan.cache() for _ in texts]
        for k in range(6):
            for text, cache in zip(texts, caches):
                got = self.step(plan, cache, text[k:k + 1])
                np.testing.assert_allclose(got, self.anew(plan, text[:k + 1])[0][:, -1:], rtol=1e-4, atol=1e-4)

    def test_a_batch_and_any_length(self):
        """Pairs by name, a batch of two, and one sequence alone, whose rows may be any number."""
        from onnx import helper as h
        f32 = TensorProto.FLOAT
        for batch, shapes in ((2, {"past": (None, (0, 31), 4), "x": (None, (1, 17), 4)}), (1, {})):
            first = "B" if batch == 2 else 1
            m = h.make_model(h.make_graph(
                [h.make_node("Concat", ["past", "x"], ["present"], axis=1), h.make_node("ReduceSum", ["present", "axes"], ["y"])], "g",
                [h.make_tensor_value_info("past", f32, [first, "P", 4]), h.make_tensor_value_info("x", f32, [first, "S", 4])],
                [h.make_tensor_value_info("present", f32, [first, "T", 4]), h.make_tensor_value_info("y", f32, None)],
                [h.make_tensor("axes", TensorProto.INT64, [2], [1, 2])]), opset_imports=[h.make_opsetid("", 17)], ir_version=8)
            plan = compile(m, aliases={"past": "present"}, shapes=shapes)
            cache, rows = plan.cache(**({"B": 2} if batch == 2 else {})), np.random.default_rng(0).standard_normal((batch, 30, 4)).astype(np.float32)
            for at, n in ((0, 3), (3, 1), (4, 9), (13, 17)):
                y = plan(x=rows[:, at:at + n], cache=cache)
                np.testing.assert_allclose(y.reshape(batch), rows[:, :at + n].sum((1, 2)), rtol=1e-4, atol=1e-5)
                np.testing.assert_array_equal(cache["past"], rows[:, :at + n])
            self.assertEqual(cache.capacity, 31 + 17 if batch == 2 else None)

    def test_caches_with_all_rows(self):
        """GroupQueryAttention whose past and present are one buffer of all rows, in sequences of unlike lengths, against NumPy."""
        from onnx import helper as h
        f32, i32, heads, groups, size, rows = TensorProto.FLOAT, TensorProto.INT32, 4, 2, 8, 16
        caches = [h.make_tensor_value_info(f"{p}.0.{x}", f32, ["B", groups, "M", size]) for p in ("past_key_values", "present") for x in ("key", "value")]
        given = [h.make_tensor_value_info(x, f32, ["B", "S", n * size]) for x, n in (("q", heads), ("k", groups), ("v", groups))]
        m = h.make_model(h.make_graph(
            [h.make_node("GroupQueryAttention", ["q", "k", "v", *(c.name for c in caches[:2]), "seqlens_k", "total"], ["y", *(c.name for c in caches[2:])],
                         domain="com.microsoft", num_heads=heads, kv_num_heads=groups)], "g",
            [*given, *caches[:2], h.make_tensor_value_info("seqlens_k", i32, ["B"]), h.make_tensor_value_info("total", i32, [])],
            [h.make_tensor_value_info("y", f32, None), *caches[2:]]), opset_imports=[h.make_opsetid("", 17), h.make_opsetid("com.microsoft", 1)], ir_version=8)
        for device, precision, bound in (("cpu", "fp32", 1e-5), ("emu", "fp32", 1e-5), ("emu", "fp16", 4e-3)):
            plan = compile(m, device=device, precision=precision, shapes={"q": ((1, 2, 2), (1, 4, 1), None)})
            cache, rng, used = plan.cache(B=2, M=rows), np.random.default_rng(0), np.zeros(2, int)
            want = np.zeros((2, 2, groups, rows, size), np.float32)
            for new in ([3, 2], [1, 1], [1, 1], [4, 4], [1, 1], [1, 1]):  # prompts of unlike lengths, the shorter one filled up
                q, k, v = (rng.standard_normal((2, max(new), n * size)).astype(np.float32) for n in (heads, groups, groups))
                y = plan(q=q, k=k, v=v, seqlens_k=(used + new - 1).astype(np.int32), total=np.int32((used + new).max()), cache=cache)
                for b in range(2):
                    to = used[b] + new[b]
                    for c, x in zip(want, (k, v)):
                        c[b, :, used[b]:to] = x[b, :new[b]].reshape(new[b], groups, size).transpose(1, 0, 2)
                    keys, values = (c[b, :, :to].repeat(heads // groups, 0) for c in want)
                    scores = q[b, :new[b]].reshape(new[b], heads, size).transpose(1, 0, 2) @ keys.transpose(0, 2, 1) / size ** .5
                    scores = np.where(np.arange(to) <= used[b] + np.arange(new[b])[:, None], scores, -np.inf)
                    p = np.exp(scores - scores.max(-1, keepdims=True))
                    out = (p / p.sum(-1, keepdims=True)) @ values
                    np.testing.assert_allclose(y[b, :new[b]], out.transpose(1, 0, 2).reshape(new[b], -1), rtol=bound, atol=bound)
                used += new
                for c, name in zip(want, cache.names):
                    np.testing.assert_allclose(cache[name], c, rtol=0, atol=0 if precision == "fp32" else bound)
            self.assertEqual((cache.length, cache.capacity), (0, rows))

    def test_errors(self):
        plan, plain = self.decoder(), self.decoder(caches=False)
        cache = plan.cache()
        with self.assertRaisesRegex(tenon.ArgumentError, "no output of the plan grows"):
            plain.cache()
        with self.assertRaisesRegex(tenon.ArgumentError, "the caches have no size 'rows'"):
            plan.cache(rows=3)
        with self.assertRaisesRegex(tenon.ArgumentError, "another plan's"):
            plain.run(self.inputs([1], 0), cache=cache)
        with self.assertRaisesRegex(tenon.ArgumentError, "is in the cache"):
            plan.run({**self.inputs([1], 0), "past_key_values.0.key": np.zeros((1, 2, 0, 8), np.float32)}, cache=cache)
        with self.assertRaisesRegex(tenon.ArgumentError, "the cache is empty"):
            cache["past_key_values.0.key"]
        self.step(plan, cache, self.PROMPT)
        self.step(plan, cache, [1] * 30)
        with self.assertRaises(tenon.Error):  # more than the 31 rows before that the plan is for
            self.step(plan, cache, [1])
        self.assertEqual(cache.length, len(self.PROMPT) + 30)


class Compile(unittest.TestCase):
    def test_from_a_path(self):
        plan = compile(os.path.join(DIGITS, "digits.onnx"))
        for digit in range(10):
            x = np.load(os.path.join(DIGITS, f"digit_{digit}.npy"))
            self.assertEqual(plan(x).argmax(), digit)

    def test_from_bytes_a_proto_and_another_path_are_the_same(self):
        proto, weights = models.mlp()
        with open(path("mlp.onnx"), "wb") as f:
            f.write(proto.SerializeToString())
        x = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
        for source in (proto, proto.SerializeToString(), bytearray(proto.SerializeToString()), path("mlp.onnx")):
            np.testing.assert_allclose(compile(source)(x), models.mlp_numpy(x, weights), rtol=1e-5, atol=1e-6)

    def test_executes_kernels(self):
        proto, weights = models.mlp()
        x = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
        np.testing.assert_allclose(compile(proto, device="emu")(x), models.mlp_numpy(x, weights), rtol=1e-4, atol=1e-5)

    def test_precision(self):
        proto, weights = models.mlp(hidden=64)
        x = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
        exact, plan = models.mlp_numpy(x, weights), compile(proto, precision="fp16")
        error = np.abs(plan(x) - exact).max()
        self.assertEqual(plan.info["precision"], "fp16")
        self.assertGreater(error, 1e-6)  # of fp32
        self.assertLess(error, 5e-3)

    def test_shapes(self):
        proto, weights = models.mlp()
        plan = compile(proto, shapes={"x": ("1..32:8", 8)})
        self.assertEqual([(s.name, s.lo, s.hi, s.typical) for s in plan.symbols], [("N", 1, 32, 8)])
        self.assertEqual(plan.inputs[0].shape, ("N", 8))
        self.assertEqual(plan(np.zeros((32, 8), np.float32)).shape, (32, 4))
        with self.assertRaisesRegex(tenon.Error, "N"):
            plan(np.zeros((33, 8), np.float32))
        self.assertEqual(compile(proto, shapes={"x": (3, None)}).inputs[0].shape, (3, 8))
        self.assertEqual(compile(proto, shapes={"x": "1..4x8:2x8"}).symbols[0].typical, 2)
        buckets = compile(proto, shapes={"x": [((1, 4, 2), 8), ((5, 64, 32), 8)]})
        self.assertEqual((buckets.symbols[0].lo, buckets.symbols[0].hi), (1, 64))
        for bad in ("a", "3..b", (1, 2, 3, 4)):
            with self.assertRaisesRegex(tenon.ArgumentError, "is no size"):
                compile(proto, shapes={"x": (bad, 8)})
        with self.assertRaisesRegex(tenon.ArgumentError, "nix"):
            compile(proto, shapes={"nix": (1, 8)})

    def test_constants(self):
        plan = compile(models.sums(), constants={"q": np.ones((1, 3), np.float32)})
        self.assertEqual([i.name for i in plan.inputs], ["p"])
        np.testing.assert_array_equal(plan(np.zeros((1, 3), np.float32))[0], np.ones((1, 3)))

    def test_untuned_kernels_for_a_gpu_that_is_not_here(self):
        plan = compile(models.mlp()[0], device="cuda", targets="sm_90a", no_gpu=True)
        self.assertEqual([a["name"] for a in plan.archs], ["sm_90a"])
        self.assertEqual(plan.archs[0]["tuned_on"], "")

    def test_plugin(self):
        plugins = os.path.join(SOURCE, "examples", "plugin", "region.cu")
        compile(models.mlp()[0], plugins=[plugins])
        with self.assertRaisesRegex(tenon.FileError, "nix.cu"):
            compile(models.mlp()[0], plugins=["nix.cu"])


class Errors(unittest.TestCase):
    def test_names_some_of_many_inputs(self):
        plan = compile(models.total(20))
        with self.assertRaisesRegex(tenon.ArgumentError, r"no such input; the plan has x0: .*, x7: [^,]*, \.\.\. \(\+12\)$"):
            plan.run({"nix": np.zeros(3, np.float32)})

    def test_names_the_layer(self):
        with self.assertRaises(tenon.TypeMismatchError) as raised:
            compile(models.broken())
        self.assertIn("/encoder/layer.3/MatMul", raised.exception.layer)
        self.assertIn("/encoder/layer.3/MatMul", str(raised.exception))
        self.assertEqual((raised.exception.status, raised.exception.exit_code), ("E_TYPE", 7))

    def test_condition_names_the_layer(self):
        plan = compile(models.sums())
        with self.assertRaisesRegex(tenon.TypeMismatchError, "/add|/sub"):
            plan(np.zeros((2, 3), np.float32), np.zeros((4, 3), np.float32))
        self.assertEqual(plan(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32))[0].shape, (2, 3))  # and goes on

    def test_models_and_files(self):
        for bad, error in ((b"nonsense", tenon.FormatError), ("nix.onnx", tenon.FileError), ("nix.onnx", OSError), (3, tenon.UnsupportedError)):
            with self.assertRaises(error):
                compile(bad)
        with open(path("bad.plan"), "wb") as f:
            f.write(b"\0" * 100)
        for bad, error in ((path("bad.plan"), tenon.FormatError), (path("nix.plan"), tenon.FileError), (b"", tenon.FormatError)):
            with self.assertRaises(error):
                tenon.Plan.load(bad)
        with self.assertRaises(tenon.ArgumentError):
            compile(models.mlp()[0], precision="fp12")
        with self.assertRaises(tenon.ArgumentError):
            compile(models.mlp()[0], device="tpu")

    @unittest.skipIf(os.path.exists("/dev/nvidiactl"), "there is a GPU")
    def test_no_gpu(self):
        with self.assertRaisesRegex(tenon.NoDeviceError, "driver"):
            tenon.compile(models.mlp()[0])
        plan = compile(models.mlp()[0]).to("cuda")
        with self.assertRaises(tenon.NoDeviceError):
            plan(np.zeros((1, 8), np.float32))

    def test_inputs(self):
        plan = compile(models.sums())
        x = np.zeros((2, 3), np.float32)
        for call, error, name in (
                (lambda: plan(x), tenon.ArgumentError, "q"), (lambda: plan(x, x, x), tenon.ArgumentError, "3 inputs"),
                (lambda: plan(x, x, p=x), tenon.ArgumentError, "p"), (lambda: plan.run({"p": x, "r": x}), tenon.ArgumentError, "r"),
                (lambda: plan(x, x.astype(np.float64)), tenon.TypeMismatchError, "q.*float64"),
                (lambda: plan(x, x[0]), tenon.TypeMismatchError, "q"), (lambda: plan(x, x[:, 1:]), tenon.TypeMismatchError, "q")):
            with self.assertRaisesRegex(error, name):
                call()

    def test_warnings_are_pythons(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # and none comes here
            compile(models.mlp()[0])


class Run(unittest.TestCase):
    def test_by_name_and_position(self):
        plan = compile(models.sums())
        p, q = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((2, 3), np.float32)
        by_name = plan.run({"q": q, "p": p})
        self.assertEqual(list(by_name), ["sum", "difference"])
        for got in (plan(p, q), plan(p, q=q), plan(q=q, p=p), tuple(by_name.values())):
            np.testing.assert_array_equal(got[0], p + q)
            np.testing.assert_array_equal(got[1], p - q)

    def test_lists_numbers_strides_and_byte_orders(self):
        plan = compile(models.sums())
        wide = np.arange(40, dtype=np.float32).reshape(4, 10)
        for x in (wide[::2, 1:4], wide[:2, 7:], wide.T[:3, :2].T, wide[:2, :3].astype(">f4"), wide[:2, :3].tolist()):
            np.testing.assert_array_equal(plan(x, x)[0], 2 * np.asarray(x, np.float32))

    def test_element_types(self):
        types = {TensorProto.FLOAT16: np.float16, TensorProto.DOUBLE: np.float64, TensorProto.INT8: np.int8, TensorProto.INT64: np.int64,
                 TensorProto.UINT8: np.uint8, TensorProto.BFLOAT16: ml_dtypes.bfloat16}
        for onnx_type, numpy_type in types.items():
            x = np.arange(20).reshape(4, 5).astype(numpy_type)
            y = compile(models.cast_to(onnx_type))(x)
            self.assertEqual(y.dtype, x.dtype)
            np.testing.assert_array_equal(y.astype(np.float64), 2 * x.astype(np.float64))

    def test_memory_of_the_callers(self):
        plan = compile(models.sums())
        p, out = np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)
        self.assertIs(plan.run({"p": p, "q": p}, out={"sum": out})["sum"], out)
        np.testing.assert_array_equal(out, 2 * p)
        read_only = out.copy()
        read_only.flags.writeable = False
        for bad in (np.zeros((3, 3), np.float32), np.zeros((2, 3)), np.zeros((2, 6), np.float32)[:, ::2], read_only):
            with self.assertRaises(tenon.TypeMismatchError):
                plan.run({"p": p, "q": p}, out={"sum": bad})

    def test_sizes_that_data_makes(self):
        plan, proto = compile(models.nonzero()), models.nonzero()
        rng = np.random.default_rng(1)
        for n, density in ((3, 0.5), (7, 0.0), (1, 1.0), (4, 0.2)):
            x = (rng.random((n, 5)) < density).astype(np.float32)
            np.testing.assert_array_equal(plan(x), ReferenceEvaluator(proto).run(None, {"x": x})[0])

    def test_no_elements(self):
        self.assertEqual(compile(models.mlp()[0])(np.zeros((0, 8), np.float32)).shape, (0, 4))

    def test_many_threads(self):
        proto, weights = models.mlp()
        plan, errors = compile(proto), []

        def work(seed):
            rng = np.random.default_rng(seed)
            for _ in range(50):
                x = rng.standard_normal((int(rng.integers(1, 40)), 8)).astype(np.float32)
                errors.append(np.abs(plan(x) - models.mlp_numpy(x, weights)).max())
        threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
        [t.start() for t in threads], [t.join() for t in threads]
        self.assertEqual(len(errors), 300)
        self.assertLess(max(errors), 1e-5)

    def test_errors_are_the_threads_own(self):
        plan, seen = compile(models.sums()), []

        def work(k):
            x = np.zeros((2, 3), np.float32)
            for _ in range(50):
                try:
                    plan(x, np.zeros((3 + k, 3), np.float32))
                except tenon.TypeMismatchError as e:
                    seen.append(f"{3 + k}" in str(e))
        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        [t.start() for t in threads], [t.join() for t in threads]
        self.assertEqual(seen, [True] * 200)

    def test_lets_go_of_the_gil(self):
        counted, going = [0], [True]

        def count():
            while going[0]:
                counted[0] += 1
                time.sleep(0)
        thread = threading.Thread(target=count)
        thread.start()
        before = counted[0]
        compile(models.deep())
        going[0] = False
        thread.join()
        self.assertGreater(counted[0] - before, 100)


@unittest.skipUnless(importlib.util.find_spec("jax"), "JAX is not installed")
class Jax(unittest.TestCase):
    def test_arrays(self):
        import jax
        import jax.numpy as jnp
        from tenon import _arrays
        x = jnp.arange(6, dtype=jnp.float32).reshape(2, 3)
        self.assertEqual(_arrays.view(x, "f32", "p").address, x.unsafe_buffer_pointer())
        y = compile(models.sums())(x, x)[0]
        self.assertIsInstance(y, jax.Array)
        np.testing.assert_array_equal(y, 2 * np.asarray(x))
        self.assertEqual(compile(models.cast_to(TensorProto.BFLOAT16))(jnp.ones((4, 5), jnp.bfloat16)).dtype, jnp.bfloat16)


class Progress(unittest.TestCase):
    def test_tells(self):
        seen = []
        compile(models.deep(), progress=seen.append)
        self.assertTrue(seen)
        self.assertIsInstance(seen[0], tenon.Progress)
        self.assertTrue(any(p.phase == "compile" and p.done == p.total > 0 for p in seen), seen)

    def test_cancels(self):
        with self.assertRaises(tenon.CancelledError):
            compile(models.deep(), progress=lambda p: False)

    def test_what_it_raises_comes_through(self):
        def fail(_):
            raise KeyError("mine")
        with self.assertRaisesRegex(KeyError, "mine"):
            compile(models.deep(), progress=fail)

    def test_ctrl_c(self):
        def interrupt(p):
            if not sent:
                sent.append(1)
                os.kill(os.getpid(), signal.SIGINT)
        sent = []
        with self.assertRaises(KeyboardInterrupt):
            compile(models.deep(), progress=interrupt)
            time.sleep(1)

    def test_bar(self):
        program = "import tenon, models; tenon.compile(models.deep(), device='cpu', progress=True)"
        r = subprocess.run([sys.executable, "-c", program], cwd=os.path.dirname(__file__) or ".", capture_output=True, text=True)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn("compile", r.stderr)


class Files(unittest.TestCase):
    def test_round_trip(self):
        proto, weights = models.mlp()
        plan = compile(proto)
        plan.save(path("mlp.plan"))
        x = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
        for again in (tenon.Plan.load(path("mlp.plan"), device="cpu"), tenon.load(plan.to_bytes(), device="cpu")):
            np.testing.assert_array_equal(again(x), plan(x))
            self.assertEqual(again.to_bytes(), plan.to_bytes())
        self.assertEqual(os.listdir(folder.name).count("mlp.plan"), 1)
        with self.assertRaises(OSError):
            plan.save(path("nix/mlp.plan"))

    def test_over_the_file_that_it_was_loaded_from(self):
        plan = compile(models.mlp()[0])
        plan.save(path("same.plan"))
        tenon.load(path("same.plan")).save(path("same.plan"))
        self.assertEqual(tenon.load(path("same.plan")).to_bytes(), plan.to_bytes())

    def test_command(self):
        plan = path("command.plan")
        command = [sys.executable, "-m", "tenon"]
        subprocess.run([*command, "compile", os.path.join(DIGITS, "digits.onnx"), "-o", plan, "--target", "sm_90a", "--no-gpu"], check=True,
                       capture_output=True)
        x = np.load(os.path.join(DIGITS, "digit_3.npy"))
        self.assertEqual(tenon.load(plan, device="cpu")(x).argmax(), 3)
        r = subprocess.run([*command, "inspect", "nix.plan"], capture_output=True, text=True)
        self.assertEqual(r.returncode, 4)
        self.assertIn("nix.plan", r.stderr)


class Inside(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.plan = compile(models.mlp()[0], device="emu")

    def test_kernels(self):
        rows = self.plan.kernel_rows()
        self.assertEqual(len(self.plan.kernels), len(rows))
        self.assertEqual({layer for row in rows for layer in row["layers"]},
                         {"/first/MatMul", "/first/Add", "/relu/Relu", "/second/MatMul", "/softmax/Softmax"})
        self.assertEqual(sum(row["flops"] > 0 for row in rows), len(rows))

    def test_source(self):
        for k, row in enumerate(self.plan.kernel_rows()):
            text, full = self.plan.source(k), self.plan.source(k, full=True)
            self.assertIn(f"#define TN_KERNEL {row['kernel'].split(':')[-1]}", text)
            self.assertIn("__global__", text)
            self.assertLess(len(text), len(full))
            self.assertEqual(self.plan.source(row["kernel"]), text)
        with self.assertRaisesRegex(tenon.ArgumentError, "kernel"):
            self.plan.source(1000)

    def test_candidates(self):
        self.assertGreaterEqual(len(self.plan.candidates(0)), 1)

    def test_bench(self):
        b = self.plan.bench(0.05, shapes={"x": (2, 8)})
        self.assertTrue(0 < b.p10_us <= b.median_us <= b.p90_us and b.runs >= 1, b)

    def test_check(self):
        proto, weights = models.mlp()
        inputs = self.plan.random_inputs({"x": (3, 8)})
        right = models.mlp_numpy(inputs["x"], weights)
        session = ReferenceEvaluator(proto)
        for reference in (None, right, {"y": right}, lambda x: models.mlp_numpy(x, weights),
                          lambda x: session.run(None, {"x": x})):
            self.assertTrue(self.plan.check([reference] if reference is right else reference, inputs=inputs).raise_if_wrong())
        for wrong in ([right + 0.01], [right[:2]], lambda x: models.mlp_numpy(x + 1, weights), [np.full_like(right, np.nan)]):
            result = self.plan.check(wrong, inputs=inputs)
            self.assertFalse(result)
            with self.assertRaisesRegex(tenon.MismatchError, "y: "):
                result.raise_if_wrong()

    def test_prints(self):
        self.assertIn("x: f32[N,8]", repr(self.plan))
        html = self.plan._repr_html_()
        for k, row in enumerate(self.plan.kernel_rows()):
            self.assertIn(row["template"], html)
        self.assertIn("/softmax/Softmax", html)
        self.assertNotIn("<script", html)

    def test_table_without_pandas(self):
        from tenon._table import Table
        t = Table(self.plan.kernel_rows())
        self.assertEqual(t["kernel"], [row["kernel"] for row in t])
        self.assertIn("/softmax/Softmax", repr(t))
        self.assertIn("<td>", t._repr_html_())


if __name__ == "__main__":
    unittest.main()
