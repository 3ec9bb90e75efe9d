"""State of a Run: the fold of its journal. ``apply`` is pure and total over every (state, event) pair.

Must not decide: it records what happened, also when it comes late, twice or out of order.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec

from orchestrator.plan.budget import Policy, usd
from orchestrator.plan.offers import Offer
from orchestrator.run import events as ev
from orchestrator.run.events import AnyEvent, JobResult, Outcome, Reason


class Phase(StrEnum):
    """Where a Run stands, for people."""

    PLANNED = "planned"
    PROVISIONING = "provisioning"
    SYNCING = "syncing"
    TRAINING = "training"
    PULLING = "pulling"
    TEARING_DOWN = "tearing_down"
    SETTLED = "settled"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try on one Offer."""

    number: int
    offer: int  # index into the plan's offers
    name: str  # deterministic instance name
    begun_at: float  # the create intent
    from_step: int  # the newest checkpoint at home then: what this attempt goes on from
    life_s: float | None  # seconds it may live; None: free and without deadline
    timer_s: float | None  # its own timer ends it so many seconds after it was made; None: no timer
    create: Literal["intended", "created", "failed", "unknown"] = "intended"
    create_reason: Reason | None = None
    create_settled_at: float | None = None
    instance: ev.Instance | None = None  # as last listed
    extra: tuple[ev.Instance, ...] = ()  # others under the same name, to be destroyed
    rate_usd_per_hour: float = 0.0  # the highest ever seen: offered or read back
    extra_usd: float = 0.0  # what doubles under the same name may have cost
    looked_at: float | None = None  # last look that answered
    longest_gap_s: float = 0.0  # between two looks, before it was first listed: longer it cannot have lived unseen
    age_s: float | None = None  # the instance's age by the cloud's clock, when it was last listed
    aged_at: float = 0.0  # when that was
    clock_lost: bool = False  # nobody knows how long ago the last event was: count the whole life as billed
    first_seen_at: float | None = None
    missing_since: float | None = None  # not listed since, after it had been or after the create call
    stopped_since: float | None = None  # listed, but stopped since this look
    ready_at: float | None = None
    armed: bool = False
    uploaded: bool = False
    submitted_at: float | None = None
    submits: int = 0  # in a row without a newer checkpoint on the box in between
    submit_step: int = 0  # newest checkpoint on the box at the last submit
    cursor: int = 0
    step: int = 0
    total_steps: int = 0
    box_checkpoint_step: int = 0  # newest complete checkpoint on the box
    home_checkpoint_at: float | None = None
    heard_at: float | None = None  # last time the box answered
    latest: dict[str, Any] = {}  # msgspec copies it
    stop_intended_at: float | None = None
    stop_reason: Reason | None = None
    stop_asked: bool = False
    lost: bool = False  # the job ended without a word
    result: JobResult | None = None
    doomed: Reason | None = None
    doomed_at: float | None = None
    pulled: bool = False
    destroyed_at: float | None = None  # last destroy intent
    destroys: int = 0
    failures: dict[str, int] = {}  # consecutive failures by action
    failed_at: dict[str, float] = {}  # time of the last one, by action
    failure_detail: str = ""
    closed_at: float | None = None
    billed_s: float = 0.0
    billed_usd: float = 0.0

    @property
    def open(self) -> bool:
        return self.closed_at is None


