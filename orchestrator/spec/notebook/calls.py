"""Calls: arguments, the notebook's own functions and classes, methods of known values.

What is not followed makes unknown whatever it may have changed.
"""

from __future__ import annotations

import ast
import string
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from . import attributes, constants, expressions, library, statements
from .machine import MAX_CALLS, Machine
from .values import (
    MISSING,
    Arg,
    Cls,
    Func,
    Instance,
    Method,
    Opaque,
    PyDict,
    PyList,
    Scope,
    Sym,
    Unresolved,
    Value,
    View,
    is_constant,
    reason,
)

MAX_CALLBACKS: Final = 3  # nested calls of functions handed to a library


@dataclass
class Given:
    """The arguments of one call, evaluated. `opened`: further ones of unknown content were passed."""

    args: list[Arg] = field(default_factory=list)
    kwargs: dict[str, Arg] = field(default_factory=dict)
    opened: bool = False

    @property
    def values(self) -> tuple[Value, ...]:
        return tuple(one.value for one in self.args)

    @property
    def named(self) -> dict[str, Value]:
        return {key: one.value for key, one in self.kwargs.items()}

    def everything(self) -> list[Value]:
        return [*self.values, *self.named.values()]


def call(m: Machine, node: ast.Call, scope: Scope) -> Value:
    if isinstance(node.func, ast.Attribute):
        holder = expressions.evaluate(m, node.func.value, scope)
        if isinstance(holder, Opaque) and node.func.attr not in holder.slots and holder.op != "name":
            return library.method_of_opaque(m, node, holder, node.func.attr, arguments(m, node, scope))
        try:
            target = attributes.get_attribute(m, node.func, holder, node.func.attr)
        except Unresolved as problem:
            target = expressions.opaque(m, node, problem.why)
            m.forget(holder, "changed by a method that is not followed")
    else:
        target = expressions.evaluate(m, node.func, scope)
    return apply(m, node, target, arguments(m, node, scope), scope)


def apply(m: Machine, node: ast.AST, target: Value, given: Given, scope: Scope) -> Value:
    if isinstance(target, Func):
        return invoke(m, target, given, node)
    if isinstance(target, Cls):
        return instantiate(m, target, given, node, scope)
    if isinstance(target, Method):
        return method(m, node, target, given)
    if isinstance(target, Sym):
        return library.library_call(m, node, target.path, given, scope)
    if isinstance(target, Opaque):
        return library.unknown_call(m, node, target, given)
    for one in given.everything():
        m.forget(one, "handed to something that is not followed")
    raise Unresolved("a call of something that is not a function")


def arguments(m: Machine, node: ast.Call, scope: Scope) -> Given:
    given = Given()
    for one in node.args:
        value = expressions.evaluate(m, one.value if isinstance(one, ast.Starred) else one, scope)
        if not isinstance(one, ast.Starred):
            given.args.append(Arg(value, m.text_of(m.cell, one), m.loc(one)))
        elif isinstance(value, tuple | PyList) and not isinstance(
            items := value.slots["items"] if isinstance(value, PyList) else value, Opaque
        ):
            given.args += [Arg(item, m.text_of(m.cell, one), m.loc(one)) for item in items]
        else:
            given.opened = True
    for keyword in node.keywords:
        value = expressions.evaluate(m, keyword.value, scope)
        if keyword.arg is not None:
            given.kwargs[keyword.arg] = Arg(value, m.text_of(m.cell, keyword.value), m.loc(keyword.value))
        elif isinstance(value, PyDict) and not isinstance(value.slots["items"], Opaque):
            text = m.text_of(m.cell, keyword.value)
            for key, held in value.slots["items"].items():
                if isinstance(key, str):
                    given.kwargs[key] = Arg(held, f"{text}[{key!r}]", m.loc(keyword.value))
        else:
            given.opened = True
    return given


# --- the notebook's own functions ---------------------------------------------------------------------------------------------------------


def define(m: Machine, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, scope: Scope) -> Func:
    defaults = tuple(expressions.evaluate(m, one, scope) for one in node.args.defaults)
    kw_defaults = tuple(MISSING if one is None else expressions.evaluate(m, one, scope) for one in node.args.kw_defaults)
    made = Func(node, scope, m.cell, defaults, kw_defaults)
    if isinstance(node, ast.AsyncFunctionDef):
        made.opaque = "an async function is not followed"
    m.functions.append(made)
    return made


