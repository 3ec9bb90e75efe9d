"""A plan that was kept, and whether it is still true. Pure: text in, reasons out.

What is kept is the document that ``cloudtune plan -o json`` prints; of it only what decides is read here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from orchestrator.plan.offers import Offer
from orchestrator.plan.plan import MOST_OFFERS, Plan, aged
from orchestrator.plan.rank import Ranked, in_place

LIMITS = ("cap_usd", "deadline_s", "infra", "gpus", "spot", "credits_usd")  # of facts.Limits: what a person asked for
Key = tuple[str, str, str, str, int, bool]


class SavedOffer(msgspec.Struct, frozen=True, kw_only=True):
    """One offer of a kept plan, as it was shown. ``usd_per_hour``: of the whole machine."""

    cloud: str
    region: str
    instance_type: str
    gpu: str
    count: int
    spot: bool
    usd_per_hour: float
    proof: str
    changes_what_is_learned: bool

    @property
    def key(self) -> Key:
        return self.cloud, self.region, self.instance_type, self.gpu, self.count, self.spot

    @property
    def title(self) -> str:
        return Offer(backend="", cloud=self.cloud, region=self.region, gpu=self.gpu, count=self.count, usd_per_hour=self.usd_per_hour,
                     spot=self.spot).title()  # fmt: skip


class SavedPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A kept plan. Times are seconds since 1970.

    ``job``: fingerprint of what is learned, rows included; ``asked``: the flags that it was made with.
    """

    fingerprint: str
    job: str
    made_at: float
    expires_at: float
    limits: dict[str, Any]
    offers: tuple[SavedOffer, ...]
    asked: dict[str, Any] = {}


def read_plan(text: bytes) -> SavedPlan:
    """A kept plan from its JSON. Raises ValueError for anything else."""
    try:
        found = msgspec.json.decode(text, type=SavedPlan)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
    except UnicodeDecodeError as error:
        raise ValueError("it is not text") from error
    return found


def limits_document(limits: Any) -> dict[str, Any]:
    """The limits that a person asked for, as JSON has them."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode({name: getattr(limits, name) for name in LIMITS}))
    return found


def no_longer_true(saved: SavedPlan, current: Plan, limits: dict[str, Any]) -> str | None:
    """Why a kept plan may no longer be started, or None.

    ``current``: the plan made again now, narrowed to what can be rented from here; ``limits``: what is asked for now, as
    :func:`limits_document` has it.
    """
    if (old := aged(saved.made_at, saved.expires_at, current.made_at)) is not None:
        return old
    if saved.job != current.job:
        return "it is of another job: the job file or the rows have changed"
    for name in LIMITS:
        if saved.limits.get(name) != limits[name]:
            return f"the limits have changed: {name} was {_said(saved.limits.get(name))} and is {_said(limits[name])}"
    return _moved(saved, current)


def _said(value: object) -> str:
    return "not set" if value in (None, [], ()) else str(value)


def _startable(saved: SavedPlan, current: Plan) -> list[SavedOffer]:
    """What the kept plan offered that a run could have tried from here."""
    return [
        o
        for o in saved.offers
        if o.proof == "observed" and not o.changes_what_is_learned and in_place(current.limits.infra, o.cloud, o.region)
    ]


def _key(r: Ranked) -> Key:
    o = r.offer
    return o.cloud, o.region, o.instance_type, o.gpu, o.count, o.spot


def _moved(saved: SavedPlan, current: Plan) -> str | None:
    """What has happened to the prices of what would be tried, or None."""
    clouds, before = {o.cloud for o in saved.offers}, {o.key: o for o in saved.offers}
    now = [r for r in current.ranked if not r.changes_learning and r.offer.cloud in clouds]
    rates = {_key(r): r.offer.usd_per_hour for r in now}
    startable = _startable(saved, current)
    if not startable:
        return "none of what it offered can be rented from this machine"
    for offer in startable[:MOST_OFFERS]:
        rate = rates.get(offer.key)
        if rate is None:
            return f"prices moved: {offer.title} is no longer on sale within the limits"
        if rate != offer.usd_per_hour:
            return f"prices moved: {offer.title} is ${rate:.3f}/h now"
    for r in now[: len(startable)]:
        if _key(r) not in before:
            return f"prices moved: {r.offer.title()} is on sale now"
    return None


def held_to(saved: SavedPlan, current: Plan) -> Plan:
    """The current plan with nothing but what the kept one offered."""
    offered = {o.key for o in _startable(saved, current)}
    return replace(current, ranked=tuple(r for r in current.ranked if _key(r) in offered))
