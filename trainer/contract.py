"""What the laptop and the box agree on: the config file, the progress lines, the exit codes, the manifests.

Standard library only, because the laptop imports it without torch and the supervisor runs before anything is
installed. It is the one module of ``trainer`` that ``orchestrator`` may import.

Files in the work folder (``TrainerConfig.out_dir``), all written by the box:

=======================  ==========================================================================
``progress.jsonl``       one JSON object a line, appended; see :class:`Kind`
``checkpoints/step-N/``  a resumable state; complete when its ``manifest.json`` verifies
``adapter/``             the final LoRA weights as PEFT safetensors, with ``manifest.json``
``result.json``          the last word, written once, atomically; its presence means the job has ended
``stop``                 made by the laptop: save and end as soon as possible
``supervisor.json``      process id and start time of the supervisor that owns the folder
=======================  ==========================================================================
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

CONTRACT_VERSION = 1

PROGRESS_FILE = "progress.jsonl"
RESULT_FILE = "result.json"
STOP_FILE = "stop"
SUPERVISOR_FILE = "supervisor.json"
CHECKPOINT_DIR = "checkpoints"
ADAPTER_DIR = "adapter"
MANIFEST_FILE = "manifest.json"
LOG_FILE = "trainer.log"
LOCK_FILE = ".lock"  # held (flock) by the supervisor for as long as it lives


class ExitCode(IntEnum):
    """How the trainer (``python -P -m trainer``) ended. The supervisor repeats the last attempt's code."""

    DONE = 0  # trained to the end; adapter/ verifies
    CRASH = 1  # a bug or a signal; the last complete checkpoint is usable
    BAD_CONFIG = 2  # config.json does not parse, or asks for the impossible
    BAD_DATA = 3  # a data file is missing or holds a row that cannot be used
    NO_MODEL = 4  # the model cannot be had or cannot be loaded
    OUT_OF_MEMORY = 10  # this rung did not fit; from the supervisor: no rung fits
    STOPPED = 20  # the soft deadline or a stop request; adapter saved
    DIVERGED = 21  # the loss is not a number; last good checkpoint kept
    DISK_FULL = 22  # no room for a checkpoint or the adapter
    BUSY = 23  # another supervisor owns this work folder
    UNFIT_BOX = 24  # this machine cannot do it: no GPU, a driver too old, no disk, packages that do not install


class Kind:
    """The kinds of progress lines. Every line holds ``v`` (contract version), ``t`` (unix seconds) and ``kind``."""

    PHASE = "phase"  # name: preparing | installing | downloading | loading | evaluating_before | training | evaluating_after | saving
    PLAN = "plan"  # total_steps, train_rows, eval_rows, tokens_per_epoch, device, precision, quantization
    RESUMED = "resumed"  # step: training goes on after this step
    STEP = "step"  # step, total_steps, epoch, loss, learning_rate, grad_norm, tokens, tokens_per_s, peak_memory_bytes
    CHECKPOINT = "checkpoint"  # step, path (relative to the work folder)
    EVALUATION = "evaluation"  # when: before | after; metric, rows, value, loss
    EVALUATING = "evaluating"  # when, done, rows: progress of a running evaluation
    SAMPLE = "sample"  # when: before | after; prompt, text
    RUNG = "rung"  # the out-of-memory ladder moved: change, why
    NOTICE = "notice"  # text: something the user should read
    END = "end"  # exit_code, reason


class ConfigError(ValueError):
    """A config file that cannot be used; the message names the key."""


class ManifestError(ValueError):
    """A folder whose files are not what its manifest says; the message names the file."""


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """LoRA settings; the adapter is W + (alpha / r)·B·A."""

    r: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: str | tuple[str, ...] = "all-linear"
    modules_to_save: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """The training loop's settings, under transformers' names."""

    num_train_epochs: float = 1.0
    max_steps: int = -1  # -1: as many as the epochs need
    per_device_train_batch_size: int = 4  # rows a forward pass
    gradient_accumulation_steps: int = 4  # forward passes an optimizer step
    learning_rate: float = 2e-4
    lr_scheduler_type: str = "cosine"
    warmup_steps: float = 0.03  # under 1: a share of all steps
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    max_length: int = 2048  # tokens a row; longer rows are cut
    packing: str = "auto"  # auto | off
    gradient_checkpointing: bool = True
    optim: str = "paged_adamw_8bit"
    seed: int = 42
    train_on_prompt: bool = False  # False: loss on the answer only


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """Everything one training needs. Paths are absolute, or relative to the folder of the config file."""

    version: int = CONTRACT_VERSION
    task: str = "sft"  # sft | classification
    model: str  # a local folder, or a Hub id
    train_file: str  # canonical rows, JSON lines
    eval_file: str | None = None  # held-out rows of the same shape; None: no evaluation
    labels: tuple[str, ...] = ()  # all labels, when rows are labelled; their order is the class index
    quantization: str = "nf4"  # nf4 | nf4-double | int8 | none
    lora: LoraConfig = field(default_factory=LoraConfig)
    training: LoopConfig = field(default_factory=LoopConfig)
    out_dir: str  # the work folder
    resume_from: str | None = None  # a checkpoint folder from another attempt; used if none in out_dir is newer
    save_steps: int = 50  # a checkpoint every so many optimizer steps; 0: only when stopped
    keep_checkpoints: int = 2  # complete ones kept on disk, the newest first
    eval_before: bool = True  # score the untrained model on eval_file too
    sample_prompts: int = 3  # held-out prompts answered before and after, for unlabelled text
    soft_deadline_at: float | None = None  # unix seconds: by then everything must be saved and ended
    threads: int = 0  # CPU threads; 0: the library's default
    require_gpu: bool = False  # a paid box on which torch sees no GPU ends at once instead of training on its processor

    @property
    def checkpoints_path(self) -> Path:
        return Path(self.out_dir) / CHECKPOINT_DIR

    @property
    def adapter_path(self) -> Path:
        return Path(self.out_dir) / ADAPTER_DIR


