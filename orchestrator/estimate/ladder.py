"""What makes a job fit a card: single changes in the order to take them, each with what it saves, costs and changes.

First what changes nothing that is learned, cheapest in speed first; then what does. Measured on Llama-3-8B at 512 tokens
(traced): checkpointing saves 4.3 GiB, no fp32 upcast 3.1, no logits 0.7, a lower rank 0.35, 8-bit Adam 0.3.
Must not import anything outside the standard library.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from .duration import estimate_speed
from .gpus import Gpu, Verdict, verdict
from .memory import MemoryEstimate, estimate_memory
from .problems import BadWorkload
from .workload import Workload

Quality = Literal["none", "changes"]
_LOWEST_RANK, _SHORTEST = 8, 256


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change of a job, as the job file would spell it."""

    key: str  # the job file's name for it
    text: str  # what the person reads: "gradient_checkpointing: true"
    quality: Quality  # whether it changes what is learned
    why: str  # in a sentence
    settings: dict[str, object]  # job file keys to new values; empty when no key exists (a property of the trainer)
    workload: Workload  # after the change


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A change taken by itself, next to the job as it stands."""

    change: Change
    estimate: MemoryEstimate
    saved: float  # bytes
    speed: float | None  # factor on tokens a second: 0.75 is a quarter slower; None when no card was named
    verdict: Verdict | None


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Changes taken one after another until the job fits, or all of them when it does not."""

    fits: bool
    changes: tuple[Change, ...]
    workload: Workload
    estimate: MemoryEstimate


def _checkpointing(w: Workload) -> Change | None:
    if w.checkpointing != "none":
        return None
    return Change(key="gradient_checkpointing", text="gradient_checkpointing: true", quality="none",
                  why="keeps one tensor a layer and recomputes the rest in backward",
                  settings={"training.gradient_checkpointing": True}, workload=replace(w, checkpointing="layer"))  # fmt: skip


def _no_upcast(w: Workload) -> Change | None:
    if not w.profile.kbit_preparation:
        return None
    return Change(key="fp32_upcast", text="no fp32 upcast of embeddings, head and norms", quality="none",
                  why="kbit preparation doubles every activation; cloudtune's own trainer does without it",
                  settings={}, workload=replace(w, profile=replace(w.profile, kbit_preparation=False)))  # fmt: skip


