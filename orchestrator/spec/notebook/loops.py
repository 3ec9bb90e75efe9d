"""Loops: any number of passes, so that whatever the body changes is unknown from its first statement on."""

from __future__ import annotations

import ast
from typing import Any, Final

from . import attributes, expressions, statements
from .machine import Machine
from .values import Heap, Instance, Opaque, Scope, Value

MAX_PASSES: Final = 3  # over the body, until nothing new is found to change


def loop(m: Machine, node: Any, scope: Scope) -> statements.Flow:
    """Any number of passes: whatever the body changes is unknown from its first statement on."""
    source = expressions.evaluate(m, node.iter, scope) if not isinstance(node, ast.While) else None
    if (
        source is not None
        and (isinstance(source, Heap) and not isinstance(source, Opaque | Instance))
        and source.slots.get("items") in ((), {})
    ):
        return statements.run_block(m, node.orelse, scope)
    why = "changed in a loop"
    _forget_names(m, node, scope, why)
    flow = statements.Flow.NORMAL

    def body() -> statements.Flow:
        nonlocal flow
        if isinstance(node, ast.While):
            expressions.evaluate(m, node.test, scope)
        else:
            attributes.assign(m, node.target, expressions.opaque(m, node, why, "item", recv=source, parts=("each",)), scope)
        flow = statements.run_block(m, node.body, scope)
        return flow

    appended: list[tuple[dict[Any, Value], Value]] = []
    for number in range(MAX_PASSES):
        mark = len(m.trail)
        body()
        changed = m.undo(mark)
        if number == 0 and flow == statements.Flow.NORMAL and isinstance(node, ast.For):
            appended = _appended(scope, list(changed.values()))
        again = False
        for slots, key, _ in changed.values():
            again = again or (bool(slots) and not isinstance(slots.get(key), Opaque))  # empty: an object born in the body
            m.write(slots, key, Opaque("expr", why, loc=m.loc(node), born=len(m.trail)))
        if not again:
            break
    m.branches([body, lambda: None], why)
    _forget_names(m, node, scope, why)
    for slots, value in appended:
        m.write(slots, "items", Opaque("each", why, loc=m.loc(node), parts=(value,), born=len(m.trail)))
    after = statements.run_block(m, node.orelse, scope) if node.orelse else statements.Flow.NORMAL
    kept = flow & (statements.Flow.RETURN | (statements.Flow.RAISE if m.tries else statements.Flow(0)))
    return after | kept | statements.Flow.NORMAL


def _appended(scope: Scope, changed: list[Any]) -> list[tuple[dict[Any, Value], Value]]:
    """Lists that were empty before the loop and get one item a pass, where the loop changes nothing else but its own names."""
    found = []
    for slots, key, value in changed:
        if slots is scope.slots or not slots:
            continue
        if key != "items" or slots.get("items") != () or not isinstance(value, tuple) or len(value) != 1:
            return []
        found.append((slots, value[0]))
    return found


def _forget_names(m: Machine, node: ast.AST, scope: Scope, why: str) -> None:
    if node not in m.bound:
        bound = [one for one in statements.own_nodes(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store | ast.Del)]
        m.bound[node] = list(dict.fromkeys(one.id for one in bound))
    for name in m.bound[node]:
        m.step()
        attributes.bind(m, scope, name, Opaque("expr", why, loc=m.loc(node), born=len(m.trail)))
