"""Small pure questions about time that deciding asks in several places."""

from __future__ import annotations

from orchestrator.plan.budget import Policy
from orchestrator.run.events import Reason
from orchestrator.run.state import Attempt, RunState, elapsed_s

MAX_DOUBLINGS = 10  # 2**10 times the first wait is beyond every cap


def backing_off(attempt: Attempt, action: str, now: float, policy: Policy) -> bool:
    """Whether the last failure of ``action`` is too recent to try it again; waits double up to the cap."""
    failed = attempt.failures.get(action, 0)
    if failed == 0:
        return False
    wait_s = min(policy.retry_cap_s, policy.retry_s * 2.0 ** min(failed - 1, MAX_DOUBLINGS))
    return now < attempt.failed_at.get(action, 0.0) + wait_s


def life_over(attempt: Attempt, now: float) -> bool:
    """The instance's own timer has fired: whatever it was doing, it is ending itself."""
    limit_s = attempt.life_s if attempt.timer_s is None else attempt.timer_s
    return limit_s is not None and elapsed_s(attempt, now) >= limit_s


def life_reason(state: RunState, attempt: Attempt) -> Reason:
    """Which limit set the length of this attempt's life."""
    deadline_at = state.deadline_at
    if deadline_at is not None and attempt.life_s is not None and attempt.begun_at + attempt.life_s >= deadline_at - 1.0:
        return Reason.DEADLINE
    return Reason.BUDGET


def grace_ends_at(state: RunState, attempt: Attempt) -> float:
    """Until then a create call that nobody has seen the instance of may still bear one.

    Counted anew when the laptop's clock was lost: how long ago the call was is then not known.
    """
    since = attempt.begun_at if attempt.create_settled_at is None else attempt.create_settled_at
    return (max(since, state.resumed_at) if attempt.clock_lost else since) + state.policy.launch_grace_s
