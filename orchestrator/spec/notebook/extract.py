"""From the trainer that was found to the job: each setting once, verbatim, with its source. Pure.

Conflicts and unknowns are reported, never guessed.
"""

from __future__ import annotations

import re
from typing import Any, Final

from . import datasets, kaggle, prompts, tables, trainers
from .draft import Draft
from .trainers import Model, known, parameter
from .values import Arg, Event, Opaque, PyDict, Unresolved, Value, reason, thaw

OOM_WHY = "the notebook's own output ends in CUDA out of memory; checkpointing changes no result and is the first remedy"
_STORED: Final = re.compile(r"4bit|8bit|awq|gptq", re.IGNORECASE)
STORED_WHY = "the weights' name says that they are stored quantized, the call that they are not"
SAVE_WHY = "save_steps=0 writes no checkpoint at all, so that an interrupted run starts again from nothing; cloudtune sets its own interval"


def extract(event: Event, measured: dict[str, Any]) -> Draft:
    """Everything the notebook says about this fine-tune."""
    draft = Draft()
    trainer = trainers.call_of(event)
    config, held, why = trainers.config_of(event)
    if why and held is not None:
        draft.miss("training", held.text, why)
    model = _model(draft, event, trainer)
    task, reasons = trainers.task_of(event, model)
    if task is not None:
        draft.set("task", task, event.call.loc)
    else:
        draft.miss("task", event.call.callee, reasons)
    if trainers.model_class(model).endswith(tables.IMAGE_MODELS):
        draft.note(f"{trainers.model_class(model)} reads images as well; cloudtune trains on text alone")
    _quantization(draft, model, config)
    _lora(draft, event, trainer, model)
    _training(draft, trainer, config)
    _checkpointing(draft, config, model)
    flow = _dataset(draft, trainer, config)
    _length(draft, trainer, config, model, flow)
    _override(draft, measured)
    _data(draft)
    return draft


# --- model --------------------------------------------------------------------------------------------------------------------------------


def _model(draft: Draft, event: Event, trainer: Opaque) -> Model:
    if trainer.last == "get_peft_model":
        draft.note("the notebook trains with a loop of its own: its training settings were not read")
        model = trainers.follow_model(trainer, "get_peft_model")
    else:
        held = parameter(trainer, "model", tables.TRAINER_POSITIONS.get(trainer.last, ("model",)))
        if held is None and ("result", "model_init") in trainer.slots:
            held = trainer.kwargs["model_init"]._replace(value=trainer.slots["result", "model_init"])
        if held is None or held.value is None:
            draft.miss("model", "model", "the trainer is given no model")
            return Model()
        model = trainers.follow_model(held.value, held.text)
        if isinstance(held.value, str):
            model.base = held
    if model.base is None:
        draft.miss("model", model.text, model.why)
        return model
    value = model.base.value
    name = _downloaded(value)
    draft.put("model", model.base if name is None else model.base._replace(value=name))
    return model


def _downloaded(value: Value) -> str | None:
    """The name behind a download: kagglehub.model_download and snapshot_download."""
    if not isinstance(value, Opaque) or value.op != "call" or len(value.args) + len(value.kwargs) == 0:
        return None
    held = parameter(value, "handle", ("handle",)) or parameter(value, "repo_id", ("repo_id",))
    name = known(held)
    if not isinstance(name, str):
        return None
    if value.callee.endswith("model_download") and len(value.args) + len(value.kwargs) == 1 and 4 <= len(name.split("/")) <= 5:
        return f"kaggle:{name}"
    return name if value.last == "snapshot_download" and "revision" not in value.kwargs else None


