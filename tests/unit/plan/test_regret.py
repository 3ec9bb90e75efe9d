"""The benchmark of regret runs, and choosing by the job is better than choosing by the hour."""

from __future__ import annotations

from benchmarks.cost_regret import DATA, measured, synthetic
from benchmarks.estimate_accuracy import score, speed_summary
from benchmarks.measurements import read_rows


def test_by_the_job_is_better_than_by_the_hour_on_measured_speeds() -> None:
    found = measured()
    assert found["jobs"] >= 20 and 0.0 <= found["regret_mean_pct"] <= 5.0 < found["regret_of_cheapest_hour_mean_pct"]


def test_the_speed_reaches_its_goals_on_the_published_rows() -> None:
    speed = speed_summary([scored for row in read_rows(DATA) if (scored := score(row)) is not None])
    assert speed["rows"] >= 150 and speed["median_pct"] <= 12.0 and speed["p90_pct"] <= 50.0
    assert speed["pairs_right"] >= 0.9 * speed["pairs"]


def test_made_up_jobs_are_scored_and_save_money() -> None:
    found = synthetic(40, seed=1)
    assert found["synthetic"]["jobs"] == 40 and found["synthetic"]["regret_mean_pct"] >= 0.0
    assert found["saving_vs_cheapest_hour_pct"]["mean"] > 0.0
    assert synthetic(40, seed=1) == found
