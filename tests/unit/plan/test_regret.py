"""The benchmark of regret runs, and choosing by the job is better than choosing by the hour."""

from __future__ import annotations

import importlib.util

import pytest

from benchmarks.cost_regret import DATA, against_sky, measured, synthetic
from benchmarks.estimate_accuracy import score, speed_summary
from benchmarks.measurements import read_rows
from benchmarks.sky_optimizer import choices, key_of
from orchestrator.backends.offers.snapshot import snapshot_offers


def test_by_the_job_is_better_than_by_the_hour_on_measured_speeds() -> None:
    found = measured()
    assert found["jobs"] >= 20 and 0.0 <= found["regret_mean_pct"] <= 5.0 < found["regret_of_cheapest_hour_mean_pct"]


def test_the_speed_reaches_its_goals_on_the_published_rows() -> None:
    speed = speed_summary([scored for row in read_rows(DATA) if (scored := score(row)) is not None])
    assert speed["rows"] >= 150 and speed["median_pct"] <= 12.0 and speed["p90_pct"] <= 50.0
    assert speed["pairs_right"] >= 0.9 * speed["pairs"]


def test_made_up_jobs_are_scored_and_save_money() -> None:
    found = synthetic(40, seed=1, ask_sky=False)
    assert found["synthetic"]["jobs"] == 40 and found["synthetic"]["regret_mean_pct"] >= 0.0
    assert found["saving_vs_cheapest_hour_pct"]["mean"] > 0.0
    assert synthetic(40, seed=1, ask_sky=False) == found


def test_without_skypilot_its_part_is_not_run_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "cloudtune[sky]" in against_sky([])["not_run"]


@pytest.mark.skipif(importlib.util.find_spec("sky") is None, reason="the extra sky is not installed")
def test_skypilots_own_optimizer_sees_our_offers_and_takes_the_cheapest_hour() -> None:
    offers = [offer for offer in snapshot_offers() if offer.guard != "none"]
    by_key = {key_of(offer): offer for offer in offers}
    wanted = sorted({(offer.gpu, offer.count) for offer in offers})
    questions = [((kind,), spot) for kind in wanted for spot in (False, True)]
    for ((kind,), spot), taken in zip(questions, choices(offers, questions), strict=True):
        rates = [offer.usd_per_hour for offer in offers if (offer.gpu, offer.count) == kind and offer.spot == spot]
        assert (taken is None) == (not rates), kind
        assert taken is None or by_key[taken].usd_per_hour == min(rates), (kind, spot, taken)
