"""Statements of the abstract evaluator: in order, with branches nobody knows run both ways and joined, and loops forgotten."""

from __future__ import annotations

import ast
from collections.abc import Callable
from enum import IntFlag
from functools import partial
from typing import Any, Final

from . import attributes, calls, expressions, loops
from .machine import DROP, Machine
from .values import MISSING, Arg, Cls, Method, Opaque, PyDict, PyList, PySet, Scope, Sym, Unresolved, Value, same

KNOWN_STAR_IMPORTS: Final = frozenset([
    "transformers", "trl", "peft", "torch", "datasets", "unsloth", "typing", "math", "os", "fastai", "tqdm", "pathlib",
])  # fmt: skip
HARMLESS_DECORATORS: Final = frozenset(["no_grad", "inference_mode", "staticmethod", "classmethod", "property", "wraps", "dataclass"])


class Flow(IntFlag):
    """How a block may end."""

    NORMAL = 1
    RETURN = 2
    BREAK = 4
    CONTINUE = 8
    RAISE = 16


def run_block(m: Machine, body: list[ast.stmt], scope: Scope) -> Flow:
    """Runs statements in order. What may come after an exit nobody is certain of is run as a branch."""
    flow = Flow.NORMAL
    for index, node in enumerate(body):
        flow = run(m, node, scope)
        if not flow & Flow.NORMAL:
            return flow
        if flow != Flow.NORMAL:
            rest = body[index + 1 :]
            ends: list[Flow] = m.branches([partial(run_block, m, rest, scope), lambda: None], "depends on a condition that is not known")
            return (flow & ~Flow.NORMAL) | ends[0]
    return flow


def run(m: Machine, node: ast.stmt, scope: Scope) -> Flow:
    m.step()
    handler = _HANDLERS.get(type(node))
    if handler is None:
        expressions.spoil(m, node, scope, "code that is not followed")
        return Flow.NORMAL
    return handler(m, node, scope) or Flow.NORMAL


def run_function(m: Machine, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> Value:
    """The value a function returns, when all ways out return the same one."""
    outer, m.returns = m.returns, []
    try:
        for one in node.body:
            declare(m, one, scope)
        flow = run_block(m, node.body, scope)
        values = list(m.returns)
    finally:
        m.returns = outer
    if flow & Flow.NORMAL:
        values.append(None)
    if not values:
        raise Unresolved(f"{node.name}() never returns")
    if all(same(values[0], one) or values[0] is one for one in values):
        return values[0]
    return expressions.opaque(
        m, node, f"{node.name}() returns one of several values, by a condition that is not known", "join", parts=tuple(values)
    )


def declare(m: Machine, node: ast.AST, scope: Scope) -> None:
    """global and nonlocal statements of a function's own body."""
    for one in own_nodes(node):
        if isinstance(one, ast.Global):
            scope.globals_.update(dict.fromkeys(one.names, m.globals))
        elif isinstance(one, ast.Nonlocal):
            for name in one.names:
                here = scope.parent
                while here is not None and (here.is_class or name not in here.slots):
                    here = here.parent
                if here is not None:
                    scope.globals_[name] = here


def own_nodes(node: ast.AST) -> list[ast.AST]:
    """All nodes below, without those of functions and classes defined inside."""
    found, todo = [], [node]
    while todo:
        one = todo.pop()
        found.append(one)
        if not isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda) or one is node:
            todo += ast.iter_child_nodes(one)
    return found


