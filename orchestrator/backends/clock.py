"""The real clock: wall time carried by the clock of this boot, so that nobody who sets the wall clock moves it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

SLICE_S = 0.2  # how soon a wish is noticed
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class SystemClock:
    """The Clock port. ``anchor``: (boot, steady seconds, unix seconds) of an earlier moment that time goes on from."""

    def __init__(self, anchor: tuple[str, float, float] | None = None, not_before: float = 0.0) -> None:
        self.boot = boot_id()
        if anchor is not None and self.boot and anchor[0] == self.boot:
            self._offset_s = anchor[2] - anchor[1]  # same boot: what truly elapsed, whatever was done to the wall clock
        else:
            self._offset_s = max(time.time(), not_before) - self.steady_s()

    def now(self) -> float:
        return self._offset_s + self.steady_s()

    def steady_s(self) -> float:
        clock = getattr(time, "CLOCK_BOOTTIME", None)
        return time.clock_gettime(clock) if clock is not None else time.monotonic()

    def sleep(self, seconds: float, until: Callable[[], bool]) -> None:
        end_s = self.steady_s() + seconds
        while (left_s := end_s - self.steady_s()) > 0 and not until():
            time.sleep(min(SLICE_S, left_s))


def boot_id() -> str:
    """The kernel's name for this boot; '' where it has none, and then every start counts as another boot."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
