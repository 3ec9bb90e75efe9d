"""A JSON list as its elements, one at a time, in memory bounded by the largest element. Pure: text in, text out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import IO, Any

from orchestrator.data.rows import BadRow
from orchestrator.data.text import MAX_ROW_BYTES
from orchestrator.errors import DataProblem

MAX_DEPTH = 100  # of one row
CHUNK_CHARS = 1 << 20
_OUTSIDE, _INSIDE = re.compile(r'["\[\]{}]'), re.compile(r'["\\]')
_GAP = re.compile(r"\s*,\s*")


class _Scanner:
    """Finds where elements begin and end. ``buffer`` holds what is not yet handed out."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.buffer = ""
        self.at = 0  # scanned up to here
        self.start = -1  # where the open element begins
        self.gap = 0  # where the text since the last element begins
        self.depth = 0
        self.string = False
        self.count = 0
        self.line = 1  # of buffer[0]
        self.closed = False

    def feed(self, chunk: str) -> Iterator[tuple[int, str | BadRow]]:
        self.buffer += chunk
        while (match := (_INSIDE if self.string else _OUTSIDE).search(self.buffer, self.at)) is not None:
            mark = match[0]
            if mark == "\\":
                if match.end() == len(self.buffer):
                    self.at = match.start()
                    break
                self.at = match.end() + 1
                continue
            self.at = match.end()
            yield from self._quote(match.start()) if mark == '"' else self._bracket(mark, match.start())
        else:
            self.at = len(self.buffer)
        self._trim()

    def _quote(self, place: int) -> Iterator[tuple[int, str | BadRow]]:
        self.string = not self.string
        if self.depth == 1:  # a bare string in the list
            if self.string:
                yield from self._opened(place)
            else:
                yield self._element(place + 1)

    def _bracket(self, mark: str, place: int) -> Iterator[tuple[int, str | BadRow]]:
        if mark in "[{":
            if self.depth == 1:
                yield from self._opened(place)
            elif self.depth == 0:
                if self.closed:
                    raise DataProblem(
                        f"{self.name}:{self._line_of(place)}: not JSON: more text after the list", hint="JSON lines belong in a .jsonl file"
                    )
                self.gap = place + 1
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise DataProblem(f"{self.name}:{self._line_of(place)}: JSON nested too deeply")
            return
        self.depth -= 1
        if self.depth < 0:
            raise DataProblem(f"{self.name}:{self._line_of(place)}: not JSON: {mark!r} closes nothing")
        if self.depth == 1:
            yield self._element(place + 1)
        elif self.depth == 0:
            between = self.buffer[self.gap : place]
            if between.strip():
                yield self._line_of(place), self._bad(place, f"not JSON: {between.strip()[:40]!r} before the end of the list")
            self.closed, self.gap = True, place + 1

    def _opened(self, place: int) -> Iterator[tuple[int, str | BadRow]]:
        between = self.buffer[self.gap : place]
        good = _GAP.fullmatch(between) if self.count else not between.strip()
        if not good:
            yield self._line_of(place), self._bad(place, f"not JSON: {between.strip()[:40]!r} between two rows")
        self.start = place

    def _element(self, end: int) -> tuple[int, str | BadRow]:
        line, text = self._line_of(self.start), self.buffer[self.start : end]
        self.start, self.gap, self.count = -1, end, self.count + 1
        return line, text

    def _bad(self, place: int, message: str) -> BadRow:
        return BadRow(file=self.name, line=self._line_of(place), kind="not JSON", message=message)

    def _line_of(self, place: int) -> int:
        return self.line + self.buffer.count("\n", 0, place)

    def _trim(self) -> None:
        keep = self.start if self.start >= 0 else min(self.gap, self.at)
        if len(self.buffer) - keep > MAX_ROW_BYTES:
            raise DataProblem(f"{self.name}:{self._line_of(keep)}: a row of more than {MAX_ROW_BYTES >> 20} MiB")
        self.line += self.buffer.count("\n", 0, keep)
        self.buffer = self.buffer[keep:]
        self.at, self.gap = self.at - keep, self.gap - keep
        self.start = 0 if self.start >= 0 else -1

    def end(self) -> None:
        """Raises DataProblem when the list is not finished."""
        if not self.closed or self.string:
            raise DataProblem(
                f"{self.name}:{self._line_of(max(0, len(self.buffer)))}: not JSON: the list never ends",
                hint="the file was cut off; download it again",
            )
        if self.buffer[self.gap :].strip():
            raise DataProblem(
                f"{self.name}:{self._line_of(self.gap)}: not JSON: more text after the list", hint="JSON lines belong in a .jsonl file"
            )


def elements(text: IO[str], name: str, on_bytes: Callable[[int], None]) -> Iterator[tuple[int, str | BadRow]]:
    """(line, JSON text) of every element of a list. Raises DataProblem when the list itself is broken."""
    scanner = _Scanner(name)
    while chunk := text.read(CHUNK_CHARS):
        on_bytes(len(chunk))
        # line numbers are counted from the buffer's beginning: short pieces keep that cheap
        for begin in range(0, len(chunk), 1 << 14):
            yield from scanner.feed(chunk[begin : begin + (1 << 14)])
    scanner.end()


def list_of(text: str, name: str) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """The rows of one JSON value: the only list in it, or the object itself."""
    text = text.removeprefix("\ufeff")
    try:
        loaded = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataProblem(f"{name}:{error.lineno}: not JSON: {error.msg} (column {error.colno})") from error
    except RecursionError as error:
        raise DataProblem(f"{name}:1: JSON nested too deeply") from error
    except ValueError as error:
        raise DataProblem(f"{name}:1: not usable JSON: {error}") from error
    if isinstance(loaded, dict):
        lists = [value for value in loaded.values() if isinstance(value, list)]
        turns = any(key in loaded for key in ("messages", "conversations", "chosen"))  # one conversation is one row
        loaded = lists[0] if len(lists) == 1 and not turns else [loaded]
    if not isinstance(loaded, list):
        raise DataProblem(f"{name}: expected a list of objects, got {type(loaded).__name__}")
    for number, item in enumerate(loaded, start=1):
        if isinstance(item, dict):
            yield number, item
        else:
            yield number, BadRow(file=name, line=number, kind="not an object", message=f"expected an object, got {type(item).__name__}")
