"""The words that formats share. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Canonical = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How rows of one dataset become canonical ones."""

    kind: str  # the format, under the job file's names
    sentence: str  # what was found, for a person
    labelled: bool
    convert: Callable[[dict[str, Any], str], Canonical]  # row values, place -> canonical row; raises DataProblem
