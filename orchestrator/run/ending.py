"""Ending an attempt: save what is on the box, destroy it, believe only the Observer, close the bill. Pure."""

from __future__ import annotations

from orchestrator.run import events as ev
from orchestrator.run.events import AnyCommand, Reason
from orchestrator.run.rules import Rules
from orchestrator.run.state import Attempt, RunState, billed, elapsed_s
from orchestrator.run.timing import backing_off, grace_ends_at
from trainer.contract import ExitCode

# the box holds a finished adapter only after these
_ADAPTER_CODES = (ExitCode.DONE, ExitCode.STOPPED)
# nothing on such a box can be fetched, or nobody wants it: it never ran, it is gone, or a person said so
_NOTHING_TO_SAVE = (Reason.MISMATCH, Reason.RATE_ABOVE_PLAN, Reason.NEVER_READY, Reason.PREEMPTED, Reason.FUSE, Reason.DOWN)


def next_step(state: RunState, attempt: Attempt, now: float, rules: Rules) -> AnyCommand:
    """What to do with a doomed attempt."""
    if attempt.destroys == 0:
        saving = _save(state, attempt, now, rules)
        if saving is not None:
            look = _ask_whether_it_is_there(state, attempt, now)
            return ev.Look(attempt=attempt.number, name=attempt.name) if look else saving
    return _tear_down(state, attempt, now, rules)


def _save(state: RunState, attempt: Attempt, now: float, rules: Rules) -> AnyCommand | None:
    """Bring home what is only on the box; None when there is nothing, or no time left for it."""
    if attempt.submitted_at is None or attempt.doomed in _NOTHING_TO_SAVE or not _time_to_save(state, attempt, now):
        return None
    if _lost(state, attempt):
        return None
    result = attempt.result
    expected = result is not None and result.exit_code in _ADAPTER_CODES and result.steps > 0  # step 0 has learned nothing
    if expected and not attempt.pulled:
        if backing_off(attempt, "pull", now, state.policy):
            return ev.Wait(seconds=state.policy.retry_s, why="the adapter did not come home whole; trying again")
        return ev.Pull(attempt=attempt.number, name=attempt.name)
    if attempt.doomed != Reason.COMPLETED and attempt.box_checkpoint_step > state.checkpoint_step:
        if attempt.failures.get("fetch_checkpoint", 0) >= state.policy.max_pulls:
            return None
        if backing_off(attempt, "fetch_checkpoint", now, state.policy):
            return ev.Wait(seconds=state.policy.retry_s, why="the checkpoint did not come home whole; trying again")
        return ev.FetchCheckpoint(attempt=attempt.number, name=attempt.name)
    return None


def _lost(state: RunState, attempt: Attempt) -> bool:
    """Unlisted, or listed but stopped, for longer than a list may be wrong: nothing can be fetched from it any more."""
    since = attempt.missing_since if attempt.missing_since is not None else attempt.stopped_since
    return since is not None and (attempt.looked_at or 0.0) - since >= state.policy.missing_grace_s


def _ask_whether_it_is_there(state: RunState, attempt: Attempt, now: float) -> bool:
    """Before fetching is tried again, and while the list says that it is away; a free box is bounded by tries."""
    if state.offers[attempt.offer].free:
        return False
    away = attempt.missing_since is not None or attempt.stopped_since is not None
    if not away and not {"pull", "fetch_checkpoint"} & set(attempt.failures):
        return False
    due = now >= (attempt.looked_at or 0.0) + (state.policy.poll_s if away else state.policy.look_s)
    return due and not backing_off(attempt, "look", now, state.policy)


def _time_to_save(state: RunState, attempt: Attempt, now: float) -> bool:
    """The end may be postponed inside the budget, never beyond it; a free box is bounded by tries."""
    policy = state.policy
    if state.offers[attempt.offer].free and attempt.failures.get("pull", 0) >= policy.max_pulls:
        return False
    if attempt.life_s is None:
        return True
    return elapsed_s(attempt, now) < attempt.life_s - policy.teardown_reserve_s


def _tear_down(state: RunState, attempt: Attempt, now: float, rules: Rules) -> AnyCommand:
    policy = state.policy
    number, name = attempt.number, attempt.name
    if _gone(state, attempt, now, rules):
        seconds, dollars = _final_bill(state, attempt, now, rules)
        return ev.Close(attempt=number, billed_s=seconds, billed_usd=dollars)
    since = max(attempt.doomed_at or now, state.resumed_at)
    if now >= since + policy.teardown_give_up_s and attempt.destroys > 0:
        return ev.GiveUp(attempt=number, why=attempt.failure_detail or "the cloud still lists it")
    if attempt.destroyed_at is None or _destroy_again(attempt, now, state):
        return ev.Destroy(attempt=number, name=name)
    fresh = attempt.looked_at is not None and attempt.looked_at > attempt.destroyed_at
    pause_s = policy.retry_s if fresh else 0.0
    if now >= (attempt.looked_at or 0.0) + pause_s and not backing_off(attempt, "look", now, policy):
        return ev.Look(attempt=number, name=name)
    return ev.Wait(seconds=policy.retry_s, why="waiting until the cloud no longer lists it")


def _destroy_again(attempt: Attempt, now: float, state: RunState) -> bool:
    """Still listed after the last call: call again, with growing pauses. Never listed: once is enough."""
    if attempt.destroyed_at is None or attempt.missing_since is not None or attempt.first_seen_at is None:
        return "destroy" in attempt.failures and not backing_off(attempt, "destroy", now, state.policy) and attempt.destroys < 3
    wait_s = min(state.policy.retry_cap_s, state.policy.retry_s * 2.0 ** min(attempt.destroys, 10))
    return now >= attempt.destroyed_at + wait_s


def _gone(state: RunState, attempt: Attempt, now: float, rules: Rules) -> bool:
    """Nothing is left under this name, by the Observer's word, and nothing can still appear."""
    if attempt.destroyed_at is None:
        return False
    if not rules.observed_teardown:
        return "destroy" not in attempt.failures
    looked = attempt.looked_at is not None and attempt.looked_at >= attempt.destroyed_at
    if not looked or attempt.missing_since is None:
        return False
    if attempt.first_seen_at is not None or attempt.create == "failed" or not rules.launch_grace:
        return True
    # never seen: the create call may still bear an instance
    return (attempt.looked_at or 0.0) >= grace_ends_at(state, attempt)


def _final_bill(state: RunState, attempt: Attempt, now: float, rules: Rules) -> tuple[float, float]:
    if rules.never_underreport:
        return billed(attempt, state.policy, now)
    start = attempt.ready_at or now
    seconds = max(0.0, (attempt.heard_at or start) - start)
    return seconds, attempt.rate_usd_per_hour * seconds / 3600.0
