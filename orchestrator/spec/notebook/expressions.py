"""Expressions of the abstract evaluator, calls excepted. A value comes out only when it is certain; anything else is an Opaque."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, Final

from . import attributes, calls, comprehensions, constants
from .machine import MAX_DEPTH, Machine
from .values import (
    CONSTANTS,
    MISSING,
    Cls,
    Func,
    Instance,
    Opaque,
    PyDict,
    PyList,
    PySet,
    Scope,
    Sym,
    Unresolved,
    Value,
    View,
    is_constant,
    reason,
    same,
    thaw,
)

MAX_PARTS: Final = 200  # pieces of a text of which some are not known
BUILTIN_SYMS: Final = frozenset([
    "print", "len", "str", "int", "float", "bool", "list", "dict", "tuple", "set", "frozenset", "range", "zip", "enumerate", "map",
    "filter", "sorted", "reversed", "sum", "min", "max", "abs", "round", "any", "all", "getattr", "setattr", "hasattr", "isinstance",
    "issubclass", "type", "open", "input", "exec", "eval", "compile", "globals", "locals", "vars", "object", "super", "property",
    "staticmethod", "classmethod", "iter", "next", "id", "repr", "ascii", "chr", "ord", "format", "divmod", "pow", "callable",
    "delattr", "dir", "hash", "hex", "oct", "bin", "slice", "bytes", "bytearray", "complex", "exit", "quit", "Exception", "ValueError",
    "TypeError", "KeyError", "RuntimeError", "ImportError", "ModuleNotFoundError", "FileNotFoundError", "NotImplementedError",
    "AttributeError", "IndexError", "StopIteration", "AssertionError", "KeyboardInterrupt", "SystemExit", "display", "get_ipython",
    "__import__",
])  # fmt: skip


def evaluate(m: Machine, node: ast.expr | None, scope: Scope) -> Value:
    if node is None:
        return None
    m.step()
    if m.depth >= MAX_DEPTH:
        spoil(m, node, scope, "nested too deeply to follow")
        return opaque(m, node, "nested too deeply to follow")
    m.depth += 1
    try:
        handler = _HANDLERS.get(type(node))
        if handler is None:
            spoil(m, node, scope, "code that is not followed")
            return opaque(m, node, f"an expression of the kind {type(node).__name__} is not followed")
        return handler(m, node, scope)
    except Unresolved as problem:
        return opaque(m, node, problem.why)
    finally:
        m.depth -= 1


def spoil(m: Machine, node: ast.AST, scope: Scope, why: str) -> None:
    """Code that is not followed: the names it binds and the objects it calls methods of are no longer known."""
    for one in ast.walk(node):
        m.step()
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store | ast.Del):
            attributes.bind(m, scope, one.id, opaque(m, one, why))
        elif isinstance(one, ast.Attribute | ast.Subscript) and isinstance(one.ctx, ast.Store | ast.Del):
            root: ast.expr = one
            while isinstance(root, ast.Attribute | ast.Subscript):
                root = root.value
            m.forget(lookup(m, root.id, scope) if isinstance(root, ast.Name) else None, why)
        elif isinstance(one, ast.Call):
            names = [one.func, *one.args, *(keyword.value for keyword in one.keywords)]
            for name in names:
                while isinstance(name, ast.Attribute | ast.Subscript | ast.Starred):
                    name = name.value
                found = lookup(m, name.id, scope) if isinstance(name, ast.Name) else None
                if isinstance(found, Func) or (isinstance(name, ast.Name) and name.id in ("exec", "eval", "globals")):
                    m.forget_globals(why)
                else:
                    m.forget(found, why)


def opaque(m: Machine, node: ast.AST, why: str, op: str = "expr", **more: Any) -> Opaque:
    return Opaque(op, why, loc=m.loc(node), born=len(m.trail), **more)


def truth(value: Value) -> bool | None:
    """Whether a value is true; None when that is not known."""
    if isinstance(value, tuple):
        return bool(value)
    if isinstance(value, PurePosixPath):
        return True
    if isinstance(value, CONSTANTS):
        return bool(value)
    if isinstance(value, PyList | PyDict | PySet):
        items = value.slots["items"]
        return None if isinstance(items, Opaque) else bool(items)
    if isinstance(value, Func):
        return True
    return None


def lookup(m: Machine, name: str, scope: Scope) -> Value:
    """A name as it stands now; MISSING when nothing bound it. Class bodies are skipped from within functions, as Python does."""
    here: Scope | None = scope.globals_.get(name, scope)
    first = True
    while here is not None:
        if (first or not here.is_class) and name in here.slots:
            return here.slots[name]
        here, first = here.parent, False
    return MISSING


def _name(m: Machine, node: Any, scope: Scope) -> Value:
    found = lookup(m, node.id, scope)
    if found is not MISSING:
        return found
    if node.id == "__name__":
        return "__main__"
    if node.id in BUILTIN_SYMS or node.id[:1].isupper():
        return Sym(node.id)
    return opaque(m, node, f"{node.id} is not defined by the notebook", "name", callee=node.id)


def _constant(m: Machine, node: Any, scope: Scope) -> Value:
    if isinstance(node.value, CONSTANTS):
        return constants.bounded(node.value)
    raise Unresolved("not a plain value")


def _joined(m: Machine, node: Any, scope: Scope) -> Value:
    held: list[tuple[Any, Value, Value]] = []
    for piece in node.values:  # all of them first: each may bind a name
        if isinstance(piece, ast.Constant):
            held.append((piece, piece.value, ""))
        else:
            value = evaluate(m, piece.value, scope)
            held.append((piece, value, evaluate(m, piece.format_spec, scope) if piece.format_spec is not None else ""))
    parts: list[Value] = []
    for piece, value, spec in held:
        if isinstance(piece, ast.Constant):
            parts.append(value)
        elif isinstance(value, CONSTANTS) and isinstance(spec, str):
            parts.append(constants.render(value, piece.conversion, spec))
        elif spec == "" and piece.conversion in (-1, 115):
            parts.append(value)
        else:
            parts.append(opaque(m, piece, "a formatted value that is not known"))
    return text_of_parts(m, node, parts)


def text_of_parts(m: Machine, node: ast.AST, parts: list[Value]) -> Value:
    """A text if all pieces are; otherwise an Opaque that remembers its pieces (op "text"), from which a template can be made."""
    flat: list[Value] = []
    for part in parts:
        for one in part.parts if isinstance(part, Opaque) and part.op == "text" else (part,):
            if isinstance(one, str) and flat and isinstance(flat[-1], str):
                flat[-1] += one
            else:
                flat.append(one)
    if not flat:
        return ""
    if len(flat) == 1 and isinstance(flat[0], str):
        return constants.bounded(flat[0])
    unknown = next(one for one in flat if not isinstance(one, str))
    if len(flat) > MAX_PARTS or sum(len(one) for one in flat if isinstance(one, str)) > constants.MAX_TEXT:
        return opaque(m, node, "a text of too many pieces")
    return opaque(m, node, reason(unknown), "text", parts=tuple(flat))


def _binop(m: Machine, node: Any, scope: Scope) -> Value:
    left, right = evaluate(m, node.left, scope), evaluate(m, node.right, scope)
    return binary(m, node, type(node.op).__name__, left, right)


def binary(m: Machine, node: ast.AST, op: str, left: Value, right: Value) -> Value:
    if is_constant(left) and is_constant(right):
        return constants.binary(op, left, right)
    if op == "Add":
        if isinstance(left, PyList) and isinstance(right, PyList):
            return m.new_list(constants.bounded(content(left) + content(right)))
        if isinstance(left, tuple) and isinstance(right, tuple):
            return constants.bounded(left + right)
        if isinstance(left, str | Opaque) and isinstance(right, str | Opaque):
            return text_of_parts(m, node, [left, right])
    if op == "Mult" and isinstance(left, PyList) and isinstance(right, int) and len(content(left)) * max(right, 0) <= constants.MAX_ITEMS:
        return m.new_list(content(left) * right)
    if op == "BitOr" and isinstance(left, PyDict) and isinstance(right, PyDict):
        return m.new_dict({**content(left), **content(right)})
    raise Unresolved(reason(left if not is_constant(left) else right))


def content(value: Value) -> Any:
    """The items of a list, dict, set or view whose content is known; a tuple or a constant is its own content."""
    if isinstance(value, View):
        held = content(value.recv)
        return tuple({"keys": held.keys, "values": held.values, "items": held.items}[value.name]())
    items = value.slots["items"] if isinstance(value, PyList | PyDict | PySet) else value
    if isinstance(items, Opaque):
        raise Unresolved(items.why)
    return items


def _unary(m: Machine, node: Any, scope: Scope) -> Value:
    value, op = evaluate(m, node.operand, scope), type(node.op).__name__
    if op == "Not":
        known = truth(value)
        if known is None:
            raise Unresolved(reason(value))
        return not known
    if not is_constant(value):
        raise Unresolved(reason(value))
    return constants.unary(op, value)


def _boolop(m: Machine, node: Any, scope: Scope) -> Value:
    stop = isinstance(node.op, ast.Or)
    value: Value = None
    for index, one in enumerate(node.values):
        value = evaluate(m, one, scope)
        if index == len(node.values) - 1:
            return value
        known = truth(value)
        if known is None:
            maybe(m, node.values[index + 1 :], scope, reason(value))
            raise Unresolved(reason(value))
        if known is stop:
            return value
    return value


def maybe(m: Machine, nodes: list[ast.expr], scope: Scope, why: str) -> None:
    """Expressions that may or may not be evaluated: only their effects matter."""
    m.branches([lambda: [evaluate(m, one, scope) for one in nodes], lambda: None], why)


def _compare(m: Machine, node: Any, scope: Scope) -> Value:
    left = evaluate(m, node.left, scope)
    result: Value = True
    for index, (op, right_node) in enumerate(zip(node.ops, node.comparators, strict=True)):
        right = evaluate(m, right_node, scope)
        outcome = compare(type(op).__name__, left, right)
        if outcome is None:
            maybe(m, node.comparators[index + 1 :], scope, "a comparison that is not known")
            raise Unresolved(reason(left if not is_constant(left) else right))
        if outcome is False:
            return False
        result, left = outcome, right
    return result


def compare(op: str, left: Value, right: Value) -> bool | None:
    """A comparison, or None when it is not known."""
    if op in ("Is", "IsNot"):
        outcome = _identical(left, right)
        return outcome if outcome is None or op == "Is" else not outcome
    if op in ("In", "NotIn") and isinstance(right, PyList | PyDict | PySet) and is_constant(left):
        items = content(right)
        items = tuple(items) if isinstance(items, dict) else items
        if all(is_constant(one) for one in items):
            return constants.compare(op, left, items)
        return None
    if op in ("Eq", "NotEq") and isinstance(left, PyList | PyDict) and isinstance(right, PyList | PyDict):
        try:
            return bool((type(left) is type(right) and thaw(left) == thaw(right)) == (op == "Eq"))
        except Unresolved:
            return None
    if is_constant(left) and is_constant(right):
        return constants.compare(op, left, right)
    if op in ("Eq", "NotEq") and isinstance(left, Sym) and left == right:
        return op == "Eq"
    return None


def _identical(left: Value, right: Value) -> bool | None:
    for one, other in ((left, right), (right, left)):
        if one is None or isinstance(one, bool):
            if isinstance(other, CONSTANTS):
                return type(one) is type(other) and bool(one == other)
            if isinstance(other, tuple | PyList | PyDict | PySet | Func | Cls | Instance):
                return False
            if isinstance(other, Opaque) and other.op == "call" and other.last[:1].isupper():
                return False  # what a constructor returns is neither None nor a bool
    return None


def _ifexp(m: Machine, node: Any, scope: Scope) -> Value:
    test = evaluate(m, node.test, scope)
    known = truth(test)
    if known is not None:
        return evaluate(m, node.body if known else node.orelse, scope)
    why = f"depends on {m.text_of(m.cell, node.test)}, which is not known"
    one, other = m.branches([lambda: evaluate(m, node.body, scope), lambda: evaluate(m, node.orelse, scope)], why)
    if same(one, other):
        return one
    return opaque(m, node, why, "join", parts=(one, other))


def _sequence(m: Machine, node: Any, scope: Scope) -> Value:
    held = [(one, evaluate(m, one.value if isinstance(one, ast.Starred) else one, scope)) for one in node.elts]
    items: list[Value] = []
    for one, value in held:
        if isinstance(one, ast.Starred):
            if not isinstance(value, tuple | PyList):
                raise Unresolved(reason(value))
            items += content(value)
        else:
            items.append(value)
    constants.bounded(tuple(items))
    if isinstance(node, ast.Tuple):
        return tuple(items)
    if isinstance(node, ast.List):
        return m.new_list(tuple(items))
    if not all(is_constant(one) for one in items):
        raise Unresolved("a set of values that are not all known")
    return m.new_set(frozenset(items))


def _dict(m: Machine, node: Any, scope: Scope) -> Value:
    made: dict[Any, Value] = {}
    unknown: Opaque | None = None
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            inner = evaluate(m, value, scope)
            if isinstance(inner, PyDict) and not isinstance(inner.slots["items"], Opaque):
                made.update(content(inner))
            else:
                unknown = opaque(m, node, reason(inner), "expr", parts=(inner,))
            continue
        name = evaluate(m, key, scope)
        held = evaluate(m, value, scope)
        if is_constant(name):
            made[name] = held
        else:
            unknown = opaque(m, node, f"a key of the mapping is not known: {reason(name)}")
    result = m.new_dict(made)
    if unknown is not None:
        result.slots["items"] = unknown
    return result


def _named(m: Machine, node: Any, scope: Scope) -> Value:
    value = evaluate(m, node.value, scope)
    while scope.is_comprehension and scope.parent is not None:
        scope = scope.parent
    attributes.assign(m, node.target, value, scope)
    return value


def _lambda(m: Machine, node: Any, scope: Scope) -> Value:
    return calls.define(m, node, scope)


def _attribute(m: Machine, node: Any, scope: Scope) -> Value:
    return attributes.get_attribute(m, node, evaluate(m, node.value, scope), node.attr)


def _subscript(m: Machine, node: Any, scope: Scope) -> Value:
    value = evaluate(m, node.value, scope)
    if isinstance(node.slice, ast.Slice):
        bounds = tuple(evaluate(m, one, scope) for one in (node.slice.lower, node.slice.upper, node.slice.step))
        return attributes.get_slice(m, node, value, bounds)
    return attributes.get_item(m, node, value, evaluate(m, node.slice, scope))


def _call(m: Machine, node: Any, scope: Scope) -> Value:
    return calls.call(m, node, scope)


def _await(m: Machine, node: Any, scope: Scope) -> Value:
    evaluate(m, node.value, scope)
    raise Unresolved("what an await gives is not known")


_HANDLERS: Final[dict[type, Callable[[Machine, Any, Scope], Value]]] = {
    ast.Constant: _constant, ast.Name: _name, ast.JoinedStr: _joined, ast.BinOp: _binop, ast.UnaryOp: _unary, ast.BoolOp: _boolop,
    ast.Compare: _compare, ast.IfExp: _ifexp, ast.Tuple: _sequence, ast.List: _sequence, ast.Set: _sequence, ast.Dict: _dict,
    ast.ListComp: comprehensions.comprehension, ast.SetComp: comprehensions.comprehension, ast.DictComp: comprehensions.comprehension,
    ast.GeneratorExp: comprehensions.comprehension,
    ast.NamedExpr: _named, ast.Lambda: _lambda, ast.Attribute: _attribute, ast.Subscript: _subscript, ast.Call: _call,
    ast.Await: _await, ast.YieldFrom: _await,
}  # fmt: skip