def invoke(m: Machine, func: Func, given: Given, node: ast.AST) -> Value:
    """The value of a call of the notebook's own function, followed with these very arguments."""
    m.step()
    why = func.opaque or ("a generator is not followed" if statements.is_generator(func.node) else "")
    if not why and (len(m.calls) >= MAX_CALLS or func.node in m.active):
        why = f"{func.name}() calls itself or is nested too deeply"
    if why:
        return _not_followed(m, func, given, node, why)
    local = Scope(func.scope, born=len(m.trail))
    bind_parameters(m, func, given, local, node)
    m.called.add(func.node)
    m.calls.append(m.loc(node))
    m.active.append(func.node)
    cell, depth = m.cell, m.depth
    m.cell, m.depth = func.cell, 0 if len(m.calls) < 4 else depth
    try:
        if isinstance(func.node, ast.Lambda):
            return expressions.evaluate(m, func.node.body, local)
        return statements.run_function(m, func.node, local)
    finally:
        m.cell, m.depth = cell, depth
        m.calls.pop()
        m.active.pop()


def _not_followed(m: Machine, func: Func, given: Given, node: ast.AST, why: str) -> Value:
    local = Scope(func.scope, born=len(m.trail))
    body = [func.node.body] if isinstance(func.node, ast.Lambda) else func.node.body
    if func.node not in m.active:
        for one in body:
            statements.declare(m, one, local)
            expressions.spoil(m, one, local, why)
    else:
        m.forget_globals(why)
    for value in (*given.everything(), func.bound):
        m.forget(value, why)
    return expressions.opaque(m, node, why, "call", callee=func.name, args=tuple(given.args), kwargs=given.kwargs, opened=given.opened)


def bind_parameters(m: Machine, func: Func, given: Given, local: Scope, node: ast.AST) -> None:
    spec = func.node.args
    names = [one.arg for one in (*spec.posonlyargs, *spec.args)]
    values = [*([func.bound] if func.bound is not None else []), *given.values]
    left = dict(given.named)
    for index, name in enumerate(names):
        if index < len(values):
            value = values[index]
        elif name in left:
            value = left.pop(name)
        else:
            position = index - (len(names) - len(func.defaults))
            value = func.defaults[position] if position >= 0 and not given.opened else _parameter(m, func, name, node)
        m.write(local.slots, name, value)
    for one, default in zip(spec.kwonlyargs, func.kw_defaults, strict=True):
        value = left.pop(one.arg) if one.arg in left else default
        if value is MISSING or (given.opened and one.arg not in given.kwargs):
            value = _parameter(m, func, one.arg, node)
        m.write(local.slots, one.arg, value)
    if spec.vararg is not None:
        rest = tuple(values[len(names) :])
        m.write(local.slots, spec.vararg.arg, _parameter(m, func, spec.vararg.arg, node) if given.opened else rest)
    if spec.kwarg is not None:
        held = m.new_dict(left)
        if given.opened:
            m.write(held.slots, "items", _parameter(m, func, spec.kwarg.arg, node))
        m.write(local.slots, spec.kwarg.arg, held)


def _parameter(m: Machine, func: Func, name: str, node: ast.AST) -> Opaque:
    return expressions.opaque(m, node, f"{name} is a parameter of {func.name}() and its argument is not known", "param", callee=name)


def callback(m: Machine, func: Func, given: Given, node: ast.AST) -> Value:
    """What a function handed to a library by the call `given` gives for one row nobody knows.

    Its parameters are unknown, but for those with a default, and those that the call passes on (fn_kwargs of .map, keywords of .apply).
    """
    spec = func.node.args
    names = {one.arg for one in (*spec.args, *spec.kwonlyargs)}
    extra = Given(kwargs={key: one for key, one in given.kwargs.items() if key in names and not isinstance(one.value, Func)})
    passed = given.kwargs.get("fn_kwargs")
    items = passed.value.slots["items"] if passed is not None and isinstance(passed.value, PyDict) else None
    if isinstance(items, dict):
        extra.kwargs.update({key: Arg(held, "fn_kwargs", m.loc(node)) for key, held in items.items() if isinstance(key, str)})
    extra.opened = given.opened or "args" in given.kwargs or (passed is not None and not isinstance(items, dict))
    if len(m.calls) >= MAX_CALLBACKS or func.node in m.active:
        return _not_followed(m, func, extra, node, f"{func.name}() is handed to a library, nested too deeply to follow")
    return m.callback(lambda: invoke(m, func, extra, node), f"{func.name}() is handed to a library, which may call it")


