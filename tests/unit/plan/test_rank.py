"""Ranking, budget, deadline, filters, credits, fingerprint: pure, on offers made here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.estimate.model_shapes import bundled_shape
from orchestrator.estimate.problems import UnknownGpu
from orchestrator.estimate.workload import Workload
from orchestrator.plan.budget import Policy, affordable_s, reserve_usd
from orchestrator.plan.facts import JobFacts, Limits
from orchestrator.plan.offers import Offer
from orchestrator.plan.plan import fastest_s, make_plan, smallest_budget_usd, stale
from orchestrator.plan.rank import Ranking, budget_for, in_place, needed_s, rank

POLICY = Policy()
FACTS = JobFacts(
    workload=Workload(shape=bundled_shape("meta-llama/Meta-Llama-3-8B-Instruct"), quantization="nf4", micro_batch=2, accumulation=8),
    tokens=5_000_000, mean_length=500, evaluated_tokens=200_000,
)  # fmt: skip


def offer(**values: Any) -> Offer:
    base = {"backend": "skypilot", "cloud": "runpod", "gpu": "A40", "count": 1, "usable_gib": 44.4, "usd_per_hour": 0.44,
            "guard": "native", "as_of": "2026-09-06", "source": "test"}  # fmt: skip
    return Offer(**{**base, **values})


CHEAP_HOUR = offer(gpu="T4", usable_gib=14.56, usd_per_hour=0.35, cloud="aws")
FAST = offer(gpu="H100", usable_gib=79.1, usd_per_hour=1.99, cloud="lambda")


def ranked(*offers: Offer, facts: JobFacts = FACTS, **limits: Any) -> Ranking:
    return rank(offers, facts, Limits(**limits), POLICY)


def test_the_job_is_ranked_and_not_the_hour() -> None:
    found = ranked(CHEAP_HOUR, FAST, offer()).ranked
    dollars = [r.usd.expected for r in found]
    assert dollars == sorted(dollars) and all(r.usd.low < r.usd.expected < r.usd.high for r in found)
    cost = {r.offer.gpu: r.usd.expected for r in found}
    assert cost["H100"] < cost["T4"], "five times the price an hour, and still cheaper for the job"
    assert all(r.offer.expected_s == r.cost.training_s.expected for r in found)


def test_padding_takes_time_but_not_where_a_pass_has_one_row() -> None:
    """Rows of different length in a pass are padded to the longest one, and the card computes on that too."""
    padded = replace(FACTS, padding=((2, 0.4), (1, 0.0)))
    plain, slower = (ranked(FAST, facts=facts).ranked[0].cost.training_s.expected for facts in (FACTS, padded))
    assert 1.2 < slower / plain < 1.45
    assert [padded.padding_of(rows) for rows in (1, 2, 3)] == [0.0, 0.4, 0.4]
    assert replace(FACTS, padding=((8, 0.5), (4, 0.3), (2, 0.1))).padding_of(3) == 0.3 and FACTS.padding_of(8) == 0.0
    alone = replace(padded, workload=replace(FACTS.workload, micro_batch=1, accumulation=16))
    assert (
        ranked(FAST, facts=alone).ranked[0].cost.training_s.expected
        == ranked(FAST, facts=replace(alone, padding=())).ranked[0].cost.training_s.expected
    )


def test_everything_that_is_billed_is_counted() -> None:
    found = ranked(offer()).ranked[0]
    hours = found.cost.total_s.expected / 3600
    assert found.usd.expected > 0.44 * hours > 0.44 * found.cost.training_s.expected / 3600
    spot = ranked(offer(spot=True)).ranked[0]
    assert spot.cost.rest_s.expected > found.cost.rest_s.expected and spot.cost.rest_s.high > spot.cost.rest_s.expected


def test_a_longer_download_costs_more() -> None:
    small = replace(FACTS, workload=replace(FACTS.workload, shape=bundled_shape("HuggingFaceTB/SmolLM2-135M")))
    assert ranked(offer(), facts=FACTS).ranked[0].cost.start_s.expected > ranked(offer(), facts=small).ranked[0].cost.start_s.expected


def test_a_budget_is_named_that_works_and_a_cent_less_does_not() -> None:
    found = ranked(offer(), FAST, cap_usd=0.05)
    assert not found.ranked
    smallest = smallest_budget_usd(found.rejected)
    assert smallest is not None and ranked(offer(), FAST, cap_usd=smallest).ranked
    assert not ranked(offer(), FAST, cap_usd=round(smallest - 0.01, 2)).ranked


@settings(max_examples=60, deadline=None)
@given(rate=st.floats(0.01, 40.0), seconds=st.floats(60.0, 200_000.0))
def test_the_smallest_budget_is_affordable_at_the_worst(rate: float, seconds: float) -> None:
    budget = budget_for(rate, seconds, POLICY)
    assert affordable_s(budget, rate, POLICY) >= seconds
    assert affordable_s(budget, rate * POLICY.unread_rate_factor, POLICY) >= POLICY.useful_s - 1e-6
    assert budget >= reserve_usd(rate, POLICY) or seconds < POLICY.closing_s


def test_what_is_planned_reaches_by_the_engines_own_reckoning() -> None:
    for r in ranked(offer(), FAST, CHEAP_HOUR, cap_usd=1.0).ranked:
        assert r.affordable_s is not None and r.affordable_s >= needed_s(r.cost, POLICY)


def test_a_deadline_that_no_card_meets_says_the_fastest() -> None:
    found = ranked(CHEAP_HOUR, FAST, deadline_s=300.0)
    fastest = fastest_s(found.rejected)
    assert not found.ranked and fastest is not None
    assert [r.offer.gpu for r in ranked(CHEAP_HOUR, FAST, deadline_s=fastest).ranked] == ["H100"]


@pytest.mark.parametrize(
    ("values", "limits", "reason"),
    [
        ({"gpu": "tpu-v5e", "usable_gib": 0.0}, {}, "TPU cannot run QLoRA"),
        ({"gpu": "MI300X", "usable_gib": 0.0}, {}, "AMD"),
        ({"gpu": "Nonesuch", "usable_gib": 0.0}, {}, "nothing is known of the card"),
        ({"guard": "none"}, {}, "--allow-unguarded"),
        ({"spot": True}, {"spot": False}, "use_spot is false"),
        ({}, {"spot": True}, "asks for spot"),
        ({}, {"infra": ("vast",)}, "not in vast"),
        ({}, {"gpus": ("T4",)}, "not T4"),
        ({"count": 2}, {"gpus": ("A40:1",)}, "not A40:1"),
        ({"cloud": "kaggle", "backend": "kaggle", "gpu": "T4", "usable_gib": 14.5, "usd_per_hour": 0.0}, {}, "cannot start jobs there yet"),
    ],
)
def test_what_is_rejected_says_why(values: dict[str, Any], limits: dict[str, Any], reason: str) -> None:
    found = ranked(offer(**values), **limits)
    assert not found.ranked and reason in found.rejected[0].reason


def test_an_unguarded_cloud_is_let_in_on_request() -> None:
    assert ranked(offer(guard="none"), allow_unguarded=True).ranked


def test_out_of_memory_and_the_deepest_rung_allowed() -> None:
    big = replace(FACTS, workload=Workload(shape=bundled_shape("meta-llama/Meta-Llama-3-8B-Instruct"), quantization="nf4-double", lora_r=64,
                                           micro_batch=1, max_length=8192))  # fmt: skip
    t4 = offer(gpu="RTX3080", usable_gib=9.78)
    changed = ranked(t4, facts=big).ranked
    assert changed and changed[0].changes_learning and changed[0].changes
    kept = ranked(t4, facts=big, keep_quality=True)
    assert not kept.ranked and "without changing what is learned" in kept.rejected[0].reason
    plan = make_plan(
        job_fingerprint="x", made_at=0.0, live=False, facts=big, limits=Limits(), policy=POLICY, ranking=ranked(t4, facts=big), unchecked=()
    )
    assert plan.offers == (), "what changes the learning is shown, never started unasked"


def test_a_clouds_own_card_may_hold_less_than_the_table() -> None:
    assert not ranked(offer(usable_gib=4.0)).ranked


def test_several_cards_cost_all_and_train_on_one() -> None:
    one, two = ranked(offer()).ranked[0], ranked(offer(count=2, usd_per_hour=0.88)).ranked[0]
    assert two.cost.training_s == one.cost.training_s and two.usd.expected > 1.9 * one.usd.expected
    assert any("one of the 2 cards" in note for note in two.notes)


def test_credits_are_taken_off_and_their_trap_is_said() -> None:
    paid = ranked(offer(cloud="gcp")).ranked[0]
    found = ranked(offer(cloud="gcp"), offer(cloud="vast", usd_per_hour=0.2), credits_usd=(("gcp", 300.0),)).ranked[0]
    assert found.offer.cloud == "gcp" and found.usd.expected == 0.0 and found.credit_usd == pytest.approx(paid.usd.expected)
    assert any("no GPU quota" in note for note in found.notes)
    assert any("may be 0" in note for note in ranked(offer(cloud="aws"), credits_usd=(("aws", 300.0),)).ranked[0].notes)
    assert not any("the rest is charged" in note for note in found.notes)
    partly = ranked(offer(cloud="gcp"), credits_usd=(("gcp", 0.1),)).ranked[0]
    assert partly.usd.expected == pytest.approx(paid.usd.expected - 0.1) and any("the rest is charged" in note for note in partly.notes)


def test_what_is_left_of_a_free_week_counts() -> None:
    free: dict[str, Any] = {"cloud": "kaggle", "backend": "kaggle", "gpu": "T4", "usable_gib": 14.5, "usd_per_hour": 0.0}
    (out,) = ranked(offer(**free), left_h=(("kaggle", 0.01),)).rejected
    assert "0.0 h are left there this week" in out.reason
    (out,) = ranked(offer(**free), left_h=(("kaggle", 29.5),)).rejected
    assert "of the 29.5 h that are left this week" in out.reason


def test_free_is_first_and_needs_no_budget() -> None:
    here = Offer(backend="local", cloud="local", gpu="RTX3090", count=1, usable_gib=23.6, guard="create-time")
    assert ranked(FAST, here, cap_usd=0.01).ranked[0].offer == msgspec.structs.replace(
        here, expected_s=ranked(here).ranked[0].offer.expected_s
    )


def test_places_and_wrong_names() -> None:
    assert in_place(("aws/us-east-1",), "aws", "us-east-1") and not in_place(("aws/us-east-1",), "aws", "us-east-2")
    assert in_place((), "any", "where") and in_place(("vast",), "vast", "France, FR, EU") and not in_place(("vas",), "vast", "")
    for wrong in ("GTX 9", "T4:many"):
        with pytest.raises(UnknownGpu):
            ranked(offer(), gpus=(wrong,))


def test_earlier_runs_slow_an_offer_down() -> None:
    slower = rank([offer()], FACTS, Limits(), POLICY, {"A40": 2.0}).ranked[0]
    assert slower.cost.training_s.expected == pytest.approx(2 * ranked(offer()).ranked[0].cost.training_s.expected)


def test_a_plan_is_stale_when_anything_that_matters_changed() -> None:
    def plan(made_at: float = 1000.0, job: str = "job", **values: Any) -> Any:
        return make_plan(job_fingerprint=job, made_at=made_at, live=True, facts=FACTS, limits=Limits(cap_usd=5.0), policy=POLICY,
                         ranking=ranked(offer(**values), cap_usd=5.0), unchecked=())  # fmt: skip

    shown = plan()
    assert stale(shown, plan(made_at=1500.0)) is None
    assert "expired" in (stale(shown, plan(made_at=1000.0 + 3600.0)) or "")
    assert "clock went back" in (stale(shown, plan(made_at=900.0)) or "")
    for other in (plan(usd_per_hour=0.45), plan(job="another"), plan(region="US")):
        assert "changed" in (stale(shown, other) or "")
