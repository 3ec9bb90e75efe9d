"""Comprehensions: computed over items that are known; over anything else only their effects, and what one item would give."""

from __future__ import annotations

import ast
from typing import Any

from . import attributes, constants, expressions
from .machine import Machine
from .values import Opaque, PyDict, PyList, Scope, Unresolved, Value, View, is_constant, reason


def comprehension(m: Machine, node: Any, scope: Scope) -> Value:
    first = node.generators[0]
    source = expressions.evaluate(m, first.iter, scope)
    results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
    inner = Scope(scope, is_comprehension=True, born=len(m.trail))
    try:
        if len(node.generators) > 1 or first.is_async:
            raise Unresolved("a comprehension with several loops")
        if not isinstance(source, tuple | PyList | PyDict | View):
            raise Unresolved(reason(source))
        items = list(expressions.content(source))
    except Unresolved as problem:
        return _of_unknown(m, node, source, results, inner, problem.why)
    out: list[Value] = []
    for item in items:
        attributes.assign(m, first.target, item, inner)
        tests = [expressions.truth(expressions.evaluate(m, test, inner)) for test in first.ifs]
        if None in tests:
            for one in results + [generator.target for generator in node.generators]:
                expressions.spoil(m, one, inner, "a comprehension whose condition is not known")
            raise Unresolved("a comprehension whose condition is not known")
        if all(tests):
            values = [expressions.evaluate(m, one, inner) for one in results]
            out.append(tuple(values) if len(values) > 1 else values[0])
            constants.bounded(tuple(out))
    return _collected(m, node, out)


def _collected(m: Machine, node: Any, out: list[Value]) -> Value:
    if isinstance(node, ast.DictComp):
        if not all(is_constant(key) for key, _ in out):
            raise Unresolved("a key of the mapping is not known")
        return m.new_dict(dict(out))
    if isinstance(node, ast.SetComp):
        if not all(is_constant(one) for one in out):
            raise Unresolved("a set of values that are not all known")
        return m.new_set(frozenset(out))
    return m.new_list(tuple(out)) if isinstance(node, ast.ListComp) else tuple(out)


def _of_unknown(m: Machine, node: Any, source: Value, results: list[ast.expr], inner: Scope, why: str) -> Value:
    """An Opaque of the kind "each", which holds what one unknown item gives, where that is a list; else of no kind."""
    for generator in node.generators:
        attributes.assign(m, generator.target, expressions.opaque(m, node, why, "item", recv=source, parts=("each",)), inner)
    tests = [test for generator in node.generators for test in generator.ifs]
    values: list[Value] = []
    m.branches([lambda: values.extend([expressions.evaluate(m, one, inner) for one in (*tests, *results)]), lambda: None], why)
    if isinstance(node, ast.ListComp) and not tests and len(node.generators) == 1:
        return Opaque("each", why, loc=m.loc(node), parts=(values[-1],), born=len(m.trail))
    raise Unresolved(why)
