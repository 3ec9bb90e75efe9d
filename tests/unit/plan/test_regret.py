"""The benchmark of regret runs, and choosing by the job is better than choosing by the hour."""

from __future__ import annotations

from benchmarks.cost_regret import measured, synthetic


def test_by_the_job_is_better_than_by_the_hour_on_measured_speeds() -> None:
    found = measured()
    assert found["jobs"] >= 20 and 0.0 <= found["regret_mean_pct"] < found["regret_of_cheapest_hour_mean_pct"]


def test_made_up_jobs_are_scored_and_save_money() -> None:
    found = synthetic(40, seed=1)
    assert found["synthetic"]["jobs"] == 40 and found["synthetic"]["regret_mean_pct"] >= 0.0
    assert found["saving_vs_cheapest_hour_pct"]["mean"] > 0.0
    assert synthetic(40, seed=1) == found
