"""A job's settings as the estimate's workload, and a workload that fits as settings again. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.data.lengths import added_by_padding
from orchestrator.estimate.problems import BadWorkload
from orchestrator.estimate.shape import ModelShape
from orchestrator.estimate.workload import LARGEST, Workload
from orchestrator.spec.jobspec import JobSpec

_OPTIMIZERS = {
    "paged_adamw_8bit": "paged_adamw_8bit",
    "paged_adamw_32bit": "paged_adamw_32bit",
    "adamw_8bit": "adamw_8bit",
    "adamw_torch": "adamw",
    "adamw_torch_fused": "adamw_fused",
    "sgd": "sgd",
}


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Real tokens of a whole training, epochs included, and of a mean row; and what padding adds to a real token."""

    total: int
    mean_length: int
    padding: tuple[tuple[int, float], ...] = ()  # by rows a pass, the job's own first


def workload_of(spec: JobSpec, shape: ModelShape, labels: int = 2) -> Workload:
    """The workload of a job on one card. Raises BadWorkload."""
    training = spec.training
    if training.optim not in _OPTIMIZERS:
        raise BadWorkload(f"no memory is known for the optimizer {training.optim}", hint=f"known: {', '.join(_OPTIMIZERS)}")
    if training.max_steps > LARGEST:
        raise BadWorkload(f"max_steps must be at most {LARGEST:,}")
    targets = spec.lora.target_modules
    return Workload(
        shape=shape,
        quantization=spec.quantization,
        lora_r=spec.lora.r,
        lora_targets=(targets,) if isinstance(targets, str) else tuple(targets),
        lora_dropout=spec.lora.dropout,
        micro_batch=training.per_device_train_batch_size,
        max_length=training.max_length,
        accumulation=training.gradient_accumulation_steps,
        checkpointing="layer" if training.gradient_checkpointing else "none",
        optimizer=_OPTIMIZERS[training.optim],
        task=spec.task,
        labels=max(2, labels),
    )


def tokens_of_lengths(spec: JobSpec, lengths: Sequence[int], measured: Sequence[int] | None = None) -> Tokens:
    """Tokens of a whole training on rows of these lengths. ``measured``: the rows whose own length is known; default: all.

    Padding is played through with the measured rows: the trainer pads every pass to its longest row.
    """
    padding = added_by_padding(lengths if measured is None else measured, spec.training)
    per_epoch, count = sum(lengths), max(1, len(lengths))
    if spec.training.max_steps > 0:
        seen = spec.training.max_steps * spec.training.per_device_train_batch_size * spec.training.gradient_accumulation_steps
        return Tokens(total=round(per_epoch / count * seen), mean_length=max(1, per_epoch // count), padding=padding)
    return Tokens(total=round(per_epoch * spec.training.num_train_epochs), mean_length=max(1, per_epoch // count), padding=padding)


def settings_of(spec: JobSpec, fitting: Workload) -> dict[str, Any]:
    """The dotted job-file keys that have to change so that the job becomes ``fitting``; empty when none."""
    before = workload_of(spec, fitting.shape, fitting.labels)
    names = {ours: theirs for theirs, ours in _OPTIMIZERS.items()}
    targets = fitting.lora_targets[0] if len(fitting.lora_targets) == 1 else list(fitting.lora_targets)
    if fitting.lora_targets == ("attention",):
        targets = sorted({m.name for m in fitting.targeted})
    candidates: dict[str, tuple[str, Any]] = {
        "quantization": ("quantization", fitting.quantization),
        "lora_r": ("lora.r", fitting.lora_r),
        "lora_targets": ("lora.target_modules", targets),
        "micro_batch": ("training.per_device_train_batch_size", fitting.micro_batch),
        "accumulation": ("training.gradient_accumulation_steps", fitting.accumulation),
        "max_length": ("training.max_length", fitting.max_length),
        "checkpointing": ("training.gradient_checkpointing", fitting.checkpointing != "none"),
        "optimizer": ("training.optim", names.get(fitting.optimizer, fitting.optimizer)),
    }
    changed = {f.name for f in dataclasses.fields(Workload) if getattr(before, f.name) != getattr(fitting, f.name)}
    return {key: value for name, (key, value) in candidates.items() if name in changed}
