"""Where something can be rented from this machine: ``vast``, ``runpod``, ``slurm/CLUSTER``. The one table of what each needs."""

from __future__ import annotations

import importlib.util
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import MissingExtra, UsageProblem
from orchestrator.plan.offers import Offer
from orchestrator.run.ports import PortError, Refused

if TYPE_CHECKING:
    from orchestrator.backends.skypilot.client import SkyClient
    from orchestrator.backends.skypilot.rent import Reach
    from orchestrator.run.ports import Observer

BUILT = ("vast", "runpod", "slurm")
REPAIRED = ("vast", "runpod")  # where only cloudtune's own SkyPilot server rents as it should
VAST_KEY = ".config/vastai/vast_api_key"  # below the home, where Vast's own client and SkyPilot read it
RUNPOD_KEY = ".runpod/config.toml"  # the same, of RunPod's
SLURM_BOOK = ".slurm/config"
HOW_TO = {
    "vast": f"make a key on the account page of vast.ai and put it into ~/{VAST_KEY} (mode 600)",
    "runpod": f"make a key at console.runpod.io (settings), and put [default] and api_key = 'KEY' below it into ~/{RUNPOD_KEY} (mode 600)",
    "slurm": f"describe the cluster's login node in ~/{SLURM_BOOK}, in the form of ~/.ssh/config (Host, HostName, User, IdentityFile)",
}


def present() -> tuple[str, ...]:
    """Every place for which a credential lies where its own tools keep it."""
    keys = {"vast": VAST_KEY, "runpod": RUNPOD_KEY}
    found = [place for place, key in keys.items() if (Path.home() / key).is_file()]
    if (Path.home() / SLURM_BOOK).is_file():
        from orchestrator.backends.offers.slurm import clusters

        try:
            found += [f"slurm/{cluster}" for cluster in clusters()]
        except (OSError, ValueError) as error:
            raise UsageProblem(f"~/{SLURM_BOOK} cannot be read: {error}") from error
    return tuple(found)


def chosen(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The places that ``--infra`` names, or all that are present. Each has answered. Raises UsageProblem, MissingExtra."""
    named = [place for place in wanted if place != "local"]
    if unbuilt := sorted({place.split("/")[0] for place in named} - set(BUILT)):
        raise UsageProblem(f"--infra {unbuilt[0]} is not built yet", hint=f"built: local, {', '.join(BUILT)}")
    here = present()
    found = [place for place in here if not named or any(covers(want, place) for want in named)]
    for want in named:
        if not any(covers(want, place) for place in here):
            raise UsageProblem(f"there is no credential for {want} on this machine", hint=HOW_TO[want.split("/")[0]])
    if found and importlib.util.find_spec("sky") is None:
        raise MissingExtra("renting", "sky")
    for place in found:
        _ask(place)
    return tuple(found)


def covers(wanted: str, place: str) -> bool:
    """``slurm`` covers ``slurm/rig``, and so does ``slurm/rig/t4``; ``vast/US`` covers ``vast``."""
    return wanted == place or place.startswith(f"{wanted}/") or wanted.startswith(f"{place}/")


def _ask(place: str) -> None:
    """Ask the place, with the credential, before anything is planned. Raises UsageProblem when it says no or nothing."""
    try:
        observer(place).everything()
    except Refused as error:
        raise UsageProblem(f"{place} does not take the credential on this machine: {error}", hint=HOW_TO[place.split("/")[0]]) from error
    except PortError as error:
        raise UsageProblem(f"{place} cannot be asked what exists there, so nothing is rented there: {error}", hint="try again") from error


def own_offers(places: tuple[str, ...]) -> tuple[Offer, ...]:
    """What no price list has: the partitions of the user's clusters. Raises UsageProblem when one does not answer."""
    from orchestrator.backends.offers.slurm import prices, slurm_offers

    today = datetime.fromtimestamp(time.time(), UTC).date().isoformat()
    found: list[Offer] = []
    for place in places:
        cloud, _, cluster = place.partition("/")
        if cloud == "slurm":
            try:
                found += slurm_offers(cluster, prices(cluster), today)
            except (PortError, ValueError) as error:
                raise UsageProblem(str(error), hint=f"ssh -F ~/{SLURM_BOOK} {cluster} sinfo") from error
    return tuple(found)


def observer(place: str) -> Observer:
    """What lists that place's instances."""
    cloud, _, cluster = place.partition("/")
    if cloud == "slurm":
        from orchestrator.backends.observers.slurm import SlurmObserver
        from orchestrator.backends.offers.slurm import prices

        return SlurmObserver(cluster, prices(cluster))
    if cloud == "runpod":
        from orchestrator.backends.observers.runpod import RunPodObserver

        return RunPodObserver()
    from orchestrator.backends.observers.vast import VastObserver

    return VastObserver()


def observers() -> dict[str, Observer]:
    """Every place that can be asked from here."""
    return {place: observer(place) for place in present() if place != "vast" or importlib.util.find_spec("vastai") is not None}


def reach(place: str, client: SkyClient, folder: Path) -> Reach:
    """How its instances are reached. ``folder``: where host keys are pinned."""
    cloud, _, cluster = place.partition("/")
    if cloud == "slurm":
        from orchestrator.backends.skypilot.slurm import SlurmReach

        return SlurmReach(client, folder, cluster)
    from orchestrator.backends.skypilot import direct

    return direct.runpod_reach(client, folder) if cloud == "runpod" else direct.vast_reach(client, folder)
