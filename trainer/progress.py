"""The progress file: one JSON object a line, appended with a single write, so a reader never sees two lines mixed.

Standard library only; the supervisor and the worker both write to the same file. Must not buffer: a line that was
emitted has reached the kernel before ``emit`` returns, and a kill after that cannot lose it.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from .contract import CONTRACT_VERSION, Kind


class Progress:
    """Appends lines of :class:`trainer.contract.Kind` to one file."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if _ends_torn(path):
            os.write(self._descriptor, b"\n")  # a line cut by a power loss must not swallow the next one

    def emit(self, kind: str, **fields: Any) -> None:
        """Write one line; a float that is not finite becomes null, because JSON has no word for it."""
        body = {"v": CONTRACT_VERSION, "t": round(time.time(), 3), "kind": kind, **fields}
        line = json.dumps({key: _plain(value) for key, value in body.items()}, ensure_ascii=False, allow_nan=False)
        os.write(self._descriptor, line.encode("utf-8", "replace") + b"\n")

    def notice(self, text: str) -> None:
        """Something the user should read."""
        self.emit(Kind.NOTICE, text=text)

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def read_progress(path: Path) -> Iterator[dict[str, Any]]:
    """Every whole line of a progress file; lines that are not JSON objects (torn by a crash) are passed over."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield entry


def training_seconds(lines: list[dict[str, Any]]) -> float:
    """Seconds spent in training steps, summed over attempts: each counts its own ``training_s`` from zero."""
    total_s, attempt_s = 0.0, 0.0
    for line in lines:
        if line.get("kind") == Kind.STEP:
            attempt_s = float(line.get("training_s") or 0.0)
        elif line.get("kind") == Kind.PHASE and line.get("name") == "loading":
            total_s, attempt_s = total_s + attempt_s, 0.0
    return round(total_s + attempt_s, 3)


def _ends_torn(path: Path) -> bool:
    with open(path, "rb") as handle:
        if handle.seek(0, os.SEEK_END) == 0:
            return False
        handle.seek(-1, os.SEEK_END)
        return handle.read(1) != b"\n"


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
