"""What the create calls of one attempt came to, noted by the plugin where they are made and read by the controller.

SkyPilot says that it failed; whether a machine was made all the same is known only where the cloud answered. One JSON
line a fact, in a file of the run that only its user can read: it holds the instance's own key, where the cloud gives one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NOTES = "SKYPILOT_CLOUDTUNE_NOTES"  # the variable that names the file
SUFFIX = ".made"


@dataclass(frozen=True, kw_only=True)
class Made:
    """``keys``: of each instance that was made, by id; "" where the cloud gives none. ``unclear``: calls without an answer."""

    keys: dict[str, str] = field(default_factory=dict)
    unclear: int = 0


def read(path: Path) -> Made:
    """What is noted; nothing when there is no such file. A line that was cut off counts as a call without an answer. Raises OSError."""
    if not path.exists():
        return Made()
    keys: dict[str, str] = {}
    unclear = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            noted = json.loads(line)
            unclear += {"asked": 1, "refused": -1, "made": -1}[noted["fact"]]
            if noted["fact"] == "made":
                keys[str(noted["id"])] = str(noted.get("key") or "")
        except (ValueError, TypeError, KeyError):
            unclear += 1
    return Made(keys=keys, unclear=max(0, unclear))


class Call:
    """One create call. ``path``: None notes nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def note(self, fact: str, **known: Any) -> None:
        """Append one line, on the disk before this returns. Raises OSError."""
        if self._path is None:
            return
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with open(descriptor, "a", encoding="utf-8") as file:
            file.write(json.dumps({"fact": fact, **known}) + "\n")
            file.flush()
            os.fsync(descriptor)


@contextmanager
def create_call(variables: Mapping[str, str]) -> Iterator[Call]:
    """Around one create call: "asked" before it, "refused" after an answer that says no. The caller notes "made"."""
    call = Call(Path(variables[NOTES]) if variables.get(NOTES) else None)
    call.note("asked")
    try:
        yield call
    except Exception as error:
        if says_no(error):
            call.note("refused", why=type(error).__name__)
        raise


def says_no(error: Exception) -> bool:
    """Whether the cloud's answer itself says that nothing was made: HTTP 4xx but for a timeout, or GraphQL's own refusal."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return 400 <= status < 500 and status != 408
    words = str(error).lower()
    return type(error).__name__ in ("QueryError", "AuthenticationError") and ("no longer any instances" in words or "unauthorized" in words)
