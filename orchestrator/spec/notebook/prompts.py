"""Prompt-building functions: a template where the text is put together from columns of a row, the reason where it is not. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .datasets import Flow
from .draft import Draft
from .trainers import known, parameter
from .values import Loc, Opaque, PyDict, PyList, Unresolved, Value

MAX_SUFFIX: Final = 40  # characters after the last column that still belong to the completion
_TOKENS: Final = frozenset(["eos_token", "bos_token"])


@dataclass
class Template:
    """pieces: texts (str) and columns (tuples of one name), in order."""

    pieces: list[str | tuple[str]]
    dropped: list[str]

    def text(self, start: int = 0, end: int | None = None) -> str:
        shown = []
        for one in self.pieces[start:end]:
            shown.append("{" + one[0] + "}" if isinstance(one, tuple) else one.replace("{", "{{").replace("}", "}}"))
        return "".join(shown)


def put_prompt(draft: Draft, trainer: Opaque, config: Opaque | None, flow: Flow) -> None:
    """dataset.prompt and dataset.completion, from the formatting function or from the column that the trainer reads."""
    formatting = parameter(trainer, "formatting_func")
    if formatting is not None and formatting.value is not None:
        result = trainer.slots.get(("result", "formatting_func"))
        _put(draft, result, formatting.text, formatting.loc, batched=False)
        return
    field = parameter(trainer, "dataset_text_field") or (parameter(config, "dataset_text_field") if config is not None else None)
    name = known(field) if field is not None else "text"
    for step in flow.steps:
        for key in (("item", name), ("item", "prompt")):
            written = step.slots.get(key)
            if written is not None:
                _put(draft, _result_of(written), f"[{key[1]!r}]", step.loc, batched=False)
                return
        result = _result_of(step)
        if result is None:
            continue
        column, batched = _column(result, name), known(step.kwargs.get("batched")) is True
        several = result.parts if isinstance(result, Opaque) and result.op == "join" else ()
        built = any(_column(one, name) is not None or _is_text(one) for one in (result, *several))
        if built or (isinstance(result, PyList) and batched):
            function = step.args[0] if step.args else step.kwargs.get("function")
            _put(draft, column if column is not None else result, function.text if function else "", step.loc, batched)
            return


def _result_of(step: Value) -> Value:
    """What the function handed to .map() or .apply() gives for a row; None where there is none."""
    if not isinstance(step, Opaque) or step.op != "call" or step.last not in ("map", "apply", "progress_apply"):
        return None
    for key in ("0", "function", "func"):
        if ("result", key) in step.slots:
            return step.slots["result", key]
    return None


def _column(result: Value, name: object) -> Value:
    if isinstance(result, PyDict) and isinstance(result.slots["items"], dict):
        return result.slots["items"].get(name)
    if isinstance(result, Opaque) and result.op == "param":
        return result.slots.get(("item", name))  # the row itself, with a column written to it
    return None


def _is_text(result: Value) -> bool:
    """A text put together, or one that a tokenizer or a chat template was called with."""
    return isinstance(result, str | Opaque) and _text_in(result) is not None


def _text_in(result: Value, depth: int = 0) -> Value:
    if isinstance(result, Opaque) and depth < 8:
        if result.op == "text" or result.last == "apply_chat_template":
            return result
        if result.op == "call" and result.callee == "()" and result.args:
            return _text_in(result.args[0].value, depth + 1)
        if result.op in ("attr", "item") or (result.op == "call" and result.callee.startswith(".")):
            found = _text_in(result.recv, depth + 1)  # enc["input_ids"], enc.copy(); but what a method makes of a text is not the text
            return None if found is result.recv and isinstance(found, Opaque) and found.op == "text" else found
    return None


def _put(draft: Draft, result: Value, name: str, loc: Loc, batched: bool) -> None:
    try:
        if isinstance(result, PyList) and isinstance(result.slots["items"], tuple) and len(result.slots["items"]) == 1:
            result, batched = result.slots["items"][0], False
        held = result.slots["items"] if isinstance(result, PyList) else result
        if isinstance(held, Opaque) and held.op == "each":  # one text for each row of a batch
            result, batched = held.parts[0], False
        found = _text_in(result)
        if isinstance(found, Opaque) and found.last == "apply_chat_template":
            raise Unresolved("it builds chat messages for the tokenizer's chat template: " + _messages(found))
        if found is None:
            raise Unresolved("it is not a plain text over columns of the row" + (f": {result.why}" if isinstance(result, Opaque) else ""))
        template = template_of(found)
        if batched:
            raise Unresolved("it builds many rows at once")
        _split(draft, template, loc)
    except Unresolved as problem:
        draft.miss("dataset.prompt", name, problem.why)


def template_of(found: Value) -> Template:
    """Pieces of a text; Unresolved when one of them is no column of the row."""
    pieces: list[str | tuple[str]] = []
    dropped: list[str] = []
    parts = found.parts if isinstance(found, Opaque) and found.op == "text" else (found,)
    for index, part in enumerate(parts):
        if isinstance(part, str):
            pieces.append(part)
            continue
        if isinstance(part, Opaque) and part.op == "attr" and part.callee in _TOKENS:
            if index not in (0, len(parts) - 1):
                raise Unresolved(f"{part.callee} of the tokenizer stands in the middle of the text")
            dropped.append(part.callee)
            continue
        pieces.append((_column_name(part),))
    return Template(pieces, dropped)


def _column_name(part: Value) -> str:
    part = _of_batch(part)
    if isinstance(part, Opaque) and isinstance(part.recv, Opaque) and part.recv.op == "param":
        name = part.parts[0] if part.op == "item" and part.parts else part.callee if part.op == "attr" else None
        if isinstance(name, str) and name and not set(name) & set("{}\n\r"):
            return name
    raise Unresolved("a piece of the text is not a column of the row" + (f": {part.why}" if isinstance(part, Opaque) else ""))


def _of_batch(part: Value) -> Value:
    """The column behind one item of a batch: `for q, a in zip(rows["q"], rows["a"])`, `for q in rows["q"]`, `rows["q"][i]`."""
    for _ in range(4):
        if not isinstance(part, Opaque) or part.op != "item" or not isinstance(part.recv, Opaque) or not part.parts:
            return part
        holder, key = part.recv, part.parts[0]
        if (
            holder.op == "item"
            and holder.parts == ("each",)
            and isinstance(holder.recv, Opaque)
            and holder.recv.callee == "zip"
            and isinstance(key, int)
        ):
            if key >= len(holder.recv.args):
                return part
            part = holder.recv.args[key].value
        elif holder.op == "item" and isinstance(holder.recv, Opaque) and holder.recv.op == "param" and not isinstance(key, str | int):
            return (
                holder
                if isinstance(key, Opaque) and key.parts == ("each",) and isinstance(key.recv, Opaque) and key.recv.callee == "range"
                else part
            )
        elif key == "each" and holder.op == "item":
            part = holder
        else:
            return part
    return part


def _split(draft: Draft, template: Template, loc: Loc) -> None:
    """Prompt and completion: the last column, with the little text behind it, is what the model is to say."""
    columns = [index for index, one in enumerate(template.pieces) if isinstance(one, tuple)]
    if len(columns) < 2:
        raise Unresolved(f"the text has fewer than two columns, so that no completion can be told apart: {template.text()[:120]!r}")
    last = columns[-1]
    suffix = template.text(last + 1)
    if len(suffix) > MAX_SUFFIX:
        raise Unresolved("the text goes on after its last column, so that no completion can be told apart")
    draft.set("dataset.prompt", template.text(0, last), loc)
    draft.set("dataset.completion", template.text(last), loc)
    draft.note("the notebook's text was split into prompt and completion before its last column; the notebook itself may train on both")
    for one in template.dropped:
        draft.note(f"the {one} that the notebook adds to its text is left to cloudtune")


def _messages(call: Opaque) -> str:
    held = call.args[0].value if call.args else None
    shown = []
    items = held.slots["items"] if isinstance(held, PyList) else ()
    for one in items if isinstance(items, tuple) else ():
        said = one.slots["items"] if isinstance(one, PyDict) else None
        if isinstance(said, dict) and isinstance(said.get("role"), str):
            try:
                content = template_of(said.get("content")).text()
            except Unresolved:
                content = "?"
            shown.append(f"{said['role']}: {content[:80]!r}")
    return "; ".join(shown) or "not followed"
