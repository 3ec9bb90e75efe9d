"""Whose is this instance, and does anybody still use it? Pure: it judges lists, it destroys nothing.

Ownership: a name is ``ct-<installation>-<run>-<attempt>``. Our own installation's instances are judged by the journal.
Another installation's are touched only when a person says so, and never while a controller speaks with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from orchestrator.run.events import Instance
from orchestrator.run.state import RunState

HEARTBEAT_S = 900.0  # a controller that has not spoken with an instance for so long is not counted as alive
_NAME = re.compile(r"^ct-(?P<installation>[0-9a-z]+)-(?P<run>[0-9a-z]+)-(?P<attempt>[0-9]+)$")


class Verdict(StrEnum):
    """What sweep does with an instance."""

    IN_USE = "in use"  # the open attempt of a run that has not settled
    ORPHAN = "orphan"  # ours, and no run needs it: destroyed
    FOREIGN = "foreign"  # another installation's: destroyed only with --all
    ALIVE = "foreign, alive"  # another installation's, and its controller speaks with it: never destroyed
    UNKNOWN = "unknown"  # its name is not one of ours: never destroyed


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """An instance, the verdict and why."""

    backend: str
    instance: Instance
    verdict: Verdict
    why: str

    def destroyed(self, *, everything: bool) -> bool:
        """Whether ``sweep`` ends it."""
        return self.verdict is Verdict.ORPHAN or (everything and self.verdict is Verdict.FOREIGN)


def judge(backend: str, instances: Iterable[Instance], installation: str, states: Mapping[str, RunState], now: float) -> list[Judged]:
    """A verdict for every listed instance. ``states``: every run of this ledger, by id; ``now``: unix seconds."""
    return [_judge(backend, instance, installation, states, now) for instance in instances]


def _judge(backend: str, instance: Instance, installation: str, states: Mapping[str, RunState], now: float) -> Judged:
    def say(verdict: Verdict, why: str) -> Judged:
        return Judged(backend=backend, instance=instance, verdict=verdict, why=why)

    match = _NAME.match(instance.name)
    if match is None:
        return say(Verdict.UNKNOWN, "its name is not one that cloudtune gives")
    if match["installation"] != installation:
        spoken = instance.heartbeat_at
        if spoken is not None and now - spoken < HEARTBEAT_S:
            return say(Verdict.ALIVE, "another installation's, and its controller is speaking with it")
        return say(Verdict.FOREIGN, "another installation's")
    state = states.get(match["run"])
    if state is None:
        return say(Verdict.ORPHAN, "this ledger has no such run")
    if state.outcome is not None:
        return say(Verdict.ORPHAN, f"its run has settled ({state.outcome.value})")
    attempt = state.attempt
    if attempt is None or not attempt.open or attempt.name != instance.name:
        return say(Verdict.ORPHAN, "its attempt is over")
    return say(Verdict.IN_USE, f"attempt {attempt.number} of a run that has not settled")
