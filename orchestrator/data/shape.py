"""What a row means: detection of its format, and the canonical row that the trainer reads. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from orchestrator.data.columns import label_column, text_column
from orchestrator.data.kinds import Canonical, Shape
from orchestrator.data.pairs import arena_classification, pair_columns, pairs_shape
from orchestrator.data.template import Template, as_text
from orchestrator.errors import DataProblem, UsageProblem
from orchestrator.spec.jobspec import DatasetSpec, JobSpec

_ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "bot": "assistant"}
_ROLES |= {"model": "assistant", "chatgpt": "assistant"}
__all__ = ["Canonical", "Shape", "detected_kind", "shape_of"]


def shape_of(spec: JobSpec, columns: list[str], source: str) -> Shape:
    """The shape that the job states, or that the columns show. Raises UsageProblem when neither says enough."""
    data = spec.dataset
    if spec.task in ("reward", "dpo"):
        return pairs_shape(data, columns, source)
    if data.label is not None and data.label not in columns:
        raise DataProblem(f"{source}: no column {data.label!r} (dataset.label)", hint=f"the columns are {', '.join(columns)}")
    if spec.task == "classification":
        return _classification(data, columns, source)
    if data.prompt is not None or data.completion is not None:
        return _templated(data, columns, source)
    kind = data.format if data.format != "auto" else detected_kind(columns)
    if (kind in ("labelled", "preference") and data.format == kind) or (kind == "labelled" and data.label is not None):
        raise UsageProblem(f"{source}: a label needs dataset.prompt to say what is asked", hint="prompt: 'Review: {text}\\nSentiment:'")
    if kind == "preference":
        raise UsageProblem(
            f"{source}: pairs of answers, of which one is better", hint="task: classification learns which; task: dpo or reward"
        )
    if kind == "labelled":
        return _labelled(data, columns, source)
    if kind is not None:
        return _SFT_SHAPES[kind](data, columns)
    raise UsageProblem(
        f"{source}: the columns {', '.join(columns)} do not say what is asked and what is answered",
        hint="state dataset.prompt and dataset.completion, such as '{question}' and ' {answer}'",
    )


def detected_kind(columns: list[str]) -> str | None:
    """The format that column names show, under the job file's names; None when they do not."""
    have = set(columns)
    if have & set(_TURNS):
        return "messages"
    if pair_columns(columns) is not None:
        return "preference"
    if any(set(pair) <= have for pair in _ASKED):
        return "prompt_completion"
    if {"instruction", "output"} <= have:
        return "alpaca"
    if "text" in have and "label" not in have and label_column(columns) is None:
        return "text"
    if label_column(columns) is not None and text_column(columns) is not None:
        return "labelled"
    return "text" if "text" in have and "label" not in have else None


def _checked(template: str, key: str, columns: list[str], source: str) -> Template:
    parsed = Template(template, key)
    missing = sorted(parsed.columns - set(columns))
    if missing:
        raise DataProblem(f"{source}: no column {missing[0]!r} ({key})", hint=f"the columns are {', '.join(columns)}")
    return parsed


def _label_reader(data: DatasetSpec, column: str) -> Callable[[dict[str, Any], str], str]:
    words = data.labels if isinstance(data.labels, dict) else None
    allowed = set(data.labels) if isinstance(data.labels, tuple) else None

    def read(values: dict[str, Any], place: str) -> str:
        stored = as_text(values, column, place).strip()
        if not stored:
            raise DataProblem(f"{place}: the label is empty")
        if words is not None and stored not in words:
            raise DataProblem(f"{place}: label {stored!r} is not in dataset.labels", hint=f"they are {', '.join(words)}")
        if allowed is not None and stored not in allowed:
            raise DataProblem(f"{place}: label {stored!r} is not in dataset.labels", hint=f"they are {', '.join(sorted(allowed))}")
        return words[stored] if words is not None else stored

    return read


def _classification(data: DatasetSpec, columns: list[str], source: str) -> Shape:
    label = data.label or ("label" if "label" in columns else None)
    if label is None and data.text is None and data.prompt is None and pair_columns(columns) is not None:
        return arena_classification(data, columns, source)  # before its 'winner' is taken for a label beside a text
    label = label or label_column(columns)
    if label is None:
        raise DataProblem(f"{source}: no column 'label'", hint=f"name it with dataset.label; the columns are {', '.join(columns)}")
    found = "text" if "text" in columns else text_column(columns)
    text = data.text or data.prompt or ("{" + found + "}" if found is not None and not set("{}") & set(found) else None)
    if text is None:
        raise DataProblem(f"{source}: no column 'text'", hint="state dataset.text, such as '{question} {answer}'")
    template, read_label = _checked(text, "dataset.text", columns, source), _label_reader(data, label)

    def convert(values: dict[str, Any], place: str) -> Canonical:
        filled = template.fill(values, place)
        if not filled.strip():
            raise DataProblem(f"{place}: the text is empty")
        return {"text": filled, "label": read_label(values, place)}

    return Shape(kind="labelled", sentence=f"texts with a label from column {label!r}", labelled=True, convert=convert)