def _no_logits(w: Workload) -> Change | None:
    if w.profile.loss in ("answer", "fused") or w.task in ("classification", "reward"):
        return None
    answers = w.answer_tokens or max(1, w.tokens // 4)
    return Change(key="logits", text="logits only where there is loss", quality="none",
                  why="the vocabulary is the widest tensor of the step; prompts and padding need none of it",
                  settings={}, workload=replace(w, answer_tokens=answers, profile=replace(w.profile, loss="answer")))  # fmt: skip


def _smaller_batch(w: Workload) -> Change | None:
    if w.micro_batch == 1:
        return None
    smaller = w.micro_batch // 2
    steps = -(-w.micro_batch * w.accumulation // smaller)
    answers = None if w.answer_tokens is None else max(1, w.answer_tokens * smaller // w.micro_batch)
    return Change(key="per_device_train_batch_size",
                  text=f"per_device_train_batch_size: {smaller} with gradient_accumulation_steps: {steps}", quality="none",
                  why="the same rows count in a step; dynamic memory falls with the rows that are in flight",
                  settings={"training.per_device_train_batch_size": smaller, "training.gradient_accumulation_steps": steps},
                  workload=replace(w, micro_batch=smaller, accumulation=steps, answer_tokens=answers))  # fmt: skip


def _paged_8bit(w: Workload) -> Change | None:
    if w.optimizer == "paged_adamw_8bit" or w.optimizer in ("none", "sgd"):
        return None
    return Change(key="optim", text="optim: paged_adamw_8bit", quality="none",
                  why="two bytes of state a trained weight instead of eight, and they move to the host when the card is full",
                  settings={"training.optim": "paged_adamw_8bit"}, workload=replace(w, optimizer="paged_adamw_8bit"))  # fmt: skip


def _double_quantization(w: Workload) -> Change | None:
    if w.quantization != "nf4":
        return None
    return Change(key="quantization", text="quantization: nf4-double", quality="none",
                  why="the quantization constants are quantized too: 0.37 bits a weight less, no loss reported",
                  settings={"quantization": "nf4-double"}, workload=replace(w, quantization="nf4-double"))  # fmt: skip


def _two_cards(w: Workload) -> Change | None:
    """A whole copy on each card saves nothing unless the micro batch is split; offered for what it is."""
    if w.n_gpus > 1 or w.micro_batch < 2:
        return None
    half = w.micro_batch // 2
    answers = None if w.answer_tokens is None else max(1, w.answer_tokens * half // w.micro_batch)
    return Change(key="n_gpus", text=f"two cards, {half} row{'s' if half > 1 else ''} on each", quality="none",
                  why="each card holds the whole model and half of the rows; not twice as fast",
                  settings={"resources.gpus_per_node": 2, "training.per_device_train_batch_size": half},
                  workload=replace(w, n_gpus=2, parallel="ddp", micro_batch=half, answer_tokens=answers))  # fmt: skip


def _four_bit(w: Workload) -> Change | None:
    if w.quantization in ("nf4", "nf4-double") or w.method == "full":
        return None
    return Change(key="quantization", text="quantization: nf4-double", quality="changes",
                  why="frozen weights in four bits; and 4-bit products, unlike 8-bit ones, keep no input",
                  settings={"quantization": "nf4-double"}, workload=replace(w, quantization="nf4-double"))  # fmt: skip


def _attention_only(w: Workload) -> Change | None:
    if w.method == "full" or {m.role for m in w.targeted} <= {"q", "k", "v", "qkv", "o"}:
        return None
    names = tuple(dict.fromkeys(m.name for m in w.shape.matrices if m.linear and m.role in ("q", "k", "v", "qkv", "o")))
    return Change(key="target_modules", text=f"target_modules: [{', '.join(names)}]", quality="changes",
                  why="no adapter on the MLP: its inputs, the widest, are not kept",
                  settings={"lora.target_modules": list(names)}, workload=replace(w, lora_targets=names))  # fmt: skip


def _lower_rank(w: Workload) -> Change | None:
    if w.method == "full" or w.lora_r <= _LOWEST_RANK:
        return None
    rank = max(_LOWEST_RANK, w.lora_r // 4)
    return Change(key="r", text=f"r: {rank}", quality="changes", why="fewer trained weights, gradients and states",
                  settings={"lora.r": rank}, workload=replace(w, lora_r=rank))  # fmt: skip


def _shorter(w: Workload) -> Change | None:
    if w.max_length <= _SHORTEST:
        return None
    length = max(_SHORTEST, w.max_length // 2)
    answers = None if w.answer_tokens is None else max(1, w.answer_tokens * length // w.max_length)
    return Change(key="max_length", text=f"max_length: {length}", quality="changes",
                  why="longer rows are cut; look at how many that are",
                  settings={"training.max_length": length}, workload=replace(w, max_length=length, answer_tokens=answers))  # fmt: skip


# In the order to take them. The first eight change nothing that is learned.
_CHANGES = (
    _no_upcast, _no_logits, _paged_8bit, _double_quantization, _checkpointing, _smaller_batch, _two_cards,
    _attention_only, _lower_rank, _shorter, _four_bit,
)  # fmt: skip


def changes(w: Workload) -> Iterator[Change]:
    """Every change that applies to this job, in the order to take them."""
    for make in _CHANGES:
        try:
            change = make(w)
        except BadWorkload:  # the change itself is impossible here
            continue
        if change is not None:
            yield change


def ladder(w: Workload, gpu: Gpu | None = None) -> tuple[Rung, ...]:
    """Each change by itself. Those that save nothing are left out, two cards excepted when they do."""
    before = estimate_memory(w)
    rungs = []
    for change in changes(w):
        after = estimate_memory(change.workload)
        if before.expected - after.expected < 1.0:
            continue
        speed = None if gpu is None else estimate_speed(change.workload, gpu).expected / estimate_speed(w, gpu).expected
        rungs.append(Rung(change=change, estimate=after, saved=before.expected - after.expected, speed=speed,
                          verdict=None if gpu is None else verdict(after, gpu)))  # fmt: skip
    return tuple(rungs)


def _next_change(w: Workload, gpu: Gpu, *, keep_quality: bool, allow_two_cards: bool) -> Change | None:
    """The change to take now: one that fits by itself if there is one, else the one that saves most of its kind."""
    usable = [c for c in changes(w) if (not keep_quality or c.quality == "none") and (allow_two_cards or c.key != "n_gpus")]
    for quality in ("none", "changes"):
        same = [(c, estimate_memory(c.workload)) for c in usable if c.quality == quality]
        here = estimate_memory(w).expected
        same = [(c, e) for c, e in same if here - e.expected >= 1.0]
        fitting = [c for c, e in same if verdict(e, gpu) == "fits"]
        if fitting:
            return fitting[0]
        if same:
            return min(same, key=lambda pair: pair[1].expected)[0]
    return None


_MOST_CHANGES = 24  # more than any job has: halvings of batch and length, and one of everything else


def fit(w: Workload, gpu: Gpu, *, keep_quality: bool = False, allow_two_cards: bool = False) -> Fit:
    """The fewest changes found, taken greedily, after which the job fits the card. ``fits`` is False when none do."""
    taken: list[Change] = []
    current = w
    for _ in range(_MOST_CHANGES):
        estimate = estimate_memory(current)
        if verdict(estimate, gpu) == "fits":
            return Fit(fits=True, changes=tuple(taken), workload=current, estimate=estimate)
        change = _next_change(current, gpu, keep_quality=keep_quality, allow_two_cards=allow_two_cards)
        if change is None:
            break
        taken.append(change)
        current = change.workload
    return Fit(fits=False, changes=tuple(taken), workload=current, estimate=estimate_memory(current))
