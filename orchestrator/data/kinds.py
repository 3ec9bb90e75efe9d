"""The words that formats share. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Canonical = dict[str, Any]
CHARS_PER_TOKEN = 3.6  # English under vocabularies of 32k to 256k entries: 3.2 to 4.5; only used until tokens are counted


def estimated_tokens(row: Mapping[str, Any]) -> int:
    """Tokens of a canonical row by its characters, before anything is cut."""
    if "messages" in row:
        characters = sum(len(turn["content"]) + 8 for turn in row["messages"])  # 8: the template's marks around a turn
    else:
        characters = sum(len(str(row.get(key, ""))) for key in ("prompt", "completion", "text"))
    return math.ceil(characters / CHARS_PER_TOKEN) + 1


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How rows of one dataset become canonical ones."""

    kind: str  # the format, under the job file's names
    sentence: str  # what was found, for a person
    labelled: bool
    convert: Callable[[dict[str, Any], str], Canonical]  # row values, place -> canonical row; raises DataProblem
