"""PyTorch: torch.compile(model, backend="tenon"), tenon.torch.export, tenon.torch.explain.

The backend gets ATen graphs from AOTAutograd, gives Tenon what _aten.TABLE knows, in pieces as large as possible, and leaves the rest to
PyTorch.  A piece's weights become constants of its plan (weights="constant"): constants are folded and packed for kernels, and a
change of a weight, which its version tells, makes a new plan; or they stay the module's (weights="shared"): the plan reads them where they
are, in one copy, and a change is simply seen.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
import shutil
import tempfile
import threading
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from operator import getitem
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import torch
import torch.fx

from ._arrays import ALIGNMENT, torch_dtype
from ._compile import compile as compile_model
from ._errors import ArgumentError, Error, TenonWarning
from ._fx import CHECKS, Exported, Unsupported, is_static, layer_name, why_not, write_graph
from ._plan import Plan

log = logging.getLogger("tenon.torch")

_aten_ops = torch.ops.aten
# What is kept whole, because Tenon has a kernel for it
_KEPT = ("gelu", "silu", "hardswish", "hardsigmoid", "softplus", "mish", "elu", "leaky_relu", "hardtanh", "native_layer_norm",
         "native_group_norm", "_softmax", "_log_softmax", "addmm", "baddbmm", "embedding", "upsample_nearest1d", "upsample_nearest2d",
         "upsample_nearest3d", "upsample_bilinear2d", "upsample_bicubic2d", "_adaptive_avg_pool2d", "adaptive_avg_pool1d", "roll",
         "square", "stack", "masked_fill", "where", "linear", "unbind", "split", "split_with_sizes", "avg_pool2d", "max_pool2d_with_indices",
         "rsub", "prelu", "_prelu_kernel", "repeat")
_HEAVY = ("aten.mm", "aten.bmm", "aten.addmm", "aten.baddbmm", "aten.convolution", "aten.linear", "aten.matmul")
_FOLDED_MOST = 16_000_000  # bytes of a constant that is computed when compiling
_LARGE = 1_500_000_000  # bytes of weights from which on they are a file beside the model


@dataclass
class Options:
    """Options of the backend; all others are tenon.compile's (precision, tune_seconds, shapes of nothing, threads, ...).

    weights: "constant" or "shared".  min_nodes: a piece of fewer operators stays in PyTorch unless it holds a product or convolution.
    strict: what Tenon cannot compile is an error.  device: default by the tensors; "emu" for tests.  cache: plans are kept for other
    processes.  report: a list that is told of every graph (explain uses it)."""

    weights: str = "constant"
    min_nodes: int = 4
    strict: bool = False
    device: Optional[str] = None
    cache: bool = True
    report: Optional[List["Graph"]] = None
    compile: Dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, options: Optional[Mapping[str, Any]]) -> "Options":
        own = {f.name for f in fields(cls)} - {"compile"}
        theirs = set(inspect.signature(compile_model).parameters) - {"model", "args", "kwargs", "device", "shapes", "dynamic_shapes"}
        given = dict(options or {})
        unknown = sorted(set(given) - own - theirs)
        if unknown:
            raise ArgumentError(f"there is no option {unknown[0]!r}", hint="options: " + ", ".join(sorted(own | theirs)))
        made = cls(**{k: v for k, v in given.items() if k in own}, compile={k: v for k, v in given.items() if k in theirs - own})
        if made.weights not in ("constant", "shared"):
            raise ArgumentError(f'weights="{made.weights}": use constant or shared')
        return made


# ---- what was decided -----------------------------------------------------------------------------------------------

@dataclass
class Piece:
    """A part of a graph that Tenon has: its operators, and why it ended up in PyTorch after all ("" if it did not)."""

    nodes: List[str]
    layers: List[str]
    left: str = ""
    plans: int = 0


@dataclass
class Graph:
    """A graph and its pieces.  boundaries: (operator, layer, why it is left to PyTorch)."""

    pieces: List[Piece] = field(default_factory=list)
    boundaries: List[Tuple[str, str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        lines = []
        for k, p in enumerate(self.pieces):
            what = f"left to PyTorch: {p.left}" if p.left else "in Tenon"
            lines.append(f"  piece {k}: {len(p.nodes)} operators, {p.layers[0]} .. {p.layers[-1]}: {what}")
        lines += [f"  PyTorch: {op} ({layer}): {why}" for op, layer, why in self.boundaries]
        return "\n".join(lines) or "  nothing to compute"


@dataclass
class Explanation:
    graphs: List[Graph]

    @property
    def in_tenon(self) -> int:
        """Operators that run in Tenon."""
        return sum(len(p.nodes) for g in self.graphs for p in g.pieces if not p.left)

    @property
    def in_pytorch(self) -> int:
        return sum(len(g.boundaries) + sum(len(p.nodes) for p in g.pieces if p.left) for g in self.graphs)

    def __str__(self) -> str:
        head = f"{len(self.graphs)} graphs, {self.in_tenon} operators in Tenon, {self.in_pytorch} in PyTorch"
        return "\n".join([head] + [f"graph {k}:\n{g}" for k, g in enumerate(self.graphs)])


# ---- lowering -----------------------------------------------------------------------------------------------------------

def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, attn_mask: Optional[torch.Tensor] = None, dropout_p: float = 0.0,
              is_causal: bool = False, scale: Optional[float] = None, enable_gqa: bool = False) -> torch.Tensor:
    """scaled_dot_product_attention, written so that Tenon finds its attention in it."""
    if dropout_p:
        raise Unsupported("attention with dropout")
    if enable_gqa:
        k, v = (x.repeat_interleave(q.size(-3) // x.size(-3), -3) for x in (k, v))
    scores = torch.matmul(q, k.transpose(-2, -1)) * (q.size(-1) ** -0.5 if scale is None else scale)
    if is_causal:
        rows = torch.arange(q.size(-2), device=q.device).unsqueeze(-1)
        attn_mask = torch.arange(k.size(-2), device=q.device) <= rows
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = torch.where(attn_mask, scores, torch.full((), torch.finfo(scores.dtype).min, dtype=scores.dtype, device=q.device))
    elif attn_mask is not None:
        scores = scores + attn_mask
    return torch.matmul(torch.softmax(scores, -1), v)


def _encoder_layer(x: torch.Tensor, embed_dim: int, heads: int, qkv_weight: Any, qkv_bias: Any, out_weight: Any, out_bias: Any, use_gelu: bool,
                   norm_first: bool, eps: float, norm1_weight: Any, norm1_bias: Any, norm2_weight: Any, norm2_bias: Any, weight1: Any,
                   bias1: Any, weight2: Any, bias2: Any, mask: Any = None, mask_type: Any = None) -> Any:
    """The fused layer that torch.nn.TransformerEncoderLayer calls in evaluation, written out."""
    if mask is not None:
        return NotImplemented
    f = torch.nn.functional

    def attend(y: torch.Tensor) -> torch.Tensor:
        q, k, v = (p.unflatten(-1, (heads, -1)).transpose(1, 2) for p in f.linear(y, qkv_weight, qkv_bias).chunk(3, -1))
        return f.linear(attention(q, k, v).transpose(1, 2).flatten(2), out_weight, out_bias)

    def feed(y: torch.Tensor) -> torch.Tensor:
        inner = f.linear(y, weight1, bias1)
        return f.linear(f.gelu(inner) if use_gelu else f.relu(inner), weight2, bias2)

    def norm(y: torch.Tensor, weight: Any, bias: Any) -> torch.Tensor:
        return f.layer_norm(y, (embed_dim,), weight, bias, eps)
    if norm_first:
        x = x + attend(norm(x, norm1_weight, norm1_bias))
        return x + feed(norm(x, norm2_weight, norm2_bias))
    x = norm(x + attend(x), norm1_weight, norm1_bias)
    return norm(x + feed(x), norm2_weight, norm2_bias)


def _decompositions() -> Dict[Any, Callable[..., Any]]:
    from torch._decomp import core_aten_decompositions
    table = dict(core_aten_decompositions().items())
    table = {op: f for op, f in table.items() if str(op).split(".")[1] not in _KEPT}
    return {**table, _aten_ops._transformer_encoder_layer_fwd.default: _encoder_layer}


def _prepare(gm: torch.fx.GraphModule) -> None:
    """Attention is written out.  Its results lie in memory in another way then than PyTorch's, so that a view of them becomes a reshape."""
    for node in gm.graph.nodes:
        if node.target in (torch.nn.functional.scaled_dot_product_attention, _aten_ops.scaled_dot_product_attention.default):
            node.target = attention
        elif node.op == "call_method" and node.target == "view" and not any(isinstance(a, torch.dtype) for a in node.args):
            node.target = "reshape"
        elif node.target is _aten_ops.view.default:
            node.target = _aten_ops.reshape.default
    gm.recompile()


