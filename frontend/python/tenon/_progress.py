"""Progress of long work: a callback, or a bar (tqdm's where it is installed)."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Callable, Optional, Union


@dataclass(frozen=True)
class Progress:
    """phase: "import", "rewrite", "plan", "compile", "tune", ...; item: what is being worked on; total is 0 and eta_s negative while they
    are not known."""

    phase: str
    item: str
    done: int
    total: int
    elapsed_s: float
    eta_s: float


Callback = Callable[[Progress], Optional[bool]]  # False cancels


class _Line:
    """A line on stderr that is written over and over."""

    def show(self, p: Progress) -> None:
        done = f" {p.done}/{p.total}" if p.total else ""
        left = f", about {p.eta_s:.0f} s left" if p.eta_s >= 0 else ""
        sys.stderr.write(f"\r\033[K{p.phase:8}{done}  {p.elapsed_s:.1f} s{left}  {p.item[:60]}")
        sys.stderr.flush()

    def close(self) -> None:
        sys.stderr.write("\r\033[K")


class _Tqdm:
    def __init__(self, tqdm: Any) -> None:
        self.tqdm, self.phase = tqdm, ""
        self.bar: Any = None

    def show(self, p: Progress) -> None:
        if self.bar is None or p.phase != self.phase:
            self.close()
            self.bar, self.phase = self.tqdm(total=p.total or None, desc=p.phase, leave=False), p.phase
        if p.total and self.bar.total != p.total:
            self.bar.total = p.total
        self.bar.set_postfix_str(p.item[:40], refresh=False)
        self.bar.update(p.done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


class Shown:
    """A context manager that makes of `progress` what the C half calls: None, or a function of Progress's fields."""

    def __init__(self, progress: Union[None, bool, Callback]) -> None:
        self.bar: Any = None
        self.callback = progress if callable(progress) else None
        if progress is True:
            try:
                from tqdm.auto import tqdm
                self.bar = _Tqdm(tqdm)
            except ImportError:
                self.bar = _Line()

    def __enter__(self) -> Optional[Callable[..., Optional[bool]]]:
        return self._tell if self.bar or self.callback else None

    def _tell(self, *fields: Any) -> Optional[bool]:
        p = Progress(*fields)
        if self.bar:
            self.bar.show(p)
        return self.callback(p) if self.callback else None

    def __exit__(self, *_: Any) -> None:
        if self.bar:
            self.bar.close()
