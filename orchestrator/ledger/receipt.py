"""What a run ends with: billed time and rate, adapter hashes, proof that nothing is left. A pure view of the state."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from orchestrator.errors import ExitCode
from orchestrator.ledger.corrections import ratio
from orchestrator.run.events import Outcome, Reason
from orchestrator.run.state import Attempt, RunState

_NO_OFFER = (Reason.NO_CAPACITY, Reason.REFUSED, Reason.NO_OFFER_LEFT, Reason.NEVER_READY, Reason.MISMATCH, Reason.RATE_ABOVE_PLAN)


def iso(at: float | None) -> str | None:
    """Unix seconds as ISO 8601 in UTC, to the second."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def receipt(state: RunState, *, output: str, observer: str) -> dict[str, Any]:
    """The receipt of a settled run, in the shape that other programs rely on. ``output``: where the adapter was put."""
    result = state.result
    scores = result.evaluation if result is not None else None
    evaluation = None
    if scores is not None:
        evaluation = {"metric": scores.metric, "rows": scores.rows, "before": scores.before, "after": scores.after}
        evaluation["gain_interval_95"] = None if scores.gain_low is None else [scores.gain_low, scores.gain_high]
    closed = [a.closed_at for a in state.attempts if a.closed_at is not None]
    return {
        "run": state.run,
        "outcome": state.outcome.value if state.outcome else None,
        "reason": state.reason.value if state.reason else None,
        "attempts": [_attempt(state, a) for a in state.attempts],
        "billed_usd": round(state.spent_usd, 6),
        "billed_s": round(sum(a.billed_s for a in state.attempts), 1),
        "training_s": round(result.training_s, 1) if result is not None else 0.0,
        "adapter": {"path": output, "sha256": state.adapter} if state.adapter else None,
        "evaluation": evaluation,
        "teardown": {
            "confirmed_at": iso(max(closed)) if closed else None,
            "observer": observer,
            "instances_left": sum(a.open for a in state.attempts),
        },
        "estimate_vs_actual": _estimate_vs_actual(state),
    }


def _estimate_vs_actual(state: RunState) -> dict[str, Any]:
    """Expected and actual training time of the offer that finished; empty when nothing was expected."""
    found = ratio(state)
    if found is None or state.result is None:
        return {}
    offer, factor = found
    return {"gpu": offer.gpu, "training_s": {"expected": offer.expected_s, "actual": state.result.training_s, "ratio": round(factor, 3)}}


def _attempt(state: RunState, attempt: Attempt) -> dict[str, Any]:
    offer = state.offers[attempt.offer]
    return {
        "number": attempt.number,
        "offer": offer.title(),
        "instance": attempt.name,
        "usd_per_hour": attempt.rate_usd_per_hour,
        "began_at": iso(attempt.begun_at),
        "ended_at": iso(attempt.closed_at),
        "reason": attempt.doomed.value if attempt.doomed else None,
        "detail": (attempt.result.reason if attempt.result else "") or attempt.failure_detail or None,
        "steps": attempt.result.steps if attempt.result else attempt.step,
        "billed_s": round(attempt.billed_s, 1),
        "billed_usd": round(attempt.billed_usd, 6),
    }


def exit_code(state: RunState) -> ExitCode:
    """The process exit code that a run's end stands for."""
    if state.outcome is None:
        return ExitCode.TEARDOWN_UNCONFIRMED
    if state.outcome == Outcome.SUCCEEDED:
        return ExitCode.OK
    if state.outcome == Outcome.STOPPED:
        return ExitCode.STOPPED
    if state.outcome == Outcome.INTERRUPTED:
        return ExitCode.INTERRUPTED
    return ExitCode.NO_OFFER if state.reason in _NO_OFFER else ExitCode.TRAINING_FAILED