def _hoist_sizes(gm: torch.fx.GraphModule) -> None:
    """Sizes that are computed between tensors are computed at the top instead, from those that are inputs, so that
    they separate no pieces."""
    from torch.utils._sympy.interp import sympy_interp
    from torch.utils._sympy.reference import PythonReferenceAnalysis
    graph = gm.graph
    symbols = {n.meta["val"].node.expr: n for n in graph.nodes
               if n.op == "placeholder" and isinstance(n.meta.get("val"), torch.SymInt) and n.meta["val"].node.expr.is_Symbol}
    last = next((n for n in reversed(graph.nodes) if n.op == "placeholder"), None)
    made: Dict[Any, torch.fx.Node] = {}
    for node in list(graph.nodes):
        val = node.meta.get("val")
        if node.op != "call_function" or not isinstance(val, torch.SymInt) or last is None:
            continue
        e = val.node.expr
        if not e.free_symbols <= set(symbols):
            continue
        if e not in made:
            with graph.inserting_after(last):
                at: List[torch.fx.Node] = []
                made[e] = _compute(graph, e, symbols, sympy_interp, PythonReferenceAnalysis, at)
            last = at[-1] if at else last
            for n in at:
                n.meta.setdefault("val", val)
        if isinstance(made[e], torch.fx.Node):
            made[e].meta["val"] = val
        node.replace_all_uses_with(made[e])
        graph.erase_node(node)
    graph.lint()
    gm.recompile()


