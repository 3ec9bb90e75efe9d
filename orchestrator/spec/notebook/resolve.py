"""Walks a notebook from its first cell to its last and gives the machine with what was called, and with which arguments."""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from . import attributes, calls, expressions, statements
from .cells import Cell, Notebook
from .library import is_trainer
from .machine import Budget, Machine
from .values import Func, Opaque, Sym, Unresolved

_NAME: Final = re.compile(r"[^\W\d]\w*")


def walk(notebook: Notebook) -> Machine:
    """Everything the notebook calls, in the order of its cells. Never raises on what a notebook contains."""
    m = Machine(notebook.text_of)
    for cell in notebook.cells:
        m.cell = cell.number
        if cell.tree is None:
            _unread(m, cell)
        elif cell.maybe:
            body = cell.tree.body
            runs: list[Callable[[], Any]] = [partial(statements.run_block, m, body, m.globals), lambda: None]
            _bounded(m, cell, cell.tree, partial(m.branches, runs, "in a cell whose magic may not have run it"))
        else:
            _run_cell(m, cell, cell.tree.body)
    if not any(is_trainer(event.call.last) for event in m.events.values()):
        _uncalled(m, notebook)
    return m


def _run_cell(m: Machine, cell: Cell, body: list[ast.stmt]) -> None:
    for node in body:
        if _bounded(m, cell, node, partial(statements.run, m, node, m.globals)) == statements.Flow.RAISE:
            m.notes.append(f"{cell.name} ends in an exception; its rest was not followed")
            return


def _bounded(m: Machine, cell: Cell, node: ast.AST, run: Callable[[], Any]) -> Any:
    """One statement. When it is too deep or too long, it is undone, and all that it may have changed is not known."""
    mark, events = len(m.trail), dict(m.events)
    m.allow()
    try:
        return run()
    except RecursionError:
        why = "nested too deeply to follow"
    except Budget:
        why = "too long to follow"
    m.undo(mark)
    m.events = events
    m.cell, m.depth, m.tries, m.returns = cell.number, 0, 0, []
    m.calls.clear()
    m.active.clear()
    where = m.loc(node) if hasattr(node, "lineno") else cell.name
    m.notes.append(f"{where}: {why}")
    m.allow(1 << 30)
    expressions.spoil(m, node, m.globals, f"{where} is {why}, and may have changed it")
    return None


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
    cells = {cell.number: cell for cell in notebook.cells}
    for func in list(m.functions):
        if func.node in m.called or func.opaque or not _mentions_trainer(func) or statements.is_generator(func.node):
            continue
        m.cell = func.cell
        m.notes.append(f"{func.name}() is never called in the notebook; its parameters are not known")
        _bounded(m, cells[func.cell], func.node, partial(_invoked, m, func))


def _invoked(m: Machine, func: Func) -> None:
    with contextlib.suppress(Unresolved):
        calls.invoke(m, func, calls.Given(opened=True), func.node)


def _mentions_trainer(func: Func) -> bool:
    return any(
        is_trainer(one.id if isinstance(one, ast.Name) else one.attr)
        for one in ast.walk(func.node)
        if isinstance(one, ast.Name | ast.Attribute)
    )
