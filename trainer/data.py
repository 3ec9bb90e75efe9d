"""Canonical rows (JSON lines) and the token form every task turns them into.

No torch: this module is about lists of integers. Must not repair a bad row; it names the file and the line.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import DataError

IGNORED = -100  # the label of a position that carries no loss, as in torch.nn.functional.cross_entropy
MAX_NAMED_SKIPS = 5  # skipped rows that a notice names


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a data file."""

    fields: dict[str, Any]
    where: str  # "file:line", for messages


@dataclass(frozen=True, kw_only=True)
class Example:
    """A row as the model sees it."""

    ids: list[int]
    labels: list[int]  # sft: one a token, IGNORED where no loss; classification: the class index alone


def read_rows(path: Path) -> list[Row]:
    """All rows of a JSON lines file. Raises DataError for a missing or empty file or a line that is no JSON object."""
    rows = []
    try:
        with open(path, encoding="utf-8") as handle:
            for number, line in enumerate(handle, start=1):
                if line.strip():
                    rows.append(_row(line, f"{path.name}:{number}"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name}: not UTF-8: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    if not rows:
        raise DataError(f"{path.name}: no rows")
    return rows


def _row(line: str, where: str) -> Row:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise DataError(f"{where}: expected an object, got {type(fields).__name__}")
    return Row(fields=fields, where=where)


def text_field(row: Row, name: str, *, may_be_blank: bool = False) -> str:
    """A string field of a row. Raises DataError when it is missing, not a string, or blank."""
    value = row.fields.get(name)
    if not isinstance(value, str):
        raise DataError(f"{row.where}: {name!r} must be a string, got {type(value).__name__}")
    if not value.strip() and not may_be_blank:
        raise DataError(f"{row.where}: {name!r} is empty")
    return value


def label_field(row: Row, labels: tuple[str, ...]) -> str:
    """The label of a row. Raises DataError when it is not one of ``labels``."""
    label = text_field(row, "label")
    if label not in labels:
        raise DataError(f"{row.where}: label {label!r} is not one of {', '.join(labels)}")
    return label


def encode_rows(rows: list[Row], encode: Callable[[Row], Example | None], notice: Callable[[str], None]) -> list[tuple[Row, Example]]:
    """Encode every row; rows without a loss token are reported and left out. Raises DataError when none is left."""
    pairs, skipped = [], []
    for row in rows:
        example = encode(row)
        if example is None:
            skipped.append(row.where)
        else:
            pairs.append((row, example))
    named = ", ".join(skipped[:MAX_NAMED_SKIPS]) + (", …" if len(skipped) > MAX_NAMED_SKIPS else "")
    if not pairs:
        raise DataError(f"{named}: no row has anything to learn from (every answer is empty or cut away by max_length)")
    if skipped:
        notice(f"{len(skipped)} of {len(rows)} rows have nothing to learn from and are skipped: {named}")
    return pairs


def length_batches(lengths: list[int], max_tokens: int) -> list[list[int]]:
    """Row numbers in batches of like length, longest first, each at most ``max_tokens`` after padding (or one row)."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        width = lengths[batches[-1][0]] if batches else 0
        if batches and (len(batches[-1]) + 1) * width <= max_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
