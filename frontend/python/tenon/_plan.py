"""tenon.Plan: a compiled model, loaded.  It runs on the arrays of others, from any thread, and tells what is in it."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from . import _arrays, _check, _report, _tenon
from ._arrays import CPU, CUDA, View
from ._cache import Cache
from ._errors import ArgumentError, TypeMismatchError, UnsupportedError
from ._table import table

DEVICES = {"cuda": 0, "cpu": 1, "emu": 2}  # tn_device
_SOURCE_MARK = "//// "
Path = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class TensorInfo:
    """An input or output.  shape: sizes, or texts of sizes that are symbolic ("N", "2*N + 1")."""

    name: str
    dtype: str  # Tenon's name: "f32", "bf16", "i64"
    shape: Tuple[Union[int, str], ...]

    @property
    def numpy_dtype(self) -> np.dtype:
        return _arrays.numpy_dtype(self.dtype)

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Symbol:
    """A size that inputs give: from lo to hi (None: any), tuned for `typical` (None: not said)."""

    name: str
    lo: int
    hi: Optional[int]
    typical: Optional[int]


@dataclass
class Bench:
    """Times of one inference in microseconds, and of each kernel alone where they were timed (device "cuda")."""

    device: str
    median_us: float
    p10_us: float
    p90_us: float
    runs: int
    enqueue_us: Optional[float] = None
    first_enqueue_us: Optional[float] = None
    kernel_us: List[Tuple[str, float]] = field(default_factory=list)

    @property
    def kernels(self) -> Any:
        return table([{"kernel": name, "us": us} for name, us in self.kernel_us])

    def __str__(self) -> str:
        return (f"{self.median_us:.1f} us (10 % below {self.p10_us:.1f}, 10 % above {self.p90_us:.1f}; {self.runs} runs, "
                f"device {self.device})")


class _Slot:
    """A context and the shapes that it was given last, with the outputs' most."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.shapes: List[Optional[Tuple[int, ...]]] = []
        self.most: List[Tuple[int, ...]] = []

    def give(self, shapes: List[Any], outputs: int) -> None:
        if self.shapes == shapes:
            return
        self.shapes = []
        for k, shape in enumerate(shapes):
            self.raw.set_shape(k, shape)
        self.most = [self.raw.output_most(k) for k in range(outputs)]
        self.shapes = shapes


