"""Every row of a dataset, in one pass and in constant memory: what cannot be used, by kind and with the first of each.

Must not stop at the first fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from orchestrator.data.kinds import Canonical, Shape, estimated_tokens
from orchestrator.data.measure import IGNORED, Measured, Measurer
from orchestrator.data.prepare import Located, convert_row, reading_of
from orchestrator.data.readers import BadRow, scan
from orchestrator.data.report import Report
from orchestrator.data.rows import Row
from orchestrator.data.shape import detected_kind, shape_of
from orchestrator.data.sources import Source
from orchestrator.errors import DataProblem
from orchestrator.spec.jobspec import Job

__all__ = ["Report", "check_data"]
MAX_REMEMBERED = 4_000_000  # rows whose hash is kept; duplicates beyond these are not looked for
BATCH_ROWS, BATCH_CHARS = 512, 1 << 20  # tokenized at a time
SHOWN_ROWS = 2  # rows whose loss mask is kept to be shown
SHOWN_TOKENS = 400
Dropped = Callable[[str, int, str, str], None]  # file, line, kind, why


def check_data(
    job: Job,
    *,
    located: Located | None = None,
    measurer: Measurer | None = None,
    on_bytes: Callable[[int], None] = lambda count: None,
    dropped: Dropped | None = None,
) -> Report:
    """Check the training and the held-out rows. Raises DataProblem or UsageProblem when no row can be looked at.

    ``located``: where the dataset lies on this machine; ``measurer``: counts tokens, without it they are estimated.
    """
    report, places = Report(counted=measurer is not None), located or Located.beside(job)
    checker = _Checker(job=job, report=report, measurer=measurer, on_bytes=on_bytes, dropped=dropped)
    shape = checker.read(places.train, places.sources(held_out=False), held_out=False)
    if places.held_out is not None:
        checker.read(places.held_out, places.sources(held_out=True), held_out=True)
    checker.judge_held_out()
    if shape is not None and shape.labelled and len(report.labels) < 2 and report.rows:
        report.add("fewer than two labels", f"{places.train}: every training row has the label {next(iter(report.labels))!r}")
    checker.judge_stops(shape)
    return report


@dataclass(kw_only=True)
class _Checker:
    """One pass. Rows are counted in tokens many at a time."""

    job: Job
    report: Report
    measurer: Measurer | None
    on_bytes: Callable[[int], None]
    dropped: Dropped | None
    seen: set[int] = field(default_factory=set)
    waiting: list[tuple[Row, Canonical]] = field(default_factory=list)
    characters: int = 0
    looked: bool = False  # at tokenizer and template
    first_place: str = ""
    held_labels: dict[str, str] = field(default_factory=dict)  # label of held-out rows -> the first such row

    def read(self, path: Path, sources: list[Source], *, held_out: bool) -> Shape | None:
        """All rows of one dataset."""
        report, spec = self.report, self.job.spec
        reading = reading_of(spec, self.on_bytes)
        shape: Shape | None = None
        before = report.rows
        for found in scan(sources, reading):
            if isinstance(found, BadRow):
                self._fault(found.file, found.line, found.kind, str(found.problem()))
                continue
            if shape is None:
                shape = shape_of(spec, list(found.values), str(path))
            try:
                canonical = convert_row(shape, found)
            except DataProblem as error:
                self._fault(found.file, found.line, _kind(shape, found, error), error.message)
                continue
            self.waiting.append((Row(file=found.file, line=found.line, values={}), canonical))
            self.characters += _characters(canonical)
            if len(self.waiting) >= BATCH_ROWS or self.characters >= BATCH_CHARS:
                self._flush(held_out=held_out)
        self._flush(held_out=held_out)
        report.notes += reading.notes
        if report.rows == before and not held_out and not report.errors:
            report.add("no rows", f"dataset {path} has no rows")
        if held_out and not len(report.held_out.kept):
            report.add("no rows", f"dataset {path} has no held-out row that can be used")
        if shape is not None and not held_out:
            report.sentence = shape.sentence
        return shape

    def _fault(self, file: str, line: int, kind: str, why: str) -> None:
        if self.job.spec.dataset.drop_bad_rows and self.dropped is not None:
            self.dropped(file, line, kind, why)
        self.report.add(kind, why)

    def _flush(self, *, held_out: bool) -> None:
        """Measure and count the rows that wait."""
        waiting, self.waiting, self.characters = self.waiting, [], 0
        if not waiting:
            return
        if not self.looked:
            self._look(waiting)
        lengths = self.report.held_out if held_out else self.report.train
        for (row, canonical), measured in zip(waiting, self._measured([canonical for _, canonical in waiting]), strict=True):
            fault = measured.fault
            if fault is None and not measured.learns:
                fault = ("nothing to learn", f"no token of this row carries loss under max_length {self.job.spec.training.max_length}")
            if fault is not None:
                self.report.unfit.append(row.place)
                self._fault(row.file, row.line, fault[0], f"{row.place}: {fault[1]}")
                continue
            lengths.add(measured.full, measured.kept, row.place)
            lengths.stops += measured.stops
            lengths.doubled_stops += measured.doubled_stop
            self._count(canonical, row.place, held_out=held_out)

    def _measured(self, rows: list[Canonical]) -> list[Measured]:
        if self.measurer is not None:
            return self.measurer.measure(rows)
        limit = self.job.spec.training.max_length
        return [Measured(full=n, kept=min(n, limit)) for n in map(estimated_tokens, rows)]

    def _look(self, rows: list[tuple[Row, Canonical]]) -> None:
        """At tokenizer and template, with the first rows at hand."""
        self.looked, self.first_place = True, rows[0][0].place
        if self.measurer is None:
            return
        faults = self.measurer.job_faults(rows[0][1])
        for kind, message in faults:
            self.report.add(kind, f"{self.first_place}: {message}")
        if any(kind == "no chat template" for kind, _ in faults):
            self.measurer, self.report.counted, self.report.tokenizer = None, False, "there is no chat template to count with"
            return
        self.report.notes += self.measurer.notes(rows[0][1])
        for row, canonical in rows[:SHOWN_ROWS]:
            try:
                self.report.masks.append({"place": row.place, "pieces": _pieces(self.measurer, canonical)})
            except DataProblem:
                continue  # a template that refuses the row is named with it

    def _count(self, row: Canonical, place: str, *, held_out: bool) -> None:
        report, seen = self.report, self.seen
        encoded = msgspec.json.encode(row)
        mark, size = hash(encoded), len(encoded) + _spaces(row)
        if held_out:
            report.held_out_bytes += size
            report.leaked += mark in seen
            if "label" in row:
                self.held_labels.setdefault(str(row["label"]), place)
            return
        report.rows += 1
        report.train_bytes += size
        report.duplicates += mark in seen
        if len(seen) < MAX_REMEMBERED:
            seen.add(mark)
        if "label" in row:
            report.labels[row["label"]] += 1

    def judge_held_out(self) -> None:
        """A label that is scored and never trained stops the run, and leaving rows out does not mend it."""
        for label, place in self.held_labels.items():
            if label not in self.report.labels and self.report.rows:
                self.report.add("label never trained", f"{place}: label {label!r} is in the held-out rows but never in training")

    def judge_stops(self, shape: Shape | None) -> None:
        """An answer whose end is always cut away teaches the model never to stop."""
        report = self.report
        learns_to_stop = self.measurer is not None and self.job.spec.task == "sft" and shape is not None and shape.kind != "text"
        if learns_to_stop and report.rows and not report.train.stops and "no stop token" not in report.errors:
            limit = self.job.spec.training.max_length
            report.add(
                "stop token never learned", f"{self.first_place}: in this and every other row the answer's end is cut at max_length {limit}"
            )


def _characters(row: Canonical) -> int:
    """About how long a row is."""
    turns = row.get("messages")
    return sum(len(turn["content"]) for turn in turns) if isinstance(turns, list) else sum(len(str(value)) for value in row.values())


def _spaces(row: Canonical) -> int:
    """What the upload's JSON holds beyond the shortest one: a blank after each colon and comma, and the line's end."""
    turns = row.get("messages")
    return 2 * len(row) + (4 * len(turns) - 1 if isinstance(turns, list) else 0)


def _pieces(measurer: Measurer, row: Canonical) -> list[tuple[str, bool]]:
    """Text of a row's tokens, runs of learned and of masked ones joined."""
    masked = measurer.mask(row)
    runs: list[tuple[list[int], bool]] = []
    for number, label in list(zip(masked.ids, masked.labels, strict=False))[:SHOWN_TOKENS]:
        learned = label != IGNORED
        if runs and runs[-1][1] == learned:
            runs[-1][0].append(number)
        else:
            runs.append(([number], learned))
    return [(measurer.encoder.texts(ids), learned) for ids, learned in runs]


def _kind(shape: Shape, row: Row, error: DataProblem) -> str:
    other = detected_kind(list(row.values))
    if other is not None and shape.kind in ("messages", "alpaca", "text", "preference") and other != shape.kind:
        return "mixed formats"
    text = error.message
    return next((kind for mark, kind in _KINDS if mark in text), "cannot be used")


_KINDS: tuple[tuple[str, str], ...] = (
    ("is empty", "empty"),
    ("label", "label"),
    ("surrogate", "not text"),
    ("no assistant turn", "nothing to learn"),
    (": no ", "missing"),
    ("turn", "turns"),
)
