"""The real clock: wall time that never runs backwards and never misses a suspended laptop."""

from __future__ import annotations

import time
from collections.abc import Callable

SLICE_S = 0.2  # how soon a wish is noticed


class SystemClock:
    """Wall time, carried on by the boot-time clock, so that somebody setting the clock back does not stop it."""

    def __init__(self) -> None:
        self._start_wall = time.time()
        self._start_steady = _steady()

    def now(self) -> float:
        """The later of the wall clock and the start plus what has truly elapsed, suspension included."""
        return max(time.time(), self._start_wall + _steady() - self._start_steady)

    def sleep(self, seconds: float, until: Callable[[], bool]) -> None:
        end = self.now() + seconds
        while (left := end - self.now()) > 0 and not until():
            time.sleep(min(SLICE_S, left))


def _steady() -> float:
    """Seconds that only go forward; on Linux suspension counts."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(clock) if clock is not None else time.monotonic()
