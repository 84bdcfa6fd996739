"""tenon.Cache: the memory of a plan's KV caches, which grow in it from inference to inference without being copied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Sequence, Tuple

from . import _arrays
from ._errors import ArgumentError, UnsupportedError

if TYPE_CHECKING:
    from ._plan import Plan

Place = Tuple[str, int]  # CPU or CUDA, and which


class _Buffer:
    """The memory of an output that grows in an input's.  Along its axis it has `rows`, of which the cache's length count; one that is
    fixed has all rows from the beginning, of which the other inputs tell how many count."""

    def __init__(self, plan: "Plan", input: int, output: int, axis: int, capacity: int, sizes: Mapping[str, int]) -> None:
        self.info, self.output, self.axis, self.capacity = plan.inputs[input], output, axis, capacity
        self.shape = [d if isinstance(d, int) else sizes.get(d, 1) for d in self.info.shape]
        self.fixed = self.info.shape[axis] == plan.outputs[output].shape[axis]
        self.room: Optional[_arrays.Room] = None
        self.rows = 0

    def of(self, rows: int) -> Tuple[int, ...]:
        return tuple(rows if k == self.axis and not self.fixed else d for k, d in enumerate(self.shape))

    def part(self, rows: int) -> Any:
        """The first rows as an array, in this memory."""
        assert self.room
        return self.room.keep[tuple(slice(0, rows) if not self.fixed and k == self.axis else slice(None) for k in range(len(self.shape)))]

    def reserve(self, rows: int, kept: int, framework: str, place: Place) -> int:
        """Memory for so many rows, with those that are kept; its address."""
        if not self.room or rows > self.rows:
            old = self.part(kept) if self.room and kept else None
            self.rows = self.capacity or max(rows, 2 * self.rows)
            self.room = _arrays.room(framework, self.of(self.rows), self.info.dtype, *place)
            if self.fixed:
                self.room.keep[...] = 0  # rows that do not count weigh nothing, if they are numbers
            if old is not None:
                self.part(kept)[...] = old
        return self.room.address


class Cache:
    """The KV caches of a sequence, or a batch of sequences of one length: outputs of a plan that grow in the memory of its inputs (the
    plan's `caches`).  plan.cache() makes an empty one; plan(..., cache=c) takes these inputs from it, appends to it, and returns the other outputs.

    `length`: how many rows (tokens) it has; a smaller one forgets the last.  (Caches that have all rows from the beginning, as
    GroupQueryAttention may have, do not grow: inputs of the model tell how many count, and the length stays 0.)  c["past_key_values.0.key"] is what an input has, an array of the
    framework of the other inputs, in the cache's own memory: what is written there is seen by the next inference.  On the device "cuda" the
    other inputs must be arrays on the GPU, and all inferences with a cache on one stream.  One thread at a time may use it."""

    def __init__(self, plan: "Plan", growing: Sequence[Tuple[int, int, int, int]], sizes: Mapping[str, int]) -> None:
        self._plan = plan
        self._buffers = [_Buffer(plan, *g, sizes) for g in growing]
        self._length = 0
        self._of: Optional[Tuple[str, Place]] = None  # where it is, from the first inference on

    @property
    def length(self) -> int:
        return self._length

    @length.setter
    def length(self, n: int) -> None:
        if not 0 <= n <= self._length:
            raise ArgumentError(f"the cache has {self._length} rows: its length cannot become {n}")
        self._length = n

    @property
    def capacity(self) -> Optional[int]:
        """Rows that it may have at most: the largest size that the model was compiled for; None: any."""
        rows = (b.shape[b.axis] if b.fixed else b.capacity for b in self._buffers)
        return min((n for n in rows if n), default=None)

    @property
    def names(self) -> Tuple[str, ...]:
        return tuple(b.info.name for b in self._buffers)

    def __getitem__(self, name: str) -> Any:
        found = next((b for b in self._buffers if b.info.name == name), None)
        if found is None:
            raise ArgumentError(f"the cache has no such input; it has {', '.join(self.names)}", name)
        if not found.room:
            raise ArgumentError("the cache is empty", name)
        return found.part(self._length)

    def __repr__(self) -> str:
        return f"<tenon.Cache of {len(self._buffers)} inputs, {self._length} of {self.capacity or 'any number of'} rows>"

    # ---- what Plan calls -----------------------------------------------------------------------------------------

    def shapes(self) -> Dict[str, Tuple[int, ...]]:
        return {b.info.name: b.of(self._length) for b in self._buffers}

    def place(self, most: Sequence[Tuple[int, ...]], framework: str, place: Place) -> Dict[int, int]:
        """Addresses by output, for outputs that are so large."""
        if self._of not in (None, (framework, place)):
            raise ArgumentError(f"the cache has arrays of {self._of[0]} on {self._of[1][0]}:{self._of[1][1]}, "  # type: ignore[index]
                                f"the inputs are {framework}'s on {place[0]}:{place[1]}")
        self._of = (framework, place)
        return {b.output: b.reserve(most[b.output][b.axis], self._length, framework, place) for b in self._buffers}

    def grow(self, most: Sequence[Tuple[int, ...]]) -> None:
        sizes = {most[b.output][b.axis] for b in self._buffers if not b.fixed}
        if len(sizes) > 1:
            raise UnsupportedError("the model's caches grow by unlike numbers of rows", hint="compile it with caches=False")
        if sizes:
            self._length = sizes.pop()

    def fill(self, given: Mapping[str, _arrays.View]) -> None:
        """What a cache has elsewhere is copied here: an inference that keeps nothing."""
        for b in self._buffers:
            v = given[b.info.name]
            b.shape = list(v.shape)
            self._of = (v.framework, (v.kind, v.ordinal))
            rows = v.shape[b.axis]
            if not b.fixed:
                self._length = rows
            b.reserve(rows, 0, *self._of)
            if rows:
                b.part(rows)[...] = v.keep if _arrays.is_torch(v.keep) else v.keep[0]

    def result(self, output: int, shape: Tuple[int, ...]) -> Any:
        return next((b.part(shape[b.axis]) for b in self._buffers if b.output == output), None)
