"""What a run that rents plans, shows and asks; the places themselves are not asked here."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.cli import begin, output, places, planning, plans, renting, running, wiring
from orchestrator.cli.begin import Checked
from orchestrator.errors import NoOfferFits, UsageProblem
from orchestrator.ledger.journal import Ledger, RunRecord, take_over
from orchestrator.plan.plan import Plan
from orchestrator.plan.saved import SavedPlan, read_plan
from orchestrator.run import events as ev
from orchestrator.run.events import Instance, Reason
from orchestrator.run.state import RunState
from orchestrator.spec.jobspec import Job
from orchestrator.spec.parse import load_job
from tests.cli.test_plan import EIGHT_B


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    (tmp_path / "cloudtune.yaml").write_text(EIGHT_B)
    rows = "".join(f"a film {i} that was quite {'good' if i % 2 else 'bad'},{i % 2}\n" for i in range(60))
    (tmp_path / "data.csv").write_text("text,label\n" + rows)
    monkeypatch.setattr(places, "chosen", lambda wanted: ("vast",))
    monkeypatch.setattr(planning, "_refreshed", lambda bounds, now: ())
    monkeypatch.setattr(begin, "check_model", lambda job: "the Hub")
    monkeypatch.setattr(planning, "shape_of_model", lambda job, offline: _shape())
    output.choose(output.Format.TEXT, False)
    return load_job(tmp_path / "cloudtune.yaml", flags={("limits", "budget_usd"): 5.0}, user_config=tmp_path / "none.yaml")


def _shape() -> object:
    from orchestrator.estimate.model_shapes import bundled_shape

    return bundled_shape("meta-llama/Meta-Llama-3-8B-Instruct")


@pytest.fixture
def checked(job: Job) -> Checked:
    return begin.preflight(job)


def plan_of(checked: Checked) -> Plan:
    assert checked.plan is not None
    return checked.plan


def test_a_dry_run_says_what_it_would_rent_keep_and_upload(job: Job, checked: Checked, capsys: pytest.CaptureFixture[str]) -> None:
    from orchestrator.cli import dry_view

    dry_view.show(job, checked)
    said = capsys.readouterr().out
    assert "1. " in said and "vast" in said and "for the whole job" in said and "At most $5.00" in said and "is kept for saving" in said
    assert "rows to train on" in said and "the trainer's code" in said and "downloaded there from the Hub, about 16." in said
    assert "Nothing was started." in said
    document = dry_view.document(job, checked, dry_view.uploads(job, checked))
    assert json.dumps(document) and document["at_most_usd"] == 5.0 and document["reserve_usd"] > 0.0
    trained = next(count for what, count in document["upload_bytes"].items() if "train on" in what)
    assert trained == sum(len(json.dumps(row, ensure_ascii=False).encode()) + 1 for row in checked.prepared.train)
    assert document["offers"] == [offer.title() for offer in plan_of(checked).offers]


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, answers: list[bool]) -> None:
    import typer

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "confirm", lambda *_, **__: answers.pop(0))


def test_a_plan_that_expired_at_the_question_is_made_again_and_asked_again(
    job: Job, checked: Checked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dataclasses import replace

    old = replace(checked, plan=replace(plan_of(checked), made_at=0.0, expires_at=1.0))
    answers = [True, True]
    at_a_terminal(monkeypatch, answers)
    agreed = running._agreed(job, old, True)
    assert not answers and plan_of(agreed).expires_at > 1.0 and "has expired" in capsys.readouterr().err
    at_a_terminal(monkeypatch, [True, False])
    with pytest.raises(UsageProblem, match="nothing was started"):
        running._agreed(job, old, True)


def test_prices_that_changed_at_the_question_are_shown_first(
    job: Job, checked: Checked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dataclasses import replace

    old = replace(checked, plan=replace(plan_of(checked), fingerprint="another"))
    answers = [True, True]
    at_a_terminal(monkeypatch, answers)
    running._agreed(job, old, True)
    assert not answers and "the prices" in capsys.readouterr().err
    answers = [True, True]
    at_a_terminal(monkeypatch, answers)
    assert running._agreed(job, checked, True) is checked and len(answers) == 1, "what is still true is asked once"


def test_earlier_runs_rank_what_is_rented(job: Job, checked: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    best = checked.offers[0]
    assert best.expected_s is not None and best.learned == 1.0
    monkeypatch.setattr(planning, "learned", lambda job: ({best.gpu: 2.0}, ()))
    slower = begin.preflight(job).offers
    same = [offer for offer in slower if (offer.gpu, offer.region, offer.spot) == (best.gpu, best.region, best.spot)]
    assert slower[0].gpu != best.gpu and all(offer.learned == 2.0 and (offer.expected_s or 0) > best.expected_s for offer in same)


def saved_of(checked: Checked, **changed: object) -> SavedPlan:
    document = planning.plan_document(plan_of(checked)) | {"asked": {"limits.budget_usd": 5.0}} | changed
    document["limits"] = document["limits"] | {"infra": []}  # the plan was of everything; the run is narrowed to what can be reached
    return read_plan(json.dumps(document).encode())


def start(job: Job, checked: Checked, saved: SavedPlan) -> Plan:
    return plans.settled(job, checked.plan, saved)


def test_a_kept_plan_that_still_holds_is_what_is_started(job: Job, checked: Checked, capsys: pytest.CaptureFixture[str]) -> None:
    held = start(job, checked, saved_of(checked))
    assert held.offers == plan_of(checked).offers and "still holds" in capsys.readouterr().err
    planned_for_all = planning.planned(job, offline=True, prepared=checked.prepared, policy=renting.policy())
    assert {r.offer.cloud for r in planned_for_all.ranked} > {"vast"}
    of_everything = read_plan(json.dumps(planning.plan_document(planned_for_all)).encode())
    assert start(job, checked, of_everything).offers == held.offers, "what cannot be rented from here does not make it stale"
    assert "still holds" in capsys.readouterr().err
    first = read_plan(json.dumps(planning.plan_document(planned_for_all) | {"offers": []}).encode())
    assert start(job, checked, first) is checked.plan and "none of what it offered" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"made_at": 0, "expires_at": 1}, "has expired"),
        ({"made_at": 4e9, "expires_at": 5e9}, "clock went back"),
        ({"job": "another"}, "it is of another job"),
    ],
)
def test_a_stale_plan_is_named_with_the_reason_and_made_again(
    job: Job, checked: Checked, changed: dict[str, object], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = saved_of(checked, **changed)
    assert start(job, checked, saved) is checked.plan
    said = capsys.readouterr().err
    assert why in said and saved.fingerprint in said and "Planned again." in said


def test_prices_and_limits_that_moved_make_it_stale(job: Job, checked: Checked, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(json.dumps(planning.plan_document(plan_of(checked)) | {"limits": saved_of(checked).limits}))

    def with_offers(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> str:
        offers = change(json.loads(json.dumps(document["offers"])))
        start(job, checked, read_plan(json.dumps(document | {"offers": offers}).encode()))
        return capsys.readouterr().err.replace("\n", " ")

    assert "/h now" in with_offers(lambda o: [o[0] | {"usd_per_hour": 0.01}, *o[1:]])
    assert "no longer on sale" in with_offers(lambda o: [o[0] | {"gpu": "Z9"}, *o[1:]])
    assert "is on sale now" in with_offers(lambda o: o[1:])
    assert "still holds" in with_offers(lambda o: o)
    cheaper = dataclasses.replace(job, spec=dataclasses.replace(job.spec, limits=dataclasses.replace(job.spec.limits, budget_usd=4.0)))
    start(cheaper, checked, saved_of(checked))
    assert "cap_usd was 5.0 and is 4.0" in capsys.readouterr().err


def test_the_flags_of_a_plan_go_on_and_those_of_the_run_win(checked: Checked) -> None:
    saved = saved_of(checked, asked={"limits.budget_usd": 5.0, "resources.infra": ["vast"], "model": "m"})
    assert plans.flags_of(saved, {("limits", "budget_usd"): 4.0, ("resources", "infra"): None}) == {
        ("limits", "budget_usd"): 4.0, ("resources", "infra"): ["vast"], ("model",): "m"}  # fmt: skip


def test_a_plan_is_found_by_name_by_file_and_as_the_last_and_old_ones_go(tmp_path: Path, checked: Checked) -> None:
    document = planning.plan_document(plan_of(checked))
    for number in range(plans.KEEP + 3):
        path = plans.keep(document | {"fingerprint": f"aaaa{number:012d}"})
        assert path is not None
        os.utime(path, (number, number))
    plans.keep(document | {"fingerprint": "bbbbcccc00000000"})
    assert len(list(path.parent.glob("*.json"))) == plans.KEEP
    assert plans.find("last").fingerprint == plans.find("bbbb").fingerprint == "bbbbcccc00000000"
    assert plans.find(str(path)).fingerprint == path.stem
    for given, why in (("aaaa", "several plans begin"), ("bb", "there is no plan bb"), ("zzzz", "kept: bbbb")):
        with pytest.raises(UsageProblem, match=why):
            plans.find(given)
    with pytest.raises(UsageProblem, match="on this machine"):
        plans.settled(load_job(tmp_path / "cloudtune.yaml", flags={}, user_config=tmp_path / "none.yaml"), None, saved_of(checked))


@pytest.fixture
def begun(job: Job, checked: Checked) -> tuple[Ledger, RunRecord]:
    """A run of this job whose controller died, with 30 % of its training behind it and a dollar spent."""
    ledger = wiring.open_ledger()
    record, went_on = begin.begin(ledger, job, checked)
    assert not went_on
    name = f"ct-{ledger.database.installation()}-{record.run}-1"
    journal = take_over(ledger, record.run, controller="dead", now=record.created_at)
    at = record.created_at + 1.0
    for event in (
        ev.Intended(at=at, command=ev.Create(attempt=1, offer=0, name=name, life_s=9000.0, timer_s=2400.0)),
        ev.Created(at=at, attempt=1, instance_id="i"),
        ev.Seen(at=at, attempt=1, instances=(Instance(name=name, id="i", ready=True),)),
        ev.Progressed(at=at, attempt=1, cursor=1, step=30, total_steps=100, checkpoint_step=30),
        ev.CheckpointHome(at=at, attempt=1, step=30),
        ev.Concluded(at=at, command=ev.Doom(attempt=1, reason=Reason.PREEMPTED)),
        ev.Concluded(at=at, command=ev.Close(attempt=1, billed_s=60.0, billed_usd=1.0)),
    ):
        journal.append(event)
    return ledger, record


def test_what_is_left_is_planned_again_within_what_is_left(job: Job, checked: Checked, begun: tuple[Ledger, RunRecord]) -> None:
    ledger, record = begun
    again = begin.preflight(job)
    assert again.going_on is not None and again.going_on.record.run == record.run and again.going_on.share == pytest.approx(0.7)
    plan = plan_of(again)
    assert plan.limits.cap_usd == 4.0 and plan.facts.tokens == pytest.approx(plan_of(checked).facts.tokens * 0.7, rel=0.01)
    whole = {r.offer.title(): r.offer.expected_s for r in plan_of(checked).ranked}
    for ranked in plan.ranked:
        if ranked.offer.title() in whole:
            assert ranked.offer.expected_s == pytest.approx(whole[ranked.offer.title()], rel=0.01), "of all of it, not of what is left"
            assert ranked.cost.training_s.expected == pytest.approx(0.7 * (whole[ranked.offer.title()] or 0.0), rel=0.01)
    assert "$4.00 left of $5.00, 70%" in again.going_on.sentence(0.0)
    assert begin.begin(ledger, job, again) == (record, True)


def test_offers_that_changed_are_journalled_before_anything_is_tried(
    job: Job, checked: Checked, begun: tuple[Ledger, RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, record = begun
    seen: list[RunState] = []

    @contextmanager
    def no_ports(record: RunRecord, state: RunState, **_: object) -> Iterator[None]:
        seen.append(state)
        yield None

    monkeypatch.setattr(wiring, "ports_for", no_ports)
    monkeypatch.setattr(running, "drive", lambda journal, ports, controller: ledger.state(record.run))
    before = len(ledger.events(record.run))
    running.conduct(ledger, record, checked.offers)
    assert len(ledger.events(record.run)) == before, "what has not changed is not written again"
    newer = tuple(msgspec.structs.replace(offer, usd_per_hour=offer.usd_per_hour + 0.01) for offer in checked.offers)
    running.conduct(ledger, record, newer)
    assert seen[-1].offers == (*checked.offers, *newer) and seen[-1].first_offer == len(checked.offers)
    assert isinstance(ledger.events(record.run)[-1], ev.Reoffered)


def test_what_cannot_be_planned_again_goes_on_as_it_was_begun(
    job: Job, checked: Checked, begun: tuple[Ledger, RunRecord], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing(*_: object, **__: object) -> Plan:
        raise NoOfferFits("no offer can do this job for $4.00")

    monkeypatch.setattr(renting, "rentable", nothing)
    again = begin.preflight(job)
    assert again.offers == checked.offers and again.plan is None
    assert "not planned again: no offer can do this job" in capsys.readouterr().err


def test_a_command_that_allows_less_than_the_run_it_would_go_on_with_is_refused(job: Job, begun: tuple[Ledger, RunRecord]) -> None:
    less = dataclasses.replace(job, spec=dataclasses.replace(job.spec, limits=dataclasses.replace(job.spec.limits, budget_usd=3.0)))
    with pytest.raises(UsageProblem, match=r"may cost \$5.00; this command allows \$3.00") as error:
        begin.preflight(less)
    assert error.value.charged == "nothing" and "cloudtune stop" in (error.value.hint or "")
