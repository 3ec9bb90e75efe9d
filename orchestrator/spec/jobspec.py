"""JobSpec: what was asked, as frozen dataclasses. The one table of keys, types, bounds, defaults and help texts.

The parser, the JSON schema and the manual all read this table. Must not read files or know about YAML.
Bounds and help live in ``msgspec.Meta``; units come last in names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

DURATION_PATTERN = r"^(?=.)(\d+(\.\d+)?d)?(\d+(\.\d+)?h)?(\d+(\.\d+)?m)?(\d+(\.\d+)?s)?$"

Task = Literal["sft", "classification", "reward", "dpo"]
Quantization = Literal["nf4", "nf4-double", "int8", "none"]


def duration_s(text: str) -> float:
    """Seconds of a duration such as ``8h``, ``90m`` or ``1h30m``. Raises ValueError for anything else."""
    if not re.match(DURATION_PATTERN, text):
        raise ValueError(f"not a duration: {text!r}")
    unit_s = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
    return sum(float(amount) * unit_s[unit] for amount, unit in re.findall(r"(\d+(?:\.\d+)?)([dhms])", text))


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    path: Annotated[
        str,
        Meta(
            min_length=1,
            description="file (csv, tsv, json, jsonl, parquet, txt, zip) or folder beside the job file; a Hub id; kaggle:owner/dataset",
        ),
    ]
    eval_path: Annotated[str | None, Meta(description="held-out rows, named as path is; without it, eval_fraction of path is held out")] = (
        None
    )
    format: Annotated[
        Literal["auto", "messages", "sharegpt", "prompt_completion", "alpaca", "text", "labelled", "preference"],
        Meta(description="shape of a row"),
    ] = "auto"
    eval_fraction: Annotated[float, Meta(ge=0.0, lt=1.0, description="share of rows held out for evaluation")] = 0.1
    eval_rows: Annotated[int, Meta(ge=0, description="at most so many rows are held out; 0 switches evaluation off")] = 500
    max_rows: Annotated[Annotated[int, Meta(ge=2)] | None, Meta(description="use only so many rows, drawn with the seed")] = None
    prompt: Annotated[str | None, Meta(description="template over the columns, such as 'Review: {text}\\nSentiment:'")] = None
    completion: Annotated[str | None, Meta(description="template for the answer, such as ' {label}'")] = None
    text: Annotated[str | None, Meta(description="template for the text that is classified, or for plain text")] = None
    label: Annotated[str | None, Meta(description="name of the column that holds the label")] = None
    labels: Annotated[
        tuple[str, ...] | dict[str, str] | None, Meta(description="the labels in order, or a mapping from stored value to word")
    ] = None
    chosen: Annotated[str | None, Meta(description="name of the column that holds the better answer")] = None
    rejected: Annotated[str | None, Meta(description="name of the column that holds the worse answer")] = None
    encoding: Annotated[str | None, Meta(description="of the file's text; without it, UTF-8 or what its first bytes show")] = None
    drop_bad_rows: Annotated[bool, Meta(description="leave out rows that cannot be used, instead of stopping")] = False


@dataclass(frozen=True, kw_only=True)
class LoraSpec:
    r: Annotated[int, Meta(ge=1, le=1024, description="rank of the update")] = 16
    alpha: Annotated[int, Meta(ge=1, description="the update is scaled by alpha / r")] = 32
    dropout: Annotated[float, Meta(ge=0.0, lt=1.0, description="dropout on the adapter's input")] = 0.0
    target_modules: Annotated[str | tuple[str, ...], Meta(description="'all-linear', or names of linear modules")] = "all-linear"


@dataclass(frozen=True, kw_only=True)
class TrainingSpec:
    num_train_epochs: Annotated[float, Meta(gt=0.0, le=1000.0, description="passes over the training rows")] = 1.0
    max_steps: Annotated[int, Meta(ge=-1, description="optimizer steps; -1: as many as the epochs need")] = -1
    per_device_train_batch_size: Annotated[int, Meta(ge=1, description="rows a forward pass")] = 4
    gradient_accumulation_steps: Annotated[int, Meta(ge=1, description="forward passes an optimizer step")] = 4
    learning_rate: Annotated[float, Meta(gt=0.0, le=1.0, description="peak learning rate")] = 2.0e-4
    lr_scheduler_type: Annotated[
        Literal["linear", "cosine", "constant", "constant_with_warmup", "cosine_with_restarts", "polynomial", "inverse_sqrt"],
        Meta(description="shape of the learning rate over time"),
    ] = "cosine"
    warmup_steps: Annotated[float, Meta(ge=0.0, description="steps of warm-up; under 1, a share of all steps")] = 0.03
    weight_decay: Annotated[float, Meta(ge=0.0, le=1.0, description="decoupled weight decay")] = 0.0
    max_grad_norm: Annotated[float, Meta(ge=0.0, description="gradients are clipped to this norm; 0: never")] = 1.0
    max_length: Annotated[int, Meta(ge=8, le=1_048_576, description="tokens a row; longer rows are cut")] = 2048
    packing: Annotated[Literal["auto", "off"], Meta(description="how short rows share a batch")] = "auto"
    gradient_checkpointing: Annotated[bool, Meta(description="recompute activations: less memory, about a third slower")] = True
    optim: Annotated[
        Literal["paged_adamw_8bit", "paged_adamw_32bit", "adamw_8bit", "adamw_torch", "adamw_torch_fused", "adafactor", "sgd"],
        Meta(description="optimizer, under transformers' names"),
    ] = "paged_adamw_8bit"
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1, description="seed of split, order, dropout and initial weights")] = 42
    train_on_prompt: Annotated[bool, Meta(description="loss on the prompt too, not on the answer only")] = False
    save_steps: Annotated[int, Meta(ge=1, description="a checkpoint every so many optimizer steps")] = 50


@dataclass(frozen=True, kw_only=True)
class LimitsSpec:
    budget_usd: Annotated[
        Annotated[float, Meta(gt=0.0, le=1_000_000.0)] | None, Meta(description="the most this run may cost, everything included")
    ] = None
    deadline: Annotated[
        Annotated[str, Meta(pattern=DURATION_PATTERN)] | None, Meta(description="the longest this run may take, as 8h, 90m or 1h30m")
    ] = None

    @property
    def deadline_s(self) -> float | None:
        """The deadline in seconds, or None."""
        return None if self.deadline is None else duration_s(self.deadline)


@dataclass(frozen=True, kw_only=True)
class ResourcesSpec:
    infra: Annotated[tuple[str, ...], Meta(description="where to run, in SkyPilot's notation, or local")] = ()
    gpus: Annotated[str | tuple[str, ...], Meta(description="'any', or GPU names")] = "any"
    use_spot: Annotated[bool | Literal["auto"], Meta(description="rent interruptible instances")] = "auto"
    correct_estimates: Annotated[bool, Meta(description="let what earlier runs took correct the estimated time")] = True
    credits: Annotated[
        dict[str, Annotated[float, Meta(ge=0.0)]], Meta(description="dollars of credit left at a cloud, such as {gcp: 300}")
    ] = field(default_factory=dict)
    disk_gb: Annotated[Annotated[int, Meta(ge=1)] | Literal["auto"], Meta(description="disk of the instance")] = "auto"


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    adapter: Annotated[str, Meta(min_length=1, description="folder the adapter comes home to")] = "out/adapter"


@dataclass(frozen=True, kw_only=True)
class EvaluationSpec:
    before: Annotated[bool, Meta(description="score the untrained model too")] = True
    samples: Annotated[int, Meta(ge=0, le=50, description="held-out prompts answered before and after")] = 3


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """What was asked; immutable. Nested sections mirror the job file."""

    model: Annotated[str, Meta(min_length=1, description="a Hub id or a local folder")]
    task: Annotated[Task, Meta(description="what is learned")] = "sft"
    dataset: DatasetSpec
    quantization: Annotated[Quantization, Meta(description="how the frozen weights are stored")] = "nf4"
    lora: LoraSpec = field(default_factory=LoraSpec)
    training: TrainingSpec = field(default_factory=TrainingSpec)
    evaluation: EvaluationSpec = field(default_factory=EvaluationSpec)
    limits: LimitsSpec = field(default_factory=LimitsSpec)
    resources: ResourcesSpec = field(default_factory=ResourcesSpec)
    output: OutputSpec = field(default_factory=OutputSpec)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A JobSpec with where it came from."""

    spec: JobSpec
    folder: str  # absolute; relative paths in the spec start here
    source: str  # the job file as the user named it
    origins: dict[str, str]  # dotted key -> "flag", "environment", "cloudtune.yaml:12", "user config"; absent: default
    notes: tuple[str, ...] = ()  # things worth a warning line
