"""The header of a GGUF file: its keys and values, never its weights. Standard library only."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO, Any

from orchestrator.errors import DataProblem

MAX_ITEMS = 2_000_000  # of one list; the largest vocabularies have 300,000
MAX_TEXT_BYTES = 16 * 2**20
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9


def read_header(path: Path) -> dict[str, Any]:
    """Every key of the header. Raises DataProblem when this is no GGUF file, OSError when it cannot be read."""
    with open(path, "rb") as handle:
        try:
            if handle.read(4) != b"GGUF":
                raise DataProblem(f"{path.name} is not a GGUF file")
            _version, _tensors, count = struct.unpack("<IQQ", handle.read(20))
            return {_text(handle): _value(handle, _number(handle, "I")) for _ in range(min(count, MAX_ITEMS))}
        except (struct.error, KeyError, UnicodeDecodeError, RecursionError) as error:
            raise DataProblem(f"{path.name} is a damaged GGUF file: {error}") from error


def _number(handle: IO[bytes], code: str) -> Any:
    return struct.unpack(f"<{code}", handle.read(struct.calcsize(code)))[0]


def _text(handle: IO[bytes]) -> str:
    size = _number(handle, "Q")
    if size > MAX_TEXT_BYTES:
        raise struct.error("a text longer than any is")
    return handle.read(size).decode()


def _value(handle: IO[bytes], kind: int) -> Any:
    if kind == _TEXT:
        return _text(handle)
    if kind == _LIST:
        inner, size = _number(handle, "I"), _number(handle, "Q")
        if size > MAX_ITEMS:
            raise struct.error("a list longer than any is")
        return [_value(handle, inner) for _ in range(size)]
    return _number(handle, _NUMBERS[kind])
