"""Between attempts: which offer is tried next, or how the run is settled. Pure."""

from __future__ import annotations

import hashlib

from orchestrator.plan.budget import affordable_s
from orchestrator.plan.offers import Offer
from orchestrator.run import events as ev
from orchestrator.run.events import AnyCommand, Outcome, Reason
from orchestrator.run.rules import Rules
from orchestrator.run.state import Attempt, RunState

# trying again elsewhere cannot help
_FATAL = (Reason.BAD_CONFIG, Reason.BAD_DATA, Reason.NO_MODEL, Reason.DIVERGED, Reason.DISK_FULL)
# the offer itself is no good: never tried a second time
_STRIKES = (Reason.MISMATCH, Reason.RATE_ABOVE_PLAN, Reason.REFUSED, Reason.OUT_OF_MEMORY, Reason.TRAINER_CRASHED, Reason.UNFIT_BOX)
# it may do better another time, but others come first
_OFFERS_FAULT = (Reason.NO_CAPACITY, Reason.NEVER_READY, Reason.CREATE_FAILED, Reason.UPLOAD_FAILED, Reason.UNREACHABLE)
_LIMITS = (Reason.BUDGET, Reason.DEADLINE, Reason.USER, Reason.DOWN)
MAX_CRASHED_ATTEMPTS = 2  # a trainer that crashed on two machines will crash on the third


def instance_name(installation: str, run: str, attempt: int) -> str:
    """Deterministic: the same attempt of the same run has the same name on every laptop and after every crash.

    Lower-case letters, digits and dashes, so that no provider rewrites it.
    """
    return f"ct-{installation}-{run}-{attempt}"


def next_attempt(state: RunState, now: float, rules: Rules) -> AnyCommand:
    """Settle, wait, or begin the next attempt."""
    last = state.attempt
    if last is not None:
        word = _final_word(state, last)
        if word is not None and not (last.doomed == Reason.BUDGET and _still_reaches(state, now)):
            return ev.Settle(outcome=word[0], reason=word[1])
    if state.stop_wanted is not None:
        outcome = Outcome.INTERRUPTED if state.stop_wanted == Reason.INTERRUPT else Outcome.STOPPED
        return ev.Settle(outcome=outcome, reason=state.stop_wanted)
    if len(state.attempts) >= state.policy.max_attempts:
        return ev.Settle(outcome=Outcome.FAILED, reason=Reason.ATTEMPTS_EXHAUSTED)
    candidates = [index for index in range(state.first_offer, len(state.offers)) if not struck(state, index)]
    for index in sorted(candidates, key=lambda i: (_shortfall(state, i, now), _at_fault(state, i), i)):
        offer, life_s = state.offers[index], _life_s(state, state.offers[index], now)
        if life_s is not None and life_s < state.policy.useful_s + state.policy.closing_s:
            continue
        if not offer.free and _worst_life_s(state, offer) < state.policy.useful_s:
            continue  # what is left does not reach here; a cheaper offer may still do
        pause_s = (last.closed_at or now) + state.policy.round_s - now if last is not None and _tries(state, index) else 0.0
        if pause_s > 0.0:
            return ev.Wait(seconds=pause_s, why="before an offer is tried again")
        number = len(state.attempts) + 1
        name = instance_name(state.installation, state.run, number)
        timer_s = _timer_s(state, offer, life_s) if rules.early_deadline else None
        return ev.Create(attempt=number, offer=index, name=name, life_s=life_s, timer_s=timer_s)
    return _nothing_left(state, bool(candidates), now)


def _shortfall(state: RunState, index: int, now: float) -> float:
    """How much longer finishing on this offer takes, with a margin, than what is left of budget and deadline; at least 1."""
    offer = state.offers[index]
    life_s = _life_s(state, offer, now)
    if life_s is None or offer.expected_s is None:
        return 1.0
    total = max((a.total_steps for a in state.attempts), default=0)
    left = 1.0 - state.checkpoint_step / total if total else 1.0
    needed_s = offer.expected_s * left * state.policy.duration_margin + state.policy.start_s + state.policy.closing_s
    return max(1.0, round(needed_s / max(life_s, 1.0), 2))


