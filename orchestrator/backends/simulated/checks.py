"""Was it right? The journal's story of a night against the world's truth. Must not know how the engine decides."""

from __future__ import annotations

from orchestrator.backends.simulated.night import POLICY, Night
from orchestrator.backends.simulated.world import LOAD_S, NEVER, SAVE_S
from orchestrator.plan.budget import affordable_s
from orchestrator.run.events import Outcome, Reason
from orchestrator.run.selection import struck

CENT = 1e-6
BOOT_AND_SYNC_S = 900.0  # generous: boot, upload, submit and polls of an undisturbed attempt
MISJUDGED = 1.2  # the plan's expectation of an offer's duration may be off by 15 % either way


def problems(night: Night) -> list[str]:
    """Everything that must never happen and did; empty for a good night."""
    return [*dict.fromkeys(night.surprises), *_left_behind(night), *_money(night), *_adapter(night), *_liveness(night)]


def _left_behind(night: Night) -> list[str]:
    if night.state.outcome is None:
        return ["the run has not settled"]
    alive = [m.name for m in night.world.machines if m.end_at > night.settled_at and m.end_at > m.created_at]
    return [f"alive after settling: {', '.join(alive)}"] if alive else []


def _money(night: Night) -> list[str]:
    bill = night.world.bill_usd(NEVER)
    found = []
    if night.state.cap_usd is not None and bill > night.state.cap_usd + CENT:
        found.append(f"billed {bill:.4f} with a cap of {night.state.cap_usd:.4f}")
    if night.state.outcome is not None and night.state.spent_usd < bill - CENT:
        found.append(f"the receipt says {night.state.spent_usd:.4f}, the bill {bill:.4f}")
    return found


def _adapter(night: Night) -> list[str]:
    kept = night.escrow.kept.get("adapter")
    if night.state.outcome == Outcome.SUCCEEDED:
        if kept is None or not night.state.adapter:
            return ["success without an adapter"]
        if kept.step != night.world.task.total_steps:
            return ["success with an adapter that is not trained to the end"]
    if night.state.adapter and (kept is None or not kept.place.name.endswith("-whole")):
        return ["an adapter that is not what was trained counts as safe"]
    return []


def _liveness(night: Night) -> list[str]:
    """Once nothing goes wrong any more, the run must succeed unless money, time or a person forbids it."""
    state, world = night.state, night.world
    if state.outcome in (None, Outcome.SUCCEEDED) or night.settled_at <= world.faults_end_at or state.stop_wanted is not None:
        return []
    last = state.attempt
    quiet = last is not None and night.begun_at[last.number] > world.faults_end_at
    if last is not None and quiet and last.doomed in (Reason.BUDGET, Reason.DEADLINE) and last.step > last.from_step and not last.pulled:
        return [f"a stop for the {last.doomed} that did not save what was learned"]
    if state.deadline_s is not None:
        return []
    if last is not None and quiet and last.doomed not in (Reason.OUT_OF_MEMORY, Reason.BUDGET):
        return [f"an attempt begun after the faults failed: {last.doomed}"]
    if state.reason == Reason.BUDGET and budget_reaches(night, before_last=quiet):
        return ["stopped by the budget although it would have reached"]
    return []


def budget_reaches(night: Night, *, before_last: bool) -> bool:
    """Whether some offer could still finish the task with the money that is left."""
    state, world = night.state, night.world
    spent = state.spent_usd - (state.attempts[-1].billed_usd if before_last and state.attempts else 0.0)
    left_usd = max(0.0, (state.cap_usd or 0.0) - spent)
    for index, offer in enumerate(world.offers):
        if struck(state, index) or offer.usable_gib < world.task.needed_gib:
            continue
        known = state.attempts[-1].from_step if before_last and state.attempts else state.checkpoint_step
        steps = world.task.total_steps - known
        needed_s = BOOT_AND_SYNC_S + LOAD_S + SAVE_S + steps * world.task.step_s[index] * MISJUDGED + POLICY.closing_s
        if affordable_s(left_usd, offer.usd_per_hour, POLICY) >= needed_s:
            return True
    return False


def budget_allowed(night: Night) -> bool:
    """Whether budget, deadline and person allowed this run to finish: the share of these that do is what counts.

    Some fitting offer finishes within cap and deadline with one lost attempt (boot, sync and half the training) to spare,
    and with the hours in which nobody was there: a finished instance that waits for a sleeping laptop is paid for.
    """
    state, world = night.state, night.world
    if state.stop_wanted is not None:
        return False
    for index, offer in enumerate(world.offers):
        if offer.usable_gib < world.task.needed_gib:
            continue
        once_s = BOOT_AND_SYNC_S + LOAD_S + SAVE_S + world.task.total_steps * world.task.step_s[index] + POLICY.closing_s
        spare_s = world.absent_s + BOOT_AND_SYNC_S + 0.5 * world.task.total_steps * world.task.step_s[index]
        in_time = state.deadline_s is None or once_s + spare_s <= state.deadline_s
        if in_time and affordable_s(state.cap_usd or 0.0, offer.usd_per_hour, POLICY) >= once_s + spare_s:
            return True
    return False
