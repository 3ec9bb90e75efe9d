"""Calls of names that the notebook does not define: a few builtins are computed, everything else is remembered, not evaluated.

What a library may do to the objects it is handed is decided here: constructors and well-known libraries leave them alone, anything else
makes their content unknown.
"""

from __future__ import annotations

import ast
import math
import posixpath
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from . import attributes, calls, constants, expressions, magics, statements
from .machine import Machine
from .values import (
    Arg,
    Cls,
    Func,
    Heap,
    Instance,
    Loc,
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
)

if TYPE_CHECKING:
    from .calls import Given

POISON: Final = frozenset(["exec", "eval", "builtins.exec", "builtins.eval", "runpy.run_path", "runpy.run_module"])
SHELL_METHODS: Final = frozenset(["run_cell", "run_line_magic", "run_cell_magic", "magic"])
HARMLESS_ROOTS: Final = frozenset([
    "torch", "transformers", "peft", "trl", "datasets", "json", "yaml", "pandas", "pd", "numpy", "np", "wandb", "unsloth",
    "bitsandbytes", "accelerate", "huggingface_hub", "pprint", "os", "math", "re", "time", "logging", "warnings", "gc", "sys", "print",
    "len", "str", "repr", "display", "isinstance", "type", "id", "hasattr", "vars", "locals", "globals", "dir", "sorted", "sum", "min",
    "max", "any", "all", "enumerate", "zip", "range", "map", "filter", "iter", "hash", "open", "matplotlib", "plt", "sklearn",
    "evaluate", "tqdm", "dataclasses",
])  # fmt: skip
BUILTIN_NUMBERS: Final[dict[str, Callable[..., Any]]] = {
    "int": int, "float": float, "bool": bool, "abs": abs, "round": round, "divmod": divmod, "ord": ord, "chr": chr, "hex": hex, "oct": oct,
    "bin": bin, "math.ceil": math.ceil, "math.floor": math.floor, "math.sqrt": math.sqrt, "math.log": math.log, "math.log2": math.log2,
    "math.exp": math.exp, "math.prod": math.prod,
}  # fmt: skip
PATHS: Final[dict[str, Callable[..., Any]]] = {
    "os.path.join": posixpath.join, "os.path.basename": posixpath.basename, "os.path.dirname": posixpath.dirname,
    "os.path.normpath": posixpath.normpath, "os.path.splitext": posixpath.splitext,
}  # fmt: skip
CONTAINERS: Final = frozenset(["list", "tuple", "dict", "set", "sorted"])  # of unknown content: followed like any other call
TRAINER_SUFFIX: Final = "Trainer"


def is_trainer(name: str) -> bool:
    return name.endswith(TRAINER_SUFFIX)


def captured(value: Value) -> Value:
    """A container as it stands at the call, so that a later change does not reach what was passed."""
    return _copied(value, 0)


def _copied(value: Value, depth: int) -> Value:
    if isinstance(value, tuple) and depth < 6:
        return tuple(_copied(one, depth + 1) for one in value) if not is_constant(value) else value
    if not isinstance(value, PyList | PyDict | PySet) or depth >= 6:
        return value
    made, items = type(value)(value.born), value.slots["items"]
    if isinstance(items, dict):
        made.slots["items"] = {key: _copied(one, depth + 1) for key, one in items.items()}
    else:
        made.slots["items"] = _copied(items, depth + 1)
    return made


def _made(m: Machine, node: ast.AST, callee: str, given: Given, why: str, recv: Value = None) -> Opaque:
    args = tuple(one._replace(value=captured(one.value)) for one in given.args)
    kwargs = {key: one._replace(value=captured(one.value)) for key, one in given.kwargs.items()}
    made = Opaque("call", why, callee=callee, recv=recv, args=args, kwargs=kwargs, opened=given.opened, loc=m.loc(node), born=len(m.trail))
    for key, one in [*((str(index), arg) for index, arg in enumerate(args)), *kwargs.items()]:
        called = attributes.called(m, node, one.value)
        if called is not None and (called.bound is None or not is_trainer(made.last)):
            made.slots["result", key] = calls.callback(m, called, given, node)
    return made


