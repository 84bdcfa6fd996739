"""Where CUDA's libraries are.  The C library looks in the loader's path, below CUDA_HOME and in /usr/local/cuda; a Python
environment often has them as NVIDIA's wheels instead (PyTorch brings these along)."""

from __future__ import annotations

import glob
import importlib.util
import os

_wheels = {
    "TENON_LIBNVRTC": ("cu13/lib/libnvrtc.so.13", "cuda_nvrtc/lib/libnvrtc.so.12"),
    "TENON_LIBCUBLASLT": ("cu13/lib/libcublasLt.so.13", "cublas/lib/libcublasLt.so.12"),
}


def find() -> None:
    """Names the wheels' libraries to the C library, where nobody said where CUDA is."""
    if any(os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")) or os.path.exists("/usr/local/cuda"):
        return
    spec = importlib.util.find_spec("nvidia")
    for root in (spec.submodule_search_locations or []) if spec else []:
        for variable, places in _wheels.items():
            for place in places:
                for path in glob.glob(os.path.join(root, place)):
                    os.environ.setdefault(variable, path)
