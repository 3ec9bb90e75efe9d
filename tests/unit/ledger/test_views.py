"""Whose an instance is, what is being charged, what was learned, what a receipt says: pure views, pinned by hand."""

from __future__ import annotations

import msgspec
import pytest

from orchestrator.errors import ExitCode
from orchestrator.ledger.corrections import HIGHEST, corrections, paces
from orchestrator.ledger.money import Account, charging, spent
from orchestrator.ledger.receipt import exit_code, receipt
from orchestrator.ledger.sweep import HEARTBEAT_S, Verdict, judge
from orchestrator.plan.budget import Policy
from orchestrator.plan.offers import Offer
from orchestrator.run import events as ev
from orchestrator.run.events import Instance, Outcome, Reason
from orchestrator.run.state import RunState, fold

OFFER = Offer(
    backend="simulated", cloud="vast", gpu="T4", count=1, usable_gib=14.6, usd_per_hour=0.36, expected_s=1000.0, guard="create-time"
)


def finished(
    training_s: float = 1500.0, outcome: Outcome = Outcome.SUCCEEDED, reason: Reason = Reason.COMPLETED, run: str = "aaaa"
) -> RunState:
    """One attempt, an hour long, settled."""
    name = f"ct-me-{run}-1"
    result = ev.JobResult(
        exit_code=0,
        steps=9,
        training_s=training_s,
        evaluation=ev.Evaluation(metric="accuracy", rows=300, before=0.5, after=0.75, gain_low=0.1, gain_high=0.4),
    )
    return fold(
        [
            ev.Planned(at=0.0, run=run, installation="me", fingerprint="f", offers=(OFFER,), cap_usd=5.0, deadline_s=None, policy=Policy()),
            ev.Intended(at=0.0, command=ev.Create(attempt=1, offer=0, name=name, life_s=9000.0, timer_s=2400.0)),
            ev.Created(at=5.0, attempt=1, instance_id="i"),
            ev.Seen(
                at=6.0, attempt=1, instances=(Instance(name=name, id="i", ready=True, gpu="T4", count=1, usd_per_hour=0.36, age_s=2.0),)
            ),
            ev.JobEnded(at=3000.0, attempt=1, result=result),
            ev.Pulled(at=3010.0, attempt=1, files={"adapter_model.safetensors": "00"}),
            ev.Concluded(at=3600.0, command=ev.Close(attempt=1, billed_s=3600.0, billed_usd=0.36)),
            ev.Concluded(at=3600.0, command=ev.Settle(outcome=outcome, reason=reason)),
        ]
    )


def going_on(run: str = "bbbb") -> RunState:
    return fold(
        [
            ev.Planned(at=0.0, run=run, installation="me", fingerprint="f", offers=(OFFER,), cap_usd=5.0, deadline_s=None, policy=Policy()),
            ev.Intended(at=0.0, command=ev.Create(attempt=1, offer=0, name=f"ct-me-{run}-1", life_s=9000.0, timer_s=2400.0)),
        ]
    )


@pytest.mark.parametrize(
    ("name", "heartbeat_at", "verdict"),
    [
        ("ct-me-bbbb-1", None, Verdict.IN_USE),
        ("ct-me-bbbb-2", None, Verdict.ORPHAN),
        ("ct-me-aaaa-1", None, Verdict.ORPHAN),
        ("ct-me-cccc-1", None, Verdict.ORPHAN),
        ("ct-you-bbbb-1", None, Verdict.FOREIGN),
        ("ct-you-bbbb-1", 10_000.0 - HEARTBEAT_S - 1, Verdict.FOREIGN),
        ("ct-you-bbbb-1", 10_000.0 - 5, Verdict.ALIVE),
        ("my-own-machine", None, Verdict.UNKNOWN),
    ],
)
def test_whose_instance_is_it(name: str, heartbeat_at: float | None, verdict: Verdict) -> None:
    instance = Instance(name=name, id="i", heartbeat_at=heartbeat_at)
    (judged,) = judge("simulated", [instance], "me", {"aaaa": finished(), "bbbb": going_on()}, 10_000.0)
    assert judged.verdict is verdict and judged.why
    assert judged.destroyed(everything=False) == (verdict is Verdict.ORPHAN)
    assert judged.destroyed(everything=True) == (verdict in (Verdict.ORPHAN, Verdict.FOREIGN))


