"""Finds the fine-tune: which trainer, its arguments by name, and the model that feeds it, followed back to its from_pretrained. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from . import tables
from .errors import NothingFound, SeveralTrainers
from .library import is_trainer
from .machine import Machine
from .values import Arg, Event, Loc, Opaque, PyDict, Unresolved, Value, reason, thaw

MAX_LINKS: Final = 200
MAX_WAYS: Final = 4  # that a condition leaves open for one model


@dataclass
class Model:
    """The way from the trainer back to the weights. base: what from_pretrained was given; loaded: that call; links: what wrapped it."""

    base: Arg | None = None
    loaded: Opaque | None = None
    links: list[Opaque] = field(default_factory=list)
    why: str = ""  # why base is not known
    text: str = ""
    differs: str = ""  # the condition, where the same weights are loaded in one of several ways


def all_trainers(m: Machine) -> list[Event]:
    """The trainers of the notebook, in order; where it has none, get_peft_model calls stand in (a training loop of its own)."""
    events = sorted(m.events.values(), key=lambda event: event.order)
    found = [
        one
        for one in events
        if is_trainer(one.call.last or one.call.callee) and one.call.callee.split(".")[0] not in tables.OTHER_TRAINER_ROOTS
    ]
    return found or [one for one in events if one.call.last == "get_peft_model"]


def choose(m: Machine, wanted: int | None) -> tuple[Event, int]:
    """The trainer meant, and how many there are. One that is trained wins over those that are only built."""
    found = all_trainers(m)
    if not found:
        raise NothingFound(
            "nothing found: no trainer is built in this notebook.",
            "cloudtune import reads Trainer, SFTTrainer, DPOTrainer and RewardTrainer; write the job file with: cloudtune init",
        )
    candidates = [one for one in found if one.trained] or found
    names = [f"{index}: {one.call.last or one.call.callee} ({place(one)})" for index, one in enumerate(candidates, 1)]
    if wanted is not None:
        if not 1 <= wanted <= len(candidates):
            raise SeveralTrainers(
                f"there is no trainer {wanted}; there are: {'; '.join(names)}.", f"Say --trainer 1 to {len(candidates)}.", names
            )
        return candidates[wanted - 1], len(candidates)
    if len(candidates) > 1:
        raise SeveralTrainers(f"{len(candidates)} trainers in one notebook: {'; '.join(names)}.", "Say which one: --trainer N", names)
    return candidates[0], 1


def place(event: Event) -> str:
    return str(event.call.loc)


def parameter(call: Opaque, name: str, positions: tuple[str, ...] = ()) -> Arg | None:
    """The argument of that name as it stood, or None when it was not given. What was set on the object afterwards comes first."""
    if "*" in call.slots:
        return Arg(Opaque("expr", "changed by code that is not followed"), "", call.loc)
    if name in call.slots:
        held = call.slots[name]
        at = call.slots.get(("at", name))
        return Arg(held, f".{name}", at if isinstance(at, Loc) else call.loc)
    if name in call.kwargs:
        return call.kwargs[name]
    if name in positions and positions.index(name) < len(call.args):
        return call.args[positions.index(name)]
    return None


def known(arg: Arg | None) -> Any:
    """The plain value, or None when it is not given or not known."""
    if arg is None:
        return None
    try:
        return thaw(arg.value)
    except Unresolved:
        return None


# --- the model ----------------------------------------------------------------------------------------------------------------------------


def follow_model(value: Value, text: str, *, branching: bool = True) -> Model:
    """From what the trainer was given back to the from_pretrained that loaded it. branching: through one condition at most."""
    model = Model(text=text)
    for _ in range(MAX_LINKS):
        if isinstance(value, str):
            model.base = Arg(value, text, Loc(0, 0))
            return model
        if not isinstance(value, Opaque):
            model.why = reason(value)
            return model
        if value.op == "join" and branching and 2 <= len(value.parts) <= MAX_WAYS:
            return _one_of(model, value)
        following = _step(model, value)
        if following is None:
            return model
        value = following
    model.why = "wrapped too often to follow"
    return model


def _one_of(model: Model, value: Opaque) -> Model:
    """One of several, by a condition: known as far as all of them are the same weights, wrapped at the same places."""
    model.why = value.why
    ways = [follow_model(one, model.text, branching=False) for one in value.parts]
    if len({_kept(one) for one in ways}) > 1 or known(ways[0].base) is None or ways[0].loaded is None:
        return model
    passed = [one for way in ways for one in (*way.links, way.loaded) if one is not None]
    if any("*" in one.slots or "gradient_checkpointing" in one.slots for one in passed):
        return model
    model.base, model.loaded = ways[0].base, ways[0].loaded
    model.links += ways[0].links
    model.why, model.differs = "", value.why if len({_stored(one) for one in ways}) > 1 else ""
    return model


def _stored(model: Model) -> tuple[object, ...]:
    """What decides how the weights are stored; never equal to another's where it is not known."""
    loaded = model.loaded
    given = [parameter(loaded, name) for name in ("quantization_config", "load_in_4bit", "load_in_8bit")] if loaded is not None else []
    if loaded is None or loaded.open:
        return (id(model),)
    return tuple(None if one is None else one.value if isinstance(one.value, bool) else id(one.value) for one in given)


