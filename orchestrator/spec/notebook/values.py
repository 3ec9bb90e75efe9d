"""The values of the abstract evaluator. Plain Python constants and tuples stand for themselves; everything else is below.

Nothing here evaluates. A value that is not fully known is an `Opaque`, which remembers how it came about, so that the flow of a
model or a data set can be followed through calls nobody made.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

MAX_BASES: Final = 50
Value = Any  # None bool int float str bytes tuple PurePosixPath, or one of the classes below


class Loc(NamedTuple):
    """A place: the cell's position in the notebook (1-based, 0 for a plain .py file) and the line in it."""

    cell: int
    line: int

    def __str__(self) -> str:
        return f"cell {self.cell} line {self.line}" if self.cell else f"line {self.line}"


NOWHERE: Final = Loc(0, 0)


class Arg(NamedTuple):
    """One argument as it stood at the call: its value, its source text, its place."""

    value: Value
    text: str
    loc: Loc


@dataclass(frozen=True)
class Sym:
    """A name of an imported module, by its dotted path: `torch.float16`. Its value is never known."""

    path: str

    @property
    def last(self) -> str:
        return self.path.rpartition(".")[2]


class Heap:
    """Something mutable. All its state is in `slots`, and every write goes through the machine's trail."""

    __slots__ = ("born", "slots")

    def __init__(self, born: int = 0) -> None:
        self.slots: dict[Any, Value] = {}
        self.born = born  # position of the trail at birth: tells fresh from old when branches are joined


class PyList(Heap):
    """slots["items"]: a tuple of values; or an Opaque when its content is not known."""


class PySet(Heap):
    """slots["items"]: a frozenset of constants, or an Opaque."""


class PyDict(Heap):
    """slots["items"]: a dict never changed in place, constants to values; or an Opaque."""


class Opaque(Heap):
    """A value that is not known, and how it came about.

    op: call (callee = dotted name or ".method" with recv), attr, item, name, param, expr, join, text (parts).
    slots: attributes written to it afterwards; "*" when anything may have been.
    """

    __slots__ = ("args", "callee", "kwargs", "loc", "op", "open", "parts", "recv", "root", "why")

    def __init__(
        self,
        op: str,
        why: str,
        *,
        callee: str = "",
        recv: Value = None,
        args: tuple[Arg, ...] = (),
        kwargs: dict[str, Arg] | None = None,
        opened: bool = False,
        loc: Loc = NOWHERE,
        parts: tuple[Value, ...] = (),
        born: int = 0,
    ) -> None:
        super().__init__(born)
        self.op, self.why, self.callee, self.recv, self.args = op, why, callee, recv, args
        self.kwargs = kwargs or {}
        self.open = opened  # a **mapping or *sequence of unknown content was passed: any argument may be set
        self.loc, self.parts = loc, parts
        self.root: Value = recv.root if isinstance(recv, Opaque) else self if recv is None else recv  # where a chain of receivers starts

    @property
    def last(self) -> str:
        return self.callee.rpartition(".")[2]


class Scope(Heap):
    """Names of a module, a function call or a class body."""

    __slots__ = ("globals_", "is_class", "is_comprehension", "parent")

    def __init__(self, parent: Scope | None = None, *, is_class: bool = False, is_comprehension: bool = False, born: int = 0) -> None:
        super().__init__(born)
        self.parent, self.is_class, self.is_comprehension = parent, is_class, is_comprehension
        self.globals_: dict[str, Scope] = {}  # names declared global or nonlocal: where they live


