"""tenon.compile: a model, from wherever it is, into a plan."""

from __future__ import annotations

import os
from typing import Any, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from . import _arrays, _tenon
from ._errors import ArgumentError, UnsupportedError
from ._plan import DEVICES, Plan
from ._progress import Callback, Shown

PRECISIONS = ("fp32", "tf32", "fp16", "bf16")

# A size: a number, None (as the model has it), (least, most), (least, most, typical), or text as the command takes it: "1..32:8"
Dim = Union[None, int, str, Tuple[int, int], Tuple[int, int, int]]
Shape = Union[str, Tuple[Dim, ...], Sequence[int]]


def _dim(d: Dim, where: str) -> Tuple[int, int, int]:
    """(least or -1, most or 0, typical or 0), as tn_shape_override has them."""
    if isinstance(d, str):
        range_text, _, typical = d.partition(":")
        lo, dots, hi = range_text.partition("..")
        try:
            d = None if range_text in ("?", "") else (int(lo), int(hi), int(typical or 0)) if dots else int(lo)
        except ValueError:
            raise ArgumentError(f'"{d}" is no size', where, 'write 8, "1..32", "1..32:8" or "?"') from None
    if d is None or d == -1:
        return -1, 0, 0
    if isinstance(d, (tuple, list)) and len(d) == 3 and d[0] is None:
        return -1, 0, int(d[2] or 0)
    if isinstance(d, (tuple, list)):
        if len(d) not in (2, 3) or d[0] > d[1]:
            raise ArgumentError(f"{d!r} is no size", where, "write (least, most) or (least, most, typical)")
        return int(d[0]), int(d[1]), int(d[2]) if len(d) == 3 else 0
    return int(d), 0, 0


def _shape(shape: Shape, where: str) -> Tuple[List[int], List[int], List[int]]:
    typical: List[str] = []
    if isinstance(shape, str):
        sizes, _, tail = shape.partition(":")
        shape = tuple(sizes.split("x"))
        typical = tail.split("x") if tail else []
        if typical and len(typical) != len(shape):
            raise ArgumentError(f"{len(shape)} sizes, but {len(typical)} typical ones", where)
    dims = [_dim(d, where) for d in shape]
    said = [int(t) if t.isdigit() else 0 for t in typical] or [t for _, _, t in dims]
    return [lo for lo, _, _ in dims], [hi for _, hi, _ in dims], said


def _several(shape: Any) -> Sequence[Any]:
    """A list of shapes is several, which become buckets; a tuple, a text, or a list of numbers is one."""
    is_list = isinstance(shape, list) and any(isinstance(s, (tuple, list, str)) for s in shape)
    return shape if is_list else [shape]


def read_shapes(shapes: Optional[Mapping[str, Any]]) -> List[Tuple[str, List[int], List[int], List[int]]]:
    return [(name, *_shape(one, name)) for name, given in (shapes or {}).items() for one in _several(given)]


def _source(model: Any) -> Union[str, bytes]:
    """The model as a path or as ONNX bytes."""
    if isinstance(model, (str, os.PathLike)):
        return os.fspath(model)
    if isinstance(model, (bytes, bytearray, memoryview)):
        return bytes(model)
    if hasattr(model, "SerializeToString"):
        return model.SerializeToString()
    raise UnsupportedError(f"a model cannot be had from {type(model).__module__}.{type(model).__qualname__}",
                           hint="give a path, bytes, an onnx.ModelProto or a torch.nn.Module")