# --- the notebook's own classes -----------------------------------------------------------------------------------------------------------


def instantiate(m: Machine, cls: Cls, given: Given, node: ast.AST, scope: Scope) -> Value:
    foreign = [base for one in cls.mro() for base in one.bases if not isinstance(base, Cls)]
    outside = [base for base in foreign if not (isinstance(base, Sym) and base.last in attributes.LIBRARY_CLASSES)]
    if outside or cls.opaque:
        base = outside[0] if outside else None
        path = base.path if isinstance(base, Sym) else base.callee if isinstance(base, Opaque) else cls.name
        own_init = any("__init__" in one.slots for one in cls.mro())
        given.opened = given.opened or own_init
        return library.foreign_object(m, node, path, given, cls.opaque or f"an object of the class {cls.name}, known only when it runs")
    made = Instance(cls, len(m.trail))
    init = attributes._of_object(m, node, made, "__init__") if any("__init__" in one.slots for one in cls.mro()) else None
    if isinstance(init, Func):
        invoke(m, init, given, node)
    elif any(one.is_dataclass for one in cls.mro()) or any(
        isinstance(one, Sym) and one.last in ("BaseModel", "NamedTuple") for one in foreign
    ):
        _fields(m, cls, made, given, node)
    elif given.args or given.kwargs or given.opened:
        return expressions.opaque(m, node, f"{cls.name}() takes no arguments here")
    return made


def _fields(m: Machine, cls: Cls, made: Instance, given: Given, node: ast.AST) -> None:
    names: list[str] = []
    for one in reversed(cls.mro()):
        for line in one.node.body:
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.target.id not in names:
                names.append(line.target.id)
    for index, name in enumerate(names):
        if index < len(given.args):
            value = given.args[index].value
        elif name in given.kwargs:
            value = given.kwargs[name].value
        elif given.opened:
            value = expressions.opaque(m, node, f"{name} may be set by arguments that are not known")
        else:
            value = next((one.slots[name] for one in cls.mro() if name in one.slots), MISSING)
            value = _default(m, value, name, node)
        m.write(made.slots, name, value)
    if any("__post_init__" in one.slots for one in cls.mro()):
        found = attributes._of_object(m, node, made, "__post_init__")
        if isinstance(found, Func):
            invoke(m, found, Given(), node)


def _default(m: Machine, value: Value, name: str, node: ast.AST) -> Value:
    if value is MISSING:
        return expressions.opaque(m, node, f"{name} has no default")
    if not isinstance(value, Opaque) or value.last not in ("field", "Field"):
        return value
    if "default" in value.kwargs:
        return value.kwargs["default"].value
    if value.last == "Field" and value.args:
        return value.args[0].value
    factory = value.kwargs.get("default_factory")
    if factory is not None and isinstance(factory.value, Func):
        return invoke(m, factory.value, Given(), node)
    if factory is not None and factory.value in (Sym("list"), Sym("dict")):
        return m.new_list(()) if factory.value == Sym("list") else m.new_dict({})
    return expressions.opaque(m, node, f"the default of {name} is not known")


# --- methods of known values --------------------------------------------------------------------------------------------------------------


def method(m: Machine, node: ast.AST, target: Method, given: Given) -> Value:
    held, name = target.recv, target.name
    if isinstance(held, str):
        return _text_method(m, node, held, name, given)
    if isinstance(held, PurePosixPath):
        return constants.path_method(held, name, given.values)
    try:
        if given.opened:
            raise Unresolved("called with arguments that are not known")
        if isinstance(held, PyDict):
            return _dict_method(m, node, held, name, given)
        if isinstance(held, PyList) and not given.kwargs:
            return _list_method(m, held, name, given.values)
        if isinstance(held, tuple) and is_constant(held) and all(is_constant(one) for one in given.values):
            return {"count": held.count, "index": held.index}[name](*given.values)
    except (KeyError, IndexError, ValueError, TypeError):
        pass
    m.forget(held, f"changed by .{name}(), which is not followed")
    raise Unresolved(f"a call of .{name}() that is not followed")


