"""The receipt for a person or for a program, on stdout."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from orchestrator.cli import output


def print_receipt(document: dict[str, Any], folder: Path) -> None:
    """Print a receipt. ``folder``: the run's folder, named when something went wrong."""
    if output.as_json():
        output.print_json(document)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in _rows(document, folder):
        table.add_row(name, Text(value))
    console = output.answers()
    console.print()
    console.print(table)


def _rows(document: dict[str, Any], folder: Path) -> list[tuple[str, str]]:
    rows = [("run", f"{document['run']}  {document['outcome']} ({document['reason']})")]
    failed = [a for a in document["attempts"] if a["detail"] and a["reason"] != "completed"]
    rows += [(f"attempt {a['number']}", f"{a['offer']}: {a['reason']}: {a['detail']}") for a in failed]
    if document["outcome"] == "failed":
        rows.append(("details", str(folder)))
    if document["evaluation"] is not None:
        rows.append(("evaluation", _evaluation(document["evaluation"])))
    if document["adapter"] is not None:
        rows.append(("adapter", document["adapter"]["path"]))
        rows += [("", f"{digest}  {name}") for name, digest in document["adapter"]["sha256"].items()]
    rows.append(("time", f"{document['training_s']:.0f} s of training, {document['billed_s']:.0f} s in all"))
    rows.append(("cost", _cost(document["billed_usd"])))
    proof = document["teardown"]
    left = "nothing left running" if proof["instances_left"] == 0 else f"{proof['instances_left']} left"
    rows.append(("teardown", f"{left}, by {proof['observer']}, {proof['confirmed_at'] or 'nothing was started'}"))
    return rows


def _cost(usd: float) -> str:
    """Never less than the bill, not even by rounding."""
    return "$0.00" if usd == 0.0 else f"at most ${math.ceil(usd * 100) / 100:.2f}"


def _evaluation(scores: dict[str, Any]) -> str:
    def shown(value: float | None) -> str:
        if value is None:
            return "–"
        return f"{value:.1%}" if scores["metric"] == "accuracy" else f"{value:.3f}"

    text = f"{scores['metric']} {shown(scores['before'])} before, {shown(scores['after'])} after, on {scores['rows']} held-out rows"
    interval = scores.get("gain_interval_95")
    if interval and scores["metric"] == "accuracy":
        gain = (scores["after"] - scores["before"]) * 100
        text += f"; gain {gain:+.1f} points (95 % interval {interval[0] * 100:+.1f} to {interval[1] * 100:+.1f})"
    return text