def _still_reaches(state: RunState, now: float) -> bool:
    """After a stop for the budget: whether the little that is left is known to finish the little that is missing."""
    tried = range(state.first_offer, len(state.offers))
    offers = [i for i in tried if state.offers[i].expected_s is not None and not struck(state, i)]
    return len(state.attempts) < state.policy.max_attempts and any(_shortfall(state, i, now) <= 1.0 for i in offers)


def _at_fault(state: RunState, index: int) -> int:
    """How often an attempt on this offer failed by the offer's own fault: such offers are tried later."""
    return sum(a.offer == index and a.doomed in _OFFERS_FAULT for a in state.attempts)


def _final_word(state: RunState, last: Attempt) -> tuple[Outcome, Reason] | None:
    """How the last attempt settles the run, or None when another may follow."""
    reason = last.doomed or Reason.CREATE_FAILED
    if reason == Reason.COMPLETED:
        return (Outcome.SUCCEEDED, reason) if last.pulled else None
    if reason in _FATAL:
        return Outcome.FAILED, reason
    if reason == Reason.INTERRUPT:
        return Outcome.INTERRUPTED, reason
    if reason in _LIMITS:
        kept = last.pulled or state.checkpoint_step > 0 or reason in (Reason.USER, Reason.DOWN)
        return (Outcome.STOPPED if kept else Outcome.FAILED), reason
    crashes = sum(a.doomed == Reason.TRAINER_CRASHED for a in state.attempts)
    return (Outcome.FAILED, reason) if crashes >= MAX_CRASHED_ATTEMPTS else None


def _tries(state: RunState, index: int) -> int:
    return sum(a.offer == index for a in state.attempts)


def struck(state: RunState, index: int) -> bool:
    """Whether an offer is out of the running."""
    if _tries(state, index) >= state.policy.max_tries_per_offer:
        return True
    if any(a.offer == index and a.doomed in _STRIKES for a in state.attempts):
        return True
    too_small = [state.offers[a.offer].usable_gib * state.offers[a.offer].count for a in state.attempts if a.doomed == Reason.OUT_OF_MEMORY]
    offer = state.offers[index]
    return bool(too_small) and offer.usable_gib * offer.count <= max(too_small)


def _life_s(state: RunState, offer: Offer, now: float) -> float | None:
    """Seconds an instance of this offer may live; None: free and without a deadline."""
    left_usd = 0.0 if state.cap_usd is None else state.cap_usd - state.spent_usd
    limits = [] if offer.free else [affordable_s(left_usd, offer.usd_per_hour, state.policy)]
    if state.deadline_at is not None:
        limits.append(max(0.0, state.deadline_at - now))
    return min(limits) if limits else None


def _timer_s(state: RunState, offer: Offer, life_s: float | None) -> float | None:
    """The first timer: short, so that an instance delivered at a higher rate than ordered cannot break the budget unseen."""
    if life_s is None or offer.free:
        return life_s
    return min(life_s, state.policy.fuse_s, _worst_life_s(state, offer))


def _worst_life_s(state: RunState, offer: Offer) -> float:
    """How long the money lasts if the rate turns out as high as a rate that nobody has read back may be."""
    left_usd = 0.0 if state.cap_usd is None else state.cap_usd - state.spent_usd
    return affordable_s(left_usd, offer.usd_per_hour * state.policy.unread_rate_factor, state.policy)


def _nothing_left(state: RunState, affordable: bool, now: float) -> AnyCommand:
    """Every offer is out, or none can be paid for any more."""
    last = state.attempt
    if affordable:  # offers remain, but the budget or the deadline does not reach
        late = state.deadline_at is not None and state.deadline_at - now < state.policy.useful_s + state.policy.closing_s
        outcome = Outcome.STOPPED if state.checkpoint_step > 0 or state.adapter else Outcome.FAILED
        return ev.Settle(outcome=outcome, reason=Reason.DEADLINE if late else Reason.BUDGET)
    reason = last.doomed if last is not None and last.doomed is not None else Reason.NO_OFFER_LEFT
    return ev.Settle(outcome=Outcome.FAILED, reason=Reason.PULL_FAILED if reason == Reason.COMPLETED else reason)


def run_id(seed: str) -> str:
    """A short run id, from the moment and the job: 8 lower-case hex digits."""
    return hashlib.sha256(seed.encode()).hexdigest()[:8]
