"""How a plan looks in a notebook: inputs and outputs, architectures, and a row a kernel with a bar for its share of the time."""

from __future__ import annotations

import html
from typing import Any, Dict, List

from ._table import cell

_MOST_ROWS = 200


def _bar(share: Any) -> str:
    if share is None:
        return ""
    return (f'<div style="background:#76b90033;width:8em"><div style="background:#76b900;width:{100 * share:.1f}%;height:0.8em"></div></div>')


def _kernel(k: int, row: Dict[str, Any]) -> str:
    texts = [str(k), cell(row["us"])]
    after = [cell(row["max_error"]), cell(row["registers"]), f'{row["template"]} {row["knobs"]}', cell(row["layers"])]
    cells = "".join(f"<td>{html.escape(t)}</td>" for t in texts)
    return f"<tr>{cells}<td>{_bar(row['share'])}</td>" + "".join(
        f'<td style="text-align:left">{html.escape(t)}</td>' for t in after) + "</tr>"


def plan_html(plan: Any) -> str:
    info = plan.info
    archs = "; ".join(f'{a["name"]}, {"tuned on " + a["tuned_on"] if a["tuned_on"] else "untuned"}' for a in plan.archs)
    facts: List[Any] = [
        ("model", info["model"]), ("inputs", ", ".join(map(str, plan.inputs))), ("outputs", ", ".join(map(str, plan.outputs))),
        ("precision", info["precision"]), ("weights", f'{info["weight_bytes"] / 1e6:.2f} MB'), ("kernels for", archs),
        ("runs on", plan.device),
    ]
    head = "".join(f'<tr><th>{k}</th><td style="text-align:left">{html.escape(v)}</td></tr>' for k, v in facts)
    rows = plan.kernel_rows() if plan.archs else []
    body = "".join(_kernel(k, row) for k, row in enumerate(rows[:_MOST_ROWS]))
    more = f"<p>and {len(rows) - _MOST_ROWS} more: plan.kernels</p>" if len(rows) > _MOST_ROWS else ""
    columns = "".join(f"<th>{c}</th>" for c in ("#", "us", "share", "max error", "registers", "kernel", "layers"))
    return (f"<table>{head}</table><details open><summary>{len(rows)} kernels</summary><table><thead><tr>{columns}</tr></thead>"
            f"<tbody>{body}</tbody></table>{more}</details>")
