"""A small table for terminals and notebooks, for where pandas is not installed."""

from __future__ import annotations

import html
from typing import Any, Dict, Iterator, List, Sequence, Union


class Table(Sequence[Dict[str, Any]]):
    """Rows that are dicts: table[3]["us"]; table["us"] is a column."""

    def __init__(self, rows: Sequence[Dict[str, Any]]) -> None:
        self._rows = list(rows)

    @property
    def columns(self) -> List[str]:
        return list(self._rows[0]) if self._rows else []

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Dict[str, Any]]:
        return iter(self._rows)

    def __getitem__(self, key: Union[int, slice, str]) -> Any:  # type: ignore[override]
        if isinstance(key, str):
            return [row[key] for row in self._rows]
        return Table(self._rows[key]) if isinstance(key, slice) else self._rows[key]

    def __repr__(self) -> str:
        texts = [self.columns] + [[cell(v)[:60] for v in row.values()] for row in self._rows]
        widths = [max(len(row[k]) for row in texts) for k in range(len(texts[0]))]
        return "\n".join("  ".join(t.ljust(w) for t, w in zip(row, widths)).rstrip() for row in texts)

    def _repr_html_(self) -> str:
        return to_html(self._rows)


def cell(v: Any) -> str:
    if v is None:
        return "-"
    if isinstance(v, float):
        return f"{v:.4g}"
    return ", ".join(map(str, v)) if isinstance(v, (list, tuple)) else str(v)


def to_html(rows: Sequence[Dict[str, Any]]) -> str:
    if not rows:
        return "<table></table>"
    head = "".join(f"<th>{html.escape(c)}</th>" for c in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell(v))}</td>" for v in row.values()) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def table(rows: Sequence[Dict[str, Any]]) -> Any:
    """A pandas.DataFrame where pandas is installed, else a Table."""
    try:
        import pandas
    except ImportError:
        return Table(rows)
    return pandas.DataFrame(list(rows))
