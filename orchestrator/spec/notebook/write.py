"""Writes an imported job as cloudtune.yaml: every value with its cell and line, what is missing and what was replaced at the end.

The text is always valid YAML, and what it holds is exactly the job, whatever the notebook's strings contain.
"""

from __future__ import annotations

import re
from typing import Any, Final

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_RESERVED: Final = frozenset(["true", "false", "yes", "no", "on", "off", "null", "y", "n"])
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def render(
    name: str,
    job: dict[str, Any],
    sources: dict[str, str],
    unresolved: list[dict[str, str]],
    overridden: dict[str, dict[str, Any]],
    notes: list[str],
) -> str:
    """The whole file. `name`: the notebook's file name, for the first line."""
    lines = [f"# Imported from {comment(name)}. Each value says where in the notebook it stands."]
    _mapping(lines, job, sources, "", 0)
    if not job:
        lines.append("{}")
    if overridden:
        lines += ["", "# Replaced, and why:"]
        for key, one in overridden.items():
            after = "left to cloudtune" if one["to"] is None else scalar(one["to"])
            before = "not said" if one["from"] is None else scalar(one["from"])
            lines.append(f"#   {key}: {before} -> {after}: {comment(one['why'])}")
    if unresolved:
        lines += ["", "# Not known from the notebook; fill in what you need:"]
        lines += [f"#   {comment(one['key'])}: {comment(one['expression']) or '?'} ({comment(one['why'])})" for one in unresolved]
    if notes:
        lines += ["", "# Notes:"]
        lines += [f"#   {comment(one)}" for one in notes]
    return "\n".join(lines) + "\n"


def _mapping(lines: list[str], held: dict[str, Any], sources: dict[str, str], prefix: str, depth: int) -> None:
    for key, value in held.items():
        dotted = f"{prefix}{key}"
        indent = "  " * depth
        if isinstance(value, dict) and value:
            lines.append(f"{indent}{scalar(key)}:")
            _mapping(lines, value, sources, f"{dotted}.", depth + 1)
            continue
        said = f"  # {comment(sources[dotted])}" if dotted in sources else ""
        lines.append(f"{indent}{scalar(key)}: {scalar(value)}{said}")


def scalar(value: Any) -> str:
    """One value in flow style, such that a YAML 1.1 reader gets exactly it back."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, list):
        return "[" + ", ".join(scalar(one) for one in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {scalar(one)}" for key, one in value.items()) + "}"
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED and not text.endswith("."):
        return text
    return '"' + "".join(_character(one) for one in text) + '"'


def _float(value: float) -> str:
    if value != value:
        return ".nan"
    if value in (float("inf"), float("-inf")):
        return ".inf" if value > 0 else "-.inf"
    text = repr(value)
    mantissa, mark, exponent = text.partition("e")
    if not mark:
        return text
    if "." not in mantissa:
        mantissa += ".0"
    return f"{mantissa}e{exponent}"  # 2e-05 would be read as a text


def _character(one: str) -> str:
    if one in _ESCAPES:
        return _ESCAPES[one]
    code = ord(one)
    if 32 <= code < 127:
        return one
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def comment(text: str) -> str:
    """A text that fits behind a #: one line, nothing that YAML would not read."""
    shown = " ".join(text.split())
    return "".join(one if one.isprintable() and (ord(one) < 127 or one.isalnum()) and ord(one) < 65536 else "?" for one in shown)
