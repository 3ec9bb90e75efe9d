"""``Review: {text}`` over the columns of a row. Names only: no attributes, no indexing, nothing is evaluated."""

from __future__ import annotations

import math
import string
from typing import Any

from orchestrator.errors import DataProblem, UsageProblem


class Template:
    """A parsed template. Raises UsageProblem when it is not one."""

    def __init__(self, text: str, key: str) -> None:
        self.text = text
        self._parts: list[tuple[str, str | None]] = []
        try:
            for literal, name, spec, conversion in string.Formatter().parse(text):
                if name is not None and (not name.strip() or spec or conversion or "[" in name or "." in name):
                    raise UsageProblem(f"{key}: {{{name}}} is not a column name", hint="write {column}; {{ and }} for braces themselves")
                self._parts.append((literal, name))
        except ValueError as error:
            raise UsageProblem(f"{key}: {error}", hint="write {column}; {{ and }} for braces themselves") from error

    @property
    def columns(self) -> set[str]:
        """Names of the columns it uses."""
        return {name for _, name in self._parts if name is not None}

    def fill(self, values: dict[str, Any], place: str) -> str:
        """The text for one row. Raises DataProblem naming ``place`` when a column is missing or empty."""
        out = []
        for literal, name in self._parts:
            out.append(literal)
            if name is not None:
                out.append(as_text(values, name, place))
        return "".join(out)


def as_text(values: dict[str, Any], name: str, place: str) -> str:
    """A cell as text. Raises DataProblem when it is missing or not a plain value."""
    if name not in values or values[name] is None:
        raise DataProblem(f"{place}: no {name!r}", hint=f"the columns are {', '.join(values)}")
    value = values[name]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        raise DataProblem(f"{place}: {name!r} is {value}, not a number")
    if isinstance(value, (str, int, float)):
        return str(value)
    raise DataProblem(f"{place}: {name!r} is a {type(value).__name__}, not text")
