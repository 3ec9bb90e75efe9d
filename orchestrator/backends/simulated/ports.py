"""The engine's ports on the simulated world: they tell what a real cloud would tell, late and sometimes wrongly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orchestrator.backends.simulated.world import NEVER, START, Job, Machine, World
from orchestrator.plan.offers import Offer
from orchestrator.run.events import Evaluation, Instance, JobResult
from orchestrator.run.ports import Cargo, HashMismatch, News, NoCapacity, Parcel, PortError, Refused
from trainer.contract import ExitCode, Kind

GRACE_S = 480.0  # a late instance appears within this; the policy's launch grace must be longer


class Killed(BaseException):
    """kill -9 of the controller. A BaseException, so that nothing in the code under test can swallow it."""


class SimulatedClock:
    """The Clock port: one boot of one laptop. Time goes on from the last boot's anchor, or from a wrong wall clock."""

    def __init__(self, world: World, boot: str, offset_s: float, not_before: float) -> None:
        self._world = world
        self.boot = boot
        self._shift_s = max(offset_s, not_before - world.now)

    def now(self) -> float:
        return self._world.now + self._shift_s

    def steady_s(self) -> float:
        return self._world.now - START

    def sleep(self, seconds: float, until: Callable[[], bool]) -> None:
        if self._world.strikes("controller_killed"):
            raise Killed
        if until():
            return
        self._world.now += seconds
        if self._world.strikes("laptop_asleep"):
            self._world.nobody_for(1800, 6 * 3600)


