"""Names, attributes and items: reading, binding, deleting. Used by expressions and statements alike; evaluates no syntax but targets."""

from __future__ import annotations

import ast
from pathlib import PurePosixPath
from typing import Any

from . import constants, expressions, tables
from .machine import Machine
from .values import (
    MISSING,
    Cls,
    Func,
    Heap,
    Instance,
    Method,
    Opaque,
    PyDict,
    PyList,
    PySet,
    Scope,
    Sym,
    Unresolved,
    Value,
    is_constant,
    reason,
)

LIBRARY_CLASSES = frozenset(["object", "BaseModel", "NamedTuple", "Generic", "Protocol", "ABC", "SimpleNamespace"])


def bind(m: Machine, scope: Scope, name: str, value: Value) -> None:
    m.write(scope.globals_.get(name, scope).slots, name, value)


def assign(m: Machine, target: ast.expr, value: Value, scope: Scope) -> None:
    """target = value, for every kind of target."""
    if isinstance(target, ast.Name):
        bind(m, scope, target.id, value)
    elif isinstance(target, ast.Attribute):
        owner = expressions.evaluate(m, target.value, scope)
        set_attribute(m, owner, target.attr, value)
        if isinstance(owner, Opaque):
            m.write(owner.slots, ("at", target.attr), m.loc(target))
    elif isinstance(target, ast.Subscript):
        holder = expressions.evaluate(m, target.value, scope)
        key = (
            expressions.opaque(m, target, "a slice")
            if isinstance(target.slice, ast.Slice)
            else expressions.evaluate(m, target.slice, scope)
        )
        set_item(m, holder, key, value)
    elif isinstance(target, ast.Starred):
        assign(m, target.value, value, scope)
    elif isinstance(target, ast.Tuple | ast.List):
        _unpack(m, target.elts, value, scope)


def _unpack(m: Machine, targets: list[ast.expr], value: Value, scope: Scope) -> None:
    items = value.slots["items"] if isinstance(value, PyList) else value
    starred = [index for index, one in enumerate(targets) if isinstance(one, ast.Starred)]
    if isinstance(items, str) and len(items) <= constants.MAX_ITEMS:
        items = tuple(items)
    if isinstance(items, tuple) and not starred and len(items) == len(targets):
        for one, item in zip(targets, items, strict=True):
            assign(m, one, item, scope)
    elif isinstance(items, tuple) and starred and len(items) >= len(targets) - 1:
        head, tail = starred[0], len(targets) - starred[0] - 1
        middle = m.new_list(items[head : len(items) - tail])
        for one, item in zip(targets, [*items[:head], middle, *items[len(items) - tail :]], strict=True):
            assign(m, one, item, scope)
    else:
        for index, one in enumerate(targets):
            part = (
                expressions.opaque(m, one, reason(value), "item", recv=value, parts=(index,))
                if not starred
                else expressions.opaque(m, one, reason(value))
            )
            assign(m, one, part, scope)


# --- attributes ---------------------------------------------------------------------------------------------------------------------------


def get_attribute(m: Machine, node: ast.AST, value: Value, name: str) -> Value:
    if isinstance(value, Sym):
        return Sym(f"{value.path}.{name}") if value.path.count(".") < 12 else expressions.opaque(m, node, "a name too long to follow")
    if isinstance(value, Opaque):
        return _of_opaque(m, node, value, name)
    if isinstance(value, Instance | Cls):
        return _of_object(m, node, value, name)
    if isinstance(value, PurePosixPath) and name in constants.PATH_PARTS:
        return getattr(value, name)
    if isinstance(value, str | PurePosixPath | PyList | PyDict | PySet | tuple):
        return Method(value, name)
    raise Unresolved(f".{name} of something that has no such attribute here")


def _of_opaque(m: Machine, node: ast.AST, value: Opaque, name: str) -> Value:
    if name in value.slots:
        return value.slots[name]
    if value.op == "call" and name in value.kwargs and "*" not in value.slots and value.last[:1].isupper() and not value.recv:
        return value.kwargs[name].value  # what a config class was given, until somebody changes it
    order = tables.TRAINER_POSITIONS.get(value.last, ())
    if value.op == "call" and name == "args" and "*" not in value.slots and name in order[: len(value.args)]:
        return value.args[order.index(name)].value  # trainer.args.seed = 1 changes what the trainer was given
    if value.op == "name":
        return expressions.opaque(m, node, value.why, "name", callee=f"{value.callee}.{name}")
    return expressions.opaque(m, node, reason(value), "attr", recv=value, callee=name)


def _of_object(m: Machine, node: ast.AST, value: Instance | Cls, name: str) -> Value:
    if isinstance(value, Instance):
        if name in value.slots:
            return value.slots[name]
        if "*" in value.slots or value.cls is None:
            raise Unresolved(f".{name} may have been changed by code that is not followed")
    cls = value.cls if isinstance(value, Instance) else value
    assert cls is not None
    for one in cls.mro():
        if name in one.slots:
            found = one.slots[name]
            if cls.opaque and not isinstance(found, Func):
                raise Unresolved(cls.opaque)
            if one is not cls and any(
                isinstance(base, Opaque) or (isinstance(base, Sym) and base.last not in LIBRARY_CLASSES) for base in cls.bases
            ):
                raise Unresolved(f".{name} may come from a class that is not followed")
            return _bound(m, found, value, cls)
        if one.opaque and one is not cls:
            break
    if "*" in cls.slots or cls.opaque or any(not isinstance(base, Cls) for base in cls.bases):
        return expressions.opaque(
            m, node, cls.opaque or f".{name} comes from a class that is not followed", "attr", recv=value, callee=name
        )
    raise Unresolved(f"{cls.name} has no attribute {name}")


