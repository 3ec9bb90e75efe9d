"""One attempt from rows to adapter: load, score, train, save, score again.

The order puts money first: rows are checked before weights are loaded, and the adapter is on disk before anything is
scored again. Must not restart itself; the supervisor does.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
import transformers

from .checkpoint import find_checkpoint, fingerprint, publish
from .contract import ExitCode, Kind, TrainerConfig, file_sha256, write_atomically
from .data import Example, Row, encode_rows, read_rows
from .errors import DivergedError, StopRequestedError, UnfitBoxError
from .evaluate import Evaluation, Scores, candidates_of, gain_interval, sample_texts
from .loop import Trained, count_steps, make_batches, peak_memory_bytes, train
from .lora import LABELS_FILE, device_name, labels_json, load_model, load_tokenizer, precision, save_weights
from .model import resolve_model
from .progress import Progress
from .stop import Stop
from .tasks.classification import ClassificationTask
from .tasks.sft import SftTask

BASELINE_FILE = "baseline.json"  # scores of the untrained model, so that a restart does not measure them again

Pairs = list[tuple[Row, Example]]


def run_attempt(config: TrainerConfig, progress: Progress, stop: Stop, said: dict[str, Any]) -> ExitCode:
    """Train one config as far as it gets; ``said`` receives what the result should hold, as it becomes known."""
    transformers.utils.logging.disable_progress_bar()
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.require_gpu and not torch.cuda.is_available():
        raise UnfitBoxError("torch sees no GPU on this machine")
    progress.emit(Kind.PHASE, name="loading")
    folder = resolve_model(config.model)
    tokenizer = load_tokenizer(folder, config)
    task = ClassificationTask(tokenizer, config) if config.task == "classification" else SftTask(tokenizer, config)
    train_pairs, eval_pairs = _read(config, task, progress)
    examples = [example for _, example in train_pairs]
    batches = make_batches(config, examples)
    said.update(steps=0, total_steps=count_steps(config, batches), tokens=0)
    facts = fingerprint(config, folder)
    resume = find_checkpoint(config, facts)
    model = load_model(folder, config, tokenizer)
    if isinstance(task, SftTask) and not task.head(model).direct:
        progress.notice("this model's logits are not its head's alone: they are computed for every token, which costs memory")
    _plan(config, examples, eval_pairs, said["total_steps"], progress)

    evaluation = _evaluation(config, task, train_pairs, eval_pairs)
    before = _baseline(config, evaluation, model, task, eval_pairs, facts, progress, stop)
    progress.emit(Kind.PHASE, name="training")
    if resume is None and stop.reason() is not None:
        trained = Trained(step=0, total_steps=said["total_steps"], tokens=0, stopped=stop.reason())
    else:
        trained = train(config=config, task=task, model=model, examples=examples, progress=progress, stop=stop, facts=facts, resume=resume)
    said.update(steps=trained.step, total_steps=trained.total_steps, tokens=trained.tokens, peak_memory_bytes=peak_memory_bytes())
    progress.emit(Kind.PHASE, name="saving")
    _save_adapter(config, model)
    if evaluation is not None and trained.stopped is None:
        said["evaluation"] = _final_evaluation(config, evaluation, before, model, task, eval_pairs, progress, stop)
        said["peak_memory_bytes"] = peak_memory_bytes()
    elif before is not None and evaluation is not None:
        said["evaluation"] = _comparison(before, None, config.training.seed)
    said["reason"] = trained.stopped or "trained to the end"
    return ExitCode.DONE if trained.stopped is None else ExitCode.STOPPED


def _read(config: TrainerConfig, task: Any, progress: Progress) -> tuple[Pairs, Pairs]:
    train_pairs = encode_rows(read_rows(Path(config.train_file)), task.encode, progress.notice)
    if config.eval_file is None:
        return train_pairs, []
    return train_pairs, encode_rows(read_rows(Path(config.eval_file)), task.encode, progress.notice)


def _plan(config: TrainerConfig, examples: list[Example], eval_pairs: Pairs, total: int, progress: Progress) -> None:
    progress.emit(
        Kind.PLAN,
        total_steps=total,
        train_rows=len(examples),
        eval_rows=len(eval_pairs),
        tokens_per_epoch=sum(len(example.ids) for example in examples),
        device=device_name(),
        precision=precision(),
        quantization=config.quantization,
    )


def _evaluation(config: TrainerConfig, task: Any, train_pairs: Pairs, eval_pairs: Pairs) -> Evaluation | None:
    if not eval_pairs:
        return None
    return Evaluation(config, task, eval_pairs, candidates_of(config, [row for row, _ in train_pairs + eval_pairs]))


def _baseline(
    config: TrainerConfig,
    evaluation: Evaluation | None,
    model: Any,
    task: Any,
    eval_pairs: Pairs,
    facts: dict[str, Any],
    progress: Progress,
    stop: Stop,
) -> Scores | None:
    """Scores of the untrained model (LoRA starts at zero): from an earlier attempt, or measured now.

    Must run before a checkpoint is loaded. None when not wanted, or when a stop came first.
    """
    if evaluation is None or not config.eval_before:
        return None
    path = Path(config.out_dir) / BASELINE_FILE
    key = {**facts, "eval_file": file_sha256(Path(config.eval_file or ""))}
    known = _stored_baseline(path, key)
    if known is not None:
        return known
    progress.emit(Kind.PHASE, name="evaluating_before")
    try:
        scores = _scored(evaluation, model, "before", progress, stop)
    except StopRequestedError:
        return None
    _samples(config, evaluation, model, task, eval_pairs, "before", progress)
    write_atomically(path, json.dumps({"key": key, "scores": dataclasses.asdict(scores)}))
    return scores


def _stored_baseline(path: Path, key: dict[str, Any]) -> Scores | None:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        return Scores(**body["scores"]) if body["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _scored(evaluation: Evaluation, model: Any, when: str, progress: Progress, stop: Stop) -> Scores:
    """Score the model, reporting as it goes. Raises StopRequestedError when the work must end first."""

    def tick(done: int, rows: int) -> None:
        progress.emit(Kind.EVALUATING, when=when, done=done, rows=rows)
        reason = stop.reason()
        if reason is not None and done < rows:
            raise StopRequestedError(reason)

    scores = evaluation.score(model, tick)
    progress.emit(
        Kind.EVALUATION, when=when, metric=scores.metric, rows=len(scores.values), value=round(scores.value, 6), loss=round(scores.loss, 6)
    )
    return scores


def _samples(config: TrainerConfig, evaluation: Evaluation, model: Any, task: Any, pairs: Pairs, when: str, progress: Progress) -> None:
    """A few answers to held-out prompts, where no label says what is right."""
    if not isinstance(task, SftTask) or evaluation.metric != "loss":
        return
    for prompt, text in sample_texts(task, model, [row for row, _ in pairs[: config.sample_prompts]]):
        progress.emit(Kind.SAMPLE, when=when, prompt=prompt, text=text)


def _final_evaluation(
    config: TrainerConfig,
    evaluation: Evaluation,
    before: Scores | None,
    model: Any,
    task: Any,
    eval_pairs: Pairs,
    progress: Progress,
    stop: Stop,
) -> dict[str, Any] | None:
    progress.emit(Kind.PHASE, name="evaluating_after")
    try:
        after = _scored(evaluation, model, "after", progress, stop)
    except StopRequestedError as error:
        progress.notice(f"trained to the end, but not scored afterwards: {error}")
        return _comparison(before, None, config.training.seed)
    if stop.reason() is None:
        _samples(config, evaluation, model, task, eval_pairs, "after", progress)
    return _comparison(before, after, config.training.seed)


def _comparison(before: Scores | None, after: Scores | None, seed: int) -> dict[str, Any] | None:
    """The evaluation of result.json; what was not measured is null."""
    known = after or before
    if known is None:
        return None
    low, high = gain_interval(before, after, seed) if before and after else (None, None)
    return {
        "metric": known.metric,
        "rows": len(known.values),
        "before": before and round(before.value, 6),
        "after": after and round(after.value, 6),
        "gain_low": low if low is None else round(low, 6),
        "gain_high": high if high is None else round(high, 6),
        "loss_before": before and round(before.loss, 6),
        "loss_after": after and round(after.loss, 6),
    }


def _save_adapter(config: TrainerConfig, model: Any) -> None:
    """Write adapter/ with its manifest. Raises DivergedError rather than hand over weights that are not numbers."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not bool(torch.isfinite(parameter).all()):
            raise DivergedError(f"the trained weights are not numbers ({name})")

    def fill(folder: Path) -> None:
        save_weights(model, folder)
        if config.task == "classification":
            (folder / LABELS_FILE).write_text(labels_json(config.labels), encoding="utf-8")

    publish(config.adapter_path, fill)
