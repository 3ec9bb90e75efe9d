"""Which marketplace machines failed a run, by what its journal says of each attempt. Pure.

Only what the machine itself is to blame for counts: a run that ended for its budget, its data or its owner says nothing of
the machine, and neither does one that could not be created.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.run.events import Reason
from orchestrator.run.state import RunState

MARKETPLACES = ("vast",)  # where an instance is on one owner's machine, and the list says which
_BLAMED = {
    Reason.UNFIT_BOX: "could not run the trainer",
    Reason.MISMATCH: "delivered another GPU than it was rented for",
    Reason.NEVER_READY: "never became ready",
    Reason.RATE_ABOVE_PLAN: "cost more an hour than it was offered for",
}


@dataclass(frozen=True, kw_only=True)
class Strike:
    """One machine, why it is struck, and when it failed: seconds since 1970."""

    cloud: str
    machine: str
    why: str
    at: float


def strikes_of(state: RunState) -> tuple[Strike, ...]:
    """The machines that failed this run and are known by the cloud's own id."""
    found = []
    for attempt in state.attempts:
        offer, instance = state.offers[attempt.offer], attempt.instance
        why = _BLAMED.get(attempt.doomed) if attempt.doomed is not None else None
        if why is not None and offer.cloud in MARKETPLACES and instance is not None and instance.machine:
            found.append(Strike(cloud=offer.cloud, machine=instance.machine, why=why, at=attempt.doomed_at or attempt.begun_at))
    return tuple(found)