def is_generator(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> bool:
    """Asked when a function is called, not when it is defined: most of a notebook's functions never are."""
    return not isinstance(node, ast.Lambda) and any(isinstance(one, ast.Yield | ast.YieldFrom) for one in own_nodes(node))


# --- binding ------------------------------------------------------------------------------------------------------------------------------


def _expr(m: Machine, node: Any, scope: Scope) -> Flow | None:
    value = expressions.evaluate(m, node.value, scope)
    if isinstance(value, Opaque) and value.op == "call" and value.callee in ("sys.exit", "exit", "quit", "os._exit"):
        return Flow.RAISE
    return None


def _assign(m: Machine, node: Any, scope: Scope) -> None:
    value = expressions.evaluate(m, node.value, scope)
    for target in node.targets:
        attributes.assign(m, target, value, scope)


def _ann_assign(m: Machine, node: Any, scope: Scope) -> None:
    if node.value is not None:
        attributes.assign(m, node.target, expressions.evaluate(m, node.value, scope), scope)


def _aug_assign(m: Machine, node: Any, scope: Scope) -> None:
    reading = _reading(node.target)
    before = expressions.evaluate(m, reading, scope)
    value = expressions.evaluate(m, node.value, scope)
    op = type(node.op).__name__
    try:
        if op == "Add" and isinstance(before, PyList):  # in place: every alias sees it
            calls.method(m, node, Method(before, "extend"), calls.Given([Arg(value, "", m.loc(node))]))
            result: Value = before
        elif op == "BitOr" and isinstance(before, PyDict):
            calls.method(m, node, Method(before, "update"), calls.Given([Arg(value, "", m.loc(node))]))
            result = before
        elif isinstance(before, PyList | PySet):
            m.forget(before, "changed in place")
            result = before
        else:
            result = expressions.binary(m, node, op, before, value)
    except Unresolved as problem:
        result = expressions.opaque(m, node, problem.why)
    attributes.assign(m, node.target, result, scope)


def _reading(target: Any) -> ast.expr:
    copy: Any = type(target)(**{name: getattr(target, name) for name in target._fields})
    copy.ctx = ast.Load()
    reading: ast.expr = ast.copy_location(copy, target)
    return reading


def _delete(m: Machine, node: Any, scope: Scope) -> None:
    for target in node.targets:
        attributes.delete(m, target, scope)


def _import(m: Machine, node: Any, scope: Scope) -> None:
    for alias in node.names:
        name = alias.asname or alias.name.split(".")[0]
        attributes.bind(m, scope, name, Sym(alias.name if alias.asname else name))


def _import_from(m: Machine, node: Any, scope: Scope) -> None:
    for alias in node.names:
        if alias.name != "*":
            attributes.bind(m, scope, alias.asname or alias.name, Sym(f"{node.module or ''}.{alias.name}".lstrip(".")))
        elif node.level or (node.module or "").split(".")[0] not in KNOWN_STAR_IMPORTS:
            m.forget_globals(f"from {node.module} import * may have set it")


# --- definitions --------------------------------------------------------------------------------------------------------------------------


def _function(m: Machine, node: Any, scope: Scope) -> None:
    func = calls.define(m, node, scope)
    for decorator in node.decorator_list:
        value = expressions.evaluate(m, decorator, scope)
        last = value.last if isinstance(value, Sym | Opaque) else ""
        if last in ("staticmethod", "classmethod", "property"):
            func.kind = last
        elif last in ("setter", "getter", "deleter") or (isinstance(value, Opaque) and value.op == "attr"):
            func.kind = "property"
        elif last not in HARMLESS_DECORATORS and last != "retry":
            func.opaque = func.opaque or f"{node.name}() is decorated by something that is not followed"
    attributes.bind(m, scope, node.name, func)


def _class(m: Machine, node: Any, scope: Scope) -> None:
    bases = tuple(expressions.evaluate(m, one, scope) for one in node.bases)
    cls = Cls(node, bases, len(m.trail))
    for decorator in node.decorator_list:
        value = expressions.evaluate(m, decorator, scope)
        last = value.last if isinstance(value, Sym | Opaque) else ""
        if last == "dataclass":
            cls.is_dataclass = True
        else:
            cls.opaque = f"the class {node.name} is decorated by something that is not followed"
    if node.keywords:
        cls.opaque = f"the class {node.name} has a metaclass"
    body = Scope(scope, is_class=True, born=len(m.trail))
    run_block(m, node.body, body)
    for name, value in body.slots.items():
        m.write(cls.slots, name, value)
        if name in ("__getattribute__", "__setattr__", "__new__", "__init_subclass__", "__get__", "__set_name__"):
            cls.opaque = f"the class {node.name} changes how attributes work"
    for base in bases:
        if isinstance(base, Cls) and base.opaque:
            cls.opaque = base.opaque
        elif isinstance(base, Sym) and base.last.endswith(("Enum", "Flag", "Settings")):
            cls.opaque = f"the class {node.name} is a {base.last}, whose attributes are not plain values"
    attributes.bind(m, scope, node.name, cls)


# --- branches -----------------------------------------------------------------------------------------------------------------------------


def _if(m: Machine, node: Any, scope: Scope) -> Flow:
    test = expressions.evaluate(m, node.test, scope)
    known = expressions.truth(test)
    if known is not None:
        return run_block(m, node.body if known else node.orelse, scope)
    why = f"depends on {m.text_of(m.cell, node.test)}, which is not known"
    return _either(m, [lambda: run_block(m, node.body, scope), lambda: run_block(m, node.orelse, scope)], why)


def _either(m: Machine, runs: list[Callable[[], Flow]], why: str) -> Flow:
    """Alternatives, one of which happens. One that ends in an exception is left out: the reader assumes that the notebook runs."""
    flows: list[Flow] = []

    def attempt(run_one: Callable[[], Flow]) -> Any:
        flow = run_one()
        flows.append(flow)
        return DROP if flow == Flow.RAISE and not m.tries else flow

    m.branches([lambda run_one=run_one: attempt(run_one) for run_one in runs], why)  # type: ignore[misc]
    if all(flow == Flow.RAISE for flow in flows):
        return Flow.RAISE
    result = Flow(0)
    for flow in flows:
        if flow != Flow.RAISE:
            result |= flow & ~Flow.RAISE
        elif m.tries:
            result |= Flow.RAISE
    return result


def _try(m: Machine, node: Any, scope: Scope) -> Flow:
    """The body to its end, or any part of the body and then a handler."""
    mark = len(m.trail)
    m.tries += 1
    try:
        flow = run_block(m, node.body, scope)
    finally:
        m.tries -= 1
    places = {(id(slots), key): (slots, key, before) for slots, key, before in reversed(m.trail[mark:])}
    why = "set in a try statement that may have failed"

    def handled(handler: ast.ExceptHandler) -> Flow:
        for slots, key, before in places.values():
            if before is MISSING and key == "items":
                continue
            if not same(before, slots.get(key, MISSING)):
                m.write(slots, key, Opaque("join", why, born=len(m.trail)))
        if handler.name:
            attributes.bind(m, scope, handler.name, expressions.opaque(m, handler, "an exception"))
        return run_block(m, handler.body, scope)

    def straight() -> Flow:
        done = flow & ~Flow.RAISE or Flow.NORMAL
        return run_block(m, node.orelse, scope) if node.orelse and flow & Flow.NORMAL else done

    if flow == Flow.RAISE and node.handlers:
        runs: list[Callable[[], Flow]] = []
    else:
        runs = [straight]
    runs += [lambda handler=handler: handled(handler) for handler in node.handlers]  # type: ignore[misc]
    result = _either(m, runs, why) if len(runs) > 1 else runs[0]()
    if node.finalbody:
        last = run_block(m, node.finalbody, scope)
        if not last & Flow.NORMAL:
            return last
    return result


def _with(m: Machine, node: Any, scope: Scope) -> Flow:
    for item in node.items:
        value = expressions.evaluate(m, item.context_expr, scope)
        if item.optional_vars is not None:
            held = value if isinstance(value, Opaque) else expressions.opaque(m, node, "what a with statement gives")
            attributes.assign(m, item.optional_vars, held, scope)
        if isinstance(value, Opaque) and value.last == "suppress":
            return _either(m, [lambda: run_block(m, node.body, scope), lambda: Flow.NORMAL], "set where an exception may be suppressed")
    return run_block(m, node.body, scope)


def _match(m: Machine, node: Any, scope: Scope) -> Flow:
    expressions.evaluate(m, node.subject, scope)
    runs: list[Callable[[], Flow]] = [lambda: Flow.NORMAL]
    for case in node.cases:

        def arm(case: ast.match_case = case) -> Flow:
            expressions.spoil(m, case.pattern, scope, "bound by a pattern")
            for one in ast.walk(case.pattern):
                name = getattr(one, "name", None) or getattr(one, "rest", None)
                if isinstance(name, str):
                    attributes.bind(m, scope, name, expressions.opaque(m, node, "bound by a pattern"))
            return run_block(m, case.body, scope)

        runs.append(arm)
    return _either(m, runs, "depends on a match statement, which is not followed")


# --- exits -------------------------------------------------------------------------------------------------------------------------------


def _return(m: Machine, node: Any, scope: Scope) -> Flow:
    m.returns.append(expressions.evaluate(m, node.value, scope))
    return Flow.RETURN


def _raise(m: Machine, node: Any, scope: Scope) -> Flow:
    expressions.evaluate(m, node.exc, scope)
    return Flow.RAISE


def _assert(m: Machine, node: Any, scope: Scope) -> None:
    expressions.evaluate(m, node.test, scope)


_HANDLERS: Final[dict[type, Callable[[Machine, Any, Scope], Flow | None]]] = {
    ast.Expr: _expr, ast.Assign: _assign, ast.AnnAssign: _ann_assign, ast.AugAssign: _aug_assign, ast.Delete: _delete,
    ast.Import: _import, ast.ImportFrom: _import_from, ast.FunctionDef: _function, ast.AsyncFunctionDef: _function, ast.ClassDef: _class,
    ast.If: _if, ast.Try: _try, ast.With: _with, ast.AsyncWith: _with, ast.For: loops.loop, ast.AsyncFor: loops.loop, ast.While: loops.loop,
    ast.Match: _match, ast.Return: _return, ast.Raise: _raise, ast.Assert: _assert,
    ast.Pass: lambda m, node, scope: None, ast.Break: lambda m, node, scope: Flow.BREAK, ast.Continue: lambda m, node, scope: Flow.CONTINUE,
    ast.Global: lambda m, node, scope: None, ast.Nonlocal: lambda m, node, scope: None,
}  # fmt: skip
