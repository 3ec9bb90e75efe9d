"""Other tools' spellings of our keys: TRL old and new, axolotl, LLaMA-Factory, Unsloth, AutoTrain, SkyPilot.

A table and a few value translations; must not decide whether a value is valid. Source: the keys' own documentation,
collected in the manual under "job file, accepted spellings".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Key = tuple[str, ...]

# spelling -> our key; a flat spelling is accepted at the top of the file and inside its section
_RENAMES: dict[str, Key] = {
    "model_name_or_path": ("model",),
    "base_model": ("model",),
    "model_name": ("model",),
    "model_id": ("model",),
    "dataset_name": ("dataset", "path"),
    "data_path": ("dataset", "path"),
    "train_file": ("dataset", "path"),
    "validation_file": ("dataset", "eval_path"),
    "valid_split": ("dataset", "eval_fraction"),
    "val_set_size": ("dataset", "eval_fraction"),
    "val_size": ("dataset", "eval_fraction"),
    "test_size": ("dataset", "eval_fraction"),
    "max_samples": ("dataset", "max_rows"),
    "dataset_text_field": ("dataset", "text"),
    "lora_r": ("lora", "r"),
    "lora_rank": ("lora", "r"),
    "rank": ("lora", "r"),
    "lora_alpha": ("lora", "alpha"),
    "lora_dropout": ("lora", "dropout"),
    "lora_target_modules": ("lora", "target_modules"),
    "lora_target": ("lora", "target_modules"),
    "sequence_len": ("training", "max_length"),
    "cutoff_len": ("training", "max_length"),
    "max_seq_length": ("training", "max_length"),
    "model_max_length": ("training", "max_length"),
    "block_size": ("training", "max_length"),
    "micro_batch_size": ("training", "per_device_train_batch_size"),
    "batch_size": ("training", "per_device_train_batch_size"),
    "gradient_accumulation": ("training", "gradient_accumulation_steps"),
    "num_epochs": ("training", "num_train_epochs"),
    "epochs": ("training", "num_train_epochs"),
    "lr": ("training", "learning_rate"),
    "scheduler": ("training", "lr_scheduler_type"),
    "lr_scheduler": ("training", "lr_scheduler_type"),
    "warmup_ratio": ("training", "warmup_steps"),
    "optimizer": ("training", "optim"),
    "activation_checkpointing": ("training", "gradient_checkpointing"),
    "use_gradient_checkpointing": ("training", "gradient_checkpointing"),
    "train_on_inputs": ("training", "train_on_prompt"),
    "sample_packing": ("training", "packing"),
    "neat_packing": ("training", "packing"),
    "budget": ("limits", "budget_usd"),
    "max_duration": ("limits", "deadline"),
    "accelerators": ("resources", "gpus"),
    "disk_size": ("resources", "disk_gb"),
    "output_dir": ("output", "adapter"),
}


def _no_value(value: Any) -> bool:
    return value is None or value is False


def _four_bit(value: Any) -> tuple[Key, Any] | None:
    return None if _no_value(value) else (("quantization",), "nf4")


def _eight_bit(value: Any) -> tuple[Key, Any] | None:
    return None if _no_value(value) else (("quantization",), "int8")


def _bits(value: Any) -> tuple[Key, Any] | None:
    return ("quantization",), {4: "nf4", 8: "int8", "4": "nf4", "8": "int8", "int4": "nf4"}.get(value, value)


def _adapter_kind(value: Any) -> tuple[Key, Any] | None:
    return (("quantization",), "nf4") if value == "qlora" else None if value == "lora" else (("adapter",), value)


def _all_linear(value: Any) -> tuple[Key, Any] | None:
    return (("lora", "target_modules"), "all-linear") if value is True else None


def _not(value: Any) -> tuple[Key, Any] | None:
    return ("training", "train_on_prompt"), (not value) if isinstance(value, bool) else value


def _stage(value: Any) -> tuple[Key, Any] | None:
    return ("task",), {"rm": "reward", "seq_cls": "classification", "SEQ_CLS": "classification", "llm:sft": "sft"}.get(value, value)


def _datasets(value: Any) -> tuple[Key, Any] | None:
    """axolotl's list of datasets: one is ours; more than one is not understood and stays an unknown key."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and isinstance(value[0].get("path"), str):
        return ("dataset", "path"), value[0]["path"]
    return ("datasets",), value


# spelling -> what it means for us; None: it says what is already so
_TRANSLATIONS: dict[str, Callable[[Any], tuple[Key, Any] | None]] = {
    "load_in_4bit": _four_bit,
    "load_in_8bit": _eight_bit,
    "quantization_bit": _bits,
    "adapter": _adapter_kind,
    "finetuning_type": _adapter_kind,
    "lora_target_linear": _all_linear,
    "completion_only_loss": _not,
    "assistant_only_loss": _not,
    "train_on_completions": _not,
    "stage": _stage,
    "rl": _stage,
    "reward_model": lambda value: (("task",), "reward") if value is True else None,
    "datasets": _datasets,
}


def _value(key: Key, value: Any) -> Any:
    """Other spellings of values under our own keys."""
    if key == ("lora", "target_modules") and value in ("all", "all_linear", ["all-linear"]):
        return "all-linear"
    if key == ("training", "packing") and isinstance(value, bool):
        return "auto" if value else "off"
    if key == ("training", "gradient_checkpointing") and value == "unsloth":
        return True
    if key in (("resources", "infra"), ("resources", "gpus")) and isinstance(value, str) and value != "any":
        return [part.strip() for part in value.split(",") if part.strip()]
    if key == ("limits", "budget_usd") and isinstance(value, str):
        text = value.strip().removeprefix("$").removesuffix("USD").strip()
        return float(text) if text.replace(".", "", 1).isdecimal() else value
    if key == ("task",):
        moved = _stage(value) if isinstance(value, str) else None
        return moved[1] if moved else value
    return value


def translate(key: Key, value: Any, known: frozenset[Key], flat: dict[str, Key]) -> tuple[Key, Any] | None:
    """Our key and value for one given setting, or None when it only says what is already so.

    ``known``: every key of ours. ``flat``: unambiguous last parts, so that ``learning_rate`` at the top finds its section.
    An unknown key comes back unchanged.
    """
    name = key[-1]
    if key in known:
        return key, _value(key, value)
    if name in _TRANSLATIONS and not (len(key) == 2 and key[0] == "output"):
        return _TRANSLATIONS[name](value)
    if key == ("dataset",) and isinstance(value, str):
        return ("dataset", "path"), value
    target = _RENAMES.get(name) or (flat.get(name) if len(key) == 1 else None)
    if target is not None and (len(key) == 1 or key[0] == target[0]):
        return target, _value(target, value)
    return key, value


def spellings() -> dict[str, str]:
    """Every accepted spelling and the dotted key it stands for, for the manual and the schema."""
    return {name: ".".join(key) for name, key in _RENAMES.items()}