def _compute(graph: torch.fx.Graph, e: Any, symbols: Mapping[Any, torch.fx.Node], interpret: Any, analysis: Any,
             made: List[torch.fx.Node]) -> Any:
    class Tracer(torch.fx.proxy.GraphAppendingTracer):
        def create_node(self, *args: Any, **kwargs: Any) -> torch.fx.Node:
            node = super().create_node(*args, **kwargs)
            made.append(node)
            graph._insert = node.append  # the next comes behind it
            return node
    tracer = Tracer(graph)
    result = interpret(analysis, {s: torch.fx.Proxy(n, tracer) for s, n in symbols.items()}, e)
    return result.node if isinstance(result, torch.fx.Proxy) else int(result)


def _fold_constants(gm: torch.fx.GraphModule) -> None:
    """What depends on no input is computed now: masks and tables, which exporters of other kinds would have folded, too."""
    fixed: Dict[torch.fx.Node, Any] = {}
    graph = gm.graph
    with torch.utils._python_dispatch._disable_current_modes():
        for node in list(graph.nodes):
            if node.op == "get_attr":
                value = getattr(gm, str(node.target), None)
                if isinstance(value, torch.Tensor):
                    fixed[node] = value
            if node.op != "call_function" or not _is_foldable(node) or not all(n in fixed for n in node.all_input_nodes):
                continue
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda n: fixed[n])
            fixed[node] = node.target(*args, **kwargs)
    for k, (node, value) in enumerate(list(fixed.items())):
        outside = [u for u in node.users if u not in fixed]
        if node.op == "get_attr" or not outside or not isinstance(value, torch.Tensor):
            continue
        gm.register_buffer(f"_tenon_folded_{k}", value, persistent=False)
        with graph.inserting_before(node):
            new = graph.get_attr(f"_tenon_folded_{k}")
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new, delete_user_cb=lambda u: u not in fixed)
    graph.eliminate_dead_code()
    gm.recompile()


