"""The check of a job's data that ``check``, ``plan`` and ``run`` share, kept by what it depends on so that it is made once.

A report is found again by the files' names and the hash of all that they hold, the tokenizer, and the settings that decide what a
row becomes. Must not be wrong when it is found: what cannot be read again is made again.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.backends.content import Contents, identify
from orchestrator.backends.vocabulary import find_tokenizer
from orchestrator.data import report as reports
from orchestrator.data.check import Dropped, check_data
from orchestrator.data.kinds import Canonical, estimated_tokens
from orchestrator.data.measure import Measurer
from orchestrator.data.prepare import Located, Prepared
from orchestrator.data.report import Report
from orchestrator.data.sources import Source
from orchestrator.data.tokenizer import Disagreement, Encoder, TokenizerFiles
from orchestrator.errors import DataProblem
from orchestrator.ledger.paths import cache_dir, private
from orchestrator.spec.jobspec import Job
from trainer.contract import write_atomically

VERSION = 4  # of a kept report; another one is made again
KEEP = 40  # reports; the oldest go
SAMPLE_ROWS = 2000  # that plan counts when nothing was checked before: a second at most
NEXT = "cloudtune check shows all of it; mend the rows, or dataset.drop_bad_rows: true leaves them out"


def examine(
    job: Job,
    *,
    offline: bool,
    located: Located | None = None,
    on_bytes: Callable[[int], None] = lambda count: None,
    dropped: Dropped | None = None,
    again: Callable[[], None] = lambda: None,
) -> Report:
    """The report on a job's data, kept or made now. With ``dropped`` it is always made. Raises DataProblem or UsageProblem.

    ``again`` is called when the pass begins anew, because the quick tokenizer was found wrong: what was dropped so far is void.
    """
    files, sources = find_tokenizer(job, offline=offline), _sources(job, located)
    before = _identities(sources)
    place = _place(job, files, sources, quickly=False)
    kept = _load(place) if dropped is None and place is not None else None
    if kept is not None:
        return kept
    measurer = Measurer(spec=job.spec, encoder=Encoder(files, hurry=True)) if isinstance(files, TokenizerFiles) else None
    read = 0

    def counted(count: int) -> None:
        nonlocal read
        read += count
        on_bytes(count)

    try:
        report = check_data(job, located=located, measurer=measurer, on_bytes=counted, dropped=dropped)
    except Disagreement:
        on_bytes(-read)
        again()
        assert isinstance(files, TokenizerFiles)
        measurer = Measurer(spec=job.spec, encoder=Encoder(files))
        report = check_data(job, located=located, measurer=measurer, on_bytes=on_bytes, dropped=dropped)
        report.notes.append("fastokens gave other tokens than the model's own tokenizer, so that all were counted again without it")
    report.tokenizer = report.tokenizer or (files.source if isinstance(files, TokenizerFiles) else files)
    if place is not None and _identities(sources) == before:  # else it is not known of which content the report is
        _keep(place, report)
    return report


def kept_report(job: Job, *, offline: bool, located: Located | None = None) -> Report | None:
    """The report, if the very same data was checked before; large files are not read for it."""
    place = _place(job, find_tokenizer(job, offline=offline), _sources(job, located), quickly=True)
    return None if place is None else _load(place)


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Tokens of the rows that a job trains on and scores."""

    train: Sequence[int]
    held_out: Sequence[int]
    exact: bool
    how: str  # for a person
    measured: Sequence[int]  # of the rows to train on, those whose own length is known


