"""What the trainer has written into its work folder, as News. Shared by every backend that can read that folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orchestrator.run.events import Evaluation, JobResult
from orchestrator.run.ports import News, PortError
from trainer.contract import PROGRESS_FILE, RESULT_FILE

MAX_READ_BYTES = 4_000_000  # a poll; the rest comes with the next


def read_news(work: Path, cursor: int, alive: bool) -> News:
    """Complete progress lines after byte ``cursor``, and the result if there is one. ``alive``: the supervisor runs."""
    try:
        result_text = (work / RESULT_FILE).read_text(encoding="utf-8") if (work / RESULT_FILE).exists() else None
        raw = b""
        if (work / PROGRESS_FILE).exists():
            with open(work / PROGRESS_FILE, "rb") as handle:
                handle.seek(cursor)
                raw = handle.read(MAX_READ_BYTES)
    except OSError as error:
        raise PortError(f"progress: {error.strerror or error}") from error
    raw = raw[: raw.rfind(b"\n") + 1]
    more = len(raw) > MAX_READ_BYTES // 2
    result = None if result_text is None or more else parse_result(result_text)
    lost = not alive and result is None and not more
    return News(cursor=cursor + len(raw), raw=raw, lines=parse_lines(raw), result=result, lost=lost)


def parse_lines(raw: bytes) -> tuple[dict[str, Any], ...]:
    """Progress lines as objects; a line that is not one is passed over, because a kill may have torn it."""
    found = []
    for line in raw.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return tuple(found)


def parse_result(text: str) -> JobResult:
    """``result.json``. Raises PortError when it is not what the contract says."""
    try:
        given = json.loads(text)
        scores = given.get("evaluation")
        evaluation = None
        if scores:
            keys = ("before", "after", "gain_low", "gain_high")
            evaluation = Evaluation(metric=str(scores["metric"]), rows=int(scores["rows"]), **{k: scores.get(k) for k in keys})
        return JobResult(
            exit_code=int(given["exit_code"]),
            reason=str(given.get("reason") or ""),
            steps=int(given.get("steps") or 0),
            training_s=float(given.get("training_s") or 0.0),
            tokens=int(given.get("tokens") or 0),
            peak_memory_bytes=int(given.get("peak_memory_bytes") or 0),
            evaluation=evaluation,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PortError(f"the box's result does not parse: {error}") from error
