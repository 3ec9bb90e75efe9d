"""Arithmetic and text on fully known values, within bounds. Pure.

`Unresolved` whenever the result could be large, could fail, or is not certain.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, Final

from .values import Unresolved, Value

MAX_TEXT: Final = 1 << 20  # characters of a computed string
MAX_ITEMS: Final = 10_000  # items of a computed list
MAX_BITS: Final = 4096  # of a computed integer
_WIDE: Final = re.compile(r"\d{4,}")

BINARY: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mult": operator.mul,
    "Div": operator.truediv,
    "FloorDiv": operator.floordiv,
    "Mod": operator.mod,
    "Pow": operator.pow,
    "LShift": operator.lshift,
    "RShift": operator.rshift,
    "BitOr": operator.or_,
    "BitXor": operator.xor,
    "BitAnd": operator.and_,
}
UNARY: Final[dict[str, Callable[[Any], Any]]] = {
    "USub": operator.neg,
    "UAdd": operator.pos,
    "Invert": operator.invert,
    "Not": operator.not_,
}
COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "Eq": operator.eq,
    "NotEq": operator.ne,
    "Lt": operator.lt,
    "LtE": operator.le,
    "Gt": operator.gt,
    "GtE": operator.ge,
    "In": lambda a, b: a in b,
    "NotIn": lambda a, b: a not in b,
}
TEXT_METHODS: Final = frozenset([
    "capitalize", "casefold", "count", "endswith", "find", "format", "index", "isalnum", "isalpha", "isdigit", "islower", "isspace",
    "isupper", "join", "lower", "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind", "rpartition", "rsplit",
    "rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title", "upper",
])  # fmt: skip
PATH_METHODS: Final = frozenset(["as_posix", "joinpath", "with_name", "with_suffix", "with_stem", "relative_to", "is_absolute"])
PATH_PARTS: Final = frozenset(["name", "stem", "suffix", "parent", "parts", "suffixes"])


def bounded(value: Value) -> Value:
    """The value itself, or Unresolved when it is too large to keep."""
    if isinstance(value, str | bytes) and len(value) > MAX_TEXT:
        raise Unresolved("a text too long to keep")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise Unresolved("a number too large to keep")
    if isinstance(value, tuple | frozenset) and len(value) > MAX_ITEMS:
        raise Unresolved("a sequence too long to keep")
    if isinstance(value, complex):
        raise Unresolved("a complex number")
    return value


def binary(op: str, left: Value, right: Value) -> Value:
    """left op right for constants. Sizes are checked before anything is computed."""
    ints = isinstance(left, int) and isinstance(right, int)
    if op == "Pow":
        if not isinstance(left, int | float) or not isinstance(right, int | float):
            raise Unresolved("a power of something that is not a number")
        if isinstance(left, int) and isinstance(right, int) and (abs(right) > MAX_BITS or left.bit_length() * abs(right) > MAX_BITS):
            raise Unresolved("a number too large to keep")
    if op == "LShift" and (not ints or right > MAX_BITS):
        raise Unresolved("a number too large to keep")
    if op == "Mult":
        for one, other in ((left, right), (right, left)):
            if isinstance(one, str | bytes | tuple) and isinstance(other, int) and len(one) * max(other, 0) > MAX_ITEMS:
                raise Unresolved("a sequence too long to keep")
    if op == "Mod" and isinstance(left, str | bytes):
        if not isinstance(left, str) or "*" in left or _WIDE.search(left):
            raise Unresolved("a format that is too wide")
        if not isinstance(right, str | int | float | tuple) or (
            isinstance(right, tuple) and not all(isinstance(x, str | int | float) for x in right)
        ):
            raise Unresolved("a format of something that is not a constant")
    if op == "Div" and isinstance(left, PurePosixPath | str) and isinstance(right, PurePosixPath | str):
        if isinstance(left, str) and isinstance(right, str):
            raise Unresolved("a division of texts")
        return bounded(left / right)  # type: ignore[operator]
    return _guarded(lambda: BINARY[op](left, right))


def unary(op: str, value: Value) -> Value:
    return _guarded(lambda: UNARY[op](value))


def compare(op: str, left: Value, right: Value) -> bool:
    return bool(_guarded(lambda: COMPARE[op](left, right)))


def render(value: Value, conversion: int = -1, spec: str = "") -> str:
    """What an f-string writes for a constant."""
    if _WIDE.search(spec):
        raise Unresolved("a format that is too wide")
    if conversion == 114:
        value = repr(value)
    elif conversion == 115:
        value = str(value)
    elif conversion == 97:
        value = ascii(value)
    if isinstance(value, PurePosixPath) and conversion == -1:
        value = str(value)
    return str(_guarded(lambda: format(value, spec)))


def text_method(text: str, name: str, args: tuple[Value, ...], kwargs: dict[str, Value]) -> Value:
    """A method of str with constant arguments, its result bounded beforehand."""
    if name not in TEXT_METHODS:
        raise Unresolved(f"a call of str.{name}()")
    if name == "format" and (_WIDE.search(text) or re.search(r"\{[^{}]*[.\[!{]", text)):
        raise Unresolved("a format that looks into its arguments")
    if name == "replace" and len(args) >= 2 and isinstance(args[1], str):
        found = text.count(args[0]) if isinstance(args[0], str) and args[0] else len(text) + 1
        if found * len(args[1]) > MAX_TEXT:
            raise Unresolved("a text too long to keep")
    if (
        name == "join"
        and args
        and isinstance(args[0], tuple)
        and sum(len(x) for x in args[0] if isinstance(x, str)) + len(text) * len(args[0]) > MAX_TEXT
    ):
        raise Unresolved("a text too long to keep")
    if name == "format" and len(text) + text.count("{") * max((len(str(x)) for x in (*args, *kwargs.values())), default=0) > MAX_TEXT:
        raise Unresolved("a text too long to keep")
    return _guarded(lambda: getattr(text, name)(*args, **kwargs))


def path_method(path: PurePosixPath, name: str, args: tuple[Value, ...]) -> Value:
    if name not in PATH_METHODS or not all(isinstance(one, str | PurePosixPath) for one in args):
        raise Unresolved(f"a call of Path.{name}()")
    return _guarded(lambda: getattr(path, name)(*args))


def number(kind: Callable[..., Any], args: tuple[Value, ...]) -> Value:
    """int(), float(), bool(), str(), abs(), round(), min(), max() and the like with constant arguments."""
    if kind is int and args and isinstance(args[0], str) and len(args[0]) > 1000:
        raise Unresolved("a number too large to keep")
    return _guarded(lambda: kind(*args))


def _guarded(compute: Callable[[], Value]) -> Value:
    try:
        return bounded(compute())
    except Unresolved:
        raise
    except Exception as problem:  # whatever the notebook would raise here, the value does not exist
        raise Unresolved(f"computing it fails ({type(problem).__name__})") from None
