"""What readers yield: rows with their file and line, or why a row could not be had."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from orchestrator.errors import DataProblem


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One record. ``line`` counts from 1; in a Parquet file it is the record's number."""

    line: int
    values: dict[str, Any]
    file: str = ""

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


class BadRow(msgspec.Struct, frozen=True, kw_only=True):
    """A record that cannot be read."""

    file: str
    line: int
    kind: str  # a few words, the same for every row with this fault
    message: str  # without the place
    hint: str | None = None

    def problem(self) -> DataProblem:
        """The same as an exception."""
        return DataProblem(f"{self.file}:{self.line}: {self.message}", hint=self.hint)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a dataset is to be read, and who wants to hear of it."""

    encoding: str | None = None  # as the job states it
    wanted: frozenset[str] = frozenset()  # column names that the job mentions: a first line holding one is a header
    on_bytes: Callable[[int], None] = lambda count: None  # progress: so many more bytes were read
    notes: list[str] = field(default_factory=list)  # what was assumed, for a person
