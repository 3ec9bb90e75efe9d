"""The engine's mind: ``decide(state, now)`` says what to do next. Pure and total; all branching of a run is here.

An attempt goes forward (:func:`_advance`) until something dooms it (:func:`_doom_of`), is then ended
(``ending.next_step``) until the cloud's own list no longer shows it, and is closed. Between attempts
``selection.next_attempt`` chooses the next offer or settles the run.
"""

from __future__ import annotations

from orchestrator.plan.budget import HOUR_S, reserve_usd
from orchestrator.plan.offers import Offer
from orchestrator.run import ending, selection
from orchestrator.run import events as ev
from orchestrator.run.events import AnyCommand, Reason
from orchestrator.run.rules import ALL_RULES, Rules
from orchestrator.run.state import Attempt, RunState, elapsed_s
from orchestrator.run.timing import backing_off, grace_ends_at, life_over, life_reason
from trainer.contract import ExitCode

LOOKS_BEFORE_DOOM = 5  # failed looks in a row after which an instance whose time is over counts as over

# what the box's last word means for the attempt; STOPPED and CRASH are decided below
_VERDICTS: dict[int, Reason] = {
    ExitCode.DONE: Reason.COMPLETED,
    ExitCode.BAD_CONFIG: Reason.BAD_CONFIG,
    ExitCode.BAD_DATA: Reason.BAD_DATA,
    ExitCode.NO_MODEL: Reason.NO_MODEL,
    ExitCode.OUT_OF_MEMORY: Reason.OUT_OF_MEMORY,
    ExitCode.DIVERGED: Reason.DIVERGED,
    ExitCode.DISK_FULL: Reason.DISK_FULL,
    ExitCode.UNFIT_BOX: Reason.UNFIT_BOX,
}


def decide(state: RunState, now: float, rules: Rules = ALL_RULES) -> AnyCommand:
    """The next thing to do. ``now``: unix seconds; a clock behind the journal counts as standing still."""
    now = max(now, state.last_at)
    if state.outcome is not None or not state.run:
        return ev.Done()
    attempt = state.attempt
    if attempt is None or not attempt.open:
        return selection.next_attempt(state, now, rules)
    if attempt.doomed is None:
        reason = _doom_of(state, attempt, now, rules)
        if reason is not None:
            return ev.Doom(attempt=attempt.number, reason=reason)
        return _advance(state, attempt, now, rules)
    return ending.next_step(state, attempt, now, rules)


def stop_in_s(state: RunState, attempt: Attempt, now: float, rules: Rules = ALL_RULES) -> float | None:
    """Seconds until the box must begin to save: the soft deadline. None: nothing limits it; negative: it is past."""
    if attempt.life_s is None:
        return None
    policy = state.policy
    limit_s = attempt.life_s - (policy.closing_s if rules.bounded else 0.0)
    rate = attempt.rate_usd_per_hour
    if state.cap_usd is not None and rate > 0.0 and rules.bounded:
        left_usd = state.cap_usd - state.spent_usd - attempt.extra_usd - reserve_usd(rate, policy)
        limit_s = min(limit_s, left_usd / rate * HOUR_S)
    return limit_s - elapsed_s(attempt, now)


def _doom_of(state: RunState, attempt: Attempt, now: float, rules: Rules) -> Reason | None:
    """Why this attempt has to end, or None while it may go on."""
    if state.stop_wanted == Reason.DOWN:
        return Reason.DOWN
    if attempt.result is not None:
        return _verdict(state, attempt)
    if attempt.create == "failed" and attempt.first_seen_at is None:
        return attempt.create_reason or Reason.CREATE_FAILED
    if attempt.first_seen_at is None:
        return _never_appeared(state, attempt, rules)
    if not _looked_lately(state, attempt, now):
        return None  # a laptop that wakes up asks the cloud first
    if life_over(attempt, now):
        return life_reason(state, attempt) if attempt.armed else Reason.FUSE
    if attempt.missing_since is not None:
        unlisted_s = (attempt.looked_at or 0.0) - attempt.missing_since
        return Reason.PREEMPTED if unlisted_s >= state.policy.missing_grace_s else None
    if _stopped(attempt):  # its disk is billed, and nothing starts it again
        stopped_s = (attempt.looked_at or 0.0) - (attempt.stopped_since or 0.0)
        return Reason.PREEMPTED if stopped_s >= state.policy.missing_grace_s else None
    return _misdelivered(state, attempt) or _overdue(state, attempt, now, rules)


