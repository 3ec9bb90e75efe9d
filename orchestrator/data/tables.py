"""csv and tsv as they occur: other delimiters, no header, backslashes before quotes. Every broken row is named, none repaired."""

from __future__ import annotations

import contextlib
import csv
import itertools
from collections.abc import Iterator
from typing import IO, Any

from orchestrator.data.rows import BadRow, Reading, Row
from orchestrator.data.text import MAX_ROW_BYTES, TextLines

MAX_CELL_CHARS = 4_000_000
SAMPLE_LINES = 400
KNOWN_NAMES = {
    "id", "idx", "index", "text", "label", "labels", "sentence", "sentiment", "review", "prompt", "completion", "response",
    "instruction", "input", "output", "question", "answer", "context", "title", "content", "body", "message", "messages",
    "conversations", "chosen", "rejected", "winner", "category", "class", "target", "score", "rating", "source", "date", "user",
    "name", "url", "headline",
}  # fmt: skip


def read_table(handle: IO[bytes], name: str, kind: str, codec: str, reading: Reading) -> Iterator[Row | BadRow]:
    """Rows of one table, with its dialect and its header found."""
    csv.field_size_limit(MAX_CELL_CHARS)
    lines = TextLines(handle, codec, name, reading.on_bytes)
    sample = list(itertools.islice(lines, SAMPLE_LINES))
    skipped = 1 if sample and sample[0].lower().startswith("sep=") else 0  # Excel's own first line
    sample = sample[skipped:]
    delimiter, escape = _dialect(sample, kind)
    if delimiter != ("\t" if kind == "tsv" else ","):
        reading.notes.append(f"{name}: cells are parted by {delimiter!r}")
    # csv and backslashes: with an escape character, a quote inside a cell is \" and not ""
    reader = csv.reader(itertools.chain(sample, lines), delimiter=delimiter, strict=True, escapechar=escape, doublequote=escape is None)
    try:
        yield from _rows(reader, lines, name, skipped, sample, reading)
    finally:
        lines.detach()


def _rows(reader: Any, lines: TextLines, name: str, skipped: int, sample: list[str], reading: Reading) -> Iterator[Row | BadRow]:
    names: list[str] = []
    while True:
        line = reader.line_num + 1 + skipped
        while lines.too_long:
            yield BadRow(file=name, line=lines.too_long.pop(0), kind="too long", message=f"a line of more than {MAX_ROW_BYTES >> 20} MiB")
        try:
            cells = next(reader, None)
        except csv.Error as error:
            last = reader.line_num + skipped
            text = str(error)
            if "unexpected end" in text:
                text += f"; a quote that opens on line {line} never closes"
            yield BadRow(file=name, line=last if "unexpected end" not in text or last == line else line, kind="quoting", message=text)
            if "unexpected end" in text:
                return
            continue
        if cells is None:
            return
        if not cells:
            continue
        if not names:
            names = _names(cells, sample, reader, name, line, reading)
            if names[0] == _NO_HEADER:
                names = names[1:]
            else:
                bad = _bad_header(names, cells, name, line)
                if bad is not None:
                    raise bad.problem()
                continue
        if len(cells) != len(names):
            message = f"{len(cells)} cells, but the header names {len(names)} columns"
            yield BadRow(file=name, line=line, kind="wrong number of cells", message=message)
        elif "\x00" in (joined := "".join(cells)):
            yield BadRow(file=name, line=line, kind="not text", message="NUL bytes: this is not text")
        elif not joined.isascii() and not _is_text(joined):
            yield BadRow(
                file=name, line=line, kind="not text", message="not UTF-8 text", hint="save it as UTF-8, or state dataset.encoding"
            )
        else:
            yield Row(file=name, line=line, values=dict(zip(names, cells, strict=True)))


_NO_HEADER = "\x00no header"


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes that were no UTF-8 came in as lone surrogates
        return False
    return True