@dataclass(eq=False)
class Func:
    """A function of the notebook. `opaque` says why a call must not be followed."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    scope: Scope
    cell: int
    defaults: tuple[Value, ...]
    kw_defaults: tuple[Value, ...]
    opaque: str = ""
    bound: Value = None
    kind: str = "function"  # function | staticmethod | classmethod | property

    @property
    def name(self) -> str:
        return getattr(self.node, "name", "lambda")


class Cls(Heap):
    """A class of the notebook. slots: its attributes."""

    __slots__ = ("bases", "is_dataclass", "name", "node", "opaque", "order")

    def __init__(self, node: ast.ClassDef, bases: tuple[Value, ...], born: int) -> None:
        super().__init__(born)
        self.node, self.name, self.bases = node, node.name, bases
        self.is_dataclass = False
        self.opaque = ""  # why attributes must not be believed
        self.order: list[Cls] = [self]
        found = linearized(self)
        if found is None:
            self.opaque = f"the bases of the class {node.name} cannot be put in order"
        else:
            self.order = found

    def mro(self) -> list[Cls]:
        """The classes of the notebook in the order in which Python looks for an attribute."""
        return self.order


def linearized(cls: Cls) -> list[Cls] | None:
    """Python's own order (C3) of a class and its bases; None when there is none or it is very long."""
    bases = [one for one in cls.bases if isinstance(one, Cls)]
    left = [list(one.order) for one in bases] + [list(bases)]
    order = [cls]
    while any(left):
        left = [one for one in left if one]
        head = next((one[0] for one in left if not any(one[0] in other[1:] for other in left)), None)
        if head is None or len(order) > MAX_BASES:
            return None
        order.append(head)
        left = [one[1:] if one[0] is head else one for one in left]
    return order


class Instance(Heap):
    """An instance of a class of the notebook, or of SimpleNamespace and argparse's namespace (cls None)."""

    __slots__ = ("cls",)

    def __init__(self, cls: Cls | None, born: int) -> None:
        super().__init__(born)
        self.cls = cls


@dataclass(frozen=True)
class Method:
    """A method of a known value: `"a".format`, `[].append`."""

    recv: Value
    name: str


@dataclass(frozen=True)
class View:
    """keys(), values() or items() of a mapping: it follows later changes."""

    recv: PyDict
    name: str


@dataclass
class Event:
    """A call that matters, with the path of calls that led to it. `snapshot` is taken when .train() is called."""

    call: Opaque
    order: int
    trained: bool = False
    train_loc: Loc | None = None
    snapshot: Opaque | None = None
    path: tuple[Loc, ...] = field(default_factory=tuple)


MISSING: Final = object()
CONSTANTS: Final = (type(None), bool, int, float, str, bytes, PurePosixPath)


def is_constant(value: Value) -> bool:
    """A constant or a tuple of constants: immutable and fully known."""
    if isinstance(value, tuple):
        return not isinstance(value, Loc | Arg) and all(is_constant(one) for one in value)
    return isinstance(value, CONSTANTS)


def same(a: Value, b: Value) -> bool:
    """Equal with the same types throughout (1, 1.0 and True are three values). Mutable things only by identity."""
    if a is b:
        return True
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if is_constant(a) and is_constant(b):
        return type(a) is type(b) and (a == b or (a != a and b != b)) and repr(a) == repr(b)
    if isinstance(a, Sym) and isinstance(b, Sym):
        return a == b
    return False


class Unresolved(Exception):
    """A value is not known. `why` in words for the user."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def thaw(value: Value, depth: int = 0) -> Any:
    """The plain Python value (lists, dicts, str for paths), or Unresolved."""
    if depth > 12:
        raise Unresolved("nested too deeply")
    if isinstance(value, PurePosixPath):
        return str(value)
    if isinstance(value, tuple):
        return [thaw(one, depth + 1) for one in value]
    if isinstance(value, CONSTANTS):
        return value
    if isinstance(value, PyList | PySet | PyDict):
        items = value.slots["items"]
        if isinstance(items, Opaque):
            raise Unresolved(items.why)
        if isinstance(items, dict):
            return {key: thaw(one, depth + 1) for key, one in items.items()}
        if isinstance(items, frozenset):
            return sorted((thaw(one, depth + 1) for one in items), key=repr)
        return [thaw(one, depth + 1) for one in items]
    raise Unresolved(reason(value))


def reason(value: Value) -> str:
    """Why a value is not known, in words."""
    if isinstance(value, Opaque):
        return value.why
    if isinstance(value, Sym):
        return f"{value.path} is a value of a library, known only when it runs"
    if isinstance(value, Instance | Cls | Func):
        return "an object of the notebook's own, not a plain value"
    return "not a plain value"
