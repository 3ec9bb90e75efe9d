"""What a config must satisfy before anything is loaded, and the out-of-memory ladder over its settings.

Standard library only: the supervisor uses it before torch is imported. Pure: reads no file, no clock.
"""

from __future__ import annotations

import dataclasses

from .contract import ConfigError, LoopConfig, TrainerConfig

TASKS = ("sft", "classification")
QUANTIZATIONS = ("nf4", "nf4-double", "int8", "none")
PACKINGS = ("auto", "off")


def check_config(config: TrainerConfig) -> None:
    """Refuse what cannot be trained. Raises ConfigError naming the key."""
    loop = config.training
    _one_of("task", config.task, TASKS)
    _one_of("quantization", config.quantization, QUANTIZATIONS)
    _one_of("training.packing", loop.packing, PACKINGS)
    least = {
        "lora.r": (config.lora.r, 1),
        "training.per_device_train_batch_size": (loop.per_device_train_batch_size, 1),
        "training.gradient_accumulation_steps": (loop.gradient_accumulation_steps, 1),
        "training.max_length": (loop.max_length, 2),
        "keep_checkpoints": (config.keep_checkpoints, 1),
        "save_steps": (config.save_steps, 0),
        "threads": (config.threads, 0),
    }
    for key, (value, floor) in least.items():
        if value < floor:
            raise ConfigError(f"{key}: {value} is below {floor}")
    if not 0 <= config.lora.dropout < 1:
        raise ConfigError(f"lora.dropout: {config.lora.dropout} is not in 0 to 1")
    if not loop.learning_rate > 0:
        raise ConfigError(f"training.learning_rate: {loop.learning_rate} is not above 0")
    if loop.max_steps <= 0 and not loop.num_train_epochs > 0:
        raise ConfigError(f"training.num_train_epochs: {loop.num_train_epochs} is not above 0, and max_steps is not set")
    if config.task == "classification" and len(set(config.labels)) < 2:
        raise ConfigError(f"labels: a classification needs two different labels or more, got {list(config.labels)}")
    if len(set(config.labels)) != len(config.labels):
        raise ConfigError("labels: the same label twice")


def _one_of(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{key}: {value!r} is not one of {', '.join(choices)}")


def next_rung(loop: LoopConfig) -> tuple[LoopConfig, str] | None:
    """The next remedy after running out of memory, cheapest in quality first; None when the ladder ends.

    The effective batch stays: the rows a pass go down to their largest divisor of half or less, accumulation goes up.
    """
    rows = loop.per_device_train_batch_size
    if rows > 1:
        fewer = next(n for n in range(rows // 2, 0, -1) if rows % n == 0)
        accumulation = loop.gradient_accumulation_steps * rows // fewer
        changed = dataclasses.replace(loop, per_device_train_batch_size=fewer, gradient_accumulation_steps=accumulation)
        return changed, f"per_device_train_batch_size: {fewer}, gradient_accumulation_steps: {accumulation}"
    if not loop.gradient_checkpointing:
        return dataclasses.replace(loop, gradient_checkpointing=True), "gradient_checkpointing: true"
    return None
