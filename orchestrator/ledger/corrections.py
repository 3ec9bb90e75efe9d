"""What earlier runs teach about the estimates: actual over estimated training time, by GPU. Pure.

The plan ranks with it, and an offer says what it was corrected by, so that nothing is corrected twice. Bounded, so that one
odd run cannot turn the ranking over; shown by ``cost`` and by the receipt; switched off with
``resources.correct_estimates: false``.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

import msgspec

from orchestrator.plan.offers import Offer
from orchestrator.run.events import Outcome
from orchestrator.run.state import RunState

LOWEST, HIGHEST = 0.5, 2.0  # a correction never goes beyond these
RUNS_COUNTED = 20  # the newest ones


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """Expected training times on this GPU are multiplied by ``factor``."""

    gpu: str
    factor: float
    runs: int  # how many runs it rests on


def ratio(state: RunState) -> tuple[Offer, float] | None:
    """(offer, actual / estimated training time) of a run that succeeded in one attempt from the beginning, else None."""
    if state.outcome != Outcome.SUCCEEDED or len(state.attempts) != 1 or state.result is None or state.attempts[0].from_step:
        return None
    offer = state.offers[state.attempts[0].offer]
    if not offer.expected_s or state.result.training_s <= 0.0:
        return None
    return offer, state.result.training_s * offer.learned / offer.expected_s


def corrections(newest_first: Iterable[RunState]) -> dict[str, Correction]:
    """The correction for each GPU that earlier runs say something about: the bounded median of their ratios."""
    seen: dict[str, list[float]] = {}
    for state in newest_first:
        found = ratio(state)
        if found is not None:
            seen.setdefault(found[0].gpu, []).append(found[1])
    result = {}
    for gpu, ratios in seen.items():
        counted = ratios[:RUNS_COUNTED]
        factor = min(HIGHEST, max(LOWEST, statistics.median(counted)))
        result[gpu] = Correction(gpu=gpu, factor=factor, runs=len(counted))
    return result


def paces(newest_first: Iterable[RunState]) -> dict[str, float]:
    """The factors alone, by the GPU's name in an offer."""
    return {gpu: correction.factor for gpu, correction in corrections(newest_first).items()}
