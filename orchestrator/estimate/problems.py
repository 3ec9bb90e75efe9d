"""What the estimate refuses, with the next thing to type. The caller turns these into the project's error tree.

Must not import anything heavier than the standard library.
"""

from __future__ import annotations


class EstimateProblem(ValueError):
    """The question cannot be answered as asked; never a number in its place."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message}\n  {hint}")
        self.message = message
        self.hint = hint


class UnknownModel(EstimateProblem):
    """Not in the bundled table, and no config was given."""


class CannotSize(EstimateProblem):
    """A config whose architecture has no formula here, or that lacks a number the formula needs."""


class BadWorkload(EstimateProblem):
    """Zero or negative anything, a rank above the matrix, a length above the model's positions."""


class UnknownGpu(EstimateProblem):
    """A card of which neither usable memory nor speed is known."""
