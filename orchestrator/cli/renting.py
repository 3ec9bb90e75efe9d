"""Renting: which clouds can be reached from here, what a run may rent there, and the ports through which it does."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.backends.models import PACKAGED
from orchestrator.data.prepare import Prepared
from orchestrator.errors import MissingExtra, NoOfferFits, UsageProblem
from orchestrator.ledger.journal import RunRecord
from orchestrator.ledger.paths import private, run_dir
from orchestrator.plan.budget import Policy
from orchestrator.plan.disk import disk_gib, ordered_gib
from orchestrator.plan.offers import Offer
from orchestrator.run.ports import PortError, Refused
from orchestrator.spec.jobspec import Job, JobSpec
from trainer.contract import write_atomically

if TYPE_CHECKING:
    from orchestrator.backends.skypilot.rent import Reach
    from orchestrator.run.ports import Observer, Provider, Remote

BACKEND = "skypilot"
LOAD_FILE = "load.json"  # in the run's folder: what its instances need besides code and rows
BUILT = ("vast",)  # clouds with a Reach
CREDENTIALS = {"vast": (".config/vastai/vast_api_key",)}
HOW_TO = {"vast": "make a key on the account page of vast.ai and put it into ~/.config/vastai/vast_api_key (mode 600)"}


def policy() -> Policy:
    """Bounds for a rented instance."""
    return Policy(poll_s=4.0, stop_poll_s=3.0, look_s=30.0, missing_grace_s=20.0)


def has_credential(cloud: str) -> bool:
    """Whether a credential of this cloud lies where the cloud's own tools keep it."""
    return any((Path.home() / place).is_file() for place in CREDENTIALS.get(cloud, ()))