def _stopped(attempt: Attempt) -> bool:
    """An instance that was ready and no longer computes; before that, "stopped" may be a step of its start."""
    return attempt.ready_at is not None and attempt.stopped_since is not None


def _looked_lately(state: RunState, attempt: Attempt, now: float) -> bool:
    """Whether what is known of the instance is fresh; a cloud that does not answer at all is done without."""
    if attempt.failures.get("look", 0) >= LOOKS_BEFORE_DOOM:
        return True
    return attempt.looked_at is not None and now - attempt.looked_at <= state.policy.look_s


def _verdict(state: RunState, attempt: Attempt) -> Reason | None:
    code = attempt.result.exit_code if attempt.result else 0
    if code == ExitCode.STOPPED:
        return attempt.stop_reason or state.stop_wanted or life_reason(state, attempt)
    return _VERDICTS.get(code, Reason.TRAINER_CRASHED)


def _never_appeared(state: RunState, attempt: Attempt, rules: Rules) -> Reason | None:
    """A create whose instance nobody has seen yet."""
    if state.stop_wanted is not None:
        return state.stop_wanted
    if not rules.launch_grace and attempt.create == "unknown":
        return attempt.create_reason or Reason.CREATE_FAILED
    looked = attempt.looked_at is not None and attempt.looked_at >= grace_ends_at(state, attempt)
    return (attempt.create_reason or Reason.CREATE_FAILED) if looked else None


def _misdelivered(state: RunState, attempt: Attempt) -> Reason | None:
    """Read-back: what was delivered must be what was ordered, at no higher rate."""
    offer: Offer = state.offers[attempt.offer]
    instance = attempt.instance
    if instance is None or attempt.submitted_at is not None:
        return None
    if instance.gpu and (instance.gpu != offer.gpu or instance.count != offer.count):
        return Reason.MISMATCH
    if instance.usd_per_hour > offer.usd_per_hour * (1.0 + state.policy.rate_tolerance):
        return Reason.RATE_ABOVE_PLAN
    return None


def _overdue(state: RunState, attempt: Attempt, now: float, rules: Rules) -> Reason | None:
    """Bounds on boot, upload, contact and stop; and a person's wish while nothing is running yet."""
    policy = state.policy
    if attempt.submitted_at is None and state.stop_wanted is not None:
        return state.stop_wanted
    if not rules.bounded:
        return None
    if attempt.ready_at is None:
        limit = attempt.begun_at + state.offers[attempt.offer].provisioning_s
        return Reason.NEVER_READY if attempt.looked_at is not None and attempt.looked_at >= limit else None
    left_s = stop_in_s(state, attempt, now, rules)
    if attempt.submitted_at is None and left_s is not None and left_s <= 0.0:
        return life_reason(state, attempt)
    if attempt.stop_intended_at is not None and now >= attempt.stop_intended_at + policy.stop_patience_s:
        return attempt.stop_reason or Reason.USER
    if attempt.failures.get("upload", 0) >= policy.max_uploads:
        return Reason.UPLOAD_FAILED
    if attempt.lost and attempt.submits > policy.max_resubmits:
        return Reason.TRAINER_CRASHED
    silent_s = now - max(attempt.heard_at or 0.0, attempt.ready_at)
    watched = attempt.looked_at is not None and now - attempt.looked_at < policy.unreachable_s / 2
    tried = sum(attempt.failures.get(action, 0) for action in ("poll", "submit", "upload", "arm")) >= 3
    return Reason.UNREACHABLE if silent_s >= policy.unreachable_s and watched and tried else None


