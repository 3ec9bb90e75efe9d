"""The truth: virtual time, machines, their jobs and their bill. Knows nothing of the engine.

Every machine's life is computed from a few instants, so that hours pass at no cost.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from orchestrator.backends.simulated.faults import Rates
from orchestrator.plan.offers import Offer
from trainer.contract import ExitCode

NEVER = math.inf
LOAD_S = 90.0  # from submit to the first step
SAVE_S = 40.0  # from a stop request, or the last step, to the last word
START = 1_800_000_000.0  # unix seconds at which every night begins


@dataclass(kw_only=True)
class Job:
    """One training process on one machine."""

    started_at: float
    from_step: int
    soft_stop_at: float  # by the box's own clock
    asked_at: float = NEVER  # stop request
    killed_at: float = NEVER  # its machine rebooted


@dataclass(kw_only=True)
class Machine:
    """One instance, as it truly is."""

    id: str
    name: str
    offer: int
    gpu: str
    rate_usd_per_hour: float
    created_at: float
    listed_at: float
    ready_at: float
    ends_at: float  # its own timer
    preempted_at: float
    reboots_at: float
    terminated_at: float = NEVER
    uploaded: bool = False
    job: Job | None = None
    kept_step: int = 0  # newest complete checkpoint on its disk, from jobs before the present one
    log: list[int] = field(default_factory=list)

    @property
    def end_at(self) -> float:
        return min(self.terminated_at, self.ends_at, self.preempted_at)

    def alive(self, at: float) -> bool:
        return self.created_at <= at < self.end_at

    def cost_usd(self, at: float) -> float:
        return self.rate_usd_per_hour * max(0.0, min(at, self.end_at) - self.created_at) / 3600.0


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be learned: how long it takes on each offer, and how much memory it needs."""

    total_steps: int
    checkpoint_steps: int
    step_s: tuple[float, ...]  # by offer
    needed_gib: float


class World:
    """One night. ``rates`` hold until ``faults_end_at``; after that nothing goes wrong any more."""

    def __init__(self, seed: int, rates: Rates) -> None:
        self.chance = random.Random(seed)  # noqa: S311  # reproducible, not secret
        self.rates = rates
        self.now = START
        longest_h = 14.0 if self.chance.random() < 0.75 else 1.0  # many faults; or few, and then a long calm
        self.faults_end_at = START + self.chance.uniform(0, longest_h) * 3600.0
        self.counts: Counter[str] = Counter()
        self.absent_s = 0.0  # how long nobody was there: laptop asleep, or no controller
        self.machines: list[Machine] = []
        self.offers: tuple[Offer, ...] = ()
        self.task = Task(total_steps=1, checkpoint_steps=1, step_s=(1.0,), needed_gib=1.0)
        self.creates = 0

    def strikes(self, kind: str, factor: float = 1.0) -> bool:
        """Whether this fault happens now; counts it."""
        if self.now >= self.faults_end_at or self.chance.random() >= getattr(self.rates, kind) * factor:
            return False
        self.counts[kind] += 1
        return True

    def passes(self, low_s: float, high_s: float) -> None:
        """Let time pass."""
        self.now += self.chance.uniform(low_s, high_s)

    def nobody_for(self, low_s: float, high_s: float) -> None:
        """Let time pass in which no controller looks."""
        before = self.now
        self.passes(low_s, high_s)
        self.absent_s += self.now - before

    def bill_usd(self, at: float | None = None) -> float:
        """What the cloud charges, by its own truth."""
        return sum(machine.cost_usd(self.now if at is None else at) for machine in self.machines)

    def alive(self, at: float) -> list[Machine]:
        return [machine for machine in self.machines if machine.alive(at)]

    def listed(self, name: str) -> list[Machine]:
        return [m for m in self.machines if m.name == name and m.alive(self.now) and self.now >= m.listed_at]

    def build(self, index: int, name: str, timer_s: float | None, delay_s: float) -> Machine:
        """Make a machine that comes to be ``delay_s`` from now."""
        offer = self.offers[index]
        self.creates += 1
        born = self.now + delay_s
        boot_s = self.chance.uniform(40, 150)
        if self.strikes("slow_boot"):
            boot_s = self.chance.uniform(300, 1400)
        elif self.strikes("never_ready"):
            boot_s = NEVER
        machine = Machine(
            id=f"i{self.creates:03d}",
            name=name,
            offer=index,
            gpu="A100" if self.strikes("wrong_gpu") and offer.gpu != "A100" else offer.gpu,
            rate_usd_per_hour=offer.usd_per_hour * (self.chance.uniform(1.1, 3.0) if self.strikes("rate_above_plan") else 1.0),
            created_at=born,
            listed_at=born + self.chance.uniform(0, 20),
            ready_at=born + boot_s,
            ends_at=NEVER if timer_s is None else born + timer_s,
            preempted_at=born + self.chance.uniform(60, 5 * 3600) if self.strikes("preemption", 10.0 if offer.spot else 1.0) else NEVER,
            reboots_at=born + self.chance.uniform(300, 4 * 3600) if self.strikes("reboot") else NEVER,
        )
        self.machines.append(machine)
        return machine

    def report(self, machine: Machine) -> dict[str, Any]:
        """How far the machine's job is: step, checkpoint, and its exit code or None; ``lost`` when it died silently."""
        job = machine.job
        if job is None:
            return {"step": machine.kept_step, "checkpoint": machine.kept_step, "exit": None, "lost": True}
        if job.killed_at is NEVER and job.started_at < machine.reboots_at <= self.now:
            job.killed_at = machine.reboots_at
        at = min(self.now, job.killed_at)
        if self.offers[machine.offer].usable_gib < self.task.needed_gib and at >= job.started_at + LOAD_S:
            return {"step": 0, "checkpoint": machine.kept_step, "exit": ExitCode.OUT_OF_MEMORY, "lost": False, "training_s": 0.0}
        total, step_s = self.task.total_steps, self.task.step_s[machine.offer]
        finish_at = job.started_at + LOAD_S + (total - job.from_step) * step_s
        stop_at = min(job.soft_stop_at, job.asked_at)

        def step_by(moment: float) -> int:
            done = math.floor(max(0.0, moment - job.started_at - LOAD_S) / step_s)
            return min(total, job.from_step + done)

        last_at = min(finish_at, stop_at) + SAVE_S
        if at >= last_at:
            done = finish_at <= stop_at
            step, code = (total, ExitCode.DONE) if done else (step_by(stop_at), ExitCode.STOPPED)
            training_s = min(finish_at, stop_at) - job.started_at - LOAD_S
            return {"step": step, "checkpoint": step, "exit": code, "lost": False, "training_s": max(0.0, training_s)}
        step = step_by(min(at, stop_at))
        kept = max(machine.kept_step, job.from_step, step // self.task.checkpoint_steps * self.task.checkpoint_steps)
        return {"step": step, "checkpoint": kept, "exit": None, "lost": job.killed_at <= self.now}