class Plan:
    """A compiled model.  `plan(x)` takes inputs by position and returns the output, or a tuple of several; `plan.run({...})` takes and
    returns them by name.  Results are arrays of the same framework as the first input.  A plan may be used from any
    number of threads: each inference has a context of its own, which is kept for the next."""

    def __init__(self, raw: Any, *, device: str = "cuda", cuda_device: int = 0) -> None:
        if device not in DEVICES:
            raise ArgumentError(f'device="{device}": use {", ".join(DEVICES)}')
        self._raw, self.device, self.cuda_device = raw, device, cuda_device
        self._free: Dict[Tuple[int, int], List[_Slot]] = {}
        self.inputs = [_info(t) for t in raw.inputs()]
        self.outputs = [_info(t) for t in raw.outputs()]
        self._sized_by_data = self._has_made_sizes()
        self._growing = [(i, o, axis, capacity) for i, o, axis, capacity in raw.aliases()]

    # ---- files ---------------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, source: Union[Path, bytes], *, device: str = "cuda", cuda_device: int = 0) -> "Plan":
        """A plan from a file, which is mapped, or from its bytes.  Errors: FileError, FormatError."""
        raw = _tenon.load(bytes(source) if isinstance(source, (bytes, bytearray, memoryview)) else os.fspath(source))
        return cls(raw, device=device, cuda_device=cuda_device)

    def save(self, path: Path) -> None:
        """Writes the plan's file, whole or not at all."""
        path = os.fspath(path)
        handle, unfinished = tempfile.mkstemp(prefix=os.path.basename(path) + ".", dir=os.path.dirname(path) or ".")
        try:
            with os.fdopen(handle, "wb") as f:
                f.write(self._raw.data())
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(unfinished, 0o666 & ~mask)
            os.replace(unfinished, path)
        except BaseException:
            os.unlink(unfinished)
            raise

    def to_bytes(self) -> bytes:
        return bytes(self._raw.data())

    def to(self, device: str, cuda_device: int = 0) -> "Plan":
        """The same plan on another device; they share its memory."""
        return Plan(self._raw, device=device, cuda_device=cuda_device)

    # ---- running -------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, out: Optional[Mapping[str, Any]] = None, stream: Optional[int] = None,
                 cache: Optional[Cache] = None, **named: Any) -> Any:
        """One inference of inputs by position, and then by name.  See run."""
        if len(args) > len(self.inputs):
            raise ArgumentError(f"{len(args)} inputs were given; the plan has {self._names(self.inputs)}")
        given = {info.name: x for info, x in zip(self.inputs, args)}
        twice = next((name for name in named if name in given), None)
        if twice:
            raise ArgumentError("the input was given by position and by name", twice)
        results = list(self._run({**given, **named}, out, stream, cache).values())
        return results[0] if len(results) == 1 else tuple(results)

    def run(self, inputs: Mapping[str, Any], *, out: Optional[Mapping[str, Any]] = None,
            stream: Optional[int] = None, cache: Optional[Cache] = None) -> Dict[str, Any]:
        """One inference of inputs by name; returns the outputs by name.  With a cache (see cache()), the inputs that are in it are not
        given, and the outputs that grow in it not returned.

        Arrays are NumPy's, or anything that speaks DLPack; those that lie densely are not copied.  On the device "cuda", inputs
        on the GPU are read there: the inference is enqueued on `stream` (a CUstream as a number; default: the one that is
        current in their framework) and not waited for, unless data makes a size of an output.  Arrays of the host are copied there
        and back.  `out` gives memory for outputs, by name: dense arrays, which are returned.

        Errors: TypeMismatchError and ArgumentError name the input."""
        return self._run(inputs, out, stream, cache)

    def cache(self, **sizes: int) -> Cache:
        """An empty KV cache for this plan, whose outputs grow in it without being copied: compile the model with caches=True (the
        default) and a largest length, shapes={"past_key_values.*": (1, 8, "0..4095", 64)}.  sizes: of the caches' other symbols, such as
        batch_size=4; 1 where none is given.  Errors: ArgumentError (no output grows in an input's memory; no such symbol)."""
        if not self._growing:
            raise ArgumentError("no output of the plan grows in the memory of an input", hint="tenon inspect says why: its caches need a largest "
                                'length, as shapes={"past_key_values.*": (1, 8, "0..4095", 64)}, or aliases={"past_*": "present_*"}')
        known = {d for i, o, axis, _ in self._growing for k, d in enumerate(self.inputs[i].shape)
                 if isinstance(d, str) and (k != axis or d == self.outputs[o].shape[k])}
        unknown = sorted(set(sizes) - known)
        if unknown:
            raise ArgumentError(f"the caches have no size {unknown[0]!r}; they have {', '.join(sorted(known)) or 'none but numbers'}")
        return Cache(self, self._growing, sizes)

    def _run(self, given: Mapping[str, Any], out: Optional[Mapping[str, Any]], stream: Optional[int],
             cache: Optional[Cache]) -> Dict[str, Any]:
        if cache is not None and cache._plan._raw is not self._raw:
            raise ArgumentError("the cache is another plan's", hint="make it with this plan's cache()")
        views = self._views(given, cache)
        if cache is not None:
            return self._run_cached(views, out or {}, stream, cache)
        if self._growing and views[0].kind == CUDA:
            return self._run_once(views, out or {}, stream)
        return dict(zip((info.name for info in self.outputs), self._run_views(views, out or {}, stream)))

    def _run_once(self, views: Sequence[View], out: Mapping[str, Any], stream: Optional[int]) -> Dict[str, Any]:
        """The plan wants one buffer on the GPU for a cache's past and present, and these are apart: they are copied."""
        cache = Cache(self, self._growing, {})
        cache.fill({info.name: v for info, v in zip(self.inputs, views)})
        theirs = {self.outputs[o].name: out[self.outputs[o].name] for _, o, _, _ in self._growing if self.outputs[o].name in out}
        others = [v for info, v in zip(self.inputs, views) if info.name not in cache.names]
        results = self._run_cached(others, {k: v for k, v in out.items() if k not in theirs}, stream, cache, True)
        for name, array in theirs.items():
            array[...] = results[name]
        return {**results, **theirs}

    def _run_cached(self, views: Sequence[View], out: Mapping[str, Any], stream: Optional[int], cache: Cache,
                    all_results: bool = False) -> Dict[str, Any]:
        """views: of the inputs that are not the cache's."""
        framework, place = (views[0].framework, (views[0].kind, views[0].ordinal)) if views else ("numpy", (CPU, 0))
        if self.device == "cuda" and place[0] != CUDA:
            raise ArgumentError("a cache on the GPU needs inputs there", self.inputs[0].name, "give arrays of torch or cupy on the GPU")
        if place[0] == CUDA and stream is None:
            stream = _arrays.current_stream(framework, place[1])
        kept, others = cache.shapes(), iter(views)
        given = [None if info.name in kept else next(others) for info in self.inputs]
        with self._slot(place[1] if place[0] == CUDA else self.cuda_device, stream or 0) as slot:
            slot.give([v.shape if v else kept[info.name] for info, v in zip(self.inputs, given)], len(self.outputs))
            at = cache.place(slot.most, framework, place)
            pasts = {i: at[o] for i, o, _, _ in self._growing}
            rooms = self._rooms(slot, framework, place, out, at)
            slot.raw.enqueue(tuple([v.address if v else pasts[k] for k, v in enumerate(given)]),
                             tuple([r.address if r else at[k] for k, r in enumerate(rooms)]), stream or 0)
            if self._sized_by_data:
                slot.raw.wait(stream or 0)
            shapes = [slot.raw.output_shape(k) for k in range(len(rooms))] if self._sized_by_data else slot.most
            cache.grow(slot.most)
            return {info.name: r.finish(shape) if r else cache.result(k, shape)
                    for k, (info, r, shape) in enumerate(zip(self.outputs, rooms, shapes)) if r or all_results}

    def _run_list(self, inputs: Sequence[Any]) -> List[Any]:
        """All inputs in order, and all outputs."""
        return self._run_views([_arrays.view(x, info.dtype, info.name) for x, info in zip(inputs, self.inputs)], {}, None)

    def _run_views(self, views: Sequence[View], out: Mapping[str, Any], stream: Optional[int]) -> List[Any]:
        first = views[0] if views else None
        kind, ordinal, framework = (first.kind, first.ordinal, first.framework) if first else (CPU, 0, "numpy")
        on_gpu = kind == CUDA
        if on_gpu and stream is None:
            stream = _arrays.current_stream(framework, ordinal)
        with self._slot(ordinal if on_gpu else self.cuda_device, stream or 0) as slot:
            slot.give([v.shape for v in views], len(self.outputs))
            rooms = self._rooms(slot, framework, (kind, ordinal), out)
            inputs, outputs = tuple(v.address for v in views), tuple(r.address for r in rooms)
            if on_gpu:
                slot.raw.enqueue(inputs, outputs, stream or 0)
                if self._sized_by_data:
                    slot.raw.wait(stream or 0)
            else:
                slot.raw.run(inputs, outputs)
            shapes = [slot.raw.output_shape(k) for k in range(len(rooms))] if self._sized_by_data else slot.most
            return [r.finish(shape) for r, shape in zip(rooms, shapes)]

    def _views(self, given: Mapping[str, Any], cache: Optional[Cache] = None) -> List[View]:
        """Of the inputs that are not the cache's."""
        kept = cache.names if cache is not None else ()
        infos = [info for info in self.inputs if info.name not in kept]
        for name in given:
            if name in kept:
                raise ArgumentError("the input is in the cache", name, "do not give it, or leave the cache out")
            if all(info.name != name for info in infos):
                raise ArgumentError(f"there is no such input; the plan has {self._names(self.inputs)}", name)
        for info in infos:
            if info.name not in given:
                raise ArgumentError("the input was not given", info.name, str(info))
        views = [_arrays.view(given[info.name], info.dtype, info.name) for info in infos]
        for info, v in zip(infos, views):
            if v.kind == CUDA and self.device != "cuda":
                raise TypeMismatchError(f"the array is on the GPU, the plan runs on {self.device}", info.name, "copy it to the host")
            if (v.kind, v.ordinal) != (views[0].kind, views[0].ordinal):
                raise TypeMismatchError(f"the array is on {v.kind}:{v.ordinal}, input {infos[0].name} on "
                                        f"{views[0].kind}:{views[0].ordinal}", info.name, "bring all inputs to one device")
        return views

    def _rooms(self, slot: _Slot, framework: str, device: Tuple[str, int], out: Mapping[str, Any],
               elsewhere: Mapping[int, int] = {}) -> List[Any]:  # noqa: B006: not written
        """Memory for outputs; None for those that are elsewhere."""
        rooms: List[Any] = []
        for name in out:
            if all(info.name != name or k in elsewhere for k, info in enumerate(self.outputs)):
                raise ArgumentError(f"there is no such output to give memory for; the plan has {self._names(self.outputs)}", name)
        for k, (info, most) in enumerate(zip(self.outputs, slot.most)):
            if k in elsewhere:
                rooms.append(None)
            elif info.name in out:
                rooms.append(_given_room(out[info.name], info, most, device))
            else:
                rooms.append(_arrays.room(framework, most, info.dtype, *device))
        return rooms

    @contextmanager
    def _slot(self, ordinal: int, stream: int) -> Iterator[_Slot]:
        """A context that no other thread has, the one used last on that stream: its CUDA graphs are for its shapes."""
        free = self._free.setdefault((ordinal, stream), [])
        slot = self._take(free, ordinal)
        try:
            yield slot
        finally:
            free.append(slot)

    def _take(self, free: List[_Slot], ordinal: int) -> _Slot:
        try:
            return free.pop()  # a list's pop and append need no lock
        except IndexError:
            return _Slot(_tenon.context(self._raw, DEVICES[self.device], ordinal, True))

    def _has_made_sizes(self) -> bool:
        """Whether data makes a size of an output: one that is no function of the symbols that inputs give."""
        known = {s.name for s in self.symbols}
        made = {w for info in self.outputs for d in info.shape if isinstance(d, str) for w in _words(d)}
        return bool(made - known - {"min", "max"})

    @staticmethod
    def _names(infos: Sequence[TensorInfo]) -> str:
        shown = 8  # a decoder has two caches a layer
        more = [f"... (+{len(infos) - shown})"] if len(infos) > shown else []
        return ", ".join([*map(str, infos[:shown]), *more]) or "none"

    # ---- what is in it -------------------------------------------------------------------------------------------

    @property
    def symbols(self) -> List[Symbol]:
        return [Symbol(name, lo, None if hi == 2**63 - 1 else hi, typical or None) for name, lo, hi, typical in self._raw.symbols()]

    @property
    def info(self) -> Dict[str, Any]:
        """Where the plan comes from: model, precision, options, tenon_version, size, weight_bytes, weight_count."""
        return self._raw.info()

    @property
    def archs(self) -> List[Dict[str, Any]]:
        """The architectures that it holds kernels for, and where they were tuned."""
        return self._raw.archs()

    @property
    def kernels(self) -> Any:
        """The kernels of the first architecture as a table (pandas.DataFrame where pandas is installed): see kernel_rows."""
        return table(self.kernel_rows())

    def kernel_rows(self, arch: Union[int, str] = 0) -> List[Dict[str, Any]]:
        """A dict a kernel: name, layers, template, knobs; us, share and error are None where it was not tuned or checked."""
        steps = self._raw.steps(self._arch(arch))
        total = sum(s["us"] for s in steps)
        return [{
            "kernel": s["name"], "layers": s["layers"], "template": s["template"], "knobs": s["knobs"],
            "us": s["us"] or None, "share": s["us"] / total if total else None, "flops": s["flops"], "bytes": s["bytes"],
            "registers": s["registers"] if s["is_kernel"] else None, "smem": s["smem"] if s["is_kernel"] else None,
            "max_error": s["max_abs_error"] if s["max_abs_error"] >= 0 else None, "candidates": s["candidates"],
        } for s in steps]

    def source(self, kernel: Union[int, str], *, full: bool = False, arch: Union[int, str] = 0) -> str:
        """The CUDA source of a kernel, by index or by a part of its name, as it was compiled; full: with the headers that all
        kernels share."""
        text = self._raw.source(self._arch(arch), self._kernel(kernel, arch))
        return text if full else _own_sections(text)

    def candidates(self, kernel: Union[int, str], *, arch: Union[int, str] = 0) -> Any:
        """What the kernel was chosen from, with times and why each lost, as a table."""
        return table(self._raw.candidates(self._arch(arch), self._kernel(kernel, arch)))

    def _arch(self, arch: Union[int, str]) -> int:
        names = [a["name"] for a in self.archs]
        if arch in names:
            return names.index(arch)
        if isinstance(arch, int) and 0 <= arch < len(names):
            return arch
        raise ArgumentError(f"the plan holds no architecture {arch!r}; it has {', '.join(names) or 'none'}")

    def _kernel(self, kernel: Union[int, str], arch: Union[int, str]) -> int:
        names = [s["name"] for s in self._raw.steps(self._arch(arch))]
        found = [k for k, name in enumerate(names) if kernel == k or isinstance(kernel, str) and kernel in name]
        if not found:
            raise ArgumentError(f"the plan has no kernel {kernel!r}; it has 0 to {len(names) - 1} (see plan.kernels)")
        return found[0]

    # ---- measuring and checking ----------------------------------------------------------------------------------

    def random_inputs(self, shapes: Optional[Mapping[str, Sequence[int]]] = None, seed: int = 0) -> Dict[str, np.ndarray]:
        """Inputs of the plan's shapes: floats uniform in [-1, 1], integers in [0, 4).  Symbolic sizes that `shapes` does not give are
        what the plan was tuned for, or the least that is at least 1."""
        return _check.random_inputs(self, shapes, seed)

    def bench(self, seconds: float = 1.0, *, shapes: Optional[Mapping[str, Sequence[int]]] = None) -> Bench:
        """Times inferences of random inputs: on "cuda" replays of a CUDA graph, and each kernel alone; on the other devices the
        wall clock around `run`, which says nothing of a GPU."""
        given = self.random_inputs(shapes)
        if self.device != "cuda":
            return self._bench_on_host(given, seconds)
        with self._slot(self.cuda_device, 0) as slot:
            slot.give([v.shape for v in self._views(given)], len(self.outputs))
            r = slot.raw.bench(seconds)
        return Bench(self.device, r["median_us"], r["p10_us"], r["p90_us"], r["runs"], r["enqueue_us"], r["first_enqueue_us"],
                     r["kernels"])

    def _bench_on_host(self, given: Mapping[str, Any], seconds: float) -> Bench:
        times: List[float] = []
        end = time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            self.run(given)
            times.append((time.perf_counter() - start) * 1e6)
        p10, median, p90 = np.percentile(times, (10, 50, 90))
        return Bench(self.device, float(median), float(p10), float(p90), len(times))

    def check(self, reference: Union[None, Callable[..., Any], Mapping[str, Any], Sequence[Any], Any] = None, *,
              inputs: Optional[Mapping[str, Any]] = None, shapes: Optional[Mapping[str, Sequence[int]]] = None, seed: int = 0,
              rtol: Optional[float] = None, atol: Optional[float] = None) -> "_check.Check":
        """Compares one inference with a reference: a torch.nn.Module, an onnxruntime.InferenceSession, a function of the inputs as NumPy
        arrays, the expected outputs (by name, or in order), or None: the plan's own graph, evaluated on the CPU.  Inputs are
        random unless given.  The result is true where all outputs are within atol + rtol * |reference|, and prints as a table;
        tolerances default to those of `tenon check` for the plan's precision."""
        return _check.check(self, reference, inputs or self.random_inputs(shapes, seed), rtol, atol)

    # ---- how it prints -------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        info = self.info
        archs = ", ".join(a["name"] for a in self.archs)
        return (f"<tenon.Plan of {info['model']}: {self._names(self.inputs)} -> {self._names(self.outputs)}; {info['precision']}, "
                f"{archs}, on {self.device}>")

    def _repr_html_(self) -> str:
        return _report.plan_html(self)


