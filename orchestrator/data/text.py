"""Bytes to lines: encodings as they occur in the wild, lines of any length in bounded memory. Knows nothing of rows."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterator
from typing import IO

from orchestrator.errors import DataProblem

MAX_ROW_BYTES = 16 * 2**20  # of one row; a longer line is reported and passed over
MAX_SKIP_BYTES = 2**30  # a line that goes on beyond this is not text
HEAD_BYTES = 1 << 20
_MARKS: tuple[tuple[bytes, str], ...] = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"))
_MARKS += ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
# a single high byte beside an ASCII letter, or typographic marks of Windows-1252 beside text
_WESTERN = re.compile(
    rb"(?<=[A-Za-z ])[\xc0-\xff](?=[A-Za-z])|(?<=[a-z])[\xdf-\xff](?=[^\x80-\xff])"
    rb"|[\x80\x85\x91-\x97\x99\xa0\xa3\xa7\xa9\xae\xb0\xb4](?=[\x00-\x7f])"
)
_HIGH = re.compile(rb"[\x80-\xff]")
_MULTIBYTE = re.compile(rb"[\xc3-\xf4][\x80-\xbf]+")


def detect(head: bytes, name: str, stated: str | None = None) -> str:
    """The codec of a file from its first bytes. Raises DataProblem when that would be a guess.

    UTF-8 unless a mark says otherwise; Windows-1252 only when its high bytes sit where Western text has them.
    """
    if stated is not None:
        return _stated(stated)
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return codec
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError as error:
        return _eight_bit(head, name, error.start)
    if head[1:200:2].count(0) > 40 or head[0:200:2].count(0) > 40:
        raise DataProblem(f"{name} looks like UTF-16 without its mark", hint="state dataset.encoding: utf-16-le")
    return "utf-8"


def _stated(codec: str) -> str:
    try:
        found = codecs.lookup(codec)
        "a".encode(found.name)  # some codecs of Python are not text encodings
    except (LookupError, UnicodeError, ValueError) as error:
        if isinstance(error, UnicodeError) and not isinstance(error, LookupError):
            return codec  # two bytes a character: one byte alone is no text in it
        raise DataProblem(
            f"dataset.encoding: {codec!r} is not an encoding", hint="such as utf-8, cp1252, latin-1, shift_jis, gb18030"
        ) from error
    return codec


def _eight_bit(head: bytes, name: str, at: int) -> str:
    high = len(_HIGH.findall(head))
    if 4 * sum(map(len, _MULTIBYTE.findall(head))) >= 3 * high:
        return "utf-8"  # nearly all of it is UTF-8: a few damaged rows, which are named one by one
    if 2 * len(_WESTERN.findall(head)) >= high:
        try:
            head.decode("cp1252")
        except UnicodeDecodeError:
            return "latin-1"
        return "cp1252"
    line = head[:at].count(10) + 1  # 10: the newline
    raise DataProblem(
        f"{name}:{line}: not UTF-8 text (byte {at})",
        hint="save it as UTF-8, or state dataset.encoding, such as cp1252, cp1251, gb18030 or shift_jis",
    )


def byte_lines(handle: IO[bytes], name: str, on_bytes: Callable[[int], None]) -> Iterator[tuple[int, bytes | None]]:
    """(line number from 1, line with its end, or None when it is too long to be a row). Raises DataProblem when it never ends."""
    number = 0
    while True:
        line = handle.readline(MAX_ROW_BYTES + 1)
        if not line:
            return
        number += 1
        on_bytes(len(line))
        if len(line) <= MAX_ROW_BYTES:
            yield number, line
            continue
        skipped = len(line)
        while line and not line.endswith(b"\n"):
            line = handle.readline(1 << 20)
            on_bytes(len(line))
            skipped += len(line)
            if skipped > MAX_SKIP_BYTES:
                raise DataProblem(f"{name}:{number}: a line of more than {MAX_SKIP_BYTES >> 30} GiB is not text")
        yield number, None


class TextLines:
    """Decoded lines for the csv module; too long ones are passed over and named in ``too_long``.

    Bytes that are no text become lone surrogates, so that the row that holds them can be named.
    """

    def __init__(self, handle: IO[bytes], codec: str, name: str, on_bytes: Callable[[int], None]) -> None:
        self._text = io.TextIOWrapper(handle, encoding=codec, errors=_errors(codec), newline="")
        self._name, self._on_bytes = name, on_bytes
        self.number = 0
        self.too_long: list[int] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while True:
            line = self._text.readline(MAX_ROW_BYTES)
            if not line:
                raise StopIteration
            self.number += 1
            self._on_bytes(len(line))
            if len(line) < MAX_ROW_BYTES or line.endswith("\n"):
                return line
            skipped = len(line)
            while line and not line.endswith("\n"):
                line = self._text.readline(1 << 20)
                self._on_bytes(len(line))
                skipped += len(line)
                if skipped > MAX_SKIP_BYTES:
                    raise DataProblem(f"{self._name}:{self.number}: a line of more than {MAX_SKIP_BYTES >> 30} GiB is not text")
            self.too_long.append(self.number)

    def detach(self) -> None:
        """Let go of the stream, which its owner closes."""
        self._text.detach()


def _errors(codec: str) -> str:
    return "surrogateescape" if codec in ("utf-8", "utf-8-sig") else "strict"
