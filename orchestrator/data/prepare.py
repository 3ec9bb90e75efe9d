"""A job's dataset as two lists of canonical rows, train and held out. Every row is checked; nothing is written."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import msgspec

from orchestrator.data.readers import BadRow, Reading, Row, scan
from orchestrator.data.shape import Canonical, Shape, shape_of
from orchestrator.data.sources import Source, find_sources
from orchestrator.data.template import Template
from orchestrator.errors import DataProblem, UsageProblem
from orchestrator.spec.jobspec import Job, JobSpec


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What the trainer will see."""

    train: tuple[Canonical, ...]
    held_out: tuple[Canonical, ...]
    labels: tuple[str, ...]  # in a fixed order; empty when rows carry none
    sentence: str  # what was found, for a person
    numbers: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())  # of train and held_out: places among the usable rows of their files


@dataclass(frozen=True, kw_only=True)
class Located:
    """Where a job's dataset lies on this machine."""

    train: Path
    held_out: Path | None = None
    root: Path | None = None  # links inside the folder may lead this far
    held_root: Path | None = None

    def sources(self, *, held_out: bool) -> list[Source]:
        """The files to train on, or the held-out ones; none where the job names none. Raises DataProblem."""
        if held_out:
            return [] if self.held_out is None else find_sources(self.held_out, root=self.held_root, held_out=True)
        return find_sources(self.train, root=self.root)

    @classmethod
    def beside(cls, job: Job) -> Located:
        """As the job says it: relative to the job file."""
        data = job.spec.dataset
        return cls(train=Path(job.folder, data.path), held_out=None if data.eval_path is None else Path(job.folder, data.eval_path))


def prepare(job: Job, located: Located | None = None, *, unfit: Collection[str] = ()) -> Prepared:
    """Read, check, convert and split. Raises DataProblem or UsageProblem; the split depends on the seed alone.

    ``located``: where the dataset lies on this machine, when the job names it by a Hub id or a Kaggle path; ``unfit``:
    places of rows that the check found unusable in tokens, left out like others that cannot be used.
    """
    spec = job.spec
    if spec.task in ("reward", "dpo"):
        raise UsageProblem(f"task {spec.task} is not built yet", hint="sft and classification are")
    places = located or Located.beside(job)
    path = places.train
    bad: list[str] = []
    rows, shape = _canonical(spec, path, places.sources(held_out=False), bad, unfit)
    numbers = list(range(len(rows)))
    if spec.dataset.max_rows is not None and len(rows) > spec.dataset.max_rows:
        numbers = sorted(random.Random(spec.training.seed).sample(range(len(rows)), spec.dataset.max_rows))  # noqa: S311
        rows = [rows[i] for i in numbers]
    if places.held_out is not None:
        scored = _canonical(spec, places.held_out, places.sources(held_out=True), bad, unfit)[0]
        train, held_out = rows, scored[: spec.dataset.eval_rows or None]
        chosen = (tuple(numbers), tuple(range(len(held_out))))
    else:
        kept, held = _split(rows, spec)
        train, held_out = [rows[i] for i in kept], [rows[i] for i in held]
        chosen = (tuple(numbers[i] for i in kept), tuple(numbers[i] for i in held))
    labels = _labels(spec, train, held_out, path) if shape.labelled else ()
    counts = ", ".join(f"{label} {count}" for label, count in Counter(r["label"] for r in train).items()) if labels else ""
    sentence = f"{len(train)} rows to train on and {len(held_out)} held out: {shape.sentence}" + (f" ({counts})" if counts else "")
    if bad:
        sentence += f"; {len(bad)} left out because they cannot be used, the first: {bad[0]} (cloudtune check --drop-bad-rows lists them)"
    return Prepared(train=tuple(train), held_out=tuple(held_out), labels=labels, sentence=sentence, numbers=chosen)


def _canonical(
    spec: JobSpec, path: Path, sources: list[Source], bad: list[str], unfit: Collection[str] = ()
) -> tuple[list[Canonical], Shape]:
    """Every usable row and what they are; ``bad`` receives why a row was left out, where the job allows that."""
    shape: Shape | None = None
    rows = []
    for row in scan(sources, reading_of(spec)):
        try:
            if isinstance(row, BadRow):
                raise row.problem()
            if shape is None:
                shape = shape_of(spec, list(row.values), str(path))
            canonical = convert_row(shape, row)
            if row.place in unfit:
                raise DataProblem(f"{row.place}: cannot be used in tokens", hint="cloudtune check says why")
            rows.append(canonical)
        except DataProblem as problem:
            if not spec.dataset.drop_bad_rows:
                raise
            bad.append(problem.message)
    if shape is None or not rows:
        raise DataProblem(f"dataset {path} has no rows")
    return rows, shape


def reading_of(spec: JobSpec, on_bytes: Callable[[int], None] = lambda count: None) -> Reading:
    """How the job wants its dataset read."""
    data = spec.dataset
    wanted = {name for name in (data.label, data.chosen, data.rejected) if name is not None}
    for key in ("prompt", "completion", "text"):
        template = getattr(data, key)
        if template is not None:
            wanted |= Template(template, f"dataset.{key}").columns
    return Reading(encoding=data.encoding, wanted=frozenset(wanted), on_bytes=on_bytes)


def convert_row(shape: Shape, row: Row) -> Canonical:
    """The canonical row. Raises DataProblem naming file and line."""
    place = row.place
    canonical = shape.convert(row.values, place)
    try:
        msgspec.json.encode(canonical)
    except UnicodeEncodeError as error:
        raise DataProblem(f"{place}: half of a character (a lone surrogate) is not text") from error
    return canonical


def _split(rows: list[Canonical], spec: JobSpec) -> tuple[list[int], list[int]]:
    """The numbers of the rows to train on and of those held out: the same share of every label, never a label's only row."""
    data = spec.dataset
    share = min(data.eval_fraction, data.eval_rows / len(rows))
    if share <= 0.0:
        return list(range(len(rows))), []
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(str(row.get("label", "")), []).append(index)
    chance = random.Random(spec.training.seed)  # noqa: S311  # a reproducible split, not a secret
    chosen: set[int] = set()
    for label in sorted(groups):
        members = groups[label]
        count = min(round(len(members) * share), len(members) - 1)
        chosen.update(chance.sample(members, max(0, count)))
    return [i for i in range(len(rows)) if i not in chosen], sorted(chosen)


def _labels(spec: JobSpec, train: list[Canonical], held_out: list[Canonical], path: Path) -> tuple[str, ...]:
    seen = {str(row["label"]) for row in train}
    unseen = sorted({str(row["label"]) for row in held_out} - seen)
    if unseen:
        raise DataProblem(
            f"label {unseen[0]!r} is in the held-out rows but never in training", hint="add training rows with it, or drop it"
        )
    if len(seen) < 2:
        raise DataProblem(f"{path}: every training row has the label {next(iter(seen))!r}", hint="at least two labels are needed")
    stated = spec.dataset.labels
    order = tuple(stated.values()) if isinstance(stated, dict) else stated
    return tuple(dict.fromkeys(label for label in order if label in seen)) if order else tuple(sorted(seen))
