"""The training loop: transformers' Trainer with our batches, our loss and our checkpoints.

The Trainer gives optimizer, schedule, precision, accumulation and random state. What is ours: the order of rows
(:mod:`trainer.sampler`), a loss that is the mean over the loss tokens of the whole effective batch, checkpoints that
are whole or not there, and ending when asked. Must not evaluate, and must not decide what an error means.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from .checkpoint import FACTS_FILE, prune, publish, read_facts
from .contract import CHECKPOINT_DIR, ConfigError, Kind, LoopConfig, TrainerConfig
from .data import Example
from .errors import DivergedError
from .lora import load_weights, precision, save_weights
from .progress import Progress
from .sampler import Batches
from .stop import Stop
from .tasks import Task

MAX_BAD_STEPS = 3  # steps in a row whose loss is not a number
FAULT_VARIABLE = "CLOUDTUNE_TEST_OOM_ABOVE_ROWS"  # tests only: a pass with more rows than this runs out of memory
REPORTERS = {  # the environment variables by which a user asks for a reporting library
    "wandb": ("WANDB_API_KEY", "WANDB_PROJECT"),
    "trackio": ("TRACKIO_PROJECT", "TRACKIO_SPACE_ID"),
    "tensorboard": ("TENSORBOARD_LOGGING_DIR",),
}


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Where the loop ended."""

    step: int
    total_steps: int
    tokens: int
    stopped: str | None  # why it ended early


