"""Files to rows, each with its line. Reads csv, tsv, json and jsonl; knows nothing about what a row should hold."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import DataProblem

READABLE = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")
MAX_CELL_CHARS = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Row:
    """One record. ``line`` counts from 1; in a JSON array it is the record's number."""

    line: int
    values: dict[str, Any]


def read_rows(path: Path) -> Iterator[Row]:
    """All rows of a file, in order. Raises DataProblem naming file and line."""
    try:
        there = path.exists()
    except (OSError, ValueError) as error:
        raise DataProblem(f"dataset {str(path)[:200]!r} cannot be looked at: {error}") from error
    if not there:
        raise DataProblem(f"dataset {path} does not exist", hint="check dataset.path; it is relative to the job file")
    if path.is_dir():
        raise DataProblem(f"dataset {path} is a folder; name one file of it", hint=f"readable are {', '.join(READABLE)}")
    suffix = path.suffix.lower()
    if suffix not in READABLE:
        raise DataProblem(f"dataset {path}: {suffix or 'no ending'} is not read yet", hint=f"readable are {', '.join(READABLE)}")
    if path.stat().st_size == 0:
        raise DataProblem(f"dataset {path} is empty")
    reader = {".csv": _csv, ".tsv": _csv, ".json": _json}.get(suffix, _jsonl)
    try:
        yield from reader(path)
    except UnicodeDecodeError as error:
        raise DataProblem(f"{path}: not UTF-8 text (byte {error.start})", hint="save it as UTF-8") from error
    except OSError as error:
        raise DataProblem(f"{path} cannot be read: {error.strerror or error}") from error


def _csv(path: Path) -> Iterator[Row]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    csv.field_size_limit(MAX_CELL_CHARS)
    with open(path, encoding="utf-8-sig", newline="") as handle:
        reader = csv.reader(handle, delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
            names = [name.strip() for name in header]
            if len(set(names)) != len(names) or not all(names):
                raise DataProblem(f"{path}:1: the header has an empty or repeated column name: {header}")
            while True:
                line = reader.line_num + 1
                cells = next(reader, None)
                if cells is None:
                    return
                if not cells:
                    continue
                if len(cells) != len(names):
                    raise DataProblem(f"{path}:{line}: {len(cells)} cells, but the header names {len(names)} columns")
                yield Row(line=line, values=dict(zip(names, cells, strict=True)))
        except csv.Error as error:
            raise DataProblem(f"{path}:{reader.line_num}: {error}") from error


def _jsonl(path: Path) -> Iterator[Row]:
    with open(path, encoding="utf-8-sig") as handle:
        for line, text in enumerate(handle, start=1):
            if text.strip():
                yield Row(line=line, values=_object(_loads(text, path, line), path, line))


def _json(path: Path) -> Iterator[Row]:
    loaded = _loads(path.read_text(encoding="utf-8-sig"), path, 1)
    if isinstance(loaded, dict):
        lists = [value for value in loaded.values() if isinstance(value, list)]
        loaded = lists[0] if len(lists) == 1 else [loaded]
    if not isinstance(loaded, list):
        raise DataProblem(f"{path}: expected a list of objects, got {type(loaded).__name__}")
    for number, item in enumerate(loaded, start=1):
        yield Row(line=number, values=_object(item, path, number))


def _loads(text: str, path: Path, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = line if line > 1 else error.lineno
        raise DataProblem(f"{path}:{place}: not JSON: {error.msg} (column {error.colno})") from error
    except RecursionError as error:
        raise DataProblem(f"{path}:{line}: JSON nested too deeply") from error
    except ValueError as error:  # a number of thousands of digits
        raise DataProblem(f"{path}:{line}: not usable JSON: {error}") from error


def _object(value: Any, path: Path, line: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataProblem(f"{path}:{line}: expected an object, got {type(value).__name__}")
    return {str(key): item for key, item in value.items()}
