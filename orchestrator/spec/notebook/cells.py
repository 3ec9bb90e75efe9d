"""Reads a notebook (.ipynb, versions 3 and 4) or a Python file into cells with their syntax trees.

Bounded; executes and imports nothing.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from . import magics
from .errors import NotANotebook, TooLarge

MAX_FILE_BYTES: Final = 64 << 20
MAX_BRACES: Final = 1_000_000  # opening brackets of a .ipynb: each becomes an object in memory
MAX_COMMAS: Final = 8_000_000
MAX_CELLS: Final = 20_000
MAX_CODE_CHARS: Final = 2 << 20  # of all cells together
MAX_CELL_CHARS: Final = 1 << 20
MAX_OUTPUT_CHARS: Final = 1 << 20  # kept of each output; the end of it
_CELL_MARK: Final = re.compile(r"^# (?:%%|In\[[ \d]*\]:)", re.MULTILINE)
_OTHER_LANGUAGES: Final = frozenset([".r", ".rmd", ".jl", ".scala", ".js", ".ts", ".cpp", ".c", ".java", ".rs", ".sh", ".sql"])
CLEAR_HINT: Final = "Clear its outputs first: jupyter nbconvert --clear-output --inplace NOTEBOOK"


@dataclass
class Cell:
    """One code cell. number: 1-based position among all cells, 0 for a plain .py file. tree is None where Python cannot read it."""

    number: int
    source: str
    tree: ast.Module | None = None
    maybe: bool = False  # a cell magic decides whether it runs
    problem: str = ""  # why tree is None
    outputs: list[str] = field(default_factory=list)  # texts, HTML included, in order
    metadata: dict[str, Any] = field(default_factory=dict)
    count: int | None = None  # execution count
    lines: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"cell {self.number}" if self.number else "the file"


@dataclass
class Notebook:
    """path's content. cells: the code cells, in order. notes: what could not be read."""

    cells: list[Cell]
    metadata: dict[str, Any]
    notes: list[str]

    def text_of(self, cell_number: int, node: ast.AST) -> str:
        """The source text of a node, on one line, shortened."""
        cell = self._by_number.get(cell_number)
        if cell is None or not hasattr(node, "end_lineno"):
            return ""
        first, last = node.lineno - 1, node.end_lineno - 1  # type: ignore[attr-defined]
        if not 0 <= first <= last < len(cell.lines):
            return ""
        start, end = node.col_offset, node.end_col_offset  # type: ignore[attr-defined]
        text: str
        if first == last:
            text = cell.lines[first].encode("utf-8", "replace")[start:end].decode("utf-8", "replace")
        else:
            head = cell.lines[first].encode("utf-8", "replace")[start:].decode("utf-8", "replace")
            tail = cell.lines[last].encode("utf-8", "replace")[:end].decode("utf-8", "replace")
            text = " ".join(one.strip() for one in (head, *cell.lines[first + 1 : min(last, first + 20)], tail))
        return text if len(text) <= 200 else text[:197] + "..."

    def __post_init__(self) -> None:
        self._by_number = {cell.number: cell for cell in self.cells}


def read(path: Path) -> Notebook:
    """The notebook at `path`. Raises NotANotebook, TooLarge."""
    if path.suffix.lower() in _OTHER_LANGUAGES:
        raise NotANotebook(f"{path.name} is not Python.", "cloudtune reads .ipynb and .py files with Python in them.")
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise TooLarge(f"{path.name} is {size / 2**20:,.0f} MiB; at most {MAX_FILE_BYTES >> 20} MiB are read.", CLEAR_HINT)
        if not path.is_file():
            raise NotANotebook(f"{path} is not a file.", "Give the path of one notebook.")
        raw = path.read_bytes()
    except OSError as problem:
        raise NotANotebook(f"{path} cannot be read: {problem.strerror or problem}.", "Check the path.") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise NotANotebook(f"{path.name} is not a text file in UTF-8.", "Export the notebook again, as .ipynb or .py.") from None
    if path.suffix.lower() == ".ipynb" or (path.suffix.lower() != ".py" and text.lstrip()[:1] == "{"):
        return _from_json(text, path.name)
    return _from_python(text, path.name)


