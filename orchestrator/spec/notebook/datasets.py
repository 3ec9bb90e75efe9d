"""Follows the training data from the trainer back to where it is read, and collects what happened on the way. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from . import tables
from .draft import Draft
from .trainers import known, parameter
from .values import Arg, Func, Heap, Instance, Loc, Opaque, PyDict, PyList, PySet, Sym, Unresolved, Value, is_constant, reason, thaw

MAX_NODES: Final = 20_000


@dataclass
class Flow:
    """sources: the calls that read data. steps: everything passed through, from the trainer backwards. why: where the trail was lost."""

    sources: list[Opaque] = field(default_factory=list)
    steps: list[Opaque] = field(default_factory=list)
    why: str = ""


def follow(value: Value) -> Flow:
    """Every place the data of a trainer comes from."""
    flow, todo, seen = Flow(), [value], set[int]()
    while todo and len(seen) < MAX_NODES:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Opaque):
            flow.steps.append(one)
            following = _before(one)
            if following is None:
                flow.sources.append(one)
            elif following:
                todo += reversed(following)
            else:
                flow.why = flow.why or one.why
        elif isinstance(one, PyDict | PyList | PySet):
            items = one.slots["items"]
            todo += list(items.values()) if isinstance(items, dict) else [items] if isinstance(items, Opaque) else list(items)
        elif isinstance(one, tuple):
            todo += one
        elif isinstance(one, Instance):
            todo += [held for key, held in one.slots.items() if key != "*"]
        elif one is None or not (is_constant(one) or isinstance(one, Func | Sym)):
            flow.why = flow.why or ("in one case it is None" if one is None else reason(one))
    return flow


def _before(one: Opaque) -> list[Value] | None:
    """What a value was made from; None when it is a source; [] when nobody knows."""
    if one.op == "call" and one.last in tables.DATA_SOURCES:
        return None
    if one.op in ("item", "attr"):
        written = [held for key, held in one.slots.items() if isinstance(key, tuple) and key[0] == "item" and isinstance(held, Heap)]
        return [one.recv, *written] if isinstance(one.recv, Heap | tuple) else []
    if one.op in ("join", "each"):  # one of several, or a list of what one row gives
        return list(one.parts)
    if one.op != "call" or one.last == "from_pretrained":
        return []
    args = [arg.value for arg in (*one.args, *one.kwargs.values()) if isinstance(arg.value, Heap | tuple) and not _is_model(arg.value)]
    if one.callee.startswith(".") and isinstance(one.recv, Heap) and not _is_model(one.recv):
        joins = args if one.last in tables.DATA_JOINS else []
        return [one.recv, *joins]
    return args


def _is_model(value: Value) -> bool:
    """A model or tokenizer, which data passes through but does not come from."""
    return isinstance(value, Opaque) and isinstance(value.root, Opaque) and value.root.last == "from_pretrained"


# --- the path -----------------------------------------------------------------------------------------------------------------------------


def put_path(draft: Draft, flow: Flow, text: str) -> None:
    """dataset.path, when one single place is read."""
    found = {}
    for source in flow.sources:
        arg, why = path_of(source)
        key = arg.value if arg is not None and is_constant(arg.value) else id(source)
        found[key] = (source, arg, why)
    if not found or flow.why:
        draft.miss("dataset.path", text, flow.why or "no data is read on the way to the trainer")
        return
    if len(found) > 1:
        names = "; ".join(sorted(one[1].text if one[1] is not None else one[0].callee for one in found.values()))
        draft.miss("dataset.path", names[:200], "the training data comes from several places")
        return
    source, arg, why = next(iter(found.values()))
    if arg is None:
        draft.miss("dataset.path", source.callee, why)
        return
    draft.put("dataset.path", arg)
    _say_subset(draft, source)


def path_of(source: Opaque) -> tuple[Arg | None, str]:
    """What a reading call reads: a path, or the id of a data set."""
    if source.callee.startswith("kagglehub") or source.last == "dataset_download":
        return None, f"{source.callee}() gives a path known only when it runs"
    names = ("path", "filepath_or_buffer", "path_or_buf", "dataset_path", "path_or_paths", "io", "source", "path_or_buffer")
    held = next((arg for name in names if (arg := source.kwargs.get(name)) is not None), source.args[0] if source.args else None)
    if "*" in source.slots or (source.open and held is None):
        return None, "called with arguments that are not known"
    if source.last == "load_dataset" and held is not None:
        files = parameter(source, "data_files", ("path", "name", "data_dir", "data_files"))
        if known(held) in tables.DATA_FILE_FORMATS:
            return _one_file(
                files if files is not None and files.value is not None else parameter(source, "data_dir", ("path", "name", "data_dir"))
            )
        if files is not None and files.value is not None:
            return None, "a part of a data set, named by data_files"
    if source.last in ("from_csv", "from_json", "from_parquet", "from_text") and held is not None:
        return _one_file(held)
    return held, "" if held is not None else "called without a path"


def _one_file(files: Arg | None) -> tuple[Arg | None, str]:
    if files is None:
        return None, "no data_files are given"
    value = files.value
    if isinstance(value, PyDict) and isinstance(value.slots["items"], dict):
        items = value.slots["items"]
        value = items.get("train", next(iter(items.values())) if len(items) == 1 else None)
    if isinstance(value, PyList) and isinstance(value.slots["items"], tuple):
        if len(value.slots["items"]) != 1:
            return None, "several files"
        value = value.slots["items"][0]
    if value is None:
        return None, "several files"
    return files._replace(value=value), ""


def _say_subset(draft: Draft, source: Opaque) -> None:
    """What the job file cannot say about the data set goes into the notes."""
    if source.last != "load_dataset":
        return
    name = known(parameter(source, "name", ("path", "name")))
    if isinstance(name, str):
        draft.note(f"the data set's configuration is {name!r}")
    split = known(source.kwargs.get("split"))
    if isinstance(split, str) and split != "train":
        draft.note(f"the notebook reads the split {split!r}")


# --- on the way ---------------------------------------------------------------------------------------------------------------------------


def put_split(draft: Draft, flow: Flow, held_out: list[Opaque]) -> None:
    """dataset.eval_fraction, from the one train_test_split on the way. held_out: what the evaluation data went through."""
    splits = [one for one in flow.steps if one.op == "call" and one.last == "train_test_split"]
    if not splits:
        return
    if len(splits) > 1:
        draft.miss("dataset.eval_fraction", "train_test_split", "the data is split more than once")
        return
    if any(one.op == "item" and one.recv is splits[0] and one.parts and one.parts[0] in ("test", 1) for one in flow.steps):
        draft.miss("dataset.eval_fraction", "train_test_split", "the trainer is given the part that was split off")
        return
    size, rest = parameter(splits[0], "test_size"), parameter(splits[0], "train_size")
    if size is not None and size.value is not None:
        draft.put("dataset.eval_fraction", size, _fraction)
    elif rest is not None and not any(one.op == "call" and one.last == "train_test_split" and one.loc == splits[0].loc for one in held_out):
        shown = rest.text
        draft.note(f"{splits[0].loc}: the notebook trains on a part of the data only: train_test_split(train_size={shown})"[:200])
    elif rest is not None:
        draft.put("dataset.eval_fraction", rest, lambda value: round(1 - _fraction(value), 12))
    elif splits[0].open:
        draft.miss("dataset.eval_fraction", "train_test_split", "called with arguments that are not known")


def _fraction(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise Unresolved(f"{value!r} is a number of rows, not a fraction")
    return float(value)


def say_limits(draft: Draft, flow: Flow) -> None:
    """Fewer rows than the data set has: said, since the job file trains on all of it."""
    for one in flow.steps:
        if one.op == "call" and one.callee in (".select", ".head", ".sample", ".take", ".shard") and one.loc != Loc(0, 0):
            shown = ", ".join([arg.text for arg in one.args] + [f"{key}={arg.text}" for key, arg in one.kwargs.items()])
            draft.note(f"{one.loc}: the notebook trains on a part of the data only: {one.callee}({shown})"[:200])
        elif one.op == "item" and one.parts == ("slice",) and one.loc != Loc(0, 0):
            draft.note(f"{one.loc}: the notebook trains on a part of the data only: a slice of it")


def tokenizer_lengths(value: Value) -> list[Arg]:
    """max_length of every tokenizer call that the training data went through."""
    found: list[Arg] = []
    todo, seen = [value], set[int]()
    while todo and len(seen) < MAX_NODES:
        one = todo.pop()
        if id(one) in seen or is_constant(one):
            continue
        seen.add(id(one))
        if isinstance(one, Opaque):
            if one.op == "item" and one.parts == ("slice",) and (cut := _tokenized(one.recv)) is not None:
                found.append(cut._replace(value=Opaque("expr", "what the tokenizer gives is cut again afterwards", loc=one.loc)))
                continue
            if one.op == "call" and "max_length" in one.kwargs and one.last not in ("generate", "from_pretrained"):
                found.append(one.kwargs["max_length"])
            if one.op == "call" and one.last == "from_pretrained":
                continue
            todo += [one.recv, *one.parts, *(arg.value for arg in (*one.args, *one.kwargs.values()))]
            todo += [held for key, held in one.slots.items() if isinstance(key, tuple) and key[0] in ("item", "result")]
        elif isinstance(one, PyDict | PyList):
            items = one.slots["items"]
            todo += list(items.values()) if isinstance(items, dict) else [items] if isinstance(items, Opaque) else list(items)
        elif isinstance(one, tuple):
            todo += one
    return found


def _tokenized(value: Value) -> Arg | None:
    """max_length of the tokenizer call that this is a part of: tok(…)["input_ids"], tok(…).input_ids, tok.encode(…)."""
    if isinstance(value, Opaque) and value.op in ("item", "attr"):
        value = value.recv
    return value.kwargs.get("max_length") if isinstance(value, Opaque) and value.op == "call" else None


def plain(arg: Arg) -> object:
    """The plain value, or the reason as an Unresolved."""
    return thaw(arg.value)