def _quantization(draft: Draft, model: Model, config: Opaque | None) -> None:
    loaded: Opaque | None = model.loaded
    if model.differs:
        draft.miss("quantization", model.text, model.differs)
        return
    held: Arg | None = parameter(loaded, "quantization_config") if loaded is not None else None
    if loaded is None and config is not None:
        extra = parameter(config, "model_init_kwargs")
        if extra is not None and isinstance(extra.value, PyDict) and isinstance(extra.value.slots["items"], dict):
            found = extra.value.slots["items"].get("quantization_config")
            held = extra._replace(value=found) if found is not None else None
    if held is not None and held.value is not None:
        _bits_and_bytes(draft, held)
        return
    if loaded is None:
        return
    four, eight = parameter(loaded, "load_in_4bit"), parameter(loaded, "load_in_8bit")
    unsloth, stored = trainers.model_class(model).startswith("Fast"), _STORED.search(str(known(model.base))) is not None
    try:
        in_four, in_eight = _flag(four), _flag(eight)
        if in_four and not in_eight:
            if not unsloth:
                raise Unresolved("load_in_4bit without a quantization type: transformers then takes fp4, which is none of cloudtune's")
            draft.note("Unsloth's 4 bits are NF4; it also quantizes the constants, as nf4-double does")
            assert four is not None
            draft.set("quantization", "nf4", four.loc)
        elif in_eight and not in_four:
            assert eight is not None
            draft.set("quantization", "int8", eight.loc)
        elif four is not None and in_four is False and not in_eight and stored:
            draft.miss("quantization", four.text, STORED_WHY)
        elif four is not None and in_four is False and not in_eight:
            draft.set("quantization", "none", four.loc)
        elif loaded.open:
            draft.miss("quantization", "from_pretrained(**…)", "called with arguments that are not known")
        elif in_four is None and in_eight is None and stored:
            draft.note("the notebook asks for no quantization, but the model's name says that its weights are stored quantized")
        elif in_four is None and in_eight is None and not unsloth:
            draft.note("the notebook loads the model without quantization; cloudtune's own is nf4, and quantization: none keeps it whole")
    except Unresolved as problem:
        draft.miss("quantization", (four or eight or Arg(None, "from_pretrained", loaded.loc)).text, problem.why)


def _bits_and_bytes(draft: Draft, held: Arg) -> None:
    call = held.value
    try:
        if not isinstance(call, Opaque) or call.op != "call":
            raise Unresolved(reason(call))
        if call.last != "BitsAndBytesConfig":
            raise Unresolved(f"{call.last} is none of nf4, nf4-double, int8 and none")
        if call.open:
            raise Unresolved("called with arguments that are not known")
        four = parameter(call, "load_in_4bit", tables.BNB_POSITIONS)
        eight = parameter(call, "load_in_8bit", tables.BNB_POSITIONS)
        in_four, in_eight = _flag(four), _flag(eight)
        if in_eight and not in_four:
            draft.set("quantization", "int8", _loc(eight, held))
            return
        if not in_four:
            draft.set("quantization", "none", held.loc)
            return
        kind, double = parameter(call, "bnb_4bit_quant_type"), parameter(call, "bnb_4bit_use_double_quant")
        named = thaw(kind.value) if kind is not None else None
        if named != "nf4":
            raise Unresolved(f"4 bits of the type {named or 'fp4 (the default)'} are none of nf4, nf4-double, int8 and none")
        draft.set("quantization", "nf4-double" if _flag(double) else "nf4", _loc(kind, held))
    except Unresolved as problem:
        draft.miss("quantization", held.text, problem.why)


def _loc(arg: Arg | None, otherwise: Arg) -> Any:
    return arg.loc if arg is not None else otherwise.loc


def _flag(arg: Arg | None) -> bool | None:
    value = thaw(arg.value) if arg is not None else None
    if value is not None and not isinstance(value, bool):
        raise Unresolved(f"{value!r} is neither true nor false")
    return value


# --- LoRA ---------------------------------------------------------------------------------------------------------------------------------


