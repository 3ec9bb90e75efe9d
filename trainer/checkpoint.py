"""Folders that are whole or not there: checkpoints and the adapter, each with its manifest written last.

A checkpoint also says what it belongs to; one of another model, rank, task or data set is refused, not tried.
Must not decide when to save.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .contract import (
    ConfigError,
    ManifestError,
    TrainerConfig,
    file_sha256,
    newest_checkpoint,
    sync_folder,
    verify_manifest,
    write_manifest,
)

FACTS_FILE = "facts.json"


def publish(final: Path, fill: Callable[[Path], None]) -> dict[str, str]:
    """Fill a hidden folder, hash it, rename it to ``final`` (replacing what was there). Returns {file: sha256}."""
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.new")
    previous = final.with_name(f".{final.name}.old")
    for leftover in (temporary, previous):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir()
    try:
        fill(temporary)
        hashes = write_manifest(temporary)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)  # on a full disk the room is needed
        raise
    if final.exists():
        os.replace(final, previous)
    os.replace(temporary, final)
    sync_folder(final.parent)
    shutil.rmtree(previous, ignore_errors=True)
    return hashes


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest complete checkpoints, and whatever is half-written or older."""
    kept = 0
    for path in sorted(folder.glob("step-*"), key=checkpoint_step, reverse=True):
        if kept < keep and _complete(path):
            kept += 1
        else:
            shutil.rmtree(path, ignore_errors=True)


def checkpoint_step(path: Path) -> int:
    """The optimizer step a checkpoint was taken after; -1 for a folder that is none."""
    tail = path.name.removeprefix("step-")
    return int(tail) if tail.isdecimal() else -1


def _complete(path: Path) -> bool:
    try:
        verify_manifest(path)
    except ManifestError:
        return False
    return True


def fingerprint(config: TrainerConfig, model_folder: Path) -> dict[str, Any]:
    """What must be equal for a checkpoint to be continued. The split of an effective batch may differ, paths too."""
    loop, lora = config.training, config.lora
    shape = json.loads((model_folder / "config.json").read_text(encoding="utf-8"))
    return {
        "task": config.task,
        "model": Path(config.model).name,
        "model_shape": [shape.get(key) for key in ("model_type", "hidden_size", "num_hidden_layers", "vocab_size")],
        "labels": list(config.labels),
        "quantization": config.quantization,
        "lora": [lora.r, lora.alpha, lora.dropout, _listed(lora.target_modules), sorted(lora.modules_to_save)],
        "train_file": file_sha256(Path(config.train_file)),
        "effective_batch": loop.per_device_train_batch_size * loop.gradient_accumulation_steps,
        "length": [loop.num_train_epochs, loop.max_steps, loop.max_length, loop.packing],
        "schedule": [loop.learning_rate, loop.lr_scheduler_type, loop.warmup_steps, loop.weight_decay, loop.max_grad_norm, loop.optim],
        "seed": loop.seed,
        "train_on_prompt": loop.train_on_prompt,
    }


def _listed(targets: str | tuple[str, ...]) -> list[str]:
    return [targets] if isinstance(targets, str) else sorted(targets)


def read_facts(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint says of itself: fingerprint, step, tokens. Raises ConfigError."""
    try:
        facts = json.loads((checkpoint / FACTS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{checkpoint.name}: not a checkpoint of this trainer") from error
    return dict(facts)


def find_checkpoint(config: TrainerConfig, expected: dict[str, Any]) -> Path | None:
    """The newest complete checkpoint of the work folder or of ``resume_from``. Raises ConfigError for a foreign one."""
    candidates = [newest_checkpoint(config.checkpoints_path)]
    if config.resume_from is not None:
        candidates.append(_resume_from(Path(config.resume_from)))
    found = [path for path in candidates if path is not None]
    if not found:
        return None
    best = max(found, key=checkpoint_step)
    facts = read_facts(best)
    for key, value in expected.items():
        if facts.get("fingerprint", {}).get(key) != value:
            theirs = facts.get("fingerprint", {}).get(key)
            raise ConfigError(f"{best}: belongs to another training: its {key} is {theirs!r}, this one's is {value!r}")
    return best


def _resume_from(folder: Path) -> Path:
    """The named checkpoint, or the newest complete one beside it when it is broken."""
    if _complete(folder):
        return folder
    fallback = newest_checkpoint(folder if any(folder.glob("step-*")) else folder.parent)
    if fallback is None:
        raise ConfigError(f"resume_from: {folder} holds no complete checkpoint")
    return fallback