def foreign_object(m: Machine, node: ast.AST, path: str, given: Given, why: str) -> Opaque:
    made = _made(m, node, path, given, why)
    if is_trainer(made.last) or (made.callee == made.last and is_trainer(made.callee)):
        m.record(made)
    return made


def unknown_call(m: Machine, node: ast.AST, target: Opaque, given: Given) -> Value:
    """A call of something unknown: a name of a cell that could not be read, of a star import, a result of another call."""
    name = target.callee if target.op == "name" else "()"
    made = _made(m, node, name, given, f"what {name.strip('()') or 'this call'}() gives is known only when it runs")
    made.recv = target if name == "()" else None
    last = made.last or name
    if is_trainer(last) or last == "get_peft_model":
        m.record(made)
    if name.split(".")[0] not in HARMLESS_ROOTS and not last[:1].isupper():
        _forget_arguments(m, given, f"changed by {name}, which is not followed")
    return made


def method_of_opaque(m: Machine, node: ast.AST, holder: Opaque, name: str, given: Given) -> Value:
    """A method of something unknown: remembered with its receiver."""
    if holder.op == "text" and name in ("strip", "lstrip", "rstrip") and not given.everything() and not given.opened:
        return _stripped(m, node, holder, name)
    made = _made(m, node, f".{name}", given, f"what .{name}() gives is known only when it runs", holder)
    if name == "train" and is_trainer(holder.last):
        m.trained(holder, m.loc(node))
    elif name in ("gradient_checkpointing_enable", "gradient_checkpointing_disable"):
        m.write(holder.slots, "gradient_checkpointing", Arg(name.endswith("enable"), f".{name}()", m.loc(node)))
    elif name.startswith("set_") and holder.op == "call" and holder.last[:1].isupper():
        m.write(holder.slots, "*", True)
    elif name == "update" and holder.callee in ("globals", "locals", "vars"):
        m.forget_globals("globals() is written to")
    elif name in SHELL_METHODS:
        _magic(m, name, given)
    if name in ("parse_args", "parse_known_args") and holder.last == "ArgumentParser":
        return _parsed(m, node, made, holder, given)
    if name == "add_argument" and holder.last == "ArgumentParser":
        m.write(holder.slots, "options", (*_options(holder), made))
    root = holder.root
    head = root.callee.split(".")[0] if isinstance(root, Opaque) else ""
    if head not in HARMLESS_ROOTS and not (isinstance(root, Opaque) and root.last[:1].isupper()):
        _forget_arguments(m, given, f"changed by .{name}(), which is not followed")
    return made


def _stripped(m: Machine, node: ast.AST, holder: Opaque, name: str) -> Value:
    """A text whose pieces are partly known, without the white space at its ends."""
    parts = list(holder.parts)
    if name != "rstrip" and parts and isinstance(parts[0], str):
        parts[0] = parts[0].lstrip()
    if name != "lstrip" and parts and isinstance(parts[-1], str):
        parts[-1] = parts[-1].rstrip()
    return expressions.text_of_parts(m, node, [one for one in parts if one != ""])


