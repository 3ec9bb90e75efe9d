"""A local box's own end: kills every process of the box and removes its folder at the instant in its ``ends_at`` file.

Standard library only. Ends by itself when the folder is gone. Run as ``python -P -m trainer.timer FOLDER MARK``.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

CHECK_S = 1.0
ROUNDS = 20  # attempts to end everything before the folder goes


def main(arguments: list[str]) -> int:
    """Wait for the instant, then end the box. Returns a process exit code."""
    folder, mark = Path(arguments[0]), arguments[1]
    while folder.exists():
        try:
            ends_at = float((folder / "ends_at").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return 0  # the box was taken down
        if time.time() >= ends_at:
            _end(folder, mark)
            return 0
        time.sleep(CHECK_S)
    return 0


def _end(folder: Path, mark: str) -> None:
    for _ in range(ROUNDS):
        others = _marked(f"{mark}={folder}".encode())
        if not others:
            break
        for pid in others:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # it has ended by itself
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


def _marked(entry: bytes) -> list[int]:
    """Processes whose environment holds ``entry``, this one left out; by /proc, else by ps."""
    if not Path("/proc/self/environ").exists():
        return _marked_by_ps(entry.decode())
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if entry in path.read_bytes().split(b"\0") and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            continue  # not ours, or gone
    return found


def _marked_by_ps(entry: str) -> list[int]:
    import subprocess

    listed = subprocess.run(["/bin/ps", "-E", "-A", "-o", "pid=,command="], capture_output=True, text=True, check=False).stdout
    rows = [line.split(None, 1) for line in listed.splitlines()]
    found = [int(row[0]) for row in rows if len(row) == 2 and f" {entry} " in f" {row[1]} "]
    return [pid for pid in found if pid != os.getpid()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
