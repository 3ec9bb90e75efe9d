"""One machine that was ever rented, and its true times: the rig's own books, which no client can change. Pure: the caller says the time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any


@dataclass(kw_only=True)
class Rental:
    """What every cloud's instance has. Times are seconds since the epoch; a cloud's own class adds the price."""

    id: int | str
    key: str  # the instance's own key
    created_at: float
    rate_factor: float = 1.0  # 1.0, or what a misbehaving host charges more
    status: str = "loading"
    running_at: float | None = None
    ended_at: float | None = None
    ended_by: str | None = None  # account | instance | provider | timer
    history: list[tuple[float, str]] = field(default_factory=list)

    def turn(self, status: str, now: float) -> None:
        """Go over to a status; what was billed until now stays."""
        self.history.append((now, status))
        self.status = status
        if status == "running" and self.running_at is None:
            self.running_at = now

    def end(self, by: str, now: float) -> None:
        self.turn("destroyed", now)
        self.ended_at, self.ended_by = now, by

    def seconds_in(self, statuses: Collection[str], now: float) -> float:
        """How long it was in any of these, until its end or now."""
        end = now if self.ended_at is None else self.ended_at
        marks = [*self.history, (end, "end")]
        return sum(later - at for (at, status), (later, _) in pairwise(marks) if status in statuses)

    def bill_usd(self, now: float) -> float:
        raise NotImplementedError

    def truth(self, now: float) -> dict[str, Any]:
        """The row of the rig's truth; a cloud's own class adds to it."""
        return {
            "id": self.id,
            "status": self.status,
            "created_at": self.created_at,
            "running_at": self.running_at,
            "ended_at": self.ended_at,
            "ended_by": self.ended_by,
            "bill_usd": self.bill_usd(now),
            "history": [list(mark) for mark in self.history],
        }