def count(job: Job, prepared: Prepared, *, offline: bool, located: Located | None = None) -> Counted:
    """Row lengths from the kept report, or of a sample, which stands for all rows."""
    found = kept_report(job, offline=offline, located=located)
    chosen = _chosen(found, prepared) if found is not None and found.counted else None
    if chosen is not None:
        return Counted(train=chosen[0], held_out=chosen[1], exact=True, how="token counts: counted", measured=chosen[0])
    files = find_tokenizer(job, offline=offline)
    limit = job.spec.training.max_length
    if isinstance(files, TokenizerFiles):
        try:
            measurer = Measurer(spec=job.spec, encoder=Encoder(files))
            (train, some), (held, _) = (_sampled(measurer, rows) for rows in (prepared.train, prepared.held_out))
            exact = all(len(rows) <= SAMPLE_ROWS for rows in (prepared.train, prepared.held_out))
            how = "counted" if exact else f"from {SAMPLE_ROWS:,} rows; cloudtune check counts all of them"
            return Counted(train=train, held_out=held, exact=exact, how=f"token counts: {how}", measured=some)
        except DataProblem as error:
            files = error.message
    train, held = ([min(limit, estimated_tokens(row)) for row in rows] for rows in (prepared.train, prepared.held_out))
    return Counted(train=train, held_out=held, exact=False, how=f"token counts: estimated from characters, because {files}", measured=train)


def _chosen(report: Report, prepared: Prepared) -> tuple[list[int], list[int]] | None:
    """The report's lengths of these very rows; None when they are not the rows that it saw."""
    train, held = prepared.numbers
    kept = report.train.kept
    held_from = report.held_out.kept if len(report.held_out.kept) else kept
    if len(train) != len(prepared.train) or any(number >= len(kept) for number in train[-1:]):
        return None
    if any(number >= len(held_from) for number in held[-1:]):
        return None
    return [kept[number] for number in train], [held_from[number] for number in held]


def _sampled(measurer: Measurer, rows: Sequence[Canonical]) -> tuple[list[int], list[int]]:
    """(the lengths of all rows, those that were not measured by the mean of those that were; the lengths that were measured)."""
    some = rows if len(rows) <= SAMPLE_ROWS else random.Random(0).sample(rows, SAMPLE_ROWS)  # noqa: S311 - a sample, not a secret
    found = [measured.kept for measured in measurer.measure(some)]
    return found if len(found) == len(rows) else [round(sum(found) / max(1, len(found)))] * len(rows), found


def refuse_failed(report: Report, job: Job) -> None:
    """Raise DataProblem for what ``check`` ends with exit 2 for."""
    if not report.failed(drops=job.spec.dataset.drop_bad_rows):
        return
    kind, count = report.errors.most_common(1)[0]
    more = sum(report.errors.values()) - count
    raise DataProblem(report.first[kind] + (f" ({count} × {kind}" + (f", {more} other faults)" if more else ")")), hint=NEXT)


def _sources(job: Job, located: Located | None) -> list[Source]:
    places = located or Located.beside(job)
    return [*places.sources(held_out=False), *places.sources(held_out=True)]


def _identities(sources: list[Source]) -> list[list[int]]:
    try:
        return [identify(source.path) for source in sources]
    except OSError:
        return []


def _place(job: Job, files: TokenizerFiles | str, sources: list[Source], *, quickly: bool) -> Path | None:
    """Where the report on this very content is kept; None when the content cannot be known, or not quickly."""
    spec: dict[str, Any] = msgspec.to_builtins(job.spec)
    training = {name: spec["training"][name] for name in ("max_length", "train_on_prompt")}
    digest = hashlib.sha256(json.dumps([VERSION, spec["task"], spec["dataset"], training, job.spec.model], sort_keys=True).encode())
    digest.update((files.digest if isinstance(files, TokenizerFiles) else files).encode())
    try:
        contents = Contents().of((source.path for source in sources), quickly=quickly)
    except OSError:
        return None
    if contents is None:
        return None
    digest.update(json.dumps([(source.name, contents[source.path]) for source in sources]).encode())
    return cache_dir() / "reports" / f"{digest.hexdigest()}.json"


def _load(place: Path) -> Report | None:
    try:
        return reports.load(json.loads(place.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _keep(place: Path, report: Report) -> None:
    """Best effort: a cache that cannot be written costs time, and nothing else."""
    try:
        folder = private(place.parent)
        write_atomically(place, json.dumps(reports.dump(report), ensure_ascii=False))
        older = sorted(folder.glob("*.json"), key=lambda p: p.stat().st_mtime)
        for path in older[:-KEEP]:
            path.unlink(missing_ok=True)
    except (OSError, ValueError):
        return
