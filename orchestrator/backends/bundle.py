"""What goes to the box: the canonical rows, the trainer's config, the trainer itself; and the job's fingerprint."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.data.prepare import Prepared
from orchestrator.ledger.paths import private
from orchestrator.spec.jobspec import Job, JobSpec
from trainer import contract
from trainer.contract import LoopConfig, LoraConfig, TrainerConfig, dump_config, write_atomically

CONFIG_FILE = "config.json"
TRAIN_FILE = "train.jsonl"
EVAL_FILE = "eval.jsonl"
JOB_DIR = "job"  # on the box: config and rows
WORK_DIR = "work"  # on the box: what the trainer writes
TRAINER_DIR = "trainer"  # on the box: the code
_LATER_KEYS = ("chosen", "rejected", "encoding", "drop_bad_rows")


def fingerprint(job: Job, prepared: Prepared) -> str:
    """Hex digest of everything that decides what is learned: spec without limits and resources, and every row."""
    spec: dict[str, Any] = msgspec.to_builtins(job.spec)
    for section in ("limits", "resources", "output"):
        spec.pop(section)
    for key in _LATER_KEYS:  # a key that came later and says nothing must not change what a job was called before
        if spec["dataset"][key] in (None, False):
            spec["dataset"].pop(key)
    digest = hashlib.sha256(json.dumps([spec, job.folder], sort_keys=True).encode())
    for part in (prepared.train, prepared.held_out):
        digest.update(_lines(part))
        digest.update(b"\0")
    return digest.hexdigest()


def trainer_config(spec: JobSpec, prepared: Prepared, model: str) -> TrainerConfig:
    """The trainer's config for a job; paths are relative to the folder of the config file."""
    loop = {name: getattr(spec.training, name) for name in LoopConfig.__dataclass_fields__}
    return TrainerConfig(
        task=spec.task,
        model=model,
        train_file=TRAIN_FILE,
        eval_file=EVAL_FILE if prepared.held_out else None,
        labels=prepared.labels,
        quantization=spec.quantization,
        lora=LoraConfig(r=spec.lora.r, alpha=spec.lora.alpha, dropout=spec.lora.dropout, target_modules=spec.lora.target_modules),
        training=LoopConfig(**loop),
        out_dir=f"../{WORK_DIR}",
        save_steps=spec.training.save_steps,
        eval_before=spec.evaluation.before,
        sample_prompts=spec.evaluation.samples,
    )


def write_bundle(folder: Path, job: Job, prepared: Prepared) -> None:
    """Write the job's part of the upload. Idempotent; the config comes last."""
    private(folder)
    _write(folder / TRAIN_FILE, _lines(prepared.train))
    if prepared.held_out:
        _write(folder / EVAL_FILE, _lines(prepared.held_out))
    model = job.spec.model
    if Path(job.folder, model).is_dir():
        model = str(Path(job.folder, model).resolve())
    write_atomically(folder / CONFIG_FILE, dump_config(trainer_config(job.spec, prepared, model)))


def row_bytes(prepared: Prepared) -> tuple[int, int]:
    """Bytes of the rows as they are uploaded: trained on, held out."""
    return len(_lines(prepared.train)), len(_lines(prepared.held_out))


def _lines(rows: Iterable[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def code_root() -> Path:
    """The folder that holds the ``trainer`` package here."""
    return Path(contract.__file__).parent.parent


def trainer_files() -> list[tuple[Path, str]]:
    """The trainer's own files: (path here, path on the box relative to the code folder)."""
    root = code_root() / TRAINER_DIR
    found = sorted(p for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return [(path, f"{TRAINER_DIR}/{path.relative_to(root).as_posix()}") for path in found]


def copy_files(files: Iterable[tuple[Path, Path]]) -> tuple[int, int]:
    """Copy what differs in size or time; (files, bytes) that were copied."""
    count = sent_bytes = 0
    for source, target in files:
        stat = source.stat()
        if target.exists() and target.stat().st_size == stat.st_size and target.stat().st_mtime_ns == stat.st_mtime_ns:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
        count, sent_bytes = count + 1, sent_bytes + stat.st_size
    return count, sent_bytes
