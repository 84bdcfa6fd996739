"""ATen graphs (torch.fx) as ONNX models: sizes, constants, names.  What the operators are is in _aten.py.

Sizes that are symbolic are written as arithmetic on the shapes of the model's inputs, which Tenon's importer evaluates: a size that is an axis of an
input is read there, and others are computed from those.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from operator import getitem
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

import torch

from ._arrays import NAMES
from ._onnx import ELEMENT_TYPES, Model


class Unsupported(Exception):
    """Why an operator or a graph is left to PyTorch."""


@dataclass(frozen=True)
class Value:
    """A tensor of the model."""

    name: str
    dtype: torch.dtype
    shape: Tuple[Any, ...]
    strides: Tuple[Any, ...] = ()  # in PyTorch; in the model all is dense


def _value(name: str, t: torch.Tensor) -> Value:
    return Value(name, t.dtype, tuple(t.shape), tuple(t.stride()) if t.layout == torch.strided else ())


def is_static(size: Any) -> bool:
    return not isinstance(size, torch.SymInt) or size.node.expr.is_number


def dtype_name(dtype: torch.dtype) -> Optional[str]:
    """Tenon's name of a dtype that ONNX models have; None where there is none."""
    name = NAMES.get(str(dtype).replace("torch.", ""))
    return name if name in ELEMENT_TYPES else None


def raw_bytes(t: torch.Tensor) -> bytes:
    t = t.detach().cpu().contiguous()
    return t.reshape(-1).view(torch.uint8).numpy().tobytes() if t.numel() else b""