def _text_method(m: Machine, node: ast.AST, text: str, name: str, given: Given) -> Value:
    if given.opened:
        raise Unresolved("called with arguments that are not known")
    values = tuple(expressions.content(one) if isinstance(one, PyList) else one for one in given.values)
    if name == "join" and len(values) == 1 and isinstance(values[0], tuple) and not is_constant(values[0]):
        parts = [piece for one in values[0] for piece in (text, one)][1:]
        return expressions.text_of_parts(m, node, parts)
    if all(is_constant(one) for one in (*values, *given.named.values())):
        return constants.text_method(text, name, values, given.named)
    if name != "format":
        raise Unresolved(reason(next(one for one in (*values, *given.named.values()) if not is_constant(one))))
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError:
        raise Unresolved("a format that Python refuses") from None
    pieces: list[Value] = []
    count = 0
    for literal, spot, spec, conversion in parsed:
        pieces.append(literal)
        if spot is None:
            continue
        if spec or conversion or not (spot == "" or spot.isdigit() or spot.isidentifier()):
            raise Unresolved("a format that is not followed")
        if spot == "":
            spot, count = str(count), count + 1
        piece = values[int(spot)] if spot.isdigit() and len(spot) < 5 and int(spot) < len(values) else given.named.get(spot, MISSING)
        if piece is MISSING:
            raise Unresolved("a format with a missing argument")
        pieces.append(constants.render(piece) if is_constant(piece) else piece)
    return expressions.text_of_parts(m, node, pieces)


def _list_method(m: Machine, held: PyList, name: str, args: tuple[Value, ...]) -> Value:
    items = expressions.content(held)
    result: Value = None
    if name == "append" and len(args) == 1:
        items = (*items, args[0])
    elif name == "extend" and len(args) == 1 and isinstance(args[0], PyList | tuple):
        items = items + tuple(expressions.content(args[0]))
    elif name == "insert" and len(args) == 2 and isinstance(args[0], int):
        changed = list(items)
        changed.insert(args[0], args[1])
        items = tuple(changed)
    elif name == "pop" and len(args) <= 1 and all(isinstance(one, int) for one in args):
        changed = list(items)
        result = changed.pop(*args)
        items = tuple(changed)
    elif name == "remove" and len(args) == 1 and is_constant(args[0]) and all(is_constant(one) for one in items):
        changed = list(items)
        changed.remove(args[0])
        items = tuple(changed)
    elif name == "reverse" and not args:
        items = items[::-1]
    elif name == "clear" and not args:
        items = ()
    elif name == "copy" and not args:
        return m.new_list(items)
    elif name in ("index", "count") and all(is_constant(one) for one in (*items, *args)):
        return getattr(items, name)(*args)
    else:
        raise KeyError(name)
    m.write(held.slots, "items", constants.bounded(items))
    return result


def _dict_method(m: Machine, node: ast.AST, held: PyDict, name: str, given: Given) -> Value:
    items, args = expressions.content(held), given.values
    if name in ("keys", "values", "items") and not args:
        return View(held, name)
    if name == "copy" and not args:
        return m.new_dict(dict(items))
    if name == "get" and 1 <= len(args) <= 2 and is_constant(args[0]):
        return items.get(args[0], args[1] if len(args) == 2 else None)
    if name in ("pop", "setdefault") and 1 <= len(args) <= 2 and is_constant(args[0]) and not given.kwargs:
        if name == "setdefault":
            if args[0] not in items:
                m.write(held.slots, "items", {**items, args[0]: args[1] if len(args) == 2 else None})
            return expressions.content(held)[args[0]]
        result = items[args[0]] if len(args) == 1 else items.get(*args)
        m.write(held.slots, "items", {key: one for key, one in items.items() if key != args[0]})
        return result
    if name == "update" and len(args) <= 1 and all(isinstance(one, PyDict) for one in args):
        more = expressions.content(args[0]) if args else {}
        m.write(held.slots, "items", {**items, **more, **given.named})
        return None
    if name == "clear" and not args:
        m.write(held.slots, "items", {})
        return None
    raise KeyError(name)


__all__ = ["Given", "apply", "arguments", "call", "callback", "define", "instantiate", "invoke"]