class RunState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything ``decide`` may look at."""

    run: str = ""
    installation: str = ""
    fingerprint: str = ""
    offers: tuple[Offer, ...] = ()  # all there ever were; those before first_offer are no longer tried
    first_offer: int = 0
    cap_usd: float | None = None
    deadline_s: float | None = None
    policy: Policy = msgspec.field(default_factory=Policy)
    continues: str | None = None
    planned_at: float = 0.0
    attempts: tuple[Attempt, ...] = ()
    checkpoint_step: int = 0  # newest verified checkpoint at home
    adapter: dict[str, str] = {}  # verified adapter at home: relative path -> sha256
    result: JobResult | None = None  # the last word of the last job that had one
    stop_wanted: Reason | None = None
    resumed_at: float = 0.0  # when a controller last took the run over
    boot: str = ""  # the laptop's boot in which that was
    steady_s: float = 0.0  # and the clock of that boot
    outcome: Outcome | None = None
    reason: Reason | None = None
    settled_at: float | None = None
    last_at: float = 0.0  # time of the last event; journal time never runs backwards

    @property
    def attempt(self) -> Attempt | None:
        """The newest attempt, open or closed."""
        return self.attempts[-1] if self.attempts else None

    @property
    def spent_usd(self) -> float:
        """Worst case of all closed attempts."""
        return sum(a.billed_usd for a in self.attempts if not a.open)

    def running_usd(self, now: float) -> float:
        """Worst case so far of the open attempt: an unknown interval counts as billed."""
        attempt = self.attempt
        return billed(attempt, self.policy, now)[1] if attempt is not None and attempt.open else 0.0

    def total_usd(self, now: float) -> float:
        return self.spent_usd + self.running_usd(now)

    @property
    def deadline_at(self) -> float | None:
        """The instant by which the whole run must be over."""
        return None if self.deadline_s is None else self.planned_at + self.deadline_s

    @property
    def phase(self) -> Phase:
        attempt = self.attempt
        if self.outcome is not None:
            return Phase.SETTLED
        if attempt is None:
            return Phase.PLANNED
        if attempt.doomed is not None:
            return Phase.TEARING_DOWN if attempt.pulled or attempt.result is None else Phase.PULLING
        if attempt.ready_at is None:
            return Phase.PROVISIONING
        return Phase.TRAINING if attempt.submitted_at is not None else Phase.SYNCING


def elapsed_s(attempt: Attempt, now: float) -> float:
    """Seconds since the instance may have been made: by the cloud's clock where it tells, else since the intent."""
    if attempt.age_s is not None:
        return attempt.age_s + max(0.0, now - attempt.aged_at)
    return max(0.0, now - attempt.begun_at)


def billed(attempt: Attempt, policy: Policy, now: float) -> tuple[float, float]:
    """Seconds and dollars that this attempt may have been charged until ``now``, at worst.

    From the earliest moment an instance can exist to now, at the highest rate ever seen; no more than the instance's
    own timer allows, because by then it has ended itself; all of that when the laptop's clock was lost in between.
    """
    if attempt.create == "failed" and attempt.first_seen_at is None:
        return 0.0, attempt.extra_usd
    seconds, rate = elapsed_s(attempt, now), attempt.rate_usd_per_hour
    if attempt.first_seen_at is None:  # one create call bears one instance, and none was listed at any look
        rate *= policy.unread_rate_factor
        unseen_s = max(attempt.longest_gap_s, now - (attempt.looked_at or attempt.begun_at))
        seconds = min(seconds, unseen_s + policy.timer_granularity_s)
    if attempt.timer_s is not None:
        longest_s = attempt.timer_s + policy.timer_granularity_s
        seconds = longest_s if attempt.clock_lost else min(seconds, longest_s)
    return seconds, usd(rate, seconds) + attempt.extra_usd


def fold(events: list[AnyEvent]) -> RunState:
    """The state after all events."""
    state = RunState()
    for event in events:
        state = apply(state, event)
    return state


def apply(state: RunState, event: AnyEvent) -> RunState:
    """The state after one more event. Total: an event that does not fit changes nothing but the time."""
    at = max(event.at, state.last_at)
    state = msgspec.structs.replace(state, last_at=at)
    if isinstance(event, ev.Planned):
        return _planned(state, event, at)
    if not state.run:
        return state  # nothing happens to a run that is not planned yet
    if isinstance(event, ev.Reoffered):
        return msgspec.structs.replace(state, offers=(*state.offers, *event.offers), first_offer=len(state.offers))
    if isinstance(event, ev.StopWanted):
        return msgspec.structs.replace(state, stop_wanted=state.stop_wanted or event.reason)
    if isinstance(event, ev.Resumed):
        return _resumed(state, event, at)
    if isinstance(event, ev.Intended):
        return _intended(state, event.command, at)
    if isinstance(event, ev.Concluded):
        return _concluded(state, event.command, at)
    attempt = _attempt(state, event.attempt)
    if attempt is None or not attempt.open:
        return state
    return _happened(state, attempt, event, at)


def _planned(state: RunState, event: ev.Planned, at: float) -> RunState:
    if state.run:
        return state
    return RunState(
        run=event.run,
        installation=event.installation,
        fingerprint=event.fingerprint,
        offers=event.offers,
        cap_usd=event.cap_usd,
        deadline_s=event.deadline_s,
        policy=event.policy,
        continues=event.continues,
        checkpoint_step=event.checkpoint_step,
        planned_at=at,
        last_at=at,
    )


