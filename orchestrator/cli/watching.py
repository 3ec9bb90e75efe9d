"""ps and logs: read the journal and what has come home; start nothing, change nothing."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from orchestrator.cli import output, wiring
from orchestrator.cli.run_view import phase_words
from orchestrator.errors import CloudtuneError
from orchestrator.ledger.journal import Ledger, RunRecord, is_controlled
from orchestrator.ledger.paths import run_dir
from orchestrator.ledger.receipt import iso
from orchestrator.run.state import RunState

FOLLOW_S = 0.5


def ps(everything: bool) -> None:
    """The ``ps`` command."""
    ledger = wiring.open_ledger()
    rows = []
    for record in ledger.runs():
        try:
            state = ledger.state(record.run)
        except CloudtuneError as error:
            output.messages().print(f"run {record.run}: {error.message}", markup=False)
            continue
        if everything or state.outcome is None:
            rows.append(_row(record, state))
    if output.as_json():
        output.print_json({"runs": rows})
    elif not rows:
        output.answers().print("No run is going on." if not everything else "No runs yet.")
    else:
        _table(rows)


def _row(record: RunRecord, state: RunState) -> dict[str, Any]:
    attempt = state.attempt
    return {
        "run": record.run,
        "job": record.source,
        "phase": state.phase.value,
        "doing": phase_words(state),
        "outcome": state.outcome.value if state.outcome else None,
        "where": state.offers[attempt.offer].title() if attempt else None,
        "step": attempt.step if attempt else 0,
        "total_steps": attempt.total_steps if attempt else 0,
        "cost_usd": round(state.total_usd(time.time()), 6),
        "began_at": iso(record.created_at),
        "controlled": state.outcome is None and is_controlled(run_dir(record.run), record.run),
    }


def _table(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("RUN", "WHAT", "WHERE", "STEP", "COST", "BEGAN", "JOB"):
        table.add_column(name, overflow="fold")
    for row in rows:
        doing = row["doing"] if row["outcome"] or row["controlled"] else f"{row['doing']} (nobody watches: cloudtune attach {row['run']})"
        step = f"{row['step']}/{row['total_steps']}" if row["total_steps"] else ""
        cells = (row["run"], doing, row["where"] or "", step, f"${row['cost_usd']:.2f}", row["began_at"], row["job"])
        table.add_row(*(Text(cell) for cell in cells))
    output.answers().print(table)


def logs(given: str, follow: bool) -> None:
    """The ``logs`` command: the box's own lines, all attempts in order."""
    ledger = wiring.open_ledger()
    record = ledger.find(given)
    printed: dict[Path, int] = {}
    while True:
        ended = ledger.state(record.run).outcome is not None
        for path in sorted(run_dir(record.run).glob("progress-*.jsonl"), key=lambda p: int(p.stem.removeprefix("progress-"))):
            printed[path] = _print_new(path, printed.get(path, 0))
        if not follow or ended or not _somebody(ledger, record):
            return
        time.sleep(FOLLOW_S)


def _somebody(ledger: Ledger, record: RunRecord) -> bool:
    if is_controlled(run_dir(record.run), record.run):
        return True
    output.messages().print(f"nobody controls run {record.run} now; cloudtune attach {record.run} goes on", markup=False)
    return False


def _print_new(path: Path, offset: int) -> int:
    with open(path, "rb") as handle:
        handle.seek(offset)
        raw = handle.read()
    console = output.answers()
    complete = raw[: raw.rfind(b"\n") + 1]
    for line in complete.splitlines():
        if output.as_json():
            print(line.decode("utf-8", "replace"), flush=True)  # JSON lines, as the box wrote them
            continue
        try:
            console.print(_readable(json.loads(line)), markup=False)
        except ValueError:
            continue  # torn by a kill
    return offset + len(complete)


def _readable(line: dict[str, Any]) -> str:
    at = time.strftime("%H:%M:%S", time.localtime(float(line.get("t", 0))))
    rest = {k: v for k, v in line.items() if k not in ("v", "t", "kind")}
    words = "  ".join(f"{k}={v:.5g}" if isinstance(v, float) else f"{k}={v}" for k, v in rest.items() if v is not None)
    return f"{at}  {line.get('kind', ''):<11} {words}"