def _is_foldable(node: torch.fx.Node) -> bool:
    if node.target is getitem:
        return True
    val = node.meta.get("val")
    tensors = val if isinstance(val, (list, tuple)) else [val]
    small = all(isinstance(t, torch.Tensor) and all(is_static(s) for s in t.shape) and t.numel() * t.element_size() <= _FOLDED_MOST
                for t in tensors)
    tags = getattr(node.target, "tags", ())
    return small and isinstance(node.target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded not in tags \
        and not node.target._schema.is_mutable


# ---- partition ----------------------------------------------------------------------------------------------------------

def _tensors(node: torch.fx.Node) -> Iterator[torch.Tensor]:
    for n in [*node.all_input_nodes, node]:
        val = n.meta.get("val")
        for v in val if isinstance(val, (list, tuple)) else [val]:
            if isinstance(v, torch.Tensor):
                yield v


def _is_size(node: torch.fx.Node) -> bool:
    return isinstance(node.meta.get("val"), (torch.SymInt, torch.SymBool, int, bool))


def _partition(gm: torch.fx.GraphModule, device: torch.device, options: Options, graph: Graph) -> torch.fx.GraphModule:
    from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner
    from torch.fx.passes.operator_support import create_op_support
    reasons = {n: why_not(n, device) for n in gm.graph.nodes if n.op == "call_function"}
    support = create_op_support(lambda _, n: n.op == "call_function" and reasons.get(n, "new") is None)
    partitioner = CapabilityBasedPartitioner(gm, support, allows_single_node_partition=True)
    pieces = []
    for p in partitioner.propose_partitions():
        computing = [n for n in p.nodes if n.target is not getitem]
        heavy = any(str(n.target).rsplit(".", 1)[0] in _HEAVY for n in computing)
        if heavy or len(computing) >= options.min_nodes:
            pieces.append(p)
        else:
            reasons.update({n: f"its piece has fewer than {options.min_nodes} operators" for n in computing})
    graph.boundaries = [(str(n.target), layer_name(n), why) for n, why in reasons.items()
                        if why and n.target is not getitem and not _is_size(n) and str(n.target) not in CHECKS]
    return partitioner.fuse_partitions(pieces, prefix="tenon_") if pieces else gm


# ---- a piece ------------------------------------------------------------------------------------------------------------

def _version(t: torch.Tensor) -> int:
    return 0 if t.is_inference() else t._version


class Runner:
    """A plan that runs on tensors which are of the right types: what Plan.run does besides is left out."""

    def __init__(self, plan: Plan, device: torch.device) -> None:
        self.plan, self.device = plan, device
        self.on_gpu, self.ordinal = device.type == "cuda", device.index or 0
        self.dtypes = [torch_dtype(o.dtype) for o in plan.outputs]
        self.plain = not plan._sized_by_data

    def __call__(self, tensors: Sequence[torch.Tensor]) -> List[torch.Tensor]:
        if not self.plain:
            return self.plan._run_list(tensors)
        kept, addresses = [], []
        for t in tensors:
            if not t.is_contiguous():
                t = t.contiguous()
            if t.data_ptr() % ALIGNMENT:
                t = t.clone()
            kept.append(t)
            addresses.append(t.data_ptr())
        stream = torch._C._cuda_getCurrentRawStream(self.ordinal) if self.on_gpu else 0
        with self.plan._slot(self.ordinal, stream) as slot:
            slot.give([t.shape for t in kept], len(self.dtypes))
            outputs = [torch.empty(most, dtype=dtype, device=self.device) for most, dtype in zip(slot.most, self.dtypes)]
            places = tuple([t.data_ptr() for t in outputs])
            if self.on_gpu:
                slot.raw.enqueue(tuple(addresses), places, stream)
            else:
                slot.raw.run(tuple(addresses), places)
        return outputs


class Subgraph:
    """A piece in Tenon.  Its plan is compiled when it first runs, since the weights are known then."""

    def __init__(self, module: torch.fx.GraphModule, weights: Mapping[int, str], device: torch.device, options: Options, piece: Piece) -> None:
        self.module, self.weights, self.device, self.options, self.piece = module, dict(weights), device, options, piece
        placeholders = [n for n in module.graph.nodes if n.op == "placeholder"]
        self.inputs = [k for k, n in enumerate(placeholders) if k not in self.weights and isinstance(n.meta.get("val"), torch.Tensor)]
        self.single = not isinstance(next(n for n in module.graph.nodes if n.op == "output").args[0], (list, tuple))
        self.plans: Dict[Any, Optional[Runner]] = {}
        self.lock = threading.Lock()

    def __call__(self, *args: Any) -> Any:
        state = tuple([(args[k].data_ptr(), _version(args[k])) for k in self.weights])
        run: Any = self.plans.get(state, self)
        if run is self:
            with self.lock:
                run = self.plans.get(state, self)
                run = self._build(args, state) if run is self else run
        if run is None:
            return self.module(*args)
        results = run([args[k] for k in self.inputs])
        return results[0] if self.single else results

    def _build(self, args: Sequence[Any], state: Any) -> Optional[Runner]:
        if len(self.plans) >= 4:  # weights that change all the time
            self.plans.clear()
            warnings.warn('weights change, and each change makes a new plan: use options={"weights": "shared"}', TenonWarning, stacklevel=2)
        run = None
        try:
            run = Runner(self._compile(args), self.device)
            self.piece.plans += 1
        except (Unsupported, Error) as e:
            if self.options.strict:
                raise
            self.piece.left = str(e)
            log.warning("%d operators (%s ..) are left to PyTorch: %s", len(self.piece.nodes), self.piece.layers[0], e)
        self.plans[state] = run
        return run

    def _compile(self, args: Sequence[Any]) -> Plan:
        placeholders = [n for n in self.module.graph.nodes if n.op == "placeholder"]
        constants = {placeholders[k]: (name, args[k]) for k, name in self.weights.items()}
        device = self.options.device or self.device.type
        with _exported(self.module.graph, constants) as (e, folder):
            options = {"tune_seconds": 20, "caches": False, **self.options.compile, "cuda_device": self.device.index or 0}
            key = None if folder or not self.options.cache else _key(e, device, options)
            return compile_model(e.model, device=device, shapes=e.typical, base_dir=folder, _key=key, **options)


def _key(e: Exported, kind: str, options: Mapping[str, Any]) -> str:
    """All that a plan depends on but the GPU, which the compilation adds."""
    said = sorted((k, repr(v)) for k, v in options.items() if k != "progress")
    return f"torch {hashlib.sha256(e.model).hexdigest()} {kind} {e.typical} {said}"


@contextmanager
def _exported(graph: torch.fx.Graph, constants: Mapping[torch.fx.Node, Tuple[str, torch.Tensor]],
              names: Optional[Mapping[torch.fx.Node, str]] = None) -> Iterator[Tuple[Exported, Optional[str]]]:
    """The graph as a model; large weights are in a file in the folder, which is there as long as the context."""
    total = sum(t.numel() * t.element_size() for _, t in constants.values())
    if total < _LARGE:
        yield write_graph(graph, constants, names), None
        return
    folder = tempfile.mkdtemp(prefix="tenon-weights-")
    try:
        with open(os.path.join(folder, "weights"), "wb") as f:
            e = write_graph(graph, constants, names, f)
        yield e, folder
    finally:
        shutil.rmtree(folder)


# ---- the backend --------------------------------------------------------------------------------------------------------

def _device_of(gm: torch.fx.GraphModule) -> torch.device:
    """Where most of the graph's tensors are."""
    devices = [t.device for n in gm.graph.nodes if n.op == "call_function" for t in _tensors(n)]
    return max(set(devices), key=devices.count) if devices else torch.device("cpu")


def _alone(gm: torch.fx.GraphModule) -> Optional[Callable[..., Any]]:
    """The graph as a function where it is one piece and nothing else."""
    nodes = list(gm.graph.nodes)
    position = {n: k for k, n in enumerate(n for n in nodes if n.op == "placeholder")}
    calls = [n for n in nodes if n.op == "call_module"]
    others = [n for n in nodes if n.op not in ("placeholder", "call_module", "output") and n.target is not getitem]
    results = nodes[-1].args[0]
    if len(calls) != 1 or others or not all(a in position for a in calls[0].args) or not isinstance(results, (list, tuple)):
        return None
    if not all(isinstance(r, torch.fx.Node) and r not in position for r in results):
        return None
    piece, inputs = getattr(gm, str(calls[0].target)), [position[a] for a in calls[0].args]
    if piece.single:
        return (lambda *args: [piece(*[args[k] for k in inputs])]) if len(results) == 1 else None
    order = [r.args[1] for r in results]

    def run(*args: Any) -> Any:
        made = piece(*[args[k] for k in inputs])
        return [made[k] for k in order]
    return run


def _compile_graph(gm: torch.fx.GraphModule, static: Sequence[int], options: Options) -> Callable[..., Any]:
    device, graph = _device_of(gm), Graph()
    if options.report is not None:
        options.report.append(graph)
    _fold_constants(gm)
    _hoist_sizes(gm)
    for node in gm.graph.nodes:  # a piece's results are dense, where PyTorch's may have lain in another way
        if node.target is _aten_ops.view.default:
            node.target = _aten_ops.reshape.default
    placeholders = [n for n in gm.graph.nodes if n.op == "placeholder"]
    weights = {placeholders[k].name for k in static if isinstance(placeholders[k].meta.get("val"), torch.Tensor)}
    if options.weights == "shared":
        weights = set()
    attributes = {n.name for n in gm.graph.nodes if n.op == "get_attr" and isinstance(n.meta.get("val"), torch.Tensor)}
    gm = _partition(gm, device, options, graph)
    for node in gm.graph.nodes:
        if node.op != "call_module" or not str(node.target).startswith("tenon_"):
            continue
        inner = gm.get_submodule(str(node.target))
        computing = [n for n in inner.graph.nodes if n.op == "call_function" and n.target is not getitem]
        piece = Piece([str(n.target) for n in computing], [layer_name(n) for n in computing])
        graph.pieces.append(piece)
        known = {k: a.name for k, a in enumerate(node.args) if a.name in weights | attributes}  # type: ignore[union-attr]
        delattr(gm, str(node.target))
        setattr(gm, str(node.target), Subgraph(inner, known, device, options, piece))
    gm.recompile()
    log.info("a graph on %s:\n%s", device, graph)
    return _alone(gm) or gm.forward


def backend(gm: torch.fx.GraphModule, example_inputs: Sequence[Any], *, options: Optional[Mapping[str, Any]] = None, **_: Any) -> Callable[..., Any]:
    """The backend of torch.compile (registered as "tenon").  Graphs that need gradients stay in PyTorch."""
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd
    chosen = Options.of(options)

    def inference(graph: torch.fx.GraphModule, inputs: Sequence[Any]) -> Any:
        del inputs
        context = torch._guards.TracingContext.try_get()
        static = (context.fw_metadata.static_input_indices if context and context.fw_metadata else None) or []
        return make_boxed_func(_compile_graph(graph, static, chosen))

    def training(graph: torch.fx.GraphModule, inputs: Sequence[Any]) -> Any:
        del inputs
        log.warning("a graph that needs gradients stays in PyTorch: call the model under torch.no_grad() or torch.inference_mode()")
        return make_boxed_func(graph.forward)

    _prepare(gm)
    return aot_autograd(fw_compiler=training, bw_compiler=training, inference_compiler=inference, decompositions=_decompositions(),
                        keep_inference_input_mutations=True)(gm, example_inputs)


def explain(model: Callable[..., Any], *args: Any, options: Optional[Mapping[str, Any]] = None, **kwargs: Any) -> Explanation:
    """Compiles a model by torch.compile, runs it once on these inputs, and tells which operators run in Tenon, which in PyTorch, and why."""
    report: List[Graph] = []
    torch._dynamo.reset()
    with torch.no_grad():
        torch.compile(model, backend=backend, options={**(options or {}), "report": report})(*args, **kwargs)
    return Explanation(report)


# ---- export -------------------------------------------------------------------------------------------------------------

def _export_program(module: Any, args: Any, kwargs: Optional[Mapping[str, Any]], dynamic_shapes: Any) -> Any:
    if isinstance(module, torch.export.ExportedProgram):
        return module
    if args is None and not kwargs:
        raise ArgumentError("a torch.nn.Module needs example inputs", hint="tenon.compile(module, (x,))")
    args = (args,) if isinstance(args, torch.Tensor) else tuple(args or ())
    with torch.no_grad():
        return torch.export.export(module, args, dict(kwargs or {}), dynamic_shapes=dynamic_shapes, strict=False)


@contextmanager
def exported(module: Any, args: Any = None, kwargs: Optional[Mapping[str, Any]] = None, *,
             dynamic_shapes: Any = None) -> Iterator[Tuple[Exported, Optional[str]]]:
    """A module, or a torch.export.ExportedProgram, as an ONNX model (and the folder of its weights where they are large).
    Inputs have the names of forward's arguments; outputs are "output", or "output_0", ..."""
    program = _export_program(module, args, kwargs, dynamic_shapes)
    table = {**_decompositions(), _aten_ops.scaled_dot_product_attention.default: attention}
    for node in program.graph_module.graph.nodes:  # as _prepare does; attention is in the table
        if node.target is _aten_ops.view.default:
            node.target = _aten_ops.reshape.default
    program.graph_module.recompile()
    program = program.run_decompositions(table)
    signature = program.graph_signature
    weights = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
    tensors = {**dict(program.named_parameters()), **dict(program.named_buffers()), **program.constants, **program.state_dict}
    graph = program.graph_module.graph
    constants = {n: (weights[n.name], tensors[weights[n.name]]) for n in graph.nodes if n.op == "placeholder" and n.name in weights}
    if signature.buffers_to_mutate or getattr(signature, "user_inputs_to_mutate", None):
        raise _refused("the module writes into a buffer or an input: call .eval(), or use torch.compile")
    try:
        with _exported(graph, constants) as e:
            yield e
    except Unsupported as e:
        raise _refused(str(e)) from None


def _refused(why: str) -> Error:
    from ._errors import UnsupportedError
    layer, _, rest = why.partition(": ")
    return UnsupportedError(rest or why, layer if rest else "", 'torch.compile(module, backend="tenon") leaves such operators to PyTorch')


def export(module: Any, args: Any = None, kwargs: Optional[Mapping[str, Any]] = None, *, dynamic_shapes: Any = None, **options: Any) -> Plan:
    """A plan of a whole module: torch.export, then tenon.compile.  dynamic_shapes as torch.export takes them; options are tenon.compile's
    (device: by default that of the module's parameters).  Errors: tenon.UnsupportedError names the layer and the operator."""
    if "device" not in options and isinstance(module, torch.nn.Module):
        options["device"] = next((p.device.type for p in module.parameters()), "cpu")
    with exported(module, args, kwargs, dynamic_shapes=dynamic_shapes) as (e, folder):
        shapes = {**e.typical, **(options.get("shapes") or {})}
        return compile_model(e.model, **{**options, "base_dir": folder, "shapes": shapes})
