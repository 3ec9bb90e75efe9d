"""Two answers to one prompt, of which one is better: chosen and rejected, or an arena's columns (LMSYS, WSDM). Pure."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.data.kinds import Canonical, Shape
from orchestrator.data.template import as_text
from orchestrator.errors import DataProblem, UsageProblem
from orchestrator.spec.jobspec import DatasetSpec

_ARENA = ("prompt", "response_a", "response_b")
_VOTES = ("winner_model_a", "winner_model_b", "winner_tie")
_WORDS = {"winner_model_a": "a", "winner_model_b": "b", "winner_tie": "tie"}
_WINNERS = {"model_a": "a", "model_b": "b", "a": "a", "b": "b", "tie": "tie", "tie (bothbad)": "tie", "both_bad": "tie"}


def pair_columns(columns: list[str]) -> str | None:
    """``pair`` for chosen and rejected, ``votes`` for LMSYS's three columns, ``winner`` for WSDM's one; None: no pairs."""
    have = set(columns)
    if {"chosen", "rejected"} <= have:
        return "pair"
    if set(_ARENA) <= have:
        return "votes" if set(_VOTES) <= have else "winner" if "winner" in have else None
    return None


def pairs_shape(data: DatasetSpec, columns: list[str], source: str) -> Shape:
    """prompt, chosen, rejected for the tasks that learn a preference. Raises UsageProblem when the columns do not show it."""
    chosen, rejected = data.chosen or "chosen", data.rejected or "rejected"
    missing = [name for name in (chosen, rejected) if name not in columns]
    kind = pair_columns(columns)
    if missing and kind in ("votes", "winner") and data.chosen is None:
        return _arena_pairs(kind)
    if missing:
        raise UsageProblem(
            f"{source}: no column {missing[0]!r}, which the better or the worse answer should be in",
            hint=f"state dataset.chosen and dataset.rejected; the columns are {', '.join(columns)}",
        )
    asked = "prompt" if "prompt" in columns else next((name for name in ("question", "instruction", "input") if name in columns), None)

    def convert(values: dict[str, Any], place: str) -> Canonical:
        better, worse = _answer(values, chosen, place), _answer(values, rejected, place)
        if better == worse:
            raise DataProblem(f"{place}: {chosen!r} and {rejected!r} are the same, so there is nothing to prefer")
        prompt = _said(values[asked], place, asked) if asked is not None and values.get(asked) is not None else ""
        return {"prompt": prompt, "chosen": better, "rejected": worse}

    return Shape(kind="preference", sentence=f"pairs of answers from columns {chosen!r} and {rejected!r}", labelled=False, convert=convert)


def _answer(values: dict[str, Any], name: str, place: str) -> str:
    text = _said(values.get(name), place, name)
    if not text.strip():
        raise DataProblem(f"{place}: {name!r} is empty")
    return text


def _said(value: Any, place: str, name: str) -> str:
    """A text, or a conversation whose turns are put one under the other."""
    if isinstance(value, list) and value and all(isinstance(turn, dict) and isinstance(turn.get("content"), str) for turn in value):
        return "\n\n".join(turn["content"] for turn in value)
    return as_text({name: value}, name, place)


def _arena_pairs(kind: str) -> Shape:
    def convert(values: dict[str, Any], place: str) -> Canonical:
        winner = _winner(values, kind, place)
        if winner == "tie":
            raise DataProblem(f"{place}: a tie prefers neither answer", hint="--drop-bad-rows leaves ties out")
        first, second = turns(values["response_a"], place, "response_a"), turns(values["response_b"], place, "response_b")
        better, worse = (first, second) if winner == "a" else (second, first)
        return {"prompt": turns(values["prompt"], place, "prompt"), "chosen": better, "rejected": worse}

    return Shape(kind="preference", sentence="an arena's pairs, the winner chosen", labelled=False, convert=convert)


def arena_classification(data: DatasetSpec, columns: list[str], source: str) -> Shape:
    """Which of two answers won, as a text with a label (a, b, tie). Raises UsageProblem for plain pairs."""
    kind = pair_columns(columns)
    if kind not in ("votes", "winner"):
        raise UsageProblem(f"{source}: pairs of answers have no label", hint="task: dpo or reward, or state dataset.text and dataset.label")
    parts: tuple[tuple[str, str], ...] = (("Prompt", "prompt"), ("Response A", "response_a"), ("Response B", "response_b"))

    def convert(values: dict[str, Any], place: str) -> Canonical:
        text = "\n\n".join(f"{title}: {turns(values.get(name), place, name)}" for title, name in parts)
        return {"text": text, "label": _winner(values, str(kind), place)}

    where = ", ".join(_VOTES) if kind == "votes" else "winner"
    return Shape(
        kind="preference",
        sentence=f"an arena's pairs of answers with the winner (a, b or tie) from {where}",
        labelled=True,
        convert=convert,
    )


def _winner(values: dict[str, Any], kind: str, place: str) -> str:
    if kind == "winner":
        given = str(values.get("winner")).strip().lower()
        if given not in _WINNERS:
            raise DataProblem(f"{place}: winner {given!r} is none of {', '.join(_WINNERS)}")
        return _WINNERS[given]
    votes = [name for name in _VOTES if str(values.get(name)).strip() in ("1", "1.0", "True", "true")]
    if len(votes) != 1:
        raise DataProblem(f"{place}: {len(votes)} of {', '.join(_VOTES)} are 1, and one should be")
    return _WORDS[votes[0]]


def turns(value: Any, place: str, name: str) -> str:
    """LMSYS writes all turns of one side as a JSON list in a cell; a missing turn is null. The turns, one under the other.

    Half characters, which that file holds, become the replacement character.
    """
    parts = value
    if isinstance(value, str):
        parts = _json_list(value, place, name)
    if not isinstance(parts, list):
        return as_text({name: parts}, name, place)
    if not all(part is None or isinstance(part, str) for part in parts):
        raise DataProblem(f"{place}: {name!r} is a list of more than texts")
    return "\n\n".join(_whole(part or "") for part in parts)


def _json_list(text: str, place: str, name: str) -> Any:
    if not text.lstrip().startswith("["):
        return text
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return text  # a text that begins with a bracket
    return parsed if isinstance(parsed, list) and all(part is None or isinstance(part, str) for part in parsed) else text


def _whole(text: str) -> str:
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
