"""Arrays on the GPU, with the mock driver and NVRTC of tests/unit in place of the real ones: what is enqueued where, and that nothing is copied
or waited for.  The mock's device memory is the host's, and kernels of Tenon's do nothing there.

usage: on_mock.py SOURCE_DIR TESTS_BUILD_DIR
"""

import ctypes
import os
import re
import sys
import tempfile

source, built = sys.argv[1:]
os.environ["TENON_LIBCUDA"] = os.path.join(built, "mock_cuda.so")
os.environ["TENON_LIBNVRTC"] = os.path.join(built, "mock_nvrtc.so")
os.environ["TENON_CACHE"] = ""

import numpy as np  # noqa: E402

import models  # noqa: E402
import tenon  # noqa: E402


def mock_structure():
    """struct mock_cuda, by its header."""
    with open(os.path.join(source, "tests", "unit", "mock_cuda.h")) as f:
        body = re.search(r"typedef struct mock_cuda \{(.*?)\} mock_cuda;", re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S), re.S).group(1)
    types = {"int": ctypes.c_int, "unsigned": ctypes.c_uint, "unsigned long": ctypes.c_ulong, "long": ctypes.c_long,
             "const char *": ctypes.c_char_p}
    found = []
    for statement in filter(None, (s.strip() for s in body.split(";"))):
        kind, names = re.match(r"(const char \*|unsigned long|unsigned|long|int|char)\s*(.*)", statement, re.S).groups()
        for name in names.split(","):
            array = re.match(r"(\w+)\[(\d+)\]", name.strip())
            found.append((array.group(1), ctypes.c_char * int(array.group(2))) if array else (name.strip(), types[kind]))
    return type("mock_cuda", (ctypes.Structure,), {"_fields_": found})


library = ctypes.CDLL(os.environ["TENON_LIBCUDA"])
library.mock_cuda_get.restype = ctypes.POINTER(mock_structure())
library.mock_stream.restype = library.mock_capture.restype = ctypes.c_void_p
library.mock_capture.argtypes = [ctypes.c_void_p, ctypes.c_int]
library.mock_drop_graph.argtypes = [ctypes.c_void_p]
mock = library.mock_cuda_get().contents
mock.other_kernels = 1


class OnGpu:
    """An array that says it is on CUDA device 0."""

    def __init__(self, *shape, dtype=np.float32):
        self.array, self.streams = np.zeros(shape, dtype), []

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, *, stream=None, **_):
        self.streams.append(stream)
        return self.array.__dlpack__()


def refused(error, text, call):
    try:
        call()
    except error as e:
        assert re.search(text, str(e)), e
        return
    raise AssertionError(f"not refused: {text}")


plan = tenon.compile(models.mlp()[0], targets="sm_90a", no_gpu=True)
assert plan.device == "cuda"
x, y = OnGpu(4, 8), OnGpu(4, 4)
stream = library.mock_stream()

# the first inferences at a shape make its state; then nothing is waited for, or allocated
for _ in range(3):
    assert plan.run({"x": x}, out={"y": y}, stream=stream)["y"] is y
before = mock.syncs, mock.allocs, mock.launches + mock.graph_launches
plan.run({"x": x}, out={"y": y}, stream=stream)
assert (mock.syncs, mock.allocs) == before[:2], (mock.syncs, mock.allocs, before)
assert mock.launches + mock.graph_launches > before[2]
assert x.streams == [1] * 4, x.streams  # nobody knows the foreign array's stream: the default one

# on the caller's stream: launches are counted but where they are captured, and all are when that stream is
before = mock.launches + mock.graph_launches
library.mock_capture(stream, 1)
plan.run({"x": x}, out={"y": y}, stream=stream)
graph = library.mock_capture(stream, 0)
assert graph and mock.launches + mock.graph_launches == before, (graph, mock.launches, mock.graph_launches, before)
library.mock_drop_graph(graph)

# arrays of the host are copied
syncs = mock.syncs
assert plan(np.zeros((4, 8), np.float32)).shape == (4, 4)
assert mock.syncs > syncs

refused(tenon.UnsupportedError, "out=", lambda: plan(x))  # whose memory should the result be in?
refused(tenon.TypeMismatchError, "float64", lambda: plan.run({"x": OnGpu(4, 8, dtype=np.float64)}, out={"y": y}))
refused(tenon.TypeMismatchError, "on cuda", lambda: plan.run({"x": x}, out={"y": np.zeros((4, 4), np.float32)}))
refused(tenon.TypeMismatchError, "runs on cpu", lambda: plan.to("cpu")(x))
assert not mock.violation, mock.violation

# what is found by a key was made for this GPU
with tempfile.TemporaryDirectory() as folder:
    def phases(cc):
        mock.cc, seen = cc, set()
        tenon.compile(models.mlp()[0], tune_seconds=0, cache=folder, progress=lambda p: seen.add(p.phase), _key="mlp")
        return seen
    assert "compile" in phases(90), "nothing is there"
    assert "compile" not in phases(90), "it is found"
    assert "compile" in phases(80), "it is another GPU's"

del plan
assert mock.live_allocs == mock.live_modules == 0, (mock.live_allocs, mock.live_modules)
print("on the mock: passed")
