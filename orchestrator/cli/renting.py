"""Renting: which clouds can be reached from here, what a run may rent there, and the ports through which it does."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.backends.models import OF_ACCOUNT, PACKAGED
from orchestrator.cli import places
from orchestrator.data.prepare import Prepared
from orchestrator.errors import NoOfferFits, UsageProblem
from orchestrator.ledger.journal import RunRecord
from orchestrator.ledger.paths import private, run_dir
from orchestrator.plan.budget import Policy
from orchestrator.plan.disk import disk_gib, ordered_gib
from orchestrator.plan.offers import Offer
from orchestrator.spec.jobspec import Job, JobSpec
from trainer.contract import write_atomically

if TYPE_CHECKING:
    from orchestrator.plan.plan import Plan
    from orchestrator.run.ports import Observer, Provider, Remote

BACKEND = "skypilot"
LOAD_FILE = "load.json"  # in the run's folder: what its instances need besides code and rows


def policy() -> Policy:
    """Bounds for a rented instance."""
    return Policy(poll_s=4.0, stop_poll_s=3.0, look_s=30.0, missing_grace_s=20.0)


def rentable(job: Job, prepared: Prepared, *, use_my_skypilot: bool = False, share: float = 1.0) -> Plan:
    """The plan of what this job, or the ``share`` of its training that is left, may rent.

    Raises UsageProblem, NoOfferFits and what planning raises.
    """
    from orchestrator.cli.planning import planned

    where = places.chosen(job.spec.resources.infra)
    if not where:
        raise UsageProblem(
            "nothing can be rented from this machine: there is no credential for any place",
            hint=f"{places.HOW_TO['vast']}; or --infra local trains here, for $0",
        )
    if use_my_skypilot and any(place in places.REPAIRED for place in where):
        where = tuple(place for place in where if place not in places.REPAIRED)
        if not where:
            raise UsageProblem(
                "a SkyPilot server of your own cannot rent on Vast or RunPod: any machine, at any price, without an end",
                hint="without --use-my-skypilot, cloudtune's own server repairs that",
            )
    own = places.own_offers(where)
    if job.spec.limits.budget_usd is None and not any(offer.free for offer in own):
        raise UsageProblem("renting needs a budget", hint="--budget 5 is the most that the run may cost, in dollars")
    infra = tuple(
        place for place in job.spec.resources.infra or where if place != "local" and any(places.covers(place, at) for at in where)
    )
    narrowed = dataclasses.replace(job.spec.resources, infra=infra)
    narrowed_job = dataclasses.replace(job, spec=dataclasses.replace(job.spec, resources=narrowed))
    plan = planned(narrowed_job, offline=False, prepared=prepared, startable=frozenset({BACKEND}), policy=policy(), own=own, share=share)
    plan = dataclasses.replace(plan, ranked=tuple(r for r in plan.ranked if r.offer.proof == "observed"))
    if not plan.offers:
        raise NoOfferFits("no offer fits whose end could be proved", hint="cloudtune plan shows all of them with the reasons")
    return plan


# --- what the instance gets -----------------------------------------------------------------------------------------


def write_load(folder: Path, job: Job, model_from: str, *, use_my_skypilot: bool) -> None:
    """Work out, once, what an instance of this run needs. ``model_from``: what ``check_model`` said."""
    from orchestrator.cli.estimating import shape_of_model

    shape = shape_of_model(job, offline=False)
    needed = disk_gib(shape.total_params)
    load: dict[str, Any] = {
        "disk_gib": round(needed, 1),
        "hub_model": "",
        "folders": [],
        "packages": [],
        "use_my_skypilot": use_my_skypilot,
        "hub_token": False,
    }
    load["folders"] = folders_of(job, model_from)
    if model_from.startswith("package "):
        load["packages"] = ["gguf"]
    elif not load["folders"]:
        load |= {"hub_model": job.spec.model, "hub_token": model_from.startswith(OF_ACCOUNT)}
    write_atomically(private(folder) / LOAD_FILE, json.dumps(load))


def folders_of(job: Job, model_from: str) -> list[list[str]]:
    """(folder here, name there) of a model that is uploaded: one of the user's own, or a package that carries it."""
    own = Path(job.folder, job.spec.model).expanduser()
    if own.is_dir():
        return [[str(own.resolve()), "model"]]
    if not model_from.startswith("package "):
        return []
    package = PACKAGED[job.spec.model]
    found = importlib.util.find_spec(package)
    assert found is not None and found.origin is not None, package
    return [[str(Path(found.origin).parent), package]]


def providers(folder: Path) -> dict[str, Provider]:
    """Who ends what is found at each place, without SkyPilot. ``folder``: for host keys, which an end does not need."""
    from orchestrator.backends.skypilot.client import SkyClient
    from orchestrator.backends.skypilot.home import SkyHome
    from orchestrator.backends.skypilot.rent import Orders, SkyRenter

    client = SkyClient(SkyHome())
    reaches = {place: places.reach(place, client, folder) for place in places.observers()}
    return {place: SkyRenter(client, {place: reach}, Orders(folder), disk_gib=0.0, tolerance=0.0) for place, reach in reaches.items()}


# --- the ports ------------------------------------------------------------------------------------------------------


class Rented:
    """The ports of one run that rents."""

    def __init__(
        self, record: RunRecord, offers: Iterable[Offer], bundle: Path, on_bytes: Callable[[int, int], None] | None = None
    ) -> None:
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
            hub_token=known["hub_token"],
            folders=tuple((Path(here), there) for here, there in known["folders"]),
            packages=tuple(known["packages"]),
        )
        wanted_gb = spec.resources.disk_gb
        ordered = ordered_gib(load.disk_gib) if isinstance(wanted_gb, str) else float(wanted_gb)
        self._client = SkyClient(SkyHome(users_own=known["use_my_skypilot"]))
        keys = private(folder / "orders")
        self._reaches = {at: places.reach(at, self._client, keys) for at in {offer.place for offer in offers}}
        bounds = (spec.limits.budget_usd, spec.limits.deadline_s)
        orders = Orders(folder)
        renter = SkyRenter(self._client, self._reaches, orders, disk_gib=ordered, tolerance=policy().rate_tolerance, bounds=bounds)
        self.provider: Provider = renter
        self.observer: Observer = renter
        self.remote: Remote = SkyBox(bundle, folder, load, renter.shell, orders.gpus, on_bytes or (lambda sent, total: None))

    def close(self) -> None:
        """Let go of the connections and of SkyPilot's server."""
        for reach in self._reaches.values():
            reach.close()
        self._client.close()