def _info(raw: Tuple[str, int, Tuple[int, ...], Tuple[str, ...]]) -> TensorInfo:
    name, dtype, dims, texts = raw
    return TensorInfo(name, _tenon.dtypes[dtype][0], tuple(t if d < 0 else d for d, t in zip(dims, texts)))


def _words(text: str) -> List[str]:
    cleaned = "".join(c if c.isalnum() or c in "_." else " " for c in text)
    return [w for w in cleaned.split() if not w.isdigit()]


def _given_room(x: Any, info: TensorInfo, most: Tuple[int, ...], device: Tuple[str, int]) -> _arrays.Room:
    if isinstance(x, np.ndarray) and not (x.flags.c_contiguous and x.flags.writeable):
        raise TypeMismatchError("the array for the output is not dense, or cannot be written", info.name)
    v = _arrays.view(x, info.dtype, info.name)
    if v.shape != most or (v.kind, v.ordinal) != device:
        raise TypeMismatchError(f"the output is {info.dtype}{list(most)} on {device[0]}:{device[1]}, "
                                f"the array for it {list(v.shape)} on {v.kind}:{v.ordinal}", info.name)
    if v.framework == "numpy" and v.address != x.__array_interface__["data"][0] or \
            v.framework == "torch" and v.address != x.data_ptr():
        raise UnsupportedError(f"the array for the output is not dense and aligned to {_arrays.ALIGNMENT} bytes", info.name)
    return _arrays.Room(v.address, lambda shape: x if shape == most else x.reshape(-1)[:int(np.prod(shape))].reshape(shape), v)


def _own_sections(text: str) -> str:
    """A stored source without the headers that all kernels share, which are only named."""
    kept: List[str] = []
    shared = False
    for line in text.splitlines(keepends=True):
        if line.startswith(_SOURCE_MARK):
            name = line[len(_SOURCE_MARK):].strip().rsplit(":", 1)[0]
            shared = name.endswith(".cuh") and not name.startswith("tn_variant")
            again = kept and kept[-1].startswith(_SOURCE_MARK)
            if again:
                kept.pop()
            kept.append(f"{_SOURCE_MARK}{name}{' (shared; full=True shows it)' if shared else ''}\n")
        elif not shared and (line.strip() or kept and not kept[-1].startswith(_SOURCE_MARK)):
            kept.append(line)
    return "".join(kept)
