"""check: every row of the dataset, and whether the model can be had; rents and starts nothing."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from orchestrator.backends.models import check_model
from orchestrator.cli import output
from orchestrator.data.check import Report, check_data
from orchestrator.errors import ExitCode, UsageProblem
from orchestrator.ledger.paths import config_dir
from orchestrator.spec.parse import Key, find_job_file, load_job

DROPPED_FILE = "dropped.jsonl"


def check(path: Path | None, *, drop_bad_rows: bool, offline: bool) -> int:
    """The ``check`` command. Returns the exit code."""
    flags: dict[Key, Any] = {("dataset", "drop_bad_rows"): True if drop_bad_rows else None}
    job = load_job(find_job_file(path), flags=flags, user_config=config_dir() / "config.yaml")
    drops = job.spec.dataset.drop_bad_rows
    with ExitStack() as stack:
        target = Path(job.folder, DROPPED_FILE)
        try:
            handle = stack.enter_context(open(target, "w", encoding="utf-8")) if drops else None
        except OSError as error:
            raise UsageProblem(f"{target} cannot be written: {error.strerror or error}") from error

        def dropped(file: str, line: int, kind: str, why: str) -> None:
            if handle is not None:
                handle.write(json.dumps({"file": file, "line": line, "kind": kind, "why": why}) + "\n")

        report = check_data(job, dropped=dropped)
    unchecked = ["the number of tokens, and the loss mask", "the model's access" if offline else ""]
    model = None if offline else check_model(job)
    failed = bool(report.errors) and not (drops and report.rows and set(report.errors).isdisjoint({"fewer than two labels", "no rows"}))
    _show(report, [item for item in unchecked if item], model, failed=failed)
    return ExitCode.USAGE if failed else ExitCode.OK


def _show(report: Report, unchecked: list[str], model: str | None, *, failed: bool) -> None:
    if output.as_json():
        errors = [{"kind": kind, "count": count, "first": report.first[kind]} for kind, count in report.errors.most_common()]
        document = {"ok": not failed, "rows": report.rows, "found": report.sentence, "errors": errors, "reports": report.reports}
        output.print_json(document | {"labels": dict(report.labels), "model": model, "unchecked": unchecked})
        return
    console = output.answers()
    console.print(f"{report.rows} rows can be used: {report.sentence}", markup=False)
    for kind, count in report.errors.most_common():
        console.print(f"{count} × {kind}: {report.first[kind]}", markup=False)
    for line in report.reports:
        console.print(f"note: {line}", markup=False)
    if failed:
        output.messages().print("next: mend these rows, or cloudtune check --drop-bad-rows\nbeing charged: nothing", markup=False)
    for item in unchecked:
        output.messages().print(f"not checked: {item}", markup=False)