def _from_json(text: str, name: str) -> Notebook:
    if text.count("{") + text.count("[") > MAX_BRACES or text.count(",") > MAX_COMMAS:
        raise TooLarge(f"{name} has too many cells or outputs to read.", CLEAR_HINT)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError, MemoryError) as problem:
        said = "nested too deeply" if not isinstance(problem, ValueError) else str(problem)
        raise NotANotebook(f"{name} is not a notebook: {said}.", "Export it again from Jupyter, Kaggle or Colab.") from None
    if not isinstance(document, dict):
        raise NotANotebook(f"{name} is JSON, but not a notebook.", "Export it again from Jupyter, Kaggle or Colab.")
    cells = document.get("cells")
    if not isinstance(cells, list):
        sheets = document.get("worksheets")
        cells = (
            [one for sheet in sheets if isinstance(sheet, dict) for one in _list(sheet.get("cells"))] if isinstance(sheets, list) else None
        )
    if not isinstance(cells, list):
        raise NotANotebook(f"{name} is JSON, but has no cells.", "Export it again from Jupyter, Kaggle or Colab.")
    if len(cells) > MAX_CELLS:
        raise TooLarge(f"{name} has {len(cells):,} cells; at most {MAX_CELLS:,} are read.", "Is it a notebook somebody wrote?")
    metadata = _dict(document.get("metadata"))
    language = _dict(metadata.get("kernelspec")).get("language") or _dict(metadata.get("language_info")).get("name") or "python"
    if not isinstance(language, str) or not language.lower().startswith(("python", "ipython")):
        raise NotANotebook(f"{name} is a notebook in {str(language)[:40]}, not in Python.", "cloudtune reads Python notebooks.")
    notes: list[str] = []
    read_cells = [
        _cell(number, one, notes) for number, one in enumerate(cells, 1) if isinstance(one, dict) and one.get("cell_type") == "code"
    ]
    return _parsed([one for one in read_cells if one is not None], metadata, notes, name)


def _cell(number: int, raw: dict[str, Any], notes: list[str]) -> Cell | None:
    source = raw.get("source", raw.get("input", ""))
    if isinstance(source, list):
        source = "".join(one for one in source if isinstance(one, str))
    language = raw.get("language", "python")
    if not isinstance(source, str) or (isinstance(language, str) and language.lower() not in ("python", "")):
        notes.append(f"cell {number} is not Python and was not read")
        return None
    count = raw.get("execution_count", raw.get("prompt_number"))
    outputs = [text for one in _list(raw.get("outputs")) if isinstance(one, dict) for text in _texts(one)]
    return Cell(number, source, outputs=outputs, metadata=_dict(raw.get("metadata")), count=count if isinstance(count, int) else None)


def _texts(output: dict[str, Any]) -> list[str]:
    """The texts of one output: stream, result, HTML, traceback."""
    data = _dict(output.get("data"))
    held = [
        output.get("text"), data.get("text/plain"), output.get("html"), data.get("text/html"), output.get("evalue"),
        output.get("traceback"),
    ]  # fmt: skip
    texts = []
    for one in held:
        if isinstance(one, list):
            one = "".join(piece for piece in one if isinstance(piece, str))
        if isinstance(one, str) and one:
            texts.append(one[-MAX_OUTPUT_CHARS:])
    return texts


def _from_python(text: str, name: str) -> Notebook:
    whole = Cell(0, text)
    notes: list[str] = []
    notebook = _parsed([whole], {}, notes, name)
    marks = [found.start() for found in _CELL_MARK.finditer(text)]
    if whole.tree is not None or not marks:
        return notebook
    cells: list[Cell] = []  # the file as a whole cannot be read: its cells one by one
    for number, (start, end) in enumerate(zip([0, *marks], [*marks, len(text)], strict=True), 1):
        cells.append(Cell(number, "\n" * text.count("\n", 0, start) + text[start:end]))
    return _parsed(cells[:MAX_CELLS], {}, [], name)


def _parsed(cells: list[Cell], metadata: dict[str, Any], notes: list[str], name: str) -> Notebook:
    if sum(len(cell.source) for cell in cells) > MAX_CODE_CHARS:
        raise TooLarge(f"{name} has more than {MAX_CODE_CHARS >> 20} MiB of code.", "Is it a notebook somebody wrote?")
    for cell in cells:
        cell.source = cell.source.replace("\r\n", "\n").replace("\r", "\n")
        cell.lines = cell.source.split("\n")
        _parse(cell)
        if cell.problem:
            notes.append(f"{cell.name} was not read: {cell.problem}")
    return Notebook(cells, metadata, notes)


def _parse(cell: Cell) -> None:
    if len(cell.source) > MAX_CELL_CHARS and cell.number:
        cell.problem = "it is too long"
        return
    text, cell.maybe, dropped = magics.strip(cell.source)
    if dropped:
        cell.tree = ast.Module([], [])
        return
    try:
        cell.tree = _tree(text)
    except SyntaxError as problem:
        cell.problem = f"syntax error in line {problem.lineno}: {problem.msg}"
    except (ValueError, RecursionError, MemoryError):
        cell.problem = "Python cannot read it"
    else:
        return


def _tree(text: str) -> ast.Module:
    try:
        return magics.parse(text)
    except SyntaxError:
        stripped = magics.strip_lines(text)
        if stripped == text:
            raise
        return magics.parse(stripped)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
