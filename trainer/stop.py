"""Whether the work must end now: a stop file, a word from the supervisor, or the soft deadline.

Standard library only. Says only that the work must end and why; saving and ending is the caller's.
"""

from __future__ import annotations

import time
from pathlib import Path

from .contract import STOP_FILE, TrainerConfig

FIXED_MARGIN_S = 3.0  # to write a result and end the process
STEP_FACTOR = 1.5  # the next step may be slower than the slowest seen
SAVE_FACTOR = 3.0  # checkpoint and adapter, and a disk that got slower


class Stop:
    """One run's stop signals. ``asked`` may be set by a signal handler or another thread."""

    def __init__(self, config: TrainerConfig) -> None:
        self.asked: str | None = None
        self._file = Path(config.out_dir) / STOP_FILE
        self._deadline_at = config.soft_deadline_at
        self._step_s = 0.0
        self._save_s = 0.0

    def note_step(self, seconds: float) -> None:
        """Remember the slowest optimizer step, so the deadline is met before the next one begins."""
        self._step_s = max(self._step_s, seconds)

    def note_save(self, seconds: float) -> None:
        """Remember the slowest checkpoint."""
        self._save_s = max(self._save_s, seconds)

    def reason(self) -> str | None:
        """Why the work must end now, or None."""
        if self.asked is not None:
            return self.asked
        if self._deadline_at is not None:
            margin_s = FIXED_MARGIN_S + STEP_FACTOR * self._step_s + SAVE_FACTOR * self._save_s
            if time.time() >= self._deadline_at - margin_s:
                return "soft deadline"
        if self._file.exists():
            return "stop requested"
        return None
