"""Tenon compiles neural networks into CUDA kernels that you can read.

    import tenon
    plan = tenon.compile("model.onnx", precision="fp16", progress=True)
    y = plan(x)                       # NumPy, or anything that speaks DLPack
    plan.save("model.plan")
    plan.kernels, plan.source(0), plan.bench(), plan.check()
"""

from . import _libraries, _tenon

_libraries.find()

from ._cache import Cache  # noqa: E402
from ._check import Check, Difference  # noqa: E402
from ._compile import compile  # noqa: E402
from ._errors import (  # noqa: E402
    ArchError, ArgumentError, CancelledError, CudaError, Error, FileError, FormatError, InternalError, KernelCompileError,
    MismatchError, NoCompilerError, NoDeviceError, NoLibraryError, OutOfMemoryError, TenonWarning, TypeMismatchError,
    UnsupportedError, VerifyError)
from ._plan import Bench, Plan, Symbol, TensorInfo  # noqa: E402
from ._progress import Progress  # noqa: E402

__version__: str = _tenon.version
load = Plan.load

__all__ = [
    "ArchError", "ArgumentError", "Bench", "Cache", "CancelledError", "Check", "CudaError", "Difference", "Error", "FileError",
    "FormatError", "InternalError", "KernelCompileError", "MismatchError", "NoCompilerError", "NoDeviceError", "NoLibraryError",
    "OutOfMemoryError", "Plan", "Progress", "Symbol", "TenonWarning", "TensorInfo", "TypeMismatchError", "UnsupportedError",
    "VerifyError", "compile", "load",
]
