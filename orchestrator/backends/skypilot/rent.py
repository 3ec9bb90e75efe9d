"""The Provider port over SkyPilot, and the Observer port of the clouds it rents from.

SkyPilot makes the instance; the cloud's own list says that it exists; the instance itself is ended by the cloud's own
API where cloudtune knows it, so that an end never waits for SkyPilot's server. What a later controller must know of an
attempt (the cloud, SkyPilot's request) lies in the run's folder before anything is asked for.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from orchestrator.backends.offers.hosts import HostRules
from orchestrator.backends.offers.strikes import struck
from orchestrator.backends.skypilot import notes, order
from orchestrator.backends.skypilot.client import SkyClient, SkyError, as_error
from orchestrator.backends.skypilot.notes import NOTES, SUFFIX
from orchestrator.backends.skypilot.shell import Shell
from orchestrator.ledger.paths import private, state_dir
from orchestrator.plan.offers import Offer
from orchestrator.run.events import Instance
from orchestrator.run.ports import Observer, PortError, Refused
from trainer.contract import write_atomically

CREATE_S = 240.0  # SkyPilot's request until the cloud lists something
ASK_S = 1.0
ORDERS_DIR = "orders"  # in the run's folder


class Reach(Protocol):
    """What is different from cloud to cloud."""

    @property
    def observer(self) -> Observer:
        """The cloud's own list."""

    def limit_s(self, offer: Offer) -> float | None:
        """The longest that an instance may live there at all; None: no limit, or none that the create call can use. Raises PortError."""

    def ends_at(self, timer_s: float | None) -> float | None:
        """When an instance with so many seconds to live ends, unix seconds by the cloud's clock; None: not needed. Raises PortError."""

    def shell(self, name: str) -> Shell | None:
        """A shell on the instance, or None while it has no address. Raises PortError."""

    def arm(self, name: str, life_s: float, request: str) -> None:
        """Set its own end. Raises PortError."""

    def end(self, name: str, ids: tuple[str, ...], request: str, made: Mapping[str, str]) -> None:
        """Ask for its end. ``made``: what the create calls made, listed or not, with each one's own key. Raises PortError."""

    def close(self) -> None:
        """End the connections. Never raises."""


