"""What row lengths mean: a histogram, what is cut, and how much of a batch is padding. Pure."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.spec.jobspec import TrainingSpec

GROUP = 8  # effective batches that the trainer sorts together
MAX_SIMULATED = 200_000  # rows whose batches are played through
MAX_PLANNED = 20_000  # the same, where it may take 20 ms
BARS = 12


@dataclass(kw_only=True)
class Lengths:
    """Tokens of every usable row, in order. Filled while rows are read."""

    kept: array[int] = field(default_factory=lambda: array("I"))  # what the model sees
    longest: int = 0  # before anything is cut
    over: int = 0  # rows over max_length
    cut: int = 0  # tokens of theirs that the model never sees
    first_over: str = ""  # file and line
    stops: int = 0  # rows whose end carries loss
    doubled_stops: int = 0

    def add(self, full: int, kept: int, place: str) -> None:
        self.kept.append(kept)
        self.longest = max(self.longest, full)
        if full > kept:
            self.first_over = self.first_over or place
            self.over, self.cut = self.over + 1, self.cut + full - kept

    @property
    def total(self) -> int:
        """Tokens of one pass over all rows."""
        return sum(self.kept)


def quantile(ordered: Sequence[int], share: float) -> int:
    """The value below which ``share`` of a sorted sequence lies; 0 for an empty one."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0


def histogram(lengths: Sequence[int]) -> list[tuple[int, int, int]]:
    """(from, to, rows) of up to twelve ranges of equal width, the last value included."""
    if not lengths:
        return []
    low, high = min(lengths), max(lengths)
    width = max(1, math.ceil((high - low + 1) / BARS))
    counts = [0] * ((high - low) // width + 1)
    for length in lengths:
        counts[(length - low) // width] += 1
    return [(low + i * width, min(high, low + (i + 1) * width - 1), count) for i, count in enumerate(counts)]


@dataclass(frozen=True, kw_only=True)
class Padding:
    """The share of a batch's tokens that is padding: rows at random, rows of like length together, rows one after the other."""

    random: float
    grouped: float
    packed: float

    def of(self, packing: str) -> float:
        """Under the job's setting: ``auto`` groups."""
        return self.grouped if packing == "auto" else self.random


def padding(lengths: Sequence[int], training: TrainingSpec) -> Padding:
    """The padding of one epoch under the job's batch size, in the trainer's own order."""
    some = lengths[:MAX_SIMULATED]
    if not some:
        return Padding(random=0.0, grouped=0.0, packed=0.0)
    rows = training.per_device_train_batch_size
    effective = rows * training.gradient_accumulation_steps
    return Padding(
        random=_waste(some, order(some, effective, training.seed, grouped=False), rows),
        grouped=_waste(some, order(some, effective, training.seed, grouped=True), rows),
        packed=_packed(some, training.max_length),
    )


def added_by_padding(lengths: Sequence[int], training: TrainingSpec) -> tuple[tuple[int, float], ...]:
    """(rows a pass, padding tokens that batches of so many add to a real token), for the job's own batch and each half of it.

    In the trainer's own order; a smaller pass, as on a card with less memory, keeps the effective batch and its order.
    """
    some = lengths[:MAX_PLANNED]
    rows = training.per_device_train_batch_size
    if not some or not sum(some):
        return ()
    taken = order(some, rows * training.gradient_accumulation_steps, training.seed, grouped=training.packing == "auto")
    found = []
    while rows >= 1:
        waste = _waste(some, taken, rows)
        found.append((rows, waste / (1 - waste)))
        rows //= 2
    return tuple(found)


def order(lengths: Sequence[int], effective: int, seed: int, *, grouped: bool) -> list[int]:
    """The rows of the first epoch as the trainer takes them, but for the place of whole optimizer steps, which pad the same."""
    rows = list(range(len(lengths)))
    random.Random(f"{seed}/0").shuffle(rows)  # noqa: S311 - an order, not a secret
    if not grouped:
        return rows
    span = effective * GROUP
    return [row for start in range(0, len(rows), span) for row in sorted(rows[start : start + span], key=lambda i: -lengths[i])]


def _waste(lengths: Sequence[int], rows: list[int], each: int) -> float:
    padded = 0
    for start in range(0, len(rows), each):
        batch = rows[start : start + each]
        padded += len(batch) * max(lengths[row] for row in batch)
    return 1 - sum(lengths) / padded if padded else 0.0


def _packed(lengths: Sequence[int], room: int) -> float:
    """Rows put one after the other into rows of ``room`` tokens, none of them split, the longest first; the last one is cut to fit."""
    counts = [0] * (room + 1)
    for length in lengths:
        counts[min(length, room)] += 1
    left, padded = len(lengths), 0
    while left:
        free, at = room, room
        while at > 0 and free > 0 and left:
            at = min(at, free)
            if not counts[at]:
                at -= 1
                continue
            take = min(counts[at], free // at)
            counts[at] -= take
            left, free = left - take, free - take * at
        if free == room:
            break  # only empty rows are left
        padded += room if left else room - free
    return 1 - sum(min(length, room) for length in lengths) / padded if padded else 0.0


def document(lengths: Lengths, training: TrainingSpec, *, counted: bool, source: str) -> dict[str, Any]:
    """The lengths as other programs read them."""
    ordered = sorted(lengths.kept)
    waste = padding(lengths.kept, training)
    return {
        "counted": counted, "tokenizer": source, "total": lengths.total, "rows": len(ordered),
        "mean": round(lengths.total / len(ordered), 1) if ordered else 0.0, "median": quantile(ordered, 0.5),
        "p95": quantile(ordered, 0.95),
        "longest": lengths.longest, "max_length": training.max_length, "rows_over_max_length": lengths.over, "tokens_cut": lengths.cut,
        "histogram": [{"from": low, "to": high, "rows": rows} for low, high, rows in histogram(ordered)],
        "padding": {"random": round(waste.random, 4), "grouped": round(waste.grouped, 4), "packed": round(waste.packed, 4),
                    "as_set": round(waste.of(training.packing), 4)},
    }  # fmt: skip
