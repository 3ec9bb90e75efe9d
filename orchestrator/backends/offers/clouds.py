"""What holds for every offer of a cloud: who ends its instances when nobody watches, who proves it, how long it takes to start.

Guards and observers as SkyPilot 0.14.1 has them: autodown is unsupported on four clouds; an observer of our own reads the
cloud's list where one is built.
"""

from __future__ import annotations

from typing import Literal

from orchestrator.plan.offers import Guard

_UNGUARDED = frozenset({"hyperbolic", "verda", "yotta", "primeintellect"})  # SkyPilot: AUTODOWN unsupported there
_CREATE_TIME = frozenset({"vast", "runpod"})  # the create call carries the timer
_OBSERVED = frozenset({"vast", "runpod", "slurm", "aws", "lambda"})
_PROVISIONING_S = {"vast": 600.0, "runpod": 600.0, "slurm": 600.0}  # a marketplace host that is slower is not worth waiting for
_DEFAULT_PROVISIONING_S = 900.0


def guard_of(cloud: str) -> Guard:
    """The strongest fence that works at this cloud without the laptop."""
    if cloud in _CREATE_TIME:
        return "create-time"
    return "none" if cloud in _UNGUARDED else "native"


def proof_of(cloud: str) -> Literal["observed", "unproved"]:
    """Whether an observer lists this cloud's instances independently of who rented them."""
    return "observed" if cloud in _OBSERVED else "unproved"


def provisioning_s(cloud: str) -> float:
    """Longest wait until an instance is ready, in seconds, before it is given up."""
    return _PROVISIONING_S.get(cloud, _DEFAULT_PROVISIONING_S)
