"""What can be wrong with a notebook. Every one of them means bad input (exit code 2); none is ever a traceback."""

from __future__ import annotations


class NotebookProblem(Exception):
    """The notebook cannot be imported. `message` says what and why, `hint` what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NotANotebook(NotebookProblem):
    """The file is no notebook and no Python file, or is in another language."""


class TooLarge(NotebookProblem):
    """The file passes a bound that keeps time and memory small."""


class NothingFound(NotebookProblem):
    """There is no fine-tune in it."""


class SeveralTrainers(NotebookProblem):
    """More than one fine-tune in one notebook. `trainers` lists them, numbered from 1."""

    def __init__(self, message: str, hint: str, trainers: list[str]) -> None:
        super().__init__(message, hint)
        self.trainers = trainers