def _bound(m: Machine, found: Value, value: Instance | Cls, cls: Cls) -> Value:
    if not isinstance(found, Func) or found.bound is not None:
        return found
    if found.kind == "property":
        raise Unresolved(f"{found.name} is a property")
    if found.kind == "staticmethod":
        return found
    if found.kind == "classmethod":
        owner: Value = cls
    elif isinstance(value, Instance):
        owner = value
    else:
        return found
    return Func(found.node, found.scope, found.cell, found.defaults, found.kw_defaults, found.opaque, owner, found.kind)


def called(m: Machine, node: ast.AST, value: Value) -> Func | None:
    """What runs when a library calls it: a function, a method of an object, or the __call__ of an object of the notebook's own class."""
    if isinstance(value, Instance) and value.cls is not None:
        try:
            value = get_attribute(m, node, value, "__call__")
        except Unresolved:
            return None
    return value if isinstance(value, Func) and (value.bound is None or isinstance(value.bound, Instance)) else None


def set_attribute(m: Machine, holder: Value, name: str, value: Value) -> None:
    if isinstance(holder, Instance | Cls):
        cls = holder.cls if isinstance(holder, Instance) else holder
        if cls is not None and any(isinstance(one.slots.get(name), Func) and one.slots[name].kind == "property" for one in cls.mro()):
            m.forget(holder, f"{name} is a property with a setter")
        else:
            m.write(holder.slots, name, value)
    elif isinstance(holder, Opaque):
        m.write(holder.slots, name, value)
        parent = holder.recv
        if holder.op == "attr" and isinstance(parent, Heap) and not isinstance(parent, Opaque):
            m.forget(parent, "changed through an attribute that is not followed")


# --- items --------------------------------------------------------------------------------------------------------------------------------


def get_item(m: Machine, node: ast.AST, value: Value, key: Value) -> Value:
    if isinstance(value, Opaque):
        held = value.slots.get(("item", key)) if is_constant(key) else None
        return held if held is not None else expressions.opaque(m, node, reason(value), "item", recv=value, parts=(key,))
    if isinstance(value, Sym | Cls | Instance | Func):
        return expressions.opaque(m, node, reason(value), "item", recv=value, parts=(key,))
    if not is_constant(key):
        raise Unresolved(reason(key))
    items = expressions.content(value)
    if isinstance(items, dict):
        if key not in items:
            raise Unresolved(f"the mapping has no key {key!r}")
        return items[key]
    if isinstance(items, tuple | str) and isinstance(key, int) and -len(items) <= key < len(items):
        return items[key]
    raise Unresolved("an item that does not exist")


def get_slice(m: Machine, node: ast.AST, value: Value, bounds: tuple[Value, ...]) -> Value:
    if isinstance(value, Opaque):
        return expressions.opaque(m, node, reason(value), "item", recv=value, parts=("slice",))
    items = expressions.content(value)
    if not isinstance(items, tuple | str) or not all(one is None or isinstance(one, int) for one in bounds) or bounds[2] == 0:
        raise Unresolved("a slice that is not known")
    cut: Value = items[slice(*bounds)]
    return m.new_list(cut) if isinstance(value, PyList) else cut


def set_item(m: Machine, holder: Value, key: Value, value: Value) -> None:
    if isinstance(holder, Opaque):
        if holder.op == "call" and holder.callee in ("globals", "locals", "vars"):
            m.forget_globals("globals() is written to")
        elif is_constant(key):
            m.write(holder.slots, ("item", key), value)
        return
    if isinstance(holder, Instance | Cls):
        m.forget(holder, "changed by an item assignment")
        return
    if not isinstance(holder, PyList | PyDict):
        return
    items = holder.slots["items"]
    if isinstance(items, Opaque):
        return
    if isinstance(items, dict) and is_constant(key) and len(items) < constants.MAX_ITEMS:
        m.write(holder.slots, "items", {**items, key: value})
    elif isinstance(items, tuple) and isinstance(key, int) and -len(items) <= key < len(items):
        changed = list(items)
        changed[key] = value
        m.write(holder.slots, "items", tuple(changed))
    else:
        m.write(holder.slots, "items", expressions.opaque(m, ast.Pass(), "an item at a place that is not known was written"))


def delete(m: Machine, target: ast.expr, scope: Scope) -> None:
    if isinstance(target, ast.Name):
        where = scope.globals_.get(target.id, scope)
        if target.id in where.slots:
            m.write(where.slots, target.id, MISSING)
    elif isinstance(target, ast.Tuple | ast.List):
        for one in target.elts:
            delete(m, one, scope)
    elif isinstance(target, ast.Attribute):
        set_attribute(m, expressions.evaluate(m, target.value, scope), target.attr, expressions.opaque(m, target, "deleted"))
    elif isinstance(target, ast.Subscript):
        holder = expressions.evaluate(m, target.value, scope)
        items: Any = holder.slots["items"] if isinstance(holder, PyDict) else None
        key = None if isinstance(target.slice, ast.Slice) else expressions.evaluate(m, target.slice, scope)
        if isinstance(items, dict) and is_constant(key):
            m.write(holder.slots, "items", {name: one for name, one in items.items() if name != key})
        else:
            m.forget(holder, "an item was deleted")
