"""Thousands of nights: nothing left alive, nothing over the cap, nothing under-reported, no adapter lost or false."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.simulate import Tally, document, nights, run
from orchestrator.backends.simulated.checks import problems
from orchestrator.backends.simulated.faults import HARSH, KINDS, REALISTIC
from orchestrator.backends.simulated.night import play, trace_line
from orchestrator.run.rules import ALL_RULES, RULE_NAMES, Rules

PROCESSES = 2
SEEDS_FILE = Path(__file__).with_name("seeds.txt")
REMEMBERED = [int(line.split()[0]) for line in SEEDS_FILE.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


def tally(start: int, seeds: int, rates: str = "harsh", broken: str | None = None) -> Tally:
    total = Tally()
    for part in run(start, seeds, rates, broken, PROCESSES):
        total.add(part)
    return total


@pytest.mark.parametrize("seed", REMEMBERED)
def test_seeds_that_once_failed(seed: int) -> None:
    assert problems(play(seed)) == []


def test_three_thousand_harsh_nights() -> None:
    total = tally(0, 3000)
    assert total.failing == {}
    assert total.allowed_succeeded >= 0.5 * total.allowed


def test_two_hundred_nights_in_this_process() -> None:
    """The same in the process that measures coverage."""
    assert nights(range(100_000, 100_200), HARSH, ALL_RULES).failing == {}


@pytest.mark.parametrize("start", [7_000, 80_000])
def test_every_kind_of_fault_in_any_thousand(start: int) -> None:
    total = tally(start, 1000)
    assert total.failing == {}
    assert [kind for kind in KINDS if not total.faults[kind]] == []


def test_realistic_nights_succeed() -> None:
    total = tally(0, 1000, "realistic")
    assert total.failing == {}
    assert total.allowed_succeeded >= 0.99 * total.allowed, document(total)


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_each_rule_is_needed(rule: str) -> None:
    """Without it, 500 seeds hold at least one that the checks catch. More starts: ``make simulate``."""
    for first in range(20_000, 20_500, 50):
        if nights(range(first, first + 50), HARSH, Rules.without(rule)).failing:
            return
    pytest.fail(f"500 nights without {rule} and nothing was noticed")


def test_one_seed_is_one_night_to_the_byte() -> None:
    def lines(seed: int) -> str:
        found: list[str] = []
        play(
            seed,
            REALISTIC if seed % 2 else HARSH,
            ALL_RULES,
            tracer=lambda w, s, e: found.append(json.dumps(trace_line(w, s, e), sort_keys=True)),
        )
        return "\n".join(found)

    for seed in range(20):
        assert lines(seed) == lines(seed)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="no rule 'nothing'"):
        Rules.without("nothing")
