"""What a run that rents plans, shows and asks; the places themselves are not asked here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from orchestrator.cli import begin, output, places, planning, running
from orchestrator.cli.begin import Checked
from orchestrator.errors import UsageProblem
from orchestrator.plan.plan import Plan
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
