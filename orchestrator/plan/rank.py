"""Which offers this job fits, in the order of what the whole job is expected to cost; and why the others are out. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from orchestrator.estimate.document import on_card
from orchestrator.estimate.duration import estimate_speed
from orchestrator.estimate.gpus import Gpu, Verdict, find_gpu, verdict
from orchestrator.estimate.ladder import fit
from orchestrator.estimate.memory import GIB, estimate_memory
from orchestrator.estimate.problems import UnknownGpu
from orchestrator.plan.budget import HOUR_S, Policy, affordable_s
from orchestrator.plan.cards import cannot_train, card_of
from orchestrator.plan.cost import Band, JobCost, job_cost
from orchestrator.plan.facts import JobFacts, Limits
from orchestrator.plan.offers import Offer


@dataclass(frozen=True, kw_only=True)
class OnCard:
    """The job on one type of card: as it is, or with the fewest changes that make it fit."""

    card: Gpu
    verdict: Verdict
    peak_gib: float
    changes: tuple[str, ...]  # as the job file would spell them
    changes_learning: bool
    settings: Mapping[str, object]
    training_s: Band
    step_s: float


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """An offer that can run the job within the limits. Dollars are what the person pays, credits taken off."""

    offer: Offer  # with expected_s
    card: str
    cost: JobCost
    usd: Band
    credit_usd: float  # expected dollars that a declared credit pays
    verdict: Verdict
    peak_gib: float
    affordable_s: float | None  # how long the budget lasts here at the worst; None: no budget, or free
    changes: tuple[str, ...] = ()
    changes_learning: bool = False
    settings: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """An offer that is out, and why. ``needs_usd``, ``needs_s``: what would let it in, where the limits are the reason."""

    title: str
    reason: str
    needs_usd: float | None = None
    needs_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Offers in the order of expected dollars for the job, cheapest first, and the rest."""

    ranked: tuple[Ranked, ...]
    rejected: tuple[Rejected, ...]


def rank(offers: Iterable[Offer], facts: JobFacts, limits: Limits, policy: Policy, pace: Mapping[str, float] | None = None) -> Ranking:
    """Rank. ``pace``: factors on the training time by ``Offer.gpu``, from earlier runs.

    Raises UnknownGpu for a wanted card that nobody knows.
    """
    wanted = tuple(_wanted(name) for name in limits.gpus)
    cards: dict[str, OnCard] = {}
    ranked: list[Ranked] = []
    rejected: list[Rejected] = []
    for offer in offers:
        why = _excluded(offer, limits, wanted)
        if why is not None:
            rejected.append(Rejected(title=offer.title(), reason=why))
            continue
        card = card_of(offer.cloud, offer.gpu, offer.instance_type)
        if card is None:
            rejected.append(Rejected(title=offer.title(), reason=cannot_train(offer.gpu) or f"nothing is known of the card {offer.gpu}"))
            continue
        here = cards.get(card.name)
        if here is None:
            here = cards[card.name] = job_on(facts, card, keep_quality=limits.keep_quality)
        found = _judged(offer, here, facts, limits, policy, (pace or {}).get(offer.gpu, 1.0))
        if isinstance(found, Ranked):
            ranked.append(found)
        else:
            rejected.append(found)
    ranked.sort(key=lambda r: (r.usd.expected, r.cost.total_s.expected, r.offer.title(), r.offer.instance_type))
    return Ranking(ranked=tuple(ranked), rejected=tuple(rejected))


def _wanted(name: str) -> tuple[str, int | None]:
    """(card, count or None) of a name such as ``A100-80GB`` or ``T4:2``."""
    gpu, _, count = name.partition(":")
    try:
        return find_gpu(gpu).name, int(count) if count else None
    except ValueError as error:
        if isinstance(error, UnknownGpu):
            raise
        raise UnknownGpu(f"{name!r} is not a GPU and a count", hint="for example T4 or A100-80GB:1") from error


def in_place(infra: tuple[str, ...], cloud: str, region: str) -> bool:
    """Whether a place is among those asked for: ``cloud``, ``cloud/region``, ``slurm/cluster/partition`` or ``*``; nothing asked: any."""
    if not infra:
        return True
    for place in infra:
        at, _, there = place.partition("/")
        if at in ("*", cloud) and (not there or there == "*" or region == there or region.startswith((f"{there},", f"{there}/"))):
            return True
    return False


