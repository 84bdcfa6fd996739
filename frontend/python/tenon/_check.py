"""Random inputs for a plan, and its results beside a reference's."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from . import _arrays
from ._errors import ArgumentError, MismatchError
from ._table import Table

# rtol, atol: those of the command `tenon check`
_TOLERANCES = {"fp32": (1e-3, 1e-5), "tf32": (2e-2, 2e-3), "fp16": (2e-2, 2e-3), "bf16": (1e-1, 1e-2)}


@dataclass
class Difference:
    output: str
    max_abs: float
    max_rel: float
    cosine: float
    outside: int  # elements that are not within the tolerance
    elements: int
    problem: str = ""  # another shape


@dataclass
class Check:
    """The outputs beside the reference's; true where all are within atol + rtol * |reference|."""

    outputs: List[Difference]
    rtol: float
    atol: float

    def __bool__(self) -> bool:
        return all(d.outside == 0 and not d.problem for d in self.outputs)

    def raise_if_wrong(self) -> "Check":
        """Raises MismatchError that names the outputs which are not within the tolerance."""
        wrong = [d for d in self.outputs if d.outside or d.problem]
        if wrong:
            raise MismatchError("", notes=[(d.output, d.problem or f"{d.outside} of {d.elements} elements are outside rtol {self.rtol:g}, "
                                            f"atol {self.atol:g}; max error {d.max_abs:.3g}, cosine {d.cosine:.7f}", "") for d in wrong])
        return self

    def _table(self) -> Table:
        return Table([vars(d) for d in self.outputs])

    def __repr__(self) -> str:
        return f"{'passed' if self else 'FAILED'} at rtol {self.rtol:g}, atol {self.atol:g}\n{self._table()!r}"

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


def random_inputs(plan: Any, shapes: Optional[Mapping[str, Sequence[int]]], seed: int) -> Dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = _sizes(plan, shapes or {})
    return {info.name: _random(rng, tuple(_size(d, sizes, info) for d in info.shape), info.dtype) for info in plan.inputs}


def _sizes(plan: Any, shapes: Mapping[str, Sequence[int]]) -> Dict[str, int]:
    """Symbols' values: as the shapes say, else as the plan was tuned."""
    sizes = {s.name: s.typical or max(s.lo, 1) for s in plan.symbols}
    for info in plan.inputs:
        shape = shapes.get(info.name)
        if shape is None:
            continue
        if len(shape) != len(info.shape):
            raise ArgumentError(f"the shape {list(shape)} has another rank", info.name, str(info))
        sizes.update({d: int(n) for d, n in zip(info.shape, shape) if isinstance(d, str)})
    return sizes


def _size(d: Any, sizes: Mapping[str, int], info: Any) -> int:
    if not isinstance(d, str):
        return int(d)
    if d in sizes:
        return sizes[d]
    raise ArgumentError(f"the size {d} follows from no other", info.name, "give the input's shape in `shapes`")


def _random(rng: np.random.Generator, shape: Tuple[int, ...], dtype: str) -> np.ndarray:
    to = _arrays.numpy_dtype(dtype)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(to)
    if dtype[0] in "iu":
        top = 2 if dtype in ("i2", "u2") else 4
        return rng.integers(0, top, shape).astype(to)
    return rng.uniform(-1, 1, shape).astype(to)


def _ask(plan: Any, reference: Any, inputs: Mapping[str, Any]) -> Sequence[Any]:
    """The reference's outputs, in the plan's order."""
    ordered = [_arrays.to_numpy(inputs[info.name]) for info in plan.inputs]
    torch = sys.modules.get("torch")
    if reference is None:
        given = plan.to("cpu").run({info.name: x for info, x in zip(plan.inputs, ordered)})
    elif isinstance(reference, (Mapping, list, tuple)):
        given = reference
    elif torch is not None and isinstance(reference, torch.nn.Module):
        device = next((p.device for p in reference.parameters()), "cpu")
        with torch.no_grad():
            given = reference(*(torch.from_numpy(np.ascontiguousarray(x)).to(device) for x in ordered))
    elif hasattr(reference, "get_inputs") and hasattr(reference, "run"):
        given = reference.run([info.name for info in plan.outputs], {info.name: x for info, x in zip(plan.inputs, ordered)})
    else:
        given = reference(*ordered)
    if isinstance(given, Mapping):
        missing = next((info.name for info in plan.outputs if info.name not in given), None)
        if missing and len(given) != len(plan.outputs):
            raise ArgumentError("the reference has no such output", missing)
        given = list(given.values()) if missing else [given[info.name] for info in plan.outputs]
    elif not isinstance(given, (list, tuple)):
        given = [given]
    if len(given) != len(plan.outputs):
        raise ArgumentError(f"the reference has {len(given)} outputs, the plan {len(plan.outputs)}")
    return given


def _compare(name: str, got: np.ndarray, want: np.ndarray, rtol: float, atol: float) -> Difference:
    if got.shape != want.shape:
        return Difference(name, np.nan, np.nan, np.nan, 0, got.size, f"its shape is {got.shape}, the reference's {want.shape}")
    g, w = got.astype(np.float64).reshape(-1), want.astype(np.float64).reshape(-1)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.where((g == w) | (np.isnan(g) & np.isnan(w)), 0, np.abs(g - w))
        inside = error <= atol + rtol * np.abs(w)
        norm = float(np.linalg.norm(g) * np.linalg.norm(w))
        cosine = float(g @ w / norm) if norm else float(np.array_equal(g, w))
        relative = error / np.maximum(np.abs(w), 1e-30)
    return Difference(name, float(error.max(initial=0)), float(relative.max(initial=0)), cosine, int((~inside).sum()), g.size)


def check(plan: Any, reference: Any, inputs: Mapping[str, Any], rtol: Optional[float], atol: Optional[float]) -> Check:
    default = _TOLERANCES.get(plan.info["precision"], _TOLERANCES["bf16"])
    rtol, atol = default[0] if rtol is None else rtol, default[1] if atol is None else atol
    got = plan.run(inputs)
    want = _ask(plan, reference, inputs)
    return Check([_compare(info.name, _arrays.to_numpy(got[info.name]), _arrays.to_numpy(w), rtol, atol)
                  for info, w in zip(plan.outputs, want)], rtol, atol)