def _resumed(state: RunState, event: ev.Resumed, at: float) -> RunState:
    """After another boot of the laptop, the time since the last event is not known for sure."""
    lost = bool(state.boot) and event.boot != state.boot
    state = msgspec.structs.replace(state, resumed_at=at, boot=event.boot, steady_s=event.steady_s)
    attempt = state.attempt
    return _with(state, attempt, clock_lost=True) if lost and attempt is not None and attempt.open else state


def _attempt(state: RunState, number: int) -> Attempt | None:
    return state.attempts[number - 1] if 0 < number <= len(state.attempts) else None


def _with(state: RunState, attempt: Attempt, **changes: Any) -> RunState:
    changed = msgspec.structs.replace(attempt, **changes)
    index = attempt.number - 1
    return msgspec.structs.replace(state, attempts=(*state.attempts[:index], changed, *state.attempts[index + 1 :]))


def _intended(state: RunState, command: ev.AnyCommand, at: float) -> RunState:
    if isinstance(command, ev.Create):
        if command.attempt != len(state.attempts) + 1 or command.offer >= len(state.offers):
            return state
        offer = state.offers[command.offer]
        attempt = Attempt(
            number=command.attempt,
            offer=command.offer,
            name=command.name,
            begun_at=at,
            from_step=state.checkpoint_step,
            life_s=command.life_s,
            timer_s=command.timer_s,
            rate_usd_per_hour=offer.usd_per_hour,
            armed=command.life_s is None or (offer.guard == "create-time" and command.timer_s == command.life_s),
        )
        return msgspec.structs.replace(state, attempts=(*state.attempts, attempt))
    attempt_or_none = _attempt(state, getattr(command, "attempt", 0))
    if attempt_or_none is None or not attempt_or_none.open:
        return state
    attempt = attempt_or_none
    if isinstance(command, ev.Destroy) and not command.ids:
        return _with(state, attempt, destroyed_at=at, destroys=attempt.destroys + 1)
    if isinstance(command, ev.AskStop):
        return _with(state, attempt, stop_intended_at=attempt.stop_intended_at or at, stop_reason=attempt.stop_reason or command.reason)
    if isinstance(command, ev.Arm):  # from the intent on: it may take effect although nobody hears of it
        return _with(state, attempt, timer_s=max(attempt.timer_s or 0.0, elapsed_s(attempt, at) + command.life_s))
    if isinstance(command, ev.Submit):
        further = attempt.box_checkpoint_step > attempt.submit_step
        return _with(state, attempt, submits=1 if further else attempt.submits + 1, submit_step=attempt.box_checkpoint_step)
    return state


def _concluded(state: RunState, command: ev.Doom | ev.Close | ev.Settle, at: float) -> RunState:
    if isinstance(command, ev.Settle):
        if state.outcome is not None or not state.run:  # before a plan there is nothing to settle
            return state
        return msgspec.structs.replace(state, outcome=command.outcome, reason=command.reason, settled_at=at)
    attempt = _attempt(state, command.attempt)
    if attempt is None or not attempt.open:
        return state
    if isinstance(command, ev.Doom):
        return state if attempt.doomed is not None else _with(state, attempt, doomed=command.reason, doomed_at=at)
    return _with(state, attempt, closed_at=at, billed_s=command.billed_s, billed_usd=command.billed_usd)


def _happened(state: RunState, attempt: Attempt, event: AnyEvent, at: float) -> RunState:
    if isinstance(event, ev.Failed):
        failures = attempt.failures | {event.action: attempt.failures.get(event.action, 0) + 1}
        failed_at = attempt.failed_at | {event.action: at}
        return _with(state, attempt, failures=failures, failed_at=failed_at, failure_detail=event.detail)
    if _SUCCESS_OF.get(type(event)) in attempt.failures:
        attempt = msgspec.structs.replace(attempt, failures=_without(attempt.failures, event))
    if isinstance(event, ev.Created):
        return _with(state, attempt, create="created", create_settled_at=at)
    if isinstance(event, ev.CreateFailed):
        outcome: Literal["failed", "unknown"] = "failed" if event.definite else "unknown"
        return _with(state, attempt, create=outcome, create_reason=event.reason, create_settled_at=at, failure_detail=event.detail)
    if isinstance(event, ev.Seen):
        return _seen(state, attempt, event, at)
    if isinstance(event, ev.JobEnded):
        state = msgspec.structs.replace(state, result=event.result)
        return _with(state, attempt, result=event.result, heard_at=at, lost=False)
    if isinstance(event, ev.CheckpointHome):
        state = msgspec.structs.replace(state, checkpoint_step=max(state.checkpoint_step, event.step))
        return _with(state, attempt, home_checkpoint_at=at, heard_at=at)
    if isinstance(event, ev.Pulled):
        return msgspec.structs.replace(_with(state, attempt, pulled=True), adapter=event.files)
    return _with(state, attempt, **_box_news(attempt, event, at))


