"""Billed seconds by phase, from instants."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.billed_phases import PHASES, Marks, compared, misses, overhead_s, phases

T = 1_795_530_000.0
MINE = Marks(
    created=T, running=T + 1, reached=T + 3, equipped=T + 3.5, sent=T + 4, installing=T + 4.25, installed=T + 7.25, working=T + 10,
    worked=T + 40, pulled=T + 42, ended=T + 42.5, unlisted=T + 43,
)  # fmt: skip
PLAIN = replace(
    MINE, reached=T + 12, equipped=T + 40, sent=T + 41, installing=T + 50, installed=T + 54, working=T + 60, worked=T + 90,
    pulled=T + 95, ended=T + 105, unlisted=T + 105,
)  # fmt: skip


def test_phases_are_the_bill() -> None:
    found = phases(MINE)
    assert tuple(found) == PHASES
    assert found == {
        "boot": 1, "ready": 2, "runtime": 0.5, "upload": 0.5, "install": 3, "start": 3, "train": 30, "pull": 2, "teardown": 0.5,
    }  # fmt: skip
    assert sum(found.values()) == MINE.ended - MINE.created
    assert overhead_s(found) == 12.5


def test_an_instant_out_of_order_is_refused_and_a_rounded_one_is_not() -> None:
    with pytest.raises(ValueError, match="upload ends"):
        phases(replace(MINE, sent=T + 2))
    assert sum(phases(replace(MINE, sent=MINE.equipped - 0.05)).values()) == pytest.approx(42.5)


def test_medians_ratio_and_goals() -> None:
    slow = replace(MINE, ended=T + 90, unlisted=T + 91)
    result = compared([MINE, slow, MINE], [PLAIN])
    assert set(result) == {"phases_s", "overhead_ratio", "teardown_s"}
    assert result["phases_s"]["cloudtune"]["teardown"] == 0.5
    assert (result["overhead_ratio"], result["teardown_s"]) == (round(12.5 / 75, 3), 1.0)
    assert misses(result) == []
    assert len(misses(compared([slow], [MINE]))) == 2