def _advance(state: RunState, attempt: Attempt, now: float, rules: Rules) -> AnyCommand:
    """The next step of a healthy attempt."""
    policy = state.policy
    number, name = attempt.number, attempt.name
    if attempt.extra and rules.one_controller and not backing_off(attempt, "destroy", now, policy):
        return ev.Destroy(attempt=number, name=name, ids=tuple(i.id for i in attempt.extra))
    away = attempt.ready_at is None or attempt.missing_since is not None or _stopped(attempt)
    look_s = policy.poll_s if away or attempt.extra else policy.look_s
    due = attempt.looked_at is None or now >= attempt.looked_at + look_s or attempt.looked_at <= state.resumed_at
    if due and not backing_off(attempt, "look", now, policy):
        return ev.Look(attempt=number, name=name)
    if away:
        return ev.Wait(seconds=policy.poll_s, why="the instance is not ready yet")
    if not attempt.armed and attempt.life_s is not None and (rules.early_deadline or attempt.uploaded):
        if attempt.clock_lost:  # nobody knows how much of its life is left: it is not prolonged, and ends by its first timer
            return ev.Wait(seconds=policy.poll_s, why="how old the instance is cannot be told")
        if backing_off(attempt, "arm", now, policy):
            return ev.Wait(seconds=policy.retry_s, why="the deadline could not be set; trying again")
        return ev.Arm(attempt=number, name=name, life_s=max(0.0, attempt.life_s - elapsed_s(attempt, now)))
    if not attempt.uploaded:
        if backing_off(attempt, "upload", now, policy):
            return ev.Wait(seconds=policy.retry_s, why="the upload failed; trying again")
        return ev.Upload(attempt=number, name=name)
    if attempt.submitted_at is None or attempt.lost:
        if backing_off(attempt, "submit", now, policy):
            return ev.Wait(seconds=policy.retry_s, why="the job could not be started; trying again")
        left_s = stop_in_s(state, attempt, now, rules)
        soft_s = None if left_s is None else max(0.0, left_s)
        return ev.Submit(attempt=number, name=name, stop_in_s=soft_s, checkpoint_step=state.checkpoint_step)
    return _watch(state, attempt, now, rules)


def _watch(state: RunState, attempt: Attempt, now: float, rules: Rules) -> AnyCommand:
    """A running job: stop it in time, bring checkpoints home, listen."""
    policy = state.policy
    number, name = attempt.number, attempt.name
    left_s = stop_in_s(state, attempt, now, rules)
    reason = state.stop_wanted or (life_reason(state, attempt) if left_s is not None and left_s <= 0.0 else None)
    if reason is not None and not attempt.stop_asked and not backing_off(attempt, "ask_stop", now, policy):
        return ev.AskStop(attempt=number, name=name, reason=reason)
    newer = attempt.box_checkpoint_step > state.checkpoint_step
    last = attempt.home_checkpoint_at or attempt.submitted_at or now
    if newer and now >= last + policy.checkpoint_pull_s and not backing_off(attempt, "fetch_checkpoint", now, policy):
        return ev.FetchCheckpoint(attempt=number, name=name)
    heard = attempt.heard_at or 0.0
    poll_s = min(policy.poll_s, policy.stop_poll_s) if attempt.stop_asked else policy.poll_s
    if now >= heard + poll_s and not backing_off(attempt, "poll", now, policy):
        return ev.Poll(attempt=number, name=name, cursor=attempt.cursor)
    pause_s = heard + poll_s - now
    if left_s is not None and not attempt.stop_asked:
        pause_s = min(pause_s, max(left_s, policy.retry_s))  # be there when it is time to stop
    return ev.Wait(seconds=pause_s if 0.0 < pause_s <= poll_s else policy.retry_s, why="training")