def _build(cls: type[Any], given: object, where: str) -> Any:
    """Make a dataclass from a decoded JSON object, refusing unknown, missing and mistyped keys."""
    if not isinstance(given, dict):
        raise ConfigError(f"{where or 'config'}: expected an object, got {type(given).__name__}")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(given) - set(fields))
    if unknown:
        raise ConfigError(f"{where}{unknown[0]}: unknown key")
    values: dict[str, Any] = {}
    for name, spec in fields.items():
        key = f"{where}{name}"
        if name not in given:
            if spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
                raise ConfigError(f"{key}: missing")
            continue
        values[name] = _value(str(spec.type), given[name], key)
    return cls(**values)


def _value(annotation: str, value: object, key: str) -> Any:
    """Check one JSON value against a field's annotation (a small closed set of them)."""
    nested = {"LoraConfig": LoraConfig, "LoopConfig": LoopConfig}
    if annotation in nested:
        return _build(nested[annotation], value, f"{key}.")
    kinds = {kind.strip() for kind in annotation.split("|")}
    if value is None and "None" in kinds:
        return None
    if isinstance(value, bool):
        if "bool" in kinds:
            return value
    elif isinstance(value, int) and kinds & {"int", "float"}:
        return value if "int" in kinds else float(value)
    elif (isinstance(value, float) and "float" in kinds) or (isinstance(value, str) and "str" in kinds):
        return value
    elif isinstance(value, list) and "tuple[str, ...]" in kinds and all(isinstance(v, str) for v in value):
        return tuple(value)
    raise ConfigError(f"{key}: expected {annotation}, got {value!r}")


def load_config(path: Path) -> TrainerConfig:
    """Read a config file; relative paths in it become absolute. Raises ConfigError."""
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    config: TrainerConfig = _build(TrainerConfig, given, "")
    if config.version != CONTRACT_VERSION:
        raise ConfigError(f"version: this trainer speaks {CONTRACT_VERSION}, the config {config.version}")
    base = path.resolve().parent
    changes: dict[str, Any] = {}
    for name in ("train_file", "eval_file", "out_dir", "resume_from"):
        value = getattr(config, name)
        if value is not None:
            changes[name] = str(base / value)
    return dataclasses.replace(config, **changes)


def dump_config(config: TrainerConfig) -> str:
    """The config as JSON text that :func:`load_config` reads back."""
    return json.dumps(dataclasses.asdict(config), ensure_ascii=False, indent=1)


def write_atomically(path: Path, text: str) -> None:
    """Temp file in the same folder, fsync, rename, fsync of the folder: a reader sees the old text or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make a rename inside ``path`` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes, read in blocks."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_manifest(folder: Path) -> dict[str, str]:
    """Hash every file below ``folder`` and write the manifest last: it is the completeness marker.

    Returns {relative posix path: hex sha256}. Every file is flushed to disk before the manifest exists.
    """
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST_FILE and not path.name.startswith("."):
            with open(path, "rb") as handle:
                os.fsync(handle.fileno())
            files[path.relative_to(folder).as_posix()] = {"sha256": file_sha256(path), "bytes": path.stat().st_size}
    body = {"version": CONTRACT_VERSION, "files": files}
    write_atomically(folder / MANIFEST_FILE, json.dumps(body, indent=1))
    return {name: entry["sha256"] for name, entry in files.items()}


def verify_manifest(folder: Path) -> dict[str, str]:
    """Check every file of a folder against its manifest. Returns {relative path: sha256}; raises ManifestError."""
    try:
        files = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))["files"]
        expected = {str(name): (str(entry["sha256"]), int(entry["bytes"])) for name, entry in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManifestError(f"{folder.name}: no usable {MANIFEST_FILE} ({type(error).__name__})") from error
    for name, (digest, size) in expected.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ManifestError(f"{name}: points outside its folder")
        if not path.is_file():
            raise ManifestError(f"{name}: missing")
        if path.stat().st_size != size or file_sha256(path) != digest:
            raise ManifestError(f"{name}: does not match its hash")
    return {name: digest for name, (digest, _) in expected.items()}


def newest_checkpoint(folder: Path) -> Path | None:
    """The complete checkpoint with the highest step below ``folder``; half-written ones are passed over."""

    def step(path: Path) -> int:
        tail = path.name.removeprefix("step-")
        return int(tail) if path.name.startswith("step-") and tail.isdecimal() else -1

    candidates = sorted((p for p in folder.glob("step-*") if step(p) >= 0), key=step, reverse=True)
    for candidate in candidates:
        try:
            verify_manifest(candidate)
        except ManifestError:
            continue
        return candidate
    return None