def _magic(m: Machine, name: str, given: Given) -> None:
    """What an exported notebook has in place of a magic: a cell kept as text is read like any other, %run makes everything unknown."""
    values = given.values
    if name == "run_cell_magic" and len(values) == 3 and all(isinstance(one, str) for one in values):
        stripped = magics.strip(f"%%{values[0]}\n{values[2]}")
        try:
            tree = magics.parse(stripped.text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            tree = None
        if tree is not None:
            runs: list[Callable[[], Any]] = [lambda: statements.run_block(m, tree.body, m.globals)]
            m.branches(runs if not stripped.maybe else [*runs, lambda: None], "in a cell that may not have run")
            return
    if name in ("run_line_magic", "magic") and values and isinstance(values[0], str) and values[0].split(" ")[0] not in magics.REBINDING:
        return
    m.forget_globals(f"changed by {name}(), which is not followed")


def _forget_arguments(m: Machine, given: Given, why: str) -> None:
    for value in given.everything():
        if isinstance(value, Heap | tuple) and not isinstance(value, Func):
            m.forget(value, why)


def library_call(m: Machine, node: ast.AST, path: str, given: Given, scope: Scope) -> Value:
    last = path.rpartition(".")[2]
    if given.opened and path == "setattr":
        m.forget_globals("setattr() with arguments that are not known")
    if not given.opened:
        try:
            known = _computed(m, node, path, given)
        except Unresolved as problem:
            mine = (path in _COMPUTED or path in BUILTIN_NUMBERS or path in PATHS) and path not in CONTAINERS
            known = _known(expressions.opaque(m, node, problem.why)) if mine else None
            if path == "setattr" and given.args:
                m.forget(given.args[0].value, "an attribute whose name is not known was set")
        if known is not None:
            return known.value
    if path in POISON and not _has_own_names(given):
        m.forget_globals(f"changed by {last}(), which is not followed")
    made = _made(m, node, path, given, f"what {path}() gives is known only when it runs")
    if is_trainer(last) or last == "get_peft_model":
        m.record(made)
    elif last == "unsloth_train" and given.args and isinstance(given.args[0].value, Opaque):
        m.trained(given.args[0].value, m.loc(node))
    if any(isinstance(one, Opaque) and one.callee in ("globals", "locals") for one in given.everything()):
        m.forget_globals("globals() is handed on")
    if (path.split(".")[0] not in HARMLESS_ROOTS and not last[:1].isupper()) or "shuffle" in last:
        _forget_arguments(m, given, f"changed by {path}(), which is not followed")
    return made


def _has_own_names(given: Given) -> bool:
    """eval(text, {"null": None}): with a mapping of its own, it reaches no name of the notebook."""
    names = given.args[1].value if len(given.args) == 2 and not given.opened and not given.kwargs else None
    items = names.slots["items"] if isinstance(names, PyDict) else None
    return isinstance(items, dict) and all(is_constant(one) for one in items.values())


def _known(value: Value) -> Arg:
    """Wraps a computed value, so that None can be one."""
    return Arg(value, "", Loc(0, 0))


def _computed(m: Machine, node: ast.AST, path: str, given: Given) -> Arg | None:
    """The value of a builtin on known arguments; None when it is not one of them."""
    values, named = given.values, given.named
    handler = _COMPUTED.get(path)
    if handler is not None:
        return handler(m, node, values, named)
    if path in PATHS and values and not named:
        if all(isinstance(one, str | PurePosixPath) for one in values):
            return _known(constants.number(PATHS[path], tuple(str(one) for one in values)))
        if path == "os.path.join" and all(isinstance(one, str | PurePosixPath | Opaque) for one in values):
            return _joined_path(m, node, values)
        raise Unresolved(reason(next(one for one in values if not isinstance(one, str | PurePosixPath))))
    if path in BUILTIN_NUMBERS and not named:
        flat = tuple(expressions.content(one) if isinstance(one, PyList) else one for one in values)
        if not all(is_constant(one) for one in flat):
            raise Unresolved(reason(next(one for one in flat if not is_constant(one))))
        return _known(constants.number(BUILTIN_NUMBERS[path], flat))
    return None


def _joined_path(m: Machine, node: ast.AST, values: tuple[Value, ...]) -> Arg | None:
    """os.path.join of something unknown and plain relative names: a text of which the rest is known."""
    first, rest = values[0], values[1:]
    if isinstance(first, Opaque) and all(isinstance(one, str) and not one.startswith("/") for one in rest):
        return _known(expressions.text_of_parts(m, node, [first, "/" + posixpath.join(*rest)]))
    raise Unresolved(reason(next(one for one in values if isinstance(one, Opaque))))


def _str(m: Machine, node: ast.AST, values: tuple[Value, ...], named: dict[str, Value]) -> Arg | None:
    if len(values) == 1 and not named:
        if isinstance(values[0], Opaque):
            return _known(expressions.text_of_parts(m, node, [values[0]]))
        if is_constant(values[0]):
            return _known(constants.number(str, values))
    raise Unresolved("a text that is not known")


def _length(m: Machine, node: ast.AST, values: tuple[Value, ...], named: dict[str, Value]) -> Arg | None:
    if len(values) == 1 and isinstance(values[0], PyList | PyDict | PySet | str | tuple | View):
        return _known(len(expressions.content(values[0])))
    raise Unresolved(reason(values[0]) if values else "a length of nothing")


def _container(kind: str) -> Callable[..., Arg | None]:
    def build(m: Machine, node: ast.AST, values: tuple[Value, ...], named: dict[str, Value]) -> Arg | None:
        if kind == "dict":
            if not values:
                return _known(m.new_dict(dict(named)))
            if len(values) == 1 and isinstance(values[0], PyDict):
                return _known(m.new_dict({**expressions.content(values[0]), **named}))
            raise Unresolved("a mapping that is not followed")
        if named or len(values) > 1 or (values and not isinstance(values[0], PyList | PySet | PyDict | tuple | str | View)):
            raise Unresolved(reason(values[0]) if values else "not a sequence")
        items = expressions.content(values[0]) if values else ()
        if isinstance(items, frozenset) and kind != "set" and kind != "frozenset" and kind != "sorted":
            raise Unresolved("the order of a set is not known")
        flat = tuple(items)
        constants.bounded(flat)
        if kind == "list":
            return _known(m.new_list(flat))
        if kind == "tuple":
            return _known(flat)
        if not all(is_constant(one) for one in flat):
            raise Unresolved("items that are not all known")
        if kind == "sorted":
            return _known(m.new_list(tuple(constants.number(sorted, (flat,)))))
        return _known(m.new_set(constants.number(frozenset, (flat,))))

    return build


def _range(m: Machine, node: ast.AST, values: tuple[Value, ...], named: dict[str, Value]) -> Arg | None:
    if named or not 1 <= len(values) <= 3 or not all(isinstance(one, int) for one in values) or (len(values) == 3 and values[2] == 0):
        raise Unresolved("a range that is not known")
    made = range(*values)
    if len(made) > constants.MAX_ITEMS:
        raise Unresolved("a sequence too long to keep")
    return _known(tuple(made))


def _extreme(kind: Callable[..., Any]) -> Callable[..., Arg | None]:
    def build(m: Machine, node: ast.AST, values: tuple[Value, ...], named: dict[str, Value]) -> Arg | None:
        flat = tuple(expressions.content(one) if isinstance(one, PyList | PySet) else one for one in values)
        if named or not all(is_constant(one) or isinstance(one, frozenset) for one in flat):
            raise Unresolved(next((reason(one) for one in flat if isinstance(one, Opaque)), "items that are not all known"))
        return _known(constants.number(kind, flat))

    return build


def _getattr(m: Machine, node: ast.AST, values: tuple[Value, ...], named: dict[str, Value]) -> Arg | None:
    if len(values) < 2 or not isinstance(values[1], str):
        raise Unresolved("the name of the attribute is not known")
    if len(values) > 2 and not isinstance(values[0], Instance | Cls):
        raise Unresolved("getattr with a default, of something known only when it runs")
    if len(values) > 2 and not any(values[1] in one.slots for one in _holders(values[0])):
        raise Unresolved("getattr with a default")
    return _known(attributes.get_attribute(m, node, values[0], values[1]))


def _holders(value: Instance | Cls) -> list[Heap]:
    if isinstance(value, Cls):
        return list(value.mro())
    return [value, *(value.cls.mro() if value.cls is not None else [])]


def _setattr(m: Machine, node: ast.AST, values: tuple[Value, ...], named: dict[str, Value]) -> Arg | None:
    if len(values) != 3 or not isinstance(values[1], str):
        raise Unresolved("the name of the attribute is not known")
    attributes.set_attribute(m, values[0], values[1], values[2])
    return _known(None)


def _path(m: Machine, node: ast.AST, values: tuple[Value, ...], named: dict[str, Value]) -> Arg | None:
    if named or not all(isinstance(one, str | PurePosixPath) for one in values):
        raise Unresolved(reason(values[0]) if values else "a path that is not known")
    return _known(constants.number(PurePosixPath, values))


def _namespace(m: Machine, node: ast.AST, values: tuple[Value, ...], named: dict[str, Value]) -> Arg | None:
    if values:
        return None
    made = Instance(None, len(m.trail))
    for key, value in named.items():
        m.write(made.slots, key, value)
    return _known(made)


def _deepcopy(m: Machine, node: ast.AST, values: tuple[Value, ...], named: dict[str, Value]) -> Arg | None:
    if len(values) == 1 and isinstance(values[0], PyList | PyDict | PySet):
        copied = captured(values[0])
        return _known(copied)
    if len(values) == 1 and is_constant(values[0]):
        return _known(values[0])
    raise Unresolved("a copy that is not followed")


def _options(holder: Opaque) -> tuple[Value, ...]:
    held = holder.slots.get("options", ())
    return held if isinstance(held, tuple) else ()


def _parsed(m: Machine, node: ast.AST, made: Opaque, holder: Opaque, given: Given) -> Value:
    """Parsed options: with an empty list of arguments they are the defaults; else the command line decides."""
    first = next((one.value for one in (*given.args, *given.kwargs.values())), None)
    empty = (isinstance(first, PyList) and first.slots["items"] == ()) or first == "" or first == ()
    result = Instance(None, len(m.trail))
    for option in holder.slots.get("options", ()) if isinstance(holder.slots.get("options", ()), tuple) else ():
        flags = [one.value for one in option.args if isinstance(one.value, str)]
        long = next((one for one in flags if one.startswith("--")), flags[0] if flags else "")
        dest = option.kwargs["dest"].value if "dest" in option.kwargs else long.lstrip("-").replace("-", "_")
        default = option.kwargs.get("default", None)
        if isinstance(dest, str) and dest:
            value = _option_value(option, default) if empty else None
            if value is None:
                said = f" (default {default.text})" if default is not None else ""
                value = Arg(expressions.opaque(m, node, f"an option of the command line{said}"), "", made.loc)
            m.write(result.slots, dest, value.value)
    return result if made.callee == ".parse_args" else (result, expressions.opaque(m, node, "what the command line leaves over"))


def _option_value(option: Opaque, default: Arg | None) -> Arg | None:
    action = option.kwargs["action"].value if "action" in option.kwargs else None
    if default is not None and not (
        isinstance(default.value, str) and "type" in option.kwargs and option.kwargs["type"].value != Sym("str")
    ):
        return default
    if default is None and action in ("store_true", "store_false"):
        return _known(action == "store_false")
    return _known(None) if default is None and action is None and "required" not in option.kwargs else None


_COMPUTED: Final[dict[str, Callable[..., Arg | None]]] = {
    "str": _str, "len": _length, "list": _container("list"), "tuple": _container("tuple"), "dict": _container("dict"),
    "set": _container("set"), "frozenset": _container("frozenset"), "sorted": _container("sorted"), "range": _range, "min": _extreme(min),
    "max": _extreme(max), "sum": _extreme(sum), "getattr": _getattr, "setattr": _setattr, "pathlib.Path": _path, "Path": _path,
    "pathlib.PurePath": _path, "types.SimpleNamespace": _namespace, "SimpleNamespace": _namespace, "argparse.Namespace": _namespace,
    "copy.deepcopy": _deepcopy,
}  # fmt: skip
