"""What this job costs on one offer, start to teardown: a band of seconds and of dollars. Pure arithmetic.

Everything that is billed counts: boot, set-up, the model's download, training, evaluation, saving, the way home, teardown,
disk, traffic, and on spot the interruptions. What no price list says is assumed here, by name, once: see docs/plan.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.plan.budget import HOUR_S
from orchestrator.plan.facts import EVALUATION_COST, JobFacts
from orchestrator.plan.offers import Offer

# seconds from the create call until SSH answers, expected
_BOOT_S = {"vast": 120.0, "runpod": 90.0, "aws": 120.0, "gcp": 90.0, "azure": 180.0, "lambda": 240.0, "local": 0.0, "slurm": 20.0}
_DEFAULT_BOOT_S = 180.0
_RUNTIME_S = 75.0  # SkyPilot's own set-up and its job's start: runtime 22, ray 19, skylet 3, mounts 2, a job's id 13, as run on a rig
_INSTALL_BYTES = 3.5e9  # torch with its CUDA libraries, and the rest of the trainer's wheels
_UNPACK_S = 60.0
_BANDWIDTH_MBIT = {"vast": 300.0, "runpod": 500.0, "local": 100.0}  # expected, from the Hub and PyPI to the box
_DEFAULT_BANDWIDTH_MBIT = 1000.0
_HOME_MBIT = 20.0  # to a laptop at home
_END_S = 60.0  # the last save, and the teardown call with one retry
_FAST, _SLOW = 0.5, 2.0  # start and end take so many times the expected, low and high

_DISK_USD_PER_GB_MONTH = {"runpod": 0.10, "vast": 0.15, "aws": 0.08, "gcp": 0.10, "azure": 0.10}  # elsewhere inside the hourly price
_MONTH_H = 730.0
_TRAFFIC_IN_USD_PER_GB = {"vast": 0.005}  # set by each host; a middling one
_TRAFFIC_OUT_USD_PER_GB = {"vast": 0.005, "aws": 0.09, "gcp": 0.09, "azure": 0.09}
_FREE_OUT = frozenset({"aws", "azure", "gcp"})  # the first 100 GB of a month: billed at the high end only
_MINUTE_BILLING = frozenset({"lambda"})

_INTERRUPTIONS_PER_H = {"vast": 0.10, "runpod": 0.10}  # of a spot instance, expected; nobody publishes them
_DEFAULT_INTERRUPTIONS_PER_H = 0.05
_RARE, _FREQUENT = 0.25, 3.0
_TIGHT_FAILS = 0.25  # share of jobs called tight that run out of memory and have to begin again on another rung


@dataclass(frozen=True, kw_only=True)
class Band:
    """Low, expected, high of one quantity."""

    low: float
    expected: float
    high: float

    def __add__(self, other: Band) -> Band:
        return Band(low=self.low + other.low, expected=self.expected + other.expected, high=self.high + other.high)

    def times(self, factor: float) -> Band:
        """Each bound multiplied."""
        return Band(low=self.low * factor, expected=self.expected * factor, high=self.high * factor)


@dataclass(frozen=True, kw_only=True)
class JobCost:
    """Seconds by phase and dollars of the whole job on one offer."""

    start_s: Band  # from the create call to the first training step
    training_s: Band  # on this card, without interruptions
    rest_s: Band  # evaluation, saving, pulling, teardown, and on spot what interruptions cost
    usd: Band

    @property
    def total_s(self) -> Band:
        """All that is billed."""
        return self.start_s + self.training_s + self.rest_s


def start_band(offer: Offer, facts: JobFacts, mbit: float | None = None) -> Band:
    """Seconds of boot, set-up and downloads. ``mbit``: the host's stated bandwidth, Mbit/s, where one is known."""
    boot = _BOOT_S.get(offer.cloud, _DEFAULT_BOOT_S)
    wire = (mbit or _BANDWIDTH_MBIT.get(offer.cloud, _DEFAULT_BANDWIDTH_MBIT)) * 1e6 / 8
    if offer.backend == "local":
        expected = facts.download_bytes / wire
        return Band(low=0.0, expected=expected, high=expected * _SLOW)  # perhaps it is there already
    expected = boot + _RUNTIME_S + _UNPACK_S + (_INSTALL_BYTES + facts.download_bytes) / wire
    high = min(boot * _SLOW, offer.provisioning_s) + (expected - boot) * _SLOW
    return Band(low=expected * _FAST, expected=expected, high=high)


def job_cost(offer: Offer, facts: JobFacts, training_s: Band, *, tight: bool, step_s: float) -> JobCost:
    """The whole job on this offer. ``step_s``: seconds of an optimizer step; ``tight``: it may run out of memory first."""
    start = start_band(offer, facts)
    share = facts.evaluated_tokens * EVALUATION_COST / max(1, facts.tokens)
    home_s = facts.adapter_bytes * 8 / (_HOME_MBIT * 1e6) if offer.backend != "local" else 0.0
    ends = _END_S + home_s
    rest = training_s.times(share) + Band(low=ends * _FAST, expected=ends, high=ends * _SLOW)
    if tight:
        again = start.expected * 0.3  # the box stays: what is lost are a reload and the steps before the peak
        rest += Band(low=0.0, expected=again * _TIGHT_FAILS, high=again)
    if offer.spot:
        rest += _interruptions(offer, facts, start, training_s, step_s)
    total = start + training_s + rest
    if offer.cloud in _MINUTE_BILLING:
        total = Band(low=total.low, expected=total.expected + 30.0, high=total.high + 60.0)
    return JobCost(start_s=start, training_s=training_s, rest_s=rest, usd=_dollars(offer, facts, total))


def _interruptions(offer: Offer, facts: JobFacts, start: Band, training_s: Band, step_s: float) -> Band:
    """Seconds that interruptions cost: each a new start, and half of what lies between two checkpoints."""
    rate = _INTERRUPTIONS_PER_H.get(offer.cloud, _DEFAULT_INTERRUPTIONS_PER_H)
    between = max(300.0, facts.save_steps * step_s)  # the engine brings home at most one checkpoint in five minutes
    hours = training_s.times(1 / HOUR_S)
    return Band(
        low=rate * _RARE * hours.low * (start.low + between / 2),
        expected=rate * hours.expected * (start.expected + between / 2),
        high=rate * _FREQUENT * hours.high * (start.high + between / 2),
    )


def _dollars(offer: Offer, facts: JobFacts, total_s: Band) -> Band:
    if offer.free:
        return Band(low=0.0, expected=0.0, high=0.0)
    disk = facts.disk_gb * _DISK_USD_PER_GB_MONTH.get(offer.cloud, 0.0) / _MONTH_H
    traffic_in = (_INSTALL_BYTES + facts.download_bytes) / 1e9 * _TRAFFIC_IN_USD_PER_GB.get(offer.cloud, 0.0)
    out = facts.adapter_bytes / 1e9 * _TRAFFIC_OUT_USD_PER_GB.get(offer.cloud, 0.0)
    expected_out = 0.0 if offer.cloud in _FREE_OUT else out
    running = total_s.times((offer.usd_per_hour + disk) / HOUR_S)
    return Band(
        low=running.low + expected_out, expected=running.expected + traffic_in + expected_out, high=running.high + 2 * traffic_in + 3 * out
    )
