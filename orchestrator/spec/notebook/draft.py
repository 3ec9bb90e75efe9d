"""The job under construction: values with their sources, what is not known, what is replaced. Knows no notebook."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from . import tables
from .values import Arg, Loc, Sym, Unresolved, thaw


@dataclass
class Draft:
    """values and sources have dotted keys of the job file; unresolved has key, expression and why."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    unresolved: list[dict[str, str]] = field(default_factory=list)
    overridden: dict[str, dict[str, Any]] = field(default_factory=dict)
    data: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def put(self, key: str, arg: Arg | None, convert: Callable[[Any], Any] | None = None) -> bool:
        """Takes an argument as the value of a key, or as not known. True when that settled the key; None stands for the default."""
        if arg is None:
            return False
        try:
            value = arg.value
            if isinstance(value, Sym):
                value = enum_value(value)
            value = thaw(value)
            if value is None:
                return False
            value = check(key, convert(value) if convert is not None else value)
        except Unresolved as problem:
            self.miss(key, arg.text, problem.why)
            return True
        self.values[key] = value
        self.sources[key] = str(arg.loc)
        return True

    def set(self, key: str, value: Any, loc: Loc) -> None:
        self.values[key] = value
        self.sources[key] = str(loc)

    def miss(self, key: str, expression: str, why: str) -> None:
        self.values.pop(key, None)
        self.sources.pop(key, None)
        if not any(one["key"] == key for one in self.unresolved):
            self.unresolved.append({"key": key, "expression": expression, "why": why})

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def job(self) -> dict[str, Any]:
        """The nested job, in the job file's order."""
        nested: dict[str, Any] = {}
        for key in sorted(self.values, key=_order):
            here = nested
            *parents, last = key.split(".")
            for one in parents:
                here = here.setdefault(one, {})
            here[last] = self.values[key]
        return nested


def _order(key: str) -> tuple[int, int]:
    heads = ("model", "task", "dataset", "quantization", "lora", "training")
    names = (
        "path", "prompt", "completion", "eval_fraction", "r", "alpha", "dropout", "target_modules", "num_train_epochs", "max_steps",
        "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate", "lr_scheduler_type", "warmup_steps", "max_length",
        "packing",
        "gradient_checkpointing", "optim", "seed", "weight_decay", "max_grad_norm", "save_steps",
    )  # fmt: skip
    head, _, last = key.partition(".")
    return (heads.index(head) if head in heads else 99, names.index(last) if last in names else 99)


def enum_value(value: Sym) -> Any:
    """SchedulerType.COSINE and the like, whose value is their name in lower case; Unresolved for any other name of a library."""
    owner = value.path.split(".")[-2] if "." in value.path else ""
    if owner == "SchedulerType" or (owner == "OptimizerNames" and value.last not in ("ADAMW_BNB", "RMSPROP_BNB", "ADAMW_HF")):
        return value.last.lower()
    raise Unresolved(f"{value.path} is a value of a library, known only when it runs")


def check(key: str, value: Any) -> Any:
    """The value, when it is of a kind that the key can have; Unresolved otherwise."""
    name = key if key in tables.NUMBERS else key.rpartition(".")[2]
    if name in tables.NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value in (float("inf"), float("-inf")):
            raise Unresolved(f"{value!r} is not a number")
    elif name in tables.FLAGS:
        if not isinstance(value, bool):
            raise Unresolved(f"{value!r} is neither true nor false")
    elif name == "target_modules":
        if not isinstance(value, str) and not (isinstance(value, list) and value and all(isinstance(one, str) for one in value)):
            raise Unresolved(f"{value!r} is not a list of names")
    elif not isinstance(value, str) or not value:
        raise Unresolved(f"{value!r} is not a text")
    return value