def _kept(model: Model) -> tuple[object, ...]:
    """What must be the same in all ways for the model to be known."""
    loaded = model.loaded
    wrapped = tuple(one.loc for one in model.links if one.last not in tables.MODEL_METHODS | {"DataParallel"})
    return known(model.base), model_class(model), known(parameter(loaded, "max_seq_length")) if loaded is not None else None, wrapped


def _step(model: Model, value: Opaque) -> Value | None:
    """One link back; None at the end, where model says what was found."""
    last = value.last
    if value.op == "item" and isinstance(value.recv, Opaque) and value.recv.op == "call":
        index = value.parts[0] if value.parts else None
        if value.recv.last in ("prepare", "setup_chat_format") and isinstance(index, int) and index < len(value.recv.args):
            model.links.append(value.recv)
            return value.recv.args[index].value
        if index == 0:
            return value.recv
    elif value.op == "attr" and value.callee in ("model", "module", "base_model"):
        held = parameter(value.recv, "model", ("model",)) if isinstance(value.recv, Opaque) and is_trainer(value.recv.last) else None
        return held.value if held is not None else value.recv
    elif value.op == "call" and last == "from_pretrained":
        return _loaded(model, value)
    elif value.op == "call" and last in tables.MODEL_WRAPPERS and not value.callee.startswith("."):
        model.links.append(value)
        held = parameter(value, "model", ("model",))
        if held is not None:
            return held.value
    elif value.op == "call" and value.callee.startswith(".") and last in tables.MODEL_METHODS | tables.MODEL_WRAPPERS:
        model.links.append(value)
        if last in tables.MODEL_WRAPPERS and value.args:
            return value.args[0].value
        return value.recv
    model.why = value.why
    return None


def _loaded(model: Model, value: Opaque) -> Value | None:
    owner = value.callee.split(".")[-2] if "." in value.callee else ""
    if owner == "PeftModel" or owner.startswith("PeftModelFor"):
        model.links.append(value)
        held = parameter(value, "model", ("model",))
        if held is not None:
            return held.value
    if owner.startswith("AutoPeft"):
        model.links.append(value)
        model.why = "it is loaded from a saved adapter, whose base model only its own files name"
        return None
    for name in ("pretrained_model_name_or_path", "model_name", "model_id"):
        held = parameter(value, name, (name,) if not value.kwargs.get(name) else ())
        if held is not None:
            model.base, model.loaded = held, value
            return None
    model.loaded = value
    model.why = "from_pretrained is called without the name of a model"
    return None


def model_class(model: Model) -> str:
    """AutoModelForCausalLM and the like; empty when not known."""
    return model.loaded.callee.split(".")[-2] if model.loaded is not None and "." in model.loaded.callee else ""


def task_of(event: Event, model: Model) -> tuple[str | None, str]:
    """The job file's task, or None and why."""
    name, cls = event.call.last or event.call.callee, model_class(model)
    if name in tables.TASKS:
        if not cls.endswith("ForSequenceClassification") or name == "RewardTrainer":
            return tables.TASKS[name], ""
        if tables.TASKS[name] == "sft":
            return "classification", ""  # the loss is the model's own, whatever the trainer is called
        return None, f"a {name} with {cls} is none of sft, classification, reward and dpo"
    if name in tables.PLAIN_TRAINERS or name == "get_peft_model":
        if cls.endswith("ForSequenceClassification"):
            return "classification", ""
        if cls.endswith(("ForCausalLM", "LMHeadModel")) or cls in ("FastLanguageModel", "AutoModelWithLMHead"):
            return "sft", ""
        return None, f"a {name} with {cls or 'a model that is not known'} is none of sft, classification, reward and dpo"
    return None, f"{name} is none of the trainers behind sft, classification, reward and dpo"


def config_of(event: Event) -> tuple[Opaque | None, Arg | None, str]:
    """The TrainingArguments (or SFTConfig and the like) of a trainer; the argument itself; why it is not known."""
    positions = tables.TRAINER_POSITIONS.get(event.call.last, ("model", "args"))
    held = parameter(_call(event), "args", positions)
    if held is None or held.value is None:
        return None, held, ""
    value = held.value
    if (
        isinstance(value, Opaque)
        and value.op == "call"
        and value.last.endswith(("TrainingArguments", "Config", "Arguments"))
        and value.recv is None
    ):
        return value, held, ""
    return None, held, reason(value) if not isinstance(value, PyDict) else "a mapping, not TrainingArguments"


def _call(event: Event) -> Opaque:
    return event.snapshot or event.call


call_of = _call