def peak_memory_bytes() -> int:
    """The most memory used so far: what torch reserved on the card, or this process's resident set."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_reserved())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def make_batches(config: TrainerConfig, examples: list[Example]) -> Batches:
    """The order of the training rows."""
    loop = config.training
    return Batches(
        [len(example.ids) for example in examples],
        rows_a_pass=loop.per_device_train_batch_size,
        passes=loop.gradient_accumulation_steps,
        seed=loop.seed,
        grouped=loop.packing == "auto",
    )


def count_steps(config: TrainerConfig, batches: Batches) -> int:
    """Optimizer steps of the whole training."""
    if config.training.max_steps > 0:
        return config.training.max_steps
    return math.ceil(config.training.num_train_epochs * batches.steps_an_epoch)


class _Loop(Trainer):  # type: ignore[misc]  # the library is untyped here
    """The Trainer with our loss, rows and checkpoints."""

    def __init__(self, *, config: TrainerConfig, task: Task, batches: Batches, watcher: _Watcher, facts: dict[str, Any], **rest: Any):
        super().__init__(**rest)
        self.model_accepts_loss_kwargs = True  # compute_loss divides by the items of the whole effective batch
        self._config, self._task, self._batches, self._watcher, self._facts = config, task, batches, watcher, facts
        self._oom_above_rows = int(os.environ.get(FAULT_VARIABLE, sys.maxsize))

    def get_train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(
            self.train_dataset,
            batch_sampler=self._batches,
            collate_fn=self._collate,
            generator=torch.Generator(),  # its own, so that making an iterator does not move the training's random state
        )

    def _collate(self, examples: list[Example]) -> dict[str, Any]:
        self._watcher.tokens += sum(len(example.ids) for example in examples)
        return self._task.collate(examples)

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
        return sum(self._task.loss_items(batch) for batch in batch_samples).to(device) if batch_samples else None

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        if len(inputs["input_ids"]) > self._oom_above_rows:
            raise torch.OutOfMemoryError(f"asked for by {FAULT_VARIABLE}")
        with self.accelerator.autocast():
            return self._task.summed_loss(model, inputs) / num_items_in_batch

    def floating_point_ops(self, inputs: Any) -> int:
        return 0  # nobody reads it, and counting walks over every parameter

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)
        if self.accelerator.scaler is None and not torch.isfinite(norm):
            model.zero_grad()  # the step would turn every weight into NaN; with a scaler it is skipped already
        return norm

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self._watcher.bad_steps:
            return  # the last good checkpoint must stay the newest
        step, started = self.state.global_step, time.monotonic()
        publish(self._config.checkpoints_path / f"step-{step}", self._fill)
        prune(self._config.checkpoints_path, self._config.keep_checkpoints)
        self._watcher.saved(step, time.monotonic() - started)

    def _fill(self, folder: Path) -> None:
        save_weights(self.model, folder)
        self._save_optimizer_and_scheduler(str(folder))
        self._save_scaler(str(folder))
        self._save_rng_state(str(folder))
        self.state.log_history = []  # the progress file has it
        self.state.save_to_json(str(folder / "trainer_state.json"))
        facts = {"fingerprint": self._facts, "step": self.state.global_step, "tokens": self._watcher.tokens}
        (folder / FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(self.model, Path(resume_from_checkpoint))


class _Watcher(TrainerCallback):  # type: ignore[misc]
    """Reports every step, asks for checkpoints, and ends the loop when the work must stop."""

    def __init__(self, config: TrainerConfig, progress: Progress, stop: Stop, batches: Batches, tokens: int) -> None:
        self.tokens = tokens  # fed so far, over all attempts
        self.bad_steps = 0
        self.stopped: str | None = None
        self._config, self._progress, self._stop, self._batches = config, progress, stop, batches
        self._training_s = 0.0
        self._step_began = 0.0
        self._tokens_before = tokens

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self._batches.epoch = state.global_step // self._batches.steps_an_epoch

    def on_step_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self._step_began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self._stop.note_step(time.monotonic() - self._step_began)
        every = self._config.save_steps
        last = state.global_step >= state.max_steps
        reason = None if last else self._stop.reason()
        if reason is not None:
            self.stopped = reason
            control.should_training_stop = True
        control.should_save = last or reason is not None or (every > 0 and state.global_step % every == 0)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **rest: Any) -> None:
        if not logs or "loss" not in logs:
            return
        took_s = max(time.monotonic() - self._step_began, 1e-9)
        self._training_s += took_s
        good = math.isfinite(logs["loss"])
        self.bad_steps = 0 if good else self.bad_steps + 1
        self._progress.emit(
            Kind.STEP,
            step=state.global_step,
            total_steps=state.max_steps,
            epoch=round(float(state.epoch or 0.0), 4),
            loss=float(logs["loss"]),
            learning_rate=float(logs["learning_rate"]),
            grad_norm=float(logs.get("grad_norm") or 0.0),
            tokens=self.tokens,
            tokens_per_s=round((self.tokens - self._tokens_before) / took_s, 1),
            peak_memory_bytes=peak_memory_bytes(),
            training_s=round(self._training_s, 3),
        )
        self._tokens_before = self.tokens
        if self.bad_steps >= MAX_BAD_STEPS:
            raise DivergedError(f"the loss was not a number for {MAX_BAD_STEPS} steps up to step {state.global_step}")

    def saved(self, step: int, took_s: float) -> None:
        """A checkpoint is complete."""
        self._stop.note_save(took_s)
        self._progress.emit(Kind.CHECKPOINT, step=step, path=f"{CHECKPOINT_DIR}/step-{step}")


def train(
    *,
    config: TrainerConfig,
    task: Task,
    model: Any,
    examples: list[Example],
    progress: Progress,
    stop: Stop,
    facts: dict[str, Any],
    resume: Path | None,
) -> Trained:
    """Train from ``resume`` (or the start) to the end or a stop; a checkpoint of the last step is on disk afterwards."""
    batches = make_batches(config, examples)
    total = count_steps(config, batches)
    known = read_facts(resume) if resume else {"step": 0, "tokens": 0}
    step, tokens = int(known["step"]), int(known["tokens"])
    if resume is not None:
        progress.emit(Kind.RESUMED, step=step)
    if step >= total and resume is not None:  # killed after the last step: nothing is left to train
        load_weights(model, resume)
        return Trained(step=step, total_steps=total, tokens=tokens, stopped=None)
    watcher = _Watcher(config, progress, stop, batches, tokens)
    loop = _Loop(
        config=config,
        task=task,
        batches=batches,
        watcher=watcher,
        facts=facts,
        model=model,
        args=_arguments(config, progress),
        train_dataset=examples,
        callbacks=[watcher],
    )
    loop.remove_callback(PrinterCallback)
    loop.train(resume_from_checkpoint=str(resume) if resume else None)
    return Trained(step=loop.state.global_step, total_steps=total, tokens=watcher.tokens, stopped=watcher.stopped)


def _arguments(config: TrainerConfig, progress: Progress) -> Any:
    loop = config.training
    kind = precision()
    try:
        return TrainingArguments(
            output_dir=config.out_dir,
            num_train_epochs=loop.num_train_epochs,
            max_steps=loop.max_steps if loop.max_steps > 0 else -1,
            per_device_train_batch_size=loop.per_device_train_batch_size,
            gradient_accumulation_steps=loop.gradient_accumulation_steps,
            learning_rate=loop.learning_rate,
            lr_scheduler_type=loop.lr_scheduler_type,
            warmup_steps=loop.warmup_steps,
            weight_decay=loop.weight_decay,
            max_grad_norm=loop.max_grad_norm,
            optim=_optimizer(loop, progress),
            seed=loop.seed,
            bf16=kind == "bf16",
            fp16=kind == "fp16",
            use_cpu=kind == "fp32",
            logging_steps=1,
            logging_nan_inf_filter=False,  # it would hide what the watcher looks for
            save_strategy="no",  # the watcher asks for checkpoints
            eval_strategy="no",
            report_to=_reporters(progress),
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        )
    except ValueError as error:
        raise ConfigError(f"training: {error}") from error


def _optimizer(loop: LoopConfig, progress: Progress) -> str:
    """The optimizer's name for this machine; without bitsandbytes the plain AdamW, said aloud."""
    needs_bitsandbytes = any(mark in loop.optim for mark in ("8bit", "paged"))
    if needs_bitsandbytes and importlib.util.find_spec("bitsandbytes") is None:
        progress.notice(f"{loop.optim} needs bitsandbytes, which is not installed: adamw_torch is used")
        return "adamw_torch"
    # Paging moves optimizer state between card and host; without a card the same optimizer is used unpaged.
    return loop.optim if torch.cuda.is_available() else loop.optim.removeprefix("paged_")


def _reporters(progress: Progress) -> list[str]:
    asked = [name for name, variables in REPORTERS.items() if any(os.environ.get(variable) for variable in variables)]
    for name in asked:
        if importlib.util.find_spec(name) is None:
            progress.notice(f"{name} was asked for by the environment but is not installed")
    return [name for name in asked if importlib.util.find_spec(name) is not None] or ["none"]
