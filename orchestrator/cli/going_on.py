"""A run that is not finished and goes on: what is left of it, and what can be rented for that now.

Offers of hours ago may be gone or dearer. So what is left of the job is planned again, within what is left of the run's own
budget and deadline; what cannot be planned again goes on as it was begun, because something may be running and charged.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

from orchestrator.cli import wiring
from orchestrator.data.prepare import Prepared
from orchestrator.errors import CloudtuneError, MissingExtra, UsageProblem
from orchestrator.ledger.database import FILE_NAME
from orchestrator.ledger.journal import RunRecord
from orchestrator.ledger.paths import state_dir
from orchestrator.plan.budget import Policy
from orchestrator.plan.offers import Offer
from orchestrator.plan.plan import Plan
from orchestrator.run.state import RunState
from orchestrator.spec.jobspec import Job

LEAST_SHARE = 0.01  # of the training: loading the model and saving are always to be paid for


@dataclass(frozen=True, kw_only=True)
class GoingOn:
    """The unfinished run of this very job."""

    record: RunRecord
    state: RunState

    @property
    def rented(self) -> bool:
        return any(offer.backend != "local" for offer in self.state.offers)

    @property
    def perhaps_charged(self) -> bool:
        """Whether it has an instance that may be running now."""
        return self.rented and self.state.attempt is not None and self.state.attempt.open

    @property
    def share(self) -> float:
        """Of the training that is still to be done, 0.01 to 1; all of it while nobody knows its length."""
        total = max((attempt.total_steps for attempt in self.state.attempts), default=0)
        return max(LEAST_SHARE, 1.0 - self.state.checkpoint_step / total) if total else 1.0

    def left_usd(self, now: float) -> float | None:
        """Dollars that may still be charged; None: the run has no budget."""
        cap = self.state.cap_usd
        return None if cap is None else max(0.0, cap - self.state.total_usd(now))

    def left_s(self, now: float) -> float | None:
        """Seconds until the run's deadline; None: it has none."""
        return None if self.state.deadline_at is None else max(0.0, self.state.deadline_at - now)

    def sentence(self, now: float) -> str:
        """What is known of it, for a person."""
        left = self.left_usd(now)
        money = "" if left is None or self.state.cap_usd is None else f" with ${left:.2f} left of ${self.state.cap_usd:.2f}"
        return f"Run {self.record.run} goes on{money}, {self.share:.0%} of the training still to be done."


def unfinished(job: Job, fingerprint: str) -> GoingOn | None:
    """The unfinished run of this job, if there is one. A ledger that is not there is not made. Raises LedgerProblem."""
    if not (state_dir() / FILE_NAME).is_file():
        return None
    ledger = wiring.open_ledger()
    for record in ledger.runs():
        if record.folder == job.folder and record.fingerprint == fingerprint:
            state = ledger.state(record.run)
            if state.outcome is None:
                return GoingOn(record=record, state=state)
    return None


def offers_again(
    job: Job, prepared: Prepared, going_on: GoingOn, *, use_my_skypilot: bool
) -> tuple[tuple[Offer, ...], Policy, Plan | None, str]:
    """(what may be tried from now on, the run's bounds, its plan or None, why it was not planned again or "").

    Raises UsageProblem when the command allows less than the run was begun with, and MissingExtra.
    """
    state, now = going_on.state, time.time()
    as_before = state.offers[state.first_offer :]
    if not going_on.rented:
        return as_before, state.policy, None, ""
    budget = job.spec.limits.budget_usd
    if budget is not None and state.cap_usd is not None and budget < state.cap_usd:
        run, attempt = going_on.record.run, state.attempt
        name = attempt.name if attempt is not None and going_on.perhaps_charged else ""
        raise UsageProblem(
            f"run {run} of this job is not finished, and may cost ${state.cap_usd:.2f}; this command allows ${budget:.2f}",
            hint=f"cloudtune attach {run} finishes it as it was begun; cloudtune stop {run} saves and ends it, and a new run then goes on",
            charged=f"perhaps {name}" if name else "nothing",
        )
    left_s = going_on.left_s(now)
    deadline = None if left_s is None else f"{left_s:.0f}s"
    limits = dataclasses.replace(job.spec.limits, budget_usd=going_on.left_usd(now), deadline=deadline)
    left = dataclasses.replace(job, spec=dataclasses.replace(job.spec, limits=limits))
    try:
        offers, _, plan = wiring.offers_for(left, prepared, use_my_skypilot=use_my_skypilot, share=going_on.share)
    except MissingExtra:
        raise
    except CloudtuneError as error:
        return as_before, state.policy, None, f"what is left was not planned again: {error.message}"
    return (offers, state.policy, plan, "") if plan is not None else (as_before, state.policy, None, "")