def _excluded(offer: Offer, limits: Limits, wanted: tuple[tuple[str, int | None], ...]) -> str | None:
    """Why an offer is out before anything is computed, or None."""
    never = cannot_train(offer.gpu)
    if never is not None:
        return never
    if not in_place(limits.infra, offer.cloud, offer.region):
        return f"not in {', '.join(limits.infra)}"
    if wanted:
        card = card_of(offer.cloud, offer.gpu, offer.instance_type)
        if card is None or not any(card.name == name and count in (None, offer.count) for name, count in wanted):
            return f"not {', '.join(limits.gpus)}"
    if limits.spot is not None and offer.spot != limits.spot and not offer.free:
        return "on demand, and use_spot asks for spot" if limits.spot else "spot, and use_spot is false"
    if offer.guard == "none" and not limits.allow_unguarded:
        return "nothing there ends an instance when nobody watches; --allow-unguarded lets it in"
    return None


def job_on(facts: JobFacts, card: Gpu, *, keep_quality: bool) -> OnCard:
    """The job on a card. A tight fit is taken as it is only when no change that leaves the learning alone makes it fit."""
    here = on_card(facts.workload, card)
    estimate = estimate_memory(here)
    said = verdict(estimate, card)
    changes: tuple[str, ...] = ()
    settings: dict[str, object] = {}
    learned = False
    if said != "fits":
        found = fit(here, card, keep_quality=True)
        if not found.fits and said == "oom" and not keep_quality:
            found = fit(here, card)
        if found.fits:
            here, estimate, said = found.workload, found.estimate, "fits"
            changes, learned = tuple(c.text for c in found.changes), any(c.quality == "changes" for c in found.changes)
            settings = {key: value for c in found.changes for key, value in c.settings.items()}
    length = min(facts.mean_length, here.max_length)
    speed = estimate_speed(here, card, mean_length=length, padding=facts.padding_of(here.micro_batch))
    tokens = facts.tokens * length / facts.mean_length
    seconds = Band(low=tokens / speed.high, expected=tokens / speed.expected, high=tokens / speed.low)
    return OnCard(
        card=card, verdict=said, peak_gib=estimate.expected / GIB, changes=changes, changes_learning=learned, settings=settings,
        training_s=seconds, step_s=facts.step_tokens / speed.expected,
    )  # fmt: skip


def _judged(offer: Offer, here: OnCard, facts: JobFacts, limits: Limits, policy: Policy, pace: float) -> Ranked | Rejected:
    """Ranked when memory, budget and deadline allow it."""
    title = offer.title()
    if here.verdict == "oom":
        much = f"needs {here.peak_gib:.1f} GiB of {offer.usable_gib:.1f}"
        return Rejected(title=title, reason=f"out of memory: {much}" + (" without changing what is learned" if limits.keep_quality else ""))
    tight = here.verdict == "tight" or here.peak_gib > offer.usable_gib * 0.97  # this cloud's own card may hold a little less
    if here.peak_gib > offer.usable_gib:
        return Rejected(title=title, reason=f"out of memory: needs {here.peak_gib:.1f} GiB of {offer.usable_gib:.1f} there")
    cost = job_cost(offer, facts, here.training_s.times(pace), tight=tight, step_s=here.step_s * pace)
    life_s = None if offer.free or limits.cap_usd is None else affordable_s(limits.cap_usd, offer.usd_per_hour, policy)
    out = _unstartable(offer, cost, limits) or _beyond(offer, cost, limits, policy, life_s)
    if out is not None:
        return out
    credit = min(dict(limits.credits_usd).get(offer.cloud, 0.0), cost.usd.expected)
    left = dict(limits.credits_usd).get(offer.cloud, 0.0)
    usd = Band(**{k: max(0.0, getattr(cost.usd, k) - left) for k in ("low", "expected", "high")})
    return Ranked(
        offer=msgspec.structs.replace(offer, expected_s=cost.training_s.expected, learned=pace), card=here.card.name, cost=cost, usd=usd,
        credit_usd=credit, verdict="tight" if tight else here.verdict, peak_gib=here.peak_gib, affordable_s=life_s,
        changes=here.changes, changes_learning=here.changes_learning, settings=here.settings,
        notes=(*_notes(offer, cost, limits, life_s, tight), *_learned(pace)),
    )  # fmt: skip


_SESSION_S = {"kaggle": 9 * HOUR_S}  # the shorter of what its sources say
WEEKLY_S = {"kaggle": 30 * HOUR_S}  # what is given away in a week


