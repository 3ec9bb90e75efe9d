"""Where words go: JSON documents to stdout, everything for people to stderr, receipts for people to stdout."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from orchestrator.errors import CloudtuneError

if TYPE_CHECKING:
    from rich.console import Console


WIDE_COLUMNS = 400  # where nobody looks at a screen, a row stays a line


class Format(StrEnum):
    """Values of ``-o``."""

    TEXT = "text"
    JSON = "json"


class _Mode:
    """Set once by the command that runs; read when an error has to be shown."""

    format: Format = Format.TEXT
    quiet: bool = False


def choose(output: Format, quiet: bool = False) -> None:
    """Remember how this command answers."""
    _Mode.format = output
    _Mode.quiet = quiet


def as_json() -> bool:
    return _Mode.format is Format.JSON


def quiet() -> bool:
    return _Mode.quiet


def messages() -> Console:
    """The console for progress and diagnostics: stderr. Colour and width follow NO_COLOR and the terminal."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty(), quiet=_Mode.quiet)


def answers() -> Console:
    """The console for what was asked for: stdout."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(highlight=False, soft_wrap=not terminal, width=None if terminal else WIDE_COLUMNS)


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(dump(document) + "\n")
    sys.stdout.flush()


def dump(document: Any) -> str:
    """JSON text as cloudtune prints it."""
    import json

    return json.dumps(document, ensure_ascii=False, indent=2)


# what would steer the terminal becomes a picture of itself; the end of a line stays
_PICTURES = {code: 0x2400 + code for code in range(32) if code != 10} | {0x7F: 0x2421} | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)


def plain(text: str) -> str:
    """Text of a stranger (a row, a file's or a column's name) that cannot steer the terminal."""
    return text.translate(_PICTURES)


def show_error(error: CloudtuneError) -> None:
    """What happened, why, what to type next, what is being charged; on stderr, and as JSON on stdout when asked for."""
    sys.stderr.write(f"{_coloured('error:')} {plain(error.message)}\n")
    if error.hint:
        sys.stderr.write(f"  next: {plain(error.hint)}\n")
    sys.stderr.write(f"  being charged: {error.charged}\n")
    if as_json():
        body = {"message": error.message, "hint": error.hint, "charged": error.charged, "exit_code": int(error.exit_code)}
        print_json({"error": body})


def _coloured(text: str) -> str:
    return f"\x1b[1;31m{text}\x1b[0m" if sys.stderr.isatty() and not os.environ.get("NO_COLOR") else text