def _bad_header(names: list[str], cells: list[str], name: str, line: int) -> BadRow | None:
    if not all(map(_is_text, names)):
        return BadRow(file=name, line=line, kind="not text", message="not UTF-8 text", hint="save it as UTF-8, or state dataset.encoding")
    if len(set(names)) != len(names) or not all(names):
        return BadRow(file=name, line=line, kind="header", message=f"the header has an empty or repeated column name: {cells}")
    return None


def _dialect(sample: list[str], kind: str) -> tuple[str, str | None]:
    """(delimiter, escape character): the ending's own, unless the rows fit another one better."""
    usual = "\t" if kind == "tsv" else ","
    candidates = [usual, *(d for d in (",", "\t", ";", "|") if d != usual)]
    if _width(sample, usual, None) > 1:
        return usual, None
    if _width(sample, usual, "\\") > 1:
        return usual, "\\"
    if sample and len(next(csv.reader([sample[0]], delimiter=usual), [])) > 1:
        return usual, None  # the header fits: single rows are broken, not the dialect
    for delimiter in candidates[1:]:
        if _width(sample, delimiter, None) > 1:
            return delimiter, None
    return usual, None


def _width(sample: list[str], delimiter: str, escape: str | None) -> int:
    """Columns, when (nearly) every row of the sample has as many; else 0."""
    reader = csv.reader(sample, delimiter=delimiter, strict=True, escapechar=escape, doublequote=escape is None)
    widths: list[int] = []
    try:
        widths.extend(len(cells) for cells in reader if cells)
    except csv.Error as error:
        if "unexpected end" not in str(error) or len(sample) < SAMPLE_LINES:
            return 0
    return widths[0] if widths and widths.count(widths[0]) == len(widths) else 0


def _names(cells: list[str], sample: list[str], reader: Any, name: str, line: int, reading: Reading) -> list[str]:
    """The header's names; or, where the first row is data, ``_NO_HEADER`` and made-up names."""
    names = [cell.strip() for cell in cells]
    dialect = reader.dialect
    body: list[list[str]] = []
    again = csv.reader(sample, delimiter=dialect.delimiter, escapechar=dialect.escapechar, doublequote=bool(dialect.doublequote))
    with contextlib.suppress(csv.Error):  # the sample may end inside a cell; the rows before it are enough
        body.extend(row for row in again if len(row) == len(cells))
    columns = list(zip(*body[1:], strict=True))
    if not columns or len(cells) < 2 or not _is_data(names, columns, reading.wanted):
        return names
    made = _made_names(columns)
    reading.notes.append(f"{name} has no header line; its columns are taken as {', '.join(made)}")
    return [_NO_HEADER, *made]


def _is_data(first: list[str], columns: list[tuple[str, ...]], wanted: frozenset[str]) -> bool:
    """Whether the first row is a row like the others and not names."""
    lowered = {cell.lower() for cell in first}
    if wanted & set(first) or lowered & KNOWN_NAMES or first == [str(i) for i in range(len(first))] or not all(first):
        return False
    for cell, column in zip(first, columns, strict=True):
        again = sum(other.strip() == cell for other in column)
        if again >= 2 and len(set(column)) * 2 <= len(column):
            return True
        if len(cell.split()) >= 8 and not cell.endswith(("?", ":")) and max(map(len, column)) > 40:
            return True
    return False


def _made_names(columns: list[tuple[str, ...]]) -> list[str]:
    """``label`` for the column of few short values, ``text`` for the longest, numbers for the others."""
    mean = [sum(map(len, column)) / len(column) for column in columns]
    few = [i for i, column in enumerate(columns) if len(set(column)) <= max(2, min(50, len(column) // 2)) and mean[i] < 40]
    text = max(range(len(columns)), key=lambda i: mean[i])
    label = min((i for i in few if i != text), key=lambda i: len(set(columns[i])), default=None)
    return ["text" if i == text else "label" if i == label else f"column_{i + 1}" for i in range(len(columns))]