def _unstartable(offer: Offer, cost: JobCost, limits: Limits) -> Rejected | None:
    """Rejected when a session there is too short, or when this cloudtune cannot start one."""
    expected_h, session_s = cost.total_s.expected / HOUR_S, _SESSION_S.get(offer.cloud)
    if session_s is not None and cost.total_s.expected > session_s:
        return Rejected(title=offer.title(), reason=f"takes {expected_h:.1f} h, and a session there ends after {session_s / HOUR_S:.0f} h")
    left_h = dict(limits.left_h).get(offer.cloud)
    if left_h is not None and expected_h > left_h:
        return Rejected(title=offer.title(), reason=f"takes {expected_h:.1f} h, and {left_h:.1f} h are left there this week")
    if offer.backend not in limits.backends:
        left = "" if left_h is None else f" of the {left_h:.1f} h that are left this week"
        return Rejected(title=offer.title(), reason=f"would take about {expected_h:.1f} h{left}; cloudtune cannot start jobs there yet")
    return None


def needed_s(cost: JobCost, policy: Policy) -> float:
    """Seconds an instance must be affordable for: what is expected, with the reserve that the engine keeps for the end."""
    return cost.start_s.expected + cost.training_s.expected + max(cost.rest_s.expected, policy.closing_s)


def budget_for(rate_usd_per_hour: float, seconds: float, policy: Policy) -> float:
    """The smallest budget, in whole cents, with which an instance at this rate may live so long at the worst."""
    unread = (policy.useful_s + policy.timer_granularity_s) * policy.unread_rate_factor  # until its rate has been read back
    worst = max(seconds + policy.timer_granularity_s, unread) * rate_usd_per_hour * (1.0 + policy.rate_tolerance) / HOUR_S
    return math.ceil(worst * 100 + 1e-6) / 100


def _beyond(offer: Offer, cost: JobCost, limits: Limits, policy: Policy, life_s: float | None) -> Rejected | None:
    """Rejected when budget or deadline do not reach, with what would."""
    seconds = needed_s(cost, policy)
    if limits.deadline_s is not None and seconds > limits.deadline_s:
        reason = f"takes {seconds / HOUR_S:.1f} h, and the deadline is {limits.deadline_s / HOUR_S:.1f} h"
        return Rejected(title=offer.title(), reason=reason, needs_s=seconds)
    if life_s is not None and limits.cap_usd is not None:
        needs = budget_for(offer.usd_per_hour, seconds, policy)
        if needs > limits.cap_usd:
            reason = f"over the budget: the whole job needs ${needs:.2f} here, and ${limits.cap_usd:.2f} is the most it may cost"
            return Rejected(title=offer.title(), reason=reason, needs_usd=needs)
    return None


def _learned(pace: float) -> tuple[str, ...]:
    """What earlier runs did to the time, where they did."""
    return () if pace == 1.0 else (f"your earlier runs on this GPU took {pace:.2f} times the estimate, and this time counts that",)


_CREDIT_TRAPS = {
    "gcp": "GCP's free trial has no GPU quota until the account is upgraded to a paid one",
    "aws": "look at the account's quota for GPU instances first: a new account's may be 0, whatever its credit",
    "azure": "look at the subscription's quota for GPU machines first: a trial's may be 0, whatever its credit",
}


def _notes(offer: Offer, cost: JobCost, limits: Limits, life_s: float | None, tight: bool) -> tuple[str, ...]:
    """What a person should know before taking this one."""
    said = []
    if tight:
        said.append("memory is tight: it may run out and take a smaller batch")
    if offer.count > 1:
        said.append(f"the trainer uses one of the {offer.count} cards")
    if life_s is not None and cost.total_s.high > life_s:
        said.append("if it turns out slow, the budget stops it first; what was learned is saved")
    if limits.deadline_s is not None and cost.total_s.high > limits.deadline_s:
        said.append("if it turns out slow, the deadline stops it first; what was learned is saved")
    if offer.proof == "unproved":
        said.append("nobody but SkyPilot can say that nothing is left running there")
    if offer.guard == "account-key-on-host":
        said.append("ends by itself only because the account's key lies on the rented machine")
    if dict(limits.credits_usd).get(offer.cloud):
        said += [_CREDIT_TRAPS[offer.cloud]] if offer.cloud in _CREDIT_TRAPS else []
        if cost.usd.high > dict(limits.credits_usd)[offer.cloud]:
            said.append("if it turns out slow, it costs more than the credit, and the rest is charged")
    return tuple(said)
