"""Scores the model on held-out rows: accuracy when they are labelled, loss when not; and how sure the gain is.

Runs in evaluation mode without gradients and moves no random state, so an evaluated run trains exactly like one that
is not. Must not write files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .contract import TrainerConfig
from .data import Example, Row, length_batches
from .lora import compute_dtype
from .tasks.classification import ClassificationTask
from .tasks.sft import SftTask

BATCH_TOKENS = 2048  # of one evaluation batch, padding included
MAX_CANDIDATES = 64  # different answers; above this accuracy by comparison costs too much, and the loss is used
RESAMPLES = 2000
SAMPLE_PROMPT_TOKENS = 32  # of a text that is no prompt: how much of it is given
SAMPLE_NEW_TOKENS = 48

Tick = Callable[[int, int], None]  # rows done, rows in all; may raise to cut the evaluation short


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One evaluation; ``values`` and ``weights`` are in the order of the rows."""

    metric: str  # accuracy | loss
    values: list[float]  # accuracy: 1 right, 0 wrong; loss: the row's summed loss
    weights: list[float]  # accuracy: 1; loss: the row's loss tokens
    loss: float  # mean negative log-likelihood of the right answers, a token or a class

    @property
    def value(self) -> float:
        """The metric over all rows."""
        return sum(self.values) / max(sum(self.weights), 1.0)


def gain_interval(before: Scores, after: Scores, seed: int) -> tuple[float, float]:
    """The 95 % interval of after minus before: a paired bootstrap over the rows."""
    generator = np.random.default_rng(seed)
    old, new, weights = (np.asarray(v, dtype=float) for v in (before.values, after.values, before.weights))
    gains = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        rows = generator.integers(0, len(weights), len(weights))
        gains[number] = (new[rows] - old[rows]).sum() / max(weights[rows].sum(), 1.0)
    low, high = np.quantile(gains, (0.025, 0.975))
    return float(low), float(high)


class Evaluation:
    """The held-out rows of one run, ready to be scored before and after."""

    def __init__(self, config: TrainerConfig, task: Any, pairs: list[tuple[Row, Example]], candidates: dict[str, list[str]]) -> None:
        self._task = task
        self._pairs = pairs
        self._candidates = candidates  # label: the completions seen for it
        self._max_length = config.training.max_length

    @property
    def metric(self) -> str:
        """accuracy for labelled rows, else loss."""
        return "accuracy" if isinstance(self._task, ClassificationTask) or self._candidates else "loss"

    def score(self, model: Any, tick: Tick) -> Scores:
        """Score every row."""
        was_training = model.training
        model.eval()
        try:
            with torch.inference_mode(), _autocast(model):
                if isinstance(self._task, ClassificationTask):
                    return self._classes(self._task, model, tick)
                return self._labelled(model, tick) if self._candidates else self._losses(model, tick)
        finally:
            model.train(was_training)

    def _classes(self, task: ClassificationTask, model: Any, tick: Tick) -> Scores:
        right, loss, done = [0.0] * len(self._pairs), 0.0, 0
        for rows in length_batches([len(example.ids) for _, example in self._pairs], BATCH_TOKENS):
            batch = _on_device(task.collate([self._pairs[row][1] for row in rows]), model)
            logits = task.logits(model, batch)
            loss += float(torch.nn.functional.cross_entropy(logits, batch["labels"], reduction="sum"))
            for row, hit in zip(rows, (logits.argmax(-1) == batch["labels"]).tolist(), strict=True):
                right[row] = float(hit)
            done += len(rows)
            tick(done, len(self._pairs))
        return Scores(metric="accuracy", values=right, weights=[1.0] * len(right), loss=loss / len(right))

    def _losses(self, model: Any, tick: Tick) -> Scores:
        examples = [example for _, example in self._pairs]
        sums, counts = _answer_losses(self._task, model, examples, tick)
        return Scores(metric="loss", values=sums, weights=counts, loss=sum(sums) / max(sum(counts), 1.0))

    def _labelled(self, model: Any, tick: Tick) -> Scores:
        """Every label's completion after every prompt; the most probable one is the answer."""
        task: SftTask = self._task
        answers = [(label, task.completion_ids(text)) for label, texts in self._candidates.items() for text in texts]
        prompts = [task.prompt_ids(row.fields["prompt"]) for row, _ in self._pairs]
        longest = max(len(ids) for _, ids in answers)
        prompts = [task.cut_prompt(ids, max(self._max_length - longest - 1, 1)) for ids in prompts]
        firsts = {ids[0] for _, ids in answers}
        if longest == 1 and len(firsts) == len(answers):
            table = _first_token_scores(task, model, prompts, [ids[0] for _, ids in answers], tick)
        else:
            table = _answer_scores(task, model, prompts, [ids for _, ids in answers], tick)
        labels = list(self._candidates)
        right, loss = [], 0.0
        for (row, _), scores in zip(self._pairs, table, strict=True):
            by_label = torch.stack([_best(scores, answers, label) for label in labels])
            gold = labels.index(row.fields["label"])
            right.append(float(int(by_label.argmax()) == gold))
            loss -= float(by_label[gold])
        return Scores(metric="accuracy", values=right, weights=[1.0] * len(right), loss=loss / len(right))


