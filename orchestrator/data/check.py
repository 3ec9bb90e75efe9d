"""Every row of a dataset, in one pass and in constant memory: what cannot be used, by kind and with the first of each.

Counts no tokens. Must not stop at the first fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from orchestrator.data.kinds import Canonical, Shape
from orchestrator.data.prepare import Located, convert_row, reading_of
from orchestrator.data.readers import BadRow, scan
from orchestrator.data.rows import Row
from orchestrator.data.shape import detected_kind, shape_of
from orchestrator.data.sources import find_sources
from orchestrator.errors import DataProblem
from orchestrator.spec.jobspec import Job

MAX_REMEMBERED = 4_000_000  # rows whose hash is kept; duplicates beyond these are not looked for
IMBALANCE = 10  # times as many rows of one label as of another
Dropped = Callable[[str, int, str, str], None]  # file, line, kind, why


@dataclass(kw_only=True)
class Report:
    """What one pass found. Filled while it reads; not changed afterwards."""

    rows: int = 0  # that can be used
    sentence: str = ""
    errors: Counter[str] = field(default_factory=Counter)  # kind -> rows
    first: dict[str, str] = field(default_factory=dict)  # kind -> the first message, file and line in it
    labels: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    leaked: int = 0  # held-out rows that are training rows too
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, message: str) -> None:
        self.errors[kind] += 1
        self.first.setdefault(kind, message)

    @property
    def reports(self) -> list[str]:
        """What is worth knowing and stops nothing."""
        found = list(self.notes)
        if self.duplicates:
            found.append(f"{self.duplicates} rows are copies of earlier ones; copies may lie on both sides of the split")
        if self.leaked:
            found.append(f"{self.leaked} held-out rows are training rows too: the score will flatter")
        if len(self.labels) > 1 and max(self.labels.values()) > IMBALANCE * min(self.labels.values()):
            (most, many), (least, few) = self.labels.most_common()[0], self.labels.most_common()[-1]
            found.append(f"imbalance: {many} rows of {most!r}, {few} of {least!r}")
        return found


def check_data(job: Job, *, on_bytes: Callable[[int], None] = lambda count: None, dropped: Dropped | None = None) -> Report:
    """Check the training and the held-out rows. Raises DataProblem or UsageProblem when no row can be looked at."""
    report, places = Report(), Located.beside(job)
    seen: set[int] = set()
    shape = _pass(job, places.train, report, seen, on_bytes, dropped, held_out=False)
    if places.held_out is not None:
        _pass(job, places.held_out, report, seen, on_bytes, dropped, held_out=True)
    if shape is not None and shape.labelled and len(report.labels) < 2 and report.rows:
        report.add("fewer than two labels", f"{places.train}: every training row has the label {next(iter(report.labels))!r}")
    return report


def _pass(
    job: Job, path: Path, report: Report, seen: set[int], on_bytes: Callable[[int], None], dropped: Dropped | None, *, held_out: bool
) -> Shape | None:
    reading = reading_of(job.spec, on_bytes)
    shape: Shape | None = None
    good = 0
    for found in scan(find_sources(path), reading):
        if isinstance(found, BadRow):
            fault = (found.kind, str(found.problem()))
        else:
            if shape is None:
                shape = shape_of(job.spec, list(found.values), str(path))
            try:
                _count(report, seen, convert_row(shape, found), held_out=held_out)
                good += 1
                continue
            except DataProblem as error:
                fault = (_kind(shape, found, error), error.message)
        if job.spec.dataset.drop_bad_rows and dropped is not None:
            dropped(found.file, found.line, *fault)
        report.add(*fault)
    report.notes += reading.notes
    if not good and not report.errors:
        report.add("no rows", f"dataset {path} has no rows")
    if shape is not None and not held_out:
        report.sentence = shape.sentence
    return shape


def _count(report: Report, seen: set[int], row: Canonical, *, held_out: bool) -> None:
    mark = hash(msgspec.json.encode(row))
    if held_out:
        report.leaked += mark in seen
        return
    report.rows += 1
    report.duplicates += mark in seen
    if len(seen) < MAX_REMEMBERED:
        seen.add(mark)
    if "label" in row:
        report.labels[row["label"]] += 1


def _kind(shape: Shape, row: Row, error: DataProblem) -> str:
    other = detected_kind(list(row.values))
    if other is not None and shape.kind in ("messages", "alpaca", "text", "preference") and other != shape.kind:
        return "mixed formats"
    text = error.message
    return next((kind for mark, kind in _KINDS if mark in text), "cannot be used")


_KINDS = (
    ("is empty", "empty"),
    ("label", "label"),
    ("surrogate", "not text"),
    ("no assistant turn", "nothing to learn"),
    (": no ", "missing"),
    ("turn", "turns"),
)
