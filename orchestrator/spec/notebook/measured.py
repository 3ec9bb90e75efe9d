"""What the notebook's own outputs show: seconds a step, and whether the card ran out of memory.

Pure; reads texts, believes only whole patterns.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

from .cells import Cell, Notebook
from .values import Loc

_OUTPUT: Final = re.compile(r"TrainOutput\(global_step=(\d{1,9}),.{0,400}?'train_runtime': ([\d.]{1,20})", re.DOTALL)
_RUNTIME: Final = re.compile(r"'train_runtime': '?([\d.]{1,20})'?.{0,200}?'train_steps_per_second': '?([\d.]{1,20})", re.DOTALL)
_PROGRESS: Final = re.compile(
    r"\[\s*(\d{1,9})/(\d{1,9}) ((?:\d{1,3}:)?\d{1,3}:\d{2})(?: < [\d:]+, [\d.]+ (?:it/s|s/it))?, Epoch [\d.]+/\d+\]"
)
_BAR: Final = re.compile(r"\b(\d{1,9})/(\d{1,9}) \[((?:\d{1,3}:)?\d{1,3}:\d{2})<")
_OOM: Final = re.compile(r"CUDA out of memory\.[^\n]{0,600}")
_SIZES: Final[dict[str, re.Pattern[str]]] = {
    "tried_to_allocate_gib": re.compile(r"Tried to allocate ([\d.]+) (GiB|MiB)"),
    "total_gib": re.compile(r"(?:total capacity(?: of)?|has a total capacity of) ([\d.]+) (GiB|MiB)|; ([\d.]+) (GiB|MiB) total capacity"),
    "free_gib": re.compile(r"(?:of which )?([\d.]+) (GiB|MiB)(?: is)? free"),
    "in_use_gib": re.compile(r"has ([\d.]+) (GiB|MiB) memory in use"),
    "allocated_gib": re.compile(r"([\d.]+) (GiB|MiB) (?:is )?(?:already )?allocated"),
    "reserved_gib": re.compile(r"([\d.]+) (GiB|MiB) (?:is )?reserved"),
}


def measure(notebook: Notebook, train_loc: Loc | None, trainer_loc: Loc) -> dict[str, Any]:
    """seconds_per_step, steps, train_seconds, cell_seconds; out_of_memory with the numbers of its message. Empty when nothing is shown."""
    start = train_loc.cell if train_loc is not None else trainer_loc.cell
    own = [cell for cell in notebook.cells if cell.number == start]
    result = _time(own)
    if not result:
        shown = [found for cell in notebook.cells if cell.number > start and (found := _time([cell]))]
        result = shown[0] if len(shown) == 1 else {}
    if own and (seconds := cell_seconds(own[0])) is not None:
        result["cell_seconds"] = seconds
    for cell in notebook.cells:
        memory = _memory(cell)
        if memory:
            result["out_of_memory"] = memory
    return result


def _time(cells: list[Cell]) -> dict[str, Any]:
    for pattern, name in ((_OUTPUT, "TrainOutput"), (_PROGRESS, "progress"), (_RUNTIME, "train_runtime"), (_BAR, "progress bar")):
        for cell in cells:
            found = [one for text in cell.outputs for one in pattern.finditer(text)]
            if found and (said := _reading(name, found[-1])):
                return {**said, "source": f"cell {cell.number}, {name} of its output"}
    return {}


def _reading(name: str, found: re.Match[str]) -> dict[str, Any]:
    try:
        if name == "TrainOutput":
            steps, seconds = int(found.group(1)), float(found.group(2))
        elif name == "train_runtime":
            seconds, rate = float(found.group(1)), float(found.group(2))
            return {"seconds_per_step": round(1 / rate, 3), "train_seconds": seconds} if rate > 0 else {}
        else:
            steps, seconds = int(found.group(1)), float(clock(found.group(3)))
    except ValueError:
        return {}
    if steps <= 0 or seconds <= 0:
        return {}
    said: dict[str, Any] = {"seconds_per_step": round(seconds / steps, 4), "steps": steps, "train_seconds": seconds}
    if name.startswith("progress") and int(found.group(2)) != steps:
        said["steps_planned"] = int(found.group(2))
    return said


def clock(text: str) -> int:
    """Seconds of 42:28 or 3:41:07."""
    seconds = 0
    for one in text.split(":"):
        seconds = seconds * 60 + int(one)
    return seconds


def cell_seconds(cell: Cell) -> float | None:
    """How long a cell ran, from papermill's record or from the front end's timestamps."""
    papermill = cell.metadata.get("papermill")
    if isinstance(papermill, dict) and isinstance(papermill.get("duration"), int | float):
        return round(float(papermill["duration"]), 3)
    times = cell.metadata.get("execution")
    if not isinstance(times, dict):
        return None
    start = times.get("shell.execute_reply.started") or times.get("iopub.execute_input")
    end = times.get("shell.execute_reply") or times.get("iopub.status.idle")
    try:
        seconds = (datetime.fromisoformat(str(end)) - datetime.fromisoformat(str(start))).total_seconds()
    except (ValueError, TypeError):
        return None
    return round(seconds, 3) if seconds > 0 else None


def _memory(cell: Cell) -> dict[str, Any]:
    for text in reversed(cell.outputs):
        found = _OOM.search(text)
        if found is None:
            continue
        said: dict[str, Any] = {"source": f"cell {cell.number}"}
        for name, pattern in _SIZES.items():
            sizes = pattern.search(found.group())
            if sizes is not None:
                number, unit = [one for one in sizes.groups() if one is not None][:2]
                try:
                    said[name] = round(float(number) / (1 if unit == "GiB" else 1024), 3)
                except ValueError:
                    continue
        return said
    return {}