def reachable(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The places of ``--infra`` (or all, when none is named) that can be rented from here. Raises UsageProblem, MissingExtra."""
    named = {place.split("/")[0] for place in wanted if place != "local"}
    if unbuilt := sorted(named - set(BUILT)):
        raise UsageProblem(f"--infra {unbuilt[0]} is not built yet", hint=f"built: local, {', '.join(BUILT)}")
    if named and importlib.util.find_spec("sky") is None:
        raise MissingExtra("renting", "sky")
    for cloud in sorted(named):
        if not has_credential(cloud):
            raise UsageProblem(f"there is no credential for {cloud} on this machine", hint=HOW_TO[cloud])
        _taken(cloud)
    if named:
        return tuple(place for place in wanted if place != "local")
    found = tuple(cloud for cloud in BUILT if has_credential(cloud))
    if found and importlib.util.find_spec("sky") is None:
        raise MissingExtra("renting", "sky")
    for cloud in found:
        _taken(cloud)
    return found


def _taken(cloud: str) -> None:
    """Ask the cloud, with the credential, before anything is planned. Raises UsageProblem when it says no or nothing."""
    try:
        cloud_observer(cloud).everything()
    except Refused as error:
        raise UsageProblem(f"{cloud} does not take the credential on this machine: {error}", hint=HOW_TO[cloud]) from error
    except PortError as error:
        raise UsageProblem(f"{cloud} cannot be asked what exists there, so nothing is rented there: {error}", hint="try again") from error


def rentable(job: Job, prepared: Prepared) -> tuple[Offer, ...]:
    """What this job may rent, best first. Raises UsageProblem, NoOfferFits and what planning raises."""
    from orchestrator.cli.planning import planned

    places = reachable(job.spec.resources.infra)
    if not places:
        raise UsageProblem(
            "no cloud can be rented from this machine: there is no credential for any",
            hint=f"{HOW_TO['vast']}; or --infra local trains here, for $0",
        )
    if job.spec.limits.budget_usd is None:
        raise UsageProblem("renting needs a budget", hint="--budget 5 is the most that the run may cost, in dollars")
    narrowed = dataclasses.replace(job.spec.resources, infra=places)
    narrowed_job = dataclasses.replace(job, spec=dataclasses.replace(job.spec, resources=narrowed))
    plan = planned(narrowed_job, offline=False, prepared=prepared, startable=frozenset({BACKEND}), policy=policy())
    offers = tuple(offer for offer in plan.offers if offer.proof == "observed")
    if not offers:
        raise NoOfferFits("no offer fits whose end could be proved", hint="cloudtune plan shows all of them with the reasons")
    return offers


# --- what the instance gets -----------------------------------------------------------------------------------------


def write_load(folder: Path, job: Job, model_from: str) -> None:
    """Work out, once, what an instance of this run needs. ``model_from``: what ``check_model`` said."""
    from orchestrator.cli.estimating import shape_of_model

    shape = shape_of_model(job, offline=False)
    needed = disk_gib(shape.total_params)
    load: dict[str, Any] = {"disk_gib": round(needed, 1), "hub_model": "", "folders": [], "packages": []}
    own = Path(job.folder, job.spec.model).expanduser()
    if own.is_dir():
        load["folders"] = [[str(own.resolve()), "model"]]
    elif model_from.startswith("package "):
        package = PACKAGED[job.spec.model]
        found = importlib.util.find_spec(package)
        assert found is not None and found.origin is not None, package
        load |= {"folders": [[str(Path(found.origin).parent), package]], "packages": ["gguf"]}
    else:
        load["hub_model"] = job.spec.model
    write_atomically(private(folder) / LOAD_FILE, json.dumps(load))


# --- accounts -------------------------------------------------------------------------------------------------------


def cloud_observer(cloud: str) -> Observer:
    """What lists this cloud's instances."""
    from orchestrator.backends.observers.vast import VastObserver

    return {"vast": VastObserver}[cloud]()


def observers() -> dict[str, Observer]:
    """The clouds whose credentials are here, by cloud."""
    if importlib.util.find_spec("vastai") is None:
        return {}
    return {cloud: cloud_observer(cloud) for cloud in BUILT if has_credential(cloud)}


def providers(folder: Path) -> dict[str, Provider]:
    """Who ends what is found there, without SkyPilot. ``folder``: for the host keys that are never needed."""
    from orchestrator.backends.skypilot.client import SkyClient
    from orchestrator.backends.skypilot.home import SkyHome
    from orchestrator.backends.skypilot.rent import Orders, SkyRenter

    client = SkyClient(SkyHome())
    found: dict[str, Provider] = {}
    for cloud in observers():
        reaches = {cloud: _reach(cloud, client, folder)}
        found[cloud] = SkyRenter(client, reaches, Orders(folder), disk_gib=0.0, tolerance=0.0)
    return found


def titles() -> dict[str, str]:
    """Who proves a teardown, by cloud."""
    from orchestrator.backends.observers.vast import VastObserver

    return {"vast": VastObserver.title}


# --- the ports ------------------------------------------------------------------------------------------------------


class Rented:
    """The ports of one run that rents."""

    def __init__(self, record: RunRecord, clouds: Iterable[str], bundle: Path, on_bytes: Callable[[int, int], None] | None = None) -> None:
        from orchestrator.backends.skypilot.box import Load, SkyBox
        from orchestrator.backends.skypilot.client import SkyClient
        from orchestrator.backends.skypilot.home import SkyHome
        from orchestrator.backends.skypilot.rent import Orders, SkyRenter

        folder = run_dir(record.run)
        spec = msgspec.json.decode(record.spec, type=JobSpec)
        known = json.loads((folder / LOAD_FILE).read_text(encoding="utf-8"))
        load = Load(
            disk_gib=known["disk_gib"],
            hub_model=known["hub_model"],
            folders=tuple((Path(here), there) for here, there in known["folders"]),
            packages=tuple(known["packages"]),
        )
        wanted_gb = spec.resources.disk_gb
        ordered = ordered_gib(load.disk_gib) if isinstance(wanted_gb, str) else float(wanted_gb)
        self._client = SkyClient(SkyHome())
        self._reaches = {cloud: _reach(cloud, self._client, folder) for cloud in clouds}
        orders = Orders(folder)
        renter = SkyRenter(self._client, self._reaches, orders, disk_gib=ordered, tolerance=policy().rate_tolerance)
        self.provider: Provider = renter
        self.observer: Observer = renter
        self.remote: Remote = SkyBox(bundle, folder, load, renter.shell, orders.gpus, on_bytes or (lambda sent, total: None))

    def close(self) -> None:
        """Let go of the connections and of SkyPilot's server."""
        for reach in self._reaches.values():
            reach.close()
        self._client.close()


def _reach(cloud: str, client: Any, folder: Path) -> Reach:
    from orchestrator.backends.skypilot.vast import VastReach

    return {"vast": VastReach}[cloud](client, private(folder / "orders"))
