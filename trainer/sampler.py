"""The order of the training rows: a pure function of seed and epoch, so a resumed run sees the same batches.

Rows of like length share an effective batch. The order does not depend on how an effective batch is split into
passes, so the out-of-memory ladder never changes what is learned. Must not use the global random state.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

GROUP = 8  # effective batches sorted together; more means less padding and less shuffling


class Batches:
    """A batch sampler: lists of row numbers, one list a forward pass."""

    def __init__(self, lengths: list[int], *, rows_a_pass: int, passes: int, seed: int, grouped: bool) -> None:
        self._lengths = lengths
        self._rows_a_pass = rows_a_pass
        self._effective = rows_a_pass * passes
        self._seed = seed
        self._grouped = grouped
        self.epoch = 0

    @property
    def steps_an_epoch(self) -> int:
        """Optimizer steps an epoch; the last one may have fewer rows."""
        return -(-len(self._lengths) // self._effective)

    def __len__(self) -> int:
        return -(-len(self._lengths) // self._rows_a_pass)

    def __iter__(self) -> Iterator[list[int]]:
        order = self.order(self.epoch)
        for start in range(0, len(order), self._rows_a_pass):
            yield order[start : start + self._rows_a_pass]

    def order(self, epoch: int) -> list[int]:
        """The row numbers of one epoch."""
        generator = random.Random(f"{self._seed}/{epoch}")  # noqa: S311 - an order, not a secret
        order = list(range(len(self._lengths)))
        generator.shuffle(order)
        if not self._grouped:
            return order
        span = self._effective * GROUP
        grouped = [
            row for start in range(0, len(order), span) for row in sorted(order[start : start + span], key=lambda i: -self._lengths[i])
        ]
        steps = [grouped[start : start + self._effective] for start in range(0, len(grouped), self._effective)]
        short = [steps.pop()] if len(steps[-1]) < self._effective else []  # must stay last: passes are counted by place
        generator.shuffle(steps)
        if epoch == 0 and steps:  # the longest rows first, so running out of memory costs no training time
            longest = max(range(len(steps)), key=lambda i: max(self._lengths[row] for row in steps[i]))
            steps[0], steps[longest] = steps[longest], steps[0]
        return [row for step in steps + short for row in step]