def _labelled(data: DatasetSpec, columns: list[str], source: str) -> Shape:
    """Labelled texts taught as prompt and answer, where the job says nothing: the text, then the word Label."""
    label, text = label_column(columns), text_column(columns)
    prompt = "{" + str(text) + "}\n\nLabel:"
    shape = _templated(dataclasses.replace(data, prompt=prompt, label=label), columns, source)
    sentence = f"texts from column {text!r} with a label from column {label!r}, asked as {prompt!r} (dataset.prompt says otherwise)"
    return dataclasses.replace(shape, kind="labelled", sentence=sentence)


def _templated(data: DatasetSpec, columns: list[str], source: str) -> Shape:
    if data.prompt is None:
        raise UsageProblem("dataset.completion is stated without dataset.prompt", hint="state both")
    completion = data.completion or (" {" + data.label + "}" if data.label else None)
    if completion is None:
        raise UsageProblem("dataset.prompt is stated without dataset.completion", hint="completion: ' {answer}', or label: COLUMN")
    ask, answer = _checked(data.prompt, "dataset.prompt", columns, source), _checked(completion, "dataset.completion", columns, source)
    read_label = _label_reader(data, data.label) if data.label else None

    def convert(values: dict[str, Any], place: str) -> Canonical:
        row: Canonical = {"prompt": ask.fill(values, place)}
        if read_label is not None and data.label is not None:
            row["label"] = read_label(values, place)
            values = {**values, data.label: row["label"]}
        row["completion"] = _answered(answer.fill(values, place), place)
        return row

    labelled = f", labelled by {data.label!r}" if data.label else ""
    return Shape(
        kind="prompt_completion", sentence=f"prompts and answers from templates{labelled}", labelled=read_label is not None, convert=convert
    )


def _answered(text: str, place: str) -> str:
    if not text.strip():
        raise DataProblem(f"{place}: the answer is empty")
    return text


def _messages(data: DatasetSpec, columns: list[str]) -> Shape:
    name = next((name for name in _TURNS if name in columns), "messages")
    has_system = "system" in columns

    def convert(values: dict[str, Any], place: str) -> Canonical:
        given = values.get(name)
        if not isinstance(given, list) or not given:
            raise DataProblem(f"{place}: {name!r} is not a list of turns")
        turns = [_turn(item, place) for item in given]
        if has_system and isinstance(values.get("system"), str) and values["system"].strip() and turns[0]["role"] != "system":
            turns.insert(0, {"role": "system", "content": values["system"]})
        if not any(turn["role"] == "assistant" for turn in turns):
            raise DataProblem(f"{place}: no assistant turn, so there is nothing to learn")
        return {"messages": turns}

    return Shape(kind="messages", sentence=f"conversations from column {name!r}", labelled=False, convert=convert)


def _turn(item: Any, place: str) -> dict[str, str]:
    if not isinstance(item, dict):
        raise DataProblem(f"{place}: a turn is a {type(item).__name__}, not an object with role and content")
    role, content = item.get("role", item.get("from")), item.get("content", item.get("value"))
    if isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str) for part in content
    ):
        content = "".join(part["text"] for part in content)  # OpenAI's list of parts, all of them text
    if not isinstance(role, str) or role not in _ROLES or not isinstance(content, str):
        raise DataProblem(f"{place}: a turn needs a role (system, user, assistant) and a text, got role {role!r}")
    if _ROLES[role] == "assistant":
        _answered(content, place)
    return {"role": _ROLES[role], "content": content}


def _prompt_completion(data: DatasetSpec, columns: list[str]) -> Shape:
    found = [pair for pair in _ASKED if set(pair) <= set(columns)]
    if not found:
        raise UsageProblem("format prompt_completion needs the columns prompt and completion", hint="or state dataset.prompt")
    ask, answer = found[0]

    def convert(values: dict[str, Any], place: str) -> Canonical:
        return {"prompt": as_text(values, ask, place), "completion": _answered(as_text(values, answer, place), place)}

    return Shape(
        kind="prompt_completion", sentence=f"prompts and answers from columns {ask!r} and {answer!r}", labelled=False, convert=convert
    )


def _alpaca(data: DatasetSpec, columns: list[str]) -> Shape:
    def convert(values: dict[str, Any], place: str) -> Canonical:
        asked = as_text(values, "instruction", place)
        context = as_text(values, "input", place) if values.get("input") else ""
        prompt = f"### Instruction:\n{asked}\n\n" + (f"### Input:\n{context}\n\n" if context.strip() else "") + "### Response:\n"
        return {"prompt": prompt, "completion": _answered(as_text(values, "output", place), place)}

    return Shape(kind="alpaca", sentence="instructions and answers (Alpaca)", labelled=False, convert=convert)


def _text(data: DatasetSpec, columns: list[str]) -> Shape:
    template = Template(data.text or "{text}", "dataset.text")

    def convert(values: dict[str, Any], place: str) -> Canonical:
        return {"text": _answered(template.fill(values, place), place)}

    return Shape(kind="text", sentence="plain text", labelled=False, convert=convert)


_TURNS = ("messages", "conversations", "conversation")
_ASKED = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("input", "output"),
    ("query", "response"),
    ("user", "assistant"),
)
_SFT_SHAPES: dict[str, Callable[[DatasetSpec, list[str]], Shape]] = {
    "messages": _messages,
    "sharegpt": _messages,
    "prompt_completion": _prompt_completion,
    "alpaca": _alpaca,
    "text": _text,
}