def _lora(draft: Draft, event: Event, trainer: Opaque, model: Model) -> None:
    found: list[tuple[Opaque | None, Arg]] = []
    held = parameter(trainer, "peft_config") if trainer.last != "get_peft_model" else None
    if held is not None and held.value is not None:
        found.append((held.value if isinstance(held.value, Opaque) else None, held))
    for link in model.links:
        if link.last != "get_peft_model":
            continue
        given = parameter(link, "peft_config", ("model", "peft_config"))
        if given is not None:
            found.append((given.value if isinstance(given.value, Opaque) else None, given))
        else:  # Unsloth's, whose arguments are LoRA's own
            found.append((link, Arg(link, "get_peft_model", link.loc)))
    if len(found) > 1 and len({id(one[0]) for one in found}) > 1:
        draft.miss("lora", "; ".join(one[1].text for one in found)[:200], "two LoRA configurations reach the trainer")
        return
    if not found:
        if any(link.last == "from_pretrained" for link in model.links):
            draft.miss("lora", "from_pretrained", "the notebook goes on training a saved adapter")
        elif model.base is not None:
            draft.note("no LoRA is set up in the notebook: it trains all weights, cloudtune a LoRA")
        return
    call, arg = found[0]
    if call is None or call.op != "call" or call.last not in ("LoraConfig", "get_peft_model"):
        named = call.last if call is not None and call.op == "call" and call.last else ""
        draft.miss("lora", arg.text, f"{named} is not LoRA" if named.endswith("Config") else reason(arg.value))
        return
    for name, key in tables.LORA.items():
        draft.put(f"lora.{key}", parameter(call, name))
    if call.open:
        draft.miss("lora.*", arg.text, "called with arguments that are not known")
    if call.args and call.last == "LoraConfig":
        draft.note("LoraConfig is given arguments by position, which were not read")
    _elsewhere(draft, call, tables.ELSEWHERE_LORA)


# --- training -----------------------------------------------------------------------------------------------------------------------------


def _training(draft: Draft, trainer: Opaque, config: Opaque | None) -> None:
    packing = parameter(trainer, "packing") if trainer.last != "get_peft_model" else None
    if packing is not None:
        draft.put("training.packing", packing)
    if config is None:
        return
    if "*" in config.slots:
        draft.miss("training", config.callee, "changed by code that is not followed")
        return
    for key, names in tables.TRAINING.items():
        if f"training.{key}" in draft.values:
            continue
        for name in names:
            if draft.put(f"training.{key}", parameter(config, name)):
                break
    _warmup(draft, config)
    if config.open:
        draft.miss("training.*", config.callee, "called with arguments that are not known")
    if len(config.args) > 1:
        draft.note(f"{config.last} is given arguments by position, which were not read")
    _elsewhere(draft, config, tables.ELSEWHERE_TRAINING)


def _warmup(draft: Draft, config: Opaque) -> None:
    steps, ratio = parameter(config, "warmup_steps"), parameter(config, "warmup_ratio")
    if steps is not None and ratio is not None and known(steps) == 0:
        steps = None  # then the ratio counts
    draft.put("training.warmup_steps", steps) or draft.put("training.warmup_steps", ratio)


def _elsewhere(draft: Draft, call: Opaque, names: tuple[str, ...]) -> None:
    said = []
    for name in names:
        arg = parameter(call, name)
        if arg is not None and "*" not in call.slots and arg.value is not None and arg.text:
            said.append(f"{name}={known(arg)!r}" if known(arg) is not None else f"{name}={arg.text}")
    if said:
        draft.note(f"said in {call.last} and left to cloudtune: {', '.join(said)}"[:500])


def _checkpointing(draft: Draft, config: Opaque | None, model: Model) -> None:
    """gradient_checkpointing as the arguments and the calls on the model together say it."""
    key = "training.gradient_checkpointing"
    said: list[Arg] = []
    stated = parameter(config, "gradient_checkpointing") if config is not None and "*" not in config.slots else None
    if stated is not None and stated.value is not None:
        said.append(stated)
    on_model: list[Arg] = []
    for link in [*model.links, *([model.loaded] if model.loaded is not None else [])]:
        held = link.slots.get("gradient_checkpointing")
        if held is not None and link is not config:
            on_model.append(held if isinstance(held, Arg) else Arg(held, "gradient_checkpointing_enable", link.loc))
        given = parameter(link, "use_gradient_checkpointing") if "*" not in link.slots else None
        if given is not None and given.value is not None:
            on_model.append(given._replace(value=True) if given.value == "unsloth" else given)
    if said and known(said[0]) is True:
        draft.put(key, said[0])
        return
    said += on_model
    values = {str(known(one)) for one in said}
    if len(values) > 1:
        draft.miss(key, "; ".join(one.text for one in said)[:200], "the notebook says both: in the trainer's arguments and on the model")
    elif said:
        draft.put(key, said[0])
    if stated is not None and known(stated) is False and any(one.last == "prepare_model_for_kbit_training" for one in model.links):
        draft.note("prepare_model_for_kbit_training switches gradient checkpointing on by itself, whatever the trainer's arguments say")