def test_charging_is_unknown_when_an_account_is_silent() -> None:
    quiet, silent = Account(title="a"), Account(title="b", unknown="401")
    paid = Account(
        title="c",
        instances=(Instance(name="ct-x-y-1", id="i", usd_per_hour=0.4), Instance(name="z", id="j", usd_per_hour=0.01, stopped=True)),
    )
    assert charging([quiet])["charging"] is False and charging([quiet])["usd_per_hour"] == 0.0
    answer = charging([quiet, silent])
    assert answer["charging"] is None and answer["usd_per_hour"] is None, "unknown, never $0.00"
    assert answer["accounts"][1] == {"account": "b", "unknown": "401", "usd_per_hour": None, "instances": []}
    answer = charging([paid, silent])
    assert answer["charging"] is True and answer["usd_per_hour"] == 0.41 and answer["at_least"] is True
    assert charging([])["charging"] is False


def test_spent_adds_up_and_shows_what_was_learned() -> None:
    document = spent({"bbbb": going_on(), "aaaa": finished()}, 3600.0)
    assert [r["outcome"] for r in document["runs"]] == [None, "succeeded"]
    assert document["total_usd"] == pytest.approx(sum(r["cost_usd"] for r in document["runs"]))
    assert document["corrections"] == {"T4": {"factor": 1.5, "runs": 1}}


def test_corrections_are_bounded_and_rest_on_whole_runs() -> None:
    assert corrections([finished(training_s=99_999.0)])["T4"].factor == HIGHEST
    assert corrections([finished(outcome=Outcome.FAILED), going_on()]) == {}
    known = corrections([finished(1500.0), finished(500.0), finished(800.0)])
    assert known["T4"].factor == 0.8 and known["T4"].runs == 3
    assert paces([finished(1500.0), finished(500.0), finished(800.0)]) == {"T4": 0.8}
    unestimated = msgspec.structs.replace(OFFER, expected_s=None)
    no_estimate = msgspec.structs.replace(finished(), offers=(unestimated,))
    assert corrections([no_estimate]) == {} and receipt(no_estimate, output="o", observer="w")["estimate_vs_actual"] == {}


def test_receipt() -> None:
    document = receipt(finished(), output="/out", observer="the list")
    assert document["billed_usd"] == 0.36 and document["billed_s"] == 3600.0
    assert document["teardown"] == {"confirmed_at": "1970-01-01T01:00:00+00:00", "observer": "the list", "instances_left": 0}
    assert document["evaluation"]["gain_interval_95"] == [0.1, 0.4]
    assert document["estimate_vs_actual"]["training_s"] == {"expected": 1000.0, "actual": 1500.0, "ratio": 1.5}
    nothing = receipt(fold([]), output="/out", observer="the list")
    assert nothing["adapter"] is None and nothing["teardown"]["confirmed_at"] is None


@pytest.mark.parametrize(
    ("outcome", "reason", "code"),
    [
        (Outcome.SUCCEEDED, Reason.COMPLETED, ExitCode.OK),
        (Outcome.STOPPED, Reason.BUDGET, ExitCode.STOPPED),
        (Outcome.STOPPED, Reason.USER, ExitCode.STOPPED),
        (Outcome.INTERRUPTED, Reason.INTERRUPT, ExitCode.INTERRUPTED),
        (Outcome.FAILED, Reason.NO_CAPACITY, ExitCode.NO_OFFER),
        (Outcome.FAILED, Reason.DIVERGED, ExitCode.TRAINING_FAILED),
    ],
)
def test_exit_codes(outcome: Outcome, reason: Reason, code: ExitCode) -> None:
    assert exit_code(finished(outcome=outcome, reason=reason)) is code
    assert exit_code(going_on()) is ExitCode.TEARDOWN_UNCONFIRMED


def test_a_corrected_estimate_is_not_corrected_again() -> None:
    """A run that took what a factor of 1.5 had foretold confirms the factor; it does not pull it back to 1."""
    again = msgspec.structs.replace(OFFER, expected_s=(OFFER.expected_s or 0.0) * 1.5, learned=1.5)
    state = msgspec.structs.replace(finished(1500.0), offers=(again,))
    assert paces([state]) == {"T4": pytest.approx(1.5)}
