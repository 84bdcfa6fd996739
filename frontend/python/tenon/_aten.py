"""What each ATen operator is in ONNX: a function an operator, found by its name.

A function gets a Writer (see _fx.py) and the operator's arguments: tensors as Values, sizes as ints or SymInts, all else as
it is.  It returns the name of its result, or a list of them.  It raises Unsupported, with the reason, where it
cannot.  FIRST_ONLY are operators of which it writes the first result alone.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, List, Optional, Sequence, Set

import torch

from ._fx import Unsupported, Value, Writer, is_static

TABLE: Dict[str, Callable[..., Any]] = {}
FIRST_ONLY: Set[str] = set()
_END = 2**63 - 1


def aten(*names: str, first_only: bool = False) -> Callable[[Any], Any]:
    def add(f: Any) -> Any:
        for name in names:
            TABLE["aten." + name] = f
            if first_only:
                FIRST_ONLY.add("aten." + name)
        return f
    return add


# ---- elementwise ---------------------------------------------------------------------------------------------------

_UNARY = {
    "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "abs": "Abs", "neg": "Neg",
    "erf": "Erf", "sin": "Sin", "cos": "Cos", "tan": "Tan", "asin": "Asin", "acos": "Acos", "atan": "Atan", "sinh": "Sinh",
    "cosh": "Cosh", "asinh": "Asinh", "acosh": "Acosh", "atanh": "Atanh", "floor": "Floor", "ceil": "Ceil", "round": "Round",
    "reciprocal": "Reciprocal", "sign": "Sign", "hardswish": "HardSwish", "mish": "Mish",
}


def _unary(op: str) -> Callable[..., str]:
    return lambda w, x: w.op(op, w.cast(x, w.out.dtype))


for _name, _op in _UNARY.items():
    aten(f"{_name}.default")(_unary(_op))


@aten("rsqrt.default")
def rsqrt(w: Writer, x: Value) -> str:
    return w.op("Reciprocal", w.op("Sqrt", w.cast(x, w.out.dtype)))


@aten("silu.default")
def silu(w: Writer, x: Value) -> str:
    return w.op("Mul", x, w.op("Sigmoid", x))


@aten("gelu.default")
def gelu(w: Writer, x: Value, approximate: str = "none") -> str:
    return w.op("Gelu", x, approximate=approximate)


@aten("hardsigmoid.default")
def hardsigmoid(w: Writer, x: Value) -> str:
    return w.op("HardSigmoid", x, alpha=1 / 6, beta=0.5)


@aten("hardtanh.default")
def hardtanh(w: Writer, x: Value, lo: float = -1, hi: float = 1) -> str:
    return clamp(w, x, lo, hi)


@aten("relu6.default")
def relu6(w: Writer, x: Value) -> str:
    return clamp(w, x, 0, 6)


@aten("clamp.default", "clamp.Tensor")
def clamp(w: Writer, x: Value, lo: Any = None, hi: Any = None) -> str:
    y = w.cast(x, w.out.dtype)
    if lo is not None:
        y = w.op("Max", y, w.cast(lo, w.out.dtype))
    return w.op("Min", y, w.cast(hi, w.out.dtype)) if hi is not None else y


@aten("clamp_min.default")
def clamp_min(w: Writer, x: Value, lo: Any) -> str:
    return clamp(w, x, lo)


@aten("clamp_max.default")
def clamp_max(w: Writer, x: Value, hi: Any) -> str:
    return clamp(w, x, None, hi)


@aten("leaky_relu.default")
def leaky_relu(w: Writer, x: Value, slope: float = 0.01) -> str:
    return w.op("LeakyRelu", x, alpha=float(slope))


@aten("elu.default")
def elu(w: Writer, x: Value, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> str:
    if scale == 1 and input_scale == 1:
        return w.op("Elu", x, alpha=float(alpha))
    if input_scale == 1:
        return w.op("Selu", x, alpha=float(alpha), gamma=float(scale))
    raise Unsupported("a factor of the input")


@aten("softplus.default")
def softplus(w: Writer, x: Value, beta: float = 1, threshold: float = 20) -> str:
    if beta != 1:
        raise Unsupported("a beta other than 1")
    return w.op("Softplus", x)


@aten("prelu.default", "_prelu_kernel.default")
def prelu(w: Writer, x: Value, slope: Value) -> str:
    return w.op("PRelu", x, slope)


def _arithmetic(op: str) -> Callable[..., str]:
    return lambda w, a, b: w.op(op, w.cast(a, w.out.dtype), w.cast(b, w.out.dtype))


for _name, _op in {"mul": "Mul", "minimum": "Min", "maximum": "Max"}.items():
    aten(f"{_name}.Tensor", f"{_name}.Scalar", f"{_name}.default")(_arithmetic(_op))


def _scaled(w: Writer, b: Any, alpha: Any) -> str:
    y = w.cast(b, w.out.dtype)
    return y if alpha == 1 else w.op("Mul", y, w.cast(alpha, w.out.dtype))


@aten("add.Tensor", "add.Scalar")
def add(w: Writer, a: Any, b: Any, alpha: Any = 1) -> str:
    if w.out.dtype == torch.bool:
        return w.op("Or", w.cast(a, torch.bool), w.cast(b, torch.bool))
    return w.op("Add", w.cast(a, w.out.dtype), _scaled(w, b, alpha))


@aten("sub.Tensor", "sub.Scalar")
def sub(w: Writer, a: Any, b: Any, alpha: Any = 1) -> str:
    return w.op("Sub", w.cast(a, w.out.dtype), _scaled(w, b, alpha))


@aten("rsub.Scalar", "rsub.Tensor")
def rsub(w: Writer, a: Any, b: Any, alpha: Any = 1) -> str:
    return w.op("Sub", w.cast(b, w.out.dtype), _scaled(w, a, alpha))


@aten("div.Tensor", "div.Scalar", "div.Tensor_mode", "div.Scalar_mode", "floor_divide.default")
def div(w: Writer, a: Any, b: Any, rounding_mode: Optional[str] = None) -> str:
    if w.target == "aten.floor_divide.default":
        rounding_mode = "floor"
    t = w.out.dtype
    x, y = w.cast(a, t), w.cast(b, t)
    if rounding_mode is None or rounding_mode == "trunc" and not t.is_floating_point:
        return w.op("Div", x, y)
    if t.is_floating_point:
        if rounding_mode == "floor":
            return w.op("Floor", w.op("Div", x, y))
        raise Unsupported("a division of floats that is rounded to 0")
    return w.op("Div", w.op("Sub", x, w.op("Mod", x, y)), y)  # the remainder has the divisor's sign


@aten("remainder.Tensor", "remainder.Scalar")
def remainder(w: Writer, a: Any, b: Any) -> str:
    x, y = w.cast(a, w.out.dtype), w.cast(b, w.out.dtype)
    if not w.out.dtype.is_floating_point:
        return w.op("Mod", x, y)
    return w.op("Sub", x, w.op("Mul", w.op("Floor", w.op("Div", x, y)), y))


@aten("pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar")
def power(w: Writer, a: Any, b: Any) -> str:
    x = w.cast(a, w.out.dtype)
    if isinstance(b, (int, float)) and b == 2:
        return w.op("Mul", x, x)
    return w.op("Pow", x, w.cast(b, w.out.dtype))


@aten("square.default")
def square(w: Writer, x: Value) -> str:
    return w.op("Mul", x, x)


def _common(a: Any, b: Any) -> torch.dtype:
    """The dtype in which two are compared."""
    if isinstance(a, Value) and isinstance(b, Value):
        return torch.promote_types(a.dtype, b.dtype)
    dtype = a.dtype if isinstance(a, Value) else b.dtype
    other = b if isinstance(a, Value) else a
    return torch.float32 if isinstance(other, float) and not dtype.is_floating_point else dtype


def _compare(op: str, negated: bool = False) -> Callable[..., str]:
    def write(w: Writer, a: Any, b: Any) -> str:
        t = _common(a, b)
        y = w.op(op, w.cast(a, t), w.cast(b, t))
        return w.op("Not", y) if negated else y
    return write


for _name, _op, _negated in (("eq", "Equal", False), ("ne", "Equal", True), ("lt", "Less", False), ("le", "LessOrEqual", False),
                             ("gt", "Greater", False), ("ge", "GreaterOrEqual", False)):
    aten(f"{_name}.Tensor", f"{_name}.Scalar")(_compare(_op, _negated))


def _logical(op: str, bitwise: Optional[str] = None) -> Callable[..., str]:
    def write(w: Writer, *xs: Any) -> str:
        if bitwise and w.out.dtype != torch.bool:
            return w.op(bitwise, *(w.cast(x, w.out.dtype) for x in xs))
        return w.op(op, *(w.cast(x, torch.bool) for x in xs))
    return write


for _name, _op in {"and": "And", "or": "Or", "xor": "Xor", "not": "Not"}.items():
    aten(f"logical_{_name}.default")(_logical(_op))
    aten(f"bitwise_{_name}.Tensor", f"bitwise_{_name}.Scalar", f"bitwise_{_name}.default")(_logical(_op, "Bitwise" + _op))


@aten("isnan.default")
def isnan(w: Writer, x: Value) -> str:
    return w.op("IsNaN", x)


@aten("isinf.default")
def isinf(w: Writer, x: Value) -> str:
    return w.op("IsInf", x)


@aten("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar")
def where(w: Writer, condition: Value, a: Any, b: Any) -> str:
    return w.op("Where", condition, w.cast(a, w.out.dtype), w.cast(b, w.out.dtype))


@aten("masked_fill.Scalar", "masked_fill.Tensor")
def masked_fill(w: Writer, x: Value, mask: Value, value: Any) -> str:
    return w.op("Where", mask, w.cast(value, x.dtype), x)


# ---- casts and copies ----------------------------------------------------------------------------------------------

@aten("_to_copy.default", "clone.default", "alias.default", "detach.default", "lift_fresh_copy.default", "contiguous.default",
      "_conj.default", "native_dropout.default", "dropout.default", "to.dtype")
def copy(w: Writer, x: Value, *_: Any, **__: Any) -> str:
    if "dropout" in w.target and _ and _[-1]:
        raise Unsupported("dropout that trains")
    return w.cast(x, w.out.dtype)


TABLE["prims.convert_element_type.default"] = lambda w, x, dtype: w.cast(x, dtype)


@aten("copy.default")
def copy_into(w: Writer, into: Value, x: Value, non_blocking: bool = False) -> str:
    return w.op("Expand", w.cast(x, w.out.dtype), w.sizes(into.shape))


# ---- constants -----------------------------------------------------------------------------------------------------

@aten("full.default", "new_full.default", "full_like.default")
def full(w: Writer, *args: Any, **_: Any) -> str:
    value = args[-1] if w.target != "aten.new_full.default" else args[2]
    return w.op("Expand", w.cast(value, w.out.dtype), w.sizes(w.out.shape))


@aten("zeros.default", "zeros_like.default", "new_zeros.default")
def zeros(w: Writer, *_: Any, **__: Any) -> str:
    return w.op("Expand", w.cast(0, w.out.dtype), w.sizes(w.out.shape))


@aten("ones.default", "ones_like.default", "new_ones.default")
def ones(w: Writer, *_: Any, **__: Any) -> str:
    return w.op("Expand", w.cast(1, w.out.dtype), w.sizes(w.out.shape))


@aten("scalar_tensor.default")
def scalar_tensor(w: Writer, value: Any, **_: Any) -> str:
    return w.cast(value, w.out.dtype)


@aten("arange.start_step", "arange.start", "arange.default")
def arange(w: Writer, *args: Any, **_: Any) -> str:
    start, end, step = {1: (0, *args, 1), 2: (*args, 1), 3: args}[len(args)]
    return w.op("Range", *(w.cast(x, w.out.dtype) for x in (start, end, step)))


# ---- reductions ----------------------------------------------------------------------------------------------------

def _axes(x: Value, dim: Any) -> List[int]:
    if dim is None or isinstance(dim, (list, tuple)) and not dim:
        return list(range(len(x.shape)))
    return [d % max(len(x.shape), 1) for d in (dim if isinstance(dim, (list, tuple)) else [dim])]


def _reduce(op: str) -> Callable[..., str]:
    def write(w: Writer, x: Value, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> str:
        return w.op(op, w.cast(x, w.out.dtype), w.ints(_axes(x, dim)), keepdims=keepdim)
    return write


aten("mean.dim")(_reduce("ReduceMean"))
aten("sum.dim_IntList")(_reduce("ReduceSum"))
aten("amax.default")(_reduce("ReduceMax"))
aten("amin.default")(_reduce("ReduceMin"))
aten("prod.dim_int")(_reduce("ReduceProd"))


@aten("mean.default", "sum.default", "prod.default", "max.default", "min.default")
def reduce_all(w: Writer, x: Value, dtype: Any = None) -> str:
    op = {"mean": "ReduceMean", "sum": "ReduceSum", "prod": "ReduceProd", "max": "ReduceMax", "min": "ReduceMin"}[w.target.split(".")[1]]
    return w.op(op, w.cast(x, w.out.dtype), w.ints(range(len(x.shape))), keepdims=0)


@aten("any.dim", "any.default", "any.dims")
def reduce_any(w: Writer, x: Value, dim: Any = None, keepdim: bool = False) -> str:
    number = w.cast(w.cast(x, torch.bool), torch.int32)
    return w.cast(w.op("ReduceMax", number, w.ints(_axes(x, dim)), keepdims=keepdim), torch.bool)


@aten("all.dim", "all.default", "all.dims")
def reduce_all_of(w: Writer, x: Value, dim: Any = None, keepdim: bool = False) -> str:
    number = w.cast(w.cast(x, torch.bool), torch.int32)
    return w.cast(w.op("ReduceMin", number, w.ints(_axes(x, dim)), keepdims=keepdim), torch.bool)


@aten("argmax.default", "argmin.default")
def arg_extreme(w: Writer, x: Value, dim: Optional[int] = None, keepdim: bool = False) -> str:
    op = "ArgMax" if w.target == "aten.argmax.default" else "ArgMin"
    if dim is None:
        y = w.op(op, w.op("Reshape", x, w.ints([-1])), axis=0, keepdims=0)
        return w.op("Reshape", y, w.ints([1] * len(x.shape))) if keepdim else y
    return w.op(op, x, axis=dim, keepdims=keepdim)


@aten("max.dim", "min.dim")
def extreme_along(w: Writer, x: Value, dim: int, keepdim: bool = False) -> List[str]:
    kind = "Max" if w.target == "aten.max.dim" else "Min"
    return [w.op("Reduce" + kind, x, w.ints([dim]), keepdims=keepdim), w.op("Arg" + kind, x, axis=dim, keepdims=keepdim)]


def _variance(w: Writer, x: Value, dim: Any, correction: Any, keepdim: bool) -> List[str]:
    axes = _axes(x, dim)
    if not all(is_static(x.shape[a]) for a in axes):
        raise Unsupported("a variance over an axis of symbolic size")
    n = math.prod(int(x.shape[a]) for a in axes)
    free = n - (1 if correction is None else correction)
    if free <= 0:
        raise Unsupported("a variance of too few elements")
    mean = w.op("ReduceMean", x, w.ints(axes), keepdims=1)
    away = w.op("Sub", x, mean)
    total = w.op("ReduceSum", w.op("Mul", away, away), w.ints(axes), keepdims=keepdim)
    return [w.op("Div", total, w.cast(float(free), x.dtype)), mean if keepdim else w.op("Squeeze", mean, w.ints(axes))]


@aten("var.correction")
def var(w: Writer, x: Value, dim: Any = None, *, correction: Any = None, keepdim: bool = False) -> str:
    return _variance(w, x, dim, correction, keepdim)[0]


@aten("var_mean.correction")
def var_mean(w: Writer, x: Value, dim: Any = None, *, correction: Any = None, keepdim: bool = False) -> List[str]:
    return _variance(w, x, dim, correction, keepdim)


@aten("linalg_vector_norm.default")
def vector_norm(w: Writer, x: Value, ord: float = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> str:
    if ord not in (1, 2):
        raise Unsupported(f"a norm of order {ord}")
    return w.op(f"ReduceL{int(ord)}", w.cast(x, w.out.dtype), w.ints(_axes(x, dim)), keepdims=keepdim)


@aten("cumsum.default")
def cumsum(w: Writer, x: Value, dim: int, dtype: Any = None) -> str:
    return w.op("CumSum", w.cast(x, w.out.dtype), w.scalar(dim))


@aten("topk.default")
def topk(w: Writer, x: Value, k: Any, dim: int = -1, largest: bool = True, is_sorted: bool = True) -> List[str]:
    return w.ops("TopK", 2, x, w.sizes([k]), axis=dim, largest=largest, sorted=is_sorted)


@aten("sort.default")
def sort(w: Writer, x: Value, dim: int = -1, descending: bool = False) -> List[str]:
    return w.ops("TopK", 2, x, w.sizes([x.shape[dim]]), axis=dim, largest=descending, sorted=1)


@aten("_softmax.default", "softmax.int", "_safe_softmax.default")
def softmax(w: Writer, x: Value, dim: int, half_to_float: Any = False, **_: Any) -> str:
    return w.op("Softmax", w.cast(x, w.out.dtype), axis=dim) if x.shape else w.cast(1.0, w.out.dtype)


@aten("_log_softmax.default", "log_softmax.int")
def log_softmax(w: Writer, x: Value, dim: int, half_to_float: Any = False) -> str:
    return w.op("LogSoftmax", w.cast(x, w.out.dtype), axis=dim)


# ---- products ------------------------------------------------------------------------------------------------------

@aten("mm.default", "bmm.default", "matmul.default", "mv.default", "dot.default")
def matmul(w: Writer, a: Value, b: Value) -> str:
    return w.op("MatMul", a, b)


@aten("linear.default")
def linear(w: Writer, x: Value, weight: Value, bias: Optional[Value] = None) -> str:
    y = w.op("MatMul", x, w.op("Transpose", weight, perm=[1, 0]))
    return w.op("Add", y, bias) if bias is not None else y


@aten("addmm.default", "baddbmm.default")
def addmm(w: Writer, c: Value, a: Value, b: Value, *, beta: Any = 1, alpha: Any = 1) -> str:
    y = w.op("MatMul", a, b)
    if alpha != 1:
        y = w.op("Mul", y, w.cast(alpha, w.out.dtype))
    return w.op("Add", y, _scaled(w, c, beta))


@aten("convolution.default")
def convolution(w: Writer, x: Value, weight: Value, bias: Optional[Value], stride: Sequence[int], padding: Sequence[int],
                dilation: Sequence[int], transposed: bool, output_padding: Sequence[int], groups: int) -> str:
    n = len(weight.shape) - 2
    stride, padding, dilation = (list(v) * (n if len(v) == 1 else 1) for v in (stride, padding, dilation))
    operands = [x, weight] + ([bias] if bias is not None else [])
    if len(x.shape) == n + 1:
        raise Unsupported("a convolution without a batch")
    common = {"strides": stride, "pads": padding * 2, "dilations": dilation, "group": groups}
    if transposed:
        return w.op("ConvTranspose", *operands, output_padding=list(output_padding) * (n if len(output_padding) == 1 else 1), **common)
    return w.op("Conv", *operands, **common)


# ---- norms ---------------------------------------------------------------------------------------------------------

def _affine(w: Writer, v: Optional[Value], size: Any, value: float, dtype: torch.dtype) -> Any:
    return v if v is not None else w.op("Expand", w.cast(value, dtype), w.sizes(size))


@aten("native_layer_norm.default", first_only=True)
def native_layer_norm(w: Writer, x: Value, shape: Sequence[Any], weight: Optional[Value], bias: Optional[Value], eps: float) -> List[str]:
    scale = _affine(w, weight, shape, 1.0, x.dtype)
    return [w.op("LayerNormalization", x, scale, *([bias] if bias is not None else []), axis=-len(shape), epsilon=float(eps))]


@aten("layer_norm.default")
def layer_norm(w: Writer, x: Value, shape: Sequence[Any], weight: Optional[Value] = None, bias: Optional[Value] = None,
               eps: float = 1e-5, cudnn: bool = True) -> str:
    return native_layer_norm(w, x, shape, weight, bias, eps)[0]


@aten("native_group_norm.default", first_only=True)
def native_group_norm(w: Writer, x: Value, weight: Optional[Value], bias: Optional[Value], n: Any, c: Any, hw: Any, groups: int,
                      eps: float) -> List[str]:
    return [w.op("GroupNormalization", x, _affine(w, weight, [c], 1.0, x.dtype), _affine(w, bias, [c], 0.0, x.dtype),
                 num_groups=groups, epsilon=float(eps))]


@aten("_native_batch_norm_legit_no_training.default", first_only=True)
def batch_norm(w: Writer, x: Value, weight: Optional[Value], bias: Optional[Value], mean: Value, variance: Value, momentum: float,
               eps: float) -> List[str]:
    c = [x.shape[1]]
    return [w.op("BatchNormalization", x, _affine(w, weight, c, 1.0, mean.dtype), _affine(w, bias, c, 0.0, mean.dtype), mean, variance,
                 epsilon=float(eps))]


# ---- attention -----------------------------------------------------------------------------------------------------

# PyTorch chooses one of these for a device where scaled_dot_product_attention is hidden in an operator of its own, as in
# multi_head_attention_forward: torch.compile's own decomposition is not asked there.

def _attention(w: Writer, q: Value, k: Value, v: Value, bias: Optional[Value], dropout: float, causal: bool, scale: Optional[float]) -> List[str]:
    if dropout:
        raise Unsupported("attention with dropout")
    if not len(q.shape) == len(k.shape) == len(v.shape) == 4:
        raise Unsupported(f"attention of {len(q.shape)} axes")
    attributes = {} if scale is None else {"scale": float(scale)}
    return [w.op("Attention", q, k, v, *([bias] if bias is not None else []), is_causal=int(causal), **attributes)]


@aten("_scaled_dot_product_efficient_attention.default", "_scaled_dot_product_cudnn_attention.default", first_only=True)
def attention_with_bias(w: Writer, q: Value, k: Value, v: Value, bias: Optional[Value], log_sum: bool, dropout: float = 0.0, causal: bool = False,
                        debug_mask: bool = False, *, scale: Optional[float] = None) -> List[str]:
    return _attention(w, q, k, v, bias, dropout, causal, scale)


@aten("_scaled_dot_product_fused_attention_overrideable.default", first_only=True)
def attention_of_other_devices(w: Writer, q: Value, k: Value, v: Value, attn_bias: Optional[Value] = None, dropout: float = 0.0,
                               causal: bool = False, debug_mask: bool = False, *, scale: Optional[float] = None) -> List[str]:
    return _attention(w, q, k, v, attn_bias, dropout, causal, scale)


@aten("_scaled_dot_product_flash_attention.default", "_scaled_dot_product_flash_attention_for_cpu.default", first_only=True)
def flash_attention(w: Writer, q: Value, k: Value, v: Value, dropout: float = 0.0, causal: bool = False, debug_mask: bool = False, *,
                    attn_mask: Optional[Value] = None, scale: Optional[float] = None) -> List[str]:
    return _attention(w, q, k, v, attn_mask, dropout, causal, scale)


@aten("_scaled_dot_product_attention_math.default", first_only=True)
def attention_in_steps(w: Writer, q: Value, k: Value, v: Value, attn_mask: Optional[Value] = None, dropout_p: float = 0.0, is_causal: bool = False,
                       dropout_mask: Optional[Value] = None, *, scale: Optional[float] = None, enable_gqa: bool = False) -> List[str]:
    if dropout_mask is not None:
        raise Unsupported("attention with dropout")
    return _attention(w, q, k, v, attn_mask, dropout_p, is_causal, scale)


# ---- pools and resizing --------------------------------------------------------------------------------------------

def _pool(x: Value, kernel: Sequence[int], stride: Sequence[int], padding: Any, dilation: Any = 1) -> Dict[str, Any]:
    n = len(kernel) if len(kernel) > 1 else max(len(x.shape) - 2, 1)
    many = [list(v) * (n if len(v) == 1 else 1) for v in (kernel, stride or kernel, _listed(padding), _listed(dilation))]
    if len(x.shape) != n + 2:
        raise Unsupported("a pool without a batch")
    return {"kernel_shape": many[0], "strides": many[1], "pads": many[2] * 2, "dilations": many[3]}


def _listed(v: Any) -> List[int]:
    return list(v) if isinstance(v, (list, tuple)) else [v]


@aten("max_pool2d_with_indices.default", "max_pool3d_with_indices.default", first_only=True)
def max_pool(w: Writer, x: Value, kernel: Sequence[int], stride: Sequence[int] = (), padding: Any = 0, dilation: Any = 1,
             ceil_mode: bool = False) -> List[str]:
    return [w.op("MaxPool", x, ceil_mode=ceil_mode, **_pool(x, kernel, stride, padding, dilation))]


@aten("max_pool2d.default", "max_pool1d.default", "max_pool3d.default")
def max_pool_alone(w: Writer, x: Value, *args: Any) -> str:
    return max_pool(w, x, *args)[0]


@aten("avg_pool1d.default", "avg_pool2d.default", "avg_pool3d.default")
def avg_pool(w: Writer, x: Value, kernel: Sequence[int], stride: Sequence[int] = (), padding: Any = 0, ceil_mode: bool = False,
             count_include_pad: bool = True, divisor: Optional[int] = None) -> str:
    if divisor is not None:
        raise Unsupported("a divisor of one's own")
    attributes = _pool(x, kernel, stride, padding)
    return w.op("AveragePool", x, ceil_mode=ceil_mode, count_include_pad=count_include_pad, **attributes)


@aten("_adaptive_avg_pool2d.default", "adaptive_avg_pool2d.default", "adaptive_avg_pool1d.default", "_adaptive_avg_pool3d.default")
def adaptive_avg_pool(w: Writer, x: Value, size: Sequence[int]) -> str:
    axes = list(range(len(x.shape) - len(size), len(x.shape)))
    if all(s == 1 for s in size):
        return w.op("ReduceMean", x, w.ints(axes), keepdims=1)
    if not all(is_static(x.shape[a]) for a in axes):
        raise Unsupported("windows over axes of symbolic size")
    if all(x.shape[a] % s == 0 for a, s in zip(axes, size)) and len(x.shape) == len(size) + 2:
        kernel = [int(x.shape[a]) // s for a, s in zip(axes, size)]
        return w.op("AveragePool", x, kernel_shape=kernel, strides=kernel)
    y: Any = x
    for a, s in zip(axes, size):  # windows of unlike sizes: along each axis a product with what each mean is of
        perm = [k for k in range(len(x.shape)) if k != a] + [a]
        y = w.op("MatMul", w.op("Transpose", y, perm=perm), w.constant_of(_means(int(x.shape[a]), s).to(x.dtype)))
        y = w.op("Transpose", y, perm=[perm.index(k) for k in range(len(perm))])
    return y


def _means(n: int, windows: int) -> torch.Tensor:
    """A column a window: what each element counts in its mean."""
    m = torch.zeros(n, windows, dtype=torch.float64, device="cpu")
    for k in range(windows):
        first, end = k * n // windows, -(-(k + 1) * n // windows)
        m[first:end, k] = 1 / (end - first)
    return m


def _resize(w: Writer, x: Value, **attributes: Any) -> str:
    return w.op("Resize", x, "", "", w.sizes(w.out.shape), **attributes)


@aten("upsample_nearest2d.vec", "upsample_nearest2d.default", "upsample_nearest1d.vec", "upsample_nearest3d.vec")
def upsample_nearest(w: Writer, x: Value, *_: Any, **__: Any) -> str:
    return _resize(w, x, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")


@aten("upsample_bilinear2d.vec", "upsample_bilinear2d.default")
def upsample_bilinear(w: Writer, x: Value, size: Any, align_corners: bool, *_: Any, **__: Any) -> str:
    return _resize(w, x, mode="linear", coordinate_transformation_mode="align_corners" if align_corners else "half_pixel")


@aten("upsample_bicubic2d.vec", "upsample_bicubic2d.default")
def upsample_bicubic(w: Writer, x: Value, size: Any, align_corners: bool, *_: Any, **__: Any) -> str:
    return _resize(w, x, mode="cubic", cubic_coeff_a=-0.75,
                   coordinate_transformation_mode="align_corners" if align_corners else "half_pixel")


# ---- movement ------------------------------------------------------------------------------------------------------

@aten("view.default", "_unsafe_view.default", "reshape.default", "flatten.using_ints", "unflatten.int", "squeeze.default", "squeeze.dim",
      "squeeze.dims", "unsqueeze.default")
def reshape(w: Writer, x: Value, *_: Any) -> str:
    return w.op("Reshape", x, w.sizes(w.out.shape), allowzero=1)


@aten("permute.default")
def permute(w: Writer, x: Value, dims: Sequence[int]) -> str:
    return w.op("Transpose", x, perm=[d % len(x.shape) for d in dims])


@aten("transpose.int")
def transpose(w: Writer, x: Value, a: int, b: int) -> str:
    perm = list(range(len(x.shape)))
    if perm:
        perm[a], perm[b] = perm[b], perm[a]
    return w.op("Transpose", x, perm=perm)


@aten("t.default")
def t(w: Writer, x: Value) -> str:
    return w.op("Transpose", x, perm=list(range(len(x.shape)))[::-1])


@aten("expand.default")
def expand(w: Writer, x: Value, *_: Any, **__: Any) -> str:
    return w.op("Expand", x, w.sizes(w.out.shape))


@aten("as_strided.default")
def as_strided(w: Writer, x: Value, size: Sequence[Any], strides: Sequence[Any], offset: Any = None) -> str:
    """The same tensor, said to be of another memory format."""
    moved = any(a != b for n, a, b in zip(size, strides, x.strides) if not (is_static(n) and n == 1))
    if offset or len(size) != len(x.shape) or any(a is not b and a != b for a, b in zip(size, x.shape)) or moved:
        raise Unsupported("a view of other sizes or strides")
    return w.cast(x, x.dtype)


@aten("slice_scatter.default")
def slice_scatter(w: Writer, x: Value, source: Value, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> str:
    n = x.shape[dim]
    if step != 1 or not (is_static(n) and is_static(0 if start is None else start) and is_static(0 if end is None else end)):
        raise Unsupported("a slice with steps, or of symbolic sizes")
    first, behind, _ = slice(start, end).indices(int(n))
    axis, parts = w.ints([dim]), [w.cast(source, x.dtype)]
    if first:
        parts.insert(0, w.op("Slice", x, w.ints([0]), w.ints([first]), axis))
    if behind < n:
        parts.append(w.op("Slice", x, w.ints([behind]), w.ints([_END]), axis))
    return w.op("Concat", *parts, axis=dim) if len(parts) > 1 else parts[0]


@aten("repeat.default")
def repeat(w: Writer, x: Value, times: Sequence[Any]) -> str:
    more = len(times) - len(x.shape)
    y = w.op("Reshape", x, w.sizes([1] * more + list(x.shape)), allowzero=1) if more else x
    return w.op("Tile", y, w.sizes(times))


@aten("slice.Tensor")
def slice_of(w: Writer, x: Value, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> str:
    return w.op("Slice", x, w.sizes([0 if start is None else start]), w.sizes([_END if end is None else end]), w.ints([dim]), w.ints([step]))


@aten("select.int")
def select(w: Writer, x: Value, dim: int, index: Any) -> str:
    return w.op("Gather", x, w.cast(index, torch.int64), axis=dim)


@aten("index_select.default")
def index_select(w: Writer, x: Value, dim: int, index: Value) -> str:
    return w.op("Gather", x, index, axis=dim)


@aten("embedding.default")
def embedding(w: Writer, weight: Value, index: Value, *_: Any) -> str:
    return w.op("Gather", weight, index, axis=0)


@aten("index.Tensor")
def index_of(w: Writer, x: Value, index: Sequence[Optional[Value]]) -> str:
    given = [k for k, i in enumerate(index) if i is not None]
    if any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in index):
        raise Unsupported("an index that is a mask: data makes the size of the result")
    if len(given) == 1:
        return w.op("Gather", x, index[given[0]], axis=given[0])
    if given != list(range(len(given))):
        raise Unsupported("several indices that are not of the first axes")
    shape = w.out.shape[:len(w.out.shape) - (len(x.shape) - len(given))]
    one = w.ints([-1])
    spread = [w.op("Unsqueeze", w.op("Expand", w.cast(i, torch.int64), w.sizes(shape)), one) for i in index if i is not None]
    return w.op("GatherND", x, w.op("Concat", *spread, axis=-1))


@aten("gather.default")
def gather(w: Writer, x: Value, dim: int, index: Value, **_: Any) -> str:
    return w.op("GatherElements", x, index, axis=dim)


@aten("scatter.src")
def scatter(w: Writer, x: Value, dim: int, index: Value, source: Value) -> str:
    return w.op("ScatterElements", x, index, source, axis=dim)


@aten("cat.default")
def cat(w: Writer, xs: Sequence[Value], dim: int = 0) -> str:
    kept = [x for x in xs if not (len(x.shape) == 1 and is_static(x.shape[0]) and x.shape[0] == 0)] or list(xs)
    return w.op("Concat", *(w.cast(x, w.out.dtype) for x in kept), axis=dim)


@aten("stack.default")
def stack(w: Writer, xs: Sequence[Value], dim: int = 0) -> str:
    at = w.ints([dim])
    return w.op("Concat", *(w.op("Unsqueeze", w.cast(x, w.out.dtype), at) for x in xs), axis=dim)


@aten("split_with_sizes.default", "split.Tensor", "chunk.default")
def split(w: Writer, x: Value, _: Any, dim: int = 0) -> List[str]:
    sizes = [part.shape[dim] for part in w.outs]
    return w.ops("Split", len(sizes), x, w.sizes(sizes), axis=dim) if len(sizes) > 1 else [w.cast(x, x.dtype)]


@aten("unbind.int")
def unbind(w: Writer, x: Value, dim: int = 0) -> List[str]:
    return [w.op("Gather", x, w.scalar(k), axis=dim) for k in range(len(w.outs))]


@aten("constant_pad_nd.default")
def constant_pad(w: Writer, x: Value, pad: Sequence[Any], value: Any = 0) -> str:
    if any(is_static(p) and p < 0 for p in pad):
        raise Unsupported("a padding that cuts")
    none = [0] * (len(x.shape) - len(pad) // 2)
    before, after = list(pad[::2])[::-1], list(pad[1::2])[::-1]
    return w.op("Pad", x, w.sizes(none + before + none + after), w.cast(value, x.dtype))


@aten("flip.default")
def flip(w: Writer, x: Value, dims: Sequence[int]) -> str:
    n = len(dims)
    return w.op("Slice", x, w.ints([-1] * n), w.ints([-_END - 1] * n), w.ints(dims), w.ints([-1] * n)) if n else w.cast(x, x.dtype)


@aten("roll.default")
def roll(w: Writer, x: Value, shifts: Sequence[Any], dims: Sequence[int] = ()) -> str:
    if not dims:
        raise Unsupported("rolling over all axes")
    y: Any = x
    for shift, dim in zip(shifts, dims):
        size = x.shape[dim]
        if not is_static(size) or not is_static(shift):
            raise Unsupported("rolling along an axis of symbolic size")
        at = (size - shift) % size if size else 0
        if at:
            head = w.op("Slice", y, w.ints([0]), w.ints([at]), w.ints([dim]))
            y = w.op("Concat", w.op("Slice", y, w.ints([at]), w.ints([_END]), w.ints([dim])), head, axis=dim)
    return y if isinstance(y, str) else w.cast(x, x.dtype)


@aten("tril.default", "triu.default")
def triangle(w: Writer, x: Value, diagonal: int = 0) -> str:
    return w.op("Trilu", x, w.scalar(diagonal), upper=w.target == "aten.triu.default")
