"""check: every row of the dataset in tokens, and whether the model can be had; rents and starts nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from orchestrator.backends.datasets import locate
from orchestrator.backends.examine import examine
from orchestrator.backends.models import check_model
from orchestrator.cli import output
from orchestrator.cli.credentials import credentials
from orchestrator.cli.doctor import Finding
from orchestrator.cli.reading_bar import reading_bar
from orchestrator.cli.uploading import Part, disk_gb, manifest
from orchestrator.data.lengths import document
from orchestrator.data.report import Report
from orchestrator.errors import ExitCode, UsageProblem
from orchestrator.ledger.paths import config_dir
from orchestrator.spec.jobspec import Job
from orchestrator.spec.parse import Key, find_job_file, load_job

DROPPED_FILE = "dropped.jsonl"


def check(path: Path | None, *, drop_bad_rows: bool, offline: bool) -> int:
    """The ``check`` command. Returns the exit code."""
    flags: dict[Key, Any] = {("dataset", "drop_bad_rows"): True if drop_bad_rows else None}
    job = load_job(find_job_file(path), flags=flags, user_config=config_dir() / "config.yaml")
    drops = job.spec.dataset.drop_bad_rows
    with ExitStack() as stack:
        handle = stack.enter_context(_dropped_file(job)) if drops else None

        def dropped(file: str, line: int, kind: str, why: str) -> None:
            if handle is not None:
                handle.write(json.dumps({"file": file, "line": line, "kind": kind, "why": why}) + "\n")

        def again() -> None:
            if handle is not None:
                handle.seek(0)
                handle.truncate()

        located = locate(job, offline=offline)
        on_bytes = stack.enter_context(reading_bar(located))
        report = examine(job, offline=offline, located=located, on_bytes=on_bytes, dropped=dropped if drops else None, again=again)
    unchecked = [
        "the model's access" if offline else "",
        "" if report.counted else f"the number of tokens, and the loss mask: {report.tokenizer}",
    ]
    model = None if offline else check_model(job)
    parts = manifest(job, report)
    room = disk_gb(job, parts, offline=offline)
    unchecked += [f"the disk that the box needs: {room}"] if isinstance(room, str) else []
    accounts = credentials(job.spec.resources.infra, offline=offline)
    unchecked += [f"your credentials at {one.what}: {one.said}" for one in accounts if one.state == "unasked"]
    failed = report.failed(drops=drops)
    _show(job, report, [item for item in unchecked if item], model, (parts, room), accounts, failed=failed)
    return ExitCode.USAGE if failed else ExitCode.OK


@contextmanager
def _dropped_file(job: Job) -> Iterator[IO[str]]:
    """The list of dropped rows, in its place only once it is whole: a check that stops leaves the earlier one as it was.

    Never the job's own data, and never through a link to another file. Raises UsageProblem.
    """
    target = Path(job.folder, DROPPED_FILE)
    for named in (job.spec.dataset.path, job.spec.dataset.eval_path):
        if named is not None and os.path.normpath(Path(job.folder, named)) == os.path.normpath(target):
            raise UsageProblem(f"{target} is the job's data, and the dropped rows would be written over it", hint="rename the data")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        handle = open(temporary, "w", encoding="utf-8")  # noqa: SIM115 - closed below
    except OSError as error:
        raise UsageProblem(f"{target} cannot be written: {error.strerror or error}") from error
    try:
        with handle:
            yield handle
        try:
            os.replace(temporary, target)
        except OSError as error:
            raise UsageProblem(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _show(
    job: Job,
    report: Report,
    unchecked: list[str],
    model: str | None,
    upload: tuple[list[Part], int | str],
    accounts: list[Finding],
    *,
    failed: bool,
) -> None:
    tokens = document(report.train, job.spec.training, counted=report.counted, source=report.tokenizer)
    if output.as_json():
        errors = [{"kind": kind, "count": count, "first": report.first[kind]} for kind, count in report.errors.most_common()]
        found = {"ok": not failed, "rows": report.rows, "found": report.sentence, "errors": errors, "reports": report.reports}
        masks = [
            {"place": mask["place"], "pieces": [{"text": text, "learned": bool(on)} for text, on in mask["pieces"]]}
            for mask in report.masks
        ]
        files = [{"name": p.name, "files": p.files, "bytes": p.size_bytes, "exact": p.exact} for p in upload[0]]
        found |= {"upload": files, "disk_gb": upload[1] if isinstance(upload[1], int) else None}
        found |= {"credentials": [asdict(one) for one in accounts]}
        output.print_json(found | {"labels": dict(report.labels), "model": model, "unchecked": unchecked, "tokens": tokens, "masks": masks})
        return
    console = output.answers()
    console.print(output.plain(f"{report.rows} rows can be used: {report.sentence}"), markup=False)
    for kind, count in report.errors.most_common():
        console.print(output.plain(f"{count} × {kind}: {report.first[kind]}"), markup=False)
    if report.rows:
        from orchestrator.cli import check_view

        check_view.show_lengths(tokens, console)
        check_view.show_masks(report.masks, console, classification=job.spec.task == "classification")
    sent = ", ".join(f"{p.name} {'' if p.exact else 'about '}{p.size_bytes / 1e6:.1f} MB" for p in upload[0])
    console.print(f"a box would be sent {sum(p.files for p in upload[0])} files: {sent}", markup=False)
    if isinstance(upload[1], int):
        console.print(f"it needs {upload[1]} GB of disk", markup=False)
    for one in accounts:
        if one.state != "unasked":
            console.print(f"{one.what}: {one.said}" + (f"; next: {one.next}" if one.next else ""), markup=False, soft_wrap=True)
    for line in report.reports:
        console.print(output.plain(f"note: {line}"), markup=False)
    if failed:
        output.messages().print("next: mend these rows, or cloudtune check --drop-bad-rows\nbeing charged: nothing", markup=False)
    for item in unchecked:
        output.messages().print(f"not checked: {item}", markup=False)
