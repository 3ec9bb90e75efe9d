"""Files to rows, streaming, each with its file and line. Knows nothing about what a row should hold."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from orchestrator.data.json_array import MAX_DEPTH, elements, list_of
from orchestrator.data.rows import BadRow, Reading, Row
from orchestrator.data.sources import READABLE, Source, find_sources
from orchestrator.data.tables import read_table
from orchestrator.data.text import HEAD_BYTES, MAX_ROW_BYTES, TextLines, byte_lines, detect
from orchestrator.errors import DataProblem, MissingExtra

__all__ = ["READABLE", "BadRow", "Reading", "Row", "read_rows", "scan"]
PARQUET_ROWS = 512  # rows in memory at a time
MAX_MEMBER_IN_MEMORY_BYTES = 512 * 2**20  # Parquet inside a zip has to be read whole
MAX_JSON_OBJECT_BYTES = 256 * 2**20
_DECODER = msgspec.json.Decoder(dict[str, Any])


def read_rows(path: Path, reading: Reading | None = None, *, root: Path | None = None) -> Iterator[Row]:
    """All rows of a dataset, in order. Raises DataProblem naming file and line at the first that cannot be read."""
    for found in scan(find_sources(path, root=root), reading or Reading()):
        if isinstance(found, BadRow):
            raise found.problem()
        yield found


def scan(sources: list[Source], reading: Reading) -> Iterator[Row | BadRow]:
    """Every record of every source, good or bad. Raises DataProblem when a source cannot be read on."""
    for source in sources:
        try:
            yield from _READERS[source.kind](source, reading)
        except UnicodeDecodeError as error:
            raise DataProblem(f"{source.name}: not {error.encoding} text (byte {error.start})", hint="state dataset.encoding") from error
        except UnicodeError as error:
            raise DataProblem(f"{source.name} cannot be decoded: {error}", hint="state dataset.encoding") from error
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError) as error:
            raise DataProblem(f"{source.name} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _codec(source: Source, reading: Reading) -> str:
    with source.open() as handle:
        codec = detect(handle.read(HEAD_BYTES), source.name, reading.encoding)
    if codec in ("cp1252", "latin-1") and reading.encoding is None:
        reading.notes.append(f"{source.name} is not UTF-8; read as {codec} (dataset.encoding says otherwise)")
    return codec


def _table(source: Source, reading: Reading) -> Iterator[Row | BadRow]:
    with source.open() as handle:
        yield from read_table(handle, source.name, source.kind, _codec(source, reading), reading)


def _jsonl(source: Source, reading: Reading) -> Iterator[Row | BadRow]:
    codec = _codec(source, reading)
    with source.open() as handle:
        if codec not in ("utf-8", "utf-8-sig", "ascii"):
            yield from _text_jsonl(handle, source.name, codec, reading)
            return
        name, decode = source.name, _DECODER.decode
        for line, text in byte_lines(handle, name, reading.on_bytes):
            if text is None:
                yield BadRow(file=name, line=line, kind="too long", message=f"a row of more than {MAX_ROW_BYTES >> 20} MiB")
                continue
            try:
                yield Row(file=name, line=line, values=decode(text))
            except (msgspec.MsgspecError, RecursionError, ValueError):
                if line == 1:
                    text = text.removeprefix(b"\xef\xbb\xbf")
                if text.strip():
                    yield _slowly(text, name, line)


def _text_jsonl(handle: IO[bytes], name: str, codec: str, reading: Reading) -> Iterator[Row | BadRow]:
    lines = TextLines(handle, codec, name, reading.on_bytes)
    for text in lines:
        while lines.too_long:
            yield BadRow(file=name, line=lines.too_long.pop(0), kind="too long", message=f"a row of more than {MAX_ROW_BYTES >> 20} MiB")
        if text.strip():
            yield _slowly(text, name, lines.number)
    lines.detach()


def _slowly(text: str | bytes, name: str, line: int) -> Row | BadRow:
    """One JSON object by the standard library, which says best what is wrong."""
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            message = f"not UTF-8 text (byte {error.start} of the line)"
            return BadRow(file=name, line=line, kind="not text", message=message, hint="save it as UTF-8, or state dataset.encoding")
    if "\x00" in text:
        return BadRow(
            file=name, line=line, kind="not text", message="NUL bytes: this is not text, or the file was cut off while it was written"
        )
    try:
        value = json.loads(text.rstrip("\r\n"))  # else what is cut off is said to end on the next line
    except json.JSONDecodeError as error:
        return BadRow(file=name, line=line + error.lineno - 1, kind="not JSON", message=f"not JSON: {error.msg} (column {error.colno})")
    except RecursionError:
        return BadRow(file=name, line=line, kind="nested too deeply", message="JSON nested too deeply")
    except ValueError as error:  # a number of thousands of digits
        return BadRow(file=name, line=line, kind="not JSON", message=f"not usable JSON: {error}")
    if not isinstance(value, dict):
        return BadRow(file=name, line=line, kind="not an object", message=f"expected an object, got {type(value).__name__}")
    if _depth_over(value, MAX_DEPTH):
        return BadRow(file=name, line=line, kind="nested too deeply", message="JSON nested too deeply")
    return Row(file=name, line=line, values=value)


def _depth_over(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [x for item in level for x in (item.values() if isinstance(item, dict) else item) if isinstance(x, (dict, list))]
        if not level:
            return False
    return True


def _json(source: Source, reading: Reading) -> Iterator[Row | BadRow]:
    """A list of objects, streamed; an object that holds one list, or is one row; or JSON lines under the wrong ending."""
    codec = _codec(source, reading)
    with source.open() as handle:
        lines = TextLines(handle, codec, source.name, lambda count: None)
        first = next((line for line in lines if line.strip()), "")
        second = next((line for line in lines if line.strip()), "")
        lines.detach()
    name, start = source.name, first.lstrip().removeprefix("\ufeff")
    if start.startswith("{") and first.rstrip().endswith("}") and second.lstrip().startswith("{"):
        yield from _jsonl(source, reading)
        return
    with source.open() as handle:
        text = io.TextIOWrapper(handle, encoding=codec, errors="strict", newline=None)
        if start.startswith("["):
            for line, item in elements(text, name, reading.on_bytes):
                yield item if isinstance(item, BadRow) else _slowly(item, name, line)
        elif source.size_bytes > MAX_JSON_OBJECT_BYTES:
            raise DataProblem(f"{name}: one JSON object of {source.size_bytes >> 20} MiB", hint="save it as JSON lines: one object a line")
        else:
            for line, found in list_of(text.read(), name):
                yield found if isinstance(found, BadRow) else Row(file=name, line=line, values=found)
            reading.on_bytes(source.size_bytes)
        text.detach()


def _lines(source: Source, reading: Reading) -> Iterator[Row | BadRow]:
    with source.open() as handle:
        lines = TextLines(handle, _codec(source, reading), source.name, reading.on_bytes)
        for text in lines:
            if text.strip():
                yield Row(file=source.name, line=lines.number, values={"text": text.rstrip("\r\n")})
        lines.detach()
        for number in lines.too_long:
            yield BadRow(file=source.name, line=number, kind="too long", message=f"a line of more than {MAX_ROW_BYTES >> 20} MiB")


def _parquet(source: Source, reading: Reading) -> Iterator[Row | BadRow]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtra("reading Parquet", "parquet") from error
    place: Any = str(source.path)
    if source.member is not None or source.path.suffix.lower() == ".gz":
        if source.size_bytes > MAX_MEMBER_IN_MEMORY_BYTES:
            raise DataProblem(
                f"{source.name}: {source.size_bytes >> 20} MiB of Parquet inside an archive", hint="unpack the archive and name the folder"
            )
        with source.open() as handle:
            place = pa.BufferReader(handle.read())
    try:
        with pq.ParquetFile(place) as file:
            number, share = 0, source.size_bytes / max(1, file.metadata.num_rows)
            for batch in file.iter_batches(batch_size=PARQUET_ROWS, use_threads=False):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(file=source.name, line=number, values=values)
                reading.on_bytes(int(share * batch.num_rows))
    except (pa.ArrowException, ValueError) as error:
        raise DataProblem(f"{source.name} is damaged: {str(error)[:200]}", hint="download it again") from error


_READERS = {"csv": _table, "tsv": _table, "json": _json, "jsonl": _jsonl, "parquet": _parquet, "text": _lines}