class Orders:
    """What is remembered of each attempt, by name, in the run's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / ORDERS_DIR

    def write(self, name: str, **known: Any) -> None:
        write_atomically(private(self._folder) / f"{name}.order", json.dumps(self.read(name) | known))

    def read(self, name: str) -> dict[str, Any]:
        """What is known; {} when nothing is."""
        try:
            known: dict[str, Any] = json.loads((self._folder / f"{name}.order").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise PortError(f"{self._folder / name}.order cannot be read: {error}") from error
        return known

    def notes(self, name: str) -> Path:
        """Where the plugin notes what the create calls of this attempt came to."""
        return self._folder / f"{name}{SUFFIX}"

    def made(self, name: str) -> Mapping[str, str]:
        """The instances that are noted there, with their own keys; {} where the notes cannot be read."""
        try:
            return notes.read(self.notes(name)).keys
        except OSError:
            return {}

    def gpus(self, name: str) -> int:
        return int(self.read(name).get("gpus", 1))


class SkyRenter:
    """Provider and Observer. ``clouds``: how each cloud is reached; ``disk_gib``: what an instance is ordered with.

    ``bounds``: the run's cap in dollars and its deadline in seconds, where it has them.
    """

    title = "the clouds' own lists of instances"

    def __init__(
        self,
        client: SkyClient,
        clouds: Mapping[str, Reach],
        orders: Orders,
        *,
        disk_gib: float,
        tolerance: float,
        bounds: tuple[float | None, float | None] = (None, None),
    ) -> None:
        self._client = client
        self._clouds = clouds
        self._orders = orders
        self._disk_gib = disk_gib
        self._tolerance = tolerance
        self._bounds = bounds
        self._answering: dict[str, Shell] = {}  # by instance id

    # --- Provider ---------------------------------------------------------------------------------------------------

    def create(self, offer: Offer, name: str, timer_s: float | None) -> str:
        cloud = self._clouds.get(offer.place)
        if cloud is None:
            raise Refused(f"{offer.cloud}: there is no credential for it on this machine")
        if listed := cloud.observer.instances(name):
            return listed[0].id
        try:
            limit_s, ends_at = cloud.limit_s(offer), cloud.ends_at(timer_s)
            self._client.home.make([offer])
            self._client.start()
        except (OSError, ValueError) as error:
            raise Refused(f"SkyPilot's home cannot be written: {error}") from error
        except PortError as error:  # nothing has been asked for yet
            raise Refused(str(error)) from error
        self._orders.write(name, cloud=offer.place, gpus=max(1, offer.count))
        asked = order.task(offer, name, self._disk_gib, timer_s, order.longest_s(offer, *self._bounds, limit_s))
        try:
            request = self._client.ask(
                "launch",
                name=name,
                task=asked,
                idle_minutes=order.idle_minutes(timer_s),
                order=order.variables(offer, self._tolerance, self._hosts(offer), ends_at) | {NOTES: str(self._orders.notes(name))},
            )["request"]
        except SkyError as error:
            raise order.refusal(error) from error
        self._orders.write(name, request=request)
        return self._appears(cloud, name, request)

    def _hosts(self, offer: Offer) -> HostRules:
        """Which machines of a marketplace will do, by what is known now: one that failed a minute ago is not taken again."""
        return HostRules(duration_s=max(HostRules.duration_s, self._bounds[1] or 0.0), struck=struck(state_dir(), offer.cloud, time.time()))

    def _appears(self, cloud: Reach, name: str, request: str) -> str:
        """Wait until the cloud lists the instance, or SkyPilot gives up."""
        ends_at = time.monotonic() + CREATE_S
        while time.monotonic() < ends_at:
            said = self._client.ask("request", request_id=request)
            if listed := cloud.observer.instances(name):
                return listed[0].id
            if said["status"] in ("FAILED", "CANCELLED", "GONE"):
                error = said.get("error") or {"type": said["status"], "message": said.get("message", "")}
                return self._made_all_the_same(name, as_error(error))
            time.sleep(ASK_S)
        raise PortError(f"SkyPilot did not make the instance within {CREATE_S:.0f} s")

    def _made_all_the_same(self, name: str, error: SkyError) -> str:
        """The id of what was made although SkyPilot failed. Raises what its failure means, where it is known that nothing was."""
        try:
            made = notes.read(self._orders.notes(name))
        except OSError as unread:
            raise PortError(f"{error}; what was made is not known: {unread}") from error
        if made.keys:
            return next(reversed(made.keys))  # the cloud may list it late
        if made.unclear:
            raise PortError(f"the create call has no clear answer: {error}") from error
        raise order.refusal(error) from error

    def arm(self, name: str, life_s: float) -> None:
        self._cloud_of(name).arm(name, life_s, self._orders.read(name).get("request", ""))

    def destroy(self, name: str, ids: tuple[str, ...]) -> None:
        if not self._orders.read(name) and not self.instances(name):
            return  # never ordered from here, and listed nowhere
        self._cloud_of(name).end(name, ids, self._orders.read(name).get("request", ""), self._orders.made(name))

    def _cloud_of(self, name: str) -> Reach:
        cloud = str(self._orders.read(name).get("cloud"))
        if cloud in self._clouds:
            return self._clouds[cloud]
        for one in self._clouds.values():
            if one.observer.instances(name):
                return one
        raise PortError(f"no cloud that can be reached from here lists {name}")

    # --- Observer ---------------------------------------------------------------------------------------------------

    def instances(self, name: str) -> tuple[Instance, ...]:
        """As the cloud lists them; ready only once the instance answers over SSH."""
        cloud = str(self._orders.read(name).get("cloud"))
        reaches = [self._clouds[cloud]] if cloud in self._clouds else list(self._clouds.values())
        return tuple(self._checked(reach, one) for reach in reaches for one in reach.observer.instances(name))

    def everything(self) -> tuple[Instance, ...]:
        return tuple(one for reach in self._clouds.values() for one in reach.observer.everything())

    def _checked(self, reach: Reach, one: Instance) -> Instance:
        if not one.ready or one.id in self._answering:
            return one
        try:
            shell = reach.shell(one.name)
            if shell is not None:
                shell.run("true", bound_s=20.0)
                self._answering[one.id] = shell
                return one
        except PortError:
            pass  # it boots; the provisioning deadline bounds how long that is believed
        return msgspec.structs.replace(one, ready=False)

    # --- for the Remote ---------------------------------------------------------------------------------------------

    def shell(self, name: str) -> Shell:
        """The shell of an instance that is ready. Raises PortError."""
        shell = self._cloud_of(name).shell(name)
        if shell is None:
            raise PortError(f"{name} has no address")
        return shell