def compile(model: Any, args: Any = None, *, kwargs: Optional[Mapping[str, Any]] = None, device: str = "cuda",
            shapes: Optional[Mapping[str, Any]] = None, precision: str = "fp32",
            targets: Union[None, str, Sequence[str]] = None, no_gpu: bool = False,
            tune_seconds: Optional[float] = None, exact: bool = False,
            aliases: Union[Mapping[str, str], Sequence[str]] = (), caches: bool = True, constants: Optional[Mapping[str, Any]] = None,
            limits: Optional[Mapping[str, int]] = None, sequences: Optional[Mapping[str, Optional[int]]] = None,
            plugins: Sequence[Union[str, "os.PathLike[str]"]] = (), weights: Union[None, str, "os.PathLike[str]"] = None,
            base_dir: Union[None, str, "os.PathLike[str]"] = None, dynamic_shapes: Any = None, cuda_device: int = 0,
            threads: int = 0, streams: int = 0, cache: Union[None, str, "os.PathLike[str]"] = None,
            lockfile: Union[None, str, "os.PathLike[str]"] = None, passes: Optional[str] = None,
            progress: Union[None, bool, Callback] = None, _key: Optional[str] = None) -> Plan:
    """Compiles a model into a plan.

    model: a path (.onnx, .tn, .prototxt with `weights`), ONNX bytes, an onnx.ModelProto (`base_dir` is where their external data
    is), or a torch.nn.Module, with example inputs in `args` (and `kwargs`; `dynamic_shapes` as torch.export takes it).

    device: where the plan is to run: "cuda"; "cpu", the reference; "emu", which executes CUDA kernels on the CPU, slowly and
    with checks.  targets: architectures such as "sm_90a" (default: this machine's GPU); no_gpu: none is looked for, the cost model
    chooses.  tune_seconds: the deadline for tuning (None: 60; 0: the cost model chooses).

    shapes: sizes of inputs, {"x": (8, 3, 224, 224)}; a size may be a range with what is typical, (1, 32, 8) or "1..32:8", or None,
    as the model has it; a list of shapes is buckets.  precision: "fp32", "tf32", "fp16" or "bf16".  exact: only rewrites that keep
    results bit for bit.  aliases: outputs that grow in inputs' buffers, {"past_*": "present_*"}; caches: and what is
    named past_key_values.N.key and present.N.key, where it can be (Plan.cache; all else may use the plan as any other).  constants: inputs that become constants.
    limits: how long an output of a node can be whose length depends on data.  sequences: how many tensors an input has that is one
    (None: an optional without an element).  plugins: files of ops of your own.

    progress: True shows a bar (tqdm's where it is installed); a callable is told a tenon.Progress and may return False to
    cancel.  Ctrl-C ends the work, too; nothing half-written is left.

    Errors are tenon.Error's subclasses, with the layer's name.  The GIL is released; several threads may compile at once.
    """
    if any(c.__module__.split(".")[0] == "torch" for c in type(model).__mro__):
        from . import torch as tenon_torch
        options = {k: v for k, v in locals().items() if k not in ("model", "args", "kwargs", "dynamic_shapes", "tenon_torch", "_key")}
        return tenon_torch.export(model, args, kwargs, dynamic_shapes=dynamic_shapes, **options)
    if device not in DEVICES:
        raise ArgumentError(f'device="{device}": use cuda, cpu or emu')
    if precision not in PRECISIONS:
        raise ArgumentError(f'precision="{precision}": use {", ".join(PRECISIONS)}')
    wanted = [targets] if isinstance(targets, str) else list(targets or ())
    on_host = device != "cuda"
    if on_host and not wanted:
        wanted = ["sm_90a"]  # whose kernels the emulated device has; the reference needs none
    source = _source(model)
    views = {name: _arrays.view(np.asarray(a), _arrays.NAMES.get(np.asarray(a).dtype.name, "?"), name)
             for name, a in (constants or {}).items()}
    pairs = [f"{a}={b}" for a, b in aliases.items()] if isinstance(aliases, Mapping) else list(aliases)
    with Shown(progress) as tell:
        raw = _tenon.compile(
            source, _text(base_dir), _text(weights), read_shapes(shapes),
            [(name, _arrays.CODES[v.dtype], v.shape, v.address) for name, v in views.items()],
            list((limits or {}).items()), [(name, -1 if n is None else n) for name, n in (sequences or {}).items()], pairs,
            caches, wanted, [os.fspath(p) for p in plugins], PRECISIONS.index(precision), exact, no_gpu or on_host, on_host,
            cuda_device, 0.0 if tune_seconds is None else tune_seconds or -1.0, threads, streams, _text(cache),
            _text(lockfile), passes, tell, _key)
    return Plan(raw, device=device, cuda_device=cuda_device)


def _text(path: Union[None, str, "os.PathLike[str]"]) -> Optional[str]:
    return None if path is None else os.fspath(path)