# --- data ---------------------------------------------------------------------------------------------------------------------------------


def _dataset(draft: Draft, trainer: Opaque, config: Opaque | None) -> datasets.Flow:
    names = tables.TRAINER_POSITIONS.get(trainer.last, ())
    held = parameter(trainer, "train_dataset", names) if trainer.last != "get_peft_model" else None
    if held is None or held.value is None:
        if trainer.last != "get_peft_model":
            draft.miss("dataset.path", "train_dataset", "the trainer is given no train_dataset")
        return datasets.Flow()
    flow = datasets.follow(held.value)
    datasets.put_path(draft, flow, held.text)
    evaluated = parameter(trainer, "eval_dataset", names)
    datasets.put_split(draft, flow, datasets.follow(evaluated.value).steps if evaluated is not None else [])
    datasets.say_limits(draft, flow)
    if draft.values.get("task") == "sft":
        prompts.put_prompt(draft, trainer, config, flow)
    return flow


def _length(draft: Draft, trainer: Opaque, config: Opaque | None, model: Model, flow: datasets.Flow) -> None:
    """training.max_length: what the trainer is told; else what the tokenizer calls on the data say."""
    key = "training.max_length"
    told = [
        arg
        for call in (trainer, config)
        if call is not None and "*" not in call.slots
        for name in tables.LENGTHS
        if (arg := parameter(call, name))
    ]
    told = [arg for arg in told if arg.value is not None]
    cap = parameter(model.loaded, "max_seq_length") if model.loaded is not None else None
    if told:
        first, limit = known(told[0]), known(cap)
        if isinstance(first, int) and isinstance(limit, int) and limit < first:
            draft.miss(key, told[0].text, f"the trainer says {first}, the model is loaded for {limit}")
        else:
            draft.put(key, told[0])
        return
    if cap is not None and draft.put(key, cap):
        return
    lengths = [arg for step in flow.steps for arg in datasets.tokenizer_lengths(step)]
    lengths = [arg for arg in lengths if arg.value is not None]
    values = {str(known(arg)) for arg in lengths}
    if len(values) > 1:
        draft.miss(key, "; ".join(sorted({arg.text for arg in lengths}))[:200], "the tokenizer is called with several lengths")
    elif len({arg.loc for arg in lengths}) > 1 and draft.values.get("task") not in ("reward", "dpo"):
        draft.miss(key, lengths[0].text, "the tokenizer is called at several places, each for a piece of the row perhaps")
    elif lengths:
        draft.put(key, lengths[0])


# --- afterwards ---------------------------------------------------------------------------------------------------------------------------


def _override(draft: Draft, measured: dict[str, Any]) -> None:
    """What is replaced, with the reason. The job has what is used; `overridden` has what the notebook said."""
    save = draft.values.get("training.save_steps")
    if save == 0 and not isinstance(save, bool):
        draft.overridden["training.save_steps"] = {"from": save, "to": None, "why": SAVE_WHY}
        del draft.values["training.save_steps"], draft.sources["training.save_steps"]
    key = "training.gradient_checkpointing"
    stated = draft.values.get(key)
    missed = any(one["key"] in (key, "training", "training.*") for one in draft.unresolved)
    if "out_of_memory" in measured and "train_seconds" not in measured and stated is not True and not missed:
        draft.overridden[key] = {"from": stated, "to": True, "why": OOM_WHY}
        draft.values[key] = True
        draft.sources[key] = measured["out_of_memory"]["source"]
    elif stated is False:
        draft.note("gradient_checkpointing is off in the notebook: activations then take most of the memory; true needs a fraction of it")


def _data(draft: Draft) -> None:
    for key in ("model", "dataset.path"):
        value = draft.values.get(key)
        found = kaggle.how_to_get(value, key) if isinstance(value, str) else None
        if found is not None:
            draft.data.append(found)
