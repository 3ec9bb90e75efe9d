"""Takes IPython's own syntax out of a cell without moving a line: %magics, %%cell magics, !shell, help?. Pure."""

from __future__ import annotations

import ast
import re
import warnings
from typing import Final, NamedTuple

KEEPS_BODY: Final = frozenset(["capture", "time", "prun", "wandb", "memray_flamegraph", "snakeviz"])
DROPS_BODY: Final = frozenset([
    "bash", "sh", "script", "writefile", "file", "html", "javascript", "js", "latex", "markdown", "svg", "perl", "ruby", "pypy",
    "python2", "cmd", "R", "cython", "sql", "bigquery", "system", "sx", "!", "timeit", "cu", "cpp", "shell", "writetemplate",
    "writefile_append",
])  # fmt: skip
REBINDING: Final = frozenset([
    "run", "load", "loadpy", "macro", "pylab", "store", "reset", "reset_selective", "autorestore", "xdel", "runfile",
])  # fmt: skip
_CELL: Final = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\n)*[ \t]*%%(!|[\w.]+)([^\n]*)")
_LINE: Final = re.compile(r"[ \t]*(?:!|%[A-Za-z%!]|\?+[\w.])")
_ASSIGNED: Final = re.compile(r"([ \t]*[\w.,\[\]'\" \t]*?[\w\]])[ \t]*=[ \t]*(?:!|%[A-Za-z]).*", re.DOTALL)
_HELP: Final = re.compile(r"[ \t]*%{0,2}[\w.*]+\?{1,2}[ \t]*(?:#.*)?$")
_LEXEME: Final = re.compile(r"\"\"\"|'''|\"|'|#[^\n]*|\\.|[\[\](){}]|\n", re.DOTALL)


class Stripped(NamedTuple):
    """text: Python with the same number of lines. maybe: a magic may not run it. dropped: the cell magic whose cell holds no Python."""

    text: str
    maybe: bool = False
    dropped: str = ""


def parse(text: str) -> ast.Module:
    """The syntax tree. Raises SyntaxError, ValueError, RecursionError or MemoryError on what Python cannot read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an invalid escape in somebody's regular expression is no concern of ours
        return ast.parse(text)


def strip(source: str) -> Stripped:
    """A cell without cell magics. Line magics are left in; `strip_lines` takes them out where Python cannot read the cell as it is."""
    maybe = False
    for _ in range(5):
        found = _CELL.match(source)
        if found is None:
            return Stripped(source, maybe)
        name = found.group(1)
        if name in DROPS_BODY:
            return Stripped("\n" * source.count("\n"), False, name)
        maybe = maybe or name not in KEEPS_BODY
        source = "\n" * found.group(0).count("\n") + source[found.end() :]
    return Stripped(source, True)


def strip_lines(source: str) -> str:
    """Line magics, shell lines and help, each with its continuation lines, replaced so that no line moves."""
    out: list[str] = []
    position, depth, closing = 0, 0, ""
    fresh = True  # at the start of a logical line
    while position < len(source):
        end = source.find("\n", position)
        end = len(source) if end < 0 else end
        line = source[position:end]
        if fresh and not closing and depth == 0 and _is_magic(line):
            stop = end
            while source[position:stop].endswith("\\") and stop < len(source):
                following = source.find("\n", stop + 1)
                stop = len(source) if following < 0 else following
            out.append(_replacement(line) + "\n" * source.count("\n", position, stop))
            position = stop
        else:
            depth, closing, continued = _scan(line, depth, closing)
            out.append(line)
            fresh = not continued
            position = end
        if position < len(source):
            out.append("\n")
            position += 1
    return "".join(out)


def _is_magic(line: str) -> bool:
    return bool(_LINE.match(line) or _HELP.match(line) or ("=" in line and _ASSIGNED.match(line)))


def _replacement(line: str) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    rest = line.strip()
    assigned = _ASSIGNED.match(line) if not _LINE.match(line) else None
    if assigned is not None:
        return f"{assigned.group(1)} = get_ipython()"
    name, _, argument = rest.lstrip("%").partition(" ")
    if rest.startswith("%time ") and argument:
        return indent + argument.strip()
    if rest.startswith("%") and name in REBINDING:
        return f"{indent}exec('%{name}')"
    return indent + "pass"


def _scan(line: str, depth: int, closing: str) -> tuple[int, str, bool]:
    """Bracket depth and open string after a line, and whether a backslash continues it."""
    for found in _LEXEME.finditer(line):
        lexeme = found.group()
        if closing:
            if lexeme == closing:
                closing = ""
        elif lexeme[0] == "#":
            return depth, closing, False
        elif lexeme in ('"', "'", '"""', "'''"):
            closing = lexeme
        elif lexeme in "([{":
            depth += 1
        elif lexeme in ")]}":
            depth = max(0, depth - 1)
    continued = line.endswith("\\")
    if len(closing) == 1 and not continued:
        closing = ""  # a string that ends with its line: a mistake, or a quote in a magic
    return depth, closing, continued
