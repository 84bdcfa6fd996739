"""What goes wrong, as exceptions: one class a status of the C library, each with the layer's name."""

from __future__ import annotations

import logging
import warnings
from typing import List, Sequence, Tuple

from . import _tenon

log = logging.getLogger("tenon")

_Note = Tuple[int, int, str, str, str]  # severity, status, where, message, hint
_ERROR = 2
_WARNING = 1


class TenonWarning(UserWarning):
    """Something that works but is probably not what was meant."""


class Error(Exception):
    """What every error of Tenon is.

    status: the C library's name of it ("E_TYPE"); exit_code: what the tenon command exits with;
    layer: the user's layer, file or option that it is about ("" if none); message; hint: what to do ("" if nothing is known);
    notes: all errors of the call, as (layer, message, hint), the first of which the other fields tell.
    """

    status = "E_INTERNAL"

    def __init__(self, message: str, layer: str = "", hint: str = "",
                 notes: Sequence[Tuple[str, str, str]] = ()) -> None:
        self.message, self.layer, self.hint = message, layer, hint
        self.notes: List[Tuple[str, str, str]] = list(notes) or [(layer, message, hint)]
        super().__init__("\n".join(_line(*note) for note in self.notes))

    @property
    def exit_code(self) -> int:
        return next(code for name, code, _ in _tenon.statuses if name == self.status)


def _line(layer: str, message: str, hint: str) -> str:
    return (f"{layer}: " if layer else "") + message + (f" ({hint})" if hint else "")


class ArgumentError(Error, ValueError):
    status = "E_ARGUMENT"


class OutOfMemoryError(Error, MemoryError):
    status = "E_MEMORY"


class FileError(Error, OSError):
    status = "E_IO"

    def __str__(self) -> str:  # not OSError's, which knows numbers of errors
        return str(self.args[0])


class FormatError(Error, ValueError):
    status = "E_FORMAT"


class UnsupportedError(Error, NotImplementedError):
    status = "E_UNSUPPORTED"


class TypeMismatchError(Error, TypeError):
    status = "E_TYPE"


class VerifyError(Error):
    status = "E_VERIFY"


class NoDeviceError(Error, RuntimeError):
    status = "E_NO_DEVICE"


class NoCompilerError(Error, RuntimeError):
    status = "E_NO_COMPILER"


class NoLibraryError(Error, RuntimeError):
    status = "E_NO_LIBRARY"


class ArchError(Error, RuntimeError):
    status = "E_ARCH"


class KernelCompileError(Error, RuntimeError):
    status = "E_COMPILE"


class CudaError(Error, RuntimeError):
    status = "E_CUDA"


class MismatchError(Error, AssertionError):
    status = "E_MISMATCH"


class CancelledError(Error):
    status = "E_CANCELLED"


class InternalError(Error):
    status = "E_INTERNAL"


_classes = {c.status: c for c in Error.__subclasses__()}


def make(status: int, notes: Sequence[_Note]) -> Error:
    """The exception for a call that failed (called from C)."""
    name, _, text = _tenon.statuses[status]
    errors = [note[2:] for note in notes if note[0] == _ERROR]
    tell(0, [note for note in notes if note[0] != _ERROR])
    layer, message, hint = errors[0] if errors else ("", text, "")
    return _classes.get(name, InternalError)(message, layer, hint, errors)


def tell(status: int, notes: Sequence[_Note]) -> None:
    """Passes on what a call noted that did not fail (called from C)."""
    del status
    for severity, _, layer, message, hint in notes:
        if severity >= _WARNING:
            warnings.warn(_line(layer, message, hint), TenonWarning, stacklevel=3)
        else:
            log.info("%s", _line(layer, message, hint))
