"""Vast and RunPod: their instances answer over SSH as soon as they run and end themselves by a timer of ours, so that of
SkyPilot only the renting is needed. Its runtime, which takes another 20 s, is not waited for and is called off.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from orchestrator.backends.observers.runpod import RunPodObserver
from orchestrator.backends.observers.vast import VastObserver
from orchestrator.backends.skypilot.client import SkyClient
from orchestrator.backends.skypilot.life import arm_command
from orchestrator.backends.skypilot.shell import Address, Shell
from orchestrator.plan.offers import Offer
from orchestrator.run.events import Instance
from orchestrator.run.ports import PortError

USER = "root"
FORGET_S = 60.0


class Listing(Protocol):
    """An Observer that also says where an instance answers."""

    title: str

    def instances(self, name: str) -> tuple[Instance, ...]:
        """The Observer port's."""

    def everything(self) -> tuple[Instance, ...]:
        """The Observer port's."""

    def ssh_address(self, name: str) -> tuple[str, int] | None:
        """(host, port) of the instance called ``name``, once it has them. Raises PortError."""


class DirectReach:
    """The Reach of one such cloud. ``folder``: where the host keys of this run's instances are pinned.

    ``destroy``: ends the instance with this id, by the cloud's own API and the account's key (None) or the instance's own;
    raises PortError. One that is gone already is no error. ``now``: the cloud's clock, unix
    seconds, where the create call carries the end as an instant; None: it carries seconds.
    """

    def __init__(
        self,
        client: SkyClient,
        folder: Path,
        observer: Listing,
        destroy: Callable[[str, str | None], None],
        now: Callable[[], float] | None = None,
    ) -> None:
        self.observer = observer
        self._client = client
        self._folder = folder
        self._destroy = destroy
        self._now = now
        self._shells: dict[str, Shell] = {}
        self._called_off: set[str] = set()
        self._ended: set[str] = set()  # names of which SkyPilot still has to be told

    def limit_s(self, offer: Offer) -> float | None:
        return None  # its own timer is in the create call

    def ends_at(self, timer_s: float | None) -> float | None:
        return None if timer_s is None or self._now is None else self._now() + timer_s

    def shell(self, name: str) -> Shell | None:
        if name not in self._shells:
            address = self.observer.ssh_address(name)
            if address is None:
                return None
            host, port = address
            key = self._client.home.private_key()
            self._shells[name] = Shell(Address(host=host, port=port, user=USER, key=key), self._folder / f"{name}.hosts")
        return self._shells[name]

    def arm(self, name: str, life_s: float, request: str) -> None:
        shell = self.shell(name)
        if shell is None:
            raise PortError(f"{name} has no address yet")
        shell.run(arm_command(life_s))
        self._call_off(request)

    def end(self, name: str, ids: tuple[str, ...], request: str, made: Mapping[str, str]) -> None:
        for one in ids or self._all(name, made):
            try:
                self._destroy(one, None)
            except PortError:
                if not made.get(one):
                    raise
                self._destroy(one, made[one])  # by its own key, where the account's is no longer taken
        if not ids:
            self._call_off(request)
            self._ended.add(name)

    def _all(self, name: str, made: Mapping[str, str]) -> tuple[str, ...]:
        """Every id that may be alive: what was made, and what is listed. Raises PortError when neither says anything."""
        try:
            listed = [instance.id for instance in self.observer.instances(name)]
        except PortError:
            if not made:
                raise
            listed = []
        return tuple(dict.fromkeys([*listed, *made]))

    def _call_off(self, request: str) -> None:
        """What SkyPilot still does with the instance is not needed, and must not go on once it is ended."""
        if request and request not in self._called_off and self._client.serving():
            self._client.ask("cancel", request_id=request)
            self._called_off.add(request)

    def close(self) -> None:
        """End the connections, and let SkyPilot forget what is gone. Never raises: the instances are ended already."""
        for shell in self._shells.values():
            shell.close()
        for name in self._ended:
            if self._client.serving():
                with contextlib.suppress(PortError):
                    self._client.ask("down", name=name, purge=True, bound_s=FORGET_S)


def vast_reach(client: SkyClient, folder: Path) -> DirectReach:
    """Vast: the end is carried in seconds, from the first boot (``life_vast.sh``)."""
    return DirectReach(client, folder, VastObserver(), _destroy_on_vast)


def _destroy_on_vast(instance_id: str, key: str | None) -> None:
    if not instance_id.isdecimal():
        return  # Vast has no other ids
    try:
        _vast(key).destroy_instance(id=int(instance_id))
    except Exception as error:  # the client raises whatever its transport does
        if getattr(getattr(error, "response", None), "status_code", None) in (404, 410):
            return
        raise PortError(f"Vast did not take the destroy call: {type(error).__name__}: {str(error)[:200]}") from error


def _vast(key: str | None) -> Any:
    from vastai import VastAI

    return VastAI(key) if key else VastAI()


def runpod_reach(client: SkyClient, folder: Path) -> DirectReach:
    """RunPod: the end is carried as an instant, because a pod that was stopped has forgotten when it began."""
    from orchestrator.backends.observers.runpod import now, terminate

    return DirectReach(client, folder, RunPodObserver(), lambda pod, key: terminate(pod), now)