def _best(scores: Any, answers: list[tuple[str, list[int]]], label: str) -> Any:
    """The log-probability of a label's most probable completion."""
    return torch.stack([scores[i] for i, (name, _) in enumerate(answers) if name == label]).max()


def _first_token_scores(task: SftTask, model: Any, prompts: list[list[int]], firsts: list[int], tick: Tick) -> list[Any]:
    """Log-probabilities [answers] a prompt, when every answer is one token: one forward pass gives them all."""
    table: list[Any] = [None] * len(prompts)
    done = 0
    for rows in length_batches([len(ids) for ids in prompts], BATCH_TOKENS):
        batch = _on_device(task.collate([Example(ids=prompts[row], labels=[]) for row in rows]), model)
        mask = batch["attention_mask"]
        chosen = torch.zeros_like(mask, dtype=torch.bool)
        chosen[torch.arange(len(rows), device=mask.device), mask.sum(1) - 1] = True
        scores = task.head(model).logits(batch["input_ids"], mask, chosen).float().log_softmax(-1)[:, firsts].cpu()
        for row, line in zip(rows, scores, strict=True):
            table[row] = line
        done += len(rows)
        tick(done, len(prompts))
    return table


def _answer_scores(task: SftTask, model: Any, prompts: list[list[int]], answers: list[list[int]], tick: Tick) -> list[Any]:
    """Summed log-probabilities [answers] a prompt. The end token counts, so one answer may begin another."""
    examples = []
    for prompt in prompts:
        for answer in answers:
            end = answer + ([task.eos_id] if task.eos_id is not None else [])
            examples.append(Example(ids=prompt + end, labels=[-100] * len(prompt) + end))
    width = len(answers)
    sums, _ = _answer_losses(task, model, examples, lambda done, rows: tick(done // width, rows // width))
    return [-torch.tensor(sums[start : start + width]) for start in range(0, len(sums), width)]


def _answer_losses(task: SftTask, model: Any, examples: list[Example], tick: Tick) -> tuple[list[float], list[float]]:
    """Each example's summed loss and number of loss tokens."""
    sums, counts, done = [0.0] * len(examples), [0.0] * len(examples), 0
    for rows in length_batches([len(example.ids) for example in examples], BATCH_TOKENS):
        batch = _on_device(task.collate([examples[row] for row in rows]), model)
        losses = task.head(model).losses(batch["input_ids"], batch["attention_mask"], batch["labels"])
        sizes = (batch["labels"][:, 1:] != -100).sum(1).tolist()
        for row, part in zip(rows, losses.split(sizes), strict=True):
            sums[row], counts[row] = float(part.sum()), float(len(part))
        done += len(rows)
        tick(done, len(examples))
    return sums, counts


def candidates_of(config: TrainerConfig, rows: list[Row]) -> dict[str, list[str]]:
    """The distinct completions seen for every label; empty when the rows are not labelled or have too many answers."""
    if config.task != "sft" or not config.labels or any("completion" not in row.fields for row in rows):
        return {}
    found: dict[str, list[str]] = {label: [] for label in config.labels}
    for row in rows:
        texts = found.get(str(row.fields.get("label")))
        if texts is None or not row.fields["completion"]:
            return {}
        if row.fields["completion"] not in texts:
            texts.append(row.fields["completion"])
    seen = {label: texts for label, texts in found.items() if texts}
    return seen if len(seen) >= 2 and sum(map(len, seen.values())) <= MAX_CANDIDATES else {}


def sample_texts(task: SftTask, model: Any, rows: list[Row]) -> list[tuple[str, str]]:
    """(prompt, greedy continuation) of held-out rows."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), _autocast(model):
            return [_sample(task, model, row) for row in rows]
    finally:
        model.train(was_training)


def _sample(task: SftTask, model: Any, row: Row) -> tuple[str, str]:
    tokenizer = task.tokenizer
    if "messages" in row.fields:
        turns = [i for i, message in enumerate(row.fields["messages"]) if message["role"] == "assistant"]
        shown = task.render(row.fields["messages"][: turns[-1] if turns else None], ask=True)
        ids = tokenizer(shown, add_special_tokens=False)["input_ids"]
    elif "completion" in row.fields:
        shown, ids = row.fields["prompt"], task.prompt_ids(row.fields["prompt"])
    else:
        ids = task.prompt_ids(row.fields["text"])[:SAMPLE_PROMPT_TOKENS]
        shown = tokenizer.decode(ids, skip_special_tokens=True)
    start = torch.tensor([task.cut_prompt(ids, task.max_length)], device=model.device)
    output = model.generate(
        input_ids=start,
        attention_mask=torch.ones_like(start),
        max_new_tokens=SAMPLE_NEW_TOKENS,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        use_cache=True,
        pad_token_id=task.pad_id,
    )
    return shown, tokenizer.decode(output[0, start.shape[1] :], skip_special_tokens=True)


def _on_device(batch: dict[str, Any], model: Any) -> dict[str, Any]:
    return {name: tensor.to(model.device) for name, tensor in batch.items()}


def _autocast(model: Any) -> Any:
    kind = model.device.type
    return torch.autocast(kind, dtype=compute_dtype(), enabled=kind == "cuda")
