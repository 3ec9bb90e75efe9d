"""What a file holds, as a SHA-256, read again only when the file may have changed. Must never give the hash of other content.

A file is known again by its device, number, size and both times. The time of change (ctime) is what a program cannot set back,
as it can the time of writing (mtime); a file that changed in the last seconds before it was read is read again next time.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path

from orchestrator.ledger.paths import cache_dir, private
from trainer.contract import write_atomically

SETTLED_NS = 2_000_000_000  # younger changes may be followed by another one with the same time: FAT's clock ticks every 2 s
KEEP = 20_000  # files that are remembered; the oldest go
SMALL_BYTES = 64 << 20  # read in a moment, even where nothing may take long


class Contents:
    """Hashes of files, remembered between commands. A memory that is damaged or cannot be written costs time, and nothing else."""

    def __init__(self) -> None:
        self._place = cache_dir() / "contents.json"
        self._known = self._load()

    def _load(self) -> dict[str, tuple[list[int], str]]:
        try:
            found = json.loads(self._place.read_text(encoding="utf-8"))
            return {str(path): ([int(number) for number in one[0]], str(one[1])) for path, one in found.items()}
        except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError):
            return {}

    def of(self, paths: Iterable[Path], *, quickly: bool = False) -> dict[Path, str] | None:
        """The SHA-256 of each file. ``quickly``: None when one of more than 64 MiB would have to be read. Raises OSError."""
        found: dict[Path, str] = {}
        news = False
        for path in dict.fromkeys(paths):
            identity, name = identify(path), str(path.resolve())
            known = self._known.get(name)
            if known is not None and known[0] == identity:
                found[path] = known[1]
                continue
            if quickly and path.stat().st_size > SMALL_BYTES:
                return None
            began_ns = time.time_ns()
            with open(path, "rb") as handle:
                found[path] = hashlib.file_digest(handle, "sha256").hexdigest()
            self._known.pop(name, None)
            if identify(path) == identity and max(identity[-2:]) < began_ns - SETTLED_NS:
                self._known[name] = (identity, found[path])
            news = True
        if news:
            self._save()
        return found

    def _save(self) -> None:
        try:
            private(self._place.parent)
            write_atomically(self._place, json.dumps(dict(list(self._known.items())[-KEEP:])))
        except (OSError, ValueError):
            return


def identify(path: Path) -> list[int]:
    """What changes whenever the file's content does: device, number, size in bytes, time of writing and of change in ns."""
    stat = path.stat()
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