class SimulatedCloud:
    """Provider, Observer and Remote on one world."""

    title = "the simulated cloud's own list"

    def __init__(self, world: World) -> None:
        self.world = world

    def _call(self, low_s: float, high_s: float) -> None:
        """What every call may suffer before it has done anything."""
        if self.world.strikes("controller_killed"):
            raise Killed
        self.world.passes(low_s, high_s)
        if self.world.strikes("api_error_before"):
            raise PortError("500 before the effect")

    def _done(self) -> None:
        """What every call may suffer after it has been done."""
        if self.world.strikes("controller_killed"):
            raise Killed
        if self.world.strikes("api_error_after"):
            raise PortError("connection reset after the effect")

    # --- Provider ---------------------------------------------------------------------------------------------------

    def create(self, offer: Offer, name: str, timer_s: float | None) -> str:
        self._call(2, 20)
        index = self.world.offers.index(offer)
        if self.world.strikes("no_capacity"):
            raise NoCapacity("no such machine is free")
        if self.world.strikes("late_instance"):
            self.world.build(index, name, timer_s, self.world.chance.uniform(30, GRACE_S))
            raise PortError("504 the request timed out")
        machine = self.world.build(index, name, timer_s, 0.0)
        self._done()
        return machine.id

    def arm(self, name: str, life_s: float) -> None:
        self._call(1, 5)
        for machine in self.world.listed(name):
            machine.ends_at = self.world.now + life_s
        self._done()

    def destroy(self, name: str, ids: tuple[str, ...]) -> None:
        self._call(1, 10)
        for machine in self.world.listed(name):
            if ids and machine.id not in ids:
                continue
            delay_s = self.world.chance.uniform(1, 15)
            if self.world.strikes("lazy_teardown"):
                delay_s = self.world.chance.choice([NEVER, self.world.chance.uniform(60, 900)])
            machine.terminated_at = min(machine.terminated_at, self.world.now + delay_s)
        self._done()

    # --- Observer ---------------------------------------------------------------------------------------------------

    def instances(self, name: str) -> tuple[Instance, ...]:
        self._call(0.5, 3)
        return tuple(self._listed(machine) for machine in self.world.listed(name))

    def everything(self) -> tuple[Instance, ...]:
        self._call(0.5, 3)
        names = dict.fromkeys(machine.name for machine in self.world.machines)
        return tuple(self._listed(machine) for name in names for machine in self.world.listed(name))

    def _listed(self, machine: Machine) -> Instance:
        return Instance(
            name=machine.name,
            id=machine.id,
            ready=self.world.now >= machine.ready_at,
            gpu=machine.gpu,
            count=1,
            usd_per_hour=machine.rate_usd_per_hour,
            age_s=self.world.now - machine.created_at,
        )

    # --- Remote -----------------------------------------------------------------------------------------------------

    def _machine(self, name: str) -> Machine:
        """The reachable machine under a name: the one that the engine keeps when there are several."""
        found = [m for m in self.world.listed(name) if self.world.now >= m.ready_at]
        if not found:
            raise PortError("no route to host")
        return min(found, key=lambda m: m.id)

    def upload(self, name: str) -> tuple[int, int]:
        self._call(5, 60)
        self._machine(name).uploaded = True
        self._done()
        return 30, 1_000_000

    def submit(self, name: str, stop_in_s: float | None, checkpoint: Path | None) -> str:
        self._call(2, 15)
        machine = self._machine(name)
        if not machine.uploaded:
            raise Refused("no code on the box")
        report = self.world.report(machine)
        if machine.job is None or report["lost"]:
            from_home = int(checkpoint.name.split("-")[1]) if checkpoint is not None else 0
            machine.kept_step = max(machine.kept_step, report["checkpoint"] if machine.job else 0, from_home)
            soft = NEVER if stop_in_s is None else self.world.now + stop_in_s
            machine.job = Job(started_at=self.world.now, from_step=machine.kept_step, soft_stop_at=soft)
            if machine.reboots_at <= self.world.now:
                machine.reboots_at = NEVER
        self._done()
        return machine.id

    def poll(self, name: str, cursor: int) -> News:
        self._call(0.5, 5)
        machine = self._machine(name)
        report = self.world.report(machine)
        total = self.world.task.total_steps
        lines = (
            {"kind": Kind.STEP, "step": report["step"], "total_steps": total, "loss": 2.0 - report["step"] / total},
            {"kind": Kind.CHECKPOINT, "step": report["checkpoint"]},
        )
        result = None
        if report["exit"] is not None:
            after = Evaluation(metric="accuracy", rows=100, before=0.5, after=0.5 + 0.4 * report["step"] / total)
            result = JobResult(
                exit_code=report["exit"], reason="simulated", steps=report["step"], training_s=report["training_s"], evaluation=after
            )
        self._done()
        return News(cursor=cursor + 1, raw=b".\n", lines=lines, result=result, lost=report["lost"] and result is None)

    def ask_stop(self, name: str) -> None:
        self._call(0.5, 5)
        machine = self._machine(name)
        if machine.job is not None:
            machine.job.asked_at = min(machine.job.asked_at, self.world.now)
        self._done()

    def fetch(self, name: str, cargo: Cargo) -> Parcel:
        self._call(10, 60)
        machine = self._machine(name)
        report = self.world.report(machine)
        whole = "whole"
        if self.world.strikes("truncated_download"):
            whole = "truncated"
        elif self.world.strikes("corrupt_download"):
            whole = "corrupt"
        if cargo == "checkpoint":
            if not report["checkpoint"]:
                raise PortError("there is no checkpoint on the box")
            self._done()
            return Parcel(cargo=cargo, step=report["checkpoint"], place=Path(f"step-{report['checkpoint']}-{whole}"))
        if report["exit"] not in (ExitCode.DONE, ExitCode.STOPPED):
            raise PortError("there is no adapter on the box")
        self._done()
        return Parcel(cargo=cargo, step=report["step"], place=Path(f"adapter-{report['step']}-{whole}"))


class SimulatedEscrow:
    """The Escrow port: what is at home, with what the checks need to know of it."""

    def __init__(self) -> None:
        self.kept: dict[Cargo, Parcel] = {}

    def verify(self, parcel: Parcel) -> dict[str, str]:
        if not parcel.place.name.endswith("-whole"):
            raise HashMismatch(f"{parcel.place.name} does not match its manifest")
        return {"adapter_model.safetensors": parcel.place.name}

    def keep(self, parcel: Parcel) -> None:
        self.kept[parcel.cargo] = parcel

    def checkpoint(self) -> Path | None:
        kept = self.kept.get("checkpoint")
        return None if kept is None else kept.place
