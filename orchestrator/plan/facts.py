"""What a job is to the plan: its workload, how much there is to train, and what it may cost. Pure data."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.estimate.parameters import trained_parameters
from orchestrator.estimate.workload import Workload

_HUB_BYTES = 2.0  # a weight as the Hub stores it: 16 bit, whatever it is quantized to afterwards
_ADAPTER_BYTES = 4.0  # an adapter's weight as it is saved
_DISK_BASE_GB = 30  # system, CUDA wheels, the trainer
_DISK_PER_MODEL = 1.5  # the download, and checkpoints beside it
EVALUATION_COST = 0.35  # a token scored costs so much of a token trained: one pass forward of about three


@dataclass(frozen=True, kw_only=True)
class JobFacts:
    """The job, sized. ``tokens`` are real tokens, epochs included; ``counted`` says whether a tokenizer counted them."""

    workload: Workload
    tokens: int
    mean_length: int  # real tokens of a row
    evaluated_tokens: int = 0  # tokens scored before and after the training, both together
    save_steps: int = 50  # optimizer steps between two checkpoints
    counted: bool = False
    padding: tuple[tuple[int, float], ...] = ()  # (rows a pass, padding tokens it adds to a real token), the job's own first

    @property
    def download_bytes(self) -> float:
        """The model as it comes from the Hub."""
        return self.workload.shape.total_params * _HUB_BYTES

    @property
    def adapter_bytes(self) -> float:
        """What comes home."""
        return trained_parameters(self.workload) * _ADAPTER_BYTES

    @property
    def step_tokens(self) -> int:
        """Tokens of one optimizer step on one card."""
        return self.workload.micro_batch * self.workload.accumulation * self.mean_length

    def padding_of(self, rows: int) -> float:
        """Padding tokens that passes of so many rows add to a real token: of the next larger pass that is known, else of the largest."""
        known = [(size, added) for size, added in self.padding if size >= rows]
        return min(known)[1] if known and rows > 1 else max(self.padding)[1] if self.padding and rows > 1 else 0.0

    @property
    def disk_gb(self) -> int:
        """Disk that the instance needs."""
        return round(_DISK_BASE_GB + _DISK_PER_MODEL * self.download_bytes / 1e9)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the person allows. ``infra`` and ``gpus`` empty: anything."""

    cap_usd: float | None = None  # None: no budget was named; then offers are ranked, and none is affordable or not
    deadline_s: float | None = None
    infra: tuple[str, ...] = ()  # cloud, or cloud/region
    gpus: tuple[str, ...] = ()  # accelerator names, perhaps with :COUNT
    spot: bool | None = None  # True: only spot; False: none; None: both
    allow_unguarded: bool = False  # clouds where nothing ends an instance when nobody watches
    keep_quality: bool = False  # refuse changes of what is learned; without it they are ranked, and named
    credits_usd: tuple[tuple[str, float], ...] = ()  # (cloud, what is left of a credit there)
    left_h: tuple[tuple[str, float], ...] = ()  # (cloud, hours of what it gives away that are left this week)
    backends: frozenset[str] = frozenset({"local", "skypilot"})  # what can be started today
