"""The check of a job's data that ``check``, ``plan`` and ``run`` share, kept by what it depends on so that it is made once.

A report is found again by the files' names, sizes, times and both ends, the tokenizer, and the settings that decide what a
row becomes. Must not be wrong when it is found: what cannot be read again is made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.backends.vocabulary import find_tokenizer
from orchestrator.data import report as reports
from orchestrator.data.check import Dropped, check_data
from orchestrator.data.measure import Measurer
from orchestrator.data.prepare import Located
from orchestrator.data.report import Report
from orchestrator.data.sources import find_sources
from orchestrator.data.tokenizer import Encoder, TokenizerFiles
from orchestrator.errors import DataProblem
from orchestrator.ledger.paths import cache_dir, private
from orchestrator.spec.jobspec import Job
from trainer.contract import write_atomically

VERSION = 1  # of a kept report; another one is made again
KEEP = 40  # reports; the oldest go
END_BYTES = 1 << 20
NEXT = "cloudtune check shows all of it; mend the rows, or dataset.drop_bad_rows: true leaves them out"


def examine(
    job: Job,
    *,
    offline: bool,
    located: Located | None = None,
    on_bytes: Callable[[int], None] = lambda count: None,
    dropped: Dropped | None = None,
) -> Report:
    """The report on a job's data, kept or made now. With ``dropped`` it is always made. Raises DataProblem or UsageProblem."""
    files, place = _key(job, offline=offline, located=located)
    kept = _load(place) if dropped is None else None
    if kept is not None:
        return kept
    measurer = Measurer(spec=job.spec, encoder=Encoder(files)) if isinstance(files, TokenizerFiles) else None
    report = check_data(job, located=located, measurer=measurer, on_bytes=on_bytes, dropped=dropped)
    report.tokenizer = report.tokenizer or (files.source if isinstance(files, TokenizerFiles) else files)
    _keep(place, report)
    return report


def kept_report(job: Job, *, offline: bool, located: Located | None = None) -> Report | None:
    """The report, if the very same data was checked before."""
    return _load(_key(job, offline=offline, located=located)[1])


def refuse_failed(report: Report, job: Job) -> None:
    """Raise DataProblem for what ``check`` ends with exit 2 for."""
    if not report.failed(drops=job.spec.dataset.drop_bad_rows):
        return
    kind, count = report.errors.most_common(1)[0]
    more = sum(report.errors.values()) - count
    raise DataProblem(report.first[kind] + (f" ({count} × {kind}" + (f", {more} other faults)" if more else ")")), hint=NEXT)


def _key(job: Job, *, offline: bool, located: Located | None) -> tuple[TokenizerFiles | str, Path]:
    files = find_tokenizer(job, offline=offline)
    places = located or Located.beside(job)
    spec: dict[str, Any] = msgspec.to_builtins(job.spec)
    training = {name: spec["training"][name] for name in ("max_length", "train_on_prompt")}
    digest = hashlib.sha256(json.dumps([VERSION, spec["task"], spec["dataset"], training, job.spec.model], sort_keys=True).encode())
    digest.update((files.digest if isinstance(files, TokenizerFiles) else files).encode())
    for path in (places.train, places.held_out):
        for source in [] if path is None else find_sources(path, root=places.root):
            stat = source.path.stat()
            digest.update(json.dumps([source.name, source.size_bytes, stat.st_size, stat.st_mtime_ns]).encode())
            with open(source.path, "rb") as handle:
                digest.update(handle.read(END_BYTES))
                handle.seek(max(0, stat.st_size - END_BYTES))
                digest.update(handle.read(END_BYTES))
    return files, cache_dir() / "reports" / f"{digest.hexdigest()}.json"


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
