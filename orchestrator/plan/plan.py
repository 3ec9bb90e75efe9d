"""Plan: a job, its ranked offers and its budget, under a fingerprint, for a while. Pure.

What is started must be what was shown: ``stale`` says why a plan may no longer be, and then it is made again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from orchestrator.plan.budget import Policy, reserve_usd
from orchestrator.plan.facts import JobFacts, Limits
from orchestrator.plan.offers import Offer
from orchestrator.plan.rank import Ranked, Ranking, Rejected

LIVE_S = 3600.0  # a plan from a market that moves
DATED_S = 86400.0  # a plan from dated prices, which do not
MOST_OFFERS = 24  # handed to a run: more than it may try
CLOCK_SLACK_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would be done. Times are seconds since 1970, by this machine's clock."""

    fingerprint: str
    job: str  # fingerprint of what is learned, rows included, whatever it may cost and wherever it runs
    made_at: float
    expires_at: float
    facts: JobFacts
    limits: Limits
    policy: Policy
    ranked: tuple[Ranked, ...]
    rejected: tuple[Rejected, ...]
    unchecked: tuple[str, ...]  # what could not be looked at from here
    warnings: tuple[str, ...] = ()  # about the prices: age, files that were not used, rows that are not believed

    @property
    def offers(self) -> tuple[Offer, ...]:
        """What a run may try, best first, expected_s filled in. Those that would change what is learned are not among them."""
        return tuple(r.offer for r in self.ranked if not r.changes_learning)[:MOST_OFFERS]

    @property
    def reserve_usd(self) -> float:
        """Kept for saving, pulling and teardown, at the best offer's rate."""
        return reserve_usd(self.ranked[0].offer.usd_per_hour, self.policy) if self.ranked else 0.0


def fingerprint_of(job_fingerprint: str, limits: Limits, ranked: tuple[Ranked, ...]) -> str:
    """16 hex digits over the job, the limits, and every ranked offer with its price and what the job would cost there."""
    digest = hashlib.sha256(job_fingerprint.encode())
    digest.update(msgspec.json.encode([limits.cap_usd, limits.deadline_s, list(limits.infra), list(limits.gpus), limits.spot,
                                       limits.allow_unguarded, limits.keep_quality, limits.credits_usd]))  # fmt: skip
    for r in ranked:
        digest.update(msgspec.json.encode([r.offer, round(r.usd.expected, 4), list(r.changes)]))
    return digest.hexdigest()[:16]


def make_plan(
    *, job_fingerprint: str, made_at: float, live: bool, facts: JobFacts, limits: Limits, policy: Policy, ranking: Ranking,
    unchecked: tuple[str, ...], warnings: tuple[str, ...] = (), job: str = "",
) -> Plan:  # fmt: skip
    """The plan of a ranking. ``live``: some price came from a market just now, so the plan keeps for an hour, not a day."""
    return Plan(
        fingerprint=fingerprint_of(job_fingerprint, limits, ranking.ranked), job=job, made_at=made_at,
        expires_at=made_at + (LIVE_S if live else DATED_S), facts=facts, limits=limits, policy=policy, ranked=ranking.ranked,
        rejected=ranking.rejected, unchecked=unchecked, warnings=warnings,
    )  # fmt: skip


def stale(shown: Plan, current: Plan) -> str | None:
    """Why what was shown may no longer be started, or None. ``current`` is the plan made again now."""
    if (old := aged(shown.made_at, shown.expires_at, current.made_at)) is not None:
        return old
    if current.fingerprint != shown.fingerprint:
        return "the job, the prices or the limits have changed since the plan was made"
    return None


def aged(made_at: float, expires_at: float, now: float) -> str | None:
    """Why a plan's time is over, or None. Seconds since 1970."""
    if now < made_at - CLOCK_SLACK_S:
        return "this machine's clock went back since the plan was made"
    return "the plan has expired" if now >= expires_at else None


def smallest_budget_usd(rejected: tuple[Rejected, ...]) -> float | None:
    """The smallest budget with which one of the offers that were over it would do."""
    return min((r.needs_usd for r in rejected if r.needs_usd is not None), default=None)


def fastest_s(rejected: tuple[Rejected, ...]) -> float | None:
    """The shortest time among those that take longer than the deadline, in seconds."""
    return min((r.needs_s for r in rejected if r.needs_s is not None), default=None)