def module_path(node: torch.fx.Node) -> str:
    """The path of the module that a node is from: "encoder.layer.3.attention"."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next((v[0] for v in reversed(list(stack.values())) if v and v[0]), "")
    for prefix in ("L['self'].", "L__self___", "L['fn'].", "L['mod']."):
        path = path[len(prefix):] if path.startswith(prefix) else path
    cleaned = path.replace("_modules['", "").replace("']", "").replace("[", ".").replace("]", "").replace("'", "")
    return "" if cleaned in ("L.self", "L", "self") or cleaned.startswith("L.___stack") else cleaned


def layer_name(node: torch.fx.Node) -> str:
    path = module_path(node)
    return f"{path}/{node.name}" if path else node.name


# What checks and computes nothing; PyTorch's guards have seen to it
CHECKS = ("aten._assert_tensor_metadata.default", "aten._assert_scalar.default", "aten._assert_async.msg", "aten.sym_constrain_range.default",
          "aten.sym_constrain_range_for_size.default")


@dataclass
class Exported:
    model: bytes
    inputs: List[str]  # names of the placeholders that are inputs, in order
    outputs: List[str]
    typical: Dict[str, Tuple[Any, ...]] = field(default_factory=dict)  # shapes as tenon.compile takes them, of inputs with symbolic sizes


class Writer:
    """Writes one graph.  While an operator is written, `target` is its name, and `out` (`outs`) what its result is."""

    def __init__(self, external: Optional[Any] = None) -> None:
        self.model = Model("torch", external)
        self.values: Dict[torch.fx.Node, Any] = {}
        self.sizes_of: Dict[Any, Tuple[str, int]] = {}  # expression -> input and axis
        self.known_sizes: Dict[Any, str] = {}
        self.typical: Dict[str, Tuple[Any, ...]] = {}
        self.count = 0
        self.layer = self.target = ""
        self.outs: List[Value] = []

    @property
    def out(self) -> Value:
        return self.outs[0]

    # ---- what operators call ----------------------------------------------------------------------------------------

    def ops(self, op: str, n: int, *inputs: Any, **attributes: Any) -> List[str]:
        names = [self._fresh() for _ in range(n)]
        self.model.node(op, [i if isinstance(i, str) else i.name for i in inputs], names, self.layer, attributes)
        return names

    def op(self, op: str, *inputs: Any, **attributes: Any) -> str:
        return self.ops(op, 1, *inputs, **attributes)[0]

    def cast(self, x: Any, dtype: torch.dtype) -> str:
        """A tensor, a number or a size as a tensor of a dtype."""
        to = ELEMENT_TYPES[self._name_of(dtype)]
        if isinstance(x, Value) and x.dtype == dtype:
            return x.name
        if isinstance(x, (Value, str)):
            return self.op("Cast", x, to=to)
        if isinstance(x, torch.SymInt) and not is_static(x):
            return self.op("Cast", self.op("Squeeze", self._size(x), self.ints([0])), to=to)
        return self.constant_of(torch.tensor(int(x) if isinstance(x, torch.SymInt) else x, dtype=dtype))

    def ints(self, values: Iterable[int]) -> str:
        return self.constant_of(torch.tensor(list(values), dtype=torch.int64))

    def scalar(self, value: int) -> str:
        return self.constant_of(torch.tensor(value, dtype=torch.int64))

    def sizes(self, sizes: Sequence[Any]) -> str:
        """A list of sizes as a tensor."""
        if all(is_static(s) for s in sizes):
            return self.ints(int(s) for s in sizes)
        return self.op("Concat", *(self._size(s) for s in sizes), axis=0)

    # ---- sizes --------------------------------------------------------------------------------------------------------

    def _size(self, size: Any) -> str:
        return self.ints([int(size)]) if is_static(size) else self._expression(size.node.expr)

    def _expression(self, e: Any) -> str:
        """A sympy expression as a tensor of one element."""
        if e.is_number:
            return self.ints([int(e)])
        if e not in self.known_sizes:
            self.known_sizes[e] = self._write_expression(e)
        return self.known_sizes[e]

    def _write_expression(self, e: Any) -> str:
        if e in self.sizes_of:
            name, axis = self.sizes_of[e]
            return self.op("Shape", name, start=axis, end=axis + 1)
        kind = type(e).__name__
        op = {"Add": "Add", "Mul": "Mul", "FloorDiv": "Div", "CleanDiv": "Div", "Mod": "Mod", "PythonMod": "Mod", "Max": "Max",
              "Min": "Min"}.get(kind)
        if kind == "Pow" and e.args[1].is_Integer and e.args[1] > 0:
            op, args = "Mul", [e.args[0]] * int(e.args[1])
        elif op is None or any(a.is_number and not a.is_Integer for a in e.args):
            raise Unsupported(f"the size {e}, which does not follow from the inputs' shapes")
        else:
            args = list(e.args)
        y = self._expression(args[0])
        for a in args[1:]:
            y = self.op(op, y, self._expression(a))
        return y

    def _declare_sizes(self, name: str, shape: Sequence[Any]) -> List[Any]:
        dims: List[Any] = []
        for axis, size in enumerate(shape):
            if is_static(size):
                dims.append(int(size))
                continue
            e = size.node.expr
            self.sizes_of.setdefault(e, (name, axis))
            dims.append(str(e) if e.is_Symbol else "d_" + "".join(c if c.isalnum() else "_" for c in str(e)))
        return dims

    # ---- the graph -----------------------------------------------------------------------------------------------------

    def _fresh(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def _name_of(self, dtype: torch.dtype) -> str:
        name = dtype_name(dtype)
        if name is None:
            raise Unsupported(f"elements of {dtype}")
        return name

    def constant_of(self, t: torch.Tensor) -> str:
        name = f"c{self._fresh()}"
        self.model.weight(name, self._name_of(t.dtype), list(t.shape), raw_bytes(t))
        return name

    def constant(self, node: torch.fx.Node, name: str, t: torch.Tensor) -> None:
        self.model.weight(name, self._name_of(t.dtype), list(t.shape), raw_bytes(t))
        self.values[node] = _value(name, t)

    def input(self, node: torch.fx.Node, name: str) -> None:
        t = node.meta["val"]
        self.model.input(name, self._name_of(t.dtype), self._declare_sizes(name, t.shape))
        self.values[node] = _value(name, t)
        if not all(is_static(s) for s in t.shape):
            self.typical[name] = tuple(_range_of(s) for s in t.shape)

    def argument(self, a: Any) -> Any:
        if isinstance(a, torch.fx.Node):
            if a in self.values:
                return self.values[a]
            if isinstance(a.meta.get("val"), (torch.SymInt, int, float, bool)):
                return a.meta["val"]
            raise Unsupported(f"{a.name}, which is no tensor")
        if isinstance(a, (list, tuple)):
            return [self.argument(x) for x in a]
        return a

    def call(self, node: torch.fx.Node) -> None:
        from . import _aten  # which imports this module
        if node.target is getitem:
            self.values[node] = self.values[node.args[0]][node.args[1]]  # type: ignore[index]
            return
        self.layer, self.target = layer_name(node), str(node.target)
        write = _aten.TABLE.get(self.target)
        if write is None:
            raise Unsupported(self.target)
        val = node.meta["val"]
        outs = list(val) if isinstance(val, (list, tuple)) else [val]
        self.outs = [_value("", v) if isinstance(v, torch.Tensor) else None for v in outs]  # type: ignore[misc]
        try:
            made = write(self, *(self.argument(a) for a in node.args), **{k: self.argument(v) for k, v in node.kwargs.items()})
        except Unsupported as e:
            raise Unsupported(f"{self.layer}: {self.target}: {e}") from None
        names = made if isinstance(made, list) else [made]
        values = [replace(o, name=name) for name, o in zip(names, self.outs) if o is not None]
        self.values[node] = values if isinstance(val, (list, tuple)) else values[0]

    def output(self, node: torch.fx.Node, name: str) -> None:
        v = self.values[node]
        self.layer = name
        self.model.node("Identity", [v.name], [name], name, {})
        dims = [int(s) if is_static(s) else f"{name}_{k}" for k, s in enumerate(v.shape)]
        self.model.output(name, self._name_of(v.dtype), dims)


class _Trial(Writer):
    """Writes an operator alone, to see whether it can be: nothing is kept, and sizes are taken to be known."""

    def constant_of(self, t: torch.Tensor) -> str:
        self._name_of(t.dtype)
        return "c"

    def _write_expression(self, e: Any) -> str:
        return "s"

    def argument(self, a: Any) -> Any:
        if isinstance(a, torch.fx.Node) and a not in self.values:
            val = a.meta.get("val")
            if isinstance(val, torch.Tensor):
                return _value("x", val)
        return super().argument(a)


def why_not(node: torch.fx.Node, device: torch.device) -> Optional[str]:
    """Why an operator cannot be written, or not for a graph on this device; None where it can."""
    from . import _aten
    if node.target is getitem:
        return why_not(node.args[0], device)  # type: ignore[arg-type]
    if str(node.target) not in _aten.TABLE:
        return "Tenon has no such operator"
    first_only = str(node.target) in _aten.FIRST_ONLY
    if first_only and any(u.target is not getitem or u.args[1] != 0 for u in node.users):
        return "its other results are used"
    for n in [*node.all_input_nodes, node]:
        val = n.meta.get("val")
        vals = list(val) if isinstance(val, (list, tuple)) else [val]
        for t in vals[:1] if first_only and n is node else vals:
            if not isinstance(t, torch.Tensor):
                continue
            if dtype_name(t.dtype) is None:
                return f"elements of {t.dtype}"
            if t.device != device and (n.op != "get_attr" or t.dim()):  # a number may be anywhere
                return f"a tensor on {t.device}, the graph is on {device}"
            if t.layout != torch.strided:
                return f"a tensor of layout {t.layout}"
    try:
        _Trial().call(node)
    except Unsupported as e:
        return str(e).split(": ", 2)[-1]
    return None


def _range_of(size: Any) -> Any:
    """A size as tenon.compile takes it: its range and its hint, as far as PyTorch knows them."""
    if is_static(size):
        return int(size)
    node = size.node
    hint = int(node.hint) if node.hint is not None else 0
    bounds = node.shape_env.bound_sympy(node.expr)
    if bounds.lower.is_Integer and bounds.upper.is_Integer and 0 <= int(bounds.upper) < 2**31:
        return (max(int(bounds.lower), 0), int(bounds.upper), hint)
    return (None, None, hint)


def write_graph(graph: torch.fx.Graph, constants: Mapping[torch.fx.Node, Tuple[str, torch.Tensor]],
                names: Optional[Mapping[torch.fx.Node, str]] = None, external: Optional[Any] = None) -> Exported:
    """A graph as a model.  constants: placeholders (and get_attr nodes) that are weights, with their names; names: of the other
    placeholders.  Sizes among the placeholders become none: they follow from the tensors' shapes."""
    w = Writer(external)
    inputs: List[str] = []
    outputs: List[str] = []
    placeholders = dict.fromkeys(n for n in graph.nodes if n.op in ("placeholder", "get_attr"))
    for node in placeholders:  # all before the first operator: sizes are those of any input
        if node in constants:
            w.constant(node, *constants[node])
        elif node.op == "get_attr":
            raise Unsupported(f"{node.op} {node.target}")
        elif isinstance(node.meta.get("val"), torch.Tensor):
            name = (names or {}).get(node, node.name)
            w.input(node, name)
            inputs.append(name)
    for node in graph.nodes:
        if node.op == "call_function":
            if not isinstance(node.meta.get("val"), (torch.SymInt, torch.SymBool, int, bool)) and str(node.target) not in CHECKS:
                w.call(node)
        elif node.op == "output":
            results = node.args[0] if isinstance(node.args[0], (list, tuple)) else [node.args[0]]
            for k, r in enumerate(results):
                if not isinstance(r, torch.fx.Node) or not isinstance(r.meta.get("val"), torch.Tensor):
                    raise Unsupported("a result that is no tensor")
                outputs.append("output" if len(results) == 1 else f"output_{k}")
                w.output(r, outputs[-1])
        elif node not in placeholders:
            raise Unsupported(f"{node.op} {node.target}")
    if not inputs:
        raise Unsupported("a graph without inputs")
    return Exported(w.model.to_bytes(), inputs, outputs, w.typical)
