"""estimate: how much memory this job takes, on which cards it fits, what would make it fit, and for how long."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.backends.hub import fetch_config
from orchestrator.backends.models import local_folder
from orchestrator.cli import output
from orchestrator.errors import MissingExtra, ModelProblem, UsageProblem
from orchestrator.estimate.document import estimate_document, on_card
from orchestrator.estimate.gpus import find_gpu
from orchestrator.estimate.job import Tokens, settings_of, tokens_of_lengths, workload_of
from orchestrator.estimate.ladder import fit
from orchestrator.estimate.model_shapes import bundled_config, bundled_shape, shape_from_config, shape_from_folder
from orchestrator.estimate.problems import CannotSize, EstimateProblem, UnknownModel
from orchestrator.estimate.shape import ModelShape
from orchestrator.estimate.workload import Workload
from orchestrator.ledger.paths import config_dir
from orchestrator.spec.jobspec import Job
from orchestrator.spec.parse import find_job_file, load_job

TRACE_TIMEOUT_S = 600.0


def estimate(path: Path | None, *, gpu: str, fit_gpu: str | None, trace: bool, offline: bool, model: str | None) -> None:
    """The ``estimate`` command. Raises UsageProblem or ModelProblem."""
    job = load_job(find_job_file(path), flags={("model",): model}, user_config=config_dir() / "config.yaml")
    if trace:
        _print_trace(job, offline=offline)
        return
    with problems_for_a_person():
        workload = workload_of(job.spec, shape_of_model(job, offline=offline))
        tokens, unchecked = _tokens(job, offline=offline)
        if fit_gpu is not None:
            _print_fit(job, workload, fit_gpu)
        elif output.as_json():
            mean, padding = (tokens.mean_length, tokens.padding[0][1] if tokens.padding else 0.0) if tokens else (None, 0.0)
            document = estimate_document(workload, tokens=tokens.total if tokens else None, mean_length=mean, padding=padding)
            output.print_json(document | {"unchecked": unchecked})
        else:
            from orchestrator.cli.estimate_view import show

            show(workload, find_gpu(gpu), output.answers())
            for item in unchecked:
                output.messages().print(f"not checked: {item}", markup=False)


@contextmanager
def problems_for_a_person() -> Iterator[None]:
    """What the estimate cannot do, as the errors that the command line shows."""
    try:
        yield
    except UnknownModel as error:
        raise ModelProblem(error.message, hint=error.hint) from error
    except CannotSize as error:
        raise ModelProblem(error.message, hint=error.hint) from error
    except EstimateProblem as error:
        raise UsageProblem(error.message, hint=error.hint) from error


def shape_of_model(job: Job, *, offline: bool) -> ModelShape:
    """From a local folder, the bundled table, or, when the network may be used, the Hub's config.json."""
    folder = local_folder(job)
    if folder is not None:
        return shape_from_folder(folder)
    try:
        return bundled_shape(job.spec.model)
    except UnknownModel:
        if offline:
            raise
        config = fetch_config(job.spec.model)
        if config is None:
            raise
        return shape_from_config(config, job.spec.model)


def _tokens(job: Job, *, offline: bool) -> tuple[Tokens | None, list[str]]:
    """Tokens of the training, and what could not be counted; None, with the reason, when the data cannot be read yet."""
    from orchestrator.backends.datasets import locate
    from orchestrator.backends.examine import count
    from orchestrator.data.prepare import prepare

    try:
        located = locate(job, offline=offline)
        counted = count(job, prepare(job, located), offline=offline, located=located)
    except UsageProblem as error:
        return None, [f"hours, because the data cannot be used yet: {error.message}"]
    return tokens_of_lengths(job.spec, counted.train, counted.measured), [] if counted.exact else [counted.how]


def _print_fit(job: Job, workload: Workload, name: str) -> None:
    """The job file with which the job fits a card: what it says, and what has to change, named in its first line."""
    import yaml

    card = find_gpu(name)
    found = fit(on_card(workload, card), card)
    if not found.fits:
        raise UsageProblem(f"no change known here makes this job fit {card.name}", hint="a larger card, or a smaller model")
    changes = settings_of(job.spec, found.workload)
    if output.as_json():
        spare = (card.usable_bytes - found.estimate.expected) / 2**30
        output.print_json({"gpu": card.name, "changes": changes, "spare_gib": round(spare, 2)})
        return
    written = _stated(job.spec)
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        (written.setdefault(section, {}) if section else written)[name] = value
    changed = f"with these changes to {job.source}: {', '.join(changes)}" if changes else "as it is"
    sys.stdout.write(f"# the job fits {card.name} {changed}\n{yaml.safe_dump(written, sort_keys=False, allow_unicode=True)}")


def _stated(part: Any) -> dict[str, Any]:
    """What a job file has to say for this part of the job: everything that is not the default."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if value != default:
            found[field.name] = _stated(value) if dataclasses.is_dataclass(value) else msgspec.to_builtins(value)
    return found


def _print_trace(job: Job, *, offline: bool) -> None:
    """The trace of the model itself, in a subprocess that may import torch."""
    import importlib.util
    import tempfile

    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("estimate --trace", "train")
    spec, folder = job.spec, local_folder(job)
    if spec.quantization == "int8":
        raise UsageProblem("8-bit products cannot be traced", hint="quantization: nf4-double or none; or leave --trace out")
    model: Any = str(folder) if folder is not None else bundled_config(spec.model)
    if model is None and not offline:
        model = fetch_config(spec.model)
    if model is None:
        raise ModelProblem(f"model {spec.model}: its config.json cannot be had from here", hint="name a local folder with config.json")
    config = {
        "model": model, "quantization": spec.quantization, "dtype": "bfloat16", "method": "lora",
        "r": spec.lora.r, "dropout": spec.lora.dropout, "target_modules": spec.lora.target_modules, "optim": spec.training.optim,
        "micro_batch": spec.training.per_device_train_batch_size, "length": spec.training.max_length,
        "accumulation": spec.training.gradient_accumulation_steps,
        "gradient_checkpointing": spec.training.gradient_checkpointing,
    }  # fmt: skip
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(config, file)
        file.flush()
        command = [sys.executable, "-P", "-m", "trainer.trace", file.name]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TRACE_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise ModelProblem(f"the trace of {spec.model} took longer than {TRACE_TIMEOUT_S:.0f} s") from error
    try:
        document = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError) as error:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ModelProblem(f"the trace of {spec.model} failed: {said}") from error
    if not document.get("ok", True):
        raise ModelProblem(f"the trace of {spec.model} failed: {document.get('error')}")
    if output.as_json():
        output.print_json(document)
        return
    from orchestrator.cli.estimate_view import trace_lines

    sys.stdout.write("\n".join(trace_lines(document)) + "\n")
