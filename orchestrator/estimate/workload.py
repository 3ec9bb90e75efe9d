"""What is asked of the estimate: a model, a method, sizes, and the trainer that runs it. Validated on construction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .problems import BadWorkload
from .profile import OURS_BF16, TrainerProfile
from .shape import Matrix, ModelShape

Method = Literal["lora", "full"]
Quantization = Literal["none", "nf4", "nf4-double", "int8"]
Checkpointing = Literal["none", "layer", "offloaded"]
Task = Literal["sft", "classification", "reward", "dpo"]
Parallel = Literal["ddp", "fsdp"]
OPTIMIZERS = frozenset({"none", "sgd", "adamw", "adamw_fused", "adamw_8bit", "paged_adamw_32bit", "paged_adamw_8bit"})
LARGEST = 10**9  # beyond any job, and far from where arithmetic on floats ends
_QV = frozenset({"q_proj", "v_proj", "query_key_value", "c_attn", "Wqkv", "qkv_proj", "query_proj", "value_proj", "query", "value"})
_ATTENTION = frozenset({"q", "k", "v", "qkv", "o"})


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One training job as the estimate sees it. Raises :class:`BadWorkload` for sizes that mean nothing."""

    shape: ModelShape
    method: Method = "lora"
    quantization: Quantization = "none"
    lora_r: int = 16
    lora_targets: tuple[str, ...] = ("all-linear",)  # module names, or one of: all-linear, attention, default
    lora_dropout: float = 0.0
    lora_dora: bool = False  # DoRA: magnitudes are trained too
    lora_head: bool = False  # LoRA on lm_head as well (litgpt)
    trains_embeddings: bool = False  # embed_tokens and lm_head are trained whole (PEFT's modules_to_save)
    micro_batch: int = 1  # rows on one GPU in one forward pass
    max_length: int = 1024  # tokens of the longest row, after truncation
    varying_lengths: bool = False  # batches differ in length, max_length being only their limit
    answer_tokens: int | None = None  # positions that carry loss in the largest micro batch; None: all of them
    accumulation: int = 1
    checkpointing: Checkpointing = "layer"
    optimizer: str = "paged_adamw_8bit"
    task: Task = "sft"
    labels: int = 2  # classes, for classification
    n_gpus: int = 1
    parallel: Parallel = "ddp"
    cpu_offload: bool = False  # fully sharded only: parameters rest on the host
    profile: TrainerProfile = OURS_BF16

    def __post_init__(self) -> None:
        for name in ("micro_batch", "max_length", "accumulation", "n_gpus", "labels"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise BadWorkload(f"{name} must be a whole number of at least 1, not {value!r}")
            if value > LARGEST:
                raise BadWorkload(f"{name} must be at most {LARGEST:,}")
        if self.optimizer not in OPTIMIZERS:
            raise BadWorkload(f"no memory is known for the optimizer {self.optimizer!r}", hint=f"known: {', '.join(sorted(OPTIMIZERS))}")
        if self.method == "full" and self.quantization != "none":
            raise BadWorkload("quantized weights cannot be trained in full", hint="use LoRA, or quantization: none")
        limit = self.shape.positions
        if limit is not None and self.max_length > limit:
            raise BadWorkload(f"max_length {self.max_length} is beyond the {limit} positions {self.shape.name} was made for")
        if not 0.0 <= self.lora_dropout < 1.0:
            raise BadWorkload(f"lora_dropout must be in [0, 1), not {self.lora_dropout!r}")
        if self.answer_tokens is not None and self.answer_tokens < 1:
            raise BadWorkload(f"answer_tokens must be at least 1, not {self.answer_tokens!r}")
        if self.method == "lora":
            self._check_lora()

    def _check_lora(self) -> None:
        if not isinstance(self.lora_r, int) or self.lora_r < 1:
            raise BadWorkload(f"the rank must be a whole number of at least 1, not {self.lora_r!r}")
        targeted = self.targeted
        if not targeted:
            names = ", ".join(sorted({m.name for m in self.shape.matrices if m.linear}))
            raise BadWorkload(f"none of {', '.join(self.lora_targets)} is a module of {self.shape.name}", hint=f"its modules: {names}")
        smallest = min(targeted, key=lambda m: min(m.inputs, m.outputs))
        if self.lora_r > min(smallest.inputs, smallest.outputs):
            raise BadWorkload(f"rank {self.lora_r} is above {smallest.name}'s {smallest.outputs} x {smallest.inputs}")

    @property
    def targeted(self) -> tuple[Matrix, ...]:
        """The matrices that carry LoRA."""
        wanted = set(self.lora_targets)
        return tuple(m for m in self.shape.matrices if m.linear and self._wants(m, wanted))

    @staticmethod
    def _wants(matrix: Matrix, wanted: set[str]) -> bool:
        if "all-linear" in wanted:
            return True
        if "attention" in wanted and matrix.role in _ATTENTION:
            return True
        if "default" in wanted and matrix.name in _QV:
            return True
        return matrix.name in wanted or matrix.role in wanted

    @property
    def tokens(self) -> int:
        """Tokens in the largest micro batch, both sides of a pair counted."""
        return self.micro_batch * self.max_length * (2 if self.task in ("reward", "dpo") else 1)

    @property
    def quantized(self) -> bool:
        """Whether the frozen weights are quantized."""
        return self.quantization != "none"
