"""The state of the abstract evaluator: every write goes through a trail, so that a branch nobody knows the outcome of can be run both ways,
undone, and joined. Bounds on steps and depth. Evaluates nothing itself.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable
from typing import Any, Final

from .values import MISSING, Arg, Cls, Event, Func, Heap, Instance, Loc, Opaque, PyDict, PyList, PySet, Scope, Sym, Value, is_constant, same

MAX_STEPS: Final = 300_000  # expressions and statements evaluated in all; after that, a statement gets FEW_STEPS
STATEMENT_STEPS: Final = 20_000  # for one statement of a cell, with everything that it calls
FEW_STEPS: Final = 300
MAX_DEPTH: Final = 40  # nested evaluation of expressions, counted across calls
MAX_CALLS: Final = 12  # nested calls of the notebook's own functions
MAX_JOIN: Final = 4  # depth to which two fresh structures are compared when branches are joined

SETTINGS: Final = ("Config", "Arguments", "Args", "ArgumentParser")  # ends of the names of classes whose objects hold settings

Change = tuple[dict[Any, Value], Any, Value]  # a slots dict, a key, the value before


class Budget(Exception):
    """One statement needs more steps than allowed; what it may change is not known."""


class Machine:
    """One walk over one notebook."""

    def __init__(self, text_of: Callable[[int, ast.AST], str]) -> None:
        self.text_of = text_of
        self.trail: list[Change] = []
        self.globals = Scope()
        self.cell = 0
        self.steps = 0
        self.limit = STATEMENT_STEPS
        self.bound: dict[ast.AST, list[str]] = {}  # the names that a loop binds
        self.depth = 0
        self.calls: list[Loc] = []  # the call sites we are inside of
        self.active: list[ast.AST] = []  # bodies of the functions we are inside of
        self.events: dict[tuple[Any, ...], Event] = {}
        self.called: set[ast.AST] = set()  # functions that were followed at least once
        self.functions: list[Func] = []
        self.tries = 0  # how many try statements we are inside of
        self.returns: list[Value] = []  # of the function we are inside of
        self.notes: list[str] = []

    # --- bounds -----------------------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        self.steps += 1
        if self.steps > self.limit:
            raise Budget

    def allow(self, steps: int | None = None) -> None:
        """Sets the bound for the next statement."""
        self.limit = self.steps + (steps or (STATEMENT_STEPS if self.steps < MAX_STEPS else FEW_STEPS))

    def loc(self, node: ast.AST) -> Loc:
        return Loc(self.cell, getattr(node, "lineno", 0))

    # --- writes -----------------------------------------------------------------------------------------------------------------------

    def write(self, slots: dict[Any, Value], key: Any, value: Value) -> None:
        self.trail.append((slots, key, slots.get(key, MISSING)))
        if value is MISSING:
            slots.pop(key, None)
        else:
            slots[key] = value

    def undo(self, mark: int) -> dict[tuple[int, Any], tuple[dict[Any, Value], Any, Value]]:
        """Back to `mark`. Returns what had been changed since: the slots, the key, the value it had at the end."""
        changed: dict[tuple[int, Any], tuple[dict[Any, Value], Any, Value]] = {}
        while len(self.trail) > mark:
            slots, key, before = self.trail.pop()
            changed.setdefault((id(slots), key), (slots, key, slots.get(key, MISSING)))
            if before is MISSING:
                slots.pop(key, None)
            else:
                slots[key] = before
        return changed

    def branches(self, runs: list[Callable[[], Any]], why: str) -> list[Any]:
        """Runs each alternative from the same state, then joins: a place all leave with the same value keeps it, any other is unknown.

        A run that returns DROP does not take part (it ends in an exception).
        """
        mark = len(self.trail)
        results: list[Any] = []
        ends: list[dict[tuple[int, Any], tuple[dict[Any, Value], Any, Value]]] = []
        for run in runs:
            results.append(run())
            end = self.undo(mark)
            for slots, key, value in end.values():
                if key == "items" and key not in slots:  # a container born in this branch keeps its content
                    slots[key] = value
            end = {where: change for where, change in end.items() if not (change[1] == "items" and change[0].get("items") is change[2])}
            if results[-1] is not DROP:
                ends.append(end)
        places: dict[tuple[int, Any], tuple[dict[Any, Value], Any]] = {}
        for end in ends:
            for where, (slots, key, _) in end.items():
                places[where] = (slots, key)
        for where, (slots, key) in places.items():
            values = [end[where][2] if where in end else slots.get(key, MISSING) for end in ends]
            self.write(slots, key, self.join(values, why, mark))
        return results

    def join(self, values: list[Value], why: str, mark: int, depth: int = 0) -> Value:
        first = values[0]
        if all(one is first for one in values) or all(self._alike(first, one, mark, depth) for one in values[1:]):
            return first
        return Opaque("join", why, parts=tuple(None if one is MISSING else one for one in values), born=len(self.trail))

    def _alike(self, a: Value, b: Value, mark: int, depth: int) -> bool:
        if same(a, b):
            return True
        if type(a) is not type(b) or not isinstance(a, Heap) or depth > MAX_JOIN or a.born < mark or b.born < mark:
            return False
        if isinstance(a, PyList | PyDict | PySet):
            x, y = a.slots["items"], b.slots["items"]
            if isinstance(x, dict) and isinstance(y, dict):
                return list(x) == list(y) and all(self._alike(x[key], y[key], mark, depth + 1) for key in x)
            if isinstance(x, tuple) and isinstance(y, tuple):
                return len(x) == len(y) and all(self._alike(p, q, mark, depth + 1) for p, q in zip(x, y, strict=True))
            return bool(isinstance(x, frozenset) and x == y)
        if isinstance(a, Opaque) and isinstance(b, Opaque):
            return self._calls_alike(a, b, mark, depth)
        return False

    def _calls_alike(self, a: Opaque, b: Opaque, mark: int, depth: int) -> bool:
        if (
            a.op != "call"
            or b.op != "call"
            or a.callee != b.callee
            or a.open
            or b.open
            or list(a.kwargs) != list(b.kwargs)
            or len(a.args) != len(b.args)
        ):
            return False
        if set(a.slots) != set(b.slots) or not (a.recv is b.recv or self._alike(a.recv, b.recv, mark, depth + 1)):
            return False
        pairs = [(a.kwargs[key].value, b.kwargs[key].value) for key in a.kwargs]
        pairs += [(x.value, y.value) for x, y in zip(a.args, b.args, strict=True)]
        pairs += [(a.slots[key], b.slots[key]) for key in a.slots]
        return all(self._alike(x, y, mark, depth + 1) for x, y in pairs)

    # --- forgetting -------------------------------------------------------------------------------------------------------------------

    def forget(self, value: Value, why: str, depth: int = 0) -> None:
        """Whatever this value is, its content may have been changed by code that is not followed."""
        if depth > 6 or not isinstance(value, Heap | tuple | Func):
            return
        if isinstance(value, tuple):
            for one in value:
                self.forget(one, why, depth + 1)
            return
        if isinstance(value, Func):
            self.forget(value.bound, why, depth + 1)
            return
        if isinstance(value, PyList | PyDict | PySet):
            items = value.slots["items"]
            if not isinstance(items, Opaque):
                for one in items.values() if isinstance(items, dict) else items:
                    self.forget(one, why, depth + 1)
                self.write(value.slots, "items", Opaque("expr", why))
            return
        if value.slots.get("*") is True or (isinstance(value, Opaque) and not value.last.endswith(SETTINGS)):
            return
        self.write(value.slots, "*", True)
        if isinstance(value, Instance | Cls):
            for key, one in list(value.slots.items()):
                if key != "*" and not isinstance(one, Func):
                    self.forget(one, why, depth + 1)
                    self.write(value.slots, key, Opaque("expr", why))

    def forget_globals(self, why: str) -> None:
        """Code that is not followed may have rebound any name (exec, %run, a star import of an unknown module)."""
        for name, value in list(self.globals.slots.items()):
            if isinstance(value, Sym | Func):
                continue
            self.forget(value, why)
            self.write(self.globals.slots, name, Opaque("expr", why))

    # --- records ----------------------------------------------------------------------------------------------------------------------

    def record(self, call: Opaque) -> None:
        key = (*self.calls, call.loc, call.callee)
        self.events.pop(key, None)
        self.events[key] = Event(call=call, order=len(self.events), path=tuple(self.calls))

    def trained(self, call: Opaque, loc: Loc) -> None:
        for event in self.events.values():
            if event.call is call and not event.trained:
                event.trained, event.train_loc = True, loc
                with contextlib.suppress(RecursionError):  # too long a chain to copy: the call itself then stands for it
                    event.snapshot = freeze(call, {})

    def callback(self, run: Callable[[], Value], why: str) -> Value:
        """A function handed to a library: it may run any number of times. Its result for one row nobody knows, frozen as it came out."""
        results = self.branches([lambda: freeze(run(), {}), lambda: None], why)
        return results[0]

    # --- constructors -----------------------------------------------------------------------------------------------------------------

    def new_list(self, items: tuple[Value, ...]) -> PyList:
        made = PyList(len(self.trail))
        self.write(made.slots, "items", items)
        return made

    def new_dict(self, items: dict[Any, Value]) -> PyDict:
        made = PyDict(len(self.trail))
        self.write(made.slots, "items", items)
        return made

    def new_set(self, items: frozenset[Any]) -> PySet:
        made = PySet(len(self.trail))
        self.write(made.slots, "items", items)
        return made


DROP: Final = object()


def freeze(value: Value, memo: dict[int, Value]) -> Value:
    """A copy of a value as it is now, that later writes cannot reach. Shared parts stay shared."""
    if isinstance(value, Arg):
        return _frozen_arg(value, memo)
    if isinstance(value, tuple) and not isinstance(value, Loc):
        return tuple(freeze(one, memo) for one in value) if not is_constant(value) else value
    if not isinstance(value, Opaque | PyList | PyDict | PySet) or len(memo) > 20_000:
        return value
    if id(value) in memo:
        return memo[id(value)]
    if isinstance(value, Opaque):
        copy = Opaque(value.op, value.why, callee=value.callee, opened=value.open, loc=value.loc, parts=value.parts)
        memo[id(value)] = copy
        copy.recv = freeze(value.recv, memo)
        copy.root = copy.recv.root if isinstance(copy.recv, Opaque) else copy if copy.recv is None else copy.recv
        copy.args = tuple(_frozen_arg(one, memo) for one in value.args)
        copy.kwargs = {key: _frozen_arg(one, memo) for key, one in value.kwargs.items()}
        copy.slots = {key: freeze(one, memo) for key, one in value.slots.items()}
        return copy
    kind = type(value)
    made = kind()
    memo[id(value)] = made
    items = value.slots["items"]
    if isinstance(items, dict):
        made.slots["items"] = {key: freeze(one, memo) for key, one in items.items()}
    else:
        made.slots["items"] = freeze(items, memo)
    return made


def _frozen_arg(arg: Any, memo: dict[int, Value]) -> Any:
    return arg._replace(value=freeze(arg.value, memo))
