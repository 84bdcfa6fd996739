"""Arrays of others as addresses, and memory for results in the caller's own kind of array.

NumPy's arrays are read by their __array_interface__, PyTorch's tensors by their own methods (also those that require gradients), all else
by DLPack.  Nothing is copied but what is not dense or not aligned to 16 bytes.  For arrays on a GPU, the stream is the one
that is current in their framework.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from . import _tenon
from ._errors import TypeMismatchError, UnsupportedError

CPU, CUDA = "cpu", "cuda"
ALIGNMENT = 16

BITS: Dict[str, int] = {name: bits for name, bits in _tenon.dtypes if name != "?"}
CODES: Dict[str, int] = {name: k for k, (name, _) in enumerate(_tenon.dtypes)}

# Tenon's names of element types, and NumPy's (ml_dtypes' where NumPy has none), which PyTorch's and JAX's mostly are, too
NUMPY_NAMES: Dict[str, str] = {
    "f64": "float64", "f32": "float32", "f16": "float16", "bf16": "bfloat16", "f8e4m3": "float8_e4m3fn",
    "f8e5m2": "float8_e5m2", "i64": "int64", "i32": "int32", "i16": "int16", "i8": "int8", "u64": "uint64",
    "u32": "uint32", "u16": "uint16", "u8": "uint8", "i4": "int4", "u4": "uint4", "bool": "bool",
    "f8e4m3fnuz": "float8_e4m3fnuz", "f8e5m2fnuz": "float8_e5m2fnuz", "f8e8m0": "float8_e8m0fnu",
    "f4e2m1": "float4_e2m1fn", "i2": "int2", "u2": "uint2",
}
NAMES: Dict[str, str] = {theirs: ours for ours, theirs in NUMPY_NAMES.items()}

# DLPack's (code, bits)
_DLPACK: Dict[Tuple[int, int], str] = {
    **{(0, b): f"i{b}" for b in (8, 16, 32, 64)}, **{(1, b): f"u{b}" for b in (8, 16, 32, 64)},
    (2, 16): "f16", (2, 32): "f32", (2, 64): "f64", (4, 16): "bf16", (6, 8): "bool",
    (10, 8): "f8e4m3", (11, 8): "f8e4m3fnuz", (12, 8): "f8e5m2", (13, 8): "f8e5m2fnuz", (14, 8): "f8e8m0",
}
_DLPACK_HOSTS, _DLPACK_CUDA = (1, 3, 11), (2, 13)  # CPU, and pinned memory; CUDA's, and managed memory


@dataclass
class View:
    """An array as the library sees it.  `keep` holds its memory for as long as the view lives."""

    address: int
    shape: Tuple[int, ...]
    dtype: str
    kind: str  # CPU or CUDA
    ordinal: int
    framework: str
    keep: Any


def numpy_dtype(name: str) -> np.dtype:
    theirs = NUMPY_NAMES[name]
    try:
        return np.dtype(theirs)
    except TypeError:
        pass
    try:
        import ml_dtypes
        return np.dtype(getattr(ml_dtypes, theirs))
    except (ImportError, AttributeError):
        raise UnsupportedError(f"NumPy has no {theirs} of its own", hint="pip install ml_dtypes") from None


def _packed(a: np.ndarray, bits: int) -> np.ndarray:
    """Elements of 2 or 4 bits, which NumPy keeps one a byte, several a byte, the low bits first."""
    per = 8 // bits
    flat = a.reshape(-1).view(np.uint8) & ((1 << bits) - 1)
    flat = np.pad(flat, (0, -len(flat) % per)).reshape(-1, per)
    return np.bitwise_or.reduce(flat << (np.arange(per, dtype=np.uint8) * bits), axis=1).astype(np.uint8)


def _unpacked(a: np.ndarray, dtype: str, shape: Tuple[int, ...]) -> np.ndarray:
    bits, n = BITS[dtype], int(np.prod(shape, dtype=np.int64))
    flat = ((a[:, None] >> (np.arange(8 // bits, dtype=np.uint8) * bits)) & ((1 << bits) - 1)).reshape(-1)[:n]
    if dtype[0] == "i":  # the sign
        flat = np.where(flat >> (bits - 1), flat.astype(np.int16) - (1 << bits), flat).astype(np.int8)
        return flat.astype(numpy_dtype(dtype)).reshape(shape)
    return flat.view(numpy_dtype(dtype)).reshape(shape)


def _of_numpy(a: np.ndarray) -> View:
    dtype = NAMES.get(a.dtype.name, a.dtype.name)
    if not a.dtype.isnative:
        a = a.astype(a.dtype.newbyteorder("="))
    shape = a.shape
    a = np.ascontiguousarray(a)
    if BITS.get(dtype, 8) < 8:
        a = _packed(a, BITS[dtype])
    if a.__array_interface__["data"][0] % ALIGNMENT:
        a = _aligned_copy(a)
    return View(a.__array_interface__["data"][0], shape, dtype, CPU, 0, "numpy", a)


def _aligned_copy(a: np.ndarray) -> np.ndarray:
    raw = np.empty(a.nbytes + ALIGNMENT, np.uint8)
    skip = -raw.__array_interface__["data"][0] % ALIGNMENT
    copy = raw[skip:skip + a.nbytes].view(a.dtype).reshape(a.shape)
    copy[...] = a
    return copy


def is_torch(x: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def _of_torch(t: Any) -> View:
    t = (t.detach().resolve_conj() if t.requires_grad or t.is_conj() else t).contiguous()
    if t.device.type not in (CPU, CUDA):
        raise UnsupportedError(f"a tensor on {t.device}", hint="use .cpu() or .cuda()")
    if t.data_ptr() % ALIGNMENT:
        t = t.clone()
    name = str(t.dtype).replace("torch.", "")
    return View(t.data_ptr(), tuple(t.shape), NAMES.get(name, name), t.device.type, t.device.index or 0, "torch", t)


def _is_dense(shape: Sequence[int], strides: Optional[Sequence[int]]) -> bool:
    want = 1
    for size, stride in zip(reversed(shape), reversed(strides or ())):
        if size != 1 and stride != want:
            return False
        want *= size
    return True


def framework_of(x: Any) -> str:
    """numpy, torch, cupy, jax, or the module that its type is from."""
    name = type(x).__module__.split(".")[0]
    return "jax" if name in ("jax", "jaxlib") else name


def _of_dlpack(x: Any) -> View:
    framework = framework_of(x)
    kind, ordinal = (int(v) for v in x.__dlpack_device__())
    if kind in _DLPACK_CUDA:
        capsule = x.__dlpack__(stream=current_stream(framework, ordinal) or 1)  # 1: the legacy default stream
    elif kind in _DLPACK_HOSTS:
        capsule = x.__dlpack__()
    else:
        raise UnsupportedError(f"an array of {framework} on a device of DLPack's kind {kind}")
    address, shape, strides, code, bits, _, _, holder = _tenon.dlpack_read(capsule)
    dtype = _DLPACK.get((code, bits))
    if dtype is None:
        raise UnsupportedError(f"an array of {framework} whose elements are of DLPack's code {code} with {bits} bits")
    if not _is_dense(shape, strides) or address % ALIGNMENT:
        if kind not in _DLPACK_HOSTS:
            raise UnsupportedError(f"an array of {framework} on the GPU that is not dense and aligned to {ALIGNMENT} bytes",
                                   hint="copy it first")
        return _of_numpy(np.from_dlpack(x).copy())
    on_gpu = kind in _DLPACK_CUDA
    return View(address, shape, dtype, CUDA if on_gpu else CPU, ordinal if on_gpu else 0, framework, (x, holder))


def view(x: Any, dtype: str, name: str) -> View:
    """x as input `name`, whose elements are of `dtype`: numbers and lists become it, arrays must be of it."""
    if is_torch(x):
        v = _of_torch(x)
    elif isinstance(x, (np.ndarray, np.generic)):
        v = _of_numpy(np.asarray(x))
    elif hasattr(x, "__dlpack__"):
        v = _of_dlpack(x)
    else:
        v = _of_numpy(np.asarray(x, dtype=numpy_dtype(dtype)))
    if v.dtype != dtype:
        raise TypeMismatchError(f"the input is {dtype} ({NUMPY_NAMES[dtype]}), the array given is {NUMPY_NAMES.get(v.dtype, v.dtype)}",
                                name, "convert it first, or compile the model for that type")
    return v


# ---- memory for results ------------------------------------------------------------------------------------------------

@dataclass
class Room:
    """Memory for a result, and the array of its framework that it is, once its shape is known."""

    address: int
    finish: Callable[[Tuple[int, ...]], Any]
    keep: Any


def _numel(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _cut(array: Any, most: Tuple[int, ...], shape: Tuple[int, ...], copy: Callable[[Any], Any]) -> Any:
    """The elements that there are lie densely at the beginning; memory for more is not kept."""
    return array if shape == most else copy(array.reshape(-1)[:_numel(shape)]).reshape(shape)


def _room_numpy(most: Tuple[int, ...], dtype: str) -> Room:
    if BITS[dtype] < 8:
        raw = np.empty((_numel(most) * BITS[dtype] + 7) // 8 + ALIGNMENT, np.uint8)
        return Room(raw.__array_interface__["data"][0], lambda shape: _unpacked(raw, dtype, shape), raw)
    a = np.empty(most, numpy_dtype(dtype))
    if a.__array_interface__["data"][0] % ALIGNMENT:
        a = _aligned_copy(a)
    return Room(a.__array_interface__["data"][0], lambda shape: _cut(a, most, shape, np.copy), a)


def torch_dtype(dtype: str) -> Any:
    import torch
    found = getattr(torch, NUMPY_NAMES[dtype], None)
    if found is None:
        raise UnsupportedError(f"PyTorch has no {NUMPY_NAMES[dtype]}")
    return found


def _room_torch(most: Tuple[int, ...], dtype: str, kind: str, ordinal: int) -> Room:
    import torch
    t = torch.empty(most, dtype=torch_dtype(dtype), device=torch.device(kind, ordinal) if kind == CUDA else kind)
    return Room(t.data_ptr(), lambda shape: _cut(t, most, shape, lambda x: x.clone()), t)


def _room_cupy(most: Tuple[int, ...], dtype: str, ordinal: int) -> Room:
    import cupy
    with cupy.cuda.Device(ordinal):
        a = cupy.empty(most, numpy_dtype(dtype))
    return Room(a.data.ptr, lambda shape: _cut(a, most, shape, lambda x: x.copy()), a)


def room(framework: str, most: Tuple[int, ...], dtype: str, kind: str, ordinal: int) -> Room:
    if framework == "torch":
        return _room_torch(most, dtype, kind, ordinal)
    if kind == CPU:
        made = _room_numpy(most, dtype)
        if framework == "jax":
            import jax
            return Room(made.address, lambda shape: jax.numpy.asarray(made.finish(shape)), made.keep)
        return made
    if framework == "cupy":
        return _room_cupy(most, dtype, ordinal)
    raise UnsupportedError(f"results on the GPU as arrays of {framework}",
                           hint="give memory for them with out={name: array}, or use arrays of torch or cupy")


def current_stream(framework: str, ordinal: int) -> int:
    """The framework's current stream, as a CUstream; 0: the default one."""
    if framework == "torch":
        return int(sys.modules["torch"].cuda.current_stream(ordinal).cuda_stream)
    if framework == "cupy":
        return int(sys.modules["cupy"].cuda.get_current_stream().ptr)
    return 0


def to_numpy(x: Any) -> np.ndarray:
    """A copy, or the same memory, of any array."""
    if is_torch(x):
        t = x.detach().cpu()
        return t.numpy() if str(t.dtype) != "torch.bfloat16" else t.float().numpy()
    return x.get() if framework_of(x) == "cupy" else np.asarray(x)


