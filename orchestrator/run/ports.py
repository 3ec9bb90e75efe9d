"""The engine's view of the outside world: protocols, their data and their errors. No implementation lives here.

Every implementation of a port passes the same conformance suite (``tests/conformance``). Calls are idempotent under
the deterministic instance name; a call either returns, or raises a PortError that says whether anything may have
happened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from orchestrator.plan.offers import Offer
from orchestrator.run.events import AnyEvent, Instance, JobResult, Reason

Cargo = Literal["adapter", "checkpoint"]


class PortError(Exception):
    """A call to the outside did not succeed; what it meant to do may or may not have happened."""


class NoCapacity(PortError):
    """The provider says that it has none of this offer. Nothing was made."""


class Refused(PortError):
    """The provider says no, for a reason that stays: credentials, quota, an invalid request. Nothing was made."""


class HashMismatch(PortError):
    """Bytes that came home are not the bytes that the manifest names."""


@dataclass(frozen=True, kw_only=True)
class News:
    """What the box has said since a cursor."""

    cursor: int  # byte offset after the last complete line
    raw: bytes = b""  # the lines themselves
    lines: tuple[dict[str, Any], ...] = ()  # decoded, see trainer.contract.Kind
    result: JobResult | None = None  # the last word, once the job has ended
    lost: bool = False  # no supervisor is alive and there is no last word


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """Something fetched from a box and not yet trusted."""

    cargo: Cargo
    step: int  # of a checkpoint; 0 for the adapter
    place: Path  # folder, or the simulator's token


class Provider(Protocol):
    """Rents and ends instances."""

    def create(self, offer: Offer, name: str, timer_s: float | None) -> str:
        """Make the instance, with a timer of ``timer_s`` seconds where the call can carry one; return its id.

        Raises NoCapacity or Refused when nothing was made, PortError when something may have been.
        """

    def arm(self, name: str, life_s: float) -> None:
        """Set the instance's own end to ``life_s`` seconds from now, sooner or later than it was."""

    def destroy(self, name: str, ids: tuple[str, ...]) -> None:
        """Ask for the end of the instances ``ids``, or of all under ``name``. Returning proves nothing."""


class Observer(Protocol):
    """Lists, from the cloud's own API and independently of the Provider, what exists."""

    title: str

    def instances(self, name: str) -> tuple[Instance, ...]:
        """Everything under exactly this name, stopped machines with a disk included. Raises PortError when unknown."""

    def everything(self) -> tuple[Instance, ...]:
        """All instances of the account whose name is one of cloudtune's, of any installation. Raises PortError when unknown."""


class Remote(Protocol):
    """The box, once it is ready."""

    def upload(self, name: str) -> tuple[int, int]:
        """Send code, data and config. Returns (files, bytes sent); what is already there is not sent again."""

    def submit(self, name: str, stop_in_s: float | None, checkpoint: Path | None) -> str:
        """Start the supervisor, detached; a running one is left alone. Returns a job id."""

    def poll(self, name: str, cursor: int) -> News:
        """Progress lines after ``cursor`` and the result, if any."""

    def ask_stop(self, name: str) -> None:
        """Tell the supervisor to save and end."""

    def fetch(self, name: str, cargo: Cargo) -> Parcel:
        """Bring the adapter or the newest complete checkpoint to this machine, unverified."""


class Escrow(Protocol):
    """Where checkpoints and the adapter are safe outside the instance."""

    def verify(self, parcel: Parcel) -> dict[str, str]:
        """{relative path: sha256} of a parcel whose every hash matches. Raises HashMismatch."""

    def keep(self, parcel: Parcel) -> None:
        """Make it the newest of its kind, atomically; idempotent."""

    def checkpoint(self) -> Path | None:
        """The newest checkpoint kept, or None."""


class Clock(Protocol):
    """The only clock."""

    boot: str  # identifies this boot of the machine; '' when it cannot be told

    def now(self) -> float:
        """Unix seconds, never running backwards within one boot."""

    def steady_s(self) -> float:
        """Seconds since the boot, suspension included; nobody can set this clock."""

    def sleep(self, seconds: float, until: Callable[[], bool]) -> None:
        """Pause, but no longer than until ``until()`` is true."""


class Journal(Protocol):
    """One run's events, and the lease that says who may add to them."""

    def events(self) -> list[AnyEvent]:
        """All events in order."""

    def append(self, event: AnyEvent) -> None:
        """Add the next event durably, if this controller still holds the lease. Raises LeaseLost."""

    def hold_lease(self) -> None:
        """Renew the lease, re-reading it first. Raises LeaseLost when another controller has taken over."""

    def wish(self) -> Reason | None:
        """What another process of the user's has asked for (``cloudtune stop``)."""


class LeaseLost(Exception):
    """Another controller has taken this run over; this one must not act again."""


def _nothing(*_: object) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Everything ``drive`` acts through. Providers, observers and remotes are found by the offer's backend."""

    providers: dict[str, Provider]
    observers: dict[str, Observer]
    remotes: dict[str, Remote]
    escrow: Escrow
    clock: Clock
    interrupted: Callable[[], Reason | None] = lambda: None  # Ctrl-C of this very process
    on_news: Callable[[int, int, News], None] = _nothing  # attempt, cursor before, news: for the home copy and the views
    on_event: Callable[[Any, AnyEvent], None] = _nothing  # state after, event: for the views
