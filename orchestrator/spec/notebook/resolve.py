"""Walks a notebook from its first cell to its last and gives the machine with what was called, and with which arguments."""

from __future__ import annotations

import ast
import re
from typing import Final

from . import attributes, calls, statements
from .cells import Cell, Notebook
from .library import is_trainer
from .machine import Budget, Machine
from .values import Func, Opaque, Sym, Unresolved

_NAME: Final = re.compile(r"[^\W\d]\w*")


def walk(notebook: Notebook) -> Machine:
    """Everything the notebook calls, in the order of its cells. Never raises on what a notebook contains."""
    m = Machine(notebook.text_of)
    try:
        for cell in notebook.cells:
            m.cell = cell.number
            if cell.tree is None:
                _unread(m, cell)
            else:
                _run_cell(m, cell)
        if not any(is_trainer(event.call.last) for event in m.events.values()):
            _uncalled(m, notebook)
    except Budget:
        m.notes.append(f"cell {m.cell}: the notebook is too long to follow to its end; what comes later is not known")
    return m


def _run_cell(m: Machine, cell: Cell) -> None:
    assert cell.tree is not None
    body = cell.tree.body
    try:
        if cell.maybe:
            m.branches([lambda: statements.run_block(m, body, m.globals), lambda: None], "in a cell whose magic may not have run it")
        elif statements.run_block(m, body, m.globals) == statements.Flow.RAISE:
            m.notes.append(f"{cell.name} ends in an exception; its rest was not followed")
    except RecursionError:
        m.depth, m.tries = 0, 0
        m.calls.clear()
        m.active.clear()
        m.notes.append(f"{cell.name} is nested too deeply to follow")
        m.forget_globals(f"{cell.name}, nested too deeply to follow, may have changed it")


def _unread(m: Machine, cell: Cell) -> None:
    """A cell that Python cannot read may have set any name that it mentions."""
    why = f"{cell.name}, which could not be read, mentions it: {cell.problem}"
    for name in {found.group() for found in _NAME.finditer(cell.source)}:
        held = m.globals.slots.get(name)
        if name in m.globals.slots and not isinstance(held, Sym):
            m.forget(held, why)
            attributes.bind(m, m.globals, name, Opaque("expr", why))


def _uncalled(m: Machine, notebook: Notebook) -> None:
    """No trainer where the notebook runs: look into functions that nothing calls. Their parameters are unknown, whatever their defaults."""
    for func in list(m.functions):
        if func.node in m.called or func.opaque or not _mentions_trainer(func):
            continue
        m.cell = func.cell
        m.notes.append(f"{func.name}() is never called in the notebook; its parameters are not known")
        try:
            calls.invoke(m, func, calls.Given(opened=True), func.node)
        except (RecursionError, Unresolved):
            m.notes.append(f"{func.name}() could not be followed")


def _mentions_trainer(func: Func) -> bool:
    return any(is_trainer(one.id if isinstance(one, ast.Name) else one.attr) for one in ast.walk(func.node) if isinstance(one, ast.Name | ast.Attribute))