def _box_news(attempt: Attempt, event: AnyEvent, at: float) -> dict[str, Any]:
    """Changes of the attempt for the events that only say how far the box is."""
    if isinstance(event, ev.Armed):
        return {"armed": True}
    if isinstance(event, ev.Uploaded):
        return {"uploaded": True, "heard_at": at}
    if isinstance(event, ev.Submitted):
        return {"submitted_at": at, "heard_at": at, "lost": False}
    if isinstance(event, ev.JobLost):
        return {"lost": True, "heard_at": at}
    if isinstance(event, ev.StopAsked):
        return {"stop_asked": True, "heard_at": at}
    if isinstance(event, ev.Progressed):
        return {
            "cursor": max(attempt.cursor, event.cursor),
            "step": event.step or attempt.step,
            "total_steps": event.total_steps or attempt.total_steps,
            "box_checkpoint_step": max(attempt.box_checkpoint_step, event.checkpoint_step),
            "latest": attempt.latest | event.latest,
            "heard_at": at,
        }
    return {}


_SUCCESS_OF = {
    ev.Seen: "look",
    ev.Armed: "arm",
    ev.Uploaded: "upload",
    ev.Submitted: "submit",
    ev.Progressed: "poll",
    ev.JobEnded: "poll",
    ev.JobLost: "poll",
    ev.CheckpointHome: "fetch_checkpoint",
    ev.StopAsked: "ask_stop",
    ev.Pulled: "pull",
    ev.DestroySent: "destroy",
}


def _without(failures: dict[str, int], event: AnyEvent) -> dict[str, int]:
    """Consecutive failures of an action end with its success."""
    action = _SUCCESS_OF.get(type(event))
    return {key: count for key, count in failures.items() if key != action}


def _seen(state: RunState, attempt: Attempt, event: ev.Seen, at: float) -> RunState:
    """Read-back: the oldest instance under our name is the one; the highest rate ever seen is the one that counts."""
    interval_s = max(0.0, at - (attempt.looked_at or attempt.begun_at))
    extra_usd = attempt.extra_usd + sum(usd(i.usd_per_hour, interval_s) for i in attempt.extra)
    if not event.instances:
        missing = attempt.missing_since if attempt.missing_since is not None else at
        gap_s = max(attempt.longest_gap_s, at - (attempt.looked_at or attempt.begun_at))
        return _with(state, attempt, looked_at=at, longest_gap_s=gap_s, missing_since=missing, extra=(), extra_usd=extra_usd)
    first, *others = sorted(event.instances, key=lambda i: (i.id != (attempt.instance.id if attempt.instance else i.id), i.id))
    new_extra = tuple(i for i in others if i.id not in {e.id for e in attempt.extra})
    extra_usd += sum(usd(i.usd_per_hour, at - attempt.begun_at) for i in new_extra)
    return _with(
        state,
        attempt,
        looked_at=at,
        age_s=attempt.age_s if first.age_s is None else max(first.age_s, attempt.age_s or 0.0),
        aged_at=attempt.aged_at if first.age_s is None else at,
        clock_lost=attempt.clock_lost and first.age_s is None,
        instance=first,
        extra=tuple(others),
        extra_usd=extra_usd,
        rate_usd_per_hour=max(attempt.rate_usd_per_hour, first.usd_per_hour),
        first_seen_at=attempt.first_seen_at if attempt.first_seen_at is not None else at,
        missing_since=None,
        stopped_since=(attempt.stopped_since or at) if first.stopped else None,
        ready_at=attempt.ready_at if attempt.ready_at is not None else (at if first.ready else None),
    )
